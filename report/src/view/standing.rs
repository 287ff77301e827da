//! Where the reference stands, in words.

use super::{main_metrics, scope_title, shown_scopes};
use crate::{
    benchmark::{Benchmark, Metric},
    comparison::Verdict,
    summary::Summary,
};

/// Where the reference stands in one metric and scope: titles of the methods it is better than, and
/// so on.
pub(crate) struct Standing<'a> {
    /// The metric.
    pub(crate) metric: &'a Metric,
    /// The scope's title.
    pub(crate) scope: String,
    /// Methods that are worse than the reference.
    pub(crate) beaten: Vec<&'a str>,
    /// Methods that are better than the reference.
    pub(crate) beating: Vec<&'a str>,
    /// Methods where the one ahead is past the teacher's own clips.
    pub(crate) past: Vec<&'a str>,
    /// Methods of which the seeds do not tell.
    pub(crate) undecided: Vec<&'a str>,
    /// Methods without a test: too few seeds, or no pairs.
    pub(crate) untested: Vec<&'a str>,
}

/// The reference's place among a group's methods, metric by metric, scope by scope.
pub(crate) fn standings<'a>(
    benchmark: &'a Benchmark,
    summary: &Summary,
    group: Option<&'a str>,
) -> Vec<Standing<'a>> {
    let mut standings = Vec::new();
    for metric in main_metrics(benchmark) {
        for (family, regime) in shown_scopes(benchmark, group) {
            let scope = scope_title(benchmark, family, regime);
            let mut standing = Standing {
                metric,
                scope,
                beaten: vec![],
                beating: vec![],
                past: vec![],
                undecided: vec![],
                untested: vec![],
            };
            for method in benchmark.tested(group) {
                let comparison =
                    summary.comparison(&metric.name, group, family, regime, &method.name);
                let list = match comparison
                    .map_or(Verdict::TooFewSeeds, |comparison| comparison.verdict)
                {
                    Verdict::Worse => &mut standing.beaten,
                    Verdict::Better => &mut standing.beating,
                    Verdict::PastTeacher => &mut standing.past,
                    Verdict::Undecided => &mut standing.undecided,
                    Verdict::TooFewSeeds => &mut standing.untested,
                };
                list.push(&method.title);
            }
            standings.push(standing);
        }
    }
    standings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn the_reference_s_place_names_every_other_method_once() {
        let benchmark = small();
        let standings = standings(&benchmark, &Summary::of(&benchmark), None);
        let first = &standings[0];
        assert_eq!(
            (first.metric.name.as_str(), first.scope.as_str()),
            ("distance", "Chunk-wise, 8 clips")
        );
        assert_eq!(
            (&first.beaten[..], &first.untested[..]),
            (&["Base", "SFT"][..], &["GAN"][..])
        );
        // Two metrics; two families of two regimes and their sum, and everything.
        assert_eq!(standings.len(), 2 * (2 * 3 + 1));
        for standing in &standings {
            let lists = [
                &standing.beaten,
                &standing.beating,
                &standing.past,
                &standing.undecided,
                &standing.untested,
            ];
            assert_eq!(lists.map(|list| list.len()).iter().sum::<usize>(), 3);
        }
    }
}
