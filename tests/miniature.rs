//! The whole real stack at tiny width, through the built program: umT5, the VAE, a Self-Forcing
//! checkpoint, low-rank factors on student and register discriminator, bf16, blocks run again, one
//! clip after another. `tests/miniature/make_weights.py` made the weights.
//!
//! What it leaves in `target/tmp/miniature` is what `scripts/check-export.py` loads with diffusers.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afd::session::build::finished_student;
use afd::session::state::StudentCard;
use afd_models::precision::{Precision, cast_frozen};
use afd_models::student::transformer::Inputs;
use afd_models::student::{Limits, Student, StudentConfig, Visibility};
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{HostTensor, Pickles, Tensors, WeightFile, to_bytes};
use burn::backend::Flex;
use burn::prelude::*;
use common::{afd, command, fails, repository, succeeds};

fn recipe() -> String {
    repository()
        .join("tests/miniature/recipe.toml")
        .display()
        .to_string()
}

/// mp4 where there is an ffmpeg, as users have it; elsewhere the same pixels as PNG.
fn format() -> &'static str {
    let found = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        "mp4"
    } else {
        "frames"
    }
}

/// Clips of the physics world, none of the held-out prompt, and everything prepared from them, in
/// `place`.
fn prepared(place: &Path) -> Vec<String> {
    let world = repository()
        .join("recipes/physics-world/distill.toml")
        .display()
        .to_string();
    let prompts = [
        "--set",
        &format!("prompts.train={}", train_prompts()),
        "--set",
        "prompts.held_out=[]",
    ];
    let record = [
        "teacher",
        "record",
        &world,
        "--out",
        "clips",
        "--clips",
        "2",
        "--format",
        format(),
    ];
    succeeds(
        place,
        &[
            &record[..],
            &prompts,
            &["--set", "evaluation.clips_per_prompt=0"],
        ]
        .concat(),
    );
    let options = vec![
        "--set".to_string(),
        format!("teacher.path={}", place.join("clips").display()),
        "--set".to_string(),
        format!("data.path={}", place.join("prepared").display()),
    ];
    succeeds(place, &with(&["data", "prepare", &recipe()], &options));
    options
}

/// The recipe's training prompts as TOML.
fn train_prompts() -> String {
    let text = fs::read_to_string(recipe()).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["prompts"]["train"].to_string()
}

fn with<'a>(arguments: &[&'a str], options: &'a [String]) -> Vec<&'a str> {
    arguments
        .iter()
        .copied()
        .chain(options.iter().map(String::as_str))
        .collect()
}

fn every_file(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(every_file(&path)),
            false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    files
}

/// The newest checkpoint of a run.
fn newest(run: &Path) -> PathBuf {
    let latest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    run.join("checkpoints").join(latest.trim())
}

