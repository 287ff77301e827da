//! What `afd data prepare` makes of a recipe: embeddings of its prompts, latents of its teacher's
//! clips.

use std::collections::BTreeSet;

use afd_models::kernels::Kernels;
use burn::prelude::*;

use super::SessionError;
use crate::data::batch::{BatchError, LATENTS, Match, latent_origin, matches, training_samples};
use crate::data::coding::encode;
use crate::data::embeddings::Prepared;
use crate::data::latents::{ClipRecord, LatentStore};
use crate::data::prepare::prepare_fitted;
use crate::data::text;
use crate::data::video::{Clip, to_byte};
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::run::signals;
use crate::teacher::{Source, Teacher, TeacherError, folder::FolderTeacher};

/// Why a teacher's clips cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PreparationError {
    /// There is no place for them.
    #[error("the recipe has no data.path; name the directory to prepare into")]
    NoData,
    /// The clip is being written.
    #[error("{file} ({prompt:?}) changed while it was read; prepare again when nothing writes it")]
    Changing {
        /// The prompt.
        prompt: String,
        /// The clip.
        file: String,
    },
    /// The teacher answered with nothing.
    #[error("the teacher has no sample {sample} of {prompt:?}")]
    NoSample {
        /// The prompt.
        prompt: String,
        /// The sample.
        sample: u64,
    },
}

impl ExitStatus for PreparationError {}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Clips encoded now.
    pub written: usize,
    /// Clips that were there.
    pub kept: usize,
    /// Latents in the store that none of the clips asks for: of clips that are gone or were
    /// replaced, or of prompts that are not trained on.
    pub unused: usize,
    /// Whether all are there now; otherwise a signal came between.
    pub finished: bool,
}

