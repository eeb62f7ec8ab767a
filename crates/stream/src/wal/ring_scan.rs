//! Walks a dead start's groups in a ring.
