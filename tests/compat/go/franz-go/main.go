// The cases of franz-go, whose requests carry topic ids and the newest versions that both sides know.
package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "millstream/compat/cases"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	tests := []Test{{"topics", topics}, {"create-partitions", createPartitions}}
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		tests = append(tests, Test{"codec-" + name, func(ctx context.Context) { codecRoundTrip(ctx, name, codec) }})
	}
	tests = append(tests, []Test{
		{"headers", headers},
		{"keys", keys},
		{"acks", acks},
		{"big-records", bigRecords},
		{"idempotence", idempotence},
		{"seek", seek},
		{"offset-out-of-range", offsetOutOfRange},
		{"list-offsets", listOffsets},
		{"recreated-topic", recreatedTopic},
		{"delete-records", deleteRecords},
		{"commits", commits},
		{"group-rebalance", func(ctx context.Context) { rebalance(ctx, kgo.RangeBalancer()) }},
		{"cooperative-rebalance", func(ctx context.Context) { rebalance(ctx, kgo.CooperativeStickyBalancer()) }},
		{"static-members", staticMembers},
		{"group-admin", groupAdmin},
		{"alter-configs", alterConfigs},
		{"offset-for-leader-epoch", leaderEpochs},
		{"log-dirs", logDirs},
		{"idempotence-restart", idempotenceRestart},
		{"restart", restart},
	}...)
	Run(tests)
}

func topics(ctx context.Context) {
	topic := create(ctx, "topics", 3, map[string]string{"retention.ms": "3600000"})
	details := Must(admin().ListTopics(ctx, topic))
	Same(3, len(details[topic].Partitions), "partitions")
	Check(details[topic].ID != kadm.TopicID{}, "a topic has an id")
	for name, expected := range map[string]error{topic: kerr.TopicAlreadyExists, "no/slash": kerr.InvalidTopicException} {
		_, err := admin().CreateTopic(ctx, 1, 1, nil, name)
		Refused(expected, err)
	}
	_, err := admin().CreateTopic(ctx, 1, 1, map[string]*string{"no.such.config": kadm.StringPtr("1")}, Unique("bad"))
	Refused(kerr.InvalidConfig, err)
	Ok(Must(admin().DeleteTopics(ctx, topic)).Error())
	Until("the topic is gone", func() bool { return !Must(admin().ListTopics(ctx)).Has(topic) })
	Refused(kerr.UnknownTopicOrPartition, Must(admin().DeleteTopics(ctx, topic)).Error())
}

func createPartitions(ctx context.Context) {
	topic := create(ctx, "grows", 1, nil)
	Ok(Must(admin().UpdatePartitions(ctx, 3, topic)).Error())
	Until("3 partitions", func() bool { return len(Must(admin().ListTopics(ctx, topic))[topic].Partitions) == 3 })
	produce(ctx, []*kgo.Record{{Topic: topic, Partition: 2, Value: []byte("v")}}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	Same(1, len(read(ctx, topic)), "records")
	Refused(kerr.InvalidPartitions, Must(admin().UpdatePartitions(ctx, 2, topic)).Error())
}

func codecRoundTrip(ctx context.Context, name string, codec kgo.CompressionCodec) {
	topic := create(ctx, "codec-"+name, 1, nil)
	sent := numbered(topic, 500)
	produce(ctx, sent, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))
	Same(values(sent), values(read(ctx, topic)), "records")
}

func headers(ctx context.Context) {
	topic := create(ctx, "headers", 1, nil)
	sent := []kgo.RecordHeader{{Key: "twice", Value: []byte("1")}, {Key: "twice", Value: []byte("2")}, {Key: "null"}, {Key: "ключ", Value: []byte{0, 255}}}
	produce(ctx, []*kgo.Record{{Topic: topic, Value: []byte("v"), Headers: sent}})
	Same(fmt.Sprint(sent), fmt.Sprint(read(ctx, topic)[0].Headers), "headers")
}

