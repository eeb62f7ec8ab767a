//! What follows from a topology and the topics that there are: how many tasks each subtopology has, and which topics are to be made or are wrong.

use super::partitions::{Problem, decide};
use crate::consumer::Topics;
use crate::effects::GroupError;
use protocol::messages::streams_group_heartbeat_request::{Subtopology, TopicInfo, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Names that are told of many.
const NAMES_MAX: usize = 3;

/// Kafka's codes of what members are told beside their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamsStatusCode {
    StaleTopology,
    MissingSourceTopics,
    IncorrectlyPartitionedTopics,
    MissingInternalTopics,
    ShutdownApplication,
    AssignmentDelayed,
}

impl StreamsStatusCode {
    /// Kafka's number.
    #[must_use]
    pub fn number(self) -> i8 {
        match self {
            StreamsStatusCode::StaleTopology => 0,
            StreamsStatusCode::MissingSourceTopics => 1,
            StreamsStatusCode::IncorrectlyPartitionedTopics => 2,
            StreamsStatusCode::MissingInternalTopics => 3,
            StreamsStatusCode::ShutdownApplication => 4,
            StreamsStatusCode::AssignmentDelayed => 5,
        }
    }
}

/// What a member is told beside its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsStatus {
    pub code: StreamsStatusCode,
    /// In Kafka's words.
    pub detail: String,
}

/// A topic that the application needs for itself, and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInternalTopic {
    pub name: String,
    pub partitions: i32,
    /// -1: as many as usual.
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

/// What follows from a topology and the topics that there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Configured {
    /// How many tasks each subtopology has; empty where that can't be told.
    pub(super) tasks: BTreeMap<String, i32>,
    /// How many partitions each internal topic is to have.
    pub(super) partitions: BTreeMap<String, i32>,
    pub(super) create: Vec<NewInternalTopic>,
    /// Why nothing can be assigned yet.
    pub(super) problem: Option<StreamsStatus>,
}

impl Configured {
    pub(super) fn is_ready(&self) -> bool {
        self.problem.is_none()
    }

    fn wrong(code: StreamsStatusCode, detail: String) -> Configured {
        Configured { problem: Some(StreamsStatus { code, detail }), ..Configured::default() }
    }
}

/// All topics of a topology but those that it only writes to, each once.
pub(super) fn required(topology: &Topology) -> BTreeSet<&String> {
    let each = topology.subtopologies.iter();
    each.flat_map(|it| it.source_topics.iter().chain(internal(it).map(|topic| &topic.name))).collect()
}

/// Repartition topics that a subtopology reads, and its changelogs.
pub(super) fn internal(subtopology: &Subtopology) -> impl Iterator<Item = &TopicInfo> {
    subtopology.repartition_source_topics.iter().chain(&subtopology.state_changelog_topics)
}

/// All topics that a subtopology reads.
pub(super) fn sources(subtopology: &Subtopology) -> impl Iterator<Item = &String> {
    subtopology.source_topics.iter().chain(subtopology.repartition_source_topics.iter().map(|topic| &topic.name))
}

/// Finds out what follows; what is missing or wrong with the topics is part of that.
///
/// # Errors
/// The topology can't be run whatever the topics are like.
pub(super) fn configure(topology: &Topology, topics: &Topics<'_>, tasks_max: usize) -> Result<Configured, GroupError> {
    let is_missing = |name: &&String| (topics.find)(name).is_none();
    let named = topology.subtopologies.iter().flat_map(|subtopology| &subtopology.source_topics);
    let missing: BTreeSet<&String> = named.filter(is_missing).collect();
    if !missing.is_empty() {
        let detail = format!("Source topics {} are missing.", summary(missing.into_iter()));
        return Ok(Configured::wrong(StreamsStatusCode::MissingSourceTopics, detail));
    }
    let partitions = match decide(topology, topics) {
        Ok(partitions) => partitions,
        Err(Problem::Topology(text)) => return Err(GroupError::InvalidTopology(text)),
        Err(Problem::Topics(detail)) => {
            return Ok(Configured::wrong(StreamsStatusCode::IncorrectlyPartitionedTopics, detail));
        }
    };
    let count = |name: &String| (topics.find)(name).map(|topic| topic.partitions).or(partitions.get(name).copied());
    let mut tasks = BTreeMap::new();
    for subtopology in &topology.subtopologies {
        let most = sources(subtopology).filter_map(count).max().unwrap_or(0);
        tasks.insert(subtopology.subtopology_id.clone(), most);
    }
    let mut create = Vec::new();
    let mut known = BTreeSet::new();
    for topic in topology.subtopologies.iter().flat_map(internal).filter(|topic| known.insert(&topic.name)) {
        let expected = partitions.get(&topic.name).copied().unwrap_or(topic.partitions);
        match (topics.find)(&topic.name) {
            None => create.push(new_topic(topic, expected)),
            Some(found) if found.partitions != expected => {
                let (name, found) = (&topic.name, found.partitions);
                let detail = format!(
                    "Existing topic {name} has different number of partitions: expected {expected}, found {found}"
                );
                return Ok(Configured::wrong(StreamsStatusCode::IncorrectlyPartitionedTopics, detail));
            }
            Some(_) => {}
        }
    }
    let all = tasks.values().map(|count| usize::try_from(*count).unwrap_or(0)).sum::<usize>();
    if create.is_empty() && all > tasks_max {
        return Err(GroupError::InvalidTopology("The topology has too many tasks."));
    }
    create.sort_by(|one: &NewInternalTopic, other| one.name.cmp(&other.name));
    let problem = (!create.is_empty()).then(|| StreamsStatus {
        code: StreamsStatusCode::MissingInternalTopics,
        detail: format!("Internal topics are missing: {}", summary(create.iter().map(|topic| &topic.name))),
    });
    Ok(Configured { tasks, partitions, create, problem })
}

fn new_topic(topic: &TopicInfo, partitions: i32) -> NewInternalTopic {
    NewInternalTopic {
        name: topic.name.clone(),
        partitions,
        replication_factor: if topic.replication_factor == 0 { -1 } else { topic.replication_factor },
        configs: topic.topic_configs.iter().map(|it| (it.key.clone(), it.value.clone())).collect(),
    }
}

fn summary<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let told: Vec<&str> = names.take(NAMES_MAX).map(String::as_str).collect();
    let rest = if more > 0 { format!(" and {more} additional topics") } else { String::new() };
    format!("{}{rest}", told.join(", "))
}
