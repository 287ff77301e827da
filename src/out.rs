//! Standard output that a closed pipe ends quietly: `afd inspect FILE | head` is no failure.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Writes one line, as `println!` does.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::out::line(format_args!($($argument)*))
    };
}
pub(crate) use say;

/// Writes one line to standard output. Ends the program where nobody reads on.
pub fn line(text: Arguments<'_>) {
    let result = writeln!(std::io::stdout().lock(), "{text}");
    if let Err(error) = result {
        let closed = error.kind() == ErrorKind::BrokenPipe;
        if !closed {
            eprintln!("afd: cannot write to standard output: {error}");
        }
        std::process::exit(i32::from(!closed));
    }
}
