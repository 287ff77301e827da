//! What must hold for a benchmark to be reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::benchmark::{Benchmark, Role, Run};

/// Why a benchmark cannot be reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BenchmarkError {
    /// A list that must not be empty is.
    #[error("the benchmark has no {list}; it needs at least one")]
    Empty {
        /// The list's field.
        list: &'static str,
    },
    /// A name stands twice in its list.
    #[error("{list} holds `{name}` twice; names must differ")]
    Twice {
        /// The list's field.
        list: &'static str,
        /// The name.
        name: String,
    },
    /// A name that its list does not hold.
    #[error("{place} names the {kind} `{found}`, expected one of: {known}")]
    Unknown {
        /// Where.
        place: String,
        /// What kind of thing.
        kind: &'static str,
        /// The name.
        found: String,
        /// The names there are.
        known: String,
    },
    /// The reference cannot be compared with.
    #[error(
        "the reference `{name}` {reason}; expected a method of the main comparison that is run for \
            every seed and regime"
    )]
    Reference {
        /// Its name.
        name: String,
        /// What is in the way.
        reason: &'static str,
    },
    /// Runs that cannot both be.
    #[error("{place} and {other} are {reason}; keep one of them")]
    Clash {
        /// One run.
        place: String,
        /// Another.
        other: String,
        /// How they clash.
        reason: &'static str,
    },
    /// A number that is none.
    #[error(
        "{place}: {what} is {found}, expected a finite number; write null where a metric has no \
            value, and find out why it has none"
    )]
    NotFinite {
        /// Where.
        place: String,
        /// Which number.
        what: String,
        /// The number.
        found: String,
    },
    /// A curve that goes back.
    #[error(
        "{place}: the curve `{curve}` goes from x = {before} to x = {after}, expected rising x; \
            sort its points and keep one of each x"
    )]
    NotRising {
        /// Where.
        place: String,
        /// The curve.
        curve: String,
        /// An x.
        before: String,
        /// The next.
        after: String,
    },
}

impl Benchmark {
    /// Whether names are known and differ, runs do not clash, and every number is finite.
    ///
    /// # Errors
    /// The first [`BenchmarkError`] found.
    pub fn check(&self) -> Result<(), BenchmarkError> {
        let methods = names("methods", self.methods.iter().map(|method| &method.name))?;
        let families = names("families", self.families.iter().map(|family| &family.name))?;
        let regimes = names("regimes", self.regimes.iter().map(|regime| &regime.name))?;
        let metrics = names("metrics", self.metrics.iter().map(|metric| &metric.name))?;
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let seeds = names("seeds", seeds.iter())?;
        let curves = if self.curves.is_empty() {
            vec![]
        } else {
            names("curves", self.curves.iter().map(|curve| &curve.name))?
        };
        self.check_reference(&methods)?;
        finite("the benchmark", "wall_seconds", self.wall_seconds)?;
        for metric in &self.metrics {
            if let crate::Better::Target(target) = metric.better {
                finite(
                    &format!("the metric `{}`", metric.name),
                    "its target",
                    target,
                )?;
            }
        }
        for run in &self.runs {
            let place = place(run);
            known(&place, "method", &run.method, &methods)?;
            known(&place, "family", &run.family, &families)?;
            run.regime
                .as_ref()
                .map_or(Ok(()), |regime| known(&place, "regime", regime, &regimes))?;
            run.seed.map_or(Ok(()), |seed| {
                known(&place, "seed", &seed.to_string(), &seeds)
            })?;
            run.values
                .keys()
                .try_for_each(|name| known(&place, "metric", name, &metrics))?;
            run.curves
                .keys()
                .try_for_each(|name| known(&place, "curve", name, &curves))?;
            check_numbers(run, &place)?;
        }
        self.check_clashes()
    }

    fn check_reference(&self, methods: &[&str]) -> Result<(), BenchmarkError> {
        known(
            "the benchmark's reference",
            "method",
            &self.reference,
            methods,
        )?;
        let refuse = |reason| {
            Err(BenchmarkError::Reference {
                name: self.reference.clone(),
                reason,
            })
        };
        match self
            .methods
            .iter()
            .find(|method| method.name == self.reference)
        {
            Some(method) if method.role != Role::Method => refuse("is a control"),
            Some(method) if method.group.is_some() => refuse("is an ablation"),
            Some(method) if method.refused.is_some() => refuse("is refused"),
            _ if self.runs.iter().any(|run| {
                run.method == self.reference && (run.seed.is_none() || run.regime.is_none())
            }) =>
            {
                refuse("has a run that stands for every seed or regime")
            }
            _ => Ok(()),
        }
    }

    /// No two runs for one place in the tables.
    fn check_clashes(&self) -> Result<(), BenchmarkError> {
        let mut siblings: BTreeMap<(&str, &str), Vec<&Run>> = BTreeMap::new();
        for run in &self.runs {
            let siblings = siblings.entry((&run.method, &run.family)).or_default();
            for other in siblings.iter() {
                let regimes_meet =
                    run.regime == other.regime || run.regime.is_none() || other.regime.is_none();
                let seeds_meet =
                    run.seed == other.seed || run.seed.is_none() || other.seed.is_none();
                if regimes_meet && seeds_meet {
                    let reason = if (&run.regime, run.seed) == (&other.regime, other.seed) {
                        "the same method, family, regime and seed"
                    } else {
                        "at odds: one without a seed or regime stands for all of them"
                    };
                    return Err(BenchmarkError::Clash {
                        place: place(other),
                        other: place(run),
                        reason,
                    });
                }
            }
            siblings.push(run);
        }
        Ok(())
    }
}

