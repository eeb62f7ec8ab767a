// The cases of Sarama, whose cluster admin has a call for most of what an administrator asks of a broker.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "millstream/compat/cases"

	"github.com/IBM/sarama"
)

// change is what a case wants of a client's configuration.
type change = func(*sarama.Config)

func main() {
	tests := []Test{{"topics", topics}, {"create-partitions", createPartitions}, {"cluster", cluster}}
	for name, codec := range map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	} {
		tests = append(tests, Test{"codec-" + name, func(context.Context) { codecRoundTrip(codec) }})
	}
	Run(append(tests, []Test{
		{"headers", headers},
		{"keys", keys},
		{"timestamps", timestamps},
		{"acks", acks},
		{"big-records", bigRecords},
		{"idempotence", idempotence},
		{"seek", seek},
		{"offset-out-of-range", offsetOutOfRange},
		{"list-offsets", listOffsets},
		{"delete-records", deleteRecords},
		{"offset-manager", offsetManager},
		{"group-rebalance", func(ctx context.Context) { rebalance(ctx, sarama.NewBalanceStrategyRange()) }},
		{"sticky-rebalance", func(ctx context.Context) { rebalance(ctx, sarama.NewBalanceStrategySticky()) }},
		{"static-members", staticMembers},
		{"group-admin", groupAdmin},
		{"group-offsets", groupOffsets},
		{"topic-configs", topicConfigs},
		{"broker-configs", brokerConfigs},
		{"acls", acls},
		{"quotas", quotas},
		{"scram-credentials", scramCredentials},
		{"log-dirs", logDirs},
		{"elect-leaders", electLeaders},
		{"reassignments", reassignments},
		{"transaction-commit", func(ctx context.Context) { transaction(ctx, true) }},
		{"transaction-abort", func(ctx context.Context) { transaction(ctx, false) }},
		{"transaction-offsets", transactionOffsets},
		{"transaction-fenced", transactionFenced},
		{"idempotence-restart", idempotenceRestart},
		{"restart", restart},
	}...))
}

func topics(context.Context) {
	topic := create("topics", 3, map[string]string{"retention.ms": "3600000"})
	listed := Must(admin().ListTopics())[topic]
	Same("3 3600000", fmt.Sprint(listed.NumPartitions, " ", *listed.ConfigEntries["retention.ms"]), "partitions and retention.ms")
	described := Must(admin().DescribeTopics([]string{topic}))[0]
	Check(described.Uuid != sarama.Uuid{}, "a topic has an id")
	one := func(name string, configs map[string]*string) error {
		return admin().CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: configs}, false)
	}
	Refused(sarama.ErrTopicAlreadyExists, one(topic, nil))
	Refused(sarama.ErrInvalidTopic, one("no/slash", nil))
	wrong := "1"
	Refused(sarama.ErrInvalidConfig, one(Unique("bad"), map[string]*string{"no.such.config": &wrong}))
	Ok(admin().DeleteTopic(topic))
	Until("the topic is gone", func() bool { _, there := Must(admin().ListTopics())[topic]; return !there })
	Refused(sarama.ErrUnknownTopicOrPartition, admin().DeleteTopic(topic))
}

func createPartitions(context.Context) {
	topic := create("grows", 1, nil)
	Ok(admin().CreatePartitions(topic, 3, nil, false))
	Until("3 partitions", func() bool { return Must(admin().ListTopics())[topic].NumPartitions == 3 })
	Ok(produced([]*sarama.ProducerMessage{{Topic: topic, Partition: 2, Value: sarama.StringEncoder("v")}}, func(c *sarama.Config) {
		c.Producer.Partitioner = sarama.NewManualPartitioner
	}))
	Same([]string{"v"}, values(read(topic, 2)), "records")
	Refused(sarama.ErrInvalidPartitions, admin().CreatePartitions(topic, 2, nil, false))
}

func cluster(context.Context) {
	brokers, controller, err := admin().DescribeCluster()
	Ok(err)
	Same(fmt.Sprint(Bootstrap, " ", controller), fmt.Sprint(brokers[0].Addr(), " ", brokers[0].ID()), "the broker, which is the controller too")
	Same(Bootstrap, Must(admin().Coordinator("any")).Addr(), "a group's coordinator")
}

