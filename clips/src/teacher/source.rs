//! What stands behind a sample of a teacher, so that another clip in its place is noticed.

use serde::{Deserialize, Serialize};

use crate::video::Video;

/// What answers for one sample index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is, as messages name it: relative to the teacher's folder.
    pub file: String,
    /// Another one whenever the clip is another. It may change although the clip does not, as when
    /// a folder is copied; then its content tells. Empty: nothing is known without reading.
    pub stamp: String,
}

impl Source {
    /// Whether nothing can have changed since `earlier`.
    pub fn is_still(&self, earlier: &Self) -> bool {
        !self.stamp.is_empty() && self == earlier
    }
}

/// BLAKE3 of some videos' sizes, rates and pixels.
pub fn content_of(videos: &[Video]) -> String {
    let mut hasher = blake3::Hasher::new();
    for video in videos {
        let head = format!(
            "{}x{} {} fps {} frames\n",
            video.width,
            video.height,
            video.frames_per_second,
            video.frames.len()
        );
        hasher.update(head.as_bytes());
        video.frames.iter().for_each(|frame| {
            hasher.update(frame);
        });
    }
    hasher.finalize().to_hex().to_string()
}
