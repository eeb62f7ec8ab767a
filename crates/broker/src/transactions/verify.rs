//! Whether partitions are part of a producer's transaction, and making them so: what partitions' leaders ask (KIP-890), and what is answered.

use crate::coordinator::{TRANSACTION_STATE, partition_of};
use crate::error::Failure;
use crate::places::{Place, of_number};
use crate::{Shared, topics};
use base::{TopicId, planted};
use coordinator_core::{AddRequest, ClientVersion, NamedTopicPartitions, Producer, TransactionError, Transactions};
use protocol::error_code::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use std::collections::BTreeMap;

/// What each partition is told.
pub(crate) type Codes = BTreeMap<(String, i32), ErrorCode>;

/// Asks the coordinator of a transactional id whether these partitions are in its producer's transaction; with `add` they become part
/// of it, which begins if need be. A code for each partition: Kafka's of AddPartitionsToTxn, `NETWORK_EXCEPTION` where the coordinator has
/// not answered. What it says was true after this was called (F-4).
///
/// While the transaction before is being completed, what is to be added is tried again for as long as
/// `add.partitions.to.txn.retry.backoff.max.ms` says.
pub(crate) async fn verify(
    broker: &Shared,
    transactional_id: &str,
    producer: Producer,
    partitions: &NamedTopicPartitions,
    add: bool,
) -> Codes {
    let deadline = broker.clock.now().plus(broker.options.add_partitions_wait_max);
    loop {
        let codes = ask(broker, transactional_id, producer, partitions, add).await;
        let is_early = codes.values().any(|code| *code == ErrorCode::ConcurrentTransactions);
        let pause = broker.options.add_partitions_pause;
        if !add || !is_early || broker.clock.now().plus(pause) > deadline {
            return codes;
        }
        broker.clock.sleep(pause).await;
    }
}

async fn ask(
    broker: &Shared,
    transactional_id: &str,
    producer: Producer,
    partitions: &NamedTopicPartitions,
    add: bool,
) -> Codes {
    let question = AddPartitionsToTxnTransaction {
        transactional_id: transactional_id.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        verify_only: !add,
        topics: partitions.iter().map(|(name, numbers)| topic_of(name, numbers.iter().copied())).collect(),
    };
    let answer = match coordinator_of(broker, transactional_id) {
        Place::Here => Some(answer_add(broker, question).await),
        Place::At(address) => broker.peers.add(&address, question).await,
        Place::Nowhere | Place::Gone => return all(partitions, ErrorCode::CoordinatorNotAvailable),
    };
    let told = answer.map(|answer| codes_of(&answer)).unwrap_or_default();
    let mut codes = all(partitions, ErrorCode::NetworkException);
    codes.iter_mut().for_each(|(partition, code)| *code = told.get(partition).copied().unwrap_or(*code));
    codes
}

fn coordinator_of(broker: &Shared, transactional_id: &str) -> Place {
    let image = broker.store.ledger().image();
    let Some(topic) = TRANSACTION_STATE.find(&image) else { return Place::Gone };
    let number = i32::try_from(partition_of(topic, transactional_id)).unwrap_or(i32::MAX);
    of_number(broker, &image, topic, number)
}

fn topic_of(name: &str, partitions: impl Iterator<Item = i32>) -> AddPartitionsToTxnTopic {
    AddPartitionsToTxnTopic { name: name.to_owned(), partitions: partitions.collect() }
}

fn all(partitions: &NamedTopicPartitions, code: ErrorCode) -> Codes {
    let of = |(topic, numbers): (&String, &std::collections::BTreeSet<i32>)| -> Vec<(String, i32)> {
        numbers.iter().map(|number| (topic.clone(), *number)).collect()
    };
    partitions.iter().flat_map(of).map(|partition| (partition, code)).collect()
}

fn codes_of(result: &AddPartitionsToTxnResult) -> Codes {
    let of_topic = |topic: &AddPartitionsToTxnTopicResult| -> Vec<((String, i32), ErrorCode)> {
        let of = |it: &AddPartitionsToTxnPartitionResult| {
            let code = ErrorCode::from_number(it.partition_error_code).unwrap_or(ErrorCode::UnknownServerError);
            ((topic.name.clone(), it.partition_index), code)
        };
        topic.results_by_partition.iter().map(of).collect()
    };
    result.topic_results.iter().flat_map(of_topic).collect()
}

/// What a partition's leader is answered, of a transactional id of this broker's.
pub(crate) async fn answer_add(broker: &Shared, asked: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let AddPartitionsToTxnTransaction { transactional_id, producer_id, producer_epoch, verify_only, topics } = asked;
    let producer = Producer { id: producer_id, epoch: producer_epoch };
    let version = ClientVersion::V2;
    let codes = if verify_only {
        verified(broker, &transactional_id, producer, topics).await
    } else {
        added(broker, &transactional_id, (producer, version), topics).await
    };
    AddPartitionsToTxnResult { transactional_id, topic_results: results(codes) }
}

