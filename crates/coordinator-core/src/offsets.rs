//! Committed offsets: who may commit, what is there, and what may be deleted.

use crate::effects::{Effects, GroupError};
use crate::group::{ENTRY_BYTES, Group, State};
use crate::groups::{Groups, Now};
use crate::leaving::Membership;
use crate::record::{CoordinatorRecord, TEXT_BYTES_MAX};
use base::{TopicId, UnixMillis, planted};
use std::collections::BTreeMap;

/// What the records that take offsets of one group back may take together, about: each has the group's name.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// What such a record takes beside the group's name, about.
const GONE_BYTES: usize = 256;

/// How many offsets of a group of that name are deleted in one go at the most.
#[must_use]
pub fn offsets_together(group: &str) -> usize {
    (TOGETHER_BYTES_MAX / (group.len() + GONE_BYTES)).max(1)
}

/// Committed offsets by topic and partition.
pub type Offsets = BTreeMap<String, BTreeMap<i32, Committed>>;

/// A committed offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// -1: not told.
    pub leader_epoch: i32,
    pub metadata: String,
    pub committed_at: UnixMillis,
    /// Only older clients set a time of their own.
    pub expires_at: Option<UnixMillis>,
    /// None: the client named the topic by name only.
    pub topic: TopicId,
}

impl Committed {
    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self, topic: &str) -> usize {
        ENTRY_BYTES + topic.len() + self.metadata.len()
    }
}

/// An offset that somebody wants to commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewOffset {
    pub topic: String,
    pub partition: i32,
    pub committed: Committed,
}

impl NewOffset {
    /// The record that makes it last.
    #[must_use]
    pub fn record(&self, group: &str) -> CoordinatorRecord {
        CoordinatorRecord::offset(group, &self.topic, self.partition, Some(&self.committed))
    }
}

/// An OffsetCommit request.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    pub member: Membership,
    pub offsets: Vec<NewOffset>,
    /// The client takes a generation for an epoch of its own where its group is one of consumers (version 9 of the request on).
    pub knows_member_epochs: bool,
}

impl Groups {
    /// Commits offsets; what becomes of each stands at its place. All of them take no more in the log than a record may, as in Kafka, where they
    /// are one batch.
    ///
    /// # Errors
    /// None of them is committed, and why.
    pub fn commit(
        &mut self,
        now: Now,
        request: CommitRequest,
        fx: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let CommitRequest { member, offsets, knows_member_epochs } = request;
        if member.group.len() > TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        match self.groups.get(&member.group) {
            Some(Group { consumer: Some(consumer), .. }) => {
                consumer.check_commit(&member, &offsets, knows_member_epochs)?;
            }
            Some(Group { streams: Some(streams), .. }) => {
                streams.check_commit(&member, &offsets, knows_member_epochs)?;
            }
            _ => self.check_commit(now, &member, fx)?,
        }
        let mut outcomes = Vec::with_capacity(offsets.len());
        let mut room = self.room;
        // Each record has the group's name, which may be long, and a request may have very many partitions, or one of them very often.
        let mut records_room = Some(self.options.record_bytes_max);
        for NewOffset { topic, partition, committed } in offsets {
            if self.is_too_long(&committed.metadata) {
                outcomes.push(Err(GroupError::MetadataTooLarge));
                continue;
            }
            let known = self.groups.get(&member.group).and_then(|group| group.offset(&topic, partition));
            let grows = committed.bytes(&topic).saturating_sub(known.map_or(0, |known| known.bytes(&topic)));
            let record =
                records_room.map(|_| CoordinatorRecord::offset(&member.group, &topic, partition, Some(&committed)));
            records_room = records_room.zip(record.as_ref()).and_then(|(room, record)| room.checked_sub(record.len()));
            let Some(record) = record.filter(|_| records_room.is_some() && grows <= room) else {
                outcomes.push(Err(GroupError::NoRoom));
                continue;
            };
            room -= grows;
            fx.records.push(record);
            self.put_offset(&member.group, topic, partition, committed);
            outcomes.push(Ok(()));
        }
        Ok(outcomes)
    }

    /// Whether the metadata of an offset is. Kafka counts what Java calls characters.
    pub(crate) fn is_too_long(&self, text: &str) -> bool {
        let length_max = self.options.offset_metadata_bytes_max;
        text.len() > TEXT_BYTES_MAX || text.len() > length_max && text.encode_utf16().count() > length_max
    }

