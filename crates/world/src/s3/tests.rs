//! The S3 store against a service on loopback that is honest, or not.

use super::fixture::{Fixture, Manner};
use super::*;
use crate::clock::{SystemClock, TaskHandle};
use crate::probe::{ProbeDepth, ProbeError, probe};
use base::{Micros, UnixMillis};
use futures::future::BoxFuture;
use object_store::aws::AwsCredential;
use url::Url;

fn location(text: &str) -> Result<S3Location, String> {
    S3Location::parse(&Url::parse(text).unwrap())
}

/// A store with credentials of its own: tests do not change the environment.
fn store(fixture: &Fixture, prefix: &str, clock: Arc<dyn Clock>) -> S3Store {
    let location = location(&format!("s3://bucket/{prefix}?endpoint=http://{}", fixture.address)).unwrap();
    S3Store::with_credentials(location, clock, |builder| {
        let credential = AwsCredential { key_id: "key".into(), secret_key: "secret".into(), token: None };
        builder.with_credentials(Arc::new(object_store::StaticCredentialProvider::new(credential)))
    })
    .unwrap()
}

fn honest_store(fixture: &Fixture) -> S3Store {
    store(fixture, "", Arc::new(SystemClock::new()))
}

#[tokio::test]
async fn keeps_the_contract_of_an_object_store() {
    let clock = Arc::new(SystemClock::new());
    for (prefix, page) in [("", 1000), ("a/prefix", 1000), ("a", 2)] {
        let fixture = Fixture::start(Manner::Honest, page).await;
        crate::conformance::check(&store(&fixture, prefix, clock.clone()), clock.as_ref()).await;
        assert_eq!(fixture.keys(), [""; 0]);
        let log = fixture.take_log();
        let expected = format!("PUT /bucket/{prefix}{}conformance-", if prefix.is_empty() { "" } else { "/" });
        assert!(log[0].starts_with(&expected), "{}", log[0]);
    }
}

#[tokio::test]
async fn neighbours_of_the_prefix_are_not_seen() {
    let fixture = Fixture::start(Manner::Honest, 1000).await;
    let clock = Arc::new(SystemClock::new());
    let everything = store(&fixture, "", clock.clone());
    let ours = store(&fixture, "a/b", clock);
    for key in ["a/b", "a/b-", "a/b.c", "a/b0", "a/a", "a/c"] {
        everything.put_if_absent(key, vec![]).await.unwrap();
    }
    ours.put_if_absent("x", vec![]).await.unwrap();
    let keys = |found: Vec<ObjectMeta>| found.into_iter().map(|object| object.key).collect::<Vec<_>>();
    assert_eq!(keys(ours.list("", "", 10).await.unwrap()), ["x"]);
    assert_eq!(everything.list("", "", 10).await.unwrap().len(), 7);
}

#[tokio::test]
async fn a_service_that_ignores_the_condition_is_refused_with_the_reason() {
    let fixture = Fixture::start(Manner::IgnoresIfNoneMatch, 1000).await;
    let result = probe(&honest_store(&fixture), &SystemClock::new(), ProbeDepth::Cheap).await;
    let Err(ProbeError::Unfit(message)) = result else { panic!("{result:?}") };
    assert!(message.contains("ignores If-None-Match: 16 of 16 writers"), "{message}");
    assert!(message.contains("Millstream needs put-if-absent"), "{message}");
    assert_eq!(fixture.keys(), [""; 0], "the probe cleans up");
    fixture.set(Manner::Honest);
    probe(&honest_store(&fixture), &SystemClock::new(), ProbeDepth::Full).await.unwrap();
}

/// What put, get, list and delete answer; each makes exactly one request.
async fn failures(manner: Manner) -> Vec<StoreError> {
    let fixture = Fixture::start(manner.clone(), 1000).await;
    let store = honest_store(&fixture);
    let failures = vec![
        store.put_if_absent("a/b", vec![Bytes::from_static(b"x")]).await.expect_err("put"),
        store.get("a/b", GetRange::All).await.expect_err("get"),
        store.get("a/b", GetRange::Span { start: 1, end: 2 }).await.expect_err("get"),
        store.list("a/", "", 10).await.expect_err("list"),
        store.delete(&["a/b".to_owned()]).await.expect_err("delete"),
    ];
    let log = fixture.take_log();
    assert_eq!(log.len(), failures.len(), "{manner:?}: nothing is tried again: {log:?}");
    failures
}

#[tokio::test]
async fn what_may_pass_is_trouble_and_the_rest_is_refused_with_advice() {
    let conflict = "<Error><Code>ConditionalRequestConflict</Code><Message>another writer</Message></Error>";
    for (status, body) in
        [(409, conflict), (429, ""), (500, ""), (502, "not xml"), (503, "<Code>SlowDown</Code>"), (408, "")]
    {
        for failure in failures(Manner::Answers(status, body)).await {
            assert!(matches!(failure, StoreError::Trouble(_)), "{status}: {failure}");
            assert!(failure.to_string().contains(&status.to_string()), "{failure}");
        }
    }
    let denied = "<Error><Code>AccessDenied</Code><Message>no\n  way</Message></Error>";
    let no_bucket = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
    for (status, body, part) in [
        (403, denied, "403 AccessDenied: no way; check the credentials"),
        (401, "", "401; check the credentials"),
        (404, no_bucket, "404 NoSuchBucket: none; create the bucket"),
        (400, "<Code>AuthorizationHeaderMalformed</Code>", "; check the bucket's name, the region"),
        (301, "<Code>PermanentRedirect</Code>", "; check the bucket's name, the region"),
        (501, "<Code>NotImplemented</Code>", "lacks what Millstream needs"),
    ] {
        for failure in failures(Manner::Answers(status, body)).await {
            let StoreError::Refused(message) = &failure else { panic!("{status}: {failure}") };
            assert!(message.starts_with("s3://bucket/ at http://127.0.0.1:") && message.contains(part), "{message}");
        }
    }
}

