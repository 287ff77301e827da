//! A reader that panics is caught, and prints nothing of its own: the only test of its process, for
//! what panics print is the whole process's.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use afd_clips::layouts::Layout;

static PRINTED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_parquet_file_that_its_reader_gives_up_on_is_one_sentence() {
    std::panic::set_hook(Box::new(|_| _ = PRINTED.fetch_add(1, Ordering::SeqCst)));
    let folder = tempfile::tempdir().unwrap();
    let fixture = "tests/fixtures/parquet-panic-00027.parquet";
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture),
        folder.path().join("x.parquet"),
    )
    .unwrap();
    let mut problems = Vec::new();
    Layout::Parquet
        .list(folder.path(), &mut |listed| {
            let decoded = listed.map(|entry| entry.place.decode(folder.path(), &mut |_, _| {}));
            problems.push(match decoded {
                Ok(decoded) => decoded.err().map(|error| error.to_string()),
                Err(problem) => Some(format!("{}: {}", problem.file, problem.problem)),
            });
            true
        })
        .unwrap();
    assert!(problems.iter().any(Option::is_some), "{problems:?}");
    assert_eq!(PRINTED.load(Ordering::SeqCst), 0);
    // Panics of the program itself are still told.
    assert!(std::thread::spawn(|| panic!("a mistake")).join().is_err());
    assert_eq!(PRINTED.load(Ordering::SeqCst), 1);
}
