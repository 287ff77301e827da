//! The gradients of attention, from probabilities that are computed again.

use burn::backend::Flex;
use burn::prelude::*;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, s};

use super::attention::{Heads, Read, Seen, for_each_view, matrix, matrix_mut, probabilities};
use super::lanes::vectorised;
use super::made;
use crate::causal::Visibility;
use crate::kernels::Attention;

pub(super) fn attend_backward(
    inputs: Attention<Flex>,
    output: Tensor<Flex, 3>,
    gradient: Tensor<Flex, 3>,
    visibility: &Visibility,
    past: bool,
) -> Vec<Tensor<Flex, 3>> {
    let heads = inputs.heads;
    let read = Read::new(inputs);
    let (output, gradient) = (Heads::new(output, heads), Heads::new(gradient, heads));
    let mut for_queries = vec![0.0; read.queries.count()];
    let zeros = |sources: &[Heads]| -> Vec<Vec<f32>> {
        sources
            .iter()
            .map(|source| vec![0.0; source.count()])
            .collect()
    };
    let (mut for_keys, mut for_values) = (zeros(&read.keys), zeros(&read.values));
    let (mut scores, mut slopes) = (Vec::new(), Vec::new());
    for_each_view(&read, visibility, |clip, head, view| {
        let rows = view.queries.clone();
        let probabilities = probabilities(&read, (clip, head), view, &mut scores);
        let (output, gradient) = (
            output.part(clip, head, rows.clone()),
            gradient.part(clip, head, rows.clone()),
        );
        let queries = read.queries.part(clip, head, rows.clone());
        let slopes = score_gradients(
            &read,
            (clip, head),
            view,
            probabilities,
            [output, gradient],
            &mut slopes,
        );
        let mut for_queries = read.queries.part_mut(&mut for_queries, clip, head, rows);
        let mut from = 0;
        for (source, seen) in &view.seen {
            let columns = s![.., from..from + seen.len()];
            from += seen.len();
            let slopes = slopes.slice(columns);
            general_mat_mul(
                1.0,
                &slopes,
                &read.keys[*source].part(clip, head, seen.clone()),
                1.0,
                &mut for_queries,
            );
            if *source == 0 || past {
                let shape = &read.keys[*source];
                let mut keys = shape.part_mut(&mut for_keys[*source], clip, head, seen.clone());
                general_mat_mul(1.0, &slopes.t(), &queries, 1.0, &mut keys);
                let mut values = shape.part_mut(&mut for_values[*source], clip, head, seen.clone());
                general_mat_mul(
                    1.0,
                    &probabilities.slice(columns).t(),
                    &gradient,
                    1.0,
                    &mut values,
                );
            }
        }
    });
    let mut gradients = vec![made(for_queries, read.queries.dims)];
    let sources = if past { read.keys.len() } else { 1 };
    for ((keys, values), shape) in for_keys
        .into_iter()
        .zip(for_values)
        .zip(&read.keys)
        .take(sources)
    {
        gradients.extend([made(keys, shape.dims), made(values, shape.dims)]);
    }
    gradients
}

/// The gradients dS of one view's scores, `[queries, keys]` in `buffer`, given its probabilities P,
/// outputs O and their gradients dO: `dS = P (dP - sum(dP P)) / sqrt(d)` with `dP = dO v^T`.
fn score_gradients<'a>(
    read: &Read,
    (clip, head): (usize, usize),
    view: &Seen,
    probabilities: ArrayView2<f32>,
    [output, gradient]: [ArrayView2<f32>; 2],
    buffer: &'a mut Vec<f32>,
) -> ArrayView2<'a, f32> {
    let shape = [view.queries.len(), view.keys];
    buffer.resize(shape[0] * shape[1], 0.0);
    // dP, source by source.
    let mut from = 0;
    for (source, seen) in &view.seen {
        let values = read.values[*source].part(clip, head, seen.clone());
        let mut part = matrix_mut(buffer, shape);
        general_mat_mul(
            1.0,
            &gradient,
            &values.t(),
            0.0,
            &mut part.slice_mut(s![.., from..from + seen.len()]),
        );
        from += seen.len();
    }
    // The sum over the keys equals that of dO O over the channels.
    let scale = read.scale();
    for (row, slopes) in buffer.chunks_exact_mut(view.keys).enumerate() {
        let mean = gradient.row(row).dot(&output.row(row));
        if let Some(probabilities) = probabilities.row(row).to_slice() {
            vectorised(|| {
                for (slope, probability) in slopes.iter_mut().zip(probabilities) {
                    *slope = probability * (*slope - mean) * scale;
                }
            });
        }
    }
    matrix(buffer, shape)
}