func keys(ctx context.Context) {
	topic := create(ctx, "keys", 3, nil)
	var sent []*kgo.Record
	for i := range 30 {
		sent = append(sent, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i%10), Value: []byte("v")})
	}
	produce(ctx, append(sent, &kgo.Record{Topic: topic, Key: []byte{}}))
	partitions := map[string]int32{}
	for _, r := range read(ctx, topic) {
		before, seen := partitions[string(r.Key)]
		Check(!seen || before == r.Partition, "a key is in two partitions")
		partitions[string(r.Key)] = r.Partition
		Check(len(r.Key) > 0 || r.Key != nil && r.Value == nil, "an empty key with a null value")
	}
	Same(11, len(partitions), "keys")
}

func acks(ctx context.Context) {
	for name, level := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		topic := create(ctx, "acks-"+name, 1, nil)
		produce(ctx, numbered(topic, 100), kgo.RequiredAcks(level), kgo.DisableIdempotentWrite())
		Until("100 records with acks "+name, func() bool {
			end, _ := Must(admin().ListEndOffsets(ctx, topic)).Lookup(topic, 0)
			return end.Offset == 100
		})
	}
}

func bigRecords(ctx context.Context) {
	topic := create(ctx, "big", 1, nil)
	big := func(size int) *kgo.Record {
		return &kgo.Record{Topic: topic, Value: Noise(size)}
	}
	wide := []kgo.Opt{kgo.ProducerBatchMaxBytes(20_000_000), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	fits := big(Limit - 75)
	produce(ctx, []*kgo.Record{fits}, wide...)
	for _, size := range []int{Limit, 10_000_000} {
		Refused(kerr.MessageTooLarge, produced(ctx, []*kgo.Record{big(size)}, wide...))
	}
	found := read(ctx, topic)
	Check(len(found) == 1 && bytes.Equal(fits.Value, found[0].Value), "the record at the limit comes back")
}

func idempotence(ctx context.Context) {
	topic := create(ctx, "idempotence", 2, nil)
	sent := numbered(topic, 3000)
	produce(ctx, sent, kgo.ProducerBatchMaxBytes(1000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	Same(Sorted(values(sent)), Sorted(values(read(ctx, topic))), "records")
}

// The broker is killed with batches under way, again and again; each value is there once, and in order.
func idempotenceRestart(ctx context.Context) {
	topic := create(ctx, "idempotence-restart", 1, nil)
	client := newClient(kgo.ProducerBatchMaxBytes(1000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	defer client.Close()
	var sent []*kgo.Record
	var answered atomic.Int64
	var failed atomic.Value
	underWay := int64(0)
	for range 3 {
		records := numbered(topic, 10000)
		for _, r := range records {
			client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(err)
				}
				answered.Add(1)
			})
		}
		// Some of them have been answered, so that others are on their way.
		wanted := int64(len(sent)) + 100
		sent = append(sent, records...)
		for answered.Load() < wanted && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		underWay += int64(len(sent)) - answered.Load()
		Restart()
	}
	Ok(client.Flush(ctx))
	Check(failed.Load() == nil, fmt.Sprint("no send fails: ", failed.Load()))
	Check(underWay > 0, "sends were under way when the broker was killed")
	Same(values(sent), values(read(ctx, topic)), "records in the log")
}

func seek(ctx context.Context) {
	topic := create(ctx, "seek", 1, nil)
	base := time.Now().Add(-10 * time.Second).Truncate(time.Millisecond)
	sent := numbered(topic, 100)
	for i, r := range sent {
		r.Timestamp = base.Add(time.Duration(i) * 100 * time.Millisecond)
	}
	produce(ctx, sent)
	for at, expected := range map[kgo.Offset]int64{
		kgo.NewOffset().At(42):                              42,
		kgo.NewOffset().AtStart():                           0,
		kgo.NewOffset().AtEnd().Relative(-3):                97,
		kgo.NewOffset().AfterMilli(base.UnixMilli() + 5401): 55,
	} {
		client := newClient(consuming(topic, 0, at))
		Same(expected, one(ctx, client).Offset, "offset")
		client.Close()
	}
}

func offsetOutOfRange(ctx context.Context) {
	topic := create(ctx, "range", 1, nil)
	produce(ctx, numbered(topic, 10))
	client := newClient(consuming(topic, 0, kgo.NewOffset().At(11)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	Same(int64(0), one(ctx, client).Offset, "where it begins again")
}

func listOffsets(ctx context.Context) {
	topic := create(ctx, "specs", 1, nil)
	base := time.Now().UnixMilli() - 10_000
	for _, at := range []int64{0, 5000, 9000, 3000} {
		produce(ctx, []*kgo.Record{{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(base + at)}})
	}
	offset := func(listed kadm.ListedOffsets, err error) string {
		Ok(err)
		found, _ := listed.Lookup(topic, 0)
		Ok(found.Err)
		return fmt.Sprint(found.Offset, " ", found.LeaderEpoch >= 0)
	}
	Same("0 true", offset(admin().ListStartOffsets(ctx, topic)), "start")
	Same("4 true", offset(admin().ListEndOffsets(ctx, topic)), "end")
	Same("4 true", offset(admin().ListCommittedOffsets(ctx, topic)), "end of what is committed")
	Same("2 true", offset(admin().ListMaxTimestampOffsets(ctx, topic)), "max timestamp")
	Same("1 true", offset(admin().ListOffsetsAfterMilli(ctx, base+4000, topic)), "by time")
}

func recreatedTopic(ctx context.Context) {
	topic := create(ctx, "again", 1, nil)
	produce(ctx, numbered(topic, 10))
	Ok(Must(admin().DeleteTopics(ctx, topic)).Error())
	Until("the topic is gone", func() bool { return !Must(admin().ListTopics(ctx)).Has(topic) })
	_, err := admin().CreateTopic(ctx, 1, 1, nil, topic)
	Ok(err)
	sent := numbered(topic, 3)
	produce(ctx, sent)
	Same(values(sent), values(read(ctx, topic)), "records of the second")
}

func deleteRecords(ctx context.Context) {
	topic := create(ctx, "delete-records", 1, nil)
	produce(ctx, numbered(topic, 100))
	var before kadm.Offsets
	before.Add(kadm.Offset{Topic: topic, At: 30})
	found, _ := Must(admin().DeleteRecords(ctx, before)).Lookup(topic, 0)
	Ok(found.Err)
	Same(int64(30), found.LowWatermark, "low watermark")
	Same(int64(30), read(ctx, topic)[0].Offset, "first record")
	before = nil
	before.Add(kadm.Offset{Topic: topic, At: 101})
	found, _ = Must(admin().DeleteRecords(ctx, before)).Lookup(topic, 0)
	Refused(kerr.OffsetOutOfRange, found.Err)
}

func commits(ctx context.Context) {
	topic, group := create(ctx, "commits", 1, nil), Unique("commits")
	produce(ctx, numbered(topic, 20))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, At: 7, LeaderEpoch: -1, Metadata: "a note"})
	Ok(admin().CommitAllOffsets(ctx, group, offsets))
	found, _ := Must(admin().FetchOffsets(ctx, group)).Lookup(topic, 0)
	Same("7 a note", fmt.Sprint(found.At, " ", found.Metadata), "committed")
	client := newClient(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
	Same(int64(7), one(ctx, client).Offset, "where a member goes on")
	Ok(client.CommitUncommittedOffsets(ctx))
	client.Close()
	found, _ = Must(admin().FetchOffsets(ctx, group)).Lookup(topic, 0)
	Same(int64(20), found.At, "committed by the member")
}

// member consumes in a goroutine of its own.
type member struct {
	Member
	client   *kgo.Client
	mu       sync.Mutex
	assigned map[int32]bool
	done     chan struct{}
}

func join(group, topic string, options ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}, done: make(chan struct{})}
	change := func(present bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, p := range changed[topic] {
				if present {
					m.assigned[p] = true
				} else {
					delete(m.assigned, p)
				}
			}
			m.Assign(len(m.assigned))
		}
	}
	m.client = newClient(append(options,
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsLost(change(false)),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, changed map[string][]int32) {
			_ = c.CommitUncommittedOffsets(ctx)
			change(false)(ctx, c, changed)
		}),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(300*time.Millisecond), kgo.AutoCommitInterval(200*time.Millisecond), kgo.BlockRebalanceOnPoll())...)
	go func() {
		defer close(m.done)
		for {
			fetches := m.client.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) { m.Read(r.Value) })
			m.client.AllowRebalance()
		}
	}()
	return m
}

