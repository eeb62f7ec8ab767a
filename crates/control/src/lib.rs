//! The ledger: the cluster's metadata log, numbered objects created *put if absent* in object storage (architecture, section 4).
//!
//! Believed numbers follow rule A8 of the protocol notes: an answer about number n counts only if a listing of the snapshots
//! begun after it shows none at or above n.

mod ledger;

pub use ledger::{Ledger, LedgerError, LedgerOptions};
