//! All that the evidence measures beyond [`super::table`], in one call: continuation, conservation,
//! drift, diversity, distances of features.

use serde::{Deserialize, Serialize};

pub use super::physics_scores::{PHYSICS_METRICS, PhysicsScores};
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
    table::check,
    tracking::Tracker,
    trajectory,
};
use afd_clips::video::Clip;
use afd_world::RESTITUTION;

/// Fewer bounces or collisions in the teacher's clips of a prompt say nothing about the prompt.
const FEWEST_EVENTS: usize = 5;

/// One prompt's clips. Clips of one kind have one shape; those of the teacher are samples that the
/// student never saw.
#[derive(Debug, Clone, Copy)]
pub struct PromptEvidence<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Teacher clips of the trained length; at least 2.
    pub teacher: &'a [Clip],
    /// Student clips of the trained length; at least 2, as many as the teacher's for the Fréchet
    /// distance to compare between students.
    pub student: &'a [Clip],
    /// Teacher clips of up to four times that length; empty where drift is not measured.
    pub long_teacher: &'a [Clip],
    /// Student clips of the same length; empty where drift is not measured.
    pub long_student: &'a [Clip],
    /// Continuations of real prefixes; empty where they are not measured.
    pub continuations: &'a [Case],
}

/// The flat numbers and what they were made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// One number per metric.
    pub scores: PhysicsScores,
    /// The drift curve, one entry per window of the trained length, mean over prompts; empty where
    /// it was not measured.
    pub drift: Vec<DriftWindow>,
    /// The four measures of Physics-IQ, of generated clips and of second takes; `None` where no
    /// clip was continued.
    pub continuation: Option<ContinuationScores>,
}

/// Measures a student, or samples of the teacher in its place.
///
/// Where the teacher's clips of a prompt show flights, or at least five bounces or collisions, and
/// the student's show none, the student counts as one whose bodies do not move: vertical residual =
/// gravity, energy residual 1, restitution error 0.8, collision residual 1. Prompts with fewer
/// bounces or collisions in the teacher's clips are left out of those numbers.
///
/// # Errors
/// [`EvalError::NoPrompts`] without prompts; that of the first prompt or case that cannot be
/// measured otherwise.
pub fn measure(prompts: &[PromptEvidence]) -> Result<Measured, EvalError> {
    let (mut residuals, mut diversities, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    let (mut teacher_features, mut student_features, mut kernel_distances) =
        (Vec::new(), Vec::new(), Vec::new());
    let network = FeatureNetwork::new();
    for clips in prompts {
        check(clips.prompt, clips.teacher, clips.student, [2, 2])?;
        let tracker = Tracker::for_prompt(clips.prompt, clips.teacher)?;
        let [teacher, student] = [clips.teacher, clips.student].map(|clips| {
            clips
                .iter()
                .map(|clip| tracker.track(clip))
                .collect::<Vec<_>>()
        });
        diversities.push(diversity(
            &trajectory::vectors(&teacher),
            &trajectory::vectors(&student),
            NEIGHBOURS,
        )?);
        if let Some(physics) = KnownPhysics::of_prompt(clips.prompt, clips.teacher[0].shape)
            && physics.radii.len() == tracker.bodies()
        {
            let found = [&teacher, &student].map(|tracks| Conservation::measure(&physics, tracks));
            residuals.push(Residuals::new(
                &physics,
                &found[0],
                &found[1],
                student.len(),
            ));
        }
        if !clips.long_teacher.is_empty() && !clips.long_student.is_empty() {
            curves.push(drift(
                clips.prompt,
                clips.long_teacher,
                clips.long_student,
                clips.teacher[0].shape.frames,
            )?);
        }
        let [teacher, student] = [clips.teacher, clips.student].map(|clips| {
            clips
                .iter()
                .map(|clip| network.features(clip))
                .collect::<Vec<_>>()
        });
        kernel_distances.push(kernel_distance(&teacher, &student)?);
        teacher_features.extend(teacher);
        student_features.extend(student);
    }
    let diversity = diversity::average(&diversities).ok_or(EvalError::NoPrompts)?;
    let cases: Vec<Case> = prompts
        .iter()
        .flat_map(|clips| clips.continuations)
        .cloned()
        .collect();
    let continuation = if cases.is_empty() {
        None
    } else {
        Some(continuation(&cases)?)
    };
    let drift = drift::average(&curves);
    let features = (
        frechet_distance(&teacher_features, &student_features)?,
        mean(kernel_distances).unwrap_or(0.0),
    );
    Ok(Measured {
        scores: scores(&residuals, diversity, features, continuation, &drift),
        drift,
        continuation,
    })
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
        last_window_trajectory_energy_distance: last
            .map(|window| window.trajectory_energy_distance),
        trajectory_drift: first.zip(last).map(|(first, last)| {
            last.trajectory_energy_distance - first.trajectory_energy_distance
        }),
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
    fn new(
        physics: &KnownPhysics,
        teacher: &Conservation,
        student: &Conservation,
        clips: usize,
    ) -> Self {
        let known = f64::from(RESTITUTION);
        let energy = teacher.energy.mean().filter(|&energy| energy > 0.0);
        let flies = teacher.sideways.mean().is_some();
        let bounces = teacher.bounces.len() >= FEWEST_EVENTS;
        let collides = teacher.collisions.weight() >= FEWEST_EVENTS as f64;
        let errors = student
            .bounces
            .iter()
            .map(|restitution| (restitution - known).abs());
        Self {
            sideways: if flies { student.sideways.mean() } else { None },
            downwards: flies.then(|| {
                student
                    .downwards
                    .mean()
                    .unwrap_or(f64::from(physics.gravity))
            }),
            energy: energy.map(|energy| {
                student
                    .energy_change
                    .mean()
                    .map_or(1.0, |change| change / energy)
            }),
            restitution: if bounces {
                mean(student.bounces.iter().copied())
            } else {
                None
            },
            restitution_error: bounces.then(|| mean(errors).unwrap_or(known)),
            bounces_per_clip: bounces.then(|| student.bounces.len() as f64 / clips as f64),
            collision: collides.then(|| student.collisions.mean().unwrap_or(1.0)),
        }
    }
}

#[cfg(test)]
mod tests;
