//! The bytes of entries and snapshots (docs/formats/ledger.md).

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version.
    #[error("{0}")]
    Newer(String),
    /// Damaged.
    #[error("{0}")]
    Damaged(String),
}
