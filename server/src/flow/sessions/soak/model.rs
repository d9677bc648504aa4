//! What must be known of one session: the rules of sessions, once more and in other words.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{Loaded, NewSession, Patch},
    task::{Came, Op},
};
use crate::model::{
    email::Email,
    error::Reason,
    id::SessionId,
    session::{State, TtlMode, mark},
    time::Micros,
};

/// A session as it must be.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    pub(super) id: SessionId,
    pub(super) known: Known,
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// There is none.
    Absent,
    /// Hidden for good: a record until the sweeper purges it, to callers as good as absent.
    Gone,
    /// It is this.
    Here(Fields),
}

/// The fields of a session that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) business: String,
    pub(super) email: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) state: State,
    pub(super) revive_to: Option<State>,
    pub(super) ttl: Duration,
    pub(super) mode: TtlMode,
    pub(super) expires: Micros,
    pub(super) document: Option<String>,
}

/// Whether the time of a session is over for a call that began and ended at some moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Live,
    Over,
    /// It ended during the call.
    Either,
}

/// The moments between which a call ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) began: Micros,
    pub(super) ended: Micros,
}

impl Call {
    /// Whether `moment` is a duration after this call.
    fn plus(self, after: Duration, moment: Micros) -> bool {
        (self.began.after(after)..=self.ended.after(after)).contains(&moment)
    }
}

impl Twin {
    /// Whether an operation may have been refused for this reason.
    pub(super) fn refuses(&self, op: &Op, reason: Reason, call: Call) -> bool {
        let here = match &self.known {
            Known::Absent => return reason == Reason::SessionNotFound && !matches!(op, Op::Create(_) | Op::Forget),
            Known::Gone if matches!(op, Op::Create(_)) => return reason == Reason::SessionExists,
            Known::Gone => return reason == Reason::SessionNotFound,
            Known::Here(here) => here,
        };
        let (hidden, standing) = (here.state.is_hidden(), here.standing(call));
        match (op, reason) {
            (Op::Create(_), _) => reason == Reason::SessionExists,
            (Op::Delete | Op::Undelete | Op::Forget, _) => false,
            (_, Reason::SessionDeleted) => here.state == State::Deleted,
            (_, Reason::SessionExpired) => here.state == State::Expired || (!hidden && standing != Standing::Live),
            (Op::Move(to), Reason::IllegalTransition) => !hidden && standing != Standing::Over && here.state.check_move(*to).is_err(),
            (Op::State, Reason::StorageStateNotFound) => !hidden && standing != Standing::Over && here.document.is_none(),
            _ => false,
        }
    }

    /// Learns what an operation did; says what is wrong about it.
    pub(super) fn accept(&mut self, op: &Op, came: &Came, call: Call) -> Option<String> {
        if let (Op::Create(new), Came::Session(answer)) = (op, came) {
            if matches!(self.known, Known::Here(_)) {
                return Some("it exists".to_owned());
            }
            let here = Fields::new(new);
            self.known = Known::Here(here.clone());
            return self.here()?.arrive(&answer.view.session, &answer.view.email, call.plus(here.ttl, answer.view.session.expires_at?));
        }
        if let (Op::Forget, Came::Forgot(done)) = (op, came) {
            return self.forget(*done, call);
        }
        let Some(here) = self.here() else { return Some("there is none".to_owned()) };
        if !matches!(op, Op::Delete | Op::Undelete) && (here.state.is_hidden() || here.standing(call) == Standing::Over) {
            return Some("it is hidden".to_owned());
        }
        here.accept(op, came, call)
    }

    fn here(&mut self) -> Option<&mut Fields> {
        match &mut self.known {
            Known::Here(fields) => Some(fields),
            Known::Absent | Known::Gone => None,
        }
    }

    /// Only what was surely hidden is surely forgotten; what expired is hidden once it was swept.
    fn forget(&mut self, done: bool, call: Call) -> Option<String> {
        let (hidden, over) = self.here().map_or((false, false), |here| (here.state.is_hidden(), here.standing(call) != Standing::Live));
        if done {
            self.known = Known::Gone;
            return (!hidden && !over).then(|| "it is live".to_owned());
        }
        hidden.then(|| "it was not forgotten although it is hidden".to_owned())
    }
}

impl Fields {
    fn new(new: &NewSession) -> Self {
        Self {
            business: new.business.to_string(),
            email: new.email.as_ref().map_or("", Email::given).to_owned(),
            labels: new.labels.clone(),
            state: State::Pending,
            revive_to: None,
            ttl: new.ttl,
            mode: new.ttl_mode,
            expires: Micros(0),
            document: None,
        }
    }

