//! The sizes of a VAE from the names and shapes in a file.

use std::collections::{BTreeMap, BTreeSet};

use super::table;
use crate::codec::wan_vae::WanVaeConfig;
use crate::weights::check::Shapes;
use crate::weights::layout::Layout;

/// See [`WanVaeFile::sizes`](super::WanVaeFile::sizes).
pub(super) fn sizes(found: &Shapes, layout: Layout) -> Option<WanVaeConfig> {
    let (stages, residual_blocks) = structure(found, layout)?;
    let row = |name: &str, at: usize| found.get(name).and_then(|shape| shape.get(at)).copied();
    // Any structure has these names: several witnesses for each size.
    let ends = table(&WanVaeConfig::sized(2, 1), layout);
    let end = |path: &str, at: usize| row(&ends.rows()[path].name, at);
    let first = ["encoder.input.bias", "encoder.input.weight"].map(|path| end(path, 0));
    let base_width = commonest(first.into_iter().chain([
        end("decoder.norm.gamma", 0),
        end("decoder.output.weight", 1),
    ]))?;
    let latent_channels = commonest([
        end("dequantise.weight", 0),
        end("dequantise.weight", 1),
        end("dequantise.bias", 0),
        end("decoder.input.weight", 1),
    ])?;
    let config = WanVaeConfig {
        residual_blocks,
        ..WanVaeConfig::sized(base_width, latent_channels)
    };
    // With the structure known, the names are too; now the width of each stage and which steps
    // change the frames.
    let structure = WanVaeConfig {
        multipliers: vec![2; stages],
        halve_time: vec![true; stages - 1],
        ..config
    };
    let named = table(&structure, layout);
    let at = |path: String, at: usize| {
        named
            .rows()
            .get(&path)
            .and_then(|stored| row(&stored.name, at))
    };
    let width =
        |stage: usize| {
            let blocks = (0..residual_blocks).flat_map(|block| {
                ["conv1.bias", "conv2.bias", "norm2.gamma"].map(|part| (block, part))
            });
            commonest(blocks.map(|(block, part)| {
                at(format!("encoder.stages.{stage}.blocks.{block}.{part}"), 0)
            }))
        };
    let multipliers = (0..stages)
        .map(|stage| Some(width(stage)? / base_width))
        .collect::<Option<Vec<_>>>()?;
    let halves = |step: usize| {
        let paths = [
            format!("encoder.stages.{step}.step"),
            format!("decoder.stages.{}.step", stages - 2 - step),
        ];
        paths.iter().any(|path| {
            ["weight", "bias"]
                .into_iter()
                .any(|part| at(format!("{path}.time.{part}"), 0).is_some())
        })
    };
    let config = WanVaeConfig {
        multipliers,
        halve_time: (0..stages - 1).map(halves).collect(),
        ..structure
    };
    let wan = WanVaeConfig::wan_2_1();
    let config = if latent_channels == wan.latent_channels {
        WanVaeConfig {
            mean: wan.mean,
            std: wan.std,
            ..config
        }
    } else {
        config
    };
    config.check().is_ok().then_some(config)
}

/// Stages and residual blocks in each of the encoder's, counted by the decoder's names.
fn structure(found: &Shapes, layout: Layout) -> Option<(usize, usize)> {
    let prefix = match layout {
        Layout::Wan => "decoder.upsamples.",
        Layout::Diffusers => "decoder.up_blocks.",
    };
    // What comes before ".residual." is a block, and before ".resample." a step to the next stage;
    // in diffusers' names the block's number comes after ".resnets.".
    let mut blocks = BTreeSet::new();
    let mut steps = BTreeSet::new();
    for name in found.keys().filter_map(|name| name.strip_prefix(prefix)) {
        let segments: Vec<&str> = name.split('.').collect();
        match (layout, &segments[..]) {
            (Layout::Wan, [number, "residual", ..]) => blocks.insert((*number, "")),
            (Layout::Wan, [number, "resample", ..]) => steps.insert(*number),
            (Layout::Diffusers, [stage, "resnets", block, ..]) => blocks.insert((*stage, *block)),
            (Layout::Diffusers, [stage, "upsamplers", ..]) => steps.insert(*stage),
            _ => false,
        };
    }
    let stages = steps.len() + 1;
    let sensible = stages <= 8 && blocks.len() <= 64 && blocks.len() / stages >= 2;
    sensible.then(|| (stages, blocks.len() / stages - 1))
}

/// The size that most witnesses give, among those that a real network can have.
fn commonest(witnesses: impl IntoIterator<Item = Option<usize>>) -> Option<usize> {
    let mut counts = BTreeMap::<usize, usize>::new();
    witnesses
        .into_iter()
        .flatten()
        .for_each(|size| *counts.entry(size).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(size, _)| size)
        .filter(|size| (1..1 << 16).contains(size))
}
