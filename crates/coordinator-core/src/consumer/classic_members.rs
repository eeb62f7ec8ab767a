//! Members of the classic protocol within a consumer group: they fetch what is theirs, and learn by heartbeats when they are to join again.

use super::embedded::{version_of, write_assignment};
use super::heartbeat::{Beat, partitions_of};
use super::options::ConsumerTimes;
use super::state::{Consumer, Member, MemberState};
use super::topics::Topics;
use crate::effects::{Effects, GroupError, SyncAnswer, Ticket};
use crate::group::CONSUMER;
use crate::groups::{Groups, Now, millis};
use crate::leaving::Membership;
use crate::syncing::SyncRequest;
use crate::timers::Timer;
use std::time::Duration;

impl Groups {
    pub(crate) fn sync_consumers(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        ticket: Ticket,
        request: &SyncRequest,
        fx: &mut Effects,
    ) {
        let Some(mut beat) = self.beat(&request.member.group, now, topics, fx) else { return };
        let answer = beat.sync(request);
        fx.sync(Some(ticket), answer);
    }

    pub(crate) fn heartbeat_of_classic(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        member: &Membership,
        fx: &mut Effects,
    ) -> Result<(), GroupError> {
        let mut beat = self.beat(&member.group, now, topics, fx).ok_or(GroupError::UnknownMember)?;
        beat.consumer.find_classic(member)?;
        beat.renew_session(&member.member_id);
        if beat.must_join(&member.member_id) {
            beat.expect_join(&member.member_id);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }
}

impl Member {
    pub(crate) fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }

    /// The protocol that it was told when it joined.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.metadata.classic.as_ref()?.protocols.first().map(|protocol| protocol.name.as_str())
    }

    /// Its own, or that of its group.
    pub(super) fn session_timeout(&self, times: &ConsumerTimes) -> Duration {
        self.metadata.classic.as_ref().map_or(times.session_timeout, |classic| millis(classic.session_timeout_ms))
    }
}

impl Consumer {
    /// The member that speaks, at its epoch.
    fn find_classic(&self, said: &Membership) -> Result<&Member, GroupError> {
        if let Some(instance_id) = &said.instance_id {
            let holder = self.instance(instance_id).ok_or(GroupError::UnknownMember)?;
            if *holder != said.member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        let found = self.members().get(&said.member_id).filter(|member| member.is_classic());
        let member = found.ok_or(GroupError::UnknownMember)?;
        if member.current.epoch == said.generation { Ok(member) } else { Err(GroupError::IllegalGeneration) }
    }

    /// Whether others hold something that the member is to have.
    fn waits_for_others(&self, member_id: &str, member: &Member) -> bool {
        let target = self.targets().get(member_id).into_iter().flatten();
        let mut all = target.flat_map(|(topic, partitions)| partitions.iter().map(move |it| (*topic, *it)));
        all.any(|(topic, partition)| {
            let holds = member.current.assigned.get(&topic).is_some_and(|held| held.contains_key(&partition));
            !holds && self.is_held(topic, partition)
        })
    }
}

impl Beat<'_> {
    fn sync(&mut self, request: &SyncRequest) -> Result<SyncAnswer, GroupError> {
        let member = self.consumer.find_classic(&request.member)?;
        let is_other_type = request.protocol_type.as_deref().is_some_and(|said| said != CONSUMER);
        if is_other_type || request.protocol.is_some() && request.protocol.as_deref() != member.protocol() {
            return Err(GroupError::InconsistentProtocol);
        }
        let member_id = &request.member.member_id;
        // One that is to give something up learns of the next target when it has.
        if self.consumer.target_epoch > member.current.epoch && member.current.state != MemberState::Unrevoked {
            self.expect_join(member_id);
            return Err(GroupError::RebalanceInProgress);
        }
        let classic = member.metadata.classic.as_ref();
        let version = classic.and_then(|it| it.protocols.first()).map_or(0, |it| version_of(&it.metadata));
        let assigned = partitions_of(&member.current.assigned);
        let assignment = write_assignment(&assigned, version, self.topics);
        self.timers.cancel(self.id, Timer::MemberSync(member_id.clone()));
        self.renew_session(member_id);
        let (protocol_type, protocol) = (request.protocol_type.clone(), request.protocol.clone());
        Ok(SyncAnswer { protocol_type, protocol, assignment })
    }

    /// Whether the member is to join again: there is a target for it, it has given up what it had to, or others did; or its join is what the
    /// next target is made with, as no heartbeat of the classic protocol makes one.
    fn must_join(&mut self, member_id: &str) -> bool {
        let Some(member) = self.consumer.members().get(member_id) else { return false };
        let may_go_on = match member.current.state {
            MemberState::Unrevoked => true,
            MemberState::Unreleased => !self.consumer.waits_for_others(member_id, member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        member.current.epoch < self.consumer.target_epoch || may_go_on || self.is_target_due()
    }

    fn is_target_due(&mut self) -> bool {
        let has_other_epoch = self.consumer.epoch > self.consumer.target_epoch;
        has_other_epoch && !self.is_target_young() || self.consumer.has_other_topics(self.topics)
    }

    /// Who is told to join must do so within its rebalance timeout.
    fn expect_join(&mut self, member_id: &str) {
        let Some(member) = self.consumer.members().get(member_id) else { return };
        let join_end = self.now.at.plus(millis(member.metadata.rebalance_timeout_ms));
        self.timers.set_if_absent(self.id, Timer::MemberJoin(member_id.to_owned()), join_end);
    }

    pub(super) fn renew_session(&mut self, member_id: &str) {
        let Some(member) = self.consumer.members().get(member_id) else { return };
        let session_end = self.now.at.plus(member.session_timeout(&self.times));
        self.timers.set(self.id, Timer::Session(member_id.to_owned()), session_end);
    }
}
