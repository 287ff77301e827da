//! The program as a user meets it: verbs, exit codes, and one clear sentence for everything that
//! can be wrong.

mod common;

use std::fs;
use std::path::Path;

use common::{afd, fails, golden, repository, succeeds};

/// The golden recipe in `place`, changed.
fn recipe_with(place: &Path, from: &str, to: &str) -> String {
    let text = fs::read_to_string(golden()).unwrap();
    assert!(text.contains(from), "{from}");
    let path = place.join("recipe.toml");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path.display().to_string()
}

/// The golden run cut down to two alternations.
const SHORT: [&str; 4] = ["--set", "afd.alternations=2", "--set", "afd.warmup_steps=1"];

#[test]
fn every_shipped_recipe_is_valid() {
    let listed = succeeds(&repository(), &["recipes"]);
    let recipes: Vec<&str> = listed
        .lines()
        .filter(|line| line.ends_with(".toml"))
        .collect();
    assert!(recipes.len() >= 4, "{listed}");
    // Benchmarks are no recipes, and are not listed.
    let benchmarks: Vec<String> = fs::read_dir(repository().join("recipes/evidence"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .map(|name| format!("recipes/evidence/{name}"))
        .collect();
    assert!(benchmarks.len() >= 4, "{benchmarks:?}");
    assert!(!listed.contains("recipes/evidence"), "{listed}");
    let runs = tempfile::tempdir().unwrap();
    let runs = runs.path().display().to_string();
    for benchmark in benchmarks {
        // Reads the recipe of every run; whatever has been run here does not matter.
        succeeds(
            &repository(),
            &["bench", &benchmark, "--dry-run", "--runs", &runs],
        );
    }
    // Those for real weights: tests/wan_recipes.rs.
    for recipe in recipes
        .into_iter()
        .filter(|recipe| !recipe.contains("wan2.1"))
    {
        assert!(succeeds(&repository(), &["validate", recipe]).contains("is valid"));
    }
}

#[test]
fn a_pixel_codec_needs_all_of_its_numbers_and_a_missing_folder_is_a_wrong_request() {
    let place = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(golden()).unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("std"))
        .collect();
    let path = place.path().join("recipe.toml");
    fs::write(&path, without.join("\n")).unwrap();
    let error = fails(place.path(), &["validate", &path.display().to_string()], 2);
    assert!(error.contains("codec.std is missing"), "{error}");
    let error = fails(
        place.path(),
        &[
            "distill",
            &golden(),
            "--set",
            "teacher.kind=folder",
            "--set",
            "teacher.path=nowhere",
        ],
        2,
    );
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_misspelt_field_is_refused_with_the_nearest_name() {
    let place = tempfile::tempdir().unwrap();
    let error = fails(
        place.path(),
        &[
            "validate",
            &recipe_with(place.path(), "alternations = 20", "alternatons = 20"),
        ],
        2,
    );
    assert!(
        error.contains("alternatons") && error.contains("alternations"),
        "{error}"
    );
    let error = fails(
        place.path(),
        &["validate", &golden(), "--set", "afd.bta=1"],
        2,
    );
    assert!(error.contains("bta") && error.contains("beta"), "{error}");
}

#[test]
fn values_that_cannot_work_are_named() {
    let place = tempfile::tempdir().unwrap();
    for (set, part) in [
        ("afd.beta=0", "afd.beta is 0"),
        ("afd.rollouts_per_prompt=1", "afd.rollouts_per_prompt is 1"),
        ("clip.height=9", "clip.height (9)"),
        ("student.sizes.heads=5", "heads (5)"),
        ("student.window_frames=1", "window_frames (1)"),
        (
            "sampler.denoising_step_list=[500, 1000]",
            "must be descending",
        ),
        ("prompts.train=[]", "prompts.train"),
        (
            "prompts.held_out=[\"a small purple ball is dropped on earth\"]",
            "purple",
        ),
        (
            "afd.prompts_per_alternation=9",
            "afd.prompts_per_alternation (9)",
        ),
        ("teacher.kind=folder", "teacher.path"),
        ("student.checkpoint=missing.safetensors", "both given"),
    ] {
        let error = fails(place.path(), &["validate", &golden(), "--set", set], 2);
        assert!(error.contains(part), "{set}: {error}");
    }
    let error = fails(place.path(), &["validate", "nowhere.toml"], 2);
    assert!(error.contains("nowhere.toml"), "{error}");
}

#[test]
fn a_backend_that_is_not_there_is_refused_with_those_that_are() {
    let place = tempfile::tempdir().unwrap();
    let error = fails(place.path(), &["distill", &golden(), "--backend", "tpu"], 2);
    assert!(error.contains("tpu") && error.contains("flex"), "{error}");
    assert!(
        !place.path().join("runs").exists(),
        "nothing is created for a request that is refused"
    );
}

#[test]
fn a_run_from_recipe_to_clips() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let printed = succeeds(
        place.path(),
        &[&["distill", recipe.as_str()], &SHORT[..]].concat(),
    );
    assert!(
        printed.contains("trajectory energy distance") && printed.contains("distilled"),
        "{printed}"
    );
    let run = place.path().join("runs/golden");
    for file in [
        "recipe.resolved.toml",
        "environment.json",
        "metrics.jsonl",
        "report.json",
        "report.html",
        "samples/held-out.gif",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(fs::read_dir(run.join("events")).unwrap().count() == 1);

    // The same name again is refused, and the run is left alone.
    let before = fs::read(run.join("metrics.jsonl")).unwrap();
    let error = fails(
        place.path(),
        &[&["distill", recipe.as_str()], &SHORT[..]].concat(),
        2,
    );
    assert!(
        error.contains("exists already") && error.contains("--resume"),
        "{error}"
    );
    assert!(
        fails(
            place.path(),
            &["distill", &recipe, "--resume", "--name", "other"],
            2
        )
        .contains("no run")
    );
    // Resuming with another recipe is refused.
    let error = fails(place.path(), &["distill", &recipe, "--resume"], 2);
    assert!(
        error.contains("afd.alternations is 2 there, 20 was asked for")
            && error.contains("afd.warmup_steps is 1 there, 3 was asked for"),
        "{error}"
    );
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), before);
    // Resuming a run that is done only writes its report again.
    succeeds(
        place.path(),
        &[&["distill", recipe.as_str(), "--resume"], &SHORT[..]].concat(),
    );
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), before);

    let prompt = "a small red ball is dropped on earth";
    let generate = |out: &str, seed: &str| {
        succeeds(
            place.path(),
            &[
                "generate",
                "--checkpoint",
                "runs/golden",
                "--prompt",
                prompt,
                "--seed",
                seed,
                "--out",
                out,
            ],
        );
        fs::read(place.path().join(out)).unwrap()
    };
    let clip = generate("a.gif", "1");
    assert_eq!(clip, generate("b.gif", "1"));
    assert_ne!(clip, generate("c.gif", "2"));
    let again = [
        "generate",
        "--checkpoint",
        "runs/golden",
        "--prompt",
        prompt,
        "--out",
        "a.gif",
    ];
    assert!(fails(place.path(), &again, 2).contains("exists already"));
    assert_eq!(fs::read(place.path().join("a.gif")).unwrap(), clip);

    // What only training needs, such as enough prompts for a round, is not asked for here.
    let table = succeeds(
        place.path(),
        &[
            "eval",
            "--checkpoint",
            "runs/golden",
            "--set",
            "afd.prompts_per_alternation=9",
        ],
    );
    assert!(table.contains("holdout pair accuracy"), "{table}");
    let json = succeeds(
        place.path(),
        &[
            "eval",
            "--checkpoint",
            "runs/golden",
            "--against",
            "runs/golden",
            "--json",
        ],
    );
    let scores: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(scores["checkpoint"], scores["against"]);

    // A damaged checkpoint is named, by its file.
    let newest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    let weights = run
        .join("checkpoints")
        .join(newest.trim())
        .join("student/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let error = fails(place.path(), &["eval", "--checkpoint", "runs/golden"], 1);
    assert!(error.contains("student/model.safetensors"), "{error}");
}

