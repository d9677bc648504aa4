//! Differences between two snapshots, for people: entries, and cookies by host and name.

use std::sync::Arc;

use super::{Lineage, Profiles, SnapshotView, frames::batches, snapshots::page_end};
use crate::{
    flow::sessions::Loaded,
    model::{
        compare::{Comparison, Difference, compare},
        cookies::{self, CookieChange, CookieId, Cookies},
        error::{Error, Reason, Result},
        id::{Namespace, SessionId, SnapshotId},
        manifest::{Entry, Manifest},
        pack::{Frame, FrameKind},
        page,
        time::Revision,
        tree::{Kind, LEAF},
    },
    store::cookies::{DigestKey, MAX_DATABASE, read},
};

/// What page tokens are signed for.
const DIFFERENCES: &str = "page of differences";
/// Most cookie databases of an answer, and where its list of cookies ends early, in bytes of their texts.
const MAX_DATABASES: usize = 8;
const COOKIE_BYTES: usize = 512 << 10;
/// What a listed cookie takes beside its texts.
const COOKIE_FIXED: usize = 32;
/// Unpacked bytes of the frames that are read at once.
const BATCH: u64 = 4 << 20;
/// A write-ahead log that is no longer holds nothing but its own header.
const WAL_HEADER: u64 = 32;

/// What to compare.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
    /// The newer one; none: the head.
    pub snapshot: Option<SnapshotId>,
    /// The older one; none: the one that the newer was made from.
    pub base: Option<SnapshotId>,
    /// Differences of a page.
    pub size: usize,
    /// Of the page before; empty for the first.
    pub token: String,
    /// Nothing older than this.
    pub min_revision: Revision,
}

/// A page of what differs.
#[derive(Clone, Debug)]
pub struct DiffPage {
    /// The newer snapshot.
    pub view: SnapshotView,
    /// The older one; none: the newer was made from nothing.
    pub base: Option<SnapshotView>,
    /// How much differs in all, and the differences of this page.
    pub comparison: Comparison,
    /// The cookie databases that differ, on the first page.
    pub cookies: Vec<CookieDatabase>,
    /// Token of the next page; empty after the last.
    pub next: String,
    /// The revision that the answer reflects.
    pub revision: Revision,
}

/// What differs in a cookie database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieDatabase {
    /// Its path.
    pub path: String,
    /// Why that is unknown; else empty.
    pub unknown: String,
    /// Which cookies.
    pub changes: Vec<(CookieId, CookieChange)>,
    /// More of them differ than are listed.
    pub truncated: bool,
}

impl Profiles {
    /// Compares two snapshots of a session.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN`, `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `SNAPSHOT_DELETED`,
    /// `REVISION_NOT_REACHED`, `OVERLOADED`, `KEY_UNAVAILABLE`, `DATA_CORRUPT`, and the stores' errors.
    pub async fn diff(&self, wanted: &DiffRequest) -> Result<DiffPage> {
        let (session, revision) = self.live_session(&wanted.namespace, &wanted.session, wanted.min_revision).await?;
        let view = self.wanted(&wanted.namespace, &session, wanted.snapshot).await?;
        let base = self.compared_with(wanted, &session, &view).await?;
        let lineage = self.lineage(&wanted.namespace, &session).await?;
        let keys = self.keyring.namespace(&wanted.namespace).await?;
        let ids = format!("{}{}", view.id, base.as_ref().map(|base| base.id.to_string()).unwrap_or_default());
        let filters = [DIFFERENCES.as_bytes(), &lineage.id.0].concat();
        let start = match wanted.token.as_str() {
            "" => 0,
            token => {
                // The head may have moved since: a token goes on between the two that it was made for, or nowhere.
                let (start, of) = page::decode(token, &filters, |data, tag| keys.verify_token(DIFFERENCES, data, tag))?;
                usize::try_from(start).ok().filter(|_| of == ids).ok_or_else(page::invalid)?
            }
        };
        let after = Arc::clone(&self.manifest(&lineage, view.id, &view.snapshot).await?.manifest);
        let before = match &base {
            Some(base) => Arc::clone(&self.manifest(&lineage, base.id, &base.snapshot).await?.manifest),
            None => Arc::default(),
        };
        let (old, new) = (Arc::clone(&before), Arc::clone(&after));
        let mut comparison = self.workers.run(move || Ok(compare(&old, &new))).await?;
        let cookies = if start == 0 { self.cookies(&lineage, &comparison, &before, &after).await? } else { Vec::new() };
        let total = comparison.differences.len();
        let texts = |one: &Difference| [&one.before, &one.after].into_iter().flatten().map(|entry| entry.path.len() + entry.target.len()).sum();
        let end = page_end(&comparison.differences, start, wanted.size, texts);
        comparison.differences = comparison.differences.drain(start.min(total)..end).collect();
        let next = if end < total {
            page::encode(&(i64::try_from(end).unwrap_or(i64::MAX), ids), &filters, |data| keys.token_mac(DIFFERENCES, data))
        } else {
            String::new()
        };
        Ok(DiffPage { view, base, comparison, cookies, next, revision })
    }

