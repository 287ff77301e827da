//! Dynamic degree, proxy: the share of clips in which something clearly moves.
//!
//! VBench's definition with exhaustive block matching in place of the optical-flow network RAFT.

use super::{frame_bytes, mean};
use afd_clips::video::Clip;

/// Frames are sampled to about this rate before they are compared.
const SAMPLED_FRAMES_PER_SECOND: f64 = 8.0;
/// Side of a matched block, in working pixels; blocks overlap by half.
const BLOCK: usize = 4;
/// Frames are averaged down to at least this many working pixels on their short side, where that is
/// larger.
const WORKING_SIDE: usize = 32;
/// A displacement must beat standing still by this many 8-bit levels per value, so that noise on
/// flat areas is not taken for motion.
const CLEARLY_BETTER: f64 = 4.0;

/// The share of dynamic clips, in [0, 1].
///
/// Per pair of neighbouring frames at about 8 fps: the mean of the largest 5 % of the blocks'
/// displacements. A clip of n sampled frames is dynamic when at least `max(1, round(4 n / 16))`
/// pairs exceed `6 min(H, W) / 256 * max(1, 8 / fps)` px. Displacements come in whole working
/// pixels (one pixel below 64 px of short side), up to a quarter of the short side. `None` without
/// clips.
pub fn dynamic_degree(clips: &[Clip]) -> Option<f64> {
    mean(
        clips
            .iter()
            .map(|clip| if is_dynamic(clip) { 1.0 } else { 0.0 }),
    )
}

/// Whether enough pairs of frames move enough; see [`dynamic_degree`].
pub fn is_dynamic(clip: &Clip) -> bool {
    let shape = clip.shape;
    let stride = ((shape.frames_per_second / SAMPLED_FRAMES_PER_SECOND).round() as usize).max(1);
    let frames: Vec<Frame> = (0..shape.frames)
        .step_by(stride)
        .map(|frame| Frame::new(clip, frame))
        .collect();
    let threshold = 6.0 * shape.height.min(shape.width) as f64 / 256.0
        * (SAMPLED_FRAMES_PER_SECOND / shape.frames_per_second).max(1.0);
    let needed = ((4.0 * frames.len() as f64 / 16.0).round() as usize).max(1);
    frames
        .windows(2)
        .filter(|pair| largest_displacement(&pair[0], &pair[1]) > threshold)
        .count()
        >= needed
}

/// A frame in working pixels: averages of `scale` x `scale` pixels, 8-bit levels.
struct Frame {
    scale: usize,
    height: usize,
    width: usize,
    values: Vec<[f64; 3]>,
}

impl Frame {
    fn new(clip: &Clip, frame: usize) -> Self {
        let shape = clip.shape;
        let scale = (shape.height.min(shape.width) / WORKING_SIDE).max(1);
        let (height, width) = (shape.height / scale, shape.width / scale);
        let bytes = frame_bytes(clip, frame);
        let mut values = vec![[0.0; 3]; height * width];
        for (row, column) in
            (0..height * scale).flat_map(|row| (0..width * scale).map(move |column| (row, column)))
        {
            let value = &mut values[row / scale * width + column / scale];
            let start = (row * shape.width + column) * 3;
            (0..3).for_each(|channel| {
                value[channel] += f64::from(bytes[start + channel]) / (scale * scale) as f64
            });
        }
        Self {
            scale,
            height,
            width,
            values,
        }
    }

    /// Mean absolute difference between the block at (row, column) here and the one at (other_row,
    /// other_column) there.
    fn block_error(
        &self,
        (row, column): (usize, usize),
        other: &Self,
        (other_row, other_column): (usize, usize),
    ) -> f64 {
        let mut sum = 0.0;
        for (y, x) in (0..BLOCK).flat_map(|y| (0..BLOCK).map(move |x| (y, x))) {
            let a = self.values[(row + y) * self.width + column + x];
            let b = other.values[(other_row + y) * other.width + other_column + x];
            sum += (0..3)
                .map(|channel| (a[channel] - b[channel]).abs())
                .sum::<f64>();
        }
        sum / (BLOCK * BLOCK * 3) as f64
    }
}

