//! The bytes of entries and snapshots (docs/formats/ledger.md).
