//! Text files as people's tools save them: UTF-8, with or without a byte order mark.

/// What some editors put before the text.
const MARK: char = '\u{feff}';

/// Why a file's bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Its first bytes are another encoding's mark.
    #[error("it is UTF-16; save it as UTF-8")]
    Utf16,
    /// Some byte belongs to no character.
    #[error("it is not UTF-8 from byte {at} on; save it as UTF-8")]
    Utf8 {
        /// The byte, from 0.
        at: usize,
    },
}

/// `bytes` as text, without the mark.
///
/// # Errors
/// [`TextError`] for other encodings.
pub(crate) fn decoded(bytes: &[u8]) -> Result<&str, TextError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(TextError::Utf16);
    }
    std::str::from_utf8(bytes)
        .map(unmarked)
        .map_err(|error| TextError::Utf8 {
            at: error.valid_up_to(),
        })
}

/// `text` without the mark, which files that were joined have in their midst too.
pub(crate) fn unmarked(text: &str) -> &str {
    text.trim_start_matches(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_dropped_and_other_encodings_are_named() {
        assert_eq!(decoded(b"\xef\xbb\xbfa ball").unwrap(), "a ball");
        assert_eq!(decoded(b"\xff\xfea\0").unwrap_err(), TextError::Utf16);
        assert_eq!(decoded(b"ab\xff").unwrap_err(), TextError::Utf8 { at: 2 });
    }
}
