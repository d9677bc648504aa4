//! The whole journey: a browser logs in through one worker and is still logged in through another, in another language, process and directory; a third worker has
//! heard of everything exactly once, across a `kill -9` of the daemon and of itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use cloakroom_tests::{
    daemon::{Daemon, Options},
    process::{Process, program},
    redis::{self, Redis},
    s3::S3,
    site::Site,
};
use serde_json::Value;

const SESSION: &str = "acct-1";
const EMAIL: &str = "ops@acme.example";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn chromium() -> String {
    env::var("CLOAKROOM_TEST_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned())
}

fn python(script: &str) -> Command {
    let mut command = Command::new(program("CLOAKROOM_TEST_PYTHON", "python"));
    command.arg(here(script));
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    let modules = env::var_os("CLOAKROOM_TEST_NODE_PATH").map_or_else(|| here("node_modules"), PathBuf::from);
    command.arg(here(script)).env("CLOAKROOM_TEST_NODE_PATH", modules);
    command
}

/// Runs a worker to its end; what it said last.
async fn result(name: &str, command: Command) -> Value {
    let mut worker = Process::spawn(name, command);
    let status = worker.wait().await;
    assert!(status.success(), "{name} ended with {status}: {}", worker.stderr());
    serde_json::from_str(worker.stdout().lines().last().unwrap()).unwrap()
}

async fn watcher(daemon: &Daemon, token_file: &Path) -> Process {
    let mut command = python("workers/watch.py");
    command.args(["--target", &daemon.address(), "--token-file"]).arg(token_file);
    let mut process = Process::spawn("the watcher", command);
    process.wait_for_line("watching").await;
    process
}

/// What a watcher wrote so far: kinds and revisions of changes.
fn heard(watcher: &Process) -> Vec<(String, i64)> {
    let lines = watcher.stdout();
    let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes = messages.inspect(|message| assert!(message.get("reset").is_none(), "a reset: {message}"));
    let change = |message: Value| Some((message.get("kind")?.as_str()?.to_owned(), message["revision"].as_i64()?));
    changes.filter_map(change).collect()
}

/// Waits until a watcher has heard of so many changes.
async fn wait_for(watcher: &mut Process, count: usize) {
    let all = async {
        while heard(watcher).len() < count {
            assert!(watcher.try_wait().is_none(), "the watcher ended: {}", watcher.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(cloakroom_tests::process::PATIENCE, all).await.expect("all changes in time");
}

async fn journey(mut daemon: Daemon) {
    let site = Site::start().await;
    let work = tempfile::tempdir().unwrap();
    let token_file = work.path().join("token");
    let mut lasting = watcher(&daemon, &token_file).await;

    let mut log_in = python("workers/log_in.py");
    log_in.args(["--target", &daemon.address(), "--session", SESSION, "--business", "acme", "--email", EMAIL, "--site", site.url()]);
    log_in.arg("--profile").arg(work.path().join("python")).args(["--chromium", &chromium()]);
    let logged_in = result("the Python worker", log_in).await;
    assert_eq!(logged_in["state"]["loggedIn"], true, "{logged_in}");

    // The daemon dies and comes back. The watcher goes on by itself; another one starts from the token that it stored.
    lasting.wait_for_line("SESSION_TRANSITIONED").await;
    daemon.kill9();
    let stored = work.path().join("stored-token");
    std::fs::copy(&token_file, &stored).unwrap();
    daemon.restart().await;
    let mut resumed = watcher(&daemon, &stored).await;

    let mut go_on = node("workers/go_on.mjs");
    go_on.args(["--target", &daemon.address(), "--session", SESSION, "--site", site.url(), "--profile"]);
    go_on.arg(work.path().join("node")).args(["--chromium", &chromium()]);
    let went_on = result("the Node worker", go_on).await;
    assert_eq!(went_on["state"]["loggedIn"], true, "still logged in: {went_on}");
    assert_eq!(went_on["parent"], logged_in["snapshot"]);

    resumed.wait_for_line("PROFILE_SAVED").await;
    wait_for(&mut lasting, 4).await;
    let all = heard(&lasting);
    let kinds: Vec<_> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["SESSION_CREATED", "PROFILE_SAVED", "SESSION_TRANSITIONED", "PROFILE_SAVED"]);
    assert!(all.is_sorted_by(|(_, a), (_, b)| a < b), "{all:?}");
    assert_eq!((all[1].1, all[3].1), (logged_in["revision"].as_i64().unwrap(), went_on["revision"].as_i64().unwrap()));
    assert_eq!(heard(&resumed), all[3..], "resumed from the token: none lost, none twice");
    assert_eq!(daemon.terminate().await, Some(0));
}

#[tokio::test]
async fn browser_journey_on_the_embedded_default() {
    journey(Daemon::start().await).await;
}

#[tokio::test]
async fn browser_journey_on_redis_and_s3() {
    let redis = Redis::start(redis::Options::default()).await;
    let s3 = S3::start("profiles").await;
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key");
    // The embedded default makes a key by itself; elsewhere the operator does.
    std::fs::write(&key_file, format!("{}\n", "5a".repeat(32))).unwrap();
    journey(Daemon::start_with(Options::on_redis_and_s3(&redis, &s3, &key_file)).await).await;
}

#[tokio::test]
async fn browser_journey_on_redis_alone() {
    let redis = Redis::start(redis::Options::default()).await;
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key");
    std::fs::write(&key_file, format!("{}\n", "5a".repeat(32))).unwrap();
    journey(Daemon::start_with(Options::on_redis_alone(&redis, &key_file)).await).await;
}
