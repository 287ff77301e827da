//! Continuation: given the first frames of a real clip, does the student go on as the world did?
//!
//! The four measures of Physics-IQ (Motamed et al., "Do generative video models understand physical
//! principles?", arXiv 2501.09038) between a generated and the true continuation, against the same
//! measures between the truth and a *second take*: the same scene filmed again. No network is
//! needed. Formulas are those of google-deepmind/physics-IQ-benchmark, `calculate_iq_score.py` and
//! `binary_mask_generator.py`.
//!
//! A motion mask marks where a frame differs from the running average of the frames so far (rate
//! 0.3, from the clip's first frame on) by more than 10 of 256 grey levels. Physics-IQ also blurs
//! and morphologically opens its masks by 5 px of a megapixel; at 16 px that would remove the
//! balls, so it is left out.

use serde::{Deserialize, Serialize};

use super::{CaseDefect, EvalError, mean};
use afd_clips::video::Clip;

/// Weight of the newest frame in the running average.
const AVERAGE_RATE: f32 = 0.3;
/// A pixel moves when it differs from the running average by more than this many grey levels of
/// 0..=255.
const MOTION_LEVELS: f32 = 10.0;
/// Grey from RGB, as OpenCV's conversion has it (ITU-R BT.601).
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// One scene that was begun by the world and finished by a student.
#[derive(Debug, Clone)]
pub struct Case {
    /// How many of the first frames the student was given; at least 1 and fewer than the clip has.
    pub prefix: usize,
    /// The true clip, prefix included.
    pub truth: Clip,
    /// The same scene filmed again, of the same shape.
    pub second_take: Clip,
    /// What the student made of the prefix: one clip or more of the same shape. Their first
    /// `prefix` frames are not looked at.
    pub generated: Vec<Clip>,
}

/// The four measures between two continuations, each the mean over cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// Intersection over union of where anything moved at any time; in [0, 1]; 1 = the same places.
    pub spatial_iou: f64,
    /// Intersection over union of the moving pixels, frame by frame, mean over frames; in [0, 1]; 1
    /// = the same places at the same times.
    pub spatiotemporal_iou: f64,
    /// Minimum over maximum of how often each pixel moved; in [0, 1]; 1 = as much motion in the
    /// same places.
    pub weighted_spatial_iou: f64,
    /// Mean squared difference of pixels in [0, 1]; in [0, 1]; 0 = the same pictures.
    pub mse: f64,
}

/// How well a student continues.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContinuationScores {
    /// Generated against true continuations.
    pub generated: Measures,
    /// Second takes against true continuations: how far the world itself is from repeating
    /// a scene.
    pub second_take: Measures,
    /// Physics-IQ score in [0, 100], 100 = as close to the truth as a second take: `100 (mean of
    /// the three IoUs' ratios generated / second take - (MSE generated - MSE second take))`,
    /// clipped to the range.
    ///
    /// The errors are subtracted, not divided, as Physics-IQ has it: of small balls on a dark
    /// ground they are about 0.01 and hardly count.
    pub score: f64,
}

/// One case's measures: of what was generated, mean over samples, and of the second take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    generated: Measures,
    second_take: Measures,
}

/// Compares every case's continuations with its truth.
///
/// Measures with nothing moving in either continuation are 1 (the same); with nothing moving in one
/// of them 0. A sample is held against one truth, so a student that spreads over all possible
/// futures scores lower than one that knows what the prefix determines.
///
/// # Errors
/// [`EvalError::Continuation`] for a case without samples, with a prefix that leaves nothing to
/// continue, or with clips of different shapes.
pub fn compared(cases: &[Case]) -> Result<Vec<Compared>, EvalError> {
    let of = |(index, case): (usize, &Case)| {
        check(index, case)?;
        let samples = case.generated.iter().map(|clip| compare(case, clip));
        let nothing = EvalError::Continuation {
            index,
            defect: CaseDefect::NothingGenerated,
        };
        Ok(Compared {
            generated: average(&samples.collect::<Vec<_>>()).ok_or(nothing)?,
            second_take: compare(case, &case.second_take),
        })
    };
    cases.iter().enumerate().map(of).collect()
}

