//! Tests of share-partitions: rules one by one, random histories, and what those find when a rule is broken.

mod acknowledging;
mod acquiring;
mod bench;
pub(super) mod broken;
mod histories;
mod loading;
mod locks;
mod sessions;
mod world;
mod writing;
