use super::super::synthetic::{BLUE, Disc, GREEN, GREY, RED, YELLOW, clip, drifting};
use super::unmix::add_scaled;
use super::*;
use afd_clips::video::ClipShape;

/// Two crossing discs, one per colour; `shift` makes different samples.
fn two_discs(colours: [[f32; 3]; 2], shift: f32) -> (Clip, [Vec<[f32; 2]>; 2]) {
    let first: Vec<[f32; 2]> = (0..12)
        .map(|t| [3.0 + 0.8 * t as f32 + shift, 4.0 + 0.13 * t as f32])
        .collect();
    let second: Vec<[f32; 2]> = (0..12)
        .map(|t| [12.5 - 0.7 * t as f32 + shift, 11.0 - 0.21 * t as f32])
        .collect();
    let disc = |path: &[[f32; 2]], colour| Disc {
        path: path.iter().map(|&c| Some(c)).collect(),
        radius: 1.5,
        colour,
    };
    (
        clip(
            12,
            16,
            &[disc(&first, colours[0]), disc(&second, colours[1])],
        ),
        [first, second],
    )
}

#[test]
fn every_pair_of_world_colours_is_tracked_within_three_tenths_of_a_pixel() {
    let named = [
        ("red", RED),
        ("green", GREEN),
        ("blue", BLUE),
        ("yellow", YELLOW),
    ];
    for (one, other) in (0..4)
        .flat_map(|one| (0..4).map(move |other| (one, other)))
        .filter(|(one, other)| one != other)
    {
        let prompt = format!(
            "a {} ball and a {} ball cross",
            named[one].0, named[other].0
        );
        let samples: Vec<_> = [-0.6, 0.0, 0.45]
            .map(|shift| two_discs([named[one].1, named[other].1], shift))
            .into();
        let clips: Vec<Clip> = samples.iter().map(|sample| sample.0.clone()).collect();
        let tracker = Tracker::for_prompt(&prompt, &clips).unwrap();
        for (clip, paths) in &samples {
            let tracks = tracker.track(clip);
            for (track, path) in tracks.iter().zip(paths) {
                assert!(track.visible.iter().all(|&seen| seen), "{prompt}");
                for (found, expected) in track.centres.iter().zip(path) {
                    let error = (found[0] - expected[0]).hypot(found[1] - expected[1]);
                    assert!(error < 0.3, "{prompt}: {found:?} instead of {expected:?}");
                }
            }
        }
    }
}

#[test]
fn the_mass_is_the_disc_s_area() {
    let sample = drifting([3.0, 5.3], [0.7, 0.2]);
    let tracker = Tracker::for_prompt("a red ball", std::slice::from_ref(&sample)).unwrap();
    let area = std::f32::consts::PI * 1.6 * 1.6;
    assert!(
        tracker.track(&sample)[0]
            .masses
            .iter()
            .all(|mass| (mass - area).abs() < 0.15 * area)
    );
    assert!((tracker.mean_masses()[0] - area).abs() < 0.1 * area);
}

#[test]
fn a_yellow_ball_is_not_found_by_the_red_one_s_track_nor_split_into_red_and_green() {
    let colours = [RED, GREEN, YELLOW];
    for cover in [0.3f32, 0.5, 0.8, 1.0] {
        let pixel = add_scaled(GREY, subtract(YELLOW, GREY), cover);
        let found = unmix(pixel, GREY, &colours);
        assert!(
            (found[2] - cover).abs() < 1e-3 && found[0] == 0.0 && found[1] == 0.0,
            "{found:?}"
        );
    }
    let touching = add_scaled(
        add_scaled(GREY, subtract(RED, GREY), 0.5),
        subtract(YELLOW, GREY),
        0.45,
    );
    let found = unmix(touching, GREY, &colours);
    assert!(
        (found[0] - 0.5).abs() < 1e-3 && (found[2] - 0.45).abs() < 1e-3,
        "{found:?}"
    );
}

#[test]
fn a_body_that_rests_in_every_sample_is_still_a_body() {
    let sample = drifting([8.0, 12.0], [0.0, 0.0]);
    let tracker =
        Tracker::for_prompt("a red ball rests", &[sample.clone(), sample.clone()]).unwrap();
    let track = &tracker.track(&sample)[0];
    assert!(
        track.visible.iter().all(|&seen| seen) && (track.centres[5][1] - 12.0).abs() < 0.1,
        "{track:?}"
    );
}

