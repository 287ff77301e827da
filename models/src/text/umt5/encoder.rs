//! The encoder: token ids to text embeddings (docs/method.md D).
//!
//! Unlike the T5 of the paper, every layer has its own table of relative positions; like it,
//! attention is not scaled by 1/sqrt(d). Shape letters: B prompts, S tokens, D width, H heads, h
//! channels per head.

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, FloatDType, Int};

use super::UmT5Config;
use super::position::buckets;
use crate::kernels::{Affine, Kernels, Norm};
use crate::layers::{normalise, rows};

/// Added to the scores of padding: as good as minus infinity, without its NaN in a row of nothing
/// else.
const HIDDEN: f32 = -1e30;

/// A umT5 encoder. Weights keep the type and the orientation (`[out, in]`) that they were read
/// with; only their matrix products are computed in that type. Norms, attention, GELU and the
/// residual stream are f32.
#[derive(Module, Debug)]
pub struct UmT5Encoder<B: Backend> {
    /// `[vocabulary, D]`.
    pub token_embedding: Param<Tensor<B, 2>>,
    /// The layers, first to last.
    pub blocks: Vec<Layer<B>>,
    /// Scale of the last norm, `[D]`.
    pub norm: Param<Tensor<B, 1>>,
    #[module(skip)]
    config: UmT5Config,
}

/// One layer: `x += attention(norm1(x))`, `x += feed_forward(norm2(x))`.
#[derive(Module, Debug)]
pub struct Layer<B: Backend> {
    /// Scale of the norm before attention, `[D]`.
    pub norm1: Param<Tensor<B, 1>>,
    /// Queries, `[H h, D]`.
    pub q: Param<Tensor<B, 2>>,
    /// Keys, `[H h, D]`.
    pub k: Param<Tensor<B, 2>>,
    /// Values, `[H h, D]`.
    pub v: Param<Tensor<B, 2>>,
    /// Output, `[D, H h]`.
    pub o: Param<Tensor<B, 2>>,
    /// What is added to the scores per bucket of relative positions and head, `[buckets, H]`.
    pub pos_embedding: Param<Tensor<B, 2>>,
    /// Scale of the norm before the feed-forward network, `[D]`.
    pub norm2: Param<Tensor<B, 1>>,
    /// What goes through the GELU, `[F, D]`.
    pub gate: Param<Tensor<B, 2>>,
    /// What the gate multiplies, `[F, D]`.
    pub fc1: Param<Tensor<B, 2>>,
    /// Back to the width, `[D, F]`.
    pub fc2: Param<Tensor<B, 2>>,
}

