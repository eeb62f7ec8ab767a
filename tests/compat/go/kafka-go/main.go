// The cases of segmentio/kafka-go: a writer and a reader with a protocol of their own, and a client that has one call for each API.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	. "millstream/compat/cases"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

var (
	address = kafka.TCP(Bootstrap)
	client  = &kafka.Client{Addr: address, Transport: transport, Timeout: 30 * time.Second}
	// What it knows of topics is asked for again soon: the cases make their topics as they go.
	transport = &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
)

func main() {
	// A request for the controller fails at once while none is known.
	Until("a controller is known", func() bool {
		found, err := client.Metadata(context.Background(), &kafka.MetadataRequest{})
		return err == nil && found.Controller.Host != ""
	})
	tests := []Test{{"topics", topics}, {"create-partitions", createPartitions}}
	for name, codec := range map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd} {
		tests = append(tests, Test{"codec-" + name, func(ctx context.Context) { codecRoundTrip(ctx, codec) }})
	}
	Run(append(tests, []Test{
		{"headers", headers},
		{"keys", keys},
		{"acks", acks},
		{"big-records", bigRecords},
		{"seek", seek},
		{"list-offsets", listOffsets},
		{"commits", commits},
		{"reader-commits", readerCommits},
		{"group-rebalance", rebalance},
		{"group-admin", groupAdmin},
		{"configs", configs},
		{"acls", acls},
		{"quotas", quotas},
		{"transaction-records", transactionRecords},
		{"transaction-offsets", transactionOffsets},
		{"transaction-fenced", transactionFenced},
		{"restart", restart},
	}...))
}

func topics(ctx context.Context) {
	topic := create(ctx, "topics", 3, kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: "3600000"})
	same := Must(client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}}))
	Same(3, len(same.Topics[0].Partitions), "partitions")
	Same(Bootstrap, fmt.Sprintf("%s:%d", same.Brokers[0].Host, same.Brokers[0].Port), "address")
	for name, expected := range map[string]error{topic: kafka.TopicAlreadyExists, "no/slash": kafka.InvalidTopic} {
		Refused(expected, created(ctx, kafka.TopicConfig{Topic: name, NumPartitions: 1, ReplicationFactor: 1}))
	}
	wrong := []kafka.ConfigEntry{{ConfigName: "no.such.config", ConfigValue: "1"}}
	Refused(kafka.InvalidConfiguration, created(ctx, kafka.TopicConfig{Topic: Unique("bad"), NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: wrong}))
	remove := func() error {
		return Must(client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})).Errors[topic]
	}
	Ok(remove())
	Until("the topic is gone", func() bool { return partitions(ctx, topic) == 0 })
	Refused(kafka.UnknownTopicOrPartition, remove())
}

func createPartitions(ctx context.Context) {
	topic := create(ctx, "grows", 1)
	grow := func(count int32) error {
		asked := []kafka.TopicPartitionsConfig{{Name: topic, Count: count}}
		return Must(client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: asked})).Errors[topic]
	}
	Ok(grow(3))
	Until("3 partitions", func() bool { return partitions(ctx, topic) == 3 })
	Refused(kafka.InvalidPartitionNumber, grow(2))
	Ok(written(ctx, topic, messages(Numbered(30)), func(w *kafka.Writer) { w.Balancer, w.BatchSize = &kafka.RoundRobin{}, 1 }))
	for partition := range 3 {
		Same(10, len(read(ctx, topic, partition)), "records in a partition")
	}
}

func codecRoundTrip(ctx context.Context, codec kafka.Compression) {
	topic, sent := create(ctx, "codec", 1), Numbered(500)
	Ok(written(ctx, topic, messages(sent), func(w *kafka.Writer) { w.Compression = codec }))
	Same(sent, values(read(ctx, topic, 0)), "records")
}

