//! The tensors that a file written by `torch.save` describes, without running any code in it.
//!
//! A pickle is a program for a small stack machine. This one knows the instructions that
//! dictionaries of tensors are made of and four functions, none of which does anything but describe
//! a tensor; every other call, and whatever is built from it, is set aside. burn-store's own reader
//! is not used: it returns zeros for values that a damaged file lacks and allocates the lengths
//! that it claims.

mod code;
mod describe;
mod legacy;
mod machine;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::Range;

use safetensors::tensor::Dtype;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use code::Code;
use machine::{DEEPEST, MOST_ENTRIES, MOST_MEMORY, Machine};
use value::Object;

/// Bytes of a program, so that a hostile file gets no more: that of a thousand tensors is below 1
/// MB.
const LARGEST_PROGRAM: u64 = 8 << 20;

/// A tensor of the file: type, shape, and where its values lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Pickled {
    /// Type of the values.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Bytes of the file from the first value's to the last one's, little endian.
    pub place: Range<u64>,
    /// Steps of each dimension in values, where they do not lie row by row.
    pub strides: Option<Vec<usize>>,
}

/// Why a file of torch.save cannot be used: it is damaged, or not understood.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// It is no zip archive.
    #[error("{0}; expected a file of torch.save (PyTorch 1.6 or newer)")]
    Archive(#[source] ZipError),
    /// A member of the archive is damaged.
    #[error(transparent)]
    Member(#[from] ZipError),
    /// The program cannot be read.
    #[error(transparent)]
    Program(#[from] std::io::Error),
    /// A member is compressed.
    #[error("its member {name:?} is compressed, which torch.save never does")]
    Compressed {
        /// The member.
        name: String,
    },
    /// A member has no place in the file.
    #[error("its member {name:?} has no data")]
    NoData {
        /// The member.
        name: String,
    },
    /// The program is larger than any checkpoint's.
    #[error(
        "its data.pkl has {bytes} bytes, more than the {LARGEST_PROGRAM} that any checkpoint needs"
    )]
    LargeProgram {
        /// Its size.
        bytes: u64,
    },
    /// Values are not little endian.
    #[error("its values are in the byte order {order:?}, expected little")]
    ByteOrder {
        /// What the file says.
        order: String,
    },
    /// There is no program.
    #[error("it has no data.pkl; expected a file of torch.save (PyTorch 1.6 or newer)")]
    NoProgram,
    /// There is no tensor in the dictionaries.
    #[error(
        "it holds no dictionary of tensors{instead}; save one with torch.save(model.state_dict(), \
            ...)"
    )]
    NoTensors {
        /// What is there instead, after a comma.
        instead: String,
    },
    /// A tensor says its values several times.
    #[error(
        "tensor {name:?} {shape:?} repeats values of its storage {key:?} (strides {strides:?}); \
            save it as contiguous"
    )]
    Repeats {
        /// The tensor.
        name: String,
        /// Its dimensions.
        shape: Vec<usize>,
        /// Steps of each dimension in values.
        strides: Vec<usize>,
        /// The storage.
        key: String,
    },
    /// The values that follow an old file's programs are cut short.
    #[error("the values of its storage {key:?} end at byte {end} of {total}")]
    Short {
        /// The storage.
        key: String,
        /// Where its values would end.
        end: u128,
        /// Bytes of the file.
        total: u64,
    },
    /// An old file's programs are not what torch.save writes.
    #[error("its {part} is not what torch.save writes; the file is damaged")]
    Old {
        /// Which of its programs.
        part: &'static str,
    },
    /// A tensor has more values than can be counted.
    #[error("tensor {name:?} has the impossible shape {shape:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions.
        shape: Vec<usize>,
    },
    /// The values of a tensor are missing.
    #[error("tensor {name:?} is in the storage {key:?}, which is not there")]
    NoStorage {
        /// The tensor.
        name: String,
        /// The storage.
        key: String,
    },
    /// A tensor is larger than its storage.
    #[error("tensor {name:?} {shape:?} reaches beyond its storage {key:?}")]
    BeyondStorage {
        /// The tensor.
        name: String,
        /// Its dimensions.
        shape: Vec<usize>,
        /// The storage.
        key: String,
    },
    /// An instruction that descriptions of tensors are not made of.
    #[error(
        "its data.pkl has the instruction 0x{code:02x} at byte {at}, which no checkpoint needs"
    )]
    Instruction {
        /// The instruction.
        code: u8,
        /// Where it stands.
        at: usize,
    },
    /// The program ends too early.
    #[error("its data.pkl ends inside the instruction before byte {at}")]
    EndsInInstruction {
        /// Where it was read last.
        at: usize,
    },
    /// The program ends too early.
    #[error("its data.pkl ends inside the name at byte {at}")]
    EndsInName {
        /// Where the name begins.
        at: usize,
    },
    /// The program pops from an empty stack.
    #[error("its data.pkl takes more from its stack than it put there")]
    StackExhausted,
    /// The program reads an entry of its memo that it never wrote.
    #[error("its data.pkl recalls what it never remembered")]
    Memo,
    /// Objects are too large.
    #[error("its objects take more than {MOST_MEMORY} bytes, which no checkpoint needs")]
    Memory,
    /// Dictionaries are too large.
    #[error("its dictionaries have more than {MOST_ENTRIES} entries")]
    Entries,
    /// Dictionaries are too deep.
    #[error("its dictionaries are more than {DEEPEST} deep")]
    Depth,
}

