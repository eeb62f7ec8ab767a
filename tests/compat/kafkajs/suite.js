// The cases of KafkaJS, which speaks older versions of the protocol and has no client library below it.
// LZ4 is not among them: of the packages that KafkaJS leaves it to, one needs a compiler, and Kafka refuses the other's frames.
// Nor are static members: KafkaJS 2 has no group.instance.id (KIP-345).
"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const readline = require("node:readline");
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require("kafkajs");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
CompressionCodecs[CompressionTypes.ZSTD] = () => {
  const zstd = require("@bokuweb/zstd-wasm");
  const ready = zstd.init();
  return {
    compress: async (encoder) => ready.then(() => Buffer.from(zstd.compress(encoder.buffer))),
    decompress: async (bytes) => ready.then(() => Buffer.from(zstd.decompress(bytes))),
  };
};

const kafka = new Kafka({
  clientId: "compat", brokers: [process.env.BOOTSTRAP], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, retries: 10 },
});
const admin = kafka.admin();
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let counter = 0;

const cases = {
  topics: async () => {
    const topic = await create("topics", 3, [{ name: "retention.ms", value: "3600000" }]);
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    assert.equal(topics[0].partitions.length, 3);
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false, "it is there already");
    await admin.deleteTopics({ topics: [topic] });
    await until("it is gone", async () => !(await admin.listTopics()).includes(topic));
  },
  "create-partitions": async () => {
    const topic = await create("grows", 1);
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    await until("3 partitions", async () => (await admin.fetchTopicOffsets(topic)).length === 3);
  },
  "codec-none": () => roundTrip(CompressionTypes.None),
  "codec-gzip": () => roundTrip(CompressionTypes.GZIP),
  "codec-snappy": () => roundTrip(CompressionTypes.Snappy),
  "codec-zstd": () => roundTrip(CompressionTypes.ZSTD),
  headers: async () => {
    const topic = await create("headers", 1);
    await produce(topic, [{ value: "v", headers: { one: "1", twice: ["1", "2"], empty: "" } }]);
    const [{ message }] = await read(topic, 1);
    assert.deepEqual(Object.entries(message.headers).map(([name, value]) => `${name}=${value}`), ["one=1", "twice=1,2", "empty="]);
  },
  keys: async () => {
    const topic = await create("keys", 3);
    await produce(topic, numbered(30).map(({ value }, i) => ({ key: `key-${i % 10}`, value })));
    await produce(topic, [{ key: "gone", value: null, partition: 0 }, { key: null, value: "", partition: 0 }]);
    const found = await read(topic, 32);
    const partitions = new Map();
    for (const { partition, message } of found) {
      const key = String(message.key);
      if (key.startsWith("key-")) assert.equal(partitions.get(key) ?? partition, partition, "one key, one partition");
      partitions.set(key, partition);
    }
    assert.equal(partitions.size, 12);
    assert(found.some(({ message }) => String(message.key) === "gone" && message.value === null), "a null value");
  },
  "big-records": async () => {
    const topic = await create("big", 1);
    const fits = crypto.randomBytes(1048588 - 80);
    await produce(topic, [{ value: fits }]);
    await refused("MESSAGE_TOO_LARGE", produce(topic, [{ value: crypto.randomBytes(1048588) }]));
    assert.deepEqual((await read(topic, 1))[0].message.value, fits);
  },
  idempotence: async () => {
    const topic = await create("idempotence", 1);
    const sent = numbered(500);
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    for (let i = 0; i < sent.length; i += 50) await producer.send({ topic, messages: sent.slice(i, i + 50) });
    await producer.disconnect();
    assert.deepEqual(values(await read(topic, 500)), sent.map(({ value }) => value));
  },
  "offsets-by-time": async () => {
    const topic = await create("time", 1);
    const base = Date.now() - 100_000;
    await produce(topic, numbered(100).map(({ value }, i) => ({ value, timestamp: String(base + i * 1000) })));
    assert.equal((await admin.fetchTopicOffsetsByTimestamp(topic, base + 54_001))[0].offset, "55");
    const { low, high } = (await admin.fetchTopicOffsets(topic))[0];
    assert.deepEqual([low, high], ["0", "100"]);
  },
  "delete-records": async () => {
    const topic = await create("delete-records", 1);
    await produce(topic, numbered(100));
    // KafkaJS looks for the leader among the brokers that it is connected to.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "30" }] });
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, "30");
    assert.equal((await read(topic, 70))[0].message.offset, "30");
  },
  commits: async () => {
    const topic = await create("commits", 1), groupId = name("commits");
    await produce(topic, numbered(20));
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "7" }] });
    const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
    assert.equal(found.partitions[0].offset, "7");
    assert.equal((await read(topic, 13, groupId))[0].message.offset, "7", "where a member goes on");
    const [after] = await admin.fetchOffsets({ groupId, topics: [topic] });
    assert.equal(after.partitions[0].offset, "20", "what the member committed");
  },
  "group-rebalance": async () => {
    const topic = await create("group", 4), groupId = name("group"), found = new Set();
    const first = await join(groupId, topic, found);
    await until("the first has all", () => first.assigned === 4);
    const second = await join(groupId, topic, found);
    await until("each has two", () => first.assigned === 2 && second.assigned === 2);
    await produce(topic, numbered(400).map(({ value }) => ({ key: value, value })));
    await until("all is consumed", () => found.size === 400);
    await first.consumer.disconnect();
    await until("the second has all", () => second.assigned === 4);
    await second.consumer.disconnect();
  },
  "group-admin": async () => {
    const topic = await create("group-admin", 1), groupId = name("group-admin");
    const member = await join(groupId, topic, new Set());
    await until("assigned", () => member.assigned === 1);
    const { groups } = await admin.describeGroups([groupId]);
    assert.equal(`${groups[0].state} ${groups[0].protocolType} ${groups[0].members.length}`, "Stable consumer 1");
    assert((await admin.listGroups()).groups.some((group) => group.groupId === groupId), "listed");
    await member.consumer.disconnect();
    await admin.deleteGroups([groupId]);
  },
  "describe-configs": async () => {
    const topic = await create("configs", 1, [{ name: "retention.ms", value: "3600000" }]);
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: topic }] });
    const entry = resources[0].configEntries.find(({ configName }) => configName === "retention.ms");
    assert.equal(`${entry.configValue} ${entry.isDefault}`, "3600000 false");
  },
  "describe-cluster": async () => {
    const cluster = await admin.describeCluster();
    assert.equal(cluster.brokers.map(({ host, port }) => `${host}:${port}`).join(), process.env.BOOTSTRAP);
    assert.equal(cluster.clusterId.length, 22);
  },
  restart: async () => {
    const topic = await create("restart", 1);
    const before = numbered(100), after = numbered(100);
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic, messages: before });
    console.log("restart");
    assert.equal((await answers.next()).value, "restarted");
    await producer.send({ topic, messages: after });
    await producer.disconnect();
    assert.deepEqual(values(await read(topic, 200)), [...before, ...after].map(({ value }) => value));
  },
};

