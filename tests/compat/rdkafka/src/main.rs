//! The cases of rust-rdkafka: a newer librdkafka than distributions ship, through a binding that leaves transactions and rebalances to its user.

mod cases;

use cases::{Outcome, check, same, unique, until};
use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// `max.message.bytes` where nothing is set.
const LIMIT: usize = 1_048_588;
const PATIENCE: Duration = Duration::from_secs(40);

/// What a case wants of a client's configuration.
type Settings<'a> = &'a [(&'a str, &'a str)];
type Record<'a> = BaseRecord<'a, [u8], [u8]>;

fn main() {
    let codec = |name: &'static str| move || round_trip(name);
    cases::run(vec![
        ("topics", Box::new(topics)),
        ("create-partitions", Box::new(create_partitions)),
        ("cluster", Box::new(cluster)),
        ("configs", Box::new(configs)),
        ("codec-none", Box::new(codec("none"))),
        ("codec-gzip", Box::new(codec("gzip"))),
        ("codec-snappy", Box::new(codec("snappy"))),
        ("codec-lz4", Box::new(codec("lz4"))),
        ("codec-zstd", Box::new(codec("zstd"))),
        ("headers", Box::new(headers)),
        ("keys", Box::new(keys)),
        ("timestamps", Box::new(timestamps)),
        ("acks", Box::new(acks)),
        ("big-records", Box::new(big_records)),
        ("idempotence", Box::new(idempotence)),
        ("seek", Box::new(seek)),
        ("offsets-for-times", Box::new(offsets_for_times)),
        ("offset-out-of-range", Box::new(offset_out_of_range)),
        ("delete-records", Box::new(delete_records)),
        ("commits", Box::new(commits)),
        ("group-rebalance", Box::new(|| rebalance(&[("partition.assignment.strategy", "range")]))),
        ("cooperative-rebalance", Box::new(|| rebalance(&[("partition.assignment.strategy", "cooperative-sticky")]))),
        ("consumer-protocol", Box::new(|| rebalance(&[("group.protocol", "consumer")]))),
        ("static-members", Box::new(|| static_members(&[("partition.assignment.strategy", "range")]))),
        ("static-consumer-protocol", Box::new(|| static_members(&[("group.protocol", "consumer")]))),
        ("group-admin", Box::new(group_admin)),
        ("transaction-commit", Box::new(|| transaction(true))),
        ("transaction-abort", Box::new(|| transaction(false))),
        ("transaction-offsets", Box::new(|| transaction_offsets(&[]))),
        ("transaction-offsets-consumer-protocol", Box::new(|| transaction_offsets(&[("group.protocol", "consumer")]))),
        ("transaction-fenced", Box::new(transaction_fenced)),
        ("idempotence-restart", Box::new(idempotence_restart)),
        ("restart", Box::new(restart)),
    ]);
}

fn topics() -> Outcome {
    let topic = create("topics", 3, &[("retention.ms", "3600000")])?;
    same(3, partitions(&topic)?, "partitions")?;
    refused(Code::TopicAlreadyExists, created(&topic, 1, &[]))?;
    refused(Code::InvalidTopic, created("no/slash", 1, &[]))?;
    refused(Code::InvalidConfig, created(&unique("bad"), 1, &[("no.such.config", "1")]))?;
    let delete = || {
        block_on(admin()?.delete_topics(&[&topic], &AdminOptions::new()))
            .map(|told| told[0].clone().map_err(|(_, code)| code))
    };
    same(Ok(topic.clone()), delete()?, "deleted")?;
    until("the topic is gone", || Ok(partitions(&topic)? == 0))?;
    same(Err(Code::UnknownTopicOrPartition), delete()?, "deleted once more")
}

