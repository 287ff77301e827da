//! Damage that knows where it hurts: lengths, checksums, lines, numbers.

use crate::seeds::{Seed, Shape};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `limit`, which is above zero.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Whole numbers at which readers stumble.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Text at which readers stumble.
const TEXTS: [&str; 18] = [
    "\u{feff}",
    "\"",
    "\\",
    ",",
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[2J",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "../",
    "/",
    "#",
    "99999999999999999999999",
    "-1",
    "null",
    "1e999",
    "\u{202e}",
];

/// A damaged copy of a file.
pub fn damaged(seed: &Seed, seeds: &[Seed], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.bytes.clone();
    for _ in 0..[1, 1, 1, 2, 4][random.below(5)] {
        if seed.shape == Shape::Text && random.below(2) == 0 {
            text(&mut bytes, random);
        } else {
            binary(&mut bytes, seeds, random);
        }
    }
    // Readers that check sums would see nothing but those.
    if random.below(8) > 0 {
        match seed.shape {
            Shape::Png => mend_png(&mut bytes),
            Shape::Tar => mend_tar(&mut bytes),
            Shape::Riff if random.below(2) == 0 => mend_riff(&mut bytes),
            Shape::Riff | Shape::Text | Shape::Other => {}
        }
    }
    bytes
}

fn binary(bytes: &mut Vec<u8>, seeds: &[Seed], random: &mut Random) {
    let length = bytes.len();
    let place = random.below(length);
    match random.below(8) {
        _ if length == 0 => bytes.extend(random.next().to_le_bytes()),
        0 => bytes[place] ^= 1 << random.below(8),
        1 => bytes[place] = random.next() as u8,
        2 => bytes.truncate(place),
        // A length, in either order of bytes.
        3 | 4 => {
            let width = [1, 2, 4, 8][random.below(4)];
            let mut number = NUMBERS[random.below(NUMBERS.len())];
            if random.below(3) == 0 {
                number = number.wrapping_add(random.next() % 9).wrapping_sub(4);
            }
            let number = number.to_le_bytes();
            let reverse = random.below(2) == 0;
            for index in 0..width {
                if let Some(byte) = bytes.get_mut(place + index) {
                    *byte = number[if reverse { width - 1 - index } else { index }];
                }
            }
        }
        // A piece of it again, or one less.
        5 => {
            let end = (place + 1 + random.below(64)).min(length);
            let piece = bytes[place..end].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, piece);
        }
        6 => {
            let end = (place + 1 + random.below(64)).min(length);
            bytes.drain(place..end);
        }
        // The rest of another file.
        _ => {
            let other = &seeds[random.below(seeds.len())].bytes;
            let from = random.below(other.len());
            bytes.truncate(place);
            bytes.extend(&other[from..]);
        }
    }
}

fn text(bytes: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    match random.below(3) {
        0 => {
            let text = TEXTS[random.below(TEXTS.len())];
            let times = [1, 1, 2, 300][random.below(4)];
            bytes.splice(place..place, text.repeat(times).into_bytes());
        }
        // Lines twice, lost, or in another order.
        1 => {
            let mut lines: Vec<Vec<u8>> = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            if !lines.is_empty() {
                let (one, two) = (random.below(lines.len()), random.below(lines.len()));
                match random.below(3) {
                    0 => lines.swap(one, two),
                    1 => _ = lines.remove(one),
                    _ => lines.insert(two, lines[one].clone()),
                }
                *bytes = lines.concat();
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = b"\"\\{}[],:\n\r\t0 "[random.below(13)];
            }
        }
    }
}

/// Puts right the checksums of a PNG's chunks, as far as they can be told.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let Some(chunk) = bytes.get(at + 4..end) else {
            return;
        };
        let sum = crc(chunk).to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else {
            return;
        };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
}

/// PNG's checksum, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| {
        let shifted = sum >> 1;
        if sum & 1 == 1 {
            shifted ^ 0xedb8_8320
        } else {
            shifted
        }
    };
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), step)
    })
}

/// Puts right the checksum of every block that could be a header of tar's.
fn mend_tar(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] != *b"ustar" {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Puts right the size of a WebP's outermost chunk.
fn mend_riff(bytes: &mut [u8]) {
    let size = (bytes.len().saturating_sub(8) as u32).to_le_bytes();
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&size);
    }
}
