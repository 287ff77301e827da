//! Which frames a block may attend to: block-causal, teacher-forcing, window and sink
//! (docs/method.md B.4).

// Lists of frame ranges are data here, and often hold one range.
#![allow(clippy::single_range_in_vec_init)]

use std::ops::Range;

/// How a clip's latent frames fall into blocks, and which context a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLayout {
    /// Latent frames of the clip.
    pub frames: usize,
    /// Frames generated together; the last block may be shorter.
    pub frames_per_block: usize,
    /// Window in frames, sink included; 0 = everything.
    pub window_frames: usize,
    /// First frames that stay visible.
    pub sink_frames: usize,
}

impl BlockLayout {
    /// The frames of each block, in order.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.frames)
            .step_by(self.frames_per_block)
            .map(|start| start..(start + self.frames_per_block).min(self.frames))
    }

    /// The frames before `block` that it may attend to: the sink, and the last `window - sink`
    /// frames counted from the block's end.
    ///
    /// This is exactly what a rolling cache of `window_frames` frames still holds when the block is
    /// generated.
    pub fn past_of(&self, block: &Range<usize>) -> Vec<Range<usize>> {
        if self.window_frames == 0 {
            return non_empty([0..block.start]);
        }
        let sink = self.sink_frames.min(block.start);
        let recent = block
            .end
            .saturating_sub(self.window_frames - self.sink_frames)
            .clamp(sink, block.start);
        if recent == sink {
            non_empty([0..block.start])
        } else {
            non_empty([0..sink, recent..block.start])
        }
    }
}

fn non_empty<const N: usize>(ranges: [Range<usize>; N]) -> Vec<Range<usize>> {
    ranges
        .into_iter()
        .filter(|range| !range.is_empty())
        .collect()
}

/// For each block of query frames: what it sees of the KV cache, and what of the sequence that it
/// stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visibility {
    /// Frames in the KV cache that the sequence attends to; 0 without one.
    pub past_frames: usize,
    /// Frames of the sequence itself.
    pub own_frames: usize,
    /// One view per block of queries, covering the sequence in order.
    pub views: Vec<View>,
}

/// What one block of query frames sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Query frames.
    pub queries: Range<usize>,
    /// Frames of the KV cache, by their place in it.
    pub past: Vec<Range<usize>>,
    /// Frames of the sequence itself.
    pub own: Vec<Range<usize>>,
}

impl Visibility {
    /// Every frame sees every frame.
    pub fn bidirectional(frames: usize) -> Self {
        Self {
            past_frames: 0,
            own_frames: frames,
            views: vec![View {
                queries: 0..frames,
                past: vec![],
                own: vec![0..frames],
            }],
        }
    }

    /// A block sees itself and earlier blocks of the same sequence (diffusion forcing, and the
    /// clean half of teacher forcing).
    pub fn block_causal(layout: &BlockLayout) -> Self {
        let view = |block: Range<usize>| {
            let mut own = layout.past_of(&block);
            // Neighbouring ranges are one slice.
            match own.last_mut() {
                Some(last) if last.end == block.start => last.end = block.end,
                _ => own.push(block.clone()),
            }
            View {
                queries: block,
                past: vec![],
                own,
            }
        };
        Self {
            past_frames: 0,
            own_frames: layout.frames,
            views: layout.blocks().map(view).collect(),
        }
    }

    /// A noisy block sees itself and the cached clean frames of earlier blocks (the noisy half of
    /// teacher forcing).
    pub fn teacher_forcing(layout: &BlockLayout) -> Self {
        let view = |block: Range<usize>| View {
            past: layout.past_of(&block),
            own: vec![block.clone()],
            queries: block,
        };
        Self {
            past_frames: layout.frames,
            own_frames: layout.frames,
            views: layout.blocks().map(view).collect(),
        }
    }

    /// One block during a rollout: it sees all that the cache holds, and itself.
    pub fn rollout(past_frames: usize, block_frames: usize) -> Self {
        Self {
            past_frames,
            own_frames: block_frames,
            views: vec![View {
                queries: 0..block_frames,
                past: non_empty([0..past_frames]),
                own: vec![0..block_frames],
            }],
        }
    }

    /// The same as a boolean mask `[own_frames, past_frames + own_frames]`, `true` = visible: the
    /// definition that attention is tested against.
    pub fn mask(&self) -> Vec<Vec<bool>> {
        let mut mask = vec![vec![false; self.past_frames + self.own_frames]; self.own_frames];
        for view in &self.views {
            for query in view.queries.clone() {
                for frame in view.past.iter().cloned().flatten() {
                    mask[query][frame] = true;
                }
                for frame in view.own.iter().cloned().flatten() {
                    mask[query][self.past_frames + frame] = true;
                }
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(frames_per_block: usize, window_frames: usize, sink_frames: usize) -> BlockLayout {
        BlockLayout {
            frames: 6,
            frames_per_block,
            window_frames,
            sink_frames,
        }
    }

    fn drawn(visibility: &Visibility) -> Vec<String> {
        visibility
            .mask()
            .iter()
            .map(|row| {
                row.iter()
                    .map(|&seen| if seen { 'x' } else { '.' })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn block_causal_frames_see_their_block_and_the_past() {
        assert_eq!(
            drawn(&Visibility::block_causal(&layout(3, 0, 0))),
            ["xxx...", "xxx...", "xxx...", "xxxxxx", "xxxxxx", "xxxxxx"]
        );
        assert_eq!(
            drawn(&Visibility::block_causal(&layout(1, 0, 0))),
            ["x.....", "xx....", "xxx...", "xxxx..", "xxxxx.", "xxxxxx"]
        );
    }

    #[test]
    fn teacher_forcing_noisy_blocks_see_only_themselves_and_clean_earlier_blocks() {
        let rows = drawn(&Visibility::teacher_forcing(&layout(2, 0, 0)));
        assert_eq!(
            rows,
            [
                "......xx....",
                "......xx....",
                "xx......xx..",
                "xx......xx..",
                "xxxx......xx",
                "xxxx......xx"
            ]
        );
    }

    #[test]
    fn a_window_keeps_the_last_frames_counted_from_the_blocks_end() {
        // docs/method.md B.4: kv >= end(b) - W.
        assert_eq!(
            drawn(&Visibility::block_causal(&layout(1, 3, 0))),
            ["x.....", "xx....", "xxx...", ".xxx..", "..xxx.", "...xxx"]
        );
        assert_eq!(
            drawn(&Visibility::block_causal(&layout(2, 4, 0))),
            ["xx....", "xx....", "xxxx..", "xxxx..", "..xxxx", "..xxxx"]
        );
    }

    #[test]
    fn a_sink_stays_visible_inside_the_window() {
        assert_eq!(
            drawn(&Visibility::block_causal(&layout(1, 3, 1))),
            ["x.....", "xx....", "xxx...", "x.xx..", "x..xx.", "x...xx"]
        );
    }

    #[test]
    fn a_shorter_last_block_is_kept() {
        let layout = BlockLayout {
            frames: 5,
            frames_per_block: 3,
            window_frames: 0,
            sink_frames: 0,
        };
        assert_eq!(layout.blocks().collect::<Vec<_>>(), [0..3, 3..5]);
    }
}
