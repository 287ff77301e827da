//! What a film looks like to this program: the clip that it is prepared into, as raw RGB on
//! standard output, and what is known of it on standard error: `media_frames FILM FRAMES HEIGHT
//! WIDTH RATE crop|pad`.
//!
//! `scripts/media-table.py` compares it with what ffmpeg's own filters make of the same film.

use std::{env, error::Error, io::Write, path::Path, process::ExitCode};

use afd_clips::{
    prepare::{Fit, Preparer},
    video::ClipShape,
    video_io::decode_video,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refused: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [film, frames, height, width, rate, fit] = &arguments[..] else {
        return Err("expected FILM FRAMES HEIGHT WIDTH RATE crop|pad".into());
    };
    let shape = ClipShape {
        frames: frames.parse()?,
        height: height.parse()?,
        width: width.parse()?,
        frames_per_second: rate.parse()?,
    };
    let fit = match fit.as_str() {
        "pad" => Fit::Pad,
        _ => Fit::Crop,
    };
    let mut preparer = Preparer::new(shape, fit)?;
    let header = decode_video(Path::new(film), &mut |header, frame| {
        preparer.frame(header, frame)
    })?;
    eprintln!("{header:?}");
    let clip = preparer.finish()?.to_video();
    std::io::stdout().write_all(&clip.frames.concat())?;
    Ok(())
}