/// Mean of the largest 5 % (at least one) of the blocks' displacements from `a` to `b`, in pixels
/// of the clip.
fn largest_displacement(a: &Frame, b: &Frame) -> f64 {
    if a.height < BLOCK || a.width < BLOCK {
        return 0.0;
    }
    let radius = (a.height.min(a.width) / 4) as isize;
    let mut magnitudes = Vec::new();
    for row in (0..=a.height - BLOCK).step_by(BLOCK / 2) {
        for column in (0..=a.width - BLOCK).step_by(BLOCK / 2) {
            let still = a.block_error((row, column), b, (row, column));
            let mut best = (still - CLEARLY_BETTER, 0);
            for (down, right) in (-radius..=radius)
                .flat_map(|down| (-radius..=radius).map(move |right| (down, right)))
            {
                let (Some(to_row), Some(to_column)) = (
                    row.checked_add_signed(down),
                    column.checked_add_signed(right),
                ) else {
                    continue;
                };
                if to_row + BLOCK > a.height || to_column + BLOCK > a.width {
                    continue;
                }
                let (error, squared) = (
                    a.block_error((row, column), b, (to_row, to_column)),
                    down * down + right * right,
                );
                // Of equally good displacements the shortest counts.
                if error < best.0 || (error == best.0 && squared < best.1) {
                    best = (error, squared);
                }
            }
            magnitudes.push((best.1 as f64).sqrt() * a.scale as f64);
        }
    }
    magnitudes.sort_unstable_by(|a, b| b.total_cmp(a));
    let kept = (magnitudes.len() as f64 * 0.05).ceil() as usize;
    mean(magnitudes.into_iter().take(kept)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{Disc, RED, clip, drifting};
    use super::*;

    #[test]
    fn a_moving_disc_is_dynamic_and_a_still_one_is_not() {
        let (still, moving) = (
            drifting([8.0, 8.0], [0.0, 0.0]),
            drifting([2.0, 8.0], [1.0, 0.0]),
        );
        assert_eq!(dynamic_degree(std::slice::from_ref(&still)), Some(0.0));
        assert_eq!(dynamic_degree(std::slice::from_ref(&moving)), Some(1.0));
        assert_eq!(
            dynamic_degree(&[still.clone(), moving, still.clone(), still]),
            Some(0.25)
        );
    }

    #[test]
    fn displacements_are_measured_in_pixels() {
        let moving = drifting([3.0, 8.0], [3.0, 0.0]);
        let measured = largest_displacement(&Frame::new(&moving, 0), &Frame::new(&moving, 1));
        assert!((measured - 3.0).abs() < 0.5, "{measured}");
    }

    #[test]
    fn large_frames_are_matched_at_a_coarser_scale_but_reported_in_pixels() {
        let path = (0..4)
            .map(|frame| Some([30.0 + 12.0 * frame as f32, 64.0]))
            .collect();
        let moving = clip(
            4,
            128,
            &[Disc {
                path,
                radius: 12.0,
                colour: RED,
            }],
        );
        let measured = largest_displacement(&Frame::new(&moving, 0), &Frame::new(&moving, 1));
        assert!((measured - 12.0).abs() <= 4.0, "{measured}");
    }

    #[test]
    fn faint_noise_is_not_motion() {
        let mut noisy = drifting([8.0, 8.0], [0.0, 0.0]);
        // A fixed checker-like pattern of +-1.5 levels which changes from frame to frame.
        let frame_values = 16 * 16 * 3;
        for (index, value) in noisy.pixels.iter_mut().enumerate() {
            let (frame, place) = (index / frame_values, index % frame_values);
            *value += if (place * 7 + frame * 5) % 11 < 5 {
                0.012
            } else {
                -0.012
            };
        }
        assert!(!is_dynamic(&noisy));
    }
}