#[test]
fn the_same_job_from_recorded_clips_of_another_size_and_rate() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    succeeds(
        place.path(),
        &[
            "teacher", "record", &recipe, "--out", "clips", "--clips", "5",
        ],
    );
    // The world's own size and rate, not the student's 8 x 8 at 6 frames per second.
    let frames = fs::read_dir(place.path().join("clips/clips"))
        .unwrap()
        .count();
    assert_eq!(frames, 4 * 5);
    let folder = place.path().join("clips").display().to_string();
    let settings = [
        "--set",
        "teacher.kind=folder",
        "--set",
        &format!("teacher.path={folder}"),
        "--set",
        "evaluation.first_sample=0",
    ];
    let arguments = [&["distill", recipe.as_str()], &SHORT[..], &settings[..]].concat();
    assert!(succeeds(place.path(), &arguments).contains("distilled"));

    // A prompt that the folder has no clips of.
    let unknown = [
        &["validate", recipe.as_str()],
        &settings[..],
        &[
            "--set",
            "prompts.held_out=[\"a small green ball is dropped on earth\"]",
        ],
    ]
    .concat();
    let error = fails(place.path(), &unknown, 2);
    assert!(
        error.contains("a small green ball is dropped on earth") && error.contains("nearest"),
        "{error}"
    );
    assert!(error.contains("evaluation.clips_per_prompt = 0"), "{error}");
    // Nobody asks for its clips where nothing is compared with the teacher; then there need be no
    // held-out prompts at all.
    let no_table = ["--set", "evaluation.clips_per_prompt=0"];
    succeeds(place.path(), &[&unknown[..], &no_table].concat());
    let none = [
        &["distill", recipe.as_str(), "--name", "no-table"],
        &SHORT[..],
        &settings[..],
        &["--set", "prompts.held_out=[]"],
    ]
    .concat();
    assert!(fails(place.path(), &none, 2).contains("prompts.held_out has no prompts"));
    succeeds(place.path(), &[&none[..], &no_table].concat());
    // Recording again keeps what is there, and another teacher's clips do not come among them.
    let manifest = fs::read(place.path().join("clips/manifest.jsonl")).unwrap();
    succeeds(
        place.path(),
        &[
            "teacher", "record", &recipe, "--out", "clips", "--clips", "5",
        ],
    );
    assert_eq!(
        fs::read(place.path().join("clips/manifest.jsonl")).unwrap(),
        manifest
    );
    let other = [
        "teacher",
        "record",
        &recipe,
        "--out",
        "clips",
        "--set",
        "teacher.seed=6",
    ];
    assert!(fails(place.path(), &other, 2).contains("another directory"));
    fs::create_dir(place.path().join("mine")).unwrap();
    fs::write(place.path().join("mine/notes.txt"), "mine").unwrap();
    assert!(
        fails(
            place.path(),
            &["teacher", "record", &recipe, "--out", "mine"],
            2
        )
        .contains("not empty")
    );
    // A manifest line that points outside.
    fs::write(
        place.path().join("clips/manifest.jsonl"),
        "{\"prompt\": \"x\", \"video\": \"../secret.gif\"}\n",
    )
    .unwrap();
    let error = fails(
        place.path(),
        &[&["validate", recipe.as_str()], &settings[..]].concat(),
        2,
    );
    assert!(
        error.contains("line 1") && error.contains("../secret.gif"),
        "{error}"
    );
}

