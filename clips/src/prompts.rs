//! Lists of prompts: a `.txt` with one a line, or a `.json` as VBench publishes it.
//!
//! VBench: `[{"prompt_en": "...", "dimension": [...]}, ...]`,
//! <https://github.com/Vchitect/VBench/tree/master/prompts>. An array of strings, or of objects
//! under another of the names of [`crate::layouts`], and one object or string per line (`.jsonl`)
//! are read too.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    json_items::items,
    manifest::PROMPT_NAMES,
    shown::{shown, shown_path},
    text::{self, TextError},
    video_io::extension,
};

/// Most bytes of a list.
const MAX_BYTES: u64 = 64 << 20;

/// Most bytes of a prompt, with whatever else its item holds.
const MAX_ITEM_BYTES: usize = 1 << 20;

/// Most prompts of a list.
const MAX_PROMPTS: usize = 1_000_000;

/// Endings of files that hold prompts in some form of their own, which read as text would make
/// prompts of the form.
const OTHER_FORMS: [&str; 11] = [
    "csv", "tsv", "yaml", "yml", "toml", "xml", "html", "md", "parquet", "xlsx", "tar",
];

/// Why a list of prompts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptsError {
    /// The file system refused.
    #[error("cannot read {}: {source}", shown_path(path))]
    Io {
        /// The list.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// It is not a list of prompts.
    #[error(
        "{}: {problem}; expected one prompt a line, or in a .json an array of {{\"prompt_en\": \
            \"...\"}}",
        shown_path(path)
    )]
    Form {
        /// The list.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// It is in another encoding.
    #[error("{}: {problem}", shown_path(path))]
    Text {
        /// The list.
        path: PathBuf,
        /// Which.
        problem: TextError,
    },
    /// A line that looks like a comment.
    #[error(
        "{}, line {line} begins with \"#\" ({text:?}); a list of prompts has no comments, so \
            remove the line, or put a prompt that begins so into a .jsonl as a string",
        shown_path(path)
    )]
    Comment {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// How it begins.
        text: String,
    },
}

/// The prompts of a list in its order, trimmed, each once where it is JSON (VBench repeats prompts
/// for several dimensions). Blank lines are skipped, and so is a byte order mark.
///
/// # Errors
/// [`PromptsError`]; an empty list is none. A line that begins with `#` is refused: it is either a
/// comment, which would be taught as a prompt, or a prompt, which would be lost.
pub fn read_prompts(path: &Path) -> Result<Vec<String>, PromptsError> {
    let form = |problem: String| PromptsError::Form {
        path: path.to_path_buf(),
        problem: shown(&problem),
    };
    let ending = extension(path);
    if OTHER_FORMS.contains(&ending.as_str()) {
        return Err(form(format!("a .{ending} is no list of prompts")));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| PromptsError::Io {
            path: path.to_path_buf(),
            source,
        })?;
    if read as u64 > MAX_BYTES {
        return Err(form(format!("it has more than {MAX_BYTES} bytes")));
    }
    let text = text::decoded(&bytes).map_err(|problem| PromptsError::Text {
        path: path.to_path_buf(),
        problem,
    })?;
    let lines = || {
        text.lines()
            .map(|line| text::unmarked(line).trim())
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
    };
    let mut prompts = Prompts::default();
    match ending.as_str() {
        "json" => {
            let mut refused = None;
            let mut index = 0;
            let told = items(text, &mut |item| {
                let added = prompts
                    .add(item)
                    .map_err(|problem| format!("item {index} (counted from 0) {problem}"));
                index += 1;
                refused = added.err();
                refused.is_none()
            });
            // An item that is no prompt comes before damage behind it.
            if let Some(problem) = refused {
                return Err(form(problem));
            }
            told.map_err(|error| form(format!("it is no JSON array ({error})")))?;
        }
        "jsonl" => {
            for (index, line) in lines() {
                let added = prompts.add(line);
                added.map_err(|problem| form(format!("line {} {problem}", index + 1)))?;
            }
        }
        _ => {
            for (index, line) in lines() {
                if line.starts_with('#') {
                    return Err(PromptsError::Comment {
                        path: path.to_path_buf(),
                        line: index + 1,
                        text: line.chars().take(40).collect(),
                    });
                }
                let added = prompts.push(line);
                added.map_err(|problem| form(format!("line {}: {problem}", index + 1)))?;
            }
        }
    }
    Ok(prompts.prompts)
}

