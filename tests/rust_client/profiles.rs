//! Save and load.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    sync::{Arc, Mutex},
};

use cloakroom_client::{Client, Error, Kind, LoadOptions, OnProgress, Options, Policy, SaveOptions, v1};
use futures::TryStreamExt as _;

use super::{assert_same, contents, noise, set_mode, set_mtime, stage, write};

const MIB: usize = 1 << 20;

fn replacing() -> SaveOptions {
    SaveOptions { replace: true, ..SaveOptions::default() }
}

fn local(error: &Error, reason: &str) {
    assert_eq!((error.kind(), error.reason()), (Kind::Local, reason), "{error}");
}

#[tokio::test]
async fn storage_state_with_profile() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    let value = "v".repeat(4 * MIB);
    let state = format!(r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","localStorage":[{{"name":"k","value":"{value}"}}]}}]}}"#);
    let options = SaveOptions { storage_state: Some(state.clone().into()), ..SaveOptions::default() };
    let saved = stage.client.save(&stage.session, &directory, options).await.unwrap();
    assert!(saved.snapshot.has_storage_state);
    let loaded = stage.client.load(&stage.session, stage.path("q"), LoadOptions::default()).await.unwrap();
    assert!(loaded.storage_state.unwrap() == state, "byte for byte");
    let without = stage.client.load(&stage.session, stage.path("r"), LoadOptions { with_storage_state: false, ..LoadOptions::default() }).await.unwrap();
    assert_eq!(without.storage_state, None);
    stage.refused("STORAGE_STATE_TOO_LARGE", stage.client.sessions().storage_state().get(&stage.session)).await;
}

