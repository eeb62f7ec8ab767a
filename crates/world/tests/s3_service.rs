//! The S3 store against a real service, which `tests/s3/run` starts; without one there is nothing to test.
//!
//! `MILLSTREAM_TEST_S3_URL` names the bucket, and the usual variables hold the credentials.
#![cfg(all(feature = "s3", feature = "conformance"))]

use world::{ProbeDepth, World, open_store, probe};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a service; tests/s3/run starts one"]
async fn a_real_service_keeps_the_contract_and_passes_the_probe() {
    let url = std::env::var("MILLSTREAM_TEST_S3_URL").expect("MILLSTREAM_TEST_S3_URL names the bucket");
    let world = World::system();
    let store = open_store(&url, &world).await.expect("open");
    for _ in 0..3 {
        let report = probe(store.as_ref(), world.clock.as_ref(), ProbeDepth::Full).await.expect("probe");
        assert_eq!(report.creates, 128);
    }
    world::conformance::check(store.as_ref(), world.clock.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a service; tests/s3/run starts one"]
async fn a_missing_bucket_is_refused_with_advice() {
    let url = std::env::var("MILLSTREAM_TEST_S3_URL").expect("MILLSTREAM_TEST_S3_URL names the bucket");
    let world = World::system();
    let elsewhere = url.replacen("s3://", "s3://no-such-bucket-", 1);
    let store = open_store(&elsewhere, &world).await.expect("open");
    let error = probe(store.as_ref(), world.clock.as_ref(), ProbeDepth::Cheap).await.expect_err("no bucket");
    assert!(error.to_string().contains("NoSuchBucket") && error.to_string().contains("create the bucket"), "{error}");
}
