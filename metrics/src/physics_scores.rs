//! The numbers of the evidence, one field each, and what each of them means.

use serde::{Deserialize, Serialize};

use super::metric::{Better, Metric, RestsOn};

/// The numbers of one student; means over prompts unless stated otherwise. `None`: not measured, or
/// not measurable on these prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhysicsScores {
    /// Physics-IQ score of the continuations; in [0, 100]; higher is better, 100 = as close to the
    /// truth as a second take. Over all cases.
    pub continuation_score: Option<f64>,
    /// Spatial IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_spatial_iou: Option<f64>,
    /// Spatiotemporal IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_spatiotemporal_iou: Option<f64>,
    /// Weighted spatial IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_weighted_spatial_iou: Option<f64>,
    /// Mean squared error of the continuations, pixels in [0, 1]; in [0, 1]; lower is better.
    pub continuation_mse: Option<f64>,
    /// Horizontal acceleration in free flight; px/frame^2; lower is better, 0 = momentum is kept,
    /// the teacher's value is the tracker's floor.
    pub sideways_momentum_residual: Option<f64>,
    /// Distance of the vertical acceleration in free flight from the prompt's gravity; px/frame^2;
    /// lower is better, down to the tracker's floor.
    pub downwards_momentum_residual: Option<f64>,
    /// Standard deviation of a body's energy within a flight over its mean energy in the teacher's
    /// flights; >= 0; lower is better.
    pub energy_residual: Option<f64>,
    /// Mean speed after over speed before a bounce; >= 0; best at 0.8.
    pub restitution: Option<f64>,
    /// Mean distance of the single bounces' restitution from 0.8; >= 0; lower is better, 0.8 = no
    /// bounce is seen.
    pub restitution_error: Option<f64>,
    /// Measurable bounces per clip; >= 0; best at the teacher's value.
    pub bounces_per_clip: Option<f64>,
    /// Change of the balls' common momentum where they collide over their momenta before; >= 0;
    /// lower is better.
    pub collision_momentum_residual: Option<f64>,
    /// Share of the teacher's samples with a student's clip like them; in [0, 1]; higher is better,
    /// about 0.97 for the teacher.
    pub coverage: f64,
    /// How much a student's clips are like samples of the teacher; >= 0; 1 for the teacher, above
    /// it the student keeps to the usual.
    pub density: f64,
    /// Variance of the student's paths over that of the teacher's; >= 0; 1 for the teacher.
    pub variance_ratio: Option<f64>,
    /// Fréchet distance of random features over all prompts at once; >= 0; lower is better, down to
    /// what equal sets of the teacher's give.
    pub frechet_distance: f64,
    /// Kernel distance of random features; lower is better, 0 in expectation for the teacher.
    pub kernel_distance: f64,
    /// Energy distance between the bodies' paths in the last window of long clips; px; lower is
    /// better.
    pub last_window_trajectory_energy_distance: Option<f64>,
    /// The last window's trajectory energy distance less the first's; px; lower is better, 0 = no
    /// drift.
    pub trajectory_drift: Option<f64>,
    /// Object permanence in the last window of long clips; in [0, 1]; higher is better.
    pub last_window_object_permanence: Option<f64>,
    /// Distance of the temporal flickering from the teacher's in the last window of long clips; in
    /// [0, 1]; lower is better.
    pub last_window_flicker_gap: Option<f64>,
}

