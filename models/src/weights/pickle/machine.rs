//! The stack machine that a pickle is a program for.

use std::collections::HashMap;

use super::code::Code;
use super::value::{Object, Value};
use super::{Described, PickleError};

// What no checkpoint exceeds, so that a hostile file gets no more: an object may stand in many
// places, and each time counts.
/// Dictionaries inside dictionaries; checkpoints have three or four.
pub(super) const DEEPEST: usize = 16;
/// Entries of all dictionaries.
pub(super) const MOST_ENTRIES: usize = 1 << 18;
/// Bytes of all objects.
pub(super) const MOST_MEMORY: usize = 64 << 20;
/// Letters of a name in a message.
const LONGEST_NAME: usize = 80;
/// Bytes of a key.
pub(super) const LONGEST_KEY: usize = 1 << 10;

/// The stack machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) objects: Vec<Value>,
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
    held: usize,
}

impl Machine {
    /// Runs the next program and returns what it leaves; objects of earlier ones stay.
    pub fn run(&mut self, code: &mut Code<'_>) -> Result<Object, PickleError> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
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
                b'N' => self.push(Value::Other)?,
                0x88 | 0x89 => self.push(Value::Boolean(instruction == 0x88))?,
                b'K' => {
                    let value = code.byte()?;
                    self.push(Value::Integer(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(code.array()?);
                    self.push(Value::Integer(value.into()))?;
                }
                b'J' => {
                    let value = i32::from_le_bytes(code.array()?);
                    self.push(Value::Integer(value.into()))?;
                }
                // LONG1: a whole number of n bytes; longer ones than i64 are no sizes.
                0x8a => {
                    let length = code.byte()?;
                    let bytes = code.take(length.into())?;
                    self.push(Value::integer(bytes))?;
                }
                // BINFLOAT.
                b'G' => {
                    code.take(8)?;
                    self.push(Value::Other)?;
                }
                // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8.
                b'X' => {
                    let length = u32::from_le_bytes(code.array()?);
                    self.text(code.take(length.into())?)?;
                }
                0x8c => {
                    let length = code.byte()?;
                    self.text(code.take(length.into())?)?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(code.array()?);
                    self.text(code.take(length)?)?;
                }
                // SHORT_BINBYTES, BINBYTES, SHORT_BINSTRING, BINSTRING.
                b'C' | b'U' => {
                    let length = code.byte()?;
                    code.take(length.into())?;
                    self.push(Value::Other)?;
                }
                b'B' | b'T' => {
                    let length = u32::from_le_bytes(code.array()?);
                    code.take(length.into())?;
                    self.push(Value::Other)?;
                }
                b')' | b']' => self.push(Value::Sequence(Vec::new()))?,
                // An empty set.
                0x8f => self.push(Value::Other)?,
                b'}' => self.push(Value::Dictionary(Vec::new()))?,
                // TUPLE1, TUPLE2, TUPLE3, TUPLE, LIST.
                0x85..=0x87 => {
                    let items = self.take_top(usize::from(instruction - 0x84))?;
                    self.push(Value::Sequence(items))?;
                }
                b't' | b'l' => {
                    let items = self.above_mark()?;
                    self.push(Value::Sequence(items))?;
                }
                b'd' => {
                    let items = self.above_mark()?;
                    self.push(Value::Dictionary(pairs(&items)))?;
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
                    self.push(Value::Global(format!("{module} {name}")))?;
                }
                0x93 => {
                    let names = self.take_top(2)?;
                    let global = match (&self.objects[names[0]], &self.objects[names[1]]) {
                        (Value::Text(module), Value::Text(name)) => {
                            Value::Global(format!("{module} {name}"))
                        }
                        _ => Value::Other,
                    };
                    self.push(global)?;
                }
                // REDUCE, NEWOBJ: calls, of which only descriptions of tensors are understood.
                b'R' | 0x81 => {
                    let call = self.take_top(2)?;
                    let value = self.call(call[0], call[1]);
                    self.push(value)?;
                }
                // BUILD: the state of an object, which stays what it was.
                b'b' => drop(self.pop()?),
                // BINPERSID: a storage.
                b'Q' => {
                    let reference = self.pop()?;
                    let storage = self.storage(reference);
                    self.push(storage)?;
                }
                // BINPUT, LONG_BINPUT, MEMOIZE.
                b'q' => {
                    let key = code.byte()?;
                    self.put_memo(key.into())?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(code.array()?);
                    self.put_memo(key)?;
                }
                0x94 => self.put_memo(self.memo.len() as u32)?,
                // BINGET, LONG_BINGET.
                b'h' => {
                    let key = code.byte()?;
                    self.get_memo(key.into())?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(code.array()?);
                    self.get_memo(key)?;
                }
                other => {
                    return Err(PickleError::Instruction { code: other, at });
                }
            }
        }
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        // A call of two bytes may copy a long name, again and again.
        self.held += size_of::<Value>() + value.copied();
        if self.held > MOST_MEMORY {
            return Err(PickleError::Memory);
        }
        self.objects.push(value);
        self.stack.push(self.objects.len() - 1);
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> Result<(), PickleError> {
        self.push(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn pop(&mut self) -> Result<Object, PickleError> {
        // A mark is a wall: what lies below belongs to something else.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor {
            self.stack.pop().ok_or(PickleError::StackExhausted)
        } else {
            Err(PickleError::StackExhausted)
        }
    }

    fn take_top(&mut self, count: usize) -> Result<Vec<Object>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|start| *start >= floor)
            .ok_or(PickleError::StackExhausted)?;
        Ok(self.stack.split_off(start))
    }

