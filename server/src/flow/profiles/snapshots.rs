//! Looking at snapshots: what became of an upload, which there are, what is in one.

use std::sync::Arc;

use super::{
    Profiles, SnapshotView, Stored,
    save::{missing_result, snapshot_deleted, snapshot_not_found, uploaded},
};
use crate::{
    flow::sessions::{self, Loaded, record_key},
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, SessionId, SnapshotId, UploadId},
        manifest::Entry,
        page,
        session::REVIVABLE,
        snapshot::{index_name, record_key as snapshot_key, upload_key},
        time::Revision,
    },
    store::metadata::{Direction, Found, Index, Key, Range, Record},
};

/// What page tokens are signed for.
const SNAPSHOTS: &str = "page of snapshots";
const ENTRIES: &str = "page of entries";
/// Where a page of entries ends early, in bytes of paths and targets, so that answers stay under 3 MiB.
const PAGE_BYTES: usize = 1 << 20;

/// What became of an upload.
#[derive(Clone, Debug)]
pub struct Status {
    /// The snapshot it made, if it was committed.
    pub view: Option<SnapshotView>,
    /// The revision that the answer reflects.
    pub revision: Revision,
}

/// Which page of a session's snapshots to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing<'a> {
    /// How many at most.
    pub size: usize,
    /// Of the page before; empty for the first.
    pub token: &'a str,
    /// Deleted ones too.
    pub deleted: bool,
    /// Nothing older than this.
    pub min_revision: Revision,
}

/// One page of a session's snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotPage {
    /// Newest first.
    pub views: Vec<SnapshotView>,
    /// Token of the next page; empty after the last.
    pub next: String,
    /// The revision that the page reflects.
    pub revision: Revision,
}

/// A snapshot, with a page of its entries if they were asked for.
#[derive(Clone, Debug)]
pub struct EntryPage {
    /// The snapshot.
    pub view: SnapshotView,
    /// In ascending order of their paths.
    pub entries: Vec<Arc<Entry>>,
    /// Token of the next page; empty after the last.
    pub next: String,
    /// The revision that the answer reflects.
    pub revision: Revision,
}

impl Profiles {
    /// What became of an upload.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, and the store's errors.
    pub async fn status(&self, namespace: &Namespace, session: &SessionId, upload: &UploadId) -> Result<Status> {
        let keys = [record_key(session), Key(upload_key(session, upload))];
        let reading = self.sessions.reading(namespace, &keys, Revision::ZERO).await?;
        let mut found = reading.found.into_iter();
        let session = sessions::live(session, found.next().unwrap_or(Found::Absent), reading.now)?;
        let view = match uploaded(session.session.lineage_id()?, found.next())? {
            None => None,
            Some(done) => Some(self.snapshot(namespace, &session, done.id).await?.ok_or_else(|| missing_result(done.id))?),
        };
        Ok(Status { view, revision: reading.revision })
    }

