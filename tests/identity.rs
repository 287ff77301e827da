//! Whatever stands for something else knows what it stands for: docs/identity.md, row by row.

mod common;

use std::fs;
use std::path::Path;

use common::{fails, golden, succeeds};

/// A folder of the golden recipe's clips, three of each prompt, and a short recipe that learns from
/// it.
fn unprepared(place: &Path) {
    let record = ["--out", "recorded", "--clips", "3", "--format", "gif"];
    succeeds(
        place,
        &[&["teacher", "record", &golden()], &record[..]].concat(),
    );
    // One's own clips have no numbers: their order is the folder's.
    let manifest = fs::read_to_string(place.join("recorded/manifest.jsonl")).unwrap();
    fs::create_dir(place.join("clips")).unwrap();
    for (number, line) in manifest.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let (video, prompt) = (line["video"].as_str(), line["prompt"].as_str());
        let to = place.join(format!("clips/{number:02}"));
        let from = place.join("recorded").join(video.unwrap());
        fs::copy(from, to.with_extension("gif")).unwrap();
        fs::write(to.with_extension("txt"), prompt.unwrap()).unwrap();
    }
    let recipe = fs::read_to_string(golden()).unwrap();
    let recipe = recipe
        .replace("name = \"golden\"", "name = \"mine\"")
        .replace(
            "kind = \"world\"\nseed = 5",
            "kind = \"folder\"\npath = \"clips\"",
        )
        .replace("alternations = 20", "alternations = 2")
        .replace("warmup_steps = 3", "warmup_steps = 1")
        .replace(
            "[evaluation]\nclips_per_prompt = 4",
            "[evaluation]\nclips_per_prompt = 0",
        );
    fs::write(place.join("recipe.toml"), recipe).unwrap();
}

/// The same with prepared latents.
fn prepared(place: &Path) {
    unprepared(place);
    let recipe = fs::read_to_string(place.join("recipe.toml")).unwrap();
    let data = "[data]\npath = \"data\"\nclips_per_shard = 4\n";
    fs::write(place.join("recipe.toml"), format!("{recipe}\n{data}")).unwrap();
    let said = succeeds(place, &["data", "prepare", "recipe.toml"]);
    assert!(said.contains("9 encoded, 0 were there"), "{said}");
}

/// Puts a clip in another one's place.
fn replace(place: &Path, clip: &str, by: &str) {
    fs::copy(place.join(by), place.join(clip)).unwrap();
}

