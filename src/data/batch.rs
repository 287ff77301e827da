//! Prompts and teacher clips of a round, as tensors. Everything is a pure function of (seed,
//! round), so that a resumed run draws the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use afd_models::codec::Codec;
use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose};
use afd_models::text::{EncodeError, TextEncoder};
use afd_models::weights::WeightsError;
use burn::prelude::*;

use super::latents::{LatentError, LatentOrigin, LatentStore};
use super::near_prompts::near_prompts;
use super::prepare::{Fit, PrepareError, prepare_fitted, round_to_8_bits};
use super::text::{self, TextError};
use super::video::{Clip, ClipShape};
use crate::exit::ExitStatus;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::{TeacherKind, TextKind};
use crate::recipe::{Recipe, RecipeError};
use crate::teacher::{Teacher, TeacherError};

/// The directory of latents below `data.path`.
pub const LATENTS: &str = "latents";

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The teacher did not answer.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A clip cannot be prepared.
    #[error("prompt {prompt:?}, sample {sample}: {source}")]
    Prepare {
        /// The prompt.
        prompt: String,
        /// The sample.
        sample: u64,
        /// Why.
        source: PrepareError,
    },
    /// A prompt cannot be encoded.
    #[error(transparent)]
    Text(#[from] EncodeError),
    /// The recipe says another shape than the text encoder.
    #[error(
        "the prepared text rows are {length} x {width}, text.length and text.width say otherwise"
    )]
    TextShape {
        /// Tokens of a prompt.
        length: usize,
        /// Values of each.
        width: usize,
    },
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The text encoder.
    #[error(transparent)]
    Encoder(#[from] TextError),
    /// Prepared latents.
    #[error(transparent)]
    Latents(#[from] LatentError),
    /// There is no end to what could be prepared.
    #[error(
        "teacher.samples_per_prompt is 0: every sample of this teacher is another one, so there is \
            no end to prepare; give a number"
    )]
    Endless,
    /// The codec's weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl ExitStatus for BatchError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Recipe(_) | Self::Endless)
    }
}

/// What rounds ask the teacher for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Numbers of the rounds.
    pub rounds: std::ops::Range<u64>,
    /// Prompts of each.
    pub prompts: usize,
    /// Clips of each prompt.
    pub per_prompt: usize,
}

/// The teacher, prepared to the student's shape, and the prompts, encoded.
pub struct Batches<B: Kernels> {
    teacher: Box<dyn Teacher>,
    shape: ClipShape,
    fit: Fit,
    codec: Box<dyn Codec<B>>,
    /// Latents that were prepared; a teacher's clip is encoded when it is asked for where there are
    /// none.
    latents: Option<LatentStore>,
    latent_shape: [usize; 4],
    /// Whether clips go through the codec one by one: a network's insides are much larger than a
    /// clip.
    one_by_one: bool,
    device: B::Device,
    text_shape: [usize; 2],
    seed: u64,
    samples_per_prompt: u64,
    prompts: Vec<String>,
    /// Neighbours of the prompts that were asked about.
    near: Mutex<BTreeMap<String, Vec<String>>>,
    /// Rows of all prompts, or where to read them: those of large encoders are megabytes each.
    rows: BTreeMap<String, Vec<f32>>,
    encoder: Box<dyn TextEncoder>,
    /// Prepared clips of a teacher with few samples, which come round again.
    prepared: Mutex<BTreeMap<(String, u64), Clip>>,
    queries: AtomicU64,
}

