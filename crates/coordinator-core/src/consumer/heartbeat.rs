//! A member's heartbeat: who speaks, what it says, what that changes of the group, and what the member may hold from now on.
//!
//! First all is found out that may refuse it, and nothing has changed if something does; then the records are made and applied one after
//! another.

use super::derived::metadata_bytes;
use super::options::{ConsumerOptions, ConsumerTimes};
use super::pattern::{TooMuch, compile, resolve};
use super::reconcile::Step;
use super::record::Key;
use super::request::{HeartbeatAnswer, HeartbeatRequest, LEAVES_FOR_NOW};
use super::state::{Consumer, Current, Held, Member, MemberState, Metadata, Partitions};
use super::topics::Topics;
use crate::effects::{Effects, GroupError};
use crate::group::Group;
use crate::groups::{Groups, Now};
use crate::record::CoordinatorRecord;
use crate::timers::{Timer, Timers};
use base::UnixMillis;
use std::time::Duration;

/// One group with all that a decision about a heartbeat needs.
pub(super) struct Beat<'a> {
    pub(super) id: &'a str,
    pub(super) consumer: &'a mut Consumer,
    pub(super) timers: &'a mut Timers,
    pub(super) options: &'a ConsumerOptions,
    pub(super) times: ConsumerTimes,
    pub(super) topics: &'a Topics<'a>,
    pub(super) now: Now,
    /// Bytes of a record at the most.
    pub(super) record_bytes_max: usize,
    /// What is due can't be stored, and is left undone.
    pub(super) is_too_large: bool,
    /// Where in `fx` its records begin.
    pub(super) start: usize,
    pub(super) fx: &'a mut Effects,
}

/// A member that may speak.
struct Speaker {
    member_id: String,
    /// The static member whose place it takes.
    replaces: Option<String>,
    /// What it says of itself by now.
    metadata: Metadata,
}

