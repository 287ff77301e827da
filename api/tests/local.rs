//! Faults on this side: a full disk and a missing ffmpeg stop a fetch, and are never a job's.
#![cfg(unix)]

mod common;

use std::{
    env,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use afd_api::{
    engine::fetch,
    ledger::{State, Submissions},
    service::Service,
};
use afd_clips::{video::Video, video_io::write_gif_bytes};
use afd_mock_api::{Dialect, Maker, MockServer, Options};
use common::{Place, samples};

const PROMPTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Not a test: the process that has little. Its settings come in its environment.
#[test]
#[ignore = "the process that the other tests start"]
fn client() {
    let Ok(folder) = env::var("AFD_LOCAL_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    let text = std::fs::read_to_string(folder.join("settings.json")).unwrap();
    let settings = serde_json::from_str(&text).unwrap();
    let service = Service::new(&settings, &folder.join("store"), folder).unwrap();
    match fetch(&service, &samples(&PROMPTS, 1), &|| false, &mut |_| {}) {
        Ok(fetch) => println!("halted: {:?}", fetch.halted),
        Err(error) => println!("error: {error}"),
    }
}

/// Runs the client after this line of shell.
fn run(place: &Place, before: &str) -> String {
    let settings = serde_json::to_string(&place.settings).unwrap();
    std::fs::write(place.folder.path().join("settings.json"), settings).unwrap();
    let Output { stdout, stderr, .. } = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{before}\nexec \"$0\" client --exact --ignored --nocapture"
        ))
        .arg(env::current_exe().unwrap())
        .env("AFD_LOCAL_FOLDER", place.folder.path())
        .output()
        .unwrap();
    [stdout, stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat()
}

/// What makes GIFs of some dozen kilobytes, told apart by what stands behind their end.
fn noise() -> Maker {
    let mut random = fastrand::Rng::with_seed(1);
    let frame = |_| (0..64 * 64 * 3).map(|_| random.u8(..)).collect();
    let video = Video {
        width: 64,
        height: 64,
        frames_per_second: 10.0,
        frames: (0..8).map(frame).collect(),
    };
    let bytes = write_gif_bytes(&video).unwrap();
    Arc::new(move |prompt, seed| {
        let mark = blake3::hash(format!("{prompt} {seed}").as_bytes());
        [&bytes[..], mark.as_bytes()].concat()
    })
}

#[test]
fn a_full_disk_stops_the_fetch_and_loses_no_job() {
    let server = MockServer::start(Options {
        maker: noise(),
        ..Options::new(Dialect::V1Videos)
    });
    let place = Place::new(&server, Dialect::V1Videos);
    // Files of more than 8 KiB (dash) or 16 KiB (others) cannot be written.
    let said = run(&place, "trap '' XFSZ; ulimit -f 16");
    assert!(
        said.contains("cannot write") && said.contains("File too large"),
        "{said}"
    );
    let jobs = server.log().jobs.len();
    assert!(jobs > 0 && server.log().downloads <= 8, "{said}");
    let read = Submissions::read(&place.store()).unwrap();
    for (sample, latest) in read.latest() {
        assert!(matches!(latest.state, State::Open(_)), "{sample:?}");
    }
    let counts = place.fetch(&samples(&PROMPTS, 1)).progress.counts;
    assert_eq!((counts.there, server.log().jobs.len()), (6, 6));
    assert_eq!(server.log().duplicates(), 0);
}

#[test]
fn a_missing_ffmpeg_is_noticed_before_anything_is_paid() {
    let server = MockServer::start(Options::new(Dialect::V1Videos));
    let mut place = Place::new(&server, Dialect::V1Videos);
    place.settings.adapter = "v1-videos".to_string();
    let said = run(&place, "export AFD_FFMPEG=/no/such/program");
    assert!(said.contains("ffmpeg was not found"), "{said}");
    assert_eq!(server.log().posts, 0);
}
