//! Weight files, opened without reading the weights: one safetensors file, the shards of an index,
//! or what torch.save wrote.

mod directory;
mod parts;
mod strided;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use memmap2::MmapOptions;
use safetensors::tensor::Dtype;

pub use directory::pointed_at;

use super::float::{NotFinite, not_finite, to_f32};
use super::{HostTensor, WeightsError};

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
    /// Size of the values, row by row.
    pub bytes: usize,
    place: Place,
}

/// Where the values of a tensor lie.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    /// Number of the file.
    file: usize,
    /// Where they begin in it.
    start: u64,
    /// From their first byte to their last one.
    span: usize,
    /// Steps of each dimension in values, where they do not lie row by row.
    strides: Option<Vec<usize>>,
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
    /// holds one or the other, a run or a checkpoint of this program (its student), or, where they
    /// are allowed, a `.pt` file.
    ///
    /// # Errors
    /// A path that cannot be read or is no ordinary file, a header that is damaged or does not fit
    /// its file, shards and index that contradict each other, a pickle that is not allowed or not
    /// understood.
    pub fn open(path: &Path, pickles: Pickles) -> Result<Self, WeightsError> {
        let path = directory::file_of(path)?;
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
                return Err(WeightsError::read(
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
                    WeightsError::read(&self.path, format!("its metadata is damaged: {error}"))
                })
            })
    }

    /// The values of a tensor (little endian, row-major) as the file has them, through a memory map
    /// that ends with the call. Whether they are finite is not looked at.
    ///
    /// # Errors
    /// [`WeightsError::Read`] for a name that the file lacks, and where it cannot be mapped.
    pub fn with_bytes<R>(
        &self,
        name: &str,
        work: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, WeightsError> {
        let Some(entry) = self.entries.get(name) else {
            let reason = format!("it has no tensor {name:?}");
            return Err(WeightsError::read(&self.path, reason));
        };
        if entry.bytes == 0 {
            return Ok(work(&[]));
        }
        let place = &entry.place;
        let (path, file) = &self.files[place.file];
        // SAFETY: the map is read-only and lives for this call. Another process that cut the file
        // short meanwhile would end this one with SIGBUS, as it would any other program that maps
        // weights; the header was checked against the length at opening.
        let map = unsafe {
            MmapOptions::new()
                .offset(place.start)
                .len(place.span)
                .map(file)
        };
        let map = map.map_err(|error| WeightsError::read(path, error.to_string()))?;
        Ok(match &place.strides {
            None => work(&map),
            Some(strides) => work(&strided::row_by_row(
                &map,
                entry.dtype.bitsize() / 8,
                &entry.shape,
                strides,
            )),
        })
    }

    /// [`WeightFile::with_bytes`] of values that are all finite in f32.
    ///
    /// # Errors
    /// Those of [`WeightFile::with_bytes`]; [`WeightsError::NotFinite`].
    pub fn with_finite_bytes<R>(
        &self,
        name: &str,
        work: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, WeightsError> {
        let Some(entry) = self.entries.get(name) else {
            return self.with_bytes(name, work);
        };
        self.with_bytes(name, |bytes| match not_finite(bytes, entry.dtype) {
            None => Ok(work(bytes)),
            Some(found) => {
                let path = &self.files[entry.place.file].0;
                Err(WeightsError::not_finite(path, name, &entry.shape, found))
            }
        })?
    }

    /// Which values of a tensor are not finite in f32, if any; reads all of them.
    ///
    /// # Errors
    /// Those of [`WeightFile::with_bytes`].
    pub fn not_finite(&self, name: &str) -> Result<Option<NotFinite>, WeightsError> {
        let dtype = self
            .entries
            .get(name)
            .map_or(Dtype::U8, |entry| entry.dtype);
        self.with_bytes(name, |bytes| not_finite(bytes, dtype))
    }

    /// The values of a tensor as f32; bf16 and f16 are cast exactly, f64 is rounded to nearest.
    ///
    /// # Errors
    /// [`WeightsError::Read`] for a name that the file lacks, for other types, and where the file
    /// cannot be read; [`WeightsError::NotFinite`].
    pub fn read(&self, name: &str) -> Result<HostTensor, WeightsError> {
        let (shape, dtype) = match self.entries.get(name) {
            Some(entry) => (entry.shape.clone(), entry.dtype),
            None => (Vec::new(), Dtype::F32),
        };
        match self.with_finite_bytes(name, |bytes| to_f32(bytes, dtype))? {
            Some(values) => Ok(HostTensor { shape, values }),
            None => Err(WeightsError::read(
                &self.path,
                format!("tensor {name:?} has type {dtype:?}, expected F64, F32, BF16 or F16"),
            )),
        }
    }
}

/// Opens what is an ordinary file: a pipe would wait for its writer for ever.
fn open_ordinary(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no ordinary file",
        ));
    }
    File::open(path)
}

/// The text of an ordinary file of at most `most` bytes.
pub(crate) fn small_text(path: &Path, most: u64) -> io::Result<String> {
    let file = open_ordinary(path)?;
    let bytes = file.metadata()?.len();
    if bytes > most {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it has {bytes} bytes, expected at most {most}"),
        ));
    }
    let text = io::read_to_string(io::Read::take(file, most))?;
    // What some editors put before the text.
    Ok(text.trim_start_matches('\u{feff}').to_string())
}

#[cfg(test)]
pub(super) mod tests;
