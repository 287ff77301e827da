//! Prompts and teacher clips of a round, as tensors. Everything is a pure function of (seed,
//! round), so that a resumed run draws the same.

mod draws;
mod embedded;
mod error;
mod kept;
mod prepared;
mod samples;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use afd_models::codec::Codec;
use afd_models::kernels::Kernels;
use burn::prelude::*;

use super::coding::{decode, encode};
use super::latents::{LatentOrigin, LatentStore};
use super::prepare::{Fit, prepare_fitted};
use super::video::{Clip, ClipShape};
use crate::recipe::Recipe;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::TeacherKind;
use crate::teacher::{Source, Teacher, TeacherError};

pub use draws::Asked;
pub use error::BatchError;
pub use kept::CLIP_MEMORY;
pub use prepared::{Match, matches};
pub use samples::{telling_samples, training_samples};

use draws::Draws;
use embedded::Embedded;
use kept::KeptClips;
use prepared::Chosen;
use samples::samples_of;

/// The directory of latents below `data.path`.
pub const LATENTS: &str = "latents";

/// The teacher, prepared to the student's shape, and the prompts, encoded.
pub struct Batches<B: Kernels> {
    teacher: Box<dyn Teacher>,
    shape: ClipShape,
    fit: Fit,
    codec: Box<dyn Codec<B>>,
    /// Latents that were prepared; a teacher's clip is encoded when it is asked for where there are
    /// none.
    latents: Option<LatentStore>,
    /// Which of them are used; [`Batches::check_prepared`] finds out.
    chosen: OnceLock<Chosen>,
    latent_shape: [usize; 4],
    /// Whether clips go through the codec one by one: a network's insides are much larger than a
    /// clip.
    one_by_one: bool,
    device: B::Device,
    embedded: Embedded,
    draws: Draws,
    /// Prepared clips of a teacher with few samples, which come round again.
    prepared: Mutex<KeptClips>,
    queries: AtomicU64,
}

impl<B: Kernels> Batches<B> {
    /// Opens the recipe's teacher and codec, and reads all of its prompts.
    pub fn new(recipe: &Recipe, device: &B::Device) -> Result<Self, BatchError> {
        let embedded = Embedded::of(recipe)?;
        let latents = match recipe.data() {
            Some(data) => Some(LatentStore::open(
                &data.join(LATENTS),
                &latent_origin(recipe)?,
            )?),
            None => None,
        };
        Ok(Self {
            teacher: recipe.teacher()?,
            shape: recipe.settings.clip,
            fit: recipe.settings.teacher.fit,
            codec: recipe.codec.load(device)?,
            latents,
            chosen: OnceLock::new(),
            latent_shape: recipe.latent_shape,
            one_by_one: !matches!(recipe.codec, CodecPlan::Pixel(_)),
            device: device.clone(),
            embedded,
            draws: Draws::new(
                recipe.settings.seed,
                recipe.settings.teacher.samples_per_prompt,
                recipe.train_prompts.clone(),
            ),
            prepared: Mutex::new(KeptClips::within(CLIP_MEMORY)),
            queries: AtomicU64::new(0),
        })
    }

    /// Distinct clips that training may ask for; `None` if there is no end to them.
    pub fn training_clips(&self) -> Option<u64> {
        let distinct: BTreeSet<&String> = self.draws.prompts.iter().collect();
        distinct
            .into_iter()
            .map(|prompt| samples_of(self.draws.samples_per_prompt, &*self.teacher, prompt))
            .sum()
    }

    /// Refuses prepared latents that are damaged, lack any of the clips that training may ask for,
    /// or are of clips that have changed since. Training that reads prepared latents begins with
    /// this.
    ///
    /// # Errors
    /// The first clip without its latents, and the command that makes them.
    pub fn check_prepared(&self, recipe: &Recipe) -> Result<(), BatchError> {
        let Some(store) = &self.latents else {
            return Ok(());
        };
        store.verify()?;
        let wanted = training_samples(recipe, &*self.teacher)?;
        // Once is enough: what was found then is what this training reads.
        let chosen = Chosen::of(store, &*self.teacher, &wanted)?;
        self.chosen.get_or_init(|| chosen);
        Ok(())
    }

    /// The teacher.
    pub fn teacher(&self) -> &dyn Teacher {
        &*self.teacher
    }