fn create_partitions() -> Outcome {
    let topic = create("grows", 1, &[])?;
    let grow = |count| {
        let asked = [NewPartitions::new(&topic, count)];
        block_on(admin()?.create_partitions(&asked, &AdminOptions::new()))
            .map(|told| told[0].clone().map_err(|(_, code)| code))
    };
    same(Ok(topic.clone()), grow(3)?, "grown")?;
    until("3 partitions", || Ok(partitions(&topic)? == 3))?;
    deliver(&[], vec![BaseRecord::to(&topic).partition(2).payload(b"v".as_slice())])?;
    same(vec!["v".to_owned()], values(&read(&topic, 3)?), "records")?;
    same(Err(Code::InvalidPartitions), grow(2)?, "shrunk")
}

fn cluster() -> Outcome {
    let client = consumer(&[])?;
    let told = client.fetch_metadata(None, PATIENCE)?;
    let broker = &told.brokers()[0];
    same(cases::bootstrap(), format!("{}:{}", broker.host(), broker.port()), "address")?;
    same(Some(22), client.client().fetch_cluster_id(PATIENCE).map(|id| id.len()), "characters of the cluster's id")
}

fn configs() -> Outcome {
    let topic = create("configs", 1, &[])?;
    let told = || -> Result<_, cases::Failure> {
        let found = block_on(admin()?.describe_configs(&[ResourceSpecifier::Topic(&topic)], &AdminOptions::new()))?
            .remove(0)?;
        let entry = found.get("retention.ms").ok_or("there is no retention.ms")?;
        Ok(format!("{} {:?}", entry.value.as_deref().unwrap_or_default(), entry.source))
    };
    let alter = |name, value| {
        let asked = [AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value)];
        block_on(admin()?.alter_configs(&asked, &AdminOptions::new()))
            .map(|mut told| told.remove(0).map(|_| ()).map_err(|(_, code)| code))
    };
    same("604800000 Default", &*told()?, "the default")?;
    same(Ok(()), alter("retention.ms", "1234567")?, "altered")?;
    until("it is told", || Ok(*told()? == *"1234567 DynamicTopic"))?;
    // The whole of a topic's settings is replaced.
    same(Ok(()), alter("segment.ms", "3600000")?, "altered")?;
    until("the default is told", || Ok(*told()? == *"604800000 Default"))
}

fn round_trip(codec: &str) -> Outcome {
    let (topic, sent) = (create("codec", 1, &[])?, cases::numbered(500));
    produce(&topic, &sent, &[("compression.type", codec), ("linger.ms", "20")])?;
    same(sent, values(&read(&topic, 1)?), "records")
}

fn headers() -> Outcome {
    let topic = create("headers", 1, &[])?;
    let sent: [(&str, Option<&[u8]>); 5] =
        [("twice", Some(b"1")), ("twice", Some(b"2")), ("empty", Some(b"")), ("null", None), ("ключ", Some(&[0, 255]))];
    let headers = sent.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
    deliver(&[], vec![BaseRecord::to(&topic).payload(b"v".as_slice()).headers(headers)])?;
    let found = read(&topic, 1)?.remove(0);
    let found: Vec<_> = found
        .headers()
        .ok_or("no headers")?
        .iter()
        .map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)))
        .collect();
    same(sent.map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec))).to_vec(), found, "headers")
}

fn keys() -> Outcome {
    let topic = create("keys", 3, &[])?;
    let keys: Vec<_> = (0..30).map(|i| format!("key-{}", i % 10)).collect();
    let mut sent: Vec<Record<'_>> =
        keys.iter().map(|key| BaseRecord::to(&topic).key(key.as_bytes()).payload(b"v".as_slice())).collect();
    sent.push(BaseRecord::to(&topic).key(b"".as_slice()));
    deliver(&[], sent)?;
    let mut seen = std::collections::BTreeMap::new();
    for message in read(&topic, 3)? {
        let key = message.key().ok_or("no key")?.to_vec();
        check(key.is_empty() == message.payload().is_none(), "an empty key with a null value")?;
        same(*seen.entry(key).or_insert(message.partition()), message.partition(), "the partition of a key")?;
    }
    same(11, seen.len(), "keys")
}

