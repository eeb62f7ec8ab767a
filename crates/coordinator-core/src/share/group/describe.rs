//! What administrators see of share groups.

use super::state::{Member, ShareState};
use crate::consumer::{NamedPartitions, Topics};
use crate::effects::GroupError;
use crate::group::ENTRY_BYTES;
use crate::groups::Groups;

/// The only assignor.
const ASSIGNOR: &str = "simple";

/// A line of a list of share groups. Their protocol type is `share`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareSummary {
    pub id: String,
    pub state: ShareState,
}

/// A share group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareDescription {
    pub state: ShareState,
    pub epoch: i32,
    /// Which epoch the target is of; -1 where there is none.
    pub assignment_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<ShareMemberDescription>,
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareMemberDescription {
    pub member_id: String,
    pub rack_id: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub names: Vec<String>,
    pub assignment: Vec<NamedPartitions>,
}

impl Groups {
    /// All share groups, by id.
    pub fn list_shares(&self) -> impl Iterator<Item = ShareSummary> {
        self.groups.iter().filter_map(|(id, group)| {
            let state = group.share.as_ref()?.state();
            Some(ShareSummary { id: id.clone(), state })
        })
    }

    /// Whether there is a share group of that id.
    #[must_use]
    pub fn is_share(&self, id: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.share.is_some())
    }

    /// Bytes that a share group's description takes, about.
    #[must_use]
    pub fn described_share_bytes(&self, id: &str) -> usize {
        let share = self.groups.get(id).and_then(|group| group.share.as_ref());
        share.map_or(0, |share| share.bytes() + share.members().len() * ENTRY_BYTES)
    }

    /// One share group.
    ///
    /// # Errors
    /// There is none of that id; one of another kind is none.
    pub fn describe_share(&self, id: &str, topics: &Topics<'_>) -> Result<ShareDescription, GroupError> {
        let share = self.find(id)?.share.as_ref().ok_or(GroupError::NotFound)?;
        Ok(ShareDescription {
            state: share.state(),
            epoch: share.epoch,
            assignment_epoch: share.target_epoch,
            assignor: ASSIGNOR,
            members: share.members().iter().map(|(id, member)| describe_member(id, member, topics)).collect(),
        })
    }
}

fn describe_member(id: &str, Member { metadata, current }: &Member, topics: &Topics<'_>) -> ShareMemberDescription {
    let assignment = current.assigned.iter().filter_map(|(topic, partitions)| {
        let name = (topics.name_of)(*topic)?;
        Some(NamedPartitions { topic: *topic, name, partitions: partitions.iter().copied().collect() })
    });
    ShareMemberDescription {
        member_id: id.to_owned(),
        rack_id: metadata.rack_id.clone(),
        epoch: current.epoch,
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        names: metadata.names.iter().cloned().collect(),
        assignment: assignment.collect(),
    }
}
