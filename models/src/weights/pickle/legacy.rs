//! Files of torch.save before PyTorch 1.6: a few pickles in a row, then the values of all storages.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::Dtype;

use super::code::Code;
use super::machine::Machine;
use super::value::{Object, Value};
use super::{LARGEST_PROGRAM, PickleError, Storages};

/// A pickle of 0x1950a86a20f9469cfc6c, with which such a file begins.
pub(super) const MAGIC: [u8; 15] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.',
];
/// The only version there ever was.
const VERSION: i64 = 1001;

/// Runs the programs of the file; returns what the third leaves, and where the storages are.
pub(super) fn run(
    machine: &mut Machine,
    mut file: &File,
) -> Result<(Object, Storages), PickleError> {
    let total = file.metadata()?.len();
    let mut programs = Vec::new();
    file.rewind()?;
    file.take(LARGEST_PROGRAM).read_to_end(&mut programs)?;
    let mut code = Code::new(&programs);
    code.take(MAGIC.len() as u64)?;
    let version = machine.run(&mut code)?;
    if !matches!(machine.objects[version], Value::Integer(VERSION)) {
        return Err(PickleError::Old { part: "version" });
    }
    let system = machine.run(&mut code)?;
    if !matches!(
        machine
            .entry(system, "little_endian")
            .map(|value| &machine.objects[value]),
        Some(Value::Boolean(true))
    ) {
        let order = "big or unknown".to_string();
        return Err(PickleError::ByteOrder { order });
    }
    let root = machine.run(&mut code)?;
    let keys = machine.run(&mut code)?;
    let Value::Sequence(keys) = &machine.objects[keys] else {
        return Err(PickleError::Old {
            part: "list of storages",
        });
    };
    let types: HashMap<&str, Dtype> = machine
        .objects
        .iter()
        .filter_map(|value| match value {
            Value::Storage { dtype, key } => Some((key.as_str(), *dtype)),
            _ => None,
        })
        .collect();
    let mut storages = Storages::new();
    let mut at = code.at as u64;
    for key in keys {
        let Value::Text(key) = &machine.objects[*key] else {
            return Err(PickleError::Old {
                part: "list of storages",
            });
        };
        // Without its type nobody knows where the next one begins.
        let Some(dtype) = types.get(key.as_str()) else {
            return Err(PickleError::Old {
                part: "list of storages",
            });
        };
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut count)?;
        let bytes = u128::from(u64::from_le_bytes(count)) * (dtype.bitsize() / 8) as u128;
        let start = at + 8;
        let end = u128::from(start) + bytes;
        if end > u128::from(total) {
            let key = key.clone();
            return Err(PickleError::Short { key, end, total });
        }
        at = end as u64;
        storages.insert(key.clone(), start..at);
    }
    Ok((root, storages))
}
