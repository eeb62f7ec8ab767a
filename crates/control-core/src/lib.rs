//! The control plane's decisions: every change is a [`Command`], the whole metadata is an [`Image`], and [`apply`] folds one into
//! the other. No I/O, no clock, no randomness: the same entries give the same image on every broker.

mod apply;
mod check;
pub mod codec;
pub mod command;
pub mod image;
mod query;
mod quota;
pub mod security;

pub use apply::{
    ACLS_MAX, ANSWERED_MAX, DELETED_EPOCHS_MAX, LEADER_HISTORY_MAX, QUOTA_ENTITIES_MAX, SCRAM_CREDENTIALS_MAX,
    SETTINGS_SCOPES_MAX, TOKENS_BYTES_MAX, TOKENS_OF_OWNER_BYTES_MAX, apply,
};
pub use check::check;
pub use codec::CodecError;
pub use command::{
    Command, CommandId, CommitRange, CommitState, Entry, NewObject, Outcome, Refusal, SettingsScope, Swap,
    UploadedObject, WalRegistration,
};
pub use image::{
    Image, Leader, Node, NodeState, ObjectRecord, Quotas, Reference, Settings, StateReference, StreamRecord, Tenure,
    Topic, TopicNames, TopicsById, WalRecord, WalState,
};
pub use quota::{QuotaEntity, QuotaName, QuotaValue};
pub use security::{
    Acl, AclEntry, AclPattern, AclResource, Acls, Scram, ScramCredential, ScramUser, Secret, Token, Tokens,
};
