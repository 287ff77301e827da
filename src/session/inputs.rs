//! What a run stands on: weights, codec, text encoder, schedule, and the teacher's clips. Written
//! when the run begins, compared when it goes on.
//!
//! ```text
//! RUN/inputs.json      everything but the clips
//! RUN/teacher.jsonl    a line per clip: prompt, sample, file, stamp, content
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afd_models::kernels::Kernels;
use afd_models::student::StudentConfig;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SessionError;
use super::state::hashes;
use crate::data::batch::{BatchError, Batches, telling_samples};
use crate::data::text;
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::recipe::schedule::Schedule;
use crate::recipe::tables::TeacherKind;
use crate::run::directory::RECIPE_NAME;
use crate::run::files::{AtPath, write_atomically};
use crate::run::manifest::hash;
use crate::teacher::Source;

const INPUTS: &str = "inputs.json";
const CLIPS: &str = "teacher.jsonl";

/// Differences that a message lists; the rest is counted.
const SHOWN: usize = 5;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// What it stands on is something else now.
    #[error(
        "the run {} began with something else: {differences}; put that back, or start another run \
            with --name", run.display()
    )]
    Changed {
        /// The run.
        run: PathBuf,
        /// What was, and what is.
        differences: String,
    },
    /// A file of it is not what was written.
    #[error("{}: {problem}; put a backup in its place, or start another run with --name",
        path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

impl ExitStatus for InputsError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}

/// What a run stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInputs {
    fixed: Fixed,
    clips: BTreeMap<(String, u64), Clip>,
}

/// Everything but the clips.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    /// BLAKE3 of the run's recipe.resolved.toml; missing in runs of before.
    #[serde(default)]
    recipe_blake3: Option<String>,
    /// BLAKE3 of the files of student.checkpoint.
    student: Vec<String>,
    /// The student's sizes, some of which config.json beside the weights tells; missing in runs of
    /// before.
    #[serde(default)]
    sizes: Option<StudentConfig>,
    codec: Value,
    text: Value,
    /// How videos are read ([`afd_clips::READING`]).
    reading: u32,
    schedule: Schedule,
}

/// A clip of the teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clip {
    source: Source,
    content: String,
}

/// A line of [`CLIPS`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: String,
    sample: u64,
    source: Source,
    content: String,
}