func headers(ctx context.Context) {
	topic := create(ctx, "headers", 1)
	sent := []kafka.Header{{Key: "twice", Value: []byte("1")}, {Key: "twice", Value: []byte("2")}, {Key: "empty", Value: []byte{}}, {Key: "ключ", Value: []byte{0, 255}}}
	Ok(written(ctx, topic, []kafka.Message{{Value: []byte("v"), Headers: sent}}))
	Same(sent, read(ctx, topic, 0)[0].Headers, "headers")
}

func keys(ctx context.Context) {
	topic := create(ctx, "keys", 3)
	sent := messages(Numbered(30))
	for i := range sent {
		sent[i].Key = fmt.Appendf(nil, "key-%d", i%10)
	}
	Ok(written(ctx, topic, append(sent, kafka.Message{Key: []byte("gone")}), func(w *kafka.Writer) { w.Balancer = &kafka.Murmur2Balancer{} }))
	seen := map[string]int{}
	for partition := range 3 {
		for _, m := range read(ctx, topic, partition) {
			before, known := seen[string(m.Key)]
			Check(!known || before == partition, "a key is in two partitions")
			seen[string(m.Key)] = partition
			Check((string(m.Key) == "gone") == (m.Value == nil), "a null value comes back as one")
		}
	}
	Same(11, len(seen), "keys")
}

func acks(ctx context.Context) {
	for _, level := range []kafka.RequiredAcks{kafka.RequireNone, kafka.RequireOne, kafka.RequireAll} {
		topic := create(ctx, "acks", 1)
		Ok(written(ctx, topic, messages(Numbered(100)), func(w *kafka.Writer) { w.RequiredAcks = level }))
		Until(fmt.Sprint("100 records with acks ", level), func() bool { return offset(ctx, topic, kafka.LastOffsetOf(0)) == 100 })
	}
}

func bigRecords(ctx context.Context) {
	topic := create(ctx, "big", 1)
	wide := func(w *kafka.Writer) { w.BatchBytes = 20_000_000 }
	fits := Noise(Limit - 75)
	Ok(written(ctx, topic, []kafka.Message{{Value: fits}}, wide))
	for _, size := range []int{Limit, 10_000_000} {
		Refused(kafka.MessageSizeTooLarge, written(ctx, topic, []kafka.Message{{Value: Noise(size)}}, wide))
	}
	found := read(ctx, topic, 0)
	Check(len(found) == 1 && bytes.Equal(fits, found[0].Value), "the record at the limit comes back")
}

func seek(ctx context.Context) {
	topic, base := timed(ctx)
	reader := newReader(topic, 0)
	defer reader.Close()
	at := func(move error) int64 {
		Ok(move)
		return Must(reader.ReadMessage(ctx)).Offset
	}
	Same(int64(42), at(reader.SetOffset(42)), "an offset")
	Same(int64(0), at(reader.SetOffset(kafka.FirstOffset)), "the first")
	Same(int64(55), at(reader.SetOffsetAt(ctx, base.Add(5401*time.Millisecond))), "a time")
	Ok(reader.SetOffset(kafka.LastOffset))
	// Where the end is the reader finds out in its own time.
	ended := make(chan kafka.Message, 1)
	go func() {
		m, _ := reader.ReadMessage(ctx)
		ended <- m
	}()
	Until("a record that came after the end was sought", func() bool {
		Ok(written(ctx, topic, messages([]string{"later"})))
		return len(ended) == 1
	})
	Same("later", string((<-ended).Value), "the record at the end")
}

func listOffsets(ctx context.Context) {
	topic, base := timed(ctx)
	Same(int64(0), offset(ctx, topic, kafka.FirstOffsetOf(0)), "first")
	Same(int64(100), offset(ctx, topic, kafka.LastOffsetOf(0)), "last")
	Same(int64(55), offset(ctx, topic, kafka.TimeOffsetOf(0, base.Add(5401*time.Millisecond))), "by time")
	Same(int64(-1), offset(ctx, topic, kafka.TimeOffsetOf(0, base.Add(time.Hour))), "by a time that is to come")
	asked := map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(7)}}
	found := Must(client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: asked}))
	Refused(kafka.UnknownTopicOrPartition, found.Topics[topic][0].Error)
}

