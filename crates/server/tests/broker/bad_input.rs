//! Bytes that no client should send: memory stays bounded, the connection ends or is answered, other clients are unharmed.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{eventually, from_environment, now};
use base::Seed;
use bytes::{BufMut, BytesMut};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tempfile::TempDir;

/// What rubbish may add to the broker's memory: buffers that the allocator keeps, never what a length field claims.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

struct Victim {
    broker: Broker,
    before_kib: u64,
    _folder: TempDir,
}

impl Victim {
    /// A broker that has served a record, so that what everybody needs is in memory already.
    fn start(arguments: &[&str]) -> Victim {
        let folder = TempDir::new().unwrap();
        let broker = process::start_in(folder.path(), arguments);
        let mut client = Client::connect(broker.kafka).unwrap();
        client.create_topic("witness", 1).unwrap();
        assert_eq!(client.produce("witness", 0, &[b"before".to_vec()]).unwrap(), Ok(0));
        let before_kib = broker.resident_kib();
        Victim { broker, before_kib, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.broker.kafka).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    /// Others are unharmed: what was acknowledged is there, and the next record is taken.
    fn is_well(&mut self) {
        assert!(self.broker.is_running(), "the broker has ended: {}", self.broker.log());
        let mut client = Client::connect(self.broker.kafka).unwrap();
        let fetched = client.fetch("witness", 0, 0).unwrap().unwrap();
        assert_eq!(fetched.records.first(), Some(&(0, b"before".to_vec())));
        client.produce("witness", 0, &[b"after".to_vec()]).unwrap().unwrap();
        let grown = self.broker.resident_kib().saturating_sub(self.before_kib);
        assert!(grown < GROWTH_MAX_KIB, "grew by {grown} KiB");
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Whether the broker ends this connection, after whatever answers.
fn is_closed(socket: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    loop {
        match socket.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A request's frame with any body, whether it makes sense or not.
fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(8 + 6 + body.len()).unwrap());
    frame.put_i16(api_key);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(4);
    frame.put_slice(b"test");
    frame.put_slice(body);
    frame.to_vec()
}

#[test]
fn random_bytes() {
    let mut victim = Victim::start(&[]);
    let number = from_environment("MILLSTREAM_SEED", u64::from(std::process::id()));
    eprintln!("MILLSTREAM_SEED={number}");
    let mut seed = Seed::new(number);
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..seed.between(1, 600)).map(|_| seed.next_u64().to_le_bytes()[0]).collect();
        let mut socket = victim.connect();
        // The broker may close before it has taken everything.
        socket.write_all(&bytes).ok();
        drop(socket);
    }
    // Whole frames with random bodies get further: every API key that Kafka has, and some that it has not.
    for api_key in 0..100 {
        let body: Vec<u8> = (0..seed.between(0, 200)).map(|_| seed.next_u64().to_le_bytes()[0]).collect();
        let version = i16::try_from(seed.below(14)).unwrap();
        let mut socket = victim.connect();
        socket.write_all(&frame(api_key, version, &body)).ok();
        socket.shutdown(std::net::Shutdown::Write).ok();
        assert!(is_closed(&mut socket), "api key {api_key}: neither answered nor closed");
    }
    victim.is_well();
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let mut victim = Victim::start(&[]);
    for claimed in [i32::MAX, i32::MAX - 4, -1, i32::MIN, 0, 1] {
        let mut socket = victim.connect();
        socket.write_all(&claimed.to_be_bytes()).unwrap();
        socket.write_all(&[0; 64]).ok();
        assert!(is_closed(&mut socket), "a frame of {claimed} bytes is refused at once");
    }
    victim.is_well();
}

#[test]
fn half_a_frame_that_never_ends_takes_only_what_has_come() {
    let mut victim = Victim::start(&[]);
    let half_sent: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut socket = victim.connect();
            socket.write_all(&(10_i32 << 20).to_be_bytes()).unwrap();
            socket.write_all(&[0; 1000]).unwrap();
            socket
        })
        .collect();
    victim.is_well();
    drop(half_sent);
}

