import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;

/** The cases of what came to the Java client after 2.1 and before 2.8. */
class Later {
  static Map<String, Suite.Case> cases() {
    Map<String, Suite.Case> cases = new LinkedHashMap<>();
    cases.put("describe-cluster", Later::describeCluster);
    cases.put("alter-configs", Later::alterConfigs);
    cases.put("static-members", Later::staticMembers);
    cases.put("cooperative-rebalance", Later::cooperativeRebalance);
    cases.put("alter-group-offsets", Later::alterGroupOffsets);
    cases.put("remove-members", Later::removeMembers);
    cases.put("transaction-offsets", Later::transactionOffsets);
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

  static void transactionOffsets() throws Exception {
    String from = Suite.topic("from", 1, Map.of()), to = Suite.topic("to", 1, Map.of()), group = Suite.name("transaction-offsets");
    Suite.produce(from, 30, Map.of());
    TopicPartition partition = new TopicPartition(from, 0);
    try (KafkaProducer<byte[], byte[]> producer = Suite.transactional(Suite.name("transactional"));
        KafkaConsumer<byte[], byte[]> consumer = Suite.consumer(Map.of("group.id", group))) {
      consumer.subscribe(List.of(from));
      Suite.next(consumer);
      List<String> kept = Suite.transact(producer, to, 10);
      producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(10)), consumer.groupMetadata());
      producer.commitTransaction();
      Suite.transact(producer, to, 10);
      producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(20)), consumer.groupMetadata());
      // A consumer waits for the transaction's end; who asks for what is known now is told the last that was committed.
      try (Admin admin = Suite.admin()) {
        long known = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset();
        Suite.same(10L, known, "committed while the transaction is open");
      }
      producer.abortTransaction();
      Suite.same(10L, consumer.committed(Set.of(partition)).get(partition).offset(), "committed after it is aborted");
      Suite.same(kept, Suite.committed(to, 1, kept.size()), "records");
      // A generation that has gone by may commit nothing.
      ConsumerGroupMetadata now = consumer.groupMetadata();
      ConsumerGroupMetadata old = new ConsumerGroupMetadata(group, now.generationId() - 1, now.memberId(), Optional.empty());
      producer.beginTransaction();
      Suite.throwsError(CommitFailedException.class, () -> producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(30)), old));
      producer.abortTransaction();
    }
  }
}
