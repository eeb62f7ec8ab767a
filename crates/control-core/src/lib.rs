//! The control plane's decisions: every change is a [`Command`], the whole metadata is an [`Image`], and [`apply`] folds one into
//! the other. No I/O, no clock, no randomness: the same entries give the same image on every broker.

pub mod apply;
pub mod codec;
pub mod command;
pub mod image;

pub use apply::apply;
pub use command::{Command, CommandId, CommitRange, Entry, Outcome, Refusal, UploadedObject};
pub use image::{
    Image, Leader, Node, NodeState, ObjectRecord, Reference, StreamRecord, Tenure, Topic, WalRecord, WalState,
};
