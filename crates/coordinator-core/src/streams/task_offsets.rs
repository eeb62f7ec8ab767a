//! How far the state of tasks is at their members, by their own account. Kept in memory only, as in Kafka: a member says it again when it joins,
//! and whenever it has changed. It is told to administrators; nothing is decided by it yet, in Kafka 4.4 neither.

use super::state::Streams;
use crate::group::ENTRY_BYTES;
use std::collections::BTreeMap;

/// Sums of offsets in changelogs, by subtopology and task.
pub type TaskOffsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// What a task takes, about.
const TASK_BYTES: usize = 48;

/// What a member says with a heartbeat. What it does not say stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportedOffsets {
    /// How far its tasks are.
    pub offsets: Option<TaskOffsets>,
    /// Where their changelogs end.
    pub ends: Option<TaskOffsets>,
    /// A task is named twice in one of them: the request is refused.
    pub is_doubled: bool,
}

/// What is known of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberOffsets {
    pub(crate) offsets: TaskOffsets,
    pub(crate) ends: TaskOffsets,
}

impl Streams {
    /// Bytes that this takes beyond what is there of the member.
    pub(super) fn task_offsets_grow(&self, member_id: &str, said: &ReportedOffsets) -> usize {
        let known = self.task_offsets.get(member_id);
        let more = |said: Option<&TaskOffsets>, known: Option<&TaskOffsets>| {
            said.map_or(0, bytes).saturating_sub(known.map_or(0, bytes))
        };
        more(said.offsets.as_ref(), known.map(|it| &it.offsets)) + more(said.ends.as_ref(), known.map(|it| &it.ends))
    }

    /// The member has said so. It is one of the group.
    pub(super) fn put_task_offsets(&mut self, member_id: &str, said: &ReportedOffsets) {
        if said.offsets.is_none() && said.ends.is_none() {
            return;
        }
        let known = self.task_offsets.entry(member_id.to_owned()).or_default();
        for (said, known) in [(&said.offsets, &mut known.offsets), (&said.ends, &mut known.ends)] {
            if let Some(said) = said {
                self.task_offsets_bytes -= bytes(known);
                known.clone_from(said);
                self.task_offsets_bytes += bytes(known);
            }
        }
    }

    pub(super) fn remove_task_offsets(&mut self, member_id: &str) {
        let gone = self.task_offsets.remove(member_id).unwrap_or_default();
        self.task_offsets_bytes -= bytes(&gone.offsets) + bytes(&gone.ends);
    }
}

/// As they are told, each task with its subtopology's id.
fn bytes(offsets: &TaskOffsets) -> usize {
    offsets.iter().map(|(id, tasks)| ENTRY_BYTES + id.len() + tasks.len() * (TASK_BYTES + id.len())).sum()
}
