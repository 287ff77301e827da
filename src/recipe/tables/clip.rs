//! `[clip]`: see [`ClipShape`].

use crate::recipe::Problem;
use afd_clips::video::ClipShape;

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
