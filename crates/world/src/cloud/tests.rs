//! The clouds' stores against a service on loopback that is honest, or not.

use super::fixture::{Dialect, Fixture, Manner};
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
fn store(fixture: &Fixture, prefix: &str, clock: Arc<dyn Clock>) -> CloudStore {
    store_as(Dialect::S3, fixture, prefix, clock)
}

fn store_as(dialect: Dialect, fixture: &Fixture, prefix: &str, clock: Arc<dyn Clock>) -> CloudStore {
    let address = &fixture.address;
    let parse = |text: String| Url::parse(&text).unwrap();
    let built = match dialect {
        Dialect::S3 | Dialect::Express => {
            let bucket = if dialect == Dialect::S3 { "bucket" } else { "bucket--use1-az4--x-s3" };
            let location = parse(format!("s3://{bucket}/{prefix}?endpoint=http://{address}"));
            s3::build(&S3Location::parse(&location).unwrap(), |builder| {
                let credential = AwsCredential { key_id: "key".into(), secret_key: "secret".into(), token: None };
                builder.with_credentials(Arc::new(object_store::StaticCredentialProvider::new(credential)))
            })
        }
        Dialect::Gcs => {
            let location = parse(format!("gs://bucket/{prefix}?endpoint=http://{address}&anonymous=true"));
            gcs::build(&GcsLocation::parse(&location).unwrap(), |builder| builder)
        }
        Dialect::Azure | Dialect::AzureFolders => {
            let scheme = if dialect == Dialect::Azure { "az" } else { "abfs" };
            let location = parse(format!("{scheme}://bucket/{prefix}?account=me&endpoint=http://{address}"));
            azure::build(&AzureLocation::parse(&location).unwrap(), |builder| builder.with_access_key("c2VjcmV0"))
        }
    };
    CloudStore { built: built.unwrap(), clock }
}

