//! What the requests have in common that describe groups, whatever their protocol: each group once, however often it is named, within the
//! memory for answers, each as its coordinator has it, and told by what the caller may know of it.

use crate::answer_bounds::{self, Left, Reasons};
use crate::checks::{Steps, in_steps};
use crate::coordinator::GROUPS_MAX;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::requests;
use crate::rights::Rights;
use crate::{Shared, authorized};
use coordinator_core::{GroupError, Groups};
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use tokio::sync::OwnedSemaphorePermit;

/// The descriptions by group, with the memory that was got for them: first the groups that the caller may not know of, as in Kafka, then the
/// others in the order of the request.
///
/// `bytes_of` says what a group's description may take at a glance, and `describe` gives one with what it does take; `refusal` stands for
/// all where the protocol is not served.
pub(crate) async fn described<T: Send>(
    (broker, rights): (&Shared, &Rights),
    (named, entry_bytes): (Vec<String>, usize),
    bytes_of: impl Fn(&Groups, &str) -> usize,
    refusal: Option<Failure>,
    describe: impl Fn(&Groups, &str) -> Result<(T, usize), Failure> + Send + Sync,
) -> (impl Iterator<Item = (String, Result<T, Failure>)> + Send, Option<OwnedSemaphorePermit>) {
    let ids = requests::once_each(named).await;
    let (ids, denied): (Vec<String>, Vec<String>) =
        ids.into_iter().partition(|id| rights.allow(Operation::Describe, Resource::Group, id));
    let (mut bytes, mut steps) = ((ids.len() + denied.len()) * entry_bytes, Steps::default());
    for id in ids.iter().take(GROUPS_MAX) {
        bytes += COPIES * broker.coordinators.look(broker, id, |groups| bytes_of(groups, id)).unwrap_or(0);
        steps.next().await;
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let left = Left::new(broker.answer_memory.total());
    let read = |groups: &Groups, place: usize| -> Result<T, Failure> {
        left.check()?;
        let (description, bytes) = describe(groups, &ids[place])?;
        left.spend(COPIES * bytes);
        Ok(description)
    };
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let described = match refusal {
        None => broker.coordinators.read_each(broker, &names, read).await,
        Some(refusal) => names.iter().map(|_| Err(refusal.clone())).collect(),
    };
    let described = answer_bounds::rest_too_much(described).map(|described| described.and_then(|described| described));
    let denied = denied.into_iter().map(|id| (id, Err(Failure::NotAuthorized(Resource::Group))));
    (denied.chain(ids.into_iter().zip(described)), memory)
}

/// A group's description, as its answer tells it.
pub(crate) trait Described: Sized + Send {
    /// Its part of the answer.
    type Group: Send;

    /// What is said where there are topics in it that the caller may not know of.
    const HIDDEN_TOPICS: &'static str =
        "The group has described topic(s) that the client is not authorized to describe.";

    /// The topics that it names.
    fn topics(&self) -> impl Iterator<Item = &String>;

    /// `operations` are those that the caller is authorised to, as a bit field.
    fn tell(self, group_id: String, operations: i32) -> Self::Group;

    /// Why there is none, in Kafka's words where it has some, which tools show as they are; else the `reason`.
    fn words(broker: &Shared, group_id: &str, failure: &Failure, reason: String) -> Option<String>;

    /// There is none.
    fn refuse(group_id: String, error_code: i16, error_message: Option<String>) -> Self::Group;
}

/// Each group's part of the answer: refused where it names topics of which the caller may not know.
pub(crate) async fn told<T: Described>(
    (broker, rights): (&Shared, &Rights),
    described: impl Iterator<Item = (String, Result<T, Failure>)> + Send,
    asks_operations: bool,
) -> Vec<T::Group> {
    let mut reasons = Reasons::default();
    let groups = in_steps(described).map(|(id, described)| {
        let told = described.and_then(|description| {
            let may_know = description.topics().all(|name| rights.allow(Operation::Describe, Resource::Topic, name));
            if may_know { Ok(description) } else { Err(Failure::HiddenTopics(T::HIDDEN_TOPICS)) }
        });
        match told {
            Ok(description) => {
                let operations = authorized::field(asks_operations, rights, Resource::Group, &id);
                description.tell(id, operations)
            }
            Err(failure) => {
                let reason = reasons.tell_unless_denied(&failure);
                let words = reason.and_then(|reason| T::words(broker, &id, &failure, reason));
                T::refuse(id, failure.code().number(), words)
            }
        }
    });
    groups.collect().await
}

/// A group of one of the newer protocols has a name.
pub(crate) fn check_named(id: &str) -> Result<(), GroupError> {
    if id.is_empty() { Err(GroupError::InvalidGroupId) } else { Ok(()) }
}
