//! Rules that a test breaks, to see that they are missed.

use std::cell::Cell;

thread_local! {
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

/// Whether the rule of that name is broken for now, in this thread.
pub(crate) fn is_broken(name: &str) -> bool {
    BROKEN.get() == name
}

/// Runs with one rule broken, or none where the name is empty.
pub(super) fn without<T>(rule: &'static str, run: impl FnOnce() -> T) -> T {
    BROKEN.set(rule);
    let result = run();
    BROKEN.set("");
    result
}
