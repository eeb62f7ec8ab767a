//! From a command's arguments to a cluster, and from its errors to a line that says what to do.

use super::{CommandError, login, outside};
use crate::args::client::ClusterArgs;
use client::{ClientError, ClientOptions, Cluster, SPEAKS_HTTP, SPEAKS_TLS};
use protocol::error_code::ErrorCode;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use world::World;

/// A runtime, and the cluster that answers at `--bootstrap`.
pub(super) fn connect(args: &ClusterArgs) -> Result<(Runtime, Cluster), CommandError> {
    let runtime = outside::runtime()?;
    let cluster = connect_on(&runtime, args)?;
    Ok((runtime, cluster))
}

/// The same on a runtime that is there: another cluster has other connections.
pub(super) fn connect_on(runtime: &Runtime, args: &ClusterArgs) -> Result<Cluster, CommandError> {
    let defaults = ClientOptions::new(args.bootstrap.as_str());
    let call_within = Duration::from_secs(args.timeout);
    let connect_within = defaults.connect_within.min(call_within);
    let login = args.command_config.as_deref().map(login::read).transpose()?.flatten();
    let options = ClientOptions { connect_within, call_within, login, ..defaults };
    Ok(runtime.block_on(async { Cluster::connect(World::system(), options).await })?)
}

/// Completes when somebody asks the process to end, with Ctrl-C or SIGTERM.
///
/// # Errors
/// The operating system does not let us watch for it.
pub(super) fn asked_to_end() -> Result<impl Future<Output = ()> + Send, CommandError> {
    let failed = |error| CommandError::failed(format!("watch for Ctrl-C: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> CommandError {
        let is_wrong = error.code().is_some_and(is_operators_mistake);
        let line = match advice(&error) {
            Some(advice) => format!("{error}: {advice}"),
            None => error.to_string(),
        };
        if is_wrong { CommandError::wrong(line) } else { CommandError::failed(line) }
    }
}

fn is_operators_mistake(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidTopicException
            | ErrorCode::InvalidConfig
            | ErrorCode::InvalidPartitions
            | ErrorCode::InvalidReplicationFactor
            | ErrorCode::InvalidRequest
            | ErrorCode::OffsetOutOfRange
            | ErrorCode::InvalidGroupId
            | ErrorCode::SaslAuthenticationFailed
            | ErrorCode::UnsupportedSaslMechanism
            | ErrorCode::IllegalSaslState
    )
}

/// Whether a record was refused since its topic is compacted and it has no key, as Kafka's brokers word it.
pub(super) fn wants_a_key(error: &ClientError) -> bool {
    let ClientError::Refused { code: ErrorCode::InvalidRecord, message: Some(message), .. } = error else {
        return false;
    };
    message.contains("without key")
}

