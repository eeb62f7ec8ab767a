//! Share sessions: which partitions a member fetches, so that it need not say so again, and that its requests come one after the other.
//!
//! A session is begun by a fetch, goes on with requests that are numbered, and ends by a request, or with its connection; what its member has is
//! released then. One broker has so many at the most, and a connection may have begun several.

use protocol::wire::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The epoch of a request that begins a session.
pub const SHARE_SESSION_BEGINS: i32 = 0;
/// The epoch of one that ends it.
pub const SHARE_SESSION_ENDS: i32 = -1;

/// A partition by its topic's id and its number.
pub type SharedPartition = (Uuid, i32);

/// Whose session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareSessionKey {
    /// Shared with the share-partitions that the session is about.
    pub group: Arc<str>,
    pub member: String,
}

/// A ShareFetch, as far as sessions go.
#[derive(Debug, Clone, Copy)]
pub struct ShareSessionRequest<'a> {
    pub key: &'a ShareSessionKey,
    pub epoch: i32,
    /// Which connection it came by; with that the session ends.
    pub connection: u64,
    pub partitions: &'a [SharedPartition],
    pub forgotten: &'a [SharedPartition],
    pub acknowledges: bool,
}

/// Why a session does not begin or go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareSessionError {
    /// `INVALID_REQUEST`.
    #[error("a session does not begin with acknowledgements")]
    InvalidRequest,
    /// `SHARE_SESSION_NOT_FOUND`.
    #[error("there is no such share session")]
    NotFound,
    /// `INVALID_SHARE_SESSION_EPOCH`.
    #[error("the share session is at another epoch")]
    InvalidEpoch,
    /// `SHARE_SESSION_LIMIT_REACHED`. Kafka answers when the request's longest wait is over, so that the client does not ask in a loop.
    #[error("there are as many share sessions as group.share.max.share.sessions allows")]
    LimitReached,
}

/// A session that is over: its member's records are to be released in these partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    pub key: ShareSessionKey,
    pub partitions: Vec<SharedPartition>,
}

/// What a fetch has found in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSessionAnswer {
    pub partition: SharedPartition,
    pub has_records: bool,
    pub has_error: bool,
}

/// A partition in a session.
#[derive(Debug)]
struct Fetches {
    partition: SharedPartition,
    /// It is answered even where there is nothing to say.
    is_due: bool,
}

/// The partitions of a session, in the order in which they are to be served.
#[derive(Debug, Default)]
struct Order {
    by_place: BTreeMap<u64, Fetches>,
    places: BTreeMap<SharedPartition, u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Session {
    /// What the next request has to say.
    epoch: i32,
    connection: u64,
    order: Order,
}

impl Order {
    /// Adds it at the end, unless it is there.
    fn add(&mut self, fetches: Fetches) {
        if !self.places.contains_key(&fetches.partition) {
            self.places.insert(fetches.partition, self.next_place);
            self.by_place.insert(self.next_place, fetches);
            self.next_place += 1;
        }
    }

    fn remove(&mut self, partition: &SharedPartition) -> Option<Fetches> {
        self.places.remove(partition).and_then(|place| self.by_place.remove(&place))
    }

    fn get_mut(&mut self, partition: &SharedPartition) -> Option<&mut Fetches> {
        self.places.get(partition).and_then(|place| self.by_place.get_mut(place))
    }

    fn partitions(&self) -> Vec<SharedPartition> {
        self.by_place.values().map(|it| it.partition).collect()
    }

