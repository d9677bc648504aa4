//! The threads that hold the connections, and the bounded queues in front of them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::sql::{Failure, Sql, unavailable};
use crate::{
    model::{
        error::{Error, Reason, Result},
        id::Namespace,
    },
    store::metadata::{Commit, Outcome},
};

/// Most jobs that wait or run in one queue; the next ones wait for a place.
const QUEUE: usize = 1024;
/// How long a job may wait for a place, and then for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// A commit with who waits for it.
pub(super) struct Writing {
    pub(super) ns: Namespace,
    pub(super) commit: Commit,
    pub(super) answer: oneshot::Sender<Result<Outcome>>,
    /// The place in the queue, given back with the answer.
    pub(super) _place: OwnedSemaphorePermit,
}

/// Work for a thread with a connection.
pub(super) enum Job {
    /// Only for the writer.
    Commit(Box<Writing>),
    Read(Read),
    /// End after this.
    Stop,
}

type Read = Box<dyn FnOnce(&mut Sql<'_>) + Send>;

/// A bounded queue and the threads that serve it.
pub(super) struct Queue {
    jobs: SyncSender<Job>,
    places: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Queue {
    /// A queue without threads, and its other end.
    pub(super) fn new() -> (Self, Receiver<Job>) {
        // The permits bound the jobs; the extra room is for `Stop`, which needs none.
        let (jobs, queued) = sync_channel(QUEUE + 64);
        (Self { jobs, places: Arc::new(Semaphore::new(QUEUE)), threads: Mutex::default() }, queued)
    }

    /// Adds a thread that serves the queue.
    pub(super) fn serve(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::new(Reason::Internal, format!("cannot start the thread {name}")).with_source(error))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    pub(super) async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        let place = self.place().await?;
        let (answer, answered) = oneshot::channel();
        self.put(Job::Commit(Box::new(Writing { ns: ns.clone(), commit, answer, _place: place })))?;
        in_time(answered).await?
    }

    /// Runs `work` on one of the threads.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Sql<'_>) -> Result<T, Failure> + Send + 'static) -> Result<Result<T, Failure>> {
        let place = self.place().await?;
        let (answer, answered) = oneshot::channel();
        self.put(Job::Read(Box::new(move |sql| {
            let _place = place;
            let _ = answer.send(work(sql));
        })))?;
        in_time(answered).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(DEADLINE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(unavailable(&format!("the metadata store took no request for {DEADLINE:?}: {QUEUE} are waiting already"))),
        }
    }

    fn put(&self, job: Job) -> Result<()> {
        self.jobs.try_send(job).map_err(|_| closed())
    }

    /// Takes no more jobs, and waits until those taken are done and the threads have ended.
    pub(super) fn close(&self) {
        self.places.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in &threads {
            let _ = self.jobs.try_send(Job::Stop);
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the metadata store panicked");
            }
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

async fn in_time<T>(answered: oneshot::Receiver<T>) -> Result<T> {
    match timeout(DEADLINE, answered).await {
        Ok(answer) => answer.map_err(|_| closed()),
        Err(_) => Err(unavailable(&format!("the metadata store did not answer within {DEADLINE:?}"))),
    }
}

fn closed() -> Error {
    unavailable("the metadata store is closed")
}

/// What a reading thread does until the queue ends.
pub(super) fn read(connection: &rusqlite::Connection, queue: &Mutex<Receiver<Job>>) {
    let mut sql = Sql::new(connection);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(Job::Read(read)) => read(&mut sql),
            Ok(Job::Commit(_) | Job::Stop) | Err(_) => return,
        }
    }
}
