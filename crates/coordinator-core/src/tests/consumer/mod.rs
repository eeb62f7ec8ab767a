//! Consumer groups of the newer protocol: examples of each rule, and random histories.

mod assignors;
mod bench;
mod histories;
mod kinds;
mod members;
mod migrating;
mod mixed;
mod offsets;
mod reconciling;
mod records;
mod regexes;
mod requests;