    /// A client that manages its own members needs no group before it commits.
    pub(crate) fn found_group(&mut self, group: &str) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), Group::default());
            self.recount(group);
        }
    }

    fn put_offset(&mut self, group: &str, topic: String, partition: i32, committed: Committed) {
        // As it is replayed.
        if self.groups.get(group).and_then(|it| it.offset(&topic, partition)) != Some(&committed) {
            self.pending.supersede(group, &topic, partition, None);
        }
        self.insert_offset(group, topic, partition, committed);
    }

    pub(crate) fn insert_offset(&mut self, group: &str, topic: String, partition: i32, committed: Committed) {
        self.found_group(group);
        let Some(found) = self.groups.get_mut(group) else { return };
        let before = found.offset_bytes;
        found.put_offset(topic, partition, committed);
        self.recount_offsets(group, before);
    }

    /// Members commit in their generation, others only while nobody is in the group. A commit tells that its member is there.
    fn check_commit(&mut self, now: Now, member: &Membership, fx: &mut Effects) -> Result<(), GroupError> {
        let Some(mut work) = self.work(&member.group, now, fx) else {
            return if member.generation < 0 { Ok(()) } else { Err(GroupError::NotFound) };
        };
        if work.group.share.is_some() {
            return Err(GroupError::CommitsNothing);
        }
        let state = work.group.state;
        if member.generation < 0 && state == State::Empty {
            return Ok(());
        }
        if member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none() {
            return Err(GroupError::UnknownMember);
        }
        work.group.check_member(&member.member_id, member.instance_id.as_deref())?;
        if planted!("commit of an old generation", member.generation != work.group.generation, false) {
            return Err(GroupError::IllegalGeneration);
        }
        if state == State::CompletingRebalance {
            // The member knows of the new generation, and not yet what is its own there.
            return Err(GroupError::RebalanceInProgress);
        }
        work.renew_session(&member.member_id);
        Ok(())
    }

    /// What a group has committed; nothing where there is no such group.
    #[must_use]
    pub fn committed(&self, group: &str) -> Option<&Offsets> {
        self.groups.get(group).map(|group| &group.offsets)
    }

    /// Deletes offsets that no member is subscribed to; what becomes of each stands at its place.
    ///
    /// # Errors
    /// None of them is deleted, and why.
    pub fn delete_offsets(
        &mut self,
        group: &str,
        offsets: &[(String, i32)],
        fx: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let id = group;
        let group = self.groups.get_mut(id).filter(|group| group.share.is_none()).ok_or(GroupError::NotFound)?;
        if group.is_classic() && group.state != State::Empty && !group.is_consumers() {
            return Err(GroupError::NotEmpty);
        }
        let (before, pending) = (group.offset_bytes, &mut self.pending);
        let delete = |(topic, partition): &(String, i32)| {
            if group.is_subscribed(topic) {
                return Err(GroupError::Subscribed);
            }
            // What waits for its transaction's end goes as well.
            if group.forget_offset(topic, *partition) | pending.forget(id, topic, *partition) {
                fx.records.push(CoordinatorRecord::offset(id, topic, *partition, None));
            }
            Ok(())
        };
        let outcomes = offsets.iter().map(delete).collect();
        self.recount_offsets(id, before);
        Ok(outcomes)
    }

    /// Whether to delete the group is too much for one go: [`Groups::delete_some_offsets`] is to come first.
    #[must_use]
    pub fn deletes_in_pieces(&self, id: &str) -> bool {
        let count =
            self.groups.get(id).map_or(0, |group| group.offset_keys().count()) + self.pending.of_group(id).len();
        count > offsets_together(id)
    }

    /// Begins to delete a group without members that has committed very much under a long name, each of which is a record with that name: some of
    /// its offsets go. Says whether there are more than [`Groups::delete_group`] is to delete at once.
    ///
    /// # Errors
    /// It can't be deleted, and why.
    pub fn delete_some_offsets(&mut self, id: &str, fx: &mut Effects) -> Result<bool, GroupError> {
        let group = self.find(id)?;
        if group.share.is_some() || !group.is_empty() {
            return Err(GroupError::NotEmpty);
        }
        let count = offsets_together(id);
        let mut some: Vec<(String, i32)> = group.offset_keys().take(count + 1).collect();
        if some.len() <= count {
            some.extend(self.pending.of_group(id));
        }
        if some.len() <= count {
            return Ok(false);
        }
        some.truncate(count);
        self.forget_offsets(id, &some, fx);
        Ok(true)
    }

    /// Forgets offsets and what transactions are about to commit there.
    fn forget_offsets(&mut self, id: &str, offsets: &[(String, i32)], fx: &mut Effects) {
        for (topic, partition) in offsets {
            self.pending.forget(id, topic, *partition);
            if let Some(group) = self.groups.get_mut(id) {
                group.forget_offset(topic, *partition);
            }
            fx.records.push(CoordinatorRecord::offset(id, topic, *partition, None));
        }
        self.recount(id);
    }

    /// Deletes a group without members, and all that it committed. Of a share group it is the second half, after
    /// [`Groups::begin_deleting_share_group`]: as long as there is something at the share coordinator it is not empty.
    ///
    /// # Errors
    /// It is not deleted, and why.
    pub fn delete_group(&mut self, id: &str, fx: &mut Effects) -> Result<(), GroupError> {
        let group = self.find(id)?;
        if !group.share.as_ref().map_or(group.is_empty(), |share| share.may_be_deleted()) {
            return Err(GroupError::NotEmpty);
        }
        let mut offsets = self.pending.of_group(id);
        offsets.extend(group.offset_keys());
        let tombstones = group.tombstones(id);
        self.forget_offsets(id, &offsets.into_iter().collect::<Vec<_>>(), fx);
        fx.records.extend(tombstones);
        self.drop_group(id);
        Ok(())
    }
}

impl Group {
    /// Whether there was one.
    pub(crate) fn forget_offset(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.offsets.get_mut(topic) else { return false };
        let removed = partitions.remove(&partition);
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
        self.offset_bytes -= removed.as_ref().map_or(0, |committed| committed.bytes(topic));
        removed.is_some()
    }

    pub(crate) fn offset(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(topic)?.get(&partition)
    }

    /// The records that take it back, but for its offsets.
    pub(crate) fn tombstones(&self, id: &str) -> Vec<CoordinatorRecord> {
        let classic = || vec![CoordinatorRecord::group(id, None)];
        if let Some(share) = &self.share {
            return share.tombstones(id);
        }
        if let Some(streams) = &self.streams {
            return streams.tombstones(id);
        }
        self.consumer.as_ref().map_or_else(classic, |consumer| consumer.tombstones(id))
    }

    pub(crate) fn offset_keys(&self) -> impl Iterator<Item = (String, i32)> {
        self.offsets.iter().flat_map(|(topic, partitions)| partitions.keys().map(|it| (topic.clone(), *it)))
    }
}
