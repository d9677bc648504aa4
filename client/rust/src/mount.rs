//! Mounts: ready directories of this machine, each for one process at a time.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bytes::Bytes;
use cloakroom_api::v1;
use tokio::runtime::Handle;

use crate::{
    connection::Client,
    error::{Error, Result},
    load::LoadOptions,
    progress::OnProgress,
    save::{SaveOptions, Saved},
    slots::{self, Slot, Slots},
    system::{blocking, make_directory},
    workspace::Workspace,
};

/// How to mount. The default mounts the head, with its storage state, in the place that the environment names.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Where this machine's mounts are. Not given: what the environment variable `CLOAKROOM_MOUNTS` says, else `cloakroom` in `$XDG_CACHE_HOME`, else in `~/.cache`. It must be on a file
    /// system of this machine; machines that share it all the same must have host names of their own.
    pub root: Option<PathBuf>,
    /// The wanted snapshot; empty for the head. A save after any other goes only with [`SaveOptions::replace`].
    pub snapshot_id: String,
    /// Also fetch the storage state that was saved with the snapshot. On by default.
    pub with_storage_state: bool,
    /// Told of what travels.
    pub progress: Option<OnProgress>,
    /// Mount nothing older than this revision; 0 for no bound.
    pub min_revision: i64,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { root: None, snapshot_id: String::new(), with_storage_state: true, progress: None, min_revision: 0 }
    }
}

/// A directory that holds a session's profile, and that no other mount on this machine has as long as this is there. Dropped, it lets the directory go without saving.
///
/// Letting go takes the mount, so nothing can be done with it afterwards:
///
/// ```compile_fail,E0382
/// # async fn example(mut mount: cloakroom_client::Mount) -> cloakroom_client::Result<()> {
/// mount.discard().await?;
/// mount.save(Default::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Mount {
    /// The profile: the browser's user data directory.
    pub directory: PathBuf,
    /// What is in it; nothing in a session without a profile, whose directory is empty and whose first save begins it. After a save, what was saved.
    pub snapshot: Option<v1::Snapshot>,
    /// The storage state (JSON) that was saved with what was loaded, if there is one and it was asked for.
    pub storage_state: Option<Bytes>,
    /// Bytes of file content that travelled for it, unpacked.
    pub content_bytes: i64,
    client: Client,
    session_id: String,
    slots: Slots,
    /// Nothing once it is let go.
    slot: Option<Slot>,
}

/// What [`prune_mounts`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many directories.
    pub slots: u64,
    /// Bytes of the files in them.
    pub bytes: u64,
}

impl Client {
    /// Gives a directory with the session's profile, ready for a browser. Is the one of a former mount on this machine free, in whatever language that was, it is handed on: if it still is the
    /// wanted snapshot nothing but one small call travels and nothing in it is touched, caches included; if the head moved, only the difference travels. Else a new one is loaded whole.
    /// Two mounts at a time never have the same directory.
    ///
    /// What is to be kept must be saved ([`Mount::save`]): the next mount gives the head. What a process changed that was killed before it saved is gone.
    ///
    /// ```no_run
    /// # async fn example(client: cloakroom_client::Client) -> cloakroom_client::Result<()> {
    /// let mut mount = client.mount("acct-1", Default::default()).await?;
    /// // … run a browser on mount.directory, and wait for its exit, then:
    /// mount.save(Default::default()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::load`], but a session without a profile is none; `OPTION` for an id that cannot be one, and where there is no place for mounts. Nothing is held then.
    pub async fn mount(&self, session_id: &str, options: MountOptions) -> Result<Mount> {
        let slots = Slots::of(&slots::root(options.root.as_deref())?, &self.namespace, session_id)?;
        let taking = slots.clone();
        let slot = blocking(move || taking.take()).await?;
        let directory = slot.profile();
        let mut loading = Loading(Some(slot));
        let load = LoadOptions {
            snapshot_id: options.snapshot_id,
            replace: true,
            with_storage_state: options.with_storage_state,
            min_revision: options.min_revision,
            progress: options.progress,
            ..LoadOptions::default()
        };
        let loaded = Box::pin(self.load_beside(session_id, &directory, load, true)).await;
        // Nothing of the load writes any more.
        let slot = loading.0.take();
        let (snapshot, storage_state, content_bytes) = match loaded {
            Ok(loaded) => (Some(loaded.snapshot), loaded.storage_state, loaded.content_bytes),
            Err(error) if error.reason() == "PROFILE_EMPTY" => (None, None, 0),
            Err(error) => return Err(error),
        };
        let (empty, at) = (snapshot.is_none(), directory.clone());
        let slot = blocking(move || {
            if let Some(slot) = &slot {
                if empty { slot.empty().and_then(|()| make_directory(&at).map_err(|error| Error::file(&at, error)))? } else { slot.tidy()? }
            }
            Ok(slot)
        })
        .await?;
        Ok(Mount { directory, snapshot, storage_state, content_bytes, client: self.clone(), session_id: session_id.to_owned(), slots, slot })
    }
}

impl Mount {
    /// Saves the directory as the session's new head, as [`Client::save`] does; close the browser before. It may be called again.
    ///
    /// # Errors
    /// Those of [`Client::save`]; the directory is still this mount's then.
    pub async fn save(&mut self, options: SaveOptions) -> Result<Saved> {
        let saved = Box::pin(self.client.save(&self.session_id, &self.directory, options)).await?;
        self.snapshot = Some(saved.snapshot.clone());
        Ok(saved)
    }

    /// Lets the directory go. What was not saved is gone: the next mount gives the head.
    ///
    /// # Errors
    /// What the file system says; the directory is let go at the end of this process then.
    pub async fn discard(mut self) -> Result<()> {
        let (slot, slots) = (self.slot.take(), self.slots.clone());
        blocking(move || {
            slot.map_or(Ok(()), Slot::release)?;
            // The next one that lets go tries again.
            let _ = slots.trim();
            Ok(())
        })
        .await
    }

    /// Where a program that runs on the directory may find and leave a Playwright storage state: a file beside the profile that is not there at first, and is removed when the mount
    /// is let go. It holds cookies: make it readable by its owner only.
    #[must_use]
    pub fn storage_state_file(&self) -> PathBuf {
        self.directory.with_file_name(slots::STORAGE_STATE)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        drop(slot);
        let slots = self.slots.clone();
        // Removing much takes a while, and may be left to the next one.
        away(move || drop(slots.trim()));
    }
}

/// A slot into which a load runs.
struct Loading(Option<Slot>);

impl Drop for Loading {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        // The load was given up, and may still write for a moment, which whoever has its workspace does not. Where that takes too long, the end of this process lets the slot go.
        away(move || match Workspace::beside(&slot.profile()) {
            Ok(space) => drop((space, slot)),
            Err(_) => slot.keep(),
        });
    }
}

/// Does something that nobody waits for.
fn away(work: impl FnOnce() + Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => drop(thread::spawn(work)),
    }
}

/// Removes directories of mounts of all sessions that nobody has, and that nobody had for `older_than`; never one in which a live browser runs. `root` as in [`MountOptions::root`].
///
/// # Errors
/// `OPTION` where there is no place for mounts, and what the file system says.
pub async fn prune_mounts(older_than: Duration, root: Option<&Path>) -> Result<Pruned> {
    let root = slots::root(root)?;
    let (slots, bytes) = blocking(move || slots::prune(&root, older_than)).await?;
    Ok(Pruned { slots, bytes })
}
