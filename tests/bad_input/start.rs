//! What stands against a start: told soon, with the thing's name and the remedy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cloakroom_tests::{
    daemon::{Daemon, Options, command},
    ports::Port,
    process::Process,
    redis::{self, Redis},
    s3::S3,
};

/// How long a failing start may take.
const SOON: Duration = Duration::from_secs(20);

/// It ends soon with exit code 1, and says all the words, on standard error alone.
async fn fails(command: Command, words: &[&str]) {
    let (begun, mut daemon) = (Instant::now(), Process::spawn("cloakroomd", command));
    let code = daemon.wait().await.code();
    let said = daemon.stderr();
    assert_eq!((code, daemon.stdout().as_str()), (Some(1), ""), "{said}");
    assert!(begun.elapsed() < SOON, "after {:?}: {said}", begun.elapsed());
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

pub(super) async fn start_fails(options: &Options, data: &Path, words: &[&str]) {
    fails(command(options, &Port::free(), &Port::free(), data), words).await;
}

pub(super) fn key_file(directory: &Path, name: &str, digits: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("{}\n", digits.repeat(32))).unwrap();
    path
}

pub(super) fn options(env: &[(&str, &str)]) -> Options {
    Options { env: env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(), args: Vec::new() }
}

/// Profiles in a bucket, everything else on this machine.
fn on_s3(endpoint: &str, bucket: &str, key: &Path) -> Options {
    options(&[
        ("CLOAKROOM_BLOBS_BACKEND", "s3"),
        ("CLOAKROOM_BLOBS_BUCKET", bucket),
        ("CLOAKROOM_BLOBS_ENDPOINT", endpoint),
        ("CLOAKROOM_BLOBS_ACCESS_KEY_ID", "test"),
        ("CLOAKROOM_BLOBS_SECRET_ACCESS_KEY", "test"),
        ("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.to_str().unwrap()),
    ])
}

/// Metadata in Redis, profiles on this machine.
fn on_redis(url: &str, key: &Path) -> Options {
    options(&[("CLOAKROOM_METADATA_ENGINE", "redis"), ("CLOAKROOM_METADATA_REDIS_URL", url), ("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.to_str().unwrap())])
}

#[tokio::test]
async fn a_missing_bucket() {
    let (s3, home) = (S3::start("coats").await, tempfile::tempdir().unwrap());
    let options = on_s3(&s3.endpoint(), "hats", &key_file(home.path(), "key", "5a"));
    start_fails(&options, &home.path().join("data"), &["s3://hats", &s3.endpoint(), "no such bucket", "create the bucket"]).await;
}

#[tokio::test]
async fn an_object_store_that_is_not_there() {
    let (port, home) = (Port::free(), tempfile::tempdir().unwrap());
    let endpoint = format!("http://{}", port.address());
    let options = on_s3(&endpoint, "coats", &key_file(home.path(), "key", "5a"));
    start_fails(&options, &home.path().join("data"), &["s3://coats", &endpoint, "address", "runs"]).await;
}

#[tokio::test]
async fn another_master_key_than_the_datas() {
    let (redis, home) = (Redis::start(redis::Options::default()).await, tempfile::tempdir().unwrap());
    let [right, wrong] = [("right", "5a"), ("wrong", "6b")].map(|(name, digits)| key_file(home.path(), name, digits));
    let mut daemon = Daemon::start_with(on_redis(&redis.url(), &right)).await;
    let scene = super::Scene::at(daemon.url()).await;
    assert_eq!(daemon.terminate().await, Some(0));
    let words = [wrong.to_str().unwrap(), "holds another one", "give the key that the data was made with"];
    start_fails(&on_redis(&redis.url(), &wrong), daemon.data(), &words).await;
    // Also where only one half of the data is left.
    let elsewhere = home.path().join("elsewhere");
    start_fails(&on_redis(&redis.url(), &wrong), &elsewhere, &words).await;

    daemon.restart().await;
    let again = tonic::transport::Channel::from_shared(daemon.url()).unwrap().connect().await.unwrap();
    let scene = super::Scene { channel: again, ..scene };
    assert_eq!(scene.session().await.head_snapshot_id, scene.head, "the right key still opens all");
}

#[tokio::test]
async fn a_redis_that_evicts() {
    let redis = Redis::start(redis::Options { maxmemory_policy: "allkeys-lru".to_owned(), ..redis::Options::default() }).await;
    let home = tempfile::tempdir().unwrap();
    let options = on_redis(&redis.url(), &key_file(home.path(), "key", "5a"));
    let words = [&*redis.port().to_string(), "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"];
    start_fails(&options, &home.path().join("data"), &words).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there() {
    let (port, home) = (Port::free(), tempfile::tempdir().unwrap());
    let options = on_redis(&format!("redis://:sesame@{}", port.address()), &key_file(home.path(), "key", "5a"));
    let mut command = command(&options, &Port::free(), &Port::free(), &home.path().join("data"));
    command.env("CLOAKROOM_TELEMETRY_LOG_FILTER", "debug");
    let mut daemon = Process::spawn("cloakroomd", command);
    assert_eq!(tokio::time::timeout(SOON, daemon.wait()).await.expect("soon").code(), Some(1));
    let said = daemon.stderr();
    for word in [&port.address(), "cannot be reached", "metadata.redis_url"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains("sesame"), "{said}");
}

/// What a check says, with its exit code.
pub(super) async fn check(options: &Options, data: &Path, listen: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(cloakroom_tests::daemon::binary("cloakroomd"));
    command.env_clear().envs(options.env.iter().map(|(key, value)| (key, value)));
    command.arg("--check").arg("--data-dir").arg(data).args(["--listen", listen]);
    let mut daemon = Process::spawn("cloakroomd", command);
    (daemon.wait().await.code(), daemon.stdout(), daemon.stderr())
}

/// Every file below a directory with its content and when it was changed.
fn tree(directory: &Path) -> Vec<(PathBuf, Option<(Vec<u8>, std::time::SystemTime)>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.push((entry.path(), None));
            all.extend(tree(&entry.path()));
        } else {
            all.push((entry.path(), Some((fs::read(entry.path()).unwrap(), entry.metadata().unwrap().modified().unwrap()))));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_check_changes_nothing_and_says_what_would_be_used() {
    let home = tempfile::tempdir().unwrap();
    let (data, listen) = (home.path().join("new/data"), "127.0.0.1:7700");
    let (code, said, stderr) = check(&Options::default(), &data, listen).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{said}");
    let place = data.display();
    for line in [
        format!("gRPC: {listen}, no TLS, without tokens"),
        format!("metadata: sqlite in {place} (will be made)"),
        format!("blobs: local in {place}/blobs (will be made)"),
        format!("master key: {place}/master.key (will be made: keep a copy of it elsewhere)"),
    ] {
        assert!(said.contains(&line), "no {line:?} in: {said}");
    }
    assert!(tree(home.path()).is_empty(), "nothing was made");

    // Beside a daemon that runs there, on the same ports.
    let daemon = Daemon::start().await;
    let scene = super::Scene::at(daemon.url()).await;
    let before = tree(daemon.data());
    let (code, said, stderr) = check(&Options::default(), daemon.data(), &daemon.address()).await;
    assert!(code == Some(0) && !said.contains("will be made"), "{said} {stderr}");
    assert_eq!(tree(daemon.data()), before);
    assert_eq!(scene.session().await.head_snapshot_id, scene.head);
    fs::remove_file(daemon.data().join("master.key")).unwrap();
    let (code, _, stderr) = check(&Options::default(), daemon.data(), &daemon.address()).await;
    assert!(code == Some(1) && stderr.contains("master.key"), "data without its key: {stderr}");

    // Neither Redis nor the bucket is asked; what stands against a start without them is told.
    let key = key_file(home.path(), "key", "5a");
    let nowhere = on_redis("redis://:sesame@127.0.0.1:1/0", &key);
    let (code, said, _) = check(&nowhere, &data, listen).await;
    assert!(code == Some(0) && said.contains("metadata: redis at 127.0.0.1:1,") && !said.contains("sesame"), "{said}");
    let (code, said, _) = check(&on_s3("http://127.0.0.1:1", "coats", &key), &data, listen).await;
    assert!(code == Some(0) && said.contains("blobs: s3: s3://coats at http://127.0.0.1:1"), "{said}");
    for (env, word) in [
        (("CLOAKROOM_KEYS_MASTER_KEY_FILE", "/nowhere/key"), "/nowhere/key"),
        (("CLOAKROOM_AUTH_TOKENS_FILE", "/nowhere/tokens"), "/nowhere/tokens"),
        (("CLOAKROOM_DATA_DIR", "/dev/null/data"), "/dev/null is no directory"),
        (("CLOAKROOM_TELEMETRY_LOG_FILTER", "a=b=c"), "telemetry.log_filter"),
    ] {
        let mut command = Command::new(cloakroom_tests::daemon::binary("cloakroomd"));
        command.env_clear().env(env.0, env.1).arg("--check");
        fails(command, &[word]).await;
    }
    assert_eq!(tree(home.path()).len(), 1, "the key that this test wrote");
}

#[tokio::test]
async fn a_data_directory_in_use() {
    let daemon = Daemon::start().await;
    let scene = super::Scene::at(daemon.url()).await;
    let data = daemon.data().to_str().unwrap();
    start_fails(&Options::default(), daemon.data(), &["another cloakroomd", data, "stop the other daemon", "--data-dir"]).await;
    assert_eq!(scene.session().await.head_snapshot_id, scene.head, "the first one goes on");
}

/// A shell in a mount namespace of its own, where it may mount as root does; nothing of it is seen outside, or left.
pub(super) fn in_own_mounts(script: &str, directory: &Path, inner: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &format!("{script} && exec \"$@\"")]).arg(directory).arg(inner.get_program());
    command.args(inner.get_args()).env_clear().envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    let taken = home.path().join("file");
    fs::write(&taken, "not a directory").unwrap();
    for data in [taken.clone(), taken.join("data"), PathBuf::from("/proc/cloakroom")] {
        start_fails(&Options::default(), &data, &["data directory", data.to_str().unwrap(), "--data-dir"]).await;
    }
    // Once empty, and once with what an earlier start left there.
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let words = ["data directory", data.to_str().unwrap(), "ead-only", "--data-dir"];
    for _ in 0..2 {
        let inner = command(&Options::default(), &Port::free(), &Port::free(), &data);
        fails(in_own_mounts("mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\"", &data, &inner), &words).await;
        let mut daemon = Process::spawn("cloakroomd", command(&Options::default(), &Port::free(), &Port::free(), &data));
        daemon.wait_for_line("cloakroomd ready").await;
        assert_eq!(daemon.terminate().await, Some(0));
    }
}
