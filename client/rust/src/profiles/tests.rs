//! Differences and loads as the vectors say, and properties of both on real directories.

mod places;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;
use crate::{
    capture::Policy,
    hex::{hex, unhex},
    moves::faults,
    pieces::cut,
    place::{Goal, May, look_and_place},
    sidecar::{self, Origin, Sidecar},
    system::{make_directory, remove, set_attributes_at},
    tree::{LEAF, hash_leaves},
    vectors::{content, tree_of, vectors},
    workspace::Workspace,
};

fn everything() -> Capture {
    Capture::new(Policy::Full, &[], &[]).unwrap()
}

fn scan(directory: &Path) -> Tree {
    walk(directory, &everything(), &Tree::default()).unwrap()
}

/// Makes a tree of the vectors real.
fn lay_out(directory: &Path, tree: &Value) {
    make_directory(directory).unwrap();
    let mut entries: Vec<_> = tree.as_array().unwrap().iter().collect();
    entries.sort_by_key(|entry| entry["path"].as_str().unwrap());
    for entry in &entries {
        let at = directory.join(entry["path"].as_str().unwrap());
        match entry["kind"].as_str().unwrap() {
            "file" => fs::write(at, content(&entry["content"])).unwrap(),
            "directory" => make_directory(&at).unwrap(),
            _ => symlink(entry["target"].as_str().unwrap(), at).unwrap(),
        }
    }
    for entry in entries.iter().rev().filter(|entry| entry["kind"] != "link") {
        let mode = u32::try_from(entry["mode"].as_u64().unwrap()).unwrap();
        set_attributes_at(&directory.join(entry["path"].as_str().unwrap()), mode, entry["mtime_ns"].as_str().unwrap().parse().unwrap()).unwrap();
    }
}

/// A base as a load finds it: with stats, and complete.
fn base_of(directory: &Path) -> Base {
    let tree = scan(directory);
    let entries = tree.entries().iter().map(|entry| {
        let stat = Stat::of(&directory.join(&entry.path).symlink_metadata().unwrap());
        Arc::new(Entry { stat: Some(stat), ..Entry::clone(entry) })
    });
    Base { directory: directory.to_owned(), snapshot_id: "base".to_owned(), tree: Tree::new(entries.collect()) }
}

#[test]
fn differences_are_those_of_the_vectors() {
    for case in vectors("diffs")["diffs"].as_array().unwrap() {
        let (base, new, name) = (tree_of(&case["base"]), tree_of(&case["new"]), &case["name"]);
        assert_eq!(hex(&new.manifest_root()), case["manifest_root"], "{name}");
        let difference = diff(&base, &new);
        let expected = &case["expected"];
        assert_eq!(serde_json::json!(difference.entries.iter().map(|entry| &entry.path).collect::<Vec<_>>()), expected["entries"], "{name}");
        assert_eq!(serde_json::json!(difference.removed), expected["removed"], "{name}");
        let runs = difference.runs.iter().map(|run| {
            let mut wire = serde_json::json!({"entry": run.entry, "first_leaf": run.first, "leaf_count": run.count});
            if let Some((from, first)) = &run.copy {
                wire["copy_path"] = from.path.clone().into();
                wire["copy_first_leaf"] = (*first).into();
            }
            wire
        });
        assert_eq!(serde_json::json!(runs.collect::<Vec<_>>()), expected["runs"], "{name}");
    }
}

