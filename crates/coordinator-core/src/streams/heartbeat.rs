//! A member's heartbeat: who speaks, what it says, what that changes of the group, and what the member may run from now on.
//!
//! First all is found out that may refuse it, and nothing has changed if something does; then the records are made and applied one after
//! another.

use super::configure::{Configured, StreamsStatus, StreamsStatusCode, configure, required};
use super::options::{StreamsOptions, StreamsTimes};
use super::reconcile::{Holders, Step};
use super::record::Key;
use super::request::{StreamsHeartbeatAnswer, StreamsHeartbeatRequest};
use super::state::{Current, Member, MemberState, Metadata, Streams, TaskSets, Tasks, metadata_bytes, topology_bytes};
use crate::consumer::{Topics, hash_of_group, hash_of_topic};
use crate::effects::{Effects, GroupError};
use crate::group::{Group, State};
use crate::groups::{Groups, Now};
use crate::record::CoordinatorRecord;
use crate::timers::{Timer, Timers};
use protocol::messages::streams_group_heartbeat_request::{Subtopology, Topology};
use std::collections::BTreeMap;
use std::time::Duration;

/// One group with all that a decision about a heartbeat needs.
pub(super) struct Beat<'a> {
    pub(super) id: &'a str,
    pub(super) streams: &'a mut Streams,
    pub(super) timers: &'a mut Timers,
    pub(super) times: StreamsTimes,
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

/// What a member has said, as far as it changes something.
struct Said {
    metadata: Metadata,
    /// The group's first.
    topology: Option<Topology>,
    /// The topology was held against other topics than before.
    configured: Option<(Configured, i64)>,
}

impl Groups {
    /// A member of a streams group is there, for the first time or again, or leaves.
    ///
    /// # Errors
    /// What it must do instead of going on. Nothing has changed, but where records that the group needs can't be stored: then what the
    /// member said is known.
    pub fn streams_heartbeat(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        request: &StreamsHeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<StreamsHeartbeatAnswer, GroupError> {
        request.check()?;
        if request.leaves() {
            return self.streams_leave(now, request, fx);
        }
        let said = self.admit_to_streams(topics, request)?;
        let is_new = self.make_streams(&request.group, fx);
        let mut beat = self.streams_beat(&request.group, (now, topics), fx).ok_or(GroupError::NotFound)?;
        beat.times = request.times.unwrap_or(beat.times);
        let answer = beat.hear(request, said, is_new);
        let is_too_large = beat.is_too_large;
        self.recount(&request.group);
        if is_too_large { Err(GroupError::RecordTooLarge) } else { Ok(answer) }
    }

    /// A member is there, whatever becomes of what it says: for one whose heartbeat has to wait for room in the log. Changes nothing but
    /// when its session ends.
    pub fn streams_is_there(&mut self, now: Now, request: &StreamsHeartbeatRequest) {
        let Groups { options, groups, timers, .. } = self;
        let streams = groups.get(&request.group).and_then(|group| group.streams.as_ref());
        let member = streams.and_then(|streams| streams.members().get(&request.member_id));
        if member.is_some_and(|member| !request.joins() && member.check_epoch(request).is_ok()) {
            let session_end = now.at.plus(request.times.unwrap_or(options.streams.times).session_timeout);
            timers.set(&request.group, Timer::Session(request.member_id.clone()), session_end);
        }
    }

    /// Finds out who speaks, and all that may refuse it.
    fn admit_to_streams(&self, topics: &Topics<'_>, request: &StreamsHeartbeatRequest) -> Result<Said, GroupError> {
        let nobody = Streams::default();
        let is_free = |group: &Group| {
            group.consumer.is_none() && group.share.is_none() && group.state == State::Empty && request.joins()
        };
        let streams = match self.groups.get(&request.group) {
            Some(Group { streams: Some(streams), .. }) => streams.as_ref(),
            Some(group) if is_free(group) => &nobody,
            None if request.joins() => &nobody,
            Some(_) => return Err(GroupError::NotStreams),
            None => return Err(GroupError::NotFound),
        };
        let options = &self.options.streams;
        let known = streams.members().get(&request.member_id);
        if known.is_none() && streams.members().len() >= options.members_max {
            return Err(GroupError::Full);
        }
        match known {
            Some(member) => member.check_epoch(request)?,
            None if request.joins() => {}
            None => return Err(GroupError::UnknownMember),
        }
        let metadata = request.said(known.map_or(&Metadata::default(), |member| &member.metadata));
        let topology = streams.first_topology(request.topology.as_ref())?.cloned();
        let mut records = vec![CoordinatorRecord::streams_metadata(&request.group, &request.member_id, &metadata)];
        records.extend(topology.as_ref().map(|it| CoordinatorRecord::streams_topology(&request.group, it)));
        if records.iter().any(|record| record.len() > self.options.record_bytes_max) {
            return Err(GroupError::RecordTooLarge);
        }
        let before = known.map_or(0, |member| metadata_bytes(&member.metadata));
        let grows = metadata_bytes(&metadata).saturating_sub(before)
            + topology.as_ref().map_or(0, topology_bytes)
            + streams.task_offsets_grow(&request.member_id, &request.task_offsets);
        if grows > 0 && (grows > self.room || streams.bytes() + grows > self.options.group_bytes_max) {
            return Err(GroupError::Full);
        }
        let configured = streams.look_at(topology.as_ref(), topics, options)?;
        let current = configured.as_ref().map(|(configured, _)| configured).or(streams.configured.as_ref());
        check_tasks(request, current)?;
        if request.task_offsets.is_doubled {
            return Err(GroupError::Invalid("Task offsets contain a duplicate entry."));
        }
        Ok(Said { metadata, topology, configured })
    }

    /// The group is one of streams from now on; whether it was not. One of the classic protocol gives way if nobody is in it; its offsets stay.
    fn make_streams(&mut self, id: &str, fx: &mut Effects) -> bool {
        let group = self.groups.entry(id.to_owned()).or_default();
        let is_new = group.streams.is_none();
        if is_new {
            if group.stored.is_some() {
                fx.records.push(CoordinatorRecord::group(id, None));
            }
            group.forget_classic();
            group.streams = Some(Box::default());
            self.timers.cancel_all(id);
        }
        is_new
    }

    pub(super) fn streams_beat<'a>(
        &'a mut self,
        id: &'a str,
        (now, topics): (Now, &'a Topics<'a>),
        fx: &'a mut Effects,
    ) -> Option<Beat<'a>> {
        let Groups { options, groups, timers, .. } = self;
        let streams = groups.get_mut(id)?.streams.as_mut()?;
        let (start, is_too_large) = (fx.records.len(), false);
        let record_bytes_max = options.record_bytes_max;
        let times = options.streams.times;
        Some(Beat { id, streams, timers, times, topics, now, record_bytes_max, is_too_large, start, fx })
    }
}

