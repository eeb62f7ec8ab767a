//! Transactional ids as what a shard of `crate::coordinator` hosts.

use crate::coordinator::{Coordinators, Core, OwnTopic, Shard, TRANSACTION_STATE};
use crate::transactions::markers;
use crate::{BrokerOptions, Shared};
use base::{Micros, Offset};
use control_core::Image;
use coordinator_core::{
    CoordinatorRecord, Marker, Now, TransactionCursor, TransactionEffects, TransactionOptions, Transactions,
    transaction_record_of_nothing,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

impl Core for Transactions {
    type Effects = TransactionEffects;
    type Cursor = TransactionCursor;
    /// Markers, each with where the log must be confirmed to before it may leave.
    type Outgoing = VecDeque<(Offset, Marker)>;

    const WHAT: &'static str = "transactions";
    const TOPIC: &'static OwnTopic = &TRANSACTION_STATE;

    fn all(broker: &Shared) -> &Coordinators<Transactions> {
        &broker.transactions
    }

    fn new(options: &BrokerOptions, record_bytes_max: usize) -> Transactions {
        let record_bytes_max = options.transactions.record_bytes_max.min(record_bytes_max);
        Transactions::new(TransactionOptions { record_bytes_max, ..options.transactions.clone() })
    }

    fn bytes_max(options: &BrokerOptions) -> usize {
        options.transactions_bytes_max
    }

    fn expiry_period(options: &BrokerOptions) -> Duration {
        options.transactions_check_period
    }

    fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), String> {
        Transactions::replay(self, record).map_err(|error| error.to_string())
    }

    fn loaded(&mut self, _broker: &Shared, _image: &Image, now: Now, fx: &mut TransactionEffects) {
        Transactions::loaded(self, now, fx);
    }

    /// A partition that is gone is found to be when it is to have its marker.
    fn topics_gone(&mut self, _image: &Image, _fx: &mut TransactionEffects) {}

    fn expire(&mut self, now: Now, fx: &mut TransactionEffects) {
        Transactions::expire(self, now.wall, fx);
    }

    fn next_deadline(&self) -> Option<Micros> {
        Transactions::next_deadline(self)
    }

    fn tick(&mut self, _broker: &Shared, now: Now, fx: &mut TransactionEffects) {
        Transactions::tick(self, now, fx);
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        Transactions::bytes(self)
    }

    fn set_room(&mut self, bytes: usize) {
        Transactions::set_room(self, bytes);
    }

    fn are_all_there_is(&self) -> bool {
        Transactions::are_all_there_is(self)
    }

    fn copy(&self, cursor: &mut TransactionCursor, bytes_max: usize, fx: &mut TransactionEffects) -> bool {
        Transactions::copy(self, cursor, bytes_max, fx)
    }

    fn nothing() -> CoordinatorRecord {
        transaction_record_of_nothing()
    }

    fn records(fx: &mut TransactionEffects) -> &mut Vec<CoordinatorRecord> {
        &mut fx.records
    }

    fn hand_on(&self, outgoing: &mut Self::Outgoing, fx: TransactionEffects, after: Offset) -> bool {
        outgoing.extend(fx.markers.into_iter().map(|marker| (after, marker)));
        !outgoing.is_empty() || self.wants_producer_id()
    }

    fn beside(broker: Arc<Shared>, shard: Arc<Shard<Transactions>>) -> Option<BoxFuture<'static, ()>> {
        Some(markers::run(broker, shard).boxed())
    }
}
