//! A teacher that has answered already: a folder of clips in any of the [`crate::layouts`].

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use unicode_normalization::UnicodeNormalization;

use super::{Source, Teacher, TeacherError};
use crate::{
    layouts::{Layout, Place, Problem, Unused},
    prepare::{Fit, PrepareError, Preparer},
    shown::{shown, shown_path},
    video::{Clip, ClipShape, Video, from_byte},
    video_io::{VideoError, Whole, check_readable},
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
    unused: Unused,
    cache: Mutex<Cache>,
}

impl FolderTeacher {
    /// Opens a folder of any layout, whole; see [`FolderTeacher::open_without`].
    ///
    /// # Errors
    /// As for [`FolderTeacher::open_without`].
    pub fn open(directory: &Path) -> Result<Self, TeacherError> {
        Self::open_without(directory, None, &BTreeSet::new())
    }

    /// Lists a folder's clips, but those that `quarantined` names, and checks that every one exists
    /// and could be read. Without a `layout` the folder's contents decide.
    ///
    /// # Errors
    /// [`TeacherError::Data`] for a folder that cannot be listed or lists no clip. The same for a
    /// clip which is missing, of an unknown kind, or needs an ffmpeg that is not installed. Clips
    /// are decoded when asked for, so damage inside one shows only then.
    pub fn open_without(
        directory: &Path,
        layout: Option<Layout>,
        quarantined: &BTreeSet<String>,
    ) -> Result<Self, TeacherError> {
        let layout = layout
            .map_or_else(|| Layout::detect(directory), Ok)
            .map_err(TeacherError::data)?;
        let mut prompts = Vec::new();
        let mut numbered: BTreeMap<String, Vec<(u64, Place)>> = BTreeMap::new();
        let mut unusable = None;
        let list = layout.list(directory, &mut |listed| {
            let entry = match listed {
                Ok(entry) if quarantined.contains(&entry.place.to_string()) => return true,
                Err(problem) if quarantined.contains(&problem.file) => return true,
                Ok(entry) => entry,
                Err(Problem { file, problem }) => {
                    unusable = Some(format!("{file}: {problem}"));
                    return false;
                }
            };
            if let Err(error) = readable(directory, &entry.place) {
                unusable = Some(error.to_string());
                return false;
            }
            if !numbered.contains_key(&entry.prompt) {
                prompts.push(entry.prompt.clone());
            }
            numbered
                .entry(entry.prompt)
                .or_default()
                .push((entry.sample.unwrap_or(u64::MAX), entry.place));
            true
        });
        let unused = list.map_err(TeacherError::data)?;
        if let Some(problem) = unusable {
            let shown = shown_path(directory);
            return Err(TeacherError::Data(format!(
                "{shown} lists a clip that cannot be used: {problem}; `afd data check {shown}` \
                    lists all of them"
            )));
        }
        if prompts.is_empty() {
            return Err(TeacherError::Data(format!(
                "{} lists no clip that can be used",
                shown_path(directory)
            )));
        }
        let in_order = |mut clips: Vec<(u64, Place)>| {
            // Stable: equal sample indices stay in the folder's order.
            clips.sort_by_key(|&(sample, _)| sample);
            // A clip that is listed twice is one clip.
            let mut seen = BTreeSet::new();
            clips.retain(|(_, place)| seen.insert(place.clone()));
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
            unused,
            cache: Mutex::new(Cache::new(CACHE_BYTES)),
        })
    }

    /// Every prompt once, in the folder's order.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// What lies in the folder and is no clip of its.
    pub fn unused(&self) -> &Unused {
        &self.unused
    }

    /// How many different clips there are for `prompt`; 0 for one that the folder does not list.
    pub fn clip_count(&self, prompt: &str) -> usize {
        self.clips.get(prompt).map_or(0, Vec::len)
    }

    /// The clip of sample index `sample` of `prompt`, prepared while its video is decoded: one
    /// frame of the video and the clip are in memory.
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
        let place = self.place(prompt, sample)?;
        let unusable = |error: PrepareError| {
            let place = place.shown(&self.directory);
            TeacherError::Data(format!("{}: {error}", shown(&place.to_string_lossy())))
        };
        let mut preparer = Preparer::new(shape, fit).map_err(unusable)?;
        let decoded = place.decode(&self.directory, &mut |header, frame| {
            preparer.frame(header, frame)
        });
        decoded.map_err(TeacherError::data)?;
        preparer.finish().map_err(unusable)
    }

    /// The clips of a prompt, at least one.
    fn places(&self, prompt: &str) -> Result<&[Place], TeacherError> {
        self.clips
            .get(prompt)
            .map(Vec::as_slice)
            .ok_or_else(|| TeacherError::Prompt {
                teacher: format!("the folder {}", shown_path(&self.directory)),
                prompt: prompt.to_string(),
                reason: format!(
                    "it is not one of the {} that it lists; the nearest is {:?}{}",
                    self.prompts.len(),
                    self.nearest(prompt),
                    self.difference(prompt)
                ),
            })
    }

    /// The clip of a sample index.
    fn place(&self, prompt: &str, sample: u64) -> Result<&Place, TeacherError> {
        let places = self.places(prompt)?;
        // The remainder is below the number of clips, so it fits whatever the width of usize.
        Ok(&places[(sample % places.len() as u64) as usize])
    }

    fn unreadable(&self, place: &Place, error: &std::io::Error) -> TeacherError {
        let shown = place.shown(&self.directory);
        TeacherError::Data(format!("cannot read {}: {error}", shown.display()))
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
        let mut whole = Whole::default();
        place
            .decode(&self.directory, &mut |header, frame| {
                whole.frame(header, frame)
            })
            .map_err(TeacherError::data)?;
        let video = whole
            .finish(&place.shown(&self.directory))
            .map_err(TeacherError::data)?;
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(place, &video);
        Ok(video)
    }
}