#[tokio::test]
async fn storage_state_left_out_warns() {
    let stage = stage().await;
    let directory = stage.directory("p");
    let state = || SaveOptions { storage_state: Some(r#"{"cookies":[],"origins":[]}"#.into()), ..SaveOptions::default() };
    let carried = |name: &str| serde_json::from_slice::<serde_json::Value>(&fs::read(stage.path(name)).unwrap()).unwrap()["storage_state"].clone();
    for number in 0..2_u8 {
        write(&directory, "f", &[number]);
        assert_eq!(stage.client.save(&stage.session, &directory, state()).await.unwrap().warnings, Vec::<String>::new());
        assert_eq!(carried("p.cloakroom.json"), true);
    }
    stage.load(&stage.path("q")).await;
    assert_eq!(carried("q.cloakroom.json"), true);
    for warned in [true, false] {
        write(&directory, "f", format!("{warned}").as_bytes());
        let saved = stage.save(&directory).await;
        assert!(!saved.snapshot.has_storage_state);
        assert_eq!(saved.warnings.iter().filter(|warning| warning.contains("carried a storage state")).count(), usize::from(warned), "{:?}", saved.warnings);
        assert_eq!(carried("p.cloakroom.json"), serde_json::Value::Null);
    }
    // Also what was loaded with one, and becomes the head on purpose.
    let saved = stage.client.save(&stage.session, stage.path("q"), replacing()).await.unwrap();
    assert!(saved.warnings[0].contains("storage_state"), "{:?}", saved.warnings);
    assert_eq!(stage.save(&stage.path("q")).await.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn save_load_roundtrip() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for size in [0, 1, 4095, 4096, 4097, MIB + 1] {
        write(&directory, &format!("Default/{size}"), &noise(7, size));
    }
    let saved = stage.save(&directory).await;
    let loaded = stage.client.load(&stage.session, stage.path("q"), LoadOptions::default()).await.unwrap();
    assert_same(&directory, &stage.path("q"));
    assert_eq!((loaded.snapshot.id, loaded.snapshot.manifest_root), (saved.snapshot.id, saved.snapshot.manifest_root));
    assert_eq!(saved.snapshot.total_bytes, i64::try_from(1 + 4095 + 4096 + 4097 + MIB + 1).unwrap());
    // Both sides have computed the root themselves: the sidecars hold what the client found.
    let root = |name: &str| serde_json::from_slice::<serde_json::Value>(&fs::read(stage.path(name)).unwrap()).unwrap()["manifest_root"].clone();
    assert_eq!(root("p.cloakroom.json"), root("q.cloakroom.json"));
}

#[tokio::test]
async fn empty_dirs_links_modes() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for path in ["empty", "deep/er/empty"] {
        fs::create_dir_all(directory.join(path)).unwrap();
    }
    for (path, mode) in [("0400", 0o400), ("0600", 0o600), ("0755", 0o755), ("deep/gr\u{fc}n \u{1f36a}", 0o600)] {
        write(&directory, path, path.as_bytes());
        set_mode(&directory.join(path), mode);
    }
    symlink("0600", directory.join("link")).unwrap();
    symlink("../gone", directory.join("deep/dangling")).unwrap();
    set_mtime(&directory.join("0600"), 1_763_600_000_123_456_789);
    set_mtime(&directory.join("0755"), -1_000_000_001);
    set_mtime(&directory.join("empty"), 1);
    set_mode(&directory.join("empty"), 0o500);
    stage.save(&directory).await;
    stage.load(&stage.path("q")).await;
    assert_same(&directory, &stage.path("q"));
}

#[tokio::test]
async fn load_empty_session() {
    let stage = stage().await;
    let error = stage.refused("PROFILE_EMPTY", stage.client.load(&stage.session, stage.path("p"), LoadOptions::default())).await;
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(fs::read_dir(stage.home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn load_target_exists() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"new");
    stage.save(&directory).await;
    let target = stage.directory("q");
    write(&target, "old", b"old");
    let error = stage.client.load(&stage.session, &target, LoadOptions::default()).await.unwrap_err();
    local(&error, "TARGET_EXISTS");
    assert!(error.to_string().contains("replace"), "{error}");
    assert_eq!(contents(&target).keys().collect::<Vec<_>>(), ["old"]);
    stage.client.load(&stage.session, &target, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
    assert_same(&directory, &target);
}

#[tokio::test]
async fn load_never_replaces_unasked() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(2, 3 * MIB));
    stage.save(&directory).await;
    stage.load(&stage.path("had")).await;
    write(&directory, "f", &noise(1, 3 * MIB));
    stage.save(&directory).await;
    // As a whole, as a difference beside what is had, and with what is had used up.
    for (name, have, consume) in [("whole", false, false), ("beside", true, false), ("used", true, true)] {
        let (target, before) = (stage.path(name), contents(&stage.path("had")));
        let at = target.clone();
        let progress = OnProgress::new(move |_, _| write(&at, "made meanwhile", b"precious"));
        let have = have.then(|| stage.path("had"));
        let options = LoadOptions { have, consume, progress: Some(progress), ..LoadOptions::default() };
        let error = stage.client.load(&stage.session, &target, options).await.unwrap_err();
        local(&error, "TARGET_EXISTS");
        assert!(error.to_string().contains(target.to_str().unwrap()) && error.to_string().contains("replace"), "{error}");
        assert_eq!(contents(&target).keys().collect::<Vec<_>>(), ["made meanwhile"]);
        assert_eq!(contents(&stage.path("had")), before, "{name}");
        assert!(stage.path("had.cloakroom.json").exists() && !stage.path(&format!("{name}.cloakroom.json")).exists());
    }
    // A file and a link in its place stay as well.
    for name in ["file", "link"] {
        let at = stage.path(name);
        let progress = OnProgress::new(move |_, _| if at.ends_with("file") { fs::write(&at, "x").unwrap() } else { drop(symlink("nowhere", &at)) });
        let options = LoadOptions { progress: Some(progress), ..LoadOptions::default() };
        local(&stage.client.load(&stage.session, stage.path(name), options).await.unwrap_err(), "TARGET_EXISTS");
        assert!(!stage.path(name).is_dir() && stage.path(name).symlink_metadata().is_ok());
    }
}

#[tokio::test]
async fn capture_rules_apply() {
    let stage = stage().await;
    let directory = stage.directory("p");
    let kept = ["Default/Cookies", "Default/IndexedDB/x/000003.log", "Default/Login Data", "Local State"];
    let left = ["Default/Cache/Cache_Data/data_0", "Default/GPUCache/index", "DevToolsActivePort", "Default/Local Storage/leveldb/LOCK", "own/secret.txt"];
    for path in kept.iter().chain(&left) {
        write(&directory, path, path.as_bytes());
    }
    symlink("elsewhere-1", directory.join("SingletonLock")).unwrap();
    let options = SaveOptions { exclude: vec!["secret.*".to_owned()], ..SaveOptions::default() };
    let saved = stage.client.save(&stage.session, &directory, options).await.unwrap();
    assert_eq!(saved.snapshot.portability.unwrap().capture_policy, "default");
    stage.load(&stage.path("q")).await;
    let files: Vec<_> = contents(&stage.path("q")).into_iter().filter(|(_, facts)| facts.0 & 0o170_000 == 0o100_000).map(|(path, _)| path).collect();
    assert_eq!(files, kept);
    let options = SaveOptions { policy: Policy::Full, ..SaveOptions::default() };
    let saved = stage.client.save(&stage.session, &directory, options).await.unwrap();
    assert_eq!(saved.snapshot.portability.unwrap().capture_policy, "full");
    let (_, entries) = stage.client.snapshot_with_entries(&stage.session, "").await.unwrap();
    let has = |path: &str| entries.iter().any(|entry| entry.path == path);
    assert!(has(left[0]) && has(left[4]) && !has(left[2]) && !has(left[3]) && !has("SingletonLock"));
}

#[tokio::test]
async fn live_browser_refused() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = std::process::id();
    symlink(format!("{}-{own}", host.trim()), directory.join("SingletonLock")).unwrap();
    let error = stage.client.save(&stage.session, &directory, SaveOptions::default()).await.unwrap_err();
    local(&error, "PROFILE_BUSY");
    assert!(error.to_string().contains(&own.to_string()), "{error}");
    assert_eq!(stage.get().await.head_snapshot_id, "");
    let error = stage.client.load(&stage.session, &directory, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap_err();
    local(&error, "PROFILE_BUSY");
    let forced = stage.client.save(&stage.session, &directory, SaveOptions { force: true, ..SaveOptions::default() }).await.unwrap();
    assert!(!forced.snapshot.portability.unwrap().quiesced);
    fs::remove_file(directory.join("SingletonLock")).unwrap();
    assert!(stage.save(&directory).await.snapshot.portability.unwrap().quiesced);
}

#[tokio::test]
async fn first_save_without_sidecar() {
    let stage = stage().await;
    let (first, second) = (stage.directory("p"), stage.directory("q"));
    write(&first, "only in the first", b"x");
    write(&second, "f", b"y");
    let head = stage.save(&first).await.snapshot;
    assert_eq!((head.parent_snapshot_id.as_str(), head.head), ("", true));
    let error = stage.refused("PARENT_NOT_HEAD", stage.client.save(&stage.session, &second, SaveOptions::default())).await;
    assert_eq!((error.kind(), error.as_call().unwrap().metadata.get("head_snapshot_id")), (Kind::Conflict, Some(&head.id)));
    assert!(error.to_string().contains(&head.id) && error.to_string().contains("replace"), "{error}");
    let saved = stage.client.save(&stage.session, &second, replacing()).await.unwrap();
    assert_eq!((saved.snapshot.parent_snapshot_id, saved.snapshot.head), (head.id, true));
    stage.load(&stage.path("r")).await;
    assert_same(&second, &stage.path("r"));
    // From here on it goes on from that.
    write(&second, "f", b"z");
    assert_eq!(stage.save(&second).await.snapshot.parent_snapshot_id, saved.snapshot.id);
}

#[tokio::test]
async fn save_into_another_session() {
    let (one, other) = (stage().await, stage().await);
    let directory = one.directory("p");
    write(&directory, "f", b"of the one");
    one.save(&directory).await;
    one.load(&one.path("q")).await;
    let head = {
        let directory = other.directory("p");
        write(&directory, "g", b"of the other");
        other.save(&directory).await.snapshot.id
    };
    let error = other.refused("OTHER_SESSION", other.client.save(&other.session, one.path("q"), SaveOptions::default())).await;
    local(&error, "OTHER_SESSION");
    let told = error.to_string();
    assert!(told.contains(&one.session) && told.contains(&other.session) && told.contains("q.cloakroom.json") && told.contains("replace"), "{told}");
    // Nothing is sent: where no daemon listens it is the same.
    let nowhere = Client::connect("127.0.0.1:1", Options::default()).unwrap();
    local(&nowhere.save(&other.session, one.path("q"), SaveOptions::default()).await.unwrap_err(), "OTHER_SESSION");
    let elsewhere = Client::connect(&one.daemon.address(), Options { namespace: "another".to_owned(), ..Options::default() }).unwrap();
    let error = elsewhere.save(&one.session, one.path("q"), SaveOptions::default()).await.unwrap_err();
    assert!(error.reason() == "OTHER_SESSION" && error.to_string().contains("namespace another"), "{error}");
    let saved = other.client.save(&other.session, one.path("q"), replacing()).await.unwrap();
    assert_eq!((saved.snapshot.parent_snapshot_id, saved.sent.content), (head, 10));
    other.load(&other.path("q")).await;
    assert_same(&directory, &other.path("q"));
}

#[tokio::test]
async fn save_nothing_refused() {
    let stage = stage().await;
    let (empty, caches) = (stage.directory("empty"), stage.directory("caches"));
    for path in ["GrShaderCache/data_0", "ShaderCache/index", "Crashpad/settings.dat"] {
        write(&caches, path, b"x");
    }
    for directory in [&empty, &caches] {
        let error = stage.refused("NOTHING_TO_SAVE", stage.client.save(&stage.session, directory, SaveOptions::default())).await;
        local(&error, "NOTHING_TO_SAVE");
        let told = error.to_string();
        assert!(told.contains(directory.to_str().unwrap()) && told.contains("capture policy default") && told.contains("force"), "{told}");
        let forced = stage.client.save(&stage.session, directory, SaveOptions { force: true, replace: true, ..SaveOptions::default() }).await.unwrap();
        assert_eq!((forced.snapshot.entry_count, forced.snapshot.head), (0, true));
    }
    // A profile that was emptied is refused like one that never was.
    write(&empty, "f", b"x");
    stage.client.save(&stage.session, &empty, replacing()).await.unwrap();
    fs::remove_file(empty.join("f")).unwrap();
    stage.refused("NOTHING_TO_SAVE", stage.client.save(&stage.session, &empty, SaveOptions::default())).await;
    assert!(stage.client.save(&stage.session, &caches, SaveOptions { policy: Policy::Full, replace: true, ..SaveOptions::default() }).await.is_ok());
}

#[tokio::test]
async fn replace_after_lost_race() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(3, 100_000));
    stage.save(&directory).await;
    for name in ["a", "b"] {
        stage.load(&stage.path(name)).await;
        write(&stage.path(name), name, name.as_bytes());
    }
    let (first, second) = (stage.path("a"), stage.path("b"));
    let winner = stage.save(&first).await.snapshot.id;
    stage.refused("PARENT_NOT_HEAD", stage.client.save(&stage.session, &second, SaveOptions::default())).await;
    let saved = stage.client.save(&stage.session, &second, replacing()).await.unwrap();
    assert_eq!((saved.snapshot.parent_snapshot_id, saved.sent.content), (winner.clone(), 100_001));
    let listed: Vec<_> = stage.client.snapshots(&stage.session).try_collect().await.unwrap();
    assert_eq!(listed.iter().take(2).map(|snapshot| (&snapshot.id, snapshot.head)).collect::<Vec<_>>(), [(&saved.snapshot.id, true), (&winner, false)]);
    stage.load(&stage.path("c")).await;
    assert_same(&second, &stage.path("c"));
    // What is the head's own is still only a difference.
    write(&second, "b", b"bb");
    let saved = stage.client.save(&stage.session, &second, replacing()).await.unwrap();
    assert_eq!((saved.sent.content, saved.snapshot.parent_snapshot_id), (2, listed[0].id.clone()));
}