#[test]
fn what_is_cut_and_packed_is_the_data_of_the_vectors() {
    for case in vectors("diffs")["diffs"].as_array().unwrap() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("p");
        lay_out(&directory, &case["new"]);
        let pieces = cut(&diff(&tree_of(&case["base"]), &scan(&directory)));
        let messages: Vec<_> = pieces.iter().map(|piece| piece.fill(&directory).unwrap()).collect();
        let data: Vec<u8> = messages.iter().flat_map(|records| unpack(records).unwrap()).collect();
        assert_eq!(hex(&crate::tree::sha256(&data)), case["expected"]["data_sha256"], "{}", case["name"]);
        assert_eq!(messages.iter().map(|records| u64::from(records.data_size)).sum::<u64>(), case["expected"]["data_size"].as_u64().unwrap());
        let leaves: u64 = messages.iter().flat_map(|records| &records.runs).map(|run| u64::from(run.leaf_count)).sum();
        let expected: u64 = case["expected"]["runs"].as_array().unwrap().iter().map(|run| run["leaf_count"].as_u64().unwrap()).sum();
        assert_eq!(leaves, expected, "{}", case["name"]);
    }
}

fn message_of(value: &Value) -> v1::LoadProfileResponse {
    let number = |value: &Value, name: &str| u32::try_from(value[name].as_u64().unwrap_or_default()).unwrap();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value, name: &str| value[name].as_array().unwrap().clone();
    let message = if let Some(begin) = value.get("begin") {
        let base_snapshot_id = if begin["base"] == true { "base".to_owned() } else { String::new() };
        Message::Begin(v1::LoadBegin { base_snapshot_id, ..v1::LoadBegin::default() })
    } else if let Some(end) = value.get("end") {
        Message::End(v1::LoadEnd { manifest_root: unhex(end["manifest_root"].as_str().unwrap()).unwrap().into() })
    } else {
        let records = &value["records"];
        let entry = |entry: Value| v1::Entry {
            kind: (0..).zip(["", "file", "directory", "link"]).find(|(_, kind)| entry["kind"] == *kind).unwrap().0,
            path: text(&entry, "path"),
            mode: number(&entry, "mode"),
            mtime_ns: entry["mtime_ns"].as_str().unwrap().parse().unwrap(),
            size: entry["size"].as_i64().unwrap(),
            root: unhex(entry["root"].as_str().unwrap_or_default()).unwrap().into(),
            symlink_target: text(&entry, "target"),
        };
        let run = |run: Value| v1::LeafRun {
            entry: number(&run, "entry"),
            first_leaf: number(&run, "first_leaf"),
            leaf_count: number(&run, "leaf_count"),
            copy_path: text(&run, "copy_path"),
            copy_first_leaf: number(&run, "copy_first_leaf"),
        };
        Message::Records(v1::ProfileRecords {
            entries: list(records, "entries").into_iter().map(entry).collect(),
            runs: list(records, "runs").into_iter().map(run).collect(),
            removed: list(records, "removed").iter().map(|path| path.as_str().unwrap().to_owned()).collect(),
            codec: if records["codec"] == "deflate" { v1::Codec::Deflate } else { v1::Codec::Raw }.into(),
            data: STANDARD.decode(records["data"].as_str().unwrap()).unwrap().into(),
            data_size: number(records, "data_size"),
        })
    };
    v1::LoadProfileResponse { message: Some(message) }
}

fn goal<'a>(target: &'a Path, space: &'a Workspace, consume: bool) -> Goal<'a> {
    let (session_id, snapshot_id) = ("s".to_owned(), "new".to_owned());
    let sidecar = Sidecar { namespace: String::new(), session_id, snapshot_id, origin: Origin::default(), storage_state: false, tree: Tree::default() };
    Goal { target, space, may: May { consume, replace: true, force: false }, sidecar }
}

/// Loads a stream into `home/p`; the base, if there is one, lies in `home/had`.
fn load(home: &Path, messages: Vec<v1::LoadProfileResponse>, had: bool, consume: bool) -> Result<Tree> {
    load_after(home, messages, had, consume, |_| {})
}

/// The same, with something done to the former directory after it became one.
fn load_after(home: &Path, messages: Vec<v1::LoadProfileResponse>, had: bool, consume: bool, soil: impl FnOnce(&Path)) -> Result<Tree> {
    let (target, space) = (home.join("p"), Workspace::beside(&home.join("p"))?);
    let mut loader = Loader::new(space.path(), had.then(|| Arc::new(base_of(&home.join("had")))));
    soil(&home.join("had"));
    for message in messages {
        if let Some(job) = loader.accept(message)? {
            job.run()?;
        }
    }
    look_and_place(&loader.finish()?, goal(&target, &space, consume))
}

