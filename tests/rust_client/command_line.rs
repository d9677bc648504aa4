//! `cloakroom`, as a person and as a script use it.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use cloakroom_client::{SaveOptions, v1};
use cloakroom_tests::{
    daemon::{Daemon, binary},
    ports::Port,
    process::Process,
};
use serde_json::Value;

use super::{Stage, assert_same, name, stage, write};

/// What a run of the command line came to.
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    /// Standard output as JSON, one value a line.
    pub(super) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The one line that an error is.
    pub(super) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("cloakroom: "), "{}", self.err);
        &self.err
    }
}

pub(super) fn command(target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("cloakroom"));
    command.env_clear().env("CLOAKROOM_TARGET", target).args(arguments);
    command
}

async fn run_at(target: &str, arguments: &[&str]) -> Ran {
    let mut process = Process::spawn("cloakroom", command(target, arguments));
    let code = process.wait().await.code();
    Ran { code, out: process.stdout(), err: process.stderr() }
}

pub(super) async fn run(stage: &Stage, arguments: &[&str]) -> Ran {
    run_at(&stage.daemon.address(), arguments).await
}

/// A run that ends well.
pub(super) async fn fine(stage: &Stage, arguments: &[&str]) -> Ran {
    let ran = run(stage, arguments).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
    ran
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn sessions_are_made_shown_changed_and_removed() {
    let stage = stage().await;
    let (id, business) = (name("cli"), name("shop"));
    let made = fine(
        &stage,
        &["--json", "sessions", "create", "--business", &business, "--id", &id, "--email", "ops@acme.example", "--label", "tier=gold", "--ttl", "2h"],
    )
    .await
    .json();
    assert_eq!(
        (&made[0]["id"], &made[0]["state"], &made[0]["ttl"], &made[0]["labels"]["tier"]),
        (&id.clone().into(), &"PENDING".into(), &7200.into(), &"gold".into())
    );
    let revision = made[0]["revision"].as_i64().unwrap();

    fine(&stage, &["sessions", "transition", &id, "active", "--reason", "logged in"]).await;
    let shown = fine(&stage, &["sessions", "show", &id]).await.out;
    assert!(shown.contains("state          ACTIVE (logged in)\n") && shown.contains("labels         tier=gold\n"), "{shown}");
    let touched = fine(&stage, &["--json", "sessions", "touch", &id]).await.json();
    assert!(touched[0]["expire_time"].as_str().unwrap().ends_with('Z'));
    let active = fine(&stage, &["--json", "sessions", "active", "--business", &business]).await.json();
    let etag = active[0]["etag"].as_str().unwrap();
    let updated = fine(&stage, &["--json", "sessions", "update", &id, "--no-labels", "--etag", etag]).await.json();
    assert!(updated[0]["labels"].as_object().unwrap().is_empty() && updated[0]["revision"].as_i64().unwrap() > revision);
    assert!(run(&stage, &["sessions", "update", &id, "--email", "", "--etag", etag]).await.error(4).contains("ETAG_MISMATCH"));

    let listed = fine(&stage, &["sessions", "ls", "--business", &business]).await.out;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    let column = lines[0].find("STATE").unwrap();
    assert!(lines[1].starts_with(&id) && lines[1][column..].starts_with("ACTIVE"), "{listed}");
    assert_eq!(fine(&stage, &["--json", "sessions", "ls", "--business", &business, "--state", "active"]).await.json().len(), 1);

    fine(&stage, &["sessions", "rm", &id]).await;
    assert!(run(&stage, &["sessions", "show", &id]).await.error(3).contains("SESSION_DELETED"));
    fine(&stage, &["sessions", "undelete", &id]).await;
    assert_eq!(fine(&stage, &["sessions", "resolve", &id[..id.len() - 1]]).await.out.trim(), id);
}

#[tokio::test]
async fn a_prefix_is_enough_and_an_ambiguous_one_is_not() {
    let stage = stage().await;
    let prefix = name("twin");
    for end in ["a", "ab"] {
        fine(&stage, &["sessions", "create", "--business", &stage.business, "--id", &format!("{prefix}-{end}")]).await;
    }
    let shown = fine(&stage, &["--json", "sessions", "show", &format!("{prefix}-a")]).await.json();
    assert_eq!(shown[0]["id"], format!("{prefix}-a"), "a whole id is itself, also where it starts another");
    assert!(run(&stage, &["sessions", "show", &prefix]).await.error(1).contains("PREFIX_AMBIGUOUS"));
    assert!(run(&stage, &["sessions", "show", "no-such"]).await.error(3).contains("SESSION_NOT_FOUND"));
}

#[tokio::test]
async fn storage_states_go_in_and_out() {
    let stage = stage().await;
    let (file, back) = (stage.path("state.json"), stage.path("back.json"));
    fs::write(&file, r#"{"cookies":[],"origins":[]}"#).unwrap();
    assert!(run(&stage, &["sessions", "state", "get", &stage.session]).await.error(3).contains("STORAGE_STATE_NOT_FOUND"));
    fine(&stage, &["sessions", "state", "put", &stage.session, text(&file)]).await;
    assert_eq!(fine(&stage, &["sessions", "state", "get", &stage.session]).await.out, r#"{"cookies":[],"origins":[]}"#);
    fine(&stage, &["sessions", "state", "get", &stage.session, text(&back)]).await;
    assert_eq!(fs::read(&back).unwrap(), fs::read(&file).unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&back).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds cookies");
    fs::write(&file, "{}").unwrap();
    assert!(run(&stage, &["sessions", "state", "put", &stage.session, text(&file)]).await.error(2).contains("STORAGE_STATE_INVALID"));
}

#[tokio::test]
async fn profiles_are_saved_listed_and_loaded() {
    let stage = stage().await;
    let (directory, state) = (stage.directory("p"), stage.path("state.json"));
    write(&directory, "Default/Cookies", b"sweet");
    write(&directory, "Default/Cache/data", b"stale");
    fs::write(&state, r#"{"cookies":[],"origins":[]}"#).unwrap();
    let saved = fine(&stage, &["--json", "save", &stage.session, text(&directory), "--storage-state", text(&state)]).await.json();
    let first = saved[0]["snapshot"]["id"].as_str().unwrap().to_owned();
    assert!(saved[0]["sent"]["bytes"].as_u64().unwrap() > 0 && saved[0]["snapshot"]["portability"]["capture_policy"] == "default");
    write(&directory, "Default/Cookies", b"sweeter");
    let human = run(&stage, &["save", &stage.session, text(&directory)]).await;
    assert!(human.err.starts_with("cloakroom: warning: the snapshot that this one follows carried a storage state"), "{}", human.err);
    let human = human.out;
    assert!(human.starts_with(&format!("{} is at snapshot ", stage.session)) && human.contains("(number 2): 2 entries, 7 B"), "{human}");

    let listed = fine(&stage, &["snapshots", &stage.session]).await.out;
    let rows: Vec<_> = listed.lines().collect();
    assert!(rows.len() == 3 && rows[0].contains("STORAGE STATE") && rows[1].ends_with("head") && rows[2].starts_with(&first), "{listed}");
    assert_eq!(fine(&stage, &["--json", "snapshots", &stage.session]).await.json()[1]["id"], first);

    let (target, restored) = (stage.path("q"), stage.path("restored.json"));
    let loaded = fine(&stage, &["--json", "load", &stage.session, text(&target), "--snapshot", &first, "--storage-state", text(&restored)]).await.json();
    assert_eq!((&loaded[0]["storage_state"], &loaded[0]["base_snapshot_id"]), (&true.into(), &"".into()));
    assert_eq!(fs::read(target.join("Default/Cookies")).unwrap(), b"sweet");
    assert_eq!(fs::read(&restored).unwrap(), fs::read(&state).unwrap());
    assert!(run(&stage, &["load", &stage.session, text(&target)]).await.error(1).contains("say --replace [TARGET_EXISTS]"));
    let replaced = fine(&stage, &["--json", "load", &stage.session, text(&target), "--replace"]).await.json();
    assert_eq!(replaced[0]["base_snapshot_id"], first, "what is replaced is the base");
    let left = fine(&stage, &["load", &stage.session, text(&stage.path("left")), "--snapshot", &first]).await.out;
    assert!(left.contains("left behind: --storage-state FILE"), "{left}");
    fs::remove_dir_all(directory.join("Default/Cache")).unwrap();
    super::set_mtime(&directory.join("Default"), super::contents(&target)["Default"].1);
    assert_same(&directory, &target);
    assert!(run(&stage, &["load", &stage.session, text(&stage.path("r")), "--snapshot", &"ab".repeat(16)]).await.error(3).contains("SNAPSHOT_NOT_FOUND"));
    assert!(run(&stage, &["save", &stage.session, text(&stage.path("nowhere"))]).await.error(1).contains("nowhere"));
}

/// Saves until two snapshots begin with the same four digits: of 65,536 beginnings that takes a few hundred.
async fn twins(stage: &Stage, directory: &Path) -> (String, Vec<String>) {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..3000 {
        write(directory, "Default/n", &u32::to_be_bytes(number));
        let id = stage.save(directory).await.snapshot.id;
        let begin = id[..4].to_owned();
        let same = known.entry(begin.clone()).or_default();
        same.push(id);
        if same.len() == 2 {
            return (begin, same.clone());
        }
    }
    panic!("3,000 ids begin differently");
}

#[tokio::test]
async fn a_snapshot_is_named_by_the_first_digits_of_its_id() {
    let stage = stage().await;
    let directory = stage.directory("p");
    let (begin, both) = twins(&stage, &directory).await;
    let load = async |given: &str| run(&stage, &["--json", "load", &stage.session, text(&stage.path("q")), "--replace", "--snapshot", given]).await;

    let ambiguous = load(&begin).await;
    let told = ambiguous.error(1);
    assert!(told.contains("2 snapshots") && both.iter().all(|id| told.contains(id.as_str())) && told.contains("give more digits"), "{told}");
    // One digit more than both share.
    let shared = both[0].bytes().zip(both[1].bytes()).take_while(|(one, other)| one == other).count();
    for id in &both {
        for given in [id[..=shared].to_owned(), id[..31].to_ascii_uppercase(), id.clone()] {
            assert_eq!(load(&given).await.json()[0]["snapshot"]["id"], id.as_str(), "{given}");
        }
    }
    for (given, code, words) in
        [("abc", 2, "at least the first 4"), ("latest", 2, "hexadecimal"), (&"0".repeat(33), 2, "32 hexadecimal"), (&"0".repeat(31), 3, "has no snapshot")]
    {
        let refused = load(given).await;
        let told = refused.error(code);
        assert!(told.contains(words) && told.contains(given) && told.matches("hexadecimal").count() < 2, "{told}");
    }
}

#[tokio::test]
async fn a_save_that_is_hardly_a_login_says_so() {
    let stage = stage().await;
    let directory = stage.directory("p");
    let refused = run(&stage, &["save", &stage.session, text(&directory)]).await;
    assert!(refused.error(1).contains("is it the browser's user data directory?"), "{}", refused.err);
    let empty = run(&stage, &["save", &stage.session, text(&directory), "--force"]).await;
    assert_eq!(empty.code, Some(0));
    assert!(empty.err.starts_with("cloakroom: warning: there is nothing in ") && empty.err.contains(text(&directory)), "{}", empty.err);
    write(&directory, "notes.txt", b"x");
    let strange = fine(&stage, &["--json", "save", &stage.session, text(&directory)]).await.json();
    assert!(strange[0]["warnings"][0].as_str().unwrap().contains("looks like a profile of Chromium or Firefox"), "{strange:?}");
    write(&directory, "Local State", b"{}");
    let well = fine(&stage, &["--json", "save", &stage.session, text(&directory)]).await.json();
    assert_eq!(well[0]["warnings"], serde_json::json!([]));
}

#[tokio::test]
async fn a_directory_becomes_the_head_on_purpose_only() {
    let stage = stage().await;
    let (first, second) = (stage.directory("p"), stage.directory("q"));
    for directory in [&first, &second] {
        write(directory, "Local State", text(directory).as_bytes());
    }
    let parent = fine(&stage, &["--json", "save", &stage.session, text(&first)]).await.json()[0]["snapshot"]["id"].clone();
    let refused = run(&stage, &["save", &stage.session, text(&second)]).await;
    for word in ["comes from nothing", parent.as_str().unwrap(), "(--replace)", "q.cloakroom.json", "move that with it"] {
        assert!(refused.error(4).contains(word), "{word}: {}", refused.err);
    }
    let replaced = fine(&stage, &["--json", "save", &stage.session, text(&second), "--replace"]).await.json();
    assert_eq!((&replaced[0]["snapshot"]["parent_snapshot_id"], &replaced[0]["snapshot"]["head"]), (&parent, &true.into()));

    let other = fine(&stage, &["--json", "sessions", "create", "--business", &stage.business]).await.json()[0]["id"].as_str().unwrap().to_owned();
    let elsewhere = run(&stage, &["save", &other, text(&second)]).await;
    assert!(elsewhere.error(1).contains(&format!("the profile of session {}", stage.session)), "{}", elsewhere.err);
    fine(&stage, &["save", &other, text(&second), "--replace"]).await;
}

#[tokio::test]
async fn a_save_hands_on_where_its_profile_comes_from() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "Default/Cookies", b"sweet");
    let given = v1::Portability { brand: "chromium".to_owned(), password_store: "basic".to_owned(), ..v1::Portability::default() };
    stage.client.save(&stage.session, &directory, SaveOptions { portability: Some(given), ..SaveOptions::default() }).await.unwrap();
    let target = stage.path("q");
    fine(&stage, &["load", &stage.session, text(&target)]).await;
    write(&target, "Last Version", b"156.0.8078.79");
    for _ in 0..2 {
        let saved = fine(&stage, &["--json", "save", &stage.session, text(&target)]).await.json();
        let origin = &saved[0]["snapshot"]["portability"];
        assert_eq!(
            (&origin["os"], &origin["brand"], &origin["password_store"], &origin["browser_version"]),
            (&std::env::consts::OS.into(), &"chromium".into(), &"basic".into(), &"156.0.8078.79".into())
        );
    }
}

#[tokio::test]
async fn a_wrong_port_is_told_from_a_daemon_that_is_away() {
    let stage = stage().await;
    let http = stage.daemon.http_url();
    for target in [&http, http.strip_prefix("http://").unwrap()] {
        for arguments in [&["sessions", "ls"][..], &["watch"], &["load", "s", text(&stage.path("q"))]] {
            let ran = run_at(target, arguments).await;
            let told = ran.error(5);
            assert!(told.contains(target) && told.contains("gRPC is on port 7700") && told.contains("plain HTTP"), "{told}");
        }
    }
    let address = stage.daemon.address();
    let tls = run_at(&format!("https://{address}"), &["sessions", "ls"]).await;
    assert!(tls.error(5).contains("say http:// instead"), "{}", tls.err);
    for target in [format!("http://{address}"), format!("http://{address}/"), format!(" {address}\n")] {
        assert_eq!(run_at(&target, &["sessions", "list", "--business", &stage.business]).await.code, Some(0), "{target}");
    }
    let port = run_at("127.0.0.1:99999", &["sessions", "ls"]).await;
    assert!(port.error(2).contains("127.0.0.1:99999") && port.err.contains("7700"), "{}", port.err);
}

#[tokio::test]
async fn a_load_below_what_is_no_directory_names_it() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "Default/Cookies", b"sweet");
    stage.save(&directory).await;
    let file = directory.join("Default/Cookies");
    let ran = run(&stage, &["load", &stage.session, text(&file.join("q"))]).await;
    let told = ran.error(1);
    assert!(told.starts_with(&format!("cloakroom: {}: nothing can be loaded into this directory", file.display())), "{told}");
    fine(&stage, &["load", &stage.session, text(&stage.path("made/on/the/way"))]).await;
    assert_same(&directory, &stage.path("made/on/the/way"));
}

