//! Rebuilds a cluster's image from its bucket: `millstream restore`.
//!
//! ```text
//! survey of the ledger ─┐
//! data objects' indexes ┼─▶ plan: what there is, what is missing ─▶ (told to) fence logs, put their tails, copy, put one snapshot
//! logs, rings that are named ─┘
//! ```
//! Where all of the ledger folds, its image is the image, and nothing else is asked. Where something is missing or damaged, what folds is
//! the base, and objects say the rest: which offsets of which streams they hold. What is written is one snapshot above every number that
//! is there (see `control::survey`); nothing is overwritten and nothing deleted.
//!
//! What can't be known without the ledger is told, never guessed: names and settings of topics, start offsets and deletions that came
//! after what folds. Records that had been deleted may be back; none is made up.

mod assemble;
mod cover;
mod find;
mod tails;

pub use assemble::StreamTold;

use crate::keys::{ABANDONED_PREFIX, WAL_PREFIX, data_key};
use crate::quarantine;
use crate::wal::{self, FoundRing};
use assemble::{Frame, NamedTopic, assemble};
use base::{LedgerEpoch, LedgerSeq, NodeEpoch, ObjectId, StreamId, TopicId, WalId};
use control::{LedgerError, Survey};
use control_core::{Command, Image};
use find::{Found, LogPlace, find_logs, find_objects, find_ring};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream_core::object::StateEntry;
use tails::{TailBatch, Writer, read_state};
use world::{ClockExt, GetRange, ObjectStore, Pages, PutOutcome, StoreError, World};

/// Producer ids that are passed over where the ledger does not say which were handed out: far more than brokers take in advance.
const PRODUCER_IDS_SKIPPED: i64 = 1_000_000;

/// Numbers of starts and streams that are passed over likewise: who had one that is not known must not meet another of the same number.
pub(super) const NUMBERS_SKIPPED: u64 = 1_000_000;
/// Entries that are passed over. Whoever led until now finds the snapshot above all that it can write, and stops (rule A-1), also where
/// the newest entries are gone without a trace.
const ENTRIES_SKIPPED: u64 = 1 << 40;

/// Why it can't be done: one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> RestoreError {
        RestoreError(error.to_string())
    }
}

impl From<LedgerError> for RestoreError {
    fn from(error: LedgerError) -> RestoreError {
        RestoreError(error.to_string())
    }
}

/// What to go by.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Rings of brokers that were not stopped.
    pub rings: Vec<FoundRing>,
    /// Names for streams whose topic is not known: their partitions in order, and whether it is the broker's own.
    pub topics: BTreeMap<String, (Vec<StreamId>, bool)>,
    /// Asks the objects, though the ledger seems whole: entries may have been taken from its end.
    pub ask_objects: bool,
}

/// How much of the ledger is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Brokers read it as it is.
    Whole,
    /// Brokers refuse it, but all of it folds: nothing is lost.
    Folds,
    /// Something is lost, or objects were to be asked: what folds, and what they say.
    Rebuilt,
}

/// How much of the ledger is known to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerLoss {
    /// Nothing that would have left a trace.
    Nothing,
    /// What comes behind that which folds.
    Part,
    /// Nothing of it folds.
    All,
}

