//! How each value is written: unsigned numbers as LEB128, signed ones zigzagged first, 128-bit ids as 16 bytes little-endian,
//! sequences and maps as a count and their elements, structs as their fields in order, enums as a tag and their fields.

use crate::{
    AclEntry, AclPattern, AclResource, Command, CommandId, CommitRange, CommitState, Entry, Image, Leader, NewObject,
    Node, NodeState, ObjectRecord, Outcome, QuotaEntity, QuotaName, QuotaValue, Reference, Refusal, ScramCredential,
    ScramUser, Secret, SettingsScope, StateReference, StreamRecord, Swap, Tenure, Token, Topic, UploadedObject,
    WalRecord, WalRegistration, WalState,
};
use base::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, TopicId,
    UnixMillis, WalId, WalIndex, WalPosition,
};
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is wrong with the bytes.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) &'static str);

type Read<T> = Result<T, Malformed>;

/// A value that can be written and read back.
pub(super) trait Wire: Sized {
    fn write(&self, out: &mut Out);
    fn read(from: &mut Reader<'_>) -> Read<Self>;
}

/// What is written so far.
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    /// Of the whole that is written: what later versions have added is left out of earlier ones.
    version: u16,
}

impl Out {
    pub(super) fn new(version: u16) -> Out {
        Out { bytes: Vec::new(), version }
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// What is left of the input.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Of the whole that is read: what later versions have added is absent from earlier ones.
    version: u16,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], version: u16) -> Reader<'a> {
        Reader { bytes, version }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    /// A count of elements, each of at least one byte: a longer claim than the rest can hold is refused before anything is done.
    fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(u64::read(self)?).unwrap_or(usize::MAX);
        if count > self.left() { Err(Malformed("it claims more elements than it has bytes")) } else { Ok(count) }
    }
}

impl Wire for u64 {
    fn write(&self, out: &mut Out) {
        let mut rest = *self;
        loop {
            let low = rest.to_le_bytes()[0] & 0x7f;
            rest >>= 7;
            if rest == 0 {
                out.push(low);
                return;
            }
            out.push(low | 0x80);
        }
    }

    fn read(from: &mut Reader<'_>) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(Malformed("a number is too large"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                // One number, one form: no needless zero bytes at the end.
                return if byte == 0 && shift > 0 { Err(Malformed("a number is too long")) } else { Ok(value) };
            }
        }
        Err(Malformed("a number is too long"))
    }
}

impl Wire for i64 {
    fn write(&self, out: &mut Out) {
        let zigzag = (self << 1) ^ (self >> 63);
        u64::from_le_bytes(zigzag.to_le_bytes()).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Read<i64> {
        let zigzag = u64::read(from)?;
        let magnitude = i64::from_le_bytes((zigzag >> 1).to_le_bytes());
        Ok(if zigzag & 1 == 1 { !magnitude } else { magnitude })
    }
}

/// Numbers that travel as a wider one.
macro_rules! narrow {
    ($wide:ty: $($inner:ty),*) => {$(
        impl Wire for $inner {
            fn write(&self, out: &mut Out) {
                <$wide>::from(*self).write(out);
            }

            fn read(from: &mut Reader<'_>) -> Read<Self> {
                Self::try_from(<$wide>::read(from)?).map_err(|_| Malformed("a number is out of range"))
            }
        }
    )*};
}

narrow!(u64: u16, u32);
narrow!(i64: i16, i32);

impl Wire for u128 {
    fn write(&self, out: &mut Out) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Read<u128> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(from.take(16)?);
        Ok(u128::from_le_bytes(bytes))
    }
}

impl Wire for QuotaValue {
    fn write(&self, out: &mut Out) {
        out.extend_from_slice(&self.to_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Read<QuotaValue> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(from.take(8)?);
        Ok(QuotaValue::from_bytes(bytes))
    }
}

impl Wire for bool {
    fn write(&self, out: &mut Out) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Read<bool> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }
}

