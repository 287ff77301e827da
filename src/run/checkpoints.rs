//! The checkpoints of one run: `checkpoints/000100/`, each complete or absent, and the pointer file
//! `latest`.
//!
//! A checkpoint gets its name by one rename, after everything in it is on disk. So whichever moment
//! a kill hits, the newest named directory is whole, and that is the one to resume from; `latest`
//! may lag one behind it after such a kill.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files::{AtPath, StagedDirectory, remove_directory, remove_leftovers, write_atomically};
use super::manifest::{CheckpointError, Manifest};

/// The directory of checkpoints inside a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    directory: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The checkpoints under `run_directory`, of which the newest `keep` (at least 1) stay on disk.
    pub fn new(run_directory: &Path, keep: usize) -> Self {
        Self {
            directory: run_directory.join("checkpoints"),
            keep: keep.max(1),
        }
    }

    /// Where the checkpoint of `step` has its files: the step with at least six digits.
    pub fn path_of(&self, step: u64) -> PathBuf {
        self.directory.join(name_of(step))
    }

    /// Saves the state after `step`: `fill` writes the files into the directory it is given.
    ///
    /// Then come the manifest, one rename, `latest`, and the removal of all but the newest
    /// checkpoints.
    ///
    /// # Errors
    /// Whatever `fill` returns; [`CheckpointError::NotNewer`] when this or a later step is on disk;
    /// [`CheckpointError::File`] when the disk refuses. After an error before the rename, the
    /// checkpoints are as they were.
    pub fn save<E: From<CheckpointError>>(
        &self,
        step: u64,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(newest) = self.newest_step()?.filter(|&newest| newest >= step) {
            return Err(CheckpointError::NotNewer {
                step,
                newest,
                directory: self.directory.clone(),
            }
            .into());
        }
        let target = self.path_of(step);
        let staged = StagedDirectory::new(&target).map_err(CheckpointError::File)?;
        fill(staged.path())?;
        Manifest::of_directory(staged.path(), step)?.write(staged.path())?;
        staged.commit().map_err(CheckpointError::File)?;
        self.point_at(step)?;
        self.prune()?;
        Ok(target)
    }

    /// Makes `latest` name `step`: a run that was killed between a checkpoint's rename and this has
    /// a pointer that lags behind.
    pub fn point_at(&self, step: u64) -> Result<(), CheckpointError> {
        write_atomically(&self.pointer(), format!("{}\n", name_of(step)).as_bytes())
            .map_err(CheckpointError::File)
    }

    /// The newest checkpoint's step and directory, verified file by file; none when nothing was
    /// saved yet.
    ///
    /// # Errors
    /// [`CheckpointError::Newest`] when it is damaged, naming the newest intact older one, which is
    /// never taken silently; [`CheckpointError::Pointer`] when `latest` names a newer one than
    /// there is.
    pub fn latest(&self) -> Result<Option<(u64, PathBuf)>, CheckpointError> {
        let steps = self.steps()?;
        self.check_pointer(steps.last().copied())?;
        let Some((&newest, older)) = steps.split_last() else {
            return Ok(None);
        };
        match self.verify(newest) {
            Ok(()) => Ok(Some((newest, self.path_of(newest)))),
            Err(cause) => {
                let directory = self.path_of(newest);
                let remedy = match older.iter().rev().find(|&&step| self.verify(step).is_ok()) {
                    Some(&step) => self.how_to_choose(step),
                    None => "no older intact checkpoint exists, so start another run".into(),
                };
                Err(CheckpointError::Newest {
                    directory,
                    cause: Box::new(cause),
                    remedy,
                })
            }
        }
    }

    /// The steps saved, oldest first; whether they are intact is not checked.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("list", &self.directory)?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &self.directory)?;
            if let Some(step) = entry.file_name().to_str().and_then(step_of) {
                steps.push(step);
            }
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes what a killed process left half-written; call it only while this process alone
    /// writes the run.
    pub fn remove_leftovers(&self) -> Result<usize, CheckpointError> {
        if self.directory.exists() {
            Ok(remove_leftovers(&self.directory)?)
        } else {
            Ok(0)
        }
    }

    fn pointer(&self) -> PathBuf {
        self.directory.join("latest")
    }

    fn newest_step(&self) -> Result<Option<u64>, CheckpointError> {
        Ok(self.steps()?.pop())
    }

    fn verify(&self, step: u64) -> Result<(), CheckpointError> {
        let path = self.path_of(step);
        let manifest = Manifest::verify(&path)?;
        if manifest.step != step {
            let (found, expected) = (
                format!("the checkpoint of step {}", manifest.step),
                format!("step {step}"),
            );
            return Err(CheckpointError::Damaged {
                path,
                found,
                expected,
            });
        }
        Ok(())
    }

    /// A pointer ahead of the directories means that the newest state was lost: going on would
    /// silently use an older one.
    fn check_pointer(&self, newest: Option<u64>) -> Result<(), CheckpointError> {
        let path = self.pointer();
        let named = match fs::read(&path) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(()),
            text => String::from_utf8_lossy(&text.at("read", &path)?)
                .trim()
                .to_string(),
        };
        let remedy = match newest {
            Some(step) => self.how_to_choose(step),
            None => "restore that checkpoint or start another run".into(),
        };
        let found = match step_of(&named) {
            None => "a step of six or more digits was expected".to_string(),
            Some(step) if newest.is_none_or(|newest| newest < step) => "there is no such \
                checkpoint beside it"
                .to_string(),
            Some(_) => return Ok(()),
        };
        Err(CheckpointError::Pointer {
            path,
            named,
            found,
            remedy,
        })
    }

    fn how_to_choose(&self, step: u64) -> String {
        let (name, pointer) = (name_of(step), self.pointer());
        format!(
            "to go on from step {step} instead, move newer directories out of {} and write {name} \
                into {}",
            self.directory.display(),
            pointer.display()
        )
    }

    /// Only ever called right after `latest` was written, so the newest kept is the one it names.
    fn prune(&self) -> Result<(), CheckpointError> {
        let steps = self.steps()?;
        for &step in &steps[..steps.len().saturating_sub(self.keep)] {
            remove_directory(&self.path_of(step))?;
        }
        Ok(())
    }
}

