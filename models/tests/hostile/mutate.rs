//! Random edits of good files.

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Numbers that break arithmetic, as they stand in JSON and in binary headers.
const NUMBERS: [&[u8]; 8] = [
    b"0",
    b"-1",
    b"18446744073709551615",
    b"9223372036854775807",
    b"4294967295",
    b"1e9",
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0x7f],
];

/// `good` after one to eight edits, most of them in the places named.
pub fn mutated(
    good: &[u8],
    random: &mut Random,
    interesting: &[std::ops::Range<usize>],
) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(8) {
        // Most edits where the structure is.
        let place = &interesting[random.below(interesting.len())];
        let at = (place.start + random.below(place.len())).min(bytes.len().saturating_sub(1));
        match random.below(7) {
            _ if bytes.is_empty() => break,
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + 1 + random.below(16)).min(bytes.len()))),
            4 => {
                let number = NUMBERS[random.below(NUMBERS.len())];
                let end = (at + number.len()).min(bytes.len());
                bytes.splice(at..end, number.iter().copied());
            }
            5 => {
                let number = NUMBERS[random.below(NUMBERS.len())];
                bytes.splice(at..at, number.iter().copied());
            }
            // A piece of the file again, somewhere else.
            _ => {
                let from = random.below(bytes.len());
                let piece = bytes[from..(from + 1 + random.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}
