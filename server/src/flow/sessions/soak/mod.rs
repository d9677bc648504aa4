//! Random operations against a model, on any engine: what the operations answer, what is stored, what the indices hold and what the log tells must all agree.
//!
//! Two daemons serve the same store, each with a cache that follows the log; every operation goes to one of them, and reads ask for what was written last, wherever that was.
//! Every round runs tasks side by side, each on session ids of its own, so that each knows what must come out while all share businesses, addresses, labels and therefore
//! indices. Times to live are either over within a fraction of a second or far away, so that after a short rest everybody agrees on what is expired. A last round lets all tasks
//! meet on the same ids, where only the agreement of records and indices can be told.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Sessions,
    testing::{KeyMap, sessions},
};
use crate::{
    clock,
    flow::{follow, sweep::sweep, tasks::Tasks, watch::Hub},
    model::{
        error::{Reason, Result},
        id::{Namespace, SessionId},
    },
    store::metadata::Metadata,
};

mod check;
mod model;
mod task;

use check::Ledger;
use model::Twin;
use task::Task;

/// Businesses that sessions belong to.
const BUSINESSES: u64 = 6;
/// Addresses that they have.
const ADDRESSES: u64 = 6;
/// Values of the label `env`, and of the label `team`.
const VALUES: u64 = 3;
/// A time to live that is over before a rest ends.
const SHORT: Duration = Duration::from_millis(60);
/// A time to live that outlasts every test.
const LONG: Duration = Duration::from_hours(1);
/// How long to wait until everything short is over.
const REST: Duration = Duration::from_millis(150);

/// How a soak is shaped.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Where the random numbers start; a run is repeated with the same, up to the interleaving of its tasks.
    pub seed: u64,
    /// Operations in all.
    pub operations: u32,
    /// Tasks of the rounds with many.
    pub tasks: u32,
    /// Session ids of each task.
    pub ids: u32,
}

/// What a soak did and found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Operations that ran.
    pub operations: u64,
    /// Of those, the ones that changed something.
    pub changes: u64,
    /// Sessions that the sweeper hid.
    pub expired: u64,
    /// Sessions that the sweeper purged.
    pub purged: u64,
    /// Index members that were compared.
    pub members: u64,
    /// Log entries that were compared.
    pub events: u64,
    /// Readings that a cache answered.
    pub hits: u64,
}

/// Runs operations on an empty namespace of a store, and compares everything with the model.
///
/// # Errors
/// When the store fails.
///
/// # Panics
/// When anything differs from the model; the message says what, and the seed.
pub async fn run(metadata: Arc<dyn Metadata>, namespace: &Namespace, shape: Shape) -> Result<Report> {
    let (background, objects) = (Arc::new(Tasks::new()), Arc::new(KeyMap::default()));
    let daemons = [sessions(Arc::clone(&metadata), Arc::clone(&objects))?, sessions(Arc::clone(&metadata), objects)?];
    for daemon in &daemons {
        let hub = Arc::new(Hub::new(Arc::clone(&metadata), Arc::clone(&background)));
        background.spawn(follow::run(hub, daemon.cache(), Arc::clone(&background)));
    }
    let report = run_on(&daemons, namespace, shape).await;
    background.stop(Duration::from_secs(5)).await;
    report
}

async fn run_on(daemons: &[Arc<Sessions>; 2], namespace: &Namespace, shape: Shape) -> Result<Report> {
    let sessions = &daemons[0];
    let mut ledger = Ledger::new(Arc::clone(sessions), namespace.clone(), shape.seed);
    let rounds = [(1, shape.operations / 10), (shape.tasks, shape.operations * 4 / 10), (shape.tasks, shape.operations * 4 / 10)];
    let mut tasks: Vec<Task> = (0..shape.tasks).map(|at| Task::new(daemons, namespace, shape, at)).collect();
    for (many, operations) in rounds {
        let idle = tasks.split_off(usize::try_from(many).unwrap_or(usize::MAX).min(tasks.len()));
        tasks = round(sessions, namespace, tasks, operations / many, &mut ledger.report).await?;
        tasks.extend(idle);
        sleep(REST).await;
        sweep_up(sessions, namespace, &mut ledger.report).await?;
        let twins: Vec<&Twin> = tasks.iter().flat_map(Task::twins).collect();
        ledger.compare_with(&twins).await?;
        ledger.compare_indices(&ids(&tasks)).await?;
    }
    let ids = ids(&tasks);
    let crowd = (0..shape.tasks).map(|at| Task::shared(daemons, namespace, shape, at, &ids[..ids.len().min(20)])).collect();
    round(sessions, namespace, crowd, shape.operations / 10 / shape.tasks, &mut ledger.report).await?;
    sleep(REST).await;
    sweep_up(sessions, namespace, &mut ledger.report).await?;
    ledger.compare_indices(&ids).await?;
    ledger.compare_log(&ids).await?;
    ledger.report.hits = daemons.iter().map(|daemon| daemon.cache().counts().0).sum();
    Ok(ledger.report)
}

