import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.clients.consumer.InvalidOffsetException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.*;

/**
 * The cases of the Java client, in what its API has had from 2.1 until now. What came later is in Later, Modern and Newest, which
 * are compiled where the client has it.
 */
public class Suite {
  static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
  static final BufferedReader RUNNER = new BufferedReader(new InputStreamReader(System.in));

  interface Case {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("topics", Suite::topics);
    cases.put("create-partitions", Suite::createPartitions);
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) cases.put("codec-" + codec, () -> codec(codec));
    cases.put("headers", Suite::headers);
    cases.put("keys", Suite::keys);
    cases.put("timestamps", Suite::timestamps);
    cases.put("acks", Suite::acks);
    cases.put("big-records", Suite::bigRecords);
    cases.put("too-big-for-the-topic", Suite::tooBigForTheTopic);
    cases.put("unknown-topic", Suite::unknownTopic);
    cases.put("idempotence", Suite::idempotence);
    cases.put("seek", Suite::seek);
    cases.put("seek-by-time", Suite::seekByTime);
    cases.put("offset-out-of-range", Suite::offsetOutOfRange);
    cases.put("many-fetches", Suite::manyFetches);
    cases.put("delete-records", Suite::deleteRecords);
    cases.put("commits", Suite::commits);
    cases.put("group-rebalance", Suite::groupRebalance);
    cases.put("group-admin", Suite::groupAdmin);
    cases.put("describe-configs", Suite::describeConfigs);
    cases.put("transactions", Suite::transactions);
    cases.put("transaction-fenced", Suite::transactionFenced);
    for (String later : List.of("Later", "Modern", "Newest")) addCases(later, cases);
    cases.put("transaction-restart", Suite::transactionRestart);
    cases.put("idempotence-restart", Suite::idempotenceRestart);
    cases.put("restart", Suite::restart);
    if (arguments.length > 0) cases.keySet().retainAll(Set.of(arguments));
    System.out.println("plan " + cases.size());
    cases.forEach(Suite::attempt);
    System.exit(0);
  }

  @SuppressWarnings("unchecked")
  static void addCases(String later, Map<String, Case> cases) throws Exception {
    try {
      cases.putAll((Map<String, Case>) Class.forName(later).getDeclaredMethod("cases").invoke(null));
    } catch (ClassNotFoundException old) {
      System.err.println("this client is too old for the cases of " + later);
    }
  }

  static void attempt(String name, Case test) {
    ExecutorService thread = Executors.newSingleThreadExecutor(r -> {
      Thread daemon = new Thread(r);
      daemon.setDaemon(true);
      return daemon;
    });
    try {
      thread.submit(() -> {
        test.run();
        return null;
      }).get(90, TimeUnit.SECONDS);
      System.out.println("pass " + name);
    } catch (Throwable failure) {
      Throwable cause = failure.getCause() == null ? failure : failure.getCause();
      cause.printStackTrace();
      System.out.println("fail " + name + ": " + cause.toString().replaceAll("\\s+", " "));
    }
    thread.shutdownNow();
  }

  // Cases.

  static void topics() throws Exception {
    try (AdminClient admin = admin()) {
      String name = name("topics");
      admin.createTopics(List.of(new NewTopic(name, 3, (short) 1).configs(Map.of("retention.ms", "3600000")))).all().get();
      until("the topic is listed", () -> names(admin).contains(name));
      try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
        same(3, consumer.partitionsFor(name).size(), "partitions");
        same(1, consumer.partitionsFor(name).get(0).replicas().length, "replicas");
      }
      throwsError(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get());
      throwsError(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("no/slash", 1, (short) 1))).all().get());
      throwsError(InvalidPartitionsException.class, () -> admin.createTopics(List.of(new NewTopic(name("none"), 0, (short) 1))).all().get());
      throwsError(InvalidConfigurationException.class, () ->
          admin.createTopics(List.of(new NewTopic(name("bad"), 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all().get());
      throwsError(InvalidConfigurationException.class, () ->
          admin.createTopics(List.of(new NewTopic(name("bad"), 1, (short) 1).configs(Map.of("no.such.config", "1")))).all().get());
      String dry = name("validated");
      admin.createTopics(List.of(new NewTopic(dry, 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get();
      admin.deleteTopics(List.of(name)).all().get();
      until("the topic is gone", () -> !names(admin).contains(name));
      check(!names(admin).contains(dry), "a validated topic was created");
      throwsError(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name)).all().get());
    }
  }

  static void createPartitions() throws Exception {
    String topic = topic("grows", 1, Map.of());
    try (AdminClient admin = admin(); KafkaProducer<byte[], byte[]> producer = producer(Map.of("metadata.max.age.ms", "500"))) {
      producer.send(new ProducerRecord<>(topic, 0, null, bytes("before"))).get();
      admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
      until("the producer sees 3 partitions", () -> producer.partitionsFor(topic).size() == 3);
      producer.send(new ProducerRecord<>(topic, 2, null, bytes("after"))).get();
      same(2, read(topic, 3).size(), "records");
      throwsError(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get());
      throwsError(UnknownTopicOrPartitionException.class, () ->
          admin.createPartitions(Map.of(name("never"), NewPartitions.increaseTo(2))).all().get());
    }
  }

  static void codec(String codec) throws Exception {
    String topic = topic("codec-" + codec, 1, Map.of());
    List<String> sent = produce(topic, 500, Map.of("compression.type", codec, "linger.ms", "20"));
    same(sent, values(read(topic, 1)), "records");
  }

  static void headers() throws Exception {
    String topic = topic("headers", 1, Map.of());
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, bytes("v"));
      record.headers().add("twice", bytes("1")).add("twice", bytes("2")).add("empty", new byte[0]).add(new RecordHeader("null", (byte[]) null));
      record.headers().add("ключ", new byte[] {0, -1, 127});
      producer.send(record).get();
      same(List.of(record.headers().toArray()), List.of(read(topic, 1).get(0).headers().toArray()), "headers");
    }
  }

  static void keys() throws Exception {
    String topic = topic("keys", 3, Map.of());
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      for (int i = 0; i < 30; i++) producer.send(new ProducerRecord<>(topic, bytes("key-" + i % 10), bytes("v" + i)));
      producer.send(new ProducerRecord<>(topic, 0, new byte[0], null));
      producer.send(new ProducerRecord<>(topic, 0, null, new byte[0])).get();
    }
    List<ConsumerRecord<byte[], byte[]>> records = read(topic, 3);
    same(32, records.size(), "records");
    Map<String, Set<Integer>> partitions = new TreeMap<>();
    for (ConsumerRecord<byte[], byte[]> r : records) {
      if (r.key() != null && r.key().length > 0) partitions.computeIfAbsent(text(r.key()), k -> new TreeSet<>()).add(r.partition());
    }
    same(10, partitions.size(), "keys");
    check(partitions.values().stream().allMatch(p -> p.size() == 1), "a key is in two partitions: " + partitions);
    check(records.stream().anyMatch(r -> r.key() != null && r.key().length == 0 && r.value() == null), "an empty key, a null value");
    check(records.stream().anyMatch(r -> r.key() == null && r.value() != null && r.value().length == 0), "a null key, an empty value");
  }

  static void timestamps() throws Exception {
    String created = topic("create-time", 1, Map.of()), appended = topic("append-time", 1, Map.of("message.timestamp.type", "LogAppendTime"));
    long hourAgo = System.currentTimeMillis() - 3_600_000;
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      same(hourAgo, producer.send(new ProducerRecord<>(created, 0, hourAgo, null, bytes("v"))).get().timestamp(), "acknowledged timestamp");
      check(producer.send(new ProducerRecord<>(appended, 0, hourAgo, null, bytes("v"))).get().timestamp() > hourAgo, "append time acknowledged");
    }
    ConsumerRecord<byte[], byte[]> r = read(created, 1).get(0);
    same(hourAgo + " " + TimestampType.CREATE_TIME, r.timestamp() + " " + r.timestampType(), "timestamp");
    r = read(appended, 1).get(0);
    same(TimestampType.LOG_APPEND_TIME, r.timestampType(), "type");
    check(r.timestamp() > hourAgo, "append time read");
  }

  static void acks() throws Exception {
    for (String acks : List.of("0", "1", "all")) {
      String topic = topic("acks-" + acks, 1, Map.of());
      List<String> sent = produce(topic, 100, Map.of("acks", acks, "enable.idempotence", "false"));
      until("all 100 with acks " + acks, () -> endOffset(topic) == 100);
      same(sent, values(read(topic, 1)), "records with acks " + acks);
    }
  }

  static void bigRecords() throws Exception {
    String topic = topic("big", 1, Map.of());
    Map<String, String> wide = Map.of("max.request.size", "20000000", "buffer.memory", "67108864", "batch.size", "0");
    // Kafka's default of max.message.bytes is 1048588: a batch with one record of that size must pass, a byte more must not.
    int overhead = 61 + 10 + 4;
    byte[] fits = random(1048588 - overhead);
    try (KafkaProducer<byte[], byte[]> producer = producer(wide)) {
      producer.send(new ProducerRecord<>(topic, 0, 0L, null, fits)).get();
      throwsError(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, 0, 0L, null, random(1048588))).get());
      throwsError(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, 0, 0L, null, random(10_000_000))).get());
      producer.send(new ProducerRecord<>(topic, 0, 0L, null, bytes("after"))).get();
    }
    List<ConsumerRecord<byte[], byte[]>> records = read(topic, 1);
    same(2, records.size(), "records");
    check(Arrays.equals(fits, records.get(0).value()), "the big record comes back as it was sent");
    String wider = topic("bigger", 1, Map.of("max.message.bytes", "12000000"));
    byte[] tenMegabytes = random(10_000_000);
    try (KafkaProducer<byte[], byte[]> producer = producer(wide)) {
      producer.send(new ProducerRecord<>(wider, tenMegabytes)).get();
    }
    check(Arrays.equals(tenMegabytes, read(wider, 1).get(0).value()), "10 MB come back as they were sent");
  }

  static void tooBigForTheTopic() throws Exception {
    String topic = topic("small", 1, Map.of("max.message.bytes", "2000"));
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("batch.size", "0"))) {
      throwsError(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, random(3000))).get());
      producer.send(new ProducerRecord<>(topic, random(1000))).get();
    }
    // A batch that is too big is split by the producer, and every record arrives.
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("batch.size", "100000", "linger.ms", "300", "compression.type", "gzip"))) {
      List<Future<RecordMetadata>> sends = new ArrayList<>();
      for (int i = 0; i < 20; i++) sends.add(producer.send(new ProducerRecord<>(topic, random(900))));
      for (Future<RecordMetadata> send : sends) send.get();
    }
    same(21, read(topic, 1).size(), "records");
  }

  static void unknownTopic() throws Exception {
    String topic = name("made-by-the-producer");
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      producer.send(new ProducerRecord<>(topic, bytes("v"))).get();
      throwsError(InvalidTopicException.class, () -> producer.send(new ProducerRecord<>("not a topic", bytes("v"))).get());
    }
    same(1, read(topic, 1).size(), "records");
  }

  static void idempotence() throws Exception {
    String topic = topic("idempotence", 2, Map.of());
    Map<String, String> options = Map.of("enable.idempotence", "true", "max.in.flight.requests.per.connection", "5", "batch.size", "500", "acks", "all");
    List<String> sent = produce(topic, 3000, options);
    List<String> found = values(read(topic, 2));
    Collections.sort(sent);
    Collections.sort(found);
    same(sent, found, "records");
  }

  /** The broker is killed with batches under way, again and again; each value is there once, and those of a partition in order. */
  static void idempotenceRestart() throws Exception {
    String topic = topic("idempotence-restart", 1, Map.of());
    Map<String, String> options = Map.of("enable.idempotence", "true", "max.in.flight.requests.per.connection", "5",
        "batch.size", "500", "acks", "all", "delivery.timeout.ms", "60000");
    List<String> sent = new ArrayList<>();
    List<Future<RecordMetadata>> sends = new ArrayList<>();
    int unanswered = 0;
    try (KafkaProducer<byte[], byte[]> producer = producer(options)) {
      for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10_000; i++) sends.add(send(producer, topic, "value-" + round + "-" + i, sent));
        // Some of them have been answered, so that others are on their way.
        sends.get(sends.size() - 9_900).get();
        for (Future<RecordMetadata> send : sends) if (!send.isDone()) unanswered++;
        System.out.println("restart");
        same("restarted", RUNNER.readLine(), "the runner's answer");
      }
      for (Future<RecordMetadata> send : sends) send.get();
    }
    check(unanswered > 0, "sends were under way when the broker was killed");
    same(sent, values(read(topic, 1)), "records in the log");
  }

  static void seek() throws Exception {
    String topic = topic("seek", 1, Map.of());
    List<String> sent = produce(topic, 100, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 42);
      same(sent.get(42), text(next(consumer).value()), "at 42");
      consumer.seekToEnd(List.of(partition));
      same(100L, consumer.position(partition), "the end");
      consumer.seekToBeginning(List.of(partition));
      same(sent.get(0), text(next(consumer).value()), "at the beginning");
      same(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)), "beginning offsets");
      same(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)), "end offsets");
    }
  }

  static void seekByTime() throws Exception {
    String topic = topic("time", 1, Map.of());
    long base = System.currentTimeMillis() - 100_000;
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(topic, 0, base + i * 1000, null, bytes("v" + i)));
    }
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      consumer.assign(List.of(partition));
      for (long[] ask : new long[][] {{0, 0}, {base, 0}, {base + 1, 1}, {base + 55_000, 55}, {base + 99_000, 99}}) {
        OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, ask[0])).get(partition);
        same(ask[1] + " " + (base + ask[1] * 1000), found.offset() + " " + found.timestamp(), "offset for " + (ask[0] - base));
      }
      same(null, consumer.offsetsForTimes(Map.of(partition, base + 99_001)).get(partition), "after the last record");
      consumer.seek(partition, consumer.offsetsForTimes(Map.of(partition, base + 54_001)).get(partition).offset());
      same("v55", text(next(consumer).value()), "the record there");
    }
  }

  static void offsetOutOfRange() throws Exception {
    String topic = topic("range", 1, Map.of());
    produce(topic, 10, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "none"))) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 11);
      throwsError(InvalidOffsetException.class, () -> next(consumer));
    }
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 11);
      same(0L, next(consumer).offset(), "where earliest begins again");
    }
  }

  static void manyFetches() throws Exception {
    String topic = topic("fetches", 20, Map.of());
    List<String> sent = produce(topic, 4000, Map.of("batch.size", "1000"));
    List<String> found = values(read(topic, 20, Map.of("max.partition.fetch.bytes", "1200", "fetch.max.bytes", "4000", "max.poll.records", "50")));
    Collections.sort(sent);
    Collections.sort(found);
    same(sent, found, "records by small fetches");
  }

  static void deleteRecords() throws Exception {
    String topic = topic("delete-records", 1, Map.of());
    produce(topic, 100, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (AdminClient admin = admin()) {
      same(30L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(30))).lowWatermarks().get(partition).get().lowWatermark(), "low watermark");
      same(30L, read(topic, 1).get(0).offset(), "first record");
      same(30L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(10))).lowWatermarks().get(partition).get().lowWatermark(), "low watermark after less");
      throwsError(OffsetOutOfRangeException.class, () -> admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(101))).all().get());
      same(100L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(partition).get().lowWatermark(), "low watermark, all");
    }
  }

  static void commits() throws Exception {
    String topic = topic("commits", 1, Map.of()), group = name("commits");
    produce(topic, 20, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group, "max.poll.records", "5"))) {
      consumer.subscribe(List.of(topic));
      while (consumer.poll(Duration.ofMillis(100)).isEmpty()) {}
      consumer.commitSync(Map.of(partition, new OffsetAndMetadata(7, "a note")));
    }
    try (AdminClient admin = admin()) {
      OffsetAndMetadata found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition);
      same("7 a note", found.offset() + " " + found.metadata(), "committed");
    }
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
      consumer.subscribe(List.of(topic));
      same(7L, next(consumer).offset(), "where the next member goes on");
      throwsError(OffsetMetadataTooLarge.class, () -> consumer.commitSync(Map.of(partition, new OffsetAndMetadata(8, "x".repeat(5000)))));
    }
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
      consumer.assign(List.of(partition));
      consumer.commitSync(Map.of(partition, new OffsetAndMetadata(15)));
      same(15L, next(consumer).offset(), "without a membership");
    }
  }

  static void groupRebalance() throws Exception {
    String topic = topic("group", 4, Map.of()), group = name("group");
    List<String> sent = Collections.synchronizedList(produce(topic, 400, Map.of()));
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Member first = new Member(group, topic, found, Map.of());
    until("the first has all", () -> first.assigned.size() == 4);
    Member second = new Member(group, topic, found, Map.of());
    until("each has two", () -> first.assigned.size() == 2 && second.assigned.size() == 2);
    sent.addAll(produce(topic, 400, Map.of()));
    until("all is consumed", () -> found.size() >= 800);
    first.close();
    until("the second has all", () -> second.assigned.size() == 4);
    sent.addAll(produce(topic, 100, Map.of()));
    until("the rest is consumed", () -> found.size() >= 900);
    second.close();
    Collections.sort(sent);
    Collections.sort(found);
    same(sent, found, "each record once");
  }

  static void groupAdmin() throws Exception {
    String topic = topic("group-admin", 2, Map.of()), group = name("group-admin");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    try (AdminClient admin = admin()) {
      Member member = new Member(group, topic, found, Map.of("client.id", "the-client"));
      until("assigned", () -> member.assigned.size() == 2);
      ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
      same("Stable range 1", described.state() + " " + described.partitionAssignor() + " " + described.members().size(), "description");
      MemberDescription only = described.members().iterator().next();
      same("the-client 2", only.clientId() + " " + only.assignment().topicPartitions().size(), "member");
      check(admin.listConsumerGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)), "listed");
      throwsError(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
      member.close();
      until("empty", () -> admin.describeConsumerGroups(List.of(group)).all().get().get(group).state().toString().equals("Empty"));
      admin.deleteConsumerGroups(List.of(group)).all().get();
      throwsError(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
    }
  }

  static void describeConfigs() throws Exception {
    String topic = topic("configs", 1, Map.of("retention.ms", "3600000"));
    org.apache.kafka.common.config.ConfigResource resource =
        new org.apache.kafka.common.config.ConfigResource(org.apache.kafka.common.config.ConfigResource.Type.TOPIC, topic);
    try (AdminClient admin = admin()) {
      Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
      same("3600000 DYNAMIC_TOPIC_CONFIG", config.get("retention.ms").value() + " " + config.get("retention.ms").source(), "retention.ms");
      same("delete DEFAULT_CONFIG", config.get("cleanup.policy").value() + " " + config.get("cleanup.policy").source(), "cleanup.policy");
      same("1048588", config.get("max.message.bytes").value(), "max.message.bytes");
    }
  }

  static void transactions() throws Exception {
    String topic = topic("transactions", 2, Map.of());
    try (KafkaProducer<byte[], byte[]> producer = transactional(name("transactional"))) {
      List<String> kept = transact(producer, topic, 20);
      producer.commitTransaction();
      transact(producer, topic, 20);
      producer.abortTransaction();
      // What is open hides what is after it, too.
      List<String> open = transact(producer, topic, 20);
      same(sorted(kept), sorted(committed(topic, 2, kept.size())), "committed while one is open");
      same(60, read(topic, 2).size(), "with what is aborted and open");
      producer.commitTransaction();
      kept.addAll(open);
      same(sorted(kept), sorted(committed(topic, 2, kept.size())), "committed");
      same(60, read(topic, 2).size(), "with what is aborted");
    }
  }

  static void transactionFenced() throws Exception {
    String topic = topic("fenced", 1, Map.of()), id = name("transactional");
    try (KafkaProducer<byte[], byte[]> first = transactional(id)) {
      transact(first, topic, 5);
      try (KafkaProducer<byte[], byte[]> second = transactional(id)) {
        List<String> kept = transact(second, topic, 5);
        throwsError(org.apache.kafka.common.KafkaException.class, first::commitTransaction);
        second.commitTransaction();
        same(kept, committed(topic, 1, kept.size()), "the second's alone");
      }
    }
  }

  /** The broker is killed within transactions; each is whole or not there. */
  static void transactionRestart() throws Exception {
    String topic = topic("transaction-restart", 2, Map.of());
    List<String> kept = new ArrayList<>();
    try (KafkaProducer<byte[], byte[]> producer = transactional(name("transactional"))) {
      for (boolean commit : new boolean[] {true, false, true}) {
        List<String> sent = transact(producer, topic, 500);
        System.out.println("restart");
        same("restarted", RUNNER.readLine(), "the runner's answer");
        for (int i = 0; i < 500; i++) send(producer, topic, "after-" + ++counter, sent);
        if (commit) {
          producer.commitTransaction();
          kept.addAll(sent);
        } else {
          producer.abortTransaction();
        }
      }
    }
    same(sorted(kept), sorted(committed(topic, 2, kept.size())), "committed");
  }

  static void restart() throws Exception {
    String topic = topic("restart", 1, Map.of()), group = name("restart");
    List<String> found = Collections.synchronizedList(new ArrayList<>()), sent = new ArrayList<>();
    Member member = new Member(group, topic, found, Map.of());
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("enable.idempotence", "true", "acks", "all", "delivery.timeout.ms", "60000"))) {
      for (int i = 0; i < 200; i++) send(producer, topic, "before-" + i, sent);
      producer.flush();
      until("the first half is consumed", () -> found.size() == 200);
      System.out.println("restart");
      same("restarted", RUNNER.readLine(), "the runner's answer");
      List<Future<RecordMetadata>> sends = new ArrayList<>();
      for (int i = 0; i < 200; i++) sends.add(send(producer, topic, "after-" + i, sent));
      for (Future<RecordMetadata> send : sends) send.get();
    }
    until("the second half is consumed", () -> new TreeSet<>(Arrays.asList(found.toArray(new String[0]))).size() == 400);
    member.close();
    same(sent, values(read(topic, 1)), "records in the log");
  }

  // What the cases are made of.

  static KafkaProducer<byte[], byte[]> transactional(String id) {
    KafkaProducer<byte[], byte[]> producer = producer(
        Map.of("transactional.id", id, "enable.idempotence", "true", "delivery.timeout.ms", "60000", "transaction.timeout.ms", "120000", "max.block.ms", "60000"));
    producer.initTransactions();
    return producer;
  }

  /** Begins a transaction and has so many values in the log. */
  static List<String> transact(KafkaProducer<byte[], byte[]> producer, String topic, int count) {
    List<String> sent = new ArrayList<>();
    producer.beginTransaction();
    for (int i = 0; i < count; i++) send(producer, topic, "transacted-" + ++counter, sent);
    producer.flush();
    return sent;
  }

  /** Who commits is answered when it is decided; readers see it when the partitions have heard of it, on Kafka as well, so these are waited for. */
  static List<String> committed(String topic, int partitions, int count) throws Exception {
    long deadline = System.nanoTime() + 20_000_000_000L;
    while (true) {
      List<String> found = values(read(topic, partitions, Map.of("isolation.level", "read_committed")));
      if (found.size() >= count || System.nanoTime() > deadline) return found;
      Thread.sleep(50);
    }
  }

  static List<String> sorted(List<String> values) {
    return values.stream().sorted().collect(Collectors.toList());
  }

  /** A member of a group that consumes in a thread of its own. */
  static class Member {
    volatile Set<TopicPartition> assigned = Set.of();
    volatile Throwable failure;
    private volatile boolean closing;
    private final Thread thread;

    Member(String group, String topic, List<String> found, Map<String, String> options) {
      Map<String, String> all = new HashMap<>(options);
      all.put("group.id", group);
      // With the newer protocol they are the group's.
      if (!"consumer".equals(all.get("group.protocol"))) {
        all.put("session.timeout.ms", "10000");
        all.put("heartbeat.interval.ms", "300");
      }
      thread = new Thread(() -> {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(all)) {
          consumer.subscribe(List.of(topic));
          while (!closing) {
            for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(50))) found.add(text(r.value()));
            assigned = consumer.assignment();
            try {
              consumer.commitSync();
            } catch (RebalanceInProgressException | CommitFailedException | org.apache.kafka.common.errors.TimeoutException e) {
              // The next poll goes on with the rebalance, or finds the broker again; the next commit holds these records too.
            }
          }
        } catch (Throwable t) {
          failure = t;
          t.printStackTrace();
        }
      });
      thread.setDaemon(true);
      thread.start();
    }

    void close() throws Exception {
      closing = true;
      thread.join(20_000);
      check(!thread.isAlive(), "the member closes");
    }
  }

  interface Attempt {
    boolean holds() throws Exception;
  }

  static void until(String what, Attempt attempt) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(40).toNanos();
    Exception last = null;
    while (System.nanoTime() < deadline) {
      try {
        if (attempt.holds()) return;
      } catch (ExecutionException e) {
        last = e;
      }
      Thread.sleep(50);
    }
    throw new AssertionError("not within 40 s: " + what, last);
  }

  static String topic(String about, int partitions, Map<String, String> configs) throws Exception {
    String name = name(about);
    try (AdminClient admin = admin()) {
      admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(configs))).all().get();
      until("the topic is there", () -> names(admin).contains(name));
    }
    return name;
  }

  static int counter = 0;

  static String name(String about) {
    return about + "-" + ++counter;
  }

  static Set<String> names(AdminClient admin) throws Exception {
    return admin.listTopics().names().get();
  }

  static List<String> produce(String topic, int count, Map<String, String> options) throws Exception {
    List<String> sent = new ArrayList<>();
    List<Future<RecordMetadata>> sends = new ArrayList<>();
    try (KafkaProducer<byte[], byte[]> producer = producer(options)) {
      for (int i = 0; i < count; i++) sends.add(send(producer, topic, "value-" + ++counter + "-" + "x".repeat(i % 50), sent));
      for (Future<RecordMetadata> send : sends) send.get();
    }
    return sent;
  }

  static Future<RecordMetadata> send(KafkaProducer<byte[], byte[]> producer, String topic, String value, List<String> sent) {
    sent.add(value);
    return producer.send(new ProducerRecord<>(topic, bytes(value)));
  }

  static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partitions) throws Exception {
    return read(topic, partitions, Map.of());
  }

  /** Everything from the beginning to the end of all partitions, which is asked first. */
  static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partitions, Map<String, String> options) throws Exception {
    List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
    List<TopicPartition> all = new ArrayList<>();
    for (int i = 0; i < partitions; i++) all.add(new TopicPartition(topic, i));
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(options)) {
      consumer.assign(all);
      Map<TopicPartition, Long> ends = consumer.endOffsets(all);
      consumer.seekToBeginning(all);
      long deadline = System.nanoTime() + Duration.ofSeconds(40).toNanos();
      while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
        check(System.nanoTime() < deadline, "read only " + records.size() + " records, to " + ends);
        consumer.poll(Duration.ofMillis(200)).forEach(records::add);
      }
    }
    return records;
  }

  static long endOffset(String topic) {
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      return consumer.endOffsets(List.of(partition)).get(partition);
    }
  }

  static ConsumerRecord<byte[], byte[]> next(KafkaConsumer<byte[], byte[]> consumer) {
    for (int i = 0; i < 100; i++) {
      for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) return r;
    }
    throw new AssertionError("no record in 20 s");
  }

  static AdminClient admin() {
    return AdminClient.create(options(Map.of()));
  }

  static KafkaProducer<byte[], byte[]> producer(Map<String, String> options) {
    Map<String, Object> all = options(options);
    all.putIfAbsent("enable.idempotence", "false");
    all.putIfAbsent("delivery.timeout.ms", "25000");
    all.putIfAbsent("max.block.ms", "20000");
    return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
  }

  static KafkaConsumer<byte[], byte[]> consumer(Map<String, String> options) {
    Map<String, Object> all = options(options);
    all.putIfAbsent("auto.offset.reset", "earliest");
    all.putIfAbsent("enable.auto.commit", "false");
    return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static Map<String, Object> options(Map<String, String> options) {
    Map<String, Object> all = new HashMap<>(options);
    all.put("bootstrap.servers", BOOTSTRAP);
    all.putIfAbsent("request.timeout.ms", "15000");
    all.putIfAbsent("default.api.timeout.ms", "25000");
    return all;
  }

  static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
    return records.stream().map(r -> text(r.value())).collect(Collectors.toList());
  }

  static void throwsError(Class<? extends Throwable> kind, Case test) throws Exception {
    try {
      test.run();
    } catch (Throwable thrown) {
      Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
      if (kind.isInstance(cause)) return;
      throw new AssertionError("expected " + kind.getSimpleName() + ", found " + cause, cause);
    }
    throw new AssertionError("expected " + kind.getSimpleName() + ", found no error");
  }

  static void same(Object expected, Object found, String what) {
    check(Objects.equals(expected, found), what + ": expected " + brief(expected) + ", found " + brief(found));
  }

  static String brief(Object object) {
    String text = String.valueOf(object);
    return text.length() < 300 ? text : text.substring(0, 300) + "… (" + text.length() + " characters)";
  }

  static void check(boolean holds, String what) {
    if (!holds) throw new AssertionError(what);
  }

  static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(size).nextBytes(bytes);
    return bytes;
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