func commits(ctx context.Context) {
	topic, group := create(ctx, "commits", 1), Unique("commits")
	Ok(written(ctx, topic, messages(Numbered(20))))
	Same("-1 ", committed(ctx, group, topic), "before anything is committed")
	offsets := map[string][]kafka.OffsetCommit{topic: {{Offset: 7, Metadata: "a note"}}}
	asked := &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: offsets}
	Ok(again(func() error { return Must(client.OffsetCommit(ctx, asked)).Topics[topic][0].Error }))
	Same("7 a note", committed(ctx, group, topic), "committed")
	asked.GenerationID, asked.MemberID = 3, "nobody"
	Refused(kafka.UnknownMemberId, Must(client.OffsetCommit(ctx, asked)).Topics[topic][0].Error)
	deleted := Must(client.OffsetDelete(ctx, &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {0}}}))
	Ok(deleted.Topics[topic][0].Error)
	Same("-1 ", committed(ctx, group, topic), "after it is deleted")
}

func readerCommits(ctx context.Context) {
	topic, group, sent := create(ctx, "reader", 2), Unique("reader"), Numbered(40)
	Ok(written(ctx, topic, messages(sent[:20])))
	var found []string
	for half := range 2 {
		reader := kafka.NewReader(inGroup(group, topic))
		for range 20 {
			m := Must(reader.FetchMessage(ctx))
			found = append(found, string(m.Value))
			Ok(reader.CommitMessages(ctx, m))
		}
		Ok(reader.Close())
		if half == 0 {
			Ok(written(ctx, topic, messages(sent[20:])))
		}
	}
	Same(Sorted(sent), Sorted(found), "each record once")
}

func rebalance(ctx context.Context) {
	topic, group, sent := create(ctx, "group", 4), Unique("group"), Numbered(800)
	Ok(written(ctx, topic, messages(sent[:400])))
	first := join(group, topic)
	Until("the first has all", func() bool { return first.Partitions() == 4 && len(first.Records()) == 400 })
	second := join(group, topic)
	Until("each has two", func() bool { return first.Partitions() == 2 && second.Partitions() == 2 })
	Ok(written(ctx, topic, messages(sent[400:])))
	all := func() []string { return slices.Compact(Sorted(append(first.Records(), second.Records()...))) }
	Until("all is consumed", func() bool { return len(all()) == 800 })
	first.close()
	Until("the second has all", func() bool { return second.Partitions() == 4 })
	second.close()
	Same(Sorted(sent), all(), "records")
}

func groupAdmin(ctx context.Context) {
	topic, group := create(ctx, "group-admin", 2), Unique("group-admin")
	m := join(group, topic)
	describe := func() kafka.DescribeGroupsResponseGroup {
		return Must(client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})).Groups[0]
	}
	remove := func() error {
		return Must(client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})).Errors[group]
	}
	Until("assigned", func() bool { return m.Partitions() == 2 })
	Until("stable", func() bool { return describe().GroupState == "Stable" })
	members := describe().Members
	Same("1 [0 1]", fmt.Sprint(len(members), " ", members[0].MemberAssignments.Topics[0].Partitions), "members and what one has")
	listed := Must(client.ListGroups(ctx, &kafka.ListGroupsRequest{})).Groups
	Check(slices.ContainsFunc(listed, func(g kafka.ListGroupsResponseGroup) bool { return g.GroupID == group }), "listed")
	Refused(kafka.NonEmptyGroup, remove())
	m.close()
	Until("empty", func() bool { return describe().GroupState == "Empty" })
	Ok(remove())
	Refused(kafka.GroupIdNotFound, remove())
}

