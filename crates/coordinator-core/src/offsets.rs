//! Committed offsets: who may commit, what is there, and what may be deleted.

use crate::effects::{Effects, GroupError};
use crate::group::{Group, State};
use crate::groups::{Groups, Now};
use crate::leaving::Membership;
use crate::record::{CoordinatorRecord, TEXT_BYTES_MAX};
use base::{TopicId, UnixMillis, planted};
use std::collections::BTreeMap;

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

/// An offset that somebody wants to commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewOffset {
    pub topic: String,
    pub partition: i32,
    pub committed: Committed,
}

/// An OffsetCommit request.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    pub member: Membership,
    pub offsets: Vec<NewOffset>,
}

impl Groups {
    /// Commits offsets; what becomes of each stands at its place.
    ///
    /// # Errors
    /// None of them is committed, and why.
    pub fn commit(
        &mut self,
        now: Now,
        request: CommitRequest,
        fx: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let CommitRequest { member, offsets } = request;
        if member.group.len() > TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.check_commit(now, &member, fx)?;
        let metadata_bytes_max = self.options.offset_metadata_bytes_max.min(TEXT_BYTES_MAX);
        let mut outcomes = Vec::with_capacity(offsets.len());
        for NewOffset { topic, partition, committed } in offsets {
            if committed.metadata.len() > metadata_bytes_max {
                outcomes.push(Err(GroupError::MetadataTooLarge));
                continue;
            }
            fx.records.push(CoordinatorRecord::offset(&member.group, &topic, partition, Some(&committed)));
            // A client that manages its own members needs no group before it commits.
            let group = self.groups.entry(member.group.clone()).or_default();
            group.offsets.entry(topic).or_default().insert(partition, committed);
            outcomes.push(Ok(()));
        }
        Ok(outcomes)
    }

    /// Members commit in their generation, others only while nobody is in the group. A commit tells that its member is there.
    fn check_commit(&mut self, now: Now, member: &Membership, fx: &mut Effects) -> Result<(), GroupError> {
        let Some(mut work) = self.work(&member.group, now, fx) else {
            return if member.generation < 0 { Ok(()) } else { Err(GroupError::NotFound) };
        };
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
        let group = self.groups.get_mut(id).ok_or(GroupError::NotFound)?;
        if group.state != State::Empty && !group.is_consumers() {
            return Err(GroupError::NotEmpty);
        }
        let delete = |(topic, partition): &(String, i32)| {
            if group.is_subscribed(topic) {
                return Err(GroupError::Subscribed);
            }
            if group.forget_offset(topic, *partition) {
                fx.records.push(CoordinatorRecord::offset(id, topic, *partition, None));
            }
            Ok(())
        };
        Ok(offsets.iter().map(delete).collect())
    }

    /// Deletes a group without members, and all that it committed.
    ///
    /// # Errors
    /// It is not deleted, and why.
    pub fn delete_group(&mut self, id: &str, fx: &mut Effects) -> Result<(), GroupError> {
        let group = self.find(id)?;
        if group.state != State::Empty {
            return Err(GroupError::NotEmpty);
        }
        fx.records.extend(group.offset_tombstones(id));
        fx.records.push(CoordinatorRecord::group(id, None));
        self.groups.remove(id);
        self.timers.cancel_all(id);
        Ok(())
    }
}

impl Group {
    /// Whether there was one.
    pub(crate) fn forget_offset(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.offsets.get_mut(topic) else { return false };
        let was_there = partitions.remove(&partition).is_some();
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
        was_there
    }

    fn offset_tombstones(&self, id: &str) -> impl Iterator<Item = CoordinatorRecord> {
        let each = self.offsets.iter().flat_map(|(topic, partitions)| partitions.keys().map(move |it| (topic, *it)));
        each.map(move |(topic, partition)| CoordinatorRecord::offset(id, topic, partition, None))
    }
}
