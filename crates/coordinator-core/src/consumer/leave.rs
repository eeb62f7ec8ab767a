//! Leaving: by a member's own word, because nothing was heard of it, or because it keeps what is not its own any more.

use super::heartbeat::Beat;
use super::options::ConsumerTimes;
use super::request::{HeartbeatAnswer, HeartbeatRequest, LEAVES_FOR_NOW};
use super::state::{Consumer, Current, Held, Member};
use super::topics::Topics;
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::leaving::LeavingMember;
use crate::record::CoordinatorRecord;
use crate::timers::Timer;
use std::collections::BTreeSet;
use std::time::Duration;

impl Groups {
    pub(super) fn consumer_leave(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        request: &HeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<HeartbeatAnswer, GroupError> {
        self.find(&request.group)?;
        let mut beat = self.beat(&request.group, now, topics, fx).ok_or(GroupError::NotConsumer)?;
        beat.consumer.find_leaving(request)?;
        if request.member_epoch == LEAVES_FOR_NOW {
            beat.leave_for_now(&request.member_id);
        } else {
            self.fence(&request.group, &[request.member_id.clone()].into(), now, topics, fx);
        }
        self.recount(&request.group);
        Ok(HeartbeatAnswer {
            member_id: request.member_id.clone(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// Does what is due with a member of a consumer group.
    pub(crate) fn consumer_tick(
        &mut self,
        group: &str,
        timer: &Timer,
        now: Now,
        topics: &Topics<'_>,
        fx: &mut Effects,
    ) {
        let Some(consumer) = self.groups.get(group).and_then(|group| group.consumer.as_ref()) else { return };
        let is_over = |member: &Member| !matches!(timer, Timer::Revocation(_)) || member.current.is_unrevoked();
        let member_id = match timer {
            Timer::Session(id) | Timer::Revocation(id) | Timer::MemberJoin(id) | Timer::MemberSync(id) => id,
            Timer::Join | Timer::Sync => return,
        };
        if consumer.members().get(member_id).is_some_and(is_over) {
            self.fence(group, &[member_id.clone()].into(), now, topics, fx);
        }
    }

    /// All records are replayed: from now on members must be heard of, within the periods of their groups.
    pub(crate) fn consumer_loaded(&mut self, now: Now, times_of: impl Fn(&str) -> Option<ConsumerTimes>) {
        let Groups { groups, timers, options, .. } = self;
        let consumers = groups.iter().filter_map(|(id, group)| Some((id, group.consumer.as_ref()?)));
        for (id, consumer) in consumers {
            let times = times_of(id).unwrap_or(options.consumer.times);
            for (member_id, member) in consumer.members() {
                let session_end = now.at.plus(member.session_timeout(&times));
                timers.set(id, Timer::Session(member_id.clone()), session_end);
                // One of the classic protocol is told to join, which it is to do in time.
                if member.current.is_unrevoked() && !member.is_classic() {
                    let timeout_ms = u64::try_from(member.metadata.rebalance_timeout_ms).unwrap_or(0);
                    let at = now.at.plus(Duration::from_millis(timeout_ms));
                    timers.set(id, Timer::Revocation(member_id.clone()), at);
                }
            }
        }
    }

    /// Members leave by the older protocol's request, which administrators send as well; what becomes of each stands at its place.
    pub(crate) fn leave_consumers(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        group: &str,
        members: &[LeavingMember],
        fx: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let Some(consumer) = self.groups.get(group).and_then(|group| group.consumer.as_ref()) else {
            return Vec::new();
        };
        let mut leaving = BTreeSet::new();
        let leave = |member: &LeavingMember| {
            leaving.insert(consumer.leaving(member)?.to_owned());
            Ok(())
        };
        let left: Vec<_> = members.iter().map(leave).collect();
        self.fence(group, &leaving, now, topics, fx);
        self.recount(group);
        left
    }

    pub(super) fn beat<'a>(
        &'a mut self,
        id: &'a str,
        now: Now,
        topics: &'a Topics<'a>,
        fx: &'a mut Effects,
    ) -> Option<Beat<'a>> {
        let Groups { options, groups, timers, .. } = self;
        let consumer = groups.get_mut(id)?.consumer.as_mut()?;
        let start = fx.records.len();
        let (options, record_bytes_max) = (&options.consumer, options.record_bytes_max);
        let (times, is_too_large) = (consumer.times.unwrap_or(options.times), false);
        Some(Beat { id, consumer, timers, options, times, topics, now, record_bytes_max, is_too_large, start, fx })
    }
}

impl Consumer {
    fn find_leaving(&self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let Some(instance_id) = &request.instance_id else {
            let is_known = self.members().contains_key(&request.member_id);
            return if is_known { Ok(()) } else { Err(GroupError::UnknownMember) };
        };
        match self.instance(instance_id) {
            None => Err(GroupError::UnknownMember),
            Some(holder) if *holder != request.member_id => Err(GroupError::FencedInstance),
            Some(_) => Ok(()),
        }
    }

    /// Which member is meant: a static one may be named by its instance id alone.
    fn leaving<'a>(&'a self, leaving: &'a LeavingMember) -> Result<&'a str, GroupError> {
        let LeavingMember { member_id, instance_id } = leaving;
        let Some(instance_id) = instance_id else {
            let known = self.members().get_key_value(member_id);
            return known.map(|(id, _)| id.as_str()).ok_or(GroupError::UnknownMember);
        };
        let holder = self.instance(instance_id).ok_or(GroupError::UnknownMember)?;
        let is_meant = member_id.is_empty() || member_id == holder;
        if is_meant { Ok(holder) } else { Err(GroupError::FencedInstance) }
    }
}

impl Beat<'_> {
    /// A static member goes and will be back: what it is assigned stays its own as long as its session lasts.
    fn leave_for_now(&mut self, member_id: &str) {
        let Some(Member { current, .. }) = self.consumer.members().get(member_id) else { return };
        let mut assigned = current.assigned.clone();
        // Who comes back may commit for all of it, at whatever epoch that is.
        assigned.values_mut().flat_map(|partitions| partitions.values_mut()).for_each(|epoch| *epoch = 0);
        let gone = Current { epoch: LEAVES_FOR_NOW, assigned, revoking: Held::new(), ..current.clone() };
        self.timers.cancel(self.id, Timer::Revocation(member_id.to_owned()));
        self.fx.records.push(CoordinatorRecord::consumer_current(self.id, member_id, &gone));
        self.consumer.put_current(member_id, gone);
    }

    /// Takes a member out, with the expression that nobody else subscribes to.
    pub(super) fn take_out(&mut self, member_id: &str) {
        let regex = self.consumer.members().get(member_id).map(|member| member.metadata.regex.clone());
        self.remove(member_id);
        self.forget_regex(&regex.unwrap_or_default());
    }

    pub(super) fn go_on_without(&mut self) {
        // What a group without the member subscribes to was seen with the member in it. After a takeover nobody has looked at the topics yet: the next heartbeat does.
        let hash = match self.consumer.seen {
            Some(_) => self.consumer.hash_of_seen(),
            None => self.consumer.metadata_hash,
        };
        self.raise_epoch(hash);
    }
}
