//! Watch and invalidate.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use cloakroom_client::{Client, EventKind, Kind, NewSession, SaveOptions, Update, Watch, WatchFrom, WatchOptions, v1};
use cloakroom_tests::daemon::Daemon;

use super::{client_of, name, new, stage, write};

const PATIENCE: Duration = Duration::from_mins(1);

async fn next(watch: &mut Watch) -> EventKind {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("a message in time").expect("the watch goes on").expect("no error").kind
}

/// A watch that is open: what happens from now on is seen.
async fn open(client: &Client, selectors: Vec<v1::Selector>, start: WatchFrom) -> Watch {
    let mut watch = client.watch(WatchOptions { selectors, start, bookmark_interval: Some(Duration::from_secs(1)) }).unwrap();
    assert!(matches!(next(&mut watch).await, EventKind::Opened { .. }));
    watch
}

/// All changes up to a revision, which a bookmark or a later change marks as past.
async fn changes_up_to(watch: &mut Watch, revision: i64) -> Vec<v1::Change> {
    let mut heard: Vec<v1::Change> = Vec::new();
    loop {
        match next(watch).await {
            EventKind::Changes(changes) => heard.extend(changes),
            EventKind::Bookmark { revision: past } if past >= revision => return heard,
            EventKind::Bookmark { .. } | EventKind::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
        if heard.last().is_some_and(|change| change.revision >= revision) {
            return heard;
        }
    }
}

fn of_business(business: &str) -> v1::Selector {
    v1::Selector { business_id: business.to_owned(), ..v1::Selector::default() }
}

fn relabel(number: usize) -> Update {
    Update { labels: Some([("number".to_owned(), number.to_string())].into()), ..Update::default() }
}

fn growing(changes: &[v1::Change]) -> bool {
    changes.windows(2).all(|pair| pair[0].revision < pair[1].revision)
}

#[tokio::test]
async fn watch_sees_changes() {
    let stage = stage().await;
    let (sessions, business) = (stage.client.sessions(), name("watched"));
    let mut watch = open(&stage.client, vec![of_business(&business)], WatchFrom::Now).await;
    let id = sessions.create(new(&business)).await.unwrap().value.id;
    sessions.update(&id, relabel(1)).await.unwrap();
    sessions.transition(&id, v1::SessionState::Active, "logged in").await.unwrap();
    sessions.storage_state().put(&id, r#"{"cookies":[],"origins":[]}"#).await.unwrap();
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    let saved = stage.client.save(&id, &directory, SaveOptions::default()).await.unwrap();
    let last = sessions.delete(&id).await.unwrap().revision;
    let changes = changes_up_to(&mut watch, last).await;
    let kinds: Vec<_> = changes.iter().map(v1::Change::kind).collect();
    use v1::ChangeKind::{ProfileSaved, SessionCreated, SessionDeleted, SessionTransitioned, SessionUpdated, StorageStatePut};
    assert_eq!(kinds, [SessionCreated, SessionUpdated, SessionTransitioned, StorageStatePut, ProfileSaved, SessionDeleted]);
    assert!(growing(&changes) && changes.iter().all(|change| change.session_id == id && change.business_id == business));
    assert_eq!(
        (changes[2].state(), changes[2].previous_state(), changes[2].reason.as_str()),
        (v1::SessionState::Active, v1::SessionState::Pending, "logged in")
    );
    assert_eq!(changes[4].snapshot_id, saved.snapshot.id);
}

#[tokio::test]
async fn watch_selectors() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let (business, email) = (name("business"), format!("{}@acme.example", name("mail")));
    let mut by_business = open(&stage.client, vec![of_business(&business)], WatchFrom::Now).await;
    let mut by_email = open(&stage.client, vec![v1::Selector { email: email.to_uppercase(), ..v1::Selector::default() }], WatchFrom::Now).await;
    let mut by_session = open(&stage.client, vec![v1::Selector { session_id: stage.session.clone(), ..v1::Selector::default() }], WatchFrom::Now).await;
    let kinds = vec![v1::ChangeKind::SessionDeleted.into()];
    let mut by_kind = open(&stage.client, vec![v1::Selector { kinds, business_id: business.clone(), ..v1::Selector::default() }], WatchFrom::Now).await;
    let one = sessions.create(new(&business)).await.unwrap().value.id;
    let mailed = sessions.create(NewSession { email, ..new(&name("other")) }).await.unwrap().value.id;
    sessions.update(&stage.session, relabel(1)).await.unwrap();
    let last = sessions.delete(&one).await.unwrap().revision;
    let mut seen = BTreeMap::new();
    for (what, watch) in [("business", &mut by_business), ("email", &mut by_email), ("session", &mut by_session), ("kind", &mut by_kind)] {
        let changes = changes_up_to(watch, last).await;
        seen.insert(what, changes.iter().map(|change| (change.session_id.clone(), change.kind())).collect::<Vec<_>>());
    }
    let (created, updated, deleted) = (v1::ChangeKind::SessionCreated, v1::ChangeKind::SessionUpdated, v1::ChangeKind::SessionDeleted);
    assert_eq!(seen["business"], [(one.clone(), created), (one.clone(), deleted)]);
    assert_eq!(seen["email"], [(mailed, created)]);
    assert_eq!(seen["session"], [(stage.session.clone(), updated)]);
    assert_eq!(seen["kind"], [(one, deleted)]);
}

#[tokio::test]
async fn watch_resume_no_gap_no_dup() {
    let stage = stage().await;
    let selectors = || vec![of_business(&stage.business)];
    let mut first = open(&stage.client, selectors(), WatchFrom::Now).await;
    let (mut made, mut heard) = (Vec::new(), Vec::new());
    for number in 0..20 {
        made.push(stage.client.sessions().update(&stage.session, relabel(number)).await.unwrap().revision);
    }
    // Stopped in the middle: what was taken was applied, the rest is for the second watch.
    let mut token = first.resume_token().cloned();
    while heard.len() < 7 {
        let event = tokio::time::timeout(PATIENCE, first.next()).await.unwrap().unwrap().unwrap();
        if let EventKind::Changes(changes) = event.kind {
            heard.extend(changes);
        }
        token = Some(event.resume_token);
    }
    drop(first);
    for number in 20..40 {
        made.push(stage.client.sessions().update(&stage.session, relabel(number)).await.unwrap().revision);
    }
    let mut second = open(&stage.client, selectors(), WatchFrom::Token(token.unwrap())).await;
    heard.extend(changes_up_to(&mut second, made[39]).await);
    assert_eq!(heard.iter().map(|change| change.revision).collect::<Vec<_>>(), made, "each once, in order");
}

#[tokio::test]
async fn watch_daemon_killed() {
    let mut daemon = Daemon::start().await;
    let client = client_of(&daemon);
    let session = client.sessions().create(new("business")).await.unwrap().value.id;
    let mut watch = open(&client, vec![of_business("business")], WatchFrom::Now).await;
    let done = tokio::sync::watch::Sender::new(0);
    let change = async {
        let mut made = Vec::new();
        for number in 0..40 {
            if number == 20 {
                daemon.kill9();
                daemon.restart().await;
            }
            // The client itself waits for the daemon to come back.
            made.push(client.sessions().update(&session, relabel(number)).await.unwrap().revision);
        }
        done.send_replace(*made.last().unwrap());
        made
    };
    let hear = async {
        let (mut heard, mut reset) = (Vec::new(), false);
        loop {
            match next(&mut watch).await {
                EventKind::Changes(changes) => heard.extend(changes),
                EventKind::Reset { .. } => reset = true,
                _ => {}
            }
            let last = *done.borrow();
            if last > 0 && heard.last().is_some_and(|change: &v1::Change| change.revision >= last) {
                return (heard, reset);
            }
        }
    };
    let (made, (heard, reset)) = tokio::join!(change, hear);
    assert!(growing(&heard), "none twice");
    if reset {
        // What came before the reset was dropped; a reader reads anew then, and hears of everything after.
        assert_eq!(client.sessions().get(&session).await.unwrap().labels["number"], "39");
    } else {
        assert_eq!(heard.iter().map(|change| change.revision).collect::<Vec<_>>(), made, "each acknowledged change exactly once");
    }
}

#[tokio::test]
async fn watch_bookmarks() {
    let stage = stage().await;
    let selectors = vec![of_business("nobody's")];
    let mut watch = stage.client.watch(WatchOptions { selectors, bookmark_interval: Some(Duration::from_secs(1)), ..WatchOptions::default() }).unwrap();
    let mut revisions = Vec::new();
    while revisions.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        assert!(!event.resume_token.is_empty() && event.resume_token.len() <= 512);
        match event.kind {
            EventKind::Bookmark { revision } => revisions.push(revision),
            EventKind::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(revisions[0] <= revisions[1]);
    assert!(watch.resume_token().is_some_and(|token| !token.is_empty()));
}

#[tokio::test]
async fn watch_reset() {
    let mut first = Daemon::start().await;
    let session = client_of(&first).sessions().create(new("business")).await.unwrap().value.id;
    let mut before = client_of(&first).watch(WatchOptions::default()).unwrap();
    let token = tokio::time::timeout(PATIENCE, before.next()).await.unwrap().unwrap().unwrap().resume_token;
    assert_eq!(first.terminate().await, Some(0));
    let mut restored = Daemon::start().await;
    restored.kill9();
    fs::remove_dir_all(restored.data()).unwrap();
    copy(first.data(), restored.data());
    restored.restart().await;
    let client = client_of(&restored);
    let mut watch = open(&client, Vec::new(), WatchFrom::Token(token)).await;
    let EventKind::Reset { reason, spread, .. } = next(&mut watch).await else { panic!("no reset") };
    assert_eq!(reason, v1::reset::Reason::HistoryChanged);
    assert!(spread > Duration::ZERO);
    // It goes on from there.
    client.sessions().update(&session, relabel(1)).await.unwrap();
    while !matches!(next(&mut watch).await, EventKind::Changes(_)) {}
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() { copy(&item.path(), &to) } else { fs::copy(item.path(), to).map(drop).unwrap() }
    }
}

#[tokio::test]
async fn watch_after_revision() {
    let stage = stage().await;
    let read = stage.client.sessions().update(&stage.session, relabel(0)).await.unwrap().revision;
    let mut made = Vec::new();
    for number in 1..4 {
        made.push(stage.client.sessions().update(&stage.session, relabel(number)).await.unwrap().revision);
    }
    let mut watch = open(&stage.client, vec![of_business(&stage.business)], WatchFrom::Revision(read)).await;
    let heard = changes_up_to(&mut watch, made[2]).await;
    assert_eq!(heard.iter().map(|change| change.revision).collect::<Vec<_>>(), made);
}

#[tokio::test]
async fn watch_bad_token() {
    let stage = stage().await;
    let start = WatchFrom::Token("these bytes are no token".into());
    let mut watch = stage.client.watch(WatchOptions { start, ..WatchOptions::default() }).unwrap();
    let error = tokio::time::timeout(PATIENCE, watch.next()).await.expect("at once").expect("an error").unwrap_err();
    assert_eq!((error.reason(), error.kind()), ("INVALID_RESUME_TOKEN", Kind::Invalid));
    assert!(watch.next().await.is_none(), "it is over");
}

#[tokio::test]
async fn invalidate() {
    let stage = stage().await;
    let other = stage.client.sessions().create(new(&stage.business)).await.unwrap().value.id;
    let mut watch = open(&stage.client, vec![of_business(&stage.business)], WatchFrom::Now).await;
    let selectors = || vec![of_business(&stage.business)];
    let before = stage.get().await;
    let counted = stage.client.invalidate(selectors(), "just looking", true).await.unwrap();
    assert_eq!((counted.value, stage.get().await.value), (2, before.value));
    let done = stage.client.invalidate(selectors(), "the site changed", false).await.unwrap();
    assert_eq!(done.value, 2);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(changes_up_to(&mut watch, done.revision).await);
    }
    assert!(heard.iter().all(|change| change.kind() == v1::ChangeKind::Invalidated && change.reason == "the site changed"), "{heard:?}");
    let mut told: Vec<_> = heard.iter().map(|change| change.session_id.clone()).collect();
    told.sort();
    let mut wanted = vec![stage.session.clone(), other];
    wanted.sort();
    assert_eq!(told, wanted);
}