impl Groups {
    /// A member of a consumer group is there, for the first time or again, or leaves.
    ///
    /// # Errors
    /// What it must do instead of going on. Nothing has changed, but where records that the group needs can't be stored: then what the
    /// member said is known.
    pub fn consumer_heartbeat(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        request: &HeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<HeartbeatAnswer, GroupError> {
        request.check(&self.options.consumer)?;
        if request.leaves() {
            return self.consumer_leave(now, topics, request, fx);
        }
        let upgrade = self.upgrade_for(request, topics)?;
        let speaker = self.admit(request, topics, upgrade.as_ref().map(|upgrade| upgrade.consumer.as_ref()))?;
        match upgrade {
            Some(upgrade) => self.upgrade(&request.group, upgrade, now, fx),
            None => self.make_consumer(&request.group, fx),
        }
        let Groups { options, groups, timers, .. } = self;
        let found = groups.get_mut(&request.group).and_then(|group| group.consumer.as_mut());
        let consumer = found.ok_or(GroupError::NotFound)?;
        let id = request.group.as_str();
        let start = fx.records.len();
        let (options, record_bytes_max) = (&options.consumer, options.record_bytes_max);
        let times = request.times.unwrap_or(options.times);
        consumer.times = request.times;
        let is_too_large = false;
        let mut beat =
            Beat { id, consumer, timers, options, times, topics, now, record_bytes_max, is_too_large, start, fx };
        let answer = beat.hear(request, speaker);
        let is_too_large = beat.is_too_large;
        self.recount(&request.group);
        if is_too_large { Err(GroupError::RecordTooLarge) } else { Ok(answer) }
    }

    /// A member is there, whatever becomes of what it says: for one whose heartbeat has to wait for room in the log. Changes nothing but
    /// when its session ends.
    pub fn consumer_is_there(&mut self, now: Now, request: &HeartbeatRequest) {
        let Groups { options, groups, timers, .. } = self;
        let consumer = groups.get(&request.group).and_then(|group| group.consumer.as_ref());
        let member = consumer.and_then(|consumer| consumer.members().get(&request.member_id));
        if member.is_some_and(|member| !request.joins() && member.check_epoch(request).is_ok()) {
            let times = request.times.unwrap_or(options.consumer.times);
            let session_end = now.at.plus(times.session_timeout);
            timers.set(&request.group, Timer::Session(request.member_id.clone()), session_end);
        }
    }

    /// Finds out who speaks, and all that may refuse it.
    fn admit(
        &self,
        request: &HeartbeatRequest,
        topics: &Topics<'_>,
        upgraded: Option<&Consumer>,
    ) -> Result<Speaker, GroupError> {
        let group = self.groups.get(&request.group);
        let nobody = Consumer::default();
        let consumer = match (upgraded, group) {
            (Some(upgraded), _) => upgraded,
            (None, Some(Group { consumer: Some(consumer), .. })) => consumer.as_ref(),
            (None, Some(group)) if request.joins() && group.streams.is_none() && group.is_empty() => &nobody,
            (None, None) if request.joins() => &nobody,
            (None, Some(_)) => return Err(GroupError::NotConsumer),
            (None, None) => return Err(GroupError::NotFound),
        };
        let options = &self.options.consumer;
        if consumer.members().len() >= options.members_max && !consumer.members().contains_key(&request.member_id) {
            return Err(GroupError::Full);
        }
        let (known, replaces) = consumer.find(request)?;
        let metadata = request.said(known.map_or(&Metadata::default(), |member| &member.metadata));
        if !metadata.regex.is_empty() && consumer.regex_members(&metadata.regex) == 0 {
            if consumer.regexes().len() >= options.regexes_max {
                return Err(GroupError::Full);
            }
            let compiled = compile(&metadata.regex, options)?;
            // Whether it takes too much is found out before anything changes.
            resolve(&compiled, topics, UnixMillis(0)).map_err(|TooMuch| GroupError::InvalidRegex)?;
        }
        let record = CoordinatorRecord::consumer_metadata(&request.group, request.id(), &metadata);
        if record.len() > self.options.record_bytes_max {
            return Err(GroupError::RecordTooLarge);
        }
        let before = known.map_or(0, |member| metadata_bytes(&member.metadata));
        let grows = metadata_bytes(&metadata).saturating_sub(before);
        if grows > 0 && (grows > self.room || consumer.bytes() + grows > self.options.group_bytes_max) {
            return Err(GroupError::Full);
        }
        Ok(Speaker { member_id: request.id().to_owned(), replaces, metadata })
    }

    /// The group is one of consumers from now on. One of the classic protocol gives way if nobody is in it; its offsets stay.
    fn make_consumer(&mut self, id: &str, fx: &mut Effects) {
        let group = self.groups.entry(id.to_owned()).or_default();
        if group.consumer.is_none() {
            if group.stored.is_some() {
                fx.records.push(CoordinatorRecord::group(id, None));
            }
            group.forget_classic();
            group.consumer = Some(Box::default());
            self.timers.cancel_all(id);
        }
    }
}

impl Consumer {
    /// The member that speaks, where it is known, and the one whose place it takes.
    fn find(&self, request: &HeartbeatRequest) -> Result<(Option<&Member>, Option<String>), GroupError> {
        let known = self.members().get(request.id());
        let Some(instance_id) = &request.instance_id else {
            return match known {
                Some(member) => member.check_epoch(request).map(|()| (Some(member), None)),
                None if request.joins() => Ok((None, None)),
                None => Err(GroupError::UnknownMember),
            };
        };
        let holder_id = self.instance(instance_id);
        let holder = holder_id.and_then(|id| Some((id, self.members().get(id)?)));
        match holder {
            None if request.joins() => Ok((known, None)),
            None => Err(GroupError::UnknownMember),
            // Who has not left keeps its name, whoever asks for it. At epoch 0 is one that a crash has left, and that nobody was told of.
            // One of the classic protocol does not tell when it leaves for good, and gives way.
            Some((_, member))
                if request.joins() && !member.is_classic() && !matches!(member.current.epoch, LEAVES_FOR_NOW | 0) =>
            {
                Err(GroupError::UnreleasedInstance)
            }
            Some((id, member)) if request.joins() => Ok((Some(member), Some(id.clone()))),
            Some((id, _)) if *id != request.member_id => Err(GroupError::FencedInstance),
            Some((_, member)) => member.check_epoch(request).map(|()| (Some(member), None)),
        }
    }
}

impl Member {
    /// A member speaks at its epoch, or at the one before, where its last answer was lost: then it can't hold more than it is to.
    fn check_epoch(&self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let Current { epoch, previous_epoch, state, assigned, .. } = &self.current;
        let has_lost_answer = request.member_epoch == *previous_epoch
            && request.member_epoch < *epoch
            && request.owned.as_ref().is_some_and(|owned| holds_all(assigned, owned));
        if !request.joins() && request.member_epoch != *epoch && !has_lost_answer {
            return Err(GroupError::FencedMemberEpoch);
        }
        let holds_nothing = request.owned.as_ref().is_some_and(Partitions::is_empty);
        if *state == MemberState::Unknown && !holds_nothing {
            return Err(GroupError::FencedMemberEpoch);
        }
        Ok(())
    }
}

fn holds_all(held: &Held, wanted: &Partitions) -> bool {
    wanted.iter().all(|(topic, partitions)| {
        let held = held.get(topic);
        partitions.iter().all(|partition| held.is_some_and(|held| held.contains_key(partition)))
    })
}

impl Beat<'_> {
    fn hear(&mut self, request: &HeartbeatRequest, speaker: Speaker) -> HeartbeatAnswer {
        let Speaker { member_id, replaces, metadata } = speaker;
        if let Some(old) = replaces {
            self.replace(&old, &member_id);
        }
        let before = self.current(&member_id).assigned.clone();
        let resubscribes = self.say(&member_id, metadata);
        let matches_others = self.match_regexes();
        self.update_epoch(resubscribes || matches_others);
        self.update_target();
        self.reconcile(&member_id, resubscribes, request.owned.as_ref());
        self.renew_session(&member_id);
        let current = self.current(&member_id);
        let is_told = request.joins() || request.is_full() || current.assigned != before;
        HeartbeatAnswer {
            member_epoch: current.epoch,
            heartbeat_interval_ms: whole_millis(self.times.heartbeat_interval),
            assignment: is_told.then(|| partitions_of(&current.assigned)),
            member_id,
        }
    }