/// All tensors in the dictionaries of `file`, keys joined by dots.
///
/// # Errors
/// [`PickleError`]: what is damaged or not understood; a file without any.
pub fn tensors(file: &File) -> Result<BTreeMap<String, Pickled>, PickleError> {
    let mut machine = Machine::default();
    let mut beginning = Vec::new();
    let mut reader = file;
    reader.rewind()?;
    reader
        .take(legacy::MAGIC.len() as u64)
        .read_to_end(&mut beginning)?;
    let (root, storages) = if beginning == legacy::MAGIC {
        legacy::run(&mut machine, file)?
    } else {
        archive(&mut machine, file)?
    };
    let mut found = BTreeMap::new();
    machine.collect(root, &mut Vec::new(), &mut 0, &mut |name, described| {
        let pickled = described.placed(&name, &storages)?;
        found.insert(name, pickled);
        Ok(())
    })?;
    if found.is_empty() {
        return Err(PickleError::NoTensors {
            instead: machine.instead(root),
        });
    }
    Ok(found)
}

/// Bytes of the file by the key of a storage.
type Storages = BTreeMap<String, Range<u64>>;

/// Runs the program of a zip archive.
fn archive(machine: &mut Machine, file: &File) -> Result<(Object, Storages), PickleError> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(PickleError::Archive)?;
    let mut members = BTreeMap::new();
    let mut program = None;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let (name, size) = (member.name().to_string(), member.size());
        if member.compression() != CompressionMethod::Stored
            || member.size() != member.compressed_size()
        {
            return Err(PickleError::Compressed { name });
        }
        let Some(start) = member.data_start() else {
            return Err(PickleError::NoData { name });
        };
        if let Some(folder) = name.strip_suffix("data.pkl") {
            if size > LARGEST_PROGRAM {
                return Err(PickleError::LargeProgram { bytes: size });
            }
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes)?;
            program = Some((folder.to_string(), bytes));
        } else if name.ends_with("byteorder") {
            let mut order = String::new();
            let read = member.take(16).read_to_string(&mut order);
            if read.is_err() || order.trim() != "little" {
                return Err(PickleError::ByteOrder { order });
            }
        }
        members.insert(name, start..start.saturating_add(size));
    }
    let (folder, program) = program.ok_or(PickleError::NoProgram)?;
    let root = machine.run(&mut Code::new(&program))?;
    let prefix = format!("{folder}data/");
    let storages = members
        .into_iter()
        .filter_map(|(name, place)| Some((name.strip_prefix(&prefix)?.to_string(), place)));
    Ok((root, storages.collect()))
}

/// A tensor as the program describes it.
#[derive(Debug, Clone)]
struct Described {
    dtype: Dtype,
    key: String,
    /// In values, from the start of the storage.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Described {
    /// Where its values lie in the file, which has these storages.
    fn placed(&self, name: &str, storages: &Storages) -> Result<Pickled, PickleError> {
        let (name, key, shape) = (name.to_string(), self.key.clone(), self.shape.clone());
        // A dimension of one value may have any stride.
        let (mut expected, mut row_by_row) = (1usize, true);
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            row_by_row &= size <= 1 || stride == expected;
            let Some(larger) = expected.checked_mul(size.max(1)) else {
                return Err(PickleError::Shape { name, shape });
            };
            expected = larger;
        }
        let Some(storage) = storages.get(&self.key) else {
            return Err(PickleError::NoStorage { name, key });
        };
        let width = self.dtype.bitsize() / 8;
        let empty = self.shape.contains(&0);
        let row_by_row = row_by_row || empty;
        // One past the last value, from the first one.
        let reach = if empty {
            Some(0)
        } else if row_by_row {
            Some(expected)
        } else {
            self.shape
                .iter()
                .zip(&self.strides)
                .try_fold(1usize, |reach, (size, stride)| {
                    reach.checked_add((size - 1).checked_mul(*stride)?)
                })
        };
        let start = self
            .offset
            .checked_mul(width)
            .and_then(|offset| storage.start.checked_add(offset as u64));
        let bytes = reach.and_then(|reach| reach.checked_mul(width));
        let end = start.and_then(|start| start.checked_add(bytes? as u64));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= storage.end)) else {
            return Err(PickleError::BeyondStorage { name, shape, key });
        };
        // Small files would claim any number of values otherwise.
        let held = (storage.end - storage.start) as u128;
        if !row_by_row && expected as u128 * width as u128 > held {
            return Err(PickleError::Repeats {
                name,
                shape,
                strides: self.strides.clone(),
                key,
            });
        }
        Ok(Pickled {
            dtype: self.dtype,
            shape,
            place: start..end,
            strides: (!row_by_row).then(|| self.strides.clone()),
        })
    }
}
