//! Sessions on Redis at concurrency 64: through gRPC against an empty call of the same daemon, and the active session of a business against the design that
//! keeps whole sessions under one key each and a set of ids per business.

use std::{
    future::Future,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom_api::v1::{
    CreateSessionRequest, GetActiveSessionRequest, GetSessionRequest, PutStorageStateRequest, Session, SessionState, TransitionSessionRequest,
    UpdateSessionRequest, get_active_session_request::Owner, session_service_client::SessionServiceClient,
};
use cloakroom_tests::{
    daemon::{Daemon, Options},
    process::processor_time,
    redis::{self as redis_server, Redis},
};
use redis::AsyncCommands as _;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::table;

const CONCURRENCY: usize = 64;
const CONNECTIONS: usize = 4;
const EACH: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

pub(crate) async fn run() {
    table::head("Sessions on Redis, concurrency 64");
    let mut redis = Redis::start(redis_server::Options::default()).await;
    let options = Options {
        env: [("METADATA_ENGINE", "redis".to_owned()), ("METADATA_REDIS_URL", redis.url()), ("KEYS_MASTER_KEY", "5a".repeat(32))]
            .map(|(key, value)| (format!("CLOAKROOM_{key}"), value))
            .into(),
        args: Vec::new(),
    };
    let mut daemon = Daemon::start_with(options).await;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(daemon.url()).unwrap().connect().await.unwrap());
    }
    let channels = Arc::new(channels);
    let processes = [std::process::id(), daemon.process().id(), redis.process().id()];
    calls(&channels, processes).await;
    active(&channels, &redis).await;
}

/// Creating, getting and updating against empty calls, and what three calls cost whom.
async fn calls(channels: &Arc<Vec<Channel>>, processes: [u32; 3]) {
    let (mut empty, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        empty.push(Round::of(processes, rate(channels, |channel, _| check(channel))).await);
        ours.push(Round::of(processes, rate(channels, create_get_update)).await);
    }
    let middle = |rounds: &[Round], figure: fn(&Round) -> f64| table::median(rounds.iter().map(figure).collect());
    let rates = (middle(&empty, |round| round.rate), 3.0 * middle(&ours, |round| round.rate));
    table::fact("an empty unary call", rates.0, "calls/s");
    table::fact("create, get, update", rates.1, "calls/s");
    table::at_least("create, get, update / empty calls", rates.1 / rates.0, 0.5, "");
    let bare = 3.0 * middle(&empty, |round| round.client + round.daemon);
    table::fact("three empty calls: processor time of both ends", bare, "µs");
    table::fact("create, get, update: of the client", middle(&ours, |round| round.client), "µs");
    table::fact("create, get, update: of the daemon", middle(&ours, |round| round.daemon), "µs");
    let redis = middle(&ours, |round| round.redis);
    table::fact("create, get, update: of Redis", redis, "µs");
    table::fact("empty calls / create, get, update, in processor time", bare / middle(&ours, |round| round.client + round.daemon + round.redis), "");
    table::fact("… if these cost both ends no more than empty ones", bare / (bare + redis), "");
}

/// How often something was done in a second, and what it cost each time, in µs of processor time.
struct Round {
    rate: f64,
    client: f64,
    daemon: f64,
    redis: f64,
}

impl Round {
    async fn of(processes: [u32; 3], work: impl Future<Output = f64>) -> Self {
        let (before, start) = (processes.map(processor_time), Instant::now());
        let rate = work.await;
        let done = rate * start.elapsed().as_secs_f64();
        let after = processes.map(processor_time);
        let [client, daemon, redis] = std::array::from_fn(|which| (after[which] - before[which]) / done);
        Self { rate, client, daemon, redis }
    }
}

