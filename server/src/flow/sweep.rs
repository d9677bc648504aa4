//! The sweeper: hides sessions whose time is over, and purges hidden ones that nobody revived.
//!
//! Every daemon sweeps every namespace. They do not meet: each change requires that the record still is expired and unchanged, so of several sweepers one wins and the
//! others find nothing left to do.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{
    pause::about,
    sessions::{Loaded, Sessions},
};
use crate::{
    model::{
        error::{Reason, Result},
        id::{Namespace, SessionId},
        time::Micros,
    },
    store::metadata::{ExpiredRecord, MAX_PAGE},
};

/// How often every namespace is swept, give or take a quarter: expired sessions leave the indices within twice that.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Records of one round: as many as the store gives, so that a few that cannot be dealt with do not hide the others.
const ROUND: usize = MAX_PAGE;
/// Records dealt with at the same time.
const CONCURRENT: usize = 16;
/// Namespaces swept at the same time.
const NAMESPACES: usize = 4;

/// What one sweep of a namespace did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were hidden.
    pub expired: usize,
    /// Sessions that are gone for good.
    pub purged: usize,
}

/// Sweeps until told to stop.
pub async fn run(sessions: Arc<Sessions>, stop: CancellationToken) {
    let mut failing = false;
    while stop.run_until_cancelled(about(INTERVAL)).await.is_some() {
        let swept = stop.run_until_cancelled(sweep_all(&sessions)).await;
        // One line when it starts to fail and one when it works again; not one per second.
        match swept {
            None => break,
            Some(Ok(())) if failing => tracing::info!("sweeping works again"),
            Some(Err(error)) if !failing => tracing::warn!(?error, "expired sessions cannot be swept; they stay hidden from lists, and are swept later"),
            Some(Err(error)) => {
                tracing::debug!(?error, "expired sessions still cannot be swept");
                continue;
            }
            Some(Ok(())) => continue,
        }
        failing = !failing;
    }
}

/// Sweeps every namespace once. One that fails does not keep the others waiting; the first error is handed back.
async fn sweep_all(sessions: &Sessions) -> Result<()> {
    let namespaces = sessions.metadata.namespaces().await?;
    let each = namespaces.into_iter().map(|namespace| async move { sweep(sessions, &namespace).await });
    let swept: Vec<Result<Swept>> = stream::iter(each).buffer_unordered(NAMESPACES).collect().await;
    swept.into_iter().try_for_each(|swept| swept.map(drop))
}

/// Deals with all that is expired in a namespace.
///
/// # Errors
/// The first of the stores' errors, after everything that could be dealt with: one session that cannot be purged keeps no other from expiring.
pub async fn sweep(sessions: &Sessions, namespace: &Namespace) -> Result<Swept> {
    let mut swept = Swept::default();
    loop {
        let records = sessions.metadata.expired(namespace, ROUND).await?;
        let full = records.len() == ROUND;
        let each = records.into_iter().map(|record| sweep_one(sessions, namespace, record));
        let fates: Vec<Result<Fate>> = stream::iter(each).buffer_unordered(CONCURRENT).collect().await;
        let before = swept;
        let mut failed = None;
        for fate in fates {
            match fate {
                Ok(Fate::Hidden) => swept.expired += 1,
                Ok(Fate::Purged) => swept.purged += 1,
                Ok(Fate::Left) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => return Err(error),
            None if full && swept != before => {}
            None => return Ok(swept),
        }
    }
}

enum Fate {
    Hidden,
    Purged,
    /// Somebody else dealt with it, or nobody can.
    Left,
}

async fn sweep_one(sessions: &Sessions, namespace: &Namespace, ExpiredRecord { key, record }: ExpiredRecord) -> Result<Fate> {
    let Some(id) = key.0.strip_prefix("s/").and_then(|id| SessionId::parse("key", id).ok()) else {
        return Ok(Fate::Left);
    };
    let now = record.expires_at.unwrap_or(Micros(0));
    let found = match Loaded::from_record(&id, record, true, now) {
        Ok(found) => found,
        Err(error) if error.reason() == Reason::DataCorrupt => {
            tracing::error!(%namespace, session = %id, ?error, "an expired session cannot be swept: its record is damaged");
            return Ok(Fate::Left);
        }
        Err(error) => return Err(error),
    };
    let gone = found.is_gone();
    let done = if gone { sessions.purge(namespace, &found).await? } else { sessions.expire(namespace, &found).await? };
    Ok(match (done, gone) {
        (false, _) => Fate::Left,
        (true, true) => Fate::Purged,
        (true, false) => Fate::Hidden,
    })
}
