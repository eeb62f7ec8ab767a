//! The transaction coordinator's decisions: who produces under a transactional id, which partitions its transaction has, and how it ends.
//!
//! The walk: a request goes to [`Transactions`], the transactional ids of one partition of `__transaction_state` → `init`, `adding` or
//! `ending` → [`TransactionEffects`]: records that make the change last, and markers for the partitions. As with groups
//! the shell appends the records and lets answers *and markers* out when they are confirmed (rule F-1); what the partitions answer comes back
//! to `markers`, which completes the transaction. After a takeover the same records go to [`Transactions::replay`], and
//! [`Transactions::loaded`] sends the markers of every decision anew (F-4).
//!
//! Guarantees, beside those of the crate: a decision is made once, and what was told of it stays (F-5); until a transaction is complete
//! nobody begins another one (F-3). Every answer is a result: Kafka tells clients to come back (`CONCURRENT_TRANSACTIONS`) where a group would
//! let them wait, so nothing here waits for a ticket.

mod adding;
mod copy;
mod describe;
mod effects;
mod ending;
mod expiry;
mod init;
mod markers;
mod pattern;
mod record;
mod registry;
mod state;

#[cfg(test)]
mod tests;

pub use adding::{AddRequest, OFFSETS_TOPIC};
pub use copy::TransactionCursor;
pub use describe::{ListFilter, TransactionDescription, TransactionList, TransactionSummary};
pub use effects::{Marker, MarkerOutcome, TransactionEffects, TransactionError};
pub use ending::EndRequest;
pub use init::InitRequest;
pub use pattern::{IdMatching, IdPattern};
pub use record::{TransactionRecordError, transaction_record_of_nothing};
pub use registry::{TransactionOptions, Transactions};
pub use state::{ClientVersion, NamedTopicPartitions, Producer, TransactionState};

/// `right`, or `wrong` where a test of this crate has broken the named rule, or a build with planted bugs has it awake.
macro_rules! rule {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {{
        #[cfg(test)]
        let value = if $crate::transactions::tests::broken::is_broken($name) {
            $wrong
        } else {
            base::planted!($name, $right, $wrong)
        };
        #[cfg(not(test))]
        let value = base::planted!($name, $right, $wrong);
        value
    }};
}
use rule;
