//! Places in a commit where tests let it end as if the process had died there.

use crate::model::error::Result;

/// Where a commit can be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// The intent of a large save is recorded, and no data pack is written.
    AfterIntent,
    /// A data pack is written.
    AfterDataPack,
    /// The lineage's key is in the bucket, and the commit pack is not.
    BeforePut,
    /// The commit pack is in the bucket, and the head is not moved.
    AfterPut,
    /// The head is moved, and nobody was told.
    AfterCommit,
    /// A slot is passed over, and its void object is not written.
    AfterFloor,
}

/// The cuts that are planned; in a release build there are none.
#[derive(Debug, Default)]
pub struct Faults {
    #[cfg(any(test, feature = "conformance"))]
    planned: std::sync::Mutex<Vec<FaultPoint>>,
}

impl Faults {
    /// Cuts the next commit off that comes to this point.
    #[cfg(any(test, feature = "conformance"))]
    pub fn plan(&self, point: FaultPoint) {
        self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(point);
    }

    /// Called where a commit passes `point`.
    #[cfg(any(test, feature = "conformance"))]
    pub(super) fn at(&self, point: FaultPoint) -> Result<()> {
        let mut planned = self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match planned.iter().position(|planned| *planned == point) {
            Some(at) => {
                planned.remove(at);
                Err(crate::model::error::Error::new(crate::model::error::Reason::Internal, format!("cut off by a test: {point:?}")))
            }
            None => Ok(()),
        }
    }

    /// Called where a commit passes `point`.
    #[cfg(not(any(test, feature = "conformance")))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the shape that tests need")]
    pub(super) fn at(&self, _: FaultPoint) -> Result<()> {
        Ok(())
    }
}
