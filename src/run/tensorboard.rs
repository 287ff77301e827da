//! TensorBoard event files, written by hand: protobuf messages in TFRecord frames.
//!
//! Field numbers: `tensorboard/compat/proto/{event,summary}.proto`; frames:
//! `tensorflow/core/lib/io/record_writer.cc`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::events::{EventError, require_finite};
use super::files::{AtPath, FileError};

/// One event file, new with every start of the process; everything in it but the wall-clock times
/// is deterministic.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    /// Bytes of whole records in the file.
    length: u64,
}

impl TensorBoard {
    /// Starts a new event file in `directory`, which is created where missing.
    ///
    /// On resume, TensorBoard drops what earlier files hold from `first_step` on; it is 1 for a new
    /// run.
    ///
    /// # Errors
    /// [`EventError::File`] when the disk refuses.
    pub fn create(directory: &Path, first_step: u64) -> Result<Self, EventError> {
        fs::create_dir_all(directory).at("create the directory", directory)?;
        let (path, file) = create_event_file(directory)?;
        let mut board = Self {
            path,
            file,
            length: 0,
        };
        board.write(&event(seconds_now(), 0, Content::FileVersion))?;
        board.write(&event(seconds_now(), first_step, Content::SessionStart))?;
        Ok(board)
    }

    /// Writes one number of one step; names with `/` are grouped by what comes before it.
    ///
    /// # Errors
    /// [`EventError::NotFinite`] when the value is not finite in f32, which is what TensorBoard
    /// keeps.
    pub fn scalar(&mut self, step: u64, name: &str, value: f64) -> Result<(), EventError> {
        require_finite(step, name, f64::from(value as f32))?;
        self.write(&event(
            seconds_now(),
            step,
            Content::Scalar(name, value as f32),
        ))
    }

    /// Writes one picture of one step: an encoded PNG, or a GIF, which TensorBoard plays.
    pub fn image(
        &mut self,
        step: u64,
        name: &str,
        width: u32,
        height: u32,
        encoded: &[u8],
    ) -> Result<(), EventError> {
        self.write(&event(
            seconds_now(),
            step,
            Content::Image {
                name,
                width,
                height,
                encoded,
            },
        ))
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, message: &[u8]) -> Result<(), EventError> {
        let framed = frame(message);
        if let Err(reason) = self.file.write_all(&framed) {
            let _ = self.file.set_len(self.length);
            return Err(FileError::new("append to", &self.path, reason).into());
        }
        self.length += framed.len() as u64;
        Ok(())
    }
}

fn create_event_file(directory: &Path) -> Result<(PathBuf, File), FileError> {
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut attempt = 0u64;
    loop {
        // TensorBoard reads files whose name contains "tfevents", in the order of their names.
        let path = directory.join(format!(
            "events.out.tfevents.{started:010}.afd.{}.{attempt}",
            std::process::id()
        ));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(reason) if reason.kind() == ErrorKind::AlreadyExists => attempt += 1,
            Err(reason) => return Err(FileError::new("create", &path, reason)),
        }
    }
}

fn seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

enum Content<'a> {
    FileVersion,
    SessionStart,
    Scalar(&'a str, f32),
    Image {
        name: &'a str,
        width: u32,
        height: u32,
        encoded: &'a [u8],
    },
}

/// The protobuf `Event`: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
fn event(wall_time_seconds: f64, step: u64, content: Content) -> Vec<u8> {
    let mut message = Message::default();
    message.fixed64(1, wall_time_seconds.to_bits());
    message.varint(2, step);
    match content {
        Content::FileVersion => message.bytes(3, b"brain.Event:2"),
        Content::SessionStart => {
            let mut session_log = Message::default();
            session_log.varint(1, 1); // status = START
            message.bytes(7, &session_log.0);
        }
        Content::Scalar(name, value) => {
            let mut summary_value = Message::default();
            summary_value.bytes(1, name.as_bytes()); // tag
            summary_value.fixed32(2, value.to_bits()); // simple_value
            message.summary(&summary_value);
        }
        Content::Image {
            name,
            width,
            height,
            encoded,
        } => {
            let mut image = Message::default();
            image.varint(1, u64::from(height));
            image.varint(2, u64::from(width));
            image.varint(3, 3); // colorspace = RGB
            image.bytes(4, encoded); // encoded_image_string
            let mut summary_value = Message::default();
            summary_value.bytes(1, name.as_bytes()); // tag
            summary_value.bytes(4, &image.0); // image
            message.summary(&summary_value);
        }
    }
    message.0
}

