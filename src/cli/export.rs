//! `afd export`: a student as a file that other programs load.

mod sizes;
mod transformer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_models::lora::{LoraConfig, is_factor};
use afd_models::weights::lora::{AlphaSource, LoraFile, LoraLayout};
use afd_models::weights::{Tensors, WeightFile, WeightsError, read_file, to_bytes};
use clap::{Args, ValueEnum};
use safetensors::Dtype;

use self::transformer::write_transformer;
use super::checkpoint::Found;
use super::{CliError, PickleArgs, checkpoint};
use crate::out::{note, say};
use crate::recipe::document;
use crate::recipe::tables::Settings;
use crate::run::files::{AtPath, StagedDirectory};
use crate::session::state::{FACTORS, MODEL};

/// Who is to read it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reader {
    /// The original Wan repository and those that grew from it.
    Wan,
    /// diffusers: `WanTransformer3DModel.from_pretrained(DIR)`.
    Diffusers,
    /// ComfyUI: a file for its folder of diffusion models.
    Comfyui,
}

/// Number types of merged weights.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoredType {
    F32,
    Bf16,
}

impl StoredType {
    fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

/// What to export, and for whom.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run directory, a checkpoint, its student directory, or a weights file in any layout.
    path: PathBuf,
    /// Who is to read it.
    #[arg(long)]
    layout: Reader,
    /// The directory to make; it must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which part of a training checkpoint: generator_ema, generator or critic [default: the first
    /// of these that is there]; or, of a run or a checkpoint, the discriminator's low-rank factors.
    #[arg(long)]
    part: Option<String>,
    #[command(flatten)]
    pickles: PickleArgs,
    /// Attention heads of a file that does not say, nor config.json beside it; Wan's have 128
    /// channels each [default: that].
    #[arg(long)]
    heads: Option<usize>,
    /// Write low-rank factors as part of the weights that they were trained beside, instead of on
    /// their own.
    #[arg(long)]
    merge_lora: bool,
    /// Merge the factors of this file, in any layout, into the weights at PATH.
    #[arg(long, value_name = "FILE", requires = "merge_lora")]
    lora: Option<PathBuf>,
    /// The type of all weights after --merge-lora. bf16 halves the file and rounds away what is
    /// small against the weights, as most of a short training is.
    #[arg(long, value_enum, default_value_t = StoredType::F32, requires = "merge_lora")]
    dtype: StoredType,
    /// What computes the merged weights: cuda:N, wgpu:N, flex or ndarray [default: the best one
    /// compiled in and present].
    #[arg(long, requires = "merge_lora")]
    backend: Option<String>,
}

/// Writes the weights under the reader's names, bit for bit as they are unless they are merged, and
/// the sizes as the reader expects them.
pub fn run(args: &ExportArgs) -> Result<ExitCode, CliError> {
    // A run, a checkpoint or a student of low-rank factors must be whole; any other directory may
    // hold anybody's weights.
    let own = ["checkpoints", "student", FACTORS]
        .iter()
        .any(|name| args.path.join(name).exists());
    let student = match checkpoint::find(&args.path) {
        Err(error) if own => return Err(error),
        found => found.ok(),
    };
    if let (Some(student), Some("discriminator")) = (&student, args.part.as_deref()) {
        return write_discriminator(student, args);
    }
    let adapter = student
        .as_ref()
        .and_then(|student| Some((student, student.card.adapter.as_ref()?)));
    if let Some((student, adapter)) = adapter {
        adapter.verify()?;
        if args.lora.is_some() {
            let path = args.path.display();
            return Err(CliError::Usage(format!(
                "{path} has low-rank factors of its own; merge those first, then --lora into what \
                    comes of it"
            )));
        }
        let factors = opened(&student.directory.join(FACTORS), args)?;
        let factors = LoraFile::open(&factors)?;
        if !args.merge_lora {
            return write_factors(&factors, None, args);
        }
        let known = Some(student.card.student.clone());
        return write_transformer(
            &adapter.open()?,
            adapter.part.as_deref(),
            known,
            Some(&factors),
            args,
        );
    }
    let path = student
        .as_ref()
        .map_or(args.path.clone(), |student| student.directory.join(MODEL));
    let file = opened(&path, args)?;
    if let Some(lora) = &args.lora {
        let factors = foreign_factors(&opened(lora, args)?)?;
        return write_transformer(
            &file,
            args.part.as_deref(),
            student.map(|student| student.card.student),
            Some(&factors),
            args,
        );
    }
    if args.merge_lora {
        let path = args.path.display();
        return Err(CliError::Usage(format!(
            "{path} has no low-rank factors to merge; name their file with --lora, or leave out \
                --merge-lora"
        )));
    }
    if LoraFile::is_recognised(&file) {
        let given = [
            ("--heads", args.heads.is_some()),
            ("--part", args.part.is_some()),
        ];
        if let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
            return Err(CliError::Usage(format!(
                "{} holds low-rank factors, and {option} is of a transformer's weights; leave it \
                    out",
                file.path().display()
            )));
        }
        return write_factors(&foreign_factors(&file)?, None, args);
    }
    write_transformer(
        &file,
        args.part.as_deref(),
        student.map(|student| student.card.student),
        None,
        args,
    )
}

