//! The report's files.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    benchmark::{Benchmark, Run, State},
    check::BenchmarkError,
    html::{self, PreviewError, Previews},
    markdown::markdown,
    plot::PlotError,
    summary::Summary,
};

/// Larger pictures are left out of the page.
const MOST_PREVIEW_BYTES: u64 = 4 << 20;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The benchmark does not hold together.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The file system refused.
    #[error("cannot write {path}: {source}; choose another directory, or make room")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// The tables.
    pub markdown: PathBuf,
    /// One line per run and metric.
    pub runs_csv: PathBuf,
    /// Means, intervals and comparisons: [`Summary`] as JSON.
    pub summary_json: PathBuf,
    /// The benchmark itself as JSON, from which the report can be written again.
    pub benchmark_json: PathBuf,
    /// Pictures that could not be shown, with the reason.
    pub missing_previews: Vec<String>,
}

impl Benchmark {
    /// Writes `report.html`, `report.md`, `runs.csv`, `summary.json` and `benchmark.json` into
    /// `directory`, which is made if need be; pictures are read relative to `previews`. An earlier
    /// report there is replaced file by file, each only when its successor is complete.
    ///
    /// # Errors
    /// [`WriteError::Benchmark`] before anything is written; [`WriteError::File`] when the disk
    /// refuses. A picture that cannot be read is no error: the page says so in its place.
    pub fn write(&self, directory: &Path, previews: &Path) -> Result<Written, WriteError> {
        self.check()?;
        let summary = Summary::of(self);
        let pictures = read_previews(self, previews);
        let page = html::page(self, &summary, &pictures)?;
        std::fs::create_dir_all(directory).map_err(|source| WriteError::File {
            path: directory.display().to_string(),
            source,
        })?;
        let missing = pictures.iter().filter_map(|(path, found)| {
            found
                .as_ref()
                .err()
                .map(|reason| format!("{path}: {reason}"))
        });
        Ok(Written {
            html: replace(directory.join("report.html"), page.as_bytes())?,
            markdown: replace(
                directory.join("report.md"),
                markdown(self, &summary).as_bytes(),
            )?,
            runs_csv: write_csv(self, directory.join("runs.csv"))?,
            summary_json: write_json(
                serde_json::to_string(&summary),
                directory.join("summary.json"),
            )?,
            benchmark_json: write_json(
                serde_json::to_string(self),
                directory.join("benchmark.json"),
            )?,
            missing_previews: missing.collect(),
        })
    }
}

fn read_previews(benchmark: &Benchmark, base: &Path) -> Previews {
    let paths = benchmark
        .runs
        .iter()
        .flat_map(|run| &run.previews)
        .map(|preview| preview.path.clone());
    paths
        .map(|path| (path.clone(), read_preview(&base.join(&path))))
        .collect()
}

/// A GIF or PNG as a `data:` address.
fn read_preview(path: &Path) -> Result<String, PreviewError> {
    let path = || path.to_path_buf();
    let file = std::fs::File::open(path()).map_err(|source| PreviewError::Open {
        path: path(),
        source,
    })?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_PREVIEW_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| PreviewError::Read {
        path: path(),
        source,
    })?;
    if bytes.len() as u64 > MOST_PREVIEW_BYTES {
        return Err(PreviewError::Large {
            path: path(),
            most: MOST_PREVIEW_BYTES >> 20,
        });
    }
    let kind = match &bytes[..] {
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [0x89, b'P', b'N', b'G', ..] => "png",
        _ => return Err(PreviewError::Kind { path: path() }),
    };
    Ok(format!(
        "data:image/{kind};base64,{}",
        STANDARD.encode(bytes)
    ))
}

/// Puts a file in place of an earlier one, or leaves that alone.
fn replace(path: PathBuf, content: &[u8]) -> Result<PathBuf, WriteError> {
    let failed = |source| WriteError::File {
        path: path.display().to_string(),
        source,
    };
    let mut staged =
        tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    staged
        .write_all(content)
        .and_then(|()| staged.as_file().sync_all())
        .map_err(failed)?;
    readable_by_all(staged.path()).map_err(failed)?;
    staged.persist(&path).map_err(|error| failed(error.error))?;
    Ok(path)
}

/// Temporary files are private, reports are not.
#[cfg(unix)]
fn readable_by_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn write_json(
    text: Result<String, serde_json::Error>,
    path: PathBuf,
) -> Result<PathBuf, WriteError> {
    let text = text.map_err(|error| WriteError::File {
        path: path.display().to_string(),
        source: error.into(),
    })?;
    replace(path, (text + "\n").as_bytes())
}

/// One line per run and metric; a run without values has one line too.
fn write_csv(benchmark: &Benchmark, path: PathBuf) -> Result<PathBuf, WriteError> {
    let written = csv_lines(benchmark).map_err(|error| WriteError::File {
        path: path.display().to_string(),
        source: error.into(),
    })?;
    replace(path, &written)
}

