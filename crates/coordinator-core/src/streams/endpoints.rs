//! Who runs what, told to members that answer queries: an application asks the process for a key that has the key's task.

use super::configure::sources;
use super::state::{Member, Streams, Tasks};
use crate::consumer::Topics;
use crate::groups::Groups;
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

/// How much is told of endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointsSize {
    /// Endpoints, and topics beside them.
    pub entries: usize,
    /// Bytes of their names.
    pub name_bytes: usize,
    pub partitions: usize,
}

impl Groups {
    /// How much [`Groups::streams_endpoints`] would tell: each member's tasks once for each of the topics that they read, which may be very much
    /// more than is known of the group.
    #[must_use]
    pub fn streams_endpoints_size(&self, id: &str) -> EndpointsSize {
        let streams = self.groups.get(id).and_then(|group| group.streams.as_ref());
        streams.map(|streams| streams.endpoints_size()).unwrap_or_default()
    }

    /// Who runs what, with the epoch that this is of; none where there is no such group.
    #[must_use]
    pub fn streams_endpoints(&self, id: &str, topics: &Topics<'_>) -> Option<(i32, Vec<EndpointPartitions>)> {
        let streams = self.groups.get(id)?.streams.as_ref()?;
        Some((streams.endpoint_epoch, streams.endpoints(topics)))
    }
}

impl Streams {
    /// Whether the topology's topics are all there.
    fn is_ready(&self) -> bool {
        self.configured.as_ref().is_some_and(|configured| configured.is_ready())
    }

    /// Of all members that said where they are to be asked; nothing where the topology's topics are not all there.
    fn endpoints(&self, topics: &Topics<'_>) -> Vec<EndpointPartitions> {
        if !self.is_ready() {
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

    fn endpoints_size(&self) -> EndpointsSize {
        let mut size = EndpointsSize::default();
        if !self.is_ready() {
            return size;
        }
        for Member { metadata, current } in self.members().values() {
            let Some(endpoint) = &metadata.endpoint else { continue };
            size.entries += 1;
            size.name_bytes += endpoint.host.len();
            let held = current.assigned.sets();
            for subtopology in self.topology().into_iter().flat_map(|topology| &topology.subtopologies) {
                for tasks in [&held.active, &held.standby] {
                    let Some(tasks) = tasks.get(&subtopology.subtopology_id) else { continue };
                    for name in sources(subtopology) {
                        size.entries += 1;
                        size.name_bytes += name.len();
                        size.partitions += tasks.len();
                    }
                }
            }
        }
        size
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
