//! The Rust client where the daemon freezes, goes, comes back, or has lost everything.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom_client::{EventKind, LoadOptions, OnProgress, Options, SaveOptions, WatchOptions, v1};
use cloakroom_tests::{
    daemon::{Daemon, binary},
    ports::Port,
    process::Process,
};

use super::{Stage, assert_same, client_of, contents, new, noise, stage, write};

const PATIENCE: Duration = Duration::from_mins(1);

async fn next(watch: &mut cloakroom_client::Watch) -> EventKind {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("a message in time").expect("the watch goes on").expect("no error").kind
}

fn watch(daemon: &Daemon) -> cloakroom_client::Watch {
    client_of(daemon).watch(WatchOptions { bookmark_interval: Some(Duration::from_secs(1)), ..WatchOptions::default() }).unwrap()
}

#[tokio::test]
async fn a_frozen_daemon_is_noticed_within_three_bookmark_intervals_and_nothing_is_missed() {
    let mut daemon = Daemon::start().await;
    let mut watch = watch(&daemon);
    assert!(matches!(next(&mut watch).await, EventKind::Opened { .. }));
    assert!(matches!(next(&mut watch).await, EventKind::Bookmark { .. }));
    daemon.process().signal("STOP");
    // Silence for longer than three intervals: the watch gives up its connection and waits for another.
    assert!(tokio::time::timeout(Duration::from_secs(5), watch.next()).await.is_err());
    daemon.process().signal("CONT");
    let session = client_of(&daemon).sessions().create(new("business")).await.unwrap().value.id;
    let (mut opened, mut heard) = (0, Vec::new());
    while heard.is_empty() {
        match next(&mut watch).await {
            EventKind::Opened { .. } => opened += 1,
            EventKind::Changes(changes) => heard.extend(changes),
            EventKind::Bookmark { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((opened, heard.len(), heard[0].session_id.as_str()), (1, 1, session.as_str()));
}

#[tokio::test]
async fn a_consumer_that_was_away_for_long_is_not_taken_for_a_dead_connection() {
    let daemon = Daemon::start().await;
    let mut watch = watch(&daemon);
    assert!(matches!(next(&mut watch).await, EventKind::Opened { .. }));
    tokio::time::sleep(Duration::from_secs(4)).await;
    for _ in 0..3 {
        assert!(matches!(next(&mut watch).await, EventKind::Bookmark { .. }), "the same stream goes on");
    }
}

#[tokio::test]
async fn a_daemon_that_is_stopped_and_started_is_gone_on_with() {
    let mut daemon = Daemon::start().await;
    let client = client_of(&daemon);
    let session = client.sessions().create(new("business")).await.unwrap().value.id;
    let mut watch = watch(&daemon);
    assert!(matches!(next(&mut watch).await, EventKind::Opened { .. }));
    let restart = async {
        assert_eq!(daemon.terminate().await, Some(0));
        daemon.restart().await;
        client.sessions().transition(&session, v1::SessionState::Active, "").await.unwrap().revision
    };
    let hear = async {
        loop {
            match next(&mut watch).await {
                EventKind::Changes(changes) => return changes,
                EventKind::Reset { reason, .. } => panic!("{reason:?}"),
                _ => {}
            }
        }
    };
    let (revision, changes) = tokio::join!(restart, hear);
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [revision]);
}

#[tokio::test]
async fn a_daemon_that_lost_everything_makes_its_watchers_read_anew() {
    let mut daemon = Daemon::start().await;
    let mut watch = watch(&daemon);
    assert!(matches!(next(&mut watch).await, EventKind::Opened { .. }));
    daemon.kill9();
    fs::remove_dir_all(daemon.data()).unwrap();
    fs::create_dir(daemon.data()).unwrap();
    daemon.restart().await;
    loop {
        match next(&mut watch).await {
            EventKind::Reset { reason, .. } => return assert_eq!(reason, v1::reset::Reason::HistoryChanged),
            EventKind::Bookmark { .. } | EventKind::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn saves_and_loads_wait_for_a_daemon_that_comes_back() {
    let mut daemon = Daemon::start().await;
    let client = client_of(&daemon);
    let session = client.sessions().create(new("business")).await.unwrap().value.id;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("p");
    write(&directory, "big", &noise(1, 48 << 20));
    // Killed somewhere in the middle of the stream, wherever that is on this machine.
    for (round, pause) in [5, 20, 60, 150].into_iter().enumerate() {
        write(&directory, "big", &noise(round as u64 + 2, 48 << 20));
        let save = client.save(&session, &directory, SaveOptions::default());
        let kill = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            daemon.kill9();
            daemon.restart().await;
        };
        let (saved, ()) = tokio::join!(save, kill);
        let saved = saved.unwrap();
        assert_eq!(client.sessions().get(&session).await.unwrap().head_snapshot_id, saved.snapshot.id);

        let target = home.path().join("q");
        let load = client.load(&session, &target, LoadOptions::default());
        let kill = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            daemon.kill9();
            daemon.restart().await;
        };
        let (loaded, ()) = tokio::join!(load, kill);
        loaded.unwrap();
        assert_same(&directory, &target);
        fs::remove_dir_all(&target).unwrap();
    }
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["p", "p.cloakroom.json", "q.cloakroom.json"]);
}

#[tokio::test]
async fn a_save_that_broke_is_not_taken_for_another_one_of_its_name() {
    let mut daemon = Daemon::start().await;
    let client = client_of(&daemon);
    let session = client.sessions().create(new("business")).await.unwrap().value.id;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("p");
    let named = || SaveOptions { upload_id: Some("an-upload-of-that-name".to_owned()), ..SaveOptions::default() };
    write(&directory, "f", b"first");
    let first = client.save(&session, &directory, named()).await.unwrap().snapshot.id;
    write(&directory, "f", &noise(1, 48 << 20));
    // Killed when the daemon has taken a part of the second save; then it knows of the first.
    let (begun, sending) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
    let (tell, once) = (Arc::clone(&begun), Arc::clone(&sending));
    let progress = OnProgress::new(move |done, _| {
        if done > 0 && !once.swap(true, Ordering::Relaxed) {
            tell.notify_one();
        }
    });
    let second = client.save(&session, &directory, SaveOptions { progress: Some(progress), ..named() });
    let kill = async {
        begun.notified().await;
        daemon.kill9();
        daemon.restart().await;
    };
    let (second, ()) = tokio::join!(second, kill);
    assert_eq!(second.unwrap_err().reason(), "REQUEST_ID_REUSED");
    assert_eq!(client.sessions().get(&session).await.unwrap().head_snapshot_id, first);
}

#[tokio::test]
async fn a_load_that_is_given_up_leaves_nothing_behind() {
    let stage = Stage::on(Arc::new(Daemon::start().await)).await;
    let directory = stage.directory("p");
    for number in 0..50 {
        write(&directory, &format!("{number}"), &noise(number, 1 << 20));
    }
    stage.save(&directory).await;
    for pause in [1, 5, 20, 50] {
        let load = stage.client.load(&stage.session, stage.path("q"), LoadOptions::default());
        let given_up = tokio::time::timeout(Duration::from_millis(pause), load).await.is_err();
        // A thread that was just writing clears up after itself.
        let left = || fs::read_dir(stage.home.path()).unwrap().count();
        let deadline = Instant::now() + Duration::from_secs(5);
        while given_up && left() != 2 && !stage.path("q").exists() {
            assert!(Instant::now() < deadline, "{} things are left after {pause} ms", left());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = fs::remove_dir_all(stage.path("q"));
        let _ = fs::remove_file(stage.path("q.cloakroom.json"));
    }
}

/// The command line on its way to load into the place of a former directory, up to where it patches that (or to its end, if that is sooner).
async fn patching(stage: &Stage, target: &Path) -> Process {
    let (half, place) = (target.with_file_name(".q.cloakroom-load").join("former"), target.to_owned());
    let mut command = Command::new(binary("cloakroom"));
    command.args(["--target", &stage.daemon.address(), "load", &stage.session, target.to_str().unwrap(), "--replace"]);
    let mut load = Process::spawn("cloakroom load", command);
    let ended = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&ended);
    let deadline = Instant::now() + PATIENCE;
    // Bounded by itself: a runtime waits for such a thread also when the test has failed.
    let seen = tokio::task::spawn_blocking(move || {
        while (!half.exists() || place.exists()) && !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    tokio::select! {
        _ = load.wait() => ended.store(true, Ordering::Relaxed),
        _ = seen => {}
    }
    load
}

#[tokio::test]
async fn a_load_interrupted_while_it_patches_finishes_that_first() {
    let stage = stage().await;
    let (directory, target) = (stage.directory("p"), stage.path("q"));
    let fill = |seed: u64| (0..1500).for_each(|file| write(&directory, &format!("{}/{file}", file % 40), &noise(seed * 10_000 + file, 600)));
    fill(1);
    stage.save(&directory).await;
    let (mut interrupted, deadline) = (false, Instant::now() + PATIENCE);
    for round in (2..).take_while(|_| Instant::now() < deadline) {
        stage.client.load(&stage.session, &target, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
        fill(round);
        stage.save(&directory).await;
        let mut load = patching(&stage, &target).await;
        if load.try_wait().is_none() {
            load.signal("INT");
        }
        interrupted = load.wait().await.code() == Some(130);
        assert_same(&directory, &target);
        assert!(!stage.path(".q.cloakroom-load").exists());
        if interrupted {
            break;
        }
    }
    assert!(interrupted, "none of the loads was interrupted in the middle");
}

#[tokio::test]
async fn a_load_killed_while_it_patches_is_seen_by_the_next_save_and_mended_by_the_next_load() {
    let stage = stage().await;
    let (directory, target, half) = (stage.directory("p"), stage.path("q"), stage.path(".q.cloakroom-load/former"));
    let fill = |seed: u64| (0..1500).for_each(|file| write(&directory, &format!("{}/{file}", file % 40), &noise(seed * 10_000 + file, 600)));
    fill(1);
    stage.save(&directory).await;
    let (mut hit, deadline) = (false, Instant::now() + PATIENCE);
    for round in (2..).take_while(|_| Instant::now() < deadline) {
        let _ = fs::remove_dir_all(&target);
        stage.load(&target).await;
        let before = contents(&target);
        fill(round);
        stage.save(&directory).await;
        let mut load = patching(&stage, &target).await;
        load.kill9();
        if target.exists() {
            let now = contents(&target);
            assert!(now == before || now == contents(&directory), "under its own name there is never something half done");
        }
        if target.exists() || !half.exists() {
            continue;
        }
        hit = true;
        // Neither what is not there is saved, nor what a browser made anew in its place.
        for _ in 0..2 {
            let error = stage.refused("LOAD_UNFINISHED", stage.client.save(&stage.session, &target, SaveOptions::default())).await;
            assert!(error.to_string().contains("load it again"), "{error}");
            let _ = fs::create_dir(&target);
            write(&target, "Default/Preferences", b"{}");
        }
        let again = LoadOptions { replace: true, ..LoadOptions::default() };
        stage.client.load(&stage.session, &target, again).await.unwrap();
        assert_same(&directory, &target);
        assert_eq!(stage.save(&target).await.sent.entries, 0);
        let mut left: Vec<_> = fs::read_dir(stage.home.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["p", "p.cloakroom.json", "q", "q.cloakroom.json"]);
        break;
    }
    assert!(hit, "none of the loads was killed in the middle");
}

#[tokio::test]
async fn a_browser_that_starts_while_a_load_runs_keeps_its_directory() {
    let stage = stage().await;
    let (directory, known, unknown) = (stage.directory("p"), stage.path("known"), stage.directory("unknown"));
    write(&directory, "f", &noise(1, 3 << 20));
    stage.save(&directory).await;
    stage.load(&known).await;
    write(&unknown, "f", b"of another time");
    write(&directory, "f", &noise(2, 3 << 20));
    stage.save(&directory).await;
    let browser = format!("{}-{}", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), std::process::id());
    // Used up in place, copied from and replaced, and one that only would be used up for another.
    for (had, target) in [(&known, &known), (&unknown, &unknown), (&known, &stage.path("elsewhere"))] {
        let before = contents(had);
        let (link, to) = (had.join("SingletonLock"), browser.clone());
        let progress = OnProgress::new(move |_, _| drop(std::os::unix::fs::symlink(&to, &link)));
        let have = (had != target).then(|| had.clone());
        let options = LoadOptions { consume: have.is_some(), have, replace: true, progress: Some(progress), ..LoadOptions::default() };
        let error = stage.client.load(&stage.session, target, options).await.unwrap_err();
        assert!(error.reason() == "PROFILE_BUSY" && error.to_string().contains(&std::process::id().to_string()), "{error}");
        fs::remove_file(had.join("SingletonLock")).unwrap();
        assert_eq!(contents(had), before);
    }
    assert!(!stage.path("elsewhere").exists() && stage.path("known.cloakroom.json").exists());
    stage.client.load(&stage.session, &known, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
    assert_same(&directory, &known);
}

#[tokio::test]
async fn saves_that_all_replace_follow_each_other() {
    let stage = stage().await;
    let directories: Vec<_> = ["a", "b", "c", "d"].map(|name| stage.directory(name)).into();
    for (number, directory) in directories.iter().enumerate() {
        write(directory, "f", &noise(number as u64, 2 << 20));
    }
    let replacing = || SaveOptions { replace: true, ..SaveOptions::default() };
    let saved = futures::future::join_all(directories.iter().map(|directory| stage.client.save(&stage.session, directory, replacing()))).await;
    let mut saved: Vec<_> = saved.into_iter().map(|saved| saved.unwrap().snapshot).collect();
    saved.sort_unstable_by_key(|snapshot| snapshot.sequence);
    let mut parent = String::new();
    for snapshot in saved {
        assert_eq!(snapshot.parent_snapshot_id, parent);
        parent = snapshot.id;
    }
    assert_eq!(stage.get().await.head_snapshot_id, parent);
}

#[tokio::test]
async fn a_save_that_cannot_be_noted_down_is_committed_with_a_warning() {
    let stage = stage().await;
    // The sidecar's own name is as long as a name may be, the one of the file that is renamed into its place is longer.
    let (long, taken) = (stage.directory(&"p".repeat(240)), stage.directory("q"));
    let sidecar = stage.path(&format!("{}.cloakroom.json", "p".repeat(240)));
    fs::write(&sidecar, "of another time").unwrap();
    stage.directory("q.cloakroom.json");
    let replacing = || SaveOptions { replace: true, ..SaveOptions::default() };
    for directory in [&long, &taken] {
        write(directory, "Default/Cookies", directory.as_os_str().as_encoded_bytes());
        let saved = stage.client.save(&stage.session, directory, replacing()).await.unwrap();
        assert_eq!(stage.get().await.head_snapshot_id, saved.snapshot.id);
        assert_eq!(saved.warnings.len(), 1, "{:?}", saved.warnings);
        let warning = &saved.warnings[0];
        assert!(
            warning.starts_with("the save is committed, but ") && warning.contains(".cloakroom.json: ") && warning.contains("unless it says replace"),
            "{warning}"
        );
    }
    assert!(!sidecar.exists(), "what is not true any more does not stay");
    stage.refused("PARENT_NOT_HEAD", stage.client.save(&stage.session, &long, SaveOptions::default())).await;
    assert_eq!(stage.client.save(&stage.session, &long, replacing()).await.unwrap().warnings.len(), 1, "and is not in the way of the next save");
}

#[tokio::test]
async fn a_port_where_something_else_listens_is_an_error_that_says_so() {
    let port = Port::free();
    let listener = tokio::net::TcpListener::bind(port.address()).await.unwrap();
    let greet = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"220 mail.example ESMTP\r\n").await;
        }
    };
    let options = Options { timeout: Some(Duration::from_secs(2)), ..Options::default() };
    let client = cloakroom_client::Client::connect(&port.address(), options).unwrap();
    let error = tokio::select! {
        () = greet => unreachable!(),
        answer = client.server_info() => answer.unwrap_err(),
    };
    assert!(error.to_string().contains(&port.address()), "{error}");
}
