//! A teacher that has answered already: a directory of clips and their `manifest.jsonl`.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Teacher, TeacherError};
use crate::{
    manifest::Manifest,
    video::Video,
    video_io::{check_readable, read_video},
};

/// Most decoded bytes kept in memory (512 MiB); further clips are decoded anew each time.
const CACHE_BYTES: usize = 512 << 20;

/// Recorded clips as a teacher: take `i` of a prompt is its clip `i` modulo the number of its clips.
///
/// A prompt's clips are ordered by the manifest's `take`; those without one follow in the manifest's order.
#[derive(Debug)]
pub struct FolderTeacher {
    directory: PathBuf,
    prompts: Vec<String>,
    clips: BTreeMap<String, Vec<PathBuf>>,
    cache: Mutex<Cache>,
}

impl FolderTeacher {
    /// Reads `directory/manifest.jsonl` and checks that every clip exists and could be read.
    ///
    /// # Errors
    /// [`TeacherError::Data`] for a manifest that cannot be used, and for a clip which is missing, of an unknown kind, or needs an ffmpeg
    /// that is not installed. Clips are decoded when asked for, so damage inside one shows only then.
    pub fn open(directory: &Path) -> Result<Self, TeacherError> {
        let manifest = Manifest::read(directory).map_err(|error| TeacherError::Data(error.to_string()))?;
        let mut prompts = Vec::new();
        let mut numbered: BTreeMap<String, Vec<(u64, PathBuf)>> = BTreeMap::new();
        for entry in &manifest.entries {
            let path = manifest.path(entry);
            check_readable(&path)
                .map_err(|error| TeacherError::Data(format!("{} lists a clip that cannot be used: {error}", directory.display())))?;
            if !numbered.contains_key(&entry.prompt) {
                prompts.push(entry.prompt.clone());
            }
            numbered.entry(entry.prompt.clone()).or_default().push((entry.take.unwrap_or(u64::MAX), path));
        }
        let in_order = |mut clips: Vec<(u64, PathBuf)>| {
            clips.sort_by_key(|&(take, _)| take); // Stable: equal takes stay in the manifest's order.
            clips.into_iter().map(|(_, path)| path).collect()
        };
        let clips = numbered.into_iter().map(|(prompt, clips)| (prompt, in_order(clips))).collect();
        Ok(Self { directory: directory.to_path_buf(), prompts, clips, cache: Mutex::new(Cache::new(CACHE_BYTES)) })
    }

    /// Every prompt once, in the manifest's order.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// How many clips there are for `prompt`; 0 for one that is not in the manifest.
    pub fn clip_count(&self, prompt: &str) -> usize {
        self.clips.get(prompt).map_or(0, Vec::len)
    }

    fn clip(&self, path: &Path) -> Result<Video, TeacherError> {
        // The cache is whole between its own calls, so another thread's panic does not spoil it.
        if let Some(video) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).videos.get(path) {
            return Ok(video.clone());
        }
        let video = read_video(path).map_err(|error| TeacherError::Data(error.to_string()))?;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).keep(path, &video);
        Ok(video)
    }
}

impl Teacher for FolderTeacher {
    fn videos(&self, prompt: &str, takes: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        let Some(clips) = self.clips.get(prompt) else {
            return Err(TeacherError::Prompt {
                teacher: format!("the folder {}", self.directory.display()),
                prompt: prompt.to_string(),
                reason: format!("it is not one of the {} in its manifest; the nearest is {:?}", self.prompts.len(), self.nearest(prompt)),
            });
        };
        // The remainder is below the number of clips, so it fits whatever the width of usize.
        takes.map(|take| self.clip(&clips[(take % clips.len() as u64) as usize])).collect()
    }

    fn takes(&self, prompt: &str) -> Option<u64> {
        Some(self.clip_count(prompt) as u64)
    }
}

impl FolderTeacher {
    fn nearest(&self, prompt: &str) -> &str {
        let likeness = |known: &&String| strsim::normalized_levenshtein(prompt, known);
        self.prompts.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).map_or("", String::as_str)
    }
}

/// Decoded clips, kept until full. None is dropped for another: training goes round and round, and a cache that drops the oldest would
/// then never hold the next one.
#[derive(Debug)]
struct Cache {
    videos: HashMap<PathBuf, Video>,
    bytes_left: usize,
}

