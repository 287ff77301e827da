//! Texts from outside, made fit to be shown and stored: no keys, no signatures, nothing that a
//! terminal obeys, no end of length.

/// Characters of a text from outside that are shown.
const LONGEST: usize = 300;
/// Characters of a value that an error quotes.
const BRIEF: usize = 60;

/// One line of at most 300 characters that a terminal only prints: control characters become
/// blanks, and what turns or hides text (U+202E and its kin) becomes its number.
pub fn shown(text: &str) -> String {
    shortened(text, LONGEST)
}

/// The same for a value that an error quotes, of at most 60 characters.
pub(crate) fn brief(text: &str) -> String {
    shortened(text, BRIEF)
}

fn shortened(text: &str, longest: usize) -> String {
    let mut line: String = text.chars().take(longest).map(printable).collect();
    if text.chars().nth(longest).is_some() {
        line.push_str("...");
    }
    line
}

fn printable(letter: char) -> String {
    let hides = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}');
    match letter {
        _ if letter.is_control() => " ".to_string(),
        _ if hides => format!("U+{:04X}", u32::from(letter)),
        _ => letter.to_string(),
    }
}

/// What may be shown and stored of a text from outside: one line as [`shown`] makes it, with none
/// of `secrets`, no web tokens, and no query strings of addresses, which are often signatures.
pub(crate) fn scrub(text: &str, secrets: &[String]) -> String {
    let mut clean = text.to_string();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        clean = clean.replace(secret, "[key]");
    }
    shown(&without_queries(&without_tokens(&clean)))
}

/// JSON web tokens (RFC 7519): three parts of base64, of which the first begins with `{"`.
fn without_tokens(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let end = rest[start..]
            .find(|letter: char| !letter.is_ascii_alphanumeric() && !"-_.=".contains(letter))
            .map_or(rest.len(), |end| start + end);
        let token = rest[start..end].matches('.').count() >= 2;
        kept.extend([
            &rest[..start],
            if token { "[token]" } else { &rest[start..end] },
        ]);
        rest = &rest[end..];
    }
    kept + rest
}

fn without_queries(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let end = rest[start..]
            .find(|letter: char| letter.is_whitespace() || "\"'<>)],".contains(letter))
            .map_or(rest.len(), |end| start + end);
        let address = &rest[..end];
        match address[start..].find(['?', '#']) {
            Some(query) => kept.extend([&address[..start + query], "?..."]),
            None => kept.push_str(address),
        }
        rest = &rest[end..];
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_lose_keys_signatures_and_length() {
        let text = "Incorrect key sk-1234; see https://a.b/c?sig=S3&x=1, (http://d/e#f) \
            \"https://g/h\"\n\x1b[31m";
        assert_eq!(
            scrub(text, &["sk-1234".to_string(), String::new()]),
            "Incorrect key [key]; see https://a.b/c?..., (http://d/e?...) \"https://g/h\"  [31m"
        );
        assert_eq!(scrub(&"ä".repeat(400), &[]).chars().count(), 303);
    }

    #[test]
    fn tokens_are_hidden_and_words_that_begin_alike_are_not() {
        assert_eq!(
            scrub("Bearer eyJhbGci.eyJpc3Mi.c2ln-_x, wrong; eyJust words", &[]),
            "Bearer [token], wrong; eyJust words"
        );
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let text = "a\x1b]0;x\x07\u{9b}31m\r\u{202e}b\u{200b}\u{e0041}";
        let line = shown(text);
        assert_eq!(line, "a ]0;x  31m U+202EbU+200BU+E0041");
        assert_eq!(brief(&"9".repeat(300)).len(), 63);
    }
}
