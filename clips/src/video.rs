//! Finished videos: what a teacher hands out, and the student-sized clips they are prepared into.

/// A finished RGB video at whatever size and rate its maker chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Pixels per row.
    pub width: u32,
    /// Rows per frame.
    pub height: u32,
    /// Frames per second of playback, > 0.
    pub frames_per_second: f64,
    /// One buffer per frame: `height * width * 3` bytes, RGB, rows from top to bottom.
    pub frames: Vec<Vec<u8>>,
}

impl Video {
    /// Seconds from the first frame's start to the last frame's end.
    pub fn seconds(&self) -> f64 {
        self.frames.len() as f64 / self.frames_per_second
    }
}

/// The size, length and rate that every clip is prepared to before teacher and student meet.
#[derive(
    Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct ClipShape {
    /// Pixel frames per clip (T).
    #[schemars(range(min = 1, max = 10_000), extend("unit" = "frames"))]
    pub frames: usize,
    /// Rows per frame (H).
    #[schemars(range(min = 1, max = 8192), extend("unit" = "px"))]
    pub height: usize,
    /// Pixels per row (W).
    #[schemars(range(min = 1, max = 8192), extend("unit" = "px"))]
    pub width: usize,
    /// Frames per second.
    #[schemars(range(min = 0.01, max = 1000.0), extend("unit" = "1/s"))]
    pub frames_per_second: f64,
}

/// A clip of the student's shape: `[T, H, W, 3]` row-major, values in [-1, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Frames, rows, columns and rate.
    pub shape: ClipShape,
    /// `frames * height * width * 3` values in [-1, 1]; channel fastest.
    pub pixels: Vec<f32>,
}

impl Clip {
    /// The three channels of one pixel, each in [-1, 1].
    pub fn pixel(&self, frame: usize, row: usize, column: usize) -> [f32; 3] {
        let start = ((frame * self.shape.height + row) * self.shape.width + column) * 3;
        [
            self.pixels[start],
            self.pixels[start + 1],
            self.pixels[start + 2],
        ]
    }

    /// The clip as 8-bit RGB frames, values clamped to [-1, 1] first.
    pub fn to_video(&self) -> Video {
        let frame_values = self.shape.height * self.shape.width * 3;
        Video {
            width: self.shape.width as u32,
            height: self.shape.height as u32,
            frames_per_second: self.shape.frames_per_second,
            frames: self
                .pixels
                .chunks(frame_values)
                .map(|frame| frame.iter().map(|&value| to_byte(value)).collect())
                .collect(),
        }
    }
}

/// [-1, 1] to 0..=255, rounding to nearest.
pub fn to_byte(value: f32) -> u8 {
    ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
}

/// 0..=255 to [-1, 1].
pub fn from_byte(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_round_trip() {
        assert!((0..=255u8).all(|byte| to_byte(from_byte(byte)) == byte));
    }
}
