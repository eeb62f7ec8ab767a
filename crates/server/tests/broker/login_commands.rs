//! The commands at a broker that wants a login: who is let in, and what the others are told.

use crate::support::commands::Cluster;
use tempfile::TempDir;

const MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// A file for `--command-config`, in that folder.
fn command_config(folder: &TempDir, name: &str, mechanism: &str, password: &str) -> String {
    let path = folder.path().join(name);
    let text = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\n\
         sasl.jaas.config={MODULE} username=\"admin\" password=\"{password}\";\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let users = format!(
        "listener.name.sasl_plaintext.plain.sasl.jaas.config={MODULE} username=\"admin\" password=\"right\" \
         user_admin=\"right\";"
    );
    let settings =
        ["--set", "listeners=SASL_PLAINTEXT://127.0.0.1:0", "--set", "sasl.enabled.mechanisms=PLAIN", "--set", &users];
    let cluster = Cluster::start_in(TempDir::new().unwrap(), &settings);
    let files = TempDir::new().unwrap();
    let right = command_config(&files, "right", "PLAIN", "right");
    assert_eq!(cluster.ok(&["topic", "list", "--command-config", &right]), "");
    let wrong = command_config(&files, "wrong", "PLAIN", "guessed");
    let (code, line) = cluster.fails(&["topic", "list", "--command-config", &wrong], b"");
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains("authentication failed") && !line.contains("guessed"), "{line}");
    assert!(!line.contains("no broker answers"), "{line}");
    let (code, line) = cluster.fails(&["topic", "list"], b"");
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("it wants a login") && line.contains("--command-config FILE"), "{line}");
    // And the other way round.
    let open = Cluster::start();
    let (code, line) = open.fails(&["topic", "list", "--command-config", &right], b"");
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains("leave out --command-config"), "{line}");
}