#[test]
fn clips_become_a_distilled_student_that_others_load() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let options = prepared(place);

    // Prepared once: nothing is made again, and nothing changes.
    let before = every_file(&place.join("prepared"));
    let said = succeeds(place, &with(&["data", "prepare", &recipe()], &options));
    assert!(
        said.contains("0 encoded, 4 were there") && said.contains("0 encoded, 6 were there"),
        "{said}"
    );
    assert_eq!(every_file(&place.join("prepared")), before);

    // Killed after its first shard, the preparation goes on and ends in the same files.
    let other = [
        options[0].clone(),
        options[1].clone(),
        "--set".to_string(),
        format!("data.path={}", place.join("prepared-again").display()),
    ];
    let recipe_path = recipe();
    let prepare = with(&["data", "prepare", &recipe_path], &other);
    let mut child = command(place, &prepare)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !place.join("prepared-again/latents/index.json").exists() {
        assert!(
            child
                .try_wait()
                .unwrap()
                .is_none_or(|status| status.success())
        );
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    succeeds(place, &prepare);
    let contents = |files: BTreeMap<PathBuf, Vec<u8>>| files.into_values().collect::<Vec<_>>();
    assert!(
        contents(every_file(&place.join("prepared-again"))) == contents(before),
        "a preparation that was killed ends in other files"
    );

    succeeds(
        place,
        &with(&["distill", &recipe(), "--backend", "flex"], &options),
    );
    let run = place.join("runs/miniature");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
    assert!(
        metrics.contains("\"flow_loss\"") && metrics.contains("\"r2\""),
        "{metrics}"
    );

    // A checkpoint holds what moved and nothing of what rests: factors of 3 layers of 10
    // projections, A and B and their moments.
    let state = WeightFile::open(
        &newest(&run).join("training_state/model.safetensors"),
        Pickles::Refused,
    )
    .unwrap();
    let student: Vec<_> = state
        .entries()
        .keys()
        .filter(|name| name.starts_with("student."))
        .collect();
    assert_eq!(student.len(), 3 * 10 * 2, "{student:?}");
    assert!(state.entries().keys().all(|name| name.contains(".lora.")
        || name.starts_with("discriminator.") && !name.contains("backbone")));
    assert!(
        !state
            .entries()
            .keys()
            .any(|name| name.starts_with("reference."))
    );

    // The same run, killed after its second round and resumed, ends in the same bytes.
    let mut child = command(
        place,
        &with(
            &[
                "distill",
                &recipe(),
                "--backend",
                "flex",
                "--runs",
                "killed",
            ],
            &options,
        ),
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let killed = place.join("killed/miniature");
    while fs::read_to_string(killed.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
        < 2
    {
        assert!(
            child
                .try_wait()
                .unwrap()
                .is_none_or(|status| status.success())
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait().unwrap();
    succeeds(
        place,
        &with(
            &[
                "distill",
                &recipe(),
                "--backend",
                "flex",
                "--runs",
                "killed",
                "--resume",
            ],
            &options,
        ),
    );
    for file in [
        "student/lora.safetensors",
        "training_state/model.safetensors",
        "training_state/optimizers.safetensors",
    ] {
        assert!(
            fs::read(newest(&killed).join(file)).unwrap()
                == fs::read(newest(&run).join(file)).unwrap(),
            "{file} differs"
        );
    }

    let error = fails(
        place,
        &["eval", "--checkpoint", &run.display().to_string()],
        2,
    );
    assert!(error.contains("evaluation.clips_per_prompt = 0"), "{error}");
    generates(place, &run);
    exports(place, &run);
    knows_its_encoders(place, &run);
}

/// A student is not sampled with a codec or a text encoder that it was not trained with, whose file
/// has taken the place of the old one.
fn knows_its_encoders(place: &Path, run: &Path) {
    let student = newest(run).join("student");
    for (field, file, named) in [
        (
            "codec",
            "models/tests/fixtures/wan_vae.safetensors",
            "codec",
        ),
        ("text", "tests/miniature/umt5.safetensors", "text encoder"),
    ] {
        let copy = place.join(format!("student-{field}"));
        fs::create_dir(&copy).unwrap();
        let mut weights = fs::read(repository().join(file)).unwrap();
        let last = weights.len() - 2;
        weights[last] ^= 1;
        let other = copy.join("other.safetensors");
        fs::write(&other, weights).unwrap();
        for (path, bytes) in every_file(&student) {
            fs::write(copy.join(path.file_name().unwrap()), bytes).unwrap();
        }
        let card = fs::read_to_string(copy.join("config.json")).unwrap();
        let mut card: serde_json::Value = serde_json::from_str(&card).unwrap();
        card[field]["checkpoint"] = other.display().to_string().into();
        fs::write(copy.join("config.json"), card.to_string()).unwrap();
        let copy = copy.display().to_string();
        let ask = ["--prompt", "a small red ball bounces", "--out", "other.gif"];
        let error = fails(
            place,
            &[&["generate", "--checkpoint", &copy], &ask[..]].concat(),
            1,
        );
        assert!(
            error.contains(&format!(
                "is not the {named} that the student was trained with"
            )),
            "{error}"
        );
    }
}

/// VBench's names, a manifest that says what is what, and the same clip for the same seed.
fn generates(place: &Path, run: &Path) {
    fs::write(
        place.join("prompts.txt"),
        "a large red ball is dropped on the moon\na small red ball bounces\n",
    )
    .unwrap();
    let run = run.display().to_string();
    let ask = |out: &str| {
        let ask = [
            "generate",
            "--checkpoint",
            &run,
            "--prompts",
            "prompts.txt",
            "--clips",
            "2",
            "--seed",
            "7",
            "--backend",
            "flex",
        ];
        succeeds(
            place,
            &[&ask[..], &["--format", format(), "--out-dir", out]].concat(),
        );
        every_file(&place.join(out))
            .into_iter()
            .map(|(path, bytes)| {
                (
                    path.strip_prefix(place.join(out)).unwrap().to_path_buf(),
                    bytes,
                )
            })
            .collect()
    };
    let embeddings = || fs::read_dir(place.join("prepared/text")).unwrap().count();
    let before = embeddings();
    let made: BTreeMap<PathBuf, Vec<u8>> = ask("made");
    // The held-out prompt was prepared with the others; the rows of the new one are kept beside
    // them.
    assert_eq!(embeddings(), before + 1);
    let manifest = String::from_utf8(made[Path::new("manifest.jsonl")].clone()).unwrap();
    let first: serde_json::Value = serde_json::from_str(manifest.lines().next().unwrap()).unwrap();
    let (prompt, name) = (
        "a large red ball is dropped on the moon",
        format!(
            "videos/a large red ball is dropped on the moon-0.{}",
            format()
        ),
    );
    assert_eq!(
        (
            first["prompt"].as_str(),
            first["video"].as_str(),
            first["seed"].as_u64()
        ),
        (Some(prompt), Some(name.as_str()), Some(7))
    );
    assert_eq!(
        first["prompt_blake3"].as_str(),
        Some(
            blake3::hash(prompt.as_bytes())
                .to_hex()
                .to_string()
                .as_str()
        )
    );
    assert_eq!(manifest.lines().count(), 4);
    assert_eq!(
        first["checkpoint_blake3"].as_array().unwrap().len(),
        2,
        "the factors' file and the base's"
    );
    assert!(made == ask("again"), "the same seed makes other clips");
    assert_eq!(embeddings(), before + 1);
    if format() == "mp4" {
        assert!(
            made[Path::new(&name)] != made[Path::new(&name.replace("-0.", "-1."))],
            "two clips of a prompt are one"
        );
    }

    // The base's clip of the same noise, from its pickle and the same prepared rows: another one.
    let options = [
        format!("teacher.path={}", place.join("clips").display()),
        format!("data.path={}", place.join("prepared").display()),
    ];
    let sets: Vec<&str> = options
        .iter()
        .flat_map(|option| ["--set", option.as_str()])
        .collect();
    let base = [
        "generate",
        "--recipe",
        &recipe(),
        "--prompts",
        "prompts.txt",
        "--clips",
        "2",
        "--seed",
        "7",
        "--backend",
        "flex",
    ];
    succeeds(
        place,
        &[
            &base[..],
            &["--format", format(), "--out-dir", "base"],
            &sets,
        ]
        .concat(),
    );
    // A clip is a file, or a directory of frames where there is no ffmpeg.
    let base = every_file(&place.join("base").join("videos"));
    let of_base: Vec<_> = base
        .iter()
        .filter(|(path, _)| path.starts_with(place.join("base").join(&name)))
        .map(|(_, bytes)| bytes)
        .collect();
    let of_student: Vec<_> = made
        .iter()
        .filter(|(path, _)| path.starts_with(&name))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(of_base.len(), of_student.len());
    assert!(
        !of_base.is_empty() && of_base != of_student,
        "the base makes the student's clips"
    );
    assert_eq!(embeddings(), before + 1);
    let error = fails(
        place,
        &[
            "generate",
            "--checkpoint",
            &run,
            "--prompts",
            "prompts.txt",
            "--out-dir",
            "made",
        ],
        2,
    );
    assert!(error.contains("made"), "{error}");
}

/// The merged student in diffusers' names gives the velocities of base and factors; the factors
/// alone are readable in every layout.
fn exports(place: &Path, run: &Path) {
    let run = run.display().to_string();
    for layout in ["wan", "diffusers", "comfyui"] {
        succeeds(
            place,
            &[
                "export",
                &run,
                "--layout",
                layout,
                "--out",
                &format!("lora-{layout}"),
            ],
        );
        let name = if layout == "diffusers" {
            "pytorch_lora_weights"
        } else {
            "lora"
        };
        let said = succeeds(
            place,
            &["inspect", &format!("lora-{layout}/{name}.safetensors")],
        );
        assert!(
            said.contains("low-rank factors of 30 layers, rank 4"),
            "{said}"
        );
        succeeds(
            place,
            &[
                "export",
                &run,
                "--layout",
                layout,
                "--merge-lora",
                "--out",
                &format!("merged-{layout}"),
                "--backend",
                "flex",
            ],
        );
    }
    let bf16 = [
        "--merge-lora",
        "--dtype",
        "bf16",
        "--out",
        "merged-bf16",
        "--backend",
        "flex",
    ];
    succeeds(
        place,
        &[&["export", &run, "--layout", "diffusers"], &bf16[..]].concat(),
    );
    let base = repository()
        .join("tests/miniature/transformer.pt")
        .display()
        .to_string();
    succeeds(
        place,
        &[
            "export",
            &base,
            "--allow-pickle",
            "--heads",
            "2",
            "--layout",
            "diffusers",
            "--out",
            "base-diffusers",
        ],
    );
    let said = succeeds(place, &["inspect", "merged-diffusers"]);
    assert!(
        said.contains("diffusers layout") && said.contains("complete"),
        "{said}"
    );

    let open = |path: PathBuf| WeightFile::open(&path, Pickles::Allowed).unwrap();
    let base = open(repository().join("tests/miniature/transformer.pt"));
    let transformer = TransformerFile::find(&base, None).unwrap();
    let config = StudentConfig {
        heads: 2,
        frames_per_block: 1,
        ..transformer.sizes().unwrap()
    };
    let plain: Student<Flex> = transformer
        .load(&config, Precision::F32, &Default::default())
        .unwrap();
    let factors = LoraFile::open(&open(place.join("lora-comfyui/lora.safetensors"))).unwrap();
    let lora = factors.config().unwrap();
    assert_eq!((lora.rank, lora.alpha), (4, 8.0));
    let adapted = factors
        .apply(
            afd_models::lora::adapted(plain.clone(), &lora),
            &lora,
            place,
        )
        .unwrap();
    let merged = |name: &str| -> Student<Flex> {
        let file = open(place.join(name));
        TransformerFile::find(&file, None)
            .unwrap()
            .load(&config, Precision::F32, &Default::default())
            .unwrap()
    };
    let (of_base, of_adapted, of_merged) = (
        velocity(&plain),
        velocity(&adapted),
        velocity(&merged("merged-diffusers")),
    );
    let largest = |a: &Tensor<Flex, 5>, b: &Tensor<Flex, 5>| {
        (a.clone() - b.clone()).abs().max().into_scalar()
    };
    let learned = largest(&of_base, &of_adapted);
    assert!(learned > 1e-3, "nothing was learned");
    // As shares of what was learned. In f32 sums in another order; in bf16 every weight is rounded
    // to 8 bits again.
    let in_f32 = largest(&of_adapted, &of_merged) / learned;
    let in_bf16 = largest(&of_adapted, &velocity(&merged("merged-bf16"))) / learned;
    println!(
        "merged and adapted velocities differ by {in_f32:.1e} of what was learned in f32, by \
            {in_bf16:.1e} in bf16"
    );
    assert!(
        in_f32 < 1e-4 && in_bf16 > 10.0 * in_f32 && in_bf16 < 1.0,
        "{in_f32} {in_bf16}"
    );
    samples_what_was_trained(&run, &plain, &adapted);
    merges_factors_of_a_file(place, &plain);
    exports_the_discriminator(place, &run);
    leave_for_diffusers(place, &of_merged, &of_adapted);
}

/// `generate`, `eval` and `measure` use the student with its factors beside the weights: in bf16 it
/// is the one that training computed with, bit for bit, and differs from one that is merged in
/// bf16.
fn samples_what_was_trained(run: &str, plain: &Student<Flex>, adapted: &Student<Flex>) {
    let student = newest(Path::new(run)).join("student");
    let card: StudentCard =
        serde_json::from_slice(&fs::read(student.join("config.json")).unwrap()).unwrap();
    let sampled: Student<Flex> = finished_student(&card, &student, &Default::default()).unwrap();
    let limits = Limits {
        precision: Precision::Bf16,
        ..Limits::default()
    };
    let trained = cast_frozen(adapted.clone(), Precision::Bf16).within(limits);
    let of = |student: &Student<Flex>| velocity(student).into_data();
    assert_eq!(of(&sampled), of(&trained));
    assert_ne!(
        of(&sampled),
        of(&cast_frozen(plain.clone(), Precision::Bf16).within(limits))
    );
}

/// Anybody's factors onto anybody's weights; those of a short training, a thousandth of the ones
/// here, survive in f32 and vanish in bf16.
fn merges_factors_of_a_file(place: &Path, plain: &Student<Flex>) {
    let base = repository()
        .join("tests/miniature/transformer.pt")
        .display()
        .to_string();
    let onto_base = |lora: &str, more: &[&'static str], out: &str| {
        let arguments = [
            "export",
            &base,
            "--allow-pickle",
            "--heads",
            "2",
            "--layout",
            "diffusers",
            "--backend",
            "flex",
            "--merge-lora",
        ];
        let to = ["--lora", lora, "--out", out];
        afd(place, &[&arguments[..], &to, more].concat())
    };
    assert!(
        onto_base("lora-comfyui/lora.safetensors", &[], "merged-file")
            .status
            .success()
    );
    let weights = |name: &str| {
        fs::read(place.join(name).join("diffusion_pytorch_model.safetensors")).unwrap()
    };
    assert!(
        weights("merged-file") == weights("merged-diffusers"),
        "the run's own factors, from a file"
    );

    let own = WeightFile::open(&place.join("lora-wan/lora.safetensors"), Pickles::Refused).unwrap();
    let scaled = |name: &String| {
        let mut tensor = own.read(name).unwrap();
        if name.contains("lora_B") {
            tensor.values.iter_mut().for_each(|value| *value /= 1024.0);
        }
        (name.clone(), tensor)
    };
    let small: Tensors = own.entries().keys().map(scaled).collect();
    fs::write(
        place.join("small.safetensors"),
        to_bytes(&small, &BTreeMap::new()).unwrap(),
    )
    .unwrap();
    let factors = LoraFile::open(
        &WeightFile::open(&place.join("small.safetensors"), Pickles::Refused).unwrap(),
    )
    .unwrap();
    let lora = factors.config().unwrap();
    let adapted = velocity(
        &factors
            .apply(
                afd_models::lora::adapted(plain.clone(), &lora),
                &lora,
                place,
            )
            .unwrap(),
    );
    let largest = |a: &Tensor<Flex, 5>, b: &Tensor<Flex, 5>| {
        (a.clone() - b.clone()).abs().max().into_scalar()
    };
    let lost = |out: &str, more: &[&'static str]| {
        assert!(onto_base("small.safetensors", more, out).status.success());
        let file = WeightFile::open(&place.join(out), Pickles::Refused).unwrap();
        let transformer = TransformerFile::find(&file, None).unwrap();
        let merged: Student<Flex> = transformer
            .load(plain.config(), Precision::F32, &Default::default())
            .unwrap();
        largest(&adapted, &velocity(&merged)) / largest(&adapted, &velocity(plain))
    };
    let (in_f32, in_bf16) = (
        lost("small-f32", &[]),
        lost("small-bf16", &["--dtype", "bf16"]),
    );
    println!("of factors a thousandth as large {in_f32:.1e} is lost in f32, {in_bf16:.1e} in bf16");
    assert!(in_f32 < 1e-2 && in_bf16 > 0.3, "{in_f32} {in_bf16}");

    // Factors of a wider transformer, under dotted and underscored names, and of no layer.
    let matrix = |rows: usize, columns: usize| HostTensor {
        shape: vec![rows, columns],
        values: vec![0.0; rows * columns],
    };
    for (names, problem) in [
        (
            [
                "blocks.0.ffn.0.lora_A.weight",
                "blocks.0.ffn.0.lora_B.weight",
            ],
            "these factors are not for",
        ),
        (
            [
                "lora_unet_blocks_0_ffn_0.lora_down.weight",
                "lora_unet_blocks_0_ffn_0.lora_up.weight",
            ],
            "these factors are not for",
        ),
        (
            [
                "lora_unet_blocks_0_ffn_9.lora_down.weight",
                "lora_unet_blocks_0_ffn_9.lora_up.weight",
            ],
            "belongs to no linear layer",
        ),
    ] {
        let tensors: Tensors = [
            (names[0].to_string(), matrix(1, 999)),
            (names[1].to_string(), matrix(999, 1)),
        ]
        .into();
        fs::write(
            place.join("other.safetensors"),
            to_bytes(&tensors, &BTreeMap::new()).unwrap(),
        )
        .unwrap();
        let output = onto_base("other.safetensors", &[], "never");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1)
                && error.contains(problem)
                && !error.contains("panicked"),
            "{error}"
        );
    }
    assert!(!place.join("never").exists());
}

/// The discriminator's factors under others' names, and its readers and head under ours, as
/// training left them.
fn exports_the_discriminator(place: &Path, run: &str) {
    succeeds(
        place,
        &[
            "export",
            run,
            "--part",
            "discriminator",
            "--layout",
            "wan",
            "--out",
            "judge",
        ],
    );
    let said = succeeds(place, &["inspect", "judge/lora.safetensors"]);
    assert!(
        said.contains("low-rank factors of 30 layers, rank 2, alpha 2"),
        "{said}"
    );
    let open = |path: PathBuf| WeightFile::open(&path, Pickles::Refused).unwrap();
    let state = open(newest(Path::new(run)).join("training_state/model.safetensors"));
    let (factors, readers) = (
        open(place.join("judge/lora.safetensors")),
        open(place.join("judge/readers.safetensors")),
    );
    let trained: Vec<&String> = state
        .entries()
        .keys()
        .filter(|name| name.starts_with("discriminator."))
        .collect();
    // Of every layer A, B and alpha.
    assert_eq!(
        trained.len(),
        factors.entries().len() / 3 * 2 + readers.entries().len()
    );
    let down = factors.read("blocks.2.self_attn.q.lora_A.weight").unwrap();
    let own = trained
        .iter()
        .find(|name| name.ends_with("backbone.blocks.2.self_attn.q.lora.down"))
        .unwrap();
    let own = state.read(own).unwrap();
    // Ours are [input, rank].
    assert!((0..2).all(|rank| {
        (0..down.shape[1])
            .all(|input| down.values[rank * down.shape[1] + input] == own.values[input * 2 + rank])
    }));
    let student = newest(Path::new(run)).join("student").display().to_string();
    fs::create_dir(place.join("alone")).unwrap();
    for file in ["config.json", "lora.safetensors"] {
        fs::copy(
            Path::new(&student).join(file),
            place.join("alone").join(file),
        )
        .unwrap();
    }
    assert!(
        fails(
            place,
            &[
                "export",
                "alone",
                "--part",
                "discriminator",
                "--layout",
                "wan",
                "--out",
                "none"
            ],
            2
        )
        .contains("a student alone")
    );
}

/// What `scripts/check-export.py` compares with diffusers.
fn leave_for_diffusers(place: &Path, of_merged: &Tensor<Flex, 5>, of_adapted: &Tensor<Flex, 5>) {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("miniature");
    let _ = fs::remove_dir_all(&out);
    for name in ["merged-diffusers", "base-diffusers", "lora-diffusers"] {
        fs::create_dir_all(out.join(name)).unwrap();
        for file in fs::read_dir(place.join(name)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), out.join(name).join(file.file_name())).unwrap();
        }
    }
    let host = |tensor: Tensor<Flex, 5>| HostTensor {
        shape: tensor.dims().to_vec(),
        values: tensor.into_data().to_vec().unwrap(),
    };
    let (latents, text) = inputs();
    let text = HostTensor {
        shape: text.dims().to_vec(),
        values: text.into_data().to_vec().unwrap(),
    };
    let tensors: Tensors = [
        ("latents".to_string(), host(latents)),
        ("text".to_string(), text),
        (
            "timesteps".to_string(),
            HostTensor {
                shape: vec![1],
                values: vec![TIMESTEP],
            },
        ),
        ("velocity.merged".to_string(), host(of_merged.clone())),
        ("velocity.adapted".to_string(), host(of_adapted.clone())),
    ]
    .into();
    fs::write(
        out.join("velocity.safetensors"),
        to_bytes(&tensors, &BTreeMap::new()).unwrap(),
    )
    .unwrap();
}

