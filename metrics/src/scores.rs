//! The metrics of the table: a field each, and what each of them means.

use serde::{Deserialize, Serialize};

use super::metric::{Better, Metric, RestsOn};

/// A student's metrics on one prompt, or their means over prompts. `None`: not measured, or not
/// measurable on these clips: an energy distance takes two clips on either side, and what follows
/// the bodies of the built-in world says nothing about other videos.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Energy distance between the bodies' paths, teacher against student; px; lower is better, 0 =
    /// the teacher's distribution.
    pub trajectory_energy_distance: Option<f64>,
    /// Difference of the mean accelerations in free flight; px/frame^2; lower is better. `None`: no
    /// prompt's teacher clips show free flight.
    pub gravity_error: Option<f64>,
    /// Share of (clip, body, frame) with the body there at its usual size; in [0, 1]; higher is
    /// better.
    pub object_permanence: Option<f64>,
    /// Energy distance between clips as pictures; root-mean-square of pixels in [-1, 1]; lower is
    /// better, 0 = the teacher's distribution.
    pub pixel_energy_distance: Option<f64>,
    /// Energy distance between the clips' random features ([`crate::features`]); in their unit;
    /// lower is better, 0 = the teacher's distribution.
    pub feature_energy_distance: Option<f64>,
    /// VBench's temporal flickering; in [0, 1]; 1 = still. Best at the teacher's value: moving
    /// scenes lower it legitimately.
    pub temporal_flicker: Option<f64>,
    /// Distance of the temporal flickering from the teacher's; in [0, 1]; lower is better.
    pub temporal_flicker_gap: Option<f64>,
    /// Share of clips with clear motion, by block matching (proxy of VBench's dynamic degree); in
    /// [0, 1]; best at the teacher's value.
    pub dynamic_degree: Option<f64>,
    /// How well linear interpolation restores dropped frames (proxy of VBench's motion smoothness);
    /// in [0, 1]; best at the teacher's value.
    pub motion_smoothness: Option<f64>,
    /// How often an independently trained discriminator ranks the teacher's clip above the
    /// student's; in [0, 1]; lower is better, 0.5 = cannot tell. `None`: not measured.
    pub holdout_pair_accuracy: Option<f64>,
}

/// The rows of the table, the most telling ones first.
pub const METRICS: [Metric<Scores>; 10] = [
    Metric {
        name: "trajectory_energy_distance",
        title: "trajectory energy distance",
        unit: "px",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.trajectory_energy_distance,
    },
    Metric {
        name: "gravity_error",
        title: "gravity error",
        unit: "px/frame^2",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.gravity_error,
    },
    Metric {
        name: "object_permanence",
        title: "object permanence",
        unit: "share",
        better: Better::Higher,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.object_permanence,
    },
    Metric {
        name: "pixel_energy_distance",
        title: "pixel energy distance",
        unit: "rms of [-1, 1]",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.pixel_energy_distance,
    },
    Metric {
        name: "feature_energy_distance",
        title: "feature energy distance",
        unit: "features",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.feature_energy_distance,
    },
    Metric {
        name: "holdout_pair_accuracy",
        title: "holdout pair accuracy",
        unit: "share",
        better: Better::Lower,
        rests_on: RestsOn::SecondHalf,
        chance: Some(0.5),
        value: |s| s.holdout_pair_accuracy,
    },
    Metric {
        name: "temporal_flicker_gap",
        title: "flicker gap to teacher",
        unit: "of 1",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |s| s.temporal_flicker_gap,
    },
    Metric {
        name: "temporal_flicker",
        title: "temporal flicker",
        unit: "of 1",
        better: Better::LikeTeacher,
        rests_on: RestsOn::Own,
        chance: None,
        value: |s| s.temporal_flicker,
    },
    Metric {
        name: "dynamic_degree",
        title: "dynamic degree (proxy)",
        unit: "share",
        better: Better::LikeTeacher,
        rests_on: RestsOn::Own,
        chance: None,
        value: |s| s.dynamic_degree,
    },
    Metric {
        name: "motion_smoothness",
        title: "motion smoothness (proxy)",
        unit: "of 1",
        better: Better::LikeTeacher,
        rests_on: RestsOn::Own,
        chance: None,
        value: |s| s.motion_smoothness,
    },
];
