//! `cloakroom save`, `load` and `snapshots`.

use std::{fs, future::ready, path::Path};

use cloakroom_client::{Client, Error, LoadOptions, Result, SaveOptions, Saved, v1};
use futures::{TryStreamExt as _, stream::BoxStream};
use serde_json::json as object;

use crate::cli::{
    Failure, args, json,
    output::{Output, or_dash, plain, progress, signed_size, size},
    read, session_id,
    sessions::write_private,
    warn,
};

/// Hexadecimal digits of a snapshot's id, the fewest that may stand for it, and how many snapshots are named when they could be several.
const ID: usize = 32;
const PREFIX: usize = 4;
const SHOWN: usize = 8;

pub(crate) async fn save(client: &Client, save: args::Save, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &save.session).await?;
    let (told, bar) = progress("saving");
    let options = SaveOptions {
        policy: save.policy,
        include: save.include,
        exclude: save.exclude,
        storage_state: save.storage_state.as_deref().map(read).transpose()?.map(Into::into),
        upload_id: save.upload_id,
        etag: save.conditions.etag,
        lease_token: save.conditions.lease_token,
        portability: None,
        replace: save.replace,
        force: save.force,
        progress: told,
    };
    let with_state = options.storage_state.is_some();
    let saved = client.save(&id, &save.directory, options).await;
    bar.finish_and_clear();
    let saved = saved?;
    let mut warnings = if with_state { Vec::new() } else { warnings(&save.directory, &saved.snapshot) };
    warnings.extend(saved.warnings.iter().cloned());
    report(&id, &saved, &warnings, output)
}

/// What became of a save.
pub(crate) fn report(id: &str, saved: &Saved, warnings: &[String], output: &mut Output) -> Result<(), Failure> {
    let (snapshot, sent) = (&saved.snapshot, saved.sent);
    for warning in warnings.iter().filter(|_| !output.is_json()) {
        warn(warning);
    }
    output.result(
        || {
            let sent = object!({ "messages": sent.messages, "bytes": sent.bytes, "entries": sent.entries, "runs": sent.runs, "content_bytes": sent.content });
            object!({ "snapshot": json::snapshot(snapshot), "revision": saved.revision, "session_etag": saved.session_etag, "sent": sent, "warnings": warnings })
        },
        || {
            let (total, sent) = (signed_size(snapshot.total_bytes), size(sent.bytes));
            format!("{id} is at snapshot {} (number {}): {} entries, {total}; {sent} travelled", snapshot.id, snapshot.sequence, snapshot.entry_count)
        },
    )
}

/// What Chromium and Firefox write at their first start: into the user data directory, and Chromium into the profiles in it.
const MARKS: [&str; 6] = ["Local State", "Last Version", "First Run", "prefs.js", "compatibility.ini", "times.json"];
const MARKS_BELOW: [&str; 2] = ["Preferences", "Cookies"];

fn looks_like_a_profile(directory: &Path) -> bool {
    let has = |at: &Path, marks: &[&str]| marks.iter().any(|mark| at.join(mark).symlink_metadata().is_ok());
    let mut below = fs::read_dir(directory).into_iter().flatten().flatten().map(|item| item.path());
    has(directory, &MARKS) || below.any(|below| has(&below, &MARKS_BELOW))
}

/// What a person should know of a save that went well but is hardly what was meant.
fn warnings(directory: &Path, snapshot: &v1::Snapshot) -> Vec<String> {
    let (at, remedy) = (directory.display(), "give the browser's user data directory, after the browser has run on it and exited");
    if snapshot.entry_count == 0 {
        vec![format!("there is nothing in {at} that travels: this snapshot is an empty profile without any login; {remedy}")]
    } else if !looks_like_a_profile(directory) {
        vec![format!("nothing in {at} looks like a profile of Chromium or Firefox: this snapshot may have no login; {remedy}")]
    } else {
        Vec::new()
    }
}

