//! The seam ObjectStore: one strongly consistent bucket that all hosts share, behind an unreliable way to it.
//!
//! A request that has left its host lands whatever becomes of the host. In bad weather an answer may be an error before
//! the effect, an error after it, or an error whose put lands *late*: seconds or minutes after its sender was told that it
//! failed, and even after the object that a repeat of it had made was deleted again.

use crate::world::network::Net;
use crate::world::{BUCKET_HOST, Process, Trace, spawn, wait};
use async_trait::async_trait;
use base::{Crc32c, Seed, crc32c};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use world::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

/// How the bucket and the way to it behave now. All chances are per mille of the requests.
#[derive(Debug, Clone, Copy)]
pub struct StoreWeather {
    /// Each way takes up to so many milliseconds.
    pub latency_ms_max: u64,
    /// A way takes up to [`StoreWeather::slow_ms_max`] instead (slow first byte).
    pub slow: u64,
    /// See [`StoreWeather::slow`].
    pub slow_ms_max: u64,
    /// 503 before any effect.
    pub refuse: u64,
    /// An error although the request took effect.
    pub lose_answer: u64,
    /// An error although the request will take effect, up to [`StoreWeather::late_ms_max`] later.
    pub late: u64,
    /// See [`StoreWeather::late`].
    pub late_ms_max: u64,
}

impl StoreWeather {
    /// A healthy bucket.
    pub const FAIR: StoreWeather = StoreWeather {
        latency_ms_max: 6,
        slow: 10,
        slow_ms_max: 120,
        refuse: 0,
        lose_answer: 0,
        late: 0,
        late_ms_max: 0,
    };
}

/// How long a request waits for an answer that never comes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The bucket; clones share it.
#[derive(Clone)]
pub struct Bucket {
    shared: Arc<Mutex<Shared>>,
    net: Net,
    trace: Trace,
}

struct Shared {
    objects: BTreeMap<String, Bytes>,
    weather: StoreWeather,
    seed: Seed,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused,
    AnswerLost,
    Late(Duration),
}

impl Bucket {
    /// An empty bucket.
    #[must_use]
    pub fn new(seed: Seed, trace: Trace, net: Net) -> Bucket {
        let shared = Shared { objects: BTreeMap::new(), weather: StoreWeather::FAIR, seed };
        Bucket { shared: Arc::new(Mutex::new(shared)), net, trace }
    }

    /// Changes how it behaves.
    pub fn set_weather(&self, weather: StoreWeather) {
        self.lock().weather = weather;
    }

    /// All objects below a prefix; for checkers.
    #[must_use]
    pub fn contents(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let shared = self.lock();
        let from = shared.objects.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
    }

    /// The size of every object, in the order of the keys.
    #[must_use]
    pub fn sizes(&self) -> Vec<(String, u64)> {
        self.lock().objects.iter().map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect()
    }

