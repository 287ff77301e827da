//! What a video file says about its first video stream: from ffprobe where it lies beside ffmpeg,
//! else from ffmpeg's description.

use std::{env, fmt, path::Path, process::Command};

use serde_json::Value;

use super::{
    VideoError,
    child::{Running, tidy},
    command::input,
};

/// Size, rate and, where known, length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    /// Pixels per row as shown, that is after turning.
    pub width: u32,
    /// Rows as shown.
    pub height: u32,
    /// Average frames per second.
    pub rate: Rate,
    /// Length in seconds.
    pub seconds: Option<f64>,
    /// Whether it says which matrix leads from its colours to RGB.
    pub names_matrix: bool,
}

/// The matrix that players take for a stream that names none: television's of its size (mpv,
/// `mp_csp_guess_colorspace`).
pub(super) fn usual_matrix(width: u32, height: u32) -> &'static str {
    if width >= 1280 || height > 576 {
        "bt709"
    } else {
        "smpte170m"
    }
}

/// Frames per second as a fraction, which is how containers store it; above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    numerator: u64,
    denominator: u64,
}

impl Rate {
    /// The simplest fraction at `rate`, or the nearest one with a denominator up to 1001. `rate` is
    /// finite and above zero.
    pub fn from_f64(rate: f64) -> Self {
        let numerator = |denominator: u64| (rate * denominator as f64).round().max(1.0);
        let error = |denominator: u64| (numerator(denominator) / denominator as f64 - rate).abs();
        let exact = (1..=1001).find(|&denominator| error(denominator) < 1e-9 * rate);
        let nearest = || {
            (1..=1001)
                .min_by(|&a, &b| error(a).total_cmp(&error(b)))
                .unwrap_or(1)
        };
        let denominator = exact.unwrap_or_else(nearest);
        Self {
            numerator: numerator(denominator) as u64,
            denominator,
        }
    }

    /// `24000/1001`; `None` for `0/0`, which is how ffprobe says "unknown".
    fn parse(text: &str) -> Option<Self> {
        let (numerator, denominator) = text.split_once('/')?;
        let rate = Self {
            numerator: numerator.parse().ok()?,
            denominator: denominator.parse().ok()?,
        };
        (rate.numerator > 0 && rate.denominator > 0).then_some(rate)
    }

    pub fn value(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.numerator, self.denominator)
    }
}

/// Describes the first video stream of `path`; `demuxer` is ffmpeg's name for the container.
pub(super) fn stream(ffmpeg: &Path, path: &Path, demuxer: &str) -> Result<Stream, VideoError> {
    let ffprobe = ffmpeg.with_file_name(format!("ffprobe{}", env::consts::EXE_SUFFIX));
    let (program, arguments): (_, &[&str]) = if ffprobe.is_file() {
        (
            ffprobe.as_path(),
            &[
                "-v",
                "error",
                "-select_streams",
                "v:0",
                "-show_streams",
                "-show_format",
                "-of",
                "json",
            ],
        )
    } else {
        // Without an output ffmpeg describes the input, then fails.
        (ffmpeg, &["-nostdin", "-hide_banner"])
    };
    let mut command = Command::new(program);
    command.args(arguments);
    input(&mut command, path, demuxer);
    let (stdout, stderr) = Running::described(command, path)?;
    let described = String::from_utf8_lossy(&stderr);
    let stream = if ffprobe.is_file() {
        from_ffprobe(&stdout)
    } else {
        from_ffmpeg(&described)
    };
    // A container that claims a size which no picture has is not believed in the rest either,
    // whatever size its pictures turn out to be.
    let absurd = described.contains("Picture size") && described.contains("is invalid");
    stream.filter(|_| !absurd).ok_or_else(|| {
        let problem = format!(
            "no video stream with a size and a rate was found in it as a {demuxer} file; {} said: \
                {}",
            program.display(),
            tidy(&described)
        );
        VideoError::unreadable(path, problem)
    })
}

fn from_ffprobe(json: &[u8]) -> Option<Stream> {
    let described: Value = serde_json::from_slice(json).ok()?;
    let stream = described.get("streams")?.get(0)?;
    let side = |name| {
        stream
            .get(name)?
            .as_u64()
            .and_then(|side| u32::try_from(side).ok())
    };
    let rate = |name| Rate::parse(stream.get(name)?.as_str()?);
    let seconds = |part: Option<&Value>| {
        part?
            .get("duration")?
            .as_str()?
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite())
    };
    let matrix = stream.get("color_space").and_then(Value::as_str);
    let turn = stream
        .get("side_data_list")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find_map(|data| data.get("rotation")?.as_f64()));
    Some(turned(
        Stream {
            width: side("width")?,
            height: side("height")?,
            rate: rate("avg_frame_rate").or_else(|| rate("r_frame_rate"))?,
            seconds: seconds(Some(stream)).or_else(|| seconds(described.get("format"))),
            names_matrix: matrix
                .is_some_and(|matrix| !matches!(matrix, "unknown" | "unspecified" | "reserved")),
        },
        turn,
    ))
}

