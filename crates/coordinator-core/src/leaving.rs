//! Leaving: by a member's own word, by an administrator's, or because nothing was heard of it.

use crate::consumer::Topics;
use crate::effects::{Effects, GroupError, JoinAnswer};
use crate::group::{Member, State};
use crate::groups::{Groups, Now, Work};
use crate::timers::Timer;

/// Who a request says it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    pub group: String,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Negative: none.
    pub generation: i32,
}

/// One member that is to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty: the static member of that instance id, whatever its member id.
    pub member_id: String,
    pub instance_id: Option<String>,
}

impl Groups {
    /// Members leave; what becomes of each stands at its place.
    ///
    /// # Errors
    /// The group id is not valid. A group that does not exist is told member by member.
    pub fn leave(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        group: &str,
        members: &[LeavingMember],
        fx: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if self.is_consumer(group) {
            return Ok(self.leave_consumers(now, topics, group, members, fx));
        }
        let Some(mut work) = self.work(group, now, fx) else {
            return Ok(members.iter().map(|_| Err(GroupError::UnknownMember)).collect());
        };
        let left: Vec<_> = members.iter().map(|member| work.leave(member)).collect();
        if left.iter().any(Result::is_ok) {
            work.go_on_without();
        }
        self.recount(group);
        Ok(left)
    }
}

impl Work<'_> {
    fn leave(&mut self, leaving: &LeavingMember) -> Result<(), GroupError> {
        let instance_id = leaving.instance_id.as_deref();
        let member_id = if leaving.member_id.is_empty() {
            let held_by = instance_id.and_then(|instance_id| self.group.instances.get(instance_id));
            held_by.cloned().ok_or(GroupError::UnknownMember)?
        } else {
            leaving.member_id.clone()
        };
        if !self.group.pending.contains(&member_id) {
            self.group.check_member(&member_id, instance_id)?;
        }
        self.cancel_timer(Timer::Session(member_id.clone()));
        self.remove(&member_id);
        Ok(())
    }

    /// What was a member's is dealt out to the others.
    fn go_on_without(&mut self) {
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.rebalance(),
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty => {}
        }
    }

    /// There is no room for it any more, if it was in.
    pub(crate) fn expel(&mut self, member_id: &str) {
        let was_in = self.group.members.contains_key(member_id);
        self.cancel_timer(Timer::Session(member_id.to_owned()));
        self.remove(member_id);
        if was_in {
            self.go_on_without();
        }
    }

    /// Takes a member out and tells it, should it wait.
    fn remove(&mut self, member_id: &str) {
        if let Some(removed) = self.group.remove(member_id) {
            self.fx.join(removed.joining, JoinAnswer::refused("", GroupError::UnknownMember));
            self.fx.sync(removed.syncing, Err(GroupError::UnknownMember));
        }
    }

    pub(crate) fn session_timed_out(&mut self, member_id: &str) {
        let waits = |member: &Member| member.joining.is_some() || member.syncing.is_some();
        if self.group.members.get(member_id).is_some_and(|member| !member.is_new && waits(member)) {
            // It waits for others, so it is there; its session begins anew with its answer.
            return;
        }
        let was_pending = self.group.pending.contains(member_id);
        self.remove(member_id);
        match self.group.state {
            // Nothing is dealt out to an id that never joined: nobody is disturbed.
            State::Stable | State::CompletingRebalance if was_pending => {}
            State::Stable | State::CompletingRebalance => self.rebalance(),
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty => {}
        }
    }
}