/// What may be done about it, where that is not in the error itself.
fn advice(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { reason, .. } if reason == SPEAKS_HTTP => {
            Some("is that the broker's --console? Say where Kafka clients connect with --bootstrap HOST:PORT")
        }
        ClientError::Unreachable { reason, .. } if reason == SPEAKS_TLS => {
            Some("millstream's commands do not speak it: say a listener without TLS with --bootstrap HOST:PORT")
        }
        ClientError::TurnedAway { .. } => Some(
            "it wants a login, or has a limit on connections: write security.protocol=SASL_PLAINTEXT, sasl.mechanism=PLAIN and sasl.jaas.config=… into a file \
             and give --command-config FILE; or TLS, which millstream's commands do not speak; or it restarts behind a proxy: try again",
        ),
        ClientError::Unreachable { .. } => {
            Some("start a broker there with `millstream start`, or say where one is with --bootstrap HOST:PORT")
        }
        ClientError::TimedOut { .. } => Some("look at the broker's log, or give it longer with --timeout SECONDS"),
        ClientError::Unserved { .. } => Some("that broker is too old or too young for this command"),
        error if wants_a_key(error) => {
            Some("the topic is compacted: give keys, with --key-separator TEXT between key and value")
        }
        ClientError::Refused { code, .. } => match code {
            ErrorCode::CorruptMessage => Some(
                "records are damaged, where they are stored or on the way: the broker's log says which, `millstream fsck` checks the bucket",
            ),
            ErrorCode::UnknownTopicOrPartition => {
                Some("`millstream topic list` shows what there is, `millstream topic create TOPIC` makes a topic")
            }
            ErrorCode::SaslAuthenticationFailed => {
                Some("authentication failed: look at the user and the password in the file of --command-config")
            }
            ErrorCode::UnsupportedSaslMechanism => {
                Some("that broker takes no login by PLAIN: look at its sasl.enabled.mechanisms")
            }
            ErrorCode::IllegalSaslState => Some(
                "that broker takes no login there: leave out --command-config, or say another listener with --bootstrap HOST:PORT",
            ),
            ErrorCode::TopicAuthorizationFailed
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed => Some(
                "whoever logs in with --command-config, or nobody without it, has no right to that: an administrator gives it with an ACL",
            ),
            ErrorCode::GroupIdNotFound => Some("`millstream group list` shows what there is"),
            ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId => Some("stop its consumers first"),
            ErrorCode::GroupMaxSizeReached => Some("the group, or its broker, takes no more members (group.max.size)"),
            ErrorCode::InconsistentGroupProtocol => Some("its members assign in other ways: use another group"),
            ErrorCode::TopicAlreadyExists => Some("choose another name, or change it with `millstream topic alter`"),
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Some(
                "write smaller records, or raise the topic's bound with `millstream topic alter TOPIC --set max.message.bytes=BYTES`",
            ),
            ErrorCode::LeaderNotAvailable | ErrorCode::NotLeaderOrFollower => {
                Some("look at the logs of the brokers, or try again with a longer --timeout SECONDS")
            }
            _ => None,
        },
        ClientError::Lost { .. } => Some(
            "does that broker run, and can its advertised address be reached from here? What was asked for may have been done: look before you try again",
        ),
        ClientError::Malformed { .. } => {
            Some("is that a Kafka broker, and nothing in between that changes what it says?")
        }
        ClientError::Impossible(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(error: ClientError) -> (u8, String) {
        let error = CommandError::from(error);
        (error.code, error.line)
    }

    #[test]
    fn what_goes_wrong_is_told_with_what_to_do() {
        let address = || "h:1".to_owned();
        let refused = |code, message: &str| ClientError::Refused {
            what: "fetch".to_owned(),
            code,
            message: Some(message.to_owned()),
        };
        let unreachable = |reason: &str| ClientError::Unreachable { bootstrap: address(), reason: reason.to_owned() };
        for (error, part) in [
            (ClientError::Lost { address: address(), reason: "reset".to_owned() }, "look before you try again"),
            (
                ClientError::Malformed { address: address(), what: "x", reason: "y".to_owned() },
                "is that a Kafka broker",
            ),
            (unreachable("refused"), "`millstream start`"),
            (unreachable(SPEAKS_TLS), "a listener without TLS"),
            (ClientError::TurnedAway { address: address() }, "--command-config FILE"),
            (refused(ErrorCode::TopicAuthorizationFailed, "t"), "with an ACL"),
            (unreachable(SPEAKS_HTTP), "is that the broker's --console?"),
            (refused(ErrorCode::CorruptMessage, "crc"), "`millstream fsck`"),
            (refused(ErrorCode::InvalidRecord, "cannot accept message without key"), "--key-separator TEXT"),
        ] {
            let (code, line) = line(error);
            assert!(code == 1 && line.contains(part), "{line}");
        }
        assert!(!line(refused(ErrorCode::InvalidRecord, "bad time")).1.contains("--key-separator"));
        assert_eq!(line(refused(ErrorCode::InvalidConfig, "no.such")).0, 2, "the operator's mistake");
        for (code, part) in [
            (ErrorCode::SaslAuthenticationFailed, "authentication failed: look at the user and the password"),
            (ErrorCode::UnsupportedSaslMechanism, "sasl.enabled.mechanisms"),
            (ErrorCode::IllegalSaslState, "leave out --command-config"),
        ] {
            let (code, line) = line(refused(code, "no"));
            assert!(code == 2 && line.contains(part), "{line}");
        }
    }
}
