//! Sessions: what callers do to them, as transactions of the metadata store.
//!
//! ```text
//! load ──► decide (a pure rule, may refuse) ──► edit: record, marks, indices, event in one transaction ──► commit
//!   ▲                                                                                                        │
//!   └──────────────────────────── somebody else was faster: read again ◄─────────────────────────────────────┘
//! ```
//! Nothing here writes an index by hand: [`Loaded::edit`] derives index changes from the record before and after, so indices stay a function of the records.

use std::{fmt, sync::Arc, time::Instant};

use crate::{
    clock,
    flow::keyring::Keyring,
    model::{
        error::Result,
        id::{Namespace, RequestId, SessionId},
        session::mark,
        time::Revision,
    },
    store::metadata::{Metadata, Require},
};

mod cache;
mod commit;
mod create;
mod edit;
mod floor;
mod hide;
mod list;
mod load;
mod profile;
mod purge;
mod read;
#[cfg(any(test, feature = "conformance"))]
pub mod soak;
mod state;
#[cfg(any(test, feature = "conformance"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod touch;
mod update;

pub use cache::SessionCache;
pub(crate) use commit::remembered;
pub use commit::{Decision, Done, Fingerprint, Op, change};
pub use create::NewSession;
pub(crate) use edit::snapshot_changed;
pub use edit::{Edit, Pending, Prepared, create};
pub use list::{Filter, Page};
pub(crate) use load::not_found;
pub use load::{Loaded, load, record_key, state_key};
pub(crate) use profile::live;
pub use read::{Batch, Owner};
#[cfg(feature = "fuzz")]
pub(crate) use state::open as open_state;
pub use state::{PutState, StoredState, inline_state, referenced_state};
pub use touch::Touched;
pub use update::Patch;

use commit::attempt_once;
use floor::Floor;

/// Sessions a namespace may have when nothing else is configured, hidden ones included.
pub const DEFAULT_MAX_SESSIONS: i64 = 1_000_000;

/// The operations on sessions.
#[derive(Debug)]
pub struct Sessions {
    pub(super) metadata: Arc<dyn Metadata>,
    keyring: Arc<Keyring>,
    cache: Arc<SessionCache>,
    floor: Floor,
    quota: i64,
}

/// The conditions of a write, each checked only when given.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The etag that the resource must still have; empty for any.
    pub etag: String,
    /// The lease under which is written; 0 for none.
    pub lease_token: i64,
    /// What makes a repetition harmless.
    pub request: Option<RequestId>,
}

/// A session as a caller may see it: its e-mail address is open.
#[derive(Clone)]
pub struct View {
    /// Where it lives.
    pub namespace: Namespace,
    /// The session.
    pub session: Loaded,
    /// Its e-mail address; empty when it has none.
    pub email: String,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("namespace", &self.namespace).field("session", &self.session).finish_non_exhaustive()
    }
}

/// A session, and the revision that the answer made or reflects.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The session.
    pub view: View,
    /// The revision.
    pub revision: Revision,
}

impl Sessions {
    /// The operations on the sessions of a store. A namespace gets at most `quota` of them, hidden ones included.
    #[must_use]
    pub fn new(metadata: Arc<dyn Metadata>, keyring: Arc<Keyring>, quota: i64) -> Self {
        Self { metadata, keyring, cache: Arc::new(SessionCache::default()), floor: Floor::default(), quota }
    }

    /// The cache of sessions, for the watch hub that keeps it right.
    #[must_use]
    pub fn cache(&self) -> Arc<SessionCache> {
        Arc::clone(&self.cache)
    }

    /// Opens what is sealed in a session.
    async fn view(&self, namespace: &Namespace, session: Loaded) -> Result<View> {
        let email = match &session.session.email {
            Some(email) => self.keyring.namespace(namespace).await?.open_email(&session.id, &email.sealed)?,
            None => String::new(),
        };
        Ok(View { namespace: namespace.clone(), session, email })
    }

    /// Runs a rule as [`change`] does, and answers with the session after it. The first try is made for the daemon's own copy, if it has one: the transaction holds only
    /// for the revision, the last use and the fence that were copied, so whatever another daemon did meanwhile costs a second try and nothing else.
    async fn answer<D>(&self, namespace: &Namespace, id: &SessionId, op: Option<&Op>, mut decide: D) -> Result<Answer>
    where
        D: FnMut(Option<Loaded>) -> Result<Decision> + Send,
    {
        let began = clock::monotonic();
        if let Some(copy) = self.cache.copy(namespace, id) {
            let still = [mark::USED, mark::FENCE].map(|name| Require::Mark(record_key(id), name.into(), copy.mark(name)));
            // What the rule would refuse or leave alone it may see otherwise in the record itself.
            if let Ok(Decision::Change(mut prepared)) = decide(Some(copy)) {
                prepared.txn.requires.extend(still);
                if let Some(done) = attempt_once(&*self.metadata, namespace, id, op, *prepared).await? {
                    return self.tell(namespace, done, began).await;
                }
            }
        }
        let done = change(&*self.metadata, namespace, id, op, decide).await?;
        self.tell(namespace, done, began).await
    }

    /// Answers with the session after a change that began then; the cache learns of it.
    async fn tell(&self, namespace: &Namespace, done: Done, began: Instant) -> Result<Answer> {
        if done.changed {
            self.cache.put(namespace, &done.session, began);
        }
        self.floor.saw(namespace, done.revision);
        Ok(Answer { revision: done.revision, view: self.view(namespace, done.session).await? })
    }

    /// Names a request that may be repeated.
    pub(crate) async fn op(&self, namespace: &Namespace, request: Option<&RequestId>, fingerprint: impl FnOnce() -> Fingerprint + Send) -> Result<Option<Op>> {
        match request {
            None => Ok(None),
            Some(request) => Ok(Op::new(&*self.keyring.namespace(namespace).await?, Some(request.clone()), &fingerprint())),
        }
    }
}
