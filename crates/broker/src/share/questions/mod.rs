//! The five questions about a share-partition's state, and the requests in which Kafka's brokers put them to one another.

mod delete;
mod initialize;
mod read;
mod summarize;
mod write;

pub(crate) use delete::Delete;
pub(crate) use initialize::Initialize;
pub(crate) use read::Read;
pub(crate) use summarize::Summarize;
pub(crate) use write::Write;

use crate::answer_bounds::Reasons;
use crate::checks::Steps;
use crate::error::Failure;
use crate::peers::{Lanes, Question, Reach};
use base::{TopicId, UnixMillis};
use coordinator_core::{ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, Topics};
use protocol::error_code::ErrorCode;
use protocol::wire::Request;
use std::collections::{BTreeMap, VecDeque};

/// What is told of a partition of a topic.
pub(crate) type Told<T> = ((TopicId, i32), Result<T, Failure>);

/// The same of several, of one group, in the order of a request.
pub(crate) type Answers<T> = Vec<Told<T>>;

/// Lanes to each broker for each kind of question: a group's questions go by one of them, in order.
const LANES: u32 = 8;

/// A question about one share-partition.
pub(crate) trait StateQuestion: Clone + Send + Sync + Sized + 'static {
    /// What is told where it is not refused.
    type Told: Clone + Send + 'static;
    /// Kafka's request.
    type Asks: Request<Response: Default> + Clone + Send + Sync;

    fn key(&self) -> &ShareStateKey;
    /// Decides it.
    fn decide(
        &self,
        now: UnixMillis,
        topics: &Topics<'_>,
        states: &mut ShareStates,
        fx: &mut ShareStateEffects,
    ) -> Result<Self::Told, ShareStateError>;

    /// The request that asks these, of one group, in this order.
    fn asks(group: String, questions: Vec<Self>) -> Self::Asks;
    /// What a request asks, in its order.
    fn asked(request: Self::Asks) -> Vec<Self>;
    /// The answer to a request of one group, with turns for others.
    fn answer(
        told: impl Iterator<Item = Told<Self::Told>> + Send,
    ) -> impl Future<Output = <Self::Asks as Request>::Response> + Send;
    /// What an answer says.
    fn told(answer: <Self::Asks as Request>::Response) -> Answers<Self::Told>;

    fn lanes(peers: &StatePeers) -> &Lanes<Self>;
}

/// The connections to other share coordinators.
pub(crate) struct StatePeers {
    initializations: Lanes<Initialize>,
    reads: Lanes<Read>,
    writes: Lanes<Write>,
    deletions: Lanes<Delete>,
    summaries: Lanes<Summarize>,
}

impl StatePeers {
    pub(crate) fn new(reach: &Reach) -> StatePeers {
        StatePeers {
            initializations: Lanes::new(reach.clone()),
            reads: Lanes::new(reach.clone()),
            writes: Lanes::new(reach.clone()),
            deletions: Lanes::new(reach.clone()),
            summaries: Lanes::new(reach.clone()),
        }
    }
}

impl<Q: StateQuestion> Question for Q {
    type Asks = Q::Asks;
    type Answer = Result<Q::Told, Failure>;
    const WAITS: &'static str = "share groups whose state it keeps";

    fn ask(questions: Vec<Q>) -> Q::Asks {
        let group = questions.first().map(|first| first.key().group.to_string()).unwrap_or_default();
        Q::asks(group, questions)
    }

    fn told(asked: &Q::Asks, answer: <Q::Asks as Request>::Response) -> Vec<Option<Self::Answer>> {
        let mut told: BTreeMap<(TopicId, i32), VecDeque<Self::Answer>> = BTreeMap::new();
        for (place, answer) in Q::told(answer) {
            told.entry(place).or_default().push_back(answer);
        }
        // Of questions about one share-partition the answers stand in their order.
        let mut of = |asked: &Q| told.get_mut(&place(asked.key()))?.pop_front();
        Q::asked(asked.clone()).iter().map(&mut of).collect()
    }

    fn is_refused(answer: &Self::Answer) -> Option<bool> {
        match answer {
            Ok(_) => Some(false),
            Err(Failure::Told { code: ErrorCode::ClusterAuthorizationFailed, .. }) => Some(true),
            Err(_) => None,
        }
    }

    fn lane(&self) -> u32 {
        coordinator_core::partition_of(&self.key().group, LANES)
    }

    /// A request is of one group.
    fn goes_with(&self, first: &Q) -> bool {
        self.key().group == first.key().group
    }
}

pub(super) fn place(key: &ShareStateKey) -> (TopicId, i32) {
    (key.topic, key.partition)
}

/// The parts of an answer, topic by topic. `part` makes one of a partition, with its code and, where there is room, words.
async fn by_topic<T: Send, P: Send>(
    told: impl Iterator<Item = Told<T>> + Send,
    part: impl Fn(i32, Result<T, Failure>, (i16, Option<String>)) -> P + Send,
) -> BTreeMap<TopicId, Vec<P>> {
    let mut topics: BTreeMap<TopicId, Vec<P>> = BTreeMap::new();
    let (mut reasons, mut steps) = (Reasons::default(), Steps::default());
    for ((topic, partition), told) in told {
        steps.next().await;
        let refusal = reasons.of(&told);
        topics.entry(topic).or_default().push(part(partition, told, refusal));
    }
    topics
}

/// What another broker says.
pub(super) fn said<T>(code: i16, words: Option<String>, told: T) -> Result<T, Failure> {
    match ErrorCode::from_number(code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(told),
        code => Err(Failure::Told { code, words: words.unwrap_or_else(|| format!("{code:?}")) }),
    }
}
