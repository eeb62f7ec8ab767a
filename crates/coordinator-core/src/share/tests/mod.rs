//! Share groups and their coordinators: examples of each rule, Kafka's bytes, and random histories.

mod administration;
mod assignor;
mod batches;
mod bench;
pub(crate) mod broken;
mod configs;
mod histories;
mod kinds;
mod members;
mod records;
mod states;
mod world;