impl ContinuationScores {
    /// The scores over all cases of a run; `None` without any. Measures are averaged over cases and
    /// only then divided, so that a scene whose second take is nearly the same cannot outweigh the
    /// others.
    pub fn over<'a>(cases: impl IntoIterator<Item = &'a Compared>) -> Option<Self> {
        let (generated, second_take): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .map(|case| (case.generated, case.second_take))
            .unzip();
        let (generated, second_take) = (average(&generated)?, average(&second_take)?);
        Some(Self {
            generated,
            second_take,
            score: score(&generated, &second_take),
        })
    }
}

fn score(generated: &Measures, second_take: &Measures) -> f64 {
    // Two filmings without a pixel in common would leave no yardstick: any overlap is then perfect.
    let ratio = |generated: f64, second_take: f64| {
        if second_take > 0.0 {
            generated / second_take
        } else {
            1.0
        }
    };
    let ratios = [
        ratio(generated.spatial_iou, second_take.spatial_iou),
        ratio(generated.spatiotemporal_iou, second_take.spatiotemporal_iou),
        ratio(
            generated.weighted_spatial_iou,
            second_take.weighted_spatial_iou,
        ),
    ];
    (100.0 * (ratios.iter().sum::<f64>() / 3.0 - (generated.mse - second_take.mse)))
        .clamp(0.0, 100.0)
}

fn check(index: usize, case: &Case) -> Result<(), EvalError> {
    let fail = |defect| Err(EvalError::Continuation { index, defect });
    let frames = case.truth.shape.frames;
    if case.generated.is_empty() {
        return fail(CaseDefect::NothingGenerated);
    }
    if case.prefix == 0 || case.prefix >= frames {
        return fail(CaseDefect::Prefix {
            prefix: case.prefix,
            frames,
        });
    }
    let others = std::iter::once(("the second take", &case.second_take))
        .chain(case.generated.iter().map(|clip| ("a generated clip", clip)));
    for (name, clip) in others {
        if clip.shape != case.truth.shape || clip.pixels.len() != case.truth.pixels.len() {
            return fail(CaseDefect::Shape {
                name,
                found: clip.shape,
                expected: case.truth.shape,
            });
        }
        if let Some(&value) = clip.pixels.iter().find(|value| !value.is_finite()) {
            return fail(CaseDefect::NotFinite { name, value });
        }
    }
    Ok(())
}

fn compare(case: &Case, other: &Clip) -> Measures {
    let masks = [&case.truth, other].map(|clip| motion_masks(clip, case.prefix));
    let [ever_true, ever_other] = [&masks[0], &masks[1]].map(|masks| any(masks));
    let [often_true, often_other] = [&masks[0], &masks[1]].map(|masks| shares(masks));
    let sum = |pick: fn(f64, f64) -> f64| {
        often_true
            .iter()
            .zip(&often_other)
            .map(|(&a, &b)| pick(a, b))
            .sum::<f64>()
    };
    let per_frame = masks[0].iter().zip(&masks[1]).map(|(a, b)| iou(a, b));
    Measures {
        spatial_iou: iou(&ever_true, &ever_other),
        spatiotemporal_iou: mean(per_frame).unwrap_or(1.0),
        weighted_spatial_iou: ratio_or_one(sum(f64::min), sum(f64::max)),
        mse: mean_squared_difference(&case.truth, other, case.prefix),
    }
}