fn ids(tasks: &[Task]) -> Vec<SessionId> {
    tasks.iter().flat_map(|task| task.ids.iter().cloned()).collect()
}

/// All tasks run their operations while a sweeper runs beside them.
async fn round(sessions: &Arc<Sessions>, namespace: &Namespace, tasks: Vec<Task>, operations: u32, report: &mut Report) -> Result<Vec<Task>> {
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for mut task in tasks {
        running.spawn(async move {
            for _ in 0..operations {
                task.step().await?;
            }
            Ok(task)
        });
    }
    let mut sweeper = JoinSet::new();
    sweeper.spawn(keep_sweeping(Arc::clone(sessions), namespace.clone(), stop.clone()));
    let mut done: Vec<Task> = Vec::new();
    while let Some(task) = running.join_next().await {
        done.push(finished(task)?);
    }
    stop.cancel();
    while let Some(swept) = sweeper.join_next().await {
        let swept = finished(swept)?;
        report.expired += swept.expired;
        report.purged += swept.purged;
    }
    done.sort_by_key(|task| task.number);
    for task in &mut done {
        report.operations += std::mem::take(&mut task.operations);
        report.changes += std::mem::take(&mut task.changes);
    }
    Ok(done)
}

/// A task's result; a panic of the task goes on here, so that its message is seen.
fn finished<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => panic!("a task ended without a result: {error}"),
    })
}

async fn keep_sweeping(sessions: Arc<Sessions>, namespace: Namespace, stop: CancellationToken) -> Result<Report> {
    let mut report = Report::default();
    while !stop.is_cancelled() {
        sweep_up(&sessions, &namespace, &mut report).await?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(report)
}

async fn sweep_up(sessions: &Sessions, namespace: &Namespace, report: &mut Report) -> Result<()> {
    let swept = sweep(sessions, namespace).await?;
    report.expired += u64::try_from(swept.expired).unwrap_or(0);
    report.purged += u64::try_from(swept.purged).unwrap_or(0);
    Ok(())
}

/// A random seed for [`Shape::seed`].
///
/// # Errors
/// `INTERNAL` when there are no random numbers.
pub fn seed() -> Result<u64> {
    clock::random().map(u64::from_le_bytes)
}

/// Reproducible random numbers (Steele, Lea, Flood: `SplitMix64`).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// One of these.
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = self.below(u64::try_from(all.len()).unwrap_or(1));
        all[usize::try_from(at).unwrap_or(0)]
    }
}

/// Whether an error of a shared session is one that meeting others explains.
fn is_meeting(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SessionNotFound
            | Reason::SessionExpired
            | Reason::SessionDeleted
            | Reason::SessionExists
            | Reason::StorageStateNotFound
            | Reason::IllegalTransition
            | Reason::Contention
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{Embedded, Limits};

    async fn soak(store: Arc<dyn Metadata>) {
        let seed = seed().unwrap();
        println!("seed {seed}");
        let shape = Shape { seed, operations: 100_000, tasks: 64, ids: 8 };
        let report = run(store, &Namespace::default(), shape).await.unwrap();
        println!("{report:?}");
        assert!(
            report.operations > 99_000 && report.changes > 25_000 && report.expired > 1000 && report.purged > 500 && report.members > 1000 && report.hits > 500,
            "{report:?}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn indices_are_a_function_of_the_records_in_memory() {
        soak(Arc::new(Embedded::ephemeral(Limits::default()).unwrap())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn indices_are_a_function_of_the_records_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        soak(Arc::new(Embedded::open(directory.path(), Limits::default()).unwrap())).await;
    }
}
