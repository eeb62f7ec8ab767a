//! The binary's parts: command line, configuration, wiring, console.
//!
//! [`config::Config`] says what a start is, [`node::Node`] builds it on one page, for `main` and for the simulator alike. No
//! Kafka semantics and no storage decision lives here.

pub mod args;
pub mod commands;
pub mod config;
pub mod console;
pub mod memory;
pub mod node;
pub mod prices;