func configs(ctx context.Context) {
	topic := create(ctx, "configs", 1)
	told := func() string {
		asked := []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}
		found := Must(client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: asked})).Resources[0]
		Ok(found.Error)
		return fmt.Sprint(found.ConfigEntries[0].ConfigValue, " ", found.ConfigEntries[0].ConfigSource)
	}
	alter := func(name, value string, operation kafka.ConfigOperation) error {
		changes := []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: operation}}
		asked := []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: changes}}
		return Must(client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: asked})).Resources[0].Error
	}
	Same("604800000 5", told(), "the default")
	Ok(alter("retention.ms", "1234567", kafka.ConfigOperationSet))
	Until("it is told", func() bool { return told() == "1234567 1" })
	Ok(alter("retention.ms", "", kafka.ConfigOperationDelete))
	Until("the default is told", func() bool { return told() == "604800000 5" })
	Refused(kafka.InvalidConfiguration, alter("no.such.config", "1", kafka.ConfigOperationSet))
}

func acls(ctx context.Context) {
	resource := Unique("acl")
	entry := kafka.ACLEntry{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: resource, ResourcePatternType: kafka.PatternTypeLiteral, Principal: "User:alice", Host: "*",
		Operation: kafka.ACLOperationTypeRead, PermissionType: kafka.ACLPermissionTypeAllow,
	}
	Ok(Must(client.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{entry}})).Errors[0])
	filter := kafka.ACLFilter{
		ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: resource, ResourcePatternTypeFilter: kafka.PatternTypeAny,
		Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny,
	}
	count := func() int {
		found := Must(client.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: filter}))
		Ok(found.Error)
		return len(found.Resources)
	}
	Until("it is told", func() bool { return count() == 1 })
	deleted := Must(client.DeleteACLs(ctx, &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{kafka.DeleteACLsFilter(filter)}})).Results[0]
	Ok(deleted.Error)
	Same("User:alice", deleted.MatchingACLs[0].Principal, "whose was deleted")
	Until("none is left", func() bool { return count() == 0 })
}

func quotas(ctx context.Context) {
	user := Unique("user")
	alter := func(ops kafka.AlterClientQuotaOps) {
		entries := []kafka.AlterClientQuotaEntry{{Entities: []kafka.AlterClientQuotaEntity{{EntityType: "user", EntityName: user}}, Ops: []kafka.AlterClientQuotaOps{ops}}}
		Ok(Must(client.AlterClientQuotas(ctx, &kafka.AlterClientQuotasRequest{Entries: entries})).Entries[0].Error)
	}
	told := func() string {
		asked := []kafka.DescribeClientQuotasRequestComponent{{EntityType: "user", Match: user}}
		found := Must(client.DescribeClientQuotas(ctx, &kafka.DescribeClientQuotasRequest{Components: asked, Strict: true}))
		Ok(found.Error)
		if len(found.Entries) == 0 {
			return "none"
		}
		return fmt.Sprint(found.Entries[0].Values)
	}
	alter(kafka.AlterClientQuotaOps{Key: "producer_byte_rate", Value: 5e6})
	Until("it is told", func() bool { return told() == "[{producer_byte_rate 5e+06}]" })
	alter(kafka.AlterClientQuotaOps{Key: "producer_byte_rate", Remove: true})
	Until("it is gone", func() bool { return told() == "none" })
}

// transaction is what a client keeps of one.
type transaction struct {
	id       string
	producer *kafka.ProducerSession
}

func begin(ctx context.Context, id string) transaction {
	var found *kafka.InitProducerIDResponse
	Ok(again(func() error {
		found = Must(client.InitProducerID(ctx, &kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 30_000, ProducerID: -1, ProducerEpoch: -1}))
		return found.Error
	}))
	return transaction{id, found.Producer}
}

