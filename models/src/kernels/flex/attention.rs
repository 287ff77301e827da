//! Attention, one block of queries of one (clip, head) at a time.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::prelude::*;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder, s};

use super::lanes::{exponential, largest, sum, vectorised};
use super::{made, slice, values};
use crate::causal::Visibility;
use crate::kernels::{Attention, composite};

pub(super) fn attend(inputs: Attention<Flex>, visibility: &Visibility) -> Tensor<Flex, 3> {
    let dims = inputs.queries.dims();
    let read = Read::new(inputs);
    let mut output = vec![0.0; dims.iter().product()];
    let mut scores = Vec::new();
    for_each_view(&read, visibility, |clip, head, view| {
        let probabilities = probabilities(&read, (clip, head), view, &mut scores);
        let mut output = read
            .queries
            .part_mut(&mut output, clip, head, view.queries.clone());
        let mut from = 0;
        for (index, (source, rows)) in view.seen.iter().enumerate() {
            let values = read.values[*source].part(clip, head, rows.clone());
            let part = probabilities.slice(s![.., from..from + rows.len()]);
            general_mat_mul(
                1.0,
                &part,
                &values,
                if index == 0 { 0.0 } else { 1.0 },
                &mut output,
            );
            from += rows.len();
        }
    });
    made(output, dims)
}

/// Attention's inputs as memory. Keys and values: the sequence's own, then those of the past if
/// there is one.
pub(super) struct Read {
    pub queries: Heads,
    pub keys: Vec<Heads>,
    pub values: Vec<Heads>,
    query_chunk: usize,
}

impl Read {
    pub fn new(inputs: Attention<Flex>) -> Self {
        let (past_keys, past_values) = inputs.past.unzip();
        let heads = |tensor| Heads::new(tensor, inputs.heads);
        Self {
            queries: heads(inputs.queries),
            keys: [inputs.keys]
                .into_iter()
                .chain(past_keys)
                .map(heads)
                .collect(),
            values: [inputs.values]
                .into_iter()
                .chain(past_values)
                .map(heads)
                .collect(),
            query_chunk: inputs.query_chunk,
        }
    }

    pub fn scale(&self) -> f32 {
        (self.queries.head_width() as f32).sqrt().recip()
    }
}

/// `[B, S, heads * d]` in memory, read one (clip, head) at a time without copying.
pub(super) struct Heads {
    tensor: FlexTensor,
    pub dims: [usize; 3],
    heads: usize,
}

impl Heads {
    pub fn new(tensor: Tensor<Flex, 3>, heads: usize) -> Self {
        Self {
            dims: tensor.dims(),
            tensor: values(tensor),
            heads,
        }
    }

    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    fn head_width(&self) -> usize {
        self.dims[2] / self.heads
    }

    /// Where `rows` of a (clip, head) lie, and their shape.
    fn place(&self, clip: usize, head: usize, rows: &Range<usize>) -> (Range<usize>, [usize; 2]) {
        let [_, tokens, width] = self.dims;
        let start = (clip * tokens + rows.start) * width + head * self.head_width();
        // Up to the last row's last channel of this head.
        let length = (rows.len() - 1) * width + self.head_width();
        (start..start + length, [rows.len(), self.head_width()])
    }

    /// `[rows, d]`.
    pub fn part(&self, clip: usize, head: usize, rows: Range<usize>) -> ArrayView2<'_, f32> {
        let (place, shape) = self.place(clip, head, &rows);
        ArrayView2::from_shape(
            shape.strides([self.dims[2], 1]),
            &slice(&self.tensor)[place],
        )
        .expect("the part lies inside the tensor")
    }

    /// The same part of another tensor of this shape.
    pub fn part_mut<'a>(
        &self,
        other: &'a mut [f32],
        clip: usize,
        head: usize,
        rows: Range<usize>,
    ) -> ArrayViewMut2<'a, f32> {
        let (place, shape) = self.place(clip, head, &rows);
        ArrayViewMut2::from_shape(shape.strides([self.dims[2], 1]), &mut other[place])
            .expect("the part lies inside the tensor")
    }
}

/// One block of queries and what it sees, in tokens.
pub(super) struct Seen {
    pub queries: Range<usize>,
    /// (source, rows): source 0 is the sequence itself, 1 the past.
    pub seen: Vec<(usize, Range<usize>)>,
    /// Rows seen in all.
    pub keys: usize,
}

pub(super) fn for_each_view(
    read: &Read,
    visibility: &Visibility,
    mut work: impl FnMut(usize, usize, &Seen),
) {
    let tokens = read.queries.dims[1] / visibility.own_frames;
    let own = read.keys[0].dims[1] / visibility.own_frames;
    let scaled = |frames: &Range<usize>, tokens: usize| frames.start * tokens..frames.end * tokens;
    let views: Vec<Seen> = visibility
        .views
        .iter()
        .flat_map(|view| {
            let past = view.past.iter().map(|frames| (1, scaled(frames, tokens)));
            let seen: Vec<_> = past
                .chain(view.own.iter().map(|frames| (0, scaled(frames, own))))
                .collect();
            let keys = seen.iter().map(|(_, rows)| rows.len()).sum();
            composite::chunks(scaled(&view.queries, tokens), read.query_chunk).map(move |queries| {
                Seen {
                    queries,
                    seen: seen.clone(),
                    keys,
                }
            })
        })
        .collect();
    for clip in 0..read.queries.dims[0] {
        for head in 0..read.queries.heads {
            for view in &views {
                work(clip, head, view);
            }
        }
    }
}

/// `softmax(q k^T / sqrt(d))` of one view: `[queries, keys]` in `buffer`.
pub(super) fn probabilities<'a>(
    read: &Read,
    (clip, head): (usize, usize),
    view: &Seen,
    buffer: &'a mut Vec<f32>,
) -> ArrayView2<'a, f32> {
    let queries = read.queries.part(clip, head, view.queries.clone());
    let shape = [view.queries.len(), view.keys];
    buffer.resize(shape[0] * shape[1], 0.0);
    let mut from = 0;
    for (source, rows) in &view.seen {
        let keys = read.keys[*source].part(clip, head, rows.clone());
        let mut scores = matrix_mut(buffer, shape);
        general_mat_mul(
            read.scale(),
            &queries,
            &keys.t(),
            0.0,
            &mut scores.slice_mut(s![.., from..from + rows.len()]),
        );
        from += rows.len();
    }
    vectorised(|| {
        for row in buffer.chunks_exact_mut(shape[1]) {
            let largest = largest(row);
            for score in row.iter_mut() {
                *score = exponential(*score - largest);
            }
            let inverse = sum(row).recip();
            for score in row.iter_mut() {
                *score *= inverse;
            }
        }
    });
    matrix(buffer, shape)
}

pub(super) fn matrix(values: &[f32], shape: [usize; 2]) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape(shape, values).expect("as many values as the shape has")
}

pub(super) fn matrix_mut(values: &mut [f32], shape: [usize; 2]) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape(shape, values).expect("as many values as the shape has")
}
