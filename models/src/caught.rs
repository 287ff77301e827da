//! Panics of other people's code as errors, without a word on the terminal.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// What `work` gives, or what it panicked with. What `work` changes may be half done then: use
/// nothing of it afterwards.
///
/// # Errors
/// The words of the panic, which is not printed.
pub fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    // A hook is the process's: one that is silent on this thread alone, and only now.
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|words| words.to_string()))
        .unwrap_or_else(|| "no reason was given".to_string())
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(caught(|| 3), Ok(3));
        let nothing: Vec<u8> = Vec::new();
        let words = caught(|| nothing[nothing.len()]).unwrap_err();
        assert!(words.contains("index out of bounds"), "{words}");
    }
}
