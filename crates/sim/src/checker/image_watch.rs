//! Watches the images of all brokers, from outside: the same ledger number must mean the same entry and the same image to
//! everybody who ever believed it (invariants 21 and 22), and what the image says must be possible. Also hears what brokers say of
//! losses.

use crate::checker::History;
use crate::cluster::Cluster;
use crate::world::{Trace, wait};
use base::{LedgerSeq, Seed};
use control_core::{Image, Outcome};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How brokers call a loss: `stream_core::recover::Loss`, `stream::wal::RecoverError::Damaged`, and what `stream`'s recovery says of a log
/// that ends before its sealed end.
const LOSSES: [&str; 3] = ["acknowledged records are missing", "is damaged at", "it was sealed at"];

/// Who first believed which image for a ledger number.
type Believed = BTreeMap<LedgerSeq, (String, Arc<Image>)>;

/// What all brokers believed; clones share it.
#[derive(Clone)]
pub struct ImageWatch {
    seen: Arc<Mutex<Believed>>,
    history: History,
    trace: Trace,
}

impl ImageWatch {
    /// Watches nobody yet.
    #[must_use]
    pub fn new(history: History, trace: Trace) -> ImageWatch {
        ImageWatch { seen: Arc::default(), history, trace }
    }

    /// Follows one broker's images until it is dead.
    pub async fn follow(&self, who: String, mut images: watch::Receiver<Arc<Image>>) {
        loop {
            let image = images.borrow_and_update().clone();
            self.believed(&who, image);
            if images.changed().await.is_err() {
                return;
            }
        }
    }

    /// The greatest number that anybody has believed so far: an entry that is in the log for good.
    #[must_use]
    pub fn newest(&self) -> LedgerSeq {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last_key_value().map_or(LedgerSeq(0), |(seq, _)| *seq)
    }

    /// Asks one broker after another's like a client would, for as long as the run lasts: an answer must not be older than what
    /// anybody believed when it was asked for (rule A-1: *the end* is the end).
    pub async fn ask(&self, cluster: Cluster, broker: usize, mut seed: Seed) {
        loop {
            wait(Duration::from_millis(seed.between(100, 400))).await;
            let Some(ledger) = cluster.ledger(broker) else { continue };
            let newest = self.newest();
            let Ok(Ok(image)) = tokio::time::timeout(Duration::from_secs(1), ledger.refresh()).await else { continue };
            self.trace.count("check.refresh");
            if image.seq < newest {
                self.history.violation(format!(
                    "stale: broker {broker} read the ledger to its end at {}, {newest} was in it before",
                    image.seq
                ));
            }
        }
    }

    /// Why a broker ended, did not start, or does not serve a stream. Nothing in these worlds loses what was durable, so a broker that
    /// finds records missing or damaged has found a bug, or made one.
    pub fn told(&self, who: &str, why: &str) {
        if LOSSES.iter().any(|loss| why.contains(loss)) {
            self.history.violation(format!("lost, by its own account: {who}: {why}"));
        }
    }

    /// Somebody believes this image.
    pub fn believed(&self, who: &str, image: Arc<Image>) {
        self.trace.count("check.image");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((first, other)) = seen.get(&image.seq) else {
            for problem in control_core::check(&image) {
                self.history.violation(format!("image of {who} at {}: {problem}", image.seq));
            }
            self.count_swaps(&image);
            seen.insert(image.seq, (who.to_owned(), image));
            return;
        };
        self.trace.count("check.image_compared");
        if other.nonce != image.nonce {
            self.history.violation(format!("ledger entry {}: {who} and {first} believe different ones", image.seq));
        } else if **other != *image {
            self.history.violation(format!("image at {}: {who} and {first} differ", image.seq));
        }
    }

    /// What this entry has done with the swaps of compactions.
    fn count_swaps(&self, image: &Image) {
        let answered = image.nodes.values().flat_map(|node| node.answered.values());
        for (seq, outcome) in answered {
            if let (true, Outcome::Replaced { swaps }) = (*seq == image.seq, outcome) {
                let applied = swaps.iter().filter(|applied| **applied).count();
                self.trace.count_by("compaction.applied", applied as u64);
                self.trace.count_by("compaction.refused", (swaps.len() - applied) as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LOSSES;
    use base::{Offset, StreamId, WalId, WalPosition};
    use stream::wal::RecoverError;
    use stream_core::recover::Loss;

    #[test]
    fn losses_are_known_by_the_words_that_brokers_have_for_them() {
        let missing = Loss::Short { stream: StreamId(1), held: Offset(2), end: Offset(3) };
        let damaged =
            RecoverError::Damaged { wal: WalId::default(), position: WalPosition(1), reason: "not whole".to_owned() };
        assert!(missing.to_string().contains(LOSSES[0]), "{missing}");
        assert!(damaged.to_string().contains(LOSSES[1]), "{damaged}");
    }
}