fn messages_of(case: &Value) -> Vec<v1::LoadProfileResponse> {
    case["messages"].as_array().unwrap().iter().map(message_of).collect()
}

#[test]
fn streams_make_the_trees_of_the_vectors_beside_the_base_and_out_of_it() {
    for case in vectors("loads")["fine"].as_array().unwrap() {
        for consume in [false, true] {
            let (home, name) = (tempfile::tempdir().unwrap(), &case["name"]);
            lay_out(&home.path().join("had"), &case["base"]);
            let before = scan(&home.path().join("had"));
            let told = load(home.path(), messages_of(case), true, consume).unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = scan(&home.path().join("p"));
            let wanted = tree_of(&case["tree"]);
            assert_eq!(hex(&found.manifest_root()), hex(&wanted.manifest_root()), "{name}: {found:#?}");
            assert_eq!(told.manifest_root(), wanted.manifest_root());
            assert!(told.entries().iter().zip(found.entries()).all(|(told, found)| told.leaves == found.leaves), "{name}: leaves for the sidecar");
            for entry in told.entries() {
                // A link's own times are those of its making, so its stat need not be trusted yet.
                let stat = Stat::of(&home.path().join("p").join(&entry.path).symlink_metadata().unwrap());
                assert!(entry.stat == Some(stat) || (entry.kind == Kind::Link && entry.stat.is_none()), "{name}: {entry:?}");
            }
            let difference = case["messages"][0]["begin"]["base"] == true;
            let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
            assert_eq!(left.len(), if consume && difference { 2 } else { 3 }, "{name}: {left:?}");
            if !(consume && difference) {
                assert_eq!(scan(&home.path().join("had")).manifest_root(), before.manifest_root(), "{name}: the base was only read");
            }
        }
    }
}

