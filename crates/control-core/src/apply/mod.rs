//! command × image → image, or a refusal.
//!
//! [`apply`] folds one entry. Each family of commands has a file; each handler checks everything first and changes the image
//! last, so that a refused command changes nothing. Rule letters are those of docs/rules.md.
//!
//! | file | commands |
//! |---|---|
//! | `node` | BecomeLeader, Register, DeclareDead, Unregister, Probed |
//! | `topic` | CreateTopic, DeleteTopic, CreatePartitions, AlterTopicConfigs |
//! | `producers` | TakeProducerIds, and what commits do to state references |
//! | `settings` | AlterSettings |
//! | `quotas` | AlterQuotas |
//! | `security` | AlterScram, AlterAcls |
//! | `tokens` | IssueToken, ExpireToken, SweepTokens |
//! | `commit` | CommitObjects, ObjectsDeleted |
//! | `replace` | Replace |
//! | `stream` | Trim, Cleaned, OpenStreams, MoveStreams, and what all share about tenures and references |
//! | `wal` | WalRecovered, ForgetWal |

mod commit;
mod node;
mod producers;
mod quotas;
mod replace;
mod security;
mod settings;
mod stream;
mod tokens;
mod topic;
mod wal;

use crate::{Command, CommandId, Entry, Image, Outcome, Refusal};
use base::{LedgerSeq, NodeEpoch, planted};
use std::sync::Arc;

pub use node::LEADER_HISTORY_MAX;
pub use quotas::QUOTA_ENTITIES_MAX;
pub use security::{ACLS_MAX, SCRAM_CREDENTIALS_MAX};
pub use settings::SETTINGS_SCOPES_MAX;
pub use tokens::{TOKENS_BYTES_MAX, TOKENS_OF_OWNER_BYTES_MAX};
pub use topic::DELETED_EPOCHS_MAX;

/// Outcomes remembered for each living start, which is also the most commands that one entry may hold of it: what is asked again
/// is its last entry, of unknown fate, never more.
pub const ANSWERED_MAX: usize = 1024;

/// Outcomes remembered of a start's earlier entries. Those of large commits are large.
const ANSWERED_OLD_MAX: usize = 32;

/// What a handler answers.
type Applied = Result<Outcome, Refusal>;

/// Folds one entry into the image; answers one outcome per command.
///
/// # Panics
/// When the entry is not the next one: readers check the number of what they read.
pub fn apply(image: &mut Image, entry: &Entry) -> Vec<Outcome> {
    assert_eq!(entry.seq, image.seq.next(), "entries are folded in order, without gaps");
    let outcomes = entry.commands.iter().map(|(id, command)| apply_command(image, entry, *id, command)).collect();
    image.seq = entry.seq;
    image.nonce = entry.nonce;
    outcomes
}

fn apply_command(image: &mut Image, entry: &Entry, id: CommandId, command: &Command) -> Outcome {
    if let Some(requester) = image.nodes.get(&id.requester) {
        if let Some((_, outcome)) = requester.answered.get(&id.counter) {
            return outcome.clone();
        }
        // A start's commands stand in the log in the order of their counters, so this one was answered long ago.
        if requester.answered.get_max().is_some_and(|(last, _)| id.counter < *last) {
            return Outcome::Refused(Refusal::Invalid("asked again too late".to_owned()));
        }
    }
    let outcome = check_requester(image, entry, id.requester, command)
        .and_then(|()| dispatch(image, entry, command))
        .unwrap_or_else(Outcome::Refused);
    remember(image, entry.seq, id, &outcome);
    outcome
}

/// Only the term that the image knows may change it, and only a start that is not dead may ask.
fn check_requester(image: &Image, entry: &Entry, requester: NodeEpoch, command: &Command) -> Result<(), Refusal> {
    if matches!(command, Command::BecomeLeader { .. }) {
        return Ok(());
    }
    if entry.epoch != image.leader.epoch {
        return Err(Refusal::NotNext);
    }
    let dead = requester != NodeEpoch::default() && !image.is_alive(requester);
    let excused = match command {
        Command::WalRecovered { .. } => planted!("S1", false, true),
        Command::CommitObjects { .. } => planted!("R2", false, true),
        Command::Replace { .. } => planted!("Replace by a dead start", false, true),
        _ => false,
    };
    if dead && !excused { Err(Refusal::Dead(requester)) } else { Ok(()) }
}