impl Wire for String {
    fn write(&self, out: &mut Out) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Read<String> {
        let len = from.count()?;
        let text = std::str::from_utf8(from.take(len)?).map_err(|_| Malformed("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, out: &mut Out) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Read<Option<T>> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, out: &mut Out) {
        (self.len() as u64).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Read<Vec<T>> {
        // Grows as elements are read, never by the count that is claimed.
        let count = from.count()?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(T::read(from)?);
        }
        Ok(values)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn write(&self, out: &mut Out) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Read<(A, B)> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn write(&self, out: &mut Out) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Read<(A, B, C)> {
        Ok((A::read(from)?, B::read(from)?, C::read(from)?))
    }
}

/// The pairs of a map, whose keys rise.
fn write_pairs<'a, K: Wire + 'a, V: Wire + 'a>(
    count: usize,
    pairs: impl Iterator<Item = (&'a K, &'a V)>,
    out: &mut Out,
) {
    (count as u64).write(out);
    for (key, value) in pairs {
        key.write(out);
        value.write(out);
    }
}

/// What [`write_pairs`] has written.
fn read_pairs<K: Wire + Ord, V: Wire>(from: &mut Reader<'_>) -> Read<Vec<(K, V)>> {
    let pairs: Vec<(K, V)> = Vec::read(from)?;
    if pairs.is_sorted_by(|a, b| a.0 < b.0) { Ok(pairs) } else { Err(Malformed("the keys of a map do not rise")) }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn write(&self, out: &mut Out) {
        write_pairs(self.len(), self.iter(), out);
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        Ok(read_pairs(from)?.into_iter().collect())
    }
}

impl<K: Wire + Ord + Clone, V: Wire + Clone> Wire for OrdMap<K, V> {
    fn write(&self, out: &mut Out) {
        write_pairs(self.len(), self.iter(), out);
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        Ok(read_pairs(from)?.into_iter().collect())
    }
}

/// Values that rise.
impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn write(&self, out: &mut Out) {
        (self.len() as u64).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        let values: Vec<T> = Vec::read(from)?;
        let rise = values.is_sorted_by(|a, b| a < b);
        if rise { Ok(values.into_iter().collect()) } else { Err(Malformed("the values of a set do not rise")) }
    }
}

/// As a text, but of any bytes.
impl Wire for Secret {
    fn write(&self, out: &mut Out) {
        (self.0.len() as u64).write(out);
        out.extend_from_slice(&self.0);
    }