/// What every field of [`PhysicsScores`] is called, measured in, and which way it improves.
pub const PHYSICS_METRICS: [Metric<PhysicsScores>; 21] = [
    metric(
        "continuation_score",
        "continuation score (Physics-IQ)",
        "of 100",
        Better::Higher,
        |s| s.continuation_score,
    ),
    metric(
        "continuation_spatial_iou",
        "continuation: spatial IoU",
        "of 1",
        Better::Higher,
        |s| s.continuation_spatial_iou,
    ),
    metric(
        "continuation_spatiotemporal_iou",
        "continuation: spatiotemporal IoU",
        "of 1",
        Better::Higher,
        |s| s.continuation_spatiotemporal_iou,
    ),
    metric(
        "continuation_weighted_spatial_iou",
        "continuation: weighted spatial IoU",
        "of 1",
        Better::Higher,
        |s| s.continuation_weighted_spatial_iou,
    ),
    metric(
        "continuation_mse",
        "continuation: squared error",
        "of 1",
        Better::Lower,
        |s| s.continuation_mse,
    ),
    metric(
        "sideways_momentum_residual",
        "horizontal momentum residual",
        "px/frame^2",
        Better::Lower,
        |s| s.sideways_momentum_residual,
    ),
    metric(
        "downwards_momentum_residual",
        "vertical momentum residual",
        "px/frame^2",
        Better::Lower,
        |s| s.downwards_momentum_residual,
    ),
    metric(
        "energy_residual",
        "energy residual",
        "of the energy",
        Better::Lower,
        |s| s.energy_residual,
    ),
    metric(
        "restitution",
        "restitution",
        "speed ratio",
        Better::LikeTeacher,
        |s| s.restitution,
    ),
    metric(
        "restitution_error",
        "restitution error",
        "speed ratio",
        Better::Lower,
        |s| s.restitution_error,
    ),
    metric(
        "bounces_per_clip",
        "bounces seen",
        "per clip",
        Better::LikeTeacher,
        |s| s.bounces_per_clip,
    ),
    metric(
        "collision_momentum_residual",
        "collision momentum residual",
        "of the momentum",
        Better::Lower,
        |s| s.collision_momentum_residual,
    ),
    metric(
        "coverage",
        "coverage of the teacher's samples",
        "share",
        Better::Higher,
        |s| Some(s.coverage),
    ),
    metric(
        "density",
        "density",
        "of the teacher's",
        Better::LikeTeacher,
        |s| Some(s.density),
    ),
    metric(
        "variance_ratio",
        "variance of paths",
        "of the teacher's",
        Better::LikeTeacher,
        |s| s.variance_ratio,
    ),
    metric(
        "frechet_distance",
        "Fréchet distance (random features)",
        "features^2",
        Better::Lower,
        |s| Some(s.frechet_distance),
    ),
    metric(
        "kernel_distance",
        "kernel distance (random features)",
        "kernel",
        Better::Lower,
        |s| Some(s.kernel_distance),
    ),
    metric(
        "last_window_trajectory_energy_distance",
        "last window: trajectory energy distance",
        "px",
        Better::Lower,
        |s| s.last_window_trajectory_energy_distance,
    ),
    metric(
        "trajectory_drift",
        "trajectory drift, last - first window",
        "px",
        Better::Lower,
        |s| s.trajectory_drift,
    ),
    metric(
        "last_window_object_permanence",
        "last window: object permanence",
        "share",
        Better::Higher,
        |s| s.last_window_object_permanence,
    ),
    metric(
        "last_window_flicker_gap",
        "last window: flicker gap to teacher",
        "of 1",
        Better::Lower,
        |s| s.last_window_flicker_gap,
    ),
];

const fn metric(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    better: Better,
    value: fn(&PhysicsScores) -> Option<f64>,
) -> Metric<PhysicsScores> {
    Metric {
        name,
        title,
        unit,
        better,
        rests_on: RestsOn::Both,
        chance: None,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_table_once_and_survives_json() {
        let scores = PhysicsScores {
            continuation_score: Some(12.5),
            coverage: 0.5,
            ..PhysicsScores::default()
        };
        let json = serde_json::to_value(&scores).unwrap();
        let mut fields: Vec<&String> = json.as_object().unwrap().keys().collect();
        let mut names: Vec<&str> = PHYSICS_METRICS.iter().map(|metric| metric.name).collect();
        fields.sort();
        names.sort();
        assert_eq!(fields, names);
        for metric in &PHYSICS_METRICS {
            assert_eq!(
                (metric.value)(&scores),
                json[metric.name].as_f64(),
                "{}",
                metric.name
            );
        }
        assert_eq!(
            serde_json::from_value::<PhysicsScores>(json).unwrap(),
            scores
        );
    }
}