#[test]
fn broken_streams_are_refused_and_leave_nothing() {
    for case in vectors("loads")["refused"].as_array().unwrap() {
        for consume in [false, true] {
            let (home, name) = (tempfile::tempdir().unwrap(), &case["name"]);
            lay_out(&home.path().join("had"), &case["base"]);
            let before = scan(&home.path().join("had"));
            let error = load(home.path(), messages_of(case), true, consume).expect_err(name.as_str().unwrap());
            assert!(!error.reason().is_empty(), "{name}: {error}");
            let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
            assert_eq!(left, ["had"], "{name}");
            assert_eq!(scan(&home.path().join("had")).manifest_root(), before.manifest_root(), "{name}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused() {
    for case in vectors("loads")["fine"].as_array().unwrap() {
        for end in 0..case["messages"].as_array().unwrap().len() {
            let home = tempfile::tempdir().unwrap();
            lay_out(&home.path().join("had"), &case["base"]);
            let error = load(home.path(), messages_of(case)[..end].to_vec(), true, true).expect_err("cut");
            assert_eq!(error.reason(), "STREAM_TRUNCATED");
            assert!(!home.path().join("p").exists() && home.path().join("had").exists());
        }
    }
}

/// What a save sends, as a load would send it.
fn stream(base: &Tree, new: &Tree, directory: &Path, full: bool) -> Vec<v1::LoadProfileResponse> {
    let begin = v1::LoadBegin { base_snapshot_id: if full { String::new() } else { "base".to_owned() }, ..v1::LoadBegin::default() };
    let pieces = if full { cut(&diff(&Tree::default(), new)) } else { cut(&diff(base, new)) };
    let records = pieces.iter().map(|piece| Message::Records(piece.fill(directory).unwrap()));
    let end = Message::End(v1::LoadEnd { manifest_root: new.manifest_root().to_vec().into() });
    std::iter::once(Message::Begin(begin)).chain(records).chain([end]).map(|message| v1::LoadProfileResponse { message: Some(message) }).collect()
}

/// A small generator (xorshift64*), so that a failing round can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    /// Bytes from few leaves, so that there is much to copy.
    fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..self.roll(6) {
            body.extend(vec![u8::try_from(self.roll(5)).unwrap(); LEAF]);
        }
        body.extend(vec![7; self.roll(3) * 1000]);
        body
    }
}

/// Does some of what a browser, and a hostile user, may do to a directory.
fn churn(directory: &Path, dice: &mut Dice) {
    for _ in 0..dice.roll(20) {
        let names = ["a", "b", "c", "é"];
        let mut at = PathBuf::from(names[dice.roll(4)]);
        for _ in 0..dice.roll(3) {
            at.push(names[dice.roll(4)]);
        }
        let at = directory.join(at);
        // Many moves are not possible where they are tried; then nothing happens.
        let _ = match dice.roll(7) {
            0 => fs::write(&at, dice.body()),
            1 => fs::create_dir_all(&at),
            2 => remove(&at),
            3 => symlink(names[dice.roll(4)], &at),
            4 => fs::rename(&at, directory.join(names[dice.roll(4)])),
            5 if at.is_file() && !at.is_symlink() => fs::set_permissions(&at, fs::Permissions::from_mode([0o400, 0o600, 0o755][dice.roll(3)])),
            _ => fs::read(&at).and_then(|mut body| {
                let middle = body.len() / 2;
                body.iter_mut().skip(middle).take(10).for_each(|byte| *byte ^= 1);
                fs::write(&at, body)
            }),
        };
    }
}

#[test]
fn any_change_survives_save_and_load_as_a_whole_as_a_difference_and_in_place() {
    for seed in 1..60 {
        let (home, mut dice) = (tempfile::tempdir().unwrap(), Dice(seed * 0x9e37_79b9));
        let work = home.path().join("work");
        make_directory(&work).unwrap();
        churn(&work, &mut dice);
        let old = scan(&work);
        load(home.path(), stream(&Tree::default(), &old, &work, true), false, false).unwrap();
        fs::rename(home.path().join("p"), home.path().join("had")).unwrap();
        assert_eq!(scan(&home.path().join("had")).manifest_root(), old.manifest_root(), "seed {seed}");

        churn(&work, &mut dice);
        let new = walk(&work, &everything(), &old).unwrap();
        assert_eq!(new.manifest_root(), scan(&work).manifest_root(), "seed {seed}: what is known is no worse than what is read");
        for (full, consume) in [(true, false), (false, false), (false, true)] {
            // What no snapshot has, such as caches, may lie anywhere in a former directory, also where the new snapshot has something.
            let litter = |had: &Path| {
                for _ in 0..if consume { dice.roll(4) } else { 0 } {
                    let at = had.join(["a", "b", "c", "a/b", "b/c/a"][dice.roll(5)]);
                    if at.symlink_metadata().is_err() {
                        let _ = if dice.roll(2) == 0 { fs::create_dir_all(at.join("litter")) } else { fs::write(at, "litter") };
                    }
                }
            };
            load_after(home.path(), stream(&old, &new, &work, full), true, consume, litter).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(scan(&home.path().join("p")).manifest_root(), new.manifest_root(), "seed {seed}, full {full}, consume {consume}");
            remove(&home.path().join("p")).unwrap();
        }
        assert!(!home.path().join("had").exists());
    }
}

#[test]
fn what_cannot_travel_is_named_and_special_files_stay_at_home() {
    let home = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
    fs::write(home.path().join("f"), "x").unwrap();
    assert_eq!(scan(home.path()).entries().iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["f"]);
    for (name, target) in [("out", "/etc/passwd"), ("up", "../x")] {
        symlink(target, home.path().join(name)).unwrap();
        let error = walk(home.path(), &everything(), &Tree::default()).unwrap_err();
        assert!(error.reason() == "PATH_INVALID" && error.to_string().contains(name) && error.to_string().contains(target), "{error}");
        fs::remove_file(home.path().join(name)).unwrap();
    }
    for name in [std::ffi::OsStr::new("a\\b"), std::os::unix::ffi::OsStrExt::from_bytes(b"\xff")] {
        fs::write(home.path().join(name), "x").unwrap();
        assert_eq!(walk(home.path(), &everything(), &Tree::default()).unwrap_err().reason(), "PATH_INVALID");
        let excluded = Capture::new(Policy::Full, &[], &["?".to_owned(), "a*".to_owned()]).unwrap();
        // A glob cannot name a backslash, but it can match one.
        assert_eq!(walk(home.path(), &excluded, &Tree::default()).unwrap().entries().len(), 0, "{}", name.display());
        fs::remove_file(home.path().join(name)).unwrap();
    }
}

#[test]
fn a_file_that_changes_between_hashing_and_sending_is_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("f"), vec![1; 10_000]).unwrap();
    let pieces = cut(&diff(&Tree::default(), &scan(home.path())));
    for body in [vec![1; 9_999], vec![2; 10_000]] {
        fs::write(home.path().join("f"), body).unwrap();
        assert_eq!(pieces[0].fill(home.path()).unwrap_err().reason(), "PROFILE_CHANGING");
    }
    fs::remove_file(home.path().join("f")).unwrap();
    assert_eq!(pieces[0].fill(home.path()).unwrap_err().reason(), "PROFILE_CHANGING");
}

