//! Brokers of one bucket watch one another: each asks some of the others whether they serve, and declares dead who is silent for too long.
//!
//! ```text
//! ask ─▶ what was heard ─▶ suspicion ─▶ read the ledger, declare dead ─▶ succession: recover, open
//! ```
//! Guarantees: nobody is declared dead but by the ledger, of an image as new as the decision; a broker that is alone asks nobody, has no
//! timer and makes no request to the store. Leaves to others: whom to watch and whose turn it is (`heirs`), when silence is too long
//! (`suspicion`), what becomes of the dead one's logs and streams (`succession`), and how a broker is asked (the caller's [`Watch::ask`]).

use crate::heirs;
use crate::options::WatchTimes;
use crate::shared::Shared;
use crate::succession::Succession;
use crate::suspicion::{Heard, Look, Suspicion, Watched};
use base::NodeEpoch;
use control::Ledger;
use control_core::{Command, Image};
use futures::future::{BoxFuture, join, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::ClockExt;

/// Who comes one place later declares so many looks later, where those before it have not.
const LOOKS_A_PLACE: u32 = 2;

/// So many timeouts as patient with a broker at whose address connections are still taken: its process is there, and does not get to
/// answer. Bounded, as what takes them may be another process, or something between that knows of no broker.
const HELD_UP_FACTOR: u32 = 5;

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A broker serves there.
    Answered,
    /// Nothing came, or nobody is there.
    Silent,
    /// It did not get as far as that, for a reason that lies here.
    NotAsked(String),
    /// There is no way to it: this host may have no network, or a router not know that of the other one. Whoever answers meanwhile tells which.
    NoWay(String),
}

/// Asks whoever serves at an advertised address.
pub type Ask = Arc<dyn Fn(String) -> BoxFuture<'static, Asked> + Send + Sync>;

/// Whether a connection to an advertised address is taken by whatever is there.
pub type Connects = Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>;

/// How other brokers are watched.
#[derive(Clone)]
pub struct Watch {
    /// How one is asked. It is given a timeout's time, and is silence then.
    pub ask: Ask,
    /// How it is seen that one which does not answer is there all the same. It is given an interval's time.
    pub connects: Connects,
    /// When silence is too long.
    pub times: WatchTimes,
}

struct Watcher {
    shared: Arc<Shared>,
    watch: Watch,
    suspicion: Suspicion,
    succession: Succession,
    /// Those who are being asked.
    asking: BTreeSet<NodeEpoch>,
    questions: FuturesUnordered<BoxFuture<'static, (NodeEpoch, Asked)>>,
    /// What was heard since the last look.
    heard: BTreeMap<NodeEpoch, Asked>,
    /// How many questions in a row got nowhere.
    unasked: BTreeMap<NodeEpoch, u32>,
    /// How many looks each has been suspected for.
    suspected: BTreeMap<NodeEpoch, u32>,
}

/// Runs until this start ends.
pub(crate) async fn watch(shared: Arc<Shared>, watch: Watch) {
    let mut watcher = Watcher {
        suspicion: Suspicion::new(watch.times),
        succession: Succession::new(shared.clone(), watch.times),
        shared: shared.clone(),
        watch,
        asking: BTreeSet::new(),
        questions: FuturesUnordered::new(),
        heard: BTreeMap::new(),
        unasked: BTreeMap::new(),
        suspected: BTreeMap::new(),
    };
    tokio::select! {
        biased;
        _ = shared.until_stopped() => {}
        () = watcher.run() => {}
    }
}

impl Watcher {
    /// Ends with the ledger.
    async fn run(&mut self) {
        let clock = self.shared.world.clock.clone();
        let mut images = self.shared.ledger.watch();
        loop {
            let image = images.borrow_and_update().clone();
            self.succession.follow(&image);
            if heirs::watched(&image, self.shared.node_epoch).is_empty() && !self.succession.has_work(&image) {
                if images.changed().await.is_err() {
                    return;
                }
                self.suspicion.rests();
                continue;
            }
            self.ask();
            self.listen(clock.sleep(self.watch.times.interval)).await;
            self.look().await;
        }
    }

    /// Begins a question to each of those that are watched and not being asked.
    fn ask(&mut self) {
        for (epoch, address) in heirs::watched(&self.shared.ledger.image(), self.shared.node_epoch) {
            if self.asking.insert(epoch) {
                let (clock, limit) = (self.shared.world.clock.clone(), self.watch.times.timeout);
                let asked = (self.watch.ask)(address);
                let answered = async move { (epoch, clock.timeout(limit, asked).await.unwrap_or(Asked::Silent)) };
                self.questions.push(Box::pin(answered));
            }
        }
    }

    /// Hears until it is time to look.
    async fn listen(&mut self, until: BoxFuture<'static, ()>) {
        let mut until = until;
        loop {
            tokio::select! {
                // What has come is heard, however late this process is.
                biased;
                Some((epoch, asked)) = self.questions.next() => {
                    self.asking.remove(&epoch);
                    self.log_unasked(epoch, &asked);
                    self.heard.insert(epoch, asked);
                }
                () = &mut until => return,
            }
        }
    }

    /// At the first that got nowhere, then at each doubling: it is asked several times a second, for as long as that lasts.
    fn log_unasked(&mut self, epoch: NodeEpoch, asked: &Asked) {
        let (Asked::NotAsked(why) | Asked::NoWay(why)) = asked else {
            self.unasked.remove(&epoch);
            return;
        };
        let times = self.unasked.entry(epoch).or_default();
        *times = times.saturating_add(1);
        if times.is_power_of_two() {
            tracing::warn!(start = %epoch, times, why, "can't ask another broker whether it serves");
        }
    }

