//! Who may commit offsets of a consumer group, and who may ask for them.

use super::state::{Consumer, Current, Held, Member};
use crate::effects::GroupError;
use crate::groups::Groups;
use crate::leaving::Membership;
use crate::offsets::NewOffset;
use base::TopicId;

impl Consumer {
    /// A member commits at its epoch; at an earlier one as well, for partitions that it has held since then (KIP-1251). Others commit only
    /// while nobody is in the group.
    pub(crate) fn check_commit(
        &self,
        member: &Membership,
        offsets: &[NewOffset],
        knows_member_epochs: bool,
    ) -> Result<(), GroupError> {
        if member.generation < 0 && self.members().is_empty() {
            return Ok(());
        }
        let found = self.members().get(&member.member_id).ok_or(GroupError::UnknownMember)?;
        let current = &found.current;
        if !knows_member_epochs && !found.is_classic() {
            return Err(GroupError::NeedsMemberEpochs);
        }
        let epoch = member.generation;
        let may_commit = |offset: &NewOffset| {
            let given_at = current.given_at(offset.committed.topic, offset.partition);
            given_at.is_some_and(|given_at| epoch >= given_at)
        };
        if epoch == current.epoch || epoch < current.epoch && offsets.iter().all(may_commit) {
            Ok(())
        } else {
            Err(found.wrong_epoch())
        }
    }
}

impl Member {
    /// What a member is told that comes with another epoch, or generation, than its own.
    fn wrong_epoch(&self) -> GroupError {
        if self.is_classic() { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
    }
}

impl Current {
    /// The epoch that the member got a partition at.
    fn given_at(&self, topic: TopicId, partition: i32) -> Option<i32> {
        let of = |held: &Held| held.get(&topic)?.get(&partition).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }
}

impl Groups {
    /// Whether somebody may be told a group's offsets. Who does not say which member it is may always; so may anybody where the group is
    /// of the classic protocol, or there is none.
    ///
    /// # Errors
    /// The consumer group does not know the member, or not at that epoch.
    pub fn check_fetch(&self, group: &str, member_id: Option<&str>, member_epoch: i32) -> Result<(), GroupError> {
        let is_named = member_id.is_some() || member_epoch >= 0;
        let Some(group) = self.groups.get(group).filter(|_| is_named) else { return Ok(()) };
        if let Some(streams) = &group.streams {
            return streams.check_fetch(member_id.unwrap_or_default(), member_epoch);
        }
        let Some(consumer) = &group.consumer else { return Ok(()) };
        let member = consumer.members().get(member_id.unwrap_or_default()).ok_or(GroupError::UnknownMember)?;
        if member.current.epoch == member_epoch { Ok(()) } else { Err(member.wrong_epoch()) }
    }
}
