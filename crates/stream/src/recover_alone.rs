//! Recovers dead starts' write-ahead logs without serving anybody: `millstream wal recover`.
//!
//! ```text
//! lock the rings ─▶ register ─▶ declare dead ─▶ fence, walk, seal ─▶ upload, commit, forget ─▶ hand the streams on ─▶ leave
//! ```
//! It is a start that serves nobody (`alone`), under the rules of every start, but that it takes only the logs that it was told to, and that
//! the streams stay ownerless until all is committed, when living brokers get them. Where it ends early nothing is lost.
//!
//! The caller has made sure that nobody answers for a start that the ledger takes for alive.

use crate::options::Options;
use crate::recover::{self, Recovery, tenures};
use crate::ring_age::is_ahead_of;
use crate::shared::Shared;
use crate::store::{StartError, WalChoice};
use crate::take_over::{self, Adopted};
use crate::wal::{self, FoundRing, Patience, RingFile};
use crate::{alone, quarantine};
use base::{NodeEpoch, Offset, OffsetRange, StreamId, WalId, WalPosition};
use control::{Ledger, LedgerOptions};
use control_core::{Image, WalState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use world::{ObjectStore, Purpose, World, counted_as, lock};

/// A log that nobody speaks for, or whose start may be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLog {
    /// Which.
    pub wal: WalId,
    /// Where the ledger says that it is.
    pub url: String,
    /// The ring's id; `None`: it lies in the bucket.
    pub ring_id: Option<u128>,
    /// Why it needs recovery.
    pub standing: Standing,
    /// Everything below needs no recovery.
    pub from: WalPosition,
    /// Streams that may have records in it which are in no object.
    pub streams: Vec<StreamId>,
}

/// Why a log needs recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The ledger takes its start for alive, at that address: to be declared dead, if nobody answers there.
    Alive(String),
    /// Its start is dead, and nobody has recovered it.
    Dead,
    /// Who had recovered it died before all was committed.
    Orphaned,
    /// Another recovery has sealed it, this start, which serves nobody: it was cut short, or is still at work.
    Recovering(NodeEpoch),
    /// A broker has sealed it, this start, which the ledger takes for alive at that address, and uploads it: to be declared dead, if nobody
    /// answers there.
    Uploading(NodeEpoch, String),
}

impl Standing {
    /// Who has sealed it without being dead in the ledger.
    #[must_use]
    pub fn recoverer(&self) -> Option<NodeEpoch> {
        match self {
            Standing::Recovering(recoverer) | Standing::Uploading(recoverer, _) => Some(*recoverer),
            Standing::Alive(_) | Standing::Dead | Standing::Orphaned => None,
        }
    }

    /// Where somebody who has it may answer.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self {
            Standing::Alive(address) | Standing::Uploading(_, address) => {
                Some(address.as_str()).filter(|it| !it.is_empty())
            }
            Standing::Dead | Standing::Orphaned | Standing::Recovering(_) => None,
        }
    }
}

/// All of them, by the ledger, but for those that a broker has sealed and uploads.
#[must_use]
pub fn logs_to_recover(image: &Image) -> Vec<DeadLog> {
    let is_uploaded = |log: &DeadLog| matches!(log.standing, Standing::Uploading(..));
    logs_left(image).into_iter().filter(|log| !is_uploaded(log)).collect()
}

/// All of them, those among them that a broker has sealed and uploads, if it lives.
#[must_use]
pub fn logs_left(image: &Image) -> Vec<DeadLog> {
    let standing = |wal: WalId, state: WalState| {
        let alive = |start| image.nodes.get(&start).filter(|_| image.is_alive(start));
        match state {
            WalState::Open => {
                alive(wal.node_epoch).map_or(Standing::Dead, |node| Standing::Alive(node.advertised.clone()))
            }
            WalState::Sealed { recoverer, .. } => match alive(recoverer) {
                Some(node) if node.is_broker() => Standing::Uploading(recoverer, node.advertised.clone()),
                Some(_) => Standing::Recovering(recoverer),
                None => Standing::Orphaned,
            },
        }
    };
    let log = |(wal, record): (&WalId, &Arc<control_core::WalRecord>)| DeadLog {
        wal: *wal,
        url: record.url.clone(),
        ring_id: (!record.in_storage).then_some(record.ring_id),
        standing: standing(*wal, record.state),
        from: record.trim.max(record.start),
        streams: unsettled_in(image, *wal),
    };
    image.wals.iter().map(log).collect()
}