#[tokio::test]
async fn a_watch_prints_each_change_once_over_its_restarts() {
    let stage = stage().await;
    let file = stage.path("token");
    let watch = ["--json", "watch", "--business", &stage.business, "--resume-file", text(&file), "--interval", "1s"];
    let mut first = Process::spawn("cloakroom watch", command(&stage.daemon.address(), &[&watch[..], &["--all"]].concat()));
    first.wait_for_line("\"event\":\"opened\"").await;
    fine(&stage, &["sessions", "update", &stage.session, "--label", "n=1"]).await;
    first.wait_for_line("SESSION_UPDATED").await;
    // The token is kept right after the line is printed.
    tokio::time::sleep(Duration::from_millis(200)).await;
    first.kill9();
    fine(&stage, &["sessions", "transition", &stage.session, "active"]).await;
    fine(&stage, &["invalidate", "--business", &stage.business, "--reason", "new login page"]).await;
    let second = fine(&stage, &[&watch[..], &["--count", "2"]].concat()).await;
    let kinds: Vec<_> = second.json().iter().map(|change| change["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["SESSION_TRANSITIONED", "INVALIDATED"]);
    let changes = first.stdout().lines().filter(|line| line.contains("\"event\":\"change\"")).count();
    assert_eq!(changes, 1);
}

#[tokio::test]
async fn changes_are_lines_for_people() {
    let stage = stage().await;
    let after = stage.get().await.revision.to_string();
    fine(&stage, &["sessions", "transition", &stage.session, "active", "--reason", "why not"]).await;
    let heard = fine(&stage, &["watch", "--session", &stage.session, "--after", &after, "--count", "1"]).await.out;
    assert!(heard.contains(&format!("SESSION_TRANSITIONED  {}  {}  PENDING → ACTIVE  (why not)\n", stage.session, stage.business)), "{heard}");
    let counted = fine(&stage, &["invalidate", "--session", &stage.session, "--dry-run"]).await.out;
    assert_eq!(counted, "1 session match\n");
}

#[tokio::test]
async fn doctor_finds_a_daemon_well_and_a_missing_one_wrong() {
    let stage = stage().await;
    let well = fine(&stage, &["doctor"]).await.out;
    assert!(well.lines().all(|line| line.starts_with("ok ") || line.starts_with("warning ")), "{well}");
    for about in ["daemon", "metadata store", "profile store", "clock", "health"] {
        assert!(well.contains(about), "{about}: {well}");
    }
    let found = fine(&stage, &["--json", "doctor"]).await.json();
    assert!(found.iter().all(|finding| finding["level"] != "wrong"));
    let port = Port::free();
    let gone = run_at(&port.address(), &["doctor"]).await;
    assert_eq!(gone.code, Some(1));
    assert!(gone.out.starts_with("wrong ") && gone.out.contains(&port.address()) && gone.out.contains("check that it runs"), "{}", gone.out);
}

#[tokio::test]
async fn errors_are_one_line_with_an_exit_code_that_says_what_to_do() {
    let stage = stage().await;
    let port = Port::free();
    assert!(run_at(&port.address(), &["sessions", "ls"]).await.error(5).contains(&port.address()));
    assert!(run(&stage, &["sessions", "create", "--business", &stage.business, "--id", &stage.session]).await.error(4).contains("SESSION_EXISTS"));
    assert!(run(&stage, &["sessions", "create", "--business", &stage.business, "--ttl", "1s"]).await.error(2).contains("ttl"));
    assert!(run(&stage, &["save", &stage.session, "/", "--exclude", "a//b"]).await.error(2).contains("a//b"));
    let usage = run(&stage, &["sessions", "frobnicate"]).await;
    assert!(usage.code == Some(2) && usage.err.contains("frobnicate"));
    assert_eq!(run_at("nonsense address", &["sessions", "ls"]).await.code, Some(2));
    assert_eq!(fine(&stage, &["version"]).await.out, format!("cloakroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn an_interrupted_load_leaves_nothing_behind() {
    let mut daemon = Daemon::start().await;
    let address = daemon.address();
    let made = run_at(&address, &["--json", "sessions", "create", "--business", "b"]).await.json();
    let id = made[0]["id"].as_str().unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("p");
    write(&directory, "big", &super::noise(1, 64 << 20));
    assert_eq!(run_at(&address, &["save", &id, text(&directory)]).await.code, Some(0));
    daemon.process().signal("STOP");
    let mut load = Process::spawn("cloakroom load", command(&address, &["load", &id, text(&home.path().join("q"))]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(load.try_wait().is_none(), "it waits for the frozen daemon");
    load.signal("INT");
    assert_eq!(load.wait().await.code(), Some(130));
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["p", "p.cloakroom.json"]);
    daemon.process().signal("CONT");
}