/// How errors call a run.
fn place(run: &Run) -> String {
    let regime = run
        .regime
        .as_deref()
        .map_or(String::new(), |regime| format!(", {regime}"));
    let seed = run
        .seed
        .map_or(String::new(), |seed| format!(", seed {seed}"));
    format!(
        "the run of {} ({}{regime}{seed}) in {}",
        run.method, run.family, run.directory
    )
}

fn check_numbers(run: &Run, place: &str) -> Result<(), BenchmarkError> {
    finite(place, "cost.wall_seconds", run.cost.wall_seconds)?;
    for (name, value) in &run.values {
        value.map_or(Ok(()), |value| {
            finite(place, &format!("the metric `{name}`"), value)
        })?;
    }
    for (curve, points) in &run.curves {
        for point in points {
            point.iter().try_for_each(|&value| {
                finite(place, &format!("a point of the curve `{curve}`"), value)
            })?;
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0][0] >= pair[1][0]) {
            let (before, after) = (pair[0][0].to_string(), pair[1][0].to_string());
            return Err(BenchmarkError::NotRising {
                place: place.into(),
                curve: curve.clone(),
                before,
                after,
            });
        }
    }
    Ok(())
}

fn finite(place: &str, what: &str, value: f64) -> Result<(), BenchmarkError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(BenchmarkError::NotFinite {
        place: place.into(),
        what: what.into(),
        found: value.to_string(),
    })
}

fn known(
    place: &str,
    kind: &'static str,
    name: &str,
    known: &[&str],
) -> Result<(), BenchmarkError> {
    if known.contains(&name) {
        return Ok(());
    }
    Err(BenchmarkError::Unknown {
        place: place.into(),
        kind,
        found: name.into(),
        known: known.join(", "),
    })
}

fn names<'a>(
    list: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<Vec<&'a str>, BenchmarkError> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(name) => Err(BenchmarkError::Twice {
            list,
            name: name.to_string(),
        }),
        None if names.is_empty() => Err(BenchmarkError::Empty { list }),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    fn refusal(spoil: impl FnOnce(&mut Benchmark)) -> String {
        let mut benchmark = small();
        benchmark.check().expect("sound before it is spoilt");
        spoil(&mut benchmark);
        benchmark.check().unwrap_err().to_string()
    }

    #[test]
    fn unknown_and_repeated_names_are_refused_with_the_known_ones() {
        let error = refusal(|benchmark| benchmark.runs[0].method = "atd".into());
        assert!(
            error.contains("names the method `atd`, expected one of: teacher, base, sft, gan, afd"),
            "{error}"
        );
        let error = refusal(|benchmark| benchmark.metrics[1].name = "distance".into());
        assert_eq!(error, "metrics holds `distance` twice; names must differ");
        let error = refusal(|benchmark| {
            benchmark.runs[0].values.insert("speed".into(), None);
        });
        assert!(error.contains("metric `speed`"), "{error}");
        assert_eq!(
            refusal(|benchmark| benchmark.regimes.clear()),
            "the benchmark has no regimes; it needs at least one"
        );
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        let error = refusal(|benchmark| {
            benchmark.runs[4]
                .values
                .insert("distance".into(), Some(f64::NAN));
        });
        assert!(
            error.contains("runs/")
                && error.contains("the metric `distance` is NaN, expected a finite number"),
            "{error}"
        );
        let error = refusal(|benchmark| {
            drop(
                benchmark.runs[4]
                    .curves
                    .insert("drift".into(), vec![[2.0, 0.0], [2.0, 1.0]]),
            )
        });
        assert!(error.contains("goes from x = 2 to x = 2"), "{error}");
    }

    #[test]
    fn two_runs_for_one_place_are_refused() {
        let error =
            refusal(|benchmark| benchmark.runs.push(benchmark.runs.last().unwrap().clone()));
        assert!(
            error.contains("the same method, family, regime and seed"),
            "{error}"
        );
        let error = refusal(|benchmark| {
            benchmark.runs.push(Run {
                seed: Some(1),
                ..benchmark.runs[0].clone()
            })
        });
        assert!(error.contains("stands for all of them"), "{error}");
    }

    #[test]
    fn a_reference_that_is_no_full_method_is_refused() {
        assert!(
            refusal(|benchmark| benchmark.reference = "teacher".into()).contains("is a control")
        );
        assert!(
            refusal(|benchmark| benchmark.reference = "no-warm-up".into())
                .contains("is an ablation")
        );
        let once = |benchmark: &mut Benchmark| {
            benchmark
                .runs
                .iter_mut()
                .filter(|run| run.method == "afd")
                .for_each(|run| run.seed = None)
        };
        assert!(refusal(once).contains("stands for every seed or regime"));
    }
}
