use super::*;

fn video() -> Video {
    Video {
        width: 2,
        height: 1,
        frames_per_second: 8.0,
        frames: vec![vec![0; 6]; 2],
    }
}

#[test]
fn the_extension_decides_the_format_and_unknown_ones_are_errors() {
    for (name, format) in [
        ("a.MP4", VideoFormat::Mp4),
        ("a.gif", VideoFormat::Gif),
        ("a.frames", VideoFormat::PngFrames),
        ("a", VideoFormat::PngFrames),
    ] {
        assert_eq!(VideoFormat::of(Path::new(name)).unwrap(), format);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.xyz");
    assert!(
        write_video(&path, &video())
            .unwrap_err()
            .to_string()
            .contains("\"xyz\"")
    );
    std::fs::write(&path, "x").unwrap();
    assert!(
        read_video(&path)
            .unwrap_err()
            .to_string()
            .contains("expected a file ending in .mp4")
    );
    assert!(
        read_video(&folder.path().join("none.gif"))
            .unwrap_err()
            .to_string()
            .contains("none.gif")
    );
}

#[test]
fn existing_paths_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.gif", "a.mp4", "a.frames", "a"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "old").unwrap();
        assert!(matches!(
            write_video(&path, &video()),
            Err(VideoError::Exists { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
    let directory = folder.path().join("b.frames");
    std::fs::create_dir(&directory).unwrap();
    assert!(matches!(
        write_video(&directory, &video()),
        Err(VideoError::Exists { .. })
    ));
}

#[test]
fn malformed_videos_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let broken = [
        (
            Video {
                width: 0,
                ..video()
            },
            "0 x 1",
        ),
        (
            Video {
                frames: vec![],
                ..video()
            },
            "no frames",
        ),
        (
            Video {
                frames_per_second: f64::INFINITY,
                ..video()
            },
            "inf frames per second",
        ),
        (
            Video {
                frames: vec![vec![0; 6], vec![0; 5]],
                ..video()
            },
            "frame 1 holds 5 bytes; expected 2 x 1 x 3 = 6",
        ),
    ];
    for (video, expected) in broken {
        let message = write_video(&folder.path().join("a.gif"), &video)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("a.gif") && message.contains(expected),
            "{message}"
        );
        assert!(write_gif_bytes(&video).is_err());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
