//! Which keys a folder can hold, and their parts.

use super::TEMPORARY;
use crate::object_store::StoreError;

/// As of S3; a path of a file system holds more.
const KEY_BYTES_MAX: usize = 1024;

/// As of the usual file systems.
const SEGMENT_BYTES_MAX: usize = 255;

/// Refuses keys that a folder cannot hold, or that would lead out of it.
pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    let segment_is_fine = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.len() <= SEGMENT_BYTES_MAX
            && segment.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let first = key.split('/').next();
    if key.len() <= KEY_BYTES_MAX && first != Some(TEMPORARY) && key.split('/').all(segment_is_fine) {
        Ok(())
    } else {
        Err(StoreError::Refused(format!("{key:?} is not a key that a folder can hold")))
    }
}

/// The key up to and with its last slash.
pub(super) fn folder_of(key: &str) -> &str {
    key.rfind('/').map_or("", |slash| &key[..=slash])
}
