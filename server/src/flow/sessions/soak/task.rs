//! One task of a soak: random operations on its sessions, each compared with what must come out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    super::{Answer, Conditions, Loaded, NewSession, Patch, Sessions, load, load::not_found, record_key},
    ADDRESSES, BUSINESSES, Dice, LONG, SHORT, Shape, VALUES, is_meeting,
    model::{Call, Known, Twin},
};
use crate::{
    clock,
    model::{
        email::Email,
        error::{Reason, Result},
        id::{BusinessId, Namespace, SessionId},
        session::{State, TtlMode},
        time::{Micros, Revision},
    },
    store::metadata::{Commit, Life, Outcome, Require, Txn, When, Write},
};

/// States that callers move to.
const MOVES: [State; 8] = [State::Active, State::NeedsLogin, State::Active, State::NeedsLogin, State::Active, State::NeedsLogin, State::Active, State::Retired];
/// How often `CONTENTION` is met with another try.
const PATIENCE: u32 = 50;

/// Operations on some sessions, one after the other.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) number: u32,
    pub(super) ids: Vec<SessionId>,
    pub(super) operations: u64,
    pub(super) changes: u64,
    daemons: [Arc<Sessions>; 2],
    /// The newest change of each session.
    seen: BTreeMap<SessionId, Revision>,
    namespace: Namespace,
    dice: Dice,
    seed: u64,
    twins: BTreeMap<SessionId, Twin>,
    /// Others work on the same sessions, so nothing is known about them.
    shared: bool,
}

/// An operation, with all that chance decided about it.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(Box<NewSession>),
    Get,
    Update(Patch),
    Move(State),
    Touch,
    Put(String),
    State,
    Delete,
    Undelete,
    /// Ends the time of a hidden session, so that the sweeper purges it.
    Forget,
}

/// What an operation came to.
pub(super) enum Came {
    Session(Box<Answer>),
    Expires(Micros),
    /// A put, and the session as it was right after, perhaps expired.
    Put(Box<Loaded>),
    Document(Bytes),
    /// Whether there was something to forget.
    Forgot(bool),
}

impl Task {
    pub(super) fn new(daemons: &[Arc<Sessions>; 2], namespace: &Namespace, shape: Shape, number: u32) -> Self {
        let ids = (0..shape.ids).filter_map(|at| SessionId::parse("id", &format!("t{number}-{at}")).ok()).collect();
        Self::over(daemons, namespace, shape, number, ids, false)
    }

    /// A task whose sessions others work on too.
    pub(super) fn shared(daemons: &[Arc<Sessions>; 2], namespace: &Namespace, shape: Shape, number: u32, ids: &[SessionId]) -> Self {
        Self::over(daemons, namespace, shape, number + shape.tasks, ids.to_vec(), true)
    }

    fn over(daemons: &[Arc<Sessions>; 2], namespace: &Namespace, shape: Shape, number: u32, ids: Vec<SessionId>, shared: bool) -> Self {
        let twins = ids.iter().map(|id| (id.clone(), Twin { id: id.clone(), known: Known::Absent })).collect();
        let dice = Dice(shape.seed ^ (u64::from(number) << 32));
        let (daemons, namespace) = (daemons.clone(), namespace.clone());
        Self { number, ids, operations: 0, changes: 0, daemons, seen: BTreeMap::new(), namespace, dice, seed: shape.seed, twins, shared }
    }

    pub(super) fn twins(&self) -> impl Iterator<Item = &Twin> {
        self.twins.values()
    }

    /// One random operation on one random session.
    pub(super) async fn step(&mut self) -> Result<()> {
        let at = self.dice.below(u64::try_from(self.ids.len()).unwrap_or(1));
        let id = self.ids[usize::try_from(at).unwrap_or(0)].clone();
        let op = self.choose(&id)?;
        let began = clock::wall();
        let daemon = usize::try_from(self.dice.below(2)).unwrap_or(0);
        let came = self.perform(daemon, &id, &op).await;
        let call = Call { began, ended: clock::wall() };
        self.operations += 1;
        if self.shared {
            return match came {
                Err(error) if !is_meeting(error.reason()) => Err(error),
                _ => Ok(()),
            };
        }
        let mut twin = self.twins.remove(&id).unwrap_or(Twin { id: id.clone(), known: Known::Absent });
        let before = twin.clone();
        match came {
            Ok((came, revision)) => {
                if !matches!(op, Op::Get | Op::State | Op::Forget) {
                    self.seen.insert(id.clone(), revision);
                }
                let wrong = twin.accept(&op, &came, call);
                assert!(wrong.is_none(), "seed {}: {op:?} of {before:?} was done, but {}", self.seed, wrong.unwrap_or_default());
                self.changes += u64::from(!matches!(op, Op::Get | Op::State));
            }
            Err(error) => {
                let right = twin.refuses(&op, error.reason(), call);
                assert!(right, "seed {}: {op:?} of {before:?} was refused: {error:?}", self.seed);
            }
        }
        self.twins.insert(id, twin);
        Ok(())
    }

