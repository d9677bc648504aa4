//! The daemon as an operator meets it: its command line, its one line on standard output, its signals and exit codes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use cloakroom_api::v1::{GetServerInfoRequest, GetServerInfoResponse};
use cloakroom_tests::{
    daemon::{Daemon, Options, binary, command},
    ports::Port,
    process::Process,
};
use tonic::transport::Channel;

fn run(args: &[&str], data: &Path) -> Process {
    let mut command = Command::new(binary("cloakroomd"));
    command.env_clear().args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"]).arg(data).args(args);
    Process::spawn("cloakroomd", command)
}

#[tokio::test]
async fn one_line_on_standard_output_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = run(&[], &dir.path().join("data"));
    let line = daemon.wait_for_line("cloakroomd ready").await;
    let words: Vec<&str> = line.split(' ').collect();
    let [_, _, grpc, http, data] = words.as_slice() else { panic!("{line}") };
    for address in [grpc.strip_prefix("grpc=127.0.0.1:"), http.strip_prefix("http=127.0.0.1:")] {
        assert_ne!(address.unwrap().parse::<u16>().unwrap(), 0, "{line}");
    }
    assert_eq!(Path::new(data.strip_prefix("data=").unwrap()), dir.path().join("data"));
    assert_eq!(daemon.terminate().await, Some(0));
    assert_eq!(daemon.stdout().lines().count(), 1);
    assert!(daemon.stderr().contains("gRPC") && daemon.stderr().contains("stopping"), "{}", daemon.stderr());
    assert!(!daemon.stderr().contains("ERROR"), "{}", daemon.stderr());
}

#[tokio::test]
async fn interrupt_ends_it_too_and_a_second_signal_at_once() {
    let mut daemon = Daemon::start_with(Options { args: vec!["--ephemeral".to_owned()], ..Options::default() }).await;
    let mut client = tonic::client::Grpc::new(Channel::from_shared(daemon.url()).unwrap().connect().await.unwrap());
    client.ready().await.unwrap();
    // A request that never ends keeps a call running, longer than the test is patient.
    let path = "/cloakroom.v1.AdminService/GetServerInfo".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<GetServerInfoRequest, GetServerInfoResponse>::default();
    let call = client.client_streaming(tonic::Request::new(tokio_stream::pending()), path, codec);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let process = daemon.process();
        process.signal("INT");
        process.wait_for_line("stopping: no new calls").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(process.try_wait().is_none(), "it waits for the call");
        process.signal("TERM");
        let code = tokio::time::timeout(Duration::from_secs(3), process.wait()).await.unwrap().code();
        assert_eq!(code, Some(1));
        assert!(process.stderr().contains("asked twice to stop"), "{}", process.stderr());
    };
    let (call, ()) = tokio::join!(call, ending);
    call.unwrap_err();
}

#[tokio::test]
async fn what_stands_against_a_start_is_said_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = async |args: &[&str], words: &[&str]| {
        let mut daemon = run(args, &data);
        let code = daemon.wait().await.code();
        let said = daemon.stderr();
        assert!(code.is_some_and(|code| code != 0) && daemon.stdout().is_empty(), "{args:?}: {code:?} {}", daemon.stdout());
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    };
    let config = dir.path().join("cloakroomd.toml");
    fs::write(&config, "[limits]\ncals = 5\n").unwrap();
    refused(&["--config", config.to_str().unwrap()], &["limits.cals is no key", "cloakroomd.toml:2", "did you mean limits.calls?"]).await;
    refused(&["--config", "/nowhere.toml"], &["/nowhere.toml cannot be read", "--config"]).await;
    refused(&["--flag-of-another-program"], &["--flag-of-another-program", "--help"]).await;

    let port = Port::free();
    let mut open = command(&Options { args: vec!["--ephemeral".to_owned()], ..Options::default() }, &port, &Port::free(), &data);
    open.args(["--check"]).env("CLOAKROOM_METADATA_ENGINE", "mysql");
    let mut open = Process::spawn("cloakroomd", open);
    assert_eq!(open.wait().await.code(), Some(0), "flags win over the environment: {}", open.stderr());
    assert!(open.stdout().contains("metadata: memory") && open.stdout().contains("blobs: memory"), "{}", open.stdout());
}

