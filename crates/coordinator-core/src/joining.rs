//! Joining: who is let in, when a rebalance begins, and when all who are there begin the next generation.
//!
//! ```text
//! Empty ──first member──▶ PreparingRebalance ──all have joined, or time is up──▶ CompletingRebalance ──leader syncs──▶ Stable
//!   ▲                        ▲                                                      │                                 │
//!   └──── nobody is left ────┴──────── a member comes, goes, or says something else ┴─────────────────────────────────┘
//! ```
//!
//! A request waits (its ticket lies in its member) until the generation begins or the member is removed. Nothing of a rebalance lasts
//! before the leader has assigned, as in Kafka: after a takeover the members of the last stored generation begin anew.

use crate::consumer::Topics;
use crate::effects::{Effects, GroupError, JoinAnswer, Ticket};
use crate::group::{ENTRY_BYTES, Group, InitialDelay, Member, Protocol, State, protocols_bytes};
use crate::groups::{Groups, Now, Work, millis, own};
use crate::record::TEXT_BYTES_MAX;
use crate::timers::Timer;
use std::time::Duration;

/// What is left for the member id's unique part.
const ID_SUFFIX_BYTES: usize = 37;

/// A JoinGroup request.
#[derive(Debug, Clone, Default)]
pub struct JoinRequest {
    pub group: String,
    /// Empty: a new member.
    pub member_id: String,
    /// A static member's name.
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// The preferred one first.
    pub protocols: Vec<Protocol>,
    /// The client understands [`GroupError::MemberIdRequired`]: a new dynamic member gets its id first and joins with it then, so
    /// that one that gives up leaves nothing behind.
    pub joins_in_two_steps: bool,
    /// The client understands [`JoinAnswer::skip_assignment`].
    pub may_skip_assignment: bool,
    /// Unique text, drawn anew for each request: the end of a new member's id.
    pub unique: String,
}

impl JoinRequest {
    /// The id of a new member.
    pub(crate) fn new_id(&self) -> String {
        let name = self.instance_id.as_ref().unwrap_or(&self.client_id);
        format!("{name}-{}", self.unique)
    }
}

impl Groups {
    /// A member joins, again or for the first time; the answer comes by the ticket, now or later.
    pub fn join(&mut self, now: Now, topics: &Topics<'_>, ticket: Ticket, request: &JoinRequest, fx: &mut Effects) {
        let is_new = request.member_id.is_empty();
        if let Err(error) = self.check_join(request) {
            return fx.join(Some(ticket), JoinAnswer::refused(&request.member_id, error));
        }
        if self.has_consumers(&request.group) {
            return self.join_consumers(now, topics, ticket, request, fx);
        }
        if let Err(error) = self.make_classic(&request.group, is_new, fx) {
            return fx.join(Some(ticket), JoinAnswer::refused(&request.member_id, error));
        }
        let is_new_group = !self.groups.contains_key(&request.group);
        if is_new_group {
            if !is_new {
                return fx.join(Some(ticket), JoinAnswer::refused(&request.member_id, GroupError::UnknownMember));
            }
            if self.room == 0 {
                return fx.join(Some(ticket), JoinAnswer::refused("", GroupError::Full));
            }
            let group = Group { state_since: Some(now.wall), ..Group::default() };
            self.groups.insert(request.group.clone(), group);
        }
        let room = self.room;
        let Some(mut work) = self.work(&request.group, now, fx) else { return };
        if is_new_group {
            // What comes of the group later rests on its being there.
            let record = work.record();
            work.store(record);
        }
        if work.accepts(request, room) {
            if is_new { work.join_new(ticket, request) } else { work.join_known(ticket, request) }
        } else {
            work.expel(&request.member_id);
            work.fx.join(Some(ticket), JoinAnswer::refused("", GroupError::Full));
        }
        self.recount(&request.group);
    }