/// What a restore would write, and what it rests on.
pub struct RestorePlan {
    /// What the ledger comes to.
    pub survey: Survey,
    /// How much of it is left.
    pub verdict: Verdict,
    /// How much is known to be gone: where nothing is, it is rebuilt only because that was asked for.
    pub loss: LedgerLoss,
    /// What is to be written.
    pub image: Image,
    /// Its streams; empty where the ledger is all of it.
    pub streams: BTreeMap<StreamId, StreamTold>,
    /// Records that only logs have, and will be in objects of their own.
    pub tail_records: u64,
    /// Logs that were looked into, and what is wrong with each.
    pub logs: Vec<(WalId, Vec<String>)>,
    /// Logs that the ledger knew of and that nobody has looked into: what only they hold is lost, unless they are named.
    /// Its start is not known where only an entry that does not fold names it.
    pub logs_missing: Vec<(Option<WalId>, String)>,
    /// Whether there may have been rings that nothing names any more: a part of the ledger may be gone, and none was given.
    pub rings_unknown: bool,
    /// Data objects that can't be read.
    pub unreadable: Vec<(ObjectId, String)>,
    /// Data objects that a ledger which is whole refers to, and that can't be read: what they held is lost.
    pub lost: Vec<ObjectId>,
    /// Data objects that the image does not refer to: brokers delete them in time.
    pub unreferenced: usize,
    /// Of these, such as the ledger can't have known: their starts are newer than it.
    pub newer_than_ledger: usize,
    /// Starts newer than the ledger, by logs in the bucket and by the rings that were named.
    pub newer_logs: usize,
    /// Bytes of the objects that the image refers to.
    pub bytes: u64,
    /// Streams of topics that were deleted, which objects still hold.
    pub deleted_streams: usize,
    /// Topics that the ledger does not know and that get a new id therefore, by the names that were given or made up. What groups have
    /// committed of them is of topics that are gone.
    pub topics_anew: Vec<String>,
    /// Where brokers were last known to live.
    pub addresses: BTreeSet<String>,
    found: Found,
    tails: Vec<TailBatch>,
    frame: Frame,
    rings: Vec<FoundRing>,
}

/// Looks at everything, and decides what there is to write.
///
/// # Errors
/// The store or a ring can't be read, or something there is of a newer release, or of another cluster.
pub async fn plan_restore(
    world: &World,
    store: &Arc<dyn ObjectStore>,
    request: &RestoreRequest,
) -> Result<RestorePlan, RestoreError> {
    let survey = control::survey(store.as_ref()).await?;
    let mut found = Found::default();
    find_objects(store, &mut found).await?;
    let newer = |id: &ObjectId| id.node_epoch >= survey.image.next_node_epoch;
    let newer_than_ledger = found.objects.keys().filter(|id| newer(id)).count();
    let mut starts = find::starts_of_logs(store).await?;
    starts.extend(request.rings.iter().map(|ring| ring.header.wal.node_epoch));
    let newer_logs = starts.iter().filter(|start| **start >= survey.image.next_node_epoch).count();
    let loss = loss(&survey, newer_than_ledger > 0 || newer_logs > 0);
    let verdict = match loss {
        LedgerLoss::Nothing if request.ask_objects => Verdict::Rebuilt,
        LedgerLoss::Nothing if survey.is_whole() => Verdict::Whole,
        LedgerLoss::Nothing => Verdict::Folds,
        LedgerLoss::Part | LedgerLoss::All => Verdict::Rebuilt,
    };
    check_rings(&survey, &request.rings)?;
    find_given_up(store, request, &mut found).await?;
    if verdict == Verdict::Rebuilt {
        find_logs(store, &mut found).await?;
        for ring in &request.rings {
            let looked = find_ring(world.disk.as_ref(), ring, &mut found).await;
            looked.map_err(|error| RestoreError(error.to_string()))?;
        }
    }
    let frame = frame(world, store, &survey, &found, verdict, request).await?;
    check_names(&survey.image, &found, &frame, verdict)?;
    let mut tails = Vec::new();
    let (image, streams) = match verdict {
        Verdict::Whole => (survey.image.clone(), BTreeMap::new()),
        Verdict::Folds => (of_free_number(&survey), BTreeMap::new()),
        Verdict::Rebuilt => {
            tails = tails::choose(&found, &survey.image);
            let id = ObjectId { node_epoch: frame.start, counter: 0 };
            let imagined = BTreeMap::from([(id, tails::imagined(&tails, id))]);
            assemble(&survey.image, &found, &imagined, &frame)
        }
    };
    let unreferenced =
        found.objects.keys().filter(|id| !image.objects.contains_key(*id) && !image.dead_objects.contains_key(*id));
    Ok(RestorePlan {
        verdict,
        loss,
        tail_records: tails.iter().map(|batch| u64::from(batch.entry.records)).sum(),
        logs: found.logs.iter().map(|log| (log.wal, log.problems.clone())).collect(),
        logs_missing: logs_missing(&survey, &found, &request.rings, verdict),
        rings_unknown: verdict == Verdict::Rebuilt && request.rings.is_empty(),
        unreadable: found.unreadable.clone(),
        lost: match verdict {
            Verdict::Rebuilt => Vec::new(),
            _ => image.objects.keys().filter(|id| !found.objects.contains_key(*id)).copied().collect(),
        },
        unreferenced: unreferenced.count(),
        newer_than_ledger,
        newer_logs,
        bytes: image.objects.values().map(|record| record.size).sum(),
        deleted_streams: deleted_streams(&survey.image, &found, verdict),
        addresses: addresses(&survey),
        topics_anew: topics_anew(&survey.image, &image),
        image,
        streams,
        survey,
        found,
        tails,
        frame,
        rings: request.rings.clone(),
    })
}

