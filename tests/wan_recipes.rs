//! The recipes for real sizes: nobody's weights are here, so full-size headers without values stand
//! in for them.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use afd::plan::table::{bytes, flops};
use afd_clips::video::Video;
use afd_clips::video_io::write_video;
use afd_models::codec::wan_vae::WanVaeConfig;
use afd_models::student::StudentConfig;
use afd_models::weights::layout::Layout;
use afd_models::weights::{wan, wan_vae};
use common::{repository, succeeds};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;

/// Clips of the black box, one per prompt: as many as the paper had.
const CLIPS: usize = 200;

const RECIPES: [&str; 4] = [
    "self-forcing",
    "causal-forcing",
    "causal-forcing-1-step",
    "causal-forcing-2-step",
];

/// A safetensors file of bf16 tensors whose values take no room on the disk.
fn sparse(path: &Path, tensors: BTreeMap<String, Vec<usize>>) {
    let mut end = 0;
    let infos = tensors.into_iter().map(|(name, shape)| {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        (
            name,
            TensorInfo {
                dtype: Dtype::BF16,
                shape,
                data_offsets: (start, end),
            },
        )
    });
    let infos = infos.collect();
    let header = serde_json::to_vec(&Metadata::new(None, infos).unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// What to set so that a recipe finds the 1.3B student's weights and prompts in `place`.
fn overrides(place: &Path) -> Vec<String> {
    overrides_with(place, &StudentConfig::wan_1_3b())
}

/// The same with a student of another size.
fn overrides_with(place: &Path, student: &StudentConfig) -> Vec<String> {
    // As Self-Forcing's checkpoints hold them; the part that the recipe asks for, and the one that
    // it would get unasked.
    let parts = ["generator", "generator_ema"];
    let named = parts.iter().flat_map(|part| {
        wan::shapes(student)
            .into_iter()
            .map(move |(name, shape)| (format!("{part}.model.{name}"), shape))
    });
    sparse(&place.join("student.safetensors"), named.collect());
    sparse(
        &place.join("vae.safetensors"),
        wan_vae::table(&WanVaeConfig::wan_2_1(), Layout::Wan).shapes(),
    );
    let file = |name: &str| place.join(name).display().to_string();
    [
        format!("student.checkpoint={}", file("student.safetensors")),
        format!("codec.checkpoint={}", file("vae.safetensors")),
        format!(
            "prompts.train={:?}",
            (0..CLIPS)
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
        ),
    ]
    .into_iter()
    .flat_map(|set| ["--set".to_string(), set])
    .collect()
}

/// `afd plan` of a recipe on an 80 GB card.
fn plan<'a>(recipe: &'a str, options: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let plan = [
        "plan",
        recipe,
        "--backend",
        "cuda",
        "--memory",
        "80GB",
        "--tflops",
        "400",
    ];
    plan.into_iter()
        .chain(options.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect()
}

fn recipe(name: &str) -> String {
    repository()
        .join(format!("recipes/wan2.1-1.3b/{name}/distill.toml"))
        .display()
        .to_string()
}

#[test]
fn a_folder_with_clips_of_the_training_prompts_is_all_that_they_ask_of_a_teacher() {
    let place = tempfile::tempdir().unwrap();
    let mut overrides = overrides(place.path());
    let clip = Video {
        width: 2,
        height: 2,
        frames_per_second: 16.0,
        frames: vec![vec![0; 12]; 2],
    };
    write_video(&place.path().join("clip.gif"), &clip).unwrap();
    let line = |prompt: &str| {
        format!(
            "{}\n",
            serde_json::json!({ "prompt": prompt, "video": "clip.gif" })
        )
    };
    let manifest: String = (0..CLIPS).map(|number| line(&number.to_string())).collect();
    std::fs::write(place.path().join("manifest.jsonl"), manifest).unwrap();
    overrides.extend([
        "--set".to_string(),
        format!("teacher.path={}", place.path().display()),
    ]);
    for name in RECIPES {
        let recipe = recipe(name);
        let validate = |more: &[&str]| {
            let overrides = overrides.iter().map(String::as_str);
            succeeds(
                place.path(),
                &["validate", &recipe]
                    .into_iter()
                    .chain(overrides)
                    .chain(more.iter().copied())
                    .collect::<Vec<_>>(),
            )
        };
        assert!(validate(&[]).contains("200 to train on, 0 held out"));
        assert!(validate(&["--set", r#"prompts.held_out=["of my own"]"#]).contains("1 held out"));
    }
}

#[test]
fn an_alternation_of_the_real_size_is_planned_inside_80_gb() {
    let place = tempfile::tempdir().unwrap();
    let overrides = overrides(place.path());
    for name in RECIPES {
        let recipe = recipe(name);
        let found: Value = serde_json::from_str(&succeeds(
            place.path(),
            &plan(&recipe, &overrides, &["--json"]),
        ))
        .unwrap();
        assert_eq!(found["fits"], Value::Bool(true), "{found:#}");
        let inputs = &found["inputs"];
        // docs/method.md B.1 and B.2: 21 latent frames of 30 x 52 tokens, 30 blocks of width 1536.
        assert_eq!(inputs["latents"], serde_json::json!([21, 16, 60, 104]));
        assert_eq!(
            (
                inputs["student"]["layers"].as_u64(),
                inputs["student"]["width"].as_u64()
            ),
            (Some(30), Some(1536))
        );
        assert_eq!(
            (
                inputs["student_lora"]["rank"].as_u64(),
                inputs["weight_bytes"].as_u64(),
                inputs["micro_batch"].as_u64()
            ),
            (Some(256), Some(2), Some(1))
        );
        let output = common::afd(
            place.path(),
            &plan(&recipe, &overrides, &["--set", "run.micro_batch=0"]),
        );
        assert_eq!(output.status.code(), Some(1), "32 clips at once cannot fit");
    }
}

#[test]
fn the_14b_student_is_planned_from_its_file_and_found_too_large_for_one_card() {
    let place = tempfile::tempdir().unwrap();
    let overrides = overrides_with(place.path(), &StudentConfig::wan_14b());
    let recipe = recipe("self-forcing");
    let output = common::afd(place.path(), &plan(&recipe, &overrides, &["--json"]));
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let inputs = &found["inputs"]["student"];
    assert_eq!(
        (
            inputs["layers"].as_u64(),
            inputs["width"].as_u64(),
            inputs["heads"].as_u64()
        ),
        (Some(40), Some(5120), Some(40))
    );
    assert_eq!(
        (&found["weights"]["student_parameters"], &found["fits"]),
        (&Value::from(14_288_491_584_u64), &Value::Bool(false))
    );
}

/// A document with its line breaks as spaces.
fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join(name))
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_documents_say_what_the_plan_says() {
    let place = tempfile::tempdir().unwrap();
    let overrides = overrides(place.path());
    let recipe = recipe("self-forcing");
    // Without its first line, which names a path.
    let table = succeeds(place.path(), &plan(&recipe, &overrides, &[]));
    let (_, table) = table.split_once('\n').unwrap();
    println!("{table}");
    let results = std::fs::read_to_string(repository().join("docs/results/plan.md")).unwrap();
    assert!(
        results.contains(table),
        "docs/results/plan.md differs from:\n{table}"
    );

    let found: Value = serde_json::from_str(&succeeds(
        place.path(),
        &plan(&recipe, &overrides, &["--json"]),
    ))
    .unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let sum = |parts: &Value| {
        parts
            .as_array()
            .unwrap()
            .iter()
            .map(|part| number(&part["bytes"]))
            .sum::<u64>()
    };
    let held = sum(&found["weights"]["held"]);
    let work = |of: &Value| {
        flops(
            ["linear", "attention", "factors", "codec"]
                .map(|part| of[part].as_f64().unwrap())
                .iter()
                .sum(),
        )
    };
    let readme = document("README.md");
    for phrase in [
        format!("{} always held", bytes(held)),
        format!("a peak of {} of 80 GB", bytes(number(&found["peak"]))),
        format!(
            "{} of keys and values per clip",
            bytes(number(&found["cache_per_clip"]))
        ),
        format!("{} an alternation", work(&found["whole"]["round"])),
        format!(
            "{:.1} hours at 400 TFLOP/s",
            found["time"]["hours"].as_f64().unwrap()
        ),
        format!(
            "checkpoints of {}",
            bytes(number(&found["weights"]["checkpoint"]))
        ),
        format!(
            "{} of latents",
            bytes(number(&found["whole"]["disk"]["latents"]))
        ),
    ] {
        assert!(
            readme.contains(&phrase),
            "README.md does not say {phrase:?}"
        );
    }
    let wan = document("docs/results/wan.md");
    for phase in found["phases"].as_array().unwrap() {
        let (name, flops) = (phase["name"].as_str().unwrap(), work(&phase["flops"]));
        let row = format!("| {} | {flops} |", bytes(held + sum(&phase["parts"])));
        assert!(
            wan.contains(&row),
            "docs/results/wan.md does not say {row:?} of the {name}"
        );
    }
}