fn name_of(step: u64) -> String {
    format!("{step:06}")
}

/// The step whose name this is: staging directories, `latest` and strangers have none.
fn step_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|&step| name_of(step) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::files::STAGING_PREFIX;

    fn save(checkpoints: &Checkpoints, step: u64) {
        checkpoints
            .save::<CheckpointError>(step, |place| {
                fs::create_dir(place.join("student")).unwrap();
                fs::write(place.join("student/model"), format!("weights of {step}")).unwrap();
                Ok(())
            })
            .unwrap();
    }

    fn example(keep: usize, steps: &[u64]) -> (tempfile::TempDir, Checkpoints) {
        let place = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(place.path(), keep);
        steps.iter().for_each(|&step| save(&checkpoints, step));
        (place, checkpoints)
    }

    #[test]
    fn the_newest_checkpoint_is_found_with_its_files_and_named_by_latest() {
        let (_place, checkpoints) = example(3, &[5, 10]);
        let (step, path) = checkpoints.latest().unwrap().unwrap();
        assert_eq!(
            (step, path.file_name().unwrap().to_str().unwrap()),
            (10, "000010")
        );
        assert_eq!(
            fs::read_to_string(path.join("student/model")).unwrap(),
            "weights of 10"
        );
        assert_eq!(
            fs::read_to_string(checkpoints.pointer()).unwrap(),
            "000010\n"
        );
    }

    #[test]
    fn a_run_without_checkpoints_has_no_latest() {
        assert!(example(1, &[]).1.latest().unwrap().is_none());
    }

    #[test]
    fn only_the_newest_are_kept_and_steps_sort_as_numbers_past_six_digits() {
        let (_place, checkpoints) = example(2, &[1, 2, 999_999, 1_000_000]);
        assert_eq!(checkpoints.steps().unwrap(), [999_999, 1_000_000]);
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 1_000_000);
        let (_place, checkpoints) = example(0, &[1, 2]);
        assert_eq!(checkpoints.steps().unwrap(), [2]);
    }

    #[test]
    fn a_kill_before_the_rename_resumes_from_the_previous_checkpoint() {
        let (_place, checkpoints) = example(3, &[5]);
        let staged = StagedDirectory::new(&checkpoints.path_of(10)).unwrap();
        fs::write(staged.path().join("model"), "half").unwrap();
        Manifest::of_directory(staged.path(), 10)
            .unwrap()
            .write(staged.path())
            .unwrap();
        std::mem::forget(staged); // as SIGKILL would
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 5);
        assert_eq!(checkpoints.remove_leftovers().unwrap(), 1);
        save(&checkpoints, 10);
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 10);
    }

    #[test]
    fn a_kill_between_the_rename_and_latest_resumes_from_the_renamed_checkpoint() {
        let (_place, checkpoints) = example(3, &[5, 10]);
        fs::write(checkpoints.pointer(), "000005\n").unwrap();
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 10);
        fs::remove_file(checkpoints.pointer()).unwrap(); // the very first save, killed there
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 10);
    }

    #[test]
    fn a_failing_fill_leaves_everything_as_it_was() {
        let (_place, checkpoints) = example(1, &[5]);
        let failed = checkpoints.save::<CheckpointError>(10, |place| {
            fs::write(place.join("half"), "x").unwrap();
            Err(CheckpointError::Manifest {
                path: place.into(),
                reason: "out of memory".into(),
            })
        });
        assert!(failed.unwrap_err().to_string().contains("out of memory"));
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 5);
        let staged = fs::read_dir(&checkpoints.directory)
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().starts_with(STAGING_PREFIX)
            });
        assert_eq!(staged.count(), 0);
    }

    #[test]
    fn a_damaged_newest_checkpoint_is_named_together_with_the_intact_older_one() {
        let (_place, checkpoints) = example(3, &[5, 10, 15]);
        fs::write(
            checkpoints.path_of(10).join("student/model"),
            "weightz of 10",
        )
        .unwrap();
        fs::write(
            checkpoints.path_of(15).join("student/model"),
            "weightz of 15",
        )
        .unwrap();
        let error = checkpoints.latest().unwrap_err().to_string();
        assert!(
            error.contains("000015")
                && error.contains("model")
                && error.contains("from step 5 instead"),
            "{error}"
        );
        assert_eq!(error.matches("BLAKE3").count(), 2, "{error}");
        let (_place, checkpoints) = example(1, &[5]);
        fs::remove_file(checkpoints.path_of(5).join("student/model")).unwrap();
        assert!(
            checkpoints
                .latest()
                .unwrap_err()
                .to_string()
                .contains("no older intact checkpoint")
        );
    }

    #[test]
    fn a_lost_newest_checkpoint_is_an_error_until_the_user_accepts_the_older_one() {
        let (_place, checkpoints) = example(3, &[5, 10]);
        fs::remove_dir_all(checkpoints.path_of(10)).unwrap();
        let error = checkpoints.latest().unwrap_err().to_string();
        assert!(
            error.contains("000010") && error.contains("write 000005"),
            "{error}"
        );
        fs::write(checkpoints.pointer(), "000005\n").unwrap();
        assert_eq!(checkpoints.latest().unwrap().unwrap().0, 5);
    }

    #[test]
    fn a_renamed_checkpoint_and_a_garbled_pointer_are_refused() {
        let (_place, checkpoints) = example(3, &[5]);
        fs::rename(checkpoints.path_of(5), checkpoints.path_of(7)).unwrap();
        assert!(
            checkpoints
                .latest()
                .unwrap_err()
                .to_string()
                .contains("found the checkpoint of step 5, expected step 7")
        );
        fs::write(checkpoints.pointer(), b"\xff/../etc").unwrap();
        assert!(
            checkpoints
                .latest()
                .unwrap_err()
                .to_string()
                .contains("six or more digits")
        );
    }

    #[test]
    fn an_existing_or_older_step_is_never_overwritten() {
        let (_place, checkpoints) = example(3, &[5]);
        for step in [5, 4] {
            let error = checkpoints
                .save::<CheckpointError>(step, |_| Ok(()))
                .unwrap_err();
            assert!(
                matches!(error, CheckpointError::NotNewer { newest: 5, .. }),
                "{error}"
            );
        }
        assert_eq!(
            fs::read_to_string(checkpoints.path_of(5).join("student/model")).unwrap(),
            "weights of 5"
        );
    }
}