const TIMESTEP: f32 = 625.0;

fn inputs() -> (Tensor<Flex, 5>, Tensor<Flex, 3>) {
    use afd_models::noise::{Noise, Purpose};
    let mut noise = Noise::new(1, Purpose::Evaluation, 0, 0);
    let mut normals = |count: usize| noise.normals(count);
    let latents = Tensor::from_data(
        TensorData::new(normals(3 * 3 * 4 * 4), [1, 3, 3, 4, 4]),
        &Default::default(),
    );
    (
        latents,
        Tensor::from_data(
            TensorData::new(normals(6 * 24), [1, 6, 24]),
            &Default::default(),
        ),
    )
}

/// The bidirectional velocity, as diffusers' transformer computes it.
fn velocity(student: &Student<Flex>) -> Tensor<Flex, 5> {
    let (latents, text) = inputs();
    let text = student.text_cache(text);
    let visibility = Visibility::bidirectional(3);
    student
        .forward(
            latents,
            &Inputs {
                timesteps: &[TIMESTEP; 3],
                frames: &[0, 1, 2],
                text: &text,
                past: None,
                visibility: &visibility,
            },
        )
        .0
}

#[test]
fn what_is_not_prepared_is_named_with_the_command_that_prepares_it() {
    let place = tempfile::tempdir().unwrap();
    let (clips, data) = (
        format!("teacher.path={}", place.path().display()),
        format!("data.path={}", place.path().join("none").display()),
    );
    let output = afd(
        place.path(),
        &[
            "distill",
            &recipe(),
            "--backend",
            "flex",
            "--set",
            &clips,
            "--set",
            &data,
        ],
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("afd data prepare"),
        "{error}"
    );
    assert!(!place.path().join("runs").exists());
}

