//! Both coordinators with some topics, and their logs.

use crate::consumer::{TopicInfo, Topics};
use crate::share::group::Share;
use crate::{
    CoordinatorRecord, Effects, GroupError, GroupOptions, Groups, LEAVES, Now, Partitions, ShareConfigs,
    ShareHeartbeatAnswer, ShareHeartbeatRequest, ShareStateEffects, ShareStateError, ShareStateKey, ShareStateOptions,
    ShareStates, StateDeletion, StateInitialization, StateRead, StateWrite,
};
use base::{Micros, TopicId, UnixMillis};
use std::collections::BTreeMap;

pub(super) const GROUP: &str = "g";

/// Partitions, and whether the share coordinator did what it was asked.
pub(super) type Outcomes = Vec<(TopicId, i32, bool)>;

pub(super) struct Bench {
    pub(super) groups: Groups,
    pub(super) states: ShareStates,
    pub(super) options: GroupOptions,
    pub(super) state_options: ShareStateOptions,
    pub(super) configs: ShareConfigs,
    pub(super) topics: BTreeMap<String, TopicInfo>,
    version: i64,
    topics_made: u128,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    pub(super) state_log: Vec<CoordinatorRecord>,
}

impl Bench {
    pub(super) fn new(topics: &[(&str, i32)]) -> Bench {
        Bench::with(GroupOptions::default(), topics)
    }