#[tokio::test]
async fn delta_save_bytes() {
    let stage = stage().await;
    let directory = stage.directory("p");
    let mut body = noise(1, 8 * MIB);
    write(&directory, "big", &body);
    stage.save(&directory).await;
    body[5 * MIB] ^= 1;
    write(&directory, "big", &body);
    let saved = stage.save(&directory).await;
    assert!(saved.sent.bytes < 64 << 10 && saved.sent.content == 4096, "{:?}", saved.sent);
    stage.load(&stage.path("q")).await;
    assert_same(&directory, &stage.path("q"));
}

#[tokio::test]
async fn idle_save_no_content() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "Default/f", &noise(2, MIB));
    let first = stage.save(&directory).await;
    let idle = stage.save(&directory).await;
    assert_eq!((idle.sent.messages, idle.sent.entries, idle.sent.runs, idle.sent.content), (2, 0, 0, 0), "{:?}", idle.sent);
    assert_eq!(idle.snapshot.manifest_root, first.snapshot.manifest_root);
}

#[tokio::test]
async fn moved_file_copies() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "old", &noise(3, MIB));
    stage.save(&directory).await;
    fs::rename(directory.join("old"), directory.join("new")).unwrap();
    let saved = stage.save(&directory).await;
    assert!(saved.sent.bytes < 16 << 10 && saved.sent.content == 0, "{:?}", saved.sent);
    stage.load(&stage.path("q")).await;
    assert_same(&directory, &stage.path("q"));
}

