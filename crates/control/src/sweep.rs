//! Deletes data objects that nobody needs: dead ones after a grace, and uploads that never were committed (rule O-1).
//!
//! Both rest on facts of one image that no later image takes back, so neither a stale image nor a sleeping sweeper can delete
//! what is alive: a dead object is never referenced again, and an orphan's writer is dead or has promised never to commit
//! it. The grace is for readers whose plan is older; they plan anew in any case.

use crate::{Ledger, LedgerError};
use base::{Micros, NodeEpoch, ObjectId};
use control_core::{Command, Image};
use std::collections::BTreeMap;
use std::time::Duration;
use world::ObjectStore;

/// Names in one listing and in one deletion.
const PAGE: usize = 1000;

/// Where data objects are.
const DATA: &str = "data/";

/// What a call of [`Sweeper::sweep_once`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Dead objects deleted.
    pub dead: usize,
    /// Orphans deleted.
    pub orphans: usize,
}

/// Remembers how long it has known which objects to be dead.
pub struct Sweeper {
    key_of: fn(ObjectId) -> String,
    dead_since: BTreeMap<ObjectId, Micros>,
}

impl Sweeper {
    /// `key_of` names an object: `data/`, whatever spreads the names, then `/<node epoch>-<counter>`.
    #[must_use]
    pub fn new(key_of: fn(ObjectId) -> String) -> Sweeper {
        Sweeper { key_of, dead_since: BTreeMap::new() }
    }

    /// Deletes what has been dead for `grace` on this broker's clock, then orphans. Asks the store once per page: trouble ends
    /// the call, and the next one goes on.
    ///
    /// # Errors
    /// The store or the ledger failed; what was deleted until then stays so.
    pub async fn sweep_once(
        &mut self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
        now: Micros,
        grace: Duration,
    ) -> Result<Swept, LedgerError> {
        let image = ledger.image();
        let dead = self.delete_dead(ledger, store, &image, now, grace).await?;
        let orphans = self.delete_orphans(store, &image).await?;
        Ok(Swept { dead, orphans })
    }

    async fn delete_dead(
        &mut self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
        image: &Image,
        now: Micros,
        grace: Duration,
    ) -> Result<usize, LedgerError> {
        self.dead_since.retain(|object, _| image.dead_objects.contains_key(object));
        for object in image.dead_objects.keys() {
            self.dead_since.entry(*object).or_insert(now);
        }
        let ripe = |(object, since): (&ObjectId, &Micros)| {
            // An undecided one would stay in the list, and be deleted again and again.
            (now.since(*since) >= grace && image.is_decided(*object)).then_some(*object)
        };
        let ripe: Vec<ObjectId> = self.dead_since.iter().filter_map(ripe).collect();
        for objects in ripe.chunks(PAGE) {
            let keys: Vec<String> = objects.iter().map(|object| (self.key_of)(*object)).collect();
            store.delete(&keys).await?;
            // Refused only if the image of the ledger contradicts this one, which `check` would show; nothing depends on it.
            ledger.submit(Command::ObjectsDeleted { objects: objects.to_vec() }).await?;
        }
        Ok(ripe.len())
    }

    async fn delete_orphans(&self, store: &dyn ObjectStore, image: &Image) -> Result<usize, LedgerError> {
        let mut deleted = 0;
        let mut after = String::new();
        loop {
            let page = store.list(DATA, &after, PAGE).await?;
            let full = page.len() >= PAGE;
            if let Some(last) = page.last() {
                after.clone_from(&last.key);
            }
            let is_orphan = |key: &String| self.object_of(key).is_some_and(|object| image.is_orphan(object));
            let orphans: Vec<String> = page.into_iter().map(|object| object.key).filter(is_orphan).collect();
            if !orphans.is_empty() {
                store.delete(&orphans).await?;
                deleted += orphans.len();
            }
            if !full {
                return Ok(deleted);
            }
        }
    }

    /// The object of that name; `None` for what no broker has written, which is not ours to delete.
    fn object_of(&self, key: &str) -> Option<ObjectId> {
        let (_, name) = key.rsplit_once('/')?;
        let (epoch, counter) = name.split_once('-')?;
        let object = ObjectId { node_epoch: NodeEpoch(epoch.parse().ok()?), counter: counter.parse().ok()? };
        ((self.key_of)(object) == key).then_some(object)
    }
}
