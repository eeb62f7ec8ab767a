//! What a decision results in: records to append, and answers to requests that may have waited long.

use crate::record::CoordinatorRecord;
use crate::share::StateInitialization;
use bytes::Bytes;
use std::ops::Range;

/// Names a request that waits for its answer; the shell hands it out and finds the requester by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Collects the results of one call, in order.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be appended, in this order. What the answers say rests on them, and on those of earlier calls.
    pub records: Vec<CoordinatorRecord>,
    /// Which of these are to be in the log together or not at all. Ranges may overlap.
    pub whole: Vec<Range<usize>>,
    /// To be appended behind these, in the transactions of producers that have them open: whose, and in which epoch.
    pub transactional: Vec<((i64, i16), CoordinatorRecord)>,
    /// To be let out when the records are confirmed. Each ticket is answered once.
    pub answers: Vec<(Ticket, Answer)>,
    /// For the share coordinator, once the records are confirmed: whoever hears a heartbeat puts [`crate::ShareHeartbeatAnswer::initialize`]
    /// here where nobody waits for what becomes of it.
    pub initialize: Vec<StateInitialization>,
}

/// An answer to a request that may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Join(JoinAnswer),
    Sync(Result<SyncAnswer, GroupError>),
}

/// What a joining member is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinAnswer {
    /// Why it did not join.
    pub error: Option<GroupError>,
    /// -1 where it did not join.
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Empty where it is not told.
    pub leader: String,
    pub member_id: String,
    /// The leader need not assign anew: the group's assignment stands.
    pub skip_assignment: bool,
    /// For the leader only: whom to assign to.
    pub members: Vec<JoinedMember>,
}

/// A member, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// What it said of itself under the protocol that was chosen.
    pub metadata: Bytes,
}

/// What a syncing member is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncAnswer {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

/// Why a group refuses. One for each of Kafka's codes that tell clients apart what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("a name in the request is too long")]
    InvalidRequest,
    #[error("there is no such group")]
    NotFound,
    #[error("the group is of the newer protocol")]
    NotClassic,
    #[error("the group is of the classic protocol")]
    NotConsumer,
    /// Other than of a group that is not there, it is told so in every version of OffsetCommit.
    #[error("a share group commits no offsets")]
    CommitsNothing,
    /// Why a classic group with members can't become one of consumers, in Kafka's words.
    #[error("the group can't be upgraded to a consumer group because {0}")]
    CannotUpgrade(&'static str),
    #[error("a member's subscription can't be read")]
    MalformedSubscription,
    #[error("the group is not a streams group")]
    NotStreams,
    /// A topology that can't be run whatever the topics are like.
    #[error("{0}")]
    InvalidTopology(&'static str),
    #[error("the group has members")]
    NotEmpty,
    #[error("the group does not know this member")]
    UnknownMember,
    #[error("join again with the member id that comes with this answer")]
    MemberIdRequired,
    #[error("another member has joined under this group instance id since")]
    FencedInstance,
    #[error("the group is in another generation")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the member's protocols are not those of the group")]
    InconsistentProtocol,
    #[error(
        "the session timeout is outside of what group.min.session.timeout.ms and group.max.session.timeout.ms allow"
    )]
    InvalidSessionTimeout,
    #[error("the group is full")]
    Full,
    #[error("the group is subscribed to the topic")]
    Subscribed,
    #[error("the metadata of an offset is too large")]
    MetadataTooLarge,
    #[error(
        "this coordinator holds as much of groups as it may: delete groups that nobody uses, or give it more --memory"
    )]
    NoRoom,
    #[error(
        "this coordinator holds as much of groups as it may, and the assignment needs more: delete groups that nobody uses, or give it more --memory"
    )]
    NoRoomForAssignment,
    #[error("the group is too large to be stored in one record")]
    RecordTooLarge,
    /// A request that is wrong whatever the group is like, in Kafka's words.
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the member is at another epoch: it must give up all partitions and join again")]
    FencedMemberEpoch,
    #[error("the member is at another epoch")]
    StaleMemberEpoch,
    #[error("another member has this group instance id and has not left")]
    UnreleasedInstance,
    #[error("there is no such assignor: there are uniform and range")]
    UnsupportedAssignor,
    #[error("the regular expression is not valid, or too large")]
    InvalidRegex,
    #[error("members of consumer groups commit with version 9 of OffsetCommit or a later one")]
    NeedsMemberEpochs,
}

impl JoinAnswer {
    pub(crate) fn refused(member_id: &str, error: GroupError) -> JoinAnswer {
        JoinAnswer { error: Some(error), generation: -1, member_id: member_id.to_owned(), ..JoinAnswer::default() }
    }
}

impl Effects {
    /// What was pushed since there were `start` records is to be in the log together or not at all.
    pub(crate) fn keep_whole(&mut self, start: usize) {
        if start < self.records.len() {
            self.whole.push(start..self.records.len());
        }
    }

    pub(crate) fn join(&mut self, ticket: Option<Ticket>, answer: JoinAnswer) {
        self.answers.extend(ticket.map(|ticket| (ticket, Answer::Join(answer))));
    }

    pub(crate) fn sync(&mut self, ticket: Option<Ticket>, answer: Result<SyncAnswer, GroupError>) {
        self.answers.extend(ticket.map(|ticket| (ticket, Answer::Sync(answer))));
    }
}
