//! The house itself: who may import whom, how long files and lines are, and what comments cite.

#[path = "structure/files.rs"]
mod files;
#[path = "structure/graph.rs"]
mod graph;
#[path = "structure/modules.rs"]
mod modules;
#[path = "structure/rust.rs"]
mod rust;

use std::collections::BTreeSet;

use graph::{Graph, circles};
use modules::Modules;

/// The crates' sources.
const CRATES: [&str; 10] = [
    "src",
    "api/src",
    "api/mock/src",
    "backends/src",
    "clips/src",
    "metrics/src",
    "models/src",
    "noise/src",
    "report/src",
    "world/src",
];

/// Lines of a file of product code.
const MOST_LINES: usize = 400;
/// Columns of code and prose.
const MOST_COLUMNS: usize = 100;
/// Columns of what programs print, shown in Markdown.
const MOST_COLUMNS_SHOWN: usize = 160;

/// Files that a program wrote, or whose lines are data.
const GENERATED: &[&str] = &[
    // `afd bench` writes a paragraph on a line.
    "docs/results/evidence/",
    "report/tests/small.md",
    // `afd recipes fields`.
    "docs/recipe.md",
];

#[test]
fn folders_import_each_other_in_one_direction_only() {
    let edges = Modules::of("src").between_folders();
    assert!(edges.len() > 40, "{edges:#?}");
    let mut graph = Graph::new();
    for (from, to) in edges.keys() {
        graph.entry(from.clone()).or_default().insert(to.clone());
    }
    if let Some(circle) = circles(&graph).first() {
        let inside: Vec<_> = edges
            .iter()
            .filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
            .collect();
        panic!("{circle:?} import each other:\n{inside:#?}");
    }
}

#[test]
fn files_import_each_other_in_one_direction_only() {
    let mut found = Vec::new();
    for src in CRATES {
        let graph = Modules::of(src).between_files();
        assert!(!graph.is_empty(), "{src}");
        found.extend(circles(&graph));
    }
    assert!(found.is_empty(), "these import each other:\n{found:#?}");
}

