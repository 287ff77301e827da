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
        reading: 2,
        codec: serde_json::json!({"kind": "wan-vae"}),
        latent_shape: [2, 1, 1, 2],
    }
}

fn source(file: &str, stamp: &str) -> Source {
    Source {
        file: file.to_string(),
        stamp: stamp.to_string(),
    }
}

fn clip(prompt: &str, number: usize) -> (ClipRecord, Vec<f32>) {
    let record = ClipRecord {
        prompt: prompt.to_string(),
        source: source(&format!("{number}.mp4"), "1"),
        content: format!("content {number}"),
        pixels: String::new(),
    };
    (record, vec![number as f32, 0.5, -1.0, prompt.len() as f32])
}

#[test]
fn clips_come_back_bit_for_bit_by_what_they_are() {
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
        assert_eq!(store.len(), 3);
        let found = store.find("a ball", &source("1.mp4", "1")).unwrap();
        assert_eq!(store.read(found).unwrap(), clip("a ball", 1).1);
        // The same clip elsewhere, or another file in its place.
        assert_eq!(store.find_content("a ball", "content 1"), Some(found));
        assert_eq!(store.find("a ball", &source("1.mp4", "2")), None);
        assert_eq!(store.find("a ball", &source("2.mp4", "1")), None);
        assert_eq!(store.find("a box", &source("1.mp4", "1")), None);
        assert_eq!(store.find_content("a box", "content 1"), None);
        store.verify().unwrap();
        let error = store.lacks("a cat", "1.mp4").to_string();
        assert!(
            error.contains("lacks latents of 1.mp4 (\"a cat\")")
                && error.contains("afd data prepare"),
            "{error}"
        );
        let error = store.lacks("a ball", "1.mp4").to_string();
        assert!(error.contains("1.mp4 (\"a ball\") has changed"), "{error}");
    }
}

#[test]
fn a_clip_that_was_moved_keeps_its_latents_and_the_latest_of_a_file_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    store.add(vec![clip("a ball", 0)]).unwrap();
    let place = store.find_content("a ball", "content 0").unwrap();
    store
        .moved(vec![(place, source("new/0.mp4", "7"))])
        .unwrap();
    let mut replaced = clip("a ball", 5);
    replaced.0.source = source("new/0.mp4", "8");
    store.add(vec![replaced]).unwrap();
    for store in [
        &store,
        &LatentStore::open(directory.path(), &origin()).unwrap(),
    ] {
        assert_eq!(store.find("a ball", &source("0.mp4", "1")), None);
        assert_eq!(store.find("a ball", &source("new/0.mp4", "7")), None);
        let latest = store.find("a ball", &source("new/0.mp4", "8")).unwrap();
        assert_eq!(store.read(latest).unwrap(), clip("a ball", 5).1);
        assert_eq!(store.find_content("a ball", "content 0"), Some(place));
    }
}

#[test]
fn without_a_stamp_nothing_is_taken_for_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    let mut unknown = clip("a ball", 0);
    unknown.0.source.stamp = String::new();
    let asked = unknown.0.source.clone();
    store.add(vec![unknown]).unwrap();
    assert_eq!(store.find("a ball", &asked), None);
}

#[test]
fn latents_that_are_not_finite_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LatentStore::open(directory.path(), &origin()).unwrap();
    let mut broken = clip("a ball", 3);
    broken.1[2] = f32::NAN;
    let error = store.add(vec![broken]).unwrap_err().to_string();
    assert!(error.contains("NaN for 3.mp4 (\"a ball\")"), "{error}");
    assert!(store.is_empty());
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
    assert_eq!(again.find_content("a ball", "content 1"), None);
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