    /// What a clip is made of; prepared latents know it of clips whose files are as they were.
    ///
    /// # Errors
    /// A clip that cannot be read.
    pub fn content(
        &self,
        prompt: &str,
        sample: u64,
        source: &Source,
    ) -> Result<String, TeacherError> {
        let known = self.latents.as_ref().and_then(|store| {
            let place = store.find(prompt, source)?;
            Some(store.record(place).content.clone())
        });
        known.map_or_else(|| self.teacher.content(prompt, sample), Ok)
    }

    /// Videos that the teacher was asked for so far.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// `count` training prompts of `round`: the list is gone through in one random order after
    /// another. In place of a prompt that the teacher refuses stands the next one of the list that
    /// it does not.
    ///
    /// # Errors
    /// The teacher could not find out, or refuses every prompt.
    pub fn prompts_of(&self, round: u64, count: usize) -> Result<Vec<String>, BatchError> {
        let places = self.draws.places(round, count);
        places
            .into_iter()
            .map(|place| self.willing(place))
            .collect()
    }

    fn willing(&self, place: usize) -> Result<String, BatchError> {
        let prompts = &self.draws.prompts;
        for step in 0..prompts.len() {
            let prompt = &prompts[(place + step) % prompts.len()];
            if !self.teacher.refuses(prompt)? {
                return Ok(prompt.clone());
            }
        }
        Err(
            TeacherError::Data("the teacher refuses every prompt of prompts.train".to_string())
                .into(),
        )
    }

    /// For each of `per_prompt` clips of each prompt a training prompt that is easily taken for
    /// its own, prompt-major; the first prompt is in place `first` of its round. `None` when there
    /// is no other prompt.
    pub fn mismatched_prompts(
        &self,
        prompts: &[String],
        first: usize,
        round: u64,
        per_prompt: usize,
    ) -> Option<Vec<String>> {
        self.draws.mismatched(prompts, first, round, per_prompt)
    }

    /// Tells the teacher what the rounds will ask for, and the evaluation after them.
    pub fn expect(&self, recipe: &Recipe, rounds: &[Asked]) {
        if recipe.settings.teacher.kind != TeacherKind::Api {
            return;
        }
        // Prepared latents are read instead.
        let mut samples = match self.latents {
            Some(_) => Vec::new(),
            None => self.draws.samples_of(rounds),
        };
        let evaluation = &recipe.settings.evaluation;
        for prompt in &recipe.held_out_prompts {
            samples.extend(
                (0..evaluation.clips_per_prompt)
                    .map(|clip| (prompt.clone(), evaluation.first_sample + clip)),
            );
        }
        self.teacher.expect(samples);
    }

    /// Whether the teacher has no clip of a prompt.
    ///
    /// # Errors
    /// The teacher could not find out.
    pub fn refuses(&self, prompt: &str) -> Result<bool, BatchError> {
        Ok(self.teacher.refuses(prompt)?)
    }

    /// The teacher's prepared clips numbered `samples` for a prompt.
    pub fn teacher_clips(
        &self,
        prompt: &str,
        samples: std::ops::Range<u64>,
    ) -> Result<Vec<Clip>, BatchError> {
        samples
            .map(|sample| self.teacher_clip(prompt, sample))
            .collect()
    }

