//! The stream layer over stores in memory, through crashes and faults.
//!
//! One test program, because each one links all that it tests.

mod abandon;
mod compaction;
mod damage;
mod failed_logs;
mod life;
mod logs;
mod producers;
mod recover_alone;
mod recoverers;
mod restore;
mod restore_logs;
mod rewrite;
mod succession;
mod support;
mod transactions;
mod trouble;
