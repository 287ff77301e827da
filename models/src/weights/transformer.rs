//! A transformer out of a file in any layout, and a file in any layout out of another.

mod facts;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;

use burn::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::check::{Offered, Shapes, problems};
use super::file::WeightFile;
use super::float::{from_f32, not_finite};
use super::layout::{Found, Layout, find};
use super::{HostTensor, WeightsError, fill, wan};
use crate::precision::Precision;
use crate::student::{Student, StudentConfig};

use facts::Facts;

/// A transformer in a file: which tensors there are, under Wan's names.
pub struct TransformerFile<'a> {
    file: &'a WeightFile,
    found: Found,
    offered: BTreeMap<String, Offered>,
    /// What lies beside the file.
    facts: Facts,
}

impl<'a> TransformerFile<'a> {
    /// Finds the transformer in `file`; `part` chooses among a training checkpoint's
    /// (`generator_ema` first, unless told).
    ///
    /// # Errors
    /// A part that is not there; two names that mean the same tensor.
    pub fn find(file: &'a WeightFile, part: Option<&str>) -> Result<Self, WeightsError> {
        let found = find(
            file.entries().keys().map(String::as_str),
            part,
            &file.path().display().to_string(),
        )?;
        let offered = found
            .names
            .iter()
            .map(|(wan, name)| {
                let entry = &file.entries()[name];
                (
                    wan.clone(),
                    Offered {
                        name: name.clone(),
                        shape: entry.shape.clone(),
                        dtype: entry.dtype,
                    },
                )
            })
            .collect();
        Ok(Self {
            file,
            found,
            offered,
            facts: Facts::of(file),
        })
    }

    /// Layout, part and names.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Whether most of the names are a transformer's.
    pub fn is_recognised(&self) -> bool {
        let known = self
            .offered
            .keys()
            .filter(|name| Layout::Wan.wan_name(name).is_some())
            .count();
        2 * known > self.offered.len()
    }

    /// The sizes that most of the tensors agree on (see [`wan::sizes`]); heads as this program
    /// wrote them into the header or as config.json beside the file has them.
    pub fn sizes(&self) -> Option<StudentConfig> {
        let shapes: Shapes = self
            .offered
            .iter()
            .map(|(name, offered)| (name.clone(), offered.shape.clone()))
            .collect();
        let sizes = wan::sizes(&shapes)?;
        let told = self.facts.heads.as_ref().map(|(heads, _)| *heads);
        Some(StudentConfig {
            heads: told.unwrap_or(sizes.heads),
            ..sizes
        })
    }

    /// Where the head count of [`TransformerFile::sizes`] is from, in words; `None` where nothing
    /// tells it, and it is a guess.
    pub fn heads_source(&self, sizes: &StudentConfig) -> Option<String> {
        match &self.facts.heads {
            Some((_, source)) => Some(source.clone()),
            None if sizes.head_width() == wan::HEAD_WIDTH => Some(format!(
                "assumed: {} channels each, as in every Wan",
                wan::HEAD_WIDTH
            )),
            None => None,
        }
    }

    /// Every way in which the file is not a transformer of these sizes; none: it is one.
    pub fn problems(&self, config: &StudentConfig) -> Vec<String> {
        // A missing tensor is named as the others of the file are.
        let prefix = self
            .offered
            .iter()
            .find_map(|(wan, offered)| offered.name.strip_suffix(&self.found.layout.name(wan)));
        let prefix = prefix.unwrap_or_default();
        let mut problems = problems(&wan::shapes(config), &self.offered, |name| {
            format!("{prefix}{}", self.found.layout.name(name))
        });
        problems.extend(self.facts.problems(config));
        problems
    }

    /// The student with these weights, read tensor by tensor and held as `precision` has frozen
    /// ones.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with all problems, before anything is read.
    pub fn load<B: Backend>(
        &self,
        config: &StudentConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Student<B>, WeightsError> {
        self.fits(config)?;
        let dtype = |path: &str| precision.frozen_dtype(path);
        fill(Student::new(config, device), dtype, |path| {
            let name = wan::name_of(path);
            Ok(wan::to_burn(
                &name,
                self.file.read(&self.offered[&name].name)?,
            ))
        })
    }

    /// Writes the transformer as a safetensors file in `layout`, tensor by tensor: the same values
    /// under other names, but for those tensors (by Wan's names) that `change` gives others. Each
    /// is in the type that it had, or all are in `dtype` (f32, bf16 or f16), rounded to nearest.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] if it is not a complete transformer of these sizes, before
    /// anything is written; values that are not finite, before or after; what `out` refuses.
    pub fn export(
        &self,
        config: &StudentConfig,
        layout: Layout,
        dtype: Option<Dtype>,
        mut change: impl FnMut(
            &str,
            &dyn Fn() -> Result<HostTensor, WeightsError>,
        ) -> Result<Option<HostTensor>, WeightsError>,
        out: &mut impl Write,
    ) -> Result<(), WeightsError> {
        self.fits(config)?;
        let mut tensors: Vec<(String, &str, &str)> = self
            .offered
            .iter()
            .map(|(wan, offered)| (layout.name(wan), &wan[..], &offered.name[..]))
            .collect();
        let entry = |name: &str| &self.file.entries()[name];
        let stored = |name: &str| dtype.unwrap_or(entry(name).dtype);
        // Larger types first keeps every value aligned, as the format asks.
        tensors.sort_by_key(|(name, _, from)| (Reverse(stored(from).bitsize()), name.clone()));
        let mut end = 0;
        let infos = tensors.iter().map(|(name, _, from)| {
            let (shape, start) = (entry(from).shape.clone(), end);
            end += shape.iter().product::<usize>() * stored(from).bitsize() / 8;
            (
                name.clone(),
                TensorInfo {
                    dtype: stored(from),
                    shape,
                    data_offsets: (start, end),
                },
            )
        });
        // Readers of PyTorch files look for "pt".
        let metadata = [("format".to_string(), "pt".to_string())].into();
        let header = Metadata::new(Some(metadata), infos.collect()).map_err(WeightsError::write)?;
        let mut header = serde_json::to_vec(&header).map_err(WeightsError::write)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut write = |bytes: &[u8]| out.write_all(bytes).map_err(WeightsError::write);
        write(&(header.len() as u64).to_le_bytes())?;
        write(&header)?;
        for (_, wan, from) in &tensors {
            let values = match change(wan, &|| self.file.read(from))? {
                Some(changed) => changed.values,
                None if stored(from) == entry(from).dtype => {
                    self.file.with_finite_bytes(from, &mut write)??;
                    continue;
                }
                None => self.file.read(from)?.values,
            };
            let bytes = from_f32(values.into_iter(), stored(from));
            if let Some(found) = not_finite(&bytes, stored(from)) {
                return Err(WeightsError::write(format!(
                    "tensor {from:?} of {} is not finite once it is merged and rounded to {}: {} \
                        of its values, the first is {:e}",
                    self.file.path().display(),
                    stored(from),
                    found.count,
                    found.value
                )));
            }
            write(&bytes)?;
        }
        Ok(())
    }

    fn fits(&self, config: &StudentConfig) -> Result<(), WeightsError> {
        let problems = self.problems(config);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(WeightsError::Mismatch {
                origin: self.file.path().display().to_string(),
                problems,
            })
        }
    }
}

#[cfg(test)]
mod tests;
