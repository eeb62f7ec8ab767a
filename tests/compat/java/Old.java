import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.*;

/**
 * The cases of Java clients from before 2.0, in what their API has had since 0.10.2, whose records are message sets of format 1. There is no admin
 * client then: topics come by first use. Apache Kafka 4 serves 1.1, but not 0.10.2 (KIP-896).
 */
public class Old {
  static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
  static final BufferedReader RUNNER = new BufferedReader(new InputStreamReader(System.in));

  interface Case {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, Case> cases = new LinkedHashMap<>();
    for (String codec : List.of("none", "gzip", "snappy", "lz4")) cases.put("codec-" + codec, () -> codec(codec));
    cases.put("keys", Old::keys);
    cases.put("timestamps", Old::timestamps);
    cases.put("acks", Old::acks);
    cases.put("big-records", Old::bigRecords);
    cases.put("small-fetches", Old::smallFetches);
    cases.put("seek", Old::seek);
    cases.put("seek-by-time", Old::seekByTime);
    cases.put("offset-out-of-range", Old::offsetOutOfRange);
    cases.put("metadata", Old::metadata);
    cases.put("commits", Old::commits);
    cases.put("group-rebalance", Old::groupRebalance);
    cases.put("restart", Old::restart);
    if (arguments.length > 0) cases.keySet().retainAll(Set.of(arguments));
    System.out.println("plan " + cases.size());
    cases.forEach(Old::attempt);
    System.exit(0);
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

  static void codec(String codec) throws Exception {
    String topic = name("codec-" + codec);
    List<String> sent = produce(topic, 500, Map.of("compression.type", codec, "linger.ms", "20"));
    same(sent, values(read(topic, Map.of())), "records");
  }

  static void keys() throws Exception {
    String topic = name("keys");
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      producer.send(new ProducerRecord<>(topic, bytes("key"), bytes("v")));
      producer.send(new ProducerRecord<>(topic, new byte[0], null));
      producer.send(new ProducerRecord<>(topic, null, new byte[0])).get();
    }
    List<String> found = read(topic, Map.of()).stream().map(r -> told(r.key()) + "=" + told(r.value())).collect(Collectors.toList());
    same(List.of("key=v", "=null", "null="), found, "keys and values");
  }

