//! What a benchmark is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A whole benchmark: what was compared, how it was measured, and every run.
///
/// Lists give the order in which things are shown. [`Benchmark::check`] says what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Short name, as in a directory's name.
    pub name: String,
    /// The headline.
    pub title: String,
    /// What a reader should know first, a paragraph each.
    #[serde(default)]
    pub summary: Vec<String>,
    /// The day of the report, e.g. "2026-11-23".
    pub created: String,
    /// The program's source commit, where known.
    #[serde(default)]
    pub commit: Option<String>,
    /// What it ran on, e.g. "2 CPU cores, 16 GB".
    pub machine: String,
    /// The command line that repeats it.
    pub command: String,
    /// Wall-clock duration of all of it, in seconds.
    pub wall_seconds: f64,
    /// What every method was allowed to spend, in words.
    pub budget: String,
    /// Name of the method that the others are compared with.
    pub reference: String,
    /// What is compared.
    pub methods: Vec<Method>,
    /// Kinds of students.
    pub families: Vec<Named>,
    /// Circumstances, e.g. numbers of teacher clips; a benchmark without them has one.
    pub regimes: Vec<Named>,
    /// What the regimes differ in, e.g. "teacher clips"; the label of their axis.
    pub regime_title: String,
    /// The seeds that every method was to be run with.
    pub seeds: Vec<u64>,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// What is measured along something: training, rollout length.
    #[serde(default)]
    pub curves: Vec<Curve>,
    /// Every run, made or not.
    pub runs: Vec<Run>,
}

/// Something with a name for programs and a title for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// What runs refer to.
    pub name: String,
    /// What readers see.
    pub title: String,
}

/// A method, or a control that is shown among the methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What runs refer to.
    pub name: String,
    /// What readers see; short, it stands in tables and plots.
    pub title: String,
    /// One sentence about it.
    #[serde(default)]
    pub about: String,
    /// What it is in the comparison.
    #[serde(default)]
    pub role: Role,
    /// The heading of the set of ablations it belongs to; `None`: the main comparison.
    #[serde(default)]
    pub group: Option<String>,
    /// Why it cannot be run at all, e.g. "a black box has no score".
    #[serde(default)]
    pub refused: Option<String>,
}

/// What a method is in the comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A way to train; compared with the reference.
    #[default]
    Method,
    /// The untrained student; compared with the reference.
    Base,
    /// The teacher's own clips, what a perfect student would score; a control that is not tested.
    Teacher,
}

/// Something measured once per run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What runs refer to.
    pub name: String,
    /// What readers see.
    pub title: String,
    /// Its unit; empty if it has none.
    #[serde(default)]
    pub unit: String,
    /// Which values are good.
    pub better: Better,
    /// What it measures, and how.
    #[serde(default)]
    pub about: String,
    /// Whether it belongs in the main table.
    #[serde(default)]
    pub main: bool,
}

/// Which values of a metric are good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Low ones.
    Lower,
    /// High ones.
    Higher,
    /// Those near a number.
    Target(f64),
    /// Those near the teacher's mean in the same family and regime.
    Teacher,
}

/// Something measured along an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// What runs refer to.
    pub name: String,
    /// What readers see.
    pub title: String,
    /// What it runs along, with the unit, e.g. "student forward-backward passes".
    pub x_title: String,
    /// What it shows, with the unit.
    pub y_title: String,
    /// What it measures, and how.
    #[serde(default)]
    pub about: String,
}