    fn len(&self) -> usize {
        self.places.len()
    }
}

/// What a session takes beside its names and its partitions, roughly, and what a group does that a connection has begun one of.
const SESSION_BYTES: usize = 512;
const GROUP_BYTES: usize = 160;

/// A connection, and the sessions that were begun by it. Kafka remembers the last one alone, and the others stay when it is gone.
#[derive(Debug, Default)]
struct Connection {
    /// Those that are not over, nor begun anew by another one.
    sessions: BTreeSet<ShareSessionKey>,
    /// The groups of all that were begun.
    groups: BTreeSet<Arc<str>>,
}

/// The sessions of one broker.
#[derive(Debug)]
pub struct ShareSessions {
    sessions: BTreeMap<ShareSessionKey, Session>,
    connections: BTreeMap<u64, Connection>,
    /// Sessions by group; a group stays until its last connection goes.
    groups: BTreeMap<Arc<str>, usize>,
    partitions: usize,
    /// What sessions and connections take beside the partitions, roughly.
    bytes: usize,
    sessions_max: usize,
}

impl ShareSessions {
    /// None yet, and so many at the most (`group.share.max.share.sessions`, Kafka's default is 2000).
    #[must_use]
    pub fn new(sessions_max: usize) -> ShareSessions {
        ShareSessions {
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            groups: BTreeMap::new(),
            partitions: 0,
            bytes: 0,
            sessions_max,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Partitions of all sessions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// What sessions take beside their partitions, and groups of which there were some, roughly: names may be long.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A ShareFetch: begins its session, goes on with it, or is its last. Which partitions to fetch, in this order; none with the last, after
    /// which [`ShareSessions::end`] is to be called.
    ///
    /// # Errors
    /// The request is not to be carried out. Nothing has changed, except that a session that was to begin anew is over where no other may
    /// begin.
    pub fn fetch(&mut self, request: &ShareSessionRequest<'_>) -> Result<Vec<SharedPartition>, ShareSessionError> {
        match request.epoch {
            SHARE_SESSION_ENDS if self.sessions.contains_key(request.key) => Ok(Vec::new()),
            SHARE_SESSION_ENDS => Err(ShareSessionError::NotFound),
            SHARE_SESSION_BEGINS if request.acknowledges => Err(ShareSessionError::InvalidRequest),
            SHARE_SESSION_BEGINS => self.begin(request),
            _ => self.go_on(request),
        }
    }

    fn begin(&mut self, request: &ShareSessionRequest<'_>) -> Result<Vec<SharedPartition>, ShareSessionError> {
        self.remove(request.key);
        if self.sessions.len() >= self.sessions_max {
            return Err(ShareSessionError::LimitReached);
        }
        let mut order = Order::default();
        request.partitions.iter().for_each(|partition| order.add(Fetches { partition: *partition, is_due: false }));
        self.partitions += order.len();
        let (key, connection) = (request.key.clone(), request.connection);
        *self.groups.entry(key.group.clone()).or_default() += 1;
        let of_connection = self.connections.entry(connection).or_default();
        if of_connection.groups.insert(key.group.clone()) {
            self.bytes += group_bytes(&key.group);
        }
        of_connection.sessions.insert(key.clone());
        self.bytes += session_bytes(&key);
        let epoch = next_epoch(SHARE_SESSION_BEGINS);
        let session = self.sessions.entry(key).or_insert(Session { epoch, connection, order });
        Ok(session.order.partitions())
    }

    fn go_on(&mut self, request: &ShareSessionRequest<'_>) -> Result<Vec<SharedPartition>, ShareSessionError> {
        let session = self.sessions.get_mut(request.key).ok_or(ShareSessionError::NotFound)?;
        if session.epoch != request.epoch {
            return Err(ShareSessionError::InvalidEpoch);
        }
        let before = session.order.len();
        for &partition in request.partitions {
            session.order.add(Fetches { partition, is_due: true });
        }
        for partition in request.forgotten {
            session.order.remove(partition);
        }
        session.epoch = next_epoch(session.epoch);
        self.partitions = self.partitions - before + session.order.len();
        let partitions = session.order.partitions();
        Ok(rotated(partitions, request.epoch))
    }

    /// A ShareAcknowledge. After the last of a session, and what it acknowledges, [`ShareSessions::end`] is to be called.
    ///
    /// # Errors
    /// The request is not to be carried out.
    pub fn acknowledge(&mut self, key: &ShareSessionKey, epoch: i32) -> Result<(), ShareSessionError> {
        if epoch == SHARE_SESSION_BEGINS {
            return Err(ShareSessionError::InvalidEpoch);
        }
        let session = self.sessions.get_mut(key).ok_or(ShareSessionError::NotFound)?;
        if epoch == SHARE_SESSION_ENDS {
            return Ok(());
        }
        if session.epoch != epoch {
            return Err(ShareSessionError::InvalidEpoch);
        }
        session.epoch = next_epoch(epoch);
        Ok(())
    }

    /// Which of the partitions that were fetched are in the answer to the request of that epoch; those with records are served last next time.
    /// All are, in the answer to a session's first request.
    ///
    /// # Errors
    /// The session has gone on meanwhile, or is over: the request was a repeat.
    pub fn answer(
        &mut self,
        key: &ShareSessionKey,
        epoch: i32,
        found: &[ShareSessionAnswer],
    ) -> Result<Vec<SharedPartition>, ShareSessionError> {
        if epoch == SHARE_SESSION_BEGINS || epoch == SHARE_SESSION_ENDS {
            return Ok(found.iter().map(|it| it.partition).collect());
        }
        let session = self.sessions.get_mut(key).filter(|it| it.epoch == next_epoch(epoch));
        let session = session.ok_or(ShareSessionError::InvalidEpoch)?;
        let mut answered = Vec::new();
        for &ShareSessionAnswer { partition, has_records, has_error } in found {
            let Some(fetches) = session.order.get_mut(&partition) else { continue };
            if has_records || has_error || fetches.is_due {
                answered.push(partition);
            }
            // What has an error now is answered again when it has none any more.
            fetches.is_due = has_error;
            if has_records && let Some(last) = session.order.remove(&partition) {
                session.order.add(last);
            }
        }
        Ok(answered)
    }

    /// A session is over.
    pub fn end(&mut self, key: &ShareSessionKey) -> Option<EndedSession> {
        let session = self.remove(key)?;
        Some(EndedSession { key: key.clone(), partitions: session.order.partitions() })
    }

    /// A connection is gone: the sessions that were begun by it are over; and the groups, if there are any, of which this broker has no session
    /// any more, so that their share-partitions can be dropped.
    pub fn disconnected(&mut self, connection: u64) -> (Vec<EndedSession>, Vec<Arc<str>>) {
        let Some(Connection { sessions, groups }) = self.connections.remove(&connection) else {
            return (Vec::new(), Vec::new());
        };
        let ended = sessions.iter().filter_map(|key| self.end(key)).collect();
        let mut empty = Vec::new();
        for group in groups {
            self.bytes -= group_bytes(&group);
            if self.groups.get(&group).is_none_or(|sessions| *sessions == 0) {
                self.groups.remove(&group);
                empty.push(group);
            }
        }
        (ended, empty)
    }

    fn remove(&mut self, key: &ShareSessionKey) -> Option<Session> {
        let session = self.sessions.remove(key)?;
        self.partitions -= session.order.len();
        self.bytes -= session_bytes(key);
        if let Some(sessions) = self.groups.get_mut(&key.group) {
            *sessions = sessions.saturating_sub(1);
        }
        // Else the end of the old connection would end a session that was begun anew by another.
        if let Some(connection) = self.connections.get_mut(&session.connection) {
            connection.sessions.remove(key);
        }
        Some(session)
    }
}

/// Its member's name stands here and with its connection.
fn session_bytes(key: &ShareSessionKey) -> usize {
    SESSION_BYTES + key.group.len() + 2 * key.member.len()
}

fn group_bytes(group: &str) -> usize {
    GROUP_BYTES + group.len()
}

/// The epoch after.
fn next_epoch(epoch: i32) -> i32 {
    if epoch < 0 { SHARE_SESSION_ENDS } else { epoch.checked_add(1).unwrap_or(1) }
}

/// Each request of a session serves another partition first.
fn rotated(mut partitions: Vec<SharedPartition>, epoch: i32) -> Vec<SharedPartition> {
    if let Some(place) = usize::try_from(epoch).ok().and_then(|epoch| epoch.checked_rem(partitions.len())) {
        partitions.rotate_left(place);
    }
    partitions
}