  static void timestamps() throws Exception {
    String topic = name("timestamps");
    long hourAgo = System.currentTimeMillis() - 3_600_000;
    for (String codec : List.of("none", "gzip")) {
      try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec, "linger.ms", "300"))) {
        Future<RecordMetadata> first = producer.send(new ProducerRecord<>(topic, 0, hourAgo, null, bytes("v")));
        producer.send(new ProducerRecord<>(topic, 0, hourAgo + 7, null, bytes("v"))).get();
        same(hourAgo, first.get().timestamp(), "acknowledged timestamp");
      }
    }
    List<ConsumerRecord<byte[], byte[]>> records = read(topic, Map.of());
    same(List.of(0L, 7L, 0L, 7L), records.stream().map(r -> r.timestamp() - hourAgo).collect(Collectors.toList()), "timestamps");
    check(records.stream().allMatch(r -> r.timestampType() == TimestampType.CREATE_TIME), "the producer's time");
  }

  static void acks() throws Exception {
    for (String acks : List.of("0", "1", "all")) {
      String topic = name("acks-" + acks);
      try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
        producer.partitionsFor(topic);
      }
      List<String> sent = produce(topic, 100, Map.of("acks", acks));
      until("all 100 with acks " + acks, () -> endOffset(topic) == 100);
      same(sent, values(read(topic, Map.of())), "records with acks " + acks);
    }
  }

  static void bigRecords() throws Exception {
    String topic = name("big");
    Map<String, String> wide = Map.of("max.request.size", "20000000", "buffer.memory", "67108864", "batch.size", "0");
    byte[] fits = random(1_000_000);
    try (KafkaProducer<byte[], byte[]> producer = producer(wide)) {
      producer.send(new ProducerRecord<>(topic, fits)).get();
      throwsError(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, random(1_048_588))).get());
      producer.send(new ProducerRecord<>(topic, bytes("after"))).get();
    }
    List<ConsumerRecord<byte[], byte[]>> records = read(topic, Map.of());
    same(2, records.size(), "records");
    check(Arrays.equals(fits, records.get(0).value()), "the big record comes back as it was sent");
  }

  /** Batches that are greater than what one fetch brings. */
  static void smallFetches() throws Exception {
    for (String codec : List.of("none", "lz4")) {
      String topic = name("small-fetches-" + codec);
      List<String> sent = produce(topic, 3000, Map.of("compression.type", codec, "linger.ms", "100", "batch.size", "200000"));
      same(sent, values(read(topic, Map.of("max.partition.fetch.bytes", "5000", "max.poll.records", "97"))), "records");
    }
  }

  static void seek() throws Exception {
    String topic = name("seek");
    List<String> sent = produce(topic, 100, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 42);
      ConsumerRecord<byte[], byte[]> r = next(consumer);
      same("42 " + sent.get(42), r.offset() + " " + text(r.value()), "at 42");
      consumer.seekToEnd(List.of(partition));
      same(100L, consumer.position(partition), "the end");
      consumer.seekToBeginning(List.of(partition));
      same(0L, consumer.position(partition), "the beginning");
    }
  }

  static void seekByTime() throws Exception {
    String topic = name("seek-by-time");
    long base = System.currentTimeMillis() - 10_000;
    try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
      for (long at : new long[] {0, 5000, 9000}) producer.send(new ProducerRecord<>(topic, 0, base + at, null, bytes("v"))).get();
    }
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, base + 1)).get(partition);
      same("1 " + (base + 5000), found.offset() + " " + found.timestamp(), "the first after");
      same(null, consumer.offsetsForTimes(Map.of(partition, base + 9001)).get(partition), "after the last");
    }
  }

  static void offsetOutOfRange() throws Exception {
    String topic = name("out-of-range");
    List<String> sent = produce(topic, 10, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "none"))) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 1000);
      throwsError(OffsetOutOfRangeException.class, () -> {
        for (int i = 0; i < 100; i++) consumer.poll(200);
      });
    }
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, 1000);
      same(sent.get(0), text(next(consumer).value()), "reset to the first");
    }
  }

  static void metadata() throws Exception {
    String topic = name("metadata");
    produce(topic, 1, Map.of());
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
      PartitionInfo only = consumer.partitionsFor(topic).get(0);
      same(BOOTSTRAP, only.leader().host() + ":" + only.leader().port(), "leader");
      check(consumer.listTopics().containsKey(topic), "listed");
    }
  }

  static void commits() throws Exception {
    String topic = name("commits"), group = name("commits");
    produce(topic, 10, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
      consumer.assign(List.of(partition));
      same(null, consumer.committed(partition), "nothing yet");
      consumer.commitSync(Map.of(partition, new OffsetAndMetadata(7, "seven")));
    }
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
      consumer.assign(List.of(partition));
      same("7 seven", consumer.committed(partition).offset() + " " + consumer.committed(partition).metadata(), "committed");
      same(7L, next(consumer).offset(), "where it goes on");
    }
  }

  static void groupRebalance() throws Exception {
    String topic = name("rebalance"), other = name("rebalance"), group = name("rebalance");
    List<String> sent = new ArrayList<>(produce(topic, 200, Map.of()));
    sent.addAll(produce(other, 200, Map.of()));
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    List<String> both = List.of(topic, other);
    Map<String, String> roundRobin = Map.of("partition.assignment.strategy", RoundRobinAssignor.class.getName());
    Member first = new Member(group, both, found, roundRobin);
    until("the first has all", () -> first.assigned.size() == 2);
    Member second = new Member(group, both, found, roundRobin);
    until("each has one", () -> first.assigned.size() == 1 && second.assigned.size() == 1);
    sent.addAll(produce(topic, 200, Map.of()));
    until("all is consumed", () -> found.size() >= 600);
    first.close();
    until("the second has all", () -> second.assigned.size() == 2);
    sent.addAll(produce(other, 100, Map.of()));
    until("the rest is consumed", () -> found.size() >= 700);
    second.close();
    Collections.sort(sent);
    Collections.sort(found);
    same(sent, found, "each record once");
  }

  static void restart() throws Exception {
    String topic = name("restart"), group = name("restart");
    List<String> found = Collections.synchronizedList(new ArrayList<>());
    List<String> sent = new ArrayList<>(produce(topic, 200, Map.of("acks", "all")));
    Member member = new Member(group, List.of(topic), found, Map.of());
    until("the first half is consumed", () -> found.size() == 200);
    System.out.println("restart");
    same("restarted", RUNNER.readLine(), "the runner's answer");
    sent.addAll(produce(topic, 200, Map.of("acks", "all", "retries", "100", "max.in.flight.requests.per.connection", "1")));
    until("the second half is consumed", () -> new TreeSet<>(Arrays.asList(found.toArray(new String[0]))).size() == 400);
    member.close();
    same(new TreeSet<>(sent), new TreeSet<>(values(read(topic, Map.of()))), "values in the log");
  }

  // What the cases are made of.

  /** A member of a group that consumes in a thread of its own. */
  static class Member {
    volatile Set<TopicPartition> assigned = Set.of();
    private volatile boolean closing;
    private final Thread thread;

    Member(String group, List<String> topics, List<String> found, Map<String, String> options) {
      Map<String, String> all = new HashMap<>(options);
      all.put("group.id", group);
      all.put("session.timeout.ms", "10000");
      all.put("heartbeat.interval.ms", "300");
      thread = new Thread(() -> {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(all)) {
          consumer.subscribe(topics);
          while (!closing) {
            for (ConsumerRecord<byte[], byte[]> r : consumer.poll(50)) found.add(text(r.value()));
            assigned = consumer.assignment();
            try {
              consumer.commitSync();
            } catch (RetriableException | CommitFailedException e) {
              // The next poll goes on with the rebalance, or finds the broker again; the next commit holds these records too.
            }
          }
        } catch (Throwable t) {
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

  static void until(String what, BooleanSupplier holds) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
    while (System.nanoTime() < deadline) {
      if (holds.getAsBoolean()) return;
      Thread.sleep(50);
    }
    throw new AssertionError("not within 40 s: " + what);
  }

  static int counter = 0;

  static String name(String about) {
    return about + "-" + ++counter;
  }

  static List<String> produce(String topic, int count, Map<String, String> options) throws Exception {
    List<String> sent = new ArrayList<>();
    List<Future<RecordMetadata>> sends = new ArrayList<>();
    try (KafkaProducer<byte[], byte[]> producer = producer(options)) {
      for (int i = 0; i < count; i++) {
        sent.add("value-" + ++counter + "-" + "x".repeat(i % 50));
        sends.add(producer.send(new ProducerRecord<>(topic, bytes(sent.get(i)))));
      }
      for (Future<RecordMetadata> send : sends) send.get();
    }
    return sent;
  }

  /** Everything from the beginning to the end of partition 0, which is asked first. */
  static List<ConsumerRecord<byte[], byte[]>> read(String topic, Map<String, String> options) throws Exception {
    List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(options)) {
      consumer.assign(List.of(partition));
      long end = consumer.endOffsets(List.of(partition)).get(partition);
      consumer.seekToBeginning(List.of(partition));
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
      while (consumer.position(partition) < end) {
        check(System.nanoTime() < deadline, "read only " + records.size() + " records, to " + end);
        consumer.poll(200).forEach(records::add);
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
      for (ConsumerRecord<byte[], byte[]> r : consumer.poll(200)) return r;
    }
    throw new AssertionError("no record in 20 s");
  }

  static KafkaProducer<byte[], byte[]> producer(Map<String, String> options) {
    Map<String, Object> all = options(options);
    all.put("max.block.ms", "20000");
    all.putIfAbsent("retries", "5");
    return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
  }

  static KafkaConsumer<byte[], byte[]> consumer(Map<String, String> options) {
    Map<String, Object> all = options(options);
    all.putIfAbsent("auto.offset.reset", "earliest");
    all.putIfAbsent("enable.auto.commit", "false");
    // Joining may take that long, and a consumer of that age waits for no answer longer than for any other.
    all.putIfAbsent("max.poll.interval.ms", "12000");
    return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static Map<String, Object> options(Map<String, String> options) {
    Map<String, Object> all = new HashMap<>(options);
    all.put("bootstrap.servers", BOOTSTRAP);
    all.putIfAbsent("request.timeout.ms", "15000");
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

  static String told(byte[] bytes) {
    return bytes == null ? "null" : text(bytes);
  }
}
