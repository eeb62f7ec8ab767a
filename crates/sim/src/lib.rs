//! Whole clusters in one deterministic process: the brokers' real shells over a simulated world, with faults and checkers.

pub mod world;