#[test]
fn arrays_of_two_billion_elements() {
    let mut victim = Victim::start(&[]);
    // Metadata 1: topics. Produce 3: no transactional id, acks, timeout, topics. Fetch 4: six fields, topics. ListOffsets 1:
    // replica, topics. CreateTopics 2: topics. FindCoordinator has none. DeleteTopics 1: topics.
    let bodies: [(i16, i16, &[u8]); 6] = [
        (3, 1, b""),
        (0, 3, b"\xff\xff\xff\xff\x00\x00\x75\x30"),
        (1, 4, b"\xff\xff\xff\xff\x00\x00\x00\x64\x00\x00\x00\x01\x00\x10\x00\x00\x00"),
        (2, 1, b"\xff\xff\xff\xff"),
        (19, 2, b""),
        (20, 1, b""),
    ];
    for (api_key, version, before) in bodies {
        for length in [i32::MAX, i32::MAX / 2, -2, i32::MIN] {
            let mut body = before.to_vec();
            body.extend(length.to_be_bytes());
            body.extend([0; 100]);
            let mut socket = victim.connect();
            socket.write_all(&frame(api_key, version, &body)).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(is_closed(&mut socket), "api key {api_key}, an array of {length}: neither answered nor closed");
        }
    }
    // The same with a compact length: Metadata 9, a varint of 2^32 - 1 elements.
    let mut socket = victim.connect();
    socket.write_all(&frame(3, 9, b"\x00\xff\xff\xff\xff\x0f\x00\x00\x00\x00")).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_closed(&mut socket));
    victim.is_well();
}

#[test]
fn ten_thousand_idle_connections() {
    let wanted = 10_000;
    let Some(possible) = raise_open_files(wanted + 200) else {
        crate::support::skip("this host allows too few open files for 10,000 connections (ulimit -Hn)");
        return;
    };
    assert!(possible >= wanted);
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    Client::connect(broker.kafka).unwrap().create_topic("witness", 1).unwrap();
    let before_kib = broker.resident_kib();
    let idle: Vec<TcpStream> = (0..wanted).map(|_| TcpStream::connect(broker.kafka).unwrap()).collect();
    // One that comes last is served like any other.
    let mut client = Client::connect(broker.kafka).unwrap();
    client.produce("witness", 0, &[b"record".to_vec()]).unwrap().unwrap();
    let settled = eventually(Duration::from_secs(20), "all connections accepted", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count();
        (open as u64 > wanted).then(|| broker.resident_kib())
    });
    let each = (settled.saturating_sub(before_kib)) / wanted;
    eprintln!("an idle connection takes {each} KiB");
    assert!(each <= 24, "an idle connection takes {each} KiB");
    drop(idle);
    client.produce("witness", 0, &[b"record".to_vec()]).unwrap().unwrap();
}

#[test]
fn refused_connections_fill_no_log() {
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &["--set", "max.connections=1"]);
    let _the_one = TcpStream::connect(broker.kafka).unwrap();
    // A client speaks at once. One that says nothing is waited for a little, as it may be a broker.
    let refused = || {
        let mut socket = TcpStream::connect(broker.kafka).unwrap();
        let _is_closed_already = socket.write_all(b"GET / HTTP/1.1\r\n");
        assert!(is_closed(&mut socket));
    };
    let told = || broker.log().lines().filter(|line| line.contains("connection refused")).count();
    let began = now();
    (0..300).for_each(|_| refused());
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!((1..=10 * seconds).contains(&told()), "{} lines in {seconds} s", told());
    std::thread::sleep(Duration::from_secs(1));
    refused();
    eventually(Duration::from_secs(10), "those that were not told are counted", || {
        broker.log().contains("unsaid").then_some(())
    });
}

/// Raises this process's limit of open files; `None` where the host does not allow that many.
fn raise_open_files(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return None;
    }
    let raised = Rlimit { current: Some(limit.current.unwrap_or(wanted).max(wanted)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).ok()?;
    Some(wanted)
}
