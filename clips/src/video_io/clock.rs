//! When the frames of a video are shown.

use super::{Frame, VideoHeader};

/// How long before its start a frame may be shown, in seconds: containers round times to
/// milliseconds, and a frame of 24 per second that is said to begin at 0.042 is meant for 0.041667.
pub const EARLY: f64 = 0.001;

/// The times of the frames so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clock {
    frames: u64,
    last: f64,
    /// Seconds between the last two starts.
    interval: Option<f64>,
}

impl Clock {
    /// The next frame.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        if self.frames > 0 {
            self.interval = Some(frame.start - self.last);
        }
        self.last = frame.start;
        self.frames += 1;
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Seconds from the first frame's start to the latest one's.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Seconds from the first frame's start to the last one's end: what the file says, or as long
    /// again as the frame before was shown; a single frame lasts as its rate says.
    pub fn end(&self, header: &VideoHeader) -> f64 {
        if self.frames == 0 {
            return 0.0;
        }
        match (header.seconds, self.interval) {
            (Some(seconds), _) if seconds > self.last => seconds,
            (_, Some(interval)) => self.last + interval,
            (_, None) => self.last + 1.0 / header.frames_per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(starts: &[f64], seconds: Option<f64>) -> f64 {
        let mut clock = Clock::default();
        for &start in starts {
            clock.frame(&Frame { pixels: &[], start });
        }
        let header = VideoHeader {
            seconds,
            ..VideoHeader::plain(2, 2, 8.0)
        };
        clock.end(&header)
    }

    #[test]
    fn the_last_frame_lasts_as_the_file_says_or_as_the_one_before() {
        assert_eq!(end(&[], Some(9.0)), 0.0);
        assert_eq!(end(&[0.0], None), 0.125);
        assert_eq!(end(&[0.0, 0.05, 0.25], None), 0.45);
        assert_eq!(end(&[0.0, 0.05, 0.25], Some(0.3)), 0.3);
        // A file that claims to end before its last frame is not believed.
        assert_eq!(end(&[0.0, 0.05, 0.25], Some(0.2)), 0.45);
    }
}
