//! An administrator says where a group without members is to go on (AlterShareGroupOffsets).

use super::configs::ShareConfigs;
use super::state::{Named, Share, named_bytes};
use super::topics::{StartOffsets, StateInitialization};
use crate::consumer::Topics;
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::record::TEXT_BYTES_MAX;
use base::TopicId;
use std::collections::BTreeMap;

/// Where a partition's share-partition is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStartOffset {
    pub topic: String,
    pub partition: i32,
    pub start_offset: i64,
}

/// What becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOutcome {
    /// The share coordinator is asked; what it answers is the answer.
    Asked(TopicId),
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    UnknownPartition,
    /// The offset is negative. Kafka takes it.
    InvalidOffset,
}

impl Groups {
    /// The group's share-partitions begin at these offsets from now on; a group that is not there is made. What becomes of each stands at its
    /// place, and beside that what the share coordinator is to be asked once the records are confirmed.
    ///
    /// The group's epoch rises, other than in Kafka: what is asked with one epoch is always the same, so that a late repeat of it can be
    /// told from something new ([`crate::ShareStates::initialize`]).
    ///
    /// # Errors
    /// None of them does, and why.
    pub fn alter_share_offsets(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        group: &str,
        offsets: &[NewStartOffset],
        fx: &mut Effects,
    ) -> Result<(Vec<AlterOutcome>, Option<StateInitialization>), GroupError> {
        if group.is_empty() || group.len() > TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let nobody = Share::default();
        let share = match self.groups.get(group) {
            Some(group) => group.share.as_deref().ok_or(GroupError::NotFound)?,
            None => &nobody,
        };
        if !share.members().is_empty() {
            return Err(GroupError::NotEmpty);
        }
        let outcomes: Vec<AlterOutcome> = offsets.iter().map(|offset| offset.outcome(topics)).collect();
        let (wanted, start_offsets) = accepted(offsets, &outcomes);
        if wanted.is_empty() {
            return Ok((outcomes, None));
        }
        let bytes = wanted.values().map(named_bytes).sum::<usize>();
        if bytes > self.room || share.bytes() + bytes > self.options.record_bytes_max.min(self.options.group_bytes_max)
        {
            return Err(GroupError::Full);
        }
        self.groups.entry(group.to_owned()).or_default().share.get_or_insert_default();
        let configs = ShareConfigs::default();
        let beat = self.share_beat(group, (now, topics, &configs), fx);
        let initialization = beat.map(|mut beat| {
            let hash = beat.known_hash();
            beat.raise_epoch(hash);
            beat.ask(&wanted, start_offsets)
        });
        self.recount(group);
        Ok((outcomes, initialization))
    }
}

impl NewStartOffset {
    fn outcome(&self, topics: &Topics<'_>) -> AlterOutcome {
        match (topics.find)(&self.topic).filter(|topic| (0..topic.partitions).contains(&self.partition)) {
            None => AlterOutcome::UnknownPartition,
            Some(_) if self.start_offset < 0 => AlterOutcome::InvalidOffset,
            Some(topic) => AlterOutcome::Asked(topic.id),
        }
    }
}

/// Those that the share coordinator is to be asked for.
fn accepted(offsets: &[NewStartOffset], outcomes: &[AlterOutcome]) -> (BTreeMap<TopicId, Named>, StartOffsets) {
    let (mut wanted, mut start_offsets) = (BTreeMap::<TopicId, Named>::new(), StartOffsets::new());
    for (offset, outcome) in offsets.iter().zip(outcomes) {
        let AlterOutcome::Asked(topic) = outcome else { continue };
        let named = wanted.entry(*topic).or_default();
        named.name.clone_from(&offset.topic);
        named.partitions.insert(offset.partition);
        start_offsets.entry(*topic).or_default().insert(offset.partition, offset.start_offset);
    }
    (wanted, start_offsets)
}