#[test]
fn inspect_lists_tensors_and_refuses_what_is_no_safetensors_file() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("junk.safetensors"), b"not a model").unwrap();
    assert!(fails(place.path(), &["inspect", "junk.safetensors"], 1).contains("junk.safetensors"));
    let base = repository()
        .join("recipes/physics-world/base.safetensors")
        .display()
        .to_string();
    let listed = succeeds(place.path(), &["inspect", &base]);
    assert!(
        listed.contains("blocks.0.self_attn.norm_q.weight") && listed.contains("parameters"),
        "{listed}"
    );
    assert!(
        listed.contains("wan layout") && listed.contains("complete: all"),
        "{listed}"
    );
    assert!(fs::metadata(base).unwrap().len() <= 4 << 20);
    fs::write(place.path().join("model.pt"), b"not a model").unwrap();
    assert!(fails(place.path(), &["inspect", "model.pt"], 1).contains("--allow-pickle"));
    assert!(
        fails(place.path(), &["inspect", "model.pt", "--allow-pickle"], 1).contains("torch.save")
    );
}

#[test]
fn export_renames_without_changing_a_bit_and_overwrites_nothing() {
    let place = tempfile::tempdir().unwrap();
    let base = repository()
        .join("recipes/physics-world/base.safetensors")
        .display()
        .to_string();
    let export = |from: &str, layout: &str, out: &str, more: &[&str]| {
        succeeds(
            place.path(),
            &[&["export", from, "--layout", layout, "--out", out], more].concat(),
        )
    };
    let written = export(&base, "diffusers", "diffusers", &[]);
    assert!(
        written.contains("diffusers/diffusion_pytorch_model.safetensors"),
        "{written}"
    );
    let listed = succeeds(place.path(), &["inspect", "diffusers"]);
    assert!(
        listed.contains("diffusers layout") && listed.contains("complete: all"),
        "{listed}"
    );
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path().join("diffusers/config.json")).unwrap())
            .unwrap();
    assert_eq!(
        (
            config["_class_name"].as_str(),
            config["num_attention_heads"].as_u64()
        ),
        (Some("WanTransformer3DModel"), Some(4))
    );
    // There and back: a file of the same tensors, whatever the way.
    export(
        "diffusers/diffusion_pytorch_model.safetensors",
        "wan",
        "back",
        &["--heads", "4"],
    );
    export(&base, "wan", "straight", &[]);
    let file = |name: &str| fs::read(place.path().join(name)).unwrap();
    assert_eq!(
        file("back/diffusion_pytorch_model.safetensors"),
        file("straight/diffusion_pytorch_model.safetensors")
    );
    assert_eq!(file("back/config.json"), file("straight/config.json"));
    let again = ["export", &base, "--layout", "comfyui", "--out", "back"];
    assert!(fails(place.path(), &again, 1).contains("back"));
    assert_eq!(file("back/config.json"), file("straight/config.json"));
    // 80 channels do not fall into Wan's 128 per head, and the weights do not say.
    assert!(
        fails(
            place.path(),
            &[
                "export", &base, "--layout", "wan", "--out", "odd", "--heads", "3"
            ],
            2
        )
        .contains("--heads")
    );
}

