//! The records of `__consumer_offsets`, in Kafka's own format: what a group and its offsets are rebuilt from.
//!
//! A key begins with the number of its kind: 0 and 1 are a committed offset, 2 is a group; 3 to 8 and 16 are consumer groups of the newer
//! protocol, see `crate::consumer`, 10 to 15 share groups, see `crate::share`, 17 and 19 to 23 streams groups, see `crate::streams`; others belong to other protocols. A value begins with its version. A record without a value takes back what its key names. Old versions are read, Kafka 4.3's are written.

use crate::consumer::ConsumerChange;
use crate::group::Member;
use crate::offsets::Committed;
use crate::share::ShareChange;
use crate::streams::StreamsChange;
use base::UnixMillis;
use bytes::Bytes;
use protocol::wire::{DecodeError, Decoder, Encoder, Uuid, Wire};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;

/// Without a time of expiry of its own, and with one.
const OFFSET_VERSION: i16 = 4;
const EXPIRING_OFFSET_VERSION: i16 = 1;
const GROUP_VERSION: i16 = 3;

/// The first version of either value with compact lengths and tagged fields, which is the last one there is.
const FLEXIBLE_VERSION: i16 = 4;

/// The longest text that a group's record can hold.
pub(crate) const TEXT_BYTES_MAX: usize = 32_767;

/// A record on its way to the log, or from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    /// None takes back what the key names.
    pub value: Option<Bytes>,
}

/// A record that is not what its kind and version say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a key that can't be read: {0}")]
    Key(DecodeError),
    #[error("a value that can't be read: {0}")]
    Value(DecodeError),
    #[error("a value of the unknown version {0}")]
    Version(i16),
    #[error("a text of {0} bytes")]
    Text(usize),
}

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<Committed>,
    },
    Group {
        group: String,
        value: Option<StoredGroup>,
    },
    Consumer(ConsumerChange),
    Share(ShareChange),
    Streams(StreamsChange),
    /// Of a protocol that is not known.
    Other,
}

/// What lasts of a group, but for its offsets.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredGroup {
    pub(crate) protocol_type: String,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) state_since: Option<UnixMillis>,
    pub(crate) members: Vec<StoredMember>,
}

/// A member with its metadata under the chosen protocol.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredMember {
    pub(crate) id: String,
    pub(crate) metadata: Bytes,
    /// Its protocols are left to the group's reader.
    pub(crate) member: Member,
}

impl CoordinatorRecord {
    /// Bytes of key and value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there are none, which no written record is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A record that says nothing: an offset taken back that no client can have committed, as no topic has an empty name. Its
    /// confirmation proves that its writer still owned the partition.
    #[must_use]
    pub fn nothing() -> CoordinatorRecord {
        CoordinatorRecord::offset("", "", -1, None)
    }

    pub(crate) fn offset(group: &str, topic: &str, partition: i32, value: Option<&Committed>) -> CoordinatorRecord {
        let key = encode(OFFSET_KEY, |encoder| {
            encoder.put(&group.to_owned(), 0);
            encoder.put(&topic.to_owned(), 0);
            encoder.put(&partition, 0);
        });
        let value = value.map(|committed| {
            let expires = committed.expires_at.is_some();
            let version = if expires { EXPIRING_OFFSET_VERSION } else { OFFSET_VERSION };
            encode(version, |encoder| write_offset(encoder, committed, version))
        });
        CoordinatorRecord { key, value }
    }

    pub(crate) fn group(group: &str, value: Option<&StoredGroup>) -> CoordinatorRecord {
        let key = encode(GROUP_KEY, |encoder| encoder.put(&group.to_owned(), 0));
        let value = value.map(|stored| encode(GROUP_VERSION, |encoder| write_group(encoder, stored)));
        CoordinatorRecord { key, value }
    }

    /// The same with a value that was stored before.
    pub(crate) fn stored_group(group: &str, value: Bytes) -> CoordinatorRecord {
        CoordinatorRecord { value: Some(value), ..CoordinatorRecord::group(group, None) }
    }

