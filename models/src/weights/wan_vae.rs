//! The Wan VAE in files (docs/method.md C.5): one table of its tensors with the module's, the
//! original's and diffusers' name for each.

mod sizes;

use burn::prelude::*;

use super::check::Shapes;
use super::layout::Layout;
use super::table::{Stored, Table};
use super::{HostTensor, Tensors, WeightFile, WeightsError};
use crate::codec::wan_vae::{WanVae, WanVaeConfig};

/// Every tensor of a VAE of these sizes, as the layout has it.
pub fn table(config: &WanVaeConfig, layout: Layout) -> Table {
    let mut rows = Rows {
        layout,
        rows: Vec::new(),
    };
    let channels = config.latent_channels;
    let last = config.widths().last().copied().unwrap_or(config.base_width);
    rows.convolution(
        ["quantise", "conv1", "quant_conv"],
        &[2 * channels, 2 * channels, 1, 1, 1],
    );
    rows.convolution(
        ["dequantise", "conv2", "post_quant_conv"],
        &[channels, channels, 1, 1, 1],
    );

    rows.ends("encoder", [3, config.base_width], [last, 2 * channels]);
    rows.middle("encoder", last);
    // Blocks and steps are counted through in both layouts.
    let mut number = 0;
    for stage in 0..config.multipliers.len() {
        let (inputs, width) = config.encoder_stage(stage);
        for (block, input) in inputs.into_iter().enumerate() {
            let names = [
                format!("encoder.stages.{stage}.blocks.{block}"),
                format!("encoder.downsamples.{number}"),
                format!("encoder.down_blocks.{number}"),
            ];
            rows.block(names, input, width);
            number += 1;
        }
        if let Some(halve_time) = config.halve_time.get(stage) {
            let names = [
                format!("encoder.stages.{stage}.step"),
                format!("encoder.downsamples.{number}"),
                format!("encoder.down_blocks.{number}"),
            ];
            rows.step(names, width, width, halve_time.then_some(width));
            number += 1;
        }
    }

    rows.ends(
        "decoder",
        [channels, last],
        [config.base_width * config.multipliers[0], 3],
    );
    rows.middle("decoder", last);
    // Counted through in the original; diffusers has stages.
    let mut number = 0;
    for stage in 0..config.multipliers.len() {
        let (inputs, width) = config.decoder_stage(stage);
        for (block, input) in inputs.into_iter().enumerate() {
            let theirs = format!("decoder.up_blocks.{stage}.resnets.{block}");
            rows.block(
                [
                    format!("decoder.stages.{stage}.blocks.{block}"),
                    format!("decoder.upsamples.{number}"),
                    theirs,
                ],
                input,
                width,
            );
            number += 1;
        }
        if let Some(double_time) = config.decoder_step(stage) {
            let theirs = format!("decoder.up_blocks.{stage}.upsamplers.0");
            let names = [
                format!("decoder.stages.{stage}.step"),
                format!("decoder.upsamples.{number}"),
                theirs,
            ];
            rows.step(names, width, width / 2, double_time.then_some(2 * width));
            number += 1;
        }
    }
    Table::new(rows.rows)
}

/// Collects rows. Names come in threes: the module's, the original's, diffusers'.
struct Rows {
    layout: Layout,
    rows: Vec<(String, Stored)>,
}

impl Rows {
    fn row(&mut self, [path, wan, diffusers]: [String; 3], shape: &[usize]) {
        let name = match self.layout {
            Layout::Wan => wan,
            Layout::Diffusers => diffusers,
        };
        self.rows.push((
            path,
            Stored {
                name,
                shape: shape.to_vec(),
            },
        ));
    }

    /// Weight of this shape, and bias.
    fn convolution<S: AsRef<str>>(&mut self, names: [S; 3], shape: &[usize]) {
        let part = |part: &str| {
            names
                .each_ref()
                .map(|name| format!("{}.{part}", name.as_ref()))
        };
        let (weight, bias) = (part("weight"), part("bias"));
        self.row(weight, shape);
        self.row(bias, &shape[..1]);
    }

    /// Scale of a norm over whole clips, or over images in attention.
    fn gamma<S: AsRef<str>>(&mut self, names: [S; 3], shape: &[usize]) {
        let names = names
            .each_ref()
            .map(|name| format!("{}.gamma", name.as_ref()));
        self.row(names, shape);
    }

    /// First and last convolution of encoder or decoder: (inputs, outputs) of each.
    fn ends(&mut self, part: &str, [from, first]: [usize; 2], [last, to]: [usize; 2]) {
        let named = |ours: &str, wan: &str, diffusers: &str| {
            [ours, wan, diffusers].map(|name| format!("{part}.{name}"))
        };
        self.convolution(named("input", "conv1", "conv_in"), &[first, from, 3, 3, 3]);
        self.gamma(named("norm", "head.0", "norm_out"), &[last, 1, 1, 1]);
        self.convolution(named("output", "head.2", "conv_out"), &[to, last, 3, 3, 3]);
    }

    fn middle(&mut self, part: &str, width: usize) {
        let named = |ours: &str, wan: &str, diffusers: &str| {
            [ours, wan, diffusers].map(|name| format!("{part}.{name}"))
        };
        self.block(
            named("middle.first", "middle.0", "mid_block.resnets.0"),
            width,
            width,
        );
        self.block(
            named("middle.last", "middle.2", "mid_block.resnets.1"),
            width,
            width,
        );
        let attention = named("middle.attention", "middle.1", "mid_block.attentions.0");
        self.gamma(parts(&attention, ["norm", "norm", "norm"]), &[width, 1, 1]);
        self.convolution(
            parts(&attention, ["qkv", "to_qkv", "to_qkv"]),
            &[3 * width, width, 1, 1],
        );
        self.convolution(
            parts(&attention, ["output", "proj", "proj"]),
            &[width, width, 1, 1],
        );
    }

