//! The requests of a transactional producer, as clients of either version of transactions send them (KIP-98, KIP-890).
//!
//! Version 1 tells the coordinator of each partition before it writes to it; its epoch stays, so a late copy of one of its requests can
//! be taken for part of its next transaction, as in Kafka. Under version 2 partitions become part of a transaction by being written to,
//! and each transaction has an epoch of its own: of that version late copies of everything are on their way all the time ([`Speaker::copied`]).

use super::{Parts, TOPICS_OF_GROUP, Version};
use crate::checker::transactions::ProducerEpoch;
use crate::workload::Shared;
use crate::workload::client::{Client, Failure, PRODUCE_TIMEOUT_MS, kafka, unreadable};
use crate::world::{spawn, wait};
use base::Seed;
use bytes::Bytes;
use protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::wire::{Records, Request, Uuid};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Kinds of coordinators, by Kafka's numbers.
const OF_GROUP: i8 = 0;
const OF_TRANSACTION: i8 = 1;

/// Requests of version 2 that are sent once more, much later.
const COPIED_PER_MILLE: u64 = 180;
/// How much later at the most, in milliseconds.
const COPIED_MS_MAX: u64 = 5_000;
/// How much later what is to race with another request is sent at the most, in milliseconds.
const BESIDE_MS_MAX: u64 = 30;

/// The error codes by which a coordinator is looked for anew.
const COORDINATOR_MOVES: [i16; 3] = [14, 15, 16];

/// Who speaks for a transactional id, and for the group that consumes in its transactions.
pub(super) struct Speaker {
    shared: Arc<Shared>,
    parts: Parts,
    client: Client,
    seed: Seed,
    pub(super) id: String,
    coordinators: BTreeMap<i8, String>,
}

/// Offsets by partition, with the transaction that committed each.
pub(super) type Offsets = BTreeMap<usize, Option<(i64, usize)>>;

