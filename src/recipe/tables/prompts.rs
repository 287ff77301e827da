//! `[prompts]`: prompts trained on and prompts kept for evaluation.

use std::path::PathBuf;

use afd_models::text::TextEncoder;
use afd_models::text::words::WordVectors;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Settings, TeacherKind, TextKind};
use crate::recipe::{Inputs, Problem};
use crate::teacher::world::World;

/// Prompt lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptsTable {
    /// Prompts trained on.
    pub train: PromptList,
    /// Prompts kept for evaluation; needed where `evaluation.clips_per_prompt` is not 0. Those that
    /// are trained on as well are named beside the numbers.
    #[serde(default)]
    pub held_out: PromptList,
}

/// A file with one prompt a line, relative to the recipe, or the prompts themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PromptList {
    /// The file.
    File(PathBuf),
    /// The prompts.
    Inline(Vec<String>),
}

impl Default for PromptList {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

impl PromptsTable {
    /// Whether there are prompts, and text encoder and teacher know their words.
    pub(super) fn check(&self, settings: &Settings, inputs: &Inputs<'_>) -> Result<(), Problem> {
        if inputs.train_prompts.is_empty() {
            return Err(Problem::new(
                "prompts.train has no prompts, expected at least one",
            ));
        }
        if inputs.held_out_prompts.is_empty() && settings.evaluation.clips_per_prompt > 0 {
            return Err(Problem::new(
                "prompts.held_out has no prompts, expected at least one; \
                 evaluation.clips_per_prompt = 0 goes without",
            ));
        }
        let text = &settings.text;
        let words = WordVectors {
            length: text.length,
            width: text.width,
        };
        for prompt in inputs.train_prompts.iter().chain(inputs.held_out_prompts) {
            if text.kind == TextKind::Words {
                words.encode(prompt).map_err(Problem::from_error)?;
            }
            if settings.teacher.kind == TeacherKind::World {
                World::new(0)
                    .scene(prompt, 0)
                    .map_err(Problem::from_error)?;
            }
        }
        Ok(())
    }
}