/// From lines such as `Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv,
/// bt709), 64x48 [SAR 1:1 DAR 4:3], 35 kb/s, 23.98 fps, 24 tbr, 16k tbn` and `Duration:
/// 00:00:02.13, start: 0.000000, bitrate: 44 kb/s`.
fn from_ffmpeg(described: &str) -> Option<Stream> {
    let mut lines = described.lines().map(str::trim);
    let line = lines
        .clone()
        .find(|line| line.starts_with("Stream #") && line.contains(": Video: "))?;
    let (width, height) = line.split([' ', ',']).find_map(|word| {
        let (width, height) = word.split_once('x')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    })?;
    let before = |unit: &str| {
        line.split(", ")
            .find_map(|part| part.strip_suffix(unit)?.trim().parse::<f64>().ok())
    };
    let rounded = before(" fps")
        .or_else(|| before(" tbr"))
        .filter(|&rate| rate > 0.0)?;
    // Two decimals are printed: the television rates are told apart by their fraction.
    let exact = [24.0, 30.0, 48.0, 60.0, 120.0]
        .into_iter()
        .map(|whole| whole * 1000.0 / 1001.0)
        .find(|rate| (rate - rounded).abs() < 0.006);
    let seconds = lines
        .clone()
        .find_map(|line| clock(line.strip_prefix("Duration: ")?.split(',').next()?));
    let turn = lines.find_map(|line| {
        line.strip_prefix("displaymatrix: rotation of ")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    // Such as `yuv420p(tv, bt709)`, `yuv420p(bt470bg/unknown/unknown)`: the first name after the
    // range, if any.
    let names_matrix = [
        "bt709",
        "bt470bg",
        "smpte170m",
        "smpte240m",
        "fcc",
        "bt2020nc",
        "bt2020c",
        "gbr",
        "ycgco",
    ]
    .iter()
    .any(|name| line.contains(&format!("({name}")) || line.contains(&format!(", {name}")));
    let rate = Rate::from_f64(exact.unwrap_or(rounded));
    Some(turned(
        Stream {
            width,
            height,
            rate,
            seconds,
            names_matrix,
        },
        turn,
    ))
}

/// `HH:MM:SS.ss` in seconds.
fn clock(text: &str) -> Option<f64> {
    let mut parts = text.trim().split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}

/// ffmpeg turns pictures upright while decoding: a quarter turn swaps the sides.
fn turned(stream: Stream, degrees: Option<f64>) -> Stream {
    let quarters = (degrees.unwrap_or(0.0) / 90.0).round() as i64;
    if quarters % 2 == 0 {
        stream
    } else {
        Stream {
            width: stream.height,
            height: stream.width,
            ..stream
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(numerator: u64, denominator: u64) -> Rate {
        Rate {
            numerator,
            denominator,
        }
    }

    #[test]
    fn rates_become_the_simplest_fraction() {
        assert_eq!(Rate::from_f64(8.0), rate(8, 1));
        assert_eq!(Rate::from_f64(12.5), rate(25, 2));
        assert_eq!(Rate::from_f64(24000.0 / 1001.0), rate(24000, 1001));
        assert!((Rate::from_f64(std::f64::consts::PI).value() - std::f64::consts::PI).abs() < 1e-6);
        assert_eq!(Rate::parse("30000/1001"), Some(rate(30000, 1001)));
        assert_eq!(Rate::parse("0/0"), None);
    }

    #[test]
    fn ffmpegs_description_is_understood() {
        let described = "Input #0, mov, from 'x.mp4':\n  Metadata:\n    title : Stream of Video: \
            9x9\n  Duration: 00:01:02.13, start: 0.0, bitrate: 44 kb/s\n  Stream #0:0[0x1](und): \
            Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz\n  Stream #0:1[0x2](und): Video: h264 \
            (High) (avc1 / 0x31637661), yuv420p(tv, bt709), 64x48 [SAR 1:1 DAR 4:3], 35 kb/s, \
            23.98 fps, 24 tbr, 16k tbn (default)\n    Side data:\n      displaymatrix: rotation of \
            -90.00 degrees\nAt least one output file must be specified\n";
        let stream = from_ffmpeg(described).unwrap();
        assert_eq!(
            stream,
            Stream {
                width: 48,
                height: 64,
                rate: rate(24000, 1001),
                seconds: Some(62.13),
                names_matrix: true
            }
        );
        let whole = described
            .replace("23.98 fps", "24 fps")
            .replace("-90.00", "180.00")
            .replace("00:01:02.13", "N/A");
        assert_eq!(
            from_ffmpeg(&whole).unwrap(),
            Stream {
                width: 64,
                height: 48,
                rate: rate(24, 1),
                seconds: None,
                names_matrix: true
            }
        );
        assert_eq!(from_ffmpeg("x.mp4: Invalid data found"), None);
    }

    #[test]
    fn ffprobes_description_is_understood() {
        let json = r#"{"streams": [{"width": 64, "height": 48, "avg_frame_rate": "0/0",
            "r_frame_rate": "25/2", "side_data_list": [{"x": 1}, {"rotation": -90}]}],
            "format": {"duration": "2.500000"}}"#;
        assert_eq!(
            from_ffprobe(json.as_bytes()).unwrap(),
            Stream {
                width: 48,
                height: 64,
                rate: rate(25, 2),
                seconds: Some(2.5),
                names_matrix: false
            }
        );
        assert_eq!(from_ffprobe(br#"{"streams": []}"#), None);
        assert_eq!(from_ffprobe(b""), None);
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
        assert_eq!(
            (with.width, with.height, with.rate),
            (without.width, without.height, without.rate)
        );
        assert_eq!(without.rate, rate(24000, 1001));
        assert!((with.seconds.unwrap() - without.seconds.unwrap()).abs() < 0.011);
    }
}
