//! A recipe's codec: which one, what its latents look like, and the codec itself on a device.

use std::path::{Path, PathBuf};

use afd_models::codec::Codec;
use afd_models::codec::pixel::PixelCodec;
use afd_models::codec::wan_vae::WanVaeConfig;
use afd_models::kernels::Kernels;
use afd_models::precision::Precision;
use afd_models::weights::wan_vae::WanVaeFile;
use afd_models::weights::{Pickles, WeightFile, WeightsError};

use super::Problem;
use super::tables::{CodecKind, CodecTable};
use afd_clips::video::ClipShape;

/// A codec whose sizes are known and whose weights, if it has any, are still in their file.
#[derive(Debug, Clone, PartialEq)]
pub enum CodecPlan {
    /// Space-to-depth.
    Pixel(PixelCodec),
    /// Wan's VAE.
    WanVae {
        /// Its weights.
        checkpoint: PathBuf,
        /// Whether `checkpoint` may be a pickle.
        pickles: Pickles,
        /// Its sizes, as its weights say.
        config: Box<WanVaeConfig>,
        /// The type that it computes in.
        precision: Precision,
    },
}

impl CodecPlan {
    /// The codec that `settings` describe; reads the header of its weights.
    ///
    /// # Errors
    /// The field, what was found and what is needed.
    pub fn of(table: &CodecTable, pickles: Pickles) -> Result<Self, Problem> {
        match (table.kind, &table.checkpoint) {
            (CodecKind::Pixel, Some(path)) => Err(Problem::new(format!(
                "codec.checkpoint is {}, but the pixel codec has no weights; remove it",
                path.display()
            ))),
            (CodecKind::Pixel, None) => {
                let missing = |field: &str| {
                    Problem::new(format!(
                        "codec.{field} is missing: the pixel codec needs stride, mean and std"
                    ))
                };
                Ok(Self::Pixel(PixelCodec {
                    stride: table.stride.ok_or_else(|| missing("stride"))?,
                    subsampled_chroma: table.subsampled_chroma,
                    mean: table.mean.ok_or_else(|| missing("mean"))?,
                    std: table.std.ok_or_else(|| missing("std"))?,
                }))
            }
            (CodecKind::WanVae, _)
                if table.stride.is_some() || table.mean.is_some() || table.std.is_some() =>
            {
                Err(Problem::new(
                    "codec.stride, codec.mean and codec.std are the pixel codec's; the VAE brings \
                     its own, remove them",
                ))
            }
            (CodecKind::WanVae, None) => Err(Problem::new(
                "codec.checkpoint is missing: name the weights of the VAE",
            )),
            (CodecKind::WanVae, Some(path)) => Self::of_vae(path, table, pickles)
                .map_err(|problem| problem.about("codec.checkpoint")),
        }
    }

    fn of_vae(path: &Path, table: &CodecTable, pickles: Pickles) -> Result<Self, Problem> {
        let file = WeightFile::open(path, pickles).map_err(Problem::from_error)?;
        let vae = WanVaeFile::find(&file);
        let config = vae.sizes().ok_or_else(|| {
            Problem::new(format!(
                "{} holds no Wan VAE; `afd inspect` lists what is in it",
                path.display()
            ))
        })?;
        let problems = vae.problems(&config);
        if !problems.is_empty() {
            return Err(Problem::from_error(WeightsError::Mismatch {
                origin: path.display().to_string(),
                problems,
            }));
        }
        Ok(Self::WanVae {
            checkpoint: path.to_path_buf(),
            pickles,
            config: Box::new(config),
            precision: table.precision,
        })
    }

    /// Latent channels C.
    pub fn channels(&self) -> usize {
        match self {
            Self::Pixel(codec) => codec.channels(),
            Self::WanVae { config, .. } => config.latent_channels,
        }
    }

    /// Pixels per latent row and column.
    pub fn stride(&self) -> usize {
        match self {
            Self::Pixel(codec) => codec.stride,
            Self::WanVae { config, .. } => config.stride(),
        }
    }

    /// Latent shape `[F, C, H, W]` of a clip.
    ///
    /// # Errors
    /// Why such clips cannot be encoded.
    pub fn latent_shape(&self, clip: &ClipShape) -> Result<[usize; 4], Problem> {
        let (stride, frames) = (self.stride(), clip.frames);
        let latent_frames = match self {
            Self::Pixel(_) => frames,
            Self::WanVae { config, .. } => {
                let step = config.frame_stride();
                if frames % step != 1 % step {
                    return Err(Problem::new(format!(
                        "clip.frames is {frames}, the VAE takes 1 frame and then {step} at a time, \
                            such as {}",
                        1 + frames / step * step
                    )));
                }
                1 + (frames - 1) / step
            }
        };
        if !clip.height.is_multiple_of(stride) || !clip.width.is_multiple_of(stride) {
            let (height, width) = (clip.height, clip.width);
            return Err(Problem::new(format!(
                "the codec's stride ({stride}) must divide clip.height ({height}) and clip.width \
                    ({width})"
            )));
        }
        Ok([
            latent_frames,
            self.channels(),
            clip.height / stride,
            clip.width / stride,
        ])
    }

    /// The codec on a device, its weights read.
    ///
    /// # Errors
    /// Weights that cannot be read, or not held as `codec.precision` says on this backend.
    pub fn load<B: Kernels>(&self, device: &B::Device) -> Result<Box<dyn Codec<B>>, WeightsError> {
        match self {
            Self::Pixel(codec) => Ok(Box::new(*codec)),
            Self::WanVae {
                checkpoint,
                pickles,
                config,
                precision,
            } => {
                if !B::supports_dtype(device, precision.dtype()) {
                    let (path, name) = (checkpoint.clone(), B::name(device));
                    let reason = format!(
                        "{name} cannot compute in bf16; set codec.precision = \"f32\" or choose \
                            another --backend"
                    );
                    return Err(WeightsError::Read { path, reason });
                }
                let file = WeightFile::open(checkpoint, *pickles)?;
                let vae = WanVaeFile::find(&file).load::<B>(config, device)?;
                Ok(Box::new(vae.to_dtype(precision.dtype().into())))
            }
        }
    }

    /// What tells codecs apart, for latents that are kept: the settings and, of weights, a hash of
    /// all of them.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn identity(&self) -> Result<serde_json::Value, WeightsError> {
        match self {
            Self::Pixel(codec) => Ok(serde_json::json!({
                "kind": "pixel",
                "stride": codec.stride,
                "subsampled_chroma": codec.subsampled_chroma,
                "mean": codec.mean,
                "std": codec.std,
            })),
            Self::WanVae {
                checkpoint,
                pickles,
                precision,
                ..
            } => {
                let file = WeightFile::open(checkpoint, *pickles)?;
                let mut hasher = blake3::Hasher::new();
                for name in file.entries().keys() {
                    file.with_bytes(name, |bytes| {
                        hasher
                            .update(&(name.len() as u64).to_le_bytes())
                            .update(name.as_bytes());
                        hasher
                            .update(&(bytes.len() as u64).to_le_bytes())
                            .update(bytes);
                    })?;
                }
                Ok(serde_json::json!({
                    "kind": "wan-vae",
                    "precision": precision,
                    "weights": hasher.finalize().to_hex().to_string(),
                }))
            }
        }
    }
}