func codecRoundTrip(codec sarama.CompressionCodec) {
	topic, sent := create("codec", 1, nil), Numbered(500)
	Ok(produced(messages(topic, sent), func(c *sarama.Config) { c.Producer.Compression = codec }))
	Same(sent, values(read(topic, 0)), "records")
}

func headers(context.Context) {
	topic := create("headers", 1, nil)
	sent := []sarama.RecordHeader{{Key: []byte("twice"), Value: []byte("1")}, {Key: []byte("twice"), Value: []byte("2")}, {Key: []byte("null")}, {Key: []byte("ключ"), Value: []byte{0, 255}}}
	Ok(produced([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.StringEncoder("v"), Headers: sent}}))
	var found []sarama.RecordHeader
	for _, h := range read(topic, 0)[0].Headers {
		found = append(found, *h)
	}
	Same(sent, found, "headers")
}

func keys(context.Context) {
	topic := create("keys", 3, nil)
	sent := messages(topic, Numbered(30))
	for i, m := range sent {
		m.Key = sarama.StringEncoder(fmt.Sprintf("key-%d", i%10))
	}
	Ok(produced(append(sent, &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder{}})))
	seen := map[string]int32{}
	for partition := range int32(3) {
		for _, m := range read(topic, partition) {
			before, known := seen[string(m.Key)]
			Check(!known || before == partition, "a key is in two partitions")
			seen[string(m.Key)] = partition
			Check((len(m.Key) == 0) == (m.Value == nil), "an empty key with a null value")
		}
	}
	Same(11, len(seen), "keys")
}

func timestamps(context.Context) {
	hourAgo := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for kind, isSent := range map[string]bool{"CreateTime": true, "LogAppendTime": false} {
		topic := create("timestamps", 1, map[string]string{"message.timestamp.type": kind})
		Ok(produced([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.StringEncoder("v"), Timestamp: hourAgo}}))
		Same(isSent, read(topic, 0)[0].Timestamp.Equal(hourAgo), "the time is the sender's with "+kind)
	}
}

func acks(context.Context) {
	for _, level := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		topic := create("acks", 1, nil)
		Ok(produced(messages(topic, Numbered(100)), func(c *sarama.Config) { c.Producer.RequiredAcks = level }))
		Until(fmt.Sprint("100 records with acks ", level), func() bool { return offset(topic, 0, sarama.OffsetNewest) == 100 })
	}
}

func bigRecords(context.Context) {
	topic := create("big", 1, nil)
	send := func(value []byte) error {
		return produced([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(value)}}, func(c *sarama.Config) { c.Producer.MaxMessageBytes = 20_000_000 })
	}
	fits := Noise(Limit - 75)
	Ok(send(fits))
	for _, size := range []int{Limit, 10_000_000} {
		Refused(sarama.ErrMessageSizeTooLarge, send(Noise(size)))
	}
	found := read(topic, 0)
	Check(len(found) == 1 && bytes.Equal(fits, found[0].Value), "the record at the limit comes back")
}

func idempotence(context.Context) {
	topic, sent := create("idempotence", 1, nil), Numbered(3000)
	Ok(produced(messages(topic, sent), idempotent, func(c *sarama.Config) { c.Producer.Flush.MaxMessages = 10 }))
	Same(sent, values(read(topic, 0)), "records")
}

func seek(context.Context) {
	topic, base := timed()
	for asked, expected := range map[int64]int64{42: 42, sarama.OffsetOldest: 0, offset(topic, 0, base.UnixMilli()+5401): 55} {
		Same(expected, readFrom(topic, 0, asked, 1)[0].Offset, "offset")
	}
}

func offsetOutOfRange(context.Context) {
	topic := create("range", 1, nil)
	Ok(produced(messages(topic, Numbered(10))))
	consumer := Must(sarama.NewConsumer([]string{Bootstrap}, config()))
	defer consumer.Close()
	_, err := consumer.ConsumePartition(topic, 0, 11)
	Refused(sarama.ErrOffsetOutOfRange, err)
}