func (m *member) close() {
	m.client.CloseAllowingRebalance()
	<-m.done
}

func rebalance(ctx context.Context, balancer kgo.GroupBalancer) {
	topic, group := create(ctx, "group", 4, nil), Unique("group")
	sent := numbered(topic, 400)
	produce(ctx, sent)
	first := join(group, topic, kgo.Balancers(balancer))
	Until("the first has all", func() bool { return first.Partitions() == 4 && len(first.Records()) == 400 })
	second := join(group, topic, kgo.Balancers(balancer))
	Until("each has two", func() bool { return first.Partitions() == 2 && second.Partitions() == 2 })
	more := numbered(topic, 400)
	produce(ctx, more)
	Until("all is consumed", func() bool { return len(first.Records())+len(second.Records()) >= 800 })
	first.close()
	Until("the second has all", func() bool { return second.Partitions() == 4 })
	second.close()
	Same(Sorted(append(values(sent), values(more)...)), Sorted(append(first.Records(), second.Records()...)), "each record once")
}

func staticMembers(ctx context.Context) {
	topic, group := create(ctx, "static", 4, nil), Unique("static")
	a, b := join(group, topic, kgo.InstanceID("a")), join(group, topic, kgo.InstanceID("b"))
	Until("each has two", func() bool { return a.Partitions() == 2 && b.Partitions() == 2 })
	a.close()
	time.Sleep(1500 * time.Millisecond)
	Same(2, b.Partitions(), "partitions of the other after a static member has closed")
	again := join(group, topic, kgo.InstanceID("a"))
	Until("it has its partitions again", func() bool { return again.Partitions() == 2 })
	left := Must(admin().LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("a")))
	Ok(left.Error())
	Until("the other has all", func() bool { return b.Partitions() == 4 })
	again.close()
	b.close()
}

