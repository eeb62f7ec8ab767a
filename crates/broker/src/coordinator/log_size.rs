//! How long the log of a shard is, and its copy where it has become too long.

use super::shard::{Decided, Inner, Shard};
use crate::Shared;
use crate::coordinator::Core;
use base::Offset;
use world::lock;

/// Bytes of records in the log, from its start to its end with the outbox, and when that is to be copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogSize {
    pub(crate) bytes: u64,
    /// What the last copy took.
    copied: u64,
    is_copying: bool,
}

/// A copy that begins.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the log ends: what lies before goes when the copy is there.
    pub(crate) begin: Offset,
    bytes_before: u64,
}

/// A log is copied when it is so many times longer than its last copy, so that copies are a small part of what is written.
const COPY_WHEN_LONGER: u64 = 3;

impl LogSize {
    /// Of a log that was read just now.
    pub(super) fn read(bytes: u64) -> LogSize {
        LogSize { bytes, ..LogSize::default() }
    }
}

impl<C: Core> Shard<C> {
    pub(super) fn is_long(&self, broker: &Shared, inner: &Inner<C>) -> bool {
        let log = inner.log;
        let longest = broker.options.groups_log_bytes_max.max(COPY_WHEN_LONGER.saturating_mul(log.copied));
        !log.is_copying && log.bytes > longest && inner.core.are_all_there_is()
    }

    /// Begins a copy where the log has become long, and none is under way.
    pub(crate) fn begin_copy(&self, broker: &Shared) -> Option<Begun> {
        let mut inner = lock(&self.inner);
        if !self.is_serving() || !self.is_long(broker, &inner) {
            return None;
        }
        inner.log.is_copying = true;
        Some(Begun { begin: self.end(&inner), bytes_before: inner.log.bytes })
    }

    /// The next slice of a copy: its bytes, and whether the copy is whole then.
    pub(crate) fn copy_slice(&self, broker: &Shared, cursor: &mut C::Cursor, bytes_max: usize) -> Decided<(u64, bool)> {
        let mut inner = lock(&self.inner);
        let before = inner.log.bytes;
        let (is_whole, after) = self.apply_locked(broker, &mut inner, |core, _, fx| core.copy(cursor, bytes_max, fx));
        Decided { value: (inner.log.bytes - before, is_whole), after }
    }

    /// The log begins with the copy now.
    pub(crate) fn has_copied(&self, begun: &Begun, bytes: u64) {
        let mut inner = lock(&self.inner);
        let rest = inner.log.bytes.saturating_sub(begun.bytes_before);
        inner.log = LogSize { bytes: rest, copied: bytes, is_copying: false };
    }
}