impl Cache {
    fn new(bytes: usize) -> Self {
        Self { videos: HashMap::new(), bytes_left: bytes }
    }

    fn keep(&mut self, path: &Path, video: &Video) {
        let bytes = video.frames.iter().map(Vec::len).sum();
        if let (Some(left), false) = (self.bytes_left.checked_sub(bytes), self.videos.contains_key(path)) {
            self.bytes_left = left;
            self.videos.insert(path.to_path_buf(), video.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{manifest::ManifestEntry, video_io::write_video};

    fn video(value: u8, width: u32, height: u32, frames: usize, frames_per_second: f64) -> Video {
        Video { width, height, frames_per_second, frames: vec![vec![value; (width * height * 3) as usize]; frames] }
    }

    fn entry(prompt: &str, video: &str, take: Option<u64>) -> ManifestEntry {
        ManifestEntry { prompt: prompt.to_string(), video: video.to_string(), take }
    }

    /// Two prompts, clips of different kinds, sizes and rates.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_video(&folder.path().join("a.gif"), &video(10, 4, 6, 3, 8.0)).unwrap();
        write_video(&folder.path().join("b.frames"), &video(20, 9, 5, 7, 24.0)).unwrap();
        write_video(&folder.path().join("c.frames"), &video(30, 1, 1, 1, 10.0)).unwrap();
        let entries =
            [entry("a red ball", "b.frames", Some(1)), entry("a blue box", "c.frames", None), entry("a red ball", "a.gif", Some(0))];
        Manifest::write(folder.path(), &entries).unwrap();
        folder
    }

    #[test]
    fn takes_go_round_the_prompts_clips_in_order() {
        let folder = folder();
        let teacher = FolderTeacher::open(folder.path()).unwrap();
        assert_eq!(teacher.prompts(), ["a red ball", "a blue box"]);
        assert_eq!(["a red ball", "a blue box", "none"].map(|prompt| teacher.clip_count(prompt)), [2, 1, 0]);
        let (first, second) = (video(10, 4, 6, 3, 8.0), video(20, 9, 5, 7, 24.0));
        // Twice: from the files, then from memory.
        for _ in 0..2 {
            let videos = teacher.videos("a red ball", 0..3).unwrap();
            assert_eq!(videos, [first.clone(), second.clone(), first.clone()]);
        }
        assert_eq!(teacher.videos("a red ball", u64::MAX - 1..u64::MAX).unwrap(), [first]);
        assert_eq!(teacher.videos("a blue box", 5..6).unwrap(), [video(30, 1, 1, 1, 10.0)]);
        assert_eq!(teacher.videos("a blue box", 5..5).unwrap(), []);
    }

    #[test]
    fn an_unknown_prompt_is_answered_with_the_nearest_known_one() {
        let folder = folder();
        let message = FolderTeacher::open(folder.path()).unwrap().videos("a blue bux", 0..1).unwrap_err().to_string();
        assert!(message.contains("\"a blue bux\"") && message.contains("the nearest is \"a blue box\""), "{message}");
    }

    #[test]
    fn missing_clips_are_found_when_opening() {
        let folder = folder();
        fs::remove_file(folder.path().join("a.gif")).unwrap();
        let message = FolderTeacher::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("a.gif"), "{message}");
        assert!(matches!(FolderTeacher::open(&folder.path().join("none")), Err(TeacherError::Data(_))));
    }

    #[test]
    fn decoded_clips_are_kept_up_to_the_byte_limit() {
        let mut cache = Cache::new(100);
        cache.keep(Path::new("a"), &video(1, 4, 4, 1, 8.0)); // 48 bytes
        cache.keep(Path::new("a"), &video(1, 4, 4, 1, 8.0));
        cache.keep(Path::new("b"), &video(2, 5, 4, 1, 8.0)); // 60 bytes: does not fit
        cache.keep(Path::new("c"), &video(3, 4, 4, 1, 8.0));
        assert_eq!(cache.bytes_left, 4);
        assert!(["a", "c"].iter().all(|name| cache.videos.contains_key(Path::new(name))) && cache.videos.len() == 2);
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
