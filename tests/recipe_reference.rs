//! What the program says of recipes: the page of fields, the schema that editors use, and the
//! recipes that ship.
//!
//! `UPDATE_DOCS=1 cargo test --test recipe_reference` writes docs/recipe.md anew.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{repository, succeeds};
use serde_json::Value;

/// Every recipe of the repository; benchmark plans, which are TOML too, have no `kind`.
fn recipes(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recipes(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && table(&path).contains_key("kind")
        {
            found.push(path);
        }
    }
}

fn table(path: &Path) -> toml::Table {
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    recipes(&repository().join("recipes"), &mut found);
    found.extend(["golden", "miniature"].map(|test| {
        let directory = repository().join("tests").join(test);
        directory.join("recipe.toml")
    }));
    found
}

#[test]
fn the_page_of_fields_is_what_the_tables_say() {
    let path = repository().join("docs/recipe.md");
    let expected = afd::recipe::as_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/recipe.md is not what src/recipe/tables says; run UPDATE_DOCS=1 cargo test --test \
         recipe_reference"
    );
}

#[test]
fn every_shipped_recipe_is_valid_by_the_schema() {
    let place = tempfile::tempdir().unwrap();
    let printed = succeeds(place.path(), &["recipes", "schema"]);
    let schema: Value = serde_json::from_str(&printed).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shipped = shipped();
    assert!(shipped.len() >= 13, "{shipped:?}");
    for path in shipped {
        let recipe = serde_json::to_value(table(&path)).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&recipe)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    let validator = jsonschema::validator_for(afd::recipe::schema()).unwrap();
    let golden = repository().join("tests/golden/recipe.toml");
    for (field, value) in [
        ("afd.beta", "0"),
        ("afd.bta", "1"),
        ("afd.loss", "\"mean\""),
        ("run.shards", "0"),
        ("optimizer.beta_1", "1.0"),
        ("clip.frames", "-3"),
        ("sampler.denoising_step_list", "[]"),
        ("sampler.denoising_step_list", "[2000]"),
        ("sampler.denoising_step_list_first_chunk", "[]"),
        ("sampler.denoising_step_list_first_chunk", "[2000]"),
        ("teacher.quarantine", "[\"ugly\"]"),
        ("student.lora", "{ rank = 0, alpha = 1 }"),
    ] {
        let mut recipe = table(&golden);
        let (name, key) = field.split_once('.').unwrap();
        let inner = recipe.entry(name).or_insert(toml::Table::new().into());
        let line: toml::Table = toml::from_str(&format!("{key} = {value}")).unwrap();
        inner.as_table_mut().unwrap().extend(line);
        let recipe = serde_json::to_value(recipe).unwrap();
        assert!(
            !validator.is_valid(&recipe),
            "the schema allows {field} = {value}"
        );
        let place = tempfile::tempdir().unwrap();
        let change = format!("{field}={value}");
        let golden = golden.display().to_string();
        common::fails(place.path(), &["validate", &golden, "--set", &change], 2);
    }
}

#[test]
fn fields_are_shown_by_table_and_an_unknown_table_is_refused_with_those_there_are() {
    let place = tempfile::tempdir().unwrap();
    let afd = succeeds(place.path(), &["recipes", "fields", "afd"]);
    assert!(afd.contains("afd.beta: number, > 0, default 1"), "{afd}");
    assert!(!afd.contains("\n  optimizer."), "{afd}");
    let all = succeeds(place.path(), &["recipes", "fields"]);
    assert!(all.contains("discriminator.optimizer.learning_rate: number, >= 0, default 0.0005"));
    assert!(
        all.contains("student.frames_per_block: integer, >= 1, <= 10000, required"),
        "{all}"
    );
    let error = common::fails(place.path(), &["recipes", "fields", "adf"], 2);
    assert!(
        error.contains("no table [adf]") && error.contains("discriminator"),
        "{error}"
    );
}

#[test]
fn a_reader_that_stops_early_ends_a_listing_quietly() {
    let place = tempfile::tempdir().unwrap();
    let mut listing = common::command(place.path(), &["recipes", "schema"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // As `| head` does: the schema is larger than a pipe holds.
    drop(listing.stdout.take());
    let output = listing.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
}