    /// A page of a session's snapshots, newest first; deleted ones, as long as they can be revived, only with `deleted`.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN`, `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn list(&self, namespace: &Namespace, session: &SessionId, listing: Listing<'_>) -> Result<SnapshotPage> {
        let Listing { size, token, deleted, min_revision } = listing;
        let (session, revision) = self.live_session(namespace, session, min_revision).await?;
        let lineage = session.session.lineage_id()?;
        let keys = self.keyring.namespace(namespace).await?;
        let filters = [SNAPSHOTS.as_bytes(), &[u8::from(deleted)], &lineage.0].concat();
        let mut last: Option<(i64, String)> = match token {
            "" => None,
            token => Some(page::decode(token, &filters, |data, tag| keys.verify_token(SNAPSHOTS, data, tag))?),
        };
        let (index, mut views) = (Index(index_name(lineage)), Vec::with_capacity(size));
        let more = loop {
            let members = self.metadata.scan(namespace, &index, &Range::From(last.clone()), Direction::Descending, size + 1).await?;
            let full = members.len() > size;
            let read = self.views(namespace, &session, members).await?;
            let mut left = read.into_iter();
            while views.len() < size
                && let Some((at, view)) = left.next()
            {
                last = Some(at);
                views.extend(view.filter(|view| (deleted || view.deleted_at.is_none()) && !view.is_gone(session.now)));
            }
            let rest = left.next().is_some();
            if rest || !full {
                break rest;
            }
        };
        let next = match last.filter(|_| more) {
            Some(last) => page::encode(&last, &filters, |data| keys.token_mac(SNAPSHOTS, data)),
            None => String::new(),
        };
        Ok(SnapshotPage { views, next, revision })
    }

    /// The snapshots of members of a lineage's index.
    async fn views(&self, namespace: &Namespace, session: &Loaded, members: Vec<(i64, String)>) -> Result<Vec<((i64, String), Option<SnapshotView>)>> {
        let lineage = session.session.lineage_id()?;
        let ids = members.iter().map(|(_, member)| SnapshotId::parse("member", member)).collect::<Result<Vec<_>>>()?;
        let records: Vec<Key> = ids.iter().map(|id| Key(snapshot_key(lineage, *id))).collect();
        let found = self.metadata.get(namespace, &records).await?.found;
        let view = |(id, found): (&SnapshotId, Found)| found.live().map(|record| SnapshotView::new(*id, &record, session)).transpose();
        members.into_iter().zip(ids.iter().zip(found).map(view)).map(|(at, view)| Ok((at, view?))).collect()
    }

    /// A snapshot (none: the head), with a page of `entries` of its entries if that is given.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN`, `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `REVISION_NOT_REACHED`,
    /// `KEY_UNAVAILABLE`, `DATA_CORRUPT`, and the stores' errors.
    pub async fn get(
        &self,
        namespace: &Namespace,
        session: &SessionId,
        snapshot: Option<SnapshotId>,
        entries: Option<(usize, &str)>,
        min_revision: Revision,
    ) -> Result<EntryPage> {
        let (session, revision) = self.live_session(namespace, session, min_revision).await?;
        let view = self.wanted(namespace, &session, snapshot).await?;
        let Some((size, token)) = entries else { return Ok(EntryPage { view, entries: Vec::new(), next: String::new(), revision }) };
        let lineage = self.lineage(namespace, &session).await?;
        let keys = self.keyring.namespace(namespace).await?;
        let filters = [ENTRIES.as_bytes(), &lineage.id.0].concat();
        let start = match token {
            "" => 0,
            token => {
                let (start, of) = page::decode(token, &filters, |data, tag| keys.verify_token(ENTRIES, data, tag))?;
                // The head may have moved since: a token goes on in the snapshot that it was made for, or nowhere.
                usize::try_from(start).ok().filter(|_| of == view.id.to_string()).ok_or_else(page::invalid)?
            }
        };
        let stored: Arc<Stored> = self.manifest(&lineage, view.id, &view.snapshot).await?;
        let all = stored.manifest.entries();
        let end = page_end(all, start, size, |entry| entry.path.len() + entry.target.len());
        let entries = all.get(start..end).unwrap_or_default().to_vec();
        let next = if end < all.len() {
            let position = (i64::try_from(end).unwrap_or(i64::MAX), view.id.to_string());
            page::encode(&position, &filters, |data| keys.token_mac(ENTRIES, data))
        } else {
            String::new()
        };
        Ok(EntryPage { view, entries, next, revision })
    }

    /// A live session, and the revision of the reading.
    pub(super) async fn live_session(&self, namespace: &Namespace, id: &SessionId, min_revision: Revision) -> Result<(Loaded, Revision)> {
        let reading = self.sessions.reading(namespace, &[record_key(id)], min_revision).await?;
        let found = reading.found.into_iter().next().unwrap_or(Found::Absent);
        Ok((sessions::live(id, found, reading.now)?, reading.revision))
    }

    /// The wanted snapshot of a session; none: its head.
    pub(super) async fn wanted(&self, namespace: &Namespace, session: &Loaded, snapshot: Option<SnapshotId>) -> Result<SnapshotView> {
        let head = session.session.head_id()?;
        let Some(head) = head else {
            let message = format!("session {} has no profile: nothing was ever saved into it", session.id);
            return Err(Error::new(Reason::ProfileEmpty, message).with("session_id", &session.id));
        };
        let id = snapshot.unwrap_or(head);
        match self.snapshot(namespace, session, id).await?.filter(|view| !view.is_gone(session.now)) {
            Some(SnapshotView { deleted_at: Some(at), .. }) => Err(snapshot_deleted(&session.id, id, at.after(REVIVABLE))),
            Some(view) => Ok(view),
            None if id == head => Err(Error::new(Reason::DataCorrupt, format!("the head {id} of session {} has no record", session.id))),
            None => Err(snapshot_not_found(&session.id, id)),
        }
    }

    /// A snapshot of a session, if there is one of that id.
    pub(super) async fn snapshot(&self, namespace: &Namespace, session: &Loaded, id: SnapshotId) -> Result<Option<SnapshotView>> {
        let record = self.record(namespace, Key(snapshot_key(session.session.lineage_id()?, id))).await?;
        record.map(|record| SnapshotView::new(id, &record, session)).transpose()
    }

    pub(super) async fn record(&self, namespace: &Namespace, key: Key) -> Result<Option<Record>> {
        Ok(self.metadata.get(namespace, &[key]).await?.found.into_iter().next().and_then(Found::live))
    }
}

/// Where a page ends that begins at `start`: after `size` items, or before their texts are too much for an answer. No item's texts alone are too much.
pub(super) fn page_end<T>(all: &[T], start: usize, size: usize, texts: impl Fn(&T) -> usize) -> usize {
    let mut bytes = 0;
    let fits = |item: &&T| {
        bytes += texts(item);
        bytes <= PAGE_BYTES
    };
    let items = all.get(start..).unwrap_or_default();
    start + items.iter().take(size).take_while(fits).count()
}
