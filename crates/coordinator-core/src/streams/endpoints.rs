//! Who runs what, told to members that answer queries: an application asks the process for a key that has the key's task.

use super::configure::sources;
use super::state::{Member, Streams, Tasks};
use crate::consumer::Topics;
use protocol::messages::streams_group_heartbeat_request::Endpoint;
use std::collections::BTreeSet;

/// The topics' partitions whose tasks run at a process.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointPartitions {
    pub endpoint: Endpoint,
    /// Topics by name with their partitions.
    pub active: Vec<(String, Vec<i32>)>,
    pub standby: Vec<(String, Vec<i32>)>,
}

impl Streams {
    /// Of all members that said where they are to be asked; nothing where the topology's topics are not all there.
    pub(super) fn endpoints(&self, topics: &Topics<'_>) -> Vec<EndpointPartitions> {
        if !self.configured.as_ref().is_some_and(|configured| configured.is_ready()) {
            return Vec::new();
        }
        let of = |member: &Member| {
            let held = member.current.assigned.sets();
            Some(EndpointPartitions {
                endpoint: member.metadata.endpoint.clone()?,
                active: self.partitions_of(&held.active, topics),
                standby: self.partitions_of(&held.standby, topics),
            })
        };
        self.members().values().filter_map(of).collect()
    }

    fn partitions_of(&self, tasks: &Tasks, topics: &Topics<'_>) -> Vec<(String, Vec<i32>)> {
        let mut all = Vec::new();
        for subtopology in self.topology().into_iter().flat_map(|topology| &topology.subtopologies) {
            let Some(tasks) = tasks.get(&subtopology.subtopology_id) else { continue };
            // A topology may name one several times.
            for name in sources(subtopology).collect::<BTreeSet<_>>() {
                let count = (topics.find)(name).map_or(0, |topic| topic.partitions);
                all.push((name.clone(), tasks.iter().copied().filter(|task| *task < count).collect()));
            }
        }
        all
    }
}
