//! A differentiated run of the student that holds the graph of one block at a time.
//!
//! A plain graph keeps every block's insides until the backward pass. Here only the tokens between
//! blocks are kept, and each block runs again when its turn comes: one block's memory instead of
//! all of them, for one more forward pass. The caller walks the graphs in order, the tail with its
//! loss first, then the blocks from the last to the first, then the inputs, and hands each one's
//! gradients to [`Segments::absorb`].

mod pass;

use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::prelude::*;

use super::cache::{KvCache, lifted};
use super::transformer::Student;
use crate::kernels::Trainable;
use crate::rope::Rotation;

pub use pass::{Pass, Past, features, velocity};
use pass::{Shared, run_block};

/// Whether any weight of `module` is trained.
pub fn is_trained<B: Trainable, M: Module<B>>(module: &M) -> bool {
    struct Trained(bool);
    impl<B: Trainable> ModuleVisitor<B> for Trained {
        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
            self.0 |= param.val().is_require_grad();
        }
    }
    let mut trained = Trained(false);
    module.visit(&mut trained);
    trained.0
}

/// Whether anything is trained that comes before the blocks: embeddings of patches, text and
/// timesteps.
fn trains_inputs<B: Trainable>(student: &Student<B>) -> bool {
    let linears = [
        &student.patch_embedding,
        &student.time_embedding_in,
        &student.time_embedding_out,
        &student.time_projection,
    ];
    is_trained::<B, _>(&student.text_embedding) || linears.into_iter().any(is_trained::<B, _>)
}

/// Tokens between the blocks, and the gradients that have come back so far.
pub struct Segments<B: Trainable> {
    passes: Vec<Pass<B::InnerBackend>>,
    /// Blocks that are run, counted from the first.
    depth: usize,
    /// `[B, L, text_width]`.
    text: Tensor<B::InnerBackend, 3>,
    /// Values that several graphs read: of the text, then of each pass.
    shared: Shared<B::InnerBackend>,
    /// Tokens before each block, and after the last, as far as they are still needed:
    /// `[boundary][pass]`, each `[B, F * S, D]`.
    tokens: Vec<Vec<Tensor<B::InnerBackend, 3>>>,
    /// Whether the latents are what is differentiated, and the weights are constants.
    to_latents: bool,
    leaves: Leaves<B>,
    gradients: Leaves<B::InnerBackend>,
}

/// Leaves of the current graph, or the gradients of leaves.
#[derive(Debug, Clone)]
struct Leaves<B: Backend> {
    /// `[boundary][pass]`.
    tokens: Vec<Vec<Option<Tensor<B, 3>>>>,
    text: Option<Tensor<B, 3>>,
    embeddings: Vec<Option<Tensor<B, 2>>>,
    modulations: Vec<Option<Tensor<B, 3>>>,
    /// The passes' own latents, each `[B, F, C, H, W]`.
    latents: Vec<Option<Tensor<B, 5>>>,
}

impl<B: Backend> Leaves<B> {
    fn none(boundaries: usize, passes: usize) -> Self {
        Self {
            tokens: vec![vec![None; passes]; boundaries],
            text: None,
            embeddings: vec![None; passes],
            modulations: vec![None; passes],
            latents: vec![None; passes],
        }
    }
}

impl<B: Trainable> Segments<B> {
    /// Runs all passes without a graph and keeps the tokens between blocks. `text` is `[B, L,
    /// text_width]`.
    pub fn new(
        student: &Student<B>,
        text: Tensor<B::InnerBackend, 3>,
        passes: Vec<Pass<B::InnerBackend>>,
    ) -> Self {
        Self::down_to(student, text, passes, student.blocks.len())
    }

    /// The same through the first `depth` blocks only: for a reader of their tokens
    /// ([`Segments::features`]).
    pub fn down_to(
        student: &Student<B>,
        text: Tensor<B::InnerBackend, 3>,
        passes: Vec<Pass<B::InnerBackend>>,
        depth: usize,
    ) -> Self {
        let plain = student.valid();
        let shared = Shared::of(&plain, &text, &passes);
        let mut tokens = vec![
            passes
                .iter()
                .map(|pass| plain.embed_latents(pass.latents.clone()))
                .collect::<Vec<_>>(),
        ];
        for (layer, block) in plain.blocks.iter().enumerate().take(depth) {
            let constant = |cache: &KvCache<B::InnerBackend>| cache.layers[layer].clone();
            let next = run_block(
                block,
                &passes,
                tokens[layer].clone(),
                &shared,
                student.limits(),
                constant,
            );
            tokens.push(next);
        }
        let none = (tokens.len(), passes.len());
        Self {
            passes,
            depth,
            text,
            shared,
            tokens,
            to_latents: false,
            leaves: Leaves::none(none.0, none.1),
            gradients: Leaves::none(none.0, none.1),
        }
    }

