//! What the Rust client reads: capture rules, sidecars, the stream of a load.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use cloakroom_api::v1::{self, load_profile_response::Message};
use cloakroom_client::fuzz::{self, Former};
use tempfile::TempDir;

use super::{messages, save::plain_root, within};

/// Capture rules: lines of a path, a caller's glob, and the JSON of the rules.
pub(super) fn capture_rules(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut parts = text.splitn(3, '\n');
    let (path, glob, rules) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let include: Vec<String> = if glob.is_empty() { Vec::new() } else { vec![glob.to_owned()] };
    let most = 200 * text.len();
    let Ok(kept) = within(most, || fuzz::capture(rules, &include, path)) else { return false };
    // A caller's glob only adds to what travels.
    assert!(kept || fuzz::capture(rules, &[], path).is_ok_and(|kept| !kept));
    true
}

/// The sidecar of a directory.
pub(super) fn sidecar(data: &[u8]) -> bool {
    let Some(written) = within(100 * data.len(), || fuzz::sidecar(data)) else { return false };
    assert_eq!(fuzz::sidecar(&written).as_ref(), Some(&written));
    true
}

/// The directory whose former snapshot a load may be a difference to.
static FORMER: LazyLock<(TempDir, Former)> = LazyLock::new(|| {
    let made = || -> std::io::Result<_> {
        let home = tempfile::Builder::new().prefix("cloakroom-fuzz-").tempdir()?;
        let directory = home.path().join("former");
        fs::create_dir_all(directory.join("d"))?;
        fs::write(directory.join("d/a"), (0..10_000).map(|at| u8::try_from(at / 40 % 256).unwrap_or(0)).collect::<Vec<_>>())?;
        fs::write(directory.join("d/b"), b"b")?;
        std::os::unix::fs::symlink("a", directory.join("d/l"))?;
        let former = Former::new(&directory, "former").map_err(std::io::Error::other)?;
        Ok((home, former))
    };
    made().unwrap_or_else(|error| panic!("the former directory: {error}"))
});

/// The stream of a load: one byte of flags (1: the client has a former directory; 2: roots are put right first), then its messages.
pub(super) fn load_stream(data: &[u8]) -> bool {
    let Some((&flags, rest)) = data.split_first() else { return false };
    let (home, former) = &*FORMER;
    let former = (flags & 1 == 1).then_some(former);
    let mut messages: Vec<v1::LoadProfileResponse> = messages(rest);
    if flags & 2 == 2 {
        put_right(&mut messages, former);
    }
    let Ok(place) = tempfile::tempdir_in(home.path()) else { return false };
    let (target, announced) = (place.path().join("profile"), announced(&messages));
    // Tables of leaves are as large as the files that are announced: 17 bytes a leaf, of at most 64 GiB in all.
    let leaves = usize::try_from(announced.min(64 << 30) / 4096).unwrap_or(usize::MAX);
    let loaded = within(100 * data.len() + 17 * leaves + (4 << 20), || fuzz::load(messages.clone(), former, &target));
    match &loaded {
        Ok(_) => check(&messages, former, &target),
        Err(_) => assert!(!target.exists(), "a failed load leaves nothing"),
    }
    let beside: Vec<_> = fs::read_dir(place.path()).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    assert!(
        beside.iter().all(|name| name == "profile" || (name == "profile.cloakroom.json" && loaded.is_ok())),
        "nothing is left beside the profile: {beside:?}"
    );
    fuzz::clear(&target);
    loaded.is_ok()
}

/// What stands on the disk is what the stream named, and nothing else.
fn check(messages: &[v1::LoadProfileResponse], former: Option<&Former>, target: &Path) {
    let base = messages.iter().any(|message| matches!(&message.message, Some(Message::Begin(begin)) if !begin.base_snapshot_id.is_empty()));
    let former = former.filter(|_| base).map(Former::entries).unwrap_or_default();
    let mut wanted: BTreeMap<String, v1::Entry> = former.into_iter().map(|(entry, _)| (entry.path.clone(), entry)).collect();
    for records in messages.iter().filter_map(records) {
        for path in &records.removed {
            wanted.remove(path);
        }
    }
    for entry in messages.iter().filter_map(records).flat_map(|records| &records.entries) {
        wanted.insert(entry.path.clone(), entry.clone());
    }
    // What its owner may not read cannot be compared.
    if wanted.values().any(|entry| entry.mode & 0o700 != 0o700 && entry.kind == 2 || entry.mode & 0o400 == 0) {
        return;
    }
    let mut wanted: Vec<_> = wanted.into_values().map(|entry| v1::Entry { mtime_ns: 0, ..entry }).collect();
    wanted.iter_mut().filter(|entry| entry.kind == 3).for_each(|entry| entry.mode = 0o777);
    let found = fuzz::found(target).unwrap_or_else(|error| panic!("what was loaded can be read: {error}"));
    assert_eq!(found, wanted);
}

fn records(message: &v1::LoadProfileResponse) -> Option<&v1::ProfileRecords> {
    match &message.message {
        Some(Message::Records(records)) => Some(records),
        _ => None,
    }
}

fn announced(messages: &[v1::LoadProfileResponse]) -> u64 {
    let entries = messages.iter().filter_map(records).flat_map(|records| &records.entries);
    entries.map(|entry| u64::try_from(entry.size).unwrap_or(0)).fold(0, u64::saturating_add)
}

fn put_right(messages: &mut [v1::LoadProfileResponse], former: Option<&Former>) {
    let base = former.map(Former::entries).unwrap_or_default();
    let mut pieces: Vec<&mut v1::ProfileRecords> = Vec::new();
    let mut end = None;
    for message in messages {
        match &mut message.message {
            Some(Message::Records(records)) => pieces.push(records),
            Some(Message::End(last)) => end = Some(last),
            _ => {}
        }
    }
    let root = plain_root(&mut pieces, &base);
    if let Some(end) = end {
        end.manifest_root = root.to_vec().into();
    }
}