#[test]
fn grey_walls_are_background_even_though_red_and_green_make_grey() {
    let (mut sample, paths) = two_discs([RED, GREEN], 0.0);
    for (index, value) in sample.pixels.iter_mut().enumerate() {
        let (row, column) = (index / 3 / 16 % 16, index / 3 % 16);
        if row == 15 || column == 0 {
            *value = 96.0 / 127.5 - 1.0;
        }
    }
    let tracker =
        Tracker::for_prompt("a red ball and a green ball", std::slice::from_ref(&sample)).unwrap();
    for (track, path) in tracker.track(&sample).iter().zip(&paths) {
        assert!(
            (track.centres[5][0] - path[5][0]).hypot(track.centres[5][1] - path[5][1]) < 0.3,
            "{track:?}"
        );
    }
    assert!(
        tracker.mean_masses().iter().all(|mass| *mass < 8.0),
        "{:?}",
        tracker.mean_masses()
    );
}

#[test]
fn a_prompt_without_colours_tracks_what_moves() {
    let samples = [
        drifting([3.0, 5.0], [0.9, 0.3]),
        drifting([12.0, 9.0], [-0.9, -0.3]),
    ];
    for prompt in ["a ball drifts", "a purple ball drifts"] {
        let tracker = Tracker::for_prompt(prompt, &samples).unwrap();
        let track = &tracker.track(&samples[0])[0];
        for (frame, centre) in track.centres.iter().enumerate() {
            let expected = [3.0 + 0.9 * frame as f32, 5.0 + 0.3 * frame as f32];
            assert!(
                (centre[0] - expected[0]).hypot(centre[1] - expected[1]) < 0.3,
                "{prompt}: {centre:?} {expected:?}"
            );
        }
    }
}

#[test]
fn missing_frames_carry_the_last_seen_centre() {
    let mut path: Vec<Option<[f32; 2]>> = (0..12).map(|t| Some([3.0 + t as f32, 8.0])).collect();
    let teacher = clip(
        12,
        16,
        &[Disc {
            path: path.clone(),
            radius: 1.6,
            colour: RED,
        }],
    );
    path[0] = None;
    path[6..9].fill(None);
    let student = clip(
        12,
        16,
        &[Disc {
            path,
            radius: 1.6,
            colour: RED,
        }],
    );
    let tracker = Tracker::for_prompt("a red ball", std::slice::from_ref(&teacher)).unwrap();
    let track = &tracker.track(&student)[0];
    assert_eq!(
        track.visible,
        (0..12)
            .map(|t| t != 0 && !(6..9).contains(&t))
            .collect::<Vec<_>>()
    );
    assert_eq!(track.centres[0], track.centres[1]);
    assert!(
        (6..9).all(|t| track.centres[t] == track.centres[5])
            && track.centres[9] != track.centres[5]
    );
    let never = clip(12, 16, &[]);
    assert_eq!(tracker.track(&never)[0].centres, vec![[8.0, 8.0]; 12]);
}

#[test]
fn colours_are_whole_words_counted_once_in_order_of_mention() {
    assert_eq!(
        named_colours("A Yellow ball hits a red, bored block; the yellow one bounces"),
        vec![YELLOW, RED]
    );
    assert!(named_colours("an evergreen scene").is_empty());
}

#[test]
fn the_built_in_world_s_balls_are_found_where_they_truly_are() {
    use afd_clips::{prepare::prepare, teacher::Teacher};
    use afd_world::{World, colour_of};
    let shape = ClipShape {
        frames: 12,
        height: 16,
        width: 16,
        frames_per_second: 8.0,
    };
    let world = World::new(1);
    for (prompt, bodies) in [
        ("a small blue ball is dropped on earth", 1),
        ("a large green ball is thrown to the right on jupiter", 1),
        ("a small yellow ball is thrown to the left on the moon", 1),
        ("a large yellow ball is dropped on the moon", 1),
        (
            "a large red ball and a small green ball are thrown at each other on the moon",
            2,
        ),
        (
            "a large blue ball and a large yellow ball are thrown at each other on jupiter",
            2,
        ),
    ] {
        let clips: Vec<Clip> = world
            .videos(prompt, 0..8)
            .unwrap()
            .iter()
            .map(|video| prepare(video, shape).unwrap())
            .collect();
        let tracker = Tracker::for_prompt(prompt, &clips).unwrap();
        assert_eq!(tracker.bodies(), bodies);
        for (sample, clip) in clips.iter().enumerate() {
            // The world counts in metres from the lower left corner, 4 m per image; every third
            // of its frames is shown.
            let truth = world.motion(prompt, sample as u64).unwrap().centres;
            for (body, track) in tracker.track(clip).iter().enumerate() {
                for (frame, found) in track.centres.iter().enumerate() {
                    let [x, y] = truth[3 * frame][body];
                    let error = (found[0] - 4.0 * x).hypot(found[1] - 4.0 * (4.0 - y));
                    assert!(
                        error < 0.3,
                        "{prompt}, sample {sample}, frame {frame}: {found:?}, off by {error}"
                    );
                }
            }
        }
    }
    for word in ["red", "green", "blue", "yellow"] {
        assert_eq!(
            Some(named_colours(word)[0].map(|level| level as u8)),
            colour_of(word),
            "{word} differs from the world's"
        );
    }
}