impl Member {
    /// A member speaks at its epoch, or at the one before, where its last answer was lost: then it can't run more than it is to.
    fn check_epoch(&self, request: &StreamsHeartbeatRequest) -> Result<(), GroupError> {
        let Current { epoch, previous_epoch, state, assigned, .. } = &self.current;
        let owned = request.owned();
        let has_lost_answer = request.member_epoch < *epoch
            && request.member_epoch == *previous_epoch
            && owned.as_ref().is_some_and(|owned| has_all(&assigned.sets(), owned));
        if !request.joins() && request.member_epoch != *epoch && !has_lost_answer {
            return Err(GroupError::FencedMemberEpoch);
        }
        if *state == MemberState::Unknown && !owned.as_ref().is_some_and(TaskSets::is_empty) {
            return Err(GroupError::FencedMemberEpoch);
        }
        Ok(())
    }
}

fn has_all(held: &TaskSets, owned: &TaskSets) -> bool {
    let kinds = [(&held.active, &owned.active), (&held.standby, &owned.standby), (&held.warmup, &owned.warmup)];
    kinds.into_iter().all(|(held, owned)| {
        owned.iter().all(|(id, tasks)| tasks.is_empty() || held.get(id).is_some_and(|held| held.is_superset(tasks)))
    })
}

/// A member can't run what is not in the topology.
fn check_tasks(request: &StreamsHeartbeatRequest, configured: Option<&Configured>) -> Result<(), GroupError> {
    let Some(configured) = configured.filter(|configured| configured.is_ready()) else { return Ok(()) };
    let all = [&request.active, &request.standby, &request.warmup].into_iter().flatten().flat_map(Tasks::iter);
    for (id, tasks) in all {
        let Some(count) = configured.tasks.get(id) else {
            return Err(GroupError::Invalid("A subtopology does not exist in the topology."));
        };
        if tasks.iter().any(|task| !(0..*count).contains(task)) {
            return Err(GroupError::Invalid("A task is not one of its subtopology."));
        }
    }
    Ok(())
}