func listOffsets(context.Context) {
	topic, base := timed()
	for asked, expected := range map[int64]int64{sarama.OffsetOldest: 0, sarama.OffsetNewest: 100, base.UnixMilli() + 5401: 55, time.Now().Add(time.Hour).UnixMilli(): -1} {
		found := Must(admin().ListOffsets(map[string]map[int32]int64{topic: {0: asked}}, nil))[topic][0]
		Check(found.Err == nil || errors.Is(found.Err, sarama.ErrNoError), fmt.Sprint(found.Err))
		Same(expected, found.Offset, fmt.Sprint("offset for ", asked))
	}
}

func deleteRecords(context.Context) {
	topic := create("delete-records", 1, nil)
	Ok(produced(messages(topic, Numbered(100))))
	Ok(admin().DeleteRecords(topic, map[int32]int64{0: 30}))
	Same(30, offset(topic, 0, sarama.OffsetOldest), "the first offset")
	Same(30, read(topic, 0)[0].Offset, "the first record")
	Check(admin().DeleteRecords(topic, map[int32]int64{0: 101}) != nil, "what is not there yet can't be deleted")
}

func offsetManager(context.Context) {
	topic, group := create("offsets", 1, nil), Unique("offsets")
	Ok(produced(messages(topic, Numbered(20))))
	for _, expected := range []string{"-2 ", "7 a note"} {
		client := Must(sarama.NewClient([]string{Bootstrap}, config(func(c *sarama.Config) { c.Consumer.Offsets.Initial = sarama.OffsetOldest })))
		manager := Must(sarama.NewOffsetManagerFromClient(group, client))
		partition := Must(manager.ManagePartition(topic, 0))
		at, note := partition.NextOffset()
		Same(expected, fmt.Sprint(at, " ", note), "where to go on")
		partition.MarkOffset(7, "a note")
		manager.Commit()
		Ok(partition.Close())
		Ok(manager.Close())
		Ok(client.Close())
	}
	Same(7, committed(group, topic), "committed")
}

func rebalance(_ context.Context, strategy sarama.BalanceStrategy) {
	topic, group, sent := create("group", 4, nil), Unique("group"), Numbered(800)
	with := func(c *sarama.Config) {
		c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	}
	Ok(produced(messages(topic, sent[:400])))
	first := join(group, topic, with)
	Until("the first has all", func() bool { return first.Partitions() == 4 && len(first.Records()) == 400 })
	second := join(group, topic, with)
	Until("each has two", func() bool { return first.Partitions() == 2 && second.Partitions() == 2 })
	Ok(produced(messages(topic, sent[400:])))
	Until("all is consumed", func() bool { return len(first.Records())+len(second.Records()) >= 800 })
	first.close()
	Until("the second has all", func() bool { return second.Partitions() == 4 })
	second.close()
	Same(Sorted(sent), Sorted(append(first.Records(), second.Records()...)), "each record once")
}

func staticMembers(context.Context) {
	topic, group := create("static", 4, nil), Unique("static")
	static := func(id string) *member {
		return join(group, topic, func(c *sarama.Config) { c.Consumer.Group.InstanceId = id })
	}
	a, b := static("a"), static("b")
	Until("each has two", func() bool { return a.Partitions() == 2 && b.Partitions() == 2 })
	a.close()
	time.Sleep(1500 * time.Millisecond)
	Same(2, b.Partitions(), "partitions of the other after a static member has closed")
	a = static("a")
	Until("it has its partitions again", func() bool { return a.Partitions() == 2 })
	a.close()
	left := Must(admin().RemoveMemberFromConsumerGroup(group, []string{"a"}))
	Ok(kerror(left.Err))
	Same(1, len(left.Members), "who was removed")
	Until("the other has all", func() bool { return b.Partitions() == 4 })
	b.close()
}

