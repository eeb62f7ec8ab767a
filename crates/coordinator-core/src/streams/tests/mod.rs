//! Streams groups with a hand on the clock and on the topics.

mod assignor;
mod bench;
mod histories;
mod members;
mod records;
mod topologies;
