//! What comes of a load, on its way from the task that reads ahead to its caller.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use crate::model::{
    assembly::Records,
    error::{Error, Reason, Result},
};

/// Pieces that wait for the caller.
const WAITING: usize = 4;

/// A piece of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadPiece {
    /// Of the profile.
    Records(Records),
    /// Of the storage state.
    StorageState(Bytes),
    /// All of it was sent.
    End,
}

/// What comes, in order.
#[derive(Debug)]
pub struct Pieces {
    waiting: mpsc::Receiver<LoadPiece>,
    failed: Arc<Mutex<Option<Error>>>,
}

/// The other end: where pieces are handed in.
#[derive(Debug)]
pub(super) struct Sender {
    waiting: mpsc::Sender<LoadPiece>,
    failed: Arc<Mutex<Option<Error>>>,
    idle: Duration,
}

/// Why nothing more is sent.
#[derive(Debug)]
pub(super) enum Stop {
    /// The caller went away: there is nobody to tell.
    Gone,
    /// The caller shall hear this.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Both ends; a caller that takes nothing for `idle` is given up.
pub(super) fn pieces(idle: Duration) -> (Sender, Pieces) {
    let ((sender, waiting), failed) = (mpsc::channel(WAITING), Arc::default());
    (Sender { waiting: sender, failed: Arc::clone(&failed), idle }, Pieces { waiting, failed })
}

impl Pieces {
    /// The next piece; the last one is [`LoadPiece::End`] or an error. If there is none behind any other, the load was cut off.
    pub async fn recv(&mut self) -> Option<Result<LoadPiece>> {
        if let Some(piece) = self.waiting.recv().await {
            return Some(Ok(piece));
        }
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map(Err)
    }
}

impl Sender {
    /// Waits for the caller, but not for one who stands still.
    pub(super) async fn send(&self, piece: LoadPiece) -> Result<(), Stop> {
        let Ok(sent) = timeout(self.idle, self.waiting.send(piece)).await else {
            let message = format!("nothing of the load was fetched for {:?} (limits.idle_timeout); load again", self.idle);
            return Err(Stop::Failed(Error::new(Reason::Deadline, message)));
        };
        sent.map_err(|_| Stop::Gone)
    }

    /// Ends the load with an error, which comes behind all that was sent; no waiting for the caller.
    pub(super) fn fail(self, error: Error) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
