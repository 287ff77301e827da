//! The student's sizes: from the recipe, or read off the weights that it names.

use std::path::Path;

use afd_models::student::StudentConfig;
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile};

use super::Problem;
use super::tables::{Settings, StudentTable, reads_latents, reads_text};

/// Sizes from the recipe, or from the metadata of the checkpoint it names; `channels` are the
/// codec's latent channels.
///
/// # Errors
/// Both or neither given, weights that cannot be read, sizes that cannot work together.
pub(super) fn of_student(settings: &Settings, channels: usize) -> Result<StudentConfig, Problem> {
    let student = &settings.student;
    let mut config = match (&student.checkpoint, &student.sizes) {
        (Some(path), None) => of_checkpoint(path, settings.pickles(), student)
            .map_err(|problem| problem.about(format!("student.checkpoint {}", path.display())))?,
        (None, Some(sizes)) => StudentConfig {
            width: sizes.width,
            layers: sizes.layers,
            heads: sizes.heads,
            feed_forward_width: sizes.feed_forward_width,
            latent_channels: channels,
            patch: sizes.patch,
            text_width: settings.text.width,
            frequency_width: sizes.frequency_width,
            frames_per_block: 1,
            window_frames: 0,
            sink_frames: 0,
        },
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                "student.checkpoint and student.sizes are both given; the checkpoint brings its \
                 own sizes, remove one",
            ));
        }
        (None, None) => {
            return Err(Problem::new(
                "student.checkpoint or student.sizes is missing; give one of them",
            ));
        }
    };
    config.frames_per_block = student.frames_per_block;
    config.window_frames = student.window_frames;
    config.sink_frames = student.sink_frames;
    reads_latents(channels, &config)?;
    reads_text(&settings.text, &config)?;
    match config.problem() {
        Some(problem) => Err(Problem::new(format!("student: {problem}"))),
        None => Ok(config),
    }
}

/// Sizes from a weight file of ours, or read off the shapes of anybody's.
fn of_checkpoint(
    path: &Path,
    pickles: Pickles,
    student: &StudentTable,
) -> Result<StudentConfig, Problem> {
    let file = WeightFile::open(path, pickles).map_err(Problem::from_error)?;
    let metadata = file.own_metadata().map_err(Problem::from_error)?;
    let sizes: StudentConfig = match metadata.get("config") {
        Some(text) => serde_json::from_str(text).map_err(Problem::from_error)?,
        None => {
            let transformer = TransformerFile::find(&file, student.part.as_deref())
                .map_err(Problem::from_error)?;
            let sizes = transformer
                .sizes()
                .filter(|_| transformer.is_recognised())
                .ok_or_else(|| {
                    Problem::new(if LoraFile::is_recognised(&file) {
                        "it holds low-rank factors alone; put them into the weights that they \
                         stand beside with `afd export --merge-lora` and name what comes of it"
                    } else {
                        "it holds no Wan transformer; `afd inspect` lists what is in it"
                    })
                })?;
            if student.heads.is_none() && transformer.heads_source(&sizes).is_none() {
                return Err(Problem::new(format!(
                    "nothing in or beside it tells how many heads it has, and its width {} is not \
                     in heads of 128 channels as every Wan's; give student.heads",
                    sizes.width
                )));
            }
            sizes
        }
    };
    Ok(StudentConfig {
        heads: student.heads.unwrap_or(sizes.heads),
        ..sizes
    })
}
