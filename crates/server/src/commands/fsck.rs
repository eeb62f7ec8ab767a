//! `millstream fsck`: prints what [`crate::fsck`] finds. Ends with code 1 where anything is wrong.

use super::{CommandError, outside};
use crate::args::StorageArgs;
use crate::fsck;
use world::World;

/// Prints what is worth knowing, then what is wrong.
///
/// # Errors
/// The bucket can't be read, or something is wrong in it.
#[expect(clippy::print_stdout, reason = "the command's answer")]
pub fn run(storage: &StorageArgs, deep: bool) -> Result<(), CommandError> {
    let target = storage.target()?;
    let report = outside::runtime()?.block_on(async {
        let objects = outside::existing_object_store(&World::system(), &target).await?;
        fsck::check(objects.as_ref(), deep).await.map_err(|line| CommandError::failed(format!("--storage {target}: {line}")))
    })?;
    for note in &report.notes {
        println!("{note}");
    }
    for problem in &report.problems {
        println!("PROBLEM: {problem}");
    }
    match report.problems.len() {
        0 => {
            println!("sound");
            Ok(())
        }
        count => Err(CommandError::failed(format!("--storage {target}: {count} problems"))),
    }
}
