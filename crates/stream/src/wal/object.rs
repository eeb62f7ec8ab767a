//! The object WAL's writer.
use super::*;
use std::sync::Arc;
use world::{ObjectStore, World};
#[derive(Debug)]
pub(super) struct ObjectGroup {}
/// The object WAL of one start.
pub struct ObjectWal {}
impl ObjectWal {
    /// Begins to write as `wal`, from number 0 on.
    #[must_use]
    pub fn begin(world: &World, store: Arc<dyn ObjectStore>, wal: WalId, options: WalOptions) -> ObjectWal { todo!() }
    pub(super) fn id(&self) -> WalId { todo!() }
    pub(super) fn place(&mut self, entries: &[WalEntry]) -> Result<(Placed, ObjectGroup), WalFull> { todo!() }
    pub(super) fn write(&self, group: ObjectGroup) -> BoxFuture<'static, Result<(), WalError>> { todo!() }
    pub(super) fn floor_in(&self, image: &Image) -> WalPosition { todo!() }
    pub(super) fn trim(&mut self, floor: WalPosition) { todo!() }
    pub(super) fn next_position(&self) -> WalPosition { todo!() }
    pub(super) fn used_bytes(&self) -> u64 { todo!() }
    pub(super) fn capacity_bytes(&self) -> u64 { todo!() }
    pub(super) fn group_bytes_max(&self) -> usize { todo!() }
    pub(super) fn in_flight_max(&self) -> usize { todo!() }
    pub(super) fn reader(&self) -> ObjectWalReader { todo!() }
}
/// Reads one object WAL's entries.
#[derive(Clone)]
pub struct ObjectWalReader {}
impl ObjectWalReader {
    /// Of a WAL in that store, a dead start's for example.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, wal: WalId) -> ObjectWalReader { todo!() }
    pub(super) async fn read_span(&self, span: WalSpan) -> Result<Bytes, WalReadError> { todo!() }
}
