//! Load, deadlines, idleness, draining.

use std::time::{Duration, Instant};

use cloakroom_api::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::server::{Running, eventually, framed, load, reason, snapshot};
use crate::clock;

#[tokio::test]
async fn a_streams_permit_lives_until_the_stream_ends() {
    let server = Running::start(|config| config.limits.transfers = 1).await;
    let mut client = server.client().await;
    let mut first = client.load_profile(load("stuck")).await.unwrap().into_inner();
    assert!(first.message().await.unwrap().is_some());

    let status = client.load_profile(load("short")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    assert!(status.message().contains("1 transfer calls") && status.message().contains("limits.transfers"), "{}", status.message());
    assert!((server.metric("cloakroom_grpc_calls_refused_total{class=\"transfer\"}") - 1.0).abs() < 0.1);
    client.get_snapshot(snapshot("fine")).await.unwrap();

    let in_flight = "cloakroom_grpc_calls_in_flight{method=\"LoadProfile\",service=\"cloakroom.v1.ProfileService\"}";
    assert!((server.metric(in_flight) - 1.0).abs() < 0.1, "a stream is in flight as long as it streams");
    drop(first);
    eventually("the stream's end is counted", || server.metric(in_flight) < 0.1).await;
    let mut again = client.load_profile(load("short")).await.unwrap().into_inner();
    assert!(again.message().await.unwrap().is_some() && again.message().await.unwrap().is_none());
    assert!(server.metric("cloakroom_grpc_calls_total{code=\"CANCELLED\",method=\"LoadProfile\",service=\"cloakroom.v1.ProfileService\"}") > 0.9);
}

#[tokio::test]
async fn unary_calls_over_the_bound_are_refused_at_once_and_health_never() {
    let server = Running::start(|config| config.limits.calls = 2).await;
    let mut client = server.client().await;
    let (a, b) = (client.clone(), client.clone());
    let slow = |mut client: v1::profile_service_client::ProfileServiceClient<_>| async move { client.get_snapshot(snapshot("slow")).await };
    let third = async {
        eventually("two calls run", || server.metric("cloakroom_grpc_calls_in_flight{method=\"GetSnapshot\",service=\"cloakroom.v1.ProfileService\"}") > 1.9)
            .await;
        let refused = client.get_snapshot(snapshot("fine")).await;
        let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
        (refused, health.check(tonic_health::pb::HealthCheckRequest::default()).await)
    };
    let (a, b, (refused, health)) = tokio::join!(slow(a), slow(b), third);
    assert!(a.is_ok() && b.is_ok() && health.is_ok());
    assert_eq!(reason(&refused.unwrap_err()), "OVERLOADED");
    client.get_snapshot(snapshot("fine")).await.unwrap();
}

#[tokio::test]
async fn a_unary_call_ends_within_the_daemons_bound_or_the_callers_own() {
    let server = Running::start(|config| config.limits.request_timeout = Duration::from_millis(200)).await;
    let status = server.client().await.get_snapshot(snapshot("hang")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert!(status.message().contains("limits.request_timeout"), "{}", status.message());
    assert!(status.get_details_retry_info().is_some());

    let server = Running::start(|_| {}).await;
    let request = prost::Message::encode_to_vec(&snapshot("hang"));
    let start = clock::monotonic();
    let status = server.raw_status("/cloakroom.v1.ProfileService/GetSnapshot", &[("grpc-timeout", "1S")], &framed(&request)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert!(status.message().contains("its caller's deadline of 1s"), "{}", status.message());
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_stream_has_no_deadline() {
    let server = Running::start(|config| config.limits.request_timeout = Duration::from_millis(50)).await;
    let mut stream = server.client().await.load_profile(load("stuck")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert!(tokio::time::timeout(Duration::from_millis(400), stream.message()).await.is_err(), "it just waits");
}

#[tokio::test]
async fn an_upload_that_stands_still_is_ended() {
    let server = Running::start(|config| config.limits.idle_timeout = Duration::from_millis(200)).await;
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let mut client = server.client().await;
    let sending = async {
        // Moving, although slower in all than the bound …
        for _ in 0..6 {
            sender.send(v1::SaveProfileRequest::default()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(70)).await;
        }
        // … then standing still, with the stream open.
        sender.closed().await;
    };
    let (answer, ()) = tokio::join!(client.save_profile(ReceiverStream::new(messages)), sending);
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert!(status.message().contains("nothing came for 250ms"), "{}", status.message());
}

#[tokio::test]
async fn a_download_that_nobody_fetches_gives_its_permit_back() {
    let server = Running::start(|config| {
        config.limits.transfers = 1;
        config.limits.idle_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = server.client().await;
    let mut unread = client.load_profile(load("flood")).await.unwrap().into_inner();
    let start = clock::monotonic();
    loop {
        let answer = client.load_profile(load("short")).await;
        match answer {
            Ok(_) => break,
            Err(status) => assert_eq!(reason(&status), "OVERLOADED"),
        }
        assert!(start.elapsed() < Duration::from_secs(5), "the permit never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Whoever reads on after all gets what was on its way, then the reason.
    let status = loop {
        match unread.message().await {
            Ok(message) => assert!(message.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
}

#[tokio::test]
async fn a_download_that_waits_for_us_is_not_idle() {
    let server = Running::start(|config| config.limits.idle_timeout = Duration::from_millis(100)).await;
    let mut stream = server.client().await.load_profile(load("stuck")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.message()).await.is_err(), "no end, no error");
}

#[tokio::test]
async fn connections_over_the_bound_are_closed_and_silent_ones_ended() {
    let server = Running::start(|config| config.limits.connections = 1).await;
    let mut client = server.client().await;
    client.get_snapshot(snapshot("fine")).await.unwrap();
    assert!((server.metric("cloakroom_grpc_connections") - 1.0).abs() < 0.1);
    let other = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_secs(5), async { other.readable().await.map(|()| other.try_read(&mut byte)) }).await.unwrap();
    assert!(matches!(closed, Ok(Ok(0) | Err(_)) | Err(_)), "{closed:?}");
    client.get_snapshot(snapshot("fine")).await.unwrap();
    drop(client);
    eventually("the connection is gone", || server.metric("cloakroom_grpc_connections") < 0.1).await;
    server.client().await.get_snapshot(snapshot("fine")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_ended() {
    use futures::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = std::sync::Arc::new(crate::ops::metrics::Metrics::new().unwrap());
    let mut incoming = Box::pin(crate::grpc::accept::accept(listener, 1, tokio_util::sync::CancellationToken::new(), metrics));
    let (silent, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), incoming.next());
    let mut accepted = accepted.unwrap().unwrap();
    let error = accepted.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    drop(silent);
}

#[tokio::test]
async fn draining_ends_health_watches_and_waits_for_calls() {
    let mut server = Running::start(|_| {}).await;
    let channel = server.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let mut watch = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let mut client = v1::profile_service_client::ProfileServiceClient::new(channel);
    let running = async { client.get_snapshot(snapshot("slow")).await };
    let stopping = async {
        eventually("the call runs", || server.metric("cloakroom_grpc_calls_in_flight{method=\"GetSnapshot\",service=\"cloakroom.v1.ProfileService\"}") > 0.9)
            .await;
        server.stopping.cancel();
        watch.message().await.unwrap_err()
    };
    let (answer, status) = tokio::join!(running, stopping);
    answer.unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    let ended: Instant = clock::monotonic();
    server.ended.take().unwrap().await.unwrap().unwrap();
    assert!(ended.elapsed() < Duration::from_secs(2), "nothing was left to wait for");
}