    pub(crate) fn decode(&self) -> Result<Change, RecordError> {
        let mut key = Decoder::new(self.key.clone());
        let kind: i16 = key.get(0);
        key.so_far().map_err(RecordError::Key)?;
        match kind {
            0 | OFFSET_KEY => {
                let (group, topic, partition) = (key.get(0), key.get(0), key.get(0));
                key.finish().map_err(RecordError::Key)?;
                let value = self.value.clone().map(read_offset).transpose()?;
                Ok(Change::Offset { group, topic, partition, value })
            }
            GROUP_KEY => {
                let group = key.get(0);
                key.finish().map_err(RecordError::Key)?;
                let value = self.value.clone().map(read_group).transpose()?;
                Ok(Change::Group { group, value })
            }
            10..=15 => Ok(crate::share::read(kind, key, self.value.as_ref())?.map_or(Change::Other, Change::Share)),
            17 | 19..=23 => {
                Ok(crate::streams::read(kind, key, self.value.as_ref())?.map_or(Change::Other, Change::Streams))
            }
            _ => Ok(crate::consumer::read(kind, key, self.value.as_ref())?.map_or(Change::Other, Change::Consumer)),
        }
    }
}

fn encode(version: i16, fields: impl FnOnce(&mut Encoder)) -> Bytes {
    encode_with(version, version == FLEXIBLE_VERSION, fields)
}

/// A key or a value: the number of its kind or version, and what follows.
pub(crate) fn encode_with(number: i16, flexible: bool, fields: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.put(&number, 0);
    encoder.set_flexible(flexible);
    fields(&mut encoder);
    encoder.finish().expect("every text was measured when it came in").into_bytes()
}

/// A record that takes back what its key names: a group of a newer protocol, or what stands under a name in it, such as a member.
pub(crate) fn gone(kind: i16, group: &str, name: Option<&String>) -> CoordinatorRecord {
    let key = encode_with(kind, false, |encoder| {
        encoder.put(&group.to_owned(), 0);
        if let Some(name) = name {
            encoder.put(name, 0);
        }
    });
    CoordinatorRecord { key, value: None }
}

/// The fields of a value that has compact lengths and tagged fields, and one version only.
pub(crate) fn open_value(value: &Bytes, only_version: i16) -> Result<Decoder, RecordError> {
    let mut decoder = Decoder::new(value.clone());
    let version: i16 = decoder.get(0);
    decoder.so_far().map_err(RecordError::Value)?;
    if version != only_version {
        return Err(RecordError::Version(version));
    }
    decoder.set_flexible(true);
    Ok(decoder)
}

/// Writes a number as the tagged field 0, the only one; nothing where it is 0.
pub(crate) fn put_tagged_number(encoder: &mut Encoder, number: i64) {
    let tags = encoder.tags();
    if number != 0 {
        encoder.tag(tags, 0, &number, 0);
    }
}

/// Reads it; others are passed over.
pub(crate) fn tagged_number(decoder: &mut Decoder) -> i64 {
    let mut number = 0;
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(decoder) {
        match tag {
            0 => number = decoder.get(0),
            _ => tags.skip(decoder),
        }
    }
    number
}

fn write_offset(encoder: &mut Encoder, committed: &Committed, version: i16) {
    encoder.put(&committed.offset, 0);
    if version >= 3 {
        encoder.put(&committed.leader_epoch, 0);
    }
    encoder.put(&committed.metadata, 0);
    encoder.put(&committed.committed_at.0, 0);
    if let Some(expires_at) = committed.expires_at {
        encoder.put(&expires_at.0, 0);
    }
    let tags = encoder.tags();
    if version == FLEXIBLE_VERSION && committed.topic != base::TopicId::default() {
        encoder.tag(tags, 0, &Uuid::from(committed.topic), 0);
    }
}

/// A value's version, and a decoder for what follows it.
fn open(value: Bytes) -> Result<(i16, Decoder), RecordError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.get(0);
    decoder.so_far().map_err(RecordError::Value)?;
    if !(0..=FLEXIBLE_VERSION).contains(&version) {
        return Err(RecordError::Version(version));
    }
    decoder.set_flexible(version == FLEXIBLE_VERSION);
    Ok((version, decoder))
}

