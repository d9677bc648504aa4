//! Fields of the `ProfileService` that break their rules, each named with its limit.

use super::{LEAF, Message, Scene, Status, api, directory, end, file, kept, kept_bytes, noise, records, run, upload_id};

/// A file of 10,000 bytes, which is 3 leaves.
fn three_leaves() -> (api::Entry, Vec<u8>) {
    let body = noise(6, 10_000);
    (file("new", &body), body)
}

fn copy(first_leaf: u32, leaf_count: u32, path: &str, copy_first_leaf: u32) -> api::LeafRun {
    api::LeafRun { copy_path: path.to_owned(), copy_first_leaf, ..run(0, first_leaf, leaf_count) }
}

impl Scene {
    async fn begin_refused(&self, begin: api::SaveBegin, reason: &str, field: &str, words: &[&str]) {
        self.refused(self.save(vec![Message::Begin(begin), end(&kept())]), reason, field, words).await;
    }

    async fn entry_refused(&self, entry: api::Entry, reason: &str, field: &str, words: &[&str]) {
        self.records_refused(records(vec![entry], Vec::new(), b""), reason, field, words).await;
    }

    async fn list(&self, request: api::ListSnapshotsRequest) -> Result<api::ListSnapshotsResponse, Status> {
        let request = api::ListSnapshotsRequest { session_id: self.session.clone(), ..request };
        self.profiles().list_snapshots(request).await.map(tonic::Response::into_inner)
    }

    async fn snapshot(&self, request: api::GetSnapshotRequest) -> Result<api::GetSnapshotResponse, Status> {
        let request = api::GetSnapshotRequest { session_id: self.session.clone(), with_entries: true, ..request };
        self.profiles().get_snapshot(request).await.map(tonic::Response::into_inner)
    }

    async fn load(&self, request: api::LoadProfileRequest) -> Result<(), Status> {
        let request = api::LoadProfileRequest { session_id: self.session.clone(), ..request };
        self.profiles().load_profile(request).await.map(drop)
    }
}

#[tokio::test]
async fn upload_ids_keep_to_their_rule() {
    let scene = Scene::new().await;
    let (short, long) = ("u".repeat(15), "u".repeat(65));
    for (id, words) in
        [(short.as_str(), ["15 bytes", "16 to 64"]), (&long, ["65 bytes", "16 to 64"]), ("an upload with a space", ["position 2", "`A-Z a-z 0-9 -`"])]
    {
        scene.begin_refused(api::SaveBegin { upload_id: id.to_owned(), ..scene.begin() }, "INVALID_FIELD", "begin.upload_id", &words).await;
        let asked = api::GetSaveStatusRequest { session_id: scene.session.clone(), upload_id: id.to_owned(), ..Default::default() };
        scene.refused(async { scene.profiles().get_save_status(asked).await }, "INVALID_FIELD", "upload_id", &words).await;
    }
}

#[tokio::test]
async fn conditions_of_a_save_keep_to_their_rules() {
    let scene = Scene::new().await;
    let begin = || scene.begin();
    scene.begin_refused(api::SaveBegin { etag: "e".repeat(65), ..begin() }, "INVALID_FIELD", "begin.etag", &["65 bytes", "at most 64"]).await;
    scene.begin_refused(api::SaveBegin { etag: "another".to_owned(), ..begin() }, "ETAG_MISMATCH", "", &[]).await;
    for lease_token in [-1, 1 << 53] {
        let begin = api::SaveBegin { lease_token, ..begin() };
        scene.begin_refused(begin, "INVALID_FIELD", "begin.lease_token", &[&lease_token.to_string(), "2^53"]).await;
    }
    let portability = api::Portability { os: "o".repeat(65), ..api::Portability::default() };
    scene
        .begin_refused(api::SaveBegin { portability: Some(portability), ..begin() }, "INVALID_FIELD", "begin.portability.os", &["65 bytes", "at most 64"])
        .await;
    scene.begin_refused(api::SaveBegin { session_id: "a/b".to_owned(), ..begin() }, "INVALID_FIELD", "begin.session_id", &["position 1"]).await;
}

