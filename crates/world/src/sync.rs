//! The one way in which a mutex is locked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard, whether or not a holder panicked: with `panic = "abort"` none has, and a simulated process that did is dropped whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
