//! Students against fresh samples of their teacher on held-out prompts.

use std::collections::BTreeSet;
use std::path::Path;

use afd_clips::layouts::Layout;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::Student;

use super::SessionError;
use super::generate::{Request, generate};
use crate::data::batch::{BatchError, Batches};
use crate::data::store::ClipStore;
use crate::data::video::Clip;
use crate::data::video_io::write_gif_bytes;
use crate::eval::estimate::{Column, PromptScores};
use crate::eval::holdout;
use crate::eval::preview::side_by_side;
use crate::eval::table::{FilmedBy, PromptGroup, Scores, score, score_teacher};
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::recipe::tables::{SamplerTable, TeacherKind};
use crate::run::files::write_atomically;
use crate::run::signals;
use crate::teacher::TeacherError;
use crate::teacher::world::World;

/// There is nothing to compare with.
#[derive(Debug, thiserror::Error)]
#[error("the teacher refuses every prompt of prompts.held_out; name others")]
pub struct AllRefused;

impl ExitStatus for AllRefused {}

/// Clips of one prompt: the teacher's, then each student's.
pub struct PromptClips {
    /// The prompt.
    pub prompt: String,
    /// Fresh samples of the teacher, each there once: fewer than asked for where it has no more.
    pub teacher: Vec<Clip>,
    /// One set per student, generated from the same noise.
    pub students: Vec<Vec<Clip>>,
}

/// The teacher's and the students' clips of every held-out prompt that the teacher does not refuse;
/// each student is sampled as its table says. A prompt that is listed twice is compared once.
pub fn held_out_clips<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    students: &[(&Student<B::InnerBackend>, &SamplerTable)],
    device: &B::Device,
) -> Result<Vec<PromptClips>, SessionError> {
    let evaluation = &recipe.settings.evaluation;
    let samples = evaluation.clips_per_prompt;
    let of_prompt = |prompt: &String| -> Result<PromptClips, SessionError> {
        let request = Request {
            prompt,
            samples,
            seed: recipe.settings.seed,
            batch: evaluation.batch,
            frames: recipe.settings.clip.frames,
            latent_shape: recipe.latent_shape,
        };
        let students = students.iter().map(|(student, sampler)| {
            generate(student, batches, &sampler.build(), &request, device)
        });
        Ok(PromptClips {
            prompt: prompt.clone(),
            teacher: teacher_clips(recipe, batches, prompt)?,
            students: students.collect::<Result<_, SessionError>>()?,
        })
    };
    let mut clips = Vec::with_capacity(recipe.held_out_prompts.len());
    let mut seen = BTreeSet::new();
    for prompt in &recipe.held_out_prompts {
        if signals::stop_requested() {
            return Err(BatchError::from(TeacherError::Stopped).into());
        }
        if seen.insert(prompt) && !batches.refuses(prompt)? {
            clips.push(of_prompt(prompt)?);
        }
    }
    if clips.is_empty() {
        return Err(AllRefused.into());
    }
    Ok(clips)
}

/// Different clips of the teacher, as many as are asked for or as there are.
fn teacher_clips<B: Kernels>(
    recipe: &Recipe,
    batches: &Batches<B>,
    prompt: &str,
) -> Result<Vec<Clip>, SessionError> {
    let evaluation = &recipe.settings.evaluation;
    let (first, asked) = (evaluation.first_sample, evaluation.clips_per_prompt);
    let count = batches
        .clips_of(prompt)
        .map_or(asked, |there| asked.min(there));
    let clips = batches.teacher_clips(prompt, first..first + count)?;
    if recipe.settings.teacher.kind == TeacherKind::World {
        return Ok(clips);
    }
    // A folder may list the same clip under two names, and what an API did not make is stood in
    // for by another of its clips.
    let mut different: Vec<Clip> = Vec::with_capacity(clips.len());
    for clip in clips {
        if !different.contains(&clip) {
            different.push(clip);
        }
    }
    Ok(different)
}