    pub(super) fn with(options: GroupOptions, topics: &[(&str, i32)]) -> Bench {
        let state_options = ShareStateOptions { updates_per_snapshot: 3, ..ShareStateOptions::default() };
        let mut bench = Bench {
            groups: Groups::new(options.clone()),
            states: ShareStates::new(state_options.clone()),
            options,
            state_options,
            configs: ShareConfigs::default(),
            topics: BTreeMap::new(),
            version: 0,
            topics_made: 0,
            now: Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) },
            log: Vec::new(),
            state_log: Vec::new(),
        };
        topics.iter().for_each(|(name, partitions)| bench.make_topic(name, *partitions));
        bench
    }

    /// Makes a topic, or gives it partitions.
    pub(super) fn make_topic(&mut self, name: &str, partitions: i32) {
        self.version += 1;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions = partitions;
            return;
        }
        self.topics_made += 1;
        let topic = TopicInfo { id: TopicId(self.topics_made), partitions };
        self.topics.insert(name.to_owned(), topic);
    }

    /// Both coordinators hear of it, sooner or later.
    pub(super) fn delete_topic(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    pub(super) fn hear_of_topics(&mut self) {
        let known: Vec<TopicId> = self.topics.values().map(|topic| topic.id).collect();
        let mut fx = Effects::default();
        self.groups.forget_topics(|_, topic| !known.contains(&topic), &mut fx);
        self.log.extend(fx.records);
        let mut fx = ShareStateEffects::default();
        self.states.forget_topics(|topic| !known.contains(&topic), &mut fx);
        self.state_log.extend(fx.records);
    }

    pub(super) fn id(&self, topic: &str) -> TopicId {
        self.topics.get(topic).map(|topic| topic.id).unwrap_or_default()
    }

    pub(super) fn key(&self, topic: &str, partition: i32) -> ShareStateKey {
        ShareStateKey { group: GROUP.into(), topic: self.id(topic), partition }
    }

    pub(super) fn pass_seconds(&mut self, seconds: u64) {
        self.now.at = Micros(self.now.at.0 + seconds * 1_000_000);
        self.now.wall = UnixMillis(self.now.wall.0 + i64::try_from(seconds).unwrap() * 1000);
        let mut fx = Effects::default();
        self.groups.tick(self.now, &Topics::NONE, &mut fx);
        self.log.extend(fx.records);
    }

    pub(super) fn beat(&mut self, request: &ShareHeartbeatRequest) -> Result<ShareHeartbeatAnswer, GroupError> {
        let mut fx = Effects::default();
        let Bench { groups, topics, configs, now, version, .. } = self;
        let answer = with(topics, *version, |topics| groups.share_heartbeat(*now, topics, configs, request, &mut fx));
        assert!(answer.is_ok() || fx.records.is_empty(), "a refusal changes nothing");
        self.log.extend(fx.records);
        answer
    }

    /// A heartbeat, and what it asks of the share coordinator done at once.
    pub(super) fn beat_through(&mut self, request: &ShareHeartbeatRequest) -> ShareHeartbeatAnswer {
        let answer = self.beat(request).unwrap();
        if let Some(initialization) = &answer.initialize {
            self.carry(initialization);
        }
        answer
    }

    /// Does what the share coordinator is asked, and tells what came of it.
    pub(super) fn carry(&mut self, initialization: &StateInitialization) {
        let outcomes = self.ask(initialization);
        self.tell(initialization.state_epoch, &outcomes);
    }

    pub(super) fn ask(&mut self, initialization: &StateInitialization) -> Outcomes {
        let mut outcomes = Vec::new();
        for (topic, partitions) in &initialization.start_offsets {
            for (partition, start_offset) in partitions {
                let key =
                    ShareStateKey { group: initialization.group.as_str().into(), topic: *topic, partition: *partition };
                let outcome = self.initialize(&key, initialization.state_epoch, *start_offset);
                outcomes.push((*topic, *partition, outcome.is_ok()));
            }
        }
        outcomes
    }

    pub(super) fn tell(&mut self, state_epoch: i32, outcomes: &[(TopicId, i32, bool)]) {
        let of = |is_done: bool| {
            let mut all = Partitions::new();
            for (topic, partition, _) in outcomes.iter().filter(|(.., outcome)| *outcome == is_done) {
                all.entry(*topic).or_default().insert(*partition);
            }
            all
        };
        let mut fx = Effects::default();
        self.groups.share_initialized(GROUP, state_epoch, &of(true), &mut fx);
        self.groups.share_not_initialized(GROUP, state_epoch, &of(false), &mut fx);
        self.log.extend(fx.records);
    }

    pub(super) fn initialize(
        &mut self,
        key: &ShareStateKey,
        state_epoch: i32,
        start_offset: i64,
    ) -> Result<(), ShareStateError> {
        let how = (state_epoch, start_offset);
        self.at_states(|states, now, topics, fx| states.initialize(now, topics, key, how, fx))
    }

    pub(super) fn write(&mut self, key: &ShareStateKey, write: &StateWrite) -> Result<(), ShareStateError> {
        self.at_states(|states, now, topics, fx| states.write(now, topics, key, write, fx))
    }

    pub(super) fn read(&mut self, key: &ShareStateKey, leader_epoch: i32) -> Result<StateRead, ShareStateError> {
        self.at_states(|states, now, topics, fx| states.read(now, topics, key, leader_epoch, fx))
    }

    pub(super) fn delete(&mut self, key: &ShareStateKey) -> Result<(), ShareStateError> {
        self.at_states(|states, _, topics, fx| states.delete(topics, key, fx))
    }

    /// Does all of a deletion; whether all of it could be.
    pub(super) fn delete_all(&mut self, deletion: &StateDeletion) -> bool {
        let places = deletion.partitions.iter().flat_map(|(topic, all)| all.iter().map(move |it| (*topic, *it)));
        let keys: Vec<ShareStateKey> = places
            .map(|(topic, partition)| ShareStateKey { group: deletion.group.as_str().into(), topic, partition })
            .collect();
        keys.iter().filter(|key| self.delete(key).is_err()).count() == 0
    }

    pub(super) fn at_states<T>(
        &mut self,
        work: impl FnOnce(&mut ShareStates, UnixMillis, &Topics<'_>, &mut ShareStateEffects) -> Result<T, ShareStateError>,
    ) -> Result<T, ShareStateError> {
        let mut fx = ShareStateEffects::default();
        let Bench { states, topics, now, version, .. } = self;
        let outcome = with(topics, *version, |topics| work(states, now.wall, topics, &mut fx));
        assert!(outcome.is_ok() || fx.records.is_empty(), "a refusal changes nothing");
        self.state_log.extend(fx.records);
        outcome
    }

    pub(super) fn at_groups<T>(&mut self, work: impl FnOnce(&mut Groups, Now, &Topics<'_>, &mut Effects) -> T) -> T {
        let mut fx = Effects::default();
        let Bench { groups, topics, now, version, .. } = self;
        let result = with(topics, *version, |topics| work(groups, *now, topics, &mut fx));
        self.log.extend(fx.records);
        result
    }

    /// The group's coordinator begins anew with its log.
    pub(super) fn restart(&mut self) {
        self.groups = Groups::new(self.options.clone());
        for record in &self.log {
            self.groups.replay(record).unwrap();
        }
        self.groups.loaded(self.now);
    }

    /// The share coordinator does.
    pub(super) fn restart_states(&mut self) {
        self.states = ShareStates::new(self.state_options.clone());
        for record in &self.state_log {
            self.states.replay(record).unwrap();
        }
    }

    pub(super) fn share(&self) -> &Share {
        self.groups.find(GROUP).unwrap().share.as_ref().unwrap()
    }

    /// The group's epoch and that of its target.
    pub(super) fn epochs(&self) -> (i32, i32) {
        (self.share().epoch, self.share().target_epoch)
    }

    pub(super) fn assigned(&self, member_id: &str) -> Partitions {
        self.share().members()[member_id].current.assigned.clone()
    }
}

/// Topics as a caller hands them over.
pub(super) fn with<T>(topics: &BTreeMap<String, TopicInfo>, version: i64, work: impl FnOnce(&Topics<'_>) -> T) -> T {
    let name_of = |id: TopicId| topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone());
    work(&Topics {
        version,
        find: &|name| topics.get(name).copied(),
        name_of: &name_of,
        names: &|hand_over| topics.keys().for_each(|name| hand_over(name)),
    })
}

/// A member's first heartbeat.
pub(super) fn joins(member_id: &str, names: &[&str]) -> ShareHeartbeatRequest {
    ShareHeartbeatRequest { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..beats(member_id, 0) }
}

/// A heartbeat that says nothing new.
pub(super) fn beats(member_id: &str, member_epoch: i32) -> ShareHeartbeatRequest {
    ShareHeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        ..ShareHeartbeatRequest::default()
    }
}

pub(super) fn leaves(member_id: &str) -> ShareHeartbeatRequest {
    beats(member_id, LEAVES)
}

pub(super) fn of(topic: TopicId, partitions: impl IntoIterator<Item = i32>) -> Partitions {
    Partitions::from([(topic, partitions.into_iter().collect())])
}
