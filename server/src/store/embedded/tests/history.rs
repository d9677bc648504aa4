//! One daemon per directory, and a history that ends exactly when acknowledged data are gone or may be.

use std::fs;

use super::*;
use crate::{
    model::error::Reason,
    store::metadata::{HISTORY_LEAP, LogEntry},
};

#[tokio::test]
async fn a_second_daemon_is_refused_as_long_as_the_first_one_runs() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Embedded::open(dir.path(), Limits::default()).unwrap_err();
    assert_eq!(error.reason(), Reason::MetadataUnavailable);
    assert_eq!(error.message(), format!("another cloakroomd uses the data directory {}", dir.path().display()));
    assert!(error.help().unwrap().contains("--data-dir"), "{error:?}");
    apply(&first, put("a", "the first one goes on")).await;
    first.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_restart_goes_on_with_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for n in 0..3 {
        let store = open(dir.path());
        let before = head(&store).await;
        let applied = apply(&store, put("a", n.to_string())).await;
        assert!(applied.revision > before.revision);
        heads.push(head(&store).await.history);
        store.close().await;
    }
    heads.dedup();
    assert_eq!(heads.len(), 1, "{heads:?}");
}

#[tokio::test]
async fn a_new_directory_starts_ahead_of_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("made/if/need/be"));
    let before = clock::wall();
    let applied = apply(&store, put("a", "1")).await;
    assert!(applied.revision.0 >= before.after(HISTORY_LEAP).0 - 1_000_000, "{applied:?}");
    assert!(applied.revision.0 <= applied.now.after(HISTORY_LEAP).0, "{applied:?}");
    let other = Embedded::ephemeral(Limits::default()).unwrap();
    let applied = apply(&other, put("a", "1")).await;
    assert!(applied.revision.0 >= before.after(HISTORY_LEAP).0, "{applied:?}");
}

/// Copies the files of a directory over those of another, as `cp` does: a file that is there keeps its inode.
fn copy(from: &Path, to: &Path, names: impl Fn(&str) -> bool) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if names(file.file_name().to_str().unwrap()) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// Writes, keeps a backup, writes more, restores, and opens again.
async fn restored(restore: impl FnOnce(&Path, &Path)) {
    let (root, ns) = (tempfile::tempdir().unwrap(), Namespace::default());
    let (dir, backup) = (root.path().join("data"), root.path().join("backup"));
    let store = open(&dir);
    let kept = apply(&store, put("kept", "1")).await;
    let before = head(&store).await;
    store.close().await;
    copy(&dir, &backup, |_| true);

    let store = open(&dir);
    assert_eq!(head(&store).await.history, before.history, "making a backup ends no history");
    let mut lost = apply(&store, put("lost", "1")).await.revision;
    for _ in 0..20 {
        lost = apply(&store, put("lost", "2")).await.revision;
    }
    store.close().await;

    restore(&backup, &dir);
    let reopened = clock::wall();
    let store = open(&dir);
    assert_eq!((value(&store, "kept").await, value(&store, "lost").await), (Some("1".into()), None));
    let after = head(&store).await;
    assert_ne!(after.history, before.history);
    assert_eq!((after.revision, after.last), (kept.revision, Revision::ZERO));
    assert!(store.events(&ns, Scope::Sessions, Revision::ZERO, 10).await.unwrap().entries.is_empty());
    let first = apply(&store, put("new", "1")).await;
    assert!(first.revision > lost, "the token {lost:?} could be issued twice: {first:?}");
    assert!(first.revision.0 >= reopened.after(HISTORY_LEAP).0, "{first:?}");
    let log = store.events(&ns, Scope::Sessions, Revision::ZERO, 10).await.unwrap().entries;
    assert_eq!(log, [LogEntry { revision: first.revision, previous: Revision::ZERO, payload: "put".into() }]);
    store.close().await;
    assert_eq!(head(&open(&dir)).await.history, after.history, "the new history goes on");
}

#[tokio::test]
async fn a_backup_copied_over_the_directory_starts_a_new_history() {
    restored(|backup, dir| copy(backup, dir, |_| true)).await;
}

#[tokio::test]
async fn a_backup_copied_with_its_times_starts_a_new_history() {
    restored(|backup, dir| {
        fs::remove_dir_all(dir).unwrap();
        let copied = std::process::Command::new("cp").arg("-a").args([backup, dir]).status().unwrap();
        assert!(copied.success());
    })
    .await;
}

#[tokio::test]
async fn an_older_database_file_alone_starts_a_new_history() {
    restored(|backup, dir| copy(backup, dir, |name| name == "metadata.sqlite")).await;
}

#[tokio::test]
async fn a_moved_backup_starts_a_new_history() {
    restored(|backup, dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::rename(backup, dir).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lost_lock_or_mark_starts_a_new_history() {
    for name in ["metadata.lock", "metadata.mark"] {
        restored(|backup, dir| {
            copy(backup, dir, |name| name == "metadata.sqlite");
            fs::remove_file(dir.join(name)).unwrap();
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        apply(&store, put("a", "1")).await;
        let before = head(&store).await;
        store.close().await;
        fs::remove_file(dir.path().join(name)).unwrap();
        let store = open(dir.path());
        assert_ne!(head(&store).await.history, before.history, "{name}");
        assert_eq!(value(&store, "a").await, Some("1".into()));
    }
}

#[tokio::test]
async fn a_lost_write_ahead_log_starts_a_new_history() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let store = open(&dir);
    apply(&store, put("a", "1")).await;
    let before = head(&store).await;
    store.close().await;
    // The state that a killed daemon leaves, but without its write-ahead log.
    let store = open(&dir);
    apply(&store, put("lost", "1")).await;
    let left = root.path().join("left");
    copy(&dir, &left, |name| name == "metadata.mark" || name == "metadata.sqlite");
    store.close().await;
    copy(&left, &dir, |_| true);
    let store = open(&dir);
    assert_ne!(head(&store).await.history, before.history);
    assert_eq!(value(&store, "lost").await, None);
}