#[tokio::test]
async fn snapshots_are_named_by_32_digits_of_this_session() {
    let scene = Scene::new().await;
    let bad = ["g".repeat(32), scene.head.to_uppercase() + "A", "a".repeat(31), "A".repeat(32)];
    for id in bad {
        let words = [&*format!("{} bytes", id.len()), "32 lower-case hexadecimal digits"];
        let refused = async |call: Result<(), Status>, field: &str| scene.refused(async { call }, "INVALID_FIELD", field, &words).await;
        let get = api::GetSnapshotRequest { snapshot_id: id.clone(), ..Default::default() };
        refused(scene.snapshot(get).await.map(drop), "snapshot_id").await;
        refused(scene.load(api::LoadProfileRequest { snapshot_id: id.clone(), ..Default::default() }).await, "snapshot_id").await;
        refused(scene.load(api::LoadProfileRequest { have_snapshot_id: id.clone(), ..Default::default() }).await, "have_snapshot_id").await;
        scene.begin_refused(api::SaveBegin { parent_snapshot_id: id, ..scene.begin() }, "INVALID_FIELD", "begin.parent_snapshot_id", &words).await;
    }
    let unknown = "ab".repeat(16);
    let get = api::GetSnapshotRequest { snapshot_id: unknown.clone(), ..Default::default() };
    scene.refused(scene.snapshot(get), "SNAPSHOT_NOT_FOUND", "", &[&unknown, &scene.session]).await;
    let load = api::LoadProfileRequest { snapshot_id: unknown.clone(), ..Default::default() };
    scene.refused(scene.load(load), "SNAPSHOT_NOT_FOUND", "", &[&unknown, &scene.session]).await;
    let begin = api::SaveBegin { parent_snapshot_id: unknown.clone(), ..scene.begin() };
    scene.begin_refused(begin, "SNAPSHOT_NOT_FOUND", "begin.parent_snapshot_id", &[&unknown]).await;
    let begin = api::SaveBegin { parent_snapshot_id: String::new(), ..scene.begin() };
    scene.begin_refused(begin, "PARENT_NOT_HEAD", "", &["comes from nothing", &scene.head]).await;
}

#[tokio::test]
async fn pages_are_within_their_limits() {
    let scene = Scene::new().await;
    for (page_size, most) in [(-1, "1 to 2000"), (2001, "1 to 2000")] {
        let request = api::GetSnapshotRequest { page_size, ..Default::default() };
        scene.refused(scene.snapshot(request), "INVALID_FIELD", "page_size", &[&page_size.to_string(), most]).await;
    }
    for page_size in [-1, 501] {
        let request = api::ListSnapshotsRequest { page_size, ..Default::default() };
        scene.refused(scene.list(request), "INVALID_FIELD", "page_size", &[&page_size.to_string(), "1 to 500"]).await;
    }
    assert_eq!(scene.snapshot(api::GetSnapshotRequest { page_size: 2000, ..Default::default() }).await.unwrap().entries.len(), 2);
    assert_eq!(scene.list(api::ListSnapshotsRequest { page_size: 500, ..Default::default() }).await.unwrap().snapshots.len(), 1);
}