fn opened(path: &Path, args: &ExportArgs) -> Result<WeightFile, CliError> {
    Ok(WeightFile::open(path, args.pickles.allowed())?)
}

/// Anybody's factors; says so where their scale is an assumption.
fn foreign_factors(file: &WeightFile) -> Result<LoraFile, CliError> {
    let factors = LoraFile::open(file)?;
    if *factors.alpha_source() == AlphaSource::Assumed {
        note!("{}: {}", file.path().display(), factors.summary());
    }
    Ok(factors)
}

/// The register discriminator's factors as a file of their own, and beside it what else of it was
/// trained, under this program's names.
fn write_discriminator(student: &Found, args: &ExportArgs) -> Result<ExitCode, CliError> {
    let path = args.path.display();
    if args.merge_lora {
        return Err(CliError::Usage(
            "--part discriminator writes factors alone; merge them with --lora afterwards"
                .to_string(),
        ));
    }
    let state = student
        .directory
        .with_file_name("training_state")
        .join(MODEL);
    if !state.is_file() {
        return Err(CliError::Usage(format!(
            "{path} is a student alone; name the run or the checkpoint that holds its discriminator"
        )));
    }
    let lora = discriminator_lora(&student.directory)?;
    let (tensors, _) = read_file(&state)?;
    let of_discriminator = |name: String| name.strip_prefix("discriminator.").map(str::to_string);
    let tensors = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((of_discriminator(name)?, tensor)));
    let (factors, others): (Tensors, Tensors) = tensors.partition(|(name, _)| is_factor(name));
    let in_backbone = |name: &str| {
        name.split_once("backbone.")
            .map_or(name.to_string(), |(_, inside)| inside.to_string())
    };
    let factors: Tensors = factors
        .into_iter()
        .map(|(name, tensor)| (in_backbone(&name), tensor))
        .collect();
    let others = to_bytes(&others, &BTreeMap::new()).map_err(|error| WeightsError::Write {
        reason: error.to_string(),
    })?;
    write_factors(
        &LoraFile::of_tensors(&factors, &lora),
        Some(("readers.safetensors", others)),
        args,
    )
}

/// Rank and alpha of a run's discriminator, which only its recipe tells.
fn discriminator_lora(student: &Path) -> Result<LoraConfig, CliError> {
    let recipe = checkpoint::snapshot_of(student)?.ok_or_else(|| {
        CliError::Usage(format!(
            "{} lies in no run directory, whose recipe tells the scale of the discriminator's \
                factors",
            student.display()
        ))
    })?;
    let text = std::fs::read_to_string(&recipe).at("read", &recipe)?;
    // What a run wrote down for itself is no request.
    let settings: Settings = document::parse(&text, &recipe, &[])
        .map_err(|error| CliError::Failed(error.to_string()))?;
    settings.discriminator.lora.ok_or_else(|| {
        let recipe = recipe.display();
        CliError::Usage(format!(
            "the discriminator of {recipe} has no low-rank factors: discriminator.lora is missing \
                there"
        ))
    })
}

/// A file of low-rank factors alone, and a file that goes `beside` it.
fn write_factors(
    factors: &LoraFile,
    beside: Option<(&str, Vec<u8>)>,
    args: &ExportArgs,
) -> Result<ExitCode, CliError> {
    let (layout, name) = match args.layout {
        Reader::Wan => (LoraLayout::Wan, "lora.safetensors"),
        Reader::Diffusers => (LoraLayout::Diffusers, "pytorch_lora_weights.safetensors"),
        Reader::Comfyui => (LoraLayout::Comfyui, "lora.safetensors"),
    };
    let bytes = factors.to_bytes(layout)?;
    let staged = StagedDirectory::new(&args.out)?;
    for (name, bytes) in [(name, bytes)].into_iter().chain(beside) {
        let path = staged.path().join(name);
        std::fs::write(&path, bytes).at("write", &path)?;
    }
    staged.commit()?;
    say!("{}", args.out.join(name).display());
    Ok(ExitCode::SUCCESS)
}
