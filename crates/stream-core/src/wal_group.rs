//! WAL groups: header, directory, payload (docs/formats/wal.md).
