//! All that the evidence measures beyond [`super::table`], in one call: continuation, conservation, drift, diversity, distances of features.

use serde::{Deserialize, Serialize};

use super::{
    EvalError,
    conservation::Conservation,
    continuation::{Case, ContinuationScores, continuation},
    diversity::{self, Diversity, NEIGHBOURS, diversity},
    drift::{self, DriftWindow, drift},
    features::FeatureNetwork,
    flights::KnownPhysics,
    frechet::{frechet_distance, kernel_distance},
    mean,
    metric::{Better, Metric},
    table::check,
    tracking::Tracker,
    trajectory,
};
use afd_clips::video::Clip;
use afd_world::RESTITUTION;

/// One prompt's clips. Clips of one kind have one shape; those of the teacher are takes that the student never saw.
#[derive(Debug, Clone, Copy)]
pub struct PromptEvidence<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Teacher clips of the trained length; at least 2.
    pub teacher: &'a [Clip],
    /// Student clips of the trained length; at least 2, as many as the teacher's for the Fréchet distance to compare between students.
    pub student: &'a [Clip],
    /// Teacher clips of up to four times that length; empty where drift is not measured.
    pub long_teacher: &'a [Clip],
    /// Student clips of the same length; empty where drift is not measured.
    pub long_student: &'a [Clip],
    /// Continuations of real prefixes; empty where they are not measured.
    pub continuations: &'a [Case],
}

/// The numbers of one student; means over prompts unless stated otherwise. `None`: not measured, or not measurable on these prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhysicsScores {
    /// Physics-IQ score of the continuations; in [0, 100]; higher is better, 100 = as close to the truth as a second take. Over all cases.
    pub continuation_score: Option<f64>,
    /// Spatial IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_spatial_iou: Option<f64>,
    /// Spatiotemporal IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_spatiotemporal_iou: Option<f64>,
    /// Weighted spatial IoU of the continuations with the truth; in [0, 1]; higher is better.
    pub continuation_weighted_spatial_iou: Option<f64>,
    /// Mean squared error of the continuations, pixels in [0, 1]; in [0, 1]; lower is better.
    pub continuation_mse: Option<f64>,
    /// Horizontal acceleration in free flight; px/frame^2; lower is better, 0 = momentum is kept, the teacher's value is the tracker's floor.
    pub sideways_momentum_residual: Option<f64>,
    /// Distance of the vertical acceleration in free flight from the prompt's gravity; px/frame^2; lower is better, down to the tracker's floor.
    pub downwards_momentum_residual: Option<f64>,
    /// Standard deviation of a body's energy within a flight over its mean energy in the teacher's flights; >= 0; lower is better.
    pub energy_residual: Option<f64>,
    /// Mean speed after over speed before a bounce; >= 0; best at 0.8.
    pub restitution: Option<f64>,
    /// Mean distance of the single bounces' restitution from 0.8; >= 0; lower is better, 0.8 = no bounce is seen.
    pub restitution_error: Option<f64>,
    /// Measurable bounces per clip; >= 0; best at the teacher's value.
    pub bounces_per_clip: Option<f64>,
    /// Change of the balls' common momentum where they collide over their momenta before; >= 0; lower is better.
    pub collision_momentum_residual: Option<f64>,
    /// Share of the teacher's takes with a student's clip like them; in [0, 1]; higher is better, about 0.97 for the teacher.
    pub coverage: f64,
    /// How much a student's clips are like takes of the teacher; >= 0; 1 for the teacher, above it the student keeps to the usual.
    pub density: f64,
    /// Variance of the student's paths over that of the teacher's; >= 0; 1 for the teacher.
    pub variance_ratio: Option<f64>,
    /// Fréchet distance of random features over all prompts at once; >= 0; lower is better, down to what equal sets of the teacher's give.
    pub frechet_distance: f64,
    /// Kernel distance of random features; lower is better, 0 in expectation for the teacher.
    pub kernel_distance: f64,
    /// Energy distance between the bodies' paths in the last window of long clips; px; lower is better.
    pub last_window_trajectory_energy_distance: Option<f64>,
    /// The last window's trajectory energy distance less the first's; px; lower is better, 0 = no drift.
    pub trajectory_drift: Option<f64>,
    /// Object permanence in the last window of long clips; in [0, 1]; higher is better.
    pub last_window_object_permanence: Option<f64>,
    /// Distance of the temporal flickering from the teacher's in the last window of long clips; in [0, 1]; lower is better.
    pub last_window_flicker_gap: Option<f64>,
}

