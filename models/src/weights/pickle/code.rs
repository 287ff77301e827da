//! The bytes of a pickle's program, one instruction's worth at a time.

use super::PickleError;

/// A program, read from its beginning.
pub(super) struct Code<'a> {
    bytes: &'a [u8],
    /// The next byte.
    pub at: usize,
}

impl<'a> Code<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.at..];
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= rest.len());
        let length = length.ok_or(PickleError::EndsInInstruction { at: self.at })?;
        self.at += length;
        Ok(&rest[..length])
    }

    pub fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N as u64)?
            .try_into()
            .map_err(|_| PickleError::StackExhausted)
    }

    /// Up to the next line feed.
    pub fn line(&mut self) -> Result<String, PickleError> {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == b'\n');
        let length = length.ok_or(PickleError::EndsInName { at: self.at })?;
        let line = String::from_utf8_lossy(self.take(length as u64)?).into_owned();
        self.take(1)?;
        Ok(line)
    }
}
