//! Leaving: by a member's own word, because nothing was heard of it, or because it keeps what is not its own any more.

use super::heartbeat::Beat;
use super::options::ConsumerTimes;
use super::request::{HeartbeatAnswer, HeartbeatRequest, LEAVES_FOR_NOW};
use super::state::{Consumer, Current, Held, Member, MemberState};
use super::topics::Topics;
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::leaving::LeavingMember;
use crate::record::CoordinatorRecord;
use crate::timers::Timer;
use std::time::Duration;

/// Without a look at the topics: what a group without the member subscribes to was seen with the member in it.
const UNSEEN: Topics<'static> = Topics { version: 0, find: &|_| None, name_of: &|_| None, names: &|_| {} };

impl Groups {
    pub(super) fn consumer_leave(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<HeartbeatAnswer, GroupError> {
        self.find(&request.group)?;
        let mut beat = self.beat(&request.group, now, fx).ok_or(GroupError::NotConsumer)?;
        beat.consumer.find_leaving(request)?;
        if request.member_epoch == LEAVES_FOR_NOW {
            beat.leave_for_now(&request.member_id);
        } else {
            beat.fence(&request.member_id);
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
    pub(crate) fn consumer_tick(&mut self, group: &str, timer: &Timer, now: Now, fx: &mut Effects) {
        let Some(mut beat) = self.beat(group, now, fx) else { return };
        match timer {
            Timer::Session(member_id) if beat.consumer.members().contains_key(member_id) => beat.fence(member_id),
            Timer::Revocation(member_id) => {
                let found = beat.consumer.members().get(member_id);
                if found.is_some_and(|member| member.current.state == MemberState::Unrevoked) {
                    beat.fence(member_id);
                }
            }
            Timer::Session(_) | Timer::Join | Timer::Sync => {}
        }
    }

    /// All records are replayed: from now on members must be heard of, within the periods of their groups.
    pub(crate) fn consumer_loaded(&mut self, now: Now, times_of: impl Fn(&str) -> Option<ConsumerTimes>) {
        let Groups { groups, timers, options, .. } = self;
        let consumers = groups.iter().filter_map(|(id, group)| Some((id, group.consumer.as_ref()?)));
        for (id, consumer) in consumers {
            let times = times_of(id).unwrap_or(options.consumer.times);
            for (member_id, member) in consumer.members() {
                let session_end = now.at.plus(times.session_timeout);
                timers.set(id, Timer::Session(member_id.clone()), session_end);
                if member.current.state == MemberState::Unrevoked {
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
        group: &str,
        members: &[LeavingMember],
        fx: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let Some(mut beat) = self.beat(group, now, fx) else { return Vec::new() };
        let leave = |member: &LeavingMember| {
            let member_id = beat.consumer.leaving(member)?.to_owned();
            beat.take_out(&member_id);
            Ok(())
        };
        let left: Vec<_> = members.iter().map(leave).collect();
        if left.iter().any(Result::is_ok) {
            beat.go_on_without();
        }
        self.recount(group);
        left
    }

    fn beat<'a>(&'a mut self, id: &'a str, now: Now, fx: &'a mut Effects) -> Option<Beat<'a>> {
        let Groups { options, groups, timers, .. } = self;
        let consumer = groups.get_mut(id)?.consumer.as_mut()?;
        let start = fx.records.len();
        let (options, record_bytes_max) = (&options.consumer, options.record_bytes_max);
        let (times, topics, is_too_large) = (options.times, &UNSEEN, false);
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

    /// The member is out; the next heartbeat of another one assigns what was its own.
    fn fence(&mut self, member_id: &str) {
        self.take_out(member_id);
        self.go_on_without();
    }

    fn take_out(&mut self, member_id: &str) {
        let regex = self.consumer.members().get(member_id).map(|member| member.metadata.regex.clone());
        self.remove(member_id);
        self.forget_regex(&regex.unwrap_or_default());
    }

    fn go_on_without(&mut self) {
        // After a takeover nobody has looked at the topics yet: the next heartbeat does.
        let hash = match self.consumer.seen {
            Some(_) => self.consumer.hash_of_seen(),
            None => self.consumer.metadata_hash,
        };
        self.raise_epoch(hash);
    }
}
