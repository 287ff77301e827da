//! How far a long job is.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::out::note;

/// A progress bar on a terminal, a line now and then elsewhere.
pub(super) struct Bar {
    what: &'static str,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Bar {
    /// Starts at nothing.
    pub fn new(what: &'static str) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::new(0).with_style(style).with_message(what));
        Self {
            what,
            bar,
            said: Instant::now(),
        }
    }

    /// Shows so many of so many.
    pub fn show(&mut self, done: usize, all: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
            None if done == all || self.said.elapsed().as_secs() >= 10 => {
                note!("{} {done} of {all}", self.what);
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Shows a number of which the end is not known.
    pub fn count(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(done);
                bar.set_position(done);
            }
            None if self.said.elapsed().as_secs() >= 10 => {
                note!("{} {done}", self.what);
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
