//! A phase of a round, and what it holds.

use serde::Serialize;

use super::transformer::Flops;

/// Something that takes memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub what: String,
    /// How large it is.
    pub bytes: u64,
}

/// Rounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounds {
    /// Supervised updates before the warm-up.
    Start,
    /// Those of the warm-up, not the ones after it.
    WarmUp,
    /// Those of the warm-up too.
    All,
    /// Those after the warm-up.
    Later,
}

/// A phase of a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// The rounds that it is part of.
    pub rounds: Rounds,
    /// What it holds besides what is always held.
    pub parts: Vec<Part>,
    /// Floating-point operations of a round.
    pub flops: Flops,
}

impl Phase {
    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// A part.
pub(super) fn part(what: impl Into<String>, bytes: u64) -> Part {
    Part {
        what: what.into(),
        bytes,
    }
}
