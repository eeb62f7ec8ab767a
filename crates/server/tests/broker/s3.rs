//! A broker on an S3-compatible service: one on loopback that is honest or not, and a real one where there is one.

use crate::kill::recovers_from_the_bucket;
use crate::support::client::Client;
use crate::support::process::{self, Broker, Refused};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::cloud::fixture::{Fixture, Manner};

pub(crate) const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")];

/// The service of the tests of `world`, and the runtime that it needs.
pub(crate) struct Service {
    _runtime: Runtime,
    pub(crate) fixture: Fixture,
}

impl Service {
    pub(crate) fn start(manner: Manner) -> Service {
        let runtime = Runtime::new().unwrap();
        let fixture = runtime.block_on(Fixture::start(manner, 1000));
        Service { _runtime: runtime, fixture }
    }

    /// As `--storage` takes it.
    pub(crate) fn url(&self) -> String {
        format!("s3://bucket/prefix?endpoint=http://{}", self.fixture.address)
    }

    /// A broker in an empty folder, which it must not need.
    fn start_broker(&self) -> Result<Broker, Refused> {
        let empty = TempDir::new().unwrap();
        let storage = self.url();
        let data = empty.path().join("data");
        let broker = process::start_with(&["--data", data.to_str().unwrap(), "--storage", &storage], &CREDENTIALS);
        assert!(!data.exists(), "with a remote bucket no folder is made");
        broker
    }
}

#[test]
fn a_bucket_is_all_that_it_needs() {
    let service = Service::start(Manner::Honest);
    let broker = service.start_broker().unwrap_or_else(|refused| panic!("{refused:?}"));
    let mut client = Client::connect(broker.kafka).unwrap();
    client.create_topic("remote", 1).unwrap();
    assert_eq!(client.produce("remote", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
    broker.kill();
    let broker = service.start_broker().unwrap_or_else(|refused| panic!("{refused:?}"));
    let fetched = Client::connect(broker.kafka).unwrap().fetch("remote", 0, 0).unwrap().unwrap();
    assert_eq!(fetched.records, [(0, b"record".to_vec())]);
}

#[test]
fn a_service_without_conditional_puts_is_refused_with_the_reason() {
    let service = Service::start(Manner::IgnoresIfNoneMatch);
    let Err(refused) = service.start_broker() else { panic!("started on a service where two writers can both win") };
    assert_eq!(refused.code, Some(1));
    assert!(refused.line().contains("ignores If-None-Match"), "{}", refused.line());
    assert!(refused.line().contains("put-if-absent"), "{}", refused.line());
}

#[test]
fn a_missing_or_forbidden_bucket_is_refused_with_advice() {
    let cases = [
        (404, "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>", "create the bucket"),
        (403, "<Error><Code>AccessDenied</Code><Message>no way</Message></Error>", "check the credentials"),
    ];
    for (status, body, advice) in cases {
        let service = Service::start(Manner::Answers(status, body));
        let Err(refused) = service.start_broker() else { panic!("started on {status}") };
        assert_eq!(refused.code, Some(1));
        assert!(refused.line().contains(advice) && refused.line().contains("s3://bucket/prefix"), "{}", refused.line());
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    }
}

#[test]
#[ignore = "needs a service: cargo xtask verify s3"]
fn a_killed_broker_recovers_on_a_real_service() {
    let storage = std::env::var("MILLSTREAM_TEST_S3_URL").expect("MILLSTREAM_TEST_S3_URL names the bucket");
    recovers_from_the_bucket("log in an S3 bucket", || {
        process::start(&["--storage", &storage, "--memory", "128MiB"]).unwrap_or_else(|refused| panic!("{refused:?}"))
    });
}