/// `is_newer`: whether something is there of a start that the ledger does not know, so that its end is missing.
fn loss(survey: &Survey, is_newer: bool) -> LedgerLoss {
    match survey.folds_to_its_end() && !is_newer {
        true => LedgerLoss::Nothing,
        false if survey.image.seq == LedgerSeq(0) => LedgerLoss::All,
        false => LedgerLoss::Part,
    }
}

/// Rings that were given up; that none of them is named.
async fn find_given_up(
    store: &Arc<dyn ObjectStore>,
    request: &RestoreRequest,
    found: &mut Found,
) -> Result<(), RestoreError> {
    for (key, marker) in quarantine::markers(store).await? {
        match marker {
            Ok(marker) => found.given_up.push(marker),
            Err(why) => tracing::warn!(key, why, "what says that a write-ahead log was given up is passed over"),
        }
    }
    let named = request.rings.iter().find_map(|ring| Some((ring, found.marker_of(ring.header.ring_id)?)));
    named.map_or(Ok(()), |(ring, marker)| {
        Err(RestoreError(quarantine::refusal(&ring.path.display().to_string(), marker)))
    })
}

/// A ring of another cluster would mix its records into this one.
fn check_rings(survey: &Survey, rings: &[FoundRing]) -> Result<(), RestoreError> {
    let Some(cluster) = cluster_of(survey) else { return Ok(()) };
    match rings.iter().find(|ring| ![0, cluster].contains(&ring.header.cluster_id)) {
        Some(other) => Err(RestoreError(format!("{} belongs to another cluster", other.path.display()))),
        None => Ok(()),
    }
}

fn cluster_of(survey: &Survey) -> Option<u128> {
    let by_image = Some(survey.image.cluster_id).filter(|id| *id != 0);
    by_image.or(survey.format.map(|format| format.cluster_id))
}

async fn frame(
    world: &World,
    store: &Arc<dyn ObjectStore>,
    survey: &Survey,
    found: &Found,
    verdict: Verdict,
    request: &RestoreRequest,
) -> Result<Frame, RestoreError> {
    let clock = world.clock.as_ref();
    let mut term = survey.image.leader.epoch;
    // A stray object of an impossible number must not leave none to be given.
    let possible = found.starts.iter().copied().filter(|start| start.0 < u64::MAX / 2);
    let mut seen: Vec<NodeEpoch> = possible.chain([survey.image.next_node_epoch]).collect();
    for entry in &survey.beyond {
        term = term.max(entry.epoch);
        seen.extend(entry.commands.iter().map(|(id, _)| id.requester));
    }
    let named = request.topics.iter().map(|(name, (partitions, internal))| {
        let id = TopicId(u128::from(clock.random()) << 64 | u128::from(clock.random()));
        (name.clone(), NamedTopic { id, partitions: partitions.clone(), internal: *internal })
    });
    Ok(Frame {
        seq: LedgerSeq(survey.highest().0.saturating_add(ENTRIES_SKIPPED)),
        nonce: clock.nonce(),
        cluster_id: cluster_of(survey).unwrap_or_else(|| u128::from(clock.random()) << 64 | u128::from(clock.random())),
        term: LedgerEpoch(term.0.saturating_add(NUMBERS_SKIPPED)),
        // Of starts that left no trace, or only one in an entry, the number is not known.
        start: NodeEpoch(seen.iter().map(|epoch| epoch.0).max().unwrap_or_default().saturating_add(NUMBERS_SKIPPED)),
        next_producer_id: match verdict {
            Verdict::Whole | Verdict::Folds => survey.image.next_producer_id,
            Verdict::Rebuilt => next_producer_id(store, survey, found).await?,
        },
        named: named.collect(),
    })
}