/// Copies of a token with one character changed at the beginning, in the middle and near the end, and what never was one.
fn damaged(token: &str) -> Vec<String> {
    let changed = |at: usize| {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    vec![changed(0), changed(token.len() / 2), changed(token.len() - 3), token[..token.len() - 1].to_owned(), "no token".to_owned(), "A".repeat(5000)]
}

#[tokio::test]
async fn damaged_page_tokens_are_refused() {
    let mut scene = Scene::new().await;
    let body = noise(7, 10);
    let added = file("second", &body);
    let messages =
        vec![Message::Begin(scene.begin()), Message::Records(records(vec![added.clone()], vec![run(0, 0, 1)], &body)), end(&[kept(), vec![added]].concat())];
    scene.head = scene.save(messages).await.unwrap().snapshot.unwrap().id;

    let of_entries = scene.snapshot(api::GetSnapshotRequest { page_size: 1, ..Default::default() }).await.unwrap().next_page_token;
    let of_snapshots = scene.list(api::ListSnapshotsRequest { page_size: 1, ..Default::default() }).await.unwrap().next_page_token;
    for token in damaged(&of_entries).into_iter().chain([of_snapshots.clone()]) {
        let request = api::GetSnapshotRequest { page_token: token, ..Default::default() };
        scene.refused(scene.snapshot(request), "INVALID_PAGE_TOKEN", "page_token", &["next_page_token"]).await;
    }
    for token in damaged(&of_snapshots).into_iter().chain([of_entries.clone()]) {
        let request = api::ListSnapshotsRequest { page_token: token, ..Default::default() };
        scene.refused(scene.list(request), "INVALID_PAGE_TOKEN", "page_token", &["next_page_token"]).await;
    }
    let rest = scene.snapshot(api::GetSnapshotRequest { page_token: of_entries, ..Default::default() }).await.unwrap();
    let older = scene.list(api::ListSnapshotsRequest { page_token: of_snapshots, ..Default::default() }).await.unwrap();
    assert_eq!((rest.entries.len(), older.snapshots.len()), (2, 1), "the tokens themselves go on");
}

#[tokio::test]
async fn entries_are_described_within_their_limits() {
    let scene = Scene::new().await;
    let of = || file("new", b"");
    let refused = async |entry: api::Entry, reason: &str, field: &str, words: &[&str]| {
        scene.entry_refused(entry, reason, &format!("records.entries.{field}"), words).await;
    };
    for kind in [0, 4, -1] {
        refused(api::Entry { kind, ..of() }, "DATA_INVALID", "kind", &["\"new\"", &kind.to_string()]).await;
    }
    refused(api::Entry { mode: 0o10_000, ..of() }, "DATA_INVALID", "mode", &["\"new\"", "0o10000", "0o7777"]).await;
    refused(api::Entry { size: -1, ..of() }, "DATA_INVALID", "size", &["\"new\"", "size -1"]).await;
    refused(api::Entry { size: (8 << 30) + 1, ..of() }, "LIMIT_EXCEEDED", "size", &["8589934593", "the limit is 8589934592"]).await;
    refused(api::Entry { size: -1, ..directory("new") }, "DATA_INVALID", "size", &["size -1", "needs 0"]).await;
    refused(api::Entry { root: vec![0; 31].into(), ..of() }, "DATA_INVALID", "root", &["31 bytes", "needs 32"]).await;
    refused(api::Entry { symlink_target: "d".to_owned(), ..of() }, "DATA_INVALID", "symlink_target", &["no link"]).await;
    let codec = api::ProfileRecords { codec: 9, ..records(vec![of()], Vec::new(), b"") };
    scene.records_refused(codec, "DATA_INVALID", "records.codec", &["codec is 9", "1 (raw), 2 (deflate) or 3 (zstd)"]).await;
}

#[tokio::test]
async fn a_time_before_1970_and_every_permission_bit_are_fine() {
    let scene = Scene::new().await;
    let old = api::Entry { mtime_ns: -1, mode: 0o7777, ..file("old", b"") };
    let messages =
        vec![Message::Begin(scene.begin()), Message::Records(records(vec![old.clone()], Vec::new(), b"")), end(&[kept(), vec![old.clone()]].concat())];
    scene.save(messages).await.unwrap();
    let entries = scene.snapshot(api::GetSnapshotRequest::default()).await.unwrap().entries;
    assert_eq!(entries.into_iter().find(|entry| entry.path == "old"), Some(old));
}

#[tokio::test]
async fn runs_are_of_named_entries_and_cover_each_leaf_once() {
    let scene = Scene::new().await;
    let (entry, body) = three_leaves();
    let refused = async |runs: Vec<api::LeafRun>, size: usize, field: &str, words: &[&str]| {
        scene.records_refused(records(vec![entry.clone()], runs, &body[..size]), "DATA_INVALID", field, words).await;
    };
    refused(vec![run(1, 0, 1)], LEAF, "records.runs.entry", &["entry 1", "only 1"]).await;
    refused(vec![run(u32::MAX, 0, 1)], LEAF, "records.runs.entry", &["4294967295"]).await;
    refused(vec![run(0, 3, 1)], LEAF, "records.runs", &["1 leaves from leaf 3", "has 3 leaves"]).await;
    refused(vec![run(0, 2, 2)], LEAF, "records.runs", &["2 leaves from leaf 2", "has 3 leaves"]).await;
    refused(vec![run(0, u32::MAX, 2)], LEAF, "records.runs", &["from leaf 4294967295"]).await;
    refused(vec![run(0, 0, 0)], 0, "records.runs", &["covers 0 leaves"]).await;
    refused(vec![run(0, 0, 2), run(0, 1, 1)], 10_000, "records.runs", &["leaf 1", "covered twice"]).await;
    refused(vec![run(0, 0, 1), copy(0, 1, "d/f", 0)], LEAF, "records.runs", &["leaf 0", "covered twice"]).await;
    refused(vec![run(0, 0, 1)], 0, "records.data_size", &["4096", "data_size is 0"]).await;
    // What is covered by nothing is missing at the end.
    refused(vec![run(0, 0, 1), run(0, 2, 1)], LEAF + 10_000 - 2 * LEAF, "records.runs", &["leaves 1 to 1", "were not sent"]).await;
    refused(Vec::new(), 0, "records.runs", &["leaves 0 to 2", "were not sent"]).await;
}

#[tokio::test]
async fn copies_are_of_leaves_that_the_parent_has() {
    let scene = Scene::new().await;
    let entry = || vec![file("new", &kept_bytes())];
    for path in ["nowhere", "d", "new", "../d/f", "D/F"] {
        let records = records(entry(), vec![copy(0, 3, path, 0)], b"");
        scene.records_refused(records, "DATA_INVALID", "records.runs.copy_path", &["no file of the parent", &format!("{path:?}")]).await;
    }
    for (first, count, from) in [(0, 1, 3), (0, 1, 2), (0, 3, 1), (2, 1, 0), (0, 1, u32::MAX)] {
        let records = records(entry(), vec![copy(first, count, "d/f", from)], b"");
        scene.records_refused(records, "DATA_INVALID", "records.runs.copy_first_leaf", &["3 leaves", "\"d/f\""]).await;
    }
    let begin = api::SaveBegin { full: true, upload_id: upload_id(), ..scene.begin() };
    let messages = vec![Message::Begin(begin), Message::Records(records(entry(), vec![copy(0, 3, "d/f", 0)], b"")), end(&entry())];
    scene.refused(scene.save(messages), "DATA_INVALID", "records.runs.copy_path", &["\"d/f\""]).await;
}

#[tokio::test]
async fn removed_paths_are_those_of_the_parent() {
    let scene = Scene::new().await;
    let removed = |paths: &[&str]| api::ProfileRecords { removed: paths.iter().map(ToString::to_string).collect(), ..Default::default() };
    for path in ["nowhere", "", "../d", "d/", "/d"] {
        scene.records_refused(removed(&[path]), "DATA_INVALID", "records.removed", &[&format!("{path:?}"), "does not have"]).await;
    }
    scene.records_refused(removed(&["d/f", "d/f"]), "PATH_INVALID", "removed", &["\"d/f\"", "twice"]).await;
    // Its content would stay without a directory.
    scene.records_refused(removed(&["d"]), "PATH_INVALID", "path", &["\"d/f\"", "\"d\""]).await;
}

#[tokio::test]
async fn paths_are_within_their_limits() {
    let scene = Scene::new().await;
    let long = vec!["p".repeat(204); 5].join("/") + "p";
    assert_eq!(long.len(), 1025);
    let cases = [
        (long, ["1025 bytes", "1 to 1024"]),
        (vec!["c"; 65].join("/"), ["65 components", "64"]),
        ("c".repeat(256), ["256 bytes", "255"]),
        (String::new(), ["0 bytes", "1 to 1024"]),
        ("d//g".to_owned(), ["\"d//g\"", "empty component"]),
        ("d/./g".to_owned(), ["\"d/./g\"", "`.` or `..`"]),
    ];
    for (path, words) in cases {
        scene.entry_refused(file(&path, b""), "PATH_INVALID", "path", &words).await;
    }
}

#[tokio::test]
async fn entries_form_a_tree() {
    let scene = Scene::new().await;
    let refused = async |entries: Vec<api::Entry>, words: &[&str]| {
        scene.records_refused(records(entries, Vec::new(), b""), "PATH_INVALID", "path", words).await;
    };
    refused(vec![file("x", b""), file("x/y", b"")], &["\"x/y\"", "lies in \"x\"", "no directory"]).await;
    refused(vec![file("d", b"")], &["\"d/f\"", "lies in \"d\""]).await;
    refused(vec![file("nowhere/y", b"")], &["lies in \"nowhere\""]).await;
    refused(vec![file("x", b""), file("x", b"")], &["\"x\"", "named twice"]).await;
    refused(vec![file("x", b""), directory("x")], &["\"x\"", "named twice"]).await;
}
