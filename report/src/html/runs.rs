//! Every run, and the way from a number to the runs behind it.

use crate::{
    benchmark::{Benchmark, Run, State},
    cells::Cell,
    escape::escape,
    number::{count, duration, short},
};

/// A link from a cell to its runs; the text alone where there are none.
pub(super) fn link(benchmark: &Benchmark, cell: &Cell, hint: &str, text: &str) -> String {
    let of_cell = |run: &&Run| {
        run.method == cell.method
            && run.family == cell.family
            && run
                .regime
                .as_ref()
                .is_none_or(|regime| *regime == cell.regime)
    };
    let hint = escape(hint).replace('\n', "&#10;");
    match benchmark.runs.iter().find(of_cell) {
        Some(run) => format!(
            "<a href=\"#{}\" title=\"{hint}\">{text}</a>",
            place_id(benchmark, run)
        ),
        None => format!("<span title=\"{hint}\">{text}</span>"),
    }
}

/// The id of a run's method, family and regime.
fn place_id(benchmark: &Benchmark, run: &Run) -> String {
    let place = |found: Option<usize>| found.map_or("all".into(), |place| place.to_string());
    let method = place(
        benchmark
            .methods
            .iter()
            .position(|method| method.name == run.method),
    );
    let family = place(
        benchmark
            .families
            .iter()
            .position(|family| family.name == run.family),
    );
    let regime = place(
        benchmark
            .regimes
            .iter()
            .position(|regime| Some(&regime.name) == run.regime.as_ref()),
    );
    format!("from-{method}-{family}-{regime}")
}

/// All runs, those of one method, family and regime together.
pub(super) fn runs(benchmark: &Benchmark) -> String {
    let mut bodies: Vec<(String, String)> = Vec::new();
    let mut order: Vec<usize> = (0..benchmark.runs.len()).collect();
    let place = |run: &Run| {
        let method = benchmark
            .methods
            .iter()
            .position(|method| method.name == run.method);
        let family = benchmark
            .families
            .iter()
            .position(|family| family.name == run.family);
        let regime = benchmark
            .regimes
            .iter()
            .position(|regime| Some(&regime.name) == run.regime.as_ref());
        (method, family, regime, run.seed)
    };
    order.sort_by_key(|index| place(&benchmark.runs[*index]));
    for index in order {
        let run = &benchmark.runs[index];
        let id = place_id(benchmark, run);
        let row = row(benchmark, index, run);
        match bodies.last_mut().filter(|(last, _)| *last == id) {
            Some((_, rows)) => *rows += &row,
            None => bodies.push((id, row)),
        }
    }
    if bodies.is_empty() {
        return "<p>None.</p>\n".into();
    }
    let bodies: String = bodies
        .iter()
        .map(|(id, rows)| format!("<tbody id=\"{id}\">\n{rows}</tbody>\n"))
        .collect();
    let header = [
        "method",
        "family",
        &benchmark.regime_title,
        "seed",
        "state",
        "student f-b",
        "rollouts",
        "disc. f-b",
        "teacher clips",
        "wall time",
        "run",
    ];
    let header: String = header
        .iter()
        .map(|title| format!("<th scope=\"col\">{}</th>", escape(title)))
        .collect();
    format!(
        "<p>Costs in clips: student forward-backward, student rollouts, discriminator \
            forward-backward, different teacher clips. A run opens to its command and \
            values.</p>\n<div class=\"wide\"><table \
            class=\"runs\">\n<thead><tr>{header}</tr></thead>\n{bodies}</table></div>\n"
    )
}

fn row(benchmark: &Benchmark, index: usize, run: &Run) -> String {
    let title = |list: &[crate::Named], name: &str| {
        list.iter()
            .find(|item| item.name == name)
            .map_or(name.into(), |item| item.title.clone())
    };
    let method = benchmark
        .methods
        .iter()
        .find(|method| method.name == run.method)
        .map_or(run.method.clone(), |method| method.title.clone());
    let regime = run
        .regime
        .as_deref()
        .map_or("all".into(), |regime| title(&benchmark.regimes, regime));
    let seed = run.seed.map_or("all".into(), |seed| seed.to_string());
    let (state, class) = match &run.state {
        State::Done => ("done".into(), ""),
        State::Failed(reason) => (format!("failed: {reason}"), " class=\"worse\""),
        State::Missing(reason) => (format!("missing: {reason}"), " class=\"worse\""),
    };
    let cost = &run.cost;
    let counts = [
        cost.student_forward_backward,
        cost.student_rollouts,
        cost.discriminator_forward_backward,
        cost.teacher_clips,
    ]
    .map(count);
    let commit = benchmark
        .commit_of(run)
        .map_or("not known".into(), |commit| {
            format!("<code>{}</code>", escape(commit))
        });
    let value = |metric: &crate::Metric| {
        let value = run.values.get(&metric.name)?;
        Some(format!(
            "<dt>{}</dt><dd>{}</dd>",
            escape(&metric.title),
            value.map_or("no value".into(), short)
        ))
    };
    let values: String = benchmark.metrics.iter().filter_map(value).collect();
    let details = format!(
        "<details><summary><code>{}</code></summary><dl><dt>command</dt><dd><code>{}</code></dd>\
            <dt>commit</dt><dd>{commit}</dd>{values}</dl></details>",
        escape(&run.directory),
        escape(&run.command)
    );
    let words = [method, title(&benchmark.families, &run.family), regime]
        .map(|text| format!("<td>{}</td>", escape(&text)))
        .concat();
    let numbers = counts
        .map(|text| format!("<td class=\"number\">{text}</td>"))
        .concat();
    format!(
        "<tr id=\"run-{index}\">{words}<td \
            class=\"number\">{seed}</td><td{class}>{}</td>{numbers}<td \
            class=\"number\">{}</td><td>{details}</td></tr>\n",
        escape(&state),
        duration(cost.wall_seconds)
    )
}
