//! The rules of sessions, on the engine in memory. The same operations run against a model in `soak`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    testing::{KeyMap, new_session, sessions},
    *,
};
use crate::{
    flow::sweep::{Swept, sweep},
    model::{
        email::Email,
        error::{Error, Reason},
        event::{self, Change, ChangeKind},
        id::BusinessId,
        session::{State, TtlMode, index, mark},
        time::Micros,
    },
    store::{
        embedded::{Embedded, Limits},
        metadata::{Commit, Direction, Index, Life, Number, Outcome, Range, Scope, Txn, When, Write},
    },
};

mod find;
mod life;
mod repeat;
mod state;
mod write;

/// A store with sessions on it.
struct Bench {
    store: Arc<dyn Metadata>,
    keys: Arc<KeyMap>,
    sessions: Arc<Sessions>,
    ns: Namespace,
}

impl Bench {
    fn new() -> Self {
        let store: Arc<dyn Metadata> = Arc::new(Embedded::ephemeral(Limits::default()).unwrap());
        let keys = Arc::new(KeyMap::default());
        Self { sessions: sessions(Arc::clone(&store), Arc::clone(&keys)).unwrap(), store, keys, ns: Namespace::default() }
    }

    async fn create(&self, id: &str, business: &str) -> Answer {
        self.sessions.create(&self.ns, new_session(id, business).unwrap(), None).await.unwrap()
    }

    /// A session that was moved to ACTIVE.
    async fn active(&self, id: &str, business: &str) -> Answer {
        self.create(id, business).await;
        self.to(id, State::Active).await.unwrap()
    }

    async fn to(&self, id: &str, state: State) -> Result<Answer, Error> {
        self.sessions.transition(&self.ns, &sid(id), state, "", &free()).await
    }

    async fn get(&self, id: &str) -> Result<Answer, Error> {
        self.sessions.get(&self.ns, &sid(id), Revision::ZERO).await
    }

    async fn delete(&self, id: &str) -> Result<Answer, Error> {
        self.sessions.delete(&self.ns, &sid(id), &free()).await
    }

    async fn undelete(&self, id: &str) -> Result<Answer, Error> {
        self.sessions.undelete(&self.ns, &sid(id), &free()).await
    }

    /// Ends the time of a session's record now: of a live one it expires, of a hidden one it can no longer be revived.
    async fn end_time(&self, id: &str) {
        let touch = Write::Touch { key: record_key(&sid(id)), life: Life::SweptAt(When::At(Micros(1))), marks: Vec::new() };
        let outcome = self.store.commit(&self.ns, Commit::from(Txn { writes: vec![touch], ..Txn::default() })).await.unwrap();
        assert!(matches!(outcome, Outcome::Applied(_)));
    }

    /// Grants a lease as the lease service will: its token is the revision, and becomes the session's fence.
    async fn lease(&self, id: &str) -> i64 {
        let touch = Write::Touch { key: record_key(&sid(id)), life: Life::Keep, marks: vec![(mark::FENCE.into(), Number::Revision)] };
        match self.store.commit(&self.ns, Commit::from(Txn { writes: vec![touch], ..Txn::default() })).await.unwrap() {
            Outcome::Applied(applied) => applied.revision.0,
            Outcome::Refused(refused) => panic!("{refused:?}"),
        }
    }

    async fn sweep(&self) -> Swept {
        sweep(&self.sessions, &self.ns).await.unwrap()
    }

    async fn list(&self, filter: Filter) -> Vec<String> {
        let page = self.sessions.list(&self.ns, filter, 500, "", Revision::ZERO).await.unwrap();
        page.views.iter().map(|view| view.session.id.to_string()).collect()
    }

    async fn members(&self, index: &str) -> Vec<String> {
        let found = self.store.scan(&self.ns, &Index(index.to_owned()), &Range::From(None), Direction::Ascending, 1000).await.unwrap();
        found.into_iter().map(|(_, member)| member).collect()
    }

    /// Every change so far.
    async fn changes(&self) -> Vec<Change> {
        let page = self.store.events(&self.ns, Scope::Sessions, Revision::ZERO, 1000).await.unwrap();
        page.entries.iter().flat_map(|entry| event::decode(&entry.payload).unwrap()).collect()
    }

    async fn kinds(&self) -> Vec<ChangeKind> {
        self.changes().await.iter().map(Change::kind).collect()
    }
}

fn sid(id: &str) -> SessionId {
    SessionId::parse("id", id).unwrap()
}

fn business(name: &str) -> BusinessId {
    BusinessId::parse("business", name).unwrap()
}

fn email(text: &str) -> Email {
    Email::parse("email", text).unwrap().unwrap()
}

/// No conditions.
fn free() -> Conditions {
    Conditions::default()
}

fn etag(etag: String) -> Conditions {
    Conditions { etag, ..free() }
}

fn leased(lease_token: i64) -> Conditions {
    Conditions { lease_token, ..free() }
}

fn request(id: &str) -> Conditions {
    Conditions { request: RequestId::parse("request_id", id).unwrap(), ..free() }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    result.unwrap_err().reason()
}
