use super::*;

fn values(step: u64) -> BTreeMap<String, f64> {
    // Awkward decimals, so that a printing error shows.
    BTreeMap::from([
        ("loss".into(), 0.1 + 0.2 * step as f64),
        ("advantage".into(), 1.0 / (3.0 + step as f64)),
    ])
}

fn append(log: &mut MetricsLog, steps: std::ops::RangeInclusive<u64>) {
    steps.for_each(|step| {
        log.append(
            step,
            if step % 2 == 0 {
                "flow"
            } else {
                "discriminator"
            },
            &values(step),
        )
        .unwrap()
    });
}

#[test]
fn a_line_has_the_step_the_phase_and_sorted_names() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    let mut log = MetricsLog::open_at(&path, 0, None).unwrap();
    log.append(
        3,
        "flow",
        &BTreeMap::from([("loss".into(), 0.25), ("accuracy".into(), 1.0)]),
    )
    .unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"step\":3,\"phase\":\"flow\",\"accuracy\":1.0,\"loss\":0.25}\n"
    );
}

#[test]
fn printed_numbers_read_back_as_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    let mut log = MetricsLog::open_at(&path, 0, None).unwrap();
    for value in [
        0.1 + 0.2,
        1.0 / 3.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        -0.0,
        1e21,
        123_456_789.123_456_79,
    ] {
        log.append(1, "p", &BTreeMap::from([("v".into(), value)]))
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let printed = text
            .lines()
            .last()
            .unwrap()
            .rsplit_once(':')
            .unwrap()
            .1
            .trim_end_matches('}');
        assert_eq!(
            printed.parse::<f64>().unwrap().to_bits(),
            value.to_bits(),
            "{printed}"
        );
    }
}

#[test]
fn lines_that_were_lost_doubled_swapped_or_changed_are_noticed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    let mut log = MetricsLog::open_at(&path, 0, None).unwrap();
    append(&mut log, 1..=5);
    let written = log.hash();
    append(&mut log, 6..=8);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without = |gone: usize| {
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != gone);
        kept.map(|(_, line)| *line).collect::<String>()
    };
    let changed = [
        String::new(),
        without(1),
        format!("{}{whole}", lines[0]),
        [&[lines[1], lines[0]], &lines[2..]].concat().concat(),
        whole.replacen("0.3", "0.4", 1),
    ];
    for text in changed {
        fs::write(&path, &text).unwrap();
        let error = MetricsLog::open_at(&path, 5, Some(&written)).unwrap_err();
        assert!(
            matches!(error, EventError::Changed { step: 5, .. }),
            "{text}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // Lines after the checkpoint are made again.
    fs::write(&path, without(6)).unwrap();
    let log = MetricsLog::open_at(&path, 5, Some(&written)).unwrap();
    assert_eq!(log.hash(), written);
    assert_eq!(fs::read_to_string(&path).unwrap(), lines[..5].concat());
}

#[test]
fn an_interrupted_and_resumed_log_has_the_bytes_of_an_uninterrupted_one() {
    let place = tempfile::tempdir().unwrap();
    let (whole, resumed) = (place.path().join("whole"), place.path().join("resumed"));
    append(&mut MetricsLog::open_at(&whole, 0, None).unwrap(), 1..=10);
    // The checkpoint was made at 5.
    append(&mut MetricsLog::open_at(&resumed, 0, None).unwrap(), 1..=8);
    append(&mut MetricsLog::open_at(&resumed, 5, None).unwrap(), 6..=10);
    assert_eq!(fs::read(&whole).unwrap(), fs::read(&resumed).unwrap());
}

#[test]
fn a_last_line_torn_at_any_byte_is_dropped_or_completed() {
    let place = tempfile::tempdir().unwrap();
    let (whole, torn) = (place.path().join("whole"), place.path().join("torn"));
    append(&mut MetricsLog::open_at(&whole, 0, None).unwrap(), 1..=3);
    let bytes = fs::read(&whole).unwrap();
    let two_lines = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    for length in two_lines..=bytes.len() {
        fs::write(&torn, &bytes[..length]).unwrap();
        let complete = length >= bytes.len() - 1; // only the newline is missing
        append(
            &mut MetricsLog::open_at(&torn, 3, None).unwrap(),
            if complete { 4..=4 } else { 3..=4 },
        );
        append(&mut MetricsLog::open_at(&whole, 3, None).unwrap(), 4..=4);
        assert_eq!(
            fs::read(&torn).unwrap(),
            fs::read(&whole).unwrap(),
            "torn at byte {length}"
        );
    }
}

#[test]
fn zeros_after_a_power_cut_count_as_a_torn_line() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    append(&mut MetricsLog::open_at(&path, 0, None).unwrap(), 1..=2);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [whole.as_slice(), &[0; 64]].concat()).unwrap();
    MetricsLog::open_at(&path, 2, None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_broken_line_in_the_middle_is_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    fs::write(&path, "{\"step\":1}\n{\"step\":\n{\"step\":3}\n").unwrap();
    let error = MetricsLog::open_at(&path, 3, None).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl line 2"), "{error}");
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .ends_with("{\"step\":3}\n")
    );
}

#[test]
fn a_value_that_is_not_finite_is_named_and_not_written() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("metrics.jsonl");
    let mut log = MetricsLog::open_at(&path, 0, None).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = log
            .append(4, "flow", &BTreeMap::from([("flow_loss".into(), value)]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("flow_loss") && error.contains("step 4"),
            "{error}"
        );
    }
    assert!(matches!(
        log.append(4, "flow", &BTreeMap::from([("step".into(), 1.0)])),
        Err(EventError::Reserved { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"");
}