#[tokio::test]
async fn delta_load() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for (path, size) in [("kept", 2 * MIB), ("changed", MIB), ("removed", 5000), ("deep/moved", MIB)] {
        write(&directory, path, &noise(size as u64, size));
    }
    let first = stage.save(&directory).await.snapshot.id;
    for name in ["had", "consumed", "replaced"] {
        stage.load(&stage.path(name)).await;
    }
    let mut body = noise(MIB as u64, MIB);
    body[9000] ^= 1;
    write(&directory, "changed", &body);
    write(&directory, "new", b"new");
    fs::remove_file(directory.join("removed")).unwrap();
    fs::rename(directory.join("deep/moved"), directory.join("moved")).unwrap();
    stage.save(&directory).await;

    let kept = |name: &str| fs::metadata(stage.path(name).join("kept")).unwrap().ino();
    let before = contents(&stage.path("had"));
    let have = LoadOptions { have: Some(stage.path("had")), ..LoadOptions::default() };
    let loaded = stage.client.load(&stage.session, stage.path("q"), have).await.unwrap();
    assert_eq!((loaded.base_snapshot_id.as_str(), loaded.content_bytes), (first.as_str(), 4096 + 3));
    assert_same(&directory, &stage.path("q"));
    assert_eq!(contents(&stage.path("had")), before, "it is only read");
    assert_ne!(kept("q"), kept("had"), "browsers write into their files: nothing is shared");

    // Used up: the unchanged file is the very same.
    let inode = kept("consumed");
    let consume = LoadOptions { have: Some(stage.path("consumed")), consume: true, ..LoadOptions::default() };
    let loaded = stage.client.load(&stage.session, stage.path("r"), consume).await.unwrap();
    assert_eq!((loaded.base_snapshot_id.as_str(), loaded.content_bytes, kept("r")), (first.as_str(), 4096 + 3, inode));
    assert_same(&directory, &stage.path("r"));
    assert!(!stage.path("consumed").exists() && !stage.path("consumed.cloakroom.json").exists());

    // What is replaced is used up without being named.
    let inode = kept("replaced");
    let loaded = stage.client.load(&stage.session, stage.path("replaced"), LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
    assert_eq!((loaded.base_snapshot_id.as_str(), kept("replaced")), (first.as_str(), inode));
    assert_same(&directory, &stage.path("replaced"));

    // What was loaded so is a base for the next save and the next load.
    for name in ["q", "r", "replaced"] {
        let options = LoadOptions { replace: true, ..LoadOptions::default() };
        let again = stage.client.load(&stage.session, stage.path(name), options).await.unwrap();
        assert_eq!((again.base_snapshot_id.as_str(), again.content_bytes), (again.snapshot.id.as_str(), 0), "{name}");
        assert_same(&directory, &stage.path(name));
    }
    assert_eq!(stage.save(&stage.path("r")).await.sent.entries, 0);
}

