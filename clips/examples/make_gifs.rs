//! Many small GIFs and their manifest, for measurements of what is not ffmpeg's: `make_gifs
//! DIRECTORY COUNT PROMPTS.txt`.
//!
//! 32 x 32 pixels, 8 frames at 8 frames per second, each clip another moving plaid; the prompts are
//! given out in turn.

use std::{env, error::Error, fs, io::Write, path::Path};

use afd_clips::{prompts::read_prompts, video::Video, video_io::write_gif_bytes};

const SIDE: u32 = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, count, prompts] = &arguments[..] else {
        return Err("expected DIRECTORY COUNT PROMPTS.txt".into());
    };
    let (directory, count) = (Path::new(directory), count.parse::<u32>()?);
    let prompts = read_prompts(Path::new(prompts))?;
    fs::create_dir_all(directory.join("clips"))?;
    let mut manifest = fs::File::create_new(directory.join("manifest.jsonl"))?;
    for (clip, prompt) in (0..count).zip(prompts.iter().cycle()) {
        let name = format!("clips/{clip:05}.gif");
        fs::write(directory.join(&name), write_gif_bytes(&plaid(clip))?)?;
        writeln!(
            manifest,
            "{}",
            serde_json::json!({"prompt": prompt, "video": name})
        )?;
    }
    Ok(())
}

/// Waves of a length, direction and phase of the clip's own.
fn plaid(clip: u32) -> Video {
    let (first, second) = (
        f64::from(clip % 101) * 0.0622,
        f64::from(clip % 97) * 0.0648,
    );
    let level = |t: u32, row: u32, column: u32| {
        let (x, y, t) = (f64::from(column), f64::from(row), f64::from(t));
        let across = (x / (3.0 + f64::from(clip % 7)) + t * 0.9 + first).sin();
        let down = (y / (2.0 + f64::from(clip % 11)) - t * 0.7 + second).sin();
        (127.0 + 60.0 * (across + down)) as u8
    };
    let level = &level;
    let frame = |t: u32| {
        (0..SIDE)
            .flat_map(move |row| (0..SIDE).flat_map(move |column| [level(t, row, column); 3]))
            .collect()
    };
    Video {
        width: SIDE,
        height: SIDE,
        frames_per_second: 8.0,
        frames: (0..8).map(frame).collect(),
    }
}