#[tokio::test]
async fn a_conflict_is_never_taken_for_an_object_that_exists() {
    let fixture = Fixture::start(Manner::Answers(409, ""), 1000).await;
    let store = honest_store(&fixture);
    assert!(matches!(store.put_if_absent("a", vec![]).await, Err(StoreError::Trouble(_))));
    for status in [412, 304] {
        fixture.set(Manner::Answers(status, ""));
        assert_eq!(store.put_if_absent("a", vec![]).await.unwrap(), PutOutcome::Exists, "{status}");
    }
}

#[tokio::test]
async fn nobody_listening_is_trouble() {
    let mut fixture = Fixture::start(Manner::Honest, 1000).await;
    fixture.address = "127.0.0.1:1".to_owned();
    let store = honest_store(&fixture);
    let failure = store.put_if_absent("a", vec![]).await.unwrap_err();
    assert!(matches!(failure, StoreError::Trouble(_)), "{failure}");
    assert!(failure.to_string().contains("onnect"), "{failure}");
}

/// A clock on which every deadline passes at once.
struct Hasty(SystemClock);

impl Clock for Hasty {
    fn now(&self) -> Micros {
        self.0.now()
    }
    fn wall(&self) -> UnixMillis {
        self.0.wall()
    }
    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(Duration::from_millis(20))
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.0.spawn(name, task)
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_trouble_after_the_deadline() {
    let fixture = Fixture::start(Manner::Silent, 1000).await;
    let store = store(&fixture, "", Arc::new(Hasty(SystemClock::new())));
    for failure in [
        store.put_if_absent("a", vec![Bytes::from(vec![0; 3 << 20])]).await.unwrap_err(),
        store.get("a", GetRange::All).await.unwrap_err(),
        store.list("", "", 10).await.unwrap_err(),
        store.delete(&["a".to_owned()]).await.unwrap_err(),
    ] {
        assert!(
            matches!(&failure, StoreError::Trouble(message) if message.contains("no answer within 3")),
            "{failure}"
        );
    }
}

#[test]
fn urls_say_bucket_prefix_endpoint_region_and_style() {
    let plain = location("s3://bucket").unwrap();
    assert_eq!((plain.bucket.as_str(), plain.prefix.as_str(), plain.virtual_hosted), ("bucket", "", true));
    assert_eq!(plain.endpoint_of_bucket(), None);
    let full = location("s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-central-1").unwrap();
    assert_eq!((full.prefix.as_str(), full.region.as_deref()), ("a/b/", Some("eu-central-1")));
    assert_eq!(full.endpoint_of_bucket().as_deref(), Some("http://127.0.0.1:9000"));
    assert!(full.is_plain_http() && !full.is_unprotected() && !full.virtual_hosted);
    assert_eq!(full.describe(), "s3://bucket/a/b/ at http://127.0.0.1:9000/");
    let hosted = location("s3://bucket?endpoint=https://s3.example.org&path_style=false").unwrap();
    assert_eq!(hosted.endpoint_of_bucket().as_deref(), Some("https://bucket.s3.example.org"));
    assert!(location("s3://bucket?endpoint=http://minio:9000").unwrap().is_unprotected());
    assert!(!location("s3://bucket?endpoint=http://[::1]:9000").unwrap().is_unprotected());
    assert!(!location("s3://buck.et").unwrap().virtual_hosted);
}

#[test]
fn wrong_urls_are_refused_with_what_would_be_right() {
    for (url, part) in [
        ("s3:///prefix", "the bucket is missing"),
        ("s3://key:secret@bucket", "credentials do not belong in the URL"),
        ("s3://bucket:9000/", "s3://BUCKET/PREFIX?endpoint="),
        ("s3://bucket/a//b", "is not valid"),
        ("s3://bucket/a/%20", "characters other than"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "is not http://HOST:PORT"),
        ("s3://bucket?endpoint=ftp://host", "is not http://HOST:PORT"),
        ("s3://bucket?endpoint=http://me:secret@host", "is not http://HOST:PORT"),
        ("s3://bucket?path_style=yes", "neither true nor false"),
        ("s3://bucket?acl=public", "acl=public is not understood; known parameters: endpoint, region, path_style"),
        ("s3://bucket?region=", "region= is not understood"),
        ("s3://bucket--use1-az4--x-s3", "do not list in order"),
    ] {
        let error = location(url).expect_err(url);
        assert!(error.contains(part), "{url}: {error}");
    }
}

#[test]
fn a_listing_begins_below_everything_wanted() {
    let offset = |root: &str, prefix: &str, after: &str| location::offset_before(root, prefix, after);
    for (root, prefix, after, expected) in [
        ("", "", "", None),
        ("root/", "", "", Some("root")),
        ("root/", "a/", "", Some("root/a")),
        ("root/", "a/b", "", Some("root/a/a")),
        ("", "a/", "a/7", Some("a/7")),
        ("", "a/0", "", None),
        ("", "b/", "a/7", Some("b")),
        ("", "a/", "a//", None),
    ] {
        let found = offset(root, prefix, after);
        assert_eq!(found.as_ref().map(Path::as_ref), expected, "{root} {prefix} {after}");
    }
}
