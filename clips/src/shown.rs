//! Strangers' names and texts, as messages show them: whatever moves a terminal's cursor, turns the
//! direction of reading or cannot be seen is written as an escape.

use std::path::Path;

/// `text` on one line, its invisible and controlling characters as `\n`, `\t`, `\u{1b}`.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A path as [`shown`]; bytes that are not UTF-8 are written `\xff`, a backslash is written twice,
/// so that different paths are shown differently.
pub fn shown_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        let valid = chunk.valid();
        if cfg!(windows) {
            text.push_str(&shown(valid));
        } else {
            text.push_str(&shown(&valid.replace('\\', "\\\\")));
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Control characters, line ends, marks of direction and of no width, tags.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_or_hides_is_escaped_and_letters_of_all_scripts_are_not() {
        assert_eq!(
            shown("a\u{1b}[31m\r\n\tb\u{202e}gpj\u{9b}\u{feff}"),
            "a\\u{1b}[31m\\r\\n\\tb\\u{202e}gpj\\u{9b}\\u{feff}"
        );
        let letters = "café, 红球, мяч, \"quoted\" 🎈 50 %";
        assert_eq!(shown(letters), letters);
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_utf_8_are_shown_by_their_bytes() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let path = |bytes| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(shown_path(path(b"d/\xff\xfe.mp4")), "d/\\xff\\xfe.mp4");
        assert_ne!(shown_path(path(b"\xff")), shown_path(path(b"\\xff")));
    }
}
