//! ffmpeg's description of a file, for people: lines such as
//!
//! `Duration: 00:00:02.13, start: 0.000000, bitrate: 44 kb/s`
//! `Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive),
//! 64x48 [SAR 1:1 DAR 4:3], 35 kb/s, 23.98 fps, 24 tbr, 16k tbn (default)`

use super::{Described, Stream, named};

pub(super) fn described(text: &str) -> Option<Described> {
    let mut found = Described::default();
    let mut file_seconds = None;
    // Whether the lines below belong to the video stream last seen.
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("ffmpeg version ") {
            found.ffmpeg_version = rest.split(' ').next().unwrap_or_default().to_string();
        } else if let Some(rest) = line.strip_prefix("Duration: ") {
            file_seconds = rest.split(',').next().and_then(clock);
        } else if line.starts_with("Stream #") {
            let video = stream(line);
            inside = video.is_some();
            found.streams.extend(video.map(|stream| Stream {
                file_seconds,
                ..stream
            }));
        } else if let (true, Some(stream)) = (inside, found.streams.last_mut()) {
            note(line, stream);
        }
    }
    (!found.streams.is_empty()).then_some(found)
}

/// What the lines below a stream's say of it.
fn note(line: &str, stream: &mut Stream) {
    if let Some(rest) = line.strip_prefix("displaymatrix: rotation of ") {
        let turn = rest.split_whitespace().next();
        stream.turn = turn.and_then(|turn| turn.parse().ok()).unwrap_or(0.0);
    } else if let Some((name, value)) = line.split_once(':') {
        stream.alpha_beside |=
            name.trim().eq_ignore_ascii_case("alpha_mode") && value.trim() == "1";
    }
}

fn stream(line: &str) -> Option<Stream> {
    let (head, description) = line.split_once(": Video: ")?;
    let index = head
        .split_once(':')?
        .1
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    let (width, height) = description.split([' ', ',']).find_map(|word| {
        let (width, height) = word.split_once('x')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    })?;
    let parts = top_level(description);
    let before = |unit: &str| {
        parts
            .iter()
            .find_map(|part| {
                part.split(" (")
                    .next()?
                    .strip_suffix(unit)?
                    .trim()
                    .parse()
                    .ok()
            })
            .filter(|&rate: &f64| rate > 0.0)
    };
    // Two decimals are printed: the television rates are told apart by their fraction.
    let exact = |rounded: f64| {
        [24.0, 30.0, 48.0, 60.0, 120.0]
            .into_iter()
            .map(|whole| whole * 1000.0 / 1001.0)
            .find(|rate| (rate - rounded).abs() < 0.006)
            .unwrap_or(rounded)
    };
    let aspect = description.split_once("SAR ").and_then(|(_, rest)| {
        let (width, rest) = rest.split_once(':')?;
        let height = rest.split([' ', ']', ',']).next()?;
        let (width, height): (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
        (width > 0.0 && height > 0.0).then_some(width / height)
    });
    let (pixel_format, notes) = parts
        .get(1)
        .copied()
        .unwrap_or_default()
        .split_once('(')
        .map_or(
            (parts.get(1).copied().unwrap_or_default(), ""),
            |(name, notes)| (name, notes.trim_end_matches(')')),
        );
    let [matrix, primaries, transfer] = colours(notes);
    Some(Stream {
        index,
        width,
        height,
        pixel_aspect: aspect,
        rate: [before(" fps"), before(" tbr")]
            .into_iter()
            .flatten()
            .map(exact)
            .reduce(f64::min),
        codec: parts
            .first()
            .and_then(|part| part.split(' ').next())
            .unwrap_or_default()
            .to_string(),
        pixel_format: pixel_format.to_string(),
        matrix,
        transfer,
        primaries,
        interlaced: notes.split(", ").find_map(|note| match note {
            "progressive" => Some(false),
            fields => fields.contains(" first").then_some(true),
        }),
        is_default: description.contains("(default)"),
        is_cover: description.contains("(attached pic)"),
        ..Stream::default()
    })
}

/// Parts between commas that stand outside brackets.
fn top_level(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (place, letter) in text.char_indices() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// Matrix, primaries and transfer function of `tv, bt2020nc/bt2020/smpte2084, progressive` or, all
/// three the same, of `tv, bt709`.
fn colours(notes: &str) -> [Option<String>; 3] {
    let is_other = |note: &&str| {
        matches!(*note, "tv" | "pc" | "progressive" | "")
            || note.contains(" first")
            || note.contains("bpc")
            || note.contains("bits")
    };
    let Some(note) = notes.split(", ").find(|note| !is_other(note)) else {
        return [None, None, None];
    };
    let names: Vec<&str> = note.split('/').collect();
    match names[..] {
        [matrix, primaries, transfer] => [named(matrix), named(primaries), named(transfer)],
        [all] => [named(all), named(all), named(all)],
        _ => [None, None, None],
    }
}

/// `HH:MM:SS.ss` in seconds.
fn clock(text: &str) -> Option<f64> {
    let mut parts = text.trim().split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}