/// Above every id that was handed out, as far as that is known, and far above where it is not.
async fn next_producer_id(store: &Arc<dyn ObjectStore>, survey: &Survey, found: &Found) -> Result<i64, RestoreError> {
    let in_logs = found.logs.iter().flat_map(|log| &log.entries).filter_map(|(entry, _)| entry.producer);
    let next = survey.image.next_producer_id;
    let mut next = in_logs.map(|delta| delta.producer_id.saturating_add(1)).fold(next, i64::max);
    for (id, object) in &found.objects {
        for state in &object.states {
            // One that is damaged says nothing, and is told of where its producers are needed.
            if let Ok(producers) = read_state(store, *id, state).await {
                next = next.max(producers.greatest_id().map_or(0, |id| id.saturating_add(1)));
            }
        }
    }
    Ok(next.saturating_add(PRODUCER_IDS_SKIPPED))
}

/// Streams can only be named that nobody else names.
fn check_names(base: &Image, found: &Found, frame: &Frame, verdict: Verdict) -> Result<(), RestoreError> {
    let wrong = |line: String| Err(RestoreError(line));
    if verdict != Verdict::Rebuilt && !frame.named.is_empty() {
        return wrong("--topic: the ledger knows all of its topics".to_owned());
    }
    let held: BTreeSet<StreamId> = found
        .objects
        .values()
        .flat_map(|it| &it.parts)
        .map(|(stream, _)| *stream)
        .chain(found.streams_in_logs())
        .collect();
    let mut seen = BTreeSet::new();
    for (name, NamedTopic { partitions: streams, .. }) in &frame.named {
        if base.topic_names.contains_key(name) {
            return wrong(format!("--topic {name}: the ledger knows a topic of that name"));
        }
        if !streams.iter().any(|stream| held.contains(stream)) {
            return wrong(format!("--topic {name}: nothing in the bucket is of any of its streams"));
        }
        for stream in streams {
            if base.streams.contains_key(stream) || base.is_deleted(*stream) {
                return wrong(format!("--topic {name}: the ledger knows what stream {stream} is"));
            }
            if !seen.insert(*stream) {
                return wrong(format!("--topic {name}: stream {stream} is named twice"));
            }
        }
    }
    Ok(())
}

/// The same image under a number that no snapshot has.
fn of_free_number(survey: &Survey) -> Image {
    let mut image = survey.image.clone();
    if survey.snapshots.get(&image.seq).is_some_and(Option::is_some) {
        image.seq = image.seq.next();
    }
    image
}

/// Rings that were not looked into, by the ledger and by the entries beyond that can't be folded: of these the start is not known.
fn logs_missing(survey: &Survey, found: &Found, rings: &[FoundRing], verdict: Verdict) -> Vec<(Option<WalId>, String)> {
    if verdict != Verdict::Rebuilt {
        return Vec::new();
    }
    let is_missed =
        |ring_id: u128| found.marker_of(ring_id).is_none() && rings.iter().all(|ring| ring.header.ring_id != ring_id);
    let mut missing = Vec::new();
    let mut seen = BTreeSet::new();
    for (wal, record) in &survey.image.wals {
        seen.insert(record.ring_id);
        if !record.in_storage && !record.is_spent() && is_missed(record.ring_id) {
            missing.push((Some(*wal), record.url.clone()));
        }
    }
    let registered = survey.beyond.iter().flat_map(|entry| &entry.commands).filter_map(|(_, command)| match command {
        Command::Register { wals, .. } => Some(wals),
        _ => None,
    });
    for log in registered.flatten().filter(|log| !log.in_storage) {
        if is_missed(log.ring_id) && seen.insert(log.ring_id) {
            missing.push((None, log.url.clone()));
        }
    }
    missing
}

fn deleted_streams(base: &Image, found: &Found, verdict: Verdict) -> usize {
    if verdict != Verdict::Rebuilt {
        return 0;
    }
    let all = found.objects.values().flat_map(|object| &object.parts).map(|(stream, _)| *stream);
    all.filter(|stream| base.is_deleted(*stream)).collect::<BTreeSet<_>>().len()
}

