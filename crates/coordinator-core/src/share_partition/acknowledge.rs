//! A member says what became of its records, or leaves them to others.

use super::batch::overlap;
use super::effects::{DeadLetterCause, ShareEffects, ShareError};
use super::options::ShareOptions;
use super::partition::SharePartition;
use super::record::{DeliveryState, Record};
use super::rule;
use super::writes::Change;
use crate::effects::Ticket;
use base::{Micros, Offset, OffsetRange};

/// Kafka's types of acknowledgement.
const GAP: i8 = 0;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

const FIRST_BEYOND: ShareError =
    ShareError::InvalidRequest("Batch record not found. The first offset in request is past acquired records.");
const LAST_BEYOND: ShareError =
    ShareError::InvalidRequest("Batch record not found. The last offset in request is past acquired records.");
const BAD_TYPE: ShareError = ShareError::InvalidRequest("Invalid acknowledge type.");
const BATCH_NOT_ACQUIRED: ShareError =
    ShareError::InvalidRecordState("The batch cannot be acknowledged. The batch is not in the acquired state.");
const OFFSET_NOT_ACQUIRED: ShareError =
    ShareError::InvalidRecordState("The offset cannot be acknowledged. The offset is not acquired.");
const NOT_OWNER_OF_BATCH: ShareError = ShareError::InvalidRecordState("Member is not the owner of batch record");
const NOT_OWNER_OF_OFFSET: ShareError = ShareError::InvalidRecordState("Member is not the owner of offset");
const NO_RENEWAL: ShareError =
    ShareError::InvalidRecordState("Renewing acquisition locks is not enabled for the group.");

/// What became of some records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgeBatch {
    /// Not empty.
    pub range: OffsetRange,
    /// One for all, or one for each.
    pub types: Vec<i8>,
}

impl AcknowledgeBatch {
    /// What it says of the records of a range, which lies in it: runs of one type.
    fn kinds(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, i8)> {
        let place = |offset: Offset| usize::try_from(offset.0.saturating_sub(self.range.base.0)).unwrap_or(usize::MAX);
        let single = (self.types.len() <= 1).then(|| (range, self.types.first().copied().unwrap_or(GAP)));
        let each = if single.is_some() { None } else { self.types.get(place(range.base)..place(range.next)) };
        let mut next = range.base;
        let runs = each.unwrap_or_default().chunk_by(|one, other| one == other).map(move |run| {
            let base = next;
            next = base.plus(u64::try_from(run.len()).unwrap_or(u64::MAX));
            (OffsetRange::new(base, next), run.first().copied().unwrap_or(GAP))
        });
        single.into_iter().chain(runs)
    }

    /// In how many parts it may cut what a share-partition knows.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.types.chunk_by(|one, other| one == other).count()
    }
}

/// Whether a request's batches for a partition make sense at all; Kafka tells `INVALID_REQUEST` where they do not. `None` stands for one whose
/// last offset is below its first, or that has a negative one. The type to renew came with version 2 of ShareFetch and ShareAcknowledge, and needs
/// the request's flag (KIP-1222).
#[must_use]
pub fn acknowledgements_are_valid(batches: &[Option<AcknowledgeBatch>], knows_renew: bool, renews: bool) -> bool {
    let kind_max = if knows_renew { RENEW } else { REJECT };
    let mut last = None;
    batches.iter().all(|batch| {
        let Some(AcknowledgeBatch { range, types }) = batch.as_ref().filter(|batch| !batch.range.is_empty()) else {
            return false;
        };
        // Kafka lets a batch begin with the last offset of the one before.
        let is_in_order = last.replace(range.next).is_none_or(|next: Offset| range.base.plus(1) >= next);
        let is_counted = types.len() == 1 || u64::try_from(types.len()) == Ok(range.len());
        let is_known = |kind: &i8| (GAP..=kind_max).contains(kind) && (*kind != RENEW || renews);
        is_in_order && !types.is_empty() && is_counted && types.iter().all(is_known)
    })
}

/// One acknowledgement under way.
struct Acknowledging<'a> {
    now: Micros,
    member: &'a str,
    options: ShareOptions,
    change: Change,
}

impl SharePartition {
    /// Takes a member's acknowledgements: all of them or none. Answered when confirmed; at once where there is nothing to write.
    pub fn acknowledge(
        &mut self,
        now: Micros,
        member: &str,
        batches: &[AcknowledgeBatch],
        ticket: Ticket,
        fx: &mut ShareEffects,
    ) {
        if self.is_fenced {
            return fx.answers.push((ticket, Err(ShareError::NotLeader)));
        }
        let (options, change) = (self.options, Change::new(Some(ticket)));
        let mut acknowledging = Acknowledging { now, member, options, change };
        let refused = batches.iter().find_map(|batch| self.acknowledge_batch(&mut acknowledging, batch).err());
        match refused {
            None => self.submit(acknowledging.change, fx),
            Some(error) => {
                self.undo(now, acknowledging.change, fx);
                fx.answers.push((ticket, Err(error)));
            }
        }
    }