    fn read(from: &mut Reader<'_>) -> Read<Secret> {
        let len = from.count()?;
        from.take(len).map(|bytes| Secret(bytes.to_vec()))
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn write(&self, out: &mut Out) {
        T::write(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Read<Arc<T>> {
        T::read(from).map(Arc::new)
    }
}

macro_rules! newtypes {
    ($($name:ident),* $(,)?) => {$(
        impl Wire for $name {
            fn write(&self, out: &mut Out) {
                self.0.write(out);
            }

            fn read(from: &mut Reader<'_>) -> Read<Self> {
                Wire::read(from).map($name)
            }
        }
    )*};
}

newtypes!(
    StreamId,
    NodeId,
    NodeEpoch,
    WalIndex,
    StreamEpoch,
    LedgerSeq,
    LedgerEpoch,
    WalPosition,
    TopicId,
    Nonce,
    UnixMillis,
);

/// Structs, field by field in the order given, which is the order in the bytes. The pattern names every field, so a new one that
/// is forgotten here does not compile.
macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Wire for $name {
            fn write(&self, out: &mut Out) {
                let $name { $($field),* } = self;
                $($field.write(out);)*
            }

            fn read(from: &mut Reader<'_>) -> Read<Self> {
                $(let $field = Wire::read(from)?;)*
                Ok($name { $($field),* })
            }
        }
    )*};
}

/// A struct that has grown: behind the fields of the first version those of later ones, each with the version that brought it. It
/// is empty in what was written before.
macro_rules! grown {
    ($($name:ident { $($field:ident),* $(,)? } $($version:literal => $late:ident),*;)*) => {$(
        impl Wire for $name {
            fn write(&self, out: &mut Out) {
                let $name { $($field,)* $($late),* } = self;
                $($field.write(out);)*
                $(if out.version >= $version { $late.write(out); })*
            }

            fn read(from: &mut Reader<'_>) -> Read<Self> {
                $(let $field = Wire::read(from)?;)*
                $(let $late = if from.version >= $version { Wire::read(from)? } else { Default::default() };)*
                Ok($name { $($field,)* $($late),* })
            }
        }
    )*};
}

/// Enums, as a tag and the variant's fields. A tag is never given to another variant.
macro_rules! enums {
    ($($name:ident { $($tag:literal => $variant:ident { $($key:tt : $field:ident),* $(,)? }),* $(,)? })*) => {$(
        impl Wire for $name {
            fn write(&self, out: &mut Out) {
                match self {
                    $($name::$variant { $($key: $field),* } => {
                        out.push($tag);
                        $($field.write(out);)*
                    })*
                }
            }

            fn read(from: &mut Reader<'_>) -> Read<Self> {
                match from.byte()? {
                    $($tag => {
                        $(let $field = Wire::read(from)?;)*
                        Ok($name::$variant { $($key: $field),* })
                    })*
                    _ => Err(Malformed(concat!("it has an unknown kind of ", stringify!($name)))),
                }
            }
        }
    )*};
}

impl Wire for Offset {
    fn write(&self, out: &mut Out) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Read<Offset> {
        let offset = Offset(u64::read(from)?);
        if offset > Offset::MAX { Err(Malformed("an offset is out of range")) } else { Ok(offset) }
    }
}

impl Wire for OffsetRange {
    fn write(&self, out: &mut Out) {
        self.base.write(out);
        self.len().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Read<OffsetRange> {
        let base = Offset::read(from)?;
        let len = u64::read(from)?;
        let next = base.0.checked_add(len).map(Offset).filter(|next| *next <= Offset::MAX);
        next.map(|next| OffsetRange::new(base, next)).ok_or(Malformed("an offset is out of range"))
    }
}

structs! {
    WalId { node_epoch, index }
    ObjectId { node_epoch, counter }
    Entry { seq, epoch, nonce, written, commands }
    CommandId { requester, counter }
    CommitState { stream, stream_epoch, range, position, len, crc }
    StateReference { object, range, position, len, crc }
    CommitRange { stream, stream_epoch, range, bytes, records, max_timestamp, max_timestamp_offset }
    Leader { epoch, node_id }
    Node { node_id, state, advertised, incarnation, min_counter, answered }
    Topic { id, name, partitions, replication_factor, configs, internal }
    Tenure { stream_epoch, wal, start, committed, end }
    Reference { object, range, bytes, records, max_timestamp, max_timestamp_offset }
    NewObject { id, size, data_bytes }
    Swap { stream, old, new }
    QuotaEntity { user, client_id, ip }
    ScramUser { name, mechanism }
    ScramCredential { salt, stored_key, server_key, iterations }
    Token { owner, requester, renewers, issued, expiry, last }
    AclResource { kind, pattern, name }
    AclEntry { principal, host, operation, is_deny }
}

grown! {
    Image {
        seq, nonce, cluster_id, leader, leader_history, next_node_epoch, next_stream_id, nodes, wals, topics, topic_names,
        deleted_epochs, first_epoch, streams, objects, dead_objects, probed,
    }
    2 => settings, 3 => next_producer_id, 8 => quotas, 9 => scram, 9 => acls, 10 => tokens;
    StreamRecord { topic, partition, epoch, start, tenures, epochs, references, live_bytes }
    3 => producers, 3 => unsaved, 5 => reborn, 6 => cleaned;
    UploadedObject { id, size, ranges }
    3 => states;
    ObjectRecord { size, references }
    4 => data_bytes;
    WalRegistration { url, ring_id, start, in_storage }
    7 => name;
    WalRecord { url, ring_id, in_storage, start, trim, state }
    7 => name;
}

enums! {
    Command {
        1 => BecomeLeader { epoch: epoch, node_id: node_id, cluster_id: cluster_id },
        2 => Register { node_id: node_id, advertised: advertised, wals: wals, incarnation: incarnation },
        3 => DeclareDead { node_epochs: node_epochs },
        4 => WalRecovered { wal: wal, end: end, ends: ends, recoverer: recoverer, open_on: open_on },
        5 => OpenStreams { streams: streams, node_epoch: node_epoch, wal_index: wal_index },
        6 => CreateTopic {
            id: id, name: name, partitions: partitions, replication_factor: replication_factor, configs: configs,
            internal: internal,
        },
        7 => DeleteTopic { id: id },
        8 => CreatePartitions { id: id, first: first, partitions: partitions },
        9 => AlterTopicConfigs { id: id, changes: changes },
        10 => CommitObjects { speaker: speaker, wal: wal, trim: trim, min_counter: min_counter, objects: objects },
        11 => Trim { stream: stream, node_epoch: node_epoch, stream_epoch: stream_epoch, start: start },
        12 => ObjectsDeleted { objects: objects },
        13 => Probed { endpoint: endpoint },
        14 => ForgetWal { wal: wal },
        15 => AlterSettings { scope: scope, changes: changes },
        16 => TakeProducerIds { count: count },
        17 => Replace { writer: writer, min_counter: min_counter, objects: objects, swaps: swaps },
        18 => Cleaned { stream: stream, node_epoch: node_epoch, stream_epoch: stream_epoch, cleaned: cleaned },
        19 => MoveStreams { node_epoch: node_epoch, to: to, streams: streams },
        20 => AlterScram { changes: changes },
        21 => AlterAcls { removed: removed, added: added },
        22 => AlterQuotas { entity: entity, changes: changes },
        23 => Unregister { node_id: node_id },
        24 => IssueToken { id: id, token: token },
        25 => ExpireToken { id: id, expiry: expiry },
        26 => SweepTokens { now: now },
    }
    QuotaName {
        0 => Default {},
        1 => Of { 0: name },
    }
    AclPattern {
        0 => Literal {},
        1 => Prefixed {},
    }
    SettingsScope {
        0 => Brokers {},
        1 => Broker { 0: node_id },
        2 => Group { 0: name },
        3 => ClientMetrics { 0: name },
    }
    Outcome {
        0 => Done {},
        1 => Registered { node_id: node_id, node_epoch: node_epoch },
        2 => Committed { ranges: ranges },
        3 => Refused { 0: refusal },
        4 => ProducerIds { first: first },
        5 => Replaced { swaps: swaps },
    }
    Refusal {
        0 => Dead { 0: start },
        1 => StaleEpoch {},
        2 => TopicExists {},
        3 => Unknown { 0: what },
        4 => NotNext {},
        5 => Invalid { 0: why },
    }
    NodeState {
        0 => Alive {},
        1 => Dead {},
    }
    WalState {
        0 => Open {},
        1 => Sealed { end: end, recoverer: recoverer },
    }
}
