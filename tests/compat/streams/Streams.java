import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

/**
 * The cases of Kafka Streams with exactly_once_v2, on both group protocols, with kills of the broker in the middle; and those of the
 * tool for streams groups.
 *
 * <p>The application counts by a key that it computes, so that it needs a repartition topic and a state store with a changelog, and
 * gives each new count out: those of a key are 1, 2, 3… to the number of its records, and a record that counts twice or not at all, or
 * a count that is given twice, is seen.
 */
public class Streams {
  static final String BOOTSTRAP = System.getenv("BOOTSTRAP"), WORK = System.getenv("WORK");
  static final BufferedReader RUNNER = new BufferedReader(new InputStreamReader(System.in));
  static final int PARTITIONS = 3, KEYS = 20, CASE_SECONDS_MAX = 400;

  interface Case {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, Case> cases = new LinkedHashMap<>();
    for (String protocol : List.of("classic", "streams")) {
      cases.put("counts-" + protocol, () -> counts(protocol, 0));
      cases.put("kills-" + protocol, () -> counts(protocol, 4));
      cases.put("rebalance-" + protocol, () -> rebalance(protocol));
    }
    cases.put("streams-groups", Streams::streamsGroups);
    cases.put("streams-groups-reset", Streams::streamsGroupsReset);
    if (arguments.length > 0) cases.keySet().retainAll(Set.of(arguments));
    System.out.println("plan " + cases.size());
    cases.forEach(Streams::attempt);
    System.exit(0);
  }

  static void attempt(String name, Case test) {
    ExecutorService thread = Executors.newSingleThreadExecutor();
    try {
      thread.submit(() -> {
        test.run();
        return null;
      }).get(CASE_SECONDS_MAX, TimeUnit.SECONDS);
      System.out.println("pass " + name);
    } catch (Throwable failure) {
      Throwable cause = failure.getCause() == null ? failure : failure.getCause();
      cause.printStackTrace();
      System.out.println("fail " + name + ": " + cause.toString().replaceAll("\\s+", " "));
    }
    thread.shutdownNow();
  }

  // Cases.

  /** So many records, with so many kills of the broker while they are counted; the application begins anew in the middle, without its files. */
  static void counts(String protocol, int kills) throws Exception {
    String name = protocol + "-" + kills;
    Application application = new Application(name, protocol, 1);
    int sent = 0;
    for (int round = 0; round <= kills; round++) {
      sent += application.produce(300);
      if (round == kills) break;
      int wanted = sent - 200;
      until("some of " + sent + " are counted", () -> application.counted() >= wanted);
      restartBroker();
      if (round == kills / 2) application.beginAnew();
    }
    application.check(sent);
    application.close();
  }

  /** A second instance comes and goes, while records are counted. */
  static void rebalance(String protocol) throws Exception {
    Application application = new Application("rebalance-" + protocol, protocol, 1);
    int sent = application.produce(300);
    until("the first are counted", () -> application.counted() >= 100);
    application.start(2);
    sent += application.produce(300);
    until("the second has tasks", () -> application.tasks(1) > 0);
    sent += application.produce(300);
    until("more are counted", () -> application.counted() >= 500);
    application.stop(0);
    sent += application.produce(300);
    application.check(sent);
    application.close();
  }

  static void streamsGroups() throws Exception {
    Application application = new Application("described", "streams", 1);
    application.check(application.produce(50));
    has("described", tool("--list"));
    has("Stable", tool("--list", "--state"));
    has("Stable", tool("--describe", "--group", "described", "--state", "--verbose"));
    has("ACTIVE: 0:[0,1,2]", tool("--describe", "--group", "described", "--members", "--verbose").replaceAll("; ", " "));
    same(PARTITIONS, (int) tool("--describe", "--group", "described").lines().filter(l -> l.contains("described-input")).count(), "lines of the input's offsets");
    has("not empty", tool("--delete", "--group", "described").toLowerCase().replace("non-empty", "not empty").replace("nonempty", "not empty"));
    application.close();
  }

  static void streamsGroupsReset() throws Exception {
    until("the members are gone", () -> tool("--list", "--state").contains("Empty"));
    tool("--reset-offsets", "--group", "described", "--input-topic", "described-input", "--to-earliest", "--dry-run");
    try (Admin admin = Admin.create(options())) {
      same(50L, committed(admin), "what is committed after a reset that was only tried");
      tool("--reset-offsets", "--group", "described", "--input-topic", "described-input", "--to-earliest", "--execute");
      same(0L, committed(admin), "what is committed after the reset");
      tool("--reset-offsets", "--group", "described", "--all-input-topics", "--to-latest", "--execute");
      same(50L, committed(admin), "what is committed after the second reset");
      tool("--delete-offsets", "--group", "described", "--input-topic", "described-input");
      same(0L, committed(admin), "what is committed after it is deleted");
      tool("--delete", "--group", "described", "--delete-all-internal-topics");
      until("the topics are gone", () -> admin.listTopics().names().get().stream().noneMatch(t -> t.startsWith("described-") && !t.endsWith("put")));
    }
    same("", tool("--list").trim().lines().filter(l -> l.equals("described")).collect(Collectors.joining()), "groups");
  }

  static long committed(Admin admin) throws Exception {
    return admin.listStreamsGroupOffsets(Map.of("described", new ListStreamsGroupOffsetsSpec())).partitionsToOffsetAndMetadata("described").get()
        .entrySet().stream().filter(e -> e.getKey().topic().equals("described-input") && e.getValue() != null).mapToLong(e -> e.getValue().offset()).sum();
  }

