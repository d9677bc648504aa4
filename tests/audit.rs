//! Every access to a secret leaves a line in the log, and no line holds one.

use std::fs;

use cloakroom_api::v1::{
    self as api, profile_service_client::ProfileServiceClient, save_profile_request::Message, session_service_client::SessionServiceClient,
};
use cloakroom_server::model::hex::hex;
use cloakroom_tests::daemon::{Daemon, Options};
use futures::stream;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tonic::{Request, Status, transport::Channel};

const SECRET: &str = "t0p-secret-cookie";
const ADDRESS: &str = "ann@example.org";
const STATE: &str = r#"{"cookies":[{"name":"sid","value":"t0p-secret-cookie","domain":"a.example","path":"/","expires":-1,"httpOnly":true,"secure":true,"sameSite":"Lax"}],"origins":[]}"#;

fn env(pairs: &[(&str, &str)]) -> Options {
    Options { env: pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(), args: Vec::new() }
}

/// The audit lines so far: who, what, namespace, session, outcome.
fn lines(log: &str) -> Vec<[String; 5]> {
    let parsed = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let audit = parsed.filter(|line| line["target"] == "audit");
    audit.map(|line| ["who", "what", "namespace", "session", "outcome"].map(|key| text(&line, key))).collect()
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// Creates a session and touches each of its secrets.
async fn touch_everything(daemon: &Daemon, writer: &str, reader: &str) {
    let channel = Channel::from_shared(daemon.url()).unwrap().connect().await.unwrap();
    let (mut sessions, mut profiles) = (SessionServiceClient::new(channel.clone()), ProfileServiceClient::new(channel));
    let id = || "acct-1".to_owned();
    let create = api::CreateSessionRequest { session_id: id(), business_id: "acme".to_owned(), email: ADDRESS.to_owned(), ..Default::default() };
    sessions.create_session(by(writer, create)).await.unwrap();
    let put = api::PutStorageStateRequest { session_id: id(), storage_state: STATE.as_bytes().to_vec().into(), ..Default::default() };
    sessions.put_storage_state(by(writer, put)).await.unwrap();
    let get = |session: &str| api::GetStorageStateRequest { session_id: session.to_owned(), ..Default::default() };
    assert_eq!(sessions.get_storage_state(by(reader, get("acct-1"))).await.unwrap().into_inner().storage_state, STATE);
    sessions.get_storage_state(by(reader, get("nobody"))).await.unwrap_err();
    sessions.get_storage_state(by(reader, get(ADDRESS))).await.expect_err("an address is no id");

    let message = |message| api::SaveProfileRequest { namespace: String::new(), message: Some(message) };
    let begin = Message::Begin(api::SaveBegin { session_id: id(), full: true, upload_id: "upload-of-nothing".to_owned(), ..Default::default() });
    let state = Message::StorageState(api::StorageStateChunk { data: STATE.as_bytes().to_vec().into() });
    let root = digest(&SHA256, b"").as_ref().to_vec();
    let whole = [begin.clone(), state.clone(), Message::End(api::SaveEnd { manifest_root: root.into() })].map(message);
    profiles.save_profile(by(writer, stream::iter(whole))).await.unwrap();
    profiles.save_profile(by(writer, stream::iter([begin, state].map(message)))).await.expect_err("it has no end");
    for with_storage_state in [false, true] {
        let load = api::LoadProfileRequest { session_id: id(), with_storage_state, ..Default::default() };
        let mut pieces = profiles.load_profile(by(reader, load)).await.unwrap().into_inner();
        while let Some(piece) = pieces.message().await.unwrap_or_else(|status: Status| panic!("{status:?}")) {
            drop(piece);
        }
    }
}

/// The lines that [`touch_everything`] leaves.
fn expected(writer: &str, reader: &str, namespace: &str) -> Vec<[String; 5]> {
    let line = |who: &str, what: &str, session: &str, outcome: &str| [who, what, namespace, session, outcome].map(str::to_owned);
    vec![
        line("daemon", "make the namespace's keys", "", "OK"),
        line("daemon", "unwrap the namespace's keys", "", "OK"),
        line(writer, "PutStorageState", "acct-1", "OK"),
        line(reader, "GetStorageState", "acct-1", "OK"),
        line(reader, "GetStorageState", "nobody", "SESSION_NOT_FOUND"),
        line(writer, "SaveProfile", "acct-1", "OK"),
        line(writer, "SaveProfile", "acct-1", "STREAM_TRUNCATED"),
        line(reader, "LoadProfile", "acct-1", "OK"),
        line(reader, "LoadProfile with storage state", "acct-1", "OK"),
    ]
}

fn holds_no_secret(log: &str, tokens: &[&str]) {
    for secret in [SECRET, ADDRESS, "example.org"].iter().chain(tokens) {
        assert!(!log.contains(secret), "{secret} in: {log}");
    }
}

#[tokio::test]
async fn who_touched_what_is_in_the_log_and_no_secret_is() {
    let home = tempfile::tempdir().unwrap();
    let tokens = home.path().join("tokens");
    let hash = |token: &str| hex(digest(&SHA256, token.as_bytes()).as_ref());
    fs::write(&tokens, format!("walt team-a worker {}\nrita team-a reader {}\n", hash("w-token"), hash("r-token"))).unwrap();
    // Also when nothing but warnings is wanted otherwise.
    let quiet =
        [("CLOAKROOM_TELEMETRY_LOG_FORMAT", "json"), ("CLOAKROOM_TELEMETRY_LOG_FILTER", "warn"), ("CLOAKROOM_AUTH_TOKENS_FILE", tokens.to_str().unwrap())];
    let mut daemon = Daemon::start_with(env(&quiet)).await;
    touch_everything(&daemon, "w-token", "r-token").await;
    assert_eq!(daemon.terminate().await, Some(0));
    let log = daemon.process().stderr();
    assert_eq!(lines(&log), expected("walt", "rita", "team-a"), "{log}");
    holds_no_secret(&log, &["w-token", "r-token"]);
}

#[tokio::test]
async fn without_tokens_the_line_says_where_the_call_came_from_and_it_can_be_switched_off() {
    let options = [("CLOAKROOM_TELEMETRY_LOG_FORMAT", "json"), ("CLOAKROOM_TELEMETRY_LOG_FILTER", "trace,h2=info")];
    let mut daemon = Daemon::start_with(env(&options)).await;
    touch_everything(&daemon, "", "").await;
    assert_eq!(daemon.terminate().await, Some(0));
    let log = daemon.process().stderr();
    assert_eq!(lines(&log), expected("loopback", "loopback", "default"));
    holds_no_secret(&log, &[]);

    let off = [&options[..], &[("CLOAKROOM_TELEMETRY_AUDIT", "false")]].concat();
    let mut daemon = Daemon::start_with(env(&off)).await;
    touch_everything(&daemon, "", "").await;
    assert_eq!(daemon.terminate().await, Some(0));
    assert_eq!(lines(&daemon.process().stderr()), Vec::<[String; 5]>::new());
}
