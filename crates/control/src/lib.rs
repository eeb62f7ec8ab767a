//! The ledger: the cluster's metadata log, numbered objects created *put if absent* in object storage.
//!
//! Believed numbers follow rule A-1 (docs/rules.md): an answer about number n counts only if a listing of the snapshots
//! begun after it shows none at or above n.
//!
//! | file | what it does |
//! |---|---|
//! | `ledger` | the handle: read the image, submit commands |
//! | `task` | the loop behind it: batches, puts, finds out what became of a put |
//! | `log` | which entries are believed, and where the log ends |
//! | `keeper` | snapshots, and the deletion of what they cover |
//! | `format` | the object that says what layout a bucket has |
//! | `inspect` | the whole ledger as it lies there, for tools |
//! | `survey` | what a damaged one still comes to, and a new head for it |

mod format;
mod inspect;
mod keeper;
mod keys;
mod ledger;
mod log;
mod patient;
mod survey;
mod task;

pub use format::Format;
pub use inspect::{Dump, read_all};
pub use ledger::{Ledger, LedgerError, LedgerOptions};
pub use survey::{Survey, highest, is_taken, put_image, survey};