#[test]
fn no_file_of_product_code_is_too_long() {
    let mut long = Vec::new();
    for path in files::all() {
        if path.ends_with(".rs") && !files::is_test(&path) {
            let lines = files::text(&path).unwrap_or_default().lines().count();
            if lines > MOST_LINES {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "more than 400 lines:\n{long:#?}");
}

#[test]
fn no_line_of_code_or_prose_is_too_wide() {
    let mut wide = Vec::new();
    for path in files::all() {
        if GENERATED
            .iter()
            .any(|generated| path.starts_with(generated))
        {
            continue;
        }
        let ending = path.rsplit('.').next().unwrap_or_default();
        if !["rs", "toml", "py", "sh", "md"].contains(&ending) && !path.starts_with(".ci/") {
            continue;
        }
        let Some(text) = files::text(&path) else {
            continue;
        };
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= ending == "md" && line.trim_start().starts_with("```");
            let most = match ending {
                "md" if fenced => MOST_COLUMNS_SHOWN,
                _ => MOST_COLUMNS,
            };
            if !is_data(ending, line) && columns(line) > most {
                wide.push(format!("{path}:{}: {line}", number + 1));
                break;
            }
        }
    }
    assert!(wide.is_empty(), "more than 100 columns:\n{wide:#?}");
}

/// Lines that cannot be broken: tables, values of TOML, and JSON in a raw string.
fn is_data(ending: &str, line: &str) -> bool {
    match ending {
        "md" => line.trim_start().starts_with('|'),
        "toml" => !line.trim_start().starts_with('#') && !line.contains(" # "),
        "rs" => line.contains("r#\"{"),
        _ => false,
    }
}

/// Columns of a line, addresses not counted.
fn columns(line: &str) -> usize {
    let address = |word: &str| {
        let start = word.find("http").or_else(|| word.find("]("));
        start.map_or(0, |start| word[start..].chars().count())
    };
    line.chars().count() - line.split(' ').map(address).sum::<usize>()
}

/// A comment drawn up to the `#!` line would become an argument of `env`.
#[test]
fn the_first_line_of_a_script_names_its_interpreter_and_nothing_else() {
    let mut scripts = 0;
    for path in files::all() {
        let text = files::text(&path).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        if path.ends_with(".rs") || !first.starts_with("#!") {
            continue;
        }
        scripts += 1;
        let interpreters = ["#!/usr/bin/env bash", "#!/usr/bin/env python3"];
        assert!(interpreters.contains(&first), "{path}: {first}");
    }
    assert!(scripts > 8, "{scripts} scripts found");
}

#[test]
fn comments_cite_what_docs_method_md_has() {
    let method = files::text("docs/method.md").unwrap_or_default();
    let numbers = numbers_of(&method);
    assert!(numbers.len() > 50, "{numbers:?}");
    let mut problems = Vec::new();
    for path in files::all() {
        if path.ends_with("/method.md") && path != "docs/method.md" {
            problems.push(format!("{path}: there is one docs/method.md"));
        }
        let ending = path.rsplit('.').next().unwrap_or_default();
        if !["rs", "toml", "py", "sh", "md"].contains(&ending) || path == "tests/structure.rs" {
            continue;
        }
        for cited in cited(&files::text(&path).unwrap_or_default()) {
            if !numbers.contains(&cited) {
                problems.push(format!("{path}: docs/method.md has no {cited}"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// `A`, `A.1` and `B.2.1` of headings and numbered paragraphs.
fn numbers_of(method: &str) -> BTreeSet<String> {
    method
        .lines()
        .filter_map(|line| {
            let heading = line.starts_with("##") || line.starts_with("**");
            let number = line
                .trim_start_matches(['#', '*', ' '])
                .split([' ', '*'])
                .next()?;
            let number = number.trim_end_matches('.');
            (heading && is_number(number)).then(|| number.to_string())
        })
        .collect()
}

/// A capital letter, perhaps with numbers after it: `B.2.4`.
fn is_number(word: &str) -> bool {
    let mut parts = word.split('.');
    let letter = parts.next().unwrap_or_default();
    letter.len() == 1
        && letter.starts_with(|letter: char| letter.is_ascii_uppercase())
        && parts.all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Numbers that follow the name of the method's page: `method.md E.4, E.7)`.
fn cited(text: &str) -> Vec<String> {
    // A citation may be broken over two comment lines.
    let joined: String = text
        .lines()
        .map(|line| line.trim_start().trim_start_matches(['/', '!', '#']))
        .collect::<Vec<_>>()
        .join(" ");
    let mut cited = Vec::new();
    for (place, name) in joined.match_indices("method.md") {
        let after = &joined[place + name.len()..];
        let after = after.strip_prefix(')').unwrap_or(after);
        for word in after.split_whitespace() {
            let number = word.trim_end_matches([',', ';', ')', ':', '.']);
            if !is_number(number) {
                break;
            }
            cited.push(number.to_string());
            if !word.ends_with(',') {
                break;
            }
        }
    }
    cited
}

#[test]
fn imports_are_read_off_code_alone() {
    let text = r##"
//! use crate::comment::X;
use crate::a::{B, c::{self, D as E}};
pub(crate) use super::f::g;
/* use crate::block; /* nested */ */
fn h<'a>(x: &'a str) -> char {
    let _ = "use crate::string; \" crate::more";
    let _ = r#"crate::raw " "#;
    let _ = ('"', '\'', 'c', '\u{201c}');
    crate::inline::call::<u8>(x)
}
#[cfg(test)]
mod tests {
    use crate::testing;
    fn t() { { crate::testing::more() } }
}
use self::last::L;
"##;
    let code = rust::without_tests(&rust::code(text));
    let join = |paths: Vec<Vec<String>>| -> Vec<String> {
        paths.into_iter().map(|path| path.join("::")).collect()
    };
    assert_eq!(
        join(
            rust::uses(&code)
                .into_iter()
                .map(|used| used.path)
                .collect()
        ),
        [
            "crate::a::B",
            "crate::a::c::self",
            "crate::a::c::D",
            "super::f::g",
            "self::last::L"
        ]
    );
    let public: Vec<String> = rust::uses(&code)
        .into_iter()
        .filter(|used| used.public)
        .map(|used| used.name)
        .collect();
    assert_eq!(public, ["g"]);
    assert_eq!(
        join(rust::paths_from(&code, "crate")),
        [
            "crate::a::B",
            "crate::a::c::self",
            "crate::a::c::D",
            "crate::inline::call"
        ]
    );
    assert_eq!(code.lines().count(), text.lines().count() - 4);
}

#[test]
fn a_circle_is_found_however_long_it_is() {
    let edge = |from: &str, to: &str| (from.to_string(), BTreeSet::from([to.to_string()]));
    let graph = Graph::from([
        edge("a", "b"),
        edge("b", "c"),
        edge("c", "a"),
        edge("d", "a"),
    ]);
    let circle = BTreeSet::from(["a", "b", "c"].map(String::from));
    assert_eq!(circles(&graph), [circle]);
}

#[test]
fn citations_are_found_across_lines() {
    let text = "/// From the sizes (method.md B.1, B.4,\n//! G.8). See [method.md](method.md) A.";
    assert_eq!(cited(text), ["B.1", "B.4", "G.8", "A"]);
    assert!(cited("docs/method.md has it").is_empty());
    assert_eq!(
        numbers_of("## A. Path\n### A.1 Line\n**B.2.1 Patches.**\nA.9 is prose"),
        BTreeSet::from(["A", "A.1", "B.2.1"].map(String::from))
    );
}
