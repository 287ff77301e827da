use super::*;

#[test]
fn ffmpegs_description_is_understood() {
    let said = "ffmpeg version 5.1.9-0 Copyright\nInput #0, mov, from 'x.mp4':\n  Metadata:\n    \
        title : Stream of Video: 9x9\n  Duration: 00:01:02.13, start: 0.0, bitrate: 44 kb/s\n  \
        Stream #0:0[0x1](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz\n  Stream \
        #0:1[0x2](und): Video: hevc (Main 10) (hvc1 / 0x31637661), yuv420p10le(tv, \
        bt2020nc/bt2020/smpte2084, progressive), 64x48 [SAR 4:3 DAR 16:9], 35 kb/s, 23.98 fps, 24 \
        tbr, 16k tbn (default)\n    Metadata:\n      alpha_mode      : 1\n    Side data:\n      \
        displaymatrix: rotation of -90.00 degrees\n  Stream #0:2: Video: mjpeg (Baseline), \
        yuvj444p(pc, bt470bg/unknown/unknown, top first), 200x100, 90k tbr, 90k tbn (attached \
        pic)\nAt least one output file must be specified\n";
    let described = text::described(said).unwrap();
    assert_eq!(major(&described.ffmpeg_version), Some(5));
    let text = |text: &str| Some(text.to_string());
    let film = Stream {
        index: 1,
        width: 64,
        height: 48,
        turn: -90.0,
        pixel_aspect: Some(4.0 / 3.0),
        rate: Some(24000.0 / 1001.0),
        seconds: None,
        file_seconds: Some(62.13),
        codec: "hevc".to_string(),
        pixel_format: "yuv420p10le".to_string(),
        matrix: text("bt2020nc"),
        transfer: text("smpte2084"),
        primaries: text("bt2020"),
        interlaced: Some(false),
        alpha_beside: true,
        is_default: true,
        is_cover: false,
    };
    assert_eq!(described.streams[0], film);
    assert_eq!(film.upright(), (48, 64, 0.75));
    let cover = &described.streams[1];
    assert_eq!(
        (cover.index, cover.is_cover, cover.interlaced),
        (2, true, Some(true))
    );
    assert_eq!((&cover.matrix, &cover.transfer), (&text("bt470bg"), &None));
    assert_eq!(text::described("x.mp4: Invalid data found"), None);
}

#[test]
fn ffprobes_description_is_understood() {
    let json = r#"{"program_version": {"version": "n7.1"}, "streams": [{"index": 3, "width": 64,
        "height": 48, "avg_frame_rate": "1000/1", "r_frame_rate": "25/2",
        "sample_aspect_ratio": "4:3", "field_order": "tt", "pix_fmt": "yuva420p",
        "color_space": "unknown", "color_transfer": "arib-std-b67", "tags": {"ALPHA_MODE": "1"},
        "disposition": {"default": 1, "attached_pic": 0},
        "side_data_list": [{"x": 1}, {"rotation": -90}]}], "format": {"duration": "2.500000"}}"#;
    let described = ffprobe::described(json.as_bytes()).unwrap();
    assert_eq!(major(&described.ffmpeg_version), Some(7));
    let stream = &described.streams[0];
    assert_eq!(
        (
            stream.index,
            stream.rate,
            stream.seconds,
            stream.file_seconds
        ),
        (3, Some(12.5), None, Some(2.5))
    );
    assert_eq!(stream.upright(), (48, 64, 0.75));
    assert_eq!((&stream.matrix, stream.quarters()), (&None, Some(3)));
    assert_eq!(stream.interlaced, Some(true));
    assert!(stream.alpha_beside && stream.is_default);
    let odd = Stream {
        turn: 45.0,
        ..stream.clone()
    };
    assert_eq!(odd.quarters(), None);
    assert_eq!(ffprobe::described(b""), None);
    assert_eq!(major("N-121000-g32dc9d1"), None);
}

#[test]
fn players_show_the_default_stream_and_no_cover() {
    let stream = |index, is_default, is_cover| Stream {
        index,
        is_default,
        is_cover,
        ..Stream::default()
    };
    let index = |streams: &[Stream]| shown(streams.to_vec()).map(|stream| stream.index);
    let (first, second) = (stream(0, false, false), stream(1, true, false));
    assert_eq!(index(&[first.clone(), second]), Some(1));
    assert_eq!(index(&[first.clone(), stream(1, false, false)]), Some(0));
    assert_eq!(
        index(&[stream(0, true, true), stream(2, false, false)]),
        Some(2)
    );
    assert_eq!(index(&[stream(0, true, true)]), None);
}

#[cfg(unix)]
#[test]
fn ffmpeg_alone_says_the_same_as_ffprobe() {
    let Some(ffmpeg) = super::super::find_ffmpeg() else {
        println!("skipped, no ffmpeg on this machine: ffmpeg_alone_says_the_same_as_ffprobe");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("ffmpeg");
    std::os::unix::fs::symlink(&ffmpeg, &alone).unwrap();
    let path = folder.path().join("a.mp4");
    let video = crate::video::Video {
        width: 64,
        height: 48,
        frames_per_second: 24000.0 / 1001.0,
        frames: vec![vec![9; 64 * 48 * 3]; 12],
    };
    super::super::write_video(&path, &video).unwrap();
    let (with, without) = (
        stream(&ffmpeg, &path, "mov").unwrap(),
        stream(&alone, &path, "mov").unwrap(),
    );
    let (ours, theirs) = (with.stream, without.stream);
    assert!((ours.rate.unwrap() - theirs.rate.unwrap()).abs() < 1e-9);
    assert!((ours.file_seconds.unwrap() - theirs.file_seconds.unwrap()).abs() < 0.011);
    let rest = Stream {
        rate: ours.rate,
        seconds: ours.seconds,
        file_seconds: ours.file_seconds,
        ..theirs
    };
    assert_eq!(ours, rest);
    assert_eq!(with.ffmpeg_major, without.ffmpeg_major);
}
