use super::super::synthetic::drifting;
use super::*;

/// Samples of a drifting red disc, `offset` px to the right, spread over 2 px.
fn samples(count: usize, phase: f32, offset: f32) -> Vec<Clip> {
    (0..count)
        .map(|sample| {
            drifting(
                [
                    3.0 + offset + 2.0 * (sample as f32 + phase) / count as f32,
                    4.0,
                ],
                [0.6, 0.3],
            )
        })
        .collect()
}

fn scores(value: f64) -> Scores {
    Scores {
        trajectory_energy_distance: value,
        gravity_error: None,
        object_permanence: value / 10.0,
        pixel_energy_distance: 0.5,
        temporal_flicker: value / 20.0,
        temporal_flicker_gap: 0.0,
        dynamic_degree: 1.0,
        motion_smoothness: 1.0,
        holdout_pair_accuracy: None,
    }
}

#[test]
fn other_samples_of_the_teacher_score_near_zero_and_a_shifted_student_does_not() {
    let prompt = "a red ball drifts".to_string();
    let close = score(&[(prompt.clone(), samples(8, 0.0, 0.0), samples(8, 0.5, 0.0))]).unwrap();
    let far = score(&[(prompt.clone(), samples(8, 0.0, 0.0), samples(8, 0.5, 3.0))]).unwrap();
    // Evenly spread samples repel each other: slightly below zero.
    assert!(close.trajectory_energy_distance.abs() < 1.0, "{close:?}");
    assert!(
        far.trajectory_energy_distance > 5.0
            && far.pixel_energy_distance > close.pixel_energy_distance + 0.02,
        "{far:?}"
    );
    assert_eq!((close.object_permanence, close.dynamic_degree), (1.0, 1.0));
    assert!(close.gravity_error.unwrap() < 0.02);
    let same = samples(4, 0.0, 0.0);
    let floor = score_teacher(&[(prompt, [same.clone(), same].concat(), Vec::new())]).unwrap();
    assert!(
        floor.trajectory_energy_distance < 0.0,
        "an unbiased distance of a set to its copy is negative: {floor:?}"
    );
    assert_eq!(floor.temporal_flicker_gap, 0.0);
}

#[test]
fn prompts_weigh_the_same_whatever_their_number_of_clips() {
    let one = (
        "a red ball".to_string(),
        samples(4, 0.0, 0.0),
        samples(4, 0.0, 4.0),
    );
    let two = (
        "a red ball".to_string(),
        samples(8, 0.0, 0.0),
        samples(8, 0.5, 0.0),
    );
    let separately = [&one, &two].map(|group| {
        score(std::slice::from_ref(group))
            .unwrap()
            .trajectory_energy_distance
    });
    let together = score(&[one, two]).unwrap().trajectory_energy_distance;
    assert!((together - (separately[0] + separately[1]) / 2.0).abs() < 1e-12);
}

#[test]
fn unusable_clips_are_named() {
    let group = |student: Vec<Clip>| [("a red ball".to_string(), samples(2, 0.0, 0.0), student)];
    assert_eq!(score(&[]), Err(EvalError::NoPrompts));
    assert!(matches!(
        score(&group(samples(1, 0.0, 0.0))),
        Err(EvalError::TooFewClips {
            side: "student",
            found: 1,
            ..
        })
    ));
    let mut broken = samples(2, 0.0, 0.0);
    broken[1].pixels[7] = f32::NAN;
    let message = score(&group(broken)).unwrap_err().to_string();
    assert!(
        message.contains("student clip 1") && message.contains("NaN at value 7"),
        "{message}"
    );
    let mut reshaped = samples(2, 0.0, 0.0);
    reshaped[0].shape.frames_per_second = 16.0;
    assert!(
        score(&group(reshaped))
            .unwrap_err()
            .to_string()
            .contains("16 fps, expected")
    );
}

#[test]
fn the_table_aligns_shows_directions_and_says_whether_the_last_step_is_better() {
    let (base, distilled) = (scores(6.33), scores(0.64));
    let table = comparison_table(&[
        ("teacher", &scores(0.0)),
        ("base", &base),
        ("distilled", &distilled),
    ]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.chars().count() == lines[0].chars().count()),
        "\n{table}"
    );
    let row = |name: &str| {
        lines
            .iter()
            .find(|line| line.contains(name))
            .copied()
            .unwrap_or("")
    };
    assert!(
        row("trajectory").contains("↓")
            && row("trajectory").contains("6.3300")
            && row("trajectory").contains("-5.6900 better"),
        "\n{table}"
    );
    assert!(
        row("permanence").contains("↑") && row("permanence").contains("-0.5690 worse"),
        "\n{table}"
    );
    assert!(
        row("temporal flicker").contains("≈ teacher") && !row("temporal flicker").contains("worse"),
        "\n{table}"
    );
    assert_eq!(
        (row("gravity"), row("holdout")),
        ("", ""),
        "unmeasured rows are left out\n{table}"
    );
}

#[test]
fn scores_survive_json_with_and_without_optional_metrics() {
    let mut one = scores(1.5);
    assert_eq!(
        serde_json::from_str::<Scores>(&serde_json::to_string(&one).unwrap()).unwrap(),
        one
    );
    one.gravity_error = Some(0.25);
    one.holdout_pair_accuracy = Some(0.9);
    assert_eq!(
        serde_json::from_str::<Scores>(&serde_json::to_string(&one).unwrap()).unwrap(),
        one
    );
}
