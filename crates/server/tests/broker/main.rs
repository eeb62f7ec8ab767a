//! The real binary from outside: started, killed, fed with rubbish, and asked over the wire what it kept.
//!
//! One test program, because each one links the whole broker. Longer runs of the same tests: `cargo xtask verify`.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps, helpers included")]

mod abandon;
mod bad_input;
mod client_commands;
mod console;
mod deposed;
mod failover;
mod full_disk;
mod kill;
mod login_commands;
mod logs;
mod look_inside;
mod measure;
mod measure_classic_groups;
mod measure_groups;
mod measure_transactions;
mod object_wal;
mod peer_login;
mod refusals;
mod restore;
mod s3;
mod starting;
mod support;
mod topic_commands;
mod trouble;
mod wal_recover;
