//! What can be done with snapshots: made the head again, kept, put away, compared.

use cloakroom_api::v1;

use crate::{
    clock,
    connection::Client,
    error::{Error, Result},
    sessions::Answer,
};

/// The conditions of a change, each checked only when given.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Only if the session still has this etag.
    pub etag: String,
    /// The lease under which this is done; 0 for none.
    pub lease_token: i64,
    /// Makes a repetition harmless; by default every call has its own.
    pub request_id: String,
}

/// What to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The snapshot that shall be the head again; empty for the one that the head was made from: undo.
    pub snapshot_id: String,
    /// Only if this snapshot is the head.
    pub head_snapshot_id: String,
    /// Its other conditions.
    pub conditions: Conditions,
}

/// A restore that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// What is the head again.
    pub snapshot: v1::Snapshot,
    /// The head before: restoring it is redo.
    pub former_head_snapshot_id: String,
    /// The session's etag after it.
    pub session_etag: String,
    /// The revision of the change.
    pub revision: i64,
}

/// What differs between two snapshots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// The newer snapshot.
    pub snapshot: v1::Snapshot,
    /// The older one; none if the newer is compared with an empty profile.
    pub base: Option<v1::Snapshot>,
    /// All entries that differ, in order of their paths.
    pub differences: Vec<v1::EntryDifference>,
    /// How many entries are new.
    pub added: i64,
    /// How many are gone.
    pub removed: i64,
    /// How many are in both and differ.
    pub changed: i64,
    /// Bytes of the newer files that differ, counted in leaves of 4 KiB.
    pub changed_bytes: i64,
    /// The cookie databases that differ. Values are never among it.
    pub cookies: Vec<v1::CookieDatabaseDifference>,
    /// The revision that the answer reflects.
    pub revision: i64,
}

/// One call of the profile service.
macro_rules! call {
    ($client:expr, $method:ident, $request:expr) => {{
        let request = $request;
        let call = || {
            let (mut stub, request) = ($client.profile_stub(), request.clone());
            async move { stub.$method(request).await }
        };
        $client.unary(call).await?.into_inner()
    }};
}

impl Client {
    /// Makes an earlier snapshot of a session its head again, together with the storage state that was saved with it.
    ///
    /// # Errors
    /// As the contract says of `RestoreSnapshot`.
    pub async fn restore(&self, session_id: &str, options: RestoreOptions) -> Result<Restored> {
        let Conditions { etag, lease_token, request_id } = options.conditions.named();
        let request = v1::RestoreSnapshotRequest {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: options.snapshot_id,
            head_snapshot_id: options.head_snapshot_id,
            etag,
            lease_token,
            request_id,
        };
        let answer = call!(self, restore_snapshot, request);
        let v1::RestoreSnapshotResponse { snapshot, revision, session_etag, former_head_snapshot_id } = answer;
        let snapshot = snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
        Ok(Restored { snapshot, former_head_snapshot_id, session_etag, revision })
    }

    /// Pins a snapshot (an empty id means the head), with a note that says why: it cannot be deleted then.
    ///
    /// # Errors
    /// As the contract says of `PinSnapshot`.
    pub async fn pin(&self, session_id: &str, snapshot_id: &str, note: &str, conditions: Conditions) -> Result<Answer<v1::Snapshot>> {
        self.set_pin(session_id, snapshot_id, note, false, conditions).await
    }

    /// Unpins a snapshot; an empty id means the head.
    ///
    /// # Errors
    /// As the contract says of `PinSnapshot`.
    pub async fn unpin(&self, session_id: &str, snapshot_id: &str, conditions: Conditions) -> Result<Answer<v1::Snapshot>> {
        self.set_pin(session_id, snapshot_id, "", true, conditions).await
    }

    async fn set_pin(&self, session_id: &str, snapshot_id: &str, note: &str, unpin: bool, conditions: Conditions) -> Result<Answer<v1::Snapshot>> {
        let Conditions { etag, lease_token, request_id } = conditions.named();
        let request = v1::PinSnapshotRequest {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            note: note.to_owned(),
            unpin,
            etag,
            lease_token,
            request_id,
        };
        let answer = call!(self, pin_snapshot, request);
        snapshot(answer.snapshot, answer.revision)
    }

    /// Deletes a snapshot, which can be revived for 7 days; never the head or a pinned one.
    ///
    /// # Errors
    /// As the contract says of `DeleteSnapshot`.
    pub async fn delete_snapshot(&self, session_id: &str, snapshot_id: &str, conditions: Conditions) -> Result<Answer<v1::Snapshot>> {
        let Conditions { etag, lease_token, request_id } = conditions.named();
        let (namespace, session_id, snapshot_id) = (self.namespace.to_string(), session_id.to_owned(), snapshot_id.to_owned());
        let request = v1::DeleteSnapshotRequest { namespace, session_id, snapshot_id, etag, lease_token, request_id };
        let answer = call!(self, delete_snapshot, request);
        snapshot(answer.snapshot, answer.revision)
    }

    /// Revives a deleted snapshot.
    ///
    /// # Errors
    /// As the contract says of `UndeleteSnapshot`.
    pub async fn undelete_snapshot(&self, session_id: &str, snapshot_id: &str, conditions: Conditions) -> Result<Answer<v1::Snapshot>> {
        let Conditions { etag, lease_token, request_id } = conditions.named();
        let (namespace, session_id, snapshot_id) = (self.namespace.to_string(), session_id.to_owned(), snapshot_id.to_owned());
        let request = v1::UndeleteSnapshotRequest { namespace, session_id, snapshot_id, etag, lease_token, request_id };
        let answer = call!(self, undelete_snapshot, request);
        snapshot(answer.snapshot, answer.revision)
    }

    /// Compares two snapshots of a session, all pages. An empty `snapshot_id` means the head, an empty `base_snapshot_id` the one that the other was made from.
    ///
    /// # Errors
    /// As the contract says of `DiffSnapshots`.
    pub async fn diff(&self, session_id: &str, base_snapshot_id: &str, snapshot_id: &str) -> Result<Diff> {
        let mut request = v1::DiffSnapshotsRequest {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            base_snapshot_id: base_snapshot_id.to_owned(),
            ..v1::DiffSnapshotsRequest::default()
        };
        let mut diff = Diff::default();
        loop {
            let page = call!(self, diff_snapshots, request.clone());
            let first = request.page_token.is_empty();
            diff.differences.extend(page.differences);
            diff.revision = page.revision;
            if first {
                diff.snapshot = page.snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
                (diff.base, diff.cookies) = (page.base_snapshot, page.cookie_databases);
                (diff.added, diff.removed, diff.changed, diff.changed_bytes) = (page.added_count, page.removed_count, page.changed_count, page.changed_bytes);
            }
            if page.next_page_token.is_empty() {
                return Ok(diff);
            }
            // The head may have moved since the first page.
            request.snapshot_id.clone_from(&diff.snapshot.id);
            request.page_token = page.next_page_token;
        }
    }
}

impl Conditions {
    /// With a request id.
    fn named(mut self) -> Self {
        if self.request_id.is_empty() {
            self.request_id = clock::random_id();
        }
        self
    }
}

fn snapshot(snapshot: Option<v1::Snapshot>, revision: i64) -> Result<Answer<v1::Snapshot>> {
    snapshot.map(|value| Answer { value, revision }).ok_or_else(|| Error::malformed("its snapshot"))
}
