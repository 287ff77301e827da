//! The teacher that a recipe names, opened.

use std::ops::Range;
use std::path::Path;

use afd_api::service::Service;
use afd_api::teacher::ApiTeacher;

use super::tables::TeacherKind;
use super::{Problem, Recipe, RecipeError};
use crate::run::signals;
use crate::teacher::world::{FRAMES, World, frames_for};
use crate::teacher::{Teacher, TeacherError, folder::FolderTeacher};

impl Recipe {
    fn refused(&self, problem: Problem) -> RecipeError {
        RecipeError::Value {
            path: self.path.clone(),
            problem,
        }
    }

    /// Opens the folder of a folder teacher, without what is quarantined; `None` for other
    /// teachers.
    ///
    /// # Errors
    /// A folder that lists no clips, one that cannot be used, or none for a prompt whose clips
    /// training or evaluation asks for.
    pub fn folder(&self) -> Result<Option<FolderTeacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        let (TeacherKind::Folder, Some(path)) = (teacher.kind, &teacher.path) else {
            return Ok(None);
        };
        let fail = |error: TeacherError| self.refused(Problem::from_error(error));
        let folder = FolderTeacher::open_without(path, teacher.layout, &self.quarantined);
        let folder = folder.map_err(fail)?;
        // Asking for no samples checks the prompt and reads nothing.
        for prompt in &self.train_prompts {
            folder.videos(prompt, 0..0).map_err(fail)?;
        }
        for prompt in self.compared_prompts() {
            folder.videos(prompt, 0..0).map_err(|error| {
                self.refused(Problem::new(format!(
                    "{error}; prompts.held_out needs clips of the teacher to compare with, \
                     evaluation.clips_per_prompt = 0 goes without"
                )))
            })?;
        }
        Ok(Some(folder))
    }

    /// The API behind the teacher, with its store. Asks nobody, and reads no key.
    ///
    /// # Errors
    /// Another kind of teacher, and settings that cannot work.
    pub fn service(&self) -> Result<Service, RecipeError> {
        let teacher = &self.settings.teacher;
        let fail = |problem: &str| self.refused(Problem::new(problem));
        let (TeacherKind::Api, Some(api)) = (teacher.kind, &teacher.api) else {
            return Err(fail(
                "teacher.kind = \"api\" and [teacher.api] are missing: name the adapter, its key, \
                 a price and a budget there",
            ));
        };
        let store = teacher.path.as_ref().ok_or_else(|| {
            fail("teacher.path is missing: name the directory for the API's clips")
        })?;
        if teacher.samples_per_prompt == 0 {
            return Err(fail(
                "teacher.samples_per_prompt is 0, but each sample of an API costs money: say how \
                 many clips a prompt may have",
            ));
        }
        Service::new(api, store, Path::new("."))
            .map_err(|error| self.refused(Problem::from_error(error)))
    }

    /// The samples that training and evaluation may ask for, prompt by prompt.
    pub fn announced_samples(&self) -> Vec<(String, Range<u64>)> {
        let (samples, evaluation) = (
            self.settings.teacher.samples_per_prompt,
            &self.settings.evaluation,
        );
        let first = evaluation.first_sample;
        let last = first.saturating_add(evaluation.clips_per_prompt);
        let training = self
            .train_prompts
            .iter()
            .map(|prompt| (prompt.clone(), 0..samples));
        let compared = self.compared_prompts().iter();
        training
            .chain(compared.map(|prompt| (prompt.clone(), first..last)))
            .collect()
    }

    /// Opens the teacher. A live API's begins to work. A folder's manifest and files are checked
    /// here.
    ///
    /// # Errors
    /// A teacher that is not there, or does not fit the recipe.
    pub fn teacher(&self) -> Result<Box<dyn Teacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        match teacher.kind {
            TeacherKind::World => {
                let world = if teacher.uncurated {
                    World::uncurated(teacher.seed)
                } else {
                    World::new(teacher.seed)
                };
                // A simulator films for as long as the clip needs; longer videos begin as the
                // shorter ones do.
                let frames = FRAMES.max(frames_for(self.settings.clip));
                Ok(Box::new(world.lasting(frames)))
            }
            TeacherKind::Folder => match self.folder()? {
                Some(folder) => Ok(Box::new(folder)),
                None => Err(self.refused(Problem::new(
                    "teacher.path is missing: name the folder that holds the clips",
                ))),
            },
            TeacherKind::Api => {
                let announced = self.announced_samples();
                let teacher =
                    ApiTeacher::open(&self.service()?, &announced, signals::stop_requested);
                Ok(Box::new(teacher.map_err(|error| {
                    self.refused(Problem::from_error(error))
                })?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_films_for_as_long_as_the_clip_needs_and_longer_videos_begin_as_the_shorter_ones() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        let video = |frames: usize| {
            let recipe = Recipe::load(&path, &[format!("clip.frames={frames}")]).unwrap();
            recipe
                .teacher()
                .unwrap()
                .videos("a small red ball is dropped on the moon", 0..1)
                .unwrap()
                .remove(0)
        };
        let (short, long) = (video(12), video(24));
        assert_eq!((short.frames.len(), long.frames.len()), (36, 47));
        assert_eq!(short.frames, long.frames[..36]);
    }
}
