//! The tensors that a file written by `torch.save` describes, without running any code in it.
//!
//! A pickle is a program for a small stack machine. This one knows the instructions that
//! dictionaries of tensors are made of and four functions, none of which does anything but describe
//! a tensor; every other call, and whatever is built from it, is set aside. burn-store's own reader
//! is not used: it returns zeros for values that a damaged file lacks and allocates the lengths
//! that it claims.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;

use safetensors::tensor::Dtype;
use zip::{CompressionMethod, ZipArchive};

// What no checkpoint exceeds, so that a hostile file gets no more: an object may stand in many
// places, and each time counts.
/// Bytes of the program; that of a thousand tensors is below 1 MB.
const LARGEST_PROGRAM: u64 = 8 << 20;
/// Dictionaries inside dictionaries; checkpoints have three or four.
const DEEPEST: usize = 16;
/// Entries of all dictionaries.
const MOST_ENTRIES: usize = 1 << 18;
/// Bytes of a key.
const LONGEST_KEY: usize = 1 << 10;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 16;

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

/// All tensors in the dictionaries of `file`, keys joined by dots.
///
/// # Errors
/// What is damaged or not understood, in words.
pub fn tensors(file: &File) -> Result<BTreeMap<String, Pickled>, String> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        format!("{error}; expected a file of torch.save (PyTorch 1.6 or newer)")
    })?;
    let mut members = BTreeMap::new();
    let mut program = None;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| error.to_string())?;
        let (name, size) = (member.name().to_string(), member.size());
        if member.compression() != CompressionMethod::Stored
            || member.size() != member.compressed_size()
        {
            return Err(format!(
                "its member {name:?} is compressed, which torch.save never does"
            ));
        }
        let Some(start) = member.data_start() else {
            return Err(format!("its member {name:?} has no data"));
        };
        if let Some(folder) = name.strip_suffix("data.pkl") {
            if size > LARGEST_PROGRAM {
                return Err(format!(
                    "its data.pkl has {size} bytes, more than the {LARGEST_PROGRAM} that any \
                        checkpoint needs"
                ));
            }
            let mut bytes = Vec::new();
            member
                .read_to_end(&mut bytes)
                .map_err(|error| error.to_string())?;
            program = Some((folder.to_string(), bytes));
        } else if name.ends_with("byteorder") {
            let mut order = String::new();
            let read = member.take(16).read_to_string(&mut order);
            if read.is_err() || order.trim() != "little" {
                return Err(format!(
                    "its values are in the byte order {order:?}, expected little"
                ));
            }
        }
        members.insert(name, start..start.saturating_add(size));
    }
    let (folder, program) = program
        .ok_or("it has no data.pkl; expected a file of torch.save (PyTorch 1.6 or newer)")?;
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

/// An object of the program, by its number in [`Machine::objects`].
type Object = usize;

#[derive(Debug, Clone)]
enum Value {
    /// Anything that is neither part of a tensor nor holds one.
    Other,
    Integer(i64),
    Text(String),
    /// `module name`.
    Global(String),
    /// A tuple or a list.
    Sequence(Vec<Object>),
    Dictionary(Vec<(Object, Object)>),
    Storage {
        dtype: Dtype,
        key: String,
    },
    Tensor(Box<Described>),
}

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
    fn placed(
        &self,
        name: &str,
        members: &BTreeMap<String, Range<u64>>,
        folder: &str,
    ) -> Result<Pickled, String> {
        // Row-major, as every saved parameter is; a dimension of one value may have any stride.
        let mut expected = 1usize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size > 1 && stride != expected {
                return Err(format!(
                    "tensor {name:?} is not stored row by row; save it as contiguous"
                ));
            }
            expected = expected.checked_mul(size.max(1)).ok_or_else(|| {
                format!("tensor {name:?} has the impossible shape {:?}", self.shape)
            })?;
        }
        let storage = members.get(&format!("{folder}data/{}", self.key));
        let storage = storage.ok_or_else(|| {
            format!(
                "tensor {name:?} is in the storage {:?}, which is not there",
                self.key
            )
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
            _ => Err(format!(
                "tensor {name:?} {:?} reaches beyond its storage {:?}",
                self.shape, self.key
            )),
        }
    }
}

