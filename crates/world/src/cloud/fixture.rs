//! A small object store on loopback for tests, also those of other crates: objects in memory, the requests that we send in the words of
//! each cloud, and faults on demand.
#![expect(clippy::unwrap_used, reason = "a fixture of tests: what fails here fails the test")]

use crate::network::Connection;
use crate::{Network, TcpNetwork};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Whose words the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon's.
    S3,
    /// Amazon's directory buckets: lists of whole folders only, in no order.
    Express,
    /// Google's.
    Gcs,
    /// Azure's.
    Azure,
    /// The same with real folders: listed folder by folder, which is not the order of names.
    AzureFolders,
}

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
    dialect: Dialect,
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
    /// An S3 service: listens on a free port, and lists so many keys a page.
    pub async fn start(manner: Manner, page: usize) -> Fixture {
        Fixture::start_as(Dialect::S3, manner, page).await
    }

    /// The same in other words.
    #[expect(clippy::disallowed_methods, reason = "the fixture is no part of a host")]
    pub async fn start_as(dialect: Dialect, manner: Manner, page: usize) -> Fixture {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared {
            dialect,
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
        // Google's names are one segment of the path, in which all but letters and digits are escaped.
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let key =
            url::form_urlencoded::parse(key.as_bytes()).next().map_or_else(String::new, |(key, _)| key.into_owned());
        assert!(request.headers.contains_key("authorization") || self.dialect == Dialect::Gcs, "requests are signed");
        let mut objects = self.objects.lock().unwrap();
        match request.method.as_str() {
            "PUT" => {
                let (condition, value) = if self.dialect == Dialect::Gcs {
                    ("x-goog-if-generation-match", "0")
                } else {
                    ("if-none-match", "*")
                };
                assert_eq!(request.headers.get(condition).map(String::as_str), Some(value));
                if honest && objects.contains_key(&key) {
                    return self.exists();
                }
                objects.insert(key, request.body.clone());
                let headers = vec![
                    ("etag", "\"tag\"".to_owned()),
                    ("x-goog-generation", "1".to_owned()),
                    ("last-modified", LAST_MODIFIED.to_owned()),
                ];
                Answer { headers, ..Answer::of(if self.is_azure() { 201 } else { 200 }, "") }
            }
            "GET" if key.is_empty() => self.list(&objects, query),
            "GET" | "HEAD" => match objects.get(&key) {
                Some(bytes) => read(bytes, request.headers.get("range")),
                None if self.is_azure() => Answer::of(404, "<Error><Code>BlobNotFound</Code></Error>"),
                None => Answer::of(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            "DELETE" => match objects.remove(&key) {
                Some(_) => Answer::of(204, ""),
                None => Answer::of(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            "POST" if self.is_azure() => delete_batch(&mut objects, &request.body),
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

    fn is_azure(&self) -> bool {
        matches!(self.dialect, Dialect::Azure | Dialect::AzureFolders)
    }

    fn exists(&self) -> Answer {
        match self.dialect {
            Dialect::Azure => Answer::of(409, "<Error><Code>BlobAlreadyExists</Code></Error>"),
            _ => Answer::of(412, "<Error><Code>PreconditionFailed</Code></Error>"),
        }
    }

    fn list(&self, objects: &BTreeMap<String, Bytes>, query: &str) -> Answer {
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let mut items = items(objects, text("prefix"), text("delimiter"));
        let from = match self.dialect {
            Dialect::S3 | Dialect::Gcs => {
                let after = text("start-after").max(text("continuation-token"));
                items.iter().position(|(name, _)| name.as_str() > after).unwrap_or(items.len())
            }
            // What it starts from is in the answer.
            Dialect::Azure if text("marker").is_empty() => {
                items.iter().position(|(name, _)| name.as_str() >= text("startFrom")).unwrap_or(items.len())
            }
            Dialect::Azure => text("marker").parse().unwrap(),
            Dialect::AzureFolders => {
                items.sort_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
                text("marker").parse().unwrap_or(0)
            }
            Dialect::Express => {
                let folder = text("prefix");
                if !(folder.is_empty() || folder.ends_with('/')) || query.contains_key("start-after") {
                    return Answer::of(400, "<Error><Code>InvalidRequest</Code></Error>");
                }
                items.sort_by_key(|(name, _)| name.bytes().rev().collect::<Vec<u8>>());
                text("continuation-token").parse().unwrap_or(0)
            }
        };
        let page = &items[from.min(items.len())..(from + self.page).min(items.len())];
        let has_more = from + self.page < items.len();
        let next = match self.dialect {
            Dialect::S3 | Dialect::Gcs => page.last().map(|(name, _)| name.clone()),
            _ => Some((from + self.page).to_string()),
        };
        let next = next.filter(|_| has_more).unwrap_or_default();
        Answer::of(200, &if self.is_azure() { in_azures_words(page, &next) } else { in_s3s_words(page, &next) })
    }
}

/// Names below a prefix with their sizes, by name; where a delimiter is given, folders without any.
fn items(objects: &BTreeMap<String, Bytes>, prefix: &str, delimiter: &str) -> Vec<(String, Option<usize>)> {
    let mut items: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let folder = (!delimiter.is_empty()).then(|| key[prefix.len()..].find(delimiter)).flatten();
        match folder {
            Some(at) => items.insert(key[..=prefix.len() + at].to_owned(), None),
            None => items.insert(key.clone(), Some(bytes.len())),
        };
    }
    items.into_iter().collect()
}

fn in_s3s_words(page: &[(String, Option<usize>)], next: &str) -> String {
    let mut answer = "<ListBucketResult>".to_owned();
    for (name, size) in page {
        match size {
            Some(size) => write!(
                answer,
                "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{size}</Size></Contents>"
            ),
            None => write!(answer, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
        }
        .unwrap();
    }
    if !next.is_empty() {
        write!(answer, "<NextContinuationToken>{next}</NextContinuationToken>").unwrap();
    }
    answer + "</ListBucketResult>"
}

fn in_azures_words(page: &[(String, Option<usize>)], next: &str) -> String {
    let mut answer = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>".to_owned();
    for (name, size) in page {
        match size {
            Some(size) => write!(
                answer,
                "<Blob><Name>{name}</Name><Properties><Last-Modified>{LAST_MODIFIED}</Last-Modified><Etag>tag</Etag>\
                 <Content-Length>{size}</Content-Length><Content-Type>text/plain</Content-Type></Properties></Blob>"
            ),
            None => write!(answer, "<BlobPrefix><Name>{name}</Name></BlobPrefix>"),
        }
        .unwrap();
    }
    write!(answer, "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>").unwrap();
    answer
}

/// A request for each part, an answer for each.
fn delete_batch(objects: &mut BTreeMap<String, Bytes>, body: &[u8]) -> Answer {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut answer = String::new();
    for (id, target) in body.lines().filter_map(|line| line.strip_prefix("DELETE ")).enumerate() {
        let path = target.split([' ', '?']).next().unwrap();
        let key = path.trim_start_matches('/').split_once('/').unwrap().1;
        let status = if objects.remove(key).is_some() { "202 Accepted" } else { "404 Not Found" };
        write!(
            answer,
            "--parts\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-version: 1\r\n\r\n\r\n"
        )
        .unwrap();
    }
    answer.push_str("--parts--\r\n");
    Answer { headers: vec![("content-type", "multipart/mixed; boundary=parts".to_owned())], ..Answer::of(202, &answer) }
}

const LAST_MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

fn read(bytes: &Bytes, range: Option<&String>) -> Answer {
    let mut headers = vec![
        ("etag", "\"tag\"".to_owned()),
        ("last-modified", LAST_MODIFIED.to_owned()),
        ("content-type", "text/plain".to_owned()),
    ];
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
