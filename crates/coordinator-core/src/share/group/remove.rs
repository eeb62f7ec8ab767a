//! Deleting a share group, or what it keeps of some topics: first the share coordinator forgets, then the group does.

use super::state::StateTopics;
use crate::consumer::{Partitions, Topics};
use crate::effects::{Effects, GroupError};
use crate::groups::Groups;
use crate::record::CoordinatorRecord;
use crate::share::find_topic;
use base::TopicId;

/// What the share coordinator is to be asked (DeleteShareGroupState), once the records are confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDeletion {
    pub group: String,
    pub partitions: Partitions,
}

/// Why nothing is deleted of a topic: `UNKNOWN_TOPIC_OR_PARTITION` both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionRefused {
    /// There is no such topic.
    UnknownTopic,
    /// "There is no offset information to delete."
    NothingThere,
}

/// What becomes of DeleteShareGroupOffsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetsDeletion {
    /// Topics by name that are not to be deleted.
    pub refused: Vec<(String, DeletionRefused)>,
    /// None where nothing is to be deleted. Topics of which all partitions are deleted go to [`Groups::share_deleted`].
    pub deletion: Option<StateDeletion>,
}

impl Groups {
    /// The first half of deleting a share group: what the share coordinator is to forget. Once it has, [`Groups::delete_group`] is the
    /// second; if it can't, the group stays, and deleting it begins here again.
    ///
    /// # Errors
    /// There is no such share group (it may be one of another kind), or it has members.
    pub fn begin_deleting_share_group(
        &mut self,
        id: &str,
        topics: &Topics<'_>,
        fx: &mut Effects,
    ) -> Result<Option<StateDeletion>, GroupError> {
        let before = self.share_without_members(id)?;
        let mut partitions = all_of_deleting(before, topics);
        for (topic, named) in before.initializing.iter().chain(&before.initialized) {
            // The share coordinator forgets topics that are gone by itself.
            if find_topic(topics, *topic).is_some() {
                partitions.entry(*topic).or_default().extend(&named.partitions);
            }
        }
        let name = |topic: &TopicId| Some((*topic, (topics.name_of)(*topic)?));
        let deleting = partitions.keys().filter_map(name).collect();
        self.put_share_topics(id, StateTopics { deleting, ..StateTopics::default() }, fx);
        Ok((!partitions.is_empty()).then(|| StateDeletion { group: id.to_owned(), partitions }))
    }

    /// The first half of DeleteShareGroupOffsets: what the share coordinator is to forget of these topics, all of each.
    ///
    /// # Errors
    /// There is no such share group, or it has members.
    pub fn begin_deleting_share_offsets(
        &mut self,
        id: &str,
        names: &[String],
        topics: &Topics<'_>,
        fx: &mut Effects,
    ) -> Result<OffsetsDeletion, GroupError> {
        if id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let mut next = self.share_without_members(id)?.clone();
        let again = all_of_deleting(&next, topics);
        let (mut refused, mut partitions) = (Vec::new(), Partitions::new());
        for name in names {
            let Some(topic) = (topics.find)(name) else {
                refused.push((name.clone(), DeletionRefused::UnknownTopic));
                continue;
            };
            if let Some(named) = next.initialized.remove(&topic.id) {
                next.deleting.insert(topic.id, name.clone());
                partitions.insert(topic.id, named.partitions);
            } else if let Some(all) = again.get(&topic.id) {
                partitions.entry(topic.id).or_insert_with(|| all.clone());
            } else if !partitions.contains_key(&topic.id) {
                refused.push((name.clone(), DeletionRefused::NothingThere));
            }
        }
        self.put_share_topics(id, next, fx);
        let deletion = (!partitions.is_empty()).then(|| StateDeletion { group: id.to_owned(), partitions });
        Ok(OffsetsDeletion { refused, deletion })
    }

    /// What of it is to be deleted still: topics that are in use again since are not.
    #[must_use]
    pub fn share_deletes(&self, wanted: &StateDeletion) -> Partitions {
        let share = self.groups.get(&wanted.group).and_then(|group| group.share.as_ref());
        let is_left = |topic: &TopicId| share.is_some_and(|share| share.topics().deleting.contains_key(topic));
        let left = wanted.partitions.iter().filter(|(topic, _)| is_left(topic));
        left.map(|(topic, partitions)| (*topic, partitions.clone())).collect()
    }

    /// The second half: the share coordinator has forgotten all of these topics.
    pub fn share_deleted(&mut self, id: &str, done: impl IntoIterator<Item = TopicId>, fx: &mut Effects) {
        let Some(share) = self.groups.get(id).and_then(|group| group.share.as_ref()) else { return };
        let mut next = share.topics().clone();
        for topic in done {
            next.deleting.remove(&topic);
        }
        self.put_share_topics(id, next, fx);
    }

    fn share_without_members(&self, id: &str) -> Result<&StateTopics, GroupError> {
        let share = self.find(id)?.share.as_ref().ok_or(GroupError::NotFound)?;
        if share.members().is_empty() { Ok(share.topics()) } else { Err(GroupError::NotEmpty) }
    }

    fn put_share_topics(&mut self, id: &str, next: StateTopics, fx: &mut Effects) {
        let Some(share) = self.groups.get_mut(id).and_then(|group| group.share.as_mut()) else { return };
        if *share.topics() != next {
            fx.records.push(CoordinatorRecord::share_topics(id, &next));
            share.put_topics(next);
            self.recount(id);
        }
    }
}

/// Topics that were to be deleted before, and may not have been: all partitions that they have.
fn all_of_deleting(topics_before: &StateTopics, topics: &Topics<'_>) -> Partitions {
    let all = |topic: &TopicId| Some((*topic, (0..find_topic(topics, *topic)?.partitions).collect()));
    topics_before.deleting.keys().filter_map(all).collect()
}
