//! What `millstream inspect wal` prints.
use super::*;
/// A ring, described.
#[derive(Debug, Clone)]
pub struct RingDescription {}
/// A group, described.
#[derive(Debug, Clone)]
pub struct GroupDescription {}
/// Describes a ring.
pub fn inspect_ring() {}
/// Describes an object WAL.
pub fn inspect_object_wal() {}