func groupAdmin(context.Context) {
	topic, group := create("group-admin", 2, nil), Unique("group-admin")
	m := join(group, topic, func(c *sarama.Config) { c.ClientID = "the-client" })
	Until("assigned", func() bool { return m.Partitions() == 2 })
	describe := func() *sarama.GroupDescription { return Must(admin().DescribeConsumerGroups([]string{group}))[0] }
	described := describe()
	Same("Stable range consumer 1", fmt.Sprint(described.State, " ", described.Protocol, " ", described.ProtocolType, " ", len(described.Members)), "described")
	for _, one := range described.Members {
		Same("the-client map["+topic+":[0 1]]", fmt.Sprint(one.ClientId, " ", Must(one.GetMemberAssignment()).Topics), "the member")
	}
	Same("consumer", Must(admin().ListConsumerGroups())[group], "listed")
	Refused(sarama.ErrNonEmptyGroup, admin().DeleteConsumerGroup(group))
	m.close()
	Until("empty", func() bool { return describe().State == "Empty" })
	Ok(admin().DeleteConsumerGroup(group))
	Refused(sarama.ErrGroupIDNotFound, admin().DeleteConsumerGroup(group))
}

func groupOffsets(context.Context) {
	topic, group := create("group-offsets", 2, nil), Unique("group-offsets")
	Ok(produced(messages(topic, Numbered(20))))
	asked := map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 3, LeaderEpoch: -1}, 1: {Offset: 4, LeaderEpoch: -1}}}
	Must(admin().AlterConsumerGroupOffsets(group, asked, nil))
	Same(3, committed(group, topic), "altered")
	Same(2, len(Must(admin().ListConsumerGroupOffsets(group, nil)).Blocks[topic]), "partitions with offsets, where none is named")
	Ok(admin().DeleteConsumerGroupOffset(group, topic, 0))
	Same(-1, committed(group, topic), "deleted")
	Same(1, len(Must(admin().ListConsumerGroupOffsets(group, nil)).Blocks[topic]), "partitions with offsets after that")
	m := join(group, topic)
	Until("assigned", func() bool { return m.Partitions() == 2 })
	Refused(sarama.ErrGroupSubscribedToTopic, admin().DeleteConsumerGroupOffset(group, topic, 1))
	m.close()
}

func topicConfigs(context.Context) {
	topic := create("configs", 1, nil)
	told := func() string {
		found := Must(admin().DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}}))
		return fmt.Sprint(len(found), " ", found[0].Value, " ", found[0].Source)
	}
	alter := func(name, value string, operation sarama.IncrementalAlterConfigsOperation) error {
		return admin().IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{name: {Operation: operation, Value: &value}}, false)
	}
	Same("1 604800000 Default", told(), "the default")
	Ok(alter("retention.ms", "1234567", sarama.IncrementalAlterConfigsOperationSet))
	Until("it is told", func() bool { return told() == "1 1234567 Topic" })
	Ok(alter("retention.ms", "", sarama.IncrementalAlterConfigsOperationDelete))
	Until("the default is told", func() bool { return told() == "1 604800000 Default" })
	Check(alter("no.such.config", "1", sarama.IncrementalAlterConfigsOperationSet) != nil, "a config that isn't there is refused")
}

func brokerConfigs(context.Context) {
	brokers, _, err := admin().DescribeCluster()
	Ok(err)
	found := Must(admin().DescribeConfig(sarama.ConfigResource{Type: sarama.BrokerResource, Name: fmt.Sprint(brokers[0].ID()), ConfigNames: []string{"log.retention.hours"}}))
	Same("1 log.retention.hours 168 true", fmt.Sprint(len(found), " ", found[0].Name, " ", found[0].Value, " ", found[0].ReadOnly), "a broker's config")
}

func acls(context.Context) {
	name := Unique("acl")
	resource := sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: name, ResourcePatternType: sarama.AclPatternPrefixed}
	for _, operation := range []sarama.AclOperation{sarama.AclOperationRead, sarama.AclOperationWrite} {
		Ok(admin().CreateACL(resource, sarama.Acl{Principal: "User:alice", Host: "*", Operation: operation, PermissionType: sarama.AclPermissionAllow}))
	}
	filter := sarama.AclFilter{
		ResourceType: sarama.AclResourceTopic, ResourceName: &name, ResourcePatternTypeFilter: sarama.AclPatternAny,
		Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny,
	}
	count := func() (found int) {
		for _, one := range Must(admin().ListAcls(filter)) {
			found += len(one.Acls)
		}
		return found
	}
	Until("both are told", func() bool { return count() == 2 })
	filter.Operation = sarama.AclOperationWrite
	deleted := Must(admin().DeleteACL(filter, false))
	Same("1 User:alice", fmt.Sprint(len(deleted), " ", deleted[0].Principal), "what was deleted")
	filter.Operation = sarama.AclOperationAny
	Until("one is left", func() bool { return count() == 1 })
}