/// A protobuf message in its wire format: each field is a key (number and wire type) and a value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3);
        self.raw_varint(value);
    }

    fn fixed64(&mut self, field: u64, bits: u64) {
        self.raw_varint(field << 3 | 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn fixed32(&mut self, field: u64, bits: u32) {
        self.raw_varint(field << 3 | 5);
        self.0.extend(bits.to_le_bytes());
    }

    /// A summary (field 5 of an event) of one value (field 1 of a summary).
    fn summary(&mut self, value: &Message) {
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        self.bytes(5, &summary.0);
    }
}

/// Length, its checksum, data, its checksum; all little-endian.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(data.len() + 16);
    framed.extend(length);
    framed.extend(masked(crc32c(&length)).to_le_bytes());
    framed.extend(data);
    framed.extend(masked(crc32c(data)).to_le_bytes());
    framed
}

/// TFRecord masks checksums, because the checksum of data that contains checksums is weak.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), RFC 3720 appendix B.4, bit-reversed polynomial 0x82F63B78.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut remainder = index as u32;
            let mut bit = 0;
            while bit < 8 {
                remainder = if remainder & 1 == 1 {
                    remainder >> 1 ^ 0x82F6_3B78
                } else {
                    remainder >> 1
                };
                bit += 1;
            }
            table[index] = remainder;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |remainder: u32, &byte| {
        remainder >> 8 ^ TABLE[((remainder ^ u32::from(byte)) & 0xff) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into its records, checking every checksum.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked(crc32c(&bytes[..8])).to_le_bytes());
            let data = &bytes[12..12 + length];
            assert_eq!(
                bytes[12 + length..16 + length],
                masked(crc32c(data)).to_le_bytes()
            );
            found.push(data.to_vec());
            bytes = &bytes[16 + length..];
        }
        found
    }

    #[test]
    fn the_checksum_agrees_with_published_vectors() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xff; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn the_mask_agrees_with_its_inverse_as_leveldb_defines_it() {
        // crc32c.h, Unmask: subtract the constant, then rotate right by 17.
        let unmask = |masked: u32| masked.wrapping_sub(0xa282_ead8).rotate_right(17);
        assert_eq!(unmask(masked(0xE306_9283)), 0xE306_9283);
    }

    #[test]
    fn a_scalar_event_has_the_bytes_that_protobuf_prescribes() {
        // Encoded by hand: wall_time 1.0, step 300 (varint ac 02), summary { value { tag "ab",
        // simple_value 1.5 } }.
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..],
            &[0x10, 0xac, 0x02],
            &[
                0x2a, 0x0b, 0x0a, 0x09, 0x0a, 0x02, b'a', b'b', 0x15, 0, 0, 0xc0, 0x3f,
            ],
        ];
        assert_eq!(
            event(1.0, 300, Content::Scalar("ab", 1.5)),
            expected.concat()
        );
    }

    #[test]
    fn a_file_starts_with_its_version_and_reads_back_record_by_record() {
        let place = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(place.path(), 6).unwrap();
        board.scalar(6, "loss/flow", 0.5).unwrap();
        board.image(6, "sample", 2, 3, &[7; 200]).unwrap();
        let records = records(&fs::read(board.path()).unwrap());
        assert_eq!(records.len(), 4);
        assert!(records[0].ends_with(b"brain.Event:2"));
        // Everything after the nine bytes of wall time is deterministic.
        assert_eq!(records[1][9..], [0x10, 6, 0x3a, 2, 0x08, 1]);
        assert_eq!(
            records[2][9..],
            event(0.0, 6, Content::Scalar("loss/flow", 0.5))[9..]
        );
        let image = Content::Image {
            name: "sample",
            width: 2,
            height: 3,
            encoded: &[7; 200],
        };
        assert_eq!(records[3][9..], event(0.0, 6, image)[9..]);
    }

    #[test]
    fn every_start_gets_its_own_file() {
        let place = tempfile::tempdir().unwrap();
        let first = TensorBoard::create(place.path(), 1).unwrap();
        let second = TensorBoard::create(place.path(), 1).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(
            second
                .path()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .contains("tfevents")
        );
    }

    #[test]
    fn values_that_f32_cannot_hold_are_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(place.path(), 1).unwrap();
        for value in [f64::NAN, f64::INFINITY, 1e300] {
            assert!(
                board
                    .scalar(9, "grad_norm", value)
                    .unwrap_err()
                    .to_string()
                    .contains("grad_norm")
            );
        }
    }
}
