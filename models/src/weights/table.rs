//! The tensors of a model in one layout: which name and shape a file has for each of the module's
//! parameters.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::DType;

use super::check::{Offered, Shapes, problems};
use super::{HostTensor, Tensors, WeightFile, WeightsError, collect, fill};

/// A parameter in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name there.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
}

/// Parameter (Burn path) to tensor, one to one, for one model and one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rows: BTreeMap<String, Stored>,
}

impl Table {
    /// From (path, stored) pairs.
    pub fn new(rows: impl IntoIterator<Item = (String, Stored)>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
        }
    }

    /// All rows by path.
    pub fn rows(&self) -> &BTreeMap<String, Stored> {
        &self.rows
    }

    /// Names and shapes of the file's tensors.
    pub fn shapes(&self) -> Shapes {
        self.rows
            .values()
            .map(|stored| (stored.name.clone(), stored.shape.clone()))
            .collect()
    }

    /// Every way in which `file` differs from this table; none: it fits.
    pub fn problems(&self, file: &WeightFile) -> Vec<String> {
        let offer = |(name, entry): (&String, &super::file::Entry)| {
            (
                name.clone(),
                Offered {
                    name: name.clone(),
                    shape: entry.shape.clone(),
                    dtype: entry.dtype,
                },
            )
        };
        problems(
            &self.shapes(),
            &file.entries().iter().map(offer).collect(),
            str::to_string,
        )
    }

    /// Fills `module` from `file`, tensor by tensor; `arrange` turns a stored tensor into what the
    /// parameter at a path holds.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with every problem, before a value is read.
    pub fn load<B: Backend, M: Module<B>>(
        &self,
        module: M,
        file: &WeightFile,
        arrange: impl Fn(&str, HostTensor) -> HostTensor,
    ) -> Result<M, WeightsError> {
        let problems = self.problems(file);
        if !problems.is_empty() {
            return Err(WeightsError::Mismatch {
                origin: file.path().display().to_string(),
                problems,
            });
        }
        fill(
            module,
            |_| DType::F32,
            |path| match self.rows.get(path) {
                Some(stored) => Ok(arrange(path, file.read(&stored.name)?)),
                None => Err(WeightsError::Mismatch {
                    origin: file.path().display().to_string(),
                    problems: vec![format!(
                        "the parameter {path:?} is in no table: this is a mistake in afd, not in \
                            the file"
                    )],
                }),
            },
        )
    }

    /// A module's tensors as a file holds them; `arrange` is the inverse of [`Self::load`]'s and
    /// gets the stored shape too.
    pub fn store<B: Backend, M: Module<B>>(
        &self,
        module: &M,
        arrange: impl Fn(&Stored, HostTensor) -> HostTensor,
    ) -> Tensors {
        let rename = |(path, tensor): (String, HostTensor)| {
            self.rows
                .get(&path)
                .map(|stored| (stored.name.clone(), arrange(stored, tensor)))
        };
        collect(module).into_iter().filter_map(rename).collect()
    }
}
