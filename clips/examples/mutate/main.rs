//! Damages files of every kind that this crate reads, and reads them: `mutate COUNT SEED [DIR]`.
//!
//! Counts readers that panic, that take more than 512 MiB or more than 2 s; the files are kept in
//! DIR. Deterministic: the same count and seed damage the same files in the same way.

mod damage;
mod seeds;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use afd_clips::{layouts::Layout, manifest::Manifest, prompts::read_prompts, video_io};
use peak_alloc::PeakAlloc;

use damage::{Random, damaged};
use seeds::{Kind, Seed};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a reader may take.
const MOST_BYTES: usize = 512 << 20;
const MOST_TIME: Duration = Duration::from_secs(2);

/// Panics that were printed, that is, that nobody expected.
static PANICS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Tally {
    files: u64,
    read: u64,
    panics: u64,
    large: u64,
    slow: u64,
    most_bytes: usize,
    most_time: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |fallback: u64| -> Result<u64, std::num::ParseIntError> {
        arguments.next().map_or(Ok(fallback), |text| text.parse())
    };
    let (count, seed) = (number(1000)?, number(1)?);
    let kept = arguments.next().map(PathBuf::from);
    if let Some(kept) = &kept {
        fs::create_dir_all(kept)?;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    };
    let seeds = seeds::all()?;
    let directory = folder.path().join("clips");
    for seed in &seeds {
        let file = placed(&directory, seed, &seed.bytes)?;
        if !read(&directory, &file, seed.kind) {
            return Err(format!("{} cannot be read even whole", seed.name).into());
        }
        fs::remove_dir_all(&directory)?;
    }
    let mut random = Random::new(seed);
    let mut tallies = BTreeMap::<&str, Tally>::new();
    for index in 0..count {
        let seed = &seeds[random.below(seeds.len())];
        let bytes = damaged(seed, &seeds, &mut random);
        let file = placed(&directory, seed, &bytes)?;
        let tally = tallies.entry(seed.name).or_default();
        let found = tried(tally, &directory, &file, seed.kind);
        if let Some(found) = found {
            println!("{index}: {} {found}", seed.name);
            if let Some(kept) = &kept {
                fs::write(kept.join(format!("{index}-{}", seed.name)), &bytes)?;
            }
        }
        fs::remove_dir_all(&directory)?;
    }
    println!("file                    files      read  panics  >512MiB  >2s  most MiB  most s");
    let mut faults = 0;
    for (name, tally) in &tallies {
        println!(
            "{name:<20} {:>8} {:>9} {:>7} {:>8} {:>4} {:>9.1} {:>7.3}",
            tally.files,
            tally.read,
            tally.panics,
            tally.large,
            tally.slow,
            tally.most_bytes as f64 / f64::from(1 << 20),
            tally.most_time.as_secs_f64()
        );
        faults += tally.panics + tally.large + tally.slow;
    }
    println!("{count} files, {faults} faults");
    match faults {
        0 => Ok(()),
        faults => Err(format!("{faults} faults").into()),
    }
}

/// Puts a file where its reader looks for it, beside what it refers to.
fn placed(directory: &Path, seed: &Seed, bytes: &[u8]) -> std::io::Result<PathBuf> {
    fs::create_dir(directory)?;
    let file = directory.join(seed.name);
    if seed.kind == Kind::Frames {
        let frames = directory.join("a.frames");
        fs::create_dir(&frames)?;
        for (name, bytes) in &seed.beside {
            fs::write(frames.join(name), bytes)?;
        }
        fs::write(frames.join(seed.name), bytes)?;
        return Ok(frames);
    }
    for (name, bytes) in &seed.beside {
        fs::write(directory.join(name), bytes)?;
    }
    fs::write(&file, bytes)?;
    Ok(file)
}

/// Reads a file; says what was wrong with that.
fn tried(tally: &mut Tally, directory: &Path, file: &Path, kind: Kind) -> Option<String> {
    let (panics, start) = (PANICS.load(Ordering::Relaxed), Instant::now());
    let held = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = catch_unwind(AssertUnwindSafe(|| read(directory, file, kind)));
    let time = start.elapsed();
    let bytes = MEMORY.peak_usage().saturating_sub(held);
    let panicked = read.is_err() || PANICS.load(Ordering::Relaxed) > panics;
    tally.files += 1;
    tally.read += u64::from(read.unwrap_or(false));
    tally.most_bytes = tally.most_bytes.max(bytes);
    tally.most_time = tally.most_time.max(time);
    tally.panics += u64::from(panicked);
    tally.large += u64::from(bytes > MOST_BYTES);
    tally.slow += u64::from(time > MOST_TIME);
    let faults = [
        panicked.then(|| "panicked".to_string()),
        (bytes > MOST_BYTES).then(|| format!("took {bytes} bytes")),
        (time > MOST_TIME).then(|| format!("took {time:?}")),
    ];
    faults
        .into_iter()
        .flatten()
        .reduce(|all, one| format!("{all}, {one}"))
}

/// Whether anything came of it.
fn read(directory: &Path, file: &Path, kind: Kind) -> bool {
    match kind {
        Kind::Video | Kind::Frames => video_io::decode_video(file, &mut |_, _| {}).is_ok(),
        Kind::Prompts => read_prompts(file).is_ok(),
        Kind::Folder(layout) => {
            let manifest = Manifest::read(directory);
            let mut good = manifest.is_ok();
            // As a check does it, without a frame more in memory.
            let list = layout.list(directory, &mut |listed| {
                if let Ok(entry) = listed {
                    let _ = entry.place.stamp(directory);
                    good |= entry.place.decode(directory, &mut |_, _| {}).is_ok();
                }
                true
            });
            let _ = Layout::detect(directory);
            good && list.is_ok()
        }
    }
}
