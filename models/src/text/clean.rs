//! How Wan cleans a prompt before it is split into pieces (docs/method.md D): broken encodings
//! repaired, character references resolved twice, white space collapsed.
//!
//! The reference is `ftfy.fix_text`, `html.unescape` twice, `re.sub(r"\s+", " ", text)` and
//! `strip`, in Python. The repair of encodings is the crate `plsfix`, a port of ftfy; the rest of
//! ftfy's steps that it has wrong or leaves out (references in text with tags, terminal escapes) is
//! here. Where this differs from Python, see [`clean`].

use plsfix::TextFixerConfig;

/// ftfy repeats its steps until nothing changes; here there is an end to it.
const ROUNDS: usize = 16;

/// The prompt as Wan's tokenizer gets it.
///
/// Differs from Python where `plsfix` 0.1.8, which follows an earlier ftfy, takes other text for
/// broken than ftfy 6.3.1: it knows no Windows-1257 (Baltic), and not all that came by way of other
/// code pages (emoji by MacRoman, Korean by Windows-1250, Japanese by Windows-1253), nor all text
/// that is broken in parts. Most such prompts stay as they are. Of the 347 prompts of
/// `tests/text.rs` that is six; whole prompts that are not broken, or broken as usual (UTF-8 read
/// as Latin-1 or Windows-1252, once or twice), are among the 341 that come out the same.
pub fn clean(prompt: &str) -> String {
    let text = unescape(&unescape(&fix_text(prompt)));
    text.split(is_space)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// What Python's `\s` and `str.strip` take for white space.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// ftfy's default steps, line by line. From the first line with a tag on, character references are
/// left to the steps that follow.
fn fix_text(text: &str) -> String {
    let mut tagged = false;
    text.split_inclusive('\n')
        .map(|line| {
            tagged |= line.contains('<');
            fix_line(line, !tagged)
        })
        .collect()
}

fn fix_line(line: &str, references: bool) -> String {
    let mut text = line.to_string();
    for _ in 0..ROUNDS {
        let unescaped = if references {
            unescape_complete(&text)
        } else {
            text.clone()
        };
        let fixed = remove_controls(&remove_terminal_escapes(&repair(&unescaped)));
        if fixed == text {
            break;
        }
        text = fixed;
    }
    text
}

/// Encodings, ligatures, character widths, quotes, line breaks and composition, by `plsfix`.
fn repair(text: &str) -> String {
    let config = TextFixerConfig {
        remove_terminal_escapes: false,
        remove_control_chars: false,
        ..TextFixerConfig::default()
    };
    // It would resolve character references whether it should or not: a control character that the
    // text lacks stands in for their `&`.
    match ('\x01'..='\x08').find(|stand_in| !text.contains(*stand_in)) {
        Some(stand_in) => {
            let hidden = text.replace('&', stand_in.encode_utf8(&mut [0; 4]));
            plsfix::fix_and_explain(&hidden, false, Some(&config))
                .text
                .replace(stand_in, "&")
        }
        None => text.to_string(),
    }
}

/// Without `ESC [ 31 m` and its kind.
fn remove_terminal_escapes(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut kept = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let command = piece
            .trim_start_matches(|character: char| character.is_ascii_digit() || character == ';');
        if command.starts_with(|character: char| character.is_ascii_alphabetic()) {
            kept.push_str(&command[1..]);
        } else {
            kept.push_str("\x1b[");
            kept.push_str(piece);
        }
    }
    kept
}

/// Without control characters that are not white space, deprecated Arabic forms, annotation marks
/// and byte order marks.
fn remove_controls(text: &str) -> String {
    let unwanted = |character: &char| {
        matches!(
            character,
            '\0'..='\x08'
                | '\x0b'
                | '\x0e'..='\x1f'
                | '\x7f'
                | '\u{206a}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffc}'
        )
    };
    text.chars()
        .filter(|character| !unwanted(character))
        .collect()
}

/// ftfy's cautious resolution: only references that end in a semicolon, and names that were put
/// into capitals as a whole.
fn unescape_complete(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut resolved = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let name_end = piece
            .find(|character: char| !character.is_ascii_alphanumeric() && character != '#')
            .unwrap_or(piece.len());
        let (name, rest) = piece.split_at(name_end);
        let complete = rest
            .strip_prefix(';')
            .filter(|_| (1..=24).contains(&name.trim_start_matches('#').len()));
        match complete.and_then(|rest| Some((complete_reference(name)?, rest))) {
            Some((character, rest)) => {
                resolved.push_str(&character);
                resolved.push_str(rest);
            }
            None => {
                resolved.push('&');
                resolved.push_str(piece);
            }
        }
    }
    resolved
}

/// What `&name;` stands for, if it is a reference as a whole.
fn complete_reference(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let (character, rest) = numbered(number)?;
        return rest.is_empty().then_some(character);
    }
    let listed = |name: &str| {
        htmlize::ENTITIES
            .get(format!("&{name};").as_bytes())
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
    };
    listed(name).or_else(|| {
        let (lower, whole) = (name.to_ascii_lowercase(), format!("&{name};"));
        let capitals = name == name.to_ascii_uppercase() && unescape(&whole) == whole;
        listed(&lower)
            .filter(|_| capitals)
            .map(|character| character.to_uppercase())
    })
}

/// Python's `html.unescape`: every reference of HTML 5, with or without a semicolon, once.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut resolved = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        match piece.strip_prefix('#').and_then(numbered) {
            Some((character, rest)) => {
                resolved.push_str(&character);
                resolved.push_str(rest.strip_prefix(';').unwrap_or(rest));
            }
            None => resolved.push_str(&htmlize::unescape(format!("&{piece}"))),
        }
    }
    resolved
}

/// The character of a numeric reference (`39;...` or `x27;...`) and what follows its digits;
/// nothing for numbers that HTML 5 forbids.
fn numbered(text: &str) -> Option<(String, &str)> {
    let (digits, radix) = text
        .strip_prefix(['x', 'X'])
        .map_or((text, 10), |digits| (digits, 16));
    let (digits, rest) = digits.split_at(
        digits
            .find(|character: char| !character.is_digit(radix))
            .unwrap_or(digits.len()),
    );
    if digits.is_empty() {
        return None;
    }
    // A number too long for 32 bits is beyond Unicode too.
    let number = u32::from_str_radix(digits.trim_start_matches('0'), radix).unwrap_or(
        if digits.trim_matches('0').is_empty() {
            0
        } else {
            u32::MAX
        },
    );
    let character = match number {
        // Windows-1252, as HTML 5 reads these.
        0x80..=0x9f => WINDOWS_1252[number as usize - 0x80].to_string(),
        0x0d => "\r".to_string(),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        0 => char::REPLACEMENT_CHARACTER.to_string(),
        _ => match char::from_u32(number) {
            Some(_) if number & 0xfffe == 0xfffe => String::new(),
            found => found.unwrap_or(char::REPLACEMENT_CHARACTER).to_string(),
        },
    };
    Some((character, rest))
}

/// Bytes 0x80 to 0x9f of Windows-1252; the five that it lacks stand for themselves.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
