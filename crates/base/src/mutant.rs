//! Planted bugs. `planted!("name", right, wrong)` is `right`, unless the build has `--cfg mutants` and that mutant is awake.
//!
//! One mutants build serves all: the simulator wakes one by name and must find it. A release contains none, which
//! `cargo xtask ci` checks by looking for a mark in the binary.

/// `right`, or `wrong` where the named bug is awake in a build with `--cfg mutants`.
#[macro_export]
macro_rules! planted {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {{
        #[cfg(mutants)]
        let value = if $crate::mutant::awake($name) { $wrong } else { $right };
        #[cfg(not(mutants))]
        let value = $right;
        value
    }};
}

#[cfg(mutants)]
mod state {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AWAKE: OnceLock<String> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// By this text `cargo xtask ci` tells such a build from a release.
    #[used]
    static MARK: [u8; 32] = *b"this build contains planted bugs";

    /// Wakes one mutant for the rest of the process.
    ///
    /// # Panics
    /// When called twice with different names.
    pub fn wake(name: &str) {
        let awake = AWAKE.get_or_init(|| name.to_owned());
        assert_eq!(awake, name, "one mutant a process");
    }

    /// Whether this mutant is awake; counts how often it was asked for.
    pub fn awake(name: &str) -> bool {
        let awake = AWAKE.get().is_some_and(|it| it == name);
        if awake {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        awake
    }

    /// How often the awake mutant's place in the code was passed: 0 says that the workload never got there.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }
}

#[cfg(mutants)]
pub use state::{awake, reached, wake};