impl RunInputs {
    /// What a run of `recipe` would stand on now. What `earlier` says of clips whose files have not
    /// changed since is not read again.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn of<B: Kernels>(
        recipe: &Recipe,
        batches: &Batches<B>,
        earlier: Option<&Self>,
    ) -> Result<Self, SessionError> {
        let settings = &recipe.settings;
        let teacher = batches.teacher();
        let one = |(prompt, sample): (String, u64)| {
            let Some(source) = teacher.source(&prompt, sample)? else {
                return Ok(None);
            };
            let key = (prompt, sample);
            let known = earlier
                .and_then(|earlier| earlier.clips.get(&key))
                .filter(|clip| source.is_still(&clip.source));
            let content = match known {
                Some(clip) => clip.content.clone(),
                None => batches.content(&key.0, sample, &source)?,
            };
            Ok(Some((key, Clip { source, content })))
        };
        let clips = telling_samples(recipe, teacher)
            .into_par_iter()
            .filter_map(|sample| one(sample).transpose())
            .collect::<Result<_, BatchError>>()?;
        let student = settings.student.checkpoint.as_deref();
        let within = settings.clone().within_passes(batches.training_clips());
        Ok(Self {
            fixed: Fixed {
                recipe_blake3: None,
                student: student.map_or(Ok(Vec::new()), hashes)?,
                sizes: Some(recipe.student.clone()),
                codec: recipe.codec.identity()?,
                text: text::identity_of_cached(&settings.text, settings.pickles(), recipe.data())?,
                reading: afd_clips::READING,
                schedule: Schedule::of(&within),
            },
            clips,
        })
    }

    /// That the run's record of them is no longer there.
    pub fn gone(run: &Path) -> InputsError {
        InputsError::Damaged {
            path: run.join(INPUTS),
            problem: "it is gone, and what the run began with is not known".to_string(),
        }
    }

    /// The schedule that runs.
    pub fn schedule(&self) -> Schedule {
        self.fixed.schedule
    }

    /// Writes them into a run's directory.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, run: &Path) -> Result<(), SessionError> {
        let mut lines = String::new();
        for ((prompt, sample), clip) in &self.clips {
            let line = Line {
                prompt: prompt.clone(),
                sample: *sample,
                source: clip.source.clone(),
                content: clip.content.clone(),
            };
            lines.push_str(&serde_json::to_string(&line)?);
            lines.push('\n');
        }
        write_atomically(&run.join(CLIPS), lines.as_bytes())?;
        // Last: where it is, the clips are too.
        let fixed = Fixed {
            recipe_blake3: Some(hash(&run.join(RECIPE_NAME))?),
            ..self.fixed.clone()
        };
        let text = format!("{}\n", serde_json::to_string_pretty(&fixed)?);
        Ok(write_atomically(&run.join(INPUTS), text.as_bytes())?)
    }

    /// Adds the clips that an API's teacher has made by now to a run's inputs.
    ///
    /// # Errors
    /// As [`RunInputs::of`] and [`RunInputs::write`].
    pub fn add_made<B: Kernels>(
        recipe: &Recipe,
        batches: &Batches<B>,
        run: &Path,
    ) -> Result<(), SessionError> {
        if recipe.settings.teacher.kind != TeacherKind::Api {
            return Ok(());
        }
        let earlier = Self::read(run)?;
        Self::of(recipe, batches, earlier.as_ref())?.write(run)
    }

    /// What a run began with; `None` for one that a kill ended before it was written.
    ///
    /// # Errors
    /// Files that cannot be read, or are damaged.
    pub fn read(run: &Path) -> Result<Option<Self>, SessionError> {
        let path = run.join(INPUTS);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.at("read", &path)?,
        };
        let damaged = |path: &Path, problem: String| InputsError::Damaged {
            path: path.to_path_buf(),
            problem,
        };
        let fixed: Fixed =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error.to_string()))?;
        let recipe = run.join(RECIPE_NAME);
        if let Some(written) = &fixed.recipe_blake3
            && hash(&recipe)? != *written
        {
            let problem = "it is not what the run began with: a field was changed".to_string();
            return Err(damaged(&recipe, problem).into());
        }
        let path = run.join(CLIPS);
        let bytes = fs::read(&path).at("read", &path)?;
        let mut clips = BTreeMap::new();
        let lines = bytes.split(|byte| *byte == b'\n');
        for (index, line) in lines.filter(|line| !line.is_empty()).enumerate() {
            let Line {
                prompt,
                sample,
                source,
                content,
            } = serde_json::from_slice(line)
                .map_err(|error| damaged(&path, format!("line {}: {error}", index + 1)))?;
            clips.insert((prompt, sample), Clip { source, content });
        }
        Ok(Some(Self { fixed, clips }))
    }

    /// Refuses to go on with `self` in a run that began with `earlier`. An API's teacher may have
    /// made more clips since.
    ///
    /// # Errors
    /// [`InputsError::Changed`], with what differs.
    pub fn go_on(&self, earlier: &Self, recipe: &Recipe, run: &Path) -> Result<(), InputsError> {
        let mut differences = self.fixed.differences(&earlier.fixed, recipe);
        differences.extend(self.clip_differences(earlier, recipe.settings.teacher.kind));
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(SHOWN);
        differences.truncate(SHOWN);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Err(InputsError::Changed {
            run: run.to_path_buf(),
            differences: differences.join("; "),
        })
    }

    fn clip_differences(&self, earlier: &Self, kind: TeacherKind) -> Vec<String> {
        let mut differences = Vec::new();
        for ((prompt, sample), was) in &earlier.clips {
            let of = format!("the teacher's clip {sample} of {prompt:?}");
            let file = &was.source.file;
            match self.clips.get(&(prompt.clone(), *sample)) {
                None => differences.push(format!("{of} was {file} and is gone")),
                Some(is) if is.content == was.content => {}
                Some(is) if is.source.file == *file => {
                    differences.push(format!("{of}, {file}, was another one"));
                }
                Some(is) => {
                    differences.push(format!("{of} was {file} and is {}", is.source.file));
                }
            }
        }
        if kind != TeacherKind::Api {
            let new = self.clips.iter();
            let new = new.filter(|(key, _)| !earlier.clips.contains_key(key));
            differences.extend(new.map(|((prompt, sample), clip)| {
                let file = &clip.source.file;
                format!("the teacher's clip {sample} of {prompt:?}, {file}, is new")
            }));
        }
        differences
    }
}

impl Fixed {
    fn differences(&self, earlier: &Self, recipe: &Recipe) -> Vec<String> {
        let settings = &recipe.settings;
        let shown = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or(String::new(), |path| format!(" ({})", path.display()))
        };
        let (was, is) = (&earlier.schedule, &self.schedule);
        let sizes = |of: &Self| {
            let sizes = of.sizes.as_ref();
            sizes.map_or(String::new(), |sizes| {
                format!("{} heads of {} channels", sizes.heads, sizes.head_width())
            })
        };
        let parts = [
            (
                self.student == earlier.student,
                format!(
                    "student.checkpoint{} has other weights now",
                    shown(&settings.student.checkpoint)
                ),
            ),
            (
                earlier.sizes.is_none() || self.sizes == earlier.sizes,
                format!(
                    "student.checkpoint{} has other sizes now: {}, was {}",
                    shown(&settings.student.checkpoint),
                    sizes(self),
                    sizes(earlier)
                ),
            ),
            (
                self.codec == earlier.codec,
                format!(
                    "the codec{} was {}, is {}",
                    shown(&settings.codec.checkpoint),
                    earlier.codec,
                    self.codec
                ),
            ),
            (
                self.text == earlier.text,
                format!(
                    "the text encoder{} was {}, is {}",
                    shown(&settings.text.checkpoint),
                    earlier.text,
                    self.text
                ),
            ),
            (
                self.reading == earlier.reading,
                "videos were read in another way by the program that began it".to_string(),
            ),
            (
                was == is,
                format!("its schedule was {was}, would now be {is}"),
            ),
        ];
        let differs = parts.into_iter().filter(|(same, _)| !same);
        differs.map(|(_, what)| what).collect()
    }
}
