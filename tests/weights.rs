//! What `inspect`, `export` and `validate` make of other programs' weights and of damaged ones.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use afd::run::manifest::Manifest;
use common::{afd, fails, repository, succeeds};
use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, serialize};

fn base() -> String {
    repository()
        .join("recipes/physics-world/base.safetensors")
        .display()
        .to_string()
}

/// The base student with `change` made to the bytes of one tensor.
fn changed(to: &Path, tensor: &str, change: impl Fn(&mut Vec<u8>)) {
    let bytes = fs::read(base()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let mut bytes = view.data().to_vec();
            if name == tensor {
                change(&mut bytes);
            }
            (name, view.dtype(), view.shape().to_vec(), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(to, serialize(views, header.metadata().clone()).unwrap()).unwrap();
}

/// Factors of rank 4 of every block's queries in ComfyUI's names.
fn factors(to: &Path, metadata: &[(&str, &str)], prefix: &str, first: f32) {
    let values: Vec<u8> = (0..320)
        .flat_map(|value| if value == 0 { first } else { 0.01 }.to_le_bytes())
        .collect();
    let views = [("lora_A", vec![4, 80]), ("lora_B", vec![80, 4])].map(|(part, shape)| {
        let name = format!("{prefix}blocks.0.self_attn.q.{part}.weight");
        (name, TensorView::new(Dtype::F32, shape, &values).unwrap())
    });
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    fs::write(to, serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn weights_that_are_not_finite_are_counted_by_inspect_and_refused_by_everything_else() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let tensor = "blocks.1.ffn.0.weight";
    changed(&at("nan.safetensors"), tensor, |bytes| {
        bytes[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[800..804].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    let listed = String::from_utf8(afd(place.path(), &["inspect", "nan.safetensors"]).stdout);
    assert!(listed.unwrap().contains("2 values are not finite"));
    let error = fails(place.path(), &["inspect", "nan.safetensors"], 1);
    assert!(error.contains(tensor) && error.contains("(2 of"), "{error}");
    let export = |from: &str, more: &[&str]| {
        let arguments = ["export", from, "--layout", "wan", "--out", "never"];
        fails(place.path(), &[&arguments[..], more].concat(), 1)
    };
    let error = export("nan.safetensors", &[]);
    assert!(
        error.contains(tensor) && error.contains("nan.safetensors") && error.contains("NaN"),
        "{error}"
    );
    factors(
        &at("nan-lora.safetensors"),
        &[],
        "diffusion_model.",
        f32::NAN,
    );
    let merge = [
        "--backend",
        "flex",
        "--merge-lora",
        "--lora",
        "nan-lora.safetensors",
    ];
    let error = export(&base(), &merge);
    assert!(
        error.contains("q.lora_A.weight") && error.contains("nan-lora.safetensors"),
        "{error}"
    );
    assert!(!at("never").exists());
}

#[test]
fn heads_come_from_config_json_and_are_never_guessed_in_silence() {
    let place = tempfile::tempdir().unwrap();
    let export = |from: &str, layout: &str, out: &str, more: &[&str], code: i32| {
        let arguments = ["export", from, "--layout", layout, "--out", out];
        let arguments = [&arguments[..], more].concat();
        if code == 0 {
            succeeds(place.path(), &arguments)
        } else {
            fails(place.path(), &arguments, code)
        }
    };
    export(&base(), "diffusers", "four", &[], 0);
    let listed = succeeds(place.path(), &["inspect", "four"]);
    assert!(
        listed.contains("4 heads (as config.json beside it says)"),
        "{listed}"
    );
    export("four", "wan", "again", &[], 0);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path().join("again/config.json")).unwrap()).unwrap();
    assert_eq!(config["num_heads"], 4);
    let error = export("four", "wan", "never", &["--heads", "2"], 1);
    assert!(
        error.contains("num_attention_heads 4, expected 2"),
        "{error}"
    );
    // 80 channels alone tell nothing.
    fs::rename(
        place
            .path()
            .join("four/diffusion_pytorch_model.safetensors"),
        place.path().join("alone.safetensors"),
    )
    .unwrap();
    let error = export("alone.safetensors", "wan", "never", &[], 2);
    assert!(error.contains("--heads"), "{error}");
    let recipe = repository().join("recipes/physics-world/distill.toml");
    let recipe = recipe.display().to_string();
    let alone = format!(
        "student.checkpoint=\"{}\"",
        place.path().join("alone.safetensors").display()
    );
    let error = fails(place.path(), &["validate", &recipe, "--set", &alone], 2);
    assert!(error.contains("student.heads"), "{error}");
    export("alone.safetensors", "wan", "told", &["--heads", "4"], 0);
}

#[test]
fn heads_contradict_neither_header_nor_config() {
    let place = tempfile::tempdir().unwrap();
    let export = [
        "export",
        &base(),
        "--layout",
        "wan",
        "--out",
        "never",
        "--heads",
        "5",
    ];
    let error = fails(place.path(), &export, 1);
    assert!(
        error.contains("its header says heads 4, expected 5"),
        "{error}"
    );
    let recipe = repository().join("recipes/physics-world/distill.toml");
    let generate = [
        "generate",
        "--recipe",
        recipe.to_str().unwrap(),
        "--out",
        "a.gif",
    ];
    let more = [
        "--prompt",
        "a small red ball is dropped on earth",
        "--set",
        "student.heads=5",
    ];
    let error = fails(place.path(), &[&generate[..], &more[..]].concat(), 1);
    assert!(error.contains("its header says heads 4"), "{error}");

    // config.json without a class, with a number that is none, with two that disagree.
    succeeds(
        place.path(),
        &["export", &base(), "--layout", "diffusers", "--out", "four"],
    );
    let path = place.path().join("four/config.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut config = whole.clone();
        let fields = config.as_object_mut().unwrap();
        fields.remove("_class_name");
        fields.insert(name.to_string(), value);
        // As some editors save it.
        fs::write(&path, format!("\u{feff}{config}")).unwrap();
    };
    with("num_attention_heads", 4.0.into());
    let listed = succeeds(place.path(), &["inspect", "four"]);
    assert!(listed.contains("4 heads (as config.json"), "{listed}");
    let export = ["export", "four", "--layout", "wan", "--out", "never"];
    with("num_attention_heads", "4".into());
    let error = fails(place.path(), &[&export[..], &["--heads", "4"]].concat(), 1);
    assert!(
        error.contains("num_attention_heads \"4\", expected 4"),
        "{error}"
    );
    with("num_heads", 2.into());
    let error = fails(place.path(), &export, 1);
    assert!(error.contains("config.json says num_"), "{error}");
}

#[test]
fn options_of_a_transformer_are_refused_for_factors() {
    let place = tempfile::tempdir().unwrap();
    factors(&place.path().join("a.safetensors"), &[], "", 0.1);
    for option in [["--heads", "7"], ["--part", "generator"]] {
        let export = [
            "export",
            "a.safetensors",
            "--layout",
            "wan",
            "--out",
            "never",
        ];
        let error = fails(place.path(), &[&export[..], &option].concat(), 2);
        assert!(
            error.contains(option[0]) && error.contains("low-rank factors"),
            "{error}"
        );
    }
}

#[test]
fn the_scale_of_factors_is_shown_and_an_assumed_one_said() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("lora.safetensors");
    let kohya = [("ss_network_dim", "4"), ("ss_network_alpha", "16")];
    factors(&path, &kohya, "diffusion_model.", 0.5);
    let listed = succeeds(place.path(), &["inspect", "lora.safetensors"]);
    assert!(
        listed.contains("alpha 16 (ss_network_alpha in its header)"),
        "{listed}"
    );
    let merge = |out: &str| {
        let base = base();
        let arguments = [
            "export",
            &base,
            "--layout",
            "wan",
            "--out",
            out,
            "--backend",
            "flex",
            "--merge-lora",
            "--lora",
            "lora.safetensors",
        ];
        let output = afd(place.path(), &arguments);
        assert!(output.status.success());
        let bytes = fs::read(
            place
                .path()
                .join(out)
                .join("diffusion_pytorch_model.safetensors"),
        );
        let bytes = bytes.unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("blocks.0.self_attn.q.weight").unwrap();
        let last = view.data().len() - 4;
        let last = f32::from_le_bytes(view.data()[last..].try_into().unwrap());
        (last, String::from_utf8(output.stderr).unwrap())
    };
    let (told, said) = merge("told");
    assert_eq!(said, "");
    factors(&path, &[], "diffusion_model.", 0.5);
    let (assumed, said) = merge("assumed");
    assert!(said.contains("assumed to be the rank"), "{said}");
    // Four products of 0.01 x 0.01, at scale 4 and at scale 1.
    assert!(
        (told - assumed - 3.0 * 4.0 * 1e-4).abs() < 1e-6,
        "{told} {assumed}"
    );
}

#[test]
fn a_run_a_checkpoint_and_its_pointer_are_taken_for_their_student() {
    let place = tempfile::tempdir().unwrap();
    let checkpoint = place.path().join("run/checkpoints/000007");
    fs::create_dir_all(checkpoint.join("student")).unwrap();
    fs::copy(base(), checkpoint.join("student/model.safetensors")).unwrap();
    Manifest::of_directory(&checkpoint, 7)
        .unwrap()
        .write(&checkpoint)
        .unwrap();
    fs::write(place.path().join("run/checkpoints/latest"), "000007\n").unwrap();
    let recipe = repository().join("recipes/physics-world/distill.toml");
    let recipe = recipe.display().to_string();
    for path in ["run", "run/checkpoints/latest", "run/checkpoints/000007"] {
        let listed = succeeds(place.path(), &["inspect", path]);
        assert!(
            listed.contains("checkpoint of round 7") && listed.contains("complete: all"),
            "{listed}"
        );
        let absolute = place.path().join(path);
        let set = format!("student.checkpoint=\"{}\"", absolute.display());
        succeeds(place.path(), &["validate", &recipe, "--set", &set]);
    }
    let base = base();
    let generate = [
        "generate",
        "--checkpoint",
        &base,
        "--prompt",
        "a ball",
        "--out",
        "a.gif",
    ];
    let error = fails(place.path(), &generate, 2);
    assert!(
        error.contains("student.checkpoint") && error.contains("--recipe"),
        "{error}"
    );
}

#[test]
fn inspect_shows_no_escapes_and_refuses_what_holds_no_tensors() {
    let place = tempfile::tempdir().unwrap();
    let bytes = 1.0f32.to_le_bytes();
    let view = TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
    let metadata = HashMap::from([("a\u{1b}[31m".to_string(), "b\u{202e}\nc".to_string())]);
    let odd = serialize([("w\u{1b}]0;x\u{7}\n", view)], Some(metadata)).unwrap();
    fs::write(place.path().join("odd.safetensors"), odd).unwrap();
    let listed = succeeds(place.path(), &["inspect", "odd.safetensors"]);
    assert!(
        listed.contains("w\\u{1b}]0;x\\u{7}\\n F32") && listed.contains("b\\u{202e}\\nc"),
        "{listed}"
    );
    assert!(!listed.contains(['\u{1b}', '\u{7}', '\u{202e}']));
    let empty: [(&str, TensorView<'_>); 0] = [];
    fs::write(
        place.path().join("empty.safetensors"),
        serialize(empty, None).unwrap(),
    )
    .unwrap();
    let error = fails(place.path(), &["inspect", "empty.safetensors"], 1);
    assert!(error.contains("holds no tensor"), "{error}");
    let module = repository().join("models/tests/fixtures/torch_module.pt");
    let module = module.display().to_string();
    let error = fails(place.path(), &["inspect", "--allow-pickle", &module], 1);
    assert!(
        error.contains("Linear") && error.contains("state_dict"),
        "{error}"
    );
}
