//! A whole video in memory, from frames as they come.

use std::path::Path;

use super::{
    Clock, EARLY, Frame, VideoError, VideoHeader, limits,
    limits::{MAX_FRAMES, MAX_HELD_BYTES},
};
use crate::video::Video;

/// Collects the frames of [`super::decode_video`] into a [`Video`], which has square pixels and a
/// constant rate.
///
/// * Pixels that are not square are repeated along their longer side, to the nearest whole number.
/// * Frames that come evenly keep their rate. Others are put on a regular grid, the coarsest that
///   meets every frame's start, but of no less than a millisecond; a frame is repeated as long as
///   it is shown.
#[derive(Default)]
pub struct Whole {
    header: Option<VideoHeader>,
    clock: Clock,
    frames: Vec<Vec<u8>>,
    starts: Vec<f64>,
    bytes: u64,
}

impl Whole {
    /// The next frame.
    pub fn frame(&mut self, header: &VideoHeader, frame: Frame<'_>) {
        self.header = Some(*header);
        self.clock.frame(&frame);
        self.bytes += frame.len() as u64;
        if self.bytes > MAX_HELD_BYTES {
            // Refused at the end; what is held until then is given back.
            self.frames = Vec::new();
            return;
        }
        self.frames.push(frame.to_vec());
        self.starts.push(frame.start);
    }

    /// The video, which messages call `path`.
    ///
    /// # Errors
    /// [`VideoError::TooLarge`] where it would not fit in [`MAX_HELD_BYTES`] or [`MAX_FRAMES`];
    /// [`VideoError::Unreadable`] where no frame came.
    pub fn finish(self, path: &Path) -> Result<Video, VideoError> {
        let Some(header) = self.header else {
            return Err(VideoError::unreadable(path, "it has no frames"));
        };
        limits::check_held(path, self.bytes)?;
        let (frames_per_second, shown) = match self.even_rate(&header) {
            Some(rate) => (rate, vec![1; self.frames.len()]),
            None => self.grid(&header),
        };
        let count: u64 = shown.iter().sum();
        if count > MAX_FRAMES {
            return Err(VideoError::TooLarge {
                path: path.to_path_buf(),
                what: "its frames come unevenly, and the number of frames of the even video that \
                    would show them is",
                found: count.to_string(),
                limit: MAX_FRAMES.to_string(),
            });
        }
        let (width, height) = square(&header);
        limits::check_held(path, count * u64::from(width) * u64::from(height) * 3)?;
        let mut frames = Vec::with_capacity(count as usize);
        for (frame, repeats) in self.frames.into_iter().zip(shown) {
            let frame = stretched(frame, &header, width, height);
            for _ in 1..repeats {
                frames.push(frame.clone());
            }
            if repeats > 0 {
                frames.push(frame);
            }
        }
        Ok(Video {
            width,
            height,
            frames_per_second,
            frames,
        })
    }

    /// The claimed or the average rate, if the frames come at it.
    fn even_rate(&self, header: &VideoHeader) -> Option<f64> {
        let (count, last) = (self.starts.len(), *self.starts.last()?);
        let tolerance = EARLY.max(header.rounding);
        let fits = |rate: &f64| {
            let place =
                |(index, start): (usize, &f64)| (start - index as f64 / rate).abs() <= tolerance;
            self.starts.iter().enumerate().all(place)
        };
        let average = (count as f64 - 1.0) / last;
        [header.frames_per_second, average]
            .into_iter()
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .find(fits)
    }

