//! From the kernel's error numbers to the few kinds that callers act on.

use crate::disk::DiskError;
use rustix::io::Errno;
use std::path::Path;

/// The kind, with a message that says what was tried.
pub(super) fn explain(path: &Path, action: &str, errno: Errno) -> DiskError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => DiskError::NotFound(path.to_owned()),
        Errno::EXIST => DiskError::Exists(path.to_owned()),
        Errno::BUSY => DiskError::Locked(path.to_owned()),
        Errno::NOSPC | Errno::DQUOT => DiskError::Full(path.to_owned()),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            DiskError::Denied { path: path.to_owned(), message: format!("cannot {action}: {errno}") }
        }
        _ => DiskError::Failed { path: path.to_owned(), message: format!("cannot {action}: {errno}") },
    }
}

/// The same for errors that the standard library hands on.
pub(super) fn explain_io(path: &Path, action: &str, error: &std::io::Error) -> DiskError {
    match Errno::from_io_error(error) {
        Some(errno) => explain(path, action, errno),
        None => DiskError::Failed { path: path.to_owned(), message: format!("cannot {action}: {error}") },
    }
}