impl<B: Kernels> Batches<B> {
    /// Opens the recipe's teacher and codec, and reads all of its prompts.
    pub fn new(recipe: &Recipe, device: &B::Device) -> Result<Self, BatchError> {
        let encoder = text::reader(&recipe.settings.text, recipe.data())?;
        if encoder.shape() != [recipe.settings.text.length, recipe.settings.text.width] {
            let [length, width] = encoder.shape();
            return Err(BatchError::TextShape { length, width });
        }
        let mut rows = BTreeMap::new();
        for prompt in recipe.train_prompts.iter().chain(&recipe.held_out_prompts) {
            // Every prompt is tried before anything starts.
            let of_prompt = encoder.encode(prompt).map_err(BatchError::Text)?;
            if recipe.settings.text.kind == TextKind::Words {
                rows.insert(prompt.clone(), of_prompt);
            }
        }
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
            latent_shape: recipe.latent_shape,
            one_by_one: !matches!(recipe.codec, CodecPlan::Pixel(_)),
            device: device.clone(),
            text_shape: encoder.shape(),
            seed: recipe.settings.seed,
            samples_per_prompt: recipe.settings.teacher.samples_per_prompt,
            prompts: recipe.train_prompts.clone(),
            near: Mutex::new(BTreeMap::new()),
            rows,
            encoder,
            prepared: Mutex::new(BTreeMap::new()),
            queries: AtomicU64::new(0),
        })
    }

    /// Distinct clips that training may ask for; `None` if there is no end to them.
    pub fn training_clips(&self) -> Option<u64> {
        let distinct: BTreeSet<&String> = self.prompts.iter().collect();
        distinct
            .into_iter()
            .map(|prompt| samples_of(self.samples_per_prompt, &*self.teacher, prompt))
            .sum()
    }

    /// Refuses prepared latents that lack any of the clips that training may ask for.
    ///
    /// # Errors
    /// The first one that is missing, and the command that makes it.
    pub fn check_prepared(&self, recipe: &Recipe) -> Result<(), BatchError> {
        let Some(store) = &self.latents else {
            return Ok(());
        };
        for (prompt, sample) in training_samples(recipe, &*self.teacher)? {
            store.require(&prompt, sample)?;
        }
        Ok(())
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
        self.drawn_prompts(round, count)
            .into_iter()
            .map(|place| self.willing(place))
            .collect()
    }

    fn willing(&self, place: usize) -> Result<String, BatchError> {
        for step in 0..self.prompts.len() {
            let prompt = &self.prompts[(place + step) % self.prompts.len()];
            if !self.teacher.refuses(prompt)? {
                return Ok(prompt.clone());
            }
        }
        Err(
            TeacherError::Data("the teacher refuses every prompt of prompts.train".to_string())
                .into(),
        )
    }

    /// Tells the teacher what the rounds will ask for, and the evaluation after them.
    pub fn expect(&self, recipe: &Recipe, rounds: &[Asked]) {
        if recipe.settings.teacher.kind != TeacherKind::Api {
            return;
        }
        let (mut samples, mut seen) = (Vec::new(), BTreeSet::new());
        let training = self.prompts.len() as u64 * self.samples_per_prompt;
        let each = |asked: &Asked| {
            asked
                .rounds
                .clone()
                .map(|round| (round, asked.prompts, asked.per_prompt))
                .collect::<Vec<_>>()
        };
        for (round, prompts, per_prompt) in rounds
            .iter()
            .flat_map(each)
            .filter(|_| self.latents.is_none())
        {
            if seen.len() as u64 >= training {
                break;
            }
            let asked: Vec<&String> = self
                .drawn_prompts(round, prompts)
                .into_iter()
                .map(|place| &self.prompts[place])
                .collect();
            for (slot, prompt) in asked.into_iter().enumerate() {
                let fresh = (0..per_prompt)
                    .map(|index| fresh_sample(round, prompts, slot, per_prompt, index));
                samples.extend(
                    fresh
                        .map(|fresh| (prompt.clone(), self.training_sample(prompt, fresh)))
                        .filter(|sample| seen.insert(sample.clone())),
                );
            }
        }
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

    fn drawn_prompts(&self, round: u64, count: usize) -> Vec<usize> {
        let total = self.prompts.len() as u64;
        (round * count as u64..(round + 1) * count as u64)
            .map(|place| {
                let order = Noise::new(self.seed, Purpose::Prompts, place / total, 0)
                    .order(self.prompts.len());
                order[(place % total) as usize]
            })
            .collect()
    }

    /// For each of `per_prompt` clips of each prompt a training prompt that is easily mistaken for
    /// its own, prompt-major; the first prompt is in place `first` of its round. `None` when there
    /// is no other prompt.
    pub fn mismatched_prompts(
        &self,
        prompts: &[String],
        first: usize,
        round: u64,
        per_prompt: usize,
    ) -> Option<Vec<String>> {
        let mut mismatched = Vec::with_capacity(prompts.len() * per_prompt);
        for (slot, prompt) in prompts.iter().enumerate() {
            let mut known = self
                .near
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
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

    /// Teacher latents of a training round, `per_prompt` fresh samples of each prompt: `[P * M, F, C,
    /// H, W]`, prompt-major.
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
                // A prompt may stand twice in a round: the slot keeps its samples apart.
                let fresh = fresh_sample(round, prompts.len(), slot, per_prompt, index);
                let sample = self.training_sample(prompt, fresh);
                match &self.latents {
                    Some(store) => {
                        self.queries.fetch_add(1, Ordering::Relaxed);
                        let [frames, channels, height, width] = self.latent_shape;
                        let values = TensorData::new(
                            store.read(prompt, sample)?,
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

    /// A teacher with few samples replays them in random order.
    fn training_sample(&self, prompt: &str, fresh: u64) -> u64 {
        if self.samples_per_prompt == 0 {
            return fresh;
        }
        let epoch = fresh / self.samples_per_prompt;
        let order = Noise::new(
            self.seed,
            Purpose::Prompts,
            epoch,
            afd_models::noise::key_of(prompt),
        )
        .order(self.samples_per_prompt as usize);
        order[(fresh % self.samples_per_prompt) as usize] as u64
    }

    fn training_clip(&self, prompt: &str, sample: u64) -> Result<Clip, BatchError> {
        if self.samples_per_prompt == 0 {
            return self.teacher_clip(prompt, sample);
        }
        let mut prepared = self
            .prepared
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(clip) = prepared.get(&(prompt.to_string(), sample)) {
            return Ok(clip.clone());
        }
        let clip = self.teacher_clip(prompt, sample)?;
        prepared.insert((prompt.to_string(), sample), clip.clone());
        Ok(clip)
    }

    /// Clips to latents `[B, F, C, H, W]`.
    pub fn encode(&self, clips: &[Clip]) -> Tensor<B, 5> {
        encode(&*self.codec, clips, self.shape, &self.device)
    }

    /// Latents `[B, F, C, H, W]` to 8-bit clips on the host.
    pub fn decode(&self, latents: Tensor<B, 5>) -> Vec<Clip> {
        decode(&*self.codec, self.shape, latents)
    }

    /// The same for clips of another length.
    pub fn decode_frames(&self, latents: Tensor<B, 5>, frames: usize) -> Vec<Clip> {
        decode(
            &*self.codec,
            ClipShape {
                frames,
                ..self.shape
            },
            latents,
        )
    }

    /// What rollouts look like after the journey that teacher clips have behind them: decode,
    /// clamp, round to 8 bits, encode.
    ///
    /// Without it a discriminator separates the sides by rounding instead of by motion (method.md
    /// E.7, leak hazards).
    pub fn round_trip(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        let journey = |latents| {
            let bytes = ((self.codec.decode(latents) + 1.0) * 127.5).round();
            self.codec.encode(bytes / 127.5 - 1.0)
        };
        if !self.one_by_one {
            return journey(latents);
        }
        let clips = latents.dims()[0];
        Tensor::cat(
            (0..clips)
                .map(|clip| journey(latents.clone().slice_dim(0, clip..clip + 1)))
                .collect(),
            0,
        )
    }

    /// Text rows of prompts, each repeated: `[P * repeats, L, text_width]`.
    pub fn text(&self, prompts: &[String], repeats: usize) -> Result<Tensor<B, 3>, BatchError> {
        let [length, width] = self.text_shape;
        let mut values = Vec::with_capacity(prompts.len() * repeats * length * width);
        for prompt in prompts {
            match self.rows.get(prompt) {
                Some(rows) => (0..repeats).for_each(|_| values.extend_from_slice(rows)),
                None => {
                    let rows = self.encoder.encode(prompt).map_err(BatchError::Text)?;
                    (0..repeats).for_each(|_| values.extend_from_slice(&rows));
                }
            }
        }
        Ok(Tensor::from_data(
            TensorData::new(values, [prompts.len() * repeats, length, width]),
            &self.device,
        ))
    }
}

/// The number of a clip among all that rounds of this size ever ask for.
fn fresh_sample(round: u64, prompts: usize, slot: usize, per_prompt: usize, index: usize) -> u64 {
    (round * prompts as u64 + slot as u64) * per_prompt as u64 + index as u64
}

/// Clips of `shape` to latents `[B, F, C, H, W]`.
pub fn encode<B: Backend>(
    codec: &dyn Codec<B>,
    clips: &[Clip],
    shape: ClipShape,
    device: &B::Device,
) -> Tensor<B, 5> {
    let ClipShape {
        frames,
        height,
        width,
        ..
    } = shape;
    let values: Vec<f32> = clips
        .iter()
        .flat_map(|clip| clip.pixels.iter().copied())
        .collect();
    // [B, T, H, W, 3] -> [B, T, 3, H, W]
    let pixels = Tensor::<B, 5>::from_data(
        TensorData::new(values, [clips.len(), frames, height, width, 3]),
        device,
    );
    codec.encode(pixels.permute([0, 1, 4, 2, 3]))
}

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

/// Distinct samples of a training prompt where the recipe asks for `asked` (0: as many as there are);
/// `None` if there is no end to them.
fn samples_of(asked: u64, teacher: &dyn Teacher, prompt: &str) -> Option<u64> {
    match (asked, teacher.samples(prompt)) {
        (0, there) => there,
        (asked, there) => Some(there.map_or(asked, |there| asked.min(there))),
    }
}

/// What the latents of a recipe's clips depend on.
pub fn latent_origin(recipe: &Recipe) -> Result<LatentOrigin, BatchError> {
    Ok(LatentOrigin {
        clip: recipe.settings.clip,
        fit: recipe.settings.teacher.fit,
        codec: recipe.codec.identity()?,
        latent_shape: recipe.latent_shape,
    })
}

/// Latents `[B, F, C, H, W]` to 8-bit clips on the host.
pub fn decode<B: Backend>(
    codec: &dyn Codec<B>,
    shape: ClipShape,
    latents: Tensor<B, 5>,
) -> Vec<Clip> {
    let pixels = codec.decode(latents).permute([0, 1, 3, 4, 2]);
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    let clip = |pixels: &[f32]| {
        round_to_8_bits(&Clip {
            shape,
            pixels: pixels.to_vec(),
        })
    };
    values
        .chunks(shape.frames * shape.height * shape.width * 3)
        .map(clip)
        .collect()
}
