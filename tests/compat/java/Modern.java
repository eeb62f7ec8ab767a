import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;

/** The cases of what came to the Java client after 2.1. */
class Modern {
  static Map<String, Suite.Case> cases() {
    Map<String, Suite.Case> cases = new LinkedHashMap<>();
    cases.put("describe-cluster", Modern::describeCluster);
    cases.put("topic-ids", Modern::topicIds);
    cases.put("list-offsets", Modern::listOffsets);
    cases.put("alter-configs", Modern::alterConfigs);
    cases.put("static-members", Modern::staticMembers);
    cases.put("cooperative-rebalance", Modern::cooperativeRebalance);
    cases.put("alter-group-offsets", Modern::alterGroupOffsets);
    cases.put("remove-members", Modern::removeMembers);
    return cases;
  }

  static void describeCluster() throws Exception {
    try (Admin admin = Suite.admin()) {
      DescribeClusterResult cluster = admin.describeCluster();
      Suite.same(1, cluster.nodes().get().size(), "nodes");
      Suite.same(Suite.BOOTSTRAP, cluster.nodes().get().iterator().next().host() + ":" + cluster.controller().get().port(), "address");
      Suite.same(22, cluster.clusterId().get().length(), "length of the cluster's id");
    }
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

  static void alterConfigs() throws Exception {
    String topic = Suite.topic("alter-configs", 1, Map.of());
    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
    try (Admin admin = Suite.admin()) {
      alter(admin, resource, "max.message.bytes", "2000", AlterConfigOp.OpType.SET);
      Suite.until("it is told", () -> "2000".equals(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("max.message.bytes").value()));
      try (KafkaProducer<byte[], byte[]> producer = Suite.producer(Map.of())) {
        Suite.throwsError(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, Suite.random(3000))).get());
        alter(admin, resource, "max.message.bytes", "", AlterConfigOp.OpType.DELETE);
        Suite.until("the default is told", () -> "1048588".equals(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("max.message.bytes").value()));
        producer.send(new ProducerRecord<>(topic, Suite.random(3000))).get();
      }
      alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
      Suite.until("appended", () -> "delete,compact".equals(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("cleanup.policy").value()));
      alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
      Suite.throwsError(InvalidConfigurationException.class, () -> alter(admin, resource, "retention.ms", "soon", AlterConfigOp.OpType.SET));
      Suite.throwsError(InvalidConfigurationException.class, () -> alter(admin, resource, "no.such.config", "1", AlterConfigOp.OpType.SET));
      ConfigResource never = new ConfigResource(ConfigResource.Type.TOPIC, Suite.name("never"));
      Suite.throwsError(UnknownTopicOrPartitionException.class, () -> alter(admin, never, "retention.ms", "1", AlterConfigOp.OpType.SET));
    }
  }

  static void alter(Admin admin, ConfigResource resource, String name, String value, AlterConfigOp.OpType how) throws Exception {
    admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), how)))).all().get();
  }

  static void staticMembers() throws Exception {
    String topic = Suite.topic("static", 4, Map.of()), group = Suite.name("static");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Suite.Member a = new Suite.Member(group, topic, found, Map.of("group.instance.id", "a"));
    Suite.Member b = new Suite.Member(group, topic, found, Map.of("group.instance.id", "b"));
    Suite.until("each has two", () -> a.assigned.size() == 2 && b.assigned.size() == 2);
    Set<TopicPartition> before = a.assigned;
    a.close();
    Thread.sleep(1500);
    Suite.same(2, b.assigned.size(), "partitions of the other after a static member has closed");
    Suite.Member again = new Suite.Member(group, topic, found, Map.of("group.instance.id", "a"));
    Suite.until("it has its partitions again", () -> again.assigned.equals(before));
    Suite.Member usurper = new Suite.Member(group, topic, found, Map.of("group.instance.id", "a"));
    Suite.until("the one before is fenced", () -> again.failure instanceof FencedInstanceIdException);
    usurper.close();
    b.close();
  }

  static void cooperativeRebalance() throws Exception {
    String topic = Suite.topic("cooperative", 4, Map.of()), group = Suite.name("cooperative");
    Map<String, String> options = Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    Suite.Member first = new Suite.Member(group, topic, found, options);
    Suite.until("the first has all", () -> first.assigned.size() == 4);
    Suite.Member second = new Suite.Member(group, topic, found, options);
    Suite.until("each has two", () -> first.assigned.size() == 2 && second.assigned.size() == 2);
    Suite.produce(topic, 100, Map.of());
    Suite.until("all is consumed", () -> found.size() == 100);
    second.close();
    Suite.until("the first has all again", () -> first.assigned.size() == 4);
    first.close();
  }

  static void alterGroupOffsets() throws Exception {
    String topic = Suite.topic("alter-offsets", 2, Map.of()), group = Suite.name("alter-offsets");
    TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
    try (Admin admin = Suite.admin()) {
      admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(5), one, new OffsetAndMetadata(6, Optional.of(0), "m"))).all().get();
      Suite.same(Set.of(zero, one), admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().keySet(), "partitions");
      admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get();
      Map<TopicPartition, OffsetAndMetadata> left = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
      Suite.same(Map.of(one, new OffsetAndMetadata(6, Optional.of(0), "m")), left, "what is left");
      Suite.Member member = new Suite.Member(group, topic, new ArrayList<>(), Map.of());
      Suite.until("assigned", () -> member.assigned.size() == 2);
      Suite.throwsError(UnknownMemberIdException.class, () -> admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(1))).all().get());
      Suite.throwsError(GroupSubscribedToTopicException.class, () -> admin.deleteConsumerGroupOffsets(group, Set.of(one)).all().get());
      member.close();
    }
  }

  static void removeMembers() throws Exception {
    String topic = Suite.topic("remove", 1, Map.of()), group = Suite.name("remove");
    try (Admin admin = Suite.admin()) {
      Suite.Member member = new Suite.Member(group, topic, new ArrayList<>(), Map.of("group.instance.id", "gone"));
      Suite.until("assigned", () -> member.assigned.size() == 1);
      admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("gone")))).all().get();
      Suite.until("it is told so", () -> member.failure != null || member.assigned.size() == 1);
      member.close();
    }
  }
}
