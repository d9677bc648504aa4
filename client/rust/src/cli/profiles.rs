//! `cloakroom save`, `load` and `snapshots`.

use cloakroom_client::{Client, LoadOptions, Result, SaveOptions, v1};
use futures::TryStreamExt as _;
use serde_json::json as object;

use crate::cli::{
    Failure, args, json,
    output::{Output, or_dash, progress, signed_size, size},
    read, session_id,
    sessions::write_private,
};

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
        force: save.force,
        progress: told,
    };
    let saved = client.save(&id, &save.directory, options).await;
    bar.finish_and_clear();
    let saved = saved?;
    let (snapshot, sent) = (&saved.snapshot, saved.sent);
    output.result(
        || {
            let sent = object!({ "messages": sent.messages, "bytes": sent.bytes, "entries": sent.entries, "runs": sent.runs, "content_bytes": sent.content });
            object!({ "snapshot": json::snapshot(snapshot), "revision": saved.revision, "session_etag": saved.session_etag, "sent": sent })
        },
        || {
            let (total, sent) = (signed_size(snapshot.total_bytes), size(sent.bytes));
            format!("{id} is at snapshot {} (number {}): {} entries, {total}; {sent} travelled", snapshot.id, snapshot.sequence, snapshot.entry_count)
        },
    )
}

pub(crate) async fn load(client: &Client, load: args::Load, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &load.session).await?;
    let (told, bar) = progress("loading");
    let options = LoadOptions {
        snapshot_id: load.snapshot,
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
            let missing = if load.storage_state.is_some() && state.is_none() { "; no storage state was saved with it" } else { "" };
            format!("{directory} holds snapshot {}: {} entries, {total}; {travelled} of content travelled{missing}", snapshot.id, snapshot.entry_count)
        },
    )
}

pub(crate) async fn snapshots(client: &Client, session: &str, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, session).await?;
    let mut snapshots = client.snapshots(&id);
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
            if snapshot.head { "head" } else { "" }.to_owned(),
        ]);
    }
    if output.is_json() { Ok(()) } else { output.table(&["SNAPSHOT", "NUMBER", "CREATED", "ENTRIES", "SIZE", "ADDED", "STATE", "FROM", ""], &rows) }
}
