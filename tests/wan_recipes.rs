//! The recipes for real sizes: nobody's weights are here, so full-size headers without values stand in for them.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use afd_clips::video::Video;
use afd_clips::video_io::write_video;
use afd_models::codec::wan_vae::WanVaeConfig;
use afd_models::student::StudentConfig;
use afd_models::weights::layout::Layout;
use afd_models::weights::{wan, wan_vae};
use common::{repository, succeeds};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

/// Clips of the black box, one per prompt: as many as the paper had.
const CLIPS: usize = 200;

const RECIPES: [&str; 2] = ["self-forcing", "causal-forcing"];

/// A safetensors file of bf16 tensors whose values take no room on the disk.
fn sparse(path: &Path, tensors: BTreeMap<String, Vec<usize>>) {
    let mut end = 0;
    let infos = tensors.into_iter().map(|(name, shape)| {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        (name, TensorInfo { dtype: Dtype::BF16, shape, data_offsets: (start, end) })
    });
    let infos = infos.collect();
    let header = serde_json::to_vec(&Metadata::new(None, infos).unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// What to set so that the recipe finds weights and prompts in `place`.
fn overrides(place: &Path) -> Vec<String> {
    // As Self-Forcing's checkpoints hold them; the part that the recipe asks for, and the one that it would get unasked.
    let parts = ["generator", "generator_ema"];
    let named = parts.iter().flat_map(|part| {
        wan::shapes(&StudentConfig::wan_1_3b()).into_iter().map(move |(name, shape)| (format!("{part}.model.{name}"), shape))
    });
    sparse(&place.join("student.safetensors"), named.collect());
    sparse(&place.join("vae.safetensors"), wan_vae::table(&WanVaeConfig::wan_2_1(), Layout::Wan).shapes());
    let file = |name: &str| place.join(name).display().to_string();
    [
        format!("student.checkpoint={}", file("student.safetensors")),
        format!("codec.checkpoint={}", file("vae.safetensors")),
        format!("prompts.train={:?}", (0..CLIPS).map(|number| number.to_string()).collect::<Vec<_>>()),
    ]
    .into_iter()
    .flat_map(|set| ["--set".to_string(), set])
    .collect()
}

#[test]
fn a_folder_with_clips_of_the_training_prompts_is_all_that_they_ask_of_a_teacher() {
    let place = tempfile::tempdir().unwrap();
    let mut overrides = overrides(place.path());
    let clip = Video { width: 2, height: 2, frames_per_second: 16.0, frames: vec![vec![0; 12]; 2] };
    write_video(&place.path().join("clip.gif"), &clip).unwrap();
    let line = |prompt: &str| format!("{}\n", serde_json::json!({ "prompt": prompt, "video": "clip.gif" }));
    std::fs::write(place.path().join("manifest.jsonl"), ["one", "two", "three", "four"].map(line).concat()).unwrap();
    overrides.extend(["--set".to_string(), format!("teacher.path={}", place.path().display())]);
    for name in RECIPES {
        let recipe = repository().join(format!("recipes/wan2.1-1.3b/{name}/distill.toml")).display().to_string();
        let validate = |more: &[&str]| {
            let overrides = overrides.iter().map(String::as_str);
            succeeds(place.path(), &["validate", &recipe].into_iter().chain(overrides).chain(more.iter().copied()).collect::<Vec<_>>())
        };
        assert!(validate(&[]).contains("4 to train on, 0 held out"));
        assert!(validate(&["--set", r#"prompts.held_out=["of my own"]"#]).contains("1 held out"));
    }
}

#[test]
fn an_alternation_of_the_real_size_is_planned_inside_80_gb() {
    let place = tempfile::tempdir().unwrap();
    let overrides = overrides(place.path());
    for name in RECIPES {
        let recipe = repository().join(format!("recipes/wan2.1-1.3b/{name}/distill.toml")).display().to_string();
        let plan = ["plan", &recipe, "--backend", "cuda", "--memory", "80GB", "--json"];
        let options: Vec<&str> = plan.iter().copied().chain(overrides.iter().map(String::as_str)).collect();
        let words: Vec<&str> = options.iter().copied().filter(|option| *option != "--json").collect();
        println!("{}", succeeds(place.path(), &words));
        let plan: serde_json::Value = serde_json::from_str(&succeeds(place.path(), &options)).unwrap();
        assert_eq!(plan["fits"], serde_json::Value::Bool(true), "{plan:#}");
        let inputs = &plan["inputs"];
        // method.md B.1 and B.2: 21 latent frames of 30 x 52 tokens, 30 blocks of width 1536.
        assert_eq!(inputs["latents"], serde_json::json!([21, 16, 60, 104]));
        assert_eq!((inputs["student"]["layers"].as_u64(), inputs["student"]["width"].as_u64()), (Some(30), Some(1536)));
        assert_eq!(
            (inputs["student_lora"].as_u64(), inputs["weight_bytes"].as_u64(), inputs["clips_at_once"].as_u64()),
            (Some(256), Some(2), Some(1))
        );
        let without = ["--set", "run.clips_at_once=0"];
        let all: Vec<&str> = options.iter().copied().chain(without).collect();
        let output = common::afd(place.path(), &all);
        assert_eq!(output.status.code(), Some(1), "32 clips at once cannot fit");
    }
}