    /// A rate whose frames meet every start, and how many of them show each frame.
    fn grid(&self, header: &VideoHeader) -> (f64, Vec<u64>) {
        let micros = |seconds: f64| (seconds * 1e6).round() as u64;
        let mut places: Vec<u64> = self.starts.iter().map(|&start| micros(start)).collect();
        places.push(micros(self.clock.end(header)));
        let divisor = |a: u64, b: u64| {
            let (mut a, mut b) = (a, b);
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let step = places.iter().copied().fold(0, divisor).max(1000);
        let place = |at: u64| (at + step / 2) / step;
        let shown = places
            .windows(2)
            .map(|pair| place(pair[1]) - place(pair[0]))
            .collect();
        (1e6 / step as f64, shown)
    }
}

/// The size in square pixels: the longer side of a pixel is what grows.
fn square(header: &VideoHeader) -> (u32, u32) {
    let grown = |side: u32, by: f64| (f64::from(side) * by).round() as u32;
    match header.pixel_aspect {
        aspect if aspect > 1.0 => (grown(header.width, aspect), header.height),
        aspect => (header.width, grown(header.height, 1.0 / aspect)),
    }
}

/// The frame at another size: every new pixel is the old one at its centre.
fn stretched(frame: Vec<u8>, header: &VideoHeader, width: u32, height: u32) -> Vec<u8> {
    if (width, height) == (header.width, header.height) {
        return frame;
    }
    let old = |new: u32, from: u32, to: u32| {
        ((2 * u64::from(new) + 1) * u64::from(from) / (2 * u64::from(to))) as usize
    };
    let columns: Vec<usize> = (0..width)
        .map(|column| old(column, header.width, width) * 3)
        .collect();
    let stride = header.width as usize * 3;
    (0..height)
        .flat_map(|row| {
            let start = old(row, header.height, height) * stride;
            let row = &frame[start..start + stride];
            columns
                .iter()
                .flat_map(|&at| [row[at], row[at + 1], row[at + 2]])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(starts: &[f64], header: VideoHeader) -> Result<Video, VideoError> {
        let mut whole = Whole::default();
        for (index, &start) in starts.iter().enumerate() {
            let pixels = vec![index as u8; (header.width * header.height * 3) as usize];
            let frame = Frame {
                pixels: &pixels,
                start,
            };
            whole.frame(&header, frame);
        }
        whole.finish(Path::new("a.mkv"))
    }

    fn firsts(video: &Video) -> Vec<u8> {
        video.frames.iter().map(|frame| frame[0]).collect()
    }

    #[test]
    fn even_frames_keep_their_rate_whatever_the_container_rounded() {
        let claimed = VideoHeader::plain(1, 1, 24.0);
        let video = whole(&[0.0, 0.042, 0.083, 0.125], claimed).unwrap();
        assert_eq!((video.frames_per_second, video.frames.len()), (24.0, 4));
        // A claim that is far off is not believed.
        let claimed = VideoHeader::plain(1, 1, 1000.0);
        let video = whole(&[0.0, 0.04, 0.08, 0.12], claimed).unwrap();
        assert!((video.frames_per_second - 25.0).abs() < 1e-9);
        assert_eq!(firsts(&video), [0, 1, 2, 3]);
    }

    #[test]
    fn uneven_frames_are_repeated_as_long_as_they_are_shown() {
        let video = whole(&[0.0, 0.05, 0.1, 0.3, 0.5], VideoHeader::plain(1, 1, 8.0)).unwrap();
        assert!((video.frames_per_second - 20.0).abs() < 1e-9);
        assert_eq!(firsts(&video), [0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]);
        let message = whole(&[0.0, 0.013, 60.0], VideoHeader::plain(1, 1, 8.0))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("a.mkv") && message.contains("unevenly"),
            "{message}"
        );
    }

    #[test]
    fn pixels_become_square() {
        let header = VideoHeader {
            pixel_aspect: 4.0 / 3.0,
            ..VideoHeader::plain(3, 2, 8.0)
        };
        let video = whole(&[0.0], header).unwrap();
        assert_eq!(
            (video.width, video.height, video.frames[0].len()),
            (4, 2, 24)
        );
        let header = VideoHeader {
            pixel_aspect: 0.5,
            ..VideoHeader::plain(1, 2, 8.0)
        };
        let picture = stretched(vec![1, 2, 3, 4, 5, 6], &header, 1, 4);
        assert_eq!(picture, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    }
}
