//! What must hold, and the parts that look.

pub mod groups;
pub mod history;
mod image_watch;
pub mod quiet;
pub mod transactions;

pub use groups::{GroupHistory, GroupPartition, Partitions};
pub use history::{FinalScan, History, PartitionKey, Sending, TopicKey};
pub use image_watch::ImageWatch;
pub use transactions::TransactionHistory;