    fn teacher_clip(&self, prompt: &str, sample: u64) -> Result<Clip, BatchError> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.prepared_clip(prompt, sample)
    }

    fn prepared_clip(&self, prompt: &str, sample: u64) -> Result<Clip, BatchError> {
        if let Some(clip) = self
            .teacher
            .prepared_clip(prompt, sample, self.shape, self.fit)
        {
            return Ok(clip?);
        }
        let videos = self.teacher.videos(prompt, sample..sample + 1)?;
        let clip = |video| {
            prepare_fitted(video, self.shape, self.fit).map_err(|source| BatchError::Prepare {
                prompt: prompt.to_string(),
                sample,
                source,
            })
        };
        match &videos[..] {
            [video] => clip(video),
            other => Err(TeacherError::Data(format!(
                "asked for 1 video of {prompt:?}, the teacher returned {}",
                other.len()
            ))
            .into()),
        }
    }

    /// Teacher latents of a training round, `per_prompt` fresh samples of each prompt:
    /// `[P * M, F, C, H, W]`, prompt-major.
    pub fn teacher_latents(
        &self,
        prompts: &[String],
        round: u64,
        per_prompt: usize,
    ) -> Result<Tensor<B, 5>, BatchError> {
        let mut latents = Vec::with_capacity(prompts.len() * per_prompt);
        let mut clips = Vec::new();
        for (slot, prompt) in prompts.iter().enumerate() {
            for index in 0..per_prompt {
                let (slot, index) = ([prompts.len(), slot], [per_prompt, index]);
                let sample = self.draws.sample(round, slot, index, prompt);
                match &self.latents {
                    Some(store) => {
                        self.queries.fetch_add(1, Ordering::Relaxed);
                        let [frames, channels, height, width] = self.latent_shape;
                        let place = self
                            .chosen
                            .get()
                            .and_then(|chosen| chosen.get(prompt, sample));
                        let place = place
                            .ok_or_else(|| store.lacks(prompt, &format!("sample {sample}")))?;
                        let values = TensorData::new(
                            store.read(place)?,
                            [1, frames, channels, height, width],
                        );
                        latents.push(Tensor::from_data(values, &self.device));
                    }
                    None => clips.push(self.training_clip(prompt, sample)?),
                }
            }
        }
        Ok(if self.latents.is_some() {
            Tensor::cat(latents, 0)
        } else {
            self.encode(&clips)
        })
    }

    fn training_clip(&self, prompt: &str, sample: u64) -> Result<Clip, BatchError> {
        if self.draws.samples_per_prompt == 0 {
            return self.teacher_clip(prompt, sample);
        }
        let mut prepared = self
            .prepared
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(clip) = prepared.get(prompt, sample) {
            return Ok(clip.clone());
        }
        if prepared.is_new(prompt, sample) {
            self.queries.fetch_add(1, Ordering::Relaxed);
        }
        let clip = self.prepared_clip(prompt, sample)?;
        prepared.keep(prompt, sample, &clip);
        Ok(clip)
    }

    /// Clips to latents `[B, F, C, H, W]`.
    pub fn encode(&self, clips: &[Clip]) -> Tensor<B, 5> {
        encode(&*self.codec, clips, self.shape, &self.device)
    }

    /// Latents `[B, F, C, H, W]` to clips of `frames` frames; `name` says what clip number b is
    /// called.
    ///
    /// # Errors
    /// A clip whose pixels are not finite.
    pub fn decode(
        &self,
        latents: Tensor<B, 5>,
        frames: usize,
        name: &dyn Fn(usize) -> String,
    ) -> Result<Vec<Clip>, BatchError> {
        let shape = ClipShape {
            frames,
            ..self.shape
        };
        Ok(decode(&*self.codec, shape, latents, name)?)
    }

    /// Rollouts after the same 8-bit and codec round trip as teacher clips: decode, clamp, round to
    /// 8 bits, encode.
    ///
    /// Without it a discriminator separates the sides by rounding instead of by motion
    /// (docs/method.md E.7).
    pub fn round_trip(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        let round_trip = |latents| {
            let bytes = ((self.codec.decode(latents) + 1.0) * 127.5).round();
            self.codec.encode(bytes / 127.5 - 1.0)
        };
        if !self.one_by_one {
            return round_trip(latents);
        }
        let clips = latents.dims()[0];
        Tensor::cat(
            (0..clips)
                .map(|clip| round_trip(latents.clone().slice_dim(0, clip..clip + 1)))
                .collect(),
            0,
        )
    }

    /// Text embeddings of prompts, each repeated: `[P * repeats, L, text_width]`.
    pub fn text(&self, prompts: &[String], repeats: usize) -> Result<Tensor<B, 3>, BatchError> {
        self.embedded.tensor(prompts, repeats, &self.device)
    }
}

/// What the latents of a recipe's clips depend on.
pub fn latent_origin(recipe: &Recipe) -> Result<LatentOrigin, BatchError> {
    Ok(LatentOrigin {
        clip: recipe.settings.clip,
        fit: recipe.settings.teacher.fit,
        reading: afd_clips::READING,
        codec: recipe.codec.identity()?,
        latent_shape: recipe.latent_shape,
    })
}
