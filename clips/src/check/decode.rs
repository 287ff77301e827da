//! Decoding the clips of a batch, several at a time.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{journal::Record, look::Looking};
use crate::{layouts::Entry, video_io::VideoError};

/// A clip that was decoded, or that cannot be.
pub(super) struct Looked {
    pub record: Record,
    /// Whether another try would end the same.
    pub is_lasting: bool,
}

/// Decodes clips at the same time; results come in the order of `entries`, and stop at the first
/// error that is not a clip's.
pub(super) fn looked_at(
    directory: &Path,
    entries: &[(usize, &Entry)],
    threads: usize,
) -> Vec<(usize, Result<Looked, VideoError>)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, entry)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*index, look_at(directory, entry)));
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, entries.len().max(1)))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done
}

/// Whether the manifest names other bytes than are there now. What cannot be read is said where it
/// is decoded.
fn replaced(directory: &Path, entry: &Entry) -> Option<String> {
    let written = entry.blake3.as_ref()?;
    let found = entry.place.content(directory).ok()?;
    (found != *written).then(|| {
        "it is not the clip that was recorded: its bytes have another BLAKE3 than the manifest \
            names; put it back, or record into a new directory"
            .to_string()
    })
}

fn look_at(directory: &Path, entry: &Entry) -> Result<Looked, VideoError> {
    // Before the clip is read: a file that changes meanwhile is looked at again.
    let stamp = entry.place.stamp(directory).unwrap_or_default();
    let file = entry.place.to_string();
    if let Some(problem) = replaced(directory, entry) {
        let record = Record {
            file,
            stamp,
            look: None,
            problem: Some(problem),
        };
        return Ok(Looked {
            record,
            is_lasting: true,
        });
    }
    let mut looking = Looking::default();
    let decoded = entry
        .place
        .decode(directory, &mut |header, frame| looking.frame(header, frame));
    match decoded {
        Ok(header) => Ok(Looked {
            record: Record {
                file,
                stamp,
                look: Some(looking.finish(&header)),
                problem: None,
            },
            is_lasting: true,
        }),
        Err(error) if error.is_lasting() || matches!(error, VideoError::Slow { .. }) => {
            Ok(Looked {
                is_lasting: error.is_lasting(),
                record: Record {
                    file,
                    stamp,
                    look: None,
                    problem: Some(error.to_string()),
                },
            })
        }
        Err(error) => Err(error),
    }
}
