//! A teacher that has answered already: a folder of clips in any of the [`crate::layouts`].

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Teacher, TeacherError};
use crate::{
    layouts::{Layout, Place, Problem},
    prepare::{Fit, PrepareError, Preparer},
    video::{Clip, ClipShape, Video},
    video_io::check_readable,
};

/// Most decoded bytes kept in memory (512 MiB); further clips are decoded anew each time.
const CACHE_BYTES: usize = 512 << 20;

/// Recorded clips as a teacher: sample index `i` of a prompt is its clip `i` modulo the number of
/// its clips.
///
/// A prompt's clips are ordered by the sample index that the folder gives them. Clips without one
/// follow in the folder's order.
#[derive(Debug)]
pub struct FolderTeacher {
    directory: PathBuf,
    prompts: Vec<String>,
    clips: BTreeMap<String, Vec<Place>>,
    cache: Mutex<Cache>,
}

impl FolderTeacher {
    /// Opens a folder of any layout; see [`FolderTeacher::open_without`].
    ///
    /// # Errors
    /// As there.
    pub fn open(directory: &Path) -> Result<Self, TeacherError> {
        Self::open_without(directory, None, &BTreeSet::new())
    }

    /// Lists a folder's clips, but those that `quarantined` names, and checks that every one exists
    /// and could be read. Without a `layout` the folder's contents decide.
    ///
    /// # Errors
    /// [`TeacherError::Data`] for a folder that cannot be listed or lists no clip, and for a clip
    /// which is missing, of an unknown kind, or needs an ffmpeg that is not installed. Clips are
    /// decoded when asked for, so damage inside one shows only then.
    pub fn open_without(
        directory: &Path,
        layout: Option<Layout>,
        quarantined: &BTreeSet<String>,
    ) -> Result<Self, TeacherError> {
        let data = |error: &dyn std::fmt::Display| TeacherError::Data(error.to_string());
        let layout = layout
            .map_or_else(|| Layout::detect(directory), Ok)
            .map_err(|error| data(&error))?;
        let mut prompts = Vec::new();
        let mut numbered: BTreeMap<String, Vec<(u64, Place)>> = BTreeMap::new();
        let mut unusable = None;
        let list = layout.list(directory, &mut |listed| {
            let listed = match listed {
                Ok(entry) if quarantined.contains(&entry.place.to_string()) => return true,
                Err(problem) if quarantined.contains(&problem.file) => return true,
                Ok(entry) => readable(directory, &entry.place).map(|()| entry),
                Err(Problem { file, problem }) => Err(format!("{file}: {problem}")),
            };
            match listed {
                Ok(entry) => {
                    if !numbered.contains_key(&entry.prompt) {
                        prompts.push(entry.prompt.clone());
                    }
                    numbered
                        .entry(entry.prompt)
                        .or_default()
                        .push((entry.sample.unwrap_or(u64::MAX), entry.place));
                    true
                }
                Err(problem) => {
                    unusable = Some(problem);
                    false
                }
            }
        });
        list.map_err(|error| data(&error))?;
        if let Some(problem) = unusable {
            let shown = directory.display();
            return Err(TeacherError::Data(format!(
                "{shown} lists a clip that cannot be used: {problem}; `afd data check {shown}` \
                    lists all of them"
            )));
        }
        if prompts.is_empty() {
            return Err(TeacherError::Data(format!(
                "{} lists no clip that can be used",
                directory.display()
            )));
        }
        let in_order = |mut clips: Vec<(u64, Place)>| {
            // Stable: equal sample indices stay in the folder's order.
            clips.sort_by_key(|&(sample, _)| sample);
            clips.into_iter().map(|(_, place)| place).collect()
        };
        let clips = numbered
            .into_iter()
            .map(|(prompt, clips)| (prompt, in_order(clips)))
            .collect();
        Ok(Self {
            directory: directory.to_path_buf(),
            prompts,
            clips,
            cache: Mutex::new(Cache::new(CACHE_BYTES)),
        })
    }

    /// Every prompt once, in the folder's order.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// How many clips there are for `prompt`; 0 for one that the folder does not list.
    pub fn clip_count(&self, prompt: &str) -> usize {
        self.clips.get(prompt).map_or(0, Vec::len)
    }

    /// The clip of sample index `sample` of `prompt`, prepared while its video is decoded: one frame
    /// of the video and the clip are in memory.
    ///
    /// # Errors
    /// As for [`Teacher::videos`], and a video that cannot become a clip of `shape`.
    pub fn prepared(
        &self,
        prompt: &str,
        sample: u64,
        shape: ClipShape,
        fit: Fit,
    ) -> Result<Clip, TeacherError> {
        let places = self.places(prompt)?;
        let place = &places[(sample % places.len() as u64) as usize];
        let unusable = |error: PrepareError| {
            TeacherError::Data(format!(
                "{}: {error}",
                place.shown(&self.directory).display()
            ))
        };
        let mut preparer = Preparer::new(shape, fit).map_err(unusable)?;
        let decoded = place.decode(&self.directory, &mut |header, frame| {
            preparer.frame(header, frame)
        });
        decoded.map_err(|error| TeacherError::Data(error.to_string()))?;
        preparer.finish().map_err(unusable)
    }

