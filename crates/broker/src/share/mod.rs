//! Share groups (KIP-932) between the group's coordinator, the share coordinator and the leaders of partitions: how one asks the other,
//! wherever it is.
//!
//! ```text
//!  group's coordinator ─┐ `asking`                         ┌─▶ here:      `serve` ─▶ `crate::coordinator` (`hosted`)
//!                       ├──────────▶ `persister` (who it is)┤
//!  partition's leader ──┘                                   └─▶ elsewhere: one of Kafka's five requests (`questions`) ─▶ its `serve`
//! ```
//!
//! What is decided stands in `coordinator-core`, `share`. Guarantees: what the group's coordinator asks leaves when its decision is confirmed;
//! for each group one question is under way at a time, and none leaves while another kind of question about the group has gone without an
//! answer; whatever a share coordinator tells, a refusal as well, it has proved to be its own to tell by a later append.

mod asking;
mod ends;
mod hosted;
pub(crate) mod persister;
mod questions;
mod serve;
mod turns;

pub(crate) use asking::{Outcomes, delete, initialize, run};
pub(crate) use ends::{EndPeers, ends};
pub(crate) use persister::ask;
pub(crate) use questions::{Delete, Initialize, Read, StatePeers, Summarize, Write};
pub(crate) use serve::answer;
pub(crate) use turns::Turns;