// write adds records to the transaction. The client has no call that gives them a producer's number, so they are encoded here.
func (t transaction) write(ctx context.Context, topic string, sequence int32, values []string) error {
	err := again(func() error {
		asked := map[string][]kafka.AddPartitionToTxn{topic: {{Partition: 0}}}
		return Must(client.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{
			TransactionalID: t.id, ProducerID: t.producer.ProducerID, ProducerEpoch: t.producer.ProducerEpoch, Topics: asked,
		})).Topics[topic][0].Error
	})
	if err != nil {
		return err
	}
	var records []protocol.Record
	for _, value := range values {
		records = append(records, protocol.Record{Time: time.Now(), Value: protocol.NewBytes([]byte(value))})
	}
	var encoded bytes.Buffer
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Transactional, Records: protocol.NewRecordReader(records...)}
	Must(set.WriteTo(&encoded))
	// The set's length stands before it; the checksum covers what is behind itself.
	batch := encoded.Bytes()[4:]
	binary.BigEndian.PutUint64(batch[43:], uint64(t.producer.ProducerID))
	binary.BigEndian.PutUint16(batch[51:], uint16(t.producer.ProducerEpoch))
	binary.BigEndian.PutUint32(batch[53:], uint32(sequence))
	binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli)))
	return again(func() error {
		return Must(client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic: topic, RequiredAcks: kafka.RequireAll, TransactionalID: t.id, RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(encoded.Bytes())},
		})).Error
	})
}

func (t transaction) end(ctx context.Context, commit bool) error {
	return Must(client.EndTxn(ctx, &kafka.EndTxnRequest{
		TransactionalID: t.id, ProducerID: t.producer.ProducerID, ProducerEpoch: t.producer.ProducerEpoch, Committed: commit,
	})).Error
}

// The reader gives out the markers too, and at neither level does it leave out what is aborted; what is undecided the broker keeps back.
func transactionRecords(ctx context.Context) {
	topic, sent := create(ctx, "transaction", 1), Numbered(30)
	t := begin(ctx, Unique("transaction"))
	for i, commit := range []bool{true, false, true} {
		Ok(t.write(ctx, topic, int32(10*i), sent[10*i:10*i+10]))
		Same(11*i+10, offsetAt(ctx, topic, kafka.LastOffsetOf(0), kafka.ReadUncommitted), "the end while it is open")
		Same(11*i, offsetAt(ctx, topic, kafka.LastOffsetOf(0), kafka.ReadCommitted), "the end of what is decided")
		Ok(t.end(ctx, commit))
		Until("it is decided", func() bool { return offsetAt(ctx, topic, kafka.LastOffsetOf(0), kafka.ReadCommitted) == int64(11*i+11) })
	}
	found := read(ctx, topic, 0)
	for i, kind := range [][]byte{{0, 0, 0, 1}, {0, 0, 0, 0}, {0, 0, 0, 1}} {
		Same(sent[10*i:10*i+10], values(found[11*i:11*i+10]), "records")
		Same(kind, found[11*i+10].Key, "a marker")
	}
}

func transactionOffsets(ctx context.Context) {
	topic, group := create(ctx, "transaction", 1), Unique("transaction")
	t := begin(ctx, Unique("transaction"))
	for _, c := range []struct {
		commit   bool
		offset   int64
		expected string
	}{{true, 1, "1 "}, {false, 2, "1 "}, {true, 3, "3 "}} {
		Ok(again(func() error {
			return Must(client.AddOffsetsToTxn(ctx, &kafka.AddOffsetsToTxnRequest{
				TransactionalID: t.id, ProducerID: t.producer.ProducerID, ProducerEpoch: t.producer.ProducerEpoch, GroupID: group,
			})).Error
		}))
		Ok(again(func() error {
			return Must(client.TxnOffsetCommit(ctx, &kafka.TxnOffsetCommitRequest{
				TransactionalID: t.id, GroupID: group, ProducerID: t.producer.ProducerID, ProducerEpoch: t.producer.ProducerEpoch, GenerationID: -1,
				Topics: map[string][]kafka.TxnOffsetCommit{topic: {{Offset: c.offset}}},
			})).Topics[topic][0].Error
		}))
		Ok(t.end(ctx, c.commit))
		Until("what is committed is told", func() bool { return committed(ctx, group, topic) == c.expected })
	}
}

