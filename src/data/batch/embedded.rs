//! The embeddings of a recipe's prompts.

use std::collections::BTreeMap;

use afd_models::text::TextEncoder;
use burn::prelude::*;

use super::BatchError;
use crate::data::text;
use crate::recipe::Recipe;
use crate::recipe::tables::TextKind;

/// Prompts, encoded.
pub(super) struct Embedded {
    encoder: Box<dyn TextEncoder>,
    /// Embeddings of all prompts where they are word vectors; those of large encoders are megabytes
    /// each, and are read when they are asked for.
    known: BTreeMap<String, Vec<f32>>,
}

impl Embedded {
    /// Opens the recipe's text encoder, and tries every prompt before anything starts.
    pub fn of(recipe: &Recipe) -> Result<Self, BatchError> {
        let table = &recipe.settings.text;
        let encoder = text::reader(table, recipe.data())?;
        let [length, width] = encoder.shape();
        if [length, width] != [table.length, table.width] {
            return Err(BatchError::TextShape { length, width });
        }
        let mut known = BTreeMap::new();
        for prompt in recipe.train_prompts.iter().chain(&recipe.held_out_prompts) {
            let values = encoder.encode(prompt).map_err(BatchError::Text)?;
            if table.kind == TextKind::Words {
                known.insert(prompt.clone(), values);
            }
        }
        Ok(Self { encoder, known })
    }

    /// `[P * repeats, L, text_width]`, each prompt's repeats side by side.
    pub fn tensor<B: Backend>(
        &self,
        prompts: &[String],
        repeats: usize,
        device: &B::Device,
    ) -> Result<Tensor<B, 3>, BatchError> {
        let [length, width] = self.encoder.shape();
        let mut values = Vec::with_capacity(prompts.len() * repeats * length * width);
        for prompt in prompts {
            match self.known.get(prompt) {
                Some(known) => (0..repeats).for_each(|_| values.extend_from_slice(known)),
                None => {
                    let read = self.encoder.encode(prompt).map_err(BatchError::Text)?;
                    (0..repeats).for_each(|_| values.extend_from_slice(&read));
                }
            }
        }
        let shape = [prompts.len() * repeats, length, width];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}
