//! A teacher's answers into a [`ClipStore`], which [`crate::teacher::folder::FolderTeacher`] opens.

use std::{collections::BTreeSet, path::Path};

use super::{
    store::{ClipStore, StoreError},
    video_io::VideoFormat,
};
use crate::teacher::{Teacher, TeacherError};

/// Why a recording stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is nothing to record, or the same thing twice.
    #[error("cannot record: {0}")]
    Request(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The teacher did not answer.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
}

/// Records the clips of sample indices `0..samples` of every prompt into the store of `origin` in
/// `directory`, in order, one clip in memory at a time.
///
/// Clips that are there already stay, and those whose files are gone are made again: a recording
/// that was stopped, or that asks for more than before, goes on. `progress` hears (clips there,
/// clips in all) after each clip, and the recording ends early, with `false`, where it answers
/// `false`.
///
/// # Errors
/// [`RecordError`]: `directory` holds something else, there are no prompts or samples, a prompt is
/// blank or repeated, or the teacher or the disk failed.
pub fn record(
    teacher: &dyn Teacher,
    origin: &serde_json::Value,
    prompts: &[String],
    samples: u64,
    format: VideoFormat,
    directory: &Path,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<bool, RecordError> {
    check_request(prompts, samples)?;
    let mut store = ClipStore::open(directory, origin)?;
    let total = prompts
        .len()
        .saturating_mul(usize::try_from(samples).unwrap_or(usize::MAX));
    let mut done = 0;
    for prompt in prompts {
        for sample in 0..samples {
            store.forget_if_gone(prompt, sample);
            if store.get(prompt, sample).is_none() {
                let videos = teacher.videos(prompt, sample..sample + 1)?;
                let [video] = videos.as_slice() else {
                    let problem = format!(
                        "the teacher gave {} videos for sample {sample} of {prompt:?}; expected 1",
                        videos.len()
                    );
                    return Err(TeacherError::Data(problem).into());
                };
                store.add_video(prompt, sample, video, format)?;
            }
            done += 1;
            if !progress(done, total) && done < total {
                return Ok(false);
            }
        }
    }
    store.finish()?;
    Ok(true)
}

/// What the manifest would refuse at the end is refused before the first clip.
fn check_request(prompts: &[String], samples: u64) -> Result<(), RecordError> {
    if prompts.is_empty() || samples == 0 {
        return Err(RecordError::Request(format!(
            "{} prompts and {samples} samples; expected at least one of each",
            prompts.len()
        )));
    }
    if let Some(index) = prompts.iter().position(|prompt| prompt.trim().is_empty()) {
        return Err(RecordError::Request(format!(
            "prompt {index} (counted from 0) is blank"
        )));
    }
    let mut seen = BTreeSet::new();
    match prompts.iter().find(|prompt| !seen.insert(*prompt)) {
        Some(repeated) => Err(RecordError::Request(format!(
            "the prompt {repeated:?} is listed twice; ask for more samples instead"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::Range};

    use serde_json::json;

    use super::*;
    use crate::{teacher::folder::FolderTeacher, video::Video};

    /// One grey level per (prompt length, sample).
    struct Grey;

    impl Teacher for Grey {
        fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError> {
            if prompt == "forbidden" {
                return Err(TeacherError::Data("no".to_string()));
            }
            let grey = |sample: u64| (prompt.len() as u64 * 10 + sample) as u8;
            let video = |sample| Video {
                width: 4,
                height: 2,
                frames_per_second: 8.0,
                frames: vec![vec![grey(sample); 24]; 3],
            };
            Ok(samples.map(video).collect())
        }
    }

    fn prompts(prompts: &[&str]) -> Vec<String> {
        prompts.iter().map(ToString::to_string).collect()
    }

    fn recorded(
        list: &[&str],
        samples: u64,
        format: VideoFormat,
        directory: &Path,
    ) -> Result<bool, RecordError> {
        record(
            &Grey,
            &json!("grey"),
            &prompts(list),
            samples,
            format,
            directory,
            &mut |_, _| true,
        )
    }

    #[test]
    fn a_recording_answers_like_its_teacher() {
        for format in [VideoFormat::Gif, VideoFormat::PngFrames] {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("new/recording");
            let mut heard = Vec::new();
            let mut listen = |done, all| {
                heard.push((done, all));
                true
            };
            assert!(
                record(
                    &Grey,
                    &json!(0),
                    &prompts(&["one", "three"]),
                    2,
                    format,
                    &directory,
                    &mut listen
                )
                .unwrap()
            );
            assert_eq!(heard, [(1, 4), (2, 4), (3, 4), (4, 4)]);
            let teacher = FolderTeacher::open(&directory).unwrap();
            assert_eq!(teacher.prompts(), ["one", "three"]);
            for prompt in ["one", "three"] {
                assert_eq!(
                    teacher.videos(prompt, 0..2).unwrap(),
                    Grey.videos(prompt, 0..2).unwrap()
                );
            }
        }
    }

    #[test]
    fn a_recording_that_was_stopped_goes_on_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let list = prompts(&["one", "three"]);
        let stop = &mut |done, _| done < 3;
        assert!(
            !record(
                &Grey,
                &json!("grey"),
                &list,
                2,
                VideoFormat::Gif,
                folder.path(),
                stop
            )
            .unwrap()
        );
        let before = ClipStore::list(folder.path()).unwrap();
        assert_eq!(before.len(), 3);
        assert!(recorded(&["one", "three"], 2, VideoFormat::Gif, folder.path()).unwrap());
        let after = ClipStore::list(folder.path()).unwrap();
        assert!(after.len() == 4 && before.iter().all(|(key, record)| after[key] == *record));
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let result = recorded(&["one"], 1, VideoFormat::Gif, folder.path());
        assert!(matches!(
            result,
            Err(RecordError::Store(StoreError::Foreign(_)))
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_recording_that_fails_keeps_the_clips_before() {
        let folder = tempfile::tempdir().unwrap();
        let result = recorded(&["one", "forbidden"], 1, VideoFormat::Gif, folder.path());
        assert!(matches!(result, Err(RecordError::Teacher(_))));
        assert_eq!(ClipStore::list(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn empty_blank_and_repeated_requests_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for (list, samples, expected) in [
            (&[][..], 1, "0 prompts"),
            (&["a"], 0, "0 samples"),
            (&["a", " "], 1, "prompt 1"),
            (&["a", "b", "a"], 1, "\"a\" is listed twice"),
        ] {
            let message = recorded(list, samples, VideoFormat::Gif, folder.path())
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