/// What every field of [`PhysicsScores`] is called, measured in, and which way it improves.
pub const PHYSICS_METRICS: [Metric<PhysicsScores>; 21] = [
    metric("continuation_score", "continuation score (Physics-IQ)", "of 100", Better::Higher, |s| s.continuation_score),
    metric("continuation_spatial_iou", "continuation: spatial IoU", "of 1", Better::Higher, |s| s.continuation_spatial_iou),
    metric("continuation_spatiotemporal_iou", "continuation: spatiotemporal IoU", "of 1", Better::Higher, |s| {
        s.continuation_spatiotemporal_iou
    }),
    metric("continuation_weighted_spatial_iou", "continuation: weighted spatial IoU", "of 1", Better::Higher, |s| {
        s.continuation_weighted_spatial_iou
    }),
    metric("continuation_mse", "continuation: squared error", "of 1", Better::Lower, |s| s.continuation_mse),
    metric("sideways_momentum_residual", "horizontal momentum residual", "px/frame^2", Better::Lower, |s| s.sideways_momentum_residual),
    metric("downwards_momentum_residual", "vertical momentum residual", "px/frame^2", Better::Lower, |s| s.downwards_momentum_residual),
    metric("energy_residual", "energy residual", "of the energy", Better::Lower, |s| s.energy_residual),
    metric("restitution", "restitution", "speed ratio", Better::LikeTeacher, |s| s.restitution),
    metric("restitution_error", "restitution error", "speed ratio", Better::Lower, |s| s.restitution_error),
    metric("bounces_per_clip", "bounces seen", "per clip", Better::LikeTeacher, |s| s.bounces_per_clip),
    metric("collision_momentum_residual", "collision momentum residual", "of the momentum", Better::Lower, |s| {
        s.collision_momentum_residual
    }),
    metric("coverage", "coverage of the teacher's takes", "share", Better::Higher, |s| Some(s.coverage)),
    metric("density", "density", "of the teacher's", Better::LikeTeacher, |s| Some(s.density)),
    metric("variance_ratio", "variance of paths", "of the teacher's", Better::LikeTeacher, |s| s.variance_ratio),
    metric("frechet_distance", "Fréchet distance (random features)", "features^2", Better::Lower, |s| Some(s.frechet_distance)),
    metric("kernel_distance", "kernel distance (random features)", "kernel", Better::Lower, |s| Some(s.kernel_distance)),
    metric("last_window_trajectory_energy_distance", "last window: trajectory energy distance", "px", Better::Lower, |s| {
        s.last_window_trajectory_energy_distance
    }),
    metric("trajectory_drift", "trajectory drift, last - first window", "px", Better::Lower, |s| s.trajectory_drift),
    metric("last_window_object_permanence", "last window: object permanence", "share", Better::Higher, |s| s.last_window_object_permanence),
    metric("last_window_flicker_gap", "last window: flicker gap to teacher", "of 1", Better::Lower, |s| s.last_window_flicker_gap),
];

const fn metric(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    better: Better,
    value: fn(&PhysicsScores) -> Option<f64>,
) -> Metric<PhysicsScores> {
    Metric { name, title, unit, better, value }
}

/// The flat numbers and what they were made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// One number per metric.
    pub scores: PhysicsScores,
    /// The drift curve, one entry per window of the trained length, mean over prompts; empty where it was not measured.
    pub drift: Vec<DriftWindow>,
    /// The four measures of Physics-IQ, of generated clips and of second takes; `None` where no clip was continued.
    pub continuation: Option<ContinuationScores>,
}

