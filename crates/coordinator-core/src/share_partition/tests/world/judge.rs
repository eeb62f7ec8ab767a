//! What must never be in the small world, and what must be when all is healed.

use super::log::END;
use super::{DELIVERIES_MAX, HEALS, LOCK, NAMES, Outcome, World};
use crate::share_partition::{AcknowledgeBatch, AcquireMode, AcquireRequest, DeliveryState, Fetched};
use base::OffsetRange;

impl World {
    pub(super) fn deliver(&mut self, number: usize, member: usize, offset: u64, count: i16) -> Outcome {
        let until = self.now.plus(LOCK);
        let leader = &mut self.leaders[number];
        if leader.holders.insert(offset, (member, until)).is_some() {
            return Err("two members have a record at a time");
        }
        leader.believed[member].insert(offset);
        if self.log.is_aborted(offset) {
            return Err("a record of an aborted transaction is delivered");
        }
        if count > DELIVERIES_MAX {
            return Err("a record is delivered more often than it may be");
        }
        if self.told.get(&offset).is_some_and(|by| *by <= number) {
            return Err("a record is delivered again of which was told that it is accepted");
        }
        let is_current = leader.share.leader_epoch() == self.persister.leader_epoch();
        if is_current && count <= self.persister.count(offset) {
            return Err("a record was delivered less often than before");
        }
        let delivered = self.delivered.entry(offset).or_default();
        *delivered = count.max(*delivered);
        Ok(())
    }

    /// What each leader knows fits together.
    pub(super) fn check(&self) -> Outcome {
        for leader in &self.leaders {
            let share = &leader.share;
            let mut next = base::Offset(0);
            let mut done = 0;
            for (key, batch) in &share.batches {
                if *key != batch.range.base || *key < next || batch.range.is_empty() || batch.range.next > share.next {
                    return Err("batches do not follow each other");
                }
                next = batch.range.next;
                for (range, record) in batch.within(batch.range) {
                    done += if record.state.is_done() { share.in_flight_of(range) } else { 0 };
                    let is_acquired = record.state == DeliveryState::Acquired;
                    if is_acquired != record.member.is_some() {
                        return Err("a record is acquired by nobody, or has a member and is not acquired");
                    }
                    let wakes = record.locked_until.is_some_and(|at| {
                        batch.wakes.is_some_and(|wakes| wakes <= at && share.wakes.contains(&(wakes, *key)))
                    });
                    if is_acquired && !wakes && record.locked_until.is_none_or(|at| at > self.now) {
                        return Err("nobody looks when a lock runs out");
                    }
                }
            }
            if done != share.done || share.start > share.next {
                return Err("what is counted is not what is there");
            }
        }
        Ok(())
    }

    /// No more faults, and the members are gone: what nobody has ended is delivered to another.
    pub(super) fn heal(&mut self) -> Outcome {
        self.acks.clear();
        let before = self.ending.clone();
        let last = self.leaders.len() - 1;
        self.leaders[last].share.log_starts_at(self.log.start);
        let mut given = Vec::new();
        for _ in 0..200 {
            while !self.sent.is_empty() || !self.replies.is_empty() || !self.letters.is_empty() {
                self.letter_arrives()?;
                self.write_arrives()?;
                self.reply_arrives()?;
            }
            if self.leaders[last].share.start().0 >= END {
                break;
            }
            self.pass(LOCK)?;
            for range in self.give(last)? {
                given.extend(range.base.0..range.next.0);
                self.next_ticket += 1;
                let batch = AcknowledgeBatch { range, types: vec![1] };
                self.acknowledge(super::Ack { leader: last, member: HEALS, batch })?;
            }
            self.check()?;
        }
        if self.leaders[last].share.start().0 < END {
            return Err("a record is locked for ever");
        }
        let may_be_gone = |offset: &u64| {
            before.get(offset).is_some_and(|count| *count > 0)
                || self.delivered.get(offset).is_some_and(|count| *count >= DELIVERIES_MAX)
                || given.contains(offset)
        };
        if self.log.records().iter().all(may_be_gone) { Ok(()) } else { Err("a record is gone that nobody has ended") }
    }

    fn give(&mut self, number: usize) -> Result<Vec<OffsetRange>, &'static str> {
        let share = &mut self.leaders[number].share;
        let from = share.next_fetch();
        let batches = self.log.read(from, 3);
        let aborted = self.log.aborted();
        let mode = AcquireMode::BatchOptimized;
        let request = AcquireRequest { member: NAMES[HEALS], mode, batch_size: 4, records_max: 20 };
        let fetched = Fetched { from, batches: &batches, aborted: &aborted };
        let acquired = share.acquire(self.now, request, &fetched);
        for it in &acquired.ranges {
            for offset in it.range.base.0..it.range.next.0 {
                self.deliver(number, HEALS, offset, it.delivery_count)?;
            }
        }
        Ok(acquired.ranges.iter().map(|it| it.range).collect())
    }
}
