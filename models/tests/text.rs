//! Wan's cleaning and a tokenizer of umT5's kind against Python's originals
//! (`fixtures/make_text_fixture.py`).

use std::path::{Path, PathBuf};

use afd_models::text::clean::clean;
use afd_models::text::umt5::Tokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    length: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    raw: String,
    cleaned: String,
    ids: Vec<u32>,
    /// Whether `plsfix` repairs it as ftfy does.
    alike: bool,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn fixture() -> Fixture {
    serde_json::from_str(&std::fs::read_to_string(path("text_cases.json")).unwrap()).unwrap()
}

fn tokenizer(length: usize) -> Tokenizer {
    Tokenizer::open(&path("text_tokenizer.json"), length).unwrap()
}

#[test]
fn prompts_are_cleaned_as_by_wan_but_for_those_known_to_differ() {
    let cases = fixture().cases;
    let (alike, unlike): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.alike);
    let describe = |case: &Case| {
        format!(
            "{:?}\n   gives {:?}\nexpected {:?}",
            case.raw,
            clean(&case.raw),
            case.cleaned
        )
    };
    let odd: Vec<String> = alike
        .iter()
        .filter(|case| clean(&case.raw) != case.cleaned)
        .map(|case| describe(case))
        .collect();
    assert!(
        odd.is_empty(),
        "{} of {}:\n{}",
        odd.len(),
        alike.len(),
        odd.join("\n")
    );
    // Emoji broken by way of MacRoman, Korean by way of Windows-1250: should plsfix learn them, the
    // documentation is to follow.
    assert_eq!(unlike.len(), 6);
    assert!(unlike.iter().all(|case| clean(&case.raw) != case.cleaned));
}

#[test]
fn ids_equal_transformers() {
    let fixture = fixture();
    let tokenizer = tokenizer(fixture.length);
    for case in &fixture.cases {
        assert_eq!(
            tokenizer.ids(&case.cleaned).unwrap(),
            case.ids,
            "{:?}",
            case.cleaned
        );
    }
    let longest = fixture.cases.iter().map(|case| case.ids.len()).max();
    assert_eq!(longest, Some(fixture.length), "some prompt is cut");
}

#[test]
fn the_end_is_kept_whatever_is_cut() {
    let prompt = "A red ball rolls down a wooden ramp. ".repeat(40);
    let whole = tokenizer(4096).ids(&prompt).unwrap();
    assert!(whole.len() > 512);
    for length in [1, 2, 512] {
        let cut = tokenizer(length).ids(&prompt).unwrap();
        assert_eq!((cut.len(), cut.last()), (length, Some(&1)));
        assert_eq!(cut[..length - 1], whole[..length - 1]);
    }
    assert_eq!(tokenizer(512).ids("").unwrap(), [1]);
}

#[test]
fn tokenizers_of_another_kind_are_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokenizer.json");
    let good = std::fs::read_to_string(path("text_tokenizer.json")).unwrap();
    for (text, words) in [
        (
            "\n\u{0}\u{e}spiece".to_string(),
            "expected the tokenizer.json of google/umt5-xxl",
        ),
        (
            good[..good.len() / 2].to_string(),
            "expected the tokenizer.json of google/umt5-xxl",
        ),
        (good.replace("</s>", "<end>"), "no \"</s>\""),
        (
            good.replace("<pad>", "<padding>"),
            "the id of \"<pad>\" is None, expected 0",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Tokenizer::open(&file, 512).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("tokenizer.json"),
            "{error}"
        );
    }
    assert!(
        Tokenizer::open(&path("text_tokenizer.json"), 0)
            .unwrap_err()
            .to_string()
            .contains("Wan reads 512")
    );
    assert!(
        Tokenizer::open(&directory.path().join("absent.json"), 512)
            .unwrap_err()
            .to_string()
            .contains("absent.json")
    );
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Bytes and characters of every kind, in the places where they matter.
fn arbitrary(random: &mut Random) -> String {
    let length = random.below(40);
    if random.below(3) == 0 {
        let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let pieces = [
        "&", "&#", "&#x", ";", "amp", "&lt", "<", "\x1b[", "31m", "\n", "\u{c3}", "\u{a0}", "â€",
        "œ", "\u{9d}", "\u{fffd}", "Ã", " ",
    ];
    (0..length)
        .map(|_| match random.below(4) {
            0 => char::from_u32(random.below(0x110000) as u32).map_or(String::new(), String::from),
            1 => char::from_u32(random.below(0x250) as u32).map_or(String::new(), String::from),
            2 => {
                let digits = random.below(40);
                random.below(1 << digits).to_string()
            }
            _ => pieces[random.below(pieces.len() as u64) as usize].to_string(),
        })
        .collect()
}

#[test]
fn cleaning_never_panics_and_leaves_single_spaces() {
    let mut random = Random(3);
    for _ in 0..4000 {
        let text = arbitrary(&mut random);
        let cleaned = clean(&text);
        let single = cleaned.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(cleaned, single, "{text:?}");
    }
}

/// Each application resolves at most two more levels of references: what holds neither references
/// nor broken text is left alone.
#[test]
fn cleaning_comes_to_rest() {
    let mut random = Random(4);
    let cases = fixture()
        .cases
        .into_iter()
        .map(|case| case.raw)
        .chain((0..1000).map(|_| arbitrary(&mut random)));
    for raw in cases {
        let mut cleaned = clean(&raw);
        for _ in 0..8 {
            cleaned = clean(&cleaned);
        }
        assert_eq!(clean(&cleaned), cleaned, "{raw:?}");
    }
}
