//! What is full, damaged, foreign or closed says so; nothing of it looks like an absence.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use rusqlite::Connection;

use super::*;
use crate::model::error::{Error, Reason};

/// The directory for a child of [`refused_without_privilege`].
const CHILD: &str = "CLOAKROOM_TEST_READ_ONLY";

fn refused(dir: &Path) -> Error {
    let error = Embedded::open(dir, Limits::default()).unwrap_err();
    assert!(error.message().contains(dir.to_str().unwrap()), "{error:?} does not name {}", dir.display());
    assert!(error.help().is_some(), "{error:?}");
    error
}

/// A closed store with one record, and its database file.
async fn closed() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    apply(&store, put("a", "one")).await;
    store.close().await;
    let file = dir.path().join("metadata.sqlite");
    (dir, file)
}

#[tokio::test]
async fn a_full_disk_is_storage_full_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    apply(&store, put("a", "before")).await;
    let pages = store.commits.run(|sql| sql.one("PRAGMA page_count", [], |row| row.get::<_, i64>(0))).await.unwrap().unwrap().unwrap();
    assert!(pages < 60, "{pages}");
    store.commits.run(|sql| sql.one("PRAGMA max_page_count = 100", [], |_| Ok(()))).await.unwrap().unwrap();
    let large = || put("a", vec![1; 1 << 20]);
    let error = store.commit(&Namespace::default(), large().into()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageFull);
    assert!(error.message().contains(dir.path().to_str().unwrap()) && error.help().is_some(), "{error:?}");
    assert_eq!(value(&store, "a").await, Some("before".into()));
    assert_eq!(store.events(&Namespace::default(), Scope::Sessions, Revision::ZERO, 10).await.unwrap().entries.len(), 1);

    // In one batch with others, only the one that is too large fails.
    let ns = Namespace::default();
    let mut commits: Vec<Commit> = (0..20).map(|n| put(&format!("small{n}"), "1").into()).collect();
    commits.insert(10, large().into());
    let results = futures::future::join_all(commits.into_iter().map(|commit| store.commit(&ns, commit))).await;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(Outcome::Applied(_)) => assert_ne!(n, 10),
            Err(error) => assert_eq!((n, error.reason()), (10, Reason::StorageFull)),
            Ok(other) => panic!("{other:?}"),
        }
    }
    store.commits.run(|sql| sql.one("PRAGMA max_page_count = 10000", [], |_| Ok(()))).await.unwrap().unwrap();
    apply(&store, large()).await;
    assert_eq!(value(&store, "a").await.map(|value| value.len()), Some(1 << 20));
}

/// Opens `dir` in a child that file modes do stop, which runs the test `name` once more. The tests may run as root, whom no mode stops; then the child gives that privilege up.
fn refused_without_privilege(name: &str, dir: &Path) {
    let probe = tempfile::tempdir().unwrap();
    fs::set_permissions(probe.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let privileged = fs::write(probe.path().join("probe"), "").is_ok();
    let this = std::env::current_exe().unwrap();
    let mut child = if privileged {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all", "--"]).arg(this);
        setpriv
    } else {
        Command::new(this)
    };
    let output = child.args(["--exact", &format!("store::embedded::tests::damage::{name}")]).env(CHILD, dir).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[test]
fn a_read_only_directory_is_refused() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let error = refused(Path::new(&dir));
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        assert!(error.message().starts_with("cannot write to the data directory") && error.help().unwrap().contains("writable"), "{error:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    refused_without_privilege("a_read_only_directory_is_refused", dir.path());
}

#[tokio::test]
async fn a_read_only_database_is_refused() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let error = refused(Path::new(&dir));
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        assert!(error.message().ends_with("is read-only") && error.help().unwrap().contains("write"), "{error:?}");
        return;
    }
    let (dir, file) = closed().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    refused_without_privilege("a_read_only_database_is_refused", dir.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(value(&open(dir.path()), "a").await, Some("one".into()));
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("metadata.sqlite")).unwrap();
    assert_eq!(refused(dir.path()).reason(), Reason::MetadataUnavailable);
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(refused(&file).reason(), Reason::MetadataUnavailable);
    assert_eq!(refused(&file.join("below")).reason(), Reason::MetadataUnavailable);
}

#[tokio::test]
async fn a_damaged_header_is_data_corrupt() {
    let (dir, file) = closed().await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[..100].fill(b'x');
    fs::write(&file, bytes).unwrap();
    let error = refused(dir.path());
    assert_eq!(error.reason(), Reason::DataCorrupt);
    assert!(error.help().unwrap().contains("backup"), "{error:?}");
}

#[tokio::test]
async fn a_damaged_page_is_data_corrupt_and_never_an_absence() {
    let (dir, file) = closed().await;
    let root: i64 = Connection::open(&file).unwrap().query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'record'", [], |row| row.get(0)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let start = usize::try_from(root - 1).unwrap() * 4096;
    bytes[start..start + 4096].fill(0x5A);
    fs::write(&file, bytes).unwrap();
    let store = open(dir.path());
    let error = store.get(&Namespace::default(), &[key("a")]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DataCorrupt, "{error:?}");
    let error = store.commit(&Namespace::default(), put("a", "two").into()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DataCorrupt, "{error:?}");
}

#[tokio::test]
async fn damaged_marks_are_data_corrupt() {
    let (dir, file) = closed().await;
    Connection::open(&file).unwrap().execute("UPDATE record SET marks = '{\"at\": \"soon\"}'", []).unwrap();
    let store = open(dir.path());
    let error = store.get(&Namespace::default(), &[key("a")]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DataCorrupt, "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (dir, file) = closed().await;
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(dir.path());
    assert_eq!(error.reason(), Reason::MetadataUnavailable);
    assert!(error.message().contains("its schema is 99"), "{error:?}");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 1).unwrap();
    assert_eq!(value(&open(dir.path()), "a").await, Some("one".into()));
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metadata.sqlite");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    let before = fs::read(&file).unwrap();
    assert_eq!(refused(dir.path()).reason(), Reason::DataCorrupt);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.close().await;
    store.close().await;
    let error = store.get(&Namespace::default(), &[key("a")]).await.unwrap_err();
    assert_eq!((error.reason(), error.retry_after().is_some()), (Reason::MetadataUnavailable, true));
    let error = store.commit(&Namespace::default(), put("a", "1").into()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::MetadataUnavailable);
}

#[tokio::test]
async fn an_operator_can_look_inside_while_the_daemon_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let applied = apply(&store, put("session", "{\"state\":\"ACTIVE\"}")).await;
    let shell = Connection::open(dir.path().join("metadata.sqlite")).unwrap();
    let query = "SELECT n.name, r.key, CAST(r.value AS TEXT), r.marks ->> 'at' FROM record r JOIN namespace n ON n.id = r.namespace";
    let row: (String, String, String, i64) = shell.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    assert_eq!(row, ("default".to_owned(), "session".to_owned(), "{\"state\":\"ACTIVE\"}".to_owned(), applied.revision.0));
}