fn timestamps() -> Outcome {
    let hour_ago = millis() - 3_600_000;
    for (kind, is_sent) in [("CreateTime", true), ("LogAppendTime", false)] {
        let topic = create("timestamps", 1, &[("message.timestamp.type", kind)])?;
        deliver(&[], vec![BaseRecord::to(&topic).payload(b"v".as_slice()).timestamp(hour_ago)])?;
        let told = read(&topic, 1)?[0].timestamp().to_millis();
        same(is_sent, told == Some(hour_ago), &format!("the time is the sender's with {kind}"))?;
    }
    Ok(())
}

fn acks() -> Outcome {
    for level in ["0", "1", "all"] {
        let topic = create("acks", 1, &[])?;
        produce(&topic, &cases::numbered(100), &[("acks", level)])?;
        until(&format!("100 records with acks {level}"), || Ok(end(&topic)? == 100))?;
    }
    Ok(())
}

fn big_records() -> Outcome {
    let topic = create("big", 1, &[])?;
    let fits = cases::noise(LIMIT - 75);
    let send =
        |value: &[u8]| deliver(&[("message.max.bytes", "20000000")], vec![BaseRecord::to(&topic).payload(value)]);
    send(&fits)?;
    for size in [LIMIT, 10_000_000] {
        refused(Code::MessageSizeTooLarge, send(&cases::noise(size)))?;
    }
    let found = read(&topic, 1)?;
    check(found.len() == 1 && found[0].payload() == Some(&fits), "the record at the limit comes back")
}

fn idempotence() -> Outcome {
    let (topic, sent) = (create("idempotence", 1, &[])?, cases::numbered(3000));
    produce(&topic, &sent, &[("enable.idempotence", "true"), ("batch.num.messages", "10")])?;
    same(sent, values(&read(&topic, 1)?), "records")
}

fn seek() -> Outcome {
    let (topic, _) = timed()?;
    for (asked, expected) in [(Offset::Offset(42), 42), (Offset::Beginning, 0), (Offset::OffsetTail(3), 97)] {
        same(expected, first_from(&topic, asked, &[])?.offset(), "where it begins")?;
    }
    let client = assigned(&topic, 1, Offset::Beginning, &[])?;
    same(0, next(&client)?.offset(), "the first record")?;
    client.seek(&topic, 0, Offset::Offset(70), PATIENCE)?;
    same(70, next(&client)?.offset(), "after a seek")?;
    client.pause(&client.assignment()?)?;
    check(client.poll(Duration::from_millis(500)).is_none(), "nothing comes from what is paused")?;
    client.resume(&client.assignment()?)?;
    same(71, next(&client)?.offset(), "after a pause")
}

fn offsets_for_times() -> Outcome {
    let (topic, base) = timed()?;
    let client = consumer(&[])?;
    for (asked, expected) in
        [(base + 5401, Offset::Offset(55)), (0, Offset::Offset(0)), (millis() + 3_600_000, Offset::End)]
    {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(asked))?;
        same(expected, client.offsets_for_times(list, PATIENCE)?.elements()[0].offset(), "offset for a time")?;
    }
    same((0, 100), client.fetch_watermarks(&topic, 0, PATIENCE)?, "watermarks")
}

fn offset_out_of_range() -> Outcome {
    let topic = create("range", 1, &[])?;
    produce(&topic, &cases::numbered(10), &[])?;
    same(
        0,
        first_from(&topic, Offset::Offset(11), &[("auto.offset.reset", "earliest")])?.offset(),
        "where it begins again",
    )?;
    refused(
        Code::AutoOffsetReset,
        first_from(&topic, Offset::Offset(11), &[("auto.offset.reset", "error")]).map(|_| ()),
    )
}

fn delete_records() -> Outcome {
    let topic = create("delete-records", 1, &[])?;
    produce(&topic, &cases::numbered(100), &[])?;
    let delete = |before| -> Result<_, cases::Failure> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(before))?;
        let told = block_on(admin()?.delete_records(&list, &AdminOptions::new()))?;
        let (offset, error) = (told.elements()[0].offset(), told.elements()[0].error());
        Ok(error.map(|()| offset).map_err(|error| error.rdkafka_error_code()))
    };
    same(Ok(Offset::Offset(30)), delete(30)?, "low watermark")?;
    same(30, read(&topic, 1)?[0].offset(), "the first record")?;
    same(Err(Some(Code::OffsetOutOfRange)), delete(101)?, "what isn't there yet")
}

