//! What only a real process has: its runtime, its log, the real world and the real bucket.

use super::CommandError;
use super::place::file_in_the_way;
use crate::config::StorageTarget;
use std::io::IsTerminal;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use world::{ObjectStore, OpenError, World};

/// Worker threads at the most: connections are many and cheap, and a broker's work is waiting.
const WORKERS_MAX: usize = 8;

/// Filters the log, such as `debug` or `info,stream=trace`.
const LOG_VARIABLE: &str = "MILLSTREAM_LOG";

/// The log goes to standard error: what is of that level, unless somebody wants it otherwise. What standard error does not take, as its
/// disk is full or its reader gone, is lost: a broker serves on.
pub(super) fn log_to_stderr(level: &str) -> Result<(), CommandError> {
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| level.to_owned());
    let filter = filter(&wanted).map_err(|why| CommandError::wrong(format!("{LOG_VARIABLE}={wanted}: {why}")))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // Else it tells of a line that standard error did not take on standard error, with a panic where that fails, too.
        .log_internal_errors(false)
        .init();
    Ok(())
}

/// A word alone is a level. The filter itself takes any other word for a module's name and is silent about everything else, so
/// that a level that is misspelt would be an empty log.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let mut alone = text.split(',').filter(|word| !word.is_empty() && !word.contains(['=', '[', ']']));
    match alone.find(|word| !is_level(word)) {
        Some(word) => {
            Err(format!("{word} is no level: write off, error, warn, info, debug or trace, or MODULE=LEVEL for a part"))
        }
        None => EnvFilter::try_new(text).map_err(|error| error.to_string()),
    }
}

/// The runtime of one process.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed(format!("start threads: {error}")))
}

/// Its worker threads.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(WORKERS_MAX)
}

/// The bucket.
pub(super) async fn object_store(world: &World, target: &StorageTarget) -> Result<Arc<dyn ObjectStore>, CommandError> {
    world::open_store(&target.url(), world).await.map_err(|error| not_opened(target, error))
}

fn not_opened(target: &StorageTarget, error: OpenError) -> CommandError {
    match error {
        OpenError::Url(line) => CommandError::wrong(format!("--storage: {line}")),
        OpenError::Store(error) => CommandError::failed(format!("--storage {target}: {error}")),
    }
}

/// A bucket to look at: a folder that is not there is an error, not a new bucket, and one that is there need not be writable.
pub(super) async fn existing_object_store(
    world: &World,
    target: &StorageTarget,
) -> Result<Arc<dyn ObjectStore>, CommandError> {
    match target {
        StorageTarget::Folder(dir) if !dir.is_dir() => Err(match file_in_the_way(dir) {
            Some(file) => CommandError::wrong(format!("--storage {target}: {} is no folder", file.display())),
            None => CommandError::failed(format!("--storage {target}: no such folder")),
        }),
        StorageTarget::Folder(_) | StorageTarget::Cloud(_) => {
            world::open_store_to_read(&target.url(), world).await.map_err(|error| not_opened(target, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused() {
        for good in ["info", "DEBUG", "off", "info,stream=trace", "[request{api=1}]=debug", ""] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["inof", "info,stream", "stream=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
