//! Whether an object store does what Millstream needs, tried out on the store itself.
//!
//! Runs at every start, before anything is believed: some services accept the header of a conditional put and ignore it,
//! and then two brokers would both be sure of the same ledger entry. A probe that passes proves nothing for ever, since a
//! race can be won by luck; it finds the services that lack the operation, and with many rounds those whose check and
//! write are two steps.

use crate::clock::{Clock, ClockExt};
use crate::object_store::{GetRange, ObjectStore, PutOutcome, StoreError};
use base::Micros;
use bytes::Bytes;
use futures::future::join_all;
use std::time::Duration;

/// Writers that race for one name.
const RACERS: usize = 16;

/// How long the probe's calls may take together; a store that hangs must not hang the start.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeDepth {
    /// 8 rounds of 16 racing creates: when the cluster is created on a remote store, or its endpoint has changed.
    Full,
    /// One round: at every other start.
    Cheap,
}

/// What a store that passed took, as medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// Creates that raced, in all.
    pub creates: usize,
    /// One small put among those that raced.
    pub put_median: Duration,
    /// One small get.
    pub get_median: Duration,
    /// One short list.
    pub list_median: Duration,
}

/// Why a store is not fit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProbeError {
    /// It lacks what Millstream needs: one sentence says what, and why it is needed.
    #[error("{0}")]
    Unfit(String),
    /// It could not be told.
    #[error("cannot probe the object store: {0}")]
    Store(#[from] StoreError),
}

/// Races, reads, lists and deletes a few small objects under `probe/`.
///
/// # Errors
/// The store is not fit, or did not answer.
pub async fn probe(store: &dyn ObjectStore, clock: &dyn Clock, depth: ProbeDepth) -> Result<ProbeReport, ProbeError> {
    let rounds = match depth {
        ProbeDepth::Full => 8,
        ProbeDepth::Cheap => 1,
    };
    let prefix = format!("probe/{:016x}/", clock.random());
    let mut probe = Probe { store, clock, keys: Vec::new(), puts: Vec::new(), gets: Vec::new(), lists: Vec::new() };
    let result = clock.timeout(PROBE_LIMIT, probe.run(&prefix, rounds)).await.unwrap_or_else(|| {
        let message = format!("{}: the probe had no answer within {} s", store.describe(), PROBE_LIMIT.as_secs());
        Err(StoreError::Trouble(message).into())
    });
    // What is wrong with the store is worth more than what is wrong with cleaning it up.
    let cleaned = probe.clean(&prefix).await;
    result?;
    cleaned?;
    Ok(ProbeReport {
        creates: rounds * RACERS,
        put_median: median(probe.puts),
        get_median: median(probe.gets),
        list_median: median(probe.lists),
    })
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    clock: &'a dyn Clock,
    /// What there may be to delete.
    keys: Vec<String>,
    puts: Vec<Duration>,
    gets: Vec<Duration>,
    lists: Vec<Duration>,
}