    fn standing(&self, call: Call) -> Standing {
        if self.state.is_hidden() || call.ended < self.expires {
            Standing::Live
        } else if call.began >= self.expires {
            Standing::Over
        } else {
            Standing::Either
        }
    }

    /// As callers see it at this moment.
    pub(super) fn at(&self, now: Micros) -> Self {
        let mut settled = self.clone();
        if now >= self.expires {
            settled.hide(State::Expired);
        }
        settled
    }

    fn hide(&mut self, state: State) {
        if !self.state.is_hidden() {
            self.revive_to = Some(self.state);
            self.state = state;
        } else if state == State::Deleted {
            self.state = state;
        }
    }

    fn accept(&mut self, op: &Op, came: &Came, call: Call) -> Option<String> {
        let sliding = self.mode == TtlMode::Sliding;
        match (op, came) {
            (Op::State, Came::Document(document)) => {
                (self.document.as_deref().map(str::as_bytes) != Some(document)).then(|| "the document is another".to_owned())
            }
            (Op::Touch, Came::Expires(expires)) => {
                let right = if sliding { call.plus(self.ttl, *expires) } else { self.expires == *expires };
                self.expires = *expires;
                (!right).then(|| format!("it expires at {}", expires.0))
            }
            (Op::Put(document), Came::Put(loaded)) => {
                self.document = Some(document.clone());
                if loaded.state() == State::Expired {
                    // Expired, perhaps swept, between the put and the reading: when, nobody knows, but it was in time for now.
                    self.expires = call.began;
                    return None;
                }
                let expires = loaded.expires_at?;
                let right = if sliding { call.plus(self.ttl, expires) } else { self.expires == expires };
                self.expires = expires;
                (!right).then(|| format!("it expires at {}", expires.0))
            }
            (_, Came::Session(answer)) => {
                let (session, kept) = (&answer.view.session, self.expires);
                let expires = session.expires_at?;
                let restarted = self.change(op, expires, call);
                let right = if restarted { call.plus(self.ttl, expires) } else { self.state.is_hidden() || kept == expires };
                self.arrive(session, &answer.view.email, right)
            }
            _ => Some("that is no answer to it".to_owned()),
        }
    }

    /// Makes the change of an operation; says whether it started the time to live anew.
    fn change(&mut self, op: &Op, expires: Micros, call: Call) -> bool {
        match op {
            Op::Update(patch) => self.patch(patch),
            Op::Move(to) => {
                self.state = *to;
                false
            }
            Op::Delete => {
                self.hide(State::Deleted);
                false
            }
            // Whether it was still live when its time ended during the call is seen by its expiry.
            Op::Undelete if self.state.is_hidden() || self.standing(call) == Standing::Over || expires != self.expires => {
                self.state = self.revive_to.take().unwrap_or(self.state);
                true
            }
            _ => false,
        }
    }

    fn patch(&mut self, patch: &Patch) -> bool {
        if let Some(business) = &patch.business {
            self.business = business.to_string();
        }
        if let Some(email) = &patch.email {
            email.as_ref().map_or("", Email::given).clone_into(&mut self.email);
        }
        if let Some(labels) = &patch.labels {
            self.labels.clone_from(labels);
        }
        self.ttl = patch.ttl.unwrap_or(self.ttl);
        self.mode = patch.ttl_mode.unwrap_or(self.mode);
        patch.ttl.is_some() || patch.ttl_mode.is_some()
    }

    /// Takes the expiry over from an answer and compares the rest.
    fn arrive(&mut self, loaded: &Loaded, email: &str, right: bool) -> Option<String> {
        self.expires = loaded.expires_at?;
        if !right {
            return Some(format!("it expires at {}", self.expires.0));
        }
        self.difference(loaded, email)
    }

    /// What a session differs in from this; times apart.
    pub(super) fn difference(&self, loaded: &Loaded, email: &str) -> Option<String> {
        let session = &loaded.session;
        let pairs = [
            ("business", format!("{:?}", self.business), format!("{:?}", session.business)),
            ("email", format!("{:?}", self.email), format!("{email:?}")),
            ("labels", format!("{:?}", self.labels), format!("{:?}", session.labels)),
            ("state", format!("{:?} {:?}", self.state, self.revive_to), format!("{:?} {:?}", loaded.state(), session.revive_to)),
            ("ttl", format!("{:?} {:?}", self.ttl, self.mode), format!("{:?} {:?}", session.ttl(), session.ttl_mode)),
            ("storage state", self.document.is_some().to_string(), (loaded.mark(mark::STATE) != 0).to_string()),
        ];
        pairs.into_iter().find(|(_, model, real)| model != real).map(|(field, model, real)| format!("{field} is {real}, but must be {model}"))
    }
}
