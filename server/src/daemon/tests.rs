//! The daemon in the test's own process, on free ports.

use std::{net::SocketAddr, time::Duration};

use clap::Parser as _;
use cloakroom_api::v1::{
    self, GetServerInfoRequest, WatchInvalidationsRequest, admin_service_client::AdminServiceClient, invalidation_service_client::InvalidationServiceClient,
    profile_service_client::ProfileServiceClient, save_profile_request::Message, session_service_client::SessionServiceClient,
    watch_invalidations_request::Start, watch_invalidations_response::Event,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};
use tonic::transport::Channel;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

use super::*;
use crate::config::Flags;

mod metrics;
mod tls;

/// A daemon that serves; it ends with the test.
struct Running {
    grpc: SocketAddr,
    http: SocketAddr,
    closing: stores::Closing,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<()>>,
    _tasks: Tasks,
}

fn config(flags: &[&str], environment: &[(&str, &str)]) -> Config {
    let free = [("CLOAKROOM_LISTEN", "127.0.0.1:0"), ("CLOAKROOM_HTTP_LISTEN", "127.0.0.1:0")];
    let environment = free.iter().chain(environment).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(&Flags::try_parse_from(["cloakroomd"].iter().chain(flags)).unwrap(), &environment).unwrap()
}

async fn start(config: Config) -> Running {
    let daemon = Daemon::start(config).await.unwrap();
    let (grpc, http, closing) = (daemon.grpc_address().unwrap(), daemon.http_address().unwrap(), daemon.stores.closing.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let (done, ended) = oneshot::channel();
    let tasks = Tasks::new();
    tasks.spawn(async move {
        let served = daemon.serve(async {
            let _ = stopped.await;
        });
        let _ = done.send(served.await);
    });
    Running { grpc, http, closing, stop: Some(stop), ended, _tasks: tasks }
}

impl Running {
    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    async fn info(&self) -> v1::GetServerInfoResponse {
        AdminServiceClient::new(self.channel().await).get_server_info(GetServerInfoRequest::default()).await.unwrap().into_inner()
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.to_owned() };
        match HealthClient::new(self.channel().await).check(request).await.unwrap().into_inner().status {
            1 => ServingStatus::Serving,
            _ => ServingStatus::NotServing,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        get(self.http, path).await
    }

    async fn stop(mut self) -> Result<()> {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(Duration::from_secs(30), self.ended).await.unwrap().unwrap()
    }
}

async fn get(http: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(http).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn it_answers_on_both_ports_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let daemon = start(config(&["--data-dir", data.to_str().unwrap()], &[])).await;
    assert_eq!(daemon.get("/healthz").await, (200, "ok\n".to_owned()));
    let (status, body) = daemon.get("/readyz").await;
    let ready: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &ready["ready"], &ready["stores"][0]["engine"]), (200, &true.into(), &"sqlite".into()));
    assert_eq!(daemon.get("/nowhere").await.0, 404);
    let info = daemon.info().await;
    assert_eq!((info.version.as_str(), info.namespace.as_str()), (env!("CARGO_PKG_VERSION"), "default"));
    assert_eq!(info.metadata.unwrap().engine, "sqlite");
    assert!(!info.instance_id.is_empty() && !info.history.is_empty() && info.start_time.is_some());
    assert_eq!(info.limits.unwrap().message_bytes, 4 << 20);
    daemon.stop().await.unwrap();
    start(config(&["--data-dir", data.to_str().unwrap()], &[])).await.stop().await.unwrap();
}

