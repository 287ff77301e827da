//! Runs of a student's blocks, in one graph: what the segments cut into pieces.

use burn::prelude::*;

use crate::causal::Visibility;
use crate::kernels::{Kernels, Trainable};
use crate::rope::Rotation;
use crate::student::attention::KeysValues;
use crate::student::block::{StudentBlock, Surroundings};
use crate::student::cache::KvCache;
use crate::student::config::Limits;
use crate::student::transformer::{Inputs, Student};

/// One run of a clip's tokens through all blocks.
#[derive(Debug, Clone)]
pub struct Pass<B: Backend> {
    /// `[B, F, C, H, W]`.
    pub latents: Tensor<B, 5>,
    /// Timestep of every (sample, frame), frame fastest.
    pub timesteps: Vec<f32>,
    /// Absolute numbers of the latent frames.
    pub frames: Vec<usize>,
    /// Who sees whom.
    pub visibility: Visibility,
    /// The context.
    pub past: Past<B>,
}

/// Where the keys and values of the context come from.
#[derive(Debug, Clone)]
pub enum Past<B: Backend> {
    /// There is no context.
    Nothing,
    /// A KV cache that is not differentiated.
    Constant(KvCache<B>),
    /// An earlier pass of this number, differentiated with it.
    Of(usize),
}

impl<B: Backend> Past<B> {
    fn of<C: Backend>(
        &self,
        earlier: &[KvCache<C>],
        constant: impl Fn(&KvCache<B>) -> KvCache<C>,
    ) -> Option<KvCache<C>> {
        match self {
            Self::Nothing => None,
            Self::Constant(cache) => Some(constant(cache)),
            Self::Of(number) => Some(earlier[*number].clone()),
        }
    }
}

/// The last pass's velocity `[B, F, C, H, W]` with all passes in one graph: what
/// [`Segments`](super::Segments) cuts into pieces. `text` is `[B, L, text_width]`.
pub fn velocity<B: Trainable>(
    student: &Student<B>,
    text: Tensor<B::InnerBackend, 3>,
    passes: &[Pass<B::InnerBackend>],
) -> Tensor<B, 5> {
    let text = student.text_cache(Tensor::from_inner(text));
    let mut caches: Vec<KvCache<B>> = Vec::with_capacity(passes.len());
    let mut velocity = None;
    for pass in passes {
        let past = pass.past.of(&caches, |cache| cache.clone().lift());
        let (timesteps, frames, visibility) =
            (&pass.timesteps[..], &pass.frames[..], &pass.visibility);
        let inputs = Inputs {
            timesteps,
            frames,
            text: &text,
            past: past.as_ref(),
            visibility,
        };
        let (of_this_pass, cache) =
            student.forward(Tensor::from_inner(pass.latents.clone()), &inputs);
        velocity = Some(of_this_pass);
        caches.push(cache);
    }
    velocity.unwrap_or_else(|| unreachable!("there is at least one pass"))
}

/// A pass's tokens `[B, F * S, D]` after each of the blocks numbered `layers` (0-based, ascending),
/// in one graph: what [`Segments::features`](super::Segments::features) gives block by block.
/// Blocks after the last of them are not run. `text` is `[B, L, text_width]`; there is no past but
/// a constant one.
pub fn features<B: Kernels>(
    student: &Student<B>,
    text: &Tensor<B, 3>,
    pass: Pass<B>,
    layers: &[usize],
) -> Vec<Tensor<B, 3>> {
    let passes = [pass];
    let shared = Shared::of(student, text, &passes);
    let mut tokens = vec![student.embed_latents(passes[0].latents.clone())];
    let mut features = Vec::with_capacity(layers.len());
    for (layer, block) in student
        .blocks
        .iter()
        .enumerate()
        .take(layers.last().map_or(0, |last| last + 1))
    {
        let constant = |cache: &KvCache<B>| cache.layers[layer].clone();
        tokens = run_block(block, &passes, tokens, &shared, student.limits(), constant);
        if layers.contains(&layer) {
            features.extend(tokens.iter().cloned());
        }
    }
    features
}

/// What the blocks read besides tokens.
#[derive(Debug, Clone)]
pub(super) struct Shared<B: Backend> {
    /// The text after its embedding, `[B, L, D]`.
    pub text: Tensor<B, 3>,
    /// e of each pass, `[B * F or 1, D]`.
    pub embeddings: Vec<Tensor<B, 2>>,
    /// e0 of each pass, `[B * F or 1, 6, D]`.
    pub modulations: Vec<Tensor<B, 3>>,
    /// Of each pass's tokens.
    pub rotations: Vec<Rotation<B>>,
}

impl<B: Kernels> Shared<B> {
    pub fn of(student: &Student<B>, text: &Tensor<B, 3>, passes: &[Pass<B>]) -> Self {
        let embeddings: Vec<_> = passes
            .iter()
            .map(|pass| student.embed_frames(&pass.timesteps, &text.device()))
            .collect();
        let modulations = embeddings
            .iter()
            .map(|embedding| student.modulation(embedding.clone()))
            .collect();
        let rotations = passes
            .iter()
            .map(|pass| student.rotation(&pass.frames, pass.latents.dims()))
            .collect();
        Self {
            text: student.embed_text(text.clone()),
            embeddings,
            modulations,
            rotations,
        }
    }
}

/// One block for all passes; `constant` gives this block's keys and values of a KV cache.
pub(super) fn run_block<B: Kernels, I: Backend>(
    block: &StudentBlock<B>,
    passes: &[Pass<I>],
    tokens: Vec<Tensor<B, 3>>,
    shared: &Shared<B>,
    limits: Limits,
    constant: impl Fn(&KvCache<I>) -> KeysValues<B>,
) -> Vec<Tensor<B, 3>> {
    let text = block.text_cache(shared.text.clone(), limits.precision);
    let mut own: Vec<KeysValues<B>> = Vec::with_capacity(passes.len());
    let mut next = Vec::with_capacity(passes.len());
    for (((pass, tokens), modulation), rotation) in passes
        .iter()
        .zip(tokens)
        .zip(&shared.modulations)
        .zip(&shared.rotations)
    {
        let past = match &pass.past {
            Past::Nothing => None,
            Past::Constant(cache) => Some(constant(cache)),
            Past::Of(earlier) => Some(own[*earlier].clone()),
        };
        let around = Surroundings {
            modulation,
            rotation,
            past: past.as_ref(),
            text: &text,
            visibility: &pass.visibility,
            limits,
        };
        let (after, keys_values) = block.forward(tokens, &around);
        next.push(after);
        own.push(keys_values);
    }
    next
}