/// Why an item is no prompt.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error("has {0} bytes; at most {MAX_ITEM_BYTES} are read")]
    Long(usize),
    #[error("is no JSON ({0})")]
    Json(serde_json::Error),
    #[error("has none of {PROMPT_NAMES:?}")]
    None,
    #[error("is one too many: at most {MAX_PROMPTS} prompts are read")]
    Many,
}

#[derive(Default)]
struct Prompts {
    prompts: Vec<String>,
    seen: BTreeSet<String>,
}

impl Prompts {
    /// Adds what an item of JSON says, once.
    fn add(&mut self, item: &str) -> Result<(), ItemError> {
        if item.len() > MAX_ITEM_BYTES {
            return Err(ItemError::Long(item.len()));
        }
        let value: Value = serde_json::from_str(item).map_err(ItemError::Json)?;
        let prompt = value.as_str().or_else(|| {
            PROMPT_NAMES
                .iter()
                .find_map(|name| value.get(*name)?.as_str())
        });
        let prompt = prompt
            .map(|prompt| text::unmarked(prompt).trim())
            .filter(|prompt| !prompt.is_empty())
            .ok_or(ItemError::None)?;
        if self.seen.insert(prompt.to_string()) {
            self.push(prompt)?;
        }
        Ok(())
    }

    fn push(&mut self, prompt: &str) -> Result<(), ItemError> {
        if prompt.len() > MAX_ITEM_BYTES {
            return Err(ItemError::Long(prompt.len()));
        }
        if self.prompts.len() == MAX_PROMPTS {
            return Err(ItemError::Many);
        }
        self.prompts.push(prompt.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_prompts(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn text_has_a_prompt_a_line_and_json_is_vbenchs() {
        assert_eq!(
            read("a.txt", " a ball \n\na box\n").unwrap(),
            ["a ball", "a box"]
        );
        let vbench = r#"[{"prompt_en": "a ball", "dimension": ["color"]},
            {"prompt_en": "a box"}, {"prompt_en": "a ball", "dimension": ["scene"]}]"#;
        assert_eq!(
            read("VBench_full_info.json", vbench).unwrap(),
            ["a ball", "a box"]
        );
        assert_eq!(
            read("a.json", r#"["a ball", {"prompt": "a box"}]"#).unwrap(),
            ["a ball", "a box"]
        );
        assert_eq!(
            read("a.jsonl", "{\"caption\": \"a ball\"}\n\n\"a box\"\n").unwrap(),
            ["a ball", "a box"]
        );
    }

    #[test]
    fn what_is_no_list_is_named() {
        for (text, expected) in [
            ("{\"a\": 1}", "no JSON array"),
            ("[{\"dimension\": []}]", "item 0"),
            ("[\"a\", \" \"]", "item 1"),
        ] {
            let message = read("list.json", text).unwrap_err();
            assert!(
                message.contains("list.json")
                    && message.contains(expected)
                    && message.contains("prompt_en"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_no_part_of_a_prompt() {
        for (name, text) in [
            ("a.txt", "\u{feff}a ball\r\na box\r\n"),
            ("joined.txt", "a ball\n\u{feff}a box\n"),
            (
                "a.json",
                "\u{feff}[\"a ball\",\r\n{\"text\": \"a box\"}]\r\n",
            ),
            (
                "a.jsonl",
                "\u{feff}\"a ball\"\r\n\u{feff}{\"caption\": \"a box\"}\r\n",
            ),
        ] {
            assert_eq!(read(name, text).unwrap(), ["a ball", "a box"], "{name}");
        }
    }

    #[test]
    fn comments_other_forms_and_other_encodings_are_refused_by_name() {
        let message = read("a.txt", "a ball\n  # a comment\n").unwrap_err();
        assert!(
            message.contains("a.txt, line 2 begins with \"#\" (\"# a comment\")"),
            "{message}"
        );
        // A hashtag is a prompt where it can be told from a comment.
        assert_eq!(read("a.jsonl", "\"#sunset\"\n").unwrap(), ["#sunset"]);
        let message = read("a.csv", "prompt\na ball\n").unwrap_err();
        assert!(
            message.contains("a .csv is no list of prompts"),
            "{message}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"\xff\xfea\0").unwrap();
        let message = read_prompts(&path).unwrap_err().to_string();
        assert!(
            message.ends_with("it is UTF-16; save it as UTF-8"),
            "{message}"
        );
    }

    #[test]
    fn a_list_of_too_many_prompts_is_refused_before_it_fills_the_memory() {
        let message = read("a.txt", &"a\n".repeat(MAX_PROMPTS + 1)).unwrap_err();
        assert!(message.contains("at most 1000000 prompts"), "{message}");
    }
}
