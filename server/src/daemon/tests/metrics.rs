//! /metrics as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use super::{config, start};

/// Checks the text format and the naming rules of Prometheus: every sample belongs to a family with one HELP and one TYPE before it, names say their unit, counters end in
/// `_total`, histograms are cumulative.
fn check(text: &str) -> BTreeMap<String, String> {
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut last_bucket: Option<(String, f64)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
            assert!(helps.insert(name.to_owned()), "{name} has two HELP lines");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helps.contains(name), "{name} has no HELP before its TYPE");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two TYPE lines");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let name = series.split('{').next().unwrap();
        assert!(
            (name.starts_with("cloakroom_") || name.starts_with("process_")) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{name}"
        );
        assert!(!series.contains("otel_scope"), "{series}");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).filter(|base| types.contains_key(*base))).unwrap_or(name);
        let kind = types.get(family).unwrap_or_else(|| panic!("{name} has no TYPE before its samples"));
        assert!(kind != "histogram" || family != name, "{line}");
        if name.ends_with("_bucket") {
            let start = series.split("le=").next().unwrap().to_owned();
            if let Some((before, count)) = &last_bucket
                && *before == start
            {
                assert!(value >= *count, "buckets are cumulative: {line}");
            }
            last_bucket = Some((start, value));
        }
    }
    types
}

#[tokio::test]
async fn metrics_are_valid_and_described() {
    let daemon = start(config(&["--ephemeral"], &[])).await;
    for _ in 0..3 {
        daemon.info().await;
    }
    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    let types = check(&text);
    for (name, kind) in [
        ("cloakroom_build_info", "gauge"),
        ("cloakroom_grpc_calls_total", "counter"),
        ("cloakroom_grpc_call_duration_seconds", "histogram"),
        ("cloakroom_grpc_calls_in_flight", "gauge"),
        ("cloakroom_grpc_connections", "gauge"),
        ("cloakroom_store_up", "gauge"),
        ("cloakroom_blobs_requests_total", "counter"),
        ("cloakroom_blobs_bytes_total", "counter"),
        ("process_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name} in\n{text}");
    }
    let calls = "cloakroom_grpc_calls_total{code=\"OK\",method=\"GetServerInfo\",service=\"cloakroom.v1.AdminService\"} 3";
    assert!(text.contains(calls), "{text}");
    assert!(text.contains("cloakroom_grpc_call_duration_seconds_count{method=\"GetServerInfo\",service=\"cloakroom.v1.AdminService\"} 3"), "{text}");
    assert!(text.contains("cloakroom_store_up{store=\"metadata\"} 1"), "{text}");
    assert!(!text.contains("cloakroom_blobs_requests_total{kind=\"put\"} 0"), "the start tries the blob store: {text}");
    assert!(text.contains("in_flight{method=\"GetServerInfo\",service=\"cloakroom.v1.AdminService\"} 0"), "{text}");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn made_up_methods_do_not_make_new_series() {
    let daemon = start(config(&["--ephemeral"], &[])).await;
    let mut client = tonic::client::Grpc::new(daemon.channel().await);
    for name in ["A", "B", "C"] {
        client.ready().await.unwrap();
        let path = ::http::uri::PathAndQuery::try_from(format!("/made.up/{name}")).unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        client.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    }
    let (_, text) = daemon.get("/metrics").await;
    assert!(text.contains("cloakroom_grpc_calls_total{code=\"UNIMPLEMENTED\",method=\"unknown\",service=\"unknown\"} 3"), "{text}");
    assert!(!text.contains("made.up"));
    daemon.stop().await.unwrap();
}