    fn choose(&mut self, id: &SessionId) -> Result<Op> {
        Ok(match self.dice.below(20) {
            0..=1 => Op::Create(Box::new(NewSession {
                id: Some(id.clone()),
                business: self.business()?,
                email: self.email()?,
                labels: self.labels(),
                ttl: self.ttl(),
                ttl_mode: self.mode(),
            })),
            2..=4 => Op::Get,
            5..=7 => Op::Update(self.patch()?),
            8..=10 => Op::Move(self.dice.one_of(&MOVES)),
            11..=12 => Op::Touch,
            13..=14 => Op::Put(format!("{{\"cookies\":[],\"origins\":[],\"n\":{}}}", self.dice.below(1000))),
            15 => Op::State,
            16 => Op::Delete,
            17..=18 => Op::Undelete,
            _ => Op::Forget,
        })
    }

    fn business(&mut self) -> Result<BusinessId> {
        BusinessId::parse("business", &format!("b{}", self.dice.below(BUSINESSES)))
    }

    fn email(&mut self) -> Result<Option<Email>> {
        match self.dice.below(ADDRESSES + 2) {
            n if n < ADDRESSES => Email::parse("email", &format!("A{n}@x.org")),
            _ => Ok(None),
        }
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let keys = ["env", "team"];
        let mut labels = BTreeMap::new();
        for key in keys {
            if self.dice.below(2) == 0 {
                labels.insert(key.to_owned(), self.dice.below(VALUES).to_string());
            }
        }
        labels
    }

    fn ttl(&mut self) -> Duration {
        self.dice.one_of(&[SHORT, SHORT / 4, LONG, LONG])
    }

    fn mode(&mut self) -> TtlMode {
        self.dice.one_of(&[TtlMode::Sliding, TtlMode::Absolute])
    }

    fn patch(&mut self) -> Result<Patch> {
        let mut patch = Patch::default();
        match self.dice.below(6) {
            0 => patch.business = Some(self.business()?),
            1 => patch.email = Some(self.email()?),
            2 => patch.labels = Some(self.labels()),
            3 => patch.ttl = Some(self.ttl()),
            4 => patch.ttl_mode = Some(self.mode()),
            _ => {
                let (business, email, labels) = (Some(self.business()?), Some(self.email()?), Some(self.labels()));
                patch = Patch { business, email, labels, ttl: Some(self.ttl()), ttl_mode: Some(self.mode()) };
            }
        }
        Ok(patch)
    }

    /// Performs an operation. A sweeper may be faster than any single try; the model cannot tell how often.
    async fn perform(&self, daemon: usize, id: &SessionId, op: &Op) -> Result<(Came, Revision)> {
        for _ in 0..PATIENCE {
            match self.perform_once(daemon, id, op).await {
                Err(error) if error.reason() == Reason::Contention => {}
                done => return done,
            }
        }
        self.perform_once(daemon, id, op).await
    }

    async fn perform_once(&self, daemon: usize, id: &SessionId, op: &Op) -> Result<(Came, Revision)> {
        let (sessions, ns, free) = (&self.daemons[daemon], &self.namespace, Conditions::default());
        let seen = self.seen.get(id).copied().unwrap_or_default();
        let answer = match op {
            Op::Create(new) => sessions.create(ns, (**new).clone(), None).await?,
            Op::Get => sessions.get(ns, id, seen).await?,
            Op::Update(patch) => sessions.update(ns, id, patch.clone(), &free).await?,
            Op::Move(to) => sessions.transition(ns, id, *to, "", &free).await?,
            Op::Delete => sessions.delete(ns, id, &free).await?,
            Op::Undelete => sessions.undelete(ns, id, &free).await?,
            Op::Touch => {
                let touched = sessions.touch(ns, id, &free).await?;
                return Ok((Came::Expires(touched.expires_at.unwrap_or_default()), touched.revision));
            }
            Op::Put(document) => {
                let revision = sessions.put_storage_state(ns, id, document.clone().into(), &free).await?.revision;
                let (found, _, _) = load(&*sessions.metadata, ns, id).await?;
                return found.map(|found| (Came::Put(Box::new(found)), revision)).ok_or_else(|| not_found(id));
            }
            Op::State => {
                let stored = sessions.storage_state(ns, id, seen).await?;
                return Ok((Came::Document(stored.document), stored.revision));
            }
            Op::Forget => return Ok((Came::Forgot(self.forget(id).await?), seen)),
        };
        let revision = answer.revision;
        Ok((Came::Session(Box::new(answer)), revision))
    }

    /// Ends the time of a session that is hidden; leaves every other one alone.
    async fn forget(&self, id: &SessionId) -> Result<bool> {
        let (found, _, _) = load(&*self.daemons[0].metadata, &self.namespace, id).await?;
        let Some(found) = found.filter(|found| found.session.state.is_hidden() && !found.expired) else { return Ok(false) };
        let touch = Write::Touch { key: record_key(id), life: Life::SweptAt(When::At(Micros(1))), marks: Vec::new() };
        let txn = Txn { requires: vec![Require::At(record_key(id), found.revision)], writes: vec![touch], ..Txn::default() };
        let outcome = self.daemons[0].metadata.commit(&self.namespace, Commit::from(txn)).await?;
        Ok(matches!(outcome, Outcome::Applied(_)))
    }
}