    /// How many graphs there are for a student: the tail, one per block, and the inputs if anything
    /// there is trained.
    pub fn graphs(student: &Student<B>) -> usize {
        Self::graphs_down_to(student, student.blocks.len())
    }

    /// How many graphs there are for the first `depth` blocks of a student; only the tail if
    /// nothing before it is trained.
    pub fn graphs_down_to(student: &Student<B>, depth: usize) -> usize {
        let inputs = trains_inputs(student);
        let below = inputs || student.blocks[..depth].iter().any(is_trained::<B, _>);
        1 + if below {
            depth + usize::from(inputs)
        } else {
            0
        }
    }

    /// The same with gradients of the latents ([`Segments::latents_gradient`]) in place of those of
    /// weights, of which none may be trained: one graph for the tail, one per block, one for the
    /// latents.
    #[must_use]
    pub fn to_latents(mut self) -> Self {
        self.to_latents = true;
        self
    }

    /// The gradient `[B, F, C, H, W]` of the last pass's latents, once all graphs of
    /// [`Segments::to_latents`] have been walked.
    pub fn latents_gradient(&mut self) -> Option<Tensor<B::InnerBackend, 5>> {
        self.gradients.latents.last_mut().and_then(Option::take)
    }

    /// The last pass's velocity `[B, F, C, H, W]` without a graph.
    pub fn plain_velocity(&self, student: &Student<B>) -> Tensor<B::InnerBackend, 5> {
        let last = self.passes.len() - 1;
        student.valid().velocity(
            self.tokens[self.depth][last].clone(),
            self.shared.embeddings[last].clone(),
            self.passes[last].latents.dims(),
        )
    }

    /// The first graph: the last pass's velocity `[B, F, C, H, W]`, for the loss to be made of.
    pub fn velocity(&mut self, student: &Student<B>) -> Tensor<B, 5> {
        let last = self.passes.len() - 1;
        let boundary = self.depth;
        self.leaves = Leaves::none(boundary + 1, self.passes.len());
        let tokens = leaf(&self.tokens[boundary][last]);
        let embedding = leaf(&self.shared.embeddings[last]);
        self.leaves.tokens[boundary][last] = Some(tokens.clone());
        self.leaves.embeddings[last] = Some(embedding.clone());
        student.velocity(tokens, embedding, self.passes[last].latents.dims())
    }

    /// The first graph of a reader: the last pass's tokens `[B, F * S, D]` after each of the blocks
    /// numbered `layers` (0-based), for a loss to be made of. What comes back to a boundary from
    /// here and from the block above it adds up.
    pub fn features(&mut self, layers: &[usize]) -> Vec<Tensor<B, 3>> {
        let last = self.passes.len() - 1;
        self.leaves = Leaves::none(self.depth + 1, self.passes.len());
        let tap = |layer: &usize| {
            let tokens = leaf(&self.tokens[layer + 1][last]);
            self.leaves.tokens[layer + 1][last] = Some(tokens.clone());
            tokens
        };
        layers.iter().map(tap).collect()
    }

    /// Graph `number` (from 1): a scalar `[1]` whose gradients are the loss's for one block, or, at
    /// the end, for what comes before the blocks.
    pub fn graph(&mut self, student: &Student<B>, number: usize) -> Tensor<B, 1> {
        self.leaves = Leaves::none(self.depth + 1, self.passes.len());
        match self.depth.checked_sub(number) {
            Some(layer) => self.block(student, layer),
            None => self.inputs(student),
        }
    }

    /// Takes the gradients of the current graph's leaves out of `gradients`, which keep those of
    /// the weights.
    pub fn absorb(&mut self, gradients: &mut B::Gradients) {
        fn take<B: Trainable, const N: usize>(
            leaf: Option<&Tensor<B, N>>,
            gradients: &mut B::Gradients,
            total: &mut Option<Tensor<B::InnerBackend, N>>,
        ) {
            if let Some(more) = leaf.and_then(|leaf| leaf.grad_remove(gradients)) {
                *total = Some(match total.take() {
                    Some(sum) => sum + more,
                    None => more,
                });
            }
        }
        let leaves = std::mem::replace(&mut self.leaves, Leaves::none(0, 0));
        for (leaves, totals) in leaves.tokens.iter().zip(&mut self.gradients.tokens) {
            leaves
                .iter()
                .zip(totals)
                .for_each(|(leaf, total)| take(leaf.as_ref(), gradients, total));
        }
        for (leaf, total) in leaves.latents.iter().zip(&mut self.gradients.latents) {
            take(leaf.as_ref(), gradients, total);
        }
        take(leaves.text.as_ref(), gradients, &mut self.gradients.text);
        for (leaf, total) in leaves.embeddings.iter().zip(&mut self.gradients.embeddings) {
            take(leaf.as_ref(), gradients, total);
        }
        for (leaf, total) in leaves
            .modulations
            .iter()
            .zip(&mut self.gradients.modulations)
        {
            take(leaf.as_ref(), gradients, total);
        }
    }

