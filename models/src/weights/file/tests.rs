use safetensors::tensor::{Metadata, TensorInfo};

use super::*;

/// A safetensors file of zeros that takes no room: the values are a hole.
pub fn sparse(path: &Path, tensors: &[(String, Dtype, Vec<usize>)]) {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, dtype, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (
            name.clone(),
            TensorInfo {
                dtype: *dtype,
                shape: shape.clone(),
                data_offsets: (start, end),
            },
        )
    });
    let header = serde_json::to_vec(&Metadata::new(None, infos.collect()).unwrap()).unwrap();
    std::fs::write(
        path,
        [&(header.len() as u64).to_le_bytes()[..], &header].concat(),
    )
    .unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

fn error(path: &Path) -> String {
    WeightFile::open(path, Pickles::Refused)
        .expect_err("the file is damaged")
        .to_string()
}

#[test]
fn shards_are_read_as_one_file_and_contradictions_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    sparse(
        &at("m-1.safetensors"),
        &[("a".into(), Dtype::F32, vec![2, 3])],
    );
    sparse(
        &at("m-2.safetensors"),
        &[
            ("b".into(), Dtype::F16, vec![4]),
            ("c".into(), Dtype::BF16, vec![0]),
        ],
    );
    let index = at("m.safetensors.index.json");
    let write = |map: &str| {
        std::fs::write(
            &index,
            format!("{{\"metadata\": {{}}, \"weight_map\": {map}}}"),
        )
        .unwrap()
    };
    write(r#"{"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-2.safetensors"}"#);
    let file = WeightFile::open(directory.path(), Pickles::Refused).unwrap();
    assert_eq!(
        file.read("a").unwrap(),
        HostTensor {
            shape: vec![2, 3],
            values: vec![0.0; 6]
        }
    );
    assert_eq!(
        (
            file.read("b").unwrap().shape,
            file.read("c").unwrap().values
        ),
        (vec![4], vec![])
    );
    assert!(
        file.read("d")
            .unwrap_err()
            .to_string()
            .contains("no tensor \"d\"")
    );
    for (map, words) in [
        (
            r#"{"a": "../m-1.safetensors"}"#,
            "expected a file name without directories",
        ),
        (
            r#"{"a": "m-2.safetensors"}"#,
            "\"a\" is in \"m-2.safetensors\", but no shard has it",
        ),
        (
            r#"{"b": "m-1.safetensors", "a": "m-2.safetensors"}"#,
            "but \"m-1.safetensors\" has it",
        ),
        (r#"{"a": "m-3.safetensors"}"#, "m-3.safetensors"),
        (r#"["a"]"#, "expected an index with a weight_map"),
    ] {
        write(map);
        assert!(error(&index).contains(words), "{}", error(&index));
    }
    sparse(&at("m-2.safetensors"), &[("a".into(), Dtype::F16, vec![4])]);
    write(r#"{"a": "m-1.safetensors", "b": "m-2.safetensors"}"#);
    assert!(
        error(&index).contains("is in another shard too"),
        "{}",
        error(&index)
    );
}

#[test]
fn half_types_are_cast_exactly_and_others_are_refused() {
    let values = [1.0f32, -0.15625, 65504.0, 2.0f32.powi(-24)];
    let f16: Vec<u8> = values
        .iter()
        .flat_map(|value| half::f16::from_f32(*value).to_le_bytes())
        .collect();
    assert_eq!(to_f32(&f16, Dtype::F16).unwrap(), values);
    let bf16: Vec<u8> = [1.0f32, -0.15625, 3.0e38]
        .iter()
        .flat_map(|value| half::bf16::from_f32(*value).to_le_bytes())
        .collect();
    assert_eq!(to_f32(&bf16, Dtype::BF16).unwrap()[..2], [1.0, -0.15625]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ints.safetensors");
    sparse(&path, &[("steps".into(), Dtype::I64, vec![2])]);
    let error = WeightFile::open(&path, Pickles::Refused)
        .unwrap()
        .read("steps")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"steps\" has type I64, expected F64, F32, BF16 or F16"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_errors_that_ask_for_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    sparse(&path, &[("a".into(), Dtype::F32, vec![16])]);
    let whole = std::fs::read(&path).unwrap();
    let with_length = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    for (bytes, words) in [
        (whole[..5].to_vec(), "it has 5 bytes"),
        (
            whole[..whole.len() - 1].to_vec(),
            "describes 64 bytes of values and 63 are there",
        ),
        (with_length(u64::MAX), "claims 18446744073709551615 bytes"),
        (with_length(whole.len() as u64), "claims"),
        (with_length(10), "expected a complete safetensors file"),
        (whole[..40].to_vec(), "expected a complete safetensors file"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(error(&path).contains(words), "{}", error(&path));
    }
    assert!(error(&directory.path().join("absent.safetensors")).contains("absent.safetensors"));
    assert!(
        error(&directory.path().join(".")).contains("w.safetensors"),
        "the only file of a directory is taken"
    );
}

/// A file of one tensor `w` of two rows.
fn of_values(directory: &Path, bytes: &[u8], dtype: Dtype) -> WeightFile {
    let path = directory.join("w.safetensors");
    let columns = bytes.len() * 8 / dtype.bitsize() / 2;
    let view = safetensors::tensor::TensorView::new(dtype, vec![2, columns], bytes).unwrap();
    std::fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

#[test]
fn values_that_are_not_finite_are_refused_with_tensor_file_and_place() {
    let directory = tempfile::tempdir().unwrap();
    for (dtype, nan) in [
        (Dtype::F32, f32::NAN.to_le_bytes().to_vec()),
        (Dtype::BF16, half::bf16::NAN.to_le_bytes().to_vec()),
        (Dtype::F16, half::f16::INFINITY.to_le_bytes().to_vec()),
        (Dtype::F64, 1e39f64.to_le_bytes().to_vec()),
    ] {
        let width = nan.len();
        let mut bytes = vec![0; 6 * width];
        assert!(of_values(directory.path(), &bytes, dtype).read("w").is_ok());
        bytes[4 * width..5 * width].copy_from_slice(&nan);
        let file = of_values(directory.path(), &bytes, dtype);
        let error = file.read("w").unwrap_err().to_string();
        assert!(
            error.contains("tensor \"w\" of")
                && error.contains("w.safetensors is not finite: 1 of its 6 values")
                && error.contains("at [1, 1]"),
            "{error}"
        );
        assert!(file.with_finite_bytes("w", |_| ()).is_err());
        assert_eq!(
            file.not_finite("w").unwrap().map(|found| found.first),
            Some(4)
        );
        assert!(file.with_bytes("w", |_| ()).is_ok());
    }
}

#[test]
fn weights_of_64_bits_are_rounded_to_f32() {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = [1.0f64 / 3.0, -2.5]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let file = of_values(directory.path(), &bytes, Dtype::F64);
    assert_eq!(file.read("w").unwrap().values, [1.0 / 3.0, -2.5]);
}

#[test]
fn a_run_a_checkpoint_and_the_pointer_to_it_are_their_student() {
    let run = tempfile::tempdir().unwrap();
    let student = run.path().join("checkpoints/000020/student");
    std::fs::create_dir_all(&student).unwrap();
    std::fs::create_dir_all(run.path().join("checkpoints/000010/student")).unwrap();
    let model = student.join("model.safetensors");
    sparse(&model, &[("a".into(), Dtype::F32, vec![1])]);
    let run_without = error(run.path());
    assert!(
        run_without.contains("a run without a checkpoint"),
        "{run_without}"
    );
    std::fs::write(run.path().join("checkpoints/latest"), "000020\n").unwrap();
    for path in [
        "",
        "checkpoints/latest",
        "checkpoints/000020",
        "checkpoints/000020/student",
    ] {
        let file = WeightFile::open(&run.path().join(path), Pickles::Refused).unwrap();
        assert_eq!(file.path(), model, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_ordinary_file_is_refused_without_waiting_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe.safetensors");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(
        error(&path).contains("no ordinary file"),
        "{}",
        error(&path)
    );
    assert!(error(Path::new("/dev/null")).contains("no ordinary file"));
}
