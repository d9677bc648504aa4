//! Who may call what, where.

use std::fmt::Write as _;

use cloakroom_api::v1::{ListSnapshotsRequest, SaveProfileRequest};
use ring::digest;
use tonic::{Code, Request};

use super::server::{Running, reason};
use crate::grpc::auth::Tokens;

async fn server() -> Running {
    let mut file = String::new();
    for (name, namespace, role, token) in [("rita", "team-a", "reader", "r"), ("walt", "team-a", "worker", "w"), ("olga", "team-o", "operator", "o")] {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let hash = crate::model::hex::hex(hash.as_ref());
        writeln!(file, "{name} {namespace} {role} {hash}").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, file).unwrap();
    Running::with_tokens(|_| {}, Some(Tokens::open(&path).unwrap())).await
}

fn with<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !authorization.is_empty() {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    request
}

fn list(namespace: &str) -> ListSnapshotsRequest {
    ListSnapshotsRequest { namespace: namespace.to_owned(), ..ListSnapshotsRequest::default() }
}

#[tokio::test]
async fn a_call_without_a_valid_token_is_not_answered() {
    let server = server().await;
    let mut client = server.client().await;
    for bad in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic w", "w", "Bearer w w"] {
        let status = client.list_snapshots(with(list(""), bad)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"), "{bad:?}");
        assert!(!status.message().contains("wrong"));
    }
    for good in ["Bearer r", "bearer w", "BEARER o"] {
        client.list_snapshots(with(list(""), good)).await.unwrap();
    }
    let unknown = server.raw_status("/made.up/Call", &[], &[]).await;
    assert_eq!(reason(&unknown), "UNAUTHENTICATED", "strangers learn nothing of what there is");
}

#[tokio::test]
async fn roles_and_namespaces_bound_what_a_token_can_do() {
    let server = server().await;
    let mut client = server.client().await;
    // (token, namespace asked for, namespace used or the reason why not)
    let matrix = [
        ("r", "", Ok("team-a")),
        ("r", "team-a", Ok("team-a")),
        ("r", "team-b", Err("PERMISSION_DENIED")),
        ("w", "", Ok("team-a")),
        ("w", "team-b", Err("PERMISSION_DENIED")),
        ("o", "", Ok("team-o")),
        ("o", "team-b", Ok("team-b")),
    ];
    for (token, namespace, expected) in matrix {
        let answer = client.list_snapshots(with(list(namespace), &format!("Bearer {token}"))).await;
        let answer = answer.map(|answer| answer.into_inner().next_page_token).map_err(|status| reason(&status));
        assert_eq!(answer, expected.map(str::to_owned).map_err(str::to_owned), "{token} in {namespace:?}");
    }
    for (token, expected) in [("r", Some("PERMISSION_DENIED")), ("w", None), ("o", None)] {
        let saved = client.save_profile(with(tokio_stream::iter([SaveProfileRequest::default()]), &format!("Bearer {token}"))).await;
        assert_eq!(saved.err().map(|status| reason(&status)).as_deref(), expected, "{token} saves");
    }
}

#[tokio::test]
async fn health_needs_no_token_and_reflection_does() {
    let server = server().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    let status = server.raw_status("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[], &[]).await;
    assert_eq!(status.code(), Code::Unauthenticated);
}
