use super::*;

fn origin() -> LatentOrigin {
    let clip = ClipShape {
        frames: 5,
        height: 16,
        width: 16,
        frames_per_second: 16.0,
    };
    LatentOrigin {
        clip,
        fit: Fit::Crop,
        codec: serde_json::json!({"kind": "wan-vae"}),
        latent_shape: [2, 1, 1, 2],
    }
}

fn clip(prompt: &str, sample: u64) -> (ClipRecord, Vec<f32>) {
    let record = ClipRecord {
        prompt: prompt.to_string(),
        sample,
        pixels: String::new(),
    };
    (record, vec![sample as f32, 0.5, -1.0, prompt.len() as f32])
}

#[test]
fn clips_come_back_bit_for_bit_and_takes_go_round() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    store
        .add(vec![clip("a ball", 0), clip("a box", 0)])
        .unwrap();
    store.add(vec![clip("a ball", 1)]).unwrap();
    for store in [
        &store,
        &LatentStore::open(directory.path(), &origin()).unwrap(),
    ] {
        assert_eq!(
            (store.len(), store.has("a ball", 1), store.has("a box", 1)),
            (3, true, false)
        );
        assert_eq!(store.read("a ball", 3).unwrap(), clip("a ball", 1).1);
        assert_eq!(store.read("a box", 7).unwrap(), clip("a box", 0).1);
        store.verify().unwrap();
        let error = store.read("a cat", 0).unwrap_err().to_string();
        assert!(
            error.contains("a cat") && error.contains("afd data prepare"),
            "{error}"
        );
    }
}

#[test]
fn a_kill_between_shard_and_index_costs_that_shard_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    store.add(vec![clip("a ball", 0)]).unwrap();
    let index = std::fs::read(directory.path().join(INDEX)).unwrap();
    store.add(vec![clip("a ball", 1)]).unwrap();
    let whole = std::fs::read(directory.path().join("shard-00001.safetensors")).unwrap();
    std::fs::write(directory.path().join(INDEX), index).unwrap();
    let mut again = LatentStore::open(directory.path(), &origin()).unwrap();
    assert!(!again.has("a ball", 1));
    again.add(vec![clip("a ball", 1)]).unwrap();
    assert_eq!(
        std::fs::read(directory.path().join("shard-00001.safetensors")).unwrap(),
        whole
    );
}

#[test]
fn another_origin_a_damaged_shard_and_a_shard_outside_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    store.add(vec![clip("a ball", 0)]).unwrap();
    let other = LatentOrigin {
        latent_shape: [3, 1, 1, 2],
        ..origin()
    };
    assert!(
        LatentStore::open(directory.path(), &other)
            .unwrap_err()
            .to_string()
            .contains("choose another data.path")
    );
    let shard = directory.path().join("shard-00000.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    assert!(
        store
            .verify()
            .unwrap_err()
            .to_string()
            .contains("shard-00000")
    );
    let index = std::fs::read_to_string(directory.path().join(INDEX)).unwrap();
    std::fs::write(
        directory.path().join(INDEX),
        index.replace("shard-00000", "../shard"),
    )
    .unwrap();
    assert!(
        LatentStore::open(directory.path(), &origin())
            .unwrap_err()
            .to_string()
            .contains("../shard")
    );
}
