//! Every failed call says why, also where no handler was reached.

use tonic::Code;
use tonic_types::StatusExt as _;

use super::server::{Running, framed, load, reason, snapshot};

const GET_SNAPSHOT: &str = "/cloakroom.v1.ProfileService/GetSnapshot";

#[tokio::test]
async fn a_panic_ends_one_call_with_details_and_no_other() {
    let server = Running::start(|_| {}).await;
    let mut client = server.client().await;
    let status = client.get_snapshot(snapshot("panic")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert_eq!(status.message(), "the daemon failed; its log says why");
    client.get_snapshot(snapshot("fine")).await.unwrap();

    let mut stream = client.load_profile(load("panic")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    client.get_snapshot(snapshot("fine")).await.unwrap();
    assert!((server.metric("cloakroom_grpc_calls_total{code=\"INTERNAL\",method=\"GetSnapshot\",service=\"cloakroom.v1.ProfileService\"}") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_tonic_refuses_by_itself_has_details_too() {
    let server = Running::start(|config| config.limits.message_bytes = 1000).await;
    let unknown = server.raw_status("/cloakroom.v1.SessionService/Nonsense", &[], &framed(&[])).await;
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unimplemented, "UNSUPPORTED"));
    assert!(unknown.message().contains("no method /cloakroom.v1.SessionService/Nonsense"), "{}", unknown.message());

    let garbage = server.raw_status(GET_SNAPSHOT, &[], &framed(&[0xff; 20])).await;
    assert_eq!((garbage.code(), reason(&garbage).as_str()), (Code::InvalidArgument, "MESSAGE_INVALID"));

    let empty = server.raw_status(GET_SNAPSHOT, &[], &[]).await;
    assert_eq!((empty.code(), reason(&empty).as_str()), (Code::InvalidArgument, "MESSAGE_INVALID"));

    let cut = server.raw_status(GET_SNAPSHOT, &[], &framed(&[1; 20])[..10]).await;
    assert_eq!((cut.code(), reason(&cut).as_str()), (Code::InvalidArgument, "MESSAGE_INVALID"));

    let mut flagged = framed(&[1; 20]);
    flagged[0] = 7;
    let flagged = server.raw_status(GET_SNAPSHOT, &[], &flagged).await;
    assert_eq!((flagged.code(), reason(&flagged).as_str()), (Code::InvalidArgument, "MESSAGE_INVALID"));

    let mut packed = framed(&[1; 20]);
    packed[0] = 1;
    let packed = server.raw_status(GET_SNAPSHOT, &[("grpc-encoding", "gzip")], &packed).await;
    assert_eq!((packed.code(), reason(&packed).as_str()), (Code::Unimplemented, "UNSUPPORTED"));
    assert!(packed.message().contains("compressed"), "{}", packed.message());

    let status = server.client().await.get_snapshot(snapshot(&"x".repeat(2000))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "LIMIT_EXCEEDED"));
    assert!(status.message().contains("2003 bytes; this method takes at most 1000"), "{}", status.message());
    assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "1000");
}

#[tokio::test]
async fn a_status_without_details_at_the_end_of_a_stream_gets_them() {
    let server = Running::start(|_| {}).await;
    let mut stream = server.client().await.load_profile(load("bare")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(reason(&stream.message().await.unwrap_err()), "INTERNAL");
}

#[tokio::test]
async fn health_keeps_its_own_rule_for_unknown_services() {
    let server = Running::start(|_| {}).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    let status = health.check(tonic_health::pb::HealthCheckRequest { service: "made.up".to_owned() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn every_answer_has_a_request_id_the_callers_own_if_it_is_sensible() {
    let server = Running::start(|_| {}).await;
    let headers = server.raw(GET_SNAPSHOT, &[("x-request-id", "mine-1"), ("grpc-timeout", "1x")], &framed(&[0xff])).await;
    assert_eq!(headers["x-request-id"], "mine-1");
    for bad in ["", "has space", &"x".repeat(65)] {
        let headers = server.raw(GET_SNAPSHOT, &[("x-request-id", bad)], &framed(&[0xff])).await;
        let id = headers["x-request-id"].to_str().unwrap();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}
