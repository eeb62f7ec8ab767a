//! The broker over a real store and real sockets, asked over the protocol.
//!
//! One test program, because each one links all that it tests.

mod admin;
mod authorization;
mod cluster;
mod compacted;
mod configs;
mod consumer_groups;
mod fetch;
mod frames;
mod groups;
mod heavy;
mod idempotent;
mod logs;
mod offsets;
mod old_clients;
mod pressure;
mod quotas;
mod sasl;
mod security;
mod serve;
mod share_groups;
mod share_offsets;
mod shares;
mod streams_groups;
mod support;
mod telemetry;
mod tokens;
mod transactional;
mod transactional_clients;
mod transactional_offsets;
mod transactions;
mod turned_away;
