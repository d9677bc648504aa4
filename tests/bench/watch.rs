//! A thousand watchers over fifty connections; 200 changes a second of which each matches twenty.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cloakroom_api::v1::{
    CreateSessionRequest, Selector, Session, UpdateSessionRequest, WatchInvalidationsRequest, invalidation_service_client::InvalidationServiceClient,
    session_service_client::SessionServiceClient, watch_invalidations_response::Event,
};
use cloakroom_tests::daemon::Daemon;
use tonic::transport::{Channel, Endpoint};

use crate::table;

const CONNECTIONS: usize = 50;
const BUSINESSES: usize = 50;
const WATCHERS: usize = 1000;
const RATE: u32 = 200;
const SECONDS: u32 = 15;

/// When each change was sent, by its revision once that is known, and when it was heard.
#[derive(Default)]
struct Times {
    sent: Mutex<HashMap<i64, Instant>>,
    heard: Mutex<Vec<(i64, Instant)>>,
}

pub(crate) async fn run() {
    table::head("Watch: 1,000 watchers, 50 connections, 200 changes/s, 20 matches each");
    let mut daemon = Daemon::start().await;
    let times = Arc::new(Times::default());
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(daemon.url()).unwrap().connect().await.unwrap());
    }
    let mut sessions = SessionServiceClient::new(channels[0].clone());
    for business in 0..BUSINESSES {
        let request = CreateSessionRequest { session_id: format!("s{business}"), business_id: format!("b{business}"), ..Default::default() };
        sessions.create_session(request).await.unwrap();
    }
    let before = rss(&mut daemon);
    for watcher in 0..WATCHERS {
        open(channels[watcher % CONNECTIONS].clone(), watcher % BUSINESSES, Arc::clone(&times)).await;
    }
    drive(&sessions, &times).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = rss(&mut daemon);
    let sent = times.sent.lock().unwrap();
    let heard = times.heard.lock().unwrap();
    let mut delays: Vec<f64> =
        heard.iter().filter_map(|(revision, at)| sent.get(revision).map(|from| at.duration_since(*from).as_secs_f64() * 1000.0)).collect();
    let expected = sent.len() * WATCHERS / BUSINESSES;
    #[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
    {
        table::at_least("deliveries that arrived (share of all)", delays.len() as f64 / expected as f64, 1.0, "");
    }
    table::fact("delivery p50, from the call's start", table::quantile(&mut delays, 0.5), "ms");
    table::at_most("delivery p99, from the call's start", table::quantile(&mut delays, 0.99), 20.0, "ms");
    table::fact("RSS of the daemon before the watchers", before, "MiB");
    table::at_most("RSS of the daemon", after, 150.0, "MiB");
}

async fn open(channel: Channel, business: usize, times: Arc<Times>) {
    let selector = Selector { business_id: format!("b{business}"), ..Default::default() };
    let request = WatchInvalidationsRequest { selectors: vec![selector], ..Default::default() };
    let mut stream = InvalidationServiceClient::new(channel).watch_invalidations(request).await.unwrap().into_inner();
    assert!(matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Opened(_))));
    tokio::spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            let now = Instant::now();
            if let Some(Event::Batch(batch)) = message.event {
                times.heard.lock().unwrap().extend(batch.changes.iter().map(|change| (change.revision, now)));
            }
        }
    });
}

async fn drive(sessions: &SessionServiceClient<Channel>, times: &Arc<Times>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut calls = tokio::task::JoinSet::new();
    for change in 0..RATE * SECONDS {
        ticks.tick().await;
        let (mut sessions, times) = (sessions.clone(), Arc::clone(times));
        calls.spawn(async move {
            let id = format!("s{}", change as usize % BUSINESSES);
            let session = Session { id, labels: HashMap::from([("n".to_owned(), change.to_string())]), ..Default::default() };
            let mask = prost_types::FieldMask { paths: vec!["labels".to_owned()] };
            let request = UpdateSessionRequest { session: Some(session), update_mask: Some(mask), ..Default::default() };
            let start = Instant::now();
            let revision = sessions.update_session(request).await.unwrap().into_inner().revision;
            times.sent.lock().unwrap().insert(revision, start);
        });
    }
    while calls.join_next().await.is_some() {}
}

/// Resident memory in MiB.
fn rss(daemon: &mut Daemon) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
