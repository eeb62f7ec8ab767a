//! What DescribeShareGroupOffsets asks of the share coordinator, and what it tells (KIP-932, KIP-1226).

use crate::consumer::{NamedPartitions, Topics};
use crate::groups::Groups;
use crate::share::{ShareStateError, StateSummary, UNINITIALIZED_OFFSET};

/// What is asked for, as far as there are such topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetsQuestion {
    /// For the share coordinator (ReadShareGroupStateSummary); its answers go to [`told_offset`].
    pub known: Vec<NamedPartitions>,
    /// Told as share-partitions that nobody has read from: `told_offset(None, None)`.
    pub unknown: Vec<(String, Vec<i32>)>,
}

/// What is told of a share-partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOffset {
    /// -1: nobody has read from it, or it is not known.
    pub start_offset: i64,
    pub leader_epoch: i32,
    /// Records that are not done with; -1: unknown.
    pub lag: i64,
}

impl Groups {
    /// What is to be asked: of the topics asked for, or of all that the group has share-partitions of. A group that is not there has none.
    #[must_use]
    pub fn share_offsets_question(
        &self,
        group: &str,
        asked: Option<&[(String, Vec<i32>)]>,
        topics: &Topics<'_>,
    ) -> OffsetsQuestion {
        let mut question = OffsetsQuestion::default();
        let Some(asked) = asked else {
            let share = self.groups.get(group).and_then(|group| group.share.as_ref());
            for (topic, named) in share.into_iter().flat_map(|share| &share.topics().initialized) {
                let name = (topics.name_of)(*topic);
                question.known.extend(name.map(|name| NamedPartitions {
                    topic: *topic,
                    name,
                    partitions: named.partitions.iter().copied().collect(),
                }));
            }
            return question;
        };
        for (name, partitions) in asked {
            let (name, partitions) = (name.clone(), partitions.clone());
            match (topics.find)(&name) {
                Some(topic) => question.known.push(NamedPartitions { topic: topic.id, name, partitions }),
                None => question.unknown.push((name, partitions)),
            }
        }
        question
    }
}

/// What is told of a share-partition, by the share coordinator's summary and the partition's end, the offset of the next record. As with
/// committed offsets what can't be known is told as not there; a partition whose end can't be known (None beside a summary that has a start) is
/// told with that failure by the caller.
#[must_use]
pub fn told_offset(summary: Option<Result<StateSummary, ShareStateError>>, end: Option<i64>) -> ShareOffset {
    let summary = summary.and_then(Result::ok).unwrap_or_default();
    let StateSummary { start_offset, leader_epoch, delivery_complete_count, .. } = summary;
    let is_counted = start_offset != UNINITIALIZED_OFFSET && delivery_complete_count != -1;
    let lag = end.filter(|_| is_counted).map(|end| {
        let open = end.saturating_sub(start_offset);
        open.saturating_sub(i64::from(delivery_complete_count))
    });
    ShareOffset { start_offset, leader_epoch, lag: lag.unwrap_or(-1) }
}
