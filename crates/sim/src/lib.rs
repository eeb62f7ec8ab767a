//! Whole clusters in one deterministic process: the brokers' real shells over a simulated world, with faults and checkers.
//!
//! `sim SEED` tells one story: [`plan`] draws what the run is made of, [`cluster`] keeps its brokers alive over the simulated
//! [`world`], [`workload`]'s clients keep them busy, [`nemesis`] strikes, and [`checker`] compares what the clients were told
//! with what is true. [`run`] puts it together. The same seed gives the same trace, byte for byte.
//!
//! `day` tells another: [`day`], what very many partitions cost.

pub mod checker;
pub mod cluster;
pub mod day;
pub mod launch;
pub mod mutants;
pub mod nemesis;
pub mod plan;
pub mod run;
pub mod workload;
pub mod world;
