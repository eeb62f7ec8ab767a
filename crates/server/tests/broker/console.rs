//! The console over HTTP.

use crate::support::client::Client;
use crate::support::process;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tempfile::TempDir;

/// Status line and body of `GET path`.
pub(crate) fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The sample of that name and labels.
pub(crate) fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[test]
fn tells_health_readiness_and_metrics() {
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    assert_eq!(get(broker.console, "/health"), ("HTTP/1.1 200 OK".to_owned(), "healthy\n".to_owned()));
    assert_eq!(get(broker.console, "/ready"), ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    let (status, body) = get(broker.console, "/");
    assert!(status == "HTTP/1.1 404 Not Found" && body.contains("/metrics"), "{status}: {body}");
    Client::connect(broker.kafka).unwrap().create_topic("counted", 3).unwrap();
    let (_, metrics) = get(broker.console, "/metrics");
    assert!(metrics.contains("\nmillstream_partitions 3\n"), "{metrics}");
    assert!(metrics.contains("\nmillstream_ready 1\n"), "{metrics}");
    // One entry at the least made the topic, and a folder costs nothing.
    let requests = |operation: &str, purpose: &str| {
        let labels = format!("{{operation=\"{operation}\",purpose=\"{purpose}\",outcome=\"done\"}}");
        sample(&metrics, &format!("millstream_object_store_requests_total{labels}")).unwrap()
    };
    assert!(requests("put", "ledger") >= 1.0 && requests("list", "ledger") >= 1.0, "{metrics}");
    assert!(requests("put", "upload") < 1.0, "{metrics}");
    assert_eq!(sample(&metrics, "millstream_cost_dollars_total{purpose=\"ledger\"}"), Some(0.0));
    assert_eq!(sample(&metrics, "millstream_produce_throttle_seconds{wal=\"default\"}"), Some(0.0));
}

#[test]
fn many_idle_connections_do_not_stop_it_or_the_broker() {
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    // More than it takes at once: the rest waits, and Kafka clients notice nothing.
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(broker.console).unwrap()).collect();
    Client::connect(broker.kafka).unwrap().create_topic("undisturbed", 1).unwrap();
    drop(idle);
    assert_eq!(get(broker.console, "/ready").1, "ready\n");
}