/// Who filmed the teacher's clips: the built-in world only where the recipe says so, or where the
/// folder's own records say that `afd teacher record` wrote all of its clips from it, and the
/// held-out prompts are sentences of the world.
pub fn filmed_by(recipe: &Recipe) -> FilmedBy {
    let teacher = &recipe.settings.teacher;
    let of_world = match (teacher.kind, &teacher.path) {
        (TeacherKind::World, _) => true,
        (TeacherKind::Folder, Some(path)) => recorded_from_world(path, recipe),
        _ => false,
    };
    if of_world {
        FilmedBy::World
    } else {
        FilmedBy::Others
    }
}

fn recorded_from_world(path: &Path, recipe: &Recipe) -> bool {
    let layout = recipe.settings.teacher.layout;
    let origin = ClipStore::origin(path).ok().flatten();
    // Lines that somebody added to the manifest are no records of the store.
    layout.is_none_or(|layout| layout == Layout::Jsonl)
        && origin.is_some_and(|origin| origin["teacher"] == "world")
        && ClipStore::list(path).is_ok()
        && recipe
            .held_out_prompts
            .iter()
            .all(|prompt| World::new(0).scene(prompt, 0).is_ok())
}

/// The columns of the table: the teacher against itself (the floor), then every student; `names`
/// are theirs, in that order.
pub fn scores<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    names: &[&str],
    clips: &[PromptClips],
    device: &B::Device,
) -> Result<Vec<Column<Scores>>, SessionError> {
    let filmed_by = filmed_by(recipe);
    let groups = |student: usize| -> Vec<PromptGroup> {
        clips
            .iter()
            .map(|clips| {
                let own = clips.students.get(student).cloned().unwrap_or_default();
                (clips.prompt.clone(), clips.teacher.clone(), own)
            })
            .collect()
    };
    let of_name = |(index, name): (usize, &&str)| -> Result<Column<Scores>, SessionError> {
        let prompts = match index.checked_sub(1) {
            None => score_teacher(&groups(0), filmed_by)?,
            Some(student) => {
                let groups = groups(student);
                let mut prompts = score(&groups, filmed_by)?;
                if recipe.settings.evaluation.holdout_steps > 0 {
                    let found = holdout::pair_accuracies::<B>(recipe, batches, &groups, device)?;
                    let accuracies = prompts.iter_mut().zip(found);
                    accuracies.for_each(|(prompt, accuracy): (&mut PromptScores<Scores>, _)| {
                        prompt.scores.holdout_pair_accuracy = accuracy;
                    });
                }
                prompts
            }
        };
        Ok(Column {
            name: (*name).to_string(),
            prompts,
        })
    };
    names.iter().enumerate().map(of_name).collect()
}

/// Writes `<directory>/held-out.gif`: the first clips of the first prompts, teacher beside every
/// student; gives back the GIF's bytes. `None` where no clips are to be shown.
pub fn write_preview(
    directory: &Path,
    names: &[&str],
    clips: &[PromptClips],
    rows: usize,
) -> Result<Option<Vec<u8>>, SessionError> {
    if rows == 0 {
        return Ok(None);
    }
    // Prompts far apart in the list, so that every kind of scene is seen.
    let shown: Vec<&PromptClips> = (0..rows.min(clips.len()))
        .map(|row| &clips[row * clips.len() / rows.min(clips.len())])
        .collect();
    let first = |of: &dyn Fn(&PromptClips) -> Option<Clip>| {
        shown
            .iter()
            .filter_map(|clips| of(clips))
            .collect::<Vec<_>>()
    };
    let mut columns = vec![first(&|clips| clips.teacher.first().cloned())];
    let students = clips.first().map_or(0, |clips| clips.students.len());
    columns.extend(
        (0..students).map(|student| first(&|clips| clips.students[student].first().cloned())),
    );
    let named: Vec<(&str, &[Clip])> = names
        .iter()
        .copied()
        .zip(columns.iter().map(Vec::as_slice))
        .collect();
    let bytes = write_gif_bytes(&side_by_side(&named, 6))?;
    write_atomically(&directory.join("held-out.gif"), &bytes)?;
    Ok(Some(bytes))
}