/// Motion masks of the frames after the prefix, `H * W` each.
pub fn motion_masks(clip: &Clip, prefix: usize) -> Vec<Vec<bool>> {
    let pixels = clip.shape.height * clip.shape.width;
    let grey = |frame: usize, place: usize| {
        let pixel = clip.pixel(frame, place / clip.shape.width, place % clip.shape.width);
        (0..3)
            .map(|channel| GREY[channel] * (pixel[channel].clamp(-1.0, 1.0) + 1.0) * 127.5)
            .sum::<f32>()
    };
    let mut average: Vec<f32> = (0..pixels).map(|place| grey(0, place)).collect();
    let mut masks = Vec::with_capacity(clip.shape.frames);
    for frame in 0..clip.shape.frames {
        let mask = average.iter_mut().enumerate().map(|(place, average)| {
            let value = grey(frame, place);
            *average += AVERAGE_RATE * (value - *average);
            (value - *average).abs() > MOTION_LEVELS
        });
        masks.push(mask.collect());
    }
    masks.split_off(prefix.min(masks.len()))
}

/// Intersection over union; 1 where both are empty.
fn iou(a: &[bool], b: &[bool]) -> f64 {
    let count = |both: fn(bool, bool) -> bool| {
        a.iter().zip(b).filter(|&(&a, &b)| both(a, b)).count() as f64
    };
    ratio_or_one(count(|a, b| a && b), count(|a, b| a || b))
}

fn ratio_or_one(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 1.0 } else { part / whole }
}

fn any(masks: &[Vec<bool>]) -> Vec<bool> {
    (0..masks.first().map_or(0, Vec::len))
        .map(|place| masks.iter().any(|mask| mask[place]))
        .collect()
}

fn shares(masks: &[Vec<bool>]) -> Vec<f64> {
    let share =
        |place: usize| masks.iter().filter(|mask| mask[place]).count() as f64 / masks.len() as f64;
    (0..masks.first().map_or(0, Vec::len)).map(share).collect()
}

/// Over the frames after the prefix, pixels in [0, 1].
fn mean_squared_difference(a: &Clip, b: &Clip, prefix: usize) -> f64 {
    let start = prefix * a.shape.height * a.shape.width * 3;
    mean(
        a.pixels[start..]
            .iter()
            .zip(&b.pixels[start..])
            .map(|(&a, &b)| (f64::from(a - b) / 2.0).powi(2)),
    )
    .unwrap_or(0.0)
}