/// Row "prepared latents": a clip in another one's place is encoded again, a clip that sorts first
/// gets latents of its own, one that was only moved keeps them.
#[test]
fn latents_follow_their_clips() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    prepared(place);
    let prepare = || succeeds(place, &["data", "prepare", "recipe.toml"]);
    assert!(prepare().contains("0 encoded, 9 were there"));

    replace(place, "clips/01.gif", "clips/04.gif");
    let error = fails(place, &["distill", "recipe.toml"], 1);
    assert!(
        error.contains("01.gif") && error.contains("has changed since its latents were prepared"),
        "{error}"
    );
    assert!(!place.join("runs/mine").exists());
    let said = prepare();
    assert!(
        said.contains("1 encoded, 8 were there") && said.contains("unused    1 latents"),
        "{said}"
    );

    // Touched, and moved: the same clips.
    let bytes = fs::read(place.join("clips/02.gif")).unwrap();
    fs::write(place.join("clips/02.gif"), bytes).unwrap();
    for kind in ["gif", "txt"] {
        let (from, to) = (format!("clips/03.{kind}"), format!("clips/z3.{kind}"));
        fs::rename(place.join(from), place.join(to)).unwrap();
    }
    assert!(prepare().contains("0 encoded, 9 were there"));

    // A new clip before the others of its prompt.
    let prompt = fs::read(place.join("clips/00.txt")).unwrap();
    fs::write(place.join("clips/+.txt"), prompt).unwrap();
    replace(place, "clips/+.gif", "clips/05.gif");
    let error = fails(place, &["distill", "recipe.toml"], 1);
    assert!(
        error.contains("lacks latents of +.gif") && error.contains("afd data prepare"),
        "{error}"
    );
    assert!(prepare().contains("1 encoded, 9 were there"));
    let index = fs::read_to_string(place.join("data/latents/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let mut pixels = Vec::new();
    for shard in index["shards"].as_array().unwrap() {
        for clip in shard["clips"].as_array().unwrap() {
            if clip["source"]["file"] == "+.gif" || clip["source"]["file"] == "05.gif" {
                pixels.push(clip["pixels"].clone());
            }
        }
    }
    assert_eq!((pixels.len(), &pixels[0]), (2, &pixels[1]));
    succeeds(place, &["distill", "recipe.toml"]);
}

/// Row "prepared latents": a bit of a shard that is another one now is noticed before training.
#[test]
fn a_damaged_shard_is_refused_before_training() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    prepared(place);
    let shard = place.join("data/latents/shard-00001.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let error = fails(place, &["distill", "recipe.toml"], 1);
    assert!(
        error.contains("shard-00001.safetensors") && error.contains("BLAKE3"),
        "{error}"
    );
    assert!(!place.join("runs/mine").exists());
}

/// Row "a run": `--resume` needs nothing but the run, and what is repeated must agree.
#[test]
fn a_run_is_all_that_resume_needs() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    let said = succeeds(place, &["distill", "recipe.toml", "--set", "afd.beta=0.5"]);
    assert!(
        said.contains("schedule  up to 1 of warm-up, 2 alternations\n"),
        "{said}"
    );
    let metrics = fs::read(place.join("runs/mine/metrics.jsonl")).unwrap();
    for resume in [
        &["distill", "--resume", "runs/mine"][..],
        &["distill", "--resume", "runs/mine/", "--set", "afd.beta=0.5"],
        &[
            "distill",
            "--resume",
            "runs/mine",
            "--name",
            "mine",
            "--runs",
            "runs",
        ],
        &[
            "distill",
            "recipe.toml",
            "--set",
            "afd.beta=0.5",
            "--resume",
        ],
        &[
            "distill",
            "recipe.toml",
            "--set",
            "afd.beta=0.5",
            "--resume",
            "runs/mine",
        ],
    ] {
        succeeds(place, resume);
        assert_eq!(
            fs::read(place.join("runs/mine/metrics.jsonl")).unwrap(),
            metrics
        );
    }
    for (resume, named) in [
        (
            &["distill", "recipe.toml", "--resume"][..],
            &["afd.beta is 0.5 there, 1.0 was asked for"][..],
        ),
        (
            &["distill", "--resume", "runs/mine", "--set", "seed=4"],
            &["seed is 3 there, 4 was asked for"],
        ),
        (
            &["distill", "--resume", "runs/mine", "--name", "other"],
            &["--name is other", "runs/mine"],
        ),
        (
            &["distill", "--resume", "runs/mine", "--runs", "elsewhere"],
            &["--runs is elsewhere", "runs/mine"],
        ),
        (&["distill", "--resume"], &["--resume needs the run"]),
        (
            &["distill", "--resume", "runs/none"],
            &["there is no run runs/none"],
        ),
        (
            &["pretrain", "--resume", "runs/mine"],
            &["use `afd distill`"],
        ),
    ] {
        let error = fails(place, resume, 2);
        assert!(named.iter().all(|named| error.contains(named)), "{error}");
        assert_eq!(
            fs::read(place.join("runs/mine/metrics.jsonl")).unwrap(),
            metrics
        );
    }
}