fn commits() -> Outcome {
    let (topic, group) = (create("commits", 1, &[])?, unique("commits"));
    produce(&topic, &cases::numbered(20), &[])?;
    same(Offset::Invalid, committed(&group, &topic)?, "before anything is committed")?;
    let client = consumer(&[("group.id", &group), ("enable.auto.commit", "false")])?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(7))?;
    client.commit(&list, CommitMode::Sync)?;
    same(Offset::Offset(7), committed(&group, &topic)?, "committed")?;
    client.subscribe(&[&topic])?;
    same(7, next(&client)?.offset(), "where a member goes on")?;
    let last = next(&client)?;
    client.store_offset(&topic, 0, last.offset())?;
    client.commit_consumer_state(CommitMode::Sync)?;
    same(Offset::Offset(9), committed(&group, &topic)?, "what was stored")
}

fn rebalance(settings: Settings<'_>) -> Outcome {
    let (topic, group, sent) = (create("group", 4, &[])?, unique("group"), cases::numbered(800));
    produce(&topic, &sent[..400], &[])?;
    let first = Member::join(&group, &topic, settings)?;
    until("the first has all", || Ok(first.partitions() == 4 && first.records().len() == 400))?;
    let second = Member::join(&group, &topic, settings)?;
    until("each has two", || Ok(first.partitions() == 2 && second.partitions() == 2))?;
    produce(&topic, &sent[400..], &[])?;
    until("all is consumed", || Ok(first.records().len() + second.records().len() >= 800))?;
    let mut found = first.close();
    until("the second has all", || Ok(second.partitions() == 4))?;
    found.extend(second.close());
    found.sort();
    same(sent, found, "each record once")
}

fn static_members(settings: Settings<'_>) -> Outcome {
    let (topic, group) = (create("static", 4, &[])?, unique("static"));
    let join = |id| Member::join(&group, &topic, &[settings, &[("group.instance.id", id)]].concat());
    let (a, b) = (join("a")?, join("b")?);
    until("each has two", || Ok(a.partitions() == 2 && b.partitions() == 2))?;
    a.close();
    std::thread::sleep(Duration::from_millis(1500));
    same(2, b.partitions(), "partitions of the other after a static member has closed")?;
    let again = join("a")?;
    until("it has its partitions again", || Ok(again.partitions() == 2))?;
    same(2, b.partitions(), "partitions of the other after it came back")?;
    again.close();
    b.close();
    Ok(())
}

fn group_admin() -> Outcome {
    let (topic, group) = (create("group-admin", 2, &[])?, unique("group-admin"));
    let member =
        Member::join(&group, &topic, &[("client.id", "the-client"), ("partition.assignment.strategy", "range")])?;
    until("assigned", || Ok(member.partitions() == 2))?;
    let client = consumer(&[])?;
    let told = client.fetch_group_list(Some(&group), PATIENCE)?;
    let told = &told.groups()[0];
    same(
        ("range", "consumer", 1),
        (told.protocol(), told.protocol_type(), told.members().len()),
        "protocol and members",
    )?;
    same("the-client", told.members()[0].client_id(), "the member")?;
    let delete = || {
        block_on(admin()?.delete_groups(&[&group], &AdminOptions::new()))
            .map(|told| told[0].clone().map_err(|(_, code)| code))
    };
    same(Err(Code::NonEmptyGroup), delete()?, "a group with a member")?;
    member.close();
    until("it is deleted once it is empty", || Ok(delete()? != Err(Code::NonEmptyGroup)))?;
    same(Err(Code::GroupIdNotFound), delete()?, "deleted once more")
}