impl Streams {
    /// The topology that the group is to have by this, where it has none yet.
    fn first_topology<'a>(&self, said: Option<&'a Topology>) -> Result<Option<&'a Topology>, GroupError> {
        match (self.topology(), said) {
            (None, None) => Err(GroupError::Invalid("The topology is null and the group topology is also null.")),
            (None, said) => Ok(said),
            (Some(known), Some(said)) if known.epoch <= said.epoch && !is_same(known, said) => {
                Err(GroupError::Invalid("Topology updates are not supported yet."))
            }
            (Some(_), _) => Ok(None),
        }
    }

    /// Holds the topology against the topics, where these are others than before; what follows, and the hash of its topics.
    fn look_at(
        &self,
        first: Option<&Topology>,
        topics: &Topics<'_>,
        options: &StreamsOptions,
    ) -> Result<Option<(Configured, i64)>, GroupError> {
        let Some(topology) = first.or(self.topology()) else { return Ok(None) };
        if first.is_none() && self.configured.is_some() && self.seen == Some(topics.version) {
            return Ok(None);
        }
        let hash = |name: &&'_ String| Some(hash_of_topic(name, (topics.find)(name)?));
        let hashes = required(topology).into_iter().filter_map(|name| Some((name, hash(&name)?)));
        let configured = configure(topology, topics, options.tasks_max)?;
        Ok(Some((configured, hash_of_group(hashes))))
    }

    /// Who has what, as far as it concerns a member of that process.
    fn holders<'a>(&'a self, process_id: &str) -> Holders<'a> {
        let mut holders = Holders::default();
        for Member { metadata, current } in self.members().values() {
            let is_here = metadata.process_id == process_id;
            for held in [&current.assigned, &current.revoking] {
                let active = held.active.iter().flat_map(|(id, tasks)| tasks.keys().map(|task| (id.as_str(), *task)));
                let copies = held.standby.iter().chain(&held.warmup);
                let copies = copies.flat_map(|(id, tasks)| tasks.iter().map(|task| (id.as_str(), *task)));
                holders.active.extend(active.clone());
                if is_here {
                    holders.at_process.extend(active.chain(copies));
                }
            }
        }
        holders
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Whether two topologies are the same, whatever the order of their parts.
fn is_same(one: &Topology, other: &Topology) -> bool {
    let parts = |topology: &'_ Topology| -> BTreeMap<String, Subtopology> {
        topology.subtopologies.iter().map(|it| (it.subtopology_id.clone(), it.clone())).collect()
    };
    one.epoch == other.epoch && (one == other || parts(one) == parts(other))
}