    fn block(&mut self, names: [String; 3], input: usize, width: usize) {
        self.gamma(
            parts(&names, ["norm1", "residual.0", "norm1"]),
            &[input, 1, 1, 1],
        );
        self.convolution(
            parts(&names, ["conv1", "residual.2", "conv1"]),
            &[width, input, 3, 3, 3],
        );
        self.gamma(
            parts(&names, ["norm2", "residual.3", "norm2"]),
            &[width, 1, 1, 1],
        );
        self.convolution(
            parts(&names, ["conv2", "residual.6", "conv2"]),
            &[width, width, 3, 3, 3],
        );
        if input != width {
            self.convolution(
                parts(&names, ["shortcut", "shortcut", "conv_shortcut"]),
                &[width, input, 1, 1, 1],
            );
        }
    }

    /// To the next scale; `time`: outputs of the convolution over time.
    fn step(&mut self, names: [String; 3], width: usize, outputs: usize, time: Option<usize>) {
        self.convolution(
            parts(&names, ["space", "resample.1", "resample.1"]),
            &[outputs, width, 3, 3],
        );
        if let Some(time) = time {
            self.convolution(
                parts(&names, ["time", "time_conv", "time_conv"]),
                &[time, width, 3, 1, 1],
            );
        }
    }
}

fn parts(names: &[String; 3], parts: [&str; 3]) -> [String; 3] {
    [0, 1, 2].map(|index| format!("{}.{}", names[index], parts[index]))
}

/// A VAE in a file.
pub struct WanVaeFile<'a> {
    file: &'a WeightFile,
    layout: Layout,
}

impl<'a> WanVaeFile<'a> {
    /// Recognises the layout of `file` by its blocks' names; one without any is compared with the
    /// original's.
    pub fn find(file: &'a WeightFile) -> Self {
        let is_diffusers = |name: &&String| {
            name.starts_with("encoder.down_blocks.") || name.starts_with("decoder.up_blocks.")
        };
        let is_wan = |name: &&String| {
            name.starts_with("encoder.downsamples.") || name.starts_with("decoder.upsamples.")
        };
        let names = || file.entries().keys();
        let layout = if names().filter(is_diffusers).count() > names().filter(is_wan).count() {
            Layout::Diffusers
        } else {
            Layout::Wan
        };
        Self { file, layout }
    }

    /// Who named the tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The sizes that most of the tensors agree on, so that single odd ones can be named; `None`
    /// where too little is there to tell.
    ///
    /// The file says nothing about latents' means and standard deviations: 16 channels get Wan
    /// 2.1's, others 0 and 1.
    pub fn sizes(&self) -> Option<WanVaeConfig> {
        let shapes: Shapes = self
            .file
            .entries()
            .iter()
            .map(|(name, entry)| (name.clone(), entry.shape.clone()))
            .collect();
        sizes::sizes(&shapes, self.layout)
    }

    /// Every way in which the file is not a VAE of these sizes; none: it is one.
    pub fn problems(&self, config: &WanVaeConfig) -> Vec<String> {
        table(config, self.layout).problems(self.file)
    }

    /// The VAE with these weights, read tensor by tensor.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with all problems, before anything is read, or because no VAE has
    /// these sizes.
    pub fn load<B: Backend>(
        &self,
        config: &WanVaeConfig,
        device: &B::Device,
    ) -> Result<WanVae<B>, WeightsError> {
        let vae = WanVae::new(config, device).map_err(|error| WeightsError::Mismatch {
            origin: self.file.path().display().to_string(),
            problems: vec![error.to_string()],
        })?;
        table(config, self.layout).load(vae, self.file, to_module)
    }
}

/// A VAE's tensors under a layout's names and shapes.
pub fn store<B: Backend>(vae: &WanVae<B>, layout: Layout) -> Tensors {
    table(vae.config(), layout).store(vae, from_module)
}

/// A stored tensor as the parameter at `path` holds it: `[C', C, kt, kh, kw]` and `[C', C, kh, kw]`
/// become `[C', kt, kh, kw, C]`, scales `[C, 1, 1, 1]` become `[C]`.
fn to_module(path: &str, tensor: HostTensor) -> HostTensor {
    let (outputs, inputs, taps) = match tensor.shape[..] {
        _ if path.ends_with("gamma") => {
            return HostTensor {
                shape: vec![tensor.values.len()],
                values: tensor.values,
            };
        }
        [outputs, inputs, rows, columns] => (outputs, inputs, [1, rows, columns]),
        [outputs, inputs, time, rows, columns] => (outputs, inputs, [time, rows, columns]),
        _ => return tensor,
    };
    let values = turned(&tensor.values, inputs, taps.iter().product());
    HostTensor {
        shape: vec![outputs, taps[0], taps[1], taps[2], inputs],
        values,
    }
}

/// The inverse of [`to_module`].
fn from_module(stored: &Stored, tensor: HostTensor) -> HostTensor {
    let values = match tensor.shape[..] {
        [_, time, rows, columns, inputs] => turned(&tensor.values, time * rows * columns, inputs),
        _ => tensor.values,
    };
    HostTensor {
        shape: stored.shape.clone(),
        values,
    }
}

/// Each matrix `[rows, columns]` transposed.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let matrices = values.chunks_exact(rows * columns);
    matrices
        .flat_map(|matrix| {
            (0..columns)
                .flat_map(move |column| (0..rows).map(move |row| matrix[row * columns + column]))
        })
        .collect()
}

#[cfg(test)]
mod tests;
