//! Watches the images of all brokers, from outside: the same ledger number must mean the same entry and the same image to
//! everybody who ever believed it (invariants 21 and 22), and what the image says must be possible.

use crate::checker::History;
use crate::world::Trace;
use base::LedgerSeq;
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

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

    /// Somebody believes this image.
    pub fn believed(&self, who: &str, image: Arc<Image>) {
        self.trace.count("check.image");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((first, other)) = seen.get(&image.seq) else {
            for problem in control_core::check(&image) {
                self.history.violation(format!("image of {who} at {}: {problem}", image.seq));
            }
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
}
