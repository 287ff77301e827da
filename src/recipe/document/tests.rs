use super::*;
use serde::Deserialize;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: String,
    #[serde(default)]
    device: Option<String>,
    afd: Afd,
    #[serde(default)]
    teacher: Option<Teacher>,
    #[serde(default)]
    stages: Vec<Stage>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Afd {
    beta: f64,
    group_size: usize,
    #[serde(default)]
    learning_rate: f32,
    #[serde(default)]
    loss: Loss,
    #[serde(default)]
    betas: [f64; 2],
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Loss {
    #[default]
    BradleyTerry,
    Logistic,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Teacher {
    World { seed: u64, gravity: f64 },
    Folder { path: String },
}

/// Deliberately without `deny_unknown_fields`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stage {
    steps: u32,
}

const GOOD: &str = "name = \"first\"\n\n[afd]\nbeta = 1\ngroup_size = 4\n";

fn with(overrides: &[&str]) -> Result<Recipe, DocumentError> {
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    parse(GOOD, Path::new("recipe.toml"), &overrides)
}

fn complaint(text: &str) -> String {
    parse::<Recipe>(text, Path::new("recipe.toml"), &[])
        .unwrap_err()
        .to_string()
}

#[test]
fn the_fields_of_a_table_come_in_the_order_of_its_type() {
    assert_eq!(
        fields_of::<Recipe>("afd"),
        ["beta", "group_size", "learning_rate", "loss", "betas"]
    );
    assert_eq!(fields_of::<Recipe>("")[..2], ["name", "device"]);
    assert!(fields_of::<Recipe>("nothing").is_empty());
}

#[test]
fn a_good_document_is_read_and_whole_numbers_serve_as_floats() {
    let recipe = with(&[]).unwrap();
    assert_eq!(
        (recipe.name.as_str(), recipe.afd.beta, recipe.afd.group_size),
        ("first", 1.0, 4)
    );
}

#[test]
fn a_misspelt_field_is_named_with_its_line_and_the_nearest_known_one() {
    let complaint = complaint("name = \"first\"\n\n[afd]\nbta = 1.0\ngroup_size = 4\n");
    assert_eq!(
        complaint,
        "unknown field `afd.bta` in recipe.toml:4: the nearest known field is `afd.beta` \
            (known there: beta, group_size, learning_rate, loss, betas)"
    );
}

#[test]
fn a_misspelt_table_and_a_misspelt_top_level_field_are_named() {
    let table = complaint("name = \"first\"\n\n[afdd]\nbeta = 1.0\ngroup_size = 4\n");
    assert!(
        table
            .starts_with("unknown field `afdd` in recipe.toml:3: the nearest known field is `afd`"),
        "{table}"
    );
    let field = complaint(&format!("nam = \"x\"\n{GOOD}"));
    assert!(
        field
            .starts_with("unknown field `nam` in recipe.toml:1: the nearest known field is `name`"),
        "{field}"
    );
}

#[test]
fn a_field_that_resembles_none_is_not_taken_for_one() {
    let complaint = complaint(&format!("budget = 1\n{GOOD}"));
    assert!(
        complaint.starts_with("unknown field `budget` in recipe.toml:1: remove it (known there: "),
        "{complaint}"
    );
}

#[test]
fn what_is_quoted_is_cut() {
    let digits = "9".repeat(300);
    let said = [
        super::parse::<Recipe>(
            GOOD,
            Path::new("recipe.toml"),
            &[format!("afd.beta={digits}")],
        ),
        super::parse::<Recipe>(GOOD, Path::new("recipe.toml"), &[format!("{digits}=1")]),
        super::parse::<Recipe>(
            GOOD,
            Path::new("recipe.toml"),
            &[format!("afd.loss={digits}x")],
        ),
    ];
    for said in said {
        let said = said.unwrap_err().to_string();
        assert!(said.len() < 500 && said.contains("letters more"), "{said}");
    }
}

#[test]
fn unknown_fields_are_refused_even_where_the_type_would_ignore_them() {
    let complaint = complaint(&format!(
        "{GOOD}[[stages]]\nsteps = 1\n[[stages]]\nsteps = 2\nstep = 3\n"
    ));
    assert!(
        complaint.starts_with("unknown field `stages[1].step` in recipe.toml:10: "),
        "{complaint}"
    );
    assert!(complaint.contains("`stages[1].steps`"), "{complaint}");
}

#[test]
fn a_wrong_type_says_found_expected_and_where() {
    let text = GOOD.replace("group_size = 4", "group_size = \"four\"");
    assert_eq!(
        complaint(&text),
        "wrong value for `afd.group_size` in recipe.toml:5: found the string \"four\", \
            expected a whole number from 0"
    );
    let negative = complaint(&GOOD.replace("group_size = 4", "group_size = -4"));
    assert!(
        negative.contains("found the integer -4, expected a whole number from 0"),
        "{negative}"
    );
    let fraction = complaint(&GOOD.replace("group_size = 4", "group_size = 4.5"));
    assert!(fraction.contains("found the number 4.5"), "{fraction}");
    let table = complaint("name = \"first\"\nafd = 3\n");
    assert!(
        table.contains("`afd` in recipe.toml:2: found the integer 3, expected a table"),
        "{table}"
    );
}

#[test]
fn too_many_list_entries_and_positional_tables_are_refused() {
    let long = complaint(&format!("{GOOD}betas = [0.9, 0.95, 0.99]\n"));
    assert!(
        long.contains("`afd.betas` in recipe.toml:6") && long.contains("a list of 3"),
        "{long}"
    );
    let short = complaint(&format!("{GOOD}betas = [0.9]\n"));
    assert!(short.contains("`afd.betas` in recipe.toml:6"), "{short}");
    let positional = complaint("name = \"first\"\nafd = [1.0, 4]\n");
    assert!(
        positional.contains("`afd` in recipe.toml:2: found a list, expected a table"),
        "{positional}"
    );
}

#[test]
fn a_missing_field_is_named_with_its_table() {
    let complaint = complaint("name = \"first\"\n[afd]\nbeta = 1.0\n");
    assert!(
        complaint.starts_with("missing field `afd.group_size` in recipe.toml:2: add it"),
        "{complaint}"
    );
}

#[test]
fn an_unknown_choice_lists_the_known_ones() {
    let complaint = complaint(&format!("{GOOD}loss = \"logistik\"\n"));
    assert_eq!(
        complaint,
        "wrong value for `afd.loss` in recipe.toml:6: found \"logistik\", expected \
            \"logistic\" or another of: bradley-terry, logistic"
    );
}

#[test]
fn mistakes_inside_tagged_tables_are_placed_too() {
    let teacher = |lines: &str| complaint(&format!("{GOOD}[teacher]\n{lines}"));
    let field = teacher("kind = \"world\"\nseed = 1\ngravty = 9.8\n");
    assert!(
        field.starts_with(
            "unknown field `teacher.gravty` in recipe.toml:9: the nearest known field is \
                `teacher.gravity`"
        ),
        "{field}"
    );
    let value = teacher("kind = \"world\"\nseed = \"one\"\ngravity = 9.8\n");
    assert!(
        value.starts_with(
            "wrong value for `teacher.seed` in recipe.toml:8: found the string \"one\""
        ),
        "{value}"
    );
    let kind = teacher("kind = \"wrld\"\n");
    assert!(
        kind.starts_with(
            "wrong value for `teacher.kind` in recipe.toml:7: found \"wrld\", expected \
                \"world\""
        ),
        "{kind}"
    );
}

#[test]
fn a_duplicate_key_and_broken_toml_are_placed() {
    let twice = complaint("name = \"first\"\nname = \"second\"\n");
    assert_eq!(twice, "recipe.toml:2:1 is not valid TOML: duplicate key");
    let broken = complaint("name = \"first\"\n[afd\n");
    assert!(
        broken.starts_with("recipe.toml:2:5 is not valid TOML: "),
        "{broken}"
    );
    assert!(!broken.contains('\n'));
}

#[test]
fn overrides_replace_add_and_keep_their_types() {
    let recipe = with(&[
        "afd.beta=0.25",
        "afd.group_size = 8",
        "device=cuda:0",
        "name=\"42\"",
        "afd.betas=[0.9, 0.95]",
    ])
    .unwrap();
    assert_eq!(
        (recipe.afd.beta, recipe.afd.group_size, recipe.afd.betas),
        (0.25, 8, [0.9, 0.95])
    );
    assert_eq!(
        (recipe.device.as_deref(), recipe.name.as_str()),
        (Some("cuda:0"), "42")
    );
    assert_eq!(
        with(&["teacher.kind=folder", "teacher.path=a b"])
            .unwrap()
            .teacher,
        Some(Teacher::Folder { path: "a b".into() })
    );
    assert_eq!(with(&["afd.beta=1", "afd.beta=2"]).unwrap().afd.beta, 2.0);
}

#[test]
fn mistaken_overrides_are_blamed_instead_of_the_file() {
    let unknown = with(&["afd.bta=1"]).unwrap_err().to_string();
    assert!(
        unknown.starts_with(
            "unknown field `afd.bta` in the override \"afd.bta=1\": the nearest known field is \
                `afd.beta`"
        ),
        "{unknown}"
    );
    let wrong = with(&["afd.beta=high"]).unwrap_err().to_string();
    assert_eq!(
        wrong,
        "wrong value for `afd.beta` in the override \"afd.beta=high\": found the string \
            \"high\", expected a number"
    );
    let table = with(&["stages.0.steps=1"]).unwrap_err().to_string();
    assert!(
        table.starts_with(
            "wrong value for `stages` in the override \"stages.0.steps=1\": found a table, \
                expected a list"
        ),
        "{table}"
    );
    let incomplete = with(&["teacher.kind=folder"]).unwrap_err().to_string();
    assert!(
        incomplete.starts_with("missing field `teacher.path` in the override"),
        "{incomplete}"
    );
    let number_as_name = with(&["name=42"]).unwrap_err().to_string();
    assert!(
        number_as_name.contains("found the integer 42, expected a string"),
        "{number_as_name}"
    );
}

#[test]
fn an_override_without_shape_is_refused() {
    for change in [
        "afd.beta",
        "=1",
        "afd..beta=1",
        "afd.beta=",
        "afd.beta.x=1",
        "name=\"open",
    ] {
        let error = with(&[change]).unwrap_err();
        assert!(
            matches!(&error, DocumentError::Override { text, .. } if text == change),
            "{error}"
        );
    }
}

#[test]
fn an_override_reaches_into_a_list_of_tables() {
    let text = format!("{GOOD}[[stages]]\nsteps = 1\n[[stages]]\nsteps = 2\n");
    let recipe: Recipe = parse(
        &text,
        Path::new("recipe.toml"),
        &["stages.1.steps=9".into()],
    )
    .unwrap();
    assert_eq!(recipe.stages, [Stage { steps: 1 }, Stage { steps: 9 }]);
}

#[test]
fn the_snapshot_reads_back_as_the_same_value() {
    let recipe = with(&[
        "afd.beta=0.1",
        "afd.learning_rate=3e-5",
        "teacher={kind=\"world\", seed=7, gravity=9.8}",
    ])
    .unwrap();
    let text = to_toml(&recipe).unwrap();
    assert_eq!(
        parse::<Recipe>(&text, Path::new("resolved"), &[]).unwrap(),
        recipe
    );
    assert!(text.contains("[afd]\nbeta = 0.1\n"), "{text}");
}

#[test]
fn what_toml_cannot_hold_is_an_error() {
    assert!(matches!(
        to_toml(&7u64),
        Err(DocumentError::Snapshot { .. })
    ));
    assert!(matches!(
        to_toml(&std::collections::BTreeMap::from([("seed", u64::MAX)])),
        Err(DocumentError::Snapshot { .. })
    ));
}
