//! The ring's writer.
use super::*;
#[derive(Debug)]
pub(super) struct RingGroup {}
/// The ring WAL of one start.
pub struct RingWal {}
impl RingWal {
    pub(super) fn id(&self) -> WalId { todo!() }
    pub(super) fn place(&mut self, entries: &[WalEntry]) -> Result<(Placed, RingGroup), WalFull> { todo!() }
    pub(super) fn write(&self, group: RingGroup) -> BoxFuture<'static, Result<(), WalError>> { todo!() }
    pub(super) fn floor_in(&self, image: &Image) -> WalPosition { todo!() }
    pub(super) fn trim(&mut self, floor: WalPosition) { todo!() }
    pub(super) fn next_position(&self) -> WalPosition { todo!() }
    pub(super) fn used_bytes(&self) -> u64 { todo!() }
    pub(super) fn capacity_bytes(&self) -> u64 { todo!() }
    pub(super) fn group_bytes_max(&self) -> usize { todo!() }
    pub(super) fn in_flight_max(&self) -> usize { todo!() }
    pub(super) fn file(&self) -> &RingFile { todo!() }
}
