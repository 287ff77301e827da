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

use crate::{manifest::PROMPT_NAMES, video_io::extension};

/// Most bytes of a list.
const MAX_BYTES: u64 = 64 << 20;

/// Why a list of prompts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptsError {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The list.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// It is not a list of prompts.
    #[error(
        "{path}: {problem}; expected one prompt a line, or in a .json an array of {{\"prompt_en\": \
            \"...\"}}"
    )]
    Form {
        /// The list.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

/// The prompts of a list in its order, trimmed, each once where it is JSON (VBench repeats prompts
/// for several dimensions). Blank lines are skipped.
///
/// # Errors
/// [`PromptsError`]; an empty list is none.
pub fn read_prompts(path: &Path) -> Result<Vec<String>, PromptsError> {
    let error = |source| PromptsError::Io {
        path: path.to_path_buf(),
        source,
    };
    let form = |problem: String| PromptsError::Form {
        path: path.to_path_buf(),
        problem,
    };
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(error)?;
    if read as u64 > MAX_BYTES {
        return Err(form(format!("it has more than {MAX_BYTES} bytes")));
    }
    let values: Vec<Value> = match extension(path).as_str() {
        "json" => serde_json::from_str(&text)
            .map_err(|error| form(format!("it is no JSON array ({error})")))?,
        "jsonl" => {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty());
            let parse = |(index, line)| {
                serde_json::from_str(line)
                    .map_err(|error| form(format!("line {}: {error}", index + 1)))
            };
            lines.map(parse).collect::<Result<_, _>>()?
        }
        _ => {
            return Ok(text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_string)
                .collect());
        }
    };
    let mut seen = BTreeSet::new();
    let mut prompts = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let prompt = value.as_str().or_else(|| {
            PROMPT_NAMES
                .iter()
                .find_map(|name| value.get(*name)?.as_str())
        });
        let prompt = prompt.map(str::trim).filter(|prompt| !prompt.is_empty());
        let prompt = prompt.ok_or_else(|| {
            form(format!(
                "item {index} (counted from 0) has none of {PROMPT_NAMES:?}"
            ))
        })?;
        if seen.insert(prompt) {
            prompts.push(prompt.to_string());
        }
    }
    Ok(prompts)
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
}