#[tokio::test]
async fn sessions_and_watches_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config(&["--data-dir", dir.path().to_str().unwrap()], &[]);
    let create = |id: &str| v1::CreateSessionRequest { session_id: id.to_owned(), business_id: "acme".to_owned(), ..Default::default() };
    let daemon = start(config()).await;
    let mut watch =
        InvalidationServiceClient::new(daemon.channel().await).watch_invalidations(WatchInvalidationsRequest::default()).await.unwrap().into_inner();
    let token = watch.message().await.unwrap().unwrap().resume_token;
    SessionServiceClient::new(daemon.channel().await).create_session(create("one")).await.unwrap();
    let kinds = |message: v1::WatchInvalidationsResponse| match message.event {
        Some(Event::Batch(batch)) => batch.changes.into_iter().map(|change| change.session_id).collect(),
        Some(Event::Draining(_)) => vec!["draining".to_owned()],
        _ => Vec::new(),
    };
    let seen = async {
        let mut seen = Vec::new();
        while let Some(message) = watch.message().await.unwrap() {
            seen.extend(kinds(message));
        }
        seen
    };
    let (seen, stopped) = tokio::join!(seen, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        daemon.stop().await
    });
    stopped.unwrap();
    assert_eq!(seen, ["one", "draining"], "watchers are told before the end");

    let daemon = start(config()).await;
    let mut sessions = SessionServiceClient::new(daemon.channel().await);
    sessions.create_session(create("two")).await.unwrap();
    let found = sessions.get_session(v1::GetSessionRequest { session_id: "one".to_owned(), ..Default::default() }).await.unwrap();
    assert_eq!(found.into_inner().session.unwrap().business_id, "acme");
    let request = WatchInvalidationsRequest { start: Some(Start::ResumeToken(token)), ..Default::default() };
    let mut watch = InvalidationServiceClient::new(daemon.channel().await).watch_invalidations(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(kinds(watch.message().await.unwrap().unwrap()));
    }
    assert_eq!(seen, ["one", "two"], "nothing is missing after a restart");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn readings_of_an_unknown_namespace_leave_no_trace_and_miss_nothing() {
    use crate::store::metadata::Metadata as _;
    let daemon = start(config(&["--ephemeral"], &[])).await;
    let stores::Closing::Embedded(store) = daemon.closing.clone() else { panic!("the engine in memory") };
    let namespace = || "fresh".to_owned();
    let of_ann = || v1::Selector { email: "ann@x.org".to_owned(), ..Default::default() };
    let mut invalidations = InvalidationServiceClient::new(daemon.channel().await);
    let request = WatchInvalidationsRequest { namespace: namespace(), selectors: vec![of_ann()], ..Default::default() };
    let mut watch = invalidations.watch_invalidations(request.clone()).await.unwrap().into_inner();
    let token = watch.message().await.unwrap().unwrap().resume_token;
    let preview = v1::InvalidateRequest { namespace: namespace(), selectors: vec![of_ann()], validate_only: true, ..Default::default() };
    assert_eq!(invalidations.invalidate(preview).await.unwrap().into_inner().session_count, 0);
    let bad = v1::InvalidateRequest { namespace: namespace(), validate_only: true, ..Default::default() };
    assert_eq!(invalidations.invalidate(bad).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert!(store.namespaces().await.unwrap().is_empty(), "whoever only reads writes nothing");

    let session = |id: &str, email: &str| v1::CreateSessionRequest {
        namespace: namespace(),
        session_id: id.to_owned(),
        business_id: "acme".to_owned(),
        email: email.to_owned(),
        ..Default::default()
    };
    let mut sessions = SessionServiceClient::new(daemon.channel().await);
    sessions.create_session(session("bobs", "bob@x.org")).await.unwrap();
    sessions.create_session(session("anns", "Ann@x.org")).await.unwrap();
    let resumed = WatchInvalidationsRequest { start: Some(Start::ResumeToken(token)), ..request };
    let resumed = invalidations.watch_invalidations(resumed).await.unwrap().into_inner();
    for mut watch in [watch, resumed] {
        let seen = loop {
            if let Some(Event::Batch(batch)) = watch.message().await.unwrap().unwrap().event {
                break batch.changes.into_iter().map(|change| change.session_id).collect::<Vec<_>>();
            }
        };
        assert_eq!(seen, ["anns"]);
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_save_that_runs_when_the_end_is_asked_for_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config(&["--data-dir", dir.path().to_str().unwrap()], &[]);
    let daemon = start(config()).await;
    let create = v1::CreateSessionRequest { session_id: "one".to_owned(), business_id: "acme".to_owned(), ..Default::default() };
    SessionServiceClient::new(daemon.channel().await).create_session(create).await.unwrap();
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let message = |message| v1::SaveProfileRequest { namespace: String::new(), message: Some(message) };
    let begin = v1::SaveBegin { session_id: "one".to_owned(), full: true, upload_id: "0123456789abcdef".to_owned(), ..Default::default() };
    let mut profiles = ProfileServiceClient::new(daemon.channel().await);
    let saving = profiles.save_profile(tokio_stream::wrappers::ReceiverStream::new(messages));
    let http = daemon.http;
    let ending = async {
        sender.send(message(Message::Begin(begin))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (stopped, ()) = tokio::join!(daemon.stop(), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (status, body) = get(http, "/readyz").await;
            assert!(status == 503 && body.contains("\"ready\":false"), "no new calls: {body}");
            // An empty profile: the root is the SHA-256 of nothing.
            let root = ring::digest::digest(&ring::digest::SHA256, b"").as_ref().to_vec().into();
            sender.send(message(Message::End(v1::SaveEnd { manifest_root: root }))).await.unwrap();
            drop(sender);
        });
        stopped
    };
    let (saved, stopped) = tokio::join!(saving, ending);
    let saved = saved.unwrap().into_inner().snapshot.unwrap();
    stopped.unwrap();
    let daemon = start(config()).await;
    let wanted = v1::GetSnapshotRequest { session_id: "one".to_owned(), ..Default::default() };
    let head = ProfileServiceClient::new(daemon.channel().await).get_snapshot(wanted).await.unwrap().into_inner();
    assert_eq!(head.snapshot.unwrap().id, saved.id);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_does_not_open_the_data_stands_against_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config(&["--data-dir", dir.path().to_str().unwrap()], &[]);
    start(config()).await.stop().await.unwrap();
    let key = dir.path().join("master.key");
    std::fs::write(&key, "1".repeat(64)).unwrap();
    let error = Daemon::start(config()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::KeyUnavailable);
    assert!(error.message().contains("holds another one"), "{error}");
    std::fs::remove_file(&key).unwrap();
    let error = Daemon::start(config()).await.unwrap_err();
    assert!(error.message().contains(key.to_str().unwrap()), "{error}");
    assert!(!key.exists(), "no new key is made where there is data");
}

#[tokio::test]
async fn a_start_that_cannot_be_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let daemon = start(config(&["--data-dir", data], &[])).await;
    let taken = daemon.grpc.to_string();

    let error = Daemon::start(config(&["--ephemeral", "--listen", &taken], &[])).await.unwrap_err();
    assert!(error.message().contains(&format!("cannot listen on {taken}")) && error.message().contains("set `listen` to a free port"), "{error}");
    let error = Daemon::start(config(&["--ephemeral", "--http-listen", &taken], &[])).await.unwrap_err();
    assert!(error.message().contains("set `http_listen` to a free port"), "{error}");
    let error = Daemon::start(config(&["--ephemeral", "--listen", "192.0.2.1:0", "--insecure"], &[])).await.unwrap_err();
    assert!(error.message().contains("this machine has no such address"), "{error}");

    let error = Daemon::start(config(&["--data-dir", data], &[])).await.unwrap_err();
    assert!(error.message().contains("another cloakroomd uses the data directory") && error.help().unwrap().contains("--data-dir"), "{error}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Daemon::start(config(&["--data-dir", file.to_str().unwrap()], &[])).await.unwrap_err();
    assert!(error.message().contains("cannot write to the data directory") && error.help().unwrap().contains("--data-dir"), "{error}");

    let hex = "0".repeat(64);
    let redis = [("CLOAKROOM_METADATA_ENGINE", "redis"), ("CLOAKROOM_METADATA_REDIS_URL", "redis://:s3cret@127.0.0.1:1"), ("CLOAKROOM_KEYS_MASTER_KEY", &hex)];
    let error = Daemon::start(config(&[], &redis)).await.unwrap_err();
    assert!(error.message().contains("127.0.0.1:1") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    let bad = [("CLOAKROOM_METADATA_REDIS_URL", "http://:s3cret@h"), redis[0], redis[2]];
    let error = Daemon::start(config(&[], &bad)).await.unwrap_err();
    assert!(error.message().starts_with("metadata.redis_url: ") && !format!("{error:?}").contains("s3cret"), "{error:?}");

    let error = Daemon::start(config(&["--ephemeral"], &[("CLOAKROOM_AUTH_TOKENS_FILE", "/nowhere/tokens")])).await.unwrap_err();
    assert!(error.message().contains("/nowhere/tokens cannot be read"), "{error}");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn health_and_readiness_follow_the_stores() {
    let daemon = start(config(&["--ephemeral"], &[])).await;
    assert_eq!(daemon.health("").await, ServingStatus::Serving);
    assert_eq!(daemon.health("cloakroom.v1.SessionService").await, ServingStatus::Serving);
    // What a store that is gone looks like: every operation on it fails.
    daemon.closing.close().await;
    let mut seen = ServingStatus::Serving;
    for _ in 0..100 {
        seen = daemon.health("cloakroom.v1.SessionService").await;
        if seen == ServingStatus::NotServing {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(seen, ServingStatus::NotServing);
    assert_eq!(daemon.health("").await, ServingStatus::NotServing);
    assert_eq!(daemon.health("cloakroom.v1.AdminService").await, ServingStatus::Serving, "it says what is wrong");
    let (status, body) = daemon.get("/readyz").await;
    assert!(status == 503 && body.contains("\"ok\":false"), "{status} {body}");
    assert_eq!(daemon.get("/healthz").await.0, 200, "the process lives");
    let info = daemon.info().await;
    assert_eq!(info.metadata.unwrap().health(), v1::StoreHealth::Unavailable);
    assert_eq!((info.history.as_str(), info.revision), ("", 0));
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn ten_megabytes_of_random_bytes_leave_it_alive() {
    let daemon = start(config(&["--ephemeral"], &[])).await;
    let mut noise = vec![0; 1 << 20];
    for port in [daemon.grpc, daemon.http] {
        for round in 0..10 {
            SystemRandom::new().fill(&mut noise).unwrap();
            let mut stream = TcpStream::connect(port).await.unwrap();
            if round % 2 == 0 && port == daemon.grpc {
                // With a proper beginning the noise gets further.
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            }
            // The daemon may close at any byte.
            let _ = stream.write_all(&noise).await;
            let _ = stream.shutdown().await;
        }
    }
    assert_eq!(daemon.info().await.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(daemon.get("/healthz").await.0, 200);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn calls_that_run_longer_than_the_deadline_are_cut_off() {
    let daemon = start(config(&["--ephemeral"], &[("CLOAKROOM_SHUTDOWN_DEADLINE", "300ms")])).await;
    let mut client = tonic::client::Grpc::new(daemon.channel().await);
    client.ready().await.unwrap();
    // A request that never ends keeps its call running.
    let path = ::http::uri::PathAndQuery::from_static("/cloakroom.v1.AdminService/GetServerInfo");
    let codec = tonic_prost::ProstCodec::<GetServerInfoRequest, v1::GetServerInfoResponse>::default();
    let call = client.client_streaming(tonic::Request::new(tokio_stream::pending()), path, codec);
    let stopping = async {
        while !daemon.get("/metrics").await.1.contains("in_flight{method=\"GetServerInfo\",service=\"cloakroom.v1.AdminService\"} 1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let start = crate::clock::monotonic();
        daemon.stop().await.unwrap();
        start.elapsed()
    };
    let (call, took) = tokio::join!(call, stopping);
    call.unwrap_err();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
}
