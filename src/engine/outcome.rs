//! What a step measured.

use burn::train::ItemLazy;

/// Scalars by name; the first is the loss.
pub type Scalars = Vec<(&'static str, f64)>;

/// Scalars that a step measured, by name.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Name and value; the first is the loss.
    pub scalars: Scalars,
}

impl Outcome {
    /// Adds a part's scalars, weighted by its share of the whole.
    pub fn add(&mut self, scalars: Scalars, share: f64) {
        for (name, value) in scalars {
            match self.scalars.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += share * value,
                None => self.scalars.push((name, share * value)),
            }
        }
    }
}

impl ItemLazy for Outcome {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}
