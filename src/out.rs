//! What the program prints. A reader that leaves ends no work, and nothing that was read from files
//! or servers steers the terminal.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Writes one line to standard output, as `println!` does, and never panics.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::out::line(format_args!($($argument)*))
    };
}
pub(crate) use say;

/// Writes one line to standard error, as `eprintln!` does, and never panics.
macro_rules! note {
    ($($argument:tt)*) => {
        $crate::out::error_line(format_args!($($argument)*))
    };
}
pub(crate) use note;

/// Why standard output ended before the program did.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes one line to standard output. What cannot be written is remembered for [`lost`], and the
/// work goes on.
pub fn line(text: Arguments<'_>) {
    if LOST.get().is_some() {
        return;
    }
    if let Err(error) = writeln!(io::stdout().lock(), "{}", plain(&text.to_string())) {
        // Somebody else's error came first where it is set already.
        let _ = LOST.set(error);
    }
}

/// Writes one line to standard error, if anybody still reads it.
pub fn error_line(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(&text.to_string()));
}

/// Why a part of what was said to standard output is lost. A closed pipe loses nothing: its reader
/// had enough.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
        .filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// The text with what a terminal would obey written as in JSON (`\u001b`): control characters but
/// ends of lines and tabs, and those that turn the direction of writing.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text
        .chars()
        .any(|letter| commands(letter) && letter != '\n' && letter != '\t')
    {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if commands(letter) && letter != '\n' && letter != '\t' {
            // Writing into a string does not fail.
            let _ = write!(plain, "\\u{:04x}", u32::from(letter));
        } else {
            plain.push(letter);
        }
    }
    Cow::Owned(plain)
}

/// Whether a terminal would obey the character instead of showing it.
pub fn commands(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out_and_json_stays_json() {
        assert!(matches!(plain("a red ball\n\tß 日本"), Cow::Borrowed(_)));
        assert_eq!(
            plain("\u{1b}[2Ja\rb\u{9b}c\u{202e}d\u{7f}"),
            "\\u001b[2Ja\\u000db\\u009bc\\u202ed\\u007f"
        );
        let json = serde_json::json!({"name": "\u{202e}gnp\u{7f}"});
        let printed = plain(&json.to_string()).into_owned();
        let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(read, json);
    }
}
