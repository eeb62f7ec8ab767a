//! Whether a producer's transaction includes a partition that it is about to write to: asked of the transaction's coordinator before the
//! first batch is numbered (rule F-4, KIP-890), and what a client is told where the answer is no.
//!
//! Between those who append, `handler::produce` and `handler::txn_offset_commit`, and the coordinator, wherever it is.

use crate::Shared;
use crate::error::Failure;
use crate::transactions;
use coordinator_core::{NamedTopicPartitions, Producer};
use protocol::error_code::ErrorCode;
use std::collections::BTreeMap;

/// Partitions by topic and number, and what each is told.
pub(crate) type Codes = BTreeMap<(String, i32), ErrorCode>;

/// Whose transaction it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) transactional_id: String,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

/// What the client that writes understands, by the version of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// It names its partitions to the coordinator first.
    Naming,
    /// It does, and knows that a transaction may have to be aborted (`TRANSACTION_ABORTABLE`).
    Aborting,
    /// Its partitions become part of the transaction as it writes to them (version 2 of transactions).
    Adding,
}

impl Client {
    /// Of a client that sends Produce in this version.
    pub(crate) fn of_produce(version: i16) -> Client {
        match version {
            ..11 => Client::Naming,
            11 => Client::Aborting,
            _ => Client::Adding,
        }
    }

    /// Of a client that sends TxnOffsetCommit in this version.
    pub(crate) fn of_offset_commit(version: i16) -> Client {
        match version {
            ..4 => Client::Naming,
            4 => Client::Aborting,
            _ => Client::Adding,
        }
    }
}

/// Asks the coordinator whether these partitions are part of the transaction, or adds them.
pub(crate) async fn verify(
    broker: &Shared,
    transaction: &Transaction,
    partitions: Vec<(String, i32)>,
    client: Client,
) -> Codes {
    let Transaction { transactional_id, producer_id, producer_epoch } = transaction;
    let producer = Producer { id: *producer_id, epoch: *producer_epoch };
    let mut named = NamedTopicPartitions::new();
    for (topic, number) in partitions {
        named.entry(topic).or_default().insert(number);
    }
    transactions::verify(broker, transactional_id, producer, &named, client == Client::Adding).await
}

/// What a partition's answer means; an error where nothing may be written.
pub(crate) fn granted(codes: &Codes, partition: &(String, i32), client: Client) -> Result<(), Failure> {
    match codes.get(partition).copied().unwrap_or(ErrorCode::NetworkException) {
        ErrorCode::None => Ok(()),
        told => Err(Failure::Unverified { told, client }),
    }
}