/// Whether who has recovered a log is a broker that lives. A start that serves nobody was cut short, or is replaced by the next one of its kind
/// when that registers.
#[must_use]
pub fn is_with_a_broker(image: &Image, recoverer: NodeEpoch) -> bool {
    image.is_alive(recoverer) && image.nodes.get(&recoverer).is_some_and(|node| node.is_broker())
}

fn unsettled_in(image: &Image, wal: WalId) -> Vec<StreamId> {
    let has = |record: &control_core::StreamRecord| record.tenures.iter().any(|it| it.wal == wal && !it.is_settled());
    image.streams.iter().filter(|(_, record)| has(record)).map(|(id, _)| *id).collect()
}

/// What to recover, and from where.
pub struct RecoverLogs {
    /// Which.
    pub wals: BTreeSet<WalId>,
    /// Starts that have sealed some of them and live by the ledger, though nobody answers for them: to be declared dead. One that is not
    /// named here, as it came meanwhile, keeps what it has sealed.
    pub silent: BTreeSet<NodeEpoch>,
    /// Their rings, wherever they are mounted.
    pub rings: Vec<FoundRing>,
    /// Also a ring that can't be the newest, by what the ledger knows of its log: what the newest has beyond it is lost by that.
    pub older_too: bool,
    /// Which of its owner's logs a stream wants.
    pub choice: WalChoice,
    /// Bounds and periods.
    pub options: Options,
    /// Those of the ledger.
    pub ledger_options: LedgerOptions,
}

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutcome {
    /// All that it held is in the bucket, and the ledger has forgotten it.
    Recovered(LogFound),
    /// Its end is fixed and all is in the bucket but for damaged records: it is kept.
    Damaged(LogFound),
    /// A living broker was faster.
    Others,
    /// It is as it was, for this reason.
    Left(String),
}

/// What a log held from its trim point on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFound {
    /// Where it ends.
    pub end: WalPosition,
    /// Groups.
    pub groups: u64,
    /// Records, committed ones of the last groups among them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What each stream had.
    pub streams: BTreeMap<StreamId, OffsetRange>,
    /// Offsets inside these that no batch covers.
    pub gaps: Vec<(StreamId, OffsetRange)>,
}

/// Recovers these logs; answers for each what became of it, and how many of their streams living brokers have got.
///
/// # Errors
/// A ring can't be opened or another process holds it, the bucket is an older copy, it refuses, or this start was declared dead by a broker
/// that starts; the message says what to do. What was sealed by then is orphaned, and the next start goes on with it.
pub async fn recover_logs(
    world: &World,
    objects: Arc<dyn ObjectStore>,
    request: RecoverLogs,
) -> Result<(BTreeMap<WalId, LogOutcome>, usize), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let ledger = Ledger::open(world, counted_as(&objects, Purpose::Ledger), request.ledger_options.clone())
        .await
        .map_err(|error| failed(&error))?;
    let patience = Patience::new(world, request.options.wal.dead_ring_stalled_max);
    let wals = counted_as(&objects, Purpose::Wal);
    let mut rings = BTreeMap::new();
    for found in &request.rings {
        let place = found.path.display().to_string();
        let asked = quarantine::refuse(world.clock.as_ref(), wals.as_ref(), found.header.ring_id, &place).await;
        asked.map_err(|error| failed(&error))?;
        let ring = RingFile::open_found(world, &patience, found).await.map_err(|error| failed(&error))?;
        rings.insert(found.header.ring_id, ring);
    }
    // Only now is it known that nobody trims these rings any more.
    let opened = ledger.refresh().await.map_err(|error| failed(&error))?;
    if let Some(found) = request.rings.iter().find(|found| is_ahead_of(&found.header, &opened)) {
        return Err(StartError(bucket_is_older(found)));
    }
    let (node_id, node_epoch) = alone::register(world, &objects, &ledger).await?;
    let gone = request.wals.iter().map(|wal| wal.node_epoch).chain(request.silent.iter().copied());
    alone::declare_dead(&ledger, gone).await?;
    let recovery = Recovery {
        world,
        objects: &wals,
        ledger: &ledger,
        node_epoch,
        wals: &[],
        rings: &[],
        patience,
        other_rings: Mutex::new(rings),
        only: Some(request.wals.clone()),
        older_too: request.older_too,
    };
    let holds_deaths = ledger.image();
    let streams: BTreeSet<StreamId> =
        request.wals.iter().flat_map(|wal| tenures(&holds_deaths, *wal).into_keys()).collect();
    let recovered = recover::recover_dead(&recovery, &holds_deaths, &holds_deaths, BTreeMap::new()).await;
    let outcomes = recovered.map_err(|error| failed(&error))?;
    drop(recovery);
    // Whoever declared it dead has what it had sealed, or leaves it to the next one.
    expect_alive(&ledger, node_epoch)?;

    let mut found: BTreeMap<WalId, LogOutcome> = request.wals.iter().map(|wal| (*wal, LogOutcome::Others)).collect();
    found.extend(outcomes.offline.into_iter().map(|(wal, why)| (wal, LogOutcome::Left(why))));
    let options = (&request.options, &request.ledger_options, request.choice);
    let shared = alone::share(world, &objects, options, ledger, (node_id, node_epoch));
    for adopted in outcomes.adopted {
        found.insert(adopted.wal, LogOutcome::Recovered(tell(&adopted)));
        take_over::take_over(&shared, adopted);
    }
    until_committed(&shared).await.or_else(|error| expect_alive(&shared.ledger, node_epoch).and(Err(error)))?;
    for wal in lock(&shared.dead.offline).keys().chain(shared.dead.damaged.borrow().iter()) {
        let outcome = found.remove(wal);
        if let Some(LogOutcome::Recovered(it) | LogOutcome::Damaged(it)) = outcome {
            found.insert(*wal, LogOutcome::Damaged(it));
        }
    }
    let handed_on = alone::hand_on_and_leave(&shared, &streams).await;
    let handed_on = handed_on.or_else(|error| expect_alive(&shared.ledger, node_epoch).and(Err(error)))?;
    Ok((found, handed_on))
}

