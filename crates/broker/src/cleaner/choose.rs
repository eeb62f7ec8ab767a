//! Which logs are worth cleaning, and how much of them. Pure.
//!
//! Kafka's rule: the part that was never cleaned is more than `min.cleanable.dirty.ratio` of what would be read, or its first record has
//! waited for `max.compaction.lag.ms`. Only what lies in objects is cleaned, and nothing younger than `min.compaction.lag.ms`. Kafka leaves
//! its active segment alone, so that a log which gets little is cleaned seldom; here what is little waits for `segment.ms`, an hour at the most.

use crate::options::Cleaning;
use base::{Offset, OffsetRange, UnixMillis};
use stream::StoredPart;

/// A log's part that may be cleaned, and what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dirty {
    /// What was never cleaned.
    pub(super) range: OffsetRange,
    /// Bytes of it.
    pub(super) bytes: u64,
    /// Bytes of what was.
    pub(super) clean_bytes: u64,
    /// The latest arrival of the first part of what was not, where nothing in it has a time.
    pub(super) arrived: Option<UnixMillis>,
}

/// The part that was not cleaned yet and may be now; none where there is nothing.
pub(super) fn dirty(
    parts: &[StoredPart],
    (start, cleaned): (Offset, Offset),
    cleaning: &Cleaning,
    now: UnixMillis,
) -> Option<Dirty> {
    let from = cleaned.max(start);
    let mut dirty = Dirty { range: OffsetRange::new(from, from), bytes: 0, clean_bytes: 0, arrived: None };
    for part in parts {
        if part.range.next <= from {
            dirty.clean_bytes += part.bytes;
            continue;
        }
        if is_young(part.max_timestamp, cleaning, now) {
            break;
        }
        if dirty.bytes == 0 && part.max_timestamp.0 < 0 {
            dirty.arrived = part.max_timestamp.ages_from();
        }
        let clean = from.0.saturating_sub(part.range.base.0);
        let share = |total: u64| {
            let clean = u128::from(total) * u128::from(clean) / u128::from(part.range.len().max(1));
            u64::try_from(clean).unwrap_or(total)
        };
        dirty.clean_bytes += share(part.bytes);
        dirty.bytes += part.bytes - share(part.bytes);
        dirty.range.next = part.range.next;
    }
    (dirty.bytes > 0).then_some(dirty)
}

/// Whether what has this greatest time must stay as it is for now. What has none counts from its arrival, where that is known.
pub(super) fn is_young(max_timestamp: UnixMillis, cleaning: &Cleaning, now: UnixMillis) -> bool {
    let ends = now.0.saturating_sub(cleaning.lag_min_ms);
    cleaning.lag_min_ms > 0 && max_timestamp.ages_from().is_some_and(|from| from.0 > ends)
}

impl Dirty {
    /// The part of what a cleaning would read that is new.
    pub(super) fn ratio(&self) -> f64 {
        let per_million = u128::from(self.bytes) * 1_000_000 / u128::from((self.bytes + self.clean_bytes).max(1));
        f64::from(u32::try_from(per_million).unwrap_or(1_000_000)) / 1_000_000.0
    }

    /// Whether it is worth cleaning: by its share, and either large enough or known for long enough, in milliseconds.
    pub(super) fn is_worth(&self, cleaning: &Cleaning, little_bytes: u64, known_ms: i64) -> bool {
        self.ratio() > cleaning.dirty_ratio_min && (self.bytes >= little_bytes || known_ms >= cleaning.little_wait_ms)
    }