    /// Gives back all that a member has: its session is over. Answered when confirmed.
    pub fn release(&mut self, member: &str, ticket: Option<Ticket>, fx: &mut ShareEffects) {
        if self.is_fenced {
            return fx.answers.extend(ticket.map(|ticket| (ticket, Err(ShareError::NotLeader))));
        }
        let (start, options) = (self.start, self.options);
        let mut change = Change::new(ticket);
        let mut done = Vec::new();
        for batch in self.batches.values_mut() {
            let has_whole = batch.whole().is_some_and(|record| has(record, member));
            if has_whole && batch.range.base < start && start < batch.range.next {
                batch.split();
            }
            batch.cut(start);
            for (at, record) in batch.within_mut(batch.range).filter(|(_, record)| has(record, member)) {
                let is_gone = at.next <= start;
                record.begin(if is_gone { DeliveryState::Archived } else { DeliveryState::Available }, &options);
                change.note(at, record, DeadLetterCause::DeliveredTooOften);
                done.push((record.state, at));
            }
        }
        done.into_iter().for_each(|(state, at)| self.note_done(state, at));
        self.submit(change, fx);
    }

    fn acknowledge_batch(&mut self, it: &mut Acknowledging<'_>, batch: &AcknowledgeBatch) -> Result<(), ShareError> {
        if batch.range.is_empty() || batch.types.iter().any(|kind| !(GAP..=RENEW).contains(kind)) {
            return Err(BAD_TYPE);
        }
        if batch.range.next <= self.start {
            return Ok(());
        }
        for key in self.keys_of(batch.range)? {
            let Some(known) = self.batches.get_mut(&key).filter(|known| known.range.next > self.start) else {
                continue;
            };
            if let Some(record) = known.whole() {
                match &record.member {
                    // Kafka has no owner of what is being written, and says that it is not acquired.
                    None => return Err(BATCH_NOT_ACQUIRED),
                    Some(owner) if rule!("compares the member", **owner != *it.member, false) => {
                        return Err(NOT_OWNER_OF_BATCH);
                    }
                    Some(_) => {}
                }
                let is_moved = known.range.base < self.start;
                if !known.lies_in(batch.range) || batch.types.len() > 1 || is_moved {
                    known.split();
                }
            }
            self.acknowledge_known(it, key, batch)?;
        }
        Ok(())
    }

    /// The batches that an acknowledgement is about.
    fn keys_of(&self, range: OffsetRange) -> Result<Vec<Offset>, ShareError> {
        let is_moved = range.base < self.start && self.start < range.next;
        let floor = |offset| self.batches.range(..=offset).next_back().map(|(key, _)| *key);
        let first =
            floor(range.base).or_else(|| floor(self.start).filter(|_| is_moved)).ok_or(ShareError::NOT_FOUND)?;
        let known = || self.batches.range(first..range.next);
        let next = known().next_back().map(|(_, batch)| batch.range.next).ok_or(ShareError::NOT_FOUND)?;
        if next <= range.base {
            return Err(FIRST_BEYOND);
        }
        if range.next > next {
            return Err(LAST_BEYOND);
        }
        Ok(known().map(|(key, _)| *key).collect())
    }

    fn acknowledge_known(
        &mut self,
        it: &mut Acknowledging<'_>,
        key: Offset,
        batch: &AcknowledgeBatch,
    ) -> Result<(), ShareError> {
        let until = it.now.plus(it.options.lock);
        let mut renews = false;
        let said = OffsetRange::new(batch.range.base.max(self.start), batch.range.next);
        let Some(known) = self.batches.get_mut(&key) else { return Ok(()) };
        let Some(within) = overlap(known.range, said) else { return Ok(()) };
        let mut done = Vec::new();
        let mut result = Ok(());
        'all: for (range, kind) in batch.kinds(within) {
            for (at, record) in known.within_mut(range) {
                result = may_acknowledge(record, it.member);
                if kind == RENEW && result.is_ok() {
                    result = if it.options.renews { Ok(()) } else { Err(NO_RENEWAL) };
                }
                if result.is_err() {
                    break 'all;
                }
                if kind == RENEW {
                    record.locked_until = Some(until);
                    renews = true;
                    continue;
                }
                record.begin(state_of(kind, &it.options), &it.options);
                let cause = if kind == REJECT { DeadLetterCause::Rejected } else { DeadLetterCause::DeliveredTooOften };
                it.change.note(at, record, cause);
                done.push((record.state, at));
            }
        }
        done.into_iter().for_each(|(state, at)| self.note_done(state, at));
        if renews {
            self.schedule(key, until);
        }
        result
    }
}

fn has(record: &Record, member: &str) -> bool {
    record.state == DeliveryState::Acquired && record.member.as_deref() == Some(member)
}

fn may_acknowledge(record: &Record, member: &str) -> Result<(), ShareError> {
    if record.state != DeliveryState::Acquired {
        return Err(OFFSET_NOT_ACQUIRED);
    }
    if rule!("compares the member", record.member.as_deref() != Some(member), false) {
        return Err(NOT_OWNER_OF_OFFSET);
    }
    Ok(())
}

fn state_of(kind: i8, options: &ShareOptions) -> DeliveryState {
    match kind {
        ACCEPT => DeliveryState::Acknowledged,
        RELEASE => DeliveryState::Available,
        REJECT if options.dead_letters => DeliveryState::Archiving,
        // Rejected, or not there: a record that was compacted away, or a marker of a transaction.
        _ => DeliveryState::Archived,
    }
}
