//! Thrift's compact encoding, walked without building anything: Parquet's descriptions are written
//! in it, and its readers set memory aside for as many elements as a list claims to have.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// Structures inside structures that are gone into.
const MAX_DEPTH: usize = 32;

/// Why bytes are no structure.
#[derive(Debug, thiserror::Error)]
pub(super) enum ThriftError {
    #[error("it is cut short")]
    CutShort,
    #[error("a string or number is cut short")]
    ValueCutShort,
    #[error("structures lie too deep inside each other")]
    DeepStructures,
    #[error("lists lie too deep inside each other")]
    DeepLists,
    #[error("a field's number is absurd")]
    Field,
    #[error("a value is of the unknown kind {0}")]
    Kind(u8),
    #[error("a list claims {size} elements and has {left} bytes left for them")]
    List { size: u64, left: usize },
    #[error("a number has too many digits")]
    Digits,
}

/// Whole numbers and truth values with the numbers of their fields: `[field, 0]` of the structure
/// itself, `[field, inner]` of a structure in it.
pub(super) type Numbers = Vec<([i32; 2], i64)>;

/// The whole-number fields of a structure's two outermost levels, in order of appearance, and how
/// many bytes it takes.
///
/// Every list and every string fits into the bytes that are there.
pub(super) fn walk(bytes: &[u8]) -> Result<(Numbers, usize), ThriftError> {
    let mut walker = Walker { bytes, at: 0 };
    let mut numbers = Vec::new();
    walker.structure(&mut |field, value| numbers.push((field, value)), 0)?;
    Ok((numbers, walker.at))
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walker<'_> {
    fn structure(
        &mut self,
        number: &mut dyn FnMut([i32; 2], i64),
        depth: usize,
    ) -> Result<(), ThriftError> {
        if depth > MAX_DEPTH {
            return Err(ThriftError::DeepStructures);
        }
        let mut field = 0i32;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            field = match head >> 4 {
                0 => i32::try_from(self.signed()?).map_err(|_| ThriftError::Field)?,
                step => field.saturating_add(i32::from(step)),
            };
            match head & 15 {
                truth @ (1 | 2) => number([field, 0], i64::from(truth == 1)), // Part of the head.
                4..=6 => number([field, 0], self.signed()?),
                12 if depth == 0 => {
                    let mut inside = |[inner, deeper]: [i32; 2], value| {
                        if deeper == 0 {
                            number([field, inner], value);
                        }
                    };
                    self.structure(&mut inside, 1)?;
                }
                kind => self.value(kind, depth)?,
            }
        }
    }

    /// A value that is not a structure's own truth value or whole number.
    fn value(&mut self, kind: u8, depth: usize) -> Result<(), ThriftError> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.signed().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.unsigned()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let size = if head >> 4 == 15 {
                    self.unsigned()?
                } else {
                    u64::from(head >> 4)
                };
                self.elements(size, head & 15, depth)
            }
            11 => {
                let size = self.unsigned()?;
                if size == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.fits(size)?;
                for _ in 0..size {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 15, depth + 1)?;
                }
                Ok(())
            }
            12 => self.structure(&mut |_, _| {}, depth + 1),
            other => Err(ThriftError::Kind(other)),
        }
    }

    fn elements(&mut self, size: u64, kind: u8, depth: usize) -> Result<(), ThriftError> {
        self.fits(size)?;
        if depth > MAX_DEPTH {
            return Err(ThriftError::DeepLists);
        }
        (0..size).try_for_each(|_| self.value(kind, depth + 1))
    }

    /// Every element takes at least a byte.
    fn fits(&self, size: u64) -> Result<(), ThriftError> {
        let left = self.bytes.len() - self.at;
        if size > left as u64 {
            return Err(ThriftError::List { size, left });
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, ThriftError> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or(ThriftError::CutShort)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, length: u64) -> Result<(), ThriftError> {
        self.fits(length).map_err(|_| ThriftError::ValueCutShort)?;
        self.at += length as usize;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, ThriftError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ThriftError::Digits)
    }

    /// Zigzag.
    fn signed(&mut self) -> Result<i64, ThriftError> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_with_their_fields_and_other_values_are_passed_over() {
        // 1: i32 = 3; 2: "ab"; 3: list<i32> [1, 2]; 4: true; 6: i64 = -1; 7: { 1: i32 = 9 }.
        let bytes = [
            0x15, 6, 0x18, 2, b'a', b'b', 0x19, 0x25, 2, 4, 0x11, 0x26, 1, 0x1c, 0x15, 18, 0, 0, 77,
        ];
        assert_eq!(
            walk(&bytes).unwrap(),
            (
                vec![([1, 0], 3), ([4, 0], 1), ([6, 0], -1), ([7, 1], 9)],
                bytes.len() - 1
            )
        );
        for length in 0..bytes.len() - 1 {
            assert!(walk(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn lists_that_claim_more_than_there_is_are_refused() {
        let bytes = [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 2, 4, 0];
        assert!(
            walk(&bytes)
                .unwrap_err()
                .to_string()
                .contains("claims 2147483647 elements")
        );
        assert!(
            walk(&[0x1c; 100])
                .unwrap_err()
                .to_string()
                .contains("too deep")
        );
        assert!(walk(&[0x19; 200]).is_err());
    }
}