func quotas(context.Context) {
	user := Unique("user")
	entity := []sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityUser, MatchType: sarama.QuotaMatchExact, Name: user}}
	told := func() string {
		found := Must(admin().DescribeClientQuotas([]sarama.QuotaFilterComponent{{EntityType: sarama.QuotaEntityUser, MatchType: sarama.QuotaMatchExact, Match: user}}, true))
		if len(found) == 0 {
			return "none"
		}
		return fmt.Sprint(found[0].Values)
	}
	Ok(admin().AlterClientQuotas(entity, sarama.ClientQuotasOp{Key: "consumer_byte_rate", Value: 5e6}, false))
	Until("it is told", func() bool { return told() == "map[consumer_byte_rate:5e+06]" })
	Ok(admin().AlterClientQuotas(entity, sarama.ClientQuotasOp{Key: "consumer_byte_rate", Remove: true}, false))
	Until("it is gone", func() bool { return told() == "none" })
}

func scramCredentials(context.Context) {
	user := Unique("user")
	upsert := sarama.AlterUserScramCredentialsUpsert{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 4096, Salt: []byte("some salt"), Password: []byte("secret")}
	Ok(kerror(Must(admin().UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{upsert}))[0].ErrorCode))
	told := func() string {
		found := Must(admin().DescribeUserScramCredentials([]string{user}))[0]
		if found.ErrorCode != sarama.ErrNoError {
			return "none"
		}
		return fmt.Sprint(found.CredentialInfos[0].Mechanism, " ", found.CredentialInfos[0].Iterations)
	}
	Until("it is told", func() bool { return told() == "SCRAM-SHA-512 4096" })
	gone := []sarama.AlterUserScramCredentialsDelete{{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_512}}
	Ok(kerror(Must(admin().DeleteUserScramCredentials(gone))[0].ErrorCode))
	Until("it is gone", func() bool { return told() == "none" })
}

func logDirs(context.Context) {
	topic := create("dirs", 1, nil)
	Ok(produced(messages(topic, Numbered(10))))
	brokers, _, err := admin().DescribeCluster()
	Ok(err)
	found := 0
	for _, dir := range Must(admin().DescribeLogDirs([]int32{brokers[0].ID()}))[brokers[0].ID()] {
		for _, there := range dir.Topics {
			if there.Topic == topic && there.Partitions[0].Size > 0 {
				found++
			}
		}
	}
	Same(1, found, "folders that hold the partition")
}

func electLeaders(context.Context) {
	topic := create("elect", 1, nil)
	found := Must(admin().ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {0}}))[topic][0]
	Refused(sarama.ErrElectionNotNeeded, found.ErrorCode)
}

func reassignments(context.Context) {
	topic := create("reassign", 1, nil)
	brokers, _, err := admin().DescribeCluster()
	Ok(err)
	Ok(admin().AlterPartitionReassignments(topic, [][]int32{{brokers[0].ID()}}))
	Until("none is under way", func() bool { return len(Must(admin().ListPartitionReassignments(topic, []int32{0}))) == 0 })
	Check(admin().AlterPartitionReassignments(topic, [][]int32{{4711}}) != nil, "a broker that isn't there is refused")
}

func transaction(_ context.Context, commit bool) {
	topic, sent := create("transaction", 1, nil), Numbered(30)
	producer := transactional(Unique("transaction"))
	defer producer.Close()
	for i, committing := range []bool{true, commit, true} {
		Ok(producer.BeginTxn())
		Ok(producer.SendMessages(messages(topic, sent[10*i:10*i+10])))
		if committing {
			Ok(producer.CommitTxn())
		} else {
			Ok(producer.AbortTxn())
		}
	}
	expected := sent
	if !commit {
		expected = slices.Concat(sent[:10], sent[20:])
	}
	readCommitted := func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted }
	Same(expected, values(readFrom(topic, 0, 0, len(expected), readCommitted)), "read committed")
	Same(sent, values(readFrom(topic, 0, 0, 30)), "read uncommitted")
}

