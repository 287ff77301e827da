//! `afd generate`: directories of clips that survive kills, signals and mistakes.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{command, fails, golden, succeeds};

const PROMPTS: [&str; 3] = [
    "a small red ball is dropped on earth",
    "a large blue ball is dropped on the moon",
    "a large green ball is dropped on jupiter",
];

/// A student that was trained for a moment, in `place/runs/golden`, and a list of prompts.
fn student(place: &Path) {
    let short = [
        "--set",
        "afd.alternations=1",
        "--set",
        "afd.warmup_steps=1",
        "--set",
        "evaluation.clips_per_prompt=0",
    ];
    succeeds(place, &[&["distill", &golden()], &short[..]].concat());
    fs::write(place.join("prompts.txt"), PROMPTS.join("\n")).unwrap();
}

/// A request for `clips` clips of each prompt in `out`.
fn request<'a>(out: &'a str, clips: &'a str) -> Vec<&'a str> {
    let from = [
        "generate",
        "--checkpoint",
        "runs/golden",
        "--prompts",
        "prompts.txt",
        "--backend",
        "flex",
        "--format",
        "gif",
        "--seed",
        "1",
    ];
    [&from[..], &["--clips", clips, "--out-dir", out]].concat()
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut places = vec![directory.to_path_buf()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => places.push(path),
                false => drop(files.insert(
                    path.strip_prefix(directory).unwrap().to_path_buf(),
                    fs::read(&path).unwrap(),
                )),
            }
        }
    }
    files
}

