//! Which prompts a round draws, and which of the teacher's clips: pure functions of (seed, round).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use afd_models::noise::{Noise, Purpose, key_of};

use crate::data::near_prompts::near_prompts;

/// What rounds ask the teacher for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Numbers of the rounds.
    pub rounds: Range<u64>,
    /// Prompts of each.
    pub prompts: usize,
    /// Clips of each prompt.
    pub per_prompt: usize,
}

/// The draws of a run.
pub(super) struct Draws {
    pub seed: u64,
    /// Distinct clips of each prompt; 0: a fresh one every time.
    pub samples_per_prompt: u64,
    /// Those trained on.
    pub prompts: Vec<String>,
    /// Neighbours of the prompts that were asked about.
    near: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Draws {
    pub fn new(seed: u64, samples_per_prompt: u64, prompts: Vec<String>) -> Self {
        Self {
            seed,
            samples_per_prompt,
            prompts,
            near: Mutex::new(BTreeMap::new()),
        }
    }

    /// Places in the list of the `count` prompts of `round`: the list is gone through in one random
    /// order after another.
    pub fn places(&self, round: u64, count: usize) -> Vec<usize> {
        let total = self.prompts.len() as u64;
        (round * count as u64..(round + 1) * count as u64)
            .map(|place| {
                let order = Noise::new(self.seed, Purpose::Prompts, place / total, 0)
                    .order(self.prompts.len());
                order[(place % total) as usize]
            })
            .collect()
    }

    /// See [`super::Batches::mismatched_prompts`].
    pub fn mismatched(
        &self,
        prompts: &[String],
        first: usize,
        round: u64,
        per_prompt: usize,
    ) -> Option<Vec<String>> {
        let mut mismatched = Vec::with_capacity(prompts.len() * per_prompt);
        for (slot, prompt) in prompts.iter().enumerate() {
            let mut known = self.near.lock().unwrap_or_else(PoisonError::into_inner);
            let near = known
                .entry(prompt.clone())
                .or_insert_with(|| near_prompts(prompt, &self.prompts));
            if near.is_empty() {
                return None;
            }
            let mut draw = Noise::new(self.seed, Purpose::Mismatch, round, (first + slot) as u64);
            mismatched.extend((0..per_prompt).map(|_| near[draw.below(near.len())].clone()));
        }
        Some(mismatched)
    }

    /// The sample index of the clip numbered `index` of the prompt in place `slot` of a round of
    /// `prompts` prompts with `per_prompt` clips each. A prompt may stand twice in a round: the
    /// slot keeps its samples apart.
    pub fn sample(
        &self,
        round: u64,
        [prompts, slot]: [usize; 2],
        [per_prompt, index]: [usize; 2],
        prompt: &str,
    ) -> u64 {
        let fresh = (round * prompts as u64 + slot as u64) * per_prompt as u64 + index as u64;
        if self.samples_per_prompt == 0 {
            return fresh;
        }
        // A teacher with few samples replays them in random order.
        let epoch = fresh / self.samples_per_prompt;
        let order = Noise::new(self.seed, Purpose::Prompts, epoch, key_of(prompt))
            .order(self.samples_per_prompt as usize);
        order[(fresh % self.samples_per_prompt) as usize] as u64
    }

    /// Every clip that the rounds ask for, each once, in the order in which they do.
    pub fn samples_of(&self, rounds: &[Asked]) -> Vec<(String, u64)> {
        let (mut samples, mut seen) = (Vec::new(), BTreeSet::new());
        let all = self.prompts.len() as u64 * self.samples_per_prompt;
        let each = |asked: &Asked| {
            let (prompts, per_prompt) = (asked.prompts, asked.per_prompt);
            let rounds = asked.rounds.clone();
            rounds.map(move |round| (round, prompts, per_prompt))
        };
        for (round, prompts, per_prompt) in rounds.iter().flat_map(each) {
            if seen.len() as u64 >= all {
                break;
            }
            for (slot, place) in self.places(round, prompts).into_iter().enumerate() {
                let prompt = &self.prompts[place];
                let drawn = (0..per_prompt).map(|index| {
                    let sample = self.sample(round, [prompts, slot], [per_prompt, index], prompt);
                    (prompt.clone(), sample)
                });
                samples.extend(drawn.filter(|sample| seen.insert(sample.clone())));
            }
        }
        samples
    }
}
