//! What a client may do when, and what is kept of it.

use super::otlp::tests::data;
use super::*;
use control_core::SettingsScope;
use protocol::error_code::ErrorCode;
use std::sync::Arc;

fn image(interval_ms: &str) -> Image {
    let mut image = Image::default();
    let set = [("metrics", "*"), ("interval.ms", interval_ms)];
    let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
    image.settings.insert(SettingsScope::ClientMetrics("all".to_owned()), Arc::new(set.into()));
    image
}

fn client(id: u128) -> ClientInfo<'static> {
    let peer = "127.0.0.1:4000".parse().unwrap();
    ClientInfo { id: Uuid(id), client_id: None, software_name: "s", software_version: "1", peer }
}

fn push(subscription_id: i32) -> Push {
    Push { subscription_id, terminating: false, compression: 0, bytes: 10, bytes_max: 100 }
}

fn at(millis: u64) -> Micros {
    Micros(millis * 1000)
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> ErrorCode {
    outcome.err().map_or(ErrorCode::None, |failure| failure.code())
}

#[test]
fn a_client_asks_and_sends_once_in_its_interval() {
    let (telemetry, image) = (Telemetry::default(), image("1000"));
    let answer = telemetry.subscribe(&image, &client(5), at(1)).unwrap();
    assert_eq!((answer.metrics, answer.interval_ms), (vec!["*".to_owned()], 1000));
    let id = answer.id;
    assert_eq!(code(telemetry.subscribe(&image, &client(5), at(900))), ErrorCode::ThrottlingQuotaExceeded);
    assert_eq!(code(telemetry.admit(&image, &client(5), push(id), at(950))), ErrorCode::None, "at a moment it draws");
    assert_eq!(code(telemetry.admit(&image, &client(5), push(id), at(1500))), ErrorCode::ThrottlingQuotaExceeded);
    assert_eq!(code(telemetry.admit(&image, &client(5), push(id + 1), at(2000))), ErrorCode::UnknownSubscriptionId);
    let odd = Push { compression: 9, ..push(id) };
    assert_eq!(code(telemetry.admit(&image, &client(5), odd, at(3000))), ErrorCode::UnsupportedCompressionType);
    let large = Push { bytes: 101, ..push(id) };
    assert_eq!(code(telemetry.admit(&image, &client(5), large, at(4000))), ErrorCode::TelemetryTooLarge);
    let last = Push { terminating: true, ..push(id) };
    assert_eq!(code(telemetry.admit(&image, &client(5), last, at(4001))), ErrorCode::None, "the last one at any time");
    assert_eq!(code(telemetry.admit(&image, &client(5), push(id), at(9000))), ErrorCode::InvalidRequest);
    for nobody in [0, 1] {
        assert_eq!(code(telemetry.admit(&image, &client(nobody), push(id), at(1))), ErrorCode::InvalidRequest);
    }
    let used = telemetry.used(at(9000));
    assert_eq!((used.clients, used.throttled, used.refused), (1, 2, 6));
}

#[test]
fn other_subscriptions_are_told_at_once() {
    let telemetry = Telemetry::default();
    let before = telemetry.subscribe(&image("60000"), &client(5), at(1)).unwrap();
    let now = image("1000");
    assert_eq!(code(telemetry.admit(&now, &client(5), push(before.id), at(2))), ErrorCode::UnknownSubscriptionId);
    let telemetry = Telemetry::default();
    telemetry.subscribe(&image("60000"), &client(5), at(1)).unwrap();
    assert_eq!(telemetry.subscribe(&now, &client(5), at(2)).unwrap().interval_ms, 1000);
}

#[test]
fn the_last_value_is_kept_and_what_was_added_is_added_up() {
    let (telemetry, image) = (Telemetry::default(), image("100"));
    telemetry.subscribe(&image, &client(5), at(1)).unwrap();
    let series = || telemetry.used(at(2)).series.into_iter().map(|(_, name, value)| (name, value)).collect::<Vec<_>>();
    for (sent, seen) in [(1.0, 1.0), (2.0, 3.0)] {
        telemetry.take(Uuid(5), 0, data("sum", &[], sent, Some(1)).into()).unwrap();
        assert_eq!(series(), [("sum".to_owned(), seen)]);
    }
    let gauge = data("gauge", &[("topic", "t")], 7.0, None);
    for codec in [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy] {
        let number = i8::try_from(codec.number()).unwrap();
        telemetry.take(Uuid(5), number, codec.compress(&gauge).unwrap().into()).unwrap();
        assert_eq!(series()[0], ("gauge{topic=t}".to_owned(), 7.0));
    }
    assert_eq!(code(telemetry.take(Uuid(5), 4, gauge.into())), ErrorCode::InvalidRecord);
    let zeros = Compression::Zstd.compress(&vec![0; DECOMPRESSED_BYTES_MAX + 1]).unwrap();
    assert_eq!(code(telemetry.take(Uuid(5), 4, zeros.into())), ErrorCode::InvalidRecord, "it would become too much");
}

#[test]
fn clients_and_their_numbers_are_bounded_and_forgotten() {
    let (telemetry, image) = (Telemetry::default(), image("100"));
    for id in 2..u128::try_from(CLIENTS_MAX).unwrap() + 12 {
        telemetry.subscribe(&image, &client(id), at(u64::try_from(id).unwrap())).unwrap();
    }
    let last = Uuid(u128::try_from(CLIENTS_MAX).unwrap() + 11);
    let many: Vec<u8> = (0..SERIES_OF_CLIENT_MAX + 3).flat_map(|it| data(&format!("n{it}"), &[], 1.0, None)).collect();
    telemetry.take(last, 0, many.into()).unwrap();
    let used = telemetry.used(at(20_000));
    assert_eq!((used.clients, used.series.len(), used.dropped), (CLIENTS_MAX, SERIES_OF_CLIENT_MAX, 3));
    assert_eq!(telemetry.used(at(100_000)), TelemetryUse { taken: 1, dropped: 3, ..TelemetryUse::default() });
    assert_eq!(lock(&telemetry.0).series_bytes, 0);
    // What there is room for in all is bounded too.
    let name = "x".repeat(900);
    for id in 2..10 {
        telemetry.subscribe(&image, &client(id), at(200_000)).unwrap();
        let many: Vec<u8> =
            (0..SERIES_OF_CLIENT_MAX).flat_map(|it| data(&format!("{name}{it}"), &[], 1.0, None)).collect();
        telemetry.take(Uuid(id), 0, many.into()).unwrap();
    }
    let bytes = lock(&telemetry.0).series_bytes;
    assert!((SERIES_BYTES_MAX - 2000..=SERIES_BYTES_MAX).contains(&bytes), "{bytes}");
}
