//! Students against fresh samples of their teacher on held-out prompts.

use std::path::Path;

use afd_models::kernels::Trainable;
use afd_models::student::Student;

use super::SessionError;
use super::generate::{Request, generate};
use crate::data::batch::{BatchError, Batches};
use crate::data::video::Clip;
use crate::data::video_io::write_gif_bytes;
use crate::eval::holdout;
use crate::eval::preview::side_by_side;
use crate::eval::table::{Scores, score, score_teacher};
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::run::files::write_atomically;
use crate::run::signals;
use crate::teacher::TeacherError;

/// There is nothing to compare with.
#[derive(Debug, thiserror::Error)]
#[error("the teacher refuses every prompt of prompts.held_out; name others")]
pub struct AllRefused;

impl ExitStatus for AllRefused {}

/// Clips of one prompt: the teacher's, then each student's.
pub struct PromptClips {
    /// The prompt.
    pub prompt: String,
    /// Fresh samples of the teacher.
    pub teacher: Vec<Clip>,
    /// One set per student, generated from the same noise.
    pub students: Vec<Vec<Clip>>,
}

/// The teacher's and the students' clips of every held-out prompt that the teacher does not refuse.
pub fn held_out_clips<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    students: &[&Student<B::InnerBackend>],
    device: &B::Device,
) -> Result<Vec<PromptClips>, SessionError> {
    let evaluation = &recipe.settings.evaluation;
    let (sampler, samples) = (recipe.settings.sampler.build(), evaluation.clips_per_prompt);
    let of_prompt = |prompt: &String| -> Result<PromptClips, SessionError> {
        let first = evaluation.first_sample;
        let request = Request {
            prompt,
            samples,
            seed: recipe.settings.seed,
            batch: evaluation.batch,
            frames: recipe.settings.clip.frames,
            latent_shape: recipe.latent_shape,
        };
        let students = students
            .iter()
            .map(|student| generate(student, batches, &sampler, &request, device));
        Ok(PromptClips {
            prompt: prompt.clone(),
            teacher: batches.teacher_clips(prompt, first..first + samples)?,
            students: students.collect::<Result<_, SessionError>>()?,
        })
    };
    let mut clips = Vec::with_capacity(recipe.held_out_prompts.len());
    for prompt in &recipe.held_out_prompts {
        if signals::stop_requested() {
            return Err(BatchError::from(TeacherError::Stopped).into());
        }
        if !batches.refuses(prompt)? {
            clips.push(of_prompt(prompt)?);
        }
    }
    if clips.is_empty() {
        return Err(AllRefused.into());
    }
    Ok(clips)
}

/// Scores of the teacher against itself (the floor), then of every student.
pub fn scores<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    clips: &[PromptClips],
    device: &B::Device,
) -> Result<Vec<Scores>, SessionError> {
    let students = clips.first().map_or(0, |clips| clips.students.len());
    let groups = |student: usize| -> Vec<(String, Vec<Clip>, Vec<Clip>)> {
        clips
            .iter()
            .map(|clips| {
                (
                    clips.prompt.clone(),
                    clips.teacher.clone(),
                    clips.students[student].clone(),
                )
            })
            .collect()
    };
    let mut all = vec![score_teacher(&groups(0))?];
    for student in 0..students {
        let groups = groups(student);
        let mut scores = score(&groups)?;
        if recipe.settings.evaluation.holdout_steps > 0 {
            scores.holdout_pair_accuracy = Some(holdout::pair_accuracy::<B>(
                recipe, batches, &groups, device,
            )?);
        }
        all.push(scores);
    }
    Ok(all)
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
