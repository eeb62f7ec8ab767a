//! Incremental fetch sessions (KIP-227): what a client asked for before, so that it names only what has changed since.
//!
//! A fetch passes here twice: [`Sessions::begin`] turns the request into the whole list of partitions that it means, and
//! [`Context::finish`] drops from the answer what the client knows already. Pure but for its locks: time and chance come in.
//!
//! A session is no connection's: a client that connects anew may go on with it. An epoch that rises with each request tells a lost
//! answer or a second user apart. The list is kept in an order: who got records goes to the end, so that nobody starves where a
//! request's bounds are small. Bounded as in Kafka by a number of sessions, and besides by the memory of all and of each; a fetch
//! that gets no session is told so by the id 0 and names its partitions each time. Evicted is who was idle for long, or, after a
//! time of grace, who has fewer partitions than the newcomer.

use crate::error::Failure;
use base::{Micros, TopicId};
use protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::lock;

/// From this version on topics are named by id.
pub(crate) const TOPIC_ID_VERSION: i16 = 13;

/// The id that stands for no session.
pub(crate) const NO_SESSION: i32 = 0;

/// The epoch of a request that names all of its partitions and asks for a session.
const INITIAL_EPOCH: i32 = 0;

/// The epoch that ends a session, or says that the client wants none.
const FINAL_EPOCH: i32 = -1;

/// For so long a session may be idle, and its client enjoy it whoever comes (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const KEPT_AT_LEAST: Duration = Duration::from_secs(120);

/// What a partition of a session costs besides its topic's name, roughly.
const PARTITION_BYTES: usize = 256;

/// One session may have so much of the memory of all.
const SESSION_SHARE: usize = 4;

/// How a request names a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// A partition as the client names it.
pub(crate) type Key = (TopicKey, i32);

/// What is asked of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) topic: TopicKey,
    /// The name of a topic that is asked for by id, from when it was first found: an id that names nothing any more is another
    /// error then than one that never did.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
    /// -1: the client knows none.
    pub(crate) leader_epoch: i32,
    /// Leader epoch of the last record that the client has; -1: it does not say.
    pub(crate) last_fetched_epoch: i32,
}

/// What is told of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    pub(crate) has_records: bool,
    /// An error or a diverging epoch.
    pub(crate) is_news: bool,
    pub(crate) is_error: bool,
}

/// A partition of a session.
#[derive(Debug)]
struct Cached {
    asked: Asked,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    id: i32,
    by_id: bool,
    epoch: i32,
    /// By turn.
    partitions: BTreeMap<u64, Cached>,
    turns: BTreeMap<Key, u64>,
    next_turn: u64,
    bytes: usize,
}

/// A session and what the table of all knows of it.
#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    created: Micros,
    used: Micros,
    partitions: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<i32, Entry>,
    /// Longest idle first.
    by_use: BTreeSet<(Micros, i32)>,
    /// Those whose time of grace is over, the smallest first.
    evictable: BTreeSet<(usize, i32)>,
    bytes: usize,
}

/// All sessions of a broker.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions_max: usize,
    bytes_max: usize,
    table: Mutex<Table>,
}

/// What a fetch is to the sessions.
#[derive(Debug)]
pub(crate) enum Context {
    Without,
    /// It may get one.
    Full {
        by_id: bool,
    },
    Incremental(Incremental),
}

/// A fetch within a session.
#[derive(Debug)]
pub(crate) struct Incremental {
    session: Arc<Mutex<Session>>,
    /// The session's epoch, unless another request has used it meanwhile.
    epoch: i32,
}

impl Asked {
    fn key(&self) -> Key {
        (self.topic.clone(), self.partition)
    }

    fn bytes(&self) -> usize {
        let name = match &self.topic {
            TopicKey::Name(name) => name.len(),
            TopicKey::Id(_) => self.name.as_ref().map_or(0, |name| name.len()),
        };
        PARTITION_BYTES + name
    }
}

impl Sessions {
    /// At most so many, and of about so many bytes.
    pub(crate) fn new(sessions_max: usize, bytes_max: usize) -> Sessions {
        Sessions { sessions_max, bytes_max, table: Mutex::default() }
    }

