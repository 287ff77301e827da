//! Every pair of options of a verb works together, or is refused before anything is looked at: none
//! is accepted and ignored.

mod common;

use std::collections::BTreeSet;

use common::{afd, repository};

/// A verb's options. Every file that is named does not exist, so that a request whose options fit
/// ends with a sentence about one of them.
struct Verb {
    /// The verb and what stands where it must.
    words: &'static [&'static str],
    /// Options and their values.
    options: &'static [(&'static str, &'static [&'static str])],
    /// Of each of these one is needed.
    needed: &'static [&'static [&'static str]],
    /// Options that say nothing without another one.
    follow: &'static [(&'static str, &'static str)],
    /// Pairs that are refused.
    refused: &'static [(&'static str, &'static str)],
}

const BACKEND: (&str, &[&str]) = ("--backend", &["flex"]);
const SET: (&str, &[&str]) = ("--set", &["seed=1"]);

const VERBS: &[Verb] = &[
    Verb {
        words: &["generate"],
        options: &[
            ("--checkpoint", &["nowhere"]),
            ("--recipe", &["nowhere.toml"]),
            SET,
            ("--prompt", &["a ball"]),
            ("--prompts", &["nowhere.txt"]),
            ("--names", &["nowhere.txt"]),
            ("--clips", &["2"]),
            ("--seed", &["3"]),
            ("--out", &["nowhere.gif"]),
            ("--out-dir", &["nowhere-dir"]),
            ("--format", &["gif"]),
            ("--naming", &["numbers"]),
            ("--data", &["nowhere-data"]),
            BACKEND,
        ],
        needed: &[
            &["--checkpoint", "--recipe"],
            &["--prompt", "--prompts"],
            &["--out", "--out-dir"],
        ],
        follow: &[],
        refused: &[
            ("--checkpoint", "--recipe"),
            ("--checkpoint", "--set"),
            ("--prompt", "--prompts"),
            ("--prompt", "--names"),
            ("--out", "--out-dir"),
            ("--prompts", "--out"),
            ("--names", "--out"),
            ("--clips", "--out"),
            ("--out", "--format"),
            ("--out", "--naming"),
        ],
    },
    Verb {
        words: &["eval"],
        options: &[
            ("--checkpoint", &["nowhere"]),
            ("--against", &["nowhere-else"]),
            ("--recipe", &["nowhere.toml"]),
            SET,
            ("--json", &[]),
            BACKEND,
        ],
        needed: &[&["--checkpoint"]],
        follow: &[],
        refused: &[],
    },
    Verb {
        words: &["measure", "nowhere.toml"],
        options: &[
            SET,
            ("--run", &["nowhere"]),
            ("--teacher", &[]),
            ("--out", &["nowhere-dir"]),
            BACKEND,
        ],
        needed: &[&["--out"]],
        follow: &[],
        refused: &[("--run", "--teacher")],
    },
    Verb {
        words: &["export", "nowhere"],
        options: &[
            ("--layout", &["wan"]),
            ("--out", &["nowhere-dir"]),
            ("--part", &["generator"]),
            ("--allow-pickle", &[]),
            ("--heads", &["4"]),
            ("--merge-lora", &[]),
            ("--lora", &["nowhere.safetensors"]),
            ("--dtype", &["bf16"]),
            BACKEND,
        ],
        needed: &[&["--layout"], &["--out"]],
        follow: &[
            ("--lora", "--merge-lora"),
            ("--dtype", "--merge-lora"),
            ("--backend", "--merge-lora"),
        ],
        refused: &[],
    },
    Verb {
        words: &["distill", "nowhere.toml"],
        options: TRAINING,
        needed: &[],
        follow: &[],
        refused: &[],
    },
    Verb {
        words: &["pretrain", "nowhere.toml"],
        options: TRAINING,
        needed: &[],
        follow: &[],
        refused: &[],
    },
    Verb {
        words: &["bench", "nowhere.toml"],
        options: &[
            ("--runs", &["nowhere-runs"]),
            ("--jobs", &["2"]),
            ("--minutes", &["3"]),
            ("--only", &["afd"]),
            ("--again", &[]),
            ("--dry-run", &[]),
            ("--report-only", &[]),
            ("--reference", &["afd"]),
            BACKEND,
        ],
        needed: &[],
        follow: &[("--again", "--only")],
        refused: &[
            ("--dry-run", "--jobs"),
            ("--dry-run", "--minutes"),
            ("--dry-run", "--again"),
            ("--dry-run", "--report-only"),
            ("--dry-run", "--reference"),
            ("--dry-run", "--backend"),
            ("--report-only", "--jobs"),
            ("--report-only", "--minutes"),
            ("--report-only", "--only"),
            ("--report-only", "--again"),
            ("--report-only", "--backend"),
        ],
    },
    Verb {
        words: &["teacher", "fetch", "nowhere.toml"],
        options: &[SET, ("--dry-run", &[]), ("--again", &["unknown"])],
        needed: &[],
        follow: &[],
        refused: &[("--dry-run", "--again")],
    },
];

const TRAINING: &[(&str, &[&str])] = &[
    SET,
    ("--name", &["mine"]),
    ("--runs", &["nowhere-runs"]),
    ("--resume", &[]),
    BACKEND,
];

