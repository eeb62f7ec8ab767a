//! What is set for a share group, with Kafka's names and defaults, and where a group begins that has no state.

use base::UnixMillis;
use std::time::Duration;

/// Bounds and periods of a share-partition. They may change while it is served: what comes next goes by the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOptions {
    /// Records from the start offset to the last one that was fetched: `share.partition.max.record.locks`, or
    /// `group.share.partition.max.record.locks` (100 to 10,000).
    pub in_flight_max: u32,
    /// How often a record is delivered: `share.delivery.count.limit`, or `group.share.delivery.count.limit` (2 to 10).
    pub deliveries_max: i16,
    /// How long a member has a record: `share.record.lock.duration.ms`, or `group.share.record.lock.duration.ms`.
    pub lock: Duration,
    /// Members may keep records for longer (KIP-1222): `share.renew.acknowledge.enable`.
    pub renews: bool,
    /// Records that are rejected or delivered too often go to another topic before they are archived (KIP-1191): the group has
    /// `errors.deadletterqueue.topic.name`. Kafka 4.3 has no such thing yet.
    pub dead_letters: bool,
}

impl Default for ShareOptions {
    fn default() -> Self {
        ShareOptions {
            in_flight_max: 2000,
            deliveries_max: 5,
            lock: Duration::from_secs(30),
            renews: true,
            dead_letters: false,
        }
    }
}

impl ShareOptions {
    /// From this many deliveries on records are delivered in ever smaller parts, so that one that can't be consumed does not take others with
    /// it: half the limit, rounded up, and two at least.
    pub(super) fn throttled_from(&self) -> i16 {
        (self.deliveries_max / 2 + self.deliveries_max % 2).max(2)
    }
}

/// Where a group begins in a partition of which the persister knows no start: `share.auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareOffsetReset {
    /// With the first record.
    Earliest,
    /// With the next record.
    #[default]
    Latest,
    /// With the first record that is younger than this.
    ByDuration(Duration),
}

/// Which offset to ask the partition for, of those that are confirmed, whatever becomes of their transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLookup {
    /// Where the log begins.
    Earliest,
    /// Where the next record goes.
    Latest,
    /// The first record with this time or a later one. Where there is none Kafka can't tell, and the client comes again.
    At(UnixMillis),
}

impl ShareOffsetReset {
    /// What to ask for when a group begins now.
    #[must_use]
    pub fn lookup(self, now: UnixMillis) -> StartLookup {
        match self {
            ShareOffsetReset::Earliest => StartLookup::Earliest,
            ShareOffsetReset::Latest => StartLookup::Latest,
            ShareOffsetReset::ByDuration(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                StartLookup::At(UnixMillis(now.0.saturating_sub(age)))
            }
        }
    }
}
