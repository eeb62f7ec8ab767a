//! What must hold, and the parts that look.

pub mod history;
mod image_watch;
pub mod quiet;

pub use history::{FinalScan, History, PartitionKey, TopicKey};
pub use image_watch::ImageWatch;