/// Row "a run": its teacher's clips are the ones that it began with.
#[test]
fn a_run_goes_on_with_the_clips_that_it_began_with() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    succeeds(place, &["distill", "recipe.toml"]);
    let resume = ["distill", "--resume", "runs/mine"];
    let kept = fs::read(place.join("clips/04.gif")).unwrap();

    replace(place, "clips/04.gif", "clips/00.gif");
    let error = fails(place, &resume, 2);
    assert!(error.contains("04.gif, was another one"), "{error}");
    // The same bytes at another time are the same clip.
    fs::write(place.join("clips/04.gif"), kept).unwrap();
    succeeds(place, &resume);

    replace(place, "clips/99.gif", "clips/00.gif");
    let prompt = fs::read(place.join("clips/00.txt")).unwrap();
    fs::write(place.join("clips/99.txt"), prompt).unwrap();
    let error = fails(place, &resume, 2);
    assert!(error.contains("99.gif, is new"), "{error}");
    fs::remove_file(place.join("clips/99.txt")).unwrap();
    fs::remove_file(place.join("clips/99.gif")).unwrap();
    succeeds(place, &resume);

    for kind in ["gif", "txt"] {
        fs::rename(
            place.join(format!("clips/11.{kind}")),
            place.join(format!("11.{kind}")),
        )
        .unwrap();
    }
    let error = fails(place, &resume, 2);
    assert!(error.contains("was 11.gif and is gone"), "{error}");
}

/// Row "a run": few clips make another schedule, which is said and written down; with another
/// number of clips the run does not go on (it once went backwards).
#[test]
fn the_schedule_that_runs_is_the_one_that_is_recorded_and_compared() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    let set = [
        "--set",
        "afd.supervised_rounds=8",
        "--set",
        "supervised.passes=1",
        "--set",
        "supervised.batch=3",
    ];
    let said = succeeds(place, &[&["distill", "recipe.toml"], &set[..]].concat());
    assert!(
        said.contains("schedule  3 supervised rounds, up to 1 of warm-up, 3 alternations\n")
            && said.contains("instead of 8 supervised rounds, up to 1 of warm-up, 2 alternations"),
        "{said}"
    );
    let inputs = fs::read_to_string(place.join("runs/mine/inputs.json")).unwrap();
    let inputs: serde_json::Value = serde_json::from_str(&inputs).unwrap();
    let metrics = fs::read_to_string(place.join("runs/mine/metrics.jsonl")).unwrap();
    let rounds = |phase: &str| {
        let phase = format!("\"phase\":\"{phase}\"");
        metrics.lines().filter(|line| line.contains(&phase)).count()
    };
    assert_eq!(
        inputs["schedule"]["supervised_rounds"],
        rounds("supervised")
    );
    assert_eq!(inputs["schedule"]["alternations"], rounds("alternation"));

    // Twice as many clips: the schedule would be another one.
    for number in 0..9 {
        for kind in ["gif", "txt"] {
            replace(
                place,
                &format!("clips/9{number}.{kind}"),
                &format!("clips/0{number}.{kind}"),
            );
        }
    }
    let error = fails(place, &["distill", "--resume", "runs/mine"], 2);
    assert!(
        error.contains("its schedule was 3 supervised rounds") && error.contains("and 2 more"),
        "{error}"
    );
    let after = fs::read_to_string(place.join("runs/mine/metrics.jsonl")).unwrap();
    assert_eq!(after, metrics);
}

/// Rows "base weights" and "another backend".
#[test]
fn a_run_goes_on_from_the_weights_that_it_began_with() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    let base = |seed: &str| {
        let name = format!("base-{seed}");
        let set = format!("seed={seed}");
        let train = ["distill", "recipe.toml", "--name", &name, "--set", &set];
        succeeds(place, &train);
        common::newest_student(&place.join("runs").join(&name))
    };
    let (first, second) = (base("1"), base("2"));
    fs::copy(first, place.join("base.safetensors")).unwrap();
    // The checkpoint brings its own sizes.
    let recipe = fs::read_to_string(place.join("recipe.toml")).unwrap();
    let (before, rest) = recipe.split_once("[student.sizes]").unwrap();
    let (_, after) = rest.split_once("[teacher]").unwrap();
    let base = "checkpoint = \"base.safetensors\"\n\n[teacher]";
    fs::write(place.join("on.toml"), format!("{before}{base}{after}")).unwrap();
    succeeds(place, &["distill", "on.toml", "--backend", "ndarray"]);
    let resume = ["distill", "--resume", "runs/mine", "--backend", "flex"];
    let output = common::afd(place, &resume);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("began with ndarray and goes on with flex on"),
        "{said}"
    );
    fs::copy(second, place.join("base.safetensors")).unwrap();
    let error = fails(place, &resume, 2);
    assert!(
        error.contains("student.checkpoint") && error.contains("has other weights now"),
        "{error}"
    );
}

