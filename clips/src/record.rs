//! A teacher's answers into a directory that [`crate::teacher::folder::FolderTeacher`] opens.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    manifest::{Manifest, ManifestEntry, ManifestError},
    video_io::{VideoError, VideoFormat, write_video},
};
use crate::teacher::{Teacher, TeacherError};

/// Why a recording stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is nothing to record, or the same thing twice.
    #[error("cannot record: {0}")]
    Request(String),
    /// The target holds something already.
    #[error("{0} is not empty; recordings start in a new or empty directory")]
    NotEmpty(PathBuf),
    /// The file system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The teacher did not answer.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A clip could not be written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Records takes `0..takes` of every prompt as `directory/clips/{prompt:05}-{take:03}.{ending}`, then `directory/manifest.jsonl`.
///
/// The manifest comes last: a directory without one is a recording that did not finish, and one whose first clip fails stays empty.
/// `progress` hears (clips written, clips in all) after each clip. One clip is in memory at a time.
///
/// # Errors
/// [`RecordError`]: `directory` is not empty, there are no prompts or takes, a prompt is blank or repeated, or the teacher or the disk failed.
pub fn record(
    teacher: &dyn Teacher,
    prompts: &[String],
    takes: u64,
    format: VideoFormat,
    directory: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), RecordError> {
    check_request(prompts, takes)?;
    let error = |source| RecordError::Io { path: directory.to_path_buf(), source };
    fs::create_dir_all(directory).map_err(error)?;
    if fs::read_dir(directory).map_err(error)?.next().is_some() {
        return Err(RecordError::NotEmpty(directory.to_path_buf()));
    }
    let clips = directory.join("clips");
    fs::create_dir(&clips).map_err(error)?;
    let entries = record_clips(teacher, prompts, takes, format, directory, progress).inspect_err(|_| {
        // Only an empty directory is removed, so that a teacher or an ffmpeg that was not there at all can be asked again.
        let _ = fs::remove_dir(&clips);
    })?;
    Ok(Manifest::write(directory, &entries)?)
}

fn record_clips(
    teacher: &dyn Teacher,
    prompts: &[String],
    takes: u64,
    format: VideoFormat,
    directory: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ManifestEntry>, RecordError> {
    let total = prompts.len().saturating_mul(usize::try_from(takes).unwrap_or(usize::MAX));
    let mut entries = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        for take in 0..takes {
            let videos = teacher.videos(prompt, take..take + 1)?;
            let [video] = videos.as_slice() else {
                let problem = format!("the teacher gave {} videos for take {take} of {prompt:?}; expected 1", videos.len());
                return Err(TeacherError::Data(problem).into());
            };
            let name = format!("clips/{index:05}-{take:03}.{}", format.extension());
            write_video(&directory.join(&name), video)?;
            entries.push(ManifestEntry { prompt: prompt.clone(), video: name, take: Some(take) });
            progress(entries.len(), total);
        }
    }
    Ok(entries)
}

/// What the manifest would refuse at the end is refused before the first clip.
fn check_request(prompts: &[String], takes: u64) -> Result<(), RecordError> {
    if prompts.is_empty() || takes == 0 {
        return Err(RecordError::Request(format!("{} prompts and {takes} takes; expected at least one of each", prompts.len())));
    }
    if let Some(index) = prompts.iter().position(|prompt| prompt.trim().is_empty()) {
        return Err(RecordError::Request(format!("prompt {index} (counted from 0) is blank")));
    }
    let mut seen = BTreeSet::new();
    match prompts.iter().find(|prompt| !seen.insert(*prompt)) {
        Some(repeated) => Err(RecordError::Request(format!("the prompt {repeated:?} is listed twice; ask for more takes instead"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::{teacher::folder::FolderTeacher, video::Video};

    /// One grey level per (prompt length, take).
    struct Grey;

    impl Teacher for Grey {
        fn videos(&self, prompt: &str, takes: Range<u64>) -> Result<Vec<Video>, TeacherError> {
            if prompt == "forbidden" {
                return Err(TeacherError::Data("no".to_string()));
            }
            let grey = |take: u64| (prompt.len() as u64 * 10 + take) as u8;
            let video = |take| Video { width: 4, height: 2, frames_per_second: 8.0, frames: vec![vec![grey(take); 24]; 3] };
            Ok(takes.map(video).collect())
        }
    }

    fn prompts(prompts: &[&str]) -> Vec<String> {
        prompts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_recording_answers_like_its_teacher() {
        for format in [VideoFormat::Gif, VideoFormat::PngFrames] {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("new/recording");
            let mut heard = Vec::new();
            record(&Grey, &prompts(&["one", "three"]), 2, format, &directory, &mut |done, all| heard.push((done, all))).unwrap();
            assert_eq!(heard, [(1, 4), (2, 4), (3, 4), (4, 4)]);
            assert!(directory.join(format!("clips/00001-000.{}", format.extension())).exists());
            let teacher = FolderTeacher::open(&directory).unwrap();
            assert_eq!(teacher.prompts(), ["one", "three"]);
            for prompt in ["one", "three"] {
                assert_eq!(teacher.videos(prompt, 0..2).unwrap(), Grey.videos(prompt, 0..2).unwrap());
            }
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let result = record(&Grey, &prompts(&["one"]), 1, VideoFormat::Gif, folder.path(), &mut |_, _| {});
        assert!(matches!(result, Err(RecordError::NotEmpty(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_recording_that_fails_has_no_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let result = record(&Grey, &prompts(&["one", "forbidden"]), 1, VideoFormat::Gif, folder.path(), &mut |_, _| {});
        assert!(matches!(result, Err(RecordError::Teacher(_))));
        assert!(folder.path().join("clips/00000-000.gif").exists() && !folder.path().join("manifest.jsonl").exists());
    }

    #[test]
    fn a_recording_that_fails_at_its_first_clip_leaves_an_empty_directory() {
        let folder = tempfile::tempdir().unwrap();
        let result = record(&Grey, &prompts(&["forbidden", "one"]), 1, VideoFormat::Gif, folder.path(), &mut |_, _| {});
        assert!(matches!(result, Err(RecordError::Teacher(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn empty_blank_and_repeated_requests_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for (list, takes, expected) in [
            (&[][..], 1, "0 prompts"),
            (&["a"], 0, "0 takes"),
            (&["a", " "], 1, "prompt 1"),
            (&["a", "b", "a"], 1, "\"a\" is listed twice"),
        ] {
            let message = record(&Grey, &prompts(list), takes, VideoFormat::Gif, folder.path(), &mut |_, _| {}).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