    /// What was heard since the last look of those that are watched now.
    fn take_heard(&mut self, image: &Image) -> BTreeMap<NodeEpoch, Watched> {
        let mut heard = std::mem::take(&mut self.heard);
        let is_connected = heard.values().any(|asked| *asked == Asked::Answered);
        let mut watched = BTreeMap::new();
        for epoch in heirs::watched(image, self.shared.node_epoch).into_keys() {
            let heard = match heard.remove(&epoch) {
                Some(Asked::Answered) => Heard::Answer,
                // This host has a network: what is missing is the other one's.
                Some(Asked::NoWay(_)) if is_connected => Heard::Silence,
                Some(Asked::NotAsked(_) | Asked::NoWay(_)) => Heard::NotAsked,
                Some(Asked::Silent) => Heard::Silence,
                None if self.asking.contains(&epoch) => Heard::Silence,
                None => continue,
            };
            watched.insert(epoch, Watched { heard, can_be_followed: heirs::can_be_followed(image, epoch) });
        }
        self.unasked.retain(|epoch, _| watched.contains_key(epoch));
        watched
    }

    async fn look(&mut self) {
        let image = self.shared.ledger.image();
        let watched = self.take_heard(&image);
        match self.suspicion.look(self.shared.world.clock.now(), &watched) {
            Look::Slept(slept) => {
                tracing::info!(?slept, "this broker was held up for a while: begins anew to see who lives");
                self.suspected.clear();
                // Others may have declared it dead meanwhile: it is to know at once.
                read(self.shared.ledger.clone()).await;
            }
            Look::Suspects(suspects) => self.suspect(suspects).await,
        }
        let suspicion = &self.suspicion;
        let silent = heirs::brokers(&image).into_iter().filter(|epoch| suspicion.is_silent(*epoch)).collect();
        self.succession.look(&silent).await;
    }

    /// Those of them that are there and do not get to answer, and whose time is not over for that.
    fn held_up(&self, suspects: &[(NodeEpoch, Duration)]) -> impl Future<Output = BTreeSet<NodeEpoch>> + Send + use<> {
        let (image, clock, times) = (self.shared.ledger.image(), self.shared.world.clock.clone(), self.watch.times);
        let mut tried = Vec::new();
        for (epoch, _) in suspects.iter().filter(|(_, silent)| *silent < times.timeout * HELD_UP_FACTOR) {
            if let Some(node) = image.nodes.get(epoch) {
                tried.push((*epoch, (self.watch.connects)(node.advertised.clone())));
            }
        }
        async move {
            let connected = tried.into_iter().map(async |(epoch, connects)| {
                (clock.timeout(times.interval, connects).await == Some(true)).then_some(epoch)
            });
            join_all(connected).await.into_iter().flatten().collect()
        }
    }

    /// Declares them dead, or leaves them to whose turn it is for another look.
    async fn suspect(&mut self, suspects: Vec<(NodeEpoch, Duration)>) {
        self.suspected.retain(|epoch, _| suspects.iter().any(|(suspect, _)| suspect == epoch));
        if suspects.is_empty() {
            return;
        }
        // It may have said good-bye, or come back as another start, or this start be dead itself.
        let clock = &self.shared.world.clock;
        let (began, held_up) = (clock.now(), self.held_up(&suspects));
        let (image, held_up) = join(read(self.shared.ledger.clone()), held_up).await;
        let took = clock.now().since(began);
        if took >= self.watch.times.timeout {
            // What was heard before that is worth nothing now: where brokers lose one another and the bucket at once, and find both again,
            // each would declare all others dead.
            tracing::info!(?took, "the ledger was out of reach: begins anew to see who lives");
            self.suspected.clear();
            return;
        }
        let Some(image) = image else { return };
        let own = self.shared.node_epoch;
        let mut dead = Vec::new();
        for (epoch, silent) in suspects.into_iter().filter(|(epoch, _)| !held_up.contains(epoch)) {
            let looks = self.suspected.entry(epoch).or_default();
            *looks += 1;
            if image.is_dead(own) {
                return;
            }
            let others = heirs::declarers_before(&image, own, epoch, |other| self.suspicion.is_silent(other));
            let Some(node) = image.nodes.get(&epoch).filter(|_| image.is_alive(epoch)) else { continue };
            if *looks > u32::try_from(others).unwrap_or(u32::MAX).saturating_mul(LOOKS_A_PLACE) {
                let (broker, address) = (node.node_id.0, &node.advertised);
                let then = match heirs::can_be_followed(&image, epoch) {
                    true => "its partitions go to others",
                    false => "nobody else can read its write-ahead log, so that its partitions wait for it",
                };
                tracing::warn!(broker, address, start = %epoch, ?silent, "a broker does not answer: declares it dead; {then}");
                dead.push(epoch);
            }
        }
        if !dead.is_empty() {
            let declared = self.shared.ledger.submit(Command::DeclareDead { node_epochs: dead }).await;
            if let Err(error) = declared {
                tracing::warn!(%error, "can't declare a broker dead; tries again");
            }
        }
    }
}

/// The newest image; `None` where it can't be read.
async fn read(ledger: Ledger) -> Option<Arc<Image>> {
    match ledger.refresh().await {
        Ok(image) => Some(image),
        Err(error) => {
            tracing::warn!(%error, "can't read the ledger to see who lives");
            None
        }
    }
}
