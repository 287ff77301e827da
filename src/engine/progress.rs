//! Live progress on standard error: a bar where it is a terminal, plain lines elsewhere. Both go on
//! where nobody reads them any more; burn-train's own terminal interface ends the process then.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::prelude::*;
use burn::train::logger::MetricLogger;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricDefinition, MetricEntry, MetricId, MetricMetadata,
    MetricName, Numeric, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn::train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::Outcome;
use crate::out::note;

/// One named scalar of an [`Outcome`], shown by burn-train's renderers.
#[derive(Clone)]
pub struct Gauge {
    name: Arc<String>,
    scalar: &'static str,
    state: NumericMetricState,
    last: Option<f64>,
}

impl Gauge {
    /// The gauge of the scalar called `scalar`.
    pub fn new(scalar: &'static str) -> Self {
        Self {
            name: Arc::new(scalar.replace('_', " ")),
            scalar,
            state: NumericMetricState::default(),
            last: None,
        }
    }
}

impl Adaptor<Outcome> for Outcome {
    fn adapt(&self) -> Outcome {
        self.clone()
    }
}

impl Metric for Gauge {
    type Input = Outcome;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: self.scalar.contains("accuracy"),
        }
        .into()
    }

    fn update(&mut self, outcome: &Outcome, _metadata: &MetricMetadata) -> SerializedEntry {
        if let Some((_, value)) = outcome
            .scalars
            .iter()
            .find(|(name, _)| *name == self.scalar)
        {
            self.last = Some(*value);
        }
        // A round without this scalar (a warm-up has no flow loss) shows the last one.
        self.state.update(
            self.last.unwrap_or(0.0),
            1,
            FormatOptions::new(self.name()).precision(4),
        )
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for Gauge {
    fn value(&self) -> NumericEntry {
        self.state.current_value()
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_value()
    }
}

/// burn-train's own metric files are not written: `metrics.jsonl` has everything, and is the same
/// after a resume.
pub struct NoMetricFiles;

impl MetricLogger for NoMetricFiles {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}

/// A bar and the newest measurements on a terminal; for logs and pipes one line per tenth of a
/// minute at most.
pub struct PlainLines {
    bar: Option<ProgressBar>,
    names: HashMap<MetricId, String>,
    latest: BTreeMap<String, f64>,
    started: Instant,
    shown: Option<Instant>,
}

impl PlainLines {
    /// A fresh renderer.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let style = ProgressStyle::with_template(
            "round {pos}/{len} {wide_bar} {elapsed} gone, {eta} left\n{msg}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::new(0).with_style(style));
        Self {
            bar,
            names: HashMap::new(),
            latest: BTreeMap::new(),
            started: Instant::now(),
            shown: None,
        }
    }
}

impl MetricsRendererTraining for PlainLines {
    fn update_train(&mut self, state: MetricState) {
        if let MetricState::Numeric(entry, value) = state {
            let MetricEntry { metric_id, .. } = entry;
            let name = self.names.get(&metric_id).cloned().unwrap_or_default();
            self.latest.insert(name, value.current());
        }
    }

    fn update_valid(&mut self, _state: MetricState) {}

    fn render_train(&mut self, item: TrainingProgress, _indicators: Vec<ProgressType>) {
        let Progress {
            items_processed,
            items_total,
        } = item.global_progress;
        let values: Vec<String> = self
            .latest
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        let values = values.join("  ");
        if let Some(bar) = &self.bar {
            bar.set_length(items_total as u64);
            bar.set_position(items_processed as u64);
            bar.set_message(values);
            return;
        }
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed().as_secs() >= 6);
        if !due && items_processed != items_total {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs();
        note!("round {items_processed}/{items_total}  {seconds} s  {values}");
    }

    fn render_valid(&mut self, _item: TrainingProgress, _indicators: Vec<ProgressType>) {}
}

/// What is printed next begins on a line of its own.
impl Drop for PlainLines {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

impl MetricsRendererEvaluation for PlainLines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}

    fn render_test(&mut self, _item: EvaluationProgress, _indicators: Vec<ProgressType>) {}
}

impl MetricsRenderer for PlainLines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }
}

/// A loader without items: a round's data depends on the student of that round, so the method draws
/// it itself.
pub struct NoItems;

struct NoIterator<O>(std::marker::PhantomData<O>);

impl<O> Iterator for NoIterator<O> {
    type Item = O;

    fn next(&mut self) -> Option<O> {
        None
    }
}

impl<O> DataLoaderIterator<O> for NoIterator<O> {
    fn progress(&self) -> Progress {
        Progress::new(0, 0)
    }
}

impl<B: Backend, O: 'static> DataLoader<B, O> for NoItems {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        Box::new(NoIterator(std::marker::PhantomData))
    }

    fn num_items(&self) -> usize {
        0
    }

    fn to_device(&self, _device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(Self)
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(Self)
    }
}