    /// What the request is, and all partitions that it means, each once. An error is of the request as a whole.
    pub(crate) fn begin(
        &self,
        now: Micros,
        request: &FetchRequest,
        version: i16,
    ) -> Result<(Context, Vec<Asked>), Failure> {
        let by_id = version >= TOPIC_ID_VERSION;
        let asked = named(request, by_id);
        if request.session_epoch == INITIAL_EPOCH || request.session_epoch == FINAL_EPOCH {
            // Whoever names all partitions ends the session that it mentions.
            lock(&self.table).remove(request.session_id);
            let wants_one = request.session_epoch == INITIAL_EPOCH;
            return Ok((if wants_one { Context::Full { by_id } } else { Context::Without }, asked));
        }
        let mut table = lock(&self.table);
        let entry = table.entries.get(&request.session_id).ok_or(Failure::NoSession)?;
        let shared = entry.session.clone();
        let mut session = lock(&shared);
        if session.epoch != request.session_epoch {
            return Err(Failure::WrongSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(Failure::SessionTopicIds);
        }
        let forgotten = forgotten(request, by_id);
        let alone = if forgotten.is_empty() { Vec::new() } else { asked.clone() };
        session.update(asked, forgotten);
        let others = table.bytes - entry.bytes;
        if session.bytes > self.bytes_max / SESSION_SHARE || others + session.bytes > self.bytes_max {
            // It has outgrown its memory: the client begins anew, with all partitions in each request.
            table.remove(session.id);
            return Err(Failure::NoSession);
        }
        if session.partitions.is_empty() {
            table.remove(session.id);
            // As in Kafka what the request names and forgets at once is answered, outside of any session.
            return Ok((Context::Without, alone));
        }
        table.touch(now, &session);
        session.epoch = next_epoch(session.epoch);
        let asked = session.partitions.values().map(|cached| cached.asked.clone()).collect();
        let epoch = session.epoch;
        drop(session);
        Ok((Context::Incremental(Incremental { session: shared, epoch }), asked))
    }

    /// Keeps the partitions of a whole request as a new session; its id, or none where there is no room.
    fn create(
        &self,
        now: Micros,
        by_id: bool,
        told: impl Iterator<Item = (Asked, Told)>,
        random: impl Fn() -> u64,
    ) -> i32 {
        let mut session = Session::new(by_id);
        for (asked, told) in told {
            session.add(Cached { high_watermark: told.known_high_watermark(), log_start: told.log_start, asked });
        }
        let mut table = lock(&self.table);
        let (partitions, bytes) = (session.partitions.len(), session.bytes);
        if bytes > self.bytes_max / SESSION_SHARE {
            return NO_SESSION;
        }
        while table.entries.len() >= self.sessions_max || table.bytes + bytes > self.bytes_max {
            if !table.evict(now, partitions) {
                return NO_SESSION;
            }
        }
        let id = loop {
            let id = i32::try_from(random() >> 33).unwrap_or(NO_SESSION);
            if id != NO_SESSION && !table.entries.contains_key(&id) {
                break id;
            }
        };
        session.id = id;
        let session = Arc::new(Mutex::new(session));
        table.by_use.insert((now, id));
        table.bytes += bytes;
        table.entries.insert(id, Entry { session, created: now, used: now, partitions, bytes });
        id
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        lock(&self.table).entries.len()
    }
}

impl Table {
    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_use.remove(&(entry.used, id));
            self.evictable.remove(&(entry.partitions, id));
            self.bytes -= entry.bytes;
        }
    }

    /// The session is used now, and may have another size than before.
    fn touch(&mut self, now: Micros, session: &Session) {
        let Some(entry) = self.entries.get_mut(&session.id) else { return };
        self.by_use.remove(&(entry.used, session.id));
        self.evictable.remove(&(entry.partitions, session.id));
        self.bytes = self.bytes - entry.bytes + session.bytes;
        (entry.used, entry.partitions, entry.bytes) = (now, session.partitions.len(), session.bytes);
        self.by_use.insert((now, session.id));
        if now.since(entry.created) > KEPT_AT_LEAST {
            self.evictable.insert((entry.partitions, session.id));
        }
    }

    /// Removes one session for another of so many partitions; false where none has to give way.
    fn evict(&mut self, now: Micros, partitions: usize) -> bool {
        let idle = self.by_use.first().filter(|(used, _)| now.since(*used) > KEPT_AT_LEAST).map(|(_, id)| *id);
        let smaller = || self.evictable.first().filter(|(smallest, _)| *smallest < partitions).map(|(_, id)| *id);
        let Some(id) = idle.or_else(smaller) else { return false };
        self.remove(id);
        true
    }
}

impl Session {
    fn new(by_id: bool) -> Session {
        Session {
            id: NO_SESSION,
            by_id,
            epoch: next_epoch(INITIAL_EPOCH),
            partitions: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, cached: Cached) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.bytes += cached.asked.bytes();
        self.turns.insert(cached.asked.key(), turn);
        self.partitions.insert(turn, cached);
    }

    fn take(&mut self, key: &Key) -> Option<Cached> {
        let cached = self.partitions.remove(&self.turns.remove(key)?)?;
        self.bytes -= cached.asked.bytes();
        Some(cached)
    }