/// How many times a second `CONCURRENCY` loops complete `work` together.
async fn rate<F: Future<Output = ()> + Send>(channels: &Arc<Vec<Channel>>, work: impl Fn(Channel, usize) -> F + Send + Sync + Copy + 'static) -> f64 {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let start = Instant::now();
    let mut loops = tokio::task::JoinSet::new();
    for lane in 0..CONCURRENCY {
        let channel = channels[lane % channels.len()].clone();
        loops.spawn(async move {
            let mut done = 0_u32;
            while start.elapsed() < EACH {
                work(channel.clone(), NUMBER.fetch_add(1, Ordering::Relaxed)).await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = loops.join_all().await.into_iter().sum();
    f64::from(done) / start.elapsed().as_secs_f64()
}

async fn check(channel: Channel) {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
}

async fn create_get_update(channel: Channel, number: usize) {
    let mut sessions = SessionServiceClient::new(channel);
    let id = format!("bench-{number}");
    let create = CreateSessionRequest {
        session_id: id.clone(),
        business_id: format!("b{}", number % 1000),
        email: format!("u{number}@example.com"),
        ..Default::default()
    };
    sessions.create_session(create).await.unwrap();
    sessions.get_session(GetSessionRequest { session_id: id.clone(), ..Default::default() }).await.unwrap();
    let session = Session { id, labels: [("a".to_owned(), "b".to_owned())].into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] });
    sessions.update_session(UpdateSessionRequest { session: Some(session), update_mask, ..Default::default() }).await.unwrap();
}

async fn get_active(channel: Channel) {
    let owner = Some(Owner::BusinessId("crowded".to_owned()));
    SessionServiceClient::new(channel).get_active_session(GetActiveSessionRequest { owner, ..Default::default() }).await.unwrap();
}

/// The active session of a business with 20 sessions of 16 KB payload.
async fn active(channels: &Arc<Vec<Channel>>, redis: &Redis) {
    let mut sessions = SessionServiceClient::new(channels[0].clone());
    let filler = "x".repeat(16 << 10);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    for number in 0..20 {
        let id = format!("crowded-{number}");
        sessions.create_session(CreateSessionRequest { session_id: id.clone(), business_id: "crowded".to_owned(), ..Default::default() }).await.unwrap();
        let state = format!("{{\"cookies\":[],\"origins\":[],\"filler\":\"{filler}\"}}");
        sessions.put_storage_state(PutStorageStateRequest { session_id: id.clone(), storage_state: state.into(), ..Default::default() }).await.unwrap();
        let transition = TransitionSessionRequest { session_id: id.clone(), to: SessionState::Active.into(), ..Default::default() };
        sessions.transition_session(transition).await.unwrap();
        let whole = serde_json::json!({ "id": id, "businessId": "crowded", "status": "active", "lastActivity": number, "cookies": filler });
        let () = raw.set(format!("seed:session:{id}"), whole.to_string()).await.unwrap();
        let () = raw.sadd("seed:business:crowded", id).await.unwrap();
    }
    let (mut ours, mut node, mut rust) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(channels, |channel, _| get_active(channel)).await);
        node.push(session_manager_in_node(redis));
        rust.push(whole_sessions(&raw).await);
    }
    let (ours, node, rust) = (table::median(ours), table::median(node), table::median(rust));
    table::fact("active session of a business with 20 sessions, through gRPC", ours, "calls/s");
    table::fact("the same where whole sessions are read and compared, in Node (ioredis), without any RPC", node, "reads/s");
    table::at_least("active session / whole sessions in Node (ioredis)", ours / node, 20.0, "");
    table::fact("the same where whole sessions are read and compared, in Rust, without any RPC", rust, "reads/s");
    table::fact("active session / whole sessions in Rust", ours / rust, "");
}

/// How many times a second a session manager in Node, as one writes it today, finds the active session of such a business: on the same Redis, with as many loops.
fn session_manager_in_node(redis: &Redis) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers/session_manager.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(redis.url()).arg(EACH.as_secs().to_string()).arg(CONCURRENCY.to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    figures["active_per_second"].as_f64().unwrap()
}

/// Reads every session of the business with its payload and takes the active one used last.
async fn whole_sessions(raw: &redis::aio::MultiplexedConnection) -> f64 {
    let start = Instant::now();
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..CONCURRENCY {
        let mut raw = raw.clone();
        loops.spawn(async move {
            let mut done = 0_u32;
            while start.elapsed() < EACH {
                let ids: Vec<String> = raw.smembers("seed:business:crowded").await.unwrap();
                let mut best: Option<serde_json::Value> = None;
                for id in ids {
                    let text: String = raw.get(format!("seed:session:{id}")).await.unwrap();
                    let session: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let newer = best.as_ref().is_none_or(|best| best["lastActivity"].as_i64() < session["lastActivity"].as_i64());
                    if session["status"] == "active" && newer {
                        best = Some(session);
                    }
                }
                assert!(best.is_some());
                done += 1;
            }
            done
        });
    }
    let done: u32 = loops.join_all().await.into_iter().sum();
    f64::from(done) / start.elapsed().as_secs_f64()
}
