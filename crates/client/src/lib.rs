//! A Kafka client: what the command line speaks to a cluster with, be it Millstream's or Apache Kafka's.
//!
//! [`Cluster`] knows brokers, topics and leaders and keeps one pipelined connection to each broker. Over it stand [`Producer`],
//! [`Consumer`], [`GroupConsumer`] and the calls of administration in [`admin`] and `groups`. Everything outside comes through the seams of `world`.
//!
//! Guarantees: versions are negotiated with each broker; every call ends within the time that [`ClientOptions`] allows; what is
//! held in memory has a bound; bytes from a broker are never believed. What an error means for the person at the terminal is
//! left to the command that made the call.

pub mod admin;
mod batches;
mod cluster;
mod connection;
mod consumer;
mod error;
mod group_consumer;
mod groups;
mod lane;
mod leader;
mod offsets;
mod options;
mod partitioner;
mod patience;
mod producer;
mod sender;
mod shared;
#[cfg(test)]
mod test_broker;
mod track;
#[cfg(test)]
mod turned_away_tests;
mod versions;

pub use cluster::{Broker, Cluster, Partition, Topic};
pub use connection::{Connection, SPEAKS_HTTP, SPEAKS_TLS};
pub use consumer::{Consumer, ConsumerOptions, Fetched};
pub use error::ClientError;
pub use group_consumer::{GroupConsumer, HEARTBEAT_PERIOD, Standing};
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupOffsets};
pub use offsets::{AT_BEGINNING, AT_END};
pub use options::{ClientOptions, Login};
pub use partitioner::partition_for_key;
pub use producer::{Delivery, OnDelivery, OutRecord, Producer, ProducerOptions};
