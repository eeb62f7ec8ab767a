//! How far the state of tasks is at their members, by their own account. Kept in memory only, as in Kafka: a member says it again when it joins,
//! and whenever it has changed. It is told to administrators; nothing is decided by it yet, in Kafka 4.4 neither.

use super::state::Streams;

/// How far one task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOffset {
    /// Its subtopology, which need not be in the topology.
    pub subtopology_id: String,
    /// Its number there.
    pub partition: i32,
    /// The sum of offsets in its changelogs.
    pub offset: i64,
}

/// What a task takes, about, beside its subtopology's name.
const TASK_BYTES: usize = 64;

/// What a member says with a heartbeat. What it does not say stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportedOffsets {
    /// How far its tasks are, in the order of subtopologies and tasks.
    pub offsets: Option<Vec<TaskOffset>>,
    /// Where their changelogs end, in the same order.
    pub ends: Option<Vec<TaskOffset>>,
    /// A task is named twice in one of them: the request is refused.
    pub is_doubled: bool,
}

/// What is known of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberOffsets {
    pub(crate) offsets: Vec<TaskOffset>,
    pub(crate) ends: Vec<TaskOffset>,
}

impl Streams {
    /// Bytes that this takes beyond what is there of the member.
    pub(super) fn task_offsets_grow(&self, member_id: &str, said: &ReportedOffsets) -> usize {
        let known = self.task_offsets.get(member_id);
        let more = |said: &Option<Vec<TaskOffset>>, known: Option<&Vec<TaskOffset>>| {
            said.as_deref().map_or(0, bytes).saturating_sub(known.map_or(0, |known| bytes(known)))
        };
        more(&said.offsets, known.map(|it| &it.offsets)) + more(&said.ends, known.map(|it| &it.ends))
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
                // A copy of its own size: the old one may have been much greater.
                *known = said.to_vec();
                self.task_offsets_bytes += bytes(known);
            }
        }
    }

    pub(super) fn remove_task_offsets(&mut self, member_id: &str) {
        let gone = self.task_offsets.remove(member_id).unwrap_or_default();
        self.task_offsets_bytes -= bytes(&gone.offsets) + bytes(&gone.ends);
    }
}

fn bytes(offsets: &[TaskOffset]) -> usize {
    offsets.iter().map(|task| TASK_BYTES + task.subtopology_id.len()).sum()
}