    /// The clips of a prompt, at least one.
    fn places(&self, prompt: &str) -> Result<&[Place], TeacherError> {
        self.clips
            .get(prompt)
            .map(Vec::as_slice)
            .ok_or_else(|| TeacherError::Prompt {
                teacher: format!("the folder {}", self.directory.display()),
                prompt: prompt.to_string(),
                reason: format!(
                    "it is not one of the {} that it lists; the nearest is {:?}",
                    self.prompts.len(),
                    self.nearest(prompt)
                ),
            })
    }

    fn clip(&self, place: &Place) -> Result<Video, TeacherError> {
        // The cache is whole between its own calls, so another thread's panic does not spoil it.
        if let Some(video) = self
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .videos
            .get(place)
        {
            return Ok(video.clone());
        }
        let mut frames = Vec::new();
        let header = place.decode(&self.directory, &mut |_, frame| frames.push(frame.to_vec()));
        let header = header.map_err(|error| TeacherError::Data(error.to_string()))?;
        let video = Video {
            width: header.width,
            height: header.height,
            frames_per_second: header.frames_per_second,
            frames,
        };
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(place, &video);
        Ok(video)
    }
}

/// Whether decoding could start: what lies in an archive was looked at when it was listed.
fn readable(directory: &Path, place: &Place) -> Result<(), String> {
    match place {
        Place::File(path) => {
            check_readable(&directory.join(path)).map_err(|error| error.to_string())
        }
        Place::Member { .. } | Place::Cell { .. } => Ok(()),
    }
}

impl Teacher for FolderTeacher {
    fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        let clips = self.places(prompt)?;
        // The remainder is below the number of clips, so it fits whatever the width of usize.
        samples
            .map(|sample| self.clip(&clips[(sample % clips.len() as u64) as usize]))
            .collect()
    }

    fn samples(&self, prompt: &str) -> Option<u64> {
        Some(self.clip_count(prompt) as u64)
    }
}

impl FolderTeacher {
    fn nearest(&self, prompt: &str) -> &str {
        let likeness = |known: &&String| strsim::normalized_levenshtein(prompt, known);
        self.prompts
            .iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .map_or("", String::as_str)
    }
}

/// Decoded clips, kept until full. None is dropped for another: training goes round and round, and
/// a cache that drops the oldest would then never hold the next one.
#[derive(Debug)]
struct Cache {
    videos: BTreeMap<Place, Video>,
    bytes_left: usize,
}

impl Cache {
    fn new(bytes: usize) -> Self {
        Self {
            videos: BTreeMap::new(),
            bytes_left: bytes,
        }
    }

    fn keep(&mut self, place: &Place, video: &Video) {
        let bytes = video.frames.iter().map(Vec::len).sum();
        if let (Some(left), false) = (
            self.bytes_left.checked_sub(bytes),
            self.videos.contains_key(place),
        ) {
            self.bytes_left = left;
            self.videos.insert(place.clone(), video.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        manifest::{Manifest, ManifestEntry},
        prepare::prepare,
        video_io::write_video,
    };

    fn video(value: u8, width: u32, height: u32, frames: usize, frames_per_second: f64) -> Video {
        Video {
            width,
            height,
            frames_per_second,
            frames: vec![vec![value; (width * height * 3) as usize]; frames],
        }
    }

    fn entry(prompt: &str, video: &str, sample: Option<u64>) -> ManifestEntry {
        ManifestEntry {
            prompt: prompt.to_string(),
            video: video.to_string(),
            sample,
        }
    }

    /// Two prompts, clips of different kinds, sizes and rates.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_video(&folder.path().join("a.gif"), &video(10, 4, 6, 3, 8.0)).unwrap();
        write_video(&folder.path().join("b.frames"), &video(20, 9, 5, 7, 24.0)).unwrap();
        write_video(&folder.path().join("c.frames"), &video(30, 1, 1, 1, 10.0)).unwrap();
        let entries = [
            entry("a red ball", "b.frames", Some(1)),
            entry("a blue box", "c.frames", None),
            entry("a red ball", "a.gif", Some(0)),
        ];
        Manifest::write(folder.path(), &entries).unwrap();
        folder
    }

    #[test]
    fn sample_indices_go_round_the_prompts_clips_in_order() {
        let folder = folder();
        let teacher = FolderTeacher::open(folder.path()).unwrap();
        assert_eq!(teacher.prompts(), ["a red ball", "a blue box"]);
        assert_eq!(
            ["a red ball", "a blue box", "none"].map(|prompt| teacher.clip_count(prompt)),
            [2, 1, 0]
        );
        let (first, second) = (video(10, 4, 6, 3, 8.0), video(20, 9, 5, 7, 24.0));
        // Twice: from the files, then from memory.
        for _ in 0..2 {
            let videos = teacher.videos("a red ball", 0..3).unwrap();
            assert_eq!(videos, [first.clone(), second.clone(), first.clone()]);
        }
        assert_eq!(
            teacher
                .videos("a red ball", u64::MAX - 1..u64::MAX)
                .unwrap(),
            [first]
        );
        assert_eq!(
            teacher.videos("a blue box", 5..6).unwrap(),
            [video(30, 1, 1, 1, 10.0)]
        );
        assert_eq!(teacher.videos("a blue box", 5..5).unwrap(), []);
    }

    #[test]
    fn an_unknown_prompt_is_answered_with_the_nearest_known_one() {
        let folder = folder();
        let message = FolderTeacher::open(folder.path())
            .unwrap()
            .videos("a blue bux", 0..1)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("\"a blue bux\"") && message.contains("the nearest is \"a blue box\""),
            "{message}"
        );
    }