#[tokio::test]
async fn delta_load_dirty_have() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(5, 9000));
    write(&directory, "g", b"g");
    stage.save(&directory).await;
    let extra = |name: &str| write(&stage.path(name), "Cache/of/the/browser", b"x");
    let edit = |name: &str| write(&stage.path(name), "f", &noise(6, 9000));
    let gone = |name: &str| fs::remove_file(stage.path(name).join("g")).unwrap();
    let dirt: [(&str, &dyn Fn(&str)); 3] = [("extra", &extra), ("edit", &edit), ("gone", &gone)];
    for (name, soil) in dirt {
        for consume in [false, true] {
            stage.load(&stage.path(name)).await;
            soil(name);
            let options = LoadOptions { have: Some(stage.path(name)), consume, ..LoadOptions::default() };
            let target = stage.path("q");
            stage.client.load(&stage.session, &target, options).await.unwrap();
            assert_same(&directory, &target);
            let left = stage.path(name).exists();
            assert_eq!(left, !consume || name != "extra", "{name}: what cannot be used stays as it is");
            for path in [target, stage.path(name)] {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

#[tokio::test]
async fn big_file() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "noise", &noise(9, 40 * MIB));
    write(&directory, "zeros", &vec![0; 40 * MIB]);
    let saved = stage.save(&directory).await;
    assert!(saved.sent.bytes < 41 * MIB as u64, "zeros shrink: {:?}", saved.sent);
    stage.load(&stage.path("q")).await;
    assert_same(&directory, &stage.path("q"));
    let packed = LoadOptions { accept_codecs: Some(vec![v1::Codec::Zstd, v1::Codec::Deflate]), ..LoadOptions::default() };
    stage.client.load(&stage.session, stage.path("r"), packed).await.unwrap();
    assert_same(&directory, &stage.path("r"));
}

#[tokio::test]
async fn many_small_files() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for number in 0..2000 {
        write(&directory, &format!("{}/{number}", number % 40), &noise(number, 100));
    }
    let saved = stage.save(&directory).await;
    assert!(saved.sent.messages < 20, "{:?}", saved.sent);
    stage.load(&stage.path("q")).await;
    assert_same(&directory, &stage.path("q"));
}

