//! Half-open offset ranges: `[base, next)`, the coverage of a batch, a block or an object.

use crate::Offset;
use std::fmt;

/// The offsets `[base, next)` that something speaks for. It may hold fewer records than offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OffsetRange {
    /// The first offset covered.
    pub base: Offset,
    /// The first offset beyond.
    pub next: Offset,
}

impl OffsetRange {
    /// `[base, next)`.
    ///
    /// # Panics
    /// Where `next < base`: that is a programmer's error. Decoders check before they call this.
    #[must_use]
    pub fn new(base: Offset, next: Offset) -> OffsetRange {
        assert!(base <= next, "range ends at {next} before it begins at {base}");
        OffsetRange { base, next }
    }

    /// Number of offsets covered.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next.0 - self.base.0
    }

    /// Whether no offset is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.base == self.next
    }

    /// Whether `offset` lies inside.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        self.base <= offset && offset < self.next
    }

    /// Whether all of `other` lies inside (an empty `other` inside or at an edge counts).
    #[must_use]
    pub fn covers(&self, other: OffsetRange) -> bool {
        self.base <= other.base && other.next <= self.next
    }
}

impl fmt::Debug for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.base, self.next)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
