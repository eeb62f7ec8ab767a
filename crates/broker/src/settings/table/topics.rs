//! Broker settings about topics: their making, and what holds for all that do not say otherwise.

use crate::settings::Setting;

/// Sorted by name.
pub(crate) static TOPICS: &[Setting] = settings! {
    "alter.config.policy.class.name": Class = None, Any, ReadOnly, listed, Refused(NO_POLICY);
        "A Java class that decides which changes of settings are allowed.";
    "auto.create.topics.enable": Boolean = Some("true"), Any, ReadOnly, listed, Honoured;
        "Whether a topic that a client asks for and that does not exist is made.";
    "compression.gzip.level": Int = Some("-1"), GzipLevel, ClusterWide, listed, Honoured;
        "How hard the broker tries when it compresses with gzip.";
    "compression.lz4.level": Int = Some("9"), Within(1, 17), ClusterWide, listed, WithoutObject(LZ4);
        "How hard the broker tries when it compresses with LZ4.";
    "compression.type": String = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), ClusterWide, listed, Honoured;
        "The codec that record batches are stored with.";
    "compression.zstd.level": Int = Some("3"), Within(-131072, 22), ClusterWide, listed, Honoured;
        "How hard the broker tries when it compresses with Zstandard.";
    "create.topic.policy.class.name": Class = None, Any, ReadOnly, listed, Refused(NO_POLICY);
        "A Java class that decides which topics may be made.";
    "default.replication.factor": Int = Some("1"), Any, ReadOnly, listed, WithoutObject(ONE_REPLICA);
        "Replicas of a topic whose creator leaves their number open.";
    "delete.topic.enable": Boolean = Some("true"), Any, ReadOnly, listed, Honoured;
        "Whether clients may delete topics.";
    "log.cleanup.policy": List = Some("delete"), OneOf(&["compact", "delete"]), ClusterWide, listed, Honoured;
        "What becomes of old records, where the topic does not say.";
    "log.message.timestamp.after.max.ms": Long = Some("3600000"), From(0), ClusterWide, listed, Honoured;
        "How far a producer's timestamp may lie ahead of the broker's clock, where the topic does not say.";
    "log.message.timestamp.before.max.ms": Long = Some("9223372036854775807"), From(0), ClusterWide, listed, Honoured;
        "How far a producer's timestamp may lie behind the broker's clock, where the topic does not say.";
    "log.message.timestamp.type": String = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, listed, Honoured;
        "Whether records carry the time of their producer or that of their arrival, where the topic does not say.";
    "log.retention.bytes": Long = Some("-1"), Any, ClusterWide, listed, Honoured;
        "Records are deleted from a partition that holds more bytes, where the topic does not say; -1: any size.";
    "log.retention.check.interval.ms": Long = Some("300000"), From(1), ReadOnly, listed, Honoured;
        "How often it is looked whether records are to be deleted.";
    "log.retention.hours": Int = Some("168"), Any, ReadOnly, listed, Honoured;
        "As log.retention.ms in hours.";
    "log.retention.minutes": Int = None, Any, ReadOnly, listed, Honoured;
        "As log.retention.ms in minutes; unset: log.retention.hours decides.";
    "log.retention.ms": Long = None, Any, ClusterWide, listed, Honoured;
        "Records that are older are deleted, where the topic does not say; unset: log.retention.minutes decides, -1: never.";
    "max.decompressed.message.bytes": Int = Some("2147483639"), Within(1, 2147483639), ClusterWide, listed, Honoured;
        "The most that the records of a batch may take when they are decompressed.";
    "message.max.bytes": Int = Some("1048588"), From(0), ClusterWide, listed, Honoured;
        "The greatest record batch, as it is sent, where the topic has no max.message.bytes.";
    "min.insync.replicas": Int = Some("1"), From(1), ClusterWide, listed, WithoutObject(INSYNC);
        "How many replicas must have a record that is acknowledged with acks=all.";
    "num.partitions": Int = Some("1"), From(1), ReadOnly, listed, Honoured;
        "Partitions of a topic whose creator leaves their number open.";
    "unclean.leader.election.enable": Boolean = Some("false"), Any, ClusterWide, listed, WithoutObject(ELECTION);
        "Whether a replica that is behind may become leader.";
    "unclean.leader.election.interval.ms": Long = Some("300000"), From(1), ReadOnly, internal, WithoutObject(ELECTION);
        "How often a leader is looked for among replicas that are behind.";
};
