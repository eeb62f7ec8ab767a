//! Broker settings about idempotent and transactional producers.

use crate::settings::Setting;

/// Sorted by name.
pub(crate) static TRANSACTIONS: &[Setting] = settings! {
    "add.partitions.to.txn.retry.backoff.max.ms": Int = Some("100"), From(0), ReadOnly, listed, Honoured;
        "Longest pause before a partition is tried again to be added to a transaction.";
    "add.partitions.to.txn.retry.backoff.ms": Int = Some("20"), From(1), ReadOnly, listed, Honoured;
        "First pause before a partition is tried again to be added to a transaction.";
    "producer.id.expiration.check.interval.ms": Int = Some("600000"), From(1), ReadOnly, internal, WithoutObject(EXPIRY);
        "How often it is looked whether producers are to be forgotten.";
    "producer.id.expiration.ms": Int = Some("86400000"), From(1), ClusterWide, listed, Honoured;
        "How long a producer's last sequence numbers are remembered after its last batch.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = Some("10000"), From(1), ReadOnly, listed, WithoutObject(EXACT);
        "How often it is looked whether transactions are to be aborted.";
    "transaction.max.timeout.ms": Int = Some("900000"), From(1), ReadOnly, listed, Honoured;
        "The longest that a transaction may be open.";
    "transaction.partition.verification.enable": Boolean = Some("true"), Any, ClusterWide, listed, Refused(NO_UNVERIFIED);
        "Whether a partition is known to be part of a transaction before it takes records of it.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = Some("3600000"), From(1), ReadOnly, listed, Honoured;
        "How often it is looked whether transactional ids are to be forgotten.";
    "transaction.state.log.load.buffer.size": Int = Some("5242880"), From(1), ReadOnly, listed, WithoutObject(LOADING);
        "How much is read at once when transactions are loaded.";
    "transaction.state.log.min.isr": Int = Some("2"), From(1), ReadOnly, listed, WithoutObject(INSYNC);
        "In-sync replicas of the topic of transactions.";
    "transaction.state.log.num.partitions": Int = Some("50"), From(1), ReadOnly, listed, Honoured;
        "Partitions of the topic of transactions.";
    "transaction.state.log.replication.factor": Short = Some("3"), From(1), ReadOnly, listed, WithoutObject(OWN_TOPICS);
        "Replicas of the topic of transactions.";
    "transaction.state.log.segment.bytes": Int = Some("104857600"), From(1), ReadOnly, listed, WithoutObject(FILES);
        "Size of a segment file of the topic of transactions.";
    "transaction.two.phase.commit.enable": Boolean = Some("false"), Any, ReadOnly, listed, Refused(NO_TWO_PHASES);
        "Whether transactions may be prepared and committed later by another system.";
    "transactional.id.expiration.ms": Int = Some("604800000"), From(1), ReadOnly, listed, Honoured;
        "How long a transactional id is remembered that is not used.";
};
