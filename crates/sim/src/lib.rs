//! Whole clusters in one deterministic process.
