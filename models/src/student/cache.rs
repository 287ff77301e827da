//! The key-value cache: functional, so that nothing is overwritten under a differentiated graph
//! (docs/method.md B.4).

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::attention::KeysValues;

/// The KV cache of a student: keys (after rotation) and values of earlier frames, per layer.
#[derive(Debug, Clone)]
pub struct KvCache<B: Backend> {
    /// Per layer: keys and values, each `[B, frames * S, D]`.
    pub layers: Vec<KeysValues<B>>,
    /// Absolute numbers of the cached frames, ascending.
    pub frames: Vec<usize>,
    /// Tokens per frame (S).
    pub tokens_per_frame: usize,
}

impl<B: Backend> KvCache<B> {
    /// How many clips are cached (B).
    pub fn clips(&self) -> usize {
        self.layers.first().map_or(0, |(keys, _)| keys.dims()[0])
    }

    /// The same as constants of a differentiated graph.
    pub fn lift<D: AutodiffBackend<InnerBackend = B>>(self) -> KvCache<D> {
        let layers = self.layers.into_iter().map(lifted).collect();
        KvCache {
            layers,
            frames: self.frames,
            tokens_per_frame: self.tokens_per_frame,
        }
    }

    /// The frames of both caches: `self` first.
    pub fn append(self, newer: KvCache<B>) -> Self {
        let layers = self
            .layers
            .into_iter()
            .zip(newer.layers)
            .map(|((keys, values), (newer_keys, newer_values))| {
                (
                    Tensor::cat(vec![keys, newer_keys], 1),
                    Tensor::cat(vec![values, newer_values], 1),
                )
            })
            .collect();
        Self {
            layers,
            frames: [self.frames, newer.frames].concat(),
            tokens_per_frame: self.tokens_per_frame,
        }
    }

    /// The clips of both caches, which must hold the same frames: `self` first.
    pub fn stack(self, other: KvCache<B>) -> Self {
        let pairs = self.layers.into_iter().zip(other.layers);
        let layers = pairs
            .map(|(own, other)| {
                (
                    Tensor::cat(vec![own.0, other.0], 0),
                    Tensor::cat(vec![own.1, other.1], 0),
                )
            })
            .collect();
        Self { layers, ..self }
    }

    /// Keeps only the frames whose absolute numbers lie in `visible`; used when a window rolls on.
    /// `None` when that leaves no frame.
    pub fn keep(self, visible: &[Range<usize>]) -> Option<Self> {
        let kept: Vec<usize> = (0..self.frames.len())
            .filter(|&slot| {
                visible
                    .iter()
                    .any(|range| range.contains(&self.frames[slot]))
            })
            .collect();
        if kept.is_empty() {
            return None;
        }
        if kept.len() == self.frames.len() {
            return Some(self);
        }
        let runs = consecutive_runs(&kept);
        let tokens = self.tokens_per_frame;
        let select = |tensor: Tensor<B, 3>| {
            Tensor::cat(
                runs.iter()
                    .map(|run| {
                        tensor
                            .clone()
                            .slice_dim(1, run.start * tokens..run.end * tokens)
                    })
                    .collect(),
                1,
            )
        };
        Some(Self {
            layers: self
                .layers
                .into_iter()
                .map(|(keys, values)| (select(keys), select(values)))
                .collect(),
            frames: kept.iter().map(|&slot| self.frames[slot]).collect(),
            tokens_per_frame: tokens,
        })
    }
}

/// Keys and values as constants of a differentiated graph.
pub(super) fn lifted<B: AutodiffBackend>(
    (keys, values): KeysValues<B::InnerBackend>,
) -> KeysValues<B> {
    (Tensor::from_inner(keys), Tensor::from_inner(values))
}

fn consecutive_runs(slots: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &slot in slots {
        match runs.last_mut() {
            Some(run) if run.end == slot => run.end += 1,
            _ => runs.push(slot..slot + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn keeping_a_sink_and_a_window_drops_the_frames_between() {
        let frames = Tensor::<NdArray, 1, Int>::arange(0..5, &Default::default())
            .float()
            .reshape([1, 5, 1]);
        let cache = KvCache {
            layers: vec![(frames.clone(), frames)],
            frames: (0..5).collect(),
            tokens_per_frame: 1,
        };
        assert!(cache.clone().keep(&[]).is_none());
        let kept = cache.keep(&[0..1, 3..5]).unwrap();
        assert_eq!(kept.frames, [0, 3, 4]);
        assert_eq!(
            kept.layers[0].1.to_data().to_vec::<f32>().unwrap(),
            [0.0, 3.0, 4.0]
        );
    }
}