fn topics_anew(base: &Image, image: &Image) -> Vec<String> {
    let anew = image.topics.iter().filter(|(id, topic)| !topic.internal && !base.topics.contains_key(*id));
    let mut names: Vec<String> = anew.map(|(_, topic)| topic.name.clone()).collect();
    names.sort();
    names
}

fn addresses(survey: &Survey) -> BTreeSet<String> {
    let living = survey.image.living().map(|(_, node)| node.advertised.clone());
    let later = survey.beyond.iter().flat_map(|entry| &entry.commands).filter_map(|(_, command)| match command {
        Command::Register { advertised, .. } => Some(advertised.clone()),
        _ => None,
    });
    living.chain(later).filter(|address| !address.is_empty()).collect()
}

impl Found {
    fn streams_in_logs(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.logs.iter().flat_map(|log| &log.entries).map(|(entry, _)| entry.stream)
    }

    fn entries_of_logs(&self) -> BTreeMap<WalId, usize> {
        let mut entries: BTreeMap<WalId, usize> = BTreeMap::new();
        for log in &self.logs {
            *entries.entry(log.wal).or_default() += log.entries.len();
        }
        entries
    }

    /// Saved state of a stream's producers, in whatever object it is.
    fn states_of(&self, stream: StreamId) -> Vec<(ObjectId, StateEntry)> {
        let all = self.objects.iter().flat_map(|(id, object)| object.states.iter().map(move |state| (*id, *state)));
        all.filter(|(_, state)| state.stream == stream).collect()
    }
}

impl RestorePlan {
    /// Writes the image: into the bucket itself, or, with all that it refers to, into another one that must be empty.
    /// Answers the image as it was written.
    ///
    /// # Errors
    /// There is nothing to do, the other bucket is in use, something has changed meanwhile, or the store's. Nothing counts before the last
    /// step, so it may be done again.
    pub async fn execute(
        mut self,
        world: &World,
        store: &Arc<dyn ObjectStore>,
        to: Option<&Arc<dyn ObjectStore>>,
    ) -> Result<Image, RestoreError> {
        if let Some(to) = to
            && control::is_taken(to.as_ref()).await?
        {
            return Err(RestoreError(format!("{} holds a cluster already: give an empty place", to.describe())));
        }
        if let (None, Some(problem)) = (to, &self.survey.format_problem) {
            return Err(RestoreError(format!(
                "{problem}: nothing is overwritten, so move that object away, or give another place by --to"
            )));
        }
        let target = to.unwrap_or(store);
        let mut image = self.image.clone();
        let mut written = BTreeMap::new();
        if self.verdict == Verdict::Rebuilt {
            if to.is_none() {
                self.fence_logs(world, store).await?;
            }
            let start = self.frame.start;
            let mut writer = Writer { world, from: store, to: target, start, next: 0 };
            written = writer.write(&self.found, std::mem::take(&mut self.tails)).await?;
            (image, _) = assemble(&self.survey.image, &self.found, &written, &self.frame);
        }
        if to.is_some() {
            if self.verdict != Verdict::Rebuilt {
                image = assemble::copied(&image);
            }
            let written: BTreeSet<ObjectId> = written.into_keys().collect();
            self.copy(store, target, &image, &written).await?;
        }
        let problems = control_core::check(&image);
        if let Some(problem) = problems.first() {
            return Err(RestoreError(format!(
                "what was rebuilt contradicts itself, which is a bug, and was not written: {problem}"
            )));
        }
        if to.is_none() {
            self.nothing_has_moved(store).await?;
        }
        control::put_image(target.as_ref(), &image).await?;
        Ok(image)
    }

    /// Somebody who wrote to the ledger meanwhile goes on by an image of his own.
    async fn nothing_has_moved(&self, store: &Arc<dyn ObjectStore>) -> Result<(), RestoreError> {
        let now = control::highest(store.as_ref()).await?;
        if now != self.survey.highest() {
            return Err(RestoreError(format!(
                "ledger number {now} has been written meanwhile: a broker runs, or another restore; stop it and look again"
            )));
        }
        Ok(())
    }