fn average(all: &[Measures]) -> Option<Measures> {
    let over = |value: fn(&Measures) -> f64| mean(all.iter().map(value));
    Some(Measures {
        spatial_iou: over(|m| m.spatial_iou)?,
        spatiotemporal_iou: over(|m| m.spatiotemporal_iou)?,
        weighted_spatial_iou: over(|m| m.weighted_spatial_iou)?,
        mse: over(|m| m.mse)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{drifting, shape};
    use super::*;

    /// A dark clip in which single white pixels light up: (frame, place) on 2 x 2 px.
    fn lights(frames: usize, lit: &[(usize, usize)]) -> Clip {
        let mut clip = Clip {
            shape: shape(frames, 2),
            pixels: vec![-1.0; frames * 12],
        };
        lit.iter()
            .for_each(|&(frame, place)| clip.pixels[(frame * 4 + place) * 3..][..3].fill(1.0));
        clip
    }

    fn continuation(cases: &[Case]) -> Result<ContinuationScores, EvalError> {
        Ok(ContinuationScores::over(&compared(cases)?).unwrap())
    }

    fn case(truth: Clip, second_take: Clip, generated: Vec<Clip>) -> Case {
        Case {
            prefix: 1,
            truth,
            second_take,
            generated,
        }
    }

    #[test]
    fn a_flash_moves_when_it_lights_up_and_while_the_average_remembers_it() {
        // Average after the flash: 0.3 * 255 = 76.5, then 53.6, 37.5, 26.2, 18.4, 12.9, 9.0 levels
        // above black.
        let masks = motion_masks(&lights(9, &[(1, 2)]), 1);
        let moving: Vec<bool> = masks.iter().map(|mask| mask[2]).collect();
        assert_eq!(moving, [true, true, true, true, true, true, false, false]);
        assert!(masks.iter().all(|mask| !mask[0] && !mask[1] && !mask[3]));
    }

    #[test]
    fn the_four_measures_match_a_case_counted_by_hand() {
        // Two frames are compared. Truth: place 0 flashes in frame 1 (and its average lasts to
        // frame 2). Generated: place 0 in frame 2, place 3 too.
        let (truth, generated) = (lights(3, &[(1, 0)]), lights(3, &[(2, 0), (2, 3)]));
        let measures = compare(&case(truth.clone(), truth.clone(), vec![]), &generated);
        assert_eq!(measures.spatial_iou, 0.5);
        // Frame 1: {0} against {}: 0. Frame 2: {0} against {0, 3}: 1/2.
        assert_eq!(measures.spatiotemporal_iou, 0.25);
        // Shares: (1, 0) against (1/2, 1/2): min 1/2, max 3/2.
        assert!((measures.weighted_spatial_iou - 1.0 / 3.0).abs() < 1e-12);
        // 3 of 8 pixels differ by 1.
        assert!((measures.mse - 0.375).abs() < 1e-12);
    }

    #[test]
    fn a_second_take_scores_a_hundred_and_a_still_picture_near_nothing() {
        let (truth, again) = (
            drifting([3.0, 5.0], [0.8, 0.3]),
            drifting([3.05, 5.0], [0.81, 0.3]),
        );
        let other_again = drifting([3.0, 5.05], [0.8, 0.305]);
        let still = drifting([3.0, 5.0], [0.0, 0.0]);
        let of = |generated: &Clip| {
            continuation(&[case(truth.clone(), again.clone(), vec![generated.clone()])]).unwrap()
        };
        assert!((of(&again).score - 100.0).abs() < 1e-9 && of(&truth).score == 100.0);
        assert!(of(&other_again).score > 90.0, "{:?}", of(&other_again));
        assert!(of(&still).score < 5.0, "{:?}", of(&still));
        // A ball that flies too low is somewhere between.
        let low = of(&drifting([3.0, 5.0], [0.8, 0.5])).score;
        assert!((20.0..90.0).contains(&low), "{low}");
    }

    #[test]
    fn the_prefix_is_not_judged_and_samples_and_cases_weigh_the_same() {
        let truth = lights(3, &[(1, 0)]);
        let mut other_prefix = truth.clone();
        // Too faint to move, but a difference of 4 levels.
        other_prefix.pixels[..12].fill(4.0 / 127.5 - 1.0);
        let scores =
            continuation(&[case(truth.clone(), truth.clone(), vec![other_prefix])]).unwrap();
        assert_eq!((scores.generated.mse, scores.score), (0.0, 100.0));
        let (good, bad) = (
            case(truth.clone(), truth.clone(), vec![truth.clone()]),
            lights(3, &[]),
        );
        let half = continuation(&[case(
            truth.clone(),
            truth.clone(),
            vec![truth.clone(), bad.clone()],
        )])
        .unwrap();
        let also_half = continuation(&[good, case(truth.clone(), truth, vec![bad; 3])]).unwrap();
        assert_eq!(half, also_half);
        assert_eq!(half.generated.spatial_iou, 0.5);
    }

    #[test]
    fn unusable_cases_are_named() {
        let clip = drifting([3.0, 5.0], [0.8, 0.3]);
        assert_eq!(ContinuationScores::over(&compared(&[]).unwrap()), None);
        let fine = case(clip.clone(), clip.clone(), vec![clip.clone()]);
        let message = |case: Case| continuation(&[fine.clone(), case]).unwrap_err().to_string();
        assert!(
            message(Case {
                generated: vec![],
                ..fine.clone()
            })
            .contains("case 1 has no generated clip")
        );
        assert!(
            message(Case {
                prefix: 12,
                ..fine.clone()
            })
            .contains("expected 1 to 11")
        );
        assert!(
            message(Case {
                second_take: lights(3, &[]),
                ..fine.clone()
            })
            .contains("the second take of")
        );
        let mut broken = clip.clone();
        broken.pixels[5] = f32::NAN;
        assert!(
            message(Case {
                generated: vec![broken],
                ..fine.clone()
            })
            .contains("holds NaN")
        );
    }
}