impl Verb {
    fn refuses(&self, one: &str, other: &str) -> bool {
        self.refused.contains(&(one, other)) || self.refused.contains(&(other, one))
    }

    /// The pair, what each of them follows, and one of each of what is needed.
    fn completed(&self, one: &'static str, other: &'static str) -> Vec<&'static str> {
        let mut given = vec![one, other];
        let followed = self.follow.iter();
        given.extend(
            followed
                .filter(|(name, _)| [one, other].contains(name))
                .map(|pair| pair.1),
        );
        for group in self.needed {
            if group.iter().any(|name| given.contains(name)) {
                continue;
            }
            let fits = |name: &&&str| !given.iter().any(|given| self.refuses(given, name));
            given.extend(group.iter().find(fits).or(group.first()));
        }
        given.sort();
        given.dedup();
        given
    }

    /// What comes of these options.
    fn said(&self, given: &[&str]) -> (Option<i32>, String) {
        let mut options: Vec<&str> = Vec::new();
        for name in given {
            let found = self.options.iter().find(|(option, _)| option == name);
            options.push(*name);
            options.extend(found.unwrap().1);
        }
        let place = tempfile::tempdir().unwrap();
        let output = afd(place.path(), &[self.words, &options].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains("panicked"), "{error}");
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
        assert!(left.is_empty(), "{given:?} left {left:?}");
        (output.status.code(), error)
    }
}

#[test]
fn every_pair_of_options_works_or_is_refused() {
    for verb in VERBS {
        for (place, (one, _)) in verb.options.iter().enumerate() {
            for (other, _) in &verb.options[place + 1..] {
                let given = verb.completed(one, other);
                let (code, error) = verb.said(&given);
                let told = format!("{:?} {given:?}: {code:?} {error}", verb.words);
                let usage = error.contains("try '--help'");
                if verb.refuses(one, other) {
                    assert!(code == Some(2) && usage, "{told}");
                    assert!(error.contains("cannot be used with"), "{told}");
                } else {
                    assert!(!usage && error.contains("nowhere"), "{told}");
                }
            }
        }
    }
}

#[test]
fn what_says_nothing_without_another_option_is_refused_without_it() {
    for verb in VERBS {
        for (name, other) in verb.follow {
            let mut given = vec![*name];
            given.extend(verb.needed.iter().map(|group| group[0]));
            let (code, error) = verb.said(&given);
            assert!(
                code == Some(2) && error.contains(other),
                "{given:?}: {error}"
            );
        }
    }
}

/// An option that nobody has looked at beside the others would be missed above.
#[test]
fn the_walk_knows_every_option() {
    for verb in VERBS {
        let words: Vec<&str> = verb
            .words
            .iter()
            .copied()
            .filter(|word| !word.starts_with("nowhere"))
            .collect();
        let help = afd(&repository(), &[&words[..], &["--help"]].concat());
        let help = String::from_utf8(help.stdout).unwrap();
        let named = help.lines().filter_map(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("-h, ").unwrap_or(line);
            line.starts_with("--")
                .then(|| line.split([' ', '=']).next().unwrap_or_default())
        });
        let mut found: BTreeSet<&str> = named.collect();
        found.remove("--help");
        let known: BTreeSet<&str> = verb.options.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            found, known,
            "{words:?}: add it to the walk, with what it cannot go with"
        );
    }
}

/// The student that a recipe starts from is sampled whatever training would need besides.
#[test]
fn fields_that_only_training_needs_are_asked_for_by_training_alone() {
    let place = tempfile::tempdir().unwrap();
    let recipe = repository().join("recipes/physics-world/distill.toml");
    let recipe = recipe.display().to_string();
    let training = [
        "--set",
        "prompts.train=nowhere.txt",
        "--set",
        "afd.prompts_per_alternation=4096",
    ];
    let error = common::fails(
        place.path(),
        &[&["distill", &recipe], &training[..]].concat(),
        2,
    );
    assert!(error.contains("prompts.train"), "{error}");
    let sampled = [
        "--prompt",
        "a small red ball is dropped on earth",
        "--backend",
        "flex",
    ];
    let generate = [
        &["generate", "--recipe", &recipe],
        &sampled[..],
        &training[..],
    ]
    .concat();
    common::succeeds(place.path(), &[&generate[..], &["--out", "a.gif"]].concat());
    assert!(place.path().join("a.gif").is_file());
    // A file that players would show at another speed is refused before the student is loaded.
    let fast = ["--set", "clip.frames_per_second=60", "--out", "b.gif"];
    let error = common::fails(place.path(), &[&generate[..], &fast[..]].concat(), 2);
    assert!(
        error.contains("GIF players show") && error.contains("another format"),
        "{error}"
    );
    let lost = ["--out", "nowhere/b.gif"];
    let error = common::fails(place.path(), &[&generate[..], &lost[..]].concat(), 2);
    assert!(error.contains("nowhere is no directory"), "{error}");
    let device = ["--out", "/dev/stdout"];
    let error = common::fails(place.path(), &[&generate[..], &device[..]].concat(), 2);
    assert!(
        error.contains("/dev/stdout is no place for a clip"),
        "{error}"
    );
    let data = ["--out", "b.gif", "--data", "."];
    let error = common::fails(place.path(), &[&generate[..], &data[..]].concat(), 2);
    assert!(
        error.contains("--data") && error.contains("word vectors"),
        "{error}"
    );
}
