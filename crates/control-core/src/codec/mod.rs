//! The bytes of entries and snapshots (docs/formats/ledger.md).
//!
//! Both are `magic, version, body, CRC-32C`. The same value gives the same bytes on every broker, so that a snapshot may be put by
//! any of them. Decoders take any bytes: they answer an error, allocate no more than a small multiple of the input, and accept
//! nothing that an encoder would not have written.

mod wire;

use crate::{Command, CommandId, Entry, Image};
use base::crc32c;
use bytes::Bytes;
use wire::{Out, Reader, Wire};

/// The newest version that this program reads and writes.
pub const VERSION: u16 = 10;

/// Brings delegation tokens.
const VERSION_TOKENS: u16 = 10;

/// Brings credentials and access control lists.
const VERSION_SECURITY: u16 = 9;

/// Brings quotas of clients, and that brokers are forgotten.
const VERSION_QUOTAS: u16 = 8;

/// Brings names of write-ahead logs, and moves between them.
const VERSION_LOGS: u16 = 7;

/// What does not need a newer one is written in this version, so that a cluster which does not use what those bring can go back to a
/// program that does not know it.
const VERSION_PLAIN: u16 = 6;

const ENTRY_MAGIC: [u8; 4] = *b"MsLe";
const SNAPSHOT_MAGIC: [u8; 4] = *b"MsLs";

/// Magic, version, checksum.
const FRAME_BYTES: usize = 4 + 2 + 4;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version: nothing is wrong with the bytes.
    #[error("the {what} has format version {found}, this program reads up to {VERSION}: start a newer version of it")]
    Newer { what: &'static str, found: u16 },
    /// Not what was written.
    #[error("the {what} is damaged: {why}")]
    Damaged { what: &'static str, why: &'static str },
}

/// An entry's bytes.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    frame(ENTRY_MAGIC, entry)
}

/// The entry in `bytes`.
///
/// # Errors
/// The bytes are damaged, or of a newer version.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    unframe(ENTRY_MAGIC, "ledger entry", bytes)
}

/// A snapshot's bytes.
#[must_use]
pub fn encode_snapshot(image: &Image) -> Bytes {
    frame(SNAPSHOT_MAGIC, image)
}

/// The image in `bytes`.
///
/// # Errors
/// The bytes are damaged, or of a newer version.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Image, CodecError> {
    unframe(SNAPSHOT_MAGIC, "ledger snapshot", bytes)
}

/// How many bytes a command takes in an entry.
#[must_use]
pub fn command_bytes(id: CommandId, command: &Command) -> usize {
    let mut out = Out::new(version_of(command));
    id.write(&mut out);
    command.write(&mut out);
    out.bytes.len()
}

/// What has a frame of its own.
trait Framed: Wire {
    /// The least version that has a place for everything in it, from [`VERSION_PLAIN`] on.
    fn version(&self) -> u16;
}

impl Framed for Entry {
    fn version(&self) -> u16 {
        self.commands.iter().map(|(_, command)| version_of(command)).max().unwrap_or(VERSION_PLAIN)
    }
}

impl Framed for Image {
    fn version(&self) -> u16 {
        if !self.tokens.is_empty() {
            return VERSION_TOKENS;
        }
        if !self.scram.is_empty() || !self.acls.is_empty() {
            return VERSION_SECURITY;
        }
        if !self.quotas.is_empty() {
            return VERSION_QUOTAS;
        }
        if self.wals.values().any(|wal| !wal.name.is_empty()) { VERSION_LOGS } else { VERSION_PLAIN }
    }
}

fn version_of(command: &Command) -> u16 {
    match command {
        Command::IssueToken { .. } | Command::ExpireToken { .. } | Command::SweepTokens { .. } => VERSION_TOKENS,
        Command::AlterScram { .. } | Command::AlterAcls { .. } => VERSION_SECURITY,
        Command::AlterQuotas { .. } | Command::Unregister { .. } => VERSION_QUOTAS,
        Command::MoveStreams { .. } => VERSION_LOGS,
        Command::Register { wals, .. } if wals.iter().any(|wal| !wal.name.is_empty()) => VERSION_LOGS,
        _ => VERSION_PLAIN,
    }
}

fn frame<T: Framed>(magic: [u8; 4], value: &T) -> Bytes {
    let version = value.version();
    let mut out = Out::new(version);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&version.to_le_bytes());
    value.write(&mut out);
    let checksum = crc32c(&out.bytes);
    out.extend_from_slice(&checksum.to_le_bytes());
    Bytes::from(out.bytes)
}

fn unframe<T: Framed>(magic: [u8; 4], what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let damaged = |why| CodecError::Damaged { what, why };
    if bytes.len() < FRAME_BYTES {
        return Err(damaged("it is too short"));
    }
    let (checked, checksum) = bytes.split_at(bytes.len() - 4);
    if crc32c(checked).to_le_bytes() != *checksum {
        return Err(damaged("its checksum does not match"));
    }
    if checked[..4] != magic {
        return Err(damaged("it is something else"));
    }
    // The checksum and the place of the version stay as they are in every version to come.
    let version = u16::from_le_bytes([checked[4], checked[5]]);
    if version > VERSION {
        return Err(CodecError::Newer { what, found: version });
    }
    let mut reader = Reader::new(&checked[6..], version);
    let value = T::read(&mut reader).map_err(|wire::Malformed(why)| damaged(why))?;
    if reader.left() != 0 {
        return Err(damaged("bytes are left over"));
    }
    // One value, one form: what has room in an earlier version is not written in a later one, nor what needs a later one in an earlier.
    if value.version() != version.max(VERSION_PLAIN) {
        return Err(damaged("it is in another form than it needs"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
