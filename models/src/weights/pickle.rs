//! The tensors that a file written by `torch.save` describes, without running any code in it.
//!
//! A pickle is a program for a small stack machine. This one knows the instructions that
//! dictionaries of tensors are made of and four functions, none of which does anything but describe
//! a tensor; every other call, and whatever is built from it, is set aside. burn-store's own reader
//! is not used: it returns zeros for values that a damaged file lacks and allocates the lengths
//! that it claims.

mod code;
mod describe;
mod machine;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;

use safetensors::tensor::Dtype;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use machine::{DEEPEST, MOST_ENTRIES, Machine};

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
    /// Bytes of the file, values in row-major order, little endian.
    pub place: Range<u64>,
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
    /// A tensor has strides.
    #[error("tensor {name:?} is not stored row by row; save it as contiguous")]
    Strided {
        /// The tensor.
        name: String,
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
/// [`PickleError`]: what is damaged or not understood.
pub fn tensors(file: &File) -> Result<BTreeMap<String, Pickled>, PickleError> {
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
    let mut machine = Machine::default();
    let root = machine.run(&program)?;
    let mut found = BTreeMap::new();
    machine.collect(root, &mut Vec::new(), &mut 0, &mut |name, described| {
        let pickled = described.placed(&name, &members, &folder)?;
        found.insert(name, pickled);
        Ok(())
    })?;
    Ok(found)
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
    /// Where its values lie in the file, which has these members.
    fn placed(
        &self,
        name: &str,
        members: &BTreeMap<String, Range<u64>>,
        folder: &str,
    ) -> Result<Pickled, PickleError> {
        // Row-major, as every saved parameter is; a dimension of one value may have any stride.
        let mut expected = 1usize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size > 1 && stride != expected {
                return Err(PickleError::Strided { name: name.into() });
            }
            expected = expected
                .checked_mul(size.max(1))
                .ok_or_else(|| PickleError::Shape {
                    name: name.into(),
                    shape: self.shape.clone(),
                })?;
        }
        let storage = members.get(&format!("{folder}data/{}", self.key));
        let storage = storage.ok_or_else(|| PickleError::NoStorage {
            name: name.into(),
            key: self.key.clone(),
        })?;
        let width = self.dtype.bitsize() / 8;
        let count = if self.shape.contains(&0) { 0 } else { expected };
        let start = self
            .offset
            .checked_mul(width)
            .and_then(|offset| storage.start.checked_add(offset as u64));
        let end = start.and_then(|start| start.checked_add(count.checked_mul(width)? as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= storage.end => Ok(Pickled {
                dtype: self.dtype,
                shape: self.shape.clone(),
                place: start..end,
            }),
            _ => Err(PickleError::BeyondStorage {
                name: name.into(),
                shape: self.shape.clone(),
                key: self.key.clone(),
            }),
        }
    }
}
