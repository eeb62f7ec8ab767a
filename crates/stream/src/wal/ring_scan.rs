//! Walks a dead start's groups in a ring, from its trim point to the first group that is not whole.
//!
//! ```text
//! while a group of this WAL stands whole at `position` { take it; position = its end }
//! ```
//! is the whole idea. The rest is about what "whole" costs and what its absence means.
//!
//! - Header and directory are checked always, payload only from the newest durable mark on: what lies below it was durable once,
//!   so it can be damaged but not torn, and each entry's own checksum tells that when it is read.
//! - Groups of an older lap, of an older start, or made up by a client inside a payload differ in position, WAL id or tag.
//! - A group that is not whole ends the WAL, unless a later one says that it had been durable: then the ring is damaged, and the
//!   walk says so instead of shortening what was acknowledged. A writer keeps few groups in flight, so such a witness follows
//!   closely if at all.
//! - What was only written, and not known to be durable, is written and synced once more before the walk answers: a killed process
//!   leaves in the device's cache what a power loss then takes, and an end that was sealed must be found again.

use super::ring_file::{BLOCK, RingFile};
use super::{RecoverError, Recovered, RecoveredGroup};
use base::{WalId, WalPosition, planted};
use bytes::Bytes;
use stream_core::wal_group::{GroupError, GroupKind, HEADER_BYTES, WalGroup, decode_group, decode_header};
use world::{AlignedBuf, DiskError};

/// Read at once while groups are small: sequential.
const SEQUENTIAL_BYTES: u64 = 4 << 20;

/// Read at once where only heads are wanted and payloads are long enough to skip.
const HEAD_READ_BYTES: u64 = 64 << 10;

/// How far beyond the end a witness of damage is looked for.
const WITNESS_BYTES: u64 = 32 << 20;

/// What the dead start `wal` left from `from` on.
pub(super) async fn scan(file: &RingFile, wal: WalId, from: WalPosition) -> Result<Recovered, RecoverError> {
    let mut walk = Walk { file, wal, from, window: Window::default(), read_bytes: SEQUENTIAL_BYTES };
    let (groups, walk_end) = walk.groups().await?;
    let mark = groups.iter().map(|group| group.header.place.durable).max().unwrap_or(from).max(from);
    let (groups, end) = walk.cut_torn_tail(groups, walk_end, mark).await?;
    walk.expect_no_witness(walk_end, end).await?;
    walk.make_durable(&groups, mark).await?;
    let groups = groups
        .into_iter()
        .filter(|group| group.header.kind == GroupKind::Data)
        .map(|group| RecoveredGroup {
            position: group.header.place.position,
            end: group.header.end(),
            entries: group.entries,
        })
        .collect();
    Ok(Recovered { wal, end, groups })
}

struct Walk<'a> {
    file: &'a RingFile,
    wal: WalId,
    from: WalPosition,
    window: Window,
    /// How much the next read takes.
    read_bytes: u64,
}

/// Bytes of the ring that were read last.
#[derive(Default)]
struct Window {
    position: WalPosition,
    bytes: Bytes,
}

