//! A small S3 service on loopback for tests, also those of other crates: objects in memory, the six requests that we send, and
//! faults on demand.
#![expect(clippy::unwrap_used, reason = "a fixture of tests: what fails here fails the test")]

use crate::network::Connection;
use crate::{Network, TcpNetwork};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// How the service treats us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As S3 does.
    Honest,
    /// Every put is accepted, as by services that do not know the header.
    IgnoresIfNoneMatch,
    /// Every request gets this status and body.
    Answers(u16, &'static str),
    /// No request gets an answer.
    Silent,
    /// So many requests of a hundred get 503, the others what they ask for.
    Busy(u64),
    /// Every connection is closed at its first request.
    Gone,
}

/// A running service. It ends with its runtime.
pub struct Fixture {
    /// `host:port`.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Method and target of each request.
    log: Mutex<Vec<String>>,
    page: usize,
    /// Requests so far.
    count: AtomicU64,
}

struct Request {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Fixture {
    /// Listens on a free port, and lists so many keys a page.
    #[expect(clippy::disallowed_methods, reason = "the fixture is no part of a host")]
    pub async fn start(manner: Manner, page: usize) -> Fixture {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared {
            manner: Mutex::new(manner),
            objects: Mutex::default(),
            log: Mutex::default(),
            page,
            count: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let served = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&served)));
            }
        });
        Fixture { address, shared }
    }

    /// Treats us so from now on.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Method and target of each request since the last call.
    #[must_use]
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }

    /// The keys in the bucket, prefix and all.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.objects.lock().unwrap().keys().cloned().collect()
    }
}

async fn serve(connection: Box<dyn Connection>, shared: Arc<Shared>) {
    let mut connection = BufReader::new(connection);
    while let Some(request) = read_request(&mut connection).await {
        shared.log.lock().unwrap().push(format!("{} {}", request.method, request.target));
        let manner = shared.manner.lock().unwrap().clone();
        let answer = match manner {
            Manner::Silent => std::future::pending().await,
            Manner::Answers(status, body) => Answer { status, headers: Vec::new(), body: Bytes::from(body) },
            Manner::Gone => return,
            Manner::Busy(percent) if shared.draw() < percent => Answer::of(503, SLOW_DOWN),
            Manner::Honest | Manner::Busy(_) => shared.answer(&request, true),
            Manner::IgnoresIfNoneMatch => shared.answer(&request, false),
        };
        let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if request.method != "HEAD" {
            bytes.extend_from_slice(&answer.body);
        }
        if connection.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_request(connection: &mut BufReader<Box<dyn Connection>>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut first = lines.first()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |len| len.parse().unwrap())];
    connection.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, headers, body: body.into() })
}

/// As S3 says it.
const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

impl Shared {
    /// A number below a hundred, another one for each request.
    fn draw(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        (count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 100
    }

    fn answer(&self, request: &Request, honest: bool) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).to_owned();
        assert!(request.headers.contains_key("authorization"), "requests are signed");
        let mut objects = self.objects.lock().unwrap();
        match request.method.as_str() {
            "PUT" => {
                assert_eq!(request.headers.get("if-none-match").map(String::as_str), Some("*"));
                if honest && objects.contains_key(&key) {
                    return Answer::of(412, "<Error><Code>PreconditionFailed</Code></Error>");
                }
                objects.insert(key, request.body.clone());
                Answer { headers: vec![("etag", "\"tag\"".to_owned())], ..Answer::of(200, "") }
            }
            "GET" if key.is_empty() => self.list(&objects, query),
            "GET" | "HEAD" => match objects.get(&key) {
                Some(bytes) => read(bytes, request.headers.get("range")),
                None => Answer::of(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            "POST" => {
                let body = String::from_utf8(request.body.to_vec()).unwrap();
                let mut answer = "<DeleteResult>".to_owned();
                for key in body.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap()) {
                    objects.remove(key);
                    write!(answer, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
                }
                Answer::of(200, &(answer + "</DeleteResult>"))
            }
            other => panic!("{other} {}", request.target),
        }
    }

    fn list(&self, objects: &BTreeMap<String, Bytes>, query: &str) -> Answer {
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let after = text("start-after").max(text("continuation-token"));
        let mut found = objects.iter().filter(|(key, _)| key.starts_with(text("prefix")) && key.as_str() > after);
        let mut answer = "<ListBucketResult>".to_owned();
        let mut last = "";
        for (key, bytes) in found.by_ref().take(self.page) {
            last = key;
            let size = bytes.len();
            write!(
                answer,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{size}</Size></Contents>"
            )
            .unwrap();
        }
        if found.next().is_some() {
            write!(answer, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
        }
        Answer::of(200, &(answer + "</ListBucketResult>"))
    }
}

fn read(bytes: &Bytes, range: Option<&String>) -> Answer {
    let mut headers =
        vec![("etag", "\"tag\"".to_owned()), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned())];
    let Some(range) = range else { return Answer { status: 200, headers, body: bytes.clone() } };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let size = bytes.len();
    let (start, end) = if start.is_empty() {
        (size.saturating_sub(end.parse().unwrap()), size)
    } else {
        (start.parse().unwrap(), end.parse::<usize>().unwrap().saturating_add(1).min(size))
    };
    if start >= size {
        return Answer::of(416, "<Error><Code>InvalidRange</Code></Error>");
    }
    headers.push(("content-range", format!("bytes {start}-{}/{size}", end - 1)));
    Answer { status: 206, headers, body: bytes.slice(start..end) }
}

impl Answer {
    fn of(status: u16, body: &str) -> Answer {
        Answer { status, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }
}
