//! Which prepared latents stand for which of a teacher's clips, as they are now.

use std::collections::BTreeMap;

use super::BatchError;
use crate::data::latents::{LatentPlace, LatentStore};
use crate::teacher::{Source, Teacher};

/// What a store has for one clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Its latents, and where the clip is now if it was elsewhere, or of another time, before.
    Found(LatentPlace, Option<Source>),
    /// Nothing: the clip is new or another one. `None` where the teacher does not have it yet.
    Missing(Option<Source>),
}

/// What `store` has for each of a teacher's clips. A clip whose file is as it was is taken for the
/// same; of any other the content decides.
///
/// # Errors
/// A clip that cannot be read.
pub fn matches(
    store: &LatentStore,
    teacher: &dyn Teacher,
    wanted: &[(String, u64)],
) -> Result<Vec<Match>, BatchError> {
    let of_one = |(prompt, sample): &(String, u64)| {
        let Some(source) = teacher.source(prompt, *sample)? else {
            return Ok(Match::Missing(None));
        };
        if let Some(place) = store.find(prompt, &source) {
            return Ok(Match::Found(place, None));
        }
        let content = teacher.content(prompt, *sample)?;
        Ok(match store.find_content(prompt, &content) {
            Some(place) => Match::Found(place, Some(source)),
            None => Match::Missing(Some(source)),
        })
    };
    wanted.iter().map(of_one).collect()
}

/// The latents of every clip that training may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// By prompt, in the order of the sample indices.
    places: BTreeMap<String, Vec<LatentPlace>>,
}

impl Chosen {
    /// Refuses clips that `store` has no latents of, or of which it has those of an earlier clip.
    pub fn of(
        store: &LatentStore,
        teacher: &dyn Teacher,
        wanted: &[(String, u64)],
    ) -> Result<Self, BatchError> {
        let mut chosen = Self::default();
        for ((prompt, sample), found) in wanted.iter().zip(matches(store, teacher, wanted)?) {
            match found {
                Match::Found(place, _) => {
                    let places = chosen.places.entry(prompt.clone()).or_default();
                    places.push(place);
                }
                Match::Missing(source) => {
                    let file = source.map_or(format!("sample {sample}"), |source| source.file);
                    return Err(store.lacks(prompt, &file).into());
                }
            }
        }
        Ok(chosen)
    }

    /// The latents of a sample index; those beyond the last clip go round again.
    pub fn get(&self, prompt: &str, sample: u64) -> Option<LatentPlace> {
        let places = self.places.get(prompt)?;
        places.get((sample % places.len() as u64) as usize).copied()
    }
}
