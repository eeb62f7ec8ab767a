import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The cases of what came to the Java client after 3.9: subscriptions by a pattern that the broker matches, and share groups. */
class Newest {
  static Map<String, Suite.Case> cases() {
    Map<String, Suite.Case> cases = new LinkedHashMap<>();
    cases.put("consumer-protocol-pattern", Newest::consumerProtocolPattern);
    cases.put("share-group", Newest::shareGroup);
    cases.put("share-acknowledge", Newest::shareAcknowledge);
    cases.put("share-restart", Newest::shareRestart);
    return cases;
  }

  static void consumerProtocolPattern() throws Exception {
    String about = Suite.name("pattern"), first = Suite.topic(about + "-a", 1, Map.of()), group = Suite.name("pattern");
    List<String> sent = Suite.produce(first, 10, Map.of()), found = new ArrayList<>();
    try (KafkaConsumer<byte[], byte[]> consumer = Suite.consumer(Map.of("group.id", group, "group.protocol", "consumer", "metadata.max.age.ms", "500"))) {
      consumer.subscribe(new SubscriptionPattern(about + "-[ab]-.*"));
      Suite.until("the first topic's records", () -> polled(consumer, found) == 10);
      String second = Suite.topic(about + "-b", 1, Map.of());
      Suite.topic(about + "-c", 1, Map.of());
      sent.addAll(Suite.produce(second, 10, Map.of()));
      Suite.until("the second's", () -> polled(consumer, found) == 20);
      Suite.same(2, consumer.assignment().size(), "partitions");
    }
    Suite.same(Suite.sorted(sent), Suite.sorted(found), "records");
  }

  static int polled(KafkaConsumer<byte[], byte[]> consumer, List<String> found) {
    for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) found.add(Suite.text(r.value()));
    return found.size();
  }

  /** Two members read one partition, each record goes to one of them. */
  static void shareGroup() throws Exception {
    String topic = Suite.topic("shared", 1, Map.of()), group = earliest(Suite.name("share"));
    List<String> found = new ArrayList<>(), sent = new ArrayList<>();
    try (KafkaShareConsumer<byte[], byte[]> one = member(group, topic, "implicit"); KafkaShareConsumer<byte[], byte[]> two = member(group, topic, "implicit");
        Admin admin = Suite.admin()) {
      for (int round = 1; round <= 5; round++) {
        sent.addAll(Suite.produce(topic, 40, Map.of()));
        int wanted = 40 * round;
        Suite.until("records of round " + round, () -> polled(one, found) + polled(two, found) >= 0 && found.size() >= wanted);
      }
      ShareGroupDescription described = admin.describeShareGroups(List.of(group)).all().get().get(group);
      Suite.same("Stable 2", described.groupState() + " " + described.members().size(), "description");
    }
    Suite.same(Suite.sorted(sent), Suite.sorted(found), "each record once");
  }

  static void shareAcknowledge() throws Exception {
    String topic = Suite.topic("acknowledged", 1, Map.of()), group = earliest(Suite.name("share"));
    Suite.produce(topic, 3, Map.of());
    List<String> seen = new ArrayList<>();
    try (KafkaShareConsumer<byte[], byte[]> consumer = member(group, topic, "explicit")) {
      Suite.until("the released record is rejected after five deliveries", () -> {
        for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(500))) {
          seen.add(r.offset() + ":" + r.deliveryCount().get());
          consumer.acknowledge(r, r.offset() == 0 ? AcknowledgeType.ACCEPT : r.offset() == 1 ? AcknowledgeType.RELEASE : AcknowledgeType.REJECT);
        }
        consumer.commitSync();
        return seen.size() >= 7;
      });
      for (int i = 0; i < 10; i++) consumer.poll(Duration.ofMillis(200)).forEach(r -> seen.add("more: " + r.offset()));
    }
    Collections.sort(seen);
    Suite.same(List.of("0:1", "1:1", "1:2", "1:3", "1:4", "1:5", "2:1"), seen, "offsets and their delivery counts");
  }

  /** What is acknowledged stays so over a kill of the broker, and what is not comes again. */
  static void shareRestart() throws Exception {
    String topic = Suite.topic("share-restart", 1, Map.of()), group = earliest(Suite.name("share"));
    List<String> sent = Suite.produce(topic, 20, Map.of()), found = new ArrayList<>();
    try (KafkaShareConsumer<byte[], byte[]> consumer = member(group, topic, "explicit")) {
      Suite.until("the first ten", () -> {
        for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(500))) {
          consumer.acknowledge(r, r.offset() < 10 ? AcknowledgeType.ACCEPT : AcknowledgeType.RELEASE);
          if (r.offset() < 10) found.add(Suite.text(r.value()));
        }
        consumer.commitSync();
        return found.size() == 10;
      });
    }
    System.out.println("restart");
    Suite.same("restarted", Suite.RUNNER.readLine(), "the runner's answer");
    try (KafkaShareConsumer<byte[], byte[]> consumer = member(group, topic, "implicit")) {
      Suite.until("the last ten", () -> polled(consumer, found) >= 0 && found.size() >= 20);
    }
    Suite.same(Suite.sorted(sent), Suite.sorted(found), "each record once");
  }

  static int polled(KafkaShareConsumer<byte[], byte[]> consumer, List<String> found) {
    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
    for (ConsumerRecord<byte[], byte[]> r : records) found.add(Suite.text(r.value()));
    return records.count();
  }

  static KafkaShareConsumer<byte[], byte[]> member(String group, String topic, String mode) {
    Map<String, Object> options = Suite.options(Map.of("group.id", group, "share.acknowledgement.mode", mode));
    KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    consumer.subscribe(List.of(topic));
    return consumer;
  }

  /** The group, which begins with what is there. */
  static String earliest(String group) throws Exception {
    try (Admin admin = Suite.admin()) {
      Later.alter(admin, new ConfigResource(ConfigResource.Type.GROUP, group), "share.auto.offset.reset", "earliest", AlterConfigOp.OpType.SET);
    }
    return group;
  }
}
