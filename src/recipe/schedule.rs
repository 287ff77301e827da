//! How long a student may learn from teacher clips directly, where there are few of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tables::{Method, Settings};

/// How many rounds of what a run has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Supervised updates: all of a supervised run, or the start of another.
    pub supervised_rounds: u64,
    /// Rounds of the discriminator alone, at most.
    pub warmup_rounds: u64,
    /// Alternations.
    pub alternations: u64,
    /// The share of them, from and to, in which teacher clips are among the positives.
    pub teacher_positives_span: [f64; 2],
}

impl Schedule {
    /// The schedule of settings as they are; see [`Settings::within_passes`].
    pub fn of(settings: &Settings) -> Self {
        let afd = &settings.afd;
        if settings.is_supervised() {
            return Self {
                supervised_rounds: settings.supervised.steps,
                warmup_rounds: 0,
                alternations: 0,
                teacher_positives_span: [0.0, 0.0],
            };
        }
        let learns = settings.method != Method::DirectAdversarial && afd.teacher_positives > 0;
        Self {
            supervised_rounds: afd.supervised_rounds,
            warmup_rounds: afd.warmup_steps,
            alternations: afd.alternations,
            teacher_positives_span: match learns {
                true => afd.teacher_positives_span,
                false => [0.0, 0.0],
            },
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.supervised_rounds > 0 || self.alternations == 0 {
            parts.push(format!("{} supervised rounds", self.supervised_rounds));
        }
        if self.warmup_rounds > 0 {
            parts.push(format!("up to {} of warm-up", self.warmup_rounds));
        }
        if self.alternations > 0 {
            parts.push(format!("{} alternations", self.alternations));
        }
        let [from, to] = self.teacher_positives_span;
        if to > from {
            parts.push(format!(
                "teacher clips among the positives from {:.1} % of them to {:.1} %",
                from * 100.0,
                to * 100.0
            ));
        }
        formatter.write_str(&parts.join(", "))
    }
}

impl Settings {
    /// These settings where the teacher has `clips` training clips (`None`: without end).
    ///
    /// Supervised updates, the supervised start and AFD's teacher positives end where every clip
    /// has been used `supervised.passes` times. What falls away of AFD's schedule comes back as
    /// alternations without teacher clips, so that the student is trained on as many clips as the
    /// recipe says.
    pub fn within_passes(mut self, clips: Option<u64>) -> Self {
        let (Some(clips), 1..) = (clips, self.supervised.passes) else {
            return self;
        };
        let (uses, batch) = (self.supervised.passes * clips, self.supervised.batch as u64);
        self.supervised.steps = self.supervised.steps.min((uses / batch).max(1));

        let afd = &mut self.afd;
        let per_prompt = afd.flow_steps * afd.prompts_per_alternation as u64;
        let (own, positives) = (
            per_prompt * afd.rollouts_per_prompt as u64,
            per_prompt * afd.teacher_positives as u64,
        );
        let [from, to] = afd.teacher_positives_span;
        let with_positives = if positives == 0 {
            0
        } else {
            ((to - from) * afd.alternations as f64).round() as u64
        };
        let planned = afd.supervised_rounds * batch + with_positives * positives;
        if planned <= uses {
            return self;
        }
        let budget = planned + afd.alternations * own;
        afd.supervised_rounds = afd.supervised_rounds.min(uses / batch);
        let remaining = budget - afd.supervised_rounds * batch;
        let left = uses - afd.supervised_rounds * batch;
        let with_positives = left
            .checked_div(positives)
            .unwrap_or(0)
            .min(remaining / (own + positives));
        afd.alternations = (remaining - with_positives * positives) / own.max(1);
        let share = with_positives as f64 / afd.alternations.max(1) as f64;
        afd.teacher_positives_span = [from, (from + share).min(1.0)];
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use std::path::Path;

    fn settings(more: &[&str]) -> Settings {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        let set = [
            "supervised.steps=50",
            "supervised.batch=24",
            "supervised.passes=8",
            "afd.supervised_rounds=50",
            "afd.alternations=25",
            "afd.prompts_per_alternation=2",
            "afd.rollouts_per_prompt=8",
            "afd.teacher_positives=4",
            "afd.flow_steps=2",
        ];
        let set: Vec<String> = set.iter().chain(more).map(ToString::to_string).collect();
        Recipe::load(&path, &set).unwrap().settings
    }

    /// Supervised steps, rounds of the start, alternations, and those of them with teacher clips.
    fn schedule(settings: &Settings) -> [u64; 4] {
        let [from, to] = settings.afd.teacher_positives_span;
        let alternations = settings.afd.alternations;
        let with_positives = (0..alternations)
            .filter(|done| (from..to).contains(&(*done as f64 / alternations as f64)))
            .count();
        [
            settings.supervised.steps,
            settings.afd.supervised_rounds,
            alternations,
            with_positives as u64,
        ]
    }

    #[test]
    fn direct_learning_ends_when_every_teacher_clip_has_been_used_as_often_as_it_may() {
        let within = |clips| schedule(&settings(&[]).within_passes(clips));
        // A budget of 50 x 24 + 25 x 2 x 2 x (8 + 4) = 2,400 clips. An alternation takes 32 of its
        // own and 16 of the teacher's.
        assert_eq!(within(None), [50, 50, 25, 25]);
        assert_eq!(within(Some(1000)), [50, 50, 25, 25]);
        // 1,488 uses: 1,200 in the start and 288 for 18 alternations; 48 x 18 + 32 x 10 = 1,184 of
        // the other 1,200.
        assert_eq!(within(Some(186)), [50, 50, 28, 18]);
        // 64 uses: 2 rounds and one alternation; 48 + 32 x 72 = 2,352.
        assert_eq!(within(Some(8)), [2, 2, 73, 1]);
        // Too few for one update of a batch.
        assert_eq!(within(Some(2)), [1, 0, 74, 1]);
        assert_eq!(
            schedule(&settings(&["supervised.passes=0"]).within_passes(Some(8))),
            [50, 50, 25, 25]
        );
    }

    #[test]
    fn a_schedule_without_teacher_clips_stays_as_it_is() {
        let pure = settings(&[
            "afd.supervised_rounds=0",
            "afd.teacher_positives=0",
            "afd.teacher_positives_span=[0.2, 0.6]",
        ]);
        let mut expected = pure.clone();
        expected.supervised.steps = 2;
        assert_eq!(pure.within_passes(Some(8)), expected);
    }
}