    fn above_mark(&mut self) -> Result<Vec<Object>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::StackExhausted)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&self) -> Result<Object, PickleError> {
        self.stack
            .last()
            .copied()
            .ok_or(PickleError::StackExhausted)
    }

    fn extend(&mut self, items: &[Object]) -> Result<(), PickleError> {
        let top = self.top()?;
        if let Value::Sequence(sequence) = &mut self.objects[top] {
            sequence.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Object]) -> Result<(), PickleError> {
        let top = self.top()?;
        if let Value::Dictionary(dictionary) = &mut self.objects[top] {
            dictionary.extend(pairs(items));
        }
        Ok(())
    }

    fn put_memo(&mut self, key: u32) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get_memo(&mut self, key: u32) -> Result<(), PickleError> {
        let object = self.memo.get(&key).ok_or(PickleError::Memo)?;
        self.stack.push(*object);
        Ok(())
    }

    /// What a dictionary has under a name.
    pub fn entry(&self, dictionary: Object, name: &str) -> Option<Object> {
        let Value::Dictionary(items) = &self.objects[dictionary] else {
            return None;
        };
        items
            .iter()
            .find(|(key, _)| matches!(&self.objects[*key], Value::Text(text) if text == name))
            .map(|(_, value)| *value)
    }

    /// What a program without tensors in dictionaries left instead, after a comma.
    pub fn instead(&self, root: Object) -> String {
        let made = |object: Object| match &self.objects[object] {
            Value::Made(function) => match &self.objects[*function] {
                Value::Global(name) => {
                    let name: String = name.chars().take(LONGEST_NAME).collect();
                    Some(format!("an object of {:?}", name.replace(' ', ".")))
                }
                _ => Some("an object".to_string()),
            },
            _ => None,
        };
        match &self.objects[root] {
            Value::Dictionary(items) => items.iter().find_map(|(key, value)| {
                let Value::Text(key) = &self.objects[*key] else {
                    return None;
                };
                let key: String = key.chars().take(LONGEST_NAME).collect();
                made(*value).map(|made| format!(", but under {key:?} {made}"))
            }),
            _ => made(root).map(|made| format!(", but {made}")),
        }
        .unwrap_or_default()
    }

    /// Calls `work` with each tensor that is reached through dictionaries, and its dotted name.
    pub fn collect(
        &self,
        object: Object,
        path: &mut Vec<String>,
        entries: &mut usize,
        work: &mut impl FnMut(String, &Described) -> Result<(), PickleError>,
    ) -> Result<(), PickleError> {
        match &self.objects[object] {
            Value::Tensor(described) => work(path.join("."), described),
            Value::Dictionary(items) if path.len() < DEEPEST => {
                *entries += items.len();
                if *entries > MOST_ENTRIES {
                    return Err(PickleError::Entries);
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
            Value::Dictionary(_) => Err(PickleError::Depth),
            _ => Ok(()),
        }
    }
}

fn pairs(items: &[Object]) -> Vec<(Object, Object)> {
    items
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[key, value]| (key, value))
        .collect()
}

#[cfg(test)]
mod tests;