func transactionOffsets(context.Context) {
	topic, group := create("transaction", 1, nil), Unique("transaction")
	producer := transactional(Unique("transaction"))
	defer producer.Close()
	for i, expected := range []int64{1, 1, 3} {
		Ok(producer.BeginTxn())
		Ok(producer.SendMessages(messages(topic, Numbered(5))))
		Ok(producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{topic: {{Offset: int64(i + 1), LeaderEpoch: -1}}}, group))
		if i == 1 {
			Ok(producer.AbortTxn())
		} else {
			Ok(producer.CommitTxn())
		}
		Until("what is committed is told", func() bool { return committed(group, topic) == expected })
	}
}

func transactionFenced(context.Context) {
	topic, id, sent := create("transaction", 1, nil), Unique("transaction"), Numbered(10)
	first := transactional(id)
	Ok(first.BeginTxn())
	Ok(first.SendMessages(messages(topic, sent[:5])))
	second := transactional(id)
	defer second.Close()
	err := first.CommitTxn()
	Check(errors.Is(err, sarama.ErrProducerFenced) || errors.Is(err, sarama.ErrInvalidProducerEpoch), fmt.Sprint("the first is fenced: ", err))
	Ok(second.BeginTxn())
	Ok(second.SendMessages(messages(topic, sent[5:])))
	Ok(second.CommitTxn())
	readCommitted := func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted }
	Same(sent[5:], values(readFrom(topic, 0, 0, 5, readCommitted)), "read committed")
}

// The broker is killed with batches under way, again and again; each value is there once, and in order.
func idempotenceRestart(context.Context) {
	topic, sent := create("idempotence-restart", 1, nil), Numbered(1500)
	producer := Must(sarama.NewAsyncProducer([]string{Bootstrap}, config(idempotent, patient)))
	var done sync.WaitGroup
	var failed atomic.Pointer[sarama.ProducerError]
	var succeeded atomic.Int64
	done.Go(func() {
		for err := range producer.Errors() {
			failed.Store(err)
		}
	})
	done.Go(func() {
		for range producer.Successes() {
			succeeded.Add(1)
		}
	})
	for i, m := range messages(topic, sent) {
		producer.Input() <- m
		if i == 500 || i == 1000 {
			Restart()
		}
	}
	// What it tries again when it is closed it fails.
	Until("each send is told", func() bool { return succeeded.Load() == int64(len(sent)) || failed.Load() != nil })
	producer.AsyncClose()
	done.Wait()
	Check(failed.Load() == nil, fmt.Sprint("no send fails: ", failed.Load()))
	Same(sent, values(read(topic, 0)), "records in the log")
}

func restart(context.Context) {
	topic, group, sent := create("restart", 1, nil), Unique("restart"), Numbered(400)
	m := join(group, topic)
	producer := Must(sarama.NewSyncProducer([]string{Bootstrap}, config(idempotent, patient)))
	defer producer.Close()
	Ok(producer.SendMessages(messages(topic, sent[:200])))
	Until("the first half is consumed", func() bool { return len(m.Records()) == 200 })
	Restart()
	Ok(producer.SendMessages(messages(topic, sent[200:])))
	Until("the second half is consumed", func() bool { return len(slices.Compact(Sorted(m.Records()))) == 400 })
	m.close()
	Same(sent, values(read(topic, 0)), "records in the log")
}

// What the cases are made of.

func config(changes ...change) *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Producer.RequiredAcks = sarama.WaitForAll
	made.Consumer.Return.Errors = true
	made.Consumer.Retry.Backoff = 100 * time.Millisecond
	for _, apply := range changes {
		apply(made)
	}
	return made
}

func idempotent(c *sarama.Config) {
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
}

// patient outlasts a restart. Without the second a producer fails all that it holds when it has looked for a leader in vain three times.
func patient(c *sarama.Config) {
	c.Producer.Retry.Max = 300
	c.Metadata.Retry.Max = 300
}

var admin = sync.OnceValue(func() sarama.ClusterAdmin {
	return Must(sarama.NewClusterAdmin([]string{Bootstrap}, config(func(c *sarama.Config) { c.Admin.Timeout = 30 * time.Second })))
})