    #[test]
    fn missing_clips_are_found_when_opening() {
        let folder = folder();
        fs::remove_file(folder.path().join("a.gif")).unwrap();
        let message = FolderTeacher::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("a.gif"), "{message}");
        assert!(matches!(
            FolderTeacher::open(&folder.path().join("none")),
            Err(TeacherError::Data(_))
        ));
    }

    #[test]
    fn quarantined_clips_are_not_there_and_the_others_close_ranks() {
        let folder = folder();
        fs::remove_file(folder.path().join("a.gif")).unwrap();
        let without = |names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect();
            FolderTeacher::open_without(folder.path(), Some(Layout::Jsonl), &names)
        };
        let teacher = without(&["a.gif", "c.frames"]).unwrap();
        assert_eq!(
            (teacher.prompts(), teacher.clip_count("a red ball")),
            (&["a red ball".to_string()][..], 1)
        );
        assert_eq!(
            teacher.videos("a red ball", 0..1).unwrap(),
            [video(20, 9, 5, 7, 24.0)]
        );
        assert!(
            without(&["a.gif", "b.frames", "c.frames"])
                .unwrap_err()
                .to_string()
                .contains("lists no clip that can be used")
        );
        assert!(
            without(&[])
                .unwrap_err()
                .to_string()
                .contains("afd data check")
        );
    }

    #[test]
    fn a_clip_prepared_while_it_is_decoded_is_the_one_prepared_afterwards() {
        let folder = folder();
        let teacher = FolderTeacher::open(folder.path()).unwrap();
        let shape = ClipShape {
            frames: 2,
            height: 3,
            width: 2,
            frames_per_second: 8.0,
        };
        let whole = teacher.videos("a red ball", 1..2).unwrap();
        assert_eq!(
            teacher.prepared("a red ball", 1, shape, Fit::Crop).unwrap(),
            prepare(&whole[0], shape).unwrap()
        );
        let long = ClipShape {
            frames: 20,
            ..shape
        };
        let message = teacher
            .prepared("a red ball", 1, long, Fit::Crop)
            .unwrap_err()
            .to_string();
        assert!(message.contains("b.frames: the video lasts"), "{message}");
    }

    #[test]
    fn decoded_clips_are_kept_up_to_the_byte_limit() {
        let place = |name: &str| Place::File(name.to_string());
        let mut cache = Cache::new(100);
        cache.keep(&place("a"), &video(1, 4, 4, 1, 8.0)); // 48 bytes
        cache.keep(&place("a"), &video(1, 4, 4, 1, 8.0));
        cache.keep(&place("b"), &video(2, 5, 4, 1, 8.0)); // 60 bytes: does not fit
        cache.keep(&place("c"), &video(3, 4, 4, 1, 8.0));
        assert_eq!(cache.bytes_left, 4);
        assert!(
            ["a", "c"]
                .iter()
                .all(|name| cache.videos.contains_key(&place(name)))
                && cache.videos.len() == 2
        );
    }

    #[test]
    fn kept_clips_are_not_read_again() {
        let folder = folder();
        let teacher = FolderTeacher::open(folder.path()).unwrap();
        let before = teacher.videos("a red ball", 0..1).unwrap();
        fs::remove_file(folder.path().join("a.gif")).unwrap();
        assert_eq!(teacher.videos("a red ball", 0..1).unwrap(), before);
    }
}
