//! What a shard hosts: the decisions about all that lives in one partition of an internal topic. Groups are one, transactions another, share-partitions the third.
//!
//! A seam between what is decided and how that becomes durable: load, append, confirm, copy and keep time are the same for all.

use crate::coordinator::{Coordinators, OwnTopic, Shard};
use crate::{BrokerOptions, Shared};
use base::{Micros, Offset};
use control_core::Image;
use coordinator_core::{CoordinatorRecord, Now};
use futures::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Decisions about what belongs to one partition; each method is that of the core of the same name.
pub(crate) trait Core: Default + Send + Sized + 'static {
    /// What a decision results in.
    type Effects: Default + Send;
    /// How far a copy has come.
    type Cursor: Default + Send;
    /// What leaves when what it rests on is confirmed.
    type Outgoing: Default + Send;

    /// What it is about, in log lines.
    const WHAT: &'static str;
    /// Where it lives.
    const TOPIC: &'static OwnTopic;

    /// Those of this broker.
    fn all(broker: &Shared) -> &Coordinators<Self>;
    /// None yet; a record of it takes so many bytes at the most.
    fn new(options: &BrokerOptions, record_bytes_max: usize) -> Self;
    /// Bytes of memory for all shards, about.
    fn bytes_max(options: &BrokerOptions) -> usize;
    /// How often it is looked for what has expired.
    fn expiry_period(options: &BrokerOptions) -> Duration;

    /// Applies a record of the log; `Err` says why it can't be.
    fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), String>;
    /// The same of one that is part of that producer's transaction.
    fn replay_transactional(&mut self, record: &CoordinatorRecord, _producer: (i64, i16)) -> Result<(), String> {
        self.replay(record)
    }
    /// A marker has ended a producer's transaction in the log that is replayed.
    fn ended(&mut self, _producer_id: i64, _commits: bool) {}
    /// All records are replayed.
    fn loaded(&mut self, broker: &Shared, image: &Image, now: Now, fx: &mut Self::Effects);
    /// Topics were deleted.
    fn topics_gone(&mut self, image: &Image, fx: &mut Self::Effects);
    fn expire(&mut self, now: Now, fx: &mut Self::Effects);
    /// Whether either of these has left something for the next time, which is to be soon.
    fn is_behind(&self) -> bool {
        false
    }
    fn next_deadline(&self) -> Option<Micros>;
    fn tick(&mut self, broker: &Shared, now: Now, fx: &mut Self::Effects);
    /// How many there are.
    fn count(&self) -> usize;
    fn bytes(&self) -> usize;
    fn set_room(&mut self, bytes: usize);
    fn are_all_there_is(&self) -> bool;
    fn copy(&self, cursor: &mut Self::Cursor, bytes_max: usize, fx: &mut Self::Effects) -> bool;

    /// A record that says nothing.
    fn nothing() -> CoordinatorRecord;
    /// The records of a decision, which are appended first of all.
    fn records(fx: &mut Self::Effects) -> &mut Vec<CoordinatorRecord>;
    /// Which of these are to be in the log together or not at all.
    fn whole(_fx: &mut Self::Effects) -> Vec<Range<usize>> {
        Vec::new()
    }
    /// Those that are appended behind them in the transactions of producers: whose, and in which epoch.
    fn transactional(_fx: &mut Self::Effects) -> Vec<((i64, i16), CoordinatorRecord)> {
        Vec::new()
    }
    /// Keeps the rest of a decision for when the log is confirmed up to `after`. True: there is something for what runs beside.
    fn hand_on(&self, outgoing: &mut Self::Outgoing, fx: Self::Effects, after: Offset) -> bool;
    /// What runs beside a shard that serves, until it is lost or the broker stops.
    fn beside(_broker: Arc<Shared>, _shard: Arc<Shard<Self>>) -> Option<BoxFuture<'static, ()>> {
        None
    }
}
