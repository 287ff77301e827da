//! Recipes and the files beside a student, mutated: whatever stands there, the answer is a value or
//! one sentence, quickly, and never a panic.
//!
//! ```sh
//! AFD_MUTANTS=1000000 cargo test --release --test mutants -- --nocapture
//! ```

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use afd::recipe::tables::Settings;
use afd::recipe::{Recipe, document};
use afd::session::state::StudentCard;

/// Mutants of each seed file unless `AFD_MUTANTS` says how many in all.
const EACH: usize = 150;

/// Values that have surprised readers of numbers, lists and names before.
const SURPRISES: [&str; 18] = [
    "nan",
    "-inf",
    "1e400",
    "-1",
    "0",
    "1",
    "0.0",
    "18446744073709551615",
    "9223372036854775807",
    "4294967296",
    "1000000000000",
    "\"\"",
    "[]",
    "[[]]",
    "{}",
    "true",
    "\"\\u0000\\u001b[31m\"",
    "1979-05-27",
];

/// Reads a mutant of the file at a path; gives back the length of what it said.
type Reader = fn(&[u8], &Path) -> usize;

/// A small generator of numbers: the same mutants everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64* (Vigna, 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }
}

fn mutate(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + dice.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        let (at, length) = (dice.below(bytes.len()), 1 + dice.below(40));
        let end = (at + length).min(bytes.len());
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            3 => bytes.truncate(at),
            // Lines out, twice, or elsewhere.
            4 => {
                let mut lines: Vec<Vec<u8>> =
                    bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                let line = lines.remove(dice.below(lines.len()));
                for _ in 0..dice.below(3) {
                    lines.insert(dice.below(lines.len() + 1), line.clone());
                }
                bytes = lines.join(&b'\n');
            }
            // Another value in a field's place.
            _ => {
                let mut fields: Vec<usize> = Vec::new();
                for (index, byte) in bytes.iter().enumerate() {
                    if matches!(byte, b'=' | b':') {
                        fields.push(index + 1);
                    }
                }
                if let Some(&start) = fields.get(dice.below(fields.len())) {
                    let rest = bytes[start..].iter();
                    let stop = start + rest.take_while(|b| !matches!(b, b'\n' | b',')).count();
                    let value = format!(" {}", SURPRISES[dice.below(SURPRISES.len())]);
                    bytes.splice(start..stop, value.into_bytes());
                }
            }
        }
    }
    bytes
}

fn recipes() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        "recipes/physics-world",
        "recipes/few-step",
        "tests/golden",
        "tests/miniature",
    ]
    .iter()
    .flat_map(|directory| fs::read_dir(root.join(directory)).unwrap())
    .map(|entry| entry.unwrap().path())
    .filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    })
    .collect()
}

/// Reads a recipe; an error's sentence may not be endless.
fn read_recipe(bytes: &[u8], path: &Path) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let settings = document::parse::<Settings>(&text, path, &[]);
    let said = match settings {
        Err(error) => error.to_string(),
        Ok(settings) => match Recipe::from_settings(settings, path) {
            Err(error) => error.to_string(),
            Ok(recipe) => {
                let written = recipe.resolved().unwrap();
                let again = document::parse::<Settings>(&written, path, &[]).unwrap();
                assert_eq!(again, recipe.settings);
                String::new()
            }
        },
    };
    said.len()
}

fn read_card(bytes: &[u8], _: &Path) -> usize {
    let said = match serde_json::from_slice::<StudentCard>(bytes) {
        Err(error) => error.to_string(),
        Ok(card) => match card.check() {
            Err(problem) => problem.to_string(),
            Ok(()) => card
                .codec(afd_models::weights::Pickles::Refused)
                .err()
                .map_or(String::new(), |problem| problem.to_string()),
        },
    };
    said.len()
}

#[test]
fn mutated_recipes_and_cards_are_read_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds: Vec<(PathBuf, String, Reader)> = Vec::new();
    for path in recipes() {
        let text = fs::read_to_string(&path).unwrap();
        seeds.push((path, text, read_recipe));
    }
    let recipe = Recipe::load(&root.join("tests/golden/recipe.toml"), &[]).unwrap();
    let card = serde_json::to_string_pretty(&StudentCard::of(&recipe).unwrap()).unwrap();
    seeds.push((root.join("config.json"), card, read_card));

    let all: Option<usize> = std::env::var("AFD_MUTANTS")
        .ok()
        .and_then(|all| all.parse().ok());
    let each = all.map_or(EACH, |all| all / seeds.len());
    let (mut slowest, mut wrong) = ((0.0, String::new()), Vec::new());
    for (number, (path, text, read)) in seeds.iter().enumerate() {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1));
        for _ in 0..each {
            let mutant = mutate(text, &mut dice);
            let started = Instant::now();
            let said = catch_unwind(AssertUnwindSafe(|| read(&mutant, path)));
            let seconds = started.elapsed().as_secs_f64();
            if seconds > slowest.0 {
                slowest = (seconds, path.display().to_string());
            }
            if said.as_ref().map_or(true, |length| *length > 4000) {
                wrong.push((path.clone(), String::from_utf8_lossy(&mutant).into_owned()));
            }
        }
    }
    println!(
        "{} mutants, slowest {:.2} s ({})",
        each * seeds.len(),
        slowest.0,
        slowest.1
    );
    assert!(
        wrong.is_empty(),
        "{} wrong, such as {:#?}",
        wrong.len(),
        wrong[0]
    );
}
