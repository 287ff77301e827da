//! Modules of a crate, and which of them import which.

use std::collections::{BTreeMap, BTreeSet};

use super::files;
use super::graph::Graph;
use super::rust::{self, Use};

/// A module's path in words, from the crate's root.
type Module = Vec<String>;

/// A crate's modules.
pub struct Modules {
    sources: BTreeMap<Module, Source>,
}

struct Source {
    file: String,
    code: String,
    uses: Vec<Use>,
}

impl Modules {
    /// Those below `src`, such as `models/src`, tests left out.
    pub fn of(src: &str) -> Self {
        let below = format!("{src}/");
        let source = |file: String| {
            let text = files::text(&file).unwrap_or_default();
            let code = rust::without_tests(&rust::code(&text));
            let uses = rust::uses(&code);
            Source { file, code, uses }
        };
        let sources = files::all()
            .into_iter()
            .filter(|file| file.starts_with(&below) && file.ends_with(".rs"))
            .filter(|file| !files::is_test(&file[below.len()..]))
            .map(|file| (module(&file[below.len()..]), source(file)))
            .collect();
        Self { sources }
    }

    /// Files that import from each other, by `use`. A module and its parts are one thing: what a
    /// module hands on of its parts is looked for where it is defined, and what a part imports from
    /// the modules that it lies in is not counted.
    pub fn between_files(&self) -> Graph {
        let mut graph = Graph::new();
        for (module, source) in &self.sources {
            let edges = graph.entry(source.file.clone()).or_default();
            for used in &source.uses {
                let Some(target) = self.defined_in(self.absolute(module, &used.path)) else {
                    continue;
                };
                let hands_on = used.public && target.starts_with(module);
                if !module.starts_with(target) && !hands_on {
                    edges.insert(self.sources[target].file.clone());
                }
            }
        }
        graph
    }

    /// Folders and files that lie directly in `src`, and the files that make each edge.
    pub fn between_folders(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let top: BTreeSet<&String> = self
            .sources
            .keys()
            .filter_map(|path| path.first())
            .collect();
        let mut edges = BTreeMap::<_, BTreeSet<String>>::new();
        for (module, source) in &self.sources {
            let Some(own) = module.first() else { continue };
            let declared = source.uses.iter().map(|used| used.path.clone());
            let paths = declared
                .chain(rust::paths_from(&source.code, "crate"))
                .chain(rust::paths_from(&source.code, "super"));
            for used in paths {
                if let Some(other) = self.absolute(module, &used).first()
                    && top.contains(other)
                    && other != own
                {
                    let edge = (own.clone(), other.clone());
                    edges.entry(edge).or_default().insert(source.file.clone());
                }
            }
        }
        edges
    }

    /// A path as words from the crate's root; empty where it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Vec<String> {
        let (base, rest) = match path.first().map(String::as_str) {
            Some("crate") => (&[][..], &path[1..]),
            Some("self") => (module, &path[1..]),
            Some("super") => {
                let up = path.iter().take_while(|word| *word == "super").count();
                (&module[..module.len().saturating_sub(up)], &path[up..])
            }
            Some(first)
                if self
                    .sources
                    .contains_key(&[module, &[first.into()]].concat()) =>
            {
                (module, path)
            }
            _ => return Vec::new(),
        };
        [base, rest].concat()
    }

    /// The module that the last word of a path is, or is defined in.
    fn defined_in(&self, mut path: Vec<String>) -> Option<&Module> {
        // A name is handed on a few times at most; more would be a circle.
        for _ in 0..8 {
            let length = (0..=path.len())
                .rev()
                .find(|length| *length > 0 && self.sources.contains_key(&path[..*length]))?;
            let (module, source) = self.sources.get_key_value(&path[..length])?;
            let Some(item) = path.get(length) else {
                return Some(module);
            };
            let handed_on = source
                .uses
                .iter()
                .find(|used| used.public && used.name == *item);
            match handed_on.map(|used| self.absolute(module, &used.path)) {
                Some(next) if !next.is_empty() => {
                    path = [&next[..], &path[length + 1..]].concat();
                }
                _ => return Some(module),
            }
        }
        None
    }
}

/// The words of a file's module, from its path below `src`.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut words: Vec<String> = path.split('/').map(str::to_string).collect();
    if ["mod", "lib", "main"].contains(&words[words.len() - 1].as_str()) {
        words.pop();
    }
    words
}