/// Row "metrics": the lines up to a checkpoint are those that it was saved after.
#[test]
fn a_run_goes_on_after_the_lines_that_it_wrote() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    succeeds(place, &["distill", "recipe.toml"]);
    let path = place.join("runs/mine/metrics.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let resume = ["distill", "--resume", "runs/mine"];
    let first_line = whole.split_inclusive('\n').next().unwrap();
    for damaged in [
        String::new(),
        whole.replacen(first_line, "", 1),
        whole.replacen("0.1", "0.2", 1),
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).unwrap();
        let error = fails(place, &resume, 1);
        assert!(
            error.contains("is not what was written up to step"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::remove_file(&path).unwrap();
    assert!(fails(place, &resume, 1).contains("metrics.jsonl"));
    fs::write(&path, &whole).unwrap();
    // What is only told of the run may be damaged: the rest of it counts.
    let timings = place.join("runs/mine/timings.jsonl");
    let mut bytes = fs::read(&timings).unwrap();
    bytes[3] = 0xff;
    fs::write(&timings, bytes).unwrap();
    succeeds(place, &resume);
}

/// Row "a student's sampler": a recipe with another one changes nothing unless it is asked for.
#[test]
fn a_student_is_sampled_as_it_was_trained() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let train = ["distill", &golden(), "--set", "afd.alternations=1"];
    let short = ["--set", "evaluation.clips_per_prompt=0"];
    succeeds(place, &[&train[..], &short[..]].concat());
    let recipe = fs::read_to_string(golden()).unwrap();
    let other = recipe.replace(
        "denoising_step_list = [1000, 500]",
        "denoising_step_list = [1000, 750, 500, 250]",
    );
    fs::write(place.join("other.toml"), other).unwrap();
    let eval = |more: &[&str]| {
        let ask = ["eval", "--checkpoint", "runs/golden", "--json"];
        let output = common::afd(place, &[&ask[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let scores: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (scores["checkpoint"].clone(), said)
    };
    let clips = ["--set", "evaluation.clips_per_prompt=4"];
    let (own, said) = eval(&clips);
    assert!(!said.contains("is sampled"), "{said}");
    let with_other = [&["--recipe", "other.toml"], &clips[..]].concat();
    let (same, said) = eval(&with_other);
    assert!(
        said.contains("sampled as it was trained (consistency, 1000 500)")
            && said.contains("(consistency, 1000 750 500 250)"),
        "{said}"
    );
    assert_eq!(own, same);
    let steps = "sampler.denoising_step_list=[1000,750,500,250]";
    let (asked, said) = eval(&[&with_other[..], &["--set", steps]].concat());
    assert!(!said.contains("is sampled"), "{said}");
    assert_ne!(own, asked);
    // One field that is asked for brings no others of the recipe.
    let shift = ["--set", "sampler.timestep_shift=2"];
    let (alone, _) = eval(&[&clips[..], &shift[..]].concat());
    let (beside, said) = eval(&[&with_other[..], &shift[..]].concat());
    assert!(
        said.contains("sampled as it was trained (consistency, 1000 500)"),
        "{said}"
    );
    assert_eq!(alone, beside);
    assert_ne!(alone, own);
}

/// Row "a checkpoint": however it is named, its files are those that were saved.
#[test]
fn a_damaged_checkpoint_is_refused_however_it_is_named() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let train = ["distill", &golden(), "--set", "afd.alternations=1"];
    let short = ["--set", "evaluation.clips_per_prompt=0"];
    succeeds(place, &[&train[..], &short[..]].concat());
    let weights = common::newest_student(&place.join("runs/golden"));
    let student = weights.parent().unwrap().to_path_buf();
    let checkpoint = student.parent().unwrap().to_path_buf();
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();

    let recipe = fs::read_to_string(golden()).unwrap();
    let (before, rest) = recipe.split_once("[student.sizes]").unwrap();
    let (_, after) = rest.split_once("[teacher]").unwrap();
    let ways = [
        place.join("runs/golden"),
        checkpoint.join("../latest"),
        checkpoint,
        student,
        weights,
    ];
    for (number, way) in ways.iter().enumerate() {
        let way = way.to_str().unwrap();
        let base = format!("checkpoint = {way:?}\n\n[teacher]");
        fs::write(place.join("on.toml"), format!("{before}{base}{after}")).unwrap();
        let name = format!("on-{number}");
        let error = fails(place, &["distill", "on.toml", "--name", &name], 1);
        assert!(error.contains("model.safetensors"), "{way}: {error}");
        assert!(!place.join("runs").join(name).exists());
        let prompt = [
            "--prompt",
            "a small red ball is dropped on earth",
            "--out",
            "a.gif",
        ];
        let base = ["generate", "--recipe", "on.toml"];
        let error = fails(place, &[&base[..], &prompt[..]].concat(), 1);
        assert!(error.contains("model.safetensors"), "{way}: {error}");
        if !way.ends_with(".safetensors") {
            let own = ["generate", "--checkpoint", way];
            let error = fails(place, &[&own[..], &prompt[..]].concat(), 1);
            assert!(error.contains("model.safetensors"), "{way}: {error}");
        }
        let error = fails(place, &["inspect", way], 1);
        assert!(error.contains("model.safetensors"), "{way}: {error}");
    }
}

/// Row "a run: its recipe": the run's own record is what its checkpoints were saved beside.
#[test]
fn a_run_s_own_record_is_not_edited() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    unprepared(place);
    succeeds(place, &["distill", "recipe.toml"]);
    let report = fs::read_to_string(place.join("runs/mine/report.html"));
    assert!(report.is_err(), "there is no comparison to report");
    let resume = ["distill", "--resume", "runs/mine"];
    let snapshot = place.join("runs/mine/recipe.resolved.toml");
    let written = fs::read_to_string(&snapshot).unwrap();
    let edited = written.replace("beta = 1.0", "beta = 0.9");
    assert_ne!(edited, written);
    fs::write(&snapshot, edited).unwrap();
    let error = fails(place, &resume, 1);
    assert!(
        error.contains("recipe.resolved.toml") && error.contains("was changed"),
        "{error}"
    );
    fs::write(&snapshot, written).unwrap();
    let inputs = place.join("runs/mine/inputs.json");
    let kept = fs::read(&inputs).unwrap();
    fs::remove_file(&inputs).unwrap();
    let error = fails(place, &resume, 1);
    assert!(
        error.contains("inputs.json") && error.contains("it is gone"),
        "{error}"
    );
    // Sizes that config.json beside the base told are part of it.
    let mut other: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    other["sizes"]["heads"] = 4.into();
    fs::write(&inputs, other.to_string()).unwrap();
    let error = fails(place, &resume, 2);
    assert!(error.contains("other sizes now: 2 heads"), "{error}");
    fs::write(&inputs, kept).unwrap();
    succeeds(place, &resume);
}

/// Row "recorded clips": one that is gone is made again, one that was replaced is refused.
#[test]
fn recorded_clips_are_those_that_were_recorded() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let record = [
        "teacher",
        "record",
        &golden(),
        "--out",
        "clips",
        "--clips",
        "2",
    ];
    let record = [&record[..], &["--format", "gif"]].concat();
    succeeds(place, &record);
    let manifest = fs::read_to_string(place.join("clips/manifest.jsonl")).unwrap();
    let videos: Vec<String> = manifest
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("clips/{}", line["video"].as_str().unwrap()))
        .collect();
    let first = fs::read(place.join(&videos[0])).unwrap();
    fs::remove_file(place.join(&videos[0])).unwrap();
    succeeds(place, &record);
    assert_eq!(fs::read(place.join(&videos[0])).unwrap(), first);
    assert_eq!(
        fs::read_to_string(place.join("clips/manifest.jsonl")).unwrap(),
        manifest
    );
    replace(place, &videos[0], &videos[3]);
    let said = common::afd(place, &["data", "check", "clips"]);
    let said = String::from_utf8(said.stdout).unwrap() + &String::from_utf8_lossy(&said.stderr);
    assert!(
        said.contains("it is not the clip that was recorded"),
        "{said}"
    );
}
