//! Weight files, opened without reading the weights: one safetensors file, the shards of an index,
//! or what torch.save wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use memmap2::MmapOptions;
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::float::to_f32;
use super::{HostTensor, WeightsError, pickle};

/// What a header may measure, in bytes; the largest real ones are far below.
const LARGEST_HEADER: u64 = 100_000_000;

/// Endings of files that torch.save writes.
const PICKLES: [&str; 4] = [".pt", ".pth", ".ckpt", ".bin"];

/// Whether files that torch.save wrote may be read. No code in them is run either way, but a pickle
/// is not the place to look for weights unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pickles {
    /// Only safetensors.
    Refused,
    /// What torch.save wrote too.
    Allowed,
}

/// Name, type, shape and place of one tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Type of the values.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Size of the values in the file.
    pub bytes: usize,
    /// Number of the file, and where the values begin in it.
    place: (usize, u64),
}

impl Entry {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An open file or set of shards: all names, types and shapes, no values yet.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    files: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl WeightFile {
    /// Opens a `.safetensors` file, a `*.safetensors.index.json` with its shards, a directory that
    /// holds one or the other, or, where they are allowed, a `.pt` file.
    ///
    /// # Errors
    /// A path that cannot be read, a header that is damaged or does not fit its file, shards and
    /// index that contradict each other, a pickle that is not allowed or not understood.
    pub fn open(path: &Path, pickles: Pickles) -> Result<Self, WeightsError> {
        let path = if path.is_dir() {
            inside(path)?
        } else {
            path.to_path_buf()
        };
        let mut opened = Self {
            path: path.clone(),
            files: Vec::new(),
            entries: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        if path.to_string_lossy().ends_with(".index.json") {
            opened.add_shards()?;
        } else if PICKLES
            .iter()
            .any(|ending| path.to_string_lossy().ends_with(ending))
        {
            if pickles == Pickles::Refused {
                return Err(read_error(
                    &path,
                    "it is a Python pickle, which is read only when asked for (--allow-pickle); \
                        expected safetensors",
                ));
            }
            opened.add_pickle(path)?;
        } else {
            opened.add_file(path)?;
        }
        Ok(opened)
    }

    /// The file, or the index of its shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the values.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// All tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The metadata that the header carries, all shards' together.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What this program wrote into the header beside the tensors: one JSON text, because a map's
    /// order would differ from run to run.
    ///
    /// # Errors
    /// [`WeightsError::Read`] for text that is not what this program writes.
    pub fn own_metadata(&self) -> Result<BTreeMap<String, String>, WeightsError> {
        self.metadata
            .get(super::METADATA_KEY)
            .map_or(Ok(BTreeMap::new()), |text| {
                serde_json::from_str(text).map_err(|error| {
                    read_error(&self.path, format!("its metadata is damaged: {error}"))
                })
            })
    }

    /// The values of a tensor as they lie in the file (little endian, row-major), through a memory
    /// map that ends with the call.
    ///
    /// # Errors
    /// [`WeightsError::Read`] for a name that the file lacks, and where it cannot be mapped.
    pub fn with_bytes<R>(
        &self,
        name: &str,
        work: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, WeightsError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(read_error(&self.path, format!("it has no tensor {name:?}")));
        };
        if entry.bytes == 0 {
            return Ok(work(&[]));
        }
        let (number, offset) = entry.place;
        let (path, file) = &self.files[number];
        // SAFETY: the map is read-only and lives for this call. Another process that cut the file
        // short meanwhile would end this one with SIGBUS, as it would any other program that maps
        // weights; the header was checked against the length at opening.
        let map = unsafe { MmapOptions::new().offset(offset).len(entry.bytes).map(file) };
        map.map(|map| work(&map))
            .map_err(|error| read_error(path, error.to_string()))
    }