fn expect_alive(ledger: &Ledger, own: NodeEpoch) -> Result<(), StartError> {
    if !ledger.image().is_dead(own) {
        return Ok(());
    }
    Err(StartError(format!(
        "this recovery, start {own}, was declared dead, by a broker that has started or by another recovery of the same log: nothing is lost; \
         say it again, to see what is left"
    )))
}

/// That the bucket has not heard of the start that writes a ring.
#[must_use]
pub fn bucket_is_older(found: &FoundRing) -> String {
    format!(
        "the write-ahead log {} was written by start {}, which the bucket does not know yet: the bucket is an older copy; bring it back as it \
         was then",
        found.path.display(),
        found.header.wal
    )
}

/// What a log held, by its directories.
fn tell(adopted: &Adopted) -> LogFound {
    let mut found = LogFound { end: adopted.end, ..LogFound::default() };
    let mut reached: BTreeMap<StreamId, Offset> = BTreeMap::new();
    for group in adopted.found.iter().take_while(|group| group.end <= adopted.end) {
        found.groups += 1;
        for (stream, run) in &group.runs {
            found.records += run.records;
            found.bytes += u64::from(run.place.len);
            let range = found.streams.entry(*stream).or_insert(run.range);
            range.next = range.next.max(run.range.next);
            let next = reached.entry(*stream).or_insert(run.range.base);
            if run.range.base > *next {
                found.gaps.push((*stream, OffsetRange::new(*next, run.range.base)));
            }
            *next = run.range.next.max(*next);
        }
    }
    found
}

/// Resolves when nothing more will be uploaded.
async fn until_committed(shared: &Arc<Shared>) -> Result<(), StartError> {
    let (mut recovering, mut damaged) = (shared.dead.recovering.subscribe(), shared.dead.damaged.subscribe());
    loop {
        if *recovering.borrow_and_update() <= damaged.borrow_and_update().len() {
            break;
        }
        tokio::select! {
            biased;
            _ = recovering.changed() => {}
            _ = damaged.changed() => {}
            reason = shared.until_stopped() => return Err(StartError(reason)),
        }
    }
    // The task that could not go on has ended too.
    let stopped = shared.stopped.borrow().clone();
    stopped.map_or(Ok(()), |reason| Err(StartError(reason)))
}

/// Objects of a log in the bucket from a position on, and their bytes, as a listing shows them.
///
/// # Errors
/// The store's.
pub async fn log_objects(
    store: &dyn ObjectStore,
    wal: WalId,
    from: WalPosition,
) -> Result<(u64, u64), world::StoreError> {
    let mut pages = world::Pages::new(store, crate::keys::wal_prefix(wal), 1000);
    let (mut objects, mut bytes) = (0, 0);
    while let Some(page) = pages.next().await? {
        for object in page.iter().filter(|it| !wal::is_fence(it) && !wal::object_ends_by(&it.key, from)) {
            objects += 1;
            bytes += object.size;
        }
    }
    Ok((objects, bytes))
}
