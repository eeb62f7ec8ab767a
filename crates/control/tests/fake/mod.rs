//! A bucket in memory, seen through one store for each broker, each with its own scripted faults; and a clock that does not wait.

use async_trait::async_trait;
use base::{Micros, UnixMillis};
use bytes::Bytes;
use control::{Ledger, LedgerOptions};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use world::{
    Clock, Connection, Disk, DiskError, File, GetRange, Listener, Network, ObjectMeta, ObjectStore, OpenMode,
    PutOutcome, StoreError, TaskHandle, World,
};

/// What all brokers share.
#[derive(Clone, Default)]
pub(crate) struct Bucket(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Bucket {
    pub(crate) fn put(&self, key: &str, bytes: Bytes) {
        self.0.lock().unwrap().insert(key.to_owned(), bytes);
    }

    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        self.0.lock().unwrap().get(key).cloned()
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.0.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// One broker's way to it.
    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::new(Store { bucket: self.clone(), faults: Mutex::default(), requests: AtomicU64::new(0) })
    }
}

/// What happens to the next request of a kind.
pub(crate) enum Fault {
    /// It takes effect and answers trouble.
    AnswerLost,
    /// It answers trouble; a put's bytes go to the sender, who may let them land later.
    Late(oneshot::Sender<Bytes>),
    /// It waits before it is evaluated.
    Before(oneshot::Receiver<()>),
    /// It never answers.
    Silence,
    /// It answers trouble.
    Trouble,
    /// It is refused.
    Refused,
    /// A get's bytes are cut, or changed.
    Cut,
    Changed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Put,
    Get,
    List,
    Delete,
    MakeDurable,
}

pub(crate) struct Store {
    bucket: Bucket,
    faults: Mutex<VecDeque<(Kind, &'static str, Fault)>>,
    pub(crate) requests: AtomicU64,
}

impl Store {
    /// The next request of that kind whose key begins so.
    pub(crate) fn fail(&self, kind: Kind, prefix: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((kind, prefix, fault));
    }

    pub(crate) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    /// Makes the next one wait before it is evaluated, until the answer is used.
    pub(crate) fn hold(&self, kind: Kind, prefix: &'static str) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.fail(kind, prefix, Fault::Before(receiver));
        sender
    }

