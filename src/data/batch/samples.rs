//! Which of a teacher's clips training may ask for.

use std::collections::BTreeSet;

use afd_models::kernels::Kernels;

use super::{BatchError, Batches};
use crate::recipe::Recipe;
use crate::teacher::Teacher;

/// Every clip that training may ask for, in a fixed order; prompts that the teacher refuses have
/// none.
///
/// # Errors
/// A teacher without an end.
pub fn training_samples(
    recipe: &Recipe,
    teacher: &dyn Teacher,
) -> Result<Vec<(String, u64)>, BatchError> {
    let mut samples = BTreeSet::new();
    let mut all = Vec::new();
    for prompt in &recipe.train_prompts {
        let count = samples_of(recipe.settings.teacher.samples_per_prompt, teacher, prompt)
            .ok_or(BatchError::Endless)?;
        // A prompt may stand in the list twice.
        if samples.insert(prompt) {
            all.extend((0..count).map(|sample| (prompt.clone(), sample)));
        }
    }
    teacher.expect(all.clone());
    let mut refused = BTreeSet::new();
    for prompt in samples {
        if teacher.refuses(prompt)? {
            refused.insert(prompt.as_str());
        }
    }
    all.retain(|(prompt, _)| !refused.contains(prompt.as_str()));
    Ok(all)
}

/// Distinct samples of a training prompt where the recipe asks for `asked` (0: as many as there
/// are); `None` if there is no end to them.
pub(super) fn samples_of(asked: u64, teacher: &dyn Teacher, prompt: &str) -> Option<u64> {
    match (asked, teacher.samples(prompt)) {
        (0, there) => there,
        (asked, there) => Some(there.map_or(asked, |there| asked.min(there))),
    }
}

/// The clips that tell this teacher from another: all that training or evaluation may ask for, or
/// the first of each prompt where there is no end to them.
pub fn telling_samples(recipe: &Recipe, teacher: &dyn Teacher) -> Vec<(String, u64)> {
    let asked = recipe.settings.teacher.samples_per_prompt;
    let mut samples = BTreeSet::new();
    for prompt in &recipe.train_prompts {
        let count = samples_of(asked, teacher, prompt).unwrap_or(1);
        samples.extend((0..count).map(|sample| (prompt.clone(), sample)));
    }
    let evaluation = &recipe.settings.evaluation;
    for prompt in recipe.compared_prompts() {
        let first = evaluation.first_sample;
        let compared = match teacher.samples(prompt) {
            Some(there) => 0..there,
            None => first..first.saturating_add(evaluation.clips_per_prompt),
        };
        samples.extend(compared.map(|sample| (prompt.clone(), sample)));
    }
    samples.into_iter().collect()
}

impl<B: Kernels> Batches<B> {
    /// How many different clips the teacher has of `prompt`; `None` if there is no end to them.
    pub fn clips_of(&self, prompt: &str) -> Option<u64> {
        self.teacher.samples(prompt)
    }

    /// Whether `count` clips of a training prompt that are drawn at once can hold one of them
    /// twice.
    pub fn repeats(&self, prompt: &str, count: u64) -> bool {
        let (asked, there) = (self.draws.samples_per_prompt, self.teacher.samples(prompt));
        match samples_of(asked, &*self.teacher, prompt) {
            None => false,
            // Of more than are there, or across the end of one random order and the start of the
            // next.
            Some(clips) => {
                clips < count
                    || asked > 0
                        && (!asked.is_multiple_of(count)
                            || there.is_some_and(|there| there < asked))
            }
        }
    }
}
