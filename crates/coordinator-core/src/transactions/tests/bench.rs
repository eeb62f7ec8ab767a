//! Transactions with a hand on the clock, the producer ids and the partitions, for the tests.

use crate::transactions::{
    AddRequest, ClientVersion, EndRequest, InitRequest, Marker, MarkerOutcome, NamedTopicPartitions, Producer,
    TransactionDescription, TransactionEffects, TransactionError, TransactionOptions, Transactions,
};
use crate::{CoordinatorRecord, Now};
use base::{Micros, UnixMillis};
use std::time::Duration;

pub(super) const ID: &str = "tx";
pub(super) const TIMEOUT_MS: i32 = 60_000;

pub(super) struct Bench {
    pub(super) transactions: Transactions,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    /// Sent and not answered.
    pub(super) markers: Vec<Marker>,
    next_id: i64,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let now = Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) };
        let transactions = Transactions::new(TransactionOptions::default());
        Bench { transactions, now, log: Vec::new(), markers: Vec::new(), next_id: 1000 }
    }

    /// What is left after a crash: the records.
    pub(super) fn restart(&mut self) {
        let mut transactions = Transactions::new(self.transactions.options.clone());
        for record in &self.log {
            transactions.replay(record).unwrap();
        }
        self.markers.clear();
        let mut fx = TransactionEffects::default();
        transactions.loaded(self.now, &mut fx);
        self.transactions = transactions;
        self.take(fx);
    }

    fn take(&mut self, fx: TransactionEffects) {
        self.log.extend(fx.records);
        self.markers.extend(fx.markers);
        assert_eq!(self.transactions.bytes(), self.transactions.count(), "what is counted is what is there");
    }

    pub(super) fn run<T>(
        &mut self,
        decide: impl Fn(&mut Transactions, Now, &mut TransactionEffects) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let mut fx = TransactionEffects::default();
        let mut outcome = decide(&mut self.transactions, self.now, &mut fx);
        if matches!(outcome, Err(TransactionError::NeedsProducerId)) {
            assert!(fx.records.is_empty() && fx.markers.is_empty(), "nothing has changed");
            self.supply();
            outcome = decide(&mut self.transactions, self.now, &mut fx);
        }
        self.take(fx);
        outcome
    }

    pub(super) fn supply(&mut self) {
        self.transactions.supply(self.next_id);
        self.next_id += 1;
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let wall = UnixMillis(self.now.wall.0 + i64::try_from(time.as_millis()).unwrap());
        self.now = Now { at: self.now.at.plus(time), wall };
        let mut fx = TransactionEffects::default();
        self.transactions.tick(self.now, &mut fx);
        self.take(fx);
    }

    pub(super) fn init(&mut self, expected: Option<Producer>) -> Result<Producer, TransactionError> {
        let request = InitRequest { expected, ..init_request() };
        self.run(|transactions, now, fx| transactions.init(now, &request, fx))
    }

    /// A producer that begins, with this epoch.
    pub(super) fn begin_at(&mut self, epoch: i16) -> Producer {
        let mut producer = self.init(None).unwrap();
        while producer.epoch < epoch {
            producer = self.init(None).unwrap();
        }
        producer
    }

    pub(super) fn add(&mut self, producer: Producer, topic: &str, partition: i32) -> Result<(), TransactionError> {
        self.add_as(ClientVersion::V2, producer, topic, partition)
    }

    pub(super) fn add_as(
        &mut self,
        version: ClientVersion,
        producer: Producer,
        topic: &str,
        partition: i32,
    ) -> Result<(), TransactionError> {
        let request = AddRequest {
            transactional_id: ID.to_owned(),
            producer,
            version,
            partitions: NamedTopicPartitions::from([(topic.to_owned(), [partition].into())]),
        };
        self.run(|transactions, now, fx| transactions.add(now, request.clone(), fx))
    }

    pub(super) fn end(&mut self, producer: Producer, commit: bool) -> Result<Producer, TransactionError> {
        self.end_as(ClientVersion::V2, producer, commit)
    }

    pub(super) fn end_as(
        &mut self,
        version: ClientVersion,
        producer: Producer,
        commit: bool,
    ) -> Result<Producer, TransactionError> {
        let request = EndRequest { transactional_id: ID.to_owned(), producer, commit, version };
        self.run(|transactions, now, fx| transactions.end(now, &request, fx))
    }

    /// The partitions answer all markers so.
    pub(super) fn answer(&mut self, outcome: MarkerOutcome) {
        for marker in std::mem::take(&mut self.markers) {
            let each = marker.partitions.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, *id)));
            let outcomes: Vec<_> = each.map(|(topic, id)| (topic.clone(), id, outcome)).collect();
            self.mark(marker.producer, &outcomes);
        }
    }

    pub(super) fn mark(&mut self, producer: Producer, outcomes: &[(String, i32, MarkerOutcome)]) {
        let mut fx = TransactionEffects::default();
        self.transactions.marked(self.now, ID, producer, outcomes, &mut fx);
        self.take(fx);
    }

    pub(super) fn complete(&mut self) {
        self.answer(MarkerOutcome::Written);
    }

    pub(super) fn described(&self) -> TransactionDescription {
        self.transactions.describe(ID).unwrap()
    }
}

pub(super) fn init_request() -> InitRequest {
    InitRequest { transactional_id: ID.to_owned(), timeout_ms: TIMEOUT_MS, ..InitRequest::default() }
}

pub(super) fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id, epoch }
}