fn honest_store(fixture: &Fixture) -> CloudStore {
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

const OTHERS: [Dialect; 4] = [Dialect::Express, Dialect::Gcs, Dialect::Azure, Dialect::AzureFolders];

#[tokio::test]
async fn every_cloud_keeps_the_contract_and_passes_the_probe() {
    let clock = Arc::new(SystemClock::new());
    for dialect in OTHERS {
        for (prefix, page) in [("", 1000), ("a/prefix", 1000), ("a", 2)] {
            let fixture = Fixture::start_as(dialect, Manner::Honest, page).await;
            let store = store_as(dialect, &fixture, prefix, clock.clone());
            crate::conformance::check(&store, clock.as_ref()).await;
            probe(&store, clock.as_ref(), ProbeDepth::Full)
                .await
                .unwrap_or_else(|error| panic!("{dialect:?}: {error}"));
            assert_eq!(fixture.keys(), [""; 0], "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn every_cloud_refuses_a_service_that_ignores_the_condition() {
    for dialect in OTHERS {
        let fixture = Fixture::start_as(dialect, Manner::IgnoresIfNoneMatch, 1000).await;
        let store = store_as(dialect, &fixture, "", Arc::new(SystemClock::new()));
        let result = probe(&store, &SystemClock::new(), ProbeDepth::Cheap).await;
        let Err(ProbeError::Unfit(message)) = result else { panic!("{dialect:?}: {result:?}") };
        assert!(message.contains("16 of 16 writers"), "{message}");
    }
}

#[tokio::test]
async fn every_cloud_says_what_may_pass_and_tries_nothing_again() {
    for dialect in OTHERS {
        for (status, body, refused) in [
            (409, "<Error><Code>OperationAborted</Code></Error>", None),
            (429, "", None),
            (503, "<Error><Code>ServerBusy</Code></Error>", None),
            (403, "<Error><Code>AuthorizationFailure</Code></Error>", Some("check the credentials")),
            (404, "<Error><Code>ContainerNotFound</Code></Error>", Some("create the bucket")),
        ] {
            let fixture = Fixture::start_as(dialect, Manner::Answers(status, body), 1000).await;
            let store = store_as(dialect, &fixture, "", Arc::new(SystemClock::new()));
            let failures = [
                store.put_if_absent("a/b", vec![Bytes::from_static(b"x")]).await.expect_err("put"),
                store.get("a/b", GetRange::Span { start: 1, end: 2 }).await.expect_err("get"),
                store.list("a/", "", 10).await.expect_err("list"),
            ];
            let log = fixture.take_log();
            assert_eq!(log.len(), failures.len(), "{dialect:?} {status}: nothing is tried again: {log:?}");
            for failure in failures {
                match (refused, &failure) {
                    (None, StoreError::Trouble(message)) => assert!(message.contains(&status.to_string()), "{message}"),
                    (Some(advice), StoreError::Refused(message)) => assert!(message.contains(advice), "{message}"),
                    (_, failure) => panic!("{dialect:?} {status}: {failure}"),
                }
            }
            let deleted = store.delete(&["a/b".to_owned()]).await;
            // A 404 says that it is gone, unless it names the bucket.
            assert!(deleted.is_err(), "{dialect:?} {status}");
        }
    }
}

#[tokio::test]
async fn a_page_of_a_bucket_without_order_costs_what_its_folders_hold() {
    let fixture = Fixture::start_as(Dialect::Express, Manner::Honest, 1000).await;
    let store = store_as(Dialect::Express, &fixture, "root", Arc::new(SystemClock::new()));
    for folder in 0..20 {
        for name in 0..3 {
            store.put_if_absent(&format!("data/{folder:02x}/{name}"), vec![]).await.unwrap();
        }
    }
    drop(fixture.take_log());
    let page = store.list("data/", "data/0a/1", 5).await.unwrap();
    let keys: Vec<String> = page.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["data/0a/2", "data/0b/0", "data/0b/1", "data/0b/2", "data/0c/0"]);
    assert_eq!(fixture.take_log().len(), 4, "the folders' names and three folders");
}

#[tokio::test]
async fn neighbours_of_the_prefix_are_not_seen() {
    for dialect in [Dialect::S3, Dialect::Express, Dialect::Gcs, Dialect::Azure, Dialect::AzureFolders] {
        neighbours_are_not_seen(dialect).await;
    }
}

async fn neighbours_are_not_seen(dialect: Dialect) {
    let fixture = Fixture::start_as(dialect, Manner::Honest, 1000).await;
    let clock = Arc::new(SystemClock::new());
    let everything = store_as(dialect, &fixture, "", clock.clone());
    let ours = store_as(dialect, &fixture, "a/b", clock);
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
        (401, "", "401; check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (403, denied, "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"),
        (403, "<Code>InvalidAccessKeyId</Code>", "no such key there as AWS_ACCESS_KEY_ID names"),
        (403, "<Code>SignatureDoesNotMatch</Code>", "AWS_SECRET_ACCESS_KEY is not that of the key"),
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

#[test]
fn who_has_no_credentials_is_told_so_and_not_that_the_bucket_refuses() {
    let asked = "error performing PUT http://169.254.169.254/latest/api/token in 1ms, after 0 retries: status code: 403 Forbidden";
    let error = object_store::Error::Generic { store: "S3", source: asked.into() };
    let StoreError::Refused(told) = super::error::Failure::of(&error).into_store_error("s3://b") else { panic!() };
    assert!(
        told.starts_with("s3://b: no credentials in the environment") && told.contains("AWS_ACCESS_KEY_ID"),
        "{told}"
    );
    assert!(told.contains("answered 403") && !told.contains("may list"), "{told}");
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
    assert_eq!((plain.bucket.name.as_str(), plain.bucket.prefix.as_str(), plain.virtual_hosted), ("bucket", "", true));
    assert_eq!(plain.endpoint_of_bucket(), None);
    let full = location("s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-central-1").unwrap();
    assert_eq!((full.bucket.prefix.as_str(), full.region.as_deref()), ("a/b/", Some("eu-central-1")));
    assert_eq!(full.endpoint_of_bucket().as_deref(), Some("http://127.0.0.1:9000"));
    assert!(full.bucket.is_plain_http() && !full.is_unprotected() && !full.virtual_hosted);
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
        (
            "s3://bucket?acl=public",
            "acl=public is not understood; known parameters: endpoint, region, path_style, s3express",
        ),
        ("s3://bucket?region=", "region= is not understood"),
        ("s3://bucket?s3express=true", "name ends in --ZONE--x-s3"),
    ] {
        let error = location(url).expect_err(url);
        assert!(error.contains(part), "{url}: {error}");
    }
}

#[test]
fn other_clouds_urls_say_bucket_prefix_and_whose() {
    let gcs = |text: &str| GcsLocation::parse(&Url::parse(text).unwrap());
    let azure = |text: &str| AzureLocation::parse(&Url::parse(text).unwrap());
    let express = location("s3://b--use1-az4--x-s3/p").unwrap();
    assert!(express.express && express.virtual_hosted && !location("s3://b--x").unwrap().express);
    assert_eq!(gcs("gs://bucket/a/b").unwrap().bucket.describe("gs"), "gs://bucket/a/b/");
    let plain = azure("az://container/p?account=me").unwrap();
    assert_eq!((plain.account.as_deref(), plain.hierarchical), (Some("me"), false));
    let folders = azure("abfss://container@me.dfs.core.windows.net/p").unwrap();
    assert_eq!(
        (folders.bucket.name.as_str(), folders.account.as_deref(), folders.hierarchical),
        ("container", Some("me"), true)
    );
    for (error, part) in [
        (gcs("gs:///a").unwrap_err(), "the bucket is missing"),
        (gcs("gs://key:secret@bucket").unwrap_err(), "credentials do not belong in the URL"),
        (gcs("gs://bucket?anonymous=true").unwrap_err(), "name its endpoint too"),
        (gcs("gs://bucket?region=x").unwrap_err(), "known parameters: endpoint, anonymous"),
        (azure("az://me@container").unwrap_err(), "credentials do not belong in the URL"),
        (azure("abfs://c:secret@me.dfs.core.windows.net").unwrap_err(), "credentials do not belong in the URL"),
        (azure("az://container:10").unwrap_err(), "az://CONTAINER/PREFIX"),
    ] {
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
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
