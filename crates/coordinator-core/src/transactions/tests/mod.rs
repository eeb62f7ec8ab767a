//! Examples of each verb, Kafka's bytes, and random histories against a small model of the partitions.

mod adding;
mod administration;
mod bench;
pub(crate) mod broken;
mod ending;
mod histories;
mod init;
mod markers;
mod records;
mod world;