#[tokio::test]
async fn a_check_says_whether_the_data_can_be_kept_there() {
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let check = async |data: &Path| {
        let mut command = Command::new(binary("cloakroomd"));
        command.env_clear().args(["--check", "--data-dir"]).arg(data);
        let mut daemon = Process::spawn("cloakroomd", command);
        (daemon.wait().await.code(), daemon.stderr())
    };
    // Whoever may write everywhere may write into the second, too.
    for (place, impossible) in [(dir.path().join("data"), false), (locked.join("data"), false), ("/proc/data".into(), true), ("/sys/data".into(), true)] {
        let (code, said) = check(&place).await;
        assert!(!place.exists(), "a check leaves no trace");
        let can_be_made = fs::create_dir(&place).is_ok();
        assert_eq!(code == Some(0), can_be_made, "{}: {said}", place.display());
        assert!(can_be_made || (said.contains("data_dir") && said.contains(place.to_str().unwrap()) && said.contains("name another place")), "{said}");
        assert!(!(impossible && can_be_made));
    }
}

#[tokio::test]
async fn a_key_file_that_is_not_there_is_told_from_one_that_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (data, key) = (dir.path().join("data"), dir.path().join("the.key"));
    let start = |check: &[&str]| {
        let mut command = Command::new(binary("cloakroomd"));
        command
            .env_clear()
            .env("CLOAKROOM_KEYS_MASTER_KEY_FILE", &key)
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data);
        command.args(check);
        Process::spawn("cloakroomd", command)
    };
    let refused = async |words: &str| {
        for check in [&["--check"][..], &[]] {
            let mut daemon = start(check);
            assert_eq!(daemon.wait().await.code(), Some(1));
            assert!(daemon.stderr().contains("the.key does not exist") && daemon.stderr().contains(words), "{check:?}: {}", daemon.stderr());
        }
    };
    refused("there is no data yet: make one").await;
    fs::write(&key, "ab".repeat(32)).unwrap();
    let mut daemon = start(&[]);
    daemon.wait_for_line("cloakroomd ready").await;
    assert_eq!(daemon.terminate().await, Some(0));
    fs::remove_file(&key).unwrap();
    refused("the data was sealed with one: put your copy of it there").await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--listen", "--http-listen"] {
        let mut command = Command::new(binary("cloakroomd"));
        command.env_clear().args(["--data-dir", dir.path().to_str().unwrap(), flag, "0.0.0.0:0"]);
        let mut daemon = Process::spawn("cloakroomd", command);
        assert_eq!(daemon.wait().await.code(), Some(1));
        assert!(daemon.stderr().contains("which other machines can reach") && daemon.stderr().contains("--insecure"), "{}", daemon.stderr());
    }
}

#[tokio::test]
async fn the_printed_configuration_starts_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut printing = Process::spawn("cloakroomd", {
        let mut command = Command::new(binary("cloakroomd"));
        command.env_clear().arg("--print-config");
        command
    });
    assert_eq!(printing.wait().await.code(), Some(0));
    let config = dir.path().join("cloakroomd.toml");
    fs::write(&config, printing.stdout()).unwrap();
    let mut daemon = run(&["--config", config.to_str().unwrap()], &dir.path().join("data"));
    daemon.wait_for_line("cloakroomd ready").await;
    assert_eq!(daemon.terminate().await, Some(0));
}

#[tokio::test]
async fn a_json_log_is_json_on_every_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("cloakroomd"));
    command.env_clear().env("CLOAKROOM_TELEMETRY_LOG_FORMAT", "json").env("CLOAKROOM_TELEMETRY_LOG_FILTER", "debug");
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    let mut daemon = Process::spawn("cloakroomd", command);
    daemon.wait_for_line("cloakroomd ready").await;
    assert_eq!(daemon.terminate().await, Some(0));
    let log = daemon.stderr();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().any(|line| line["message"] == "ready" && line["level"] == "INFO"), "{log}");
}