/// Encodes the prompts that the cache lacks; `None` where the text encoder needs no cache.
/// `progress` hears (done, in all).
///
/// # Errors
/// The encoder's files, the disk.
pub fn prepare_text<B: Kernels>(
    recipe: &Recipe,
    device: &B::Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Prepared>, SessionError> {
    let settings = &recipe.settings;
    let mut prompts = recipe.train_prompts.clone();
    prompts.extend(
        recipe
            .held_out_prompts
            .iter()
            .filter(|prompt| !recipe.train_prompts.contains(prompt))
            .cloned(),
    );
    let Some(data) = recipe.data() else {
        return Err(PreparationError::NoData.into());
    };
    Ok(text::prepare::<B>(
        &settings.text,
        settings.pickles(),
        data,
        &prompts,
        device,
        progress,
    )?)
}

/// Encodes the teacher's clips of all training prompts that the store lacks, shard by shard: each
/// clip resampled, cropped, resized and rounded to 8 bits, as student samples are before a
/// discriminator sees them. A signal stops it after the clip in hand; finished shards stay.
///
/// # Errors
/// A teacher without an end, a clip that cannot be read or prepared (by name), the disk.
pub fn prepare_latents<B: Kernels>(
    recipe: &Recipe,
    device: &B::Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Done, SessionError> {
    let Some(settings) = &recipe.settings.data else {
        return Err(PreparationError::NoData.into());
    };
    let folder = recipe.folder()?;
    let other = if folder.is_none() {
        Some(recipe.teacher()?)
    } else {
        None
    };
    let teacher: &dyn Teacher = match (&folder, &other) {
        (Some(folder), _) => folder,
        (None, Some(other)) => &**other,
        (None, None) => return Err(PreparationError::NoData.into()),
    };
    let mut store = LatentStore::open(&settings.path.join(LATENTS), &latent_origin(recipe)?)?;
    store.verify()?;
    let mut done = Done {
        written: 0,
        kept: 0,
        unused: 0,
        finished: false,
    };
    let wanted = match training_samples(recipe, teacher) {
        Err(BatchError::Teacher(TeacherError::Stopped)) => return Ok(done),
        wanted => wanted?,
    };
    let (mut missing, mut used, mut moved) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (sample, found) in wanted.iter().zip(matches(&store, teacher, &wanted)?) {
        match found {
            Match::Missing(_) => missing.push(sample),
            Match::Found(place, elsewhere) => {
                used.insert(place);
                moved.extend(elsewhere.map(|source| (place, source)));
            }
        }
    }
    store.moved(moved)?;
    done.kept = wanted.len() - missing.len();
    done.unused = store.len() - used.len();
    let codec = recipe.codec.load::<B>(device)?;
    for shard in missing.chunks(settings.clips_per_shard) {
        let mut clips = Vec::with_capacity(shard.len());
        for some in shard.chunks(at_once(recipe)) {
            if signals::stop_requested() {
                return Ok(done);
            }
            let decoded = decoded(recipe, teacher, folder.as_ref(), some);
            for ((prompt, _), clip) in some.iter().zip(decoded) {
                let (clip, source, content) = match clip {
                    Err(SessionError::Batch(BatchError::Teacher(TeacherError::Stopped))) => {
                        return Ok(done);
                    }
                    clip => clip?,
                };
                let record = ClipRecord {
                    prompt: prompt.clone(),
                    source,
                    content,
                    pixels: pixel_hash(&clip),
                };
                let latents: Tensor<B, 5> = encode(&*codec, &[clip], recipe.settings.clip, device);
                clips.push((record, latents.into_data().iter::<f32>().collect()));
                progress(done.kept + done.written + clips.len(), wanted.len());
            }
        }
        done.written += clips.len();
        store.add(clips)?;
    }
    done.finished = true;
    Ok(done)
}

/// Clips that are decoded at the same time: one per core, as long as they fit into 1 GiB.
fn at_once(recipe: &Recipe) -> usize {
    let clip = recipe.settings.clip;
    let bytes = clip.frames * clip.height * clip.width * 3 * size_of::<f32>();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    cores.min((1 << 30) / bytes.max(1)).max(1)
}

/// The prepared clips of some samples, in their order, and what each of them is.
fn decoded(
    recipe: &Recipe,
    teacher: &dyn Teacher,
    folder: Option<&FolderTeacher>,
    samples: &[&(String, u64)],
) -> Vec<Result<(Clip, Source, String), SessionError>> {
    let clip_of = |(prompt, sample): &(String, u64)| -> Result<Clip, SessionError> {
        let (shape, fit) = (recipe.settings.clip, recipe.settings.teacher.fit);
        if let Some(folder) = folder {
            // Prepared while it is decoded: the whole video is never in memory.
            return Ok(folder
                .prepared(prompt, *sample, shape, fit)
                .map_err(BatchError::from)?);
        }
        let videos = teacher
            .videos(prompt, *sample..*sample + 1)
            .map_err(BatchError::from)?;
        let video = videos.first().ok_or_else(|| PreparationError::NoSample {
            prompt: prompt.clone(),
            sample: *sample,
        })?;
        let failed = |source| BatchError::Prepare {
            prompt: prompt.clone(),
            sample: *sample,
            source,
        };
        Ok(prepare_fitted(video, shape, fit).map_err(failed)?)
    };
    let one = |of: &(String, u64)| {
        let (prompt, sample) = of;
        let content = teacher.content(prompt, *sample).map_err(BatchError::from)?;
        let source = || {
            let source = teacher.source(prompt, *sample).map_err(BatchError::from)?;
            source.ok_or_else(|| {
                SessionError::from(PreparationError::NoSample {
                    prompt: prompt.clone(),
                    sample: *sample,
                })
            })
        };
        let before = source()?;
        let clip = clip_of(of)?;
        if source()? != before {
            let (prompt, file) = (prompt.clone(), before.file);
            return Err(PreparationError::Changing { prompt, file }.into());
        }
        Ok((clip, before, content))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = samples
            .iter()
            .map(|sample| scope.spawn(move || one(sample)))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

fn pixel_hash(clip: &Clip) -> String {
    let bytes: Vec<u8> = clip.pixels.iter().map(|value| to_byte(*value)).collect();
    blake3::hash(&bytes).to_hex().to_string()
}
