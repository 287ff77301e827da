//! Peak memory and time of the full-size Wan VAE (random weights) over one streamed clip on flex:
//! what is allocated at most beside the weights and the input. `scripts/vae-memory-table.sh` makes
//! the table of docs/results/wan-vae.md:
//!
//! ```text
//! cargo run --workspace --example vae_memory -- encode|decode f32|bf16 FRAMES HEIGHT WIDTH
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use afd_models::codec::Codec;
use afd_models::codec::wan_vae::{WanVae, WanVaeConfig};
use afd_models::init::initialise;
use afd_models::noise::{Noise, Purpose};
use burn::backend::Flex;
use burn::prelude::*;
use burn::tensor::FloatDType;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn run(
    encode: bool,
    dtype: FloatDType,
    shape: [usize; 5],
    latent_shape: [usize; 5],
) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let vae = WanVae::<Flex>::new(&WanVaeConfig::wan_2_1(), &device)?;
    let vae = initialise(vae, 1, "vae").to_dtype(dtype);
    let shape = if encode { shape } else { latent_shape };
    let values = Noise::new(1, Purpose::Evaluation, 0, 0).normals(shape.iter().product());
    let input = Tensor::<Flex, 5>::from_data(TensorData::new(values, shape), &device);
    let (before, begin) = (ALLOCATED.current_usage_as_mb(), Instant::now());
    ALLOCATED.reset_peak_usage();
    let output = if encode {
        vae.encode(input.tanh())
    } else {
        vae.decode(input)
    };
    let finite = output.clone().abs().max().into_scalar().is_finite();
    println!(
        "{:.0} MiB {:.0} s",
        ALLOCATED.peak_usage_as_mb() - before,
        begin.elapsed().as_secs_f64()
    );
    if finite {
        Ok(())
    } else {
        Err(format!("the output {:?} is not finite", output.dims()).into())
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = words
        .iter()
        .skip(2)
        .filter_map(|word| word.parse().ok())
        .collect();
    let dtype = match words.get(1).map(String::as_str) {
        Some("f32") => Some(FloatDType::F32),
        Some("bf16") => Some(FloatDType::BF16),
        _ => None,
    };
    let what = words
        .first()
        .map(String::as_str)
        .filter(|what| ["encode", "decode"].contains(what));
    let (Some(what), Some(dtype), [frames, height, width], 5) =
        (what, dtype, &sizes[..], words.len())
    else {
        eprintln!("usage: vae_memory encode|decode f32|bf16 FRAMES HEIGHT WIDTH");
        return ExitCode::from(2);
    };
    let measure = || -> Result<(), Box<dyn Error>> {
        let vae = WanVae::<Flex>::new(&WanVaeConfig::wan_2_1(), &Default::default())?;
        let [latent_frames, channels, rows, columns] =
            vae.latent_shape(*frames, *height, *width)?;
        run(
            what == "encode",
            dtype,
            [1, *frames, 3, *height, *width],
            [1, latent_frames, channels, rows, columns],
        )
    };
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
