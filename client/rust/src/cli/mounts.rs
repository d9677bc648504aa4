//! `cloakroom mount` and `mounts`.

use std::{io, path::PathBuf};

use cloakroom_client::{Client, Error, Mount, MountOptions, Result, SaveOptions, prune_mounts};
use rustix::fs::{FileType, fstat};
use serde_json::{Value, json as object};

use crate::cli::{
    Failure, args, json,
    output::{Output, progress, size},
    profiles::report,
    session_id,
    signals::{ENDING, Signals},
};

pub(crate) async fn mount(client: &Client, what: args::Mount, output: &mut Output) -> Result<(), Failure> {
    let mut signals = Signals::of(ENDING)?;
    let (id, mut mount) = signals.unless(mounted(client, &what.session, what.place.root, false)).await?;
    output.result(|| described(&mount), || mount.directory.display().to_string())?;
    tokio::select! {
        _ = signals.next() => {}
        ended = input_ends(), if input_is_a_pipe() => ended?,
    }
    let saved = if what.save { Some(signals.unless(save(&mut mount, what.replace, None)).await?) } else { None };
    mount.discard().await?;
    match saved {
        Some(saved) => report(&id, &saved, &saved.warnings, output),
        None => Ok(()),
    }
}

/// Mounts what a person means.
pub(crate) async fn mounted(client: &Client, session: &str, root: Option<PathBuf>, with_storage_state: bool) -> Result<(String, Mount)> {
    let id = session_id(client, session).await?;
    let (told, bar) = progress("loading");
    let mount = client.mount(&id, MountOptions { root, with_storage_state, progress: told, ..MountOptions::default() }).await;
    bar.finish_and_clear();
    Ok((id, mount?))
}

/// Saves what is mounted.
pub(crate) async fn save(mount: &mut Mount, replace: bool, storage_state: Option<Vec<u8>>) -> Result<cloakroom_client::Saved> {
    let (told, bar) = progress("saving");
    let saved = mount.save(SaveOptions { replace, storage_state: storage_state.map(Into::into), progress: told, ..SaveOptions::default() }).await;
    bar.finish_and_clear();
    saved
}

fn described(mount: &Mount) -> Value {
    let directory = mount.directory.display().to_string();
    object!({ "directory": directory, "snapshot": mount.snapshot.as_ref().map(json::snapshot), "content_bytes": mount.content_bytes })
}

/// Whether whoever started this may say by closing the input that it is over. A terminal says it with Ctrl-C, and a file or nothing at all would be over at once.
fn input_is_a_pipe() -> bool {
    fstat(io::stdin()).is_ok_and(|input| matches!(FileType::from_raw_mode(input.st_mode), FileType::Fifo | FileType::Socket))
}

async fn input_ends() -> Result<(), Failure> {
    let read = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink()));
    let ended = read.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
    ended.map(|_| ()).map_err(|source| Error::File { path: "standard input".to_owned(), source }.into())
}

pub(crate) async fn run(what: args::Mounts, output: &mut Output) -> Result<(), Failure> {
    let args::Mounts::Prune { older_than, place } = what;
    let pruned = prune_mounts(older_than, place.root.as_deref()).await?;
    output.result(
        || object!({ "slots": pruned.slots, "bytes": pruned.bytes }),
        || format!("{} director{} removed, {}", pruned.slots, if pruned.slots == 1 { "y" } else { "ies" }, size(pruned.bytes)),
    )
}