func groupAdmin(ctx context.Context) {
	topic, group := create(ctx, "group-admin", 2, nil), Unique("group-admin")
	m := join(group, topic, kgo.ClientID("the-client"), kgo.Balancers(kgo.RangeBalancer()))
	Until("assigned", func() bool { return m.Partitions() == 2 })
	described := Must(admin().DescribeGroups(ctx, group))[group]
	Same("Stable range consumer the-client", fmt.Sprint(described.State, " ", described.Protocol, " ", described.ProtocolType, " ", described.Members[0].ClientID), "described")
	listed := Must(admin().ListGroups(ctx, "Stable"))
	Check(listed[group].Group == group, "listed")
	Refused(kerr.NonEmptyGroup, Must(admin().DeleteGroups(ctx, group)).Error())
	m.close()
	Until("empty", func() bool { return Must(admin().DescribeGroups(ctx, group))[group].State == "Empty" })
	Ok(Must(admin().DeleteGroups(ctx, group)).Error())
	Refused(kerr.GroupIDNotFound, Must(admin().DeleteGroups(ctx, group)).Error())
	Same("Dead", Must(admin().DescribeGroups(ctx, group))[group].State, "state of a group that isn't there")
}

func alterConfigs(ctx context.Context) {
	topic := create(ctx, "alter-configs", 1, nil)
	alter := func(op kadm.IncrementalOp, name, value string) error {
		answers, err := admin().AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: op, Name: name, Value: &value}}, topic)
		Ok(err)
		return answers[0].Err
	}
	told := func() string {
		found := Must(Must(admin().DescribeTopicConfigs(ctx, topic)).On(topic, nil))
		for _, config := range found.Configs {
			if config.Key == "retention.ms" {
				return fmt.Sprint(config.MaybeValue(), " ", config.Source)
			}
		}
		return "none"
	}
	Same("604800000 DEFAULT_CONFIG", told(), "retention.ms")
	Ok(alter(kadm.SetConfig, "retention.ms", "1234567"))
	Until("it is told", func() bool { return told() == "1234567 DYNAMIC_TOPIC_CONFIG" })
	Ok(alter(kadm.DeleteConfig, "retention.ms", ""))
	Until("the default is told", func() bool { return told() == "604800000 DEFAULT_CONFIG" })
	Refused(kerr.InvalidConfig, alter(kadm.SetConfig, "no.such.config", "1"))
}

