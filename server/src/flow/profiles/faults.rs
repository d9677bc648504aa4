//! Places in a commit where tests let it end as if the process had died there, or hold it as if it stalled.

use crate::model::error::Result;

/// Where a commit can be cut off or held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// The intent of a large save is recorded, and its next data pack is not written.
    AfterIntent,
    /// A data pack is written.
    AfterDataPack,
    /// Everything is sealed, and nothing of the commit is in the bucket.
    BeforePut,
    /// The commit pack is in the bucket, and the head is not moved.
    AfterPut,
    /// The head is moved, and nobody was told.
    AfterCommit,
    /// A slot is passed over, and its void object is not written.
    AfterFloor,
}

/// What is planned; in a release build nothing ever is.
#[derive(Debug, Default)]
pub struct Faults {
    #[cfg(any(test, feature = "conformance"))]
    planned: std::sync::Mutex<Vec<(FaultPoint, planned::Plan)>>,
}

#[cfg(not(any(test, feature = "conformance")))]
impl Faults {
    /// Called where a commit passes `point`.
    #[expect(clippy::unused_self, reason = "the shape that tests need")]
    pub(super) fn at(&self, _: FaultPoint) -> std::future::Ready<Result<()>> {
        std::future::ready(Ok(()))
    }
}

#[cfg(any(test, feature = "conformance"))]
pub use planned::Held;

#[cfg(any(test, feature = "conformance"))]
mod planned {
    use std::sync::{Arc, PoisonError};

    use tokio::sync::Semaphore;

    use super::{FaultPoint, Faults, Result};
    use crate::model::error::{Error, Reason};

    #[derive(Debug)]
    pub(super) enum Plan {
        Cut,
        Hold(Arc<Gate>),
    }

    #[derive(Debug)]
    pub(super) struct Gate {
        reached: Semaphore,
        open: Semaphore,
    }

    /// A commit that is held at a point, or will be.
    #[derive(Debug)]
    pub struct Held(Arc<Gate>);

    impl Held {
        /// Waits until the commit has come there.
        pub async fn reached(&self) {
            drop(self.0.reached.acquire().await);
        }

        /// Lets it go on.
        pub fn release(&self) {
            self.0.open.add_permits(1);
        }
    }

    impl Faults {
        /// Cuts the next commit off that comes to this point.
        pub fn plan(&self, point: FaultPoint) {
            self.add(point, Plan::Cut);
        }

        /// Holds the next commit that comes to this point.
        pub fn hold(&self, point: FaultPoint) -> Held {
            let gate = Arc::new(Gate { reached: Semaphore::new(0), open: Semaphore::new(0) });
            self.add(point, Plan::Hold(Arc::clone(&gate)));
            Held(gate)
        }

        fn add(&self, point: FaultPoint, plan: Plan) {
            self.planned.lock().unwrap_or_else(PoisonError::into_inner).push((point, plan));
        }

        fn take(&self, point: FaultPoint) -> Option<Plan> {
            let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            let at = planned.iter().position(|(planned, _)| *planned == point)?;
            Some(planned.remove(at).1)
        }

        /// Called where a commit passes `point`.
        pub(in crate::flow::profiles) async fn at(&self, point: FaultPoint) -> Result<()> {
            match self.take(point) {
                None => Ok(()),
                Some(Plan::Cut) => Err(Error::new(Reason::Internal, format!("cut off by a test: {point:?}"))),
                Some(Plan::Hold(gate)) => {
                    gate.reached.add_permits(1);
                    drop(gate.open.acquire().await);
                    Ok(())
                }
            }
        }
    }
}
