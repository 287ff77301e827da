//! What an MP4 or MOV claims about its pictures, read from its boxes before any decoder sees it
//! (ISO/IEC 14496-12).
//!
//! ffmpeg believes the pictures where they contradict the container; a file whose container lies is
//! not worth that trust.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::{VideoError, bytes, limits};

/// Boxes that are gone into.
const CONTAINERS: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// Most boxes that are looked at.
const MAX_BOXES: usize = 10_000;

/// Refuses a file that claims a size, or a number of pictures, over the limits. A file whose boxes
/// make no sense is left to ffmpeg, which says so.
pub(super) fn check(path: &Path) -> Result<(), VideoError> {
    let error = VideoError::io("read", path);
    let file = File::open(path).map_err(error)?;
    let length = file.metadata().map_err(error)?.len();
    let mut claims = Claims::default();
    // Whatever cannot be read is no claim.
    let _ = walk(&mut BufReader::new(file), 0, length, &mut claims, 0);
    for track in &claims.tracks {
        for &(width, height) in &track.sizes {
            // Some writers leave the size to the stream.
            if width > 0 && height > 0 {
                limits::check(path, width, height, track.pictures.max(1))?;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Claims {
    boxes: usize,
    tracks: Vec<Track>,
}

#[derive(Default)]
struct Track {
    is_video: bool,
    sizes: Vec<(u32, u32)>,
    pictures: u64,
}

fn walk(
    file: &mut (impl Read + Seek),
    start: u64,
    end: u64,
    claims: &mut Claims,
    depth: usize,
) -> io::Result<()> {
    let mut place = start;
    while place + 8 <= end && claims.boxes < MAX_BOXES {
        claims.boxes += 1;
        file.seek(SeekFrom::Start(place))?;
        let head: [u8; 8] = bytes(file)?;
        let kind: [u8; 4] = [head[4], head[5], head[6], head[7]];
        let (body, size) = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0 => (place + 8, end - place),
            1 => (place + 16, u64::from_be_bytes(bytes(file)?)),
            size => (place + 8, u64::from(size)),
        };
        let next = match place.checked_add(size) {
            Some(next) if next <= end && next >= body => next,
            _ => return Ok(()),
        };
        if &kind == b"trak" {
            claims.tracks.push(Track::default());
        }
        if CONTAINERS.contains(&&kind) && depth < CONTAINERS.len() {
            walk(file, body, next, claims, depth + 1)?;
            if &kind == b"trak" && claims.tracks.last().is_some_and(|track| !track.is_video) {
                claims.tracks.pop();
            }
        } else if let Some(track) = claims.tracks.last_mut() {
            read(file, &kind, next, track)?;
        }
        place = next;
    }
    Ok(())
}

/// The three boxes that claim something; each begins with a version and flags.
fn read(
    file: &mut (impl Read + Seek),
    kind: &[u8; 4],
    end: u64,
    track: &mut Track,
) -> io::Result<()> {
    match kind {
        // QuickTime's tracks have a second handler, of their data.
        b"hdlr" => track.is_video |= bytes::<12>(file)?[8..] == *b"vide",
        b"stsz" => {
            let fields: [u8; 12] = bytes(file)?;
            track.pictures = u64::from(u32::from_be_bytes([
                fields[8], fields[9], fields[10], fields[11],
            ]));
        }
        b"stsd" => {
            let _: [u8; 8] = bytes(file)?;
            let mut entry = file.stream_position()?;
            while entry + 36 <= end && track.sizes.len() < 16 {
                file.seek(SeekFrom::Start(entry))?;
                // Size, format, reserved and index (16 bytes), predefined (16), width and height.
                let fields: [u8; 36] = bytes(file)?;
                let side = |at: usize| u32::from(u16::from_be_bytes([fields[at], fields[at + 1]]));
                track.sizes.push((side(32), side(34)));
                entry += u64::from(
                    u32::from_be_bytes([fields[0], fields[1], fields[2], fields[3]]).max(36),
                );
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    /// A film's description with one track.
    fn film(handler: &[u8; 4], width: u16, height: u16, pictures: u32) -> Vec<u8> {
        let mut entry = [0; 36];
        entry[..4].copy_from_slice(&36u32.to_be_bytes());
        entry[32..34].copy_from_slice(&width.to_be_bytes());
        entry[34..].copy_from_slice(&height.to_be_bytes());
        let sizes = part(b"stsz", &[&[0; 8][..], &pictures.to_be_bytes()].concat());
        let table = part(
            b"stbl",
            &[
                part(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &entry[..]].concat()),
                sizes,
            ]
            .concat(),
        );
        let media = part(
            b"mdia",
            &[
                part(b"hdlr", &[&[0; 8][..], handler, &[0; 12]].concat()),
                part(b"minf", &table),
            ]
            .concat(),
        );
        [
            part(b"ftyp", b"isom"),
            part(b"moov", &part(b"trak", &media)),
        ]
        .concat()
    }

    fn refusal(bytes: &[u8]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        std::fs::write(&path, bytes).unwrap();
        check(&path).err().map(|error| error.to_string())
    }

    #[test]
    fn claims_over_the_limits_are_refused_and_other_tracks_have_none() {
        assert_eq!(refusal(&film(b"vide", 832, 480, 81)), None);
        assert!(
            refusal(&film(b"vide", 65535, 65535, 1))
                .unwrap()
                .contains("65535 x 65535")
        );
        assert!(
            refusal(&film(b"vide", 64, 64, 1_000_000))
                .unwrap()
                .contains("1000000")
        );
        assert_eq!(refusal(&film(b"soun", 65535, 65535, 1_000_000)), None);
    }

    #[test]
    fn boxes_of_nonsense_and_cut_files_end_the_walk() {
        let whole = film(b"vide", 832, 480, 81);
        for length in 0..whole.len() {
            assert_eq!(refusal(&whole[..length]), None);
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            let _ = refusal(&changed);
        }
    }
}