/// Measures a student, or takes of the teacher in its place.
///
/// Where the teacher's clips of a prompt show flights, bounces or collisions and the student's show none, the student counts as one whose bodies do
/// not move: vertical residual = gravity, energy residual 1, restitution error 0.8, collision residual 1.
///
/// # Errors
/// [`EvalError::NoPrompts`] without prompts; that of the first prompt or case that cannot be measured otherwise.
pub fn measure(prompts: &[PromptEvidence]) -> Result<Measured, EvalError> {
    let (mut residuals, mut diversities, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    let (mut teacher_features, mut student_features, mut kernel_distances) = (Vec::new(), Vec::new(), Vec::new());
    let network = FeatureNetwork::new();
    for clips in prompts {
        check(clips.prompt, clips.teacher, clips.student)?;
        let tracker = Tracker::for_prompt(clips.prompt, clips.teacher)?;
        let [teacher, student] =
            [clips.teacher, clips.student].map(|clips| clips.iter().map(|clip| tracker.track(clip)).collect::<Vec<_>>());
        diversities.push(diversity(&trajectory::vectors(&teacher), &trajectory::vectors(&student), NEIGHBOURS)?);
        if let Some(physics) = KnownPhysics::of_prompt(clips.prompt, clips.teacher[0].shape)
            && physics.radii.len() == tracker.bodies()
        {
            let found = [&teacher, &student].map(|tracks| Conservation::measure(&physics, tracks));
            residuals.push(Residuals::new(&physics, &found[0], &found[1], student.len()));
        }
        if !clips.long_teacher.is_empty() && !clips.long_student.is_empty() {
            curves.push(drift(clips.prompt, clips.long_teacher, clips.long_student, clips.teacher[0].shape.frames)?);
        }
        let [teacher, student] =
            [clips.teacher, clips.student].map(|clips| clips.iter().map(|clip| network.features(clip)).collect::<Vec<_>>());
        kernel_distances.push(kernel_distance(&teacher, &student)?);
        teacher_features.extend(teacher);
        student_features.extend(student);
    }
    let diversity = diversity::average(&diversities).ok_or(EvalError::NoPrompts)?;
    let cases: Vec<Case> = prompts.iter().flat_map(|clips| clips.continuations).cloned().collect();
    let continuation = if cases.is_empty() { None } else { Some(continuation(&cases)?) };
    let drift = drift::average(&curves);
    let features = (frechet_distance(&teacher_features, &student_features)?, mean(kernel_distances).unwrap_or(0.0));
    Ok(Measured { scores: scores(&residuals, diversity, features, continuation, &drift), drift, continuation })
}

fn scores(
    residuals: &[Residuals],
    diversity: Diversity,
    (frechet_distance, kernel_distance): (f64, f64),
    continuation: Option<ContinuationScores>,
    drift: &[DriftWindow],
) -> PhysicsScores {
    let over = |value: fn(&Residuals) -> Option<f64>| mean(residuals.iter().filter_map(value));
    let generated = continuation.map(|scores| scores.generated);
    let (first, last) = (drift.first(), drift.last());
    PhysicsScores {
        continuation_score: continuation.map(|scores| scores.score),
        continuation_spatial_iou: generated.map(|measures| measures.spatial_iou),
        continuation_spatiotemporal_iou: generated.map(|measures| measures.spatiotemporal_iou),
        continuation_weighted_spatial_iou: generated.map(|measures| measures.weighted_spatial_iou),
        continuation_mse: generated.map(|measures| measures.mse),
        sideways_momentum_residual: over(|r| r.sideways),
        downwards_momentum_residual: over(|r| r.downwards),
        energy_residual: over(|r| r.energy),
        restitution: over(|r| r.restitution),
        restitution_error: over(|r| r.restitution_error),
        bounces_per_clip: over(|r| r.bounces_per_clip),
        collision_momentum_residual: over(|r| r.collision),
        coverage: diversity.coverage,
        density: diversity.density,
        // Only a teacher that always does the same has an infinite ratio, which JSON cannot hold.
        variance_ratio: Some(diversity.variance_ratio).filter(|ratio| ratio.is_finite()),
        frechet_distance,
        kernel_distance,
        last_window_trajectory_energy_distance: last.map(|window| window.trajectory_energy_distance),
        trajectory_drift: first.zip(last).map(|(first, last)| last.trajectory_energy_distance - first.trajectory_energy_distance),
        last_window_object_permanence: last.map(|window| window.object_permanence),
        last_window_flicker_gap: last.map(|window| window.temporal_flicker_gap),
    }
}

/// One prompt's residuals; `None` where the teacher's clips show nothing to measure.
struct Residuals {
    sideways: Option<f64>,
    downwards: Option<f64>,
    energy: Option<f64>,
    restitution: Option<f64>,
    restitution_error: Option<f64>,
    bounces_per_clip: Option<f64>,
    collision: Option<f64>,
}

impl Residuals {
    fn new(physics: &KnownPhysics, teacher: &Conservation, student: &Conservation, clips: usize) -> Self {
        let known = f64::from(RESTITUTION);
        let energy = teacher.energy.mean().filter(|&energy| energy > 0.0);
        let flies = teacher.sideways.mean().is_some();
        let bounces = !teacher.bounces.is_empty();
        let errors = student.bounces.iter().map(|restitution| (restitution - known).abs());
        Self {
            sideways: if flies { student.sideways.mean() } else { None },
            downwards: flies.then(|| student.downwards.mean().unwrap_or(f64::from(physics.gravity))),
            energy: energy.map(|energy| student.energy_change.mean().map_or(1.0, |change| change / energy)),
            restitution: if bounces { mean(student.bounces.iter().copied()) } else { None },
            restitution_error: bounces.then(|| mean(errors).unwrap_or(known)),
            bounces_per_clip: bounces.then(|| student.bounces.len() as f64 / clips as f64),
            collision: teacher.collisions.mean().is_some().then(|| student.collisions.mean().unwrap_or(1.0)),
        }
    }
}