fn csv_lines(benchmark: &Benchmark) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "method",
        "family",
        "regime",
        "seed",
        "state",
        "reason",
        "metric",
        "value",
        "student_forward_backward",
        "student_rollouts",
        "discriminator_forward_backward",
        "teacher_clips",
        "wall_seconds",
        "directory",
        "command",
        "commit",
    ])?;
    for run in &benchmark.runs {
        for (metric, value) in &run.values {
            writer.write_record(csv_line(benchmark, run, metric, *value))?;
        }
        if run.values.is_empty() {
            writer.write_record(csv_line(benchmark, run, "", None))?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

fn csv_line(benchmark: &Benchmark, run: &Run, metric: &str, value: Option<f64>) -> [String; 16] {
    let (state, reason) = match &run.state {
        State::Done => ("done", ""),
        State::Failed(reason) => ("failed", &**reason),
        State::Missing(reason) => ("missing", &**reason),
    };
    let cost = &run.cost;
    [
        run.method.clone(),
        run.family.clone(),
        run.regime.clone().unwrap_or_default(),
        run.seed.map_or(String::new(), |seed| seed.to_string()),
        state.into(),
        reason.into(),
        metric.into(),
        value.map_or(String::new(), |value| value.to_string()),
        cost.student_forward_backward.to_string(),
        cost.student_rollouts.to_string(),
        cost.discriminator_forward_backward.to_string(),
        cost.teacher_clips.to_string(),
        cost.wall_seconds.to_string(),
        run.directory.clone(),
        run.command.clone(),
        benchmark.commit_of(run).unwrap_or_default().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn the_benchmark_reads_back_from_what_was_written() {
        let (out, benchmark) = (tempfile::tempdir().unwrap(), small());
        let written = benchmark
            .write(&out.path().join("a/b"), out.path())
            .unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(
            serde_json::from_str::<Benchmark>(&read(&written.benchmark_json)).unwrap(),
            benchmark
        );
        assert_eq!(
            serde_json::from_str::<Summary>(&read(&written.summary_json)).unwrap(),
            Summary::of(&benchmark)
        );
        assert!(
            read(&written.html).starts_with("<!DOCTYPE html>")
                && read(&written.markdown).starts_with("# A small made-up")
        );
        let again = benchmark
            .write(&out.path().join("a/b"), out.path())
            .unwrap();
        assert_eq!(
            (read(&again.html), again),
            (read(&written.html), written),
            "the same bytes again"
        );
    }

    #[test]
    fn every_value_of_every_run_is_in_the_csv() {
        let benchmark = small();
        let bytes = csv_lines(&benchmark).unwrap();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        let expected: usize = benchmark
            .runs
            .iter()
            .map(|run| run.values.len().max(1))
            .sum();
        assert_eq!(records.len(), expected);
        let missing = records
            .iter()
            .find(|record| &record[4] == "missing")
            .unwrap();
        assert_eq!(
            (&missing[0], &missing[3], &missing[5], &missing[7]),
            ("gan", "2", "stopped before", "")
        );
    }

    #[test]
    fn pictures_are_inside_the_page_and_unreadable_ones_are_named() {
        let (out, benchmark) = (tempfile::tempdir().unwrap(), small());
        std::fs::write(out.path().join("afd-chunk-200-0.gif"), b"GIF89a and so on").unwrap();
        std::fs::write(out.path().join("sft-chunk-200-0.gif"), b"<svg/>").unwrap();
        let written = benchmark.write(out.path(), out.path()).unwrap();
        let page = std::fs::read_to_string(&written.html).unwrap();
        assert!(page.contains("src=\"data:image/gif;base64,R0lGODlhIGFuZCBzbyBvbg==\""));
        assert!(
            written
                .missing_previews
                .iter()
                .any(|line| line.ends_with("sft-chunk-200-0.gif is neither GIF nor PNG"))
        );
        assert!(
            page.contains("sft-chunk-200-0.gif is neither GIF nor PNG")
                && page.contains("cannot open")
        );
    }

    #[test]
    fn a_benchmark_that_does_not_hold_together_replaces_nothing() {
        let (out, mut benchmark) = (tempfile::tempdir().unwrap(), small());
        benchmark.write(out.path(), out.path()).unwrap();
        benchmark.runs[3].method = "nobody".into();
        let before = std::fs::read(out.path().join("report.html")).unwrap();
        assert!(matches!(
            benchmark.write(out.path(), out.path()),
            Err(WriteError::Benchmark(_))
        ));
        assert_eq!(
            std::fs::read(out.path().join("report.html")).unwrap(),
            before
        );
        let blocked = WriteError::File {
            path: String::new(),
            source: std::io::Error::other(""),
        };
        let found = small()
            .write(&out.path().join("report.md"), out.path())
            .unwrap_err();
        assert_eq!(
            std::mem::discriminant(&found),
            std::mem::discriminant(&blocked),
            "{found}"
        );
    }
}
