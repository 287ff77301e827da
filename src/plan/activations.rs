//! What passes through a transformer hold at once, in values (not bytes). Tested against measured
//! peaks (`tests/plan_memory.rs`).
//!
//! Values are of the type that products of matrices are computed in; one that stays in f32 counts
//! as two of a 16-bit type (`f32_values`).
//!
//! D width, H hidden width of the feed-forward network, L text tokens. A differentiated block keeps
//! 17 D + 2 H values per token: its input; the modulated input; queries and keys before and after
//! normalisation and rotation; values; the attention's output before and after its projection; the
//! same for cross-attention (normed tokens, queries twice, output) with the two sums around it; the
//! modulated input, hidden values before and after GELU and output of the feed-forward network. The
//! input and the two sums are tokens, which stay in f32.
//!
//! On top of that come the operations' own values. Those of tensor operations are counted one by
//! one, each as memory of its own: what a backend that fuses them does not hold is not taken off.

use afd_models::discriminator::RegisterConfig;
use afd_models::lora::LoraConfig;
use afd_models::student::causal::View;
use afd_models::student::{StudentConfig, Visibility};

use super::inputs::KernelSet;
use super::transformer::{block_parameters, lora_parameters, lora_values};

/// One run of clips through a transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Run<'a> {
    /// Sizes.
    pub config: &'a StudentConfig,
    /// How many values an f32 counts as: 2 where products are computed in 16 bits, else 1.
    pub f32_values: u64,
    /// Low-rank factors of the blocks.
    pub lora: Option<&'a LoraConfig>,
    /// Clips at once.
    pub clips: usize,
    /// Tokens of a latent frame.
    pub tokens_per_frame: usize,
    /// Who sees whom.
    pub visibility: &'a Visibility,
    /// Passes over the clips in one graph: 2 where the clean context is differentiated, else 1.
    pub passes: usize,
    /// Text embeddings of a prompt (L).
    pub text_length: usize,
    /// Queries of a clip and head whose scores are held at once.
    pub attention_queries: usize,
    /// Who computes.
    pub kernels: KernelSet,
    /// Whether any weight is trained; else the graph leads to the inputs only, and what products
    /// of matrices read is not kept.
    pub trained: bool,
}