impl Probe<'_> {
    async fn run(&mut self, prefix: &str, rounds: usize) -> Result<(), ProbeError> {
        for round in 0..rounds {
            let key = format!("{prefix}{round}");
            self.keys.push(key.clone());
            let winner = self.race(&key).await?;
            self.read(&key, &winner).await?;
            self.list(prefix, &key).await?;
        }
        Ok(())
    }

    /// All race to create one object, each with bytes of its own; returns the bytes that won.
    async fn race(&mut self, key: &str) -> Result<Bytes, ProbeError> {
        let bodies: Vec<Bytes> =
            (0..RACERS).map(|racer| Bytes::from(format!("{key} racer {racer} {:016x}", self.clock.random()))).collect();
        let puts = bodies.iter().map(|body| async {
            let begun = self.clock.now();
            let outcome = self.store.put_if_absent(key, vec![body.clone()]).await;
            (outcome, self.since(begun))
        });
        let mut winners = Vec::new();
        let mut trouble = None;
        for (racer, (outcome, took)) in join_all(puts).await.into_iter().enumerate() {
            self.puts.push(took);
            match outcome {
                Ok(PutOutcome::Created) => winners.push(racer),
                Ok(PutOutcome::Exists) => {}
                Err(error @ StoreError::Refused(_)) => return Err(error.into()),
                // It may have won without being told, as some services answer a lost race.
                Err(error) => trouble = Some(error),
            }
        }
        match (winners[..].len(), trouble) {
            (1, _) => Ok(bodies[winners[0]].clone()),
            (0, Some(error)) => Err(error.into()),
            (0, None) => Err(self.unfit(
                &format!("answered all of {RACERS} writers of a new object that it exists already"),
                "Millstream needs put-if-absent, to be able to write at all",
            )),
            (several, _) => Err(self.unfit(
                &format!("ignores If-None-Match: {several} of {RACERS} writers that raced for one object were all told they created it"),
                "Millstream needs put-if-absent (the object is created by exactly one), because its ledger's order rests on it; \
                 with this store two brokers could each acknowledge records that the other overwrites",
            )),
        }
    }

    async fn read(&mut self, key: &str, expected: &Bytes) -> Result<(), ProbeError> {
        let begun = self.clock.now();
        let all = self.store.get(key, GetRange::All).await;
        self.gets.push(self.since(begun));
        let part = self.store.get(key, GetRange::Span { start: 3, end: 9 }).await;
        let size = u64::try_from(expected.len()).expect("usize fits u64");
        match all {
            Ok((bytes, found)) if bytes == *expected && found == size => {}
            Ok(_) => {
                return Err(self.unfit(
                    "returned other bytes than those of the writer that was told it created the object",
                    "Millstream needs put-if-absent, because its ledger's order rests on it",
                ));
            }
            Err(StoreError::NotFound(_)) => {
                return Err(self.unfit(
                    "does not find an object just created",
                    "Millstream needs reads that see every finished write",
                ));
            }
            Err(error) => return Err(error.into()),
        }
        match part? {
            (bytes, found) if bytes == expected[3..9] && found == size => Ok(()),
            _ => Err(self.unfit("does not serve a range of an object", "Millstream reads parts of large objects")),
        }
    }

    async fn list(&mut self, prefix: &str, key: &str) -> Result<(), ProbeError> {
        let begun = self.clock.now();
        let listed = self.store.list(prefix, "", self.keys.len() + 1).await?;
        self.lists.push(self.since(begun));
        let after = self.store.list(prefix, key, 10).await?;
        if !listed.iter().map(|object| &object.key).eq(self.keys.iter()) {
            return Err(self.unfit(
                "does not list an object just created, in the order of names",
                "Millstream finds the end of its ledger by listing",
            ));
        }
        if after.is_empty() {
            return Ok(());
        }
        Err(self.unfit("does not begin a list where it is told to", "Millstream lists page by page"))
    }

    async fn clean(&self, prefix: &str) -> Result<(), ProbeError> {
        self.store.delete(&self.keys).await?;
        if self.store.list(prefix, "", 1).await?.is_empty() {
            return Ok(());
        }
        Err(self.unfit("still lists objects just deleted", "Millstream reads its listings as the truth"))
    }

    fn unfit(&self, what: &str, why: &str) -> ProbeError {
        ProbeError::Unfit(format!("{}: this store {what}; {why}", self.store.describe()))
    }

    fn since(&self, begun: Micros) -> Duration {
        self.clock.now().since(begun)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::object_store::ObjectMeta;
    use async_trait::async_trait;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// What is wrong with a store in memory.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Flaw {
        None,
        IgnoresCondition,
        ChecksThenWrites,
        LastWriterWins,
        ForgetsInLists,
        IgnoresRanges,
        IgnoresAfter,
        KeepsDeleted,
        AlwaysExists,
        Refuses,
        OneRacerInTrouble,
    }

    struct Flawed {
        flaw: Flaw,
        objects: Mutex<BTreeMap<String, Bytes>>,
        puts: Mutex<usize>,
    }

    #[async_trait]
    impl ObjectStore for Flawed {
        async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
            let body = Bytes::from(parts.concat());
            let exists = self.objects.lock().unwrap().contains_key(key);
            let put = {
                let mut puts = self.puts.lock().unwrap();
                *puts += 1;
                *puts
            };
            match self.flaw {
                Flaw::Refuses => return Err(StoreError::Refused("no such bucket".to_owned())),
                Flaw::AlwaysExists => return Ok(PutOutcome::Exists),
                Flaw::OneRacerInTrouble if put.is_multiple_of(RACERS) => {
                    return Err(StoreError::Trouble("409 ConditionalRequestConflict".to_owned()));
                }
                Flaw::ChecksThenWrites => tokio::task::yield_now().await,
                Flaw::IgnoresCondition => {
                    self.objects.lock().unwrap().insert(key.to_owned(), body);
                    return Ok(PutOutcome::Created);
                }
                Flaw::LastWriterWins if exists => {
                    self.objects.lock().unwrap().insert(key.to_owned(), body);
                    return Ok(PutOutcome::Exists);
                }
                _ => {}
            }
            if exists {
                return Ok(PutOutcome::Exists);
            }
            self.objects.lock().unwrap().insert(key.to_owned(), body);
            Ok(PutOutcome::Created)
        }

        async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
            let objects = self.objects.lock().unwrap();
            let bytes = objects.get(key).cloned().ok_or_else(|| StoreError::NotFound(key.to_owned()))?;
            let size = bytes.len() as u64;
            match range {
                GetRange::Span { start, end } if self.flaw != Flaw::IgnoresRanges => {
                    Ok((bytes.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()), size))
                }
                _ => Ok((bytes, size)),
            }
        }

        async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
            let objects = self.objects.lock().unwrap();
            let found = objects
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .filter(|(key, _)| key.as_str() > after || self.flaw == Flaw::IgnoresAfter)
                .skip(usize::from(self.flaw == Flaw::ForgetsInLists))
                .take(limit)
                .map(|(key, bytes)| ObjectMeta { key: key.clone(), size: bytes.len() as u64 });
            Ok(found.collect())
        }

        async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
            if self.flaw != Flaw::KeepsDeleted {
                self.objects.lock().unwrap().retain(|key, _| !keys.contains(key));
            }
            Ok(())
        }

        async fn make_durable(&self, _prefix: &str) -> Result<(), StoreError> {
            Ok(())
        }

        fn describe(&self) -> String {
            "s3://bucket/".to_owned()
        }
    }

    async fn probe_with(flaw: Flaw) -> (Result<ProbeReport, ProbeError>, usize) {
        let store = Flawed { flaw, objects: Mutex::default(), puts: Mutex::default() };
        let result = probe(&store, &SystemClock::new(), ProbeDepth::Full).await;
        (result, store.objects.into_inner().unwrap().len())
    }

    #[tokio::test]
    async fn a_fit_store_passes_and_is_left_as_it_was() {
        for flaw in [Flaw::None, Flaw::OneRacerInTrouble] {
            let (result, left) = probe_with(flaw).await;
            assert_eq!(result.unwrap_or_else(|error| panic!("{flaw:?}: {error}")).creates, 128);
            assert_eq!(left, 0);
        }
    }

    #[tokio::test]
    async fn each_flaw_is_refused_with_what_and_why() {
        for (flaw, what) in [
            (Flaw::IgnoresCondition, "ignores If-None-Match: 16 of 16 writers"),
            (Flaw::ChecksThenWrites, "ignores If-None-Match: 16 of 16 writers"),
            (Flaw::LastWriterWins, "returned other bytes than those of the writer"),
            (Flaw::ForgetsInLists, "does not list an object just created"),
            (Flaw::IgnoresRanges, "does not serve a range"),
            (Flaw::IgnoresAfter, "does not begin a list where it is told to"),
            (Flaw::KeepsDeleted, "still lists objects just deleted"),
            (Flaw::AlwaysExists, "that it exists already"),
        ] {
            let (result, left) = probe_with(flaw).await;
            let Err(ProbeError::Unfit(message)) = result else { panic!("{flaw:?}: {result:?}") };
            assert!(message.starts_with("s3://bucket/: this store ") && message.contains(what), "{flaw:?}: {message}");
            assert!(message.contains("; Millstream "), "{flaw:?} has no reason: {message}");
            assert_eq!(left, usize::from(flaw == Flaw::KeepsDeleted) * 8, "{flaw:?} left something behind");
        }
        let (result, _) = probe_with(Flaw::Refuses).await;
        assert!(matches!(result, Err(ProbeError::Store(StoreError::Refused(_)))));
    }
}
