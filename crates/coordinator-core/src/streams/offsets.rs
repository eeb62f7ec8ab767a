//! Who may commit offsets of a streams group, and who may ask for them.

use super::state::{Current, HeldTasks, Streams};
use crate::effects::GroupError;
use crate::leaving::Membership;
use crate::offsets::NewOffset;

impl Streams {
    /// A member commits at its epoch; at an earlier one as well, for tasks that it has had since then. Others commit only while nobody
    /// is in the group.
    pub(crate) fn check_commit(
        &self,
        member: &Membership,
        offsets: &[NewOffset],
        knows_member_epochs: bool,
    ) -> Result<(), GroupError> {
        if member.generation < 0 && self.members().is_empty() {
            return Ok(());
        }
        let current = &self.members().get(&member.member_id).ok_or(GroupError::UnknownMember)?.current;
        if !knows_member_epochs {
            return Err(GroupError::NeedsMemberEpochs);
        }
        let epoch = member.generation;
        let may_commit = |offset: &NewOffset| {
            let subtopology = self.reader_of(&offset.topic).map(|it| it.subtopology_id.as_str());
            let given_at = subtopology.and_then(|id| current.given_at(id, offset.partition));
            given_at.is_some_and(|given_at| epoch >= given_at)
        };
        if epoch == current.epoch || epoch < current.epoch && offsets.iter().all(may_commit) {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// Whether a member may be told offsets at that epoch.
    pub(crate) fn check_fetch(&self, member_id: &str, member_epoch: i32) -> Result<(), GroupError> {
        let member = self.members().get(member_id).ok_or(GroupError::UnknownMember)?;
        if member.current.epoch == member_epoch { Ok(()) } else { Err(GroupError::StaleMemberEpoch) }
    }
}

impl Current {
    /// The epoch that the member got an active task at.
    fn given_at(&self, subtopology: &str, task: i32) -> Option<i32> {
        let of = |held: &HeldTasks| held.get(subtopology)?.get(&task).copied();
        of(&self.assigned.active).or_else(|| of(&self.revoking.active))
    }
}
