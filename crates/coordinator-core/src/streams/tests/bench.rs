//! A streams group with a hand on the clock and on the topics, for the tests.

use crate::streams::Streams;
use crate::{
    CoordinatorRecord, Effects, EndpointPartitions, GroupError, GroupOptions, Groups, Now, StreamsDescription,
    StreamsHeartbeatAnswer, StreamsHeartbeatRequest, Tasks, TopicInfo, Topics,
};
use base::{Micros, TopicId, UnixMillis};
use protocol::messages::streams_group_heartbeat_request::{
    CopartitionGroup, KeyValue, Subtopology, TopicInfo as InternalTopic, Topology,
};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const GROUP: &str = "g";

pub(super) struct Bench {
    pub(super) groups: Groups,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    pub(super) topics: BTreeMap<String, TopicInfo>,
    version: i64,
}

impl Bench {
    /// With topics of so many partitions, and a group that waits for nobody.
    pub(super) fn new(topics: &[(&str, i32)]) -> Bench {
        let mut options = GroupOptions::default();
        options.streams.times.initial_rebalance_delay = Duration::ZERO;
        options.streams.times.assignment_interval = Duration::ZERO;
        Bench::with(options, topics)
    }

    pub(super) fn with(options: GroupOptions, topics: &[(&str, i32)]) -> Bench {
        let now = Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) };
        let mut bench =
            Bench { groups: Groups::new(options), now, log: Vec::new(), topics: BTreeMap::new(), version: 0 };
        for (name, partitions) in topics {
            bench.make_topic(name, *partitions);
        }
        bench
    }

    pub(super) fn make_topic(&mut self, name: &str, partitions: i32) {
        self.version += 1;
        let id = TopicId(u128::from(self.version.cast_unsigned()));
        self.topics.insert(name.to_owned(), TopicInfo { id, partitions });
    }

    pub(super) fn delete_topic(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    pub(super) fn beat(&mut self, request: &StreamsHeartbeatRequest) -> Result<StreamsHeartbeatAnswer, GroupError> {
        let mut fx = Effects::default();
        let Bench { groups, now, topics, version, .. } = self;
        let found = topics.clone();
        let find = |name: &str| found.get(name).copied();
        let name_of = |id: TopicId| found.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone());
        let topics = Topics { version: *version, find: &find, name_of: &name_of, names: &|_| {} };
        let outcome = groups.streams_heartbeat(*now, &topics, request, &mut fx);
        assert!(fx.answers.is_empty());
        assert!(outcome.is_ok() || fx.records.is_empty(), "who is refused changes nothing");
        self.log.extend(fx.records);
        assert_eq!(self.groups.bytes(), self.groups.count());
        outcome
    }

    /// Who runs what, as a member is told that does not know.
    pub(super) fn endpoints(&self) -> Vec<EndpointPartitions> {
        let find = |name: &str| self.topics.get(name).copied();
        let topics = Topics { version: self.version, find: &find, name_of: &|_| None, names: &|_| {} };
        let endpoints = self.groups.streams_endpoints(GROUP, &topics).unwrap().1;
        let size = self.groups.streams_endpoints_size(GROUP);
        let topics = || endpoints.iter().flat_map(|it| it.active.iter().chain(&it.standby));
        assert!(size.entries >= endpoints.len() + topics().count());
        assert!(size.partitions >= topics().map(|(_, all)| all.len()).sum());
        assert!(size.name_bytes >= topics().map(|(name, _)| name.len()).sum());
        endpoints
    }

    /// What is left after a crash: the records.
    pub(super) fn restart(&mut self) {
        self.groups = self.replayed();
        self.groups.loaded(self.now);
    }

    pub(super) fn replayed(&self) -> Groups {
        let mut groups = Groups::new(self.groups.options.clone());
        for record in &self.log {
            groups.replay(record).unwrap();
        }
        groups
    }

    pub(super) fn pass_seconds(&mut self, seconds: u64) {
        let end = self.now.at.plus(Duration::from_secs(seconds));
        while let Some(next) = self.groups.next_deadline().filter(|next| *next <= end) {
            self.step_to(next);
        }
        self.step_to(end);
    }

    fn step_to(&mut self, at: Micros) {
        let passed = i64::try_from(at.since(self.now.at).as_millis()).unwrap();
        self.now = Now { at: at.max(self.now.at), wall: UnixMillis(self.now.wall.0 + passed) };
        let mut fx = Effects::default();
        self.groups.tick(self.now, &Topics::NONE, &mut fx);
        self.log.extend(fx.records);
    }

    pub(super) fn describe(&self) -> StreamsDescription {
        self.groups.describe_streams(GROUP).unwrap()
    }

    pub(super) fn streams(&self) -> &Streams {
        self.groups.find(GROUP).unwrap().streams.as_ref().unwrap()
    }
}

/// Of one subtopology that reads topics, with a changelog where it has state.
pub(super) fn topology(subtopologies: Vec<Subtopology>) -> Topology {
    Topology { epoch: 0, subtopologies }
}

pub(super) fn reads(id: &str, topics: &[&str]) -> Subtopology {
    Subtopology {
        subtopology_id: id.to_owned(),
        source_topics: topics.iter().map(|name| (*name).to_owned()).collect(),
        ..Subtopology::default()
    }
}

pub(super) fn with_state(subtopology: Subtopology, changelog: &str) -> Subtopology {
    let configs = vec![KeyValue { key: "cleanup.policy".to_owned(), value: "compact".to_owned() }];
    let topic = InternalTopic { topic_configs: configs, ..internal(changelog, 0) };
    Subtopology { state_changelog_topics: vec![topic], ..subtopology }
}

pub(super) fn internal(name: &str, partitions: i32) -> InternalTopic {
    InternalTopic { name: name.to_owned(), partitions, ..InternalTopic::default() }
}

/// All that it reads is joined.
pub(super) fn joined(subtopology: Subtopology) -> Subtopology {
    let upto = |count: usize| (0..i16::try_from(count).unwrap()).collect();
    let group = CopartitionGroup {
        source_topics: upto(subtopology.source_topics.len()),
        repartition_source_topics: upto(subtopology.repartition_source_topics.len()),
        ..CopartitionGroup::default()
    };
    Subtopology { copartition_groups: vec![group], ..subtopology }
}

/// A member's first heartbeat; its process has its name.
pub(super) fn joins(member: &str, topology: &Topology) -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        rebalance_timeout_ms: 30_000,
        topology: Some(topology.clone()),
        active: Some(Tasks::new()),
        standby: Some(Tasks::new()),
        warmup: Some(Tasks::new()),
        process_id: Some(format!("p-{member}")),
        ..beats(member, 0)
    }
}

/// A later one.
pub(super) fn beats(member: &str, member_epoch: i32) -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: member.to_owned(),
        member_epoch,
        rebalance_timeout_ms: -1,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        ..StreamsHeartbeatRequest::default()
    }
}

/// The same with the active tasks that it runs.
pub(super) fn runs(member: &str, member_epoch: i32, active: Tasks) -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        active: Some(active),
        standby: Some(Tasks::new()),
        warmup: Some(Tasks::new()),
        ..beats(member, member_epoch)
    }
}

pub(super) fn tasks(subtopology: &str, numbers: impl IntoIterator<Item = i32>) -> Tasks {
    Tasks::from([(subtopology.to_owned(), numbers.into_iter().collect())])
}
