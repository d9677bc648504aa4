//! What can become the head: a save's new snapshot, or an earlier one again.

use super::{
    Lineage, SnapshotView, Stored,
    head::{Deed, check_head},
    intent::Intent,
    seal::Sealed,
};
use crate::{
    flow::sessions::{self, Loaded},
    model::{
        error::{Error, Result},
        id::{SessionId, SnapshotId, UploadId},
        pack::Header,
        snapshot::Snapshot,
        time::Revision,
    },
    store::metadata::{Record, Write},
};

/// Who wants to move a head, and under what conditions.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) lineage: Lineage,
    pub(super) session: SessionId,
    /// What shall be the head.
    pub(super) id: SnapshotId,
    /// What must be the head before.
    pub(super) parent: Option<SnapshotId>,
    /// Names the step, so that whoever finds its pack knows whose it is.
    pub(super) upload: UploadId,
    pub(super) etag: String,
    pub(super) lease_token: i64,
    pub(super) deed: Deed,
}

/// A step of a lineage, whatever slot it gets.
pub(super) trait Step: Send + Sync + 'static {
    /// Whose it is, and its conditions.
    fn claim(&self) -> &Claim;

    /// Its pack for `slot`, as the commit that follows `found`.
    fn seal(&self, found: &Loaded, slot: u64) -> Result<Sealed>;

    /// That the snapshot that shall be the head can be it, given its record.
    fn check_target(&self, record: Option<&Record>) -> Result<()>;

    /// The step's name was used for another one.
    fn reused(&self) -> Error;
}

impl Claim {
    /// That the step may still be made.
    pub(super) fn check(&self, session: Option<Loaded>) -> Result<Loaded> {
        let same = |found: &Loaded| found.session.lineage == self.lineage.id.to_string();
        let found = session.filter(same).ok_or_else(|| sessions::not_found(&self.session))?;
        found.check_live()?;
        found.check_conditions(&self.etag, self.lease_token)?;
        check_head(&found, self.parent, self.deed)?;
        Ok(found)
    }
}

/// What a step makes the head.
#[derive(Clone, Debug)]
pub(super) enum Makes {
    /// A new snapshot.
    New(Snapshot),
    /// One that was the head before.
    Again(SnapshotView),
}

/// A step's pack in the bucket.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) id: SnapshotId,
    pub(super) slot: u64,
    pub(super) header: Header,
    pub(super) makes: Makes,
    /// The write that makes its storage state the session's.
    pub(super) state: Option<Write>,
    pub(super) intent: Option<Intent>,
    /// Its manifest, when it was written here.
    pub(super) stored: Option<Stored>,
}

/// A head that was moved.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    pub(super) view: SnapshotView,
    /// The head before.
    pub(super) former: Option<SnapshotId>,
    pub(super) revision: Revision,
    /// This attempt's own packs are the ones that were committed.
    pub(super) ours: bool,
}