impl<B: Backend> UmT5Encoder<B> {
    /// An encoder of the tensors that `read` gives for Wan's names
    /// (`crate::weights::umt5::shapes`), asked for one by one, each held once.
    ///
    /// # Errors
    /// `read`'s first one. Ranks must be those of the table.
    pub fn read<E>(
        config: &UmT5Config,
        device: &B::Device,
        mut read: impl FnMut(&str) -> Result<TensorData, E>,
    ) -> Result<Self, E> {
        let token_embedding = param(read("token_embedding.weight")?, device);
        let mut blocks = Vec::new();
        for block in 0..config.layers {
            let mut read = |name: &str| read(&format!("blocks.{block}.{name}.weight"));
            blocks.push(Layer {
                norm1: param(read("norm1")?, device),
                q: param(read("attn.q")?, device),
                k: param(read("attn.k")?, device),
                v: param(read("attn.v")?, device),
                o: param(read("attn.o")?, device),
                pos_embedding: param(read("pos_embedding.embedding")?, device),
                norm2: param(read("norm2")?, device),
                gate: param(read("ffn.gate.0")?, device),
                fc1: param(read("ffn.fc1")?, device),
                fc2: param(read("ffn.fc2")?, device),
            });
        }
        Ok(Self {
            token_embedding,
            blocks,
            norm: param(read("norm.weight")?, device),
            config: config.clone(),
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &UmT5Config {
        &self.config
    }
}

impl<B: Kernels> UmT5Encoder<B> {
    /// Embeddings `[B, S, D]` in f32 of `ids [B, S]`, of which the first `lengths[b]` (1 to S) of a
    /// prompt are its own; those of padding are zero.
    pub fn forward(&self, ids: Tensor<B, 2, Int>, lengths: &[usize]) -> Tensor<B, 3> {
        let ([batch, length], width, device) = (ids.dims(), self.config.width, ids.device());
        assert_eq!(lengths.len(), batch, "one length per prompt");
        // [B, S]: 1 for a prompt's own tokens.
        let own: Vec<f32> = lengths
            .iter()
            .flat_map(|own| (0..length).map(move |token| if token < *own { 1.0 } else { 0.0 }))
            .collect();
        let own = Tensor::<B, 1>::from_data(TensorData::from(&own[..]), (&device, DType::F32))
            .reshape([batch, length]);
        // [B, 1, 1, S]
        let padding = ((own.clone() - 1.0) * -HIDDEN).reshape([batch, 1, 1, length]);
        let buckets = Tensor::<B, 1, Int>::from_data(
            TensorData::from(&buckets(length, &self.config)[..]),
            &device,
        );

        let x = self
            .token_embedding
            .val()
            .select(0, ids.reshape([batch * length]))
            .cast(FloatDType::F32);
        let mut x = x.reshape([batch, length, width]);
        for layer in &self.blocks {
            x = x.clone() + self.attend(layer, rms_norm(&layer.norm1, x), &buckets, &padding);
            x = x.clone() + feed_forward(layer, rms_norm(&layer.norm2, x));
        }
        rms_norm(&self.norm, x) * own.reshape([batch, length, 1])
    }

    /// Self-attention of `x [B, S, D]`.
    fn attend(
        &self,
        layer: &Layer<B>,
        x: Tensor<B, 3>,
        buckets: &Tensor<B, 1, Int>,
        padding: &Tensor<B, 4>,
    ) -> Tensor<B, 3> {
        let (
            [batch, length, width],
            &UmT5Config {
                heads, head_width, ..
            },
        ) = (x.dims(), &self.config);
        let x = rows(x);
        // [B S, H h] -> [B, H, S, h]
        let split = |weight: &Param<Tensor<B, 2>>| {
            product(weight, x.clone())
                .reshape([batch, length, heads, head_width])
                .swap_dims(1, 2)
        };
        let (queries, keys, values) = (split(&layer.q), split(&layer.k), split(&layer.v));
        // [buckets, H] -> [S S, H] -> [1, H, S, S]
        let table = layer.pos_embedding.val().cast(FloatDType::F32);
        let bias = table
            .select(0, buckets.clone())
            .swap_dims(0, 1)
            .reshape([1, heads, length, length]);
        let scores = queries.matmul(keys.swap_dims(2, 3)) + bias + padding.clone();
        // [B, H, S, h] -> [B S, H h]
        let mixed = softmax(scores, 3)
            .matmul(values)
            .swap_dims(1, 2)
            .reshape([batch * length, heads * head_width]);
        product(&layer.o, mixed).reshape([batch, length, width])
    }
}

/// `fc2(fc1(x) * gelu_tanh(gate(x)))` of `x [B, S, D]`.
fn feed_forward<B: Kernels>(layer: &Layer<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let dims = x.dims();
    let x = rows(x);
    let gate = B::gelu_tanh(product(&layer.gate, x.clone()));
    product(&layer.fc2, product(&layer.fc1, x) * gate).reshape(dims)
}

/// `x [tokens, in]` times `weight [out, in]`, in the weight's type: `[tokens, out]` in f32.
fn product<B: Backend>(weight: &Param<Tensor<B, 2>>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    let weight = weight.val();
    let x = x.cast(float_type(&weight));
    // This way around the large operand is read as it lies in memory.
    weight
        .matmul(x.transpose())
        .transpose()
        .cast(FloatDType::F32)
}

fn rms_norm<B: Kernels>(scale: &Param<Tensor<B, 1>>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let scale = scale.val().cast(FloatDType::F32).unsqueeze();
    normalise(
        x,
        Affine { scale, shift: None },
        Norm::rms(UmT5Config::EPSILON),
    )
}

fn float_type<B: Backend>(weight: &Tensor<B, 2>) -> FloatDType {
    match weight.dtype() {
        DType::BF16 => FloatDType::BF16,
        DType::F16 => FloatDType::F16,
        _ => FloatDType::F32,
    }
}

/// A parameter of the data's own type.
fn param<B: Backend, const N: usize>(data: TensorData, device: &B::Device) -> Param<Tensor<B, N>> {
    let dtype = data.dtype;
    Param::initialized(ParamId::new(), Tensor::from_data(data, (device, dtype)))
}