impl Beat<'_> {
    fn hear(&mut self, request: &StreamsHeartbeatRequest, said: Said, is_new: bool) -> StreamsHeartbeatAnswer {
        let member_id = &request.member_id;
        let was_empty = self.streams.members().is_empty();
        let before = self.current(member_id).assigned;
        let has_changed = self.say(member_id, said);
        self.streams.put_task_offsets(member_id, &request.task_offsets);
        self.update_epoch(has_changed);
        self.delay(was_empty);
        let delayed = self.update_target();
        self.reconcile(member_id, request.owned().as_ref());
        self.timers.set(self.id, Timer::Session(member_id.clone()), self.now.at.plus(self.times.session_timeout));
        if request.shuts_down {
            self.streams.shutdown = Some(member_id.clone());
        }
        let current = self.current(member_id);
        // Who says that it runs something else has lost an answer; but who is to give something up may need a while.
        let knows = |owned: TaskSets| current.state == MemberState::Unrevoked || owned == current.assigned.sets();
        let is_told = request.joins() || current.assigned != before || !request.owned().is_none_or(knows);
        let has_endpoint =
            self.streams.members().get(member_id).is_some_and(|member| member.metadata.endpoint.is_some());
        if is_told && has_endpoint && !is_new {
            self.streams.endpoint_epoch = self.streams.endpoint_epoch.wrapping_add(1);
        }
        let endpoint_epoch = self.streams.endpoint_epoch;
        let knows_endpoints = request.endpoint_epoch == endpoint_epoch && !(is_new && has_endpoint);
        StreamsHeartbeatAnswer {
            member_id: member_id.clone(),
            member_epoch: current.epoch,
            heartbeat_interval_ms: millis(self.times.heartbeat_interval),
            task_offset_interval_ms: millis(self.times.task_offset_interval),
            acceptable_recovery_lag: self.times.acceptable_recovery_lag,
            status: self.status(member_id, delayed),
            tasks: is_told.then(|| current.assigned.sets()),
            endpoint_epoch,
            tells_endpoints: !knows_endpoints,
            create: self.streams.configured.as_ref().map(|it| it.create.clone()).unwrap_or_default(),
        }
    }

    fn current(&self, member_id: &str) -> Current {
        self.streams.members().get(member_id).map(|member| member.current.clone()).unwrap_or_default()
    }

    /// What the member says of itself and of the topology, and what that means with the topics that there are; whether the group changes by
    /// it.
    fn say(&mut self, member_id: &str, Said { metadata, topology, configured }: Said) -> bool {
        let mut has_changed = topology.is_some();
        if self.streams.members().get(member_id).is_none_or(|member| member.metadata != metadata) {
            self.fx.records.push(CoordinatorRecord::streams_metadata(self.id, member_id, &metadata));
            self.streams.put_metadata(member_id, metadata);
            has_changed = true;
        }
        if let Some(topology) = topology {
            self.fx.records.push(CoordinatorRecord::streams_topology(self.id, &topology));
            self.streams.put_topology(topology);
        }
        if let Some((configured, hash)) = configured {
            has_changed |= hash != self.streams.metadata_hash;
            self.streams.metadata_hash = hash;
            (self.streams.configured, self.streams.seen) = (Some(configured), Some(self.topics.version));
        }
        has_changed
    }

    /// The group goes to its next epoch where something has changed that its assignment follows from.
    fn update_epoch(&mut self, has_changed: bool) {
        let is_ready = self.streams.configured.as_ref().is_some_and(Configured::is_ready);
        let topology_epoch = self.streams.topology().filter(|_| is_ready).map_or(-1, |topology| topology.epoch);
        let configs = BTreeMap::from([("num.standby.replicas".to_owned(), self.times.standby_replicas.to_string())]);
        let is_same =
            self.streams.validated_topology_epoch == topology_epoch && self.streams.assignment_configs == configs;
        if has_changed || !is_same {
            self.streams.validated_topology_epoch = topology_epoch;
            self.streams.assignment_configs = configs;
            self.raise_epoch();
        }
    }

    /// The record goes before all others of this decision: what may be left of them after a crash is assigned anew then.
    pub(super) fn raise_epoch(&mut self) {
        self.streams.epoch = self.streams.epoch.saturating_add(1);
        let record = CoordinatorRecord::streams_epoch(self.id, &self.streams.epoch_record());
        self.fx.records.insert(self.start, record);
    }

    /// The first member waits for more.
    fn delay(&mut self, was_empty: bool) {
        let delay = self.times.initial_rebalance_delay;
        if was_empty && !self.streams.is_delayed && delay > Duration::ZERO {
            self.streams.is_delayed = true;
            self.timers.set(self.id, Timer::Join, self.now.at.plus(delay));
        }
    }

    /// The member's next step.
    fn reconcile(&mut self, member_id: &str, owned: Option<&TaskSets>) {
        let Some(Member { metadata, current }) = self.streams.members().get(member_id) else { return };
        let target_epoch = self.streams.target_epoch;
        if current.is_reconciled(target_epoch) {
            return;
        }
        let nothing = TaskSets::default();
        let target = self.streams.targets().get(member_id).filter(|_| !self.streams.is_delayed).unwrap_or(&nothing);
        let holders = self.streams.holders(&metadata.process_id);
        let next = Step { current, target_epoch, target, owned, holders: &holders }.next();
        if next == *current {
            return;
        }
        let timer = Timer::Revocation(member_id.to_owned());
        if next.state == MemberState::Unrevoked {
            let timeout_ms = u64::try_from(metadata.rebalance_timeout_ms).unwrap_or(0);
            self.timers.set(self.id, timer, self.now.at.plus(Duration::from_millis(timeout_ms)));
        } else {
            self.timers.cancel(self.id, timer);
        }
        self.fx.records.push(CoordinatorRecord::streams_current(self.id, member_id, &next));
        self.streams.put_current(member_id, next);
    }

    fn status(&self, member_id: &str, delayed: Option<StreamsStatus>) -> Vec<StreamsStatus> {
        let mut all = Vec::new();
        let epochs = self.streams.topology().map(|topology| topology.epoch);
        let own = self.streams.members().get(member_id).map(|member| member.metadata.topology_epoch);
        if let (Some(epoch), Some(own)) = (epochs, own)
            && own < epoch
        {
            let detail = format!("The member's topology epoch {own} is behind the group's topology epoch {epoch}.");
            all.push(StreamsStatus { code: StreamsStatusCode::StaleTopology, detail });
        }
        all.extend(delayed);
        all.extend(self.streams.configured.as_ref().and_then(|configured| configured.problem.clone()));
        all.extend(self.streams.shutdown.as_ref().map(|member| StreamsStatus {
            code: StreamsStatusCode::ShutdownApplication,
            detail: format!(
                "Streams group member {member} encountered a fatal error and requested a shutdown for the entire application."
            ),
        }));
        all
    }

    /// Takes a member out, with all that is known of it.
    pub(super) fn remove(&mut self, member_id: &str) {
        for key in [Key::Current, Key::Target, Key::Metadata] {
            self.fx.records.push(CoordinatorRecord::streams_gone(self.id, &key(member_id.to_owned())));
        }
        self.streams.remove_target(member_id);
        self.streams.remove_member(member_id);
        for timer in [Timer::Session, Timer::Revocation] {
            self.timers.cancel(self.id, timer(member_id.to_owned()));
        }
    }
}
