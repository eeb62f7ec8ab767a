//! What transactions ask of other brokers: to write markers, and whether a producer's transaction is in a partition.

use crate::peers::{Lanes, Question, Reach};
use protocol::error_code::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTransaction};
use protocol::messages::add_partitions_to_txn_response::{AddPartitionsToTxnResponse, AddPartitionsToTxnResult};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WriteTxnMarkersRequest};
use protocol::messages::write_txn_markers_response::{WritableTxnMarkerResult, WriteTxnMarkersResponse};
use std::collections::BTreeMap;

/// The connections to other brokers.
pub(crate) struct Peers {
    markers: Lanes<WritableTxnMarker>,
    additions: Lanes<AddPartitionsToTxnTransaction>,
}

impl Peers {
    pub(crate) fn new(reach: &Reach) -> Peers {
        Peers { markers: Lanes::new(reach.clone()), additions: Lanes::new(reach.clone()) }
    }

    /// Has a marker written by the broker at that address; what became of it, partition by partition.
    pub(super) async fn write(&self, address: &str, marker: WritableTxnMarker) -> Option<WritableTxnMarkerResult> {
        self.markers.ask(address, marker).await
    }

    /// Adds partitions to a transaction, or asks whether they are in it, at the broker at that address.
    pub(super) async fn add(
        &self,
        address: &str,
        transaction: AddPartitionsToTxnTransaction,
    ) -> Option<AddPartitionsToTxnResult> {
        self.additions.ask(address, transaction).await
    }
}

impl Question for AddPartitionsToTxnTransaction {
    type Asks = AddPartitionsToTxnRequest;
    type Answer = AddPartitionsToTxnResult;
    const WAITS: &'static str = "transactions that it coordinates";

    fn ask(transactions: Vec<Self>) -> AddPartitionsToTxnRequest {
        AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() }
    }

    fn told(asked: &AddPartitionsToTxnRequest, answer: AddPartitionsToTxnResponse) -> Vec<Option<Self::Answer>> {
        let mut results = answer.results_by_transaction.into_iter();
        let of = |asked: &AddPartitionsToTxnTransaction| {
            results.next().filter(|result| result.transactional_id == asked.transactional_id)
        };
        asked.transactions.iter().map(of).collect()
    }

    fn is_forbidden(answer: &AddPartitionsToTxnResponse) -> Option<bool> {
        Some(answer.error_code == ErrorCode::ClusterAuthorizationFailed.number())
    }
}

impl Question for WritableTxnMarker {
    type Asks = WriteTxnMarkersRequest;
    type Answer = WritableTxnMarkerResult;
    const WAITS: &'static str = "transactions with partitions that it leads";

    fn ask(markers: Vec<Self>) -> WriteTxnMarkersRequest {
        WriteTxnMarkersRequest { markers }
    }

    /// The answer has one result for a producer, whose transactions end one after the other.
    fn told(asked: &WriteTxnMarkersRequest, answer: WriteTxnMarkersResponse) -> Vec<Option<Self::Answer>> {
        let results: BTreeMap<i64, WritableTxnMarkerResult> =
            answer.markers.into_iter().map(|result| (result.producer_id, result)).collect();
        asked.markers.iter().map(|marker| results.get(&marker.producer_id).cloned()).collect()
    }

    /// All partitions are told the same then.
    fn is_forbidden(answer: &WriteTxnMarkersResponse) -> Option<bool> {
        let partition = answer.markers.iter().flat_map(|it| &it.topics).flat_map(|it| &it.partitions).next()?;
        Some(partition.error_code == ErrorCode::ClusterAuthorizationFailed.number())
    }
}
