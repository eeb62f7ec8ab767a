//! `millstream inspect`: what a data object, a write-ahead log or the ledger holds, for people and scripts.

use super::CommandError;
use crate::args::Inspect;

/// Prints it.
///
/// # Errors
/// It is not there or can't be read.
pub fn run(_what: Inspect) -> Result<(), CommandError> {
    Ok(())
}
