//! Offsets that are committed in transactions (KIP-98, KIP-447): who may commit them, and what becomes of them.
//!
//! They wait beside the group's own until their transaction's marker comes, as in Kafka: they count then, or for nothing. Of several commits
//! of one partition the one counts that was stored last, whichever transaction ends last: what was stored before a commit that
//! counts never takes its place (`is_superseded`). Producers are known by their ids: one has one transaction at a time.

use crate::effects::GroupError;
use crate::group::Group;
use crate::groups::Groups;
use crate::leaving::Membership;
use crate::offsets::{Committed, NewOffset};
use crate::record::{Change, CoordinatorRecord, RecordError, TEXT_BYTES_MAX};
use base::{TopicId, planted};
use std::collections::{BTreeMap, BTreeSet};

/// A TxnOffsetCommit request.
#[derive(Debug, Clone, Default)]
pub struct TransactionalCommit {
    pub member: Membership,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub offsets: Vec<NewOffset>,
}

/// A group, a topic and a partition.
pub(crate) type Place = (String, String, i32);

/// All that wait, in the groups of one partition.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct PendingOffsets {
    by_producer: BTreeMap<i64, OfProducer>,
    /// Whose transactions have offsets of a group.
    by_group: BTreeMap<String, BTreeSet<i64>>,
    next_order: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct OfProducer {
    epoch: i16,
    offsets: BTreeMap<Place, PendingOffset>,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct PendingOffset {
    committed: Committed,
    /// In which order they were stored.
    order: u64,
    /// What was stored since counts already.
    is_superseded: bool,
}

/// What an offset takes beside its own: its group's name.
fn bytes_of((group, topic, _): &Place, committed: &Committed) -> usize {
    group.len() + committed.bytes(topic)
}

fn place(group: &str, topic: &str, partition: i32) -> Place {
    (group.to_owned(), topic.to_owned(), partition)
}

impl PendingOffsets {
    pub(crate) fn put(&mut self, (producer_id, epoch): (i64, i16), place: Place, committed: Committed) {
        let of_producer = self.by_producer.entry(producer_id).or_default();
        of_producer.epoch = epoch;
        // Stored once more as it is, by a copy of the log: it keeps its place, but behind the copy of what it is to replace.
        if of_producer.offsets.get(&place).is_some_and(|known| known.committed == committed && !known.is_superseded) {
            return;
        }
        self.by_group.entry(place.0.clone()).or_default().insert(producer_id);
        self.bytes += bytes_of(&place, &committed);
        let order = self.next_order;
        self.next_order += 1;
        let new = PendingOffset { committed, order, is_superseded: false };
        if let Some(before) = of_producer.offsets.insert(place.clone(), new) {
            self.bytes -= bytes_of(&place, &before.committed);
        }
    }

    /// A commit of the partition counts that was stored behind everything of this order and below.
    pub(crate) fn supersede(&mut self, group: &str, topic: &str, partition: i32, order: Option<u64>) {
        let Some(producers) = self.by_group.get(group) else { return };
        let place = place(group, topic, partition);
        for producer_id in producers {
            let of_producer = self.by_producer.get_mut(producer_id);
            if let Some(pending) = of_producer.and_then(|it| it.offsets.get_mut(&place)) {
                pending.is_superseded |= order.is_none_or(|order| pending.order < order);
            }
        }
    }

    /// Whether some wait for that partition.
    pub(crate) fn has(&self, group: &str, topic: &str, partition: i32) -> bool {
        let Some(producers) = self.by_group.get(group) else { return false };
        let place = place(group, topic, partition);
        producers.iter().filter_map(|id| self.by_producer.get(id)).any(|it| it.offsets.contains_key(&place))
    }

    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    /// Drops what waits for a partition; whether there was anything. Their transactions are still there.
    pub(crate) fn forget(&mut self, group: &str, topic: &str, partition: i32) -> bool {
        let Some(producers) = self.by_group.get(group) else { return false };
        let place = place(group, topic, partition);
        let mut had_some = false;
        for producer_id in producers {
            let of_producer = self.by_producer.get_mut(producer_id);
            if let Some(pending) = of_producer.and_then(|it| it.offsets.remove(&place)) {
                self.bytes -= bytes_of(&place, &pending.committed);
                had_some = true;
            }
        }
        had_some
    }

    /// What waits for a partition and may yet count, for a copy of the log: whose, in which epoch, in the order in which it was stored.
    pub(crate) fn at(&self, group: &str, topic: &str, partition: i32) -> Vec<((i64, i16), &Committed)> {
        let Some(producers) = self.by_group.get(group) else { return Vec::new() };
        let place = place(group, topic, partition);
        let of = |id: &i64| {
            let of_producer = self.by_producer.get(id)?;
            let pending = of_producer.offsets.get(&place).filter(|it| !it.is_superseded)?;
            Some((pending.order, (*id, of_producer.epoch), &pending.committed))
        };
        let mut found: Vec<_> = producers.iter().filter_map(of).collect();
        found.sort_unstable_by_key(|(order, ..)| *order);
        found.into_iter().map(|(_, producer, committed)| (producer, committed)).collect()
    }

    /// Topics and partitions of a group that some wait for.
    pub(crate) fn of_group(&self, group: &str) -> BTreeSet<(String, i32)> {
        let producers = self.by_group.get(group).into_iter().flatten().filter_map(|id| self.by_producer.get(id));
        let from = place(group, "", i32::MIN);
        let places = producers.flat_map(|it| it.offsets.range(from.clone()..).map(|(place, _)| place));
        places.filter(|(of, ..)| of == group).map(|(_, topic, partition)| (topic.clone(), *partition)).collect()
    }

    /// Those of topics that are gone, as many as `takes` allows.
    pub(crate) fn gone(
        &self,
        is_gone: impl Fn(&str, TopicId) -> bool,
        mut takes: impl FnMut(&Place) -> bool,
    ) -> BTreeSet<Place> {
        let all = self.by_producer.values().flat_map(|it| &it.offsets);
        let gone = all.filter(|((_, topic, _), it)| is_gone(topic, it.committed.topic)).map(|(place, _)| place);
        gone.take_while(|place| takes(place)).cloned().collect()
    }

    /// A producer's transaction is over: what it had, in the order in which it was stored.
    fn take(&mut self, producer_id: i64) -> Vec<(Place, PendingOffset)> {
        let Some(of_producer) = self.by_producer.remove(&producer_id) else { return Vec::new() };
        self.by_group.retain(|_, producers| {
            producers.remove(&producer_id);
            !producers.is_empty()
        });
        let mut offsets: Vec<_> = of_producer.offsets.into_iter().collect();
        self.bytes -= offsets.iter().map(|(place, it)| bytes_of(place, &it.committed)).sum::<usize>();
        offsets.sort_by_key(|(_, it)| it.order);
        offsets
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Groups {
    /// Whether these offsets may be committed in a transaction: a member's in its generation or epoch. Who says nothing of itself may always,
    /// since older clients can't. What becomes of each stands at its place.
    ///
    /// # Errors
    /// None of them may, and why.
    pub fn check_transactional(
        &self,
        request: &TransactionalCommit,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let TransactionalCommit { member, offsets, .. } = request;
        if member.group.is_empty() || member.group.len() > TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let is_nobody = member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none();
        match self.groups.get(&member.group) {
            None if member.generation < 0 => {}
            None => return Err(GroupError::IllegalGeneration),
            Some(Group { share: Some(_), .. }) => return Err(GroupError::CommitsNothing),
            Some(Group { consumer: Some(consumer), .. }) if !is_nobody => {
                consumer.check_commit(member, offsets, true).map_err(|error| match error {
                    GroupError::StaleMemberEpoch => GroupError::IllegalGeneration,
                    error => error,
                })?;
            }
            Some(Group { streams: Some(streams), .. }) if !is_nobody => {
                streams.check_commit(member, offsets, true).map_err(|error| match error {
                    GroupError::StaleMemberEpoch => GroupError::IllegalGeneration,
                    error => error,
                })?;
            }
            Some(group) if is_nobody || member.generation < 0 && group.is_empty() => {}
            Some(group) => {
                group.check_member(&member.member_id, member.instance_id.as_deref())?;
                if member.generation != group.generation {
                    return Err(GroupError::IllegalGeneration);
                }
            }
        }
        let mut room = self.room;
        let outcomes = offsets.iter().map(|it| {
            if self.is_too_long(&it.committed.metadata) {
                return Err(GroupError::MetadataTooLarge);
            }
            room = room.checked_sub(member.group.len() + it.committed.bytes(&it.topic)).ok_or(GroupError::NoRoom)?;
            Ok(())
        });
        Ok(outcomes.collect())
    }

    /// An offset has been stored in its producer's transaction.
    pub fn put_transactional(&mut self, (producer_id, epoch): (i64, i16), group: &str, offset: NewOffset) {
        let NewOffset { topic, partition, committed } = offset;
        self.found_group(group);
        planted!(
            "offsets count before their transaction does",
            self.pending.put((producer_id, epoch), place(group, &topic, partition), committed),
            self.insert_offset(group, topic, partition, committed)
        );
    }

    /// A producer's transaction has ended: its offsets count, or are dropped.
    pub fn end_transaction(&mut self, producer_id: i64, commits: bool) {
        for ((group, topic, partition), pending) in self.pending.take(producer_id) {
            if planted!("aborted offsets count", commits, true) && !pending.is_superseded {
                self.pending.supersede(&group, &topic, partition, Some(pending.order));
                self.insert_offset(&group, topic, partition, pending.committed);
            }
        }
    }

    /// Applies a record that is part of that producer's transaction, as [`Groups::replay`] applies others.
    ///
    /// # Errors
    /// As there.
    pub fn replay_transactional(
        &mut self,
        record: &CoordinatorRecord,
        producer: (i64, i16),
    ) -> Result<(), RecordError> {
        match record.decode()? {
            Change::Offset { group, topic, partition, value: Some(committed) } => {
                self.groups.entry(group.clone()).or_default();
                self.pending.put(producer, (group, topic, partition), committed);
                Ok(())
            }
            Change::Offset { .. }
            | Change::Group { .. }
            | Change::Consumer(_)
            | Change::Share(_)
            | Change::Streams(_)
            | Change::Other => self.replay(record),
        }
    }

    /// Topics and partitions of a group whose offsets a transaction is about to change.
    #[must_use]
    pub fn unstable(&self, group: &str) -> BTreeSet<(String, i32)> {
        self.pending.of_group(group)
    }
}
