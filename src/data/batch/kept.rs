//! Prepared clips that come round again, as many as there is room for.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::video::Clip;

/// Bytes of prepared clips, in f32, that a run keeps of a teacher with few samples
/// (`teacher.samples_per_prompt`): 2 GiB. Clips beyond that are prepared each time they are asked
/// for, which gives the same pixels and takes the host longer.
pub const CLIP_MEMORY: u64 = 2 << 30;

/// Number of a prompt's clip.
type Key = (String, u64);

/// The first clips that were asked for, up to a limit. They stay: rounds go through all clips in
/// one order after another, so that whichever went would be asked for again.
pub(super) struct KeptClips {
    limit: u64,
    held: u64,
    clips: BTreeMap<Key, Clip>,
    asked: BTreeSet<Key>,
}

impl KeptClips {
    /// None so far, of at most `limit` bytes.
    pub fn within(limit: u64) -> Self {
        Self {
            limit,
            held: 0,
            clips: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Whether a clip is asked for the first time: the teacher is counted as asked once, whether or
    /// not there is room for its clip.
    pub fn is_new(&mut self, prompt: &str, sample: u64) -> bool {
        self.asked.insert((prompt.to_string(), sample))
    }

    /// A clip that was kept.
    pub fn get(&self, prompt: &str, sample: u64) -> Option<&Clip> {
        self.clips.get(&(prompt.to_string(), sample))
    }

    /// Keeps a clip if there is room.
    pub fn keep(&mut self, prompt: &str, sample: u64, clip: &Clip) {
        let bytes = size_of_val(clip.pixels.as_slice()) as u64;
        if self.held + bytes <= self.limit {
            self.held += bytes;
            self.clips
                .insert((prompt.to_string(), sample), clip.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use burn::backend::Flex;

    use super::*;
    use crate::data::batch::Batches;
    use crate::recipe::Recipe;

    /// The latents that four rounds of two prompts and two clips draw, and the teacher's queries.
    fn drawn(limit: u64) -> (Vec<Vec<f32>>, u64, u64) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipe.toml");
        let set = ["teacher.samples_per_prompt=3".to_string()];
        let recipe = Recipe::load(&path, &set).unwrap();
        let mut batches = Batches::<Flex>::new(&recipe, &Default::default()).unwrap();
        batches.prepared = Mutex::new(KeptClips::within(limit));
        let latents = (0..4).map(|round| {
            let prompts = batches.prompts_of(round, 2).unwrap();
            let latents = batches.teacher_latents(&prompts, round, 2).unwrap();
            latents.into_data().to_vec::<f32>().unwrap()
        });
        let latents = latents.collect();
        let held = batches.prepared.lock().unwrap().held;
        (latents, batches.queries(), held)
    }

    #[test]
    fn what_is_kept_is_bounded_and_changes_nothing_that_is_drawn() {
        let (expected, queries, all) = drawn(u64::MAX);
        let clip = all / queries;
        assert!(queries > 2 && all == queries * clip);
        for limit in [0, clip - 1, 2 * clip + 1] {
            let (latents, asked, held) = drawn(limit);
            assert_eq!(latents, expected, "{limit}");
            assert_eq!((asked, held), (queries, limit / clip * clip), "{limit}");
        }
    }
}