    /// A group of consumers or streams, of the newer protocols, gives way to a new member of this one if nobody is in it; its offsets stay.
    fn make_classic(&mut self, id: &str, is_new: bool, fx: &mut Effects) -> Result<(), GroupError> {
        let Some(group) = self.groups.get_mut(id) else { return Ok(()) };
        if group.share.is_some() {
            return Err(GroupError::InconsistentProtocol);
        }
        let (has_members, tombstones) = match (&group.consumer, &group.streams) {
            (Some(consumer), _) => (!consumer.members().is_empty(), consumer.tombstones(id)),
            (None, Some(streams)) => (!streams.members().is_empty(), streams.tombstones(id)),
            (None, None) => return Ok(()),
        };
        if has_members {
            return Err(GroupError::InconsistentProtocol);
        }
        if !is_new {
            return Err(GroupError::UnknownMember);
        }
        fx.records.extend(tombstones);
        (group.consumer, group.streams) = (None, None);
        self.timers.cancel_all(id);
        if group.offsets.is_empty() {
            self.drop_group(id);
        }
        Ok(())
    }

    fn check_join(&self, request: &JoinRequest) -> Result<(), GroupError> {
        if request.group.is_empty() || request.group.len() > TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let timeout = millis(request.session_timeout_ms);
        if timeout < self.options.session_timeout_min || timeout > self.options.session_timeout_max {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        let texts = [&request.client_id, &request.client_host, &request.protocol_type];
        let mut texts = texts.into_iter().chain(&request.instance_id).chain(names);
        let too_long = texts.any(|text| text.len() > TEXT_BYTES_MAX - ID_SUFFIX_BYTES);
        if too_long { Err(GroupError::InvalidRequest) } else { Ok(()) }
    }
}

impl Work<'_> {
    /// Whether there is room. Those who are in stay in; while they join anew, the first to come are.
    fn accepts(&self, request: &JoinRequest, room_bytes: usize) -> bool {
        let group = &*self.group;
        let known = group.members.get(&request.member_id);
        let is_known = known.is_some() || group.pending.contains(&request.member_id);
        let before = known.map_or(0, |member| protocols_bytes(&member.protocols));
        let after = protocols_bytes(&request.protocols);
        let bytes = group.member_bytes() - before + after;
        // What it says is in the group's record as well, and so is what it will be assigned: had that no room, the whole group would be
        // refused instead of the one that comes.
        let entry = if known.is_some() {
            0
        } else {
            ENTRY_BYTES + 2 * (group.usual_assignment_bytes() + group.missing_assignment_bytes())
        };
        let grows = 2 * after.saturating_sub(before) + entry;
        let handed_out = group.pending.len() < self.options.members_max || is_known;
        let room = match group.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.joining.is_some()) || group.joining() < self.options.members_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || group.members.len() < self.options.members_max
            }
        };
        room && handed_out && bytes <= self.options.group_bytes_max && grows <= room_bytes
    }

    fn join_new(&mut self, ticket: Ticket, request: &JoinRequest) {
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            return self.fx.join(Some(ticket), JoinAnswer::refused("", GroupError::InconsistentProtocol));
        }
        let member_id = request.new_id();
        if let Some(instance_id) = &request.instance_id {
            match self.group.instances.get(instance_id).cloned() {
                Some(held_by) => self.replace_static(ticket, request, instance_id, &held_by, &member_id),
                None => self.add(ticket, request, &member_id),
            }
        } else if request.joins_in_two_steps {
            self.group.pending.insert(member_id.clone());
            self.set_timer(Timer::Session(member_id.clone()), request.session_timeout_ms);
            self.fx.join(Some(ticket), JoinAnswer::refused(&member_id, GroupError::MemberIdRequired));
        } else {
            self.add(ticket, request, &member_id);
        }
    }

    fn join_known(&mut self, ticket: Ticket, request: &JoinRequest) {
        let member_id = &request.member_id;
        let instance_id = request.instance_id.as_deref();
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            return self.fx.join(Some(ticket), JoinAnswer::refused(member_id, GroupError::InconsistentProtocol));
        }
        if self.group.pending.contains(member_id) && instance_id.is_none() {
            return self.add(ticket, request, member_id);
        }
        if let Err(error) = self.group.check_member(member_id, instance_id) {
            return self.fx.join(Some(ticket), JoinAnswer::refused(member_id, error));
        }
        let says_the_same = self.group.members[member_id].protocols == request.protocols;
        let is_told_again = match self.group.state {
            // Its first answer may have been lost.
            State::CompletingRebalance => says_the_same,
            // The leader joins again where what it assigns has changed.
            State::Stable => says_the_same && !self.group.is_leader(member_id),
            State::PreparingRebalance | State::Empty => false,
        };
        if is_told_again {
            let answer = self.joined(member_id);
            self.fx.join(Some(ticket), answer);
        } else {
            self.update(ticket, request, member_id);
            self.rebalance();
        }
    }

    /// What a member of the present generation is told.
    fn joined(&self, member_id: &str) -> JoinAnswer {
        let group = &*self.group;
        let members = if group.is_leader(member_id) { group.joined_members() } else { Vec::new() };
        JoinAnswer {
            error: None,
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            skip_assignment: false,
            members,
        }
    }

    fn add(&mut self, ticket: Ticket, request: &JoinRequest, member_id: &str) {
        let member = Member {
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: owned(&request.protocols),
            is_new: true,
            joining: Some(ticket),
            ..Member::default()
        };
        if let Some(initial) = &mut self.group.initial {
            initial.extend = true;
        }
        self.group.insert(member_id, &request.protocol_type, member);
        let wait_max = whole_millis(self.options.new_member_join_max);
        self.set_timer(Timer::Session(member_id.to_owned()), wait_max);
        self.rebalance();
    }

    fn update(&mut self, ticket: Ticket, request: &JoinRequest, member_id: &str) {
        let Some(member) = self.group.members.get_mut(member_id) else { return };
        member.protocols = owned(&request.protocols);
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        let before = member.joining.replace(ticket);
        // Asked again on another connection: the first one would wait for ever.
        self.fx.join(before, JoinAnswer::refused(member_id, GroupError::RebalanceInProgress));
    }

    /// A static member is back under a new id. Where the group would not choose otherwise because of it, nothing is rebalanced.
    fn replace_static(&mut self, ticket: Ticket, request: &JoinRequest, instance_id: &str, old: &str, new: &str) {
        let led = self.group.is_leader(old);
        let Some(mut member) = self.group.members.remove(old) else { return };
        self.group.unsynced.remove(old);
        self.cancel_timer(Timer::Session(old.to_owned()));
        member.is_new = false;
        let (joining, syncing) = (member.joining.take(), member.syncing.take());
        self.fx.join(joining, JoinAnswer::refused(old, GroupError::FencedInstance));
        self.fx.sync(syncing, Err(GroupError::FencedInstance));
        self.group.members.insert(new.to_owned(), member);
        self.group.instances.insert(instance_id.to_owned(), new.to_owned());
        if led {
            self.group.leader = Some(new.to_owned());
        }
        self.update(ticket, request, new);
        self.renew_session(new);
        match self.group.state {
            State::Stable if self.group.choose_protocol() == self.group.protocol => self.take_over(request, old, new),
            State::CompletingRebalance => self.prepare_rebalance(),
            State::Stable => self.rebalance(),
            State::PreparingRebalance | State::Empty => self.complete_if_all_joined(),
        }
    }

    /// The new id takes the old one's place in the running generation.
    fn take_over(&mut self, request: &JoinRequest, old: &str, new: &str) {
        let record = self.record();
        let mut answer = self.joined(new);
        if record.len() > self.options.record_bytes_max {
            answer = JoinAnswer::refused(new, GroupError::RecordTooLarge);
        } else {
            self.store(record);
            let leads = self.group.is_leader(new);
            answer.skip_assignment = leads && request.may_skip_assignment;
            if !request.may_skip_assignment {
                // An older client would assign if it were told that it leads.
                answer.members = Vec::new();
                answer.leader = if leads { old.to_owned() } else { answer.leader };
            }
        }
        let ticket = self.group.members.get_mut(new).and_then(|member| member.joining.take());
        self.fx.join(ticket, answer);
    }

    /// Begins a rebalance, or goes on with the one that is under way.
    pub(crate) fn rebalance(&mut self) {
        match self.group.state {
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(),
        }
    }

    pub(crate) fn prepare_rebalance(&mut self) {
        if self.group.state == State::CompletingRebalance {
            self.refuse_syncs(GroupError::RebalanceInProgress);
        }
        self.group.unsynced.clear();
        self.cancel_timer(Timer::Sync);
        if self.group.state == State::Empty {
            let delay_ms = whole_millis(self.options.initial_rebalance_delay);
            let remaining_ms = self.group.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.group.initial = Some(InitialDelay { delay_ms, remaining_ms, extend: false });
            self.group.enter(State::PreparingRebalance, self.now.wall);
            self.set_timer(Timer::Join, delay_ms);
        } else {
            self.group.enter(State::PreparingRebalance, self.now.wall);
            let timeout_ms = self.group.rebalance_timeout_ms();
            self.set_timer(Timer::Join, timeout_ms);
            self.complete_if_all_joined();
        }
    }

    pub(crate) fn complete_if_all_joined(&mut self) {
        let waits = self.group.initial.is_some() || !self.group.have_all_joined();
        if self.group.state == State::PreparingRebalance && !waits {
            self.complete();
        }
    }

    pub(crate) fn join_timed_out(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        match self.group.initial {
            Some(InitialDelay { delay_ms, remaining_ms, extend: true }) if remaining_ms > 0 => {
                let next_ms = whole_millis(self.options.initial_rebalance_delay).min(remaining_ms);
                let remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
                self.group.initial = Some(InitialDelay { delay_ms: next_ms, remaining_ms, extend: false });
                self.set_timer(Timer::Join, next_ms);
            }
            _ => self.complete(),
        }
    }

    /// The next generation begins with those who have joined; static members keep their place until their session ends.
    fn complete(&mut self) {
        self.cancel_timer(Timer::Join);
        let absent = |(_, member): &(&String, &Member)| member.joining.is_none() && member.instance_id.is_none();
        let absent: Vec<String> = self.group.members.iter().filter(absent).map(|(id, _)| id.clone()).collect();
        for member_id in absent {
            self.group.remove(&member_id);
            self.cancel_timer(Timer::Session(member_id));
        }
        if !self.group.elect_joined_leader() && !self.group.members.is_empty() {
            // Only static members are left, and none of them is back: their sessions decide.
            self.group.initial = None;
            let timeout_ms = self.group.rebalance_timeout_ms();
            return self.set_timer(Timer::Join, timeout_ms);
        }
        self.group.begin_generation(self.now.wall);
        if self.group.state == State::Empty {
            let record = self.record();
            return self.store(record);
        }
        let member_ids: Vec<String> = self.group.members.keys().cloned().collect();
        for member_id in member_ids {
            let answer = self.joined(&member_id);
            if let Some(member) = self.group.members.get_mut(&member_id) {
                member.is_new = false;
                let ticket = member.joining.take();
                self.fx.join(ticket, answer);
            }
            self.renew_session(&member_id);
            self.group.unsynced.insert(member_id);
        }
        let timeout_ms = self.group.rebalance_timeout_ms();
        self.set_timer(Timer::Sync, timeout_ms);
    }
}

pub(crate) fn owned(protocols: &[Protocol]) -> Vec<Protocol> {
    protocols.iter().map(|it| Protocol { name: it.name.clone(), metadata: own(&it.metadata) }).collect()
}

fn whole_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