func transactionFenced(ctx context.Context) {
	topic, id := create(ctx, "transaction", 1), Unique("transaction")
	first := begin(ctx, id)
	sent := Numbered(10)
	Ok(first.write(ctx, topic, 0, sent[:5]))
	second := begin(ctx, id)
	Same(first.producer.ProducerID, second.producer.ProducerID, "the producer's number")
	Check(second.producer.ProducerEpoch > first.producer.ProducerEpoch, "its epoch is newer")
	err := first.end(ctx, true)
	Check(errors.Is(err, kafka.ProducerFenced) || errors.Is(err, kafka.InvalidProducerEpoch), fmt.Sprint("the first is fenced: ", err))
	Ok(second.write(ctx, topic, 0, sent[5:]))
	Ok(second.end(ctx, true))
	Until("it is decided", func() bool { return offset(ctx, topic, kafka.LastOffsetOf(0)) == 12 })
	found := values(read(ctx, topic, 0))
	Same(sent, slices.Concat(found[:5], found[6:11]), "what both wrote")
}

// A writer without numbers may write a batch twice where the answer was lost with the broker; nothing else may differ.
func restart(ctx context.Context) {
	topic, group, sent := create(ctx, "restart", 1), Unique("restart"), Numbered(400)
	m := join(group, topic)
	writer := newWriter(topic)
	defer writer.Close()
	Ok(writer.WriteMessages(ctx, messages(sent[:200])...))
	Until("the first half is consumed", func() bool { return len(m.Records()) == 200 })
	Restart()
	Ok(writer.WriteMessages(ctx, messages(sent[200:])...))
	Until("the second half is consumed", func() bool { return len(slices.Compact(Sorted(m.Records()))) == 400 })
	m.close()
	Same(sent, slices.Compact(values(read(ctx, topic, 0))), "records in the log")
}

// What the cases are made of.

// again asks until the answer is another than one that passes: the client leaves that to whoever uses it.
func again(ask func() error) error {
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := ask()
		var told kafka.Error
		passes := errors.As(err, &told) && (told.Temporary() || told == kafka.ConcurrentTransactions)
		if !passes || time.Now().After(deadline) {
			return err
		}
	}
}

func created(ctx context.Context, topic kafka.TopicConfig) error {
	return Must(client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})).Errors[topic.Topic]
}

func create(ctx context.Context, about string, count int, configs ...kafka.ConfigEntry) string {
	topic := Unique(about)
	Ok(created(ctx, kafka.TopicConfig{Topic: topic, NumPartitions: count, ReplicationFactor: 1, ConfigEntries: configs}))
	Until("the topic is there", func() bool { return partitions(ctx, topic) == count })
	return topic
}

func partitions(ctx context.Context, topic string) int {
	found := Must(client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}}))
	return len(found.Topics[0].Partitions)
}

// timed creates a topic with 100 records, a tenth of a second between two, and returns the first one's time too.
func timed(ctx context.Context) (string, time.Time) {
	topic, base := create(ctx, "timed", 1), time.Now().Add(-10*time.Second).Truncate(time.Millisecond)
	sent := messages(Numbered(100))
	for i := range sent {
		sent[i].Time = base.Add(time.Duration(i) * 100 * time.Millisecond)
	}
	Ok(written(ctx, topic, sent))
	return topic, base
}

func messages(values []string) []kafka.Message {
	var made []kafka.Message
	for _, value := range values {
		made = append(made, kafka.Message{Value: []byte(value)})
	}
	return made
}

func newWriter(topic string) *kafka.Writer {
	return &kafka.Writer{Addr: address, Topic: topic, BatchTimeout: 10 * time.Millisecond, RequiredAcks: kafka.RequireAll, Transport: transport}
}

