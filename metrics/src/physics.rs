//! All that the evidence measures beyond [`super::table`], in one call: continuation, conservation,
//! drift, diversity, distances of features.

use serde::{Deserialize, Serialize};

pub use super::physics_scores::{PHYSICS_METRICS, PhysicsScores};
use super::{
    EvalError,
    conservation::Conservation,
    continuation::{Case, Compared, ContinuationScores, compared},
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

/// One prompt's part in every number: [`Part::together`] makes the numbers of any set of prompts.
#[derive(Debug, Clone)]
pub struct Part {
    diversity: Diversity,
    /// `None` for prompts that are not the world's.
    residuals: Option<Residuals>,
    /// `None` where drift is not measured.
    drift: Option<Vec<DriftWindow>>,
    /// One feature vector per clip: the teacher's and the student's.
    features: [Vec<Vec<f32>>; 2],
    kernel_distance: f64,
    continuations: Vec<Compared>,
}

impl Part {
    /// Measures a student's clips of one prompt, or samples of the teacher in their place.
    ///
    /// Where the teacher's clips of a prompt show flights, or at least five bounces or collisions,
    /// and the student's show none, the student counts as one whose bodies do not move: vertical
    /// residual = gravity, energy residual 1, restitution error 0.8, collision residual 1. Prompts
    /// with fewer bounces or collisions in the teacher's clips are left out of those numbers.
    ///
    /// # Errors
    /// That of the first clip or case that cannot be measured.
    pub fn of(clips: &PromptEvidence) -> Result<Self, EvalError> {
        check(clips.prompt, clips.teacher, clips.student, [2, 2])?;
        let tracker = Tracker::for_prompt(clips.prompt, clips.teacher)?;
        let [teacher, student] = [clips.teacher, clips.student].map(|clips| {
            clips
                .iter()
                .map(|clip| tracker.track(clip))
                .collect::<Vec<_>>()
        });
        let diversity = diversity(
            &trajectory::vectors(&teacher),
            &trajectory::vectors(&student),
            NEIGHBOURS,
        )?;
        let physics = KnownPhysics::of_prompt(clips.prompt, clips.teacher[0].shape)
            .filter(|physics| physics.radii.len() == tracker.bodies());
        let residuals = physics.map(|physics| {
            let found = [&teacher, &student].map(|tracks| Conservation::measure(&physics, tracks));
            Residuals::new(&physics, &found[0], &found[1], student.len())
        });
        let (long_teacher, long_student) = (clips.long_teacher, clips.long_student);
        let drift = if long_teacher.is_empty() || long_student.is_empty() {
            None
        } else {
            let frames = clips.teacher[0].shape.frames;
            Some(drift(clips.prompt, long_teacher, long_student, frames)?)
        };
        let network = FeatureNetwork::new();
        let features = [clips.teacher, clips.student].map(|clips| {
            clips
                .iter()
                .map(|clip| network.features(clip))
                .collect::<Vec<_>>()
        });
        Ok(Self {
            diversity,
            residuals,
            drift,
            kernel_distance: kernel_distance(&features[0], &features[1])?,
            features,
            continuations: compared(clips.continuations)?,
        })
    }

    /// The numbers over prompts.
    ///
    /// # Errors
    /// [`EvalError::NoPrompts`] without prompts.
    pub fn together<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Result<Measured, EvalError> {
        let parts: Vec<&Self> = parts.into_iter().collect();
        let diversities: Vec<Diversity> = parts.iter().map(|part| part.diversity).collect();
        let diversity = diversity::average(&diversities).ok_or(EvalError::NoPrompts)?;
        let residuals: Vec<&Residuals> = parts
            .iter()
            .filter_map(|part| part.residuals.as_ref())
            .collect();
        let curves: Vec<Vec<DriftWindow>> =
            parts.iter().filter_map(|part| part.drift.clone()).collect();
        let drift = drift::average(&curves);
        let of_side = |side: usize| -> Vec<&[f32]> {
            let all = parts.iter().flat_map(|part| &part.features[side]);
            all.map(Vec::as_slice).collect()
        };
        let features = (
            frechet_distance(&of_side(0), &of_side(1))?,
            mean(parts.iter().map(|part| part.kernel_distance)).unwrap_or(0.0),
        );
        let continuation =
            ContinuationScores::over(parts.iter().flat_map(|part| &part.continuations));
        Ok(Measured {
            scores: scores(&residuals, diversity, features, continuation, &drift),
            drift,
            continuation,
        })
    }
}

/// Measures a student, or samples of the teacher in its place, on all prompts: [`Part::of`] each,
/// [`Part::together`].
///
/// # Errors
/// Those of the two.
pub fn measure(prompts: &[PromptEvidence]) -> Result<Measured, EvalError> {
    let parts = prompts
        .iter()
        .map(Part::of)
        .collect::<Result<Vec<_>, _>>()?;
    Part::together(&parts)
}

fn scores(
    residuals: &[&Residuals],
    diversity: Diversity,
    (frechet_distance, kernel_distance): (f64, f64),
    continuation: Option<ContinuationScores>,
    drift: &[DriftWindow],
) -> PhysicsScores {
    let over =
        |value: fn(&Residuals) -> Option<f64>| mean(residuals.iter().filter_map(|one| value(one)));
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
#[derive(Debug, Clone)]
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