  /** What the tool says, run as its users do. */
  static String tool(String... arguments) throws Exception {
    List<String> command = new ArrayList<>(List.of("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp", System.getProperty("java.class.path"), "org.apache.kafka.tools.streams.StreamsGroupCommand", "--bootstrap-server", BOOTSTRAP));
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    process.waitFor();
    System.err.println(String.join(" ", arguments) + "\n" + said);
    return said;
  }

  // What the cases are made of.

  /** One application with its topics, and its instances in this process. */
  static class Application {
    final String name, protocol, input, output;
    final List<KafkaStreams> instances = new ArrayList<>();
    private int produced = 0, starts = 0;

    Application(String name, String protocol, int count) throws Exception {
      this.name = name;
      this.protocol = protocol;
      input = name + "-input";
      output = name + "-output";
      try (Admin admin = Admin.create(options())) {
        admin.createTopics(List.of(new NewTopic(input, PARTITIONS, (short) 1), new NewTopic(output, PARTITIONS, (short) 1))).all().get();
      }
      start(count);
    }

    /** Starts instances until there are so many. */
    void start(int count) {
      while (instances.size() < count) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.String()))
            .map((key, value) -> KeyValue.pair(value.substring(0, value.indexOf(':')), value))
            .groupByKey(Grouped.with("by", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream().to(output, Produced.with(Serdes.String(), Serdes.Long()));
        Properties properties = new Properties();
        properties.putAll(options());
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        properties.put(StreamsConfig.GROUP_PROTOCOL_CONFIG, protocol);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, Path.of(WORK, "state-" + name + "-" + ++starts).toString());
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        if (protocol.equals("classic")) properties.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 10_000);
        properties.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 30_000);
        KafkaStreams instance = new KafkaStreams(builder.build(), properties);
        instance.setUncaughtExceptionHandler(e -> {
          e.printStackTrace();
          return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        instance.start();
        instances.add(instance);
      }
    }

    void stop(int index) {
      instances.remove(index).close(Duration.ofSeconds(60));
    }

    /** Another instance in place of the first, which has to read its state from the changelog. */
    void beginAnew() {
      stop(0);
      start(1);
    }

    int tasks(int index) {
      return instances.get(index).metadataForLocalThreads().stream().mapToInt(t -> t.activeTasks().size()).sum();
    }

    int produce(int count) throws Exception {
      Map<String, Object> options = options();
      options.put("delivery.timeout.ms", "120000");
      List<Future<RecordMetadata>> sends = new ArrayList<>();
      try (KafkaProducer<String, String> producer = new KafkaProducer<>(options, new StringSerializer(), new StringSerializer())) {
        for (int i = 0; i < count; i++, produced++) {
          sends.add(producer.send(new ProducerRecord<>(input, "any-" + produced % 7, produced % KEYS + ":" + produced)));
        }
        for (Future<RecordMetadata> send : sends) send.get();
      }
      return count;
    }

    /** How many counts the committed output holds. */
    int counted() throws Exception {
      return read().values().stream().mapToInt(List::size).sum();
    }

    void check(int sent) throws Exception {
      until("all " + sent + " are counted", () -> counted() >= sent);
      Map<String, List<Long>> expected = new TreeMap<>();
      for (int i = 0; i < sent; i++) {
        List<Long> of = expected.computeIfAbsent("" + i % KEYS, k -> new ArrayList<>());
        of.add(of.size() + 1L);
      }
      same(expected, read(), "the counts of each key, in their order");
    }

    private Map<String, List<Long>> read() throws Exception {
      Map<String, List<Long>> found = new TreeMap<>();
      Map<String, Object> options = options();
      options.put("isolation.level", "read_committed");
      List<TopicPartition> all = IntStream.range(0, PARTITIONS).mapToObj(p -> new TopicPartition(output, p)).toList();
      try (KafkaConsumer<String, Long> consumer = new KafkaConsumer<>(options, new StringDeserializer(), new LongDeserializer())) {
        consumer.assign(all);
        Map<TopicPartition, Long> ends = consumer.endOffsets(all);
        consumer.seekToBeginning(all);
        while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
          for (ConsumerRecord<String, Long> r : consumer.poll(Duration.ofMillis(200))) found.computeIfAbsent(r.key(), k -> new ArrayList<>()).add(r.value());
        }
      }
      return found;
    }

    void close() {
      while (!instances.isEmpty()) stop(0);
    }
  }

  static Map<String, Object> options() {
    return new HashMap<>(Map.of("bootstrap.servers", BOOTSTRAP));
  }

  static void restartBroker() throws Exception {
    System.out.println("restart");
    same("restarted", RUNNER.readLine(), "the runner's answer");
  }

  interface Attempt {
    boolean holds() throws Exception;
  }

  static void until(String what, Attempt attempt) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(150).toNanos();
    while (System.nanoTime() < deadline) {
      if (attempt.holds()) return;
      Thread.sleep(200);
    }
    throw new AssertionError("not within 150 s: " + what);
  }

  static void has(String expected, String found) {
    if (!found.contains(expected)) throw new AssertionError("expected something with " + expected + ", found " + brief(found));
  }

  static void same(Object expected, Object found, String what) {
    if (!Objects.equals(expected, found)) throw new AssertionError(what + ": expected " + brief(expected) + ", found " + brief(found));
  }

  static String brief(Object object) {
    String text = String.valueOf(object);
    return text.length() < 600 ? text : text.substring(0, 600) + "… (" + text.length() + " characters)";
  }
}