async function main() {
  await admin.connect();
  const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(cases);
  console.log(`plan ${chosen.length}`);
  for (const chosenCase of chosen) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("not done within 90 s")), 90_000)));
    try {
      await Promise.race([cases[chosenCase](), late]);
      console.log(`pass ${chosenCase}`);
    } catch (error) {
      console.error(error);
      console.log(`fail ${chosenCase}: ${String(error.message).replace(/\s+/g, " ").slice(0, 400)}`);
    }
    clearTimeout(timer);
  }
  process.exit(0);
}

function name(about) {
  return `${about}-${++counter}`;
}

async function create(about, numPartitions, configEntries = []) {
  const topic = name(about);
  await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true });
  return topic;
}

function numbered(count) {
  return Array.from({ length: count }, () => ({ value: `value-${++counter}` }));
}

async function produce(topic, messages, compression = CompressionTypes.None) {
  const producer = kafka.producer();
  await producer.connect();
  try {
    await producer.send({ topic, messages, compression });
  } finally {
    await producer.disconnect();
  }
}

/** The first `count` records of a topic, in the order of offsets where it has one partition. KafkaJS reads in groups only. */
async function read(topic, count, groupId = name("readers")) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, heartbeatInterval: 500 });
  const records = [];
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachMessage: async (record) => records.push(record) });
    await until(`${count} records`, () => records.length >= count);
  } finally {
    await consumer.disconnect();
  }
  assert.equal(records.length, count);
  return records;
}

async function join(groupId, topic, found) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, heartbeatInterval: 300 });
  const member = { consumer, assigned: 0 };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => (member.assigned = (payload.memberAssignment[topic] ?? []).length));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => found.add(String(message.value)) });
  return member;
}

async function roundTrip(compression) {
  const topic = await create("codec", 1);
  const sent = numbered(500);
  await produce(topic, sent, compression);
  assert.deepEqual(values(await read(topic, 500)), sent.map(({ value }) => value));
}

function values(records) {
  return records.map(({ message }) => String(message.value));
}

async function until(what, holds) {
  // What a broker does not know yet, it answers with an error that passes.
  const held = async () => Promise.resolve().then(holds).catch((error) => (error.retriable ? false : Promise.reject(error)));
  for (const deadline = Date.now() + 40_000; !(await held()); ) {
    if (Date.now() > deadline) throw new Error(`not within 40 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function refused(type, attempt) {
  const error = await attempt.then(() => null, (error) => error);
  const found = error && (error.type ?? error.cause?.type ?? error.errors?.[0]?.type ?? error.message);
  assert.equal(found, type);
}

main();
