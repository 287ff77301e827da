//! How a path is read: by its kind, its name and its first bytes.

use std::{
    fs::{File, FileType},
    io::Read,
    path::Path,
};

use super::{VideoError, animation::Animation, extension};

/// How a path is read.
pub(super) enum Source {
    Frames,
    Animation(Animation),
    /// With ffmpeg's name for the container. Naming it keeps ffmpeg from guessing, and so from
    /// following a playlist that calls itself a video to other files.
    Ffmpeg(&'static str),
}

impl Source {
    pub fn of(path: &Path) -> Result<Self, VideoError> {
        let error = VideoError::io("read", path);
        let kind = path.metadata().map_err(error)?;
        if kind.is_dir() {
            return Ok(Self::Frames);
        }
        if !kind.is_file() {
            let problem = format!(
                "it is {}; expected an ordinary file or a directory of frames",
                special(kind.file_type())
            );
            return Err(VideoError::unreadable(path, problem));
        }
        let source = match extension(path).as_str() {
            "gif" => Self::Animation(Animation::Gif),
            "webp" => Self::Animation(Animation::WebP),
            "apng" | "png" => Self::Animation(Animation::Apng),
            "mp4" | "m4v" | "mov" | "3gp" => Self::Ffmpeg("mov"),
            "webm" | "mkv" => Self::Ffmpeg("matroska"),
            "avi" => Self::Ffmpeg("avi"),
            "mpg" | "mpeg" | "vob" => Self::Ffmpeg("mpeg"),
            "ts" | "mts" | "m2ts" => Self::Ffmpeg("mpegts"),
            "wmv" | "asf" => Self::Ffmpeg("asf"),
            "flv" => Self::Ffmpeg("flv"),
            "ogv" => Self::Ffmpeg("ogg"),
            found => {
                return Err(VideoError::Format {
                    path: path.to_path_buf(),
                    found: found.to_string(),
                    expected: "a file ending in .mp4, .mov, .webm, .mkv, .avi, .mpg, .ts, .wmv, \
                        .flv, .ogv, .gif, .webp or .apng, or a directory of PNG or JPEG frames",
                });
            }
        };
        let mut start = Vec::new();
        File::open(path)
            .map_err(error)?
            .take(12)
            .read_to_end(&mut start)
            .map_err(error)?;
        match source.contradiction(&start) {
            Some(problem) => Err(VideoError::unreadable(path, problem)),
            None => Ok(source),
        }
    }

    /// What is wrong with a file of this kind that starts with these (up to 12) bytes.
    fn contradiction(&self, start: &[u8]) -> Option<String> {
        if start.is_empty() {
            return Some("it is empty".to_string());
        }
        let expected = match self {
            Self::Frames => return None,
            Self::Animation(Animation::Gif) => "a GIF",
            Self::Animation(Animation::WebP) => "a WebP",
            Self::Animation(Animation::Apng) => "a PNG",
            Self::Ffmpeg("mov") => "an MP4 or MOV",
            Self::Ffmpeg("avi") => "an AVI",
            Self::Ffmpeg("mpeg") => "an MPEG program stream",
            Self::Ffmpeg("mpegts") => "an MPEG transport stream",
            Self::Ffmpeg("asf") => "a WMV",
            Self::Ffmpeg("flv") => "an FLV",
            Self::Ffmpeg("ogg") => "an Ogg file",
            Self::Ffmpeg(_) => "a WebM or Matroska file",
        };
        let found = match start {
            [b'G', b'I', b'F', b'8', ..] => "a GIF",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => "a WebP",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => "an AVI",
            [0x89, b'P', b'N', b'G', ..] => "a PNG",
            [0xff, 0xd8, 0xff, ..] => "a JPEG",
            [0x1a, 0x45, 0xdf, 0xa3, ..] => "a WebM or Matroska file",
            [0, 0, 1, 0xba, ..] => "an MPEG program stream",
            [0x30, 0x26, 0xb2, 0x75, ..] => "a WMV",
            [b'F', b'L', b'V', ..] => "an FLV",
            [b'O', b'g', b'g', b'S', ..] => "an Ogg file",
            // A packet, or four bytes of a time and a packet.
            [0x47, ..] | [_, _, _, _, 0x47, ..] => "an MPEG transport stream",
            [_, _, _, _, kind @ ..] if QUICKTIME.iter().any(|known| kind.starts_with(known)) => {
                "an MP4 or MOV"
            }
            _ => "of no known kind",
        };
        (found != expected)
            .then(|| format!("its name says {expected}, its first bytes say that it is {found}"))
    }
}

/// What an MP4 or MOV may begin with, after four bytes of length.
const QUICKTIME: [&[u8]; 7] = [
    b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot",
];

/// What a path that is neither file nor directory is.
fn special(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        for (is, name) in [
            (kind.is_fifo(), "a pipe"),
            (kind.is_socket(), "a socket"),
            (kind.is_char_device() || kind.is_block_device(), "a device"),
        ] {
            if is {
                return name;
            }
        }
    }
    let _ = kind;
    "no file"
}