func written(ctx context.Context, topic string, sent []kafka.Message, change ...func(*kafka.Writer)) error {
	writer := newWriter(topic)
	defer writer.Close()
	for _, c := range change {
		c(writer)
	}
	err := writer.WriteMessages(ctx, sent...)
	if each, ok := err.(kafka.WriteErrors); ok {
		return errors.Join(each...)
	}
	return err
}

func offset(ctx context.Context, topic string, which kafka.OffsetRequest) int64 {
	return offsetAt(ctx, topic, which, kafka.ReadUncommitted)
}

func offsetAt(ctx context.Context, topic string, which kafka.OffsetRequest, level kafka.IsolationLevel) int64 {
	asked := map[string][]kafka.OffsetRequest{topic: {which}}
	found := Must(client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: asked, IsolationLevel: level})).Topics[topic][0]
	Ok(found.Error)
	switch which.Timestamp {
	case kafka.FirstOffset:
		return found.FirstOffset
	case kafka.LastOffset:
		return found.LastOffset
	}
	for at := range found.Offsets {
		return at
	}
	return -1
}

func committed(ctx context.Context, group, topic string) string {
	var found *kafka.OffsetFetchResponse
	Ok(again(func() error {
		found = Must(client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}}))
		if found.Error != nil {
			return found.Error
		}
		return found.Topics[topic][0].Error
	}))
	return fmt.Sprint(found.Topics[topic][0].CommittedOffset, " ", found.Topics[topic][0].Metadata)
}

func inGroup(group, topic string) kafka.ReaderConfig {
	return kafka.ReaderConfig{Brokers: []string{Bootstrap}, GroupID: group, Topic: topic, MaxWait: 200 * time.Millisecond, StartOffset: kafka.FirstOffset}
}

func newReader(topic string, partition int) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{Bootstrap}, Topic: topic, Partition: partition, MaxWait: 200 * time.Millisecond})
}

// read returns everything that is in a partition now.
func read(ctx context.Context, topic string, partition int) []kafka.Message {
	reader := newReader(topic, partition)
	defer reader.Close()
	var found []kafka.Message
	for end := offset(ctx, topic, kafka.LastOffsetOf(partition)); int64(len(found)) < end; {
		found = append(found, Must(reader.ReadMessage(ctx)))
	}
	return found
}

func values(found []kafka.Message) []string {
	var values []string
	for _, m := range found {
		values = append(values, string(m.Value))
	}
	return values
}

// member consumes in a goroutine of its own, generation after generation.
type member struct {
	Member
	group *kafka.ConsumerGroup
}

func join(group, topic string) *member {
	m := &member{group: Must(kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{Bootstrap}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: 10 * time.Second, JoinGroupBackoff: 500 * time.Millisecond,
	}))}
	go func() {
		for {
			generation, err := m.group.Next(context.Background())
			if errors.Is(err, kafka.ErrGroupClosed) {
				return
			} else if err != nil {
				continue
			}
			assigned := generation.Assignments[topic]
			m.Assign(len(assigned))
			for _, one := range assigned {
				generation.Start(func(ctx context.Context) { m.consume(ctx, generation, topic, one) })
			}
		}
	}()
	return m
}

func (m *member) consume(ctx context.Context, generation *kafka.Generation, topic string, assigned kafka.PartitionAssignment) {
	reader := newReader(topic, assigned.ID)
	defer reader.Close()
	if err := reader.SetOffset(assigned.Offset); err != nil {
		return
	}
	for {
		found, err := reader.ReadMessage(ctx)
		if err != nil {
			return
		}
		m.Read(found.Value)
		// A commit that comes too late for its generation is made again by the next one, which reads those records once more.
		_ = generation.CommitOffsets(map[string]map[int]int64{topic: {assigned.ID: found.Offset + 1}})
	}
}

func (m *member) close() { Ok(m.group.Close()) }
