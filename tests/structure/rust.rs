//! Rust source as far as its structure needs it: without comments, strings and tests.

/// The text with comments and the contents of strings and characters blanked; lines stay.
pub fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !ends_in_a_word(&code)) {
            length
        } else if first == '"' {
            quoted(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|letter| *letter == '\n'));
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

fn ends_in_a_word(code: &str) -> bool {
    code.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut place) = (0, 0);
    while place < text.len() {
        let rest = &text[place..];
        if rest.starts_with("/*") {
            (depth, place) = (depth + 1, place + 2);
        } else if rest.starts_with("*/") {
            (depth, place) = (depth - 1, place + 2);
            if depth == 0 {
                return place;
            }
        } else {
            place += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Bytes of a raw string that the text begins with.
fn raw_string(text: &str) -> Option<usize> {
    let inside = text
        .strip_prefix("r")
        .or_else(|| text.strip_prefix("br"))
        .or_else(|| text.strip_prefix("cr"))?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    let body = inside[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body
        .find(&end)
        .map_or(body.len(), |place| place + end.len());
    Some(text.len() - body.len() + length)
}

/// Bytes of the string that the text begins with.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (place, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the character that the text begins with; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let start = match first {
        '\\' => 1 + inside.chars().nth(1)?.len_utf8(),
        _ => first.len_utf8(),
    };
    let end = inside[start..].find('\'')?;
    // `'a'` and `'\u{201c}'`, not `'a, 'b`.
    (end == 0 || first == '\\').then_some(1 + start + end + 1)
}

/// [`code`] without the items that only tests have.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(place) = rest.find(MARK) {
        kept.push_str(&rest[..place]);
        rest = &rest[place + MARK.len()..];
        rest = &rest[item(rest)..];
    }
    kept + rest
}

/// Bytes to the end of the first item: its closing brace, or its semicolon.
fn item(code: &str) -> usize {
    let mut depth = 0;
    for (place, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return place + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return place + 1,
            _ => {}
        }
    }
    code.len()
}

/// One name that a `use` declaration brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The words of its path.
    pub path: Vec<String>,
    /// What it is called here.
    pub name: String,
    /// Whether others may use it from here.
    pub public: bool,
}

/// The words of every path that begins with `start::`, nested `use` lists taken apart.
pub fn paths_from(code: &str, start: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (place, _) in code.match_indices(&format!("{start}::")) {
        if !ends_in_a_word(&code[..place]) {
            let tree = &code[place..];
            found.extend(tree_of(&tree[..tree_end(tree)], false));
        }
    }
    found.into_iter().map(|used| used.path).collect()
}

/// What every `use` declaration brings in.
pub fn uses(code: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for (place, word) in code.match_indices("use ") {
        let before = code[..place].trim_end();
        let public = before.ends_with("pub") || before.ends_with(')');
        if public || before.is_empty() || before.ends_with([';', '}', '{', ']']) {
            let tree = &code[place + word.len()..];
            let tree = &tree[..tree.find(';').unwrap_or(tree.len())];
            uses.extend(tree_of(tree, public));
        }
    }
    uses
}

/// Where a path ends, the list in its braces included.
fn tree_end(text: &str) -> usize {
    let mut depth = 0;
    for (place, letter) in text.char_indices() {
        match letter {
            '{' if depth > 0 || text[..place].ends_with("::") => depth += 1,
            '}' if depth > 1 => depth -= 1,
            '}' if depth == 1 => return place + 1,
            _ if depth > 0 || letter.is_alphanumeric() || "_:".contains(letter) => {}
            _ => return place,
        }
    }
    text.len()
}

fn tree_of(tree: &str, public: bool) -> Vec<Use> {
    let words = |text: &str| -> Vec<String> {
        let words = text.split("::").map(|word| word.trim().to_string());
        words.filter(|word| !word.is_empty()).collect()
    };
    let Some((before, list)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path = words(path);
        let own = path.last().cloned().unwrap_or_default();
        let name = match alias.trim() {
            "" => own,
            alias => alias.to_string(),
        };
        let used = Use { path, name, public };
        return Some(used)
            .filter(|used| !used.path.is_empty())
            .into_iter()
            .collect();
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let (mut depth, mut start, mut inside) = (0, 0, Vec::new());
    for (place, letter) in list.char_indices().chain([(list.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                inside.extend(tree_of(&list[start..place], public));
                start = place + 1;
            }
            _ => {}
        }
    }
    let before = words(before);
    for used in &mut inside {
        used.path = [&before[..], &used.path].concat();
    }
    inside
}