fn transaction(commit: bool) -> Outcome {
    let (topic, sent) = (create("transaction", 1, &[])?, cases::numbered(30));
    let producer = transactional(&unique("transaction"))?;
    for (i, committing) in [true, commit, true].into_iter().enumerate() {
        producer.begin_transaction()?;
        send(&producer, &topic, &sent[10 * i..10 * i + 10])?;
        if committing { producer.commit_transaction(PATIENCE)? } else { producer.abort_transaction(PATIENCE)? }
    }
    if !commit {
        // What was not sent yet when it was aborted is not in the log at all.
        let uncommitted = values(&read_with(&topic, 1, &[("isolation.level", "read_uncommitted")])?);
        check(
            sent[..10].iter().chain(&sent[20..]).all(|value| uncommitted.contains(value)),
            "all that is committed is read uncommitted too",
        )?;
    }
    let expected = if commit { sent } else { [&sent[..10], &sent[20..]].concat() };
    same(expected, values(&read(&topic, 1)?), "read committed")
}

/// From one topic to another: where to go on in the first is part of what is committed with the second.
fn transaction_offsets(settings: Settings<'_>) -> Outcome {
    let (from, to, group) = (create("from", 1, &[])?, create("to", 1, &[])?, unique("transaction"));
    let sent = cases::numbered(30);
    produce(&from, &sent, &[])?;
    let producer = transactional(&unique("transaction"))?;
    for (commit, expected) in [(true, 10), (false, 10), (true, 20), (true, 30)] {
        let client = consumer(&[settings, &[("group.id", &group), ("enable.auto.commit", "false")]].concat())?;
        client.subscribe(&[&from])?;
        producer.begin_transaction()?;
        for _ in 0..10 {
            let message = next(&client)?;
            send(&producer, &to, &values(&[message]))?;
        }
        let metadata = client.group_metadata().ok_or("no group")?;
        producer.send_offsets_to_transaction(&client.position()?, &metadata, PATIENCE)?;
        if commit {
            producer.commit_transaction(PATIENCE)?
        } else {
            producer.abort_transaction(PATIENCE)?
        }
        until("what is committed is told", || Ok(committed(&group, &from)? == Offset::Offset(expected)))?;
    }
    same(sent, values(&read(&to, 1)?), "each record once")
}

fn transaction_fenced() -> Outcome {
    let (topic, id, sent) = (create("transaction", 1, &[])?, unique("transaction"), cases::numbered(10));
    let first = transactional(&id)?;
    first.begin_transaction()?;
    send(&first, &topic, &sent[..5])?;
    first.flush(PATIENCE)?;
    let second = transactional(&id)?;
    second.begin_transaction()?;
    send(&second, &topic, &sent[5..])?;
    second.commit_transaction(PATIENCE)?;
    refused(Code::Fenced, first.commit_transaction(PATIENCE).map_err(Into::into))?;
    same(&sent[5..], &values(&read(&topic, 1)?)[..], "read committed")
}

/// The broker is killed with batches under way, again and again; each value is there once, and in order.
fn idempotence_restart() -> Outcome {
    let (topic, sent) = (create("idempotence-restart", 1, &[])?, cases::numbered(1500));
    let producer: ThreadedProducer<Told> =
        config(&[("enable.idempotence", "true"), ("batch.num.messages", "10")]).create_with_context(Told::default())?;
    for part in sent.chunks(500) {
        send(&producer, &topic, part)?;
        cases::restart()?;
    }
    producer.flush(PATIENCE)?;
    producer.context().outcome()?;
    same(sent, values(&read(&topic, 1)?), "records in the log")
}