fn dispatch(image: &mut Image, entry: &Entry, command: &Command) -> Applied {
    match command {
        Command::BecomeLeader { epoch, node_id, cluster_id } => {
            node::become_leader(image, entry, *epoch, *node_id, *cluster_id)
        }
        Command::Register { node_id, advertised, wals, incarnation } => {
            node::register(image, *node_id, advertised, wals, *incarnation)
        }
        Command::DeclareDead { node_epochs } => node::declare_dead(image, node_epochs),
        Command::Unregister { node_id } => node::unregister(image, *node_id),
        Command::Probed { endpoint } => node::probed(image, endpoint),
        Command::WalRecovered { wal, end, ends, recoverer, open_on } => {
            wal::recovered(image, *wal, &wal::Recovered { end: *end, ends, recoverer: *recoverer, open_on: *open_on })
        }
        Command::ForgetWal { wal } => wal::forget(image, *wal),
        Command::OpenStreams { streams, node_epoch, wal_index } => {
            stream::open_streams(image, streams, *node_epoch, *wal_index)
        }
        Command::MoveStreams { node_epoch, to, streams } => stream::move_streams(image, *node_epoch, *to, streams),
        Command::Trim { stream, node_epoch, stream_epoch, start } => {
            stream::trim(image, entry.seq, *stream, *node_epoch, *stream_epoch, *start)
        }
        Command::Cleaned { stream, node_epoch, stream_epoch, cleaned } => {
            stream::cleaned(image, *stream, *node_epoch, *stream_epoch, *cleaned)
        }
        Command::CreateTopic { id, name, partitions, replication_factor, configs, internal } => {
            let new = topic::NewTopic {
                id: *id,
                name,
                replication_factor: *replication_factor,
                configs,
                internal: *internal,
            };
            topic::create(image, &new, partitions)
        }
        Command::DeleteTopic { id } => topic::delete(image, entry.seq, *id),
        Command::CreatePartitions { id, first, partitions } => topic::create_partitions(image, *id, *first, partitions),
        Command::AlterTopicConfigs { id, changes } => topic::alter_configs(image, *id, changes),
        Command::AlterSettings { scope, changes } => settings::alter(image, scope, changes),
        Command::AlterQuotas { entity, changes } => quotas::alter(image, entity, changes),
        Command::AlterScram { changes } => security::alter_scram(image, changes),
        Command::AlterAcls { removed, added } => security::alter_acls(image, removed, added),
        Command::IssueToken { id, token } => tokens::issue(image, id, token),
        Command::ExpireToken { id, expiry } => tokens::expire(image, id, *expiry),
        Command::SweepTokens { now } => tokens::sweep(image, *now),
        Command::CommitObjects { speaker, wal, trim, min_counter, objects } => {
            let commit =
                commit::Commit { speaker: *speaker, wal: *wal, trim: *trim, min_counter: *min_counter, objects };
            commit::commit_objects(image, entry.seq, &commit)
        }
        Command::Replace { writer, min_counter, objects, swaps } => {
            let replace = replace::Replace { writer: *writer, min_counter: *min_counter, objects, swaps };
            replace::replace(image, entry.seq, &replace)
        }
        Command::TakeProducerIds { count } => producers::take_ids(image, *count),
        Command::ObjectsDeleted { objects } => commit::objects_deleted(image, objects),
    }
}

/// Keeps a living requester's outcome, so that the same command asked again is answered, not applied again.
fn remember(image: &mut Image, seq: LedgerSeq, id: CommandId, outcome: &Outcome) {
    if !image.is_alive(id.requester) {
        return;
    }
    let Some(node) = image.nodes.get_mut(&id.requester) else { return };
    let node = Arc::make_mut(node);
    node.answered.insert(id.counter, (seq, outcome.clone()));
    while let Some((oldest, answered)) = node.answered.get_min().map(|(counter, (seq, _))| (*counter, *seq)) {
        let kept = if answered < seq { ANSWERED_OLD_MAX } else { ANSWERED_MAX };
        if node.answered.len() <= kept {
            return;
        }
        node.answered.remove(&oldest);
    }
}

#[cfg(test)]
mod tests;