#[test]
fn a_preparation_that_did_not_reach_its_end_is_not_trained_on() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let options = prepared(place);
    // As if it had been stopped after the first of two shards.
    let index = place.join("prepared/latents/index.json");
    let mut whole: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    whole["shards"].as_array_mut().unwrap().pop().unwrap();
    fs::write(&index, whole.to_string()).unwrap();
    let error = fails(
        place,
        &with(&["distill", &recipe(), "--backend", "flex"], &options),
        1,
    );
    assert!(
        error.contains("lacks latents") && error.contains("afd data prepare"),
        "{error}"
    );
    assert!(!place.join("runs").exists());
}

#[test]
fn what_a_backend_or_a_recipe_cannot_do_is_refused_in_one_sentence() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let options = prepared(place);
    let error = fails(
        place,
        &with(&["distill", &recipe(), "--backend", "ndarray"], &options),
        1,
    );
    assert!(
        error.contains("bf16") && error.contains("run.precision"),
        "{error}"
    );
    let fresh = format!("data.path={}", place.join("fresh").display());
    let codec = [
        "--backend",
        "ndarray",
        "--set",
        &fresh,
        "--set",
        "codec.precision=bf16",
    ];
    // Beside the progress of the prompts, which come first.
    let output = afd(
        place,
        &[&with(&["data", "prepare", &recipe()], &options)[..], &codec].concat(),
    );
    let error = String::from_utf8_lossy(&output.stderr);
    let sentence = error.lines().last().unwrap();
    assert!(
        output.status.code() == Some(1)
            && sentence.contains("bf16")
            && sentence.contains("codec.precision"),
        "{error}"
    );
    let refused = |set: &str| fails(place, &["validate", &recipe(), "--set", set], 2);
    assert!(refused("codec.stride=8").contains("remove them"));
    assert!(refused("student.lora.rank=0").contains("student.lora.rank is 0"));
    assert!(refused("clip.frames=10").contains("such as 9"));
}
