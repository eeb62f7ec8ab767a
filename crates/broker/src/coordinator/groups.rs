//! Groups as what a shard hosts, those who wait for what is decided about them, and what of that the share coordinator is to hear.

use crate::coordinator::shard::{Decided, Shard, stops};
use crate::coordinator::{Coordinators, Core, OwnTopic, topic, with_topics};
use crate::error::Failure;
use crate::{BrokerOptions, Shared, settings, share};
use base::{Micros, Offset, TopicId, planted};
use control_core::{Image, SettingsScope};
use coordinator_core::{
    Answer, CoordinatorRecord, CopyCursor, Effects, GroupOptions, Groups, Now, StateInitialization, Ticket,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use world::lock;

/// Who waits for an answer, by ticket.
#[derive(Default)]
pub(crate) struct Requesters {
    waiting: BTreeMap<Ticket, oneshot::Sender<Decided<Answer>>>,
    next_ticket: u64,
    /// For the share coordinator, each with where the log must be confirmed to before it may leave.
    initializations: Vec<(Offset, StateInitialization)>,
}

impl Requesters {
    fn enter(&mut self, requester: oneshot::Sender<Decided<Answer>>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, requester);
        ticket
    }
}

impl Core for Groups {
    type Effects = Effects;
    type Cursor = CopyCursor;
    type Outgoing = Requesters;

    const WHAT: &'static str = "groups";
    const TOPIC: &'static OwnTopic = &topic::OFFSETS;

    fn all(broker: &Shared) -> &Coordinators<Groups> {
        &broker.coordinators
    }

    fn new(options: &BrokerOptions, record_bytes_max: usize) -> Groups {
        let record_bytes_max = options.groups.record_bytes_max.min(record_bytes_max);
        Groups::new(GroupOptions { record_bytes_max, ..options.groups.clone() })
    }

    fn bytes_max(options: &BrokerOptions) -> usize {
        options.groups_bytes_max
    }

    fn expiry_period(options: &BrokerOptions) -> Duration {
        options.offsets_check_period
    }

    fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), String> {
        Groups::replay(self, record).map_err(|error| error.to_string())
    }

    fn replay_transactional(&mut self, record: &CoordinatorRecord, producer: (i64, i16)) -> Result<(), String> {
        Groups::replay_transactional(self, record, producer).map_err(|error| error.to_string())
    }

    fn ended(&mut self, producer_id: i64, commits: bool) {
        self.end_transaction(producer_id, commits);
    }

    fn loaded(&mut self, broker: &Shared, image: &Image, now: Now, fx: &mut Effects) {
        let options = broker.live.at(image);
        self.loaded_with(now, |group| {
            let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
            Some(settings::consumer_times(&options, set.map(AsRef::as_ref)))
        });
        self.share_loaded(now, |group| {
            let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
            Some(settings::share_times(&options, set.map(AsRef::as_ref)).session_timeout)
        });
        self.streams_loaded(now, |group| {
            let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
            Some(settings::streams_times(&options, set.map(AsRef::as_ref)))
        });
        self.forget_topics(is_gone(image), fx);
    }

    fn topics_gone(&mut self, image: &Image, fx: &mut Effects) {
        self.forget_topics(is_gone(image), fx);
    }

    fn expire(&mut self, now: Now, fx: &mut Effects) {
        Groups::expire(self, now.wall, fx);
    }

    fn is_behind(&self) -> bool {
        self.are_behind()
    }

    fn next_deadline(&self) -> Option<Micros> {
        Groups::next_deadline(self)
    }

    fn tick(&mut self, broker: &Shared, now: Now, fx: &mut Effects) {
        with_topics(broker, |topics| Groups::tick(self, now, topics, fx));
    }

    fn count(&self) -> usize {
        self.list().count() + self.list_consumers().count() + self.list_shares().count() + self.list_streams().count()
    }

    fn bytes(&self) -> usize {
        Groups::bytes(self)
    }

    fn set_room(&mut self, bytes: usize) {
        Groups::set_room(self, bytes);
    }

    fn are_all_there_is(&self) -> bool {
        Groups::are_all_there_is(self)
    }

    fn copy(&self, cursor: &mut CopyCursor, bytes_max: usize, fx: &mut Effects) -> bool {
        Groups::copy(self, cursor, bytes_max, fx)
    }

    fn nothing() -> CoordinatorRecord {
        CoordinatorRecord::nothing()
    }

    fn records(fx: &mut Effects) -> &mut Vec<CoordinatorRecord> {
        &mut fx.records
    }

    fn whole(fx: &mut Effects) -> Vec<Range<usize>> {
        std::mem::take(&mut fx.whole)
    }

    fn transactional(fx: &mut Effects) -> Vec<((i64, i16), CoordinatorRecord)> {
        std::mem::take(&mut fx.transactional)
    }

    fn hand_on(&self, outgoing: &mut Requesters, fx: Effects, after: Offset) -> bool {
        for (ticket, answer) in fx.answers {
            if let Some(requester) = outgoing.waiting.remove(&ticket) {
                // Who asked may have gone; what was decided stays.
                let _is_heard = requester.send(Decided { value: answer, after }).is_ok();
            }
        }
        outgoing.initializations.extend(fx.initialize.into_iter().map(|wanted| (after, wanted)));
        !outgoing.initializations.is_empty()
    }

    fn beside(broker: Arc<Shared>, shard: Arc<Shard<Groups>>) -> Option<BoxFuture<'static, ()>> {
        Some(share::run(broker, shard).boxed())
    }
}

impl Shard<Groups> {
    /// Takes what the share coordinator is to be asked, each with where the log must be confirmed to before.
    pub(crate) fn take_initializations(&self) -> Vec<(Offset, StateInitialization)> {
        std::mem::take(&mut lock(&self.inner).outgoing.initializations)
    }

    /// Decides what is answered by a ticket, and waits for that answer: as long as it takes.
    pub(crate) async fn ask(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut Groups, Now, Ticket, &mut Effects) + Send,
    ) -> Result<Answer, Failure> {
        self.room(broker, broker.clock.now().plus(broker.options.group_wait_max)).await?;
        let (sender, answer) = oneshot::channel();
        self.apply_entered(broker, |requesters| requesters.enter(sender), decide)?;
        let mut stopping = broker.stopping.subscribe();
        let Decided { value, after } = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Failure::NotCoordinator)?,
            _ = stopping.wait_for(|stopping| *stopping) => return Err(stops()),
        };
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let after = planted!("assignment told before it is durable", after, Offset(0));
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }
}

/// Whether a topic that offsets were committed of is gone; one of the same name that was made since is another.
fn is_gone(image: &Image) -> impl Fn(&str, TopicId) -> bool {
    |name, id| image.topic_names.get(name).is_none_or(|now| id != TopicId::default() && id != *now)
}