pub(crate) async fn load(client: &Client, load: args::Load, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &load.session).await?;
    let snapshot_id = snapshot_id(client, &id, &load.snapshot).await?;
    let (told, bar) = progress("loading");
    let options = LoadOptions {
        snapshot_id,
        have: load.have,
        consume: load.consume,
        replace: load.replace,
        force: load.force,
        with_storage_state: load.storage_state.is_some(),
        accept_codecs: load.packed.then(|| vec![v1::Codec::Zstd, v1::Codec::Deflate]),
        min_revision: 0,
        progress: told,
    };
    let loaded = client.load(&id, &load.directory, options).await;
    bar.finish_and_clear();
    let loaded = loaded?;
    let state = loaded.storage_state.as_ref().zip(load.storage_state.as_ref());
    if let Some((state, file)) = state {
        write_private(file, state)?;
    }
    let (snapshot, directory) = (&loaded.snapshot, loaded.directory.display());
    output.result(
        || {
            object!({
                "directory": directory.to_string(),
                "snapshot": json::snapshot(snapshot),
                "base_snapshot_id": loaded.base_snapshot_id,
                "content_bytes": loaded.content_bytes,
                "storage_state": state.is_some(),
            })
        },
        || {
            let (total, travelled) = (signed_size(snapshot.total_bytes), signed_size(loaded.content_bytes));
            let missing = match (&load.storage_state, state) {
                (Some(_), None) => "; no storage state was saved with it",
                (None, _) if snapshot.has_storage_state => "; the storage state with its session cookies was left behind: --storage-state FILE brings it too",
                _ => "",
            };
            format!("{directory} holds snapshot {}: {} entries, {total}; {travelled} of content travelled{missing}", snapshot.id, snapshot.entry_count)
        },
    )
}

/// The id of the snapshot that a person means: an id, or a prefix that only one of the session's snapshots has.
pub(crate) async fn snapshot_id(client: &Client, session: &str, given: &str) -> Result<String> {
    one_of(client.snapshots(session), session, given).await
}

/// The same, also among those that were deleted.
pub(crate) async fn any_snapshot_id(client: &Client, session: &str, given: &str) -> Result<String> {
    one_of(client.all_snapshots(session), session, given).await
}

async fn one_of(snapshots: BoxStream<'_, Result<v1::Snapshot>>, session: &str, given: &str) -> Result<String> {
    let wanted = given.to_ascii_lowercase();
    if wanted.is_empty() || wanted.len() == ID {
        return Ok(wanted);
    }
    let failed = |reason, message| Err(Error::Local { reason, message });
    if !(PREFIX..ID).contains(&wanted.len()) || !wanted.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return failed("OPTION", format!("{given:?} is no snapshot: give its {ID} hexadecimal digits, or at least the first {PREFIX}"));
    }
    let mut found: Vec<_> = snapshots.try_filter(|snapshot| ready(snapshot.id.starts_with(&wanted))).try_collect().await?;
    match found.len() {
        0 => failed("SNAPSHOT_NOT_FOUND", format!("session {session} has no snapshot that begins with {wanted}: `cloakroom snapshots {session}` lists them")),
        1 => Ok(found.remove(0).id),
        count => {
            let some = found.iter().take(SHOWN).map(|one| format!("{} (number {}, {})", one.id, one.sequence, json::short_time(one.create_time.as_ref())));
            let more = count.checked_sub(SHOWN).filter(|more| *more > 0).map(|more| format!("{more} more"));
            let all = some.chain(more).collect::<Vec<_>>().join(", ");
            failed("PREFIX_AMBIGUOUS", format!("{count} snapshots of session {session} begin with {wanted}: {all}; give more digits"))
        }
    }
}

pub(crate) async fn snapshots(client: &Client, of: &args::Snapshots, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &of.session).await?;
    let mut snapshots = if of.deleted { client.all_snapshots(&id) } else { client.snapshots(&id) };
    let mut rows = Vec::new();
    while let Some(snapshot) = snapshots.try_next().await? {
        if output.is_json() {
            output.result(|| json::snapshot(&snapshot), String::new)?;
            continue;
        }
        let from = snapshot.portability.clone().unwrap_or_default();
        let browser = [from.os, from.brand, from.browser_version].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        rows.push(vec![
            snapshot.id.clone(),
            snapshot.sequence.to_string(),
            json::short_time(snapshot.create_time.as_ref()),
            snapshot.entry_count.to_string(),
            signed_size(snapshot.total_bytes),
            signed_size(snapshot.stored_bytes),
            if snapshot.has_storage_state { "yes" } else { "no" }.to_owned(),
            or_dash(&browser),
            standing(&snapshot),
        ]);
    }
    if output.is_json() { Ok(()) } else { output.table(&["SNAPSHOT", "NUMBER", "CREATED", "ENTRIES", "SIZE", "ADDED", "STORAGE STATE", "FROM", ""], &rows) }
}

/// What is special about a snapshot.
fn standing(snapshot: &v1::Snapshot) -> String {
    let note = if snapshot.pin_note.is_empty() { "pinned".to_owned() } else { format!("pinned: {}", plain(&snapshot.pin_note)) };
    let words = [snapshot.head.then(|| "head".to_owned()), snapshot.pin_time.map(|_| note), snapshot.delete_time.map(|_| "deleted".to_owned())];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
