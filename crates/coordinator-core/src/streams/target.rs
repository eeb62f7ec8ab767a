//! The target assignment for the group's epoch.

use super::assign::{Candidate, Work, assign};
use super::configure::{StreamsStatus, StreamsStatusCode};
use super::heartbeat::Beat;
use super::state::{Streams, TaskSets};
use crate::record::CoordinatorRecord;
use std::collections::BTreeMap;

/// A target's record may take this part of what a record may: what its member then has is stored with epochs, and for a while beside
/// what it is to give up.
const TARGET_PART: usize = 4;

impl Streams {
    /// What each member is to run from now on: nothing where topics are missing.
    fn targets_now(&self, standby_replicas: usize) -> BTreeMap<String, TaskSets> {
        let work = self.work();
        let candidate = |(id, member): (&'_ String, &'_ super::state::Member)| -> (String, String) {
            (id.clone(), member.metadata.process_id.clone())
        };
        let members: Vec<(String, String)> = self.members().iter().map(candidate).collect();
        let members = members.iter().map(|(id, process_id)| {
            (id.as_str(), Candidate { process_id: process_id.as_str(), before: self.targets().get(id) })
        });
        assign(&members.collect(), &work, standby_replicas)
    }

    fn work(&self) -> BTreeMap<String, Work> {
        let configured = self.configured.as_ref().filter(|configured| configured.is_ready());
        let Some((topology, configured)) = self.topology().zip(configured) else { return BTreeMap::new() };
        let of = |subtopology: &protocol::messages::streams_group_heartbeat_request::Subtopology| {
            let tasks = configured.tasks.get(&subtopology.subtopology_id).copied().unwrap_or(0);
            (
                subtopology.subtopology_id.clone(),
                Work { tasks, is_stateful: !subtopology.state_changelog_topics.is_empty() },
            )
        };
        topology.subtopologies.iter().map(of).collect()
    }
}

impl Beat<'_> {
    /// Assigns anew where the target is of an older epoch; what is told where that has to wait.
    pub(super) fn update_target(&mut self) -> Option<StreamsStatus> {
        let late = |why: &str| {
            let detail = format!("Assignment delayed due to the configured {why}.");
            Some(StreamsStatus { code: StreamsStatusCode::AssignmentDelayed, detail })
        };
        if self.streams.is_delayed {
            return late("initial rebalance delay");
        }
        if self.streams.target_epoch >= self.streams.epoch {
            return None;
        }
        if self.is_target_young() {
            return late("assignment interval");
        }
        self.assign_anew();
        None
    }

    pub(super) fn assign_anew(&mut self) {
        let replicas = self.streams.assignment_configs.get("num.standby.replicas");
        let replicas = replicas.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut changed = Vec::new();
        for (member_id, target) in self.streams.targets_now(replicas) {
            if self.streams.targets().get(&member_id) != Some(&target) {
                let record = CoordinatorRecord::streams_target(self.id, &member_id, &target);
                if record.len() > self.record_bytes_max / TARGET_PART {
                    self.is_too_large = true;
                    return;
                }
                changed.push((member_id, target, record));
            }
        }
        for (member_id, target, record) in changed {
            self.fx.records.push(record);
            self.streams.put_target(&member_id, target);
        }
        (self.streams.target_epoch, self.streams.target_at) = (self.streams.epoch, self.now.wall);
        let (epoch, at) = (self.streams.target_epoch, self.streams.target_at);
        self.fx.records.push(CoordinatorRecord::streams_target_epoch(self.id, epoch, at));
    }

    /// A clock that was set back must not hold up the group.
    fn is_target_young(&self) -> bool {
        let interval_ms = i64::try_from(self.times.assignment_interval.as_millis()).unwrap_or(i64::MAX);
        let age_ms = self.now.wall.0.saturating_sub(self.streams.target_at.0);
        self.streams.target_at.0 != 0 && (0..interval_ms).contains(&age_ms)
    }
}
