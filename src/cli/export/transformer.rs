//! A whole transformer for other programs, low-rank factors merged into it if there are any.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use afd_models::student::StudentConfig;
use afd_models::weights::layout::Layout;
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{HostTensor, WeightFile, WeightsError};
use safetensors::Dtype;

use super::sizes::{diffusers_sizes, wan_sizes};
use super::{ExportArgs, Reader};
use crate::cli::CliError;
use crate::out::{note, say};
use crate::run::files::{AtPath, StagedDirectory};

/// A whole transformer, with `factors` merged into it if there are any.
pub(super) fn write_transformer(
    file: &WeightFile,
    part: Option<&str>,
    known: Option<StudentConfig>,
    factors: Option<&LoraFile>,
    args: &ExportArgs,
) -> Result<ExitCode, CliError> {
    let transformer = TransformerFile::find(file, part)?;
    let config = config(file, &transformer, known, args)?;
    if let Some(problems) = factors
        .map(|factors| factors.problems(&config))
        .filter(|problems| !problems.is_empty())
    {
        return Err(CliError::Failed(format!(
            "these factors are not for {}: {}",
            file.path().display(),
            problems.join("; ")
        )));
    }
    let (layout, name, sizes) = match args.layout {
        Reader::Wan => (
            Layout::Wan,
            "diffusion_pytorch_model.safetensors",
            Some(wan_sizes(&config)),
        ),
        Reader::Diffusers => (
            Layout::Diffusers,
            "diffusion_pytorch_model.safetensors",
            Some(diffusers_sizes(&config)),
        ),
        // ComfyUI reads the sizes off the shapes.
        Reader::Comfyui => (Layout::Wan, "model.safetensors", None),
    };
    let staged = StagedDirectory::new(&args.out)?;
    let path = staged.path().join(name);
    let created = File::create(&path).at("create", &path)?;
    let mut out = BufWriter::with_capacity(1 << 20, created);
    match factors {
        None => transformer.export(&config, layout, None, |_, _| Ok(None), &mut out)?,
        Some(factors) => {
            let job = MergeJob {
                transformer: &transformer,
                factors,
                config: &config,
                layout,
                dtype: args.dtype.stored(),
                out: &mut out,
            };
            afd_backends::dispatch(args.backend.as_deref(), job)??;
        }
    }
    out.flush().at("write", &path)?;
    if let Some(sizes) = sizes {
        let path = staged.path().join("config.json");
        std::fs::write(&path, format!("{sizes:#}\n")).at("write", &path)?;
    }
    staged.commit()?;
    say!("{}", args.out.join(name).display());
    Ok(ExitCode::SUCCESS)
}

/// Its sizes: those that are known, those written beside the weights, or those of the shapes.
fn config(
    file: &WeightFile,
    transformer: &TransformerFile,
    known: Option<StudentConfig>,
    args: &ExportArgs,
) -> Result<StudentConfig, CliError> {
    let known = match known {
        Some(known) => Some(known),
        None => own_sizes(file)?,
    };
    let guessed = known.is_none();
    let sizes = known.or_else(|| transformer.sizes().filter(|_| transformer.is_recognised()));
    let sizes = sizes.ok_or_else(|| {
        CliError::Failed(format!(
            "{} holds no Wan transformer",
            file.path().display()
        ))
    })?;
    if guessed && args.heads.is_none() && transformer.heads_source(&sizes).is_none() {
        return Err(CliError::Usage(format!(
            "nothing in or beside {} tells how many heads it has, and its width {} is not in heads \
                of 128 channels as every Wan's; say how many with --heads",
            file.path().display(),
            sizes.width
        )));
    }
    if let Some(source) = transformer
        .heads_source(&sizes)
        .filter(|source| guessed && args.heads.is_none() && source.starts_with("assumed"))
    {
        note!("heads     {} ({source})", sizes.heads);
    }
    let config = StudentConfig {
        heads: args.heads.unwrap_or(sizes.heads),
        ..sizes
    };
    if let Some(problem) = config.problem() {
        return Err(CliError::Usage(format!(
            "{problem}; say how many heads it has with --heads"
        )));
    }
    Ok(config)
}

/// Adds each pair of factors to its weight on a device, one weight at a time.
struct MergeJob<'a, W: Write> {
    transformer: &'a TransformerFile<'a>,
    factors: &'a LoraFile,
    config: &'a StudentConfig,
    layout: Layout,
    dtype: Dtype,
    out: &'a mut W,
}

impl<W: Write> Job for MergeJob<'_, W> {
    type Output = Result<(), WeightsError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let merge = |name: &str, read: &dyn Fn() -> Result<HostTensor, WeightsError>| {
            self.factors.merged::<B::InnerBackend>(name, read, &device)
        };
        self.transformer
            .export(self.config, self.layout, Some(self.dtype), merge, self.out)
    }
}

/// The sizes that this program wrote beside the weights, if it did.
fn own_sizes(file: &WeightFile) -> Result<Option<StudentConfig>, CliError> {
    let metadata = file.own_metadata()?;
    let parse = |text: &String| {
        serde_json::from_str(text)
            .map_err(|error| CliError::Failed(format!("{}: {error}", file.path().display())))
    };
    metadata.get("config").map(parse).transpose()
}
