//! Examples of each verb, and random histories.

mod bench;
mod bounds;
mod consumer;
mod histories;
mod membership;
mod offsets;
mod pending;
mod records;
