//! A share-partition with a hand on the clock, on the log and on the persister, for the tests.

use crate::Ticket;
use crate::share_partition::{
    AcknowledgeBatch, AcquireMode, AcquireRequest, AcquiredRange, DeliveryState, Fetched, FetchedAbort, FetchedBatch,
    PersistedShare, ShareEffects, ShareError, ShareOptions, SharePartition, ShareStateBatch, ShareWrite,
};
use base::{Micros, Offset, OffsetRange};
use std::time::Duration;

pub(super) const ACCEPT: i8 = 1;
pub(super) const RELEASE: i8 = 2;
pub(super) const REJECT: i8 = 3;
pub(super) const RENEW: i8 = 4;

pub(super) struct Bench {
    pub(super) share: SharePartition,
    pub(super) now: Micros,
    pub(super) fx: ShareEffects,
    pub(super) batch_size: u32,
    next_ticket: u64,
}

pub(super) fn range(base: u64, next: u64) -> OffsetRange {
    OffsetRange::new(Offset(base), Offset(next))
}

pub(super) fn state(base: u64, next: u64, state: DeliveryState, delivery_count: i16) -> ShareStateBatch {
    ShareStateBatch { range: range(base, next), state, delivery_count }
}

pub(super) fn fetched(base: u64, next: u64) -> FetchedBatch {
    FetchedBatch { range: range(base, next), producer_id: None, is_transactional: false, is_abort_marker: false }
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(ShareOptions::default(), 0, &[])
    }

    pub(super) fn with(options: ShareOptions, start: u64, batches: &[ShareStateBatch]) -> Bench {
        let mut fx = ShareEffects::default();
        let persisted = PersistedShare { state_epoch: 1, batches: batches.to_vec() };
        let share = SharePartition::load(options, 7, Offset(start), &persisted, &mut fx).unwrap();
        Bench { share, now: Micros(1_000_000), fx, batch_size: 500, next_ticket: 0 }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.share.tick(self.now, &mut self.fx);
    }

    /// Gives a member up to `max` records of these batches; first offset, next one and count of each part.
    pub(super) fn acquire(&mut self, member: &str, max: u32, batches: &[FetchedBatch]) -> Vec<(u64, u64, i16)> {
        self.acquire_as(member, AcquireMode::BatchOptimized, max, batches, &[])
    }

    pub(super) fn acquire_as(
        &mut self,
        member: &str,
        mode: AcquireMode,
        records_max: u32,
        batches: &[FetchedBatch],
        aborted: &[FetchedAbort],
    ) -> Vec<(u64, u64, i16)> {
        let from = self.share.next_fetch();
        let request = AcquireRequest { member, mode, batch_size: self.batch_size, records_max };
        let acquired = self.share.acquire(self.now, request, &Fetched { from, batches, aborted });
        let records: u64 = acquired.ranges.iter().map(|it| it.range.len()).sum();
        assert_eq!(u64::from(acquired.count), records);
        let tell = |it: &AcquiredRange| (it.range.base.0, it.range.next.0, it.delivery_count);
        acquired.ranges.iter().map(tell).collect()
    }

    pub(super) fn acknowledge(&mut self, member: &str, base: u64, next: u64, types: &[i8]) -> Ticket {
        let ticket = self.ticket();
        let batches = [AcknowledgeBatch { range: range(base, next), types: types.to_vec() }];
        self.share.acknowledge(self.now, member, &batches, ticket, &mut self.fx);
        ticket
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// The write that is to be sent.
    pub(super) fn write(&mut self) -> ShareWrite {
        assert_eq!(self.fx.writes.len(), 1, "{:?}", self.fx.writes);
        self.fx.writes.remove(0)
    }

    /// What came of it.
    pub(super) fn wrote(&mut self, write: &ShareWrite, outcome: Result<(), ShareError>) {
        self.share.wrote(self.now, write.id, outcome, &mut self.fx);
    }

    /// All writes succeed.
    pub(super) fn settle(&mut self) {
        while !self.fx.writes.is_empty() {
            let write = self.write();
            self.wrote(&write, Ok(()));
        }
    }

    /// The answer, if there is one; it is forgotten then.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Result<(), ShareError>> {
        let place = self.fx.answers.iter().position(|(it, _)| *it == ticket)?;
        Some(self.fx.answers.remove(place).1)
    }

    /// A member acknowledges, and it is written.
    pub(super) fn acknowledged(&mut self, member: &str, base: u64, next: u64, types: &[i8]) {
        let ticket = self.acknowledge(member, base, next, types);
        self.settle();
        assert_eq!(self.answer(ticket), Some(Ok(())));
    }

    pub(super) fn next_fetch(&mut self) -> u64 {
        self.share.next_fetch().0
    }
}
