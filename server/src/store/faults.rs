//! Faults that the tests inject into an engine's commits. Never in a release build.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

/// Says at which write step a commit fails. An engine asks [`Self::step`] after every step that a crash could follow: each single write, the store's own commit, and the moment
/// between that and the answer. Clones share one plan.
#[derive(Clone, Debug)]
pub struct FaultPlan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Steps that still succeed; below zero: no fault is planned.
    left: AtomicI64,
    hit: AtomicBool,
}

impl FaultPlan {
    /// No fault.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { left: AtomicI64::new(-1), hit: AtomicBool::new(false) }))
    }

    /// Lets `steps` steps pass and makes the next one fail, once.
    pub fn fail_after(&self, steps: u32) {
        self.0.hit.store(false, Ordering::SeqCst);
        self.0.left.store(i64::from(steps), Ordering::SeqCst);
    }

    /// Calls the planned fault off. Says whether it had happened.
    #[must_use]
    pub fn clear(&self) -> bool {
        self.0.left.store(-1, Ordering::SeqCst);
        self.0.hit.swap(false, Ordering::SeqCst)
    }

    /// The engine has made one step. It must fail now if this says so.
    #[must_use]
    pub fn step(&self) -> bool {
        let before = self.0.left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left >= 0).then(|| left - 1));
        let fails = before == Ok(0);
        if fails {
            self.0.hit.store(true, Ordering::SeqCst);
        }
        fails
    }
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self::new()
    }
}