impl Speaker {
    pub(super) fn new(shared: &Arc<Shared>, parts: &Parts, id: &str, mut seed: Seed) -> Speaker {
        let client = Client::new(shared, seed.fork("client"));
        let (shared, parts) = (Arc::clone(shared), Arc::clone(parts));
        Speaker { shared, parts, client, seed, id: id.to_owned(), coordinators: BTreeMap::new() }
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) async fn init(
        &mut self,
        timeout_ms: i32,
        expected: Option<ProducerEpoch>,
    ) -> Result<ProducerEpoch, Failure> {
        let version = self.client.pick(if expected.is_some() { &[3, 4, 5] } else { &[0, 1, 2, 3, 4, 5] });
        let (producer_id, producer_epoch) = expected.unwrap_or((-1, -1));
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.clone()),
            transaction_timeout_ms: timeout_ms,
            producer_id,
            producer_epoch,
        };
        let answer = self.call(OF_TRANSACTION, version, &request).await?;
        self.checked(OF_TRANSACTION, answer.error_code)?;
        Ok((answer.producer_id, answer.producer_epoch))
    }

    /// Version 1: these partitions are to be part of the transaction.
    pub(super) async fn add_partitions(
        &mut self,
        (producer_id, epoch): ProducerEpoch,
        partitions: &[usize],
    ) -> Result<(), Failure> {
        let topics = partitions.iter().map(|partition| {
            let (topic, number) = &self.parts[*partition];
            AddPartitionsToTxnTopic { name: topic.plan.name.clone(), partitions: vec![*number] }
        });
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.clone(),
            v3_and_below_producer_id: producer_id,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: topics.collect(),
            ..AddPartitionsToTxnRequest::default()
        };
        let version = self.client.pick(&[0, 1, 2, 3]);
        let answer = self.call(OF_TRANSACTION, version, &request).await?;
        let results = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
        let codes: Vec<i16> = results.map(|it| it.partition_error_code).collect();
        // One that is refused for itself refuses the others with code 55, which says nothing.
        const NOT_ATTEMPTED: i16 = 55;
        let code = codes.iter().find(|code| ![0, NOT_ATTEMPTED].contains(*code));
        code.map_or(Ok(()), |code| self.checked(OF_TRANSACTION, *code))
    }

    /// Version 1: offsets of the group are to be part of the transaction.
    pub(super) async fn add_offsets(&mut self, (producer_id, epoch): ProducerEpoch) -> Result<(), Failure> {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.id.clone(),
            producer_id,
            producer_epoch: epoch,
            group_id: TOPICS_OF_GROUP.to_owned(),
        };
        let version = self.client.pick(&[0, 1, 2, 3]);
        let answer = self.call(OF_TRANSACTION, version, &request).await?;
        self.checked(OF_TRANSACTION, answer.error_code)
    }

    /// Writes a batch to each of these partitions, all that have one leader in one request; what became of each, by its place.
    pub(super) async fn produce(&mut self, version: Version, batches: &[(usize, Bytes)]) -> Vec<Result<i64, Failure>> {
        let mut outcomes: Vec<Result<i64, Failure>> = batches.iter().map(|_| Err(Failure::NoLeader)).collect();
        let mut by_leader: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, (partition, _)) in batches.iter().enumerate() {
            let (topic, number) = &self.parts[*partition];
            match self.client.leader(topic, *number).await {
                Ok(leader) => by_leader.entry(leader).or_default().push(place),
                Err(failure) => outcomes[place] = Err(failure),
            }
        }
        for (leader, places) in by_leader {
            let version = self.client.pick(if version == Version::One { &[3, 5, 8, 10, 11] } else { &[12, 13] });
            let wanted = places.iter().map(|place| &batches[*place]);
            let request = produce_request(&self.parts, &self.id, version, wanted);
            self.copied(&leader, version, &request);
            let answered = self.client.call(&leader, version, &request).await.map(|(answer, _)| answer);
            let told = |place: usize| {
                let (topic, number) = &self.parts[batches[place].0];
                let answer =
                    answered.as_ref().map_err(|failure| Failure::Lost(std::io::Error::other(failure.to_string())))?;
                let of_topic = answer.responses.iter().filter(|it| {
                    if version < 13 { it.name.as_str() == topic.plan.name } else { it.topic_id == Uuid(topic.id) }
                });
                let it = of_topic.flat_map(|it| &it.partition_responses).find(|it| it.index == *number);
                let it = it.ok_or_else(unreadable)?;
                kafka(it.error_code).map(|()| it.base_offset)
            };
            for place in places {
                outcomes[place] = told(place);
            }
        }
        for ((partition, _), outcome) in batches.iter().zip(&outcomes) {
            let (topic, number) = &self.parts[*partition];
            self.client.forget_leader_unless(outcome.is_ok(), topic, *number);
        }
        outcomes
    }

    /// Sends offsets with the transaction, named after it.
    pub(super) async fn send_offsets(
        &mut self,
        version: Version,
        (producer_id, epoch): ProducerEpoch,
        transaction: usize,
        offsets: &BTreeMap<usize, i64>,
    ) -> Result<(), Failure> {
        let topics = offsets.iter().map(|(partition, offset)| {
            let (topic, number) = &self.parts[*partition];
            TxnOffsetCommitRequestTopic {
                name: topic.plan.name.clone(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: *number,
                    committed_offset: *offset,
                    committed_metadata: Some(transaction.to_string()),
                    ..TxnOffsetCommitRequestPartition::default()
                }],
                ..TxnOffsetCommitRequestTopic::default()
            }
        });
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.clone(),
            group_id: TOPICS_OF_GROUP.to_owned(),
            producer_id,
            producer_epoch: epoch,
            topics: topics.collect(),
            ..TxnOffsetCommitRequest::default()
        };
        let version = self.client.pick(if version == Version::One { &[0, 1, 2, 3, 4] } else { &[5] });
        let answer = self.call(OF_GROUP, version, &request).await?;
        let codes: Vec<i16> = answer.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect();
        if codes.len() != offsets.len() {
            return Err(unreadable());
        }
        codes.into_iter().try_for_each(|code| self.checked(OF_GROUP, code))
    }

    /// Ends the transaction; who the producer is from now on, where version 2 tells it.
    pub(super) async fn end(
        &mut self,
        version: Version,
        producer: ProducerEpoch,
        commit: bool,
    ) -> Result<ProducerEpoch, Failure> {
        let request = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed: commit,
        };
        let raises = version == Version::Two;
        let version = self.client.pick(if raises { &[5] } else { &[0, 1, 2, 3, 4] });
        let answer = self.call(OF_TRANSACTION, version, &request).await?;
        self.checked(OF_TRANSACTION, answer.error_code)?;
        Ok(if raises { (answer.producer_id, answer.producer_epoch) } else { producer })
    }

    /// What the group has committed of these partitions.
    pub(super) async fn offsets(&mut self, partitions: &[usize], is_stable: bool) -> Result<Offsets, Failure> {
        let topic = |partition: &usize| {
            let (topic, number) = &self.parts[*partition];
            (topic.plan.name.clone(), vec![*number])
        };
        let version = self.client.pick(&[7, 8, 9]);
        let mut request = OffsetFetchRequest { require_stable: is_stable, ..OffsetFetchRequest::default() };
        if version < 8 {
            let topics = partitions.iter().map(topic);
            let topics = topics.map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes });
            request.group_id = TOPICS_OF_GROUP.to_owned();
            request.topics = Some(topics.collect());
        } else {
            let topics = partitions.iter().map(topic).map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                name,
                partition_indexes,
                ..OffsetFetchRequestTopics::default()
            });
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: TOPICS_OF_GROUP.to_owned(),
                topics: Some(topics.collect()),
                ..OffsetFetchRequestGroup::default()
            }];
        }
        let answer = self.call(OF_GROUP, version, &request).await?;
        let code = if version < 8 { answer.error_code } else { answer.groups.first().map_or(0, |it| it.error_code) };
        self.checked(OF_GROUP, code)?;
        let old = answer.topics.iter().flat_map(|it| &it.partitions);
        let old = old.map(|it| (it.error_code, it.committed_offset, it.metadata.clone()));
        let new = answer.groups.iter().flat_map(|it| &it.topics).flat_map(|it| &it.partitions);
        let new = new.map(|it| (it.error_code, it.committed_offset, it.metadata.clone()));
        let found: Vec<(i16, i64, Option<String>)> = old.chain(new).collect();
        if found.len() != partitions.len() {
            return Err(unreadable());
        }
        let mut offsets = Offsets::new();
        for (partition, (code, offset, metadata)) in partitions.iter().zip(found) {
            self.checked(OF_GROUP, code)?;
            let by = metadata.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
            offsets.insert(*partition, (offset >= 0).then_some((offset, by)));
        }
        Ok(offsets)
    }

    /// Asks a coordinator, which is looked for where it is not known.
    async fn call<R: Request + Clone + Send + Sync + 'static>(
        &mut self,
        kind: i8,
        version: i16,
        request: &R,
    ) -> Result<R::Response, Failure> {
        let coordinator = match self.coordinators.get(&kind).cloned() {
            Some(coordinator) => coordinator,
            None => self.find(kind).await?,
        };
        self.copied(&coordinator, version, request);
        let answered = self.client.call(&coordinator, version, request).await;
        match &answered {
            Ok(_) => drop(self.coordinators.insert(kind, coordinator)),
            Err(_) => drop(self.coordinators.remove(&kind)),
        }
        answered.map(|(answer, _)| answer)
    }

    async fn find(&mut self, kind: i8) -> Result<String, Failure> {
        let key = if kind == OF_GROUP { TOPICS_OF_GROUP.to_owned() } else { self.id.clone() };
        let address = self.client.anybody();
        let request = FindCoordinatorRequest { key_type: kind, coordinator_keys: vec![key], ..Default::default() };
        let version = self.client.pick(&[4, 5, 6]);
        let (answer, _) = self.client.call(&address, version, &request).await?;
        let found = answer.coordinators.first().ok_or_else(unreadable)?;
        kafka(found.error_code)?;
        Ok(format!("{}:{}", found.host, found.port))
    }

    fn checked(&mut self, kind: i8, code: i16) -> Result<(), Failure> {
        if COORDINATOR_MOVES.contains(&code) {
            self.coordinators.remove(&kind);
        }
        kafka(code)
    }

    /// Sends some requests of version 2 once more by another connection, when their transaction is mostly over: that must do nothing.
    fn copied<R: Request + Clone + Send + Sync + 'static>(&mut self, address: &str, version: i16, request: &R) {
        if !may_be_copied(R::KEY as i16, version) || !self.seed.chance(COPIED_PER_MILLE) {
            return;
        }
        // Some beside the original, or before it.
        let millis_max = if self.seed.chance(400) { BESIDE_MS_MAX } else { COPIED_MS_MAX };
        let soon = Duration::from_millis(self.seed.below(millis_max));
        self.send_apart((address, soon), version, request.clone(), "workload.txn_copied");
    }

    /// Sends a batch of version 2 over another connection and does not wait for it: it may come before the end of its transaction, or behind it.
    pub(super) async fn throw(&mut self, (partition, batch): (usize, Bytes)) {
        let (topic, number) = &self.parts[partition];
        let Ok(leader) = self.client.leader(topic, *number).await else { return };
        let version = self.client.pick(&[12, 13]);
        let request = produce_request(&self.parts, &self.id, version, std::iter::once(&(partition, batch)));
        let soon = Duration::from_millis(self.seed.below(BESIDE_MS_MAX));
        self.send_apart((&leader, soon), version, request, "workload.txn_thrown");
    }

    /// Sends a request by another connection after a while; whatever is answered, nobody waits for it.
    fn send_apart<R: Request + Send + Sync + 'static>(
        &mut self,
        (address, soon): (&str, Duration),
        version: i16,
        request: R,
        counter: &'static str,
    ) {
        let address = address.to_owned();
        let mut client = Client::new(&self.shared, self.seed.fork("copy"));
        let trace = self.shared.cluster.universe().trace.clone();
        spawn(async move {
            wait(soon).await;
            if client.call(&address, version, &request).await.is_ok() {
                trace.count(counter);
            }
        });
    }
}

/// Produce from version 12 on, TxnOffsetCommit and EndTxn from version 5 on.
fn may_be_copied(key: i16, version: i16) -> bool {
    const PRODUCE: i16 = 0;
    const END_TXN: i16 = 26;
    const TXN_OFFSET_COMMIT: i16 = 28;
    match key {
        PRODUCE => version >= 12,
        END_TXN | TXN_OFFSET_COMMIT => version >= 5,
        _ => false,
    }
}

fn produce_request<'a>(
    parts: &Parts,
    id: &str,
    version: i16,
    batches: impl Iterator<Item = &'a (usize, Bytes)>,
) -> ProduceRequest {
    let data = batches.map(|(partition, batch)| {
        let (topic, number) = &parts[*partition];
        let mut records = Records::default();
        records.push(batch.clone());
        TopicProduceData {
            name: if version < 13 { topic.plan.name.as_str().into() } else { Default::default() },
            topic_id: if version < 13 { Uuid(0) } else { Uuid(topic.id) },
            partition_data: vec![PartitionProduceData { index: *number, records: Some(records) }],
        }
    });
    ProduceRequest {
        transactional_id: Some(id.to_owned()),
        acks: -1,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: data.collect(),
    }
}