    fn block(&mut self, student: &Student<B>, layer: usize) -> Tensor<B, 1> {
        let constants = self.to_latents;
        let shared = Shared {
            text: leaf_unless(constants, &self.shared.text),
            embeddings: Vec::new(),
            modulations: (self.shared.modulations.iter())
                .map(|modulation| leaf_unless(constants, modulation))
                .collect(),
            rotations: self
                .shared
                .rotations
                .iter()
                .cloned()
                .map(Rotation::lift)
                .collect(),
        };
        let tokens: Vec<Tensor<B, 3>> = self.tokens[layer].iter().map(leaf).collect();
        self.leaves.text = Some(shared.text.clone());
        self.leaves.modulations = shared.modulations.iter().cloned().map(Some).collect();
        self.leaves.tokens[layer] = tokens.iter().cloned().map(Some).collect();
        let constant = |cache: &KvCache<B::InnerBackend>| lifted(cache.layers[layer].clone());
        let next = run_block(
            &student.blocks[layer],
            &self.passes,
            tokens,
            &shared,
            student.limits(),
            constant,
        );
        // This block's outputs are needed no more.
        self.tokens.truncate(layer + 1);
        let upstream = std::mem::take(&mut self.gradients.tokens[layer + 1]);
        sum(next
            .into_iter()
            .zip(upstream)
            .filter_map(|(next, upstream)| Some(pulled(next, upstream?))))
    }

    fn inputs(&mut self, student: &Student<B>) -> Tensor<B, 1> {
        let mut parts = Vec::new();
        if self.to_latents {
            for (number, pass) in self.passes.iter().enumerate() {
                let Some(upstream) = self.gradients.tokens[0][number].take() else {
                    continue;
                };
                let latents = leaf(&pass.latents);
                self.leaves.latents[number] = Some(latents.clone());
                parts.push(pulled(student.embed_latents(latents), upstream));
            }
            return sum(parts.into_iter());
        }
        if let Some(upstream) = self.gradients.text.take() {
            parts.push(pulled(
                student.embed_text(Tensor::from_inner(self.text.clone())),
                upstream,
            ));
        }
        let device = self.text.device();
        for (number, pass) in self.passes.iter().enumerate() {
            let embedding = student.embed_frames(&pass.timesteps, &device);
            if let Some(upstream) = self.gradients.modulations[number].take() {
                parts.push(pulled(student.modulation(embedding.clone()), upstream));
            }
            if let Some(upstream) = self.gradients.embeddings[number].take() {
                parts.push(pulled(embedding, upstream));
            }
            if let Some(upstream) = self.gradients.tokens[0][number].take() {
                parts.push(pulled(
                    student.embed_latents(Tensor::from_inner(pass.latents.clone())),
                    upstream,
                ));
            }
        }
        sum(parts.into_iter())
    }
}

fn leaf<B: Trainable, const N: usize>(value: &Tensor<B::InnerBackend, N>) -> Tensor<B, N> {
    Tensor::from_inner(value.clone()).require_grad()
}

/// A leaf, or a constant of the graph.
fn leaf_unless<B: Trainable, const N: usize>(
    constant: bool,
    value: &Tensor<B::InnerBackend, N>,
) -> Tensor<B, N> {
    if constant {
        Tensor::from_inner(value.clone())
    } else {
        leaf(value)
    }
}

/// A scalar whose gradient for `value` is `upstream`.
pub fn pulled<B: Trainable, const N: usize>(
    value: Tensor<B, N>,
    upstream: Tensor<B::InnerBackend, N>,
) -> Tensor<B, 1> {
    (value * Tensor::from_inner(upstream)).sum()
}

fn sum<B: Backend>(mut parts: impl Iterator<Item = Tensor<B, 1>>) -> Tensor<B, 1> {
    let Some(first) = parts.next() else {
        unreachable!("a loss that no token reaches has no gradient")
    };
    parts.fold(first, |sum, part| sum + part)
}
