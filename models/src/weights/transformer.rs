//! A transformer out of a file in any layout, and a file in any layout out of another.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use burn::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::check::{Offered, Shapes, problems};
use super::file::WeightFile;
use super::float::from_f32;
use super::layout::{Found, Layout, find};
use super::{HostTensor, WeightsError, fill, wan};
use crate::precision::Precision;
use crate::student::{Student, StudentConfig};

/// A transformer in a file: which tensors there are, under Wan's names.
pub struct TransformerFile<'a> {
    file: &'a WeightFile,
    found: Found,
    offered: BTreeMap<String, Offered>,
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

    /// The sizes that most of the tensors agree on (see [`wan::sizes`]).
    pub fn sizes(&self) -> Option<StudentConfig> {
        let shapes: Shapes = self
            .offered
            .iter()
            .map(|(name, offered)| (name.clone(), offered.shape.clone()))
            .collect();
        wan::sizes(&shapes)
    }

    /// Every way in which the file is not a transformer of these sizes; none: it is one.
    pub fn problems(&self, config: &StudentConfig) -> Vec<String> {
        // A missing tensor is named as the others of the file are.
        let prefix = self
            .offered
            .iter()
            .find_map(|(wan, offered)| offered.name.strip_suffix(&self.found.layout.name(wan)));
        let prefix = prefix.unwrap_or_default();
        problems(&wan::shapes(config), &self.offered, |name| {
            format!("{prefix}{}", self.found.layout.name(name))
        })
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
    /// anything is written; what `out` refuses.
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
        let unwritable = |reason: &dyn std::fmt::Display| WeightsError::Write {
            reason: reason.to_string(),
        };
        let header =
            Metadata::new(Some(metadata), infos.collect()).map_err(|error| unwritable(&error))?;
        let mut header = serde_json::to_vec(&header).map_err(|error| unwritable(&error))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut write = |bytes: &[u8]| -> Result<(), WeightsError> {
            out.write_all(bytes)
                .map_err(|error: io::Error| unwritable(&error))
        };
        write(&(header.len() as u64).to_le_bytes())?;
        write(&header)?;
        for (_, wan, from) in &tensors {
            match change(wan, &|| self.file.read(from))? {
                Some(changed) => write(&from_f32(changed.values.into_iter(), stored(from)))?,
                None if stored(from) == entry(from).dtype => {
                    self.file.with_bytes(from, &mut write)??
                }
                None => write(&from_f32(
                    self.file.read(from)?.values.into_iter(),
                    stored(from),
                ))?,
            }
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
mod tests {
    use burn::backend::NdArray;

    use super::super::Pickles;
    use super::super::collect;
    use super::super::file::tests::sparse;
    use super::super::tests::tiny;
    use super::*;
    use crate::init::initialise;

    /// A header without values under the names that `naming` gives to Wan's.
    fn header_only(
        directory: &std::path::Path,
        shapes: &Shapes,
        naming: impl Fn(&str) -> String,
    ) -> WeightFile {
        let path = directory.join("weights.safetensors");
        let tensors: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| (naming(name), Dtype::BF16, shape.clone()))
            .collect();
        sparse(&path, &tensors);
        WeightFile::open(&path, Pickles::Refused).unwrap()
    }

    #[test]
    fn the_table_of_shapes_is_the_module_s_own() {
        let student = initialise(
            Student::<NdArray>::new(&tiny(), &Default::default()),
            5,
            "student",
        );
        let own: Shapes = wan::to_wan(&collect(&student), tiny().patch)
            .into_iter()
            .map(|(name, tensor)| (name, tensor.shape))
            .collect();
        assert_eq!(wan::shapes(&tiny()), own);
    }

    #[test]
    fn a_full_size_header_is_accepted_in_every_layout_and_each_odd_tensor_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = StudentConfig::wan_1_3b();
        let full = wan::shapes(&wanted);
        // docs/method.md B.1.
        assert_eq!(
            (
                full.len(),
                full.values()
                    .map(|shape| shape.iter().product::<usize>())
                    .sum()
            ),
            (825, 1_418_996_800)
        );
        let self_forcing = |name: &str| format!("generator_ema.model._fsdp_wrapped_module.{name}");
        type Naming<'a> = &'a dyn Fn(&str) -> String;
        let namings: [(&str, Naming); 4] = [
            ("wan", &|name| name.to_string()),
            ("diffusers", &|name| Layout::Diffusers.name(name)),
            ("self-forcing", &self_forcing),
            ("comfyui", &|name| format!("model.diffusion_model.{name}")),
        ];
        for (layout, naming) in namings {
            let file = header_only(directory.path(), &full, naming);
            let transformer = TransformerFile::find(&file, None).unwrap();
            assert_eq!(transformer.sizes(), Some(wanted.clone()), "{layout}");
            assert_eq!(
                transformer.problems(&wanted),
                Vec::<String>::new(),
                "{layout}"
            );

            // One renamed, one missing, one transposed; also those that the sizes are read from.
            for (renamed, missing, transposed) in [
                (
                    "blocks.7.self_attn.norm_q.weight",
                    "blocks.29.ffn.2.bias",
                    "blocks.3.ffn.0.weight",
                ),
                (
                    "patch_embedding.weight",
                    "blocks.0.ffn.0.bias",
                    "text_embedding.0.weight",
                ),
            ] {
                let mut odd = full.clone();
                odd.remove(missing);
                let shape = odd.remove(renamed).unwrap();
                odd.get_mut(transposed).unwrap().reverse();
                let misspelt = renamed.replace("weight", "wieght");
                odd.insert(misspelt.clone(), shape);
                let naming = |name: &str| {
                    if name == misspelt {
                        naming(renamed).replace("weight", "wieght")
                    } else {
                        naming(name)
                    }
                };
                let file = header_only(directory.path(), &odd, naming);
                let transformer = TransformerFile::find(&file, None).unwrap();
                let sizes = transformer.sizes().unwrap();
                assert_eq!(sizes, wanted, "{layout}");
                let problems = transformer.problems(&sizes);
                assert_eq!(problems.len(), 4, "{layout}: {problems:?}");
                let named = |name: &str, what: &str| {
                    problems
                        .iter()
                        .any(|problem| problem.contains(&format!("{name:?} {what}")))
                };
                assert!(
                    named(&naming(missing), "is missing"),
                    "{layout}: {problems:?}"
                );
                assert!(
                    named(&naming(renamed), "is missing; the nearest one there is"),
                    "{layout}: {problems:?}"
                );
                assert!(
                    named(
                        &naming(&misspelt),
                        "is unexpected; the nearest missing one is"
                    ),
                    "{layout}: {problems:?}"
                );
                assert!(
                    named(&naming(transposed), "has shape"),
                    "{layout}: {problems:?}"
                );
                assert!(
                    problems
                        .iter()
                        .any(|problem| problem.ends_with("it is transposed")),
                    "{layout}: {problems:?}"
                );
                let error = transformer
                    .load::<NdArray>(&sizes, Precision::F32, &Default::default())
                    .unwrap_err()
                    .to_string();
                assert!(error.contains(&naming(missing)), "{error}");
            }
        }
    }

    #[test]
    fn a_transformer_survives_every_layout_bit_for_bit() {
        let directory = tempfile::tempdir().unwrap();
        let student = initialise(
            Student::<NdArray>::new(&tiny(), &Default::default()),
            5,
            "student",
        );
        let tensors = wan::to_wan(&collect(&student), tiny().patch);
        let mut path = directory.path().join("0.safetensors");
        std::fs::write(
            &path,
            super::super::to_bytes(&tensors, &BTreeMap::new()).unwrap(),
        )
        .unwrap();
        for (step, layout) in [Layout::Diffusers, Layout::Wan, Layout::Diffusers]
            .into_iter()
            .enumerate()
        {
            let file = WeightFile::open(&path, Pickles::Refused).unwrap();
            let mut bytes = Vec::new();
            TransformerFile::find(&file, None)
                .unwrap()
                .export(&tiny(), layout, None, |_, _| Ok(None), &mut bytes)
                .unwrap();
            path = directory.path().join(format!("{}.safetensors", step + 1));
            std::fs::write(&path, bytes).unwrap();
        }
        let file = WeightFile::open(&path, Pickles::Refused).unwrap();
        assert!(
            file.entries()
                .contains_key("condition_embedder.time_proj.bias")
        );
        let loaded = TransformerFile::find(&file, None)
            .unwrap()
            .load::<NdArray>(&tiny(), Precision::F32, &Default::default())
            .unwrap();
        assert_eq!(collect(&loaded), collect(&student));
    }
}