    /// Logs in the bucket that the ledger knows, or that were found there, and from where on to walk each of them.
    fn bucket_logs_to_fence(&self) -> BTreeMap<WalId, base::WalPosition> {
        let known = self.survey.image.wals.iter().filter(|(_, record)| record.in_storage && !record.is_spent());
        let mut logs: BTreeMap<_, _> = known.map(|(wal, record)| (*wal, record.trim.max(record.start))).collect();
        for log in &self.found.logs {
            match log.place {
                LogPlace::Bucket { fenced: true, .. } => drop(logs.remove(&log.wal)),
                LogPlace::Bucket { fenced: false, first } => drop(logs.insert(log.wal, first)),
                LogPlace::Ring(_) => {}
            }
        }
        logs
    }

    /// Nobody that still runs can have anything acknowledged by a log whose tail is taken, and nobody had since it was looked into.
    async fn fence_logs(&self, world: &World, store: &Arc<dyn ObjectStore>) -> Result<(), RestoreError> {
        for (wal, from) in self.bucket_logs_to_fence() {
            let fenced = wal::recover_objects(world, store, wal, from).await;
            fenced.map_err(|error| {
                RestoreError(format!(
                    "{error}; it can't be fenced so: move that object to a safe place, and say it again"
                ))
            })?;
        }
        let failed = |error: &dyn std::fmt::Display| RestoreError(error.to_string());
        let patience = wal::Patience::new(world, tails::RING_STALLED_MAX);
        let mut again = Found::default();
        find_logs(store, &mut again).await?;
        for ring in &self.rings {
            // A process that still writes to it holds its lock; where hosts share it, the control block stops it.
            let open = wal::RingFile::open_found(world, &patience, ring).await.map_err(|error| failed(&error))?;
            if open.is_shared() {
                open.fence(self.frame.start).await.map_err(|error| failed(&error))?;
            }
            find_ring(world.disk.as_ref(), ring, &mut again).await.map_err(|error| failed(&error))?;
        }
        let (before, now) = (self.found.entries_of_logs(), again.entries_of_logs());
        match now.iter().find(|(wal, entries)| before.get(*wal).unwrap_or(&0) != *entries) {
            None => Ok(()),
            Some((wal, _)) => Err(RestoreError(format!(
                "the write-ahead log {wal} has changed since it was looked into, and is fenced now: a broker ran; say it again"
            ))),
        }
    }

    /// What the image refers to, the logs in the bucket that it still knows, and what says that others were given up.
    async fn copy(
        &self,
        from: &Arc<dyn ObjectStore>,
        to: &Arc<dyn ObjectStore>,
        image: &Image,
        written: &BTreeSet<ObjectId>,
    ) -> Result<(), RestoreError> {
        for id in image.objects.keys().filter(|id| !written.contains(*id)) {
            copy_one(from, to, &data_key(*id)).await?;
        }
        copy_all(from, to, ABANDONED_PREFIX).await?;
        if self.verdict == Verdict::Rebuilt {
            return Ok(());
        }
        copy_all(from, to, WAL_PREFIX).await
    }
}

async fn copy_all(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>, prefix: &str) -> Result<(), RestoreError> {
    let mut pages = Pages::new(from.as_ref(), prefix, 1000);
    while let Some(page) = pages.next().await? {
        for object in page {
            copy_one(from, to, &object.key).await?;
        }
    }
    Ok(())
}

async fn copy_one(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>, key: &str) -> Result<(), RestoreError> {
    let (bytes, size) = match from.get(key, GetRange::All).await {
        Ok(read) => read,
        Err(StoreError::NotFound(_)) => {
            return Err(RestoreError(format!(
                "{key} is referred to and not in the bucket: bring it back, stop brokers that run, or say --ask-objects to do without it"
            )));
        }
        Err(error) => return Err(error.into()),
    };
    if bytes.len() as u64 != size {
        return Err(RestoreError(format!("{key}: a short answer; try again")));
    }
    if to.put_if_absent(key, vec![bytes.clone()]).await? == PutOutcome::Exists {
        let (there, _) = to.get(key, GetRange::All).await?;
        if there != bytes {
            return Err(RestoreError(format!("{key} is in {} already, and is something else", to.describe())));
        }
    }
    Ok(())
}