impl Walk<'_> {
    /// The groups with whole heads, and where the first without stands.
    async fn groups(&mut self) -> Result<(Vec<WalGroup>, WalPosition), RecoverError> {
        let mut groups = Vec::new();
        let mut position = self.from;
        while let Some(group) = self.group_at(position).await? {
            position = group.header.end();
            groups.push(group);
        }
        Ok((groups, position))
    }

    /// The group whose whole head stands at `position`.
    async fn group_at(&mut self, position: WalPosition) -> Result<Option<WalGroup>, RecoverError> {
        let bytes = self.bytes_at(position, BLOCK).await?;
        // Not verified yet: says how much to read, within bounds.
        let head_len = match decode_header(&bytes) {
            Ok(header) if self.belongs(&header.place, position) => header.head_len as u64,
            Ok(_) => return Ok(None),
            Err(error) => return self.absent(position, error),
        };
        let bytes = self.bytes_at(position, head_len).await?;
        let group = match decode_group(&bytes) {
            Ok(group) => group,
            Err(error) => return self.absent(position, error),
        };
        let total = group.header.total_len;
        let to_lap_end = self.file.capacity_bytes() - position.0 % self.file.capacity_bytes();
        if total == 0 || total % BLOCK != 0 || total > to_lap_end || group.header.kind == GroupKind::Fence {
            return Err(self.damaged(position, "a whole group of impossible length or kind"));
        }
        self.read_bytes = if total < SEQUENTIAL_BYTES / 16 { SEQUENTIAL_BYTES } else { HEAD_READ_BYTES };
        Ok(Some(group))
    }

    /// Drops the groups from the first on whose payload is torn. Yields what is left and where it ends.
    async fn cut_torn_tail(
        &mut self,
        mut groups: Vec<WalGroup>,
        walk_end: WalPosition,
        mark: WalPosition,
    ) -> Result<(Vec<WalGroup>, WalPosition), RecoverError> {
        let first_unmarked = groups.partition_point(|group| group.header.place.position < mark);
        if planted!("tail cut too early", false, true) {
            let end = groups.get(first_unmarked).map_or(walk_end, |group| group.header.place.position);
            groups.truncate(first_unmarked);
            return Ok((groups, end));
        }
        for at in first_unmarked..groups.len() {
            let position = groups[at].header.place.position;
            if planted!("torn tail accepted", self.is_payload_torn(&groups[at]).await?, false) {
                groups.truncate(at);
                return Ok((groups, position));
            }
        }
        Ok((groups, walk_end))
    }

    /// Writes the groups that no mark calls durable again, as they are, and syncs. A sync alone does not do: after one that failed,
    /// pages count as clean that never reached the device.
    async fn make_durable(&mut self, groups: &[WalGroup], mark: WalPosition) -> Result<(), RecoverError> {
        let wal = self.wal;
        let unreadable = |error: DiskError| RecoverError::Unreadable { wal, reason: error.to_string() };
        let unmarked = groups.partition_point(|group| group.header.place.position < mark);
        for group in &groups[unmarked..] {
            let position = group.header.place.position;
            // Of a pad only the head was written.
            let len = if group.header.kind == GroupKind::Data { group.header.total_len } else { BLOCK };
            let bytes = self.bytes_at(position, len).await?;
            let len = usize::try_from(len).expect("a group fits memory");
            self.file.write(position, AlignedBuf::copy_of(&bytes[..len])).await.map_err(unreadable)?;
        }
        if unmarked < groups.len() {
            self.file.sync().await.map_err(unreadable)?;
        }
        Ok(())
    }

    async fn is_payload_torn(&mut self, group: &WalGroup) -> Result<bool, RecoverError> {
        if group.header.kind != GroupKind::Data {
            return Ok(false);
        }
        let bytes = self.bytes_at(group.header.place.position, group.header.total_len).await?;
        Ok(group.verify_payload(&bytes).is_err())
    }

    /// Looks beyond the walk for a group that says that `end` had been passed durably.
    async fn expect_no_witness(&mut self, walk_end: WalPosition, end: WalPosition) -> Result<(), RecoverError> {
        let until = (walk_end.0 + WITNESS_BYTES).min(self.from.0 + self.file.capacity_bytes());
        self.read_bytes = SEQUENTIAL_BYTES;
        let mut position = walk_end;
        while position.0 < until {
            let block = self.bytes_at(position, BLOCK).await?;
            let claims = decode_header(&block)
                .is_ok_and(|header| self.belongs(&header.place, position) && header.place.durable > end);
            if claims {
                let head_len = decode_header(&block).map_or(0, |header| header.head_len as u64);
                if decode_group(&self.bytes_at(position, head_len).await?).is_ok() {
                    return Err(self.damaged(end, "no whole group, though a later one says that there was"));
                }
            }
            position.0 += BLOCK;
        }
        Ok(())
    }

    /// At least `len` bytes from `position` on, fewer at the end of the lap.
    async fn bytes_at(&mut self, position: WalPosition, len: u64) -> Result<Bytes, RecoverError> {
        let lead = position
            .0
            .checked_sub(self.window.position.0)
            .filter(|lead| lead.checked_add(len).is_some_and(|end| end <= self.window.bytes.len() as u64));
        if let Some(lead) = lead {
            return Ok(self.window.bytes.slice(usize::try_from(lead).expect("inside the window")..));
        }
        let read = self.file.read(position, self.read_bytes.max(len.next_multiple_of(BLOCK))).await;
        let bytes =
            read.map_err(|error: DiskError| RecoverError::Unreadable { wal: self.wal, reason: error.to_string() })?;
        self.window = Window { position, bytes: bytes.clone() };
        Ok(bytes)
    }

    fn belongs(&self, place: &stream_core::wal_group::GroupPlace, position: WalPosition) -> bool {
        place.wal == self.wal && place.position == position && place.tag == self.file.id()
    }

    /// What an unreadable head means.
    fn absent(&self, position: WalPosition, error: GroupError) -> Result<Option<WalGroup>, RecoverError> {
        match error {
            GroupError::NotAGroup | GroupError::Torn => Ok(None),
            GroupError::Newer(_) | GroupError::Corrupt(_) => Err(self.damaged(position, &error.to_string())),
        }
    }

    fn damaged(&self, position: WalPosition, reason: &str) -> RecoverError {
        RecoverError::Damaged { wal: self.wal, position, reason: reason.to_owned() }
    }
}

// A head is read whole before it is decoded, and a block holds at least its fixed part.
const _: () = assert!(HEADER_BYTES as u64 <= BLOCK);