    fn fault(&self, kind: Kind, key: &str) -> Option<Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(it, prefix, _)| *it == kind && key.starts_with(prefix))?;
        faults.remove(at).map(|(_, _, fault)| fault)
    }

    /// Evaluates `effect` as the scripted fault wants it.
    async fn perform<T: Send>(
        &self,
        kind: Kind,
        key: &str,
        bytes: Bytes,
        effect: impl FnOnce() -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let trouble = || Err(StoreError::Trouble("scripted".to_owned()));
        match self.fault(kind, key) {
            None | Some(Fault::Cut | Fault::Changed) => effect(),
            Some(Fault::AnswerLost) => effect().and_then(|_| trouble()),
            Some(Fault::Late(sender)) => {
                sender.send(bytes).unwrap();
                trouble()
            }
            Some(Fault::Before(gate)) => {
                gate.await.unwrap();
                effect()
            }
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Trouble) => trouble(),
            Some(Fault::Refused) => Err(StoreError::Refused("scripted".to_owned())),
        }
    }

    fn damage(&self, key: &str) -> Option<bool> {
        let mut faults = self.faults.lock().unwrap();
        let damaging = |fault: &Fault| matches!(fault, Fault::Cut | Fault::Changed);
        let at = faults
            .iter()
            .position(|(kind, prefix, it)| *kind == Kind::Get && key.starts_with(prefix) && damaging(it))?;
        faults.remove(at).map(|(_, _, fault)| matches!(fault, Fault::Cut))
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let bytes = Bytes::from(parts.concat());
        let stored = bytes.clone();
        self.perform(Kind::Put, key, bytes, || {
            let mut objects = self.bucket.0.lock().unwrap();
            if objects.contains_key(key) {
                return Ok(PutOutcome::Exists);
            }
            objects.insert(key.to_owned(), stored);
            Ok(PutOutcome::Created)
        })
        .await
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        assert_eq!(range, GetRange::All, "the ledger reads whole objects");
        let damage = self.damage(key);
        let (bytes, size) = self
            .perform(Kind::Get, key, Bytes::new(), || {
                let bytes = self.bucket.get(key).ok_or_else(|| StoreError::NotFound(key.to_owned()))?;
                let size = bytes.len() as u64;
                Ok((bytes, size))
            })
            .await?;
        let bytes = match damage {
            None => bytes,
            Some(true) => bytes.slice(..bytes.len() / 2),
            Some(false) => bytes.iter().map(|byte| byte ^ 1).collect(),
        };
        Ok((bytes, size))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.perform(Kind::List, prefix, Bytes::new(), || {
            let objects = self.bucket.0.lock().unwrap();
            let listed = objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after).take(limit);
            Ok(listed.map(|(key, bytes)| ObjectMeta { key: key.clone(), size: bytes.len() as u64 }).collect())
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let first = keys.first().map_or("", String::as_str);
        self.perform(Kind::Delete, first, Bytes::new(), || {
            let mut objects = self.bucket.0.lock().unwrap();
            for key in keys {
                objects.remove(key);
            }
            Ok(())
        })
        .await
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.perform(Kind::MakeDurable, prefix, Bytes::new(), || Ok(())).await
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Opens a ledger that neither follows nor collects unless a test says so.
pub(crate) async fn open(store: &Arc<Store>) -> Ledger {
    Ledger::open(&world(), store.clone(), options()).await.unwrap()
}

pub(crate) fn options() -> LedgerOptions {
    LedgerOptions {
        snapshot_entries: u64::MAX,
        follow_alone: None,
        follow_others: None,
        // Longer than any pause of a test: who is held does not ask again.
        call_timeout: Duration::from_secs(3600),
        ..LedgerOptions::default()
    }
}

pub(crate) fn world() -> World {
    // A mutants build runs these tests with one planted bug awake: they must fail then.
    #[cfg(mutants)]
    if let Ok(name) = std::env::var("MUTANT") {
        base::mutant::wake(&name);
    }
    World { clock: Arc::new(TestClock(AtomicU64::new(1))), network: Arc::new(Nowhere), disk: Arc::new(Nowhere) }
}

/// Time is tokio's, which tests pause; each has numbers of its own.
struct TestClock(AtomicU64);

static CLOCKS: AtomicU64 = AtomicU64::new(0);

impl Clock for TestClock {
    fn now(&self) -> Micros {
        Micros(0)
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        // Nonces of two brokers of one test must differ, so all clocks count on one counter.
        let number = CLOCKS.fetch_add(1, Ordering::Relaxed) + self.0.fetch_add(1, Ordering::Relaxed);
        base::Seed::new(number << 8 | CLOCKS.load(Ordering::Relaxed) & 0xff).next_u64()
    }

    #[expect(clippy::disallowed_methods, reason = "this is an implementation of the seam")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }
}

/// The ledger uses neither disk nor network.
struct Nowhere;

fn nowhere(path: &Path) -> DiskError {
    DiskError::NotFound(PathBuf::from(path))
}

#[async_trait]
impl Network for Nowhere {
    async fn listen(&self, _address: &str) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _address: &str) -> io::Result<Box<dyn Connection>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[async_trait]
impl Disk for Nowhere {
    async fn open(&self, path: &Path, _mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        Err(nowhere(path))
    }

    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError> {
        Err(nowhere(path))
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        Err(nowhere(path))
    }

    async fn link(&self, from: &Path, _to: &Path) -> Result<(), DiskError> {
        Err(nowhere(from))
    }

    async fn rename(&self, from: &Path, _to: &Path) -> Result<(), DiskError> {
        Err(nowhere(from))
    }

    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        Err(nowhere(path))
    }

    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        Err(nowhere(path))
    }

    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        Err(nowhere(path))
    }
}
