//! `[clip]`: see [`ClipShape`].

use crate::recipe::Problem;
use afd_clips::video::ClipShape;
use afd_clips::video_io::GIF_RATES;

/// Whether clips fall into whole tokens; `step`: pixels per token and side.
pub(crate) fn whole_tokens(clip: &ClipShape, step: usize) -> Result<(), Problem> {
    let (height, width) = (clip.height, clip.width);
    if height.is_multiple_of(step) && width.is_multiple_of(step) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the codec's stride times the student's patch ({step}) must divide clip.height ({height}) \
         and clip.width ({width})"
    )))
}

/// Whether a clip's latent frames fall into whole blocks of the student's.
pub(crate) fn whole_blocks(latent_frames: usize, frames_per_block: usize) -> Result<(), Problem> {
    let left = latent_frames % frames_per_block;
    if left == 0 {
        return Ok(());
    }
    Err(Problem::new(format!(
        "clip.frames gives {latent_frames} latent frames, and blocks of \
         student.frames_per_block = {frames_per_block} leave {left} over; make it {} or {} latent \
         frames",
        (latent_frames - left).max(frames_per_block),
        latent_frames - left + frames_per_block
    )))
}

/// Whether clips can be shown as GIFs, whose players know few rates.
pub(crate) fn previewable(clip: &ClipShape) -> Result<(), Problem> {
    let rate = clip.frames_per_second;
    if GIF_RATES.contains(&rate) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "clip.frames_per_second is {rate}, the preview is a GIF, whose players show {:.4} to {} \
         frames per second",
        GIF_RATES.start(),
        GIF_RATES.end()
    )))
}
