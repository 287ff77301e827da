//! What a weight file is made of: headers of safetensors, indices of shards, pickles.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::{Entry, Place, WeightFile, open_ordinary, small_text};
use crate::weights::{WeightsError, pickle};

/// What a header or an index may measure, in bytes; the largest real ones are far below.
const LARGEST_HEADER: u64 = 100_000_000;

impl WeightFile {
    pub(super) fn add_pickle(&mut self, path: PathBuf) -> Result<(), WeightsError> {
        let fail = |reason: String| WeightsError::read(&path, reason);
        let file = open_ordinary(&path).map_err(|error| fail(error.to_string()))?;
        let total = file
            .metadata()
            .map_err(|error| fail(error.to_string()))?
            .len();
        for (name, pickled) in pickle::tensors(&file).map_err(|error| fail(error.to_string()))? {
            let (start, end) = (pickled.place.start, pickled.place.end);
            if end > total {
                return Err(fail(format!(
                    "the values of tensor {name:?} end at byte {end} of {total}"
                )));
            }
            let count: usize = pickled.shape.iter().product();
            let entry = Entry {
                dtype: pickled.dtype,
                shape: pickled.shape,
                bytes: count * pickled.dtype.bitsize() / 8,
                place: Place {
                    file: 0,
                    start,
                    span: (end - start) as usize,
                    strides: pickled.strides,
                },
            };
            self.entries.insert(name, entry);
        }
        self.files.push((path, file));
        Ok(())
    }

    pub(super) fn add_shards(&mut self) -> Result<(), WeightsError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let path = self.path.clone();
        let fail = |reason: String| WeightsError::read(&path, reason);
        let text = small_text(&path, LARGEST_HEADER).map_err(|error| fail(error.to_string()))?;
        let index: Index = serde_json::from_str(&text).map_err(|error| {
            fail(format!(
                "{error}; expected an index with a weight_map from tensor to file"
            ))
        })?;
        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in &shards {
            // An index names files beside it, nothing else.
            if shard.contains(['/', '\\']) || shard.as_str() == ".." {
                return Err(fail(format!(
                    "it names the shard {shard:?}, expected a file name without directories"
                )));
            }
            self.add_file(path.with_file_name(shard))?;
        }
        for (tensor, shard) in &index.weight_map {
            let name_of = |entry: &Entry| {
                self.files[entry.place.file]
                    .0
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            };
            let held_by = self.entries.get(tensor).map(name_of);
            if held_by.as_ref() != Some(shard) {
                let where_it_is = held_by.map_or("no shard has it".to_string(), |held_by| {
                    format!("{held_by:?} has it")
                });
                return Err(fail(format!(
                    "it says that tensor {tensor:?} is in {shard:?}, but {where_it_is}"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn add_file(&mut self, path: PathBuf) -> Result<(), WeightsError> {
        let fail = |reason: String| WeightsError::read(&path, reason);
        let mut file = open_ordinary(&path).map_err(|error| fail(error.to_string()))?;
        let total = file
            .metadata()
            .map_err(|error| fail(error.to_string()))?
            .len();
        let damaged = |what: String| fail(format!("{what}; expected a complete safetensors file"));
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| damaged(format!("it has {total} bytes")))?;
        let header_length = u64::from_le_bytes(length);
        // Never allocate what a damaged file asks for.
        if header_length > LARGEST_HEADER || header_length > total.saturating_sub(8) {
            return Err(damaged(format!(
                "its header claims {header_length} bytes of {total}"
            )));
        }
        let mut header = Vec::new();
        file.by_ref()
            .take(header_length)
            .read_to_end(&mut header)
            .map_err(|error| fail(error.to_string()))?;
        let parsed: Metadata =
            serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
        let (start, held) = (8 + header_length, total - 8 - header_length);
        if parsed.data_len() as u64 != held {
            return Err(damaged(format!(
                "its header describes {} bytes of values and {held} are there",
                parsed.data_len()
            )));
        }
        for (name, info) in parsed.tensors() {
            let (from, to) = info.data_offsets;
            let entry = Entry {
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: to - from,
                place: Place {
                    file: self.files.len(),
                    start: start + from as u64,
                    span: to - from,
                    strides: None,
                },
            };
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(fail(format!("tensor {name:?} is in another shard too")));
            }
        }
        self.metadata
            .extend(parsed.metadata().clone().unwrap_or_default());
        self.files.push((path, file));
        Ok(())
    }
}