func leaderEpochs(ctx context.Context) {
	topic := create(ctx, "epochs", 1, nil)
	produce(ctx, numbered(topic, 10))
	var ask kadm.OffsetForLeaderEpochRequest
	ask.Add(topic, 0, 0)
	found := Must(admin().OffetForLeaderEpoch(ctx, ask))[topic][0]
	Ok(found.Err)
	Same("0 10", fmt.Sprint(found.LeaderEpoch, " ", found.EndOffset), "end of epoch 0")
}

func logDirs(ctx context.Context) {
	topic := create(ctx, "dirs", 1, nil)
	produce(ctx, numbered(topic, 10))
	found := 0
	Must(admin().DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}}})).Each(func(dir kadm.DescribedLogDir) {
		Ok(dir.Err)
		if partition, ok := dir.Topics.Lookup(topic, 0); ok && partition.Size > 0 {
			found++
		}
	})
	Same(1, found, "folders that hold the partition")
}

func restart(ctx context.Context) {
	topic, group := create(ctx, "restart", 1, nil), Unique("restart")
	m := join(group, topic)
	before, after := numbered(topic, 200), numbered(topic, 200)
	client := newClient()
	defer client.Close()
	Ok(client.ProduceSync(ctx, before...).FirstErr())
	Until("the first half is consumed", func() bool { return len(m.Records()) == 200 })
	Restart()
	Ok(client.ProduceSync(ctx, after...).FirstErr())
	sent := append(values(before), values(after)...)
	Until("the second half is consumed", func() bool { return len(slices.Compact(Sorted(m.Records()))) == 400 })
	m.close()
	Same(sent, values(read(ctx, topic)), "records in the log")
}

// What the cases are made of.

func newClient(options ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{
		kgo.SeedBrokers(Bootstrap), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RecordDeliveryTimeout(60 * time.Second),
	}, options...)
	return Must(kgo.NewClient(all...))
}

var admin = sync.OnceValue(func() *kadm.Client { return kadm.NewClient(newClient()) })

func create(ctx context.Context, about string, partitions int32, configs map[string]string) string {
	topic := Unique(about)
	pointers := map[string]*string{}
	for name, value := range configs {
		pointers[name] = &value
	}
	_, err := admin().CreateTopic(ctx, partitions, 1, pointers, topic)
	Ok(err)
	Until("the topic is there", func() bool { return Must(admin().ListTopics(ctx)).Has(topic) })
	return topic
}

func numbered(topic string, count int) []*kgo.Record {
	var records []*kgo.Record
	for _, value := range Numbered(count) {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	return records
}

func produced(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) error {
	client := newClient(options...)
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func produce(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) {
	Ok(produced(ctx, records, options...))
}

// read returns everything that is in a topic now.
func read(ctx context.Context, topic string) []*kgo.Record {
	left := int64(0)
	ends, starts := Must(admin().ListEndOffsets(ctx, topic)), Must(admin().ListStartOffsets(ctx, topic))
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		left += end.Offset - start.Offset
	})
	client := newClient(kgo.ConsumeTopics(topic))
	defer client.Close()
	var records []*kgo.Record
	for int64(len(records)) < left {
		fetches := client.PollFetches(ctx)
		Ok(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

func consuming(topic string, partition int32, at kgo.Offset) kgo.Opt {
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: at}})
}

func one(ctx context.Context, client *kgo.Client) *kgo.Record {
	for {
		fetches := client.PollFetches(ctx)
		Ok(fetches.Err())
		if records := fetches.Records(); len(records) > 0 {
			return records[0]
		}
	}
}

func values(records []*kgo.Record) []string {
	var values []string
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	return values
}