#[test]
fn messages_stay_within_the_contract() {
    let home = tempfile::tempdir().unwrap();
    for number in 0..300 {
        fs::write(home.path().join(format!("{number}{}", "long".repeat(50))), vec![u8::try_from(number % 251).unwrap(); 100]).unwrap();
    }
    let noise: Vec<u8> = (0..40_000_u32).flat_map(|block| crate::tree::sha256(&block.to_be_bytes())).collect();
    fs::write(home.path().join("noise"), &noise).unwrap();
    fs::write(home.path().join("more"), &noise[5..]).unwrap();
    let pieces = cut(&diff(&Tree::default(), &scan(home.path())));
    let messages: Vec<_> = pieces.iter().map(|piece| piece.fill(home.path()).unwrap()).collect();
    assert!(messages.len() < 5, "{}", messages.len());
    for records in &messages {
        assert!(prost::Message::encoded_len(records) <= 1 << 20 && records.data_size as usize <= crate::pieces::MAX_DATA);
        assert_eq!(unpack(records).unwrap().len(), records.data_size as usize);
    }
    let mut leaves = Vec::new();
    hash_leaves(&noise, &mut leaves);
    assert_eq!(scan(home.path()).get("noise").unwrap().leaves, leaves);
}

#[test]
fn more_than_any_profile_has_is_refused_before_there_is_a_table_for_its_leaves() {
    let home = tempfile::tempdir().unwrap();
    let entry = |path: &str, size: u64| v1::Entry {
        kind: 1,
        path: path.to_owned(),
        mode: 0o600,
        size: size.try_into().unwrap(),
        root: vec![0; 32].into(),
        ..v1::Entry::default()
    };
    for (sizes, reason) in [(vec![MAX_CONTENT + 1], "DATA_INVALID"), (vec![1 << 20, MAX_CONTENT], "LIMIT_EXCEEDED")] {
        let entries = sizes.iter().enumerate().map(|(at, size)| entry(&at.to_string(), *size)).collect();
        let mut loader = Loader::new(home.path(), None);
        loader.accept(v1::LoadProfileResponse { message: Some(Message::Begin(v1::LoadBegin::default())) }).unwrap();
        let records = v1::ProfileRecords { entries, ..v1::ProfileRecords::default() };
        let error = loader.accept(v1::LoadProfileResponse { message: Some(Message::Records(records)) }).unwrap_err();
        assert_eq!(error.reason(), reason);
    }
}