fn started(place: &Path, arguments: &[&str]) -> Child {
    command(place, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the manifest has more than `lines` lines; `false` if the child ended before.
fn has_more_than(lines: usize, child: &mut Child, directory: &Path) -> bool {
    while fs::read_to_string(directory.join("manifest.jsonl"))
        .map_or(0, |text| text.lines().count())
        <= lines
    {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn clips_are_published_one_by_one_and_a_killed_command_goes_on_to_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let said = succeeds(place, &request("straight", "40"));
    assert_eq!(said.trim(), "straight/manifest.jsonl");
    let straight = files(&place.join("straight"));
    assert_eq!(straight.len(), 120 + 3, "{:?}", straight.keys());
    let manifest = String::from_utf8(straight[Path::new("manifest.jsonl")].clone()).unwrap();
    let lines: Vec<serde_json::Value> = manifest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (line, (prompt, sample)) in lines.iter().zip(
        PROMPTS
            .iter()
            .flat_map(|prompt| (0..40).map(move |sample| (prompt, sample))),
    ) {
        let video = format!("videos/{prompt}-{sample}.gif");
        assert_eq!(
            (line["prompt"].as_str(), line["video"].as_str()),
            (Some(*prompt), Some(video.as_str()))
        );
        let hash = blake3::hash(&straight[Path::new(&video)])
            .to_hex()
            .to_string();
        assert_eq!(line["blake3"].as_str(), Some(hash.as_str()));
    }
    let newest = fs::read_to_string(place.join("runs/golden/checkpoints/latest")).unwrap();
    let weights = fs::read(
        place
            .join("runs/golden/checkpoints")
            .join(newest.trim())
            .join("student/model.safetensors"),
    )
    .unwrap();
    assert_eq!(
        lines[0]["checkpoint_blake3"],
        serde_json::json!([blake3::hash(&weights).to_hex().to_string()])
    );

    let (killed, ask) = (place.join("killed"), request("killed", "40"));
    let mut kills = 0;
    for lines in [0, 7, 31, 60, 61, 100] {
        let mut child = started(place, &ask);
        if has_more_than(lines, &mut child, &killed) {
            kills += 1;
            // Nobody else may add to it meanwhile.
            if kills == 1 {
                assert!(fails(place, &ask, 2).contains("in use by another process"));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is there is whole and is what it would be at the end.
        for (path, bytes) in files(&killed)
            .into_iter()
            .filter(|(path, _)| path.starts_with("videos"))
        {
            assert!(straight[&path] == bytes, "{}", path.display());
        }
    }
    assert!(kills > 3, "{kills} kills");
    // As if it had been killed while a line was written, and a finished clip had no line yet.
    let path = killed.join("manifest.jsonl");
    let cut = fs::read_to_string(&path).unwrap();
    fs::write(&path, &cut[..cut.len() - 20]).unwrap();
    succeeds(place, &ask);
    assert!(files(&killed) == straight);
    // Nothing is left to do, and nothing changes.
    succeeds(place, &ask);
    assert!(files(&killed) == straight);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_after_the_clip_in_hand_with_status_75() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let ask = request("made", "200");
    let mut child = started(place, &ask);
    assert!(has_more_than(2, &mut child, &place.join("made")));
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("run the same command again"), "{said}");
    let made = files(&place.join("made"));
    let clips = made
        .keys()
        .filter(|path| path.starts_with("videos"))
        .count();
    assert!(
        clips < 600 && !made.keys().any(|path| path.starts_with("staging")),
        "{clips}"
    );
    assert_eq!(
        String::from_utf8_lossy(&made[Path::new("manifest.jsonl")])
            .lines()
            .count(),
        clips
    );
}

#[test]
fn clips_that_would_be_made_in_another_way_are_refused_by_what_differs() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    succeeds(place, &request("made", "2"));
    let before = files(&place.join("made"));
    let with =
        |more: &[&'static str]| -> Vec<&'static str> { [&request("made", "2")[..], more].concat() };
    let mut seed = request("made", "2");
    seed[10] = "2";
    assert!(fails(place, &seed, 2).contains("seed is 1 there, 2 was asked for"));
    assert!(
        fails(place, &with(&["--naming", "numbers"]), 2)
            .contains("naming is \"vbench\" there, \"numbers\" was asked for")
    );
    fs::write(place.join("prompts.txt"), PROMPTS[..2].join("\n")).unwrap();
    let error = fails(place, &request("made", "2"), 2);
    assert!(
        error.contains("prompts_blake3 is") && !error.contains("seed"),
        "{error}"
    );
    fs::write(place.join("prompts.txt"), PROMPTS.join("\n")).unwrap();
    let more = [
        "--set",
        "afd.alternations=2",
        "--set",
        "afd.warmup_steps=1",
        "--set",
        "evaluation.clips_per_prompt=0",
        "--name",
        "other",
    ];
    succeeds(place, &[&["distill", &golden()], &more[..]].concat());
    let mut other = request("made", "2");
    other[2] = "runs/other";
    let error = fails(place, &other, 2);
    assert!(
        error.contains("checkpoint_blake3 is") && !error.contains("sampler"),
        "{error}"
    );
    assert!(files(&place.join("made")) == before);

    fs::create_dir(place.join("mine")).unwrap();
    fs::write(place.join("mine/notes.txt"), "mine").unwrap();
    assert!(
        fails(place, &request("mine", "1"), 2)
            .contains("is not empty and holds no generated clips")
    );
    assert_eq!(files(&place.join("mine")).len(), 1);

    // More clips of each prompt, and one that was lost, come among those that are there.
    let lost = place.join(format!("made/videos/{}-1.gif", PROMPTS[0]));
    fs::remove_file(&lost).unwrap();
    succeeds(place, &request("made", "3"));
    succeeds(place, &request("straight", "3"));
    assert!(files(&place.join("made")) == files(&place.join("straight")));
}

#[test]
fn clips_of_extended_prompts_are_called_as_vbench_looks_for_them() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    // VBench's own list holds the same prompt for two dimensions; its clips are made once.
    fs::write(
        place.join("names.txt"),
        "a ball, on earth\n\na ball on the moon\na ball, on earth\n",
    )
    .unwrap();
    let ask = |out: &'static str| [&request(out, "2")[..], &["--names", "names.txt"]].concat();
    let output = common::afd(place, &ask("made"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 of 3 names in names.txt were there before"),
        "{said}"
    );
    let manifest = fs::read_to_string(place.join("made/manifest.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = manifest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["prompt", "name", "video"].map(|field| line[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        told[1],
        [
            PROMPTS[0],
            "a ball, on earth",
            "videos/a ball, on earth-1.gif"
        ]
    );
    assert_eq!(
        (told.len(), told[2]),
        (
            4,
            [
                PROMPTS[1],
                "a ball on the moon",
                "videos/a ball on the moon-0.gif"
            ]
        )
    );
    // Called otherwise, they are the clips of the same prompts.
    succeeds(place, &request("plain", "2"));
    let read = |path: String| fs::read(place.join(path)).unwrap();
    assert!(
        read("made/videos/a ball, on earth-1.gif".to_string())
            == read(format!("plain/videos/{}-1.gif", PROMPTS[0]))
    );
    let other = common::afd(place, &ask("plain"));
    assert!(
        other.status.code() == Some(2)
            && String::from_utf8_lossy(&other.stderr).contains("prompts_blake3 is")
    );

    fs::write(place.join("names.txt"), "one\ntwo\n").unwrap();
    assert!(
        fails(place, &ask("short"), 2).contains("names.txt has 2 names, prompts.txt has 3 prompts")
    );
    fs::write(place.join("names.txt"), "one\ntwo/three\nfour\n").unwrap();
    assert!(fails(place, &ask("slash"), 2).contains("\"two/three\" cannot be a file name"));
    assert!(!place.join("short").exists() && !place.join("slash").exists());
}

#[test]
fn the_student_that_a_recipe_starts_from_is_sampled_like_a_trained_one() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let trained = request("trained", "2");
    succeeds(place, &trained);
    // The same weights, as a recipe's student.checkpoint.
    let newest = fs::read_to_string(place.join("runs/golden/checkpoints/latest")).unwrap();
    let weights = place
        .join("runs/golden/checkpoints")
        .join(newest.trim())
        .join("student/model.safetensors");
    let recipe = fs::read_to_string(golden()).unwrap();
    let (before, after) = recipe.split_once("[student.sizes]").unwrap();
    let before = before.replace(
        "[student]",
        &format!(
            "[student]\ncheckpoint = {:?}",
            weights.display().to_string()
        ),
    );
    fs::write(
        place.join("base.toml"),
        before + &after[after.find("[teacher]").unwrap()..],
    )
    .unwrap();
    let base = [
        &["generate", "--recipe", "base.toml"],
        &trained[3..trained.len() - 1],
        &["base"],
    ]
    .concat();
    succeeds(place, &base);
    assert!(files(&place.join("base")) == files(&place.join("trained")));
    // Another sampler is another way of making clips.
    let error = fails(
        place,
        &[&base[..], &["--set", "sampler.denoising_step_list=[1000]"]].concat(),
        2,
    );
    assert!(
        error.contains("sampler is {") && !error.contains("checkpoint_blake3"),
        "{error}"
    );

    let fresh = [
        "generate",
        "--recipe",
        &golden(),
        "--prompt",
        PROMPTS[0],
        "--out",
        "fresh.gif",
    ];
    assert!(fails(place, &fresh, 2).contains("starts from random weights"));
    let both = [
        "generate",
        "--recipe",
        "base.toml",
        "--checkpoint",
        "runs/golden",
        "--prompt",
        PROMPTS[0],
        "--out",
        "both.gif",
    ];
    assert_eq!(common::afd(place, &both).status.code(), Some(2));
}

#[test]
fn a_card_that_says_what_cannot_be_is_refused_by_its_field() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let newest = fs::read_to_string(place.join("runs/golden/checkpoints/latest")).unwrap();
    let trained = place
        .join("runs/golden/checkpoints")
        .join(newest.trim())
        .join("student");
    fs::create_dir(place.join("student")).unwrap();
    fs::copy(
        trained.join("model.safetensors"),
        place.join("student/model.safetensors"),
    )
    .unwrap();
    let card: serde_json::Value =
        serde_json::from_slice(&fs::read(trained.join("config.json")).unwrap()).unwrap();
    for (field, value, problem) in [
        (
            "/text/width",
            "9",
            "text.width is 9, the student reads embeddings of 8",
        ),
        ("/text/length", "0", "text.length is 0"),
        ("/text/kind", "\"umt5\"", "text.checkpoint is missing"),
        (
            "/sampler/denoising_step_list",
            "[]",
            "sampler.denoising_step_list is []",
        ),
        (
            "/sampler/denoising_step_list",
            "[500, 1000]",
            "must be descending",
        ),
        (
            "/sampler/timestep_shift",
            "0",
            "sampler.timestep_shift is 0",
        ),
        ("/clip/frames", "0", "clip.frames is 0"),
        (
            "/clip/frames",
            "9223372036854775808",
            "clip.frames is 9223372036854775808, must be at least 1 and at most 10000",
        ),
        (
            "/student/layers",
            "1099511627776",
            "layers is 1099511627776, must be at most 1024",
        ),
        ("/clip/height", "9", "clip.height (9)"),
        (
            "/clip/frames_per_second",
            "-1",
            "clip.frames_per_second is -1",
        ),
        (
            "/codec/stride",
            "4",
            "[codec] gives 48 latent channels, the student has 12",
        ),
        ("/codec/std", "0", "codec.std is 0"),
        ("/student/heads", "5", "heads (5)"),
        ("/student/width", "32", "model.safetensors"),
        ("/precision", "\"f16\"", "f16"),
        (
            "/adapter",
            "{\"lora\": {\"rank\": 0, \"alpha\": 1}, \"base\": \"/nowhere\", \"blake3\": []}",
            "adapter.lora.rank is 0",
        ),
    ] {
        let mut card = card.clone();
        match card.pointer_mut(field) {
            Some(there) => *there = serde_json::from_str(value).unwrap(),
            None => card[&field[1..]] = serde_json::from_str(value).unwrap(),
        }
        fs::write(place.join("student/config.json"), card.to_string()).unwrap();
        let to: [&[&str]; 2] = [
            &["--out", "one.gif"],
            &["--out-dir", "many", "--format", "gif"],
        ];
        for to in to {
            let ask = [
                "generate",
                "--checkpoint",
                "student",
                "--prompt",
                PROMPTS[0],
                "--backend",
                "flex",
            ];
            let error = fails(place, &[&ask[..], to].concat(), 1);
            assert!(error.contains(problem), "{field} {value}: {error}");
        }
        assert!(
            !place.join("one.gif").exists()
                && fs::read_to_string(place.join("many/manifest.jsonl"))
                    .unwrap_or_default()
                    .is_empty()
        );
        let _ = fs::remove_dir_all(place.join("many"));
    }
    fs::write(place.join("student/config.json"), card.to_string()).unwrap();
    let ask = [
        "generate",
        "--checkpoint",
        "student",
        "--prompt",
        PROMPTS[0],
        "--out",
        "one.gif",
        "--backend",
        "flex",
    ];
    succeeds(place, &ask);
    // A student of other clips is not measured by this recipe's.
    let other = [
        "measure",
        &golden(),
        "--run",
        "student",
        "--out",
        "measured",
        "--set",
        "clip.height=16",
        "--set",
        "student.frames_per_block=3",
    ];
    assert!(fails(place, &other, 2).contains("was trained with another [clip]"));
    assert!(!place.join("measured").exists());
}

#[test]
fn a_missing_ffmpeg_and_a_prompt_that_is_too_long_are_named_before_anything_is_made() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let to_mp4 = [
        "generate",
        "--checkpoint",
        "runs/golden",
        "--prompts",
        "prompts.txt",
        "--out-dir",
        "made",
    ];
    let one = [
        "generate",
        "--checkpoint",
        "runs/golden",
        "--prompt",
        PROMPTS[0],
        "--out",
        "one.mp4",
    ];
    for arguments in [&to_mp4[..], &one] {
        let output = command(place, arguments)
            .env("AFD_FFMPEG", "/nowhere/ffmpeg")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains("AFD_FFMPEG is \"/nowhere/ffmpeg\""),
            "{error}"
        );
    }
    assert!(!place.join("made").exists() && !place.join("one.mp4").exists());
    fs::write(
        place.join("prompts.txt"),
        format!("{}\na ball{}\n", PROMPTS[0], " and a ball".repeat(9)),
    )
    .unwrap();
    let error = fails(place, &request("long", "1"), 2);
    assert!(
        error.contains("and a ball and a ball") && !place.join("long").exists(),
        "{error}"
    );
}

/// Weights may be finite and still lead to numbers that are not; as bytes those would be black.
#[test]
fn a_clip_with_pixels_that_are_not_finite_is_refused_by_name_and_nothing_of_it_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    student(place);
    let weights = common::newest_student(&place.join("runs/golden"));
    let exploding = place.join("exploding");
    fs::create_dir(&exploding).unwrap();
    let card = weights.with_file_name("config.json");
    fs::copy(card, exploding.join("config.json")).unwrap();
    let mut bytes = fs::read(&weights).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[data..].chunks_exact_mut(4) {
        value.copy_from_slice(&1e30f32.to_le_bytes());
    }
    fs::write(exploding.join("model.safetensors"), bytes).unwrap();
    let generate = ["generate", "--checkpoint", "exploding", "--backend", "flex"];
    for (to, out) in [
        ("--out", "a.gif"),
        ("--out-dir", "many"),
        ("--out", "a.frames"),
    ] {
        let format: &[&str] = if to == "--out" {
            &[]
        } else {
            &["--format", "gif"]
        };
        let words = [&generate[..], &["--prompt", PROMPTS[0], to, out], format].concat();
        let output = common::afd(place, &words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let named = format!("clip 0 of {:?} has pixels that are not finite", PROMPTS[0]);
        assert!(error.contains(&named), "{error}");
        let out = place.join(out);
        match to {
            "--out" => assert!(!out.exists()),
            _ => assert!(files(&out).keys().all(|path| !path.starts_with("videos"))),
        }
    }
    let eval = [
        "eval",
        "--checkpoint",
        "exploding",
        "--recipe",
        &golden(),
        "--backend",
        "flex",
    ];
    let error = fails(place, &eval, 1);
    assert!(error.contains("has pixels that are not finite"), "{error}");
}
