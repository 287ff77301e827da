//! Thrift's compact encoding, walked without building anything: Parquet's descriptions are written
//! in it, and its readers set memory aside for as many elements as a list claims to have.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// Structures inside structures that are gone into.
const MAX_DEPTH: usize = 32;

/// The whole-number fields of a structure's outermost level, in order of appearance, and how many
/// bytes it takes; the error says what is wrong.
///
/// Every list and every string fits into the bytes that are there.
pub(super) fn walk(bytes: &[u8]) -> Result<(Vec<(i32, i64)>, usize), String> {
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
    fn structure(&mut self, number: &mut dyn FnMut(i32, i64), depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("structures lie too deep inside each other".to_string());
        }
        let mut field = 0i32;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            field = match head >> 4 {
                0 => i32::try_from(self.signed()?)
                    .map_err(|_| "a field's number is absurd".to_string())?,
                step => field.saturating_add(i32::from(step)),
            };
            match head & 15 {
                1 | 2 => {} // A truth value is part of the head.
                4..=6 => number(field, self.signed()?),
                kind => self.value(kind, depth)?,
            }
        }
    }

    /// A value that is not a structure's own truth value or whole number.
    fn value(&mut self, kind: u8, depth: usize) -> Result<(), String> {
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
            other => Err(format!("a value is of the unknown kind {other}")),
        }
    }

    fn elements(&mut self, size: u64, kind: u8, depth: usize) -> Result<(), String> {
        self.fits(size)?;
        if depth > MAX_DEPTH {
            return Err("lists lie too deep inside each other".to_string());
        }
        (0..size).try_for_each(|_| self.value(kind, depth + 1))
    }

    /// Every element takes at least a byte.
    fn fits(&self, size: u64) -> Result<(), String> {
        let left = self.bytes.len() - self.at;
        if size > left as u64 {
            return Err(format!(
                "a list claims {size} elements and has {left} bytes left for them"
            ));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or("it is cut short")?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        self.fits(length)
            .map_err(|_| "a string or number is cut short".to_string())?;
        self.at += length as usize;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has too many digits".to_string())
    }

    /// Zigzag.
    fn signed(&mut self) -> Result<i64, String> {
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
            (vec![(1, 3), (6, -1)], bytes.len() - 1)
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
                .contains("claims 2147483647 elements")
        );
        assert!(walk(&[0x1c; 100]).unwrap_err().contains("too deep"));
        assert!(walk(&[0x19; 200]).is_err());
    }
}