fn restart() -> Outcome {
    let (topic, group, sent) = (create("restart", 1, &[])?, unique("restart"), cases::numbered(400));
    let member = Member::join(&group, &topic, &[])?;
    let producer: ThreadedProducer<Told> = config(&[("enable.idempotence", "true")]).create_with_context(Told::default())?;
    send(&producer, &topic, &sent[..200])?;
    producer.flush(PATIENCE)?;
    until("the first half is consumed", || Ok(member.records().len() == 200))?;
    cases::restart()?;
    send(&producer, &topic, &sent[200..])?;
    producer.flush(PATIENCE)?;
    producer.context().outcome()?;
    let distinct = || {
        let mut found = member.records();
        found.sort();
        found.dedup();
        found
    };
    until("the second half is consumed", || Ok(distinct().len() == 400))?;
    member.close();
    same(sent, values(&read(&topic, 1)?), "records in the log")
}

// What the cases are made of.

fn config(settings: Settings<'_>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cases::bootstrap())
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "1000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

fn admin() -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    config(&[]).create()
}

fn consumer(settings: Settings<'_>) -> Result<BaseConsumer, KafkaError> {
    config(
        &[
            &[
                ("group.id", "none"),
                ("auto.offset.reset", "earliest"),
                ("enable.partition.eof", "true"),
                ("fetch.wait.max.ms", "100"),
            ],
            settings,
        ]
        .concat(),
    )
    .create()
}

fn created(topic: &str, partitions: i32, configs: Settings<'_>) -> Outcome {
    let asked = NewTopic {
        name: topic,
        num_partitions: partitions,
        replication: TopicReplication::Fixed(1),
        config: configs.to_vec(),
    };
    block_on(admin()?.create_topics(&[asked], &AdminOptions::new()))?
        .remove(0)
        .map(|_| ())
        .map_err(|(_, code)| KafkaError::AdminOp(code).into())
}

fn create(about: &str, count: i32, configs: Settings<'_>) -> Result<String, cases::Failure> {
    let topic = unique(about);
    created(&topic, count, configs)?;
    until("the topic is there", || Ok(partitions(&topic)? == count as usize))?;
    Ok(topic)
}

fn partitions(topic: &str) -> Result<usize, cases::Failure> {
    let told = consumer(&[])?.fetch_metadata(None, PATIENCE)?;
    Ok(told.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len()))
}

/// A topic with 100 records, a tenth of a second between two, and the first one's time.
fn timed() -> Result<(String, i64), cases::Failure> {
    let (topic, base, sent) = (create("timed", 1, &[])?, millis() - 10_000, cases::numbered(100));
    deliver(
        &[],
        sent.iter()
            .zip(0..)
            .map(|(value, i)| BaseRecord::to(&topic).payload(value.as_bytes()).timestamp(base + 100 * i))
            .collect(),
    )?;
    Ok((topic, base))
}

fn millis() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64)
}

/// Keeps the first error that a delivery ended with.
#[derive(Default)]
struct Told(Mutex<Option<KafkaError>>);

impl Told {
    fn outcome(&self) -> Outcome {
        self.0.lock().unwrap().take().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap().get_or_insert(error.clone());
        }
    }
}

fn deliver(settings: Settings<'_>, records: Vec<Record<'_>>) -> Outcome {
    let producer: ThreadedProducer<Told> = config(settings).create_with_context(Told::default())?;
    for record in records {
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    producer.context().outcome()
}

fn produce(topic: &str, values: &[String], settings: Settings<'_>) -> Outcome {
    deliver(settings, values.iter().map(|value| BaseRecord::to(topic).payload(value.as_bytes())).collect())
}

fn send(producer: &ThreadedProducer<Told>, topic: &str, values: &[String]) -> Outcome {
    for value in values {
        producer.send(Record::to(topic).payload(value.as_bytes())).map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// A producer whose transactions are its own: a predecessor's are aborted.
fn transactional(id: &str) -> Result<ThreadedProducer<Told>, KafkaError> {
    let producer: ThreadedProducer<Told> = config(&[("transactional.id", id)]).create_with_context(Told::default())?;
    producer.init_transactions(PATIENCE)?;
    Ok(producer)
}

fn end(topic: &str) -> Result<i64, KafkaError> {
    Ok(consumer(&[])?.fetch_watermarks(topic, 0, PATIENCE)?.1)
}

fn committed(group: &str, topic: &str) -> Result<Offset, cases::Failure> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    Ok(consumer(&[("group.id", group)])?.committed_offsets(list, PATIENCE)?.elements()[0].offset())
}

fn assigned(topic: &str, partitions: i32, at: Offset, settings: Settings<'_>) -> Result<BaseConsumer, KafkaError> {
    let client = consumer(settings)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, at)?;
    }
    client.assign(&list)?;
    Ok(client)
}