    /// Whether its first record has waited for long enough. One without a time has waited since its arrival; where that is not known it
    /// waits for the ratio.
    pub(super) fn is_overdue(&self, cleaning: &Cleaning, first: Option<UnixMillis>, now: UnixMillis) -> bool {
        let since = first.and_then(|first| if first.0 < 0 { self.arrived } else { Some(first) });
        since.is_some_and(|since| since.0 < now.0.saturating_sub(cleaning.lag_max_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEANING: Cleaning = Cleaning {
        dirty_ratio_min: 0.5,
        lag_min_ms: 0,
        lag_max_ms: i64::MAX,
        little_wait_ms: 100,
        delete_retention_ms: 1000,
    };
    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn part(base: u64, next: u64, max_timestamp: i64) -> StoredPart {
        let range = OffsetRange::new(Offset(base), Offset(next));
        StoredPart { range, bytes: range.len() * 100, max_timestamp: UnixMillis(max_timestamp) }
    }

    fn of(parts: &[StoredPart], start: u64, cleaned: u64, cleaning: &Cleaning) -> Option<(u64, u64, u64, u64)> {
        let dirty = dirty(parts, (Offset(start), Offset(cleaned)), cleaning, NOW)?;
        Some((dirty.range.base.0, dirty.range.next.0, dirty.bytes, dirty.clean_bytes))
    }

    #[test]
    fn dirty_is_what_lies_behind_the_cleaned_end() {
        let parts = [part(0, 10, 5), part(10, 20, 6), part(20, 40, 7)];
        assert_eq!(of(&parts, 0, 0, &CLEANING), Some((0, 40, 4000, 0)));
        assert_eq!(of(&parts, 0, 20, &CLEANING), Some((20, 40, 2000, 2000)));
        assert_eq!(of(&parts, 0, 30, &CLEANING), Some((30, 40, 1000, 3000)), "in the middle of a part");
        assert_eq!(of(&parts, 15, 0, &CLEANING), Some((15, 40, 2500, 1500)), "the start has passed what was cleaned");
        assert_eq!(of(&parts, 0, 40, &CLEANING), None);
        assert_eq!(of(&[], 0, 0, &CLEANING), None);
    }

    #[test]
    fn what_is_young_stays_and_what_lies_behind_it() {
        let cleaning = Cleaning { lag_min_ms: 100, ..CLEANING };
        let parts = [part(0, 10, NOW.0 - 100), part(10, 20, NOW.0 - 99), part(20, 40, 7)];
        assert_eq!(of(&parts, 0, 0, &cleaning), Some((0, 10, 1000, 0)));
    }

    #[test]
    fn it_is_due_by_its_share_or_by_its_age() {
        let parts = [part(0, 10, 5), part(10, 20, 5)];
        let due = |cleaned: u64, cleaning: &Cleaning, first: Option<i64>| {
            let dirty = dirty(&parts, (Offset(0), Offset(cleaned)), cleaning, NOW).unwrap();
            dirty.is_worth(cleaning, 0, 0) || dirty.is_overdue(cleaning, first.map(UnixMillis), NOW)
        };
        assert!(due(9, &CLEANING, None));
        assert!(!due(10, &CLEANING, None), "half is not more than half");
        assert!(due(10, &Cleaning { dirty_ratio_min: 0.4, ..CLEANING }, None));
        let aged = Cleaning { lag_max_ms: 1000, ..CLEANING };
        assert!(due(19, &aged, Some(NOW.0 - 1001)) && !due(19, &aged, Some(NOW.0 - 1000)) && !due(19, &aged, None));
        assert!(!due(19, &aged, Some(-1)), "nobody knows how long it waits");
    }

    #[test]
    fn what_is_little_waits() {
        let dirty = dirty(&[part(0, 10, 5)], (Offset(0), Offset(0)), &CLEANING, NOW).unwrap();
        let worth = |little_bytes, known_ms| dirty.is_worth(&CLEANING, little_bytes, known_ms);
        assert!(worth(1000, 0), "it has as many bytes");
        assert!(!worth(1001, 99));
        assert!(worth(1001, 100));
        assert!(
            !dirty.is_worth(&Cleaning { dirty_ratio_min: 1.0, ..CLEANING }, 0, 100),
            "its share counts all the same"
        );
    }

    #[test]
    fn what_has_no_time_counts_from_its_arrival() {
        let timeless = |base: u64, next: u64, arrived: i64| part(base, next, UnixMillis(arrived).arrival().0);
        let parts = [timeless(0, 10, NOW.0 - 100), timeless(10, 20, NOW.0 - 99), part(20, 40, 7)];
        let min = Cleaning { lag_min_ms: 100, ..CLEANING };
        assert_eq!(of(&parts, 0, 0, &min), Some((0, 10, 1000, 0)), "what has just come stays");
        let max = Cleaning { lag_max_ms: 99, dirty_ratio_min: 1.0, ..CLEANING };
        let due = |cleaned: u64| {
            let dirty = dirty(&parts, (Offset(0), Offset(cleaned)), &max, NOW).unwrap();
            dirty.is_overdue(&max, Some(UnixMillis(-1)), NOW)
        };
        assert_eq!([0, 5, 10, 20].map(due), [true, true, false, false]);
    }
}