    /// The values of a tensor as f32; bf16 and f16 are cast exactly.
    ///
    /// # Errors
    /// [`WeightsError::Read`] for a name that the file lacks, for other types, and where the file
    /// cannot be read.
    pub fn read(&self, name: &str) -> Result<HostTensor, WeightsError> {
        let (shape, dtype) = match self.entries.get(name) {
            Some(entry) => (entry.shape.clone(), entry.dtype),
            None => (Vec::new(), Dtype::F32),
        };
        match self.with_bytes(name, |bytes| to_f32(bytes, dtype))? {
            Some(values) => Ok(HostTensor { shape, values }),
            None => Err(read_error(
                &self.path,
                format!("tensor {name:?} has type {dtype:?}, expected F32, BF16 or F16"),
            )),
        }
    }

    fn add_pickle(&mut self, path: PathBuf) -> Result<(), WeightsError> {
        let file = File::open(&path).map_err(|error| read_error(&path, error.to_string()))?;
        let total = file
            .metadata()
            .map_err(|error| read_error(&path, error.to_string()))?
            .len();
        for (name, pickled) in
            pickle::tensors(&file).map_err(|error| read_error(&path, error.to_string()))?
        {
            if pickled.place.end > total {
                return Err(read_error(
                    &path,
                    format!(
                        "the values of tensor {name:?} end at byte {} of {total}",
                        pickled.place.end
                    ),
                ));
            }
            let (offset, bytes) = (
                pickled.place.start,
                (pickled.place.end - pickled.place.start) as usize,
            );
            self.entries.insert(
                name,
                Entry {
                    dtype: pickled.dtype,
                    shape: pickled.shape,
                    bytes,
                    place: (0, offset),
                },
            );
        }
        self.files.push((path, file));
        Ok(())
    }

    fn add_shards(&mut self) -> Result<(), WeightsError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let path = self.path.clone();
        let text =
            std::fs::read_to_string(&path).map_err(|error| read_error(&path, error.to_string()))?;
        let index: Index = serde_json::from_str(&text).map_err(|error| {
            read_error(
                &path,
                format!("{error}; expected an index with a weight_map from tensor to file"),
            )
        })?;
        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in &shards {
            // An index names files beside it, nothing else.
            if shard.contains(['/', '\\']) || shard.as_str() == ".." {
                return Err(read_error(
                    &path,
                    format!(
                        "it names the shard {shard:?}, expected a file name without directories"
                    ),
                ));
            }
            self.add_file(path.with_file_name(shard))?;
        }
        for (tensor, shard) in &index.weight_map {
            let name_of = |entry: &Entry| {
                self.files[entry.place.0]
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
                return Err(read_error(
                    &path,
                    format!("it says that tensor {tensor:?} is in {shard:?}, but {where_it_is}"),
                ));
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), WeightsError> {
        let fail = |reason: String| read_error(&path, reason);
        let mut file = File::open(&path).map_err(|error| fail(error.to_string()))?;
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
        if header_length > LARGEST_HEADER || header_length > total - 8 {
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
            let place = (self.files.len(), start + from as u64);
            let entry = Entry {
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: to - from,
                place,
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

/// The index or the only weight file of a directory.
fn inside(directory: &Path) -> Result<PathBuf, WeightsError> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| read_error(directory, error.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    let ending = |ending: &str| {
        files
            .iter()
            .filter(|file| file.to_string_lossy().ends_with(ending))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (indices, singles) = (ending(".safetensors.index.json"), ending(".safetensors"));
    match (&indices[..], &singles[..]) {
        ([index], _) => Ok(index.clone()),
        ([], [single]) => Ok(single.clone()),
        _ => Err(read_error(
            directory,
            format!(
                "the directory has {} indices and {} safetensors files, expected one index or one \
                    file; name the file itself",
                indices.len(),
                singles.len()
            ),
        )),
    }
}

fn read_error(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Read {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

#[cfg(test)]
pub(super) mod tests;