/// One run, made or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the method.
    pub method: String,
    /// Name of the family.
    pub family: String,
    /// Name of the regime; `None`: the same in every regime, as the untrained student is.
    #[serde(default)]
    pub regime: Option<String>,
    /// The seed; `None`: one run stands for every seed.
    #[serde(default)]
    pub seed: Option<u64>,
    /// What became of it.
    #[serde(default)]
    pub state: State,
    /// Where its files are.
    pub directory: String,
    /// The command line that repeats it.
    pub command: String,
    /// The program's source commit, where it is not the benchmark's.
    #[serde(default)]
    pub commit: Option<String>,
    /// Metrics by name; `null`: tried, but the metric has no value here (say, no free flight to
    /// measure gravity in).
    #[serde(default)]
    pub values: BTreeMap<String, Option<f64>>,
    /// What it took.
    #[serde(default)]
    pub cost: Cost,
    /// Points (x, y) by the curve's name, x rising.
    #[serde(default)]
    pub curves: BTreeMap<String, Vec<[f64; 2]>>,
    /// Pictures of its clips.
    #[serde(default)]
    pub previews: Vec<Preview>,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It ended as it should.
    #[default]
    Done,
    /// It ended otherwise; its values are shown in its row, but enter no mean.
    Failed(String),
    /// It was planned and has not been made (yet), for this reason.
    Missing(String),
}

/// What a run took. Zeros: nothing of the kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// Clips that went forward and backward through the student.
    pub student_forward_backward: u64,
    /// Clips that the student rolled out for training.
    pub student_rollouts: u64,
    /// Clips that went forward and backward through a discriminator.
    pub discriminator_forward_backward: u64,
    /// Different teacher clips that training saw.
    pub teacher_clips: u64,
    /// Wall-clock duration, in seconds.
    pub wall_seconds: f64,
}

/// A picture of a run's clips.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// What it shows; pictures with one label are shown together, so this is the prompt.
    pub label: String,
    /// A GIF or PNG file, relative to the directory given to [`Benchmark::write`].
    pub path: String,
}

impl Benchmark {
    /// The commit behind a run, where known.
    pub fn commit_of<'a>(&'a self, run: &'a Run) -> Option<&'a str> {
        run.commit.as_deref().or(self.commit.as_deref())
    }

    /// Headings of the comparisons, the main one (`None`) first, ablations in the order of their
    /// first method.
    pub fn groups(&self) -> Vec<Option<&str>> {
        let mut groups = vec![None];
        for method in &self.methods {
            if !groups.contains(&method.group.as_deref()) {
                groups.push(method.group.as_deref());
            }
        }
        groups
    }

    /// The methods of one comparison; the reference is in each of them, first in those of
    /// ablations.
    pub fn methods_of(&self, group: Option<&str>) -> Vec<&Method> {
        let reference = self
            .methods
            .iter()
            .filter(|method| group.is_some() && method.name == self.reference);
        reference
            .chain(
                self.methods
                    .iter()
                    .filter(|method| method.group.as_deref() == group),
            )
            .collect()
    }

    /// The title of the reference.
    pub fn reference_title(&self) -> &str {
        self.methods
            .iter()
            .find(|method| method.name == self.reference)
            .map_or(&self.reference, |method| &method.title)
    }

    /// The methods that are compared with the reference in a group.
    pub(crate) fn tested(&self, group: Option<&str>) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(move |method| {
            let excluded = method.name == self.reference
                || method.role == Role::Teacher
                || method.refused.is_some();
            method.group.as_deref() == group && !excluded
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_from_json_with_what_it_lacks_left_out() {
        let json = r#"{
            "method": "afd",
            "family": "chunk",
            "directory": "runs/0",
            "command": "afd distill",
            "values": {"gravity": null}
        }"#;
        let run: Run = serde_json::from_str(json).unwrap();
        assert_eq!(
            (run.regime, run.seed, run.state, run.values["gravity"]),
            (None, None, State::Done, None)
        );
        let error = serde_json::from_str::<Run>(&json.replace("\"directory\"", "\"dir\""))
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `dir`"), "{error}");
    }

    #[test]
    fn variants_with_content_read_as_they_are_written() {
        for better in [
            Better::Lower,
            Better::Higher,
            Better::Target(0.5),
            Better::Teacher,
        ] {
            assert_eq!(
                serde_json::from_str::<Better>(&serde_json::to_string(&better).unwrap()).unwrap(),
                better
            );
        }
        assert_eq!(
            serde_json::to_string(&State::Failed("NaN".into())).unwrap(),
            r#"{"failed":"NaN"}"#
        );
    }
}