#[derive(Debug, Default)]
struct Machine {
    objects: Vec<Value>,
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
}

impl Machine {
    /// Runs the program and returns what it leaves.
    fn run(&mut self, program: &[u8]) -> Result<Object, String> {
        let mut code = Code {
            bytes: program,
            at: 0,
        };
        loop {
            let at = code.at;
            let instruction = code.byte()?;
            match instruction {
                // PROTO, FRAME.
                0x80 => drop(code.take(1)?),
                0x95 => drop(code.take(8)?),
                // STOP.
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                // POP, POP_MARK, DUP.
                b'0' => drop(self.pop()?),
                b'1' => drop(self.above_mark()?),
                b'2' => {
                    let top = self.pop()?;
                    self.stack.extend([top, top]);
                }
                // None, True, False.
                b'N' | 0x88 | 0x89 => self.push(Value::Other),
                b'K' => {
                    let value = code.byte()?;
                    self.push(Value::Integer(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(code.array()?);
                    self.push(Value::Integer(value.into()));
                }
                b'J' => {
                    let value = i32::from_le_bytes(code.array()?);
                    self.push(Value::Integer(value.into()));
                }
                // LONG1: a whole number of n bytes; longer ones than i64 are no sizes.
                0x8a => {
                    let length = code.byte()?;
                    let bytes = code.take(length.into())?;
                    self.push(integer(bytes));
                }
                // BINFLOAT.
                b'G' => {
                    code.take(8)?;
                    self.push(Value::Other);
                }
                // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8.
                b'X' => {
                    let length = u32::from_le_bytes(code.array()?);
                    self.text(code.take(length.into())?);
                }
                0x8c => {
                    let length = code.byte()?;
                    self.text(code.take(length.into())?);
                }
                0x8d => {
                    let length = u64::from_le_bytes(code.array()?);
                    self.text(code.take(length)?);
                }
                // SHORT_BINBYTES, BINBYTES, SHORT_BINSTRING, BINSTRING.
                b'C' | b'U' => {
                    let length = code.byte()?;
                    code.take(length.into())?;
                    self.push(Value::Other);
                }
                b'B' | b'T' => {
                    let length = u32::from_le_bytes(code.array()?);
                    code.take(length.into())?;
                    self.push(Value::Other);
                }
                b')' | b']' => self.push(Value::Sequence(Vec::new())),
                // An empty set.
                0x8f => self.push(Value::Other),
                b'}' => self.push(Value::Dictionary(Vec::new())),
                // TUPLE1, TUPLE2, TUPLE3, TUPLE, LIST.
                0x85..=0x87 => {
                    let items = self.take_top(usize::from(instruction - 0x84))?;
                    self.push(Value::Sequence(items));
                }
                b't' | b'l' => {
                    let items = self.above_mark()?;
                    self.push(Value::Sequence(items));
                }
                b'd' => {
                    let items = self.above_mark()?;
                    self.push(Value::Dictionary(pairs(&items)));
                }
                // APPEND, APPENDS, ADDITEMS.
                b'a' => {
                    let item = self.pop()?;
                    self.extend(&[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.above_mark()?;
                    self.extend(&items)?;
                }
                // SETITEM, SETITEMS.
                b's' => {
                    let items = self.take_top(2)?;
                    self.set(&items)?;
                }
                b'u' => {
                    let items = self.above_mark()?;
                    self.set(&items)?;
                }
                // GLOBAL and STACK_GLOBAL: a name, not what it names.
                b'c' => {
                    let (module, name) = (code.line()?, code.line()?);
                    self.push(Value::Global(format!("{module} {name}")));
                }
                0x93 => {
                    let names = self.take_top(2)?;
                    let global = match (&self.objects[names[0]], &self.objects[names[1]]) {
                        (Value::Text(module), Value::Text(name)) => {
                            Value::Global(format!("{module} {name}"))
                        }
                        _ => Value::Other,
                    };
                    self.push(global);
                }
                // REDUCE, NEWOBJ: calls, of which only descriptions of tensors are understood.
                b'R' | 0x81 => {
                    let call = self.take_top(2)?;
                    let value = self.call(call[0], call[1]);
                    self.push(value);
                }
                // BUILD: the state of an object, which stays what it was.
                b'b' => drop(self.pop()?),
                // BINPERSID: a storage.
                b'Q' => {
                    let reference = self.pop()?;
                    let storage = self.storage(reference);
                    self.push(storage);
                }
                // BINPUT, LONG_BINPUT, MEMOIZE.
                b'q' => {
                    let key = code.byte()?;
                    self.remember(key.into())?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(code.array()?);
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                // BINGET, LONG_BINGET.
                b'h' => {
                    let key = code.byte()?;
                    self.recall(key.into())?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(code.array()?);
                    self.recall(key)?;
                }
                other => {
                    return Err(format!(
                        "its data.pkl has the instruction 0x{other:02x} at byte {at}, which no \
                            checkpoint needs"
                    ));
                }
            }
        }
    }

    fn push(&mut self, value: Value) {
        self.objects.push(value);
        self.stack.push(self.objects.len() - 1);
    }

    fn text(&mut self, bytes: &[u8]) {
        self.push(Value::Text(String::from_utf8_lossy(bytes).into_owned()));
    }

    fn pop(&mut self) -> Result<Object, String> {
        // A mark is a wall: what lies below belongs to something else.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor {
            self.stack.pop().ok_or_else(exhausted)
        } else {
            Err(exhausted())
        }
    }

    fn take_top(&mut self, count: usize) -> Result<Vec<Object>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|start| *start >= floor)
            .ok_or_else(exhausted)?;
        Ok(self.stack.split_off(start))
    }

    fn above_mark(&mut self) -> Result<Vec<Object>, String> {
        let mark = self.marks.pop().ok_or_else(exhausted)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&self) -> Result<Object, String> {
        self.stack.last().copied().ok_or_else(exhausted)
    }

    fn extend(&mut self, items: &[Object]) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Sequence(sequence) = &mut self.objects[top] {
            sequence.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Object]) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Dictionary(dictionary) = &mut self.objects[top] {
            dictionary.extend(pairs(items));
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let object = self
            .memo
            .get(&key)
            .ok_or("its data.pkl recalls what it never remembered")?;
        self.stack.push(*object);
        Ok(())
    }

    fn call(&self, function: Object, arguments: Object) -> Value {
        let (Value::Global(function), Value::Sequence(arguments)) =
            (&self.objects[function], &self.objects[arguments])
        else {
            return Value::Other;
        };
        match (function.as_str(), &arguments[..]) {
            ("collections OrderedDict", []) => Value::Dictionary(Vec::new()),
            (
                "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor",
                [storage, offset, shape, strides, ..],
            ) => self
                .tensor([*storage, *offset, *shape, *strides])
                .map_or(Value::Other, |described| Value::Tensor(Box::new(described))),
            ("torch._utils _rebuild_parameter", [tensor, ..]) => match &self.objects[*tensor] {
                Value::Tensor(described) => Value::Tensor(described.clone()),
                _ => Value::Other,
            },
            _ => Value::Other,
        }
    }

    fn tensor(&self, [storage, offset, shape, strides]: [Object; 4]) -> Option<Described> {
        let Value::Storage { dtype, key } = &self.objects[storage] else {
            return None;
        };
        let size = |object: &Object| match self.objects[*object] {
            Value::Integer(value) => usize::try_from(value).ok(),
            _ => None,
        };
        let sizes = |object: Object| match &self.objects[object] {
            Value::Sequence(items) if items.len() <= MOST_DIMENSIONS => {
                items.iter().map(size).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(Described {
            dtype: *dtype,
            key: key.clone(),
            offset: size(&offset)?,
            shape,
            strides,
        })
    }

    /// `("storage", type, key, device, count)`.
    fn storage(&self, reference: Object) -> Value {
        let Value::Sequence(items) = &self.objects[reference] else {
            return Value::Other;
        };
        let [_, kind, key, ..] = items[..] else {
            return Value::Other;
        };
        let (Value::Global(kind), Value::Text(key)) = (&self.objects[kind], &self.objects[key])
        else {
            return Value::Other;
        };
        let dtype = match kind.rsplit(' ').next().unwrap_or_default() {
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::BF16,
            "DoubleStorage" => Dtype::F64,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" => Dtype::U8,
            "BoolStorage" => Dtype::BOOL,
            _ => return Value::Other,
        };
        if key.len() > LONGEST_KEY {
            Value::Other
        } else {
            Value::Storage {
                dtype,
                key: key.clone(),
            }
        }
    }

    /// Calls `work` with each tensor that is reached through dictionaries, and its dotted name.
    fn collect(
        &self,
        object: Object,
        path: &mut Vec<String>,
        entries: &mut usize,
        work: &mut impl FnMut(String, &Described) -> Result<(), String>,
    ) -> Result<(), String> {
        match &self.objects[object] {
            Value::Tensor(described) => work(path.join("."), described),
            Value::Dictionary(items) if path.len() < DEEPEST => {
                *entries += items.len();
                if *entries > MOST_ENTRIES {
                    return Err(format!(
                        "its dictionaries have more than {MOST_ENTRIES} entries"
                    ));
                }
                for (key, value) in items {
                    let name = match &self.objects[*key] {
                        Value::Text(name) if name.len() <= LONGEST_KEY => name.clone(),
                        Value::Integer(number) => number.to_string(),
                        _ => continue,
                    };
                    path.push(name);
                    self.collect(*value, path, entries, work)?;
                    path.pop();
                }
                Ok(())
            }
            Value::Dictionary(_) => Err(format!("its dictionaries are more than {DEEPEST} deep")),
            _ => Ok(()),
        }
    }
}

fn exhausted() -> String {
    "its data.pkl takes more from its stack than it put there".to_string()
}

fn pairs(items: &[Object]) -> Vec<(Object, Object)> {
    items
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[key, value]| (key, value))
        .collect()
}

/// A little-endian whole number in two's complement.
fn integer(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Integer(i64::from_le_bytes(wide))
}

struct Code<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Code<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= rest.len());
        let length = length.ok_or_else(|| {
            format!(
                "its data.pkl ends inside the instruction before byte {}",
                self.at
            )
        })?;
        self.at += length;
        Ok(&rest[..length])
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N as u64)?.try_into().map_err(|_| exhausted())
    }

    /// Up to the next line feed.
    fn line(&mut self) -> Result<String, String> {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == b'\n');
        let length = length
            .ok_or_else(|| format!("its data.pkl ends inside the name at byte {}", self.at))?;
        let line = String::from_utf8_lossy(self.take(length as u64)?).into_owned();
        self.take(1)?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `collect` says of a program.
    fn collected(program: &[u8]) -> Result<usize, String> {
        let mut machine = Machine::default();
        let root = machine.run(program)?;
        let mut count = 0;
        machine.collect(root, &mut Vec::new(), &mut 0, &mut |_, _| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    #[test]
    fn dictionaries_that_hold_themselves_or_multiply_are_refused() {
        // d = {}; d["a"] = d
        assert!(
            collected(b"}q\x00X\x01\x00\x00\x00ah\x00s.")
                .unwrap_err()
                .contains("deep")
        );
        // Fifteen times {"0": below, "1": below, .. "7": below}: 8^15 paths, a few hundred bytes.
        let mut program = b"}q\x00".to_vec();
        for _ in 0..15 {
            program.extend(b"}(");
            (0..8).for_each(|key| program.extend([b'X', 1, 0, 0, 0, b'0' + key, b'h', 0]));
            program.extend(b"uq\x00");
        }
        program.push(b'.');
        assert!(collected(&program).unwrap_err().contains("entries"));
    }

    #[test]
    fn programs_that_take_what_is_not_there_are_refused() {
        for program in [
            &b"0."[..],
            b".",
            b"s.",
            b"t.",
            b"h\x07.",
            b"(0.",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xfe",
        ] {
            collected(program).expect_err(&format!("{program:?}"));
        }
        assert_eq!(collected(b"N."), Ok(0));
    }
}
