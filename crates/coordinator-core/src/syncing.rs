//! Syncing: the leader says who has what, everybody is told what is theirs; and heartbeats, which tell whether that still holds.

use crate::consumer::Topics;
use crate::effects::{Effects, GroupError, SyncAnswer, Ticket};
use crate::group::State;
use crate::groups::{Groups, Now, Work, own};
use crate::leaving::Membership;
use crate::record::CoordinatorRecord;
use crate::timers::Timer;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A SyncGroup request.
#[derive(Debug, Clone, Default)]
pub struct SyncRequest {
    pub member: Membership,
    /// Where the client says what it believes the group to be.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// By member id; of the leader's request only.
    pub assignments: Vec<(String, Bytes)>,
}

impl Groups {
    /// A member asks for its assignment, the leader brings all; the answer comes by the ticket, now or when the leader has synced.
    pub fn sync(&mut self, now: Now, topics: &Topics<'_>, ticket: Ticket, request: &SyncRequest, fx: &mut Effects) {
        if self.is_consumer(&request.member.group) {
            return self.sync_consumers(now, topics, ticket, request, fx);
        }
        let room = self.room;
        let refused = match self.work(&request.member.group, now, fx) {
            Some(mut work) => work.sync(ticket, request, room),
            None if request.member.group.is_empty() => Err(GroupError::InvalidGroupId),
            None => Err(GroupError::UnknownMember),
        };
        if let Err(error) = refused {
            fx.sync(Some(ticket), Err(error));
        }
        self.recount(&request.member.group);
    }

    /// A member is there.
    ///
    /// # Errors
    /// What it must do instead of going on: join again, mostly.
    pub fn heartbeat(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        member: &Membership,
        fx: &mut Effects,
    ) -> Result<(), GroupError> {
        if member.group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if self.is_consumer(&member.group) {
            return self.heartbeat_of_classic(now, topics, member, fx);
        }
        let mut work = self.work(&member.group, now, fx).ok_or(GroupError::UnknownMember)?;
        work.group.check_member(&member.member_id, member.instance_id.as_deref())?;
        if member.generation != work.group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match work.group.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::PreparingRebalance => {
                work.renew_session(&member.member_id);
                Err(GroupError::RebalanceInProgress)
            }
            State::CompletingRebalance | State::Stable => {
                work.renew_session(&member.member_id);
                Ok(())
            }
        }
    }
}

impl Work<'_> {
    fn sync(&mut self, ticket: Ticket, request: &SyncRequest, room_bytes: usize) -> Result<(), GroupError> {
        let Membership { member_id, instance_id, generation, .. } = &request.member;
        self.group.check_member(member_id, instance_id.as_deref())?;
        if *generation != self.group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && is.is_some() && said != is;
        if differs(&request.protocol_type, &self.group.protocol_type)
            || differs(&request.protocol, &self.group.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.group.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance => {
                self.has_synced(member_id);
                if let Some(member) = self.group.members.get_mut(member_id) {
                    let before = member.syncing.replace(ticket);
                    self.fx.sync(before, Err(GroupError::RebalanceInProgress));
                }
                if self.group.is_leader(member_id) {
                    self.assign(&request.assignments, room_bytes);
                }
                Ok(())
            }
            State::Stable => {
                self.has_synced(member_id);
                let answer = self.assignment_of(member_id);
                self.fx.sync(Some(ticket), Ok(answer));
                Ok(())
            }
        }
    }

    fn has_synced(&mut self, member_id: &str) {
        self.group.unsynced.remove(member_id);
        if self.group.unsynced.is_empty() {
            self.cancel_timer(Timer::Sync);
        }
    }

    /// The leader's word: stored, and told to everybody who waits for it. Where there is no room for it nothing comes of this generation.
    fn assign(&mut self, assignments: &[(String, Bytes)], room_bytes: usize) {
        let before = self.group.bytes();
        let assignments: BTreeMap<&str, &Bytes> = assignments.iter().map(|(id, bytes)| (id.as_str(), bytes)).collect();
        for (member_id, member) in &mut self.group.members {
            member.assignment = assignments.get(member_id.as_str()).map(|bytes| own(bytes)).unwrap_or_default();
        }
        self.group.brought_assignment = self.group.mean_assignment_bytes();
        self.group.enter(State::Stable, self.now.wall);
        let record = self.record();
        if let Err(error) = self.check_record(&record, before, room_bytes) {
            self.refuse_syncs(error);
            return self.prepare_rebalance();
        }
        self.store(record);
        let member_ids: Vec<String> = self.group.members.keys().cloned().collect();
        for member_id in member_ids {
            let answer = self.assignment_of(&member_id);
            let waiting = self.group.members.get_mut(&member_id).and_then(|member| member.syncing.take());
            if waiting.is_some() {
                self.renew_session(&member_id);
            }
            self.fx.sync(waiting, Ok(answer));
        }
    }

    /// Whether the group may be stored as it is by now. An assignment is in the group and in its record; what it replaces is free.
    fn check_record(&self, record: &CoordinatorRecord, before: usize, room_bytes: usize) -> Result<(), GroupError> {
        let values = [&record.value, &self.group.stored].map(|value| value.as_ref().map_or(0, Bytes::len));
        let after = self.group.bytes() + values[0] - values[1];
        if record.len() > self.options.record_bytes_max {
            Err(GroupError::RecordTooLarge)
        } else if after.saturating_sub(before) > room_bytes {
            Err(GroupError::NoRoomForAssignment)
        } else {
            Ok(())
        }
    }

    fn assignment_of(&self, member_id: &str) -> SyncAnswer {
        SyncAnswer {
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            assignment: self.group.members.get(member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Nothing comes of this generation: whoever waits for it is told so.
    pub(crate) fn refuse_syncs(&mut self, error: GroupError) {
        let mut heard_of = Vec::new();
        for (member_id, member) in &mut self.group.members {
            member.assignment = Bytes::new();
            if let Some(ticket) = member.syncing.take() {
                self.fx.sync(Some(ticket), Err(error));
                heard_of.push(member_id.clone());
            }
        }
        for member_id in heard_of {
            self.renew_session(&member_id);
        }
    }

    /// Those who joined and never synced are taken for gone.
    pub(crate) fn sync_timed_out(&mut self) {
        if !matches!(self.group.state, State::CompletingRebalance | State::Stable) || self.group.unsynced.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.group.unsynced) {
            self.group.remove(&member_id);
            self.cancel_timer(Timer::Session(member_id));
        }
        self.prepare_rebalance();
    }
}