    fn ways(&self) -> (Duration, Fate, Duration) {
        let mut shared = self.lock();
        let weather = shared.weather;
        let seed = &mut shared.seed;
        let mut slow = 0;
        let mut way = || {
            let is_slow = seed.chance(weather.slow);
            slow += u64::from(is_slow);
            Duration::from_millis(seed.below(if is_slow { weather.slow_ms_max } else { weather.latency_ms_max } + 1))
        };
        let (there, back) = (way(), way());
        let fate = match seed.below(1000) {
            x if x < weather.refuse => Fate::Refused,
            x if x < weather.refuse + weather.lose_answer => Fate::AnswerLost,
            x if x < weather.refuse + weather.lose_answer + weather.late => {
                // Mostly seconds, sometimes as late as can be.
                let longest = if seed.chance(300) { weather.late_ms_max } else { weather.late_ms_max / 20 };
                Fate::Late(Duration::from_millis(seed.below(longest + 1)))
            }
            _ => Fate::Answered,
        };
        drop(shared);
        self.trace.count_by("fault.store_slow", slow);
        match fate {
            Fate::Answered => {}
            Fate::Refused => self.trace.count("fault.store_refused"),
            Fate::AnswerLost => self.trace.count("fault.store_answer_lost"),
            Fate::Late(_) => self.trace.count("fault.store_late"),
        }
        (there, fate, back)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process' way to the bucket.
pub struct SimStore {
    bucket: Bucket,
    process: Arc<Process>,
}

impl SimStore {
    /// The bucket as `process` reaches it.
    #[must_use]
    pub fn new(bucket: Bucket, process: Arc<Process>) -> SimStore {
        SimStore { bucket, process }
    }

    /// Sends one request: there, its effect, and back. The request goes on where its sender stops waiting or dies.
    async fn request<T: Send + 'static>(
        &self,
        kind: &'static str,
        what: String,
        effect: impl FnOnce(&mut BTreeMap<String, Bytes>) -> Result<T, StoreError> + Send + 'static,
        describe: impl FnOnce(&Result<T, StoreError>) -> String + Send + 'static,
    ) -> Result<T, StoreError> {
        self.process.seam().await;
        self.bucket.trace.count(kind);
        let (there, fate, back) = self.bucket.ways();
        let (bucket, host, name) = (self.bucket.clone(), self.process.host, self.process.name.clone());
        bucket.trace.event(&name, format_args!("{what}"));
        let (send, receive) = oneshot::channel();
        spawn(async move {
            wait(there).await;
            if bucket.net.is_cut(host, BUCKET_HOST) {
                wait(REQUEST_TIMEOUT).await;
                bucket.trace.event(&name, format_args!("{what} -> timed out before it arrived"));
                drop(send.send(trouble("timed out")));
                return;
            }
            let answer = match fate {
                Fate::Refused => trouble("503 slow down"),
                Fate::Answered => effect(&mut bucket.lock().objects),
                Fate::AnswerLost => {
                    let unseen = effect(&mut bucket.lock().objects);
                    bucket.trace.event(&name, format_args!("{what} unseen -> {}", describe(&unseen)));
                    wait(back).await;
                    drop(send.send(trouble("connection reset")));
                    return;
                }
                Fate::Late(delay) => {
                    drop(send.send(trouble("request timed out")));
                    wait(delay).await;
                    let unseen = effect(&mut bucket.lock().objects);
                    bucket.trace.event(&name, format_args!("{what} late -> {}", describe(&unseen)));
                    return;
                }
            };
            bucket.trace.event(&name, format_args!("{what} -> {}", describe(&answer)));
            wait(back).await;
            let answer = if bucket.net.is_cut(BUCKET_HOST, host) {
                wait(REQUEST_TIMEOUT).await;
                trouble("timed out")
            } else {
                answer
            };
            // Nobody waits any more: the sender gave up or is dead.
            drop(send.send(answer));
        });
        match receive.await {
            Ok(answer) => answer,
            Err(_) => trouble("connection closed"),
        }
    }
}

fn trouble<T>(message: &str) -> Result<T, StoreError> {
    Err(StoreError::Trouble(message.to_owned()))
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let mut all = BytesMut::new();
        for part in &parts {
            all.extend_from_slice(part);
        }
        let (all, key) = (all.freeze(), key.to_owned());
        let what = format!("put {key} {} {:08x}", all.len(), crc32c(&all));
        let effect = move |objects: &mut BTreeMap<String, Bytes>| {
            if objects.contains_key(&key) {
                return Ok(PutOutcome::Exists);
            }
            objects.insert(key, all);
            Ok(PutOutcome::Created)
        };
        self.request("store.put", what, effect, |answer| format!("{answer:?}")).await
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let what = format!("get {key} {range:?}");
        let key = key.to_owned();
        let effect = move |objects: &mut BTreeMap<String, Bytes>| {
            let object = objects.get(&key).ok_or(StoreError::NotFound(key))?;
            let size = object.len();
            let cut = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(size);
            let bytes = match range {
                GetRange::All => object.clone(),
                GetRange::Span { start, end } => object.slice(cut(start)..cut(end).max(cut(start))),
                GetRange::Suffix(len) => object.slice(size - cut(len)..),
            };
            Ok((bytes, size as u64))
        };
        self.request("store.get", what, effect, |answer| match answer {
            Ok((bytes, size)) => format!("{} of {size} {:08x}", bytes.len(), crc32c(bytes)),
            Err(error) => error.to_string(),
        })
        .await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let what = format!("list {prefix} after {after:?} {limit}");
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let effect = move |objects: &mut BTreeMap<String, Bytes>| {
            let from = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix.clone()) };
            let found = objects.range((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&prefix));
            Ok(found
                .take(limit)
                .map(|(key, bytes)| ObjectMeta { key: key.clone(), size: bytes.len() as u64 })
                .collect())
        };
        self.request("store.list", what, effect, |answer: &Result<Vec<ObjectMeta>, StoreError>| match answer {
            Ok(found) => {
                let mut crc = Crc32c::default();
                for object in found {
                    crc.update(object.key.as_bytes());
                }
                format!("{} {:08x}", found.len(), crc.value())
            }
            Err(error) => error.to_string(),
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let what = format!("delete {keys:?}");
        let keys = keys.to_vec();
        let effect = move |objects: &mut BTreeMap<String, Bytes>| {
            for key in &keys {
                objects.remove(key);
            }
            Ok(())
        };
        self.request("store.delete", what, effect, |answer| format!("{answer:?}")).await
    }

    async fn make_durable(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn describe(&self) -> String {
        "simulated bucket".to_owned()
    }
}