func kerror(code sarama.KError) error {
	if code == sarama.ErrNoError {
		return nil
	}
	return code
}

func create(about string, partitions int32, configs map[string]string) string {
	topic, entries := Unique(about), map[string]*string{}
	for name, value := range configs {
		entries[name] = &value
	}
	Ok(admin().CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries}, false))
	Until("the topic is there", func() bool { return Must(admin().ListTopics())[topic].NumPartitions == partitions })
	return topic
}

// timed creates a topic with 100 records, a tenth of a second between two, and returns the first one's time too.
func timed() (string, time.Time) {
	topic, base := create("timed", 1, nil), time.Now().Add(-10*time.Second).Truncate(time.Millisecond)
	sent := messages(topic, Numbered(100))
	for i, m := range sent {
		m.Timestamp = base.Add(time.Duration(i) * 100 * time.Millisecond)
	}
	Ok(produced(sent))
	return topic, base
}

func messages(topic string, values []string) []*sarama.ProducerMessage {
	var made []*sarama.ProducerMessage
	for _, value := range values {
		made = append(made, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
	}
	return made
}

func produced(sent []*sarama.ProducerMessage, changes ...change) error {
	producer := Must(sarama.NewSyncProducer([]string{Bootstrap}, config(changes...)))
	defer producer.Close()
	err := producer.SendMessages(sent)
	var each sarama.ProducerErrors
	if errors.As(err, &each) {
		return each[0].Err
	}
	return err
}

// transactional returns a producer whose transactions are its own: a predecessor's are aborted.
func transactional(id string) sarama.SyncProducer {
	return Must(sarama.NewSyncProducer([]string{Bootstrap}, config(idempotent, func(c *sarama.Config) { c.Producer.Transaction.ID = id })))
}

// offset returns the one that stands for a time, or the oldest or newest.
func offset(topic string, partition int32, at int64) int64 {
	client := Must(sarama.NewClient([]string{Bootstrap}, config()))
	defer client.Close()
	return Must(client.GetOffset(topic, partition, at))
}

func committed(group, topic string) int64 {
	found := Must(admin().ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}}))
	Ok(kerror(found.Err))
	return found.GetBlock(topic, 0).Offset
}

// read returns everything that is in a partition now.
func read(topic string, partition int32) []*sarama.ConsumerMessage {
	first := offset(topic, partition, sarama.OffsetOldest)
	return readFrom(topic, partition, first, int(offset(topic, partition, sarama.OffsetNewest)-first))
}

func readFrom(topic string, partition int32, from int64, count int, changes ...change) []*sarama.ConsumerMessage {
	consumer := Must(sarama.NewConsumer([]string{Bootstrap}, config(changes...)))
	defer consumer.Close()
	records := Must(consumer.ConsumePartition(topic, partition, from))
	defer records.Close()
	late := time.After(40 * time.Second)
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		select {
		case m := <-records.Messages():
			found = append(found, m)
		case err := <-records.Errors():
			Ok(err)
		case <-late:
			Check(false, fmt.Sprintf("%d of %d records within 40 s", len(found), count))
		}
	}
	return found
}

func values(found []*sarama.ConsumerMessage) []string {
	var values []string
	for _, m := range found {
		values = append(values, string(m.Value))
	}
	return values
}

// member consumes in a goroutine of its own, generation after generation.
type member struct {
	Member
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	done  chan struct{}
	topic string
}

func join(group, topic string, changes ...change) *member {
	eager := func(c *sarama.Config) {
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
		c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{stop: stop, done: make(chan struct{}), topic: topic}
	m.group = Must(sarama.NewConsumerGroup([]string{Bootstrap}, group, config(append([]change{eager}, changes...)...)))
	go func() {
		for range m.group.Errors() {
		}
	}()
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			// What ends a generation is not told apart: the next call joins again.
			_ = m.group.Consume(ctx, []string{topic}, m)
		}
	}()
	return m
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.Assign(len(session.Claims()[m.topic]))
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case found, more := <-claim.Messages():
			if !more {
				return nil
			}
			m.Read(found.Value)
			session.MarkMessage(found, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) close() {
	m.stop()
	<-m.done
	Ok(m.group.Close())
}
