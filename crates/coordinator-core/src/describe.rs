//! What administrators see of groups.

use crate::effects::GroupError;
use crate::group::{ENTRY_BYTES, Group, Member, State};
use crate::groups::Groups;
use bytes::Bytes;

/// A line of a list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub id: String,
    /// Empty where nobody ever joined.
    pub protocol_type: String,
    pub state: State,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub state: State,
    pub protocol_type: String,
    /// Empty unless stable, as metadata and assignments are.
    pub protocol: String,
    pub members: Vec<MemberDescription>,
}

impl Description {
    /// Bytes that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_member = |it: &MemberDescription| {
            let texts = [&it.member_id, &it.client_id, &it.client_host].map(String::len).iter().sum::<usize>();
            let instance_id = it.instance_id.as_ref().map_or(0, String::len);
            ENTRY_BYTES + texts + instance_id + it.metadata.len() + it.assignment.len()
        };
        self.members.iter().map(of_member).sum()
    }
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

impl Groups {
    /// All groups of the classic protocol, by id.
    pub fn list(&self) -> impl Iterator<Item = GroupSummary> {
        let classic = self.groups.iter().filter(|(_, group)| group.is_classic());
        classic.map(|(id, group)| GroupSummary {
            id: id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state,
        })
    }

    /// Whether there is a group of that id, of whatever kind.
    #[must_use]
    pub fn has_group(&self, id: &str) -> bool {
        self.groups.contains_key(id)
    }

    /// Bytes that a group's description takes, about.
    #[must_use]
    pub fn described_bytes(&self, id: &str) -> usize {
        self.groups.get(id).map_or(0, Group::member_bytes)
    }

    /// Bytes that the list of all groups takes, about.
    #[must_use]
    pub fn listed_bytes(&self) -> usize {
        let line = |(id, group): (&String, &Group)| {
            ENTRY_BYTES + id.len() + group.protocol_type.as_ref().map_or(0, String::len)
        };
        self.groups.iter().map(line).sum()
    }

    /// One group of the classic protocol.
    ///
    /// # Errors
    /// There is none of that id, or it is of the newer protocol.
    pub fn describe(&self, id: &str) -> Result<Description, GroupError> {
        let group = Some(self.find(id)?).filter(|group| group.is_classic()).ok_or(GroupError::NotClassic)?;
        let is_stable = group.state == State::Stable;
        Ok(Description {
            state: group.state,
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: group.protocol.clone().filter(|_| is_stable).unwrap_or_default(),
            members: group.members.iter().map(|(id, member)| describe_member(group, id, member)).collect(),
        })
    }
}

fn describe_member(group: &Group, member_id: &str, member: &Member) -> MemberDescription {
    let is_stable = group.state == State::Stable;
    MemberDescription {
        member_id: member_id.to_owned(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: if is_stable { member.metadata(group.protocol.as_deref()) } else { Bytes::new() },
        // While the group rebalances members work on with what they have.
        assignment: member.assignment.clone(),
    }
}
