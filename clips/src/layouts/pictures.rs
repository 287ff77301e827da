//! Whether a picture moves.

use std::io::{self, Read};

/// Chunks that are looked at, and bytes that are gone through.
const MAX_CHUNKS: usize = 64;
const MAX_BYTES: u64 = 1 << 20;

/// Whether a PNG is an animated one: its control chunk `acTL` comes before the first picture's
/// data.
pub(super) fn is_animated_png(file: impl Read) -> bool {
    animation(&mut file.take(MAX_BYTES)).unwrap_or(false)
}

fn animation(file: &mut impl Read) -> io::Result<bool> {
    let mut signature = [0; 8];
    file.read_exact(&mut signature)?;
    if signature != *b"\x89PNG\r\n\x1a\n" {
        return Ok(false);
    }
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        match &head[4..] {
            b"acTL" => return Ok(true),
            b"IDAT" | b"IEND" => return Ok(false),
            // Data and checksum.
            _ => io::copy(&mut file.take(u64::from(length) + 4), &mut io::sink())?,
        };
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_control_chunk_before_the_picture_makes_an_animation() {
        let chunk = |name: &[u8; 4], data: &[u8]| {
            let length = (data.len() as u32).to_be_bytes();
            [&length[..], name, data, &[0; 4]].concat()
        };
        let png = |chunks: &[Vec<u8>]| [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat();
        let (head, data, control) = (
            chunk(b"IHDR", &[0; 13]),
            chunk(b"IDAT", b"x"),
            chunk(b"acTL", &[0; 8]),
        );
        let moves = [head.clone(), control.clone(), data.clone()];
        assert!(is_animated_png(&png(&moves)[..]));
        assert!(!is_animated_png(&png(&[head, data, control])[..]));
        assert!(!is_animated_png(&b"GIF89a"[..]));
    }
}
