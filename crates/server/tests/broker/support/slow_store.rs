//! A proxy before an S3 service that makes its puts slow, as those of a far and busy store are, and notes what each request took.
//!
//! What is added to a put is drawn from a log-normal distribution. By a coin it comes before the request goes on, so that a second copy
//! may overtake the first, or before the answer comes back, so that a second copy finds the first one's object.

use super::now;
use base::Seed;
use std::io::{BufRead, BufReader, ErrorKind, Read, Result, Write, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The head of a request or an answer is no longer.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// How many deviations above the median one in a hundred lies.
const DEVIATIONS_OF_P99: f64 = 2.326_35;

/// What is added to puts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delay {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) began: Instant,
    /// From its head to its answer.
    pub(crate) took: Duration,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) bytes: u64,
}

/// The proxy. Its threads end with the test program.
pub(crate) struct SlowStore {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    service: String,
    delay: Delay,
    seed: Mutex<Seed>,
    answered: Mutex<Vec<Answered>>,
}

impl SlowStore {
    /// Before the service at `HOST:PORT`.
    pub(crate) fn start(service: &str, delay: Delay, seed: u64) -> SlowStore {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            delay,
            seed: Mutex::new(Seed::new(seed)),
            answered: Mutex::default(),
        });
        let serving = shared.clone();
        detach("proxy", move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                let shared = serving.clone();
                // A connection that breaks off is its client's to notice.
                detach("proxied connection", move || drop(shared.serve(client)));
            }
        });
        SlowStore { address, shared }
    }

    /// The requests that began since then, in the order of their answers.
    pub(crate) fn answered_since(&self, since: Instant) -> Vec<Answered> {
        self.shared.answered.lock().unwrap().iter().filter(|it| it.began >= since).cloned().collect()
    }
}

fn detach(name: &str, work: impl FnOnce() + Send + 'static) {
    drop(thread::Builder::new().name(name.to_owned()).spawn(work).unwrap());
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Result<()> {
        let store = TcpStream::connect(&self.service)?;
        for stream in [&client, &store] {
            stream.set_nodelay(true)?;
        }
        let (mut from_client, mut to_client) = (BufReader::new(client.try_clone()?), client);
        let (mut from_store, mut to_store) = (BufReader::new(store.try_clone()?), store);
        while let Some(request) = Head::read(&mut from_client)? {
            let began = now();
            let (before, after) = self.delays(&request);
            thread::sleep(before);
            to_store.write_all(&request.bytes)?;
            let bytes = request.pass_body(&mut from_client, &mut to_store, false)?;
            let answer = Head::read(&mut from_store)?.ok_or(ErrorKind::UnexpectedEof)?;
            thread::sleep(after);
            self.note(&request, began, bytes);
            to_client.write_all(&answer.bytes)?;
            let has_body = request.word(0) != "HEAD" && !matches!(answer.word(1), "204" | "304");
            if has_body {
                answer.pass_body(&mut from_store, &mut to_client, true)?;
            }
            if answer.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
                break;
            }
        }
        Ok(())
    }

    /// Before the request goes on, and before its answer comes back.
    fn delays(&self, request: &Head) -> (Duration, Duration) {
        if request.word(0) != "PUT" {
            return (Duration::ZERO, Duration::ZERO);
        }
        let mut seed = self.seed.lock().unwrap();
        let mut uniform = || (seed.below(1 << 32) as f64 + 0.5) / (1_u64 << 32) as f64;
        let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let spread = (self.delay.p99.as_secs_f64() / self.delay.median.as_secs_f64()).ln() / DEVIATIONS_OF_P99;
        let delay = self.delay.median.mul_f64((normal * spread).exp());
        if seed.chance(500) { (delay, Duration::ZERO) } else { (Duration::ZERO, delay) }
    }

    fn note(&self, request: &Head, began: Instant, bytes: u64) {
        let (method, target) = (request.word(0).to_owned(), request.word(1).to_owned());
        self.answered.lock().unwrap().push(Answered { began, took: began.elapsed(), method, target, bytes });
    }
}

/// The head of a request or an answer, as it came.
struct Head {
    bytes: Vec<u8>,
    lines: Vec<String>,
}

impl Head {
    /// `None` where the other end has closed the connection.
    fn read(from: &mut BufReader<TcpStream>) -> Result<Option<Head>> {
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        loop {
            let from_here = bytes.len();
            let read = from.by_ref().take(HEAD_BYTES_MAX - from_here as u64).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            let line = String::from_utf8_lossy(&bytes[from_here..]).trim_end().to_owned();
            if line.is_empty() {
                return Ok(Some(Head { bytes, lines }));
            }
            lines.push(line);
        }
    }

    /// Of the first line.
    fn word(&self, index: usize) -> &str {
        self.lines.first().and_then(|line| line.split(' ').nth(index)).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.lines.iter().skip(1).filter_map(|line| line.split_once(':'));
        headers.find_map(|(it, value)| it.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// Answers how many bytes the body has.
    fn pass_body(&self, from: &mut BufReader<TcpStream>, to: &mut TcpStream, is_answer: bool) -> Result<u64> {
        if self.header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
            return pass_chunks(from, to);
        }
        match self.header("content-length").map(str::parse::<u64>) {
            Some(Ok(bytes)) => pass(from, to, bytes),
            Some(Err(_)) => Err(ErrorKind::InvalidData.into()),
            // Up to the end of the connection.
            None if is_answer => copy(from, to),
            None => Ok(0),
        }
    }
}

fn pass(from: &mut BufReader<TcpStream>, to: &mut TcpStream, bytes: u64) -> Result<u64> {
    let passed = copy(&mut from.by_ref().take(bytes), to)?;
    if passed == bytes { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn pass_chunks(from: &mut BufReader<TcpStream>, to: &mut TcpStream) -> Result<u64> {
    let mut passed = 0;
    loop {
        let mut line = String::new();
        from.by_ref().take(HEAD_BYTES_MAX).read_line(&mut line)?;
        to.write_all(line.as_bytes())?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let bytes = u64::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
        if bytes == 0 {
            break;
        }
        passed += pass(from, to, bytes + 2)? - 2;
    }
    // Trailers, and the empty line.
    while let Some(line) = from.by_ref().take(HEAD_BYTES_MAX).lines().next().transpose()? {
        to.write_all(format!("{line}\r\n").as_bytes())?;
        if line.is_empty() {
            break;
        }
    }
    Ok(passed)
}