    fn update(&mut self, asked: Vec<Asked>, forgotten: Vec<Key>) {
        for asked in asked {
            match self.turns.get(&asked.key()).and_then(|turn| self.partitions.get_mut(turn)) {
                Some(cached) => cached.asked = Asked { name: cached.asked.name.take(), ..asked },
                None => self.add(Cached { asked, high_watermark: -1, log_start: -1 }),
            }
        }
        for key in forgotten {
            self.take(&key);
        }
    }

    /// Whether the client must hear of this; from then on it counts as known.
    fn tell(&mut self, asked: &Asked, told: Told) -> bool {
        let key = asked.key();
        let cached = self.turns.get(&key).and_then(|turn| self.partitions.get_mut(turn));
        let Some(cached) = cached else { return true };
        let differs = cached.high_watermark != told.high_watermark || cached.log_start != told.log_start;
        cached.high_watermark = told.known_high_watermark();
        cached.log_start = told.log_start;
        if cached.asked.name.is_none() && asked.name.is_some() {
            self.bytes -= cached.asked.bytes();
            cached.asked.name.clone_from(&asked.name);
            self.bytes += cached.asked.bytes();
        }
        if told.has_records
            && let Some(cached) = self.take(&key)
        {
            self.add(cached);
        }
        differs || told.has_records || told.is_news
    }
}

impl Told {
    /// After an error nothing counts as known, so that its end is told as well.
    fn known_high_watermark(self) -> i64 {
        if self.is_error { -1 } else { self.high_watermark }
    }
}

impl Context {
    /// Whether the partitions are kept, so that names of topics are worth finding out.
    pub(crate) fn keeps(&self) -> bool {
        !matches!(self, Context::Without)
    }

    /// The id for the answer. Takes out of `answers` what the client knows already, once `told` has said what each tells.
    pub(crate) fn finish<T>(
        &self,
        sessions: &Sessions,
        now: Micros,
        answers: &mut Vec<T>,
        told: impl Fn(&T) -> (&Asked, Told),
        random: impl Fn() -> u64,
    ) -> Result<i32, (i32, Failure)> {
        match self {
            Context::Without => Ok(NO_SESSION),
            Context::Full { by_id } => {
                let told = answers.iter().map(|answer| {
                    let (asked, told) = told(answer);
                    (asked.clone(), told)
                });
                Ok(sessions.create(now, *by_id, told, random))
            }
            Context::Incremental(it) => {
                let mut session = lock(&it.session);
                if session.epoch != it.epoch {
                    return Err((session.id, Failure::WrongSessionEpoch));
                }
                answers.retain(|answer| {
                    let (asked, told) = told(answer);
                    session.tell(asked, told)
                });
                Ok(session.id)
            }
        }
    }

    /// The id for an answer that tells nothing, so that nothing is known by it: there is no new session then, and one that there is already
    /// goes on.
    pub(crate) fn unanswered(&self) -> Result<i32, (i32, Failure)> {
        match self {
            Context::Without | Context::Full { .. } => Ok(NO_SESSION),
            Context::Incremental(it) => {
                let session = lock(&it.session);
                if session.epoch == it.epoch { Ok(session.id) } else { Err((session.id, Failure::WrongSessionEpoch)) }
            }
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// The partitions that a request names, each once: its last word counts, at the first one's place.
fn named(request: &FetchRequest, by_id: bool) -> Vec<Asked> {
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    let mut asked: Vec<Asked> = Vec::new();
    for topic in &request.topics {
        let key = topic_key(&topic.topic, topic.topic_id.into(), by_id);
        for partition in &topic.partitions {
            let one = asked_of(key.clone(), partition);
            match places.get(&one.key()) {
                Some(place) => asked[*place] = one,
                None => {
                    places.insert(one.key(), asked.len());
                    asked.push(one);
                }
            }
        }
    }
    asked
}

fn asked_of(topic: TopicKey, partition: &FetchPartition) -> Asked {
    Asked {
        topic,
        name: None,
        partition: partition.partition,
        offset: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
        leader_epoch: partition.current_leader_epoch,
        last_fetched_epoch: partition.last_fetched_epoch,
    }
}

fn forgotten(request: &FetchRequest, by_id: bool) -> Vec<Key> {
    let topics = request.forgotten_topics_data.iter();
    let keys = topics.flat_map(|topic| {
        let key = topic_key(&topic.topic, topic.topic_id.into(), by_id);
        topic.partitions.iter().map(move |partition| (key.clone(), *partition))
    });
    keys.collect()
}

fn topic_key(name: &str, id: TopicId, by_id: bool) -> TopicKey {
    if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
