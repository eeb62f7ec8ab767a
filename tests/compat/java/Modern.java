import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;

/** The cases of what came to the Java client after 2.8 and before 3.9. */
class Modern {
  static Map<String, Suite.Case> cases() {
    Map<String, Suite.Case> cases = new LinkedHashMap<>();
    cases.put("topic-ids", Modern::topicIds);
    cases.put("list-offsets", Modern::listOffsets);
    cases.put("consumer-protocol", Modern::consumerProtocol);
    cases.put("consumer-protocol-migration", Modern::consumerProtocolMigration);
    cases.put("consumer-protocol-restart", Modern::consumerProtocolRestart);
    cases.put("fence-producers", Modern::fenceProducers);
    return cases;
  }

  static void topicIds() throws Exception {
    String topic = Suite.topic("ids", 2, Map.of());
    try (Admin admin = Suite.admin()) {
      Uuid id = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
      TopicDescription described = admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id);
      Suite.same(topic + " 2", described.name() + " " + described.partitions().size(), "by its id");
      Suite.throwsError(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(Suite.name("never"))).allTopicNames().get());
      Suite.throwsError(UnknownTopicIdException.class, () -> admin.describeTopics(TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).allTopicIds().get());
      admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
      Suite.until("gone", () -> !Suite.names((AdminClient) admin).contains(topic));
      Suite.throwsError(UnknownTopicIdException.class, () -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get());
    }
  }

  static void listOffsets() throws Exception {
    String topic = Suite.topic("specs", 1, Map.of()), empty = Suite.topic("specs-empty", 1, Map.of());
    long base = System.currentTimeMillis() - 10_000;
    try (KafkaProducer<byte[], byte[]> producer = Suite.producer(Map.of())) {
      for (long at : new long[] {0, 5000, 9000, 3000}) producer.send(new ProducerRecord<>(topic, 0, base + at, null, Suite.bytes("v"))).get();
    }
    Map<OffsetSpec, String> expected = new LinkedHashMap<>();
    expected.put(OffsetSpec.earliest(), "0 -1");
    expected.put(OffsetSpec.latest(), "4 -1");
    expected.put(OffsetSpec.maxTimestamp(), "2 " + (base + 9000));
    expected.put(OffsetSpec.forTimestamp(base + 4000), "1 " + (base + 5000));
    expected.put(OffsetSpec.forTimestamp(base + 9001), "-1 -1");
    expected.put(OffsetSpec.earliestLocal(), "0 -1");
    expected.put(OffsetSpec.latestTiered(), "-1 -1");
    try (Admin admin = Suite.admin()) {
      for (Map.Entry<OffsetSpec, String> e : expected.entrySet()) {
        Suite.same(e.getValue(), found(admin, topic, e.getKey()), e.getKey().getClass().getSimpleName());
      }
      Suite.same("0 -1", found(admin, empty, OffsetSpec.latest()), "latest of an empty partition");
      Suite.same("-1 -1", found(admin, empty, OffsetSpec.maxTimestamp()), "max timestamp of an empty partition");
    }
  }

  static String found(Admin admin, String topic, OffsetSpec spec) throws Exception {
    TopicPartition partition = new TopicPartition(topic, 0);
    ListOffsetsResult.ListOffsetsResultInfo info = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
    return info.offset() + " " + info.timestamp();
  }

  static final Map<String, String> NEWER = Map.of("group.protocol", "consumer");

  static void consumerProtocol() throws Exception {
    String topic = Suite.topic("newer", 4, Map.of()), group = Suite.name("newer");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Suite.Member first = new Suite.Member(group, topic, found, NEWER);
    Suite.until("the first has all", () -> first.assigned.size() == 4);
    Suite.Member second = new Suite.Member(group, topic, found, Map.of("group.protocol", "consumer", "group.remote.assignor", "range"));
    Suite.until("each has two", () -> first.assigned.size() == 2 && second.assigned.size() == 2);
    List<String> sent = Suite.produce(topic, 400, Map.of());
    Suite.until("all is consumed", () -> found.size() >= 400);
    Suite.same(Suite.sorted(sent), Suite.sorted(found), "each record once");
    try (Admin admin = Suite.admin()) {
      ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
      Suite.same("Consumer Stable 2", described.type() + " " + described.state() + " " + described.members().size(), "description");
      first.close();
      Suite.until("the second has all", () -> second.assigned.size() == 4);
      second.close();
      Suite.until("it can be deleted", () -> {
        admin.deleteConsumerGroups(List.of(group)).all().get();
        return true;
      });
    }
  }

  /** A member of each protocol in one group, and then only of the newer. */
  static void consumerProtocolMigration() throws Exception {
    String topic = Suite.topic("migrates", 4, Map.of()), group = Suite.name("migrates");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Suite.Member classic = new Suite.Member(group, topic, found, Map.of());
    Suite.until("the classic has all", () -> classic.assigned.size() == 4);
    Suite.Member newer = new Suite.Member(group, topic, found, NEWER);
    Suite.until("each has two", () -> classic.assigned.size() == 2 && newer.assigned.size() == 2);
    List<String> sent = Suite.produce(topic, 200, Map.of());
    Suite.until("all is consumed", () -> found.size() >= 200);
    classic.close();
    Suite.until("the newer has all", () -> newer.assigned.size() == 4);
    sent.addAll(Suite.produce(topic, 200, Map.of()));
    Suite.until("the rest is consumed", () -> found.size() >= 400);
    newer.close();
    Suite.same(Suite.sorted(sent), Suite.sorted(found), "each record once");
  }

  static void consumerProtocolRestart() throws Exception {
    String topic = Suite.topic("newer-restart", 2, Map.of()), group = Suite.name("newer-restart");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Suite.Member member = new Suite.Member(group, topic, found, NEWER);
    List<String> sent = Suite.produce(topic, 100, Map.of());
    Suite.until("the first half is consumed", () -> found.size() == 100);
    System.out.println("restart");
    Suite.same("restarted", Suite.RUNNER.readLine(), "the runner's answer");
    sent.addAll(Suite.produce(topic, 100, Map.of()));
    Suite.until("the second half is consumed", () -> new TreeSet<>(Arrays.asList(found.toArray(new String[0]))).size() == 200);
    member.close();
    Suite.same(new TreeSet<>(sent), new TreeSet<>(found), "records");
  }

  static void fenceProducers() throws Exception {
    String topic = Suite.topic("fence", 1, Map.of()), id = Suite.name("transactional");
    try (Admin admin = Suite.admin(); KafkaProducer<byte[], byte[]> producer = Suite.transactional(id)) {
      Suite.transact(producer, topic, 5);
      TransactionDescription described = admin.describeTransactions(List.of(id)).description(id).get();
      Suite.same("Ongoing [" + topic + "-0]", described.state() + " " + described.topicPartitions(), "described");
      Suite.check(admin.listTransactions().all().get().stream().anyMatch(t -> t.transactionalId().equals(id)), "listed");
      TopicPartition partition = new TopicPartition(topic, 0);
      Suite.same(1, admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers().size(), "producers");
      admin.fenceProducers(List.of(id)).all().get();
      Suite.throwsError(KafkaException.class, producer::commitTransaction);
      Suite.same(List.of(), Suite.committed(topic, 1, 0), "committed");
    }
  }
}