/// Adds partitions to a transaction, all or none: what each is told.
pub(crate) async fn added(
    broker: &Shared,
    transactional_id: &str,
    (producer, version): (Producer, ClientVersion),
    topics: Vec<AddPartitionsToTxnTopic>,
) -> Codes {
    let partitions = named(topics);
    if let Err(codes) = check_known(broker, &partitions).await {
        return codes;
    }
    let request = AddRequest { transactional_id: transactional_id.to_owned(), producer, version, partitions };
    let added = match broker.transactions.shard(broker, transactional_id).await {
        Ok(shard) => {
            let asked = request.clone();
            let add = |transactions: &mut Transactions, now, fx: &mut _| transactions.add(now, asked, fx);
            // A partition acts on it also where nothing is new; a client's partitions ask once more.
            let is_known = planted!("F4", false, shard.look(|known| holds(known, &request)));
            if planted!("F3", is_known, true) {
                Ok(shard.apply(broker, add).value)
            } else if version == ClientVersion::V2 {
                shard.run_proved(broker, add).await
            } else {
                shard.run(broker, add).await
            }
        }
        Err(failure) => Err(failure),
    };
    let added = added.and_then(|added| added.map_err(Failure::from));
    all(&request.partitions, added.map_or_else(|failure| failure.code(), |()| ErrorCode::None))
}

/// What is in its transaction already, confirmed or not.
#[cfg(mutants)]
fn holds(known: &Transactions, request: &AddRequest) -> bool {
    let AddRequest { transactional_id: id, producer, partitions, .. } = request;
    let holds = |(topic, number): (String, i32)| known.verify(id, *producer, &topic, number).is_ok();
    all(partitions, ErrorCode::None).into_keys().all(holds)
}

async fn verified(broker: &Shared, id: &str, producer: Producer, topics: Vec<AddPartitionsToTxnTopic>) -> Codes {
    let partitions = named(topics);
    if let Err(codes) = check_known(broker, &partitions).await {
        return codes;
    }
    let verify = |transactions: &Transactions| -> Vec<Result<(), TransactionError>> {
        let of = |(topic, number): &(String, i32)| transactions.verify(id, producer, topic, *number);
        all(&partitions, ErrorCode::None).keys().map(of).collect()
    };
    let verified = match broker.transactions.shard(broker, id).await {
        Ok(shard) => planted!("F4", shard.read(broker, verify).await, Ok(shard.look(verify))),
        Err(failure) => Err(failure),
    };
    match verified {
        Ok(verified) => {
            let codes =
                verified.into_iter().map(|it| it.map_or_else(|e| Failure::from(e).code(), |()| ErrorCode::None));
            all(&partitions, ErrorCode::None).into_keys().zip(codes).collect()
        }
        Err(failure) => all(&partitions, failure.code()),
    }
}

/// As in Kafka: one partition that is not there fails the others with it. Whoever asks may have heard of it before this broker has.
async fn check_known(broker: &Shared, partitions: &NamedTopicPartitions) -> Result<(), Codes> {
    let every = all(partitions, ErrorCode::OperationNotAttempted);
    let is_known = |(topic, number): &(String, i32)| {
        let image = broker.store.ledger().image();
        topics::find(&image, topic, TopicId::default()).and_then(|topic| topics::stream_of(topic, *number)).is_ok()
    };
    if every.keys().all(is_known) {
        return Ok(());
    }
    let refreshed = broker.store.ledger().refresh().await;
    if refreshed.is_ok() && every.keys().all(is_known) {
        return Ok(());
    }
    let told = every.into_iter().map(|(partition, not_attempted)| {
        let code = if is_known(&partition) { not_attempted } else { ErrorCode::UnknownTopicOrPartition };
        (partition, code)
    });
    Err(told.collect())
}

fn named(topics: Vec<AddPartitionsToTxnTopic>) -> NamedTopicPartitions {
    let mut partitions = NamedTopicPartitions::new();
    // A topic without partitions would never be marked, and its transaction never end.
    for AddPartitionsToTxnTopic { name, partitions: numbers } in
        topics.into_iter().filter(|it| !it.partitions.is_empty())
    {
        partitions.entry(name).or_default().extend(numbers);
    }
    partitions
}

/// What an answer says, topic by topic.
pub(crate) fn results(codes: Codes) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: BTreeMap<String, Vec<AddPartitionsToTxnPartitionResult>> = BTreeMap::new();
    for ((topic, partition_index), code) in codes {
        let result = AddPartitionsToTxnPartitionResult { partition_index, partition_error_code: code.number() };
        topics.entry(topic).or_default().push(result);
    }
    let of = |(name, results_by_partition)| AddPartitionsToTxnTopicResult { name, results_by_partition };
    topics.into_iter().map(of).collect()
}