    pub(super) fn current(&self, member_id: &str) -> Current {
        self.consumer.members().get(member_id).map(|member| member.current.clone()).unwrap_or_default()
    }

    /// A static member is back under another id: what was to be the old one's, and what it held, is the new one's. It is there before the
    /// old one goes: whatever a crash leaves of this, nothing is without an owner for long.
    pub(super) fn replace(&mut self, old: &str, new: &str) {
        let Some(Member { metadata, current }) = self.consumer.members().get(old).cloned() else { return };
        let target = self.consumer.targets().get(old).cloned().unwrap_or_default();
        let current = Current { epoch: 0, previous_epoch: 0, ..current };
        self.fx.records.push(CoordinatorRecord::consumer_metadata(self.id, new, &metadata));
        self.fx.records.push(CoordinatorRecord::consumer_target(self.id, new, &target));
        self.fx.records.push(CoordinatorRecord::consumer_current(self.id, new, &current));
        self.consumer.put_target(new, target);
        self.consumer.put_member(new, Member { metadata, current });
        if old != new {
            self.remove(old);
        }
    }

    /// Takes a member out, with all that is known of it.
    pub(super) fn remove(&mut self, member_id: &str) {
        for key in [Key::Current, Key::Target, Key::Metadata] {
            self.fx.records.push(CoordinatorRecord::consumer_gone(self.id, &key(member_id.to_owned())));
        }
        self.consumer.remove_target(member_id);
        self.consumer.remove_member(member_id);
        for timer in [Timer::Session, Timer::Revocation, Timer::MemberJoin, Timer::MemberSync] {
            self.timers.cancel(self.id, timer(member_id.to_owned()));
        }
    }

    /// What the member says of itself; whether it subscribes to something else than before.
    pub(super) fn say(&mut self, member_id: &str, metadata: Metadata) -> bool {
        let before = self.consumer.members().get(member_id).map(|member| member.metadata.clone());
        if before.as_ref() == Some(&metadata) {
            return false;
        }
        let before = before.unwrap_or_default();
        let has_other_regex = before.regex != metadata.regex;
        let resubscribes = has_other_regex || before.names != metadata.names;
        self.fx.records.push(CoordinatorRecord::consumer_metadata(self.id, member_id, &metadata));
        self.consumer.put_metadata(member_id, metadata);
        if has_other_regex {
            self.forget_regex(&before.regex);
        }
        resubscribes
    }

    /// Where nobody subscribes to it any more.
    pub(super) fn forget_regex(&mut self, regex: &str) {
        if !regex.is_empty() && self.consumer.regex_members(regex) == 0 && self.consumer.remove_regex(regex) {
            self.fx.records.push(CoordinatorRecord::consumer_gone(self.id, &Key::Regex(regex.to_owned())));
        }
    }

    /// The member takes its next step towards the target. While it is to give something up, it has so long for that.
    pub(super) fn reconcile(&mut self, member_id: &str, resubscribes: bool, owned: Option<&Partitions>) {
        let consumer = &*self.consumer;
        let Some(member) = consumer.members().get(member_id) else { return };
        if member.current.is_reconciled(consumer.target_epoch) && !resubscribes {
            return;
        }
        let nothing = Partitions::new();
        let step = Step {
            current: &member.current,
            target_epoch: consumer.target_epoch,
            target: consumer.targets().get(member_id).unwrap_or(&nothing),
            subscribed: &consumer.topics_of(&member.metadata, self.topics),
            resubscribes,
            owned,
            is_held: &|topic, partition| consumer.is_held(topic, partition),
        };
        let next = step.next();
        if next == member.current {
            return;
        }
        let timeout_ms = u64::try_from(member.metadata.rebalance_timeout_ms).unwrap_or(0);
        let timer = Timer::Revocation(member_id.to_owned());
        // One of the classic protocol is told to join, and has so long for that.
        if next.is_unrevoked() && !member.is_classic() {
            self.timers.set(self.id, timer, self.now.at.plus(Duration::from_millis(timeout_ms)));
        } else {
            self.timers.cancel(self.id, timer);
        }
        self.fx.records.push(CoordinatorRecord::consumer_current(self.id, member_id, &next));
        self.consumer.put_current(member_id, next);
    }
}

pub(super) fn partitions_of(held: &Held) -> Partitions {
    held.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}

fn whole_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