impl Run<'_> {
    fn clip_tokens(&self) -> usize {
        self.visibility.own_frames * self.tokens_per_frame
    }

    /// Tokens of all clips and passes.
    fn tokens(&self) -> u64 {
        (self.passes * self.clips * self.clip_tokens()) as u64
    }

    fn width(&self) -> u64 {
        self.config.width as u64
    }

    fn hidden(&self) -> u64 {
        self.config.feed_forward_width as u64
    }

    /// Tokens between two blocks.
    pub fn boundary(&self) -> u64 {
        self.f32_values * self.tokens() * self.width()
    }

    /// Kept by one differentiated block, its input included.
    pub fn block(&self) -> u64 {
        let width = self.width();
        let trained = u64::from(self.trained);
        let [of_token, of_text] = lora_values(self.lora).map(|values| trained * values as u64);
        // Five vectors (what queries, keys and values are made of, the same of cross-attention,
        // what both attentions' projections read, what the feed-forward network reads) and the
        // hidden values after GELU are kept for the weights' gradients alone.
        let per_token = (9 + 5 * trained + 3 * self.f32_values) * width
            + (1 + trained) * self.hidden()
            + of_token;
        // Keys and values of the text, the keys before their norm in f32 like everything else of
        // the text; about 14 vectors of modulation per frame.
        let per_text_token = (2 + trained * self.f32_values) * width + self.f32_values * of_text;
        let frames = (self.passes * self.clips * self.visibility.own_frames) as u64;
        self.tokens() * per_token
            + (self.clips * self.text_length) as u64 * per_text_token
            + frames * 14 * self.f32_values * width
            + self.recast()
    }

    /// Weights in another type than they are held in: trained ones cast to bf16 for tokens, frozen
    /// ones cast to f32 for the text.
    fn recast(&self) -> u64 {
        if self.f32_values == 1 {
            return 0;
        }
        let (to_bf16, to_f32) = match self.lora {
            Some(lora) => (
                lora_parameters(self.config, lora) / self.config.layers,
                2 * self.f32_values * self.width() * self.width(),
            ),
            None => (block_parameters(self.config), 0),
        };
        to_bf16 as u64 + to_f32
    }

    /// Kept besides the blocks: rotations, the text before and after its embedding, the head.
    pub fn outside(&self) -> u64 {
        let rotations =
            2 * self.f32_values * (self.passes * self.clip_tokens()) as u64 * self.width();
        let text = self.f32_values
            * (self.clips * self.text_length) as u64
            * (self.config.text_width as u64 + 3 * self.width());
        rotations + text
    }

    /// On top of what a block keeps while its backward pass is at its largest: the gradient of its
    /// tokens and what GELU's needs; or what attention needs, whichever is more (by then what comes
    /// after attention, 7 D + 2 H, is freed).
    pub fn backward(&self) -> u64 {
        // Passes are walked backwards one after another.
        let (tokens, width) = (self.tokens() / self.passes as u64, self.width());
        let freed = tokens * (7 * width + 2 * self.hidden());
        let split = self.of_operations(8 * tokens * width + self.joined());
        // Gradients of keys and values are summed in f32.
        let attention = (3 + 2 * self.f32_values) * tokens * width + split + self.scores(2, 4);
        // GELU's gradient, in and out, or that of a product and of its low-rank factors; with
        // tensor operations five f32 values at once, beside which GELU's own result is already
        // freed.
        let hidden = match (self.kernels, self.f32_values) {
            (KernelSet::Loops, _) => 2 + u64::from(self.lora.is_some()),
            (KernelSet::Operations, 1) => 3,
            (KernelSet::Operations, f32_values) => 5 * f32_values - 1,
        };
        (tokens * (hidden * self.hidden() + self.f32_values * width))
            .max(attention.saturating_sub(freed))
    }

    /// Held at most by a block that is not differentiated, its tokens included.
    pub fn forward(&self) -> u64 {
        let (tokens, width) = (self.tokens() / self.passes as u64, self.width());
        // Tokens, the modulated ones, queries, keys, and what norm and rotation need.
        let projections = (6 + self.of_operations(4 * self.f32_values - 2)) * width;
        // Tokens, queries, keys, values, and the output on its way back from the heads.
        let attended = (self.f32_values + 5 + self.of_operations(3)) * width;
        let attention = tokens * attended + self.of_operations(self.joined()) + self.scores(1, 3);
        // GELU in and out, or a product beside that of its low-rank factors; with tensor operations
        // three f32 values at once, and the result.
        let hidden = match (self.kernels, self.f32_values) {
            (KernelSet::Loops, _) => 2 + u64::from(self.lora.is_some()),
            (KernelSet::Operations, 1) => 3,
            (KernelSet::Operations, f32_values) => 3 * f32_values + 1,
        };
        (tokens * projections)
            .max(attention)
            .max(tokens * (hidden * self.hidden() + (self.f32_values + 2) * width))
    }

    /// `values` where tensor operations compute.
    fn of_operations(&self, values: u64) -> u64 {
        if self.kernels == KernelSet::Operations {
            values
        } else {
            0
        }
    }

    /// Keys and values that are copied to lie side by side, where what a view sees is in several
    /// pieces.
    fn joined(&self) -> u64 {
        let pieces = |view: &&View| view.past.len() + view.own.len() > 1;
        let seen = self
            .visibility
            .views
            .iter()
            .filter(pieces)
            .map(|view| self.seen(view))
            .max()
            .unwrap_or(0);
        (2 * self.clips * seen * self.config.width) as u64
    }

    /// Tokens of a clip that a view's queries see.
    fn seen(&self, view: &View) -> usize {
        view.past
            .iter()
            .chain(&view.own)
            .map(ExactSizeIterator::len)
            .sum::<usize>()
            * self.tokens_per_frame
    }

    /// Attention scores, `loops` or `operations` times as many as are computed at once.
    fn scores(&self, loops: u64, operations: u64) -> u64 {
        let of_view =
            |queries: usize, keys: usize| (queries.min(self.attention_queries) * keys) as u64;
        let own = self
            .visibility
            .views
            .iter()
            .map(|view| of_view(view.queries.len() * self.tokens_per_frame, self.seen(view)));
        let most = own
            .chain([of_view(self.clip_tokens(), self.text_length)])
            .max()
            .unwrap_or(0);
        match self.kernels {
            KernelSet::Loops => loops * most,
            KernelSet::Operations => {
                self.f32_values * operations * (self.clips * self.config.heads) as u64 * most
            }
        }
    }
}

/// What a differentiated run holds at the top of its backward pass, without gradients of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Tokens between blocks that are kept while one block's graph is held.
    pub boundaries: u64,
    /// Graphs.
    pub graphs: u64,
    /// The backward pass at its largest.
    pub backward: u64,
}

/// A run's peak in one graph of `depth` blocks.
pub fn plain(run: &Run, depth: usize) -> Peak {
    Peak {
        boundaries: 0,
        graphs: depth as u64 * run.block() + run.outside() + 2 * run.boundary(),
        backward: run.backward(),
    }
}

/// A run's peak when `depth` blocks are differentiated one at a time.
pub fn block_by_block(run: &Run, depth: usize) -> Peak {
    let boundaries = depth as u64 * run.boundary();
    // A block's own input is one of the boundaries, and the gradient that comes from above is freed
    // first.
    Peak {
        boundaries,
        graphs: run.block() - run.boundary() + run.outside(),
        backward: run.backward().saturating_sub(run.boundary()),
    }
}

/// Values that the readers of a register discriminator keep for `tokens` tokens of one clip: normed
/// tokens (if they are trained), keys before and after their norm, values; and twice the tokens'
/// gradient in the backward pass.
pub fn readers(config: &RegisterConfig, width: usize, tokens: usize, trained: bool) -> u64 {
    let each = 3 + u64::from(trained);
    (each * config.layers.len() as u64 + 2) * (tokens * width) as u64
}