fn read_offset(value: Bytes) -> Result<Committed, RecordError> {
    let (version, mut decoder) = open(value)?;
    let mut committed = Committed {
        offset: decoder.get(0),
        leader_epoch: if version >= 3 { decoder.get(0) } else { -1 },
        metadata: decoder.get(0),
        committed_at: UnixMillis(decoder.get(0)),
        expires_at: None,
        topic: base::TopicId::default(),
    };
    if version == EXPIRING_OFFSET_VERSION {
        let expires_at: i64 = decoder.get(0);
        committed.expires_at = (expires_at != -1).then_some(UnixMillis(expires_at));
    }
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(&mut decoder) {
        match tag {
            0 => committed.topic = decoder.get::<Uuid>(0).into(),
            _ => tags.skip(&mut decoder),
        }
    }
    decoder.finish().map_err(RecordError::Value)?;
    fits(&committed.metadata)?;
    Ok(committed)
}

fn write_group(encoder: &mut Encoder, stored: &StoredGroup) {
    encoder.put(&stored.protocol_type, 0);
    encoder.put(&stored.generation, 0);
    encoder.put(&stored.protocol, 0);
    encoder.put(&stored.leader, 0);
    encoder.put(&stored.state_since.map_or(-1, |since| since.0), 0);
    encoder.put(&stored.members, GROUP_VERSION);
}

fn read_group(value: Bytes) -> Result<StoredGroup, RecordError> {
    let (version, mut decoder) = open(value)?;
    let mut stored = StoredGroup {
        protocol_type: decoder.get(0),
        generation: decoder.get(0),
        protocol: decoder.get(0),
        leader: decoder.get(0),
        ..StoredGroup::default()
    };
    if version >= 2 {
        let since: i64 = decoder.get(0);
        stored.state_since = (since != -1).then_some(UnixMillis(since));
    }
    stored.members = decoder.get(version);
    decoder.skip_tags();
    decoder.finish().map_err(RecordError::Value)?;
    fits(&stored.protocol_type)?;
    for text in [&stored.protocol, &stored.leader].into_iter().flatten() {
        fits(text)?;
    }
    for StoredMember { id, member, .. } in &stored.members {
        for text in [id, &member.client_id, &member.client_host].into_iter().chain(&member.instance_id) {
            fits(text)?;
        }
    }
    Ok(stored)
}

/// Whether the version that is written can hold a text that was read.
pub(crate) fn fits(text: &str) -> Result<(), RecordError> {
    if text.len() <= TEXT_BYTES_MAX { Ok(()) } else { Err(RecordError::Text(text.len())) }
}

impl Wire for StoredMember {
    const LEAST: usize = 10;

    fn read(decoder: &mut Decoder, version: i16) -> StoredMember {
        let id = decoder.get(version);
        let instance_id = if version >= 3 { decoder.get(version) } else { None };
        let (client_id, client_host) = (decoder.get(version), decoder.get(version));
        let rebalance_timeout_ms: i32 = if version >= 1 { decoder.get(version) } else { -1 };
        let session_timeout_ms = decoder.get(version);
        let (metadata, assignment): (Bytes, Bytes) = (decoder.get(version), decoder.get(version));
        decoder.skip_tags();
        let member = Member {
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: if rebalance_timeout_ms == -1 { session_timeout_ms } else { rebalance_timeout_ms },
            session_timeout_ms,
            // Of their own, as a group outlives the batch that it was read from.
            assignment: Bytes::copy_from_slice(&assignment),
            ..Member::default()
        };
        StoredMember { id, metadata: Bytes::copy_from_slice(&metadata), member }
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.id, version);
        encoder.put(&self.member.instance_id, version);
        encoder.put(&self.member.client_id, version);
        encoder.put(&self.member.client_host, version);
        encoder.put(&self.member.rebalance_timeout_ms, version);
        encoder.put(&self.member.session_timeout_ms, version);
        encoder.put(&self.metadata, version);
        encoder.put(&self.member.assignment, version);
    }
}
