//! `[teacher]`: the black box.

use std::path::PathBuf;

use afd_api::service::ApiSettings;
use afd_clips::check::Flag;
use afd_clips::layouts::Layout;
use afd_clips::prepare::Fit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recipe::Problem;

/// The black box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeacherTable {
    /// Which one.
    pub kind: TeacherKind,
    /// The folder of `kind = "folder"` (see [`afd_clips::layouts`]), or the store of `kind =
    /// "api"`; relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How the folder says which clip shows which prompt; without it, what the folder holds
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How videos of another aspect ratio become clips.
    #[serde(default)]
    pub fit: Fit,
    /// Largest share of a folder's clips that may be unusable; those are left out, and named in
    /// `quarantine.jsonl`.
    #[serde(default = "one_percent")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad_share: f64,
    /// Suspicious clips that are left out as well; they count as unusable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Flag>,
    /// Seed of the world's own randomness.
    #[serde(default)]
    pub seed: u64,
    /// The world with gravity and restitution that ignore the prompt: pre-training data.
    #[serde(default)]
    pub uncurated: bool,
    /// Distinct training samples per prompt (M_c); 0 = a fresh sample every time, which an API's
    /// teacher does not give.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub samples_per_prompt: u64,
    /// The provider (`kind = "api"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiSettings>,
}

fn one_percent() -> f64 {
    0.01
}

/// Teachers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherKind {
    /// The built-in physics world.
    World,
    /// A folder of finished clips.
    Folder,
    /// A provider's API, and the store of the clips that it made.
    Api,
}

impl TeacherTable {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.api.is_some() && self.kind != TeacherKind::Api {
            return Err(Problem::new(
                "[teacher.api] is given and teacher.kind is not \"api\"; set it, or remove the \
                 table",
            ));
        }
        Ok(())
    }
}