#[tokio::test]
async fn progress() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(4, 5 * MIB));
    let told: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let listener = || {
        let told = Arc::clone(&told);
        Some(OnProgress::new(move |done, total| told.lock().unwrap().push((done, total))))
    };
    let check = |at_least: usize| {
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert!(told.len() >= at_least && told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{told:?}");
        assert_eq!(told.last(), Some(&(5 * MIB as u64, 5 * MIB as u64)));
    };
    stage.client.save(&stage.session, &directory, SaveOptions { progress: listener(), ..SaveOptions::default() }).await.unwrap();
    check(3);
    stage.client.load(&stage.session, stage.path("q"), LoadOptions { progress: listener(), ..LoadOptions::default() }).await.unwrap();
    check(3);
}

#[tokio::test]
async fn parent_not_head() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"0");
    stage.save(&directory).await;
    for name in ["a", "b"] {
        stage.load(&stage.path(name)).await;
        write(&stage.path(name), "f", name.as_bytes());
    }
    let winner = stage.save(&stage.path("a")).await.snapshot.id;
    let error = stage.refused("PARENT_NOT_HEAD", stage.client.save(&stage.session, stage.path("b"), SaveOptions::default())).await;
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.as_call().unwrap().metadata.values().any(|value| *value == winner), "{error:?}");
    assert_eq!(stage.get().await.head_snapshot_id, winner);
}

#[tokio::test]
async fn upload_id_repeat() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(8, 10_000));
    let options = || SaveOptions { upload_id: Some("0123456789abcdef-repeat".to_owned()), ..SaveOptions::default() };
    let first = stage.client.save(&stage.session, &directory, options()).await.unwrap();
    assert_eq!(first.snapshot.upload_id, "0123456789abcdef-repeat");
    let again = stage.client.save(&stage.session, &directory, options()).await.unwrap();
    assert_eq!((&again.snapshot.id, again.snapshot.sequence), (&first.snapshot.id, first.snapshot.sequence));
    fs::remove_file(stage.path("p.cloakroom.json")).unwrap();
    let whole = stage.client.save(&stage.session, &directory, options()).await.unwrap();
    assert_eq!(whole.snapshot.id, first.snapshot.id);
    let status = stage.client.save_status(&stage.session, "0123456789abcdef-repeat").await.unwrap();
    assert_eq!(status.value.map(|snapshot| snapshot.id), Some(first.snapshot.id));
    assert_eq!(stage.client.save_status(&stage.session, "0123456789abcdef-unknown").await.unwrap().value, None);
}