    /// The older one of the two.
    async fn compared_with(&self, wanted: &DiffRequest, session: &Loaded, view: &SnapshotView) -> Result<Option<SnapshotView>> {
        let base = match (&wanted.base, &view.snapshot.parent) {
            (Some(base), _) => Some(*base),
            (None, Some(parent)) => Some(SnapshotId::parse("parent", parent)?),
            (None, None) => None,
        };
        match base {
            Some(base) => self.wanted(&wanted.namespace, session, Some(base)).await.map(Some),
            None => Ok(None),
        }
    }

    /// What differs in the cookie databases that differ.
    async fn cookies(&self, lineage: &Lineage, comparison: &Comparison, before: &Manifest, after: &Manifest) -> Result<Vec<CookieDatabase>> {
        let mut paths: Vec<&str> = comparison.differences.iter().filter_map(|one| database(one.path())).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut room = COOKIE_BYTES;
        let mut databases = Vec::new();
        for path in paths.into_iter().take(MAX_DATABASES) {
            let key = Arc::new(DigestKey::new()?);
            let was = self.cookies_of(lineage, before, path, &key).await?;
            let is = self.cookies_of(lineage, after, path, &key).await?;
            databases.push(match (was, is) {
                (Ok(was), Ok(is)) => listed(path, &was, &is, &mut room),
                (Err(why), _) => CookieDatabase::unknown(path, format!("of the older snapshot: {why}")),
                (_, Err(why)) => CookieDatabase::unknown(path, format!("of the newer snapshot: {why}")),
            });
        }
        Ok(databases)
    }

    /// The cookies of a database in a snapshot, none if it has no such database; or why they cannot be known.
    async fn cookies_of(&self, lineage: &Lineage, manifest: &Manifest, path: &str, key: &Arc<DigestKey>) -> Result<Result<Cookies, String>> {
        let Some(entry) = manifest.find(path) else { return Ok(Ok(Cookies::new())) };
        if entry.kind != Kind::File {
            return Ok(Err("it is no file".to_owned()));
        }
        if entry.size > MAX_DATABASE {
            return Ok(Err(format!("it has {} bytes; at most {MAX_DATABASE} are read", entry.size)));
        }
        if manifest.find(&format!("{path}-wal")).is_some_and(|wal| wal.size > WAL_HEADER) {
            return Ok(Err("a write-ahead log stands beside it: the browser had not exited".to_owned()));
        }
        if let Some(journal) = manifest.find(&format!("{path}-journal")).filter(|journal| journal.kind == Kind::File && journal.size > 0) {
            // SQLite clears the first byte when a transaction is over.
            if self.content(lineage, journal, 1).await?.first().is_some_and(|byte| *byte != 0) {
                return Ok(Err("a hot journal stands beside it: the browser was in the middle of a change".to_owned()));
            }
        }
        let _permit = self.loading.take(kibibytes(2 * entry.size), self.patience(false)).await?;
        let (content, key) = (self.content(lineage, entry, u32::MAX).await?, Arc::clone(key));
        self.workers.run(move || Ok(read(content, &key))).await
    }

    /// The first `most` leaves of a file.
    async fn content(&self, lineage: &Lineage, entry: &Entry, most: u32) -> Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(entry.size.min(u64::from(most) * u64::from(LEAF))).unwrap_or(0));
        let (mut left, mut extents) = (most.min(entry.leaf_count()), entry.extents.iter().peekable());
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        let mut wanted = 0;
        for extent in extents.clone().take_while(|extent| {
            let needed = wanted < left;
            wanted += extent.leaves;
            needed
        }) {
            if frames.last() != Some(&extent.frame) {
                frames.push(Arc::clone(&extent.frame));
            }
        }
        for batch in batches(frames, BATCH, |frame| frame) {
            for opened in self.frames.read(lineage, FrameKind::Data, &batch, false).await? {
                while left > 0
                    && let Some(extent) = extents.next_if(|extent| extent.frame == opened.frame)
                {
                    let leaves = extent.leaves.min(left);
                    let (start, rest) = (extent.offset as usize, usize::try_from(entry.size).unwrap_or(usize::MAX) - content.len());
                    let bytes = (leaves as usize * LEAF as usize).min(rest);
                    let piece = opened.plain.get(start..start + bytes);
                    content.extend_from_slice(piece.ok_or_else(|| Error::new(Reason::DataCorrupt, "a file's leaves lie outside their frame"))?);
                    left -= leaves;
                }
            }
        }
        Ok(content)
    }
}

/// So many bytes in KiB.
fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// The cookie database that an entry of this path is, or stands beside.
fn database(path: &str) -> Option<&str> {
    let main = path.strip_suffix("-journal").or_else(|| path.strip_suffix("-wal")).unwrap_or(path);
    cookies::is_database(main).then_some(main)
}

/// What differs, as far as there is room for it.
fn listed(path: &str, was: &Cookies, is: &Cookies, room: &mut usize) -> CookieDatabase {
    let all = cookies::compare(was, is);
    let total = all.len();
    let fits = |(id, _): &(CookieId, CookieChange)| {
        let size = id.host.len() + id.name.len() + id.path.len() + COOKIE_FIXED;
        let fits = size <= *room;
        *room = if fits { *room - size } else { 0 };
        fits
    };
    let changes: Vec<_> = all.into_iter().take_while(fits).collect();
    CookieDatabase { path: path.to_owned(), unknown: String::new(), truncated: changes.len() < total, changes }
}

impl CookieDatabase {
    fn unknown(path: &str, why: String) -> Self {
        Self { path: path.to_owned(), unknown: why, changes: Vec::new(), truncated: false }
    }
}