/// Whether decoding could start: what lies in an archive was looked at when it was listed.
fn readable(directory: &Path, place: &Place) -> Result<(), VideoError> {
    match place {
        Place::File(path) => check_readable(&directory.join(path)),
        Place::Member { .. } | Place::Cell { .. } => Ok(()),
    }
}

impl Teacher for FolderTeacher {
    fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        // Asked for no samples, it checks the prompt.
        self.places(prompt)?;
        samples
            .map(|sample| self.clip(self.place(prompt, sample)?))
            .collect()
    }

    fn prepared_clip(
        &self,
        prompt: &str,
        sample: u64,
        shape: ClipShape,
        fit: Fit,
    ) -> Option<Result<Clip, TeacherError>> {
        Some(self.prepared_once(prompt, sample, shape, fit))
    }

    fn samples(&self, prompt: &str) -> Option<u64> {
        Some(self.clip_count(prompt) as u64)
    }

    fn source(&self, prompt: &str, sample: u64) -> Result<Option<Source>, TeacherError> {
        let place = self.place(prompt, sample)?;
        let stamp = place
            .stamp(&self.directory)
            .map_err(|error| self.unreadable(place, &error))?;
        Ok(Some(Source {
            file: place.to_string(),
            stamp,
        }))
    }

    fn content(&self, prompt: &str, sample: u64) -> Result<String, TeacherError> {
        let place = self.place(prompt, sample)?;
        place
            .content(&self.directory)
            .map_err(|error| self.unreadable(place, &error))
    }
}

impl FolderTeacher {
    /// As [`FolderTeacher::prepared`], and kept for the next time.
    fn prepared_once(
        &self,
        prompt: &str,
        sample: u64,
        shape: ClipShape,
        fit: Fit,
    ) -> Result<Clip, TeacherError> {
        let places = self.places(prompt)?;
        let place = &places[(sample % places.len() as u64) as usize];
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, video)) = cache()
            .prepared
            .get(place)
            .filter(|(kept, how, _)| (*kept, *how) == (shape, fit))
        {
            let pixels = video.frames.iter().flatten();
            return Ok(Clip {
                shape,
                pixels: pixels.map(|&byte| from_byte(byte)).collect(),
            });
        }
        let clip = self.prepared(prompt, sample, shape, fit)?;
        cache().keep_prepared(place, shape, fit, &clip);
        Ok(clip)
    }
}

impl FolderTeacher {
    /// Why two prompts that look the same are not.
    fn difference(&self, prompt: &str) -> &'static str {
        let nearest = self.nearest(prompt);
        let same = |a: &str, b: &str| a.split_whitespace().eq(b.split_whitespace());
        let composed = |text: &str| text.nfc().collect::<String>();
        if same(prompt, nearest) {
            ", which has other blanks"
        } else if same(&composed(prompt), &composed(nearest)) {
            ", whose letters with marks are composed otherwise (Unicode NFC and NFD)"
        } else {
            ""
        }
    }

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
    /// Clips, as the 8-bit videos that they are.
    prepared: BTreeMap<Place, (ClipShape, Fit, Video)>,
    bytes_left: usize,
}

impl Cache {
    fn new(bytes: usize) -> Self {
        Self {
            videos: BTreeMap::new(),
            prepared: BTreeMap::new(),
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

    fn keep_prepared(&mut self, place: &Place, shape: ClipShape, fit: Fit, clip: &Clip) {
        // One byte for every value.
        if let (Some(left), false) = (
            self.bytes_left.checked_sub(clip.pixels.len()),
            self.prepared.contains_key(place),
        ) {
            self.bytes_left = left;
            self.prepared
                .insert(place.clone(), (shape, fit, clip.to_video()));
        }
    }
}

#[cfg(test)]
mod tests;