#[test]
fn doctor_finds_every_present_device_in_agreement_with_the_cpu() {
    let output = succeeds(&repository(), &["doctor"]);
    assert!(
        output.contains("flex") && output.contains("ndarray") && output.contains("agrees"),
        "{output}"
    );
    assert!(output.contains("not compiled in"), "{output}");
    // Where nothing differs, no tensor differs most.
    assert!(!output.contains("(most in )"), "{output}");
    // Outside the repository there is nothing to compare, which is no wrong request.
    let place = tempfile::tempdir().unwrap();
    let output = succeeds(place.path(), &["doctor"]);
    assert!(output.contains("no device was compared"), "{output}");
}

#[test]
fn help_names_every_verb_and_a_wrong_verb_is_a_usage_error() {
    let place = tempfile::tempdir().unwrap();
    let help = succeeds(place.path(), &["--help"]);
    for verb in [
        "distill", "pretrain", "generate", "eval", "teacher", "recipes", "validate", "inspect",
        "export", "doctor",
    ] {
        assert!(help.contains(verb), "{help}");
    }
    assert_eq!(afd(place.path(), &["dance"]).status.code(), Some(2));
}

#[test]
fn a_plan_says_what_a_recipe_takes_and_whether_it_fits() {
    let place = tempfile::tempdir().unwrap();
    let plan = |more: &[&str]| {
        afd(
            place.path(),
            &[&["plan", &golden(), "--backend", "cuda"], more].concat(),
        )
    };
    let table = String::from_utf8(plan(&["--memory", "1GB"]).stdout).unwrap();
    for part in [
        "parameters",
        "rollout: ",
        "discriminator update: ",
        "flow update: ",
        "fits 1.00 GB",
        "checkpoint: ",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let short = plan(&["--memory", "1MB"]);
    assert_eq!(short.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&short.stdout).contains("does not fit 1.00 MB; the largest: "));
    // No GPU was asked, so that the answer is the same on every machine; the memory of one that is
    // not here is not known.
    let json: serde_json::Value =
        serde_json::from_slice(&plan(&["--memory", "1GB", "--json"]).stdout).unwrap();
    assert_eq!(json["fits"], true);
    // What a checkpoint of the same recipe really takes, but for headers: the weights of an f32
    // file.
    succeeds(
        place.path(),
        &[
            &["distill", &golden(), "--runs", "a", "--backend", "flex"],
            &SHORT[..],
        ]
        .concat(),
    );
    let files = common::final_state(&place.path().join("a/golden"));
    let tensors: usize = files
        .iter()
        .filter(|(name, _)| name.ends_with(".safetensors"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    let planned = json["weights"]["checkpoint"].as_f64().unwrap();
    // Names and shapes of some 500 tensors are a large part of so small a file.
    let headers: usize = files
        .iter()
        .filter(|(name, _)| name.ends_with(".safetensors"))
        .map(|(_, bytes)| header(bytes))
        .sum();
    assert!(
        (planned / (tensors - headers) as f64 - 1.0).abs() < 0.02,
        "{planned} {tensors} {headers}"
    );
    let error = fails(place.path(), &["plan", &golden(), "--backend", "tpu"], 2);
    assert!(
        error.contains("\"tpu\"") && error.contains("cuda, wgpu"),
        "{error}"
    );
}

/// Bytes of a safetensors file before its data.
fn header(file: &[u8]) -> usize {
    8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize
}
