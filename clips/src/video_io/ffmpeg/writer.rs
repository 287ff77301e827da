//! MP4 out.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
};

use tempfile::NamedTempFile;

use super::{rate::Rate, require};
use crate::{
    stage,
    video::Video,
    video_io::{
        VideoError,
        child::Running,
        command::{command, file_url},
    },
};

/// Writes all of `video`; see [`Mp4Writer`].
pub(in crate::video_io) fn write(path: &Path, video: &Video) -> Result<(), VideoError> {
    let mut writer = Mp4Writer::create(path, video.width, video.height, video.frames_per_second)?;
    video.frames.iter().for_each(|frame| writer.push(frame));
    writer.finish()
}

/// An MP4 in the making: H.264 (libx264, constant rate factor 18), or MPEG-4 part 2 at quality 2
/// where ffmpeg has no libx264.
///
/// Both store colour at half size (yuv420p) and so need even sides. An odd side is made even by
/// repeating the last row or column, and the video reads back one pixel larger there. The file
/// appears when it is finished.
pub(in crate::video_io) struct Mp4Writer {
    running: Running,
    pipe: Option<io::BufWriter<ChildStdin>>,
    /// What the pipe said when it broke. ffmpeg's own reason, which comes at the end, is better
    /// than "broken pipe".
    broken: Option<io::Error>,
    staged: NamedTempFile,
    path: PathBuf,
    width: u32,
    height: u32,
}

impl Mp4Writer {
    pub(in crate::video_io) fn create(
        path: &Path,
        width: u32,
        height: u32,
        frames_per_second: f64,
    ) -> Result<Self, VideoError> {
        let ffmpeg = require("write", path)?;
        let encoders = Command::new(&ffmpeg)
            .args(["-hide_banner", "-encoders"])
            .stdin(Stdio::null())
            .output();
        let encoders = encoders.map_err(VideoError::io("write", path))?.stdout;
        let has_h264 = String::from_utf8_lossy(&encoders)
            .split_whitespace()
            .any(|word| word == "libx264");
        let codec: &[&str] = if has_h264 {
            &["-c:v", "libx264", "-crf", "18"]
        } else {
            &["-c:v", "mpeg4", "-q:v", "2"]
        };
        Self::with(&ffmpeg, codec, path, (width, height), frames_per_second)
    }

    /// The same with this program and these arguments that name the codec.
    pub(super) fn with(
        ffmpeg: &Path,
        codec: &[&str],
        path: &Path,
        (width, height): (u32, u32),
        frames_per_second: f64,
    ) -> Result<Self, VideoError> {
        let error = VideoError::unwritten(path);
        let size = format!(
            "{}x{}",
            u64::from(width).next_multiple_of(2),
            u64::from(height).next_multiple_of(2)
        );
        let rate = Rate::from_f64(frames_per_second);
        let staged = stage::file(path).map_err(error)?;
        let mut command = command(ffmpeg);
        command
            .args([
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-video_size",
                &size,
                "-framerate",
                &rate.to_string(),
            ])
            .args(["-i", "pipe:0", "-an"])
            .args(codec)
            // The colour conversion is written into the file, so that readers undo the same one.
            .args([
                "-vf",
                "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
                "-color_range",
                "tv",
            ])
            .args([
                "-colorspace",
                "bt709",
                "-color_primaries",
                "bt709",
                "-color_trc",
                "bt709",
            ])
            // The same video gives the same bytes; the index goes first, so that browsers can start
            // at once.
            .args([
                "-fflags",
                "+bitexact",
                "-flags:v",
                "+bitexact",
                "-movflags",
                "+faststart",
                "-f",
                "mp4",
                "-y",
            ])
            .arg(file_url(staged.path()));
        let mut running = Running::start(command, Stdio::piped(), Stdio::null()).map_err(error)?;
        let pipe = running
            .stdin()
            .map(|pipe| io::BufWriter::with_capacity(1 << 16, pipe));
        Ok(Self {
            running,
            pipe,
            broken: None,
            staged,
            path: path.to_path_buf(),
            width,
            height,
        })
    }

    /// The next frame, `height * width * 3` bytes. What goes wrong is said by
    /// [`Mp4Writer::finish`].
    pub(in crate::video_io) fn push(&mut self, frame: &[u8]) {
        let (width, height) = (self.width, self.height);
        if let (Some(pipe), None) = (&mut self.pipe, &self.broken) {
            self.broken = feed(pipe, frame, width, height).err();
        }
    }

    /// Waits for ffmpeg and gives the file its name.
    pub(in crate::video_io) fn finish(self) -> Result<(), VideoError> {
        let Self {
            running,
            pipe,
            broken,
            staged,
            path,
            ..
        } = self;
        let flushed = pipe.map_or(Ok(()), |mut pipe| pipe.flush());
        running
            .finish()
            .map_err(|problem| VideoError::unwritable(&path, problem))?;
        let error = VideoError::unwritten(&path);
        broken.map_or(flushed, Err).map_err(error)?;
        stage::publish_file(staged, &path).map_err(error)
    }
}

/// One frame, sides made even by repeating the last row or column.
fn feed(pipe: &mut impl Write, frame: &[u8], width: u32, height: u32) -> io::Result<()> {
    let row_bytes = width as usize * 3;
    let rows = frame.chunks_exact(row_bytes);
    let repeated = rows.clone().last().filter(|_| height % 2 == 1);
    for row in rows.chain(repeated) {
        pipe.write_all(row)?;
        if width % 2 == 1 {
            pipe.write_all(&row[row_bytes - 3..])?;
        }
    }
    Ok(())
}