/// The next record; the ends of partitions are passed over.
fn next(client: &BaseConsumer) -> Result<OwnedMessage, KafkaError> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match client.poll(Duration::from_millis(100)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(message)) => return Ok(message.detach()),
        }
    }
    Err(KafkaError::MessageConsumption(Code::OperationTimedOut))
}

fn first_from(topic: &str, at: Offset, settings: Settings<'_>) -> Result<OwnedMessage, cases::Failure> {
    Ok(next(&assigned(topic, 1, at, settings)?)?)
}

/// Everything that is committed in a topic now.
fn read(topic: &str, partitions: i32) -> Result<Vec<OwnedMessage>, cases::Failure> {
    read_with(topic, partitions, &[])
}

fn read_with(topic: &str, partitions: i32, settings: Settings<'_>) -> Result<Vec<OwnedMessage>, cases::Failure> {
    let client = assigned(topic, partitions, Offset::Beginning, settings)?;
    let (mut found, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match client.poll(PATIENCE).ok_or("no end of a partition is told")? {
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => return Err(error.into()),
            Ok(message) => found.push(message.detach()),
        }
    }
    Ok(found)
}

fn values(found: &[OwnedMessage]) -> Vec<String> {
    found.iter().map(|message| String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()).collect()
}

fn refused(expected: Code, outcome: Outcome) -> Outcome {
    let found = match &outcome {
        Ok(()) => None,
        Err(error) => match error.downcast_ref::<KafkaError>() {
            Some(KafkaError::AdminOp(code)) => Some(*code),
            Some(error) => error.rdkafka_error_code(),
            None => return outcome,
        },
    };
    same(Some(expected), found, "refused")
}

/// Consumes in a thread of its own.
struct Member {
    found: Arc<Mutex<Vec<String>>>,
    assigned: Arc<AtomicUsize>,
    leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    fn join(group: &str, topic: &str, settings: Settings<'_>) -> Result<Self, KafkaError> {
        let classic: Settings<'_> = if settings.contains(&("group.protocol", "consumer")) {
            &[]
        } else {
            &[("session.timeout.ms", "10000"), ("heartbeat.interval.ms", "300")]
        };
        let client =
            consumer(&[classic, &[("group.id", group), ("auto.commit.interval.ms", "200")], settings].concat())?;
        client.subscribe(&[topic])?;
        let (found, assigned, leaving) = (Arc::default(), Arc::default(), Arc::default());
        let thread = std::thread::spawn({
            let (found, assigned, leaving) = (Arc::clone(&found), Arc::clone(&assigned), Arc::clone(&leaving));
            move || consume(&client, &found, &assigned, &leaving)
        });
        Ok(Self { found, assigned, leaving, thread })
    }

    fn partitions(&self) -> usize {
        self.assigned.load(Ordering::SeqCst)
    }

    fn records(&self) -> Vec<String> {
        self.found.lock().unwrap().clone()
    }

    /// What it has consumed, once it has left.
    fn close(self) -> Vec<String> {
        self.leaving.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let found = self.found.lock().unwrap();
        found.clone()
    }
}

fn consume(
    client: &BaseConsumer<DefaultConsumerContext>,
    found: &Mutex<Vec<String>>,
    assigned: &AtomicUsize,
    leaving: &AtomicBool,
) {
    while !leaving.load(Ordering::SeqCst) {
        if let Some(Ok(message)) = client.poll(Duration::from_millis(50)) {
            found.lock().unwrap().extend(values(&[message.detach()]));
        }
        assigned.store(client.assignment().map_or(0, |list| list.count()), Ordering::SeqCst);
    }
}