#[tokio::test]
async fn symlink_out_refused() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    symlink("/etc/passwd", directory.join("way-out")).unwrap();
    let error = stage.client.save(&stage.session, &directory, SaveOptions::default()).await.unwrap_err();
    local(&error, "PATH_INVALID");
    assert!(error.to_string().contains("way-out"), "{error}");
    assert_eq!(stage.get().await.head_snapshot_id, "");
}

#[tokio::test]
async fn load_at_snapshot() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"first");
    let first = stage.save(&directory).await.snapshot.id;
    write(&directory, "f", b"second");
    stage.save(&directory).await;
    let old = LoadOptions { snapshot_id: first, ..LoadOptions::default() };
    stage.client.load(&stage.session, stage.path("old"), old).await.unwrap();
    stage.load(&stage.path("head")).await;
    assert_eq!(fs::read(stage.path("old/f")).unwrap(), b"first");
    assert_eq!(fs::read(stage.path("head/f")).unwrap(), b"second");
}

#[tokio::test]
async fn snapshots_and_entries() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for number in 0..1200 {
        write(&directory, &format!("d/{number}"), b"x");
    }
    let first = stage.save(&directory).await.snapshot.id;
    write(&directory, "new", b"y");
    let second = stage.save(&directory).await.snapshot.id;
    let listed: Vec<_> = stage.client.snapshots(&stage.session).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|snapshot| (&snapshot.id, snapshot.head)).collect::<Vec<_>>(), [(&second, true), (&first, false)]);
    assert_eq!(stage.client.snapshot(&stage.session, "").await.unwrap().id, second);
    let (snapshot, entries) = stage.client.snapshot_with_entries(&stage.session, &second).await.unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
    assert_eq!(paths, contents(&directory).into_keys().collect::<Vec<_>>());
    assert_eq!(snapshot.entry_count, i64::try_from(paths.len()).unwrap());
}

#[tokio::test]
async fn snapshot_not_found() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    stage.save(&directory).await;
    let options = LoadOptions { snapshot_id: "ab".repeat(16), ..LoadOptions::default() };
    let error = stage.refused("SNAPSHOT_NOT_FOUND", stage.client.load(&stage.session, stage.path("q"), options)).await;
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(!stage.path("q").exists() && fs::read_dir(stage.home.path()).unwrap().count() == 2);
}

#[tokio::test]
async fn save_after_killed_load() {
    let stage = stage().await;
    let (directory, target, note) = (stage.directory("p"), stage.path("q"), stage.path("q.cloakroom.json"));
    write(&directory, "Default/Cookies", b"the login");
    stage.save(&directory).await;
    stage.load(&target).await;
    for left in [".q.cloakroom-load/former", ".q.cloakroom-load/replaced", ".q.loading-0a1b2c3d/aside", "q.cloakroom-00c0ffee-4711-deadbeef/old"] {
        fs::remove_dir_all(&target).unwrap();
        fs::remove_file(&note).unwrap();
        write(&stage.path(left), "Default/Cookies", b"the former login");
        for browser in [false, true] {
            if browser {
                write(&target, "Default/Preferences", b"{}");
            }
            let error = stage.refused("LOAD_UNFINISHED", stage.client.save(&stage.session, &target, SaveOptions::default())).await;
            let message = error.to_string();
            assert!(message.contains(target.to_str().unwrap()) && message.contains(left) && message.contains("load it again"), "{message}");
        }
        stage.client.load(&stage.session, &target, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
        assert!(note.exists());
        assert_eq!(stage.path(left).exists(), !left.contains("cloakroom-load"), "only what is its own is cleared");
        // What another client loaded whole stands beside a leftover of this one.
        write(&stage.path(left), "Default/Cookies", b"the former login");
        write(&target, "Default/Cookies", left.as_bytes());
        let saved = stage.save(&target).await;
        assert_eq!(stage.get().await.head_snapshot_id, saved.snapshot.id);
        fs::remove_dir_all(stage.path(left).parent().unwrap()).unwrap();
        let again = stage.path("again");
        stage.load(&again).await;
        assert_same(&target, &again);
        fs::remove_dir_all(&again).unwrap();
    }
}
