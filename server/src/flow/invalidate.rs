//! Telling watchers to forget: events without a change.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::sessions::{Loaded, record_key};
use crate::{
    model::{
        error::{Error, Reason, Result},
        event::{self, Change, ChangeKind, state_number},
        id::{Namespace, RequestId, SessionId},
        selector::Selector,
        session::{Session, index},
        time::Revision,
    },
    store::metadata::{Commit, Direction, Index, Metadata, Outcome, Range, Scope, Txn},
};

/// Most sessions of one call.
pub const MAX_SESSIONS: usize = 5_000;
/// Most sessions of one log entry: a change has less than 1 KiB, an entry at most 1 MiB.
const PIECE: usize = 1_000;
/// How many members or records to read at once.
const PAGE: usize = 1_000;

/// Finds the selected sessions and announces them.
#[derive(Clone, Debug)]
pub struct Invalidation {
    store: Arc<dyn Metadata>,
}

/// What was found, and announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// How many sessions.
    pub sessions: usize,
    /// The revision of the announcement, or of the look.
    pub revision: Revision,
}

impl Invalidation {
    /// Over this store.
    #[must_use]
    pub fn new(store: Arc<dyn Metadata>) -> Self {
        Self { store }
    }

    /// Only counts.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when more than [`MAX_SESSIONS`] match, or as the store's.
    pub async fn preview(&self, ns: &Namespace, selectors: &[Selector]) -> Result<Done> {
        let (found, revision) = self.find(ns, selectors).await?;
        Ok(Done { sessions: found.len(), revision })
    }

    /// Announces every selected session, in as few transactions as the log's entries hold; the answer has the last one's revision. A repetition that was cut off in the
    /// middle goes on with what is missing.
    ///
    /// # Errors
    /// As [`Self::preview`]; `REQUEST_ID_REUSED` when the id came with other selectors or another reason.
    pub async fn invalidate(&self, ns: &Namespace, selectors: &[Selector], reason: &str, request_id: Option<&RequestId>) -> Result<Done> {
        let (found, _) = self.find(ns, selectors).await?;
        let sessions = found.len();
        let changes: Vec<_> = found.into_iter().map(|(id, session)| announcement(&id, session, reason)).collect();
        let request = digest(&SHA256, format!("{selectors:?} {reason:?}").as_bytes());
        let count = u32::try_from(sessions).unwrap_or(u32::MAX);
        let note: Bytes = count.to_be_bytes().into_iter().chain(request.as_ref().iter().copied()).collect::<Vec<_>>().into();
        let mut done = Done { sessions, revision: Revision::ZERO };
        // Also without a session there is one transaction, which remembers the request.
        let pieces = changes.chunks(PIECE).map(<[Change]>::to_vec).chain(changes.is_empty().then(Vec::new));
        for (number, piece) in pieces.enumerate() {
            let events = if piece.is_empty() { Vec::new() } else { vec![(Scope::Sessions, Bytes::from(event::encode(piece)))] };
            let txn = Txn { events, note: note.clone(), ..Txn::default() };
            let op = request_id.map(|id| format!("invalidate/{id}/{number}"));
            let Outcome::Applied(applied) = self.store.commit(ns, Commit { alternatives: vec![txn], op }).await? else {
                return Err(Error::new(Reason::Internal, "a transaction without requirements was refused"));
            };
            done.revision = done.revision.max(applied.revision);
            match applied.note.split_first_chunk::<4>() {
                Some((first, earlier)) if earlier == request.as_ref() => {
                    if applied.replayed && number == 0 {
                        done.sessions = usize::try_from(u32::from_be_bytes(*first)).unwrap_or(usize::MAX);
                    }
                }
                _ => {
                    return Err(Error::new(Reason::RequestIdReused, "request_id was used before with another request; make a new one").with_field("request_id"));
                }
            }
        }
        Ok(done)
    }

    async fn find(&self, ns: &Namespace, selectors: &[Selector]) -> Result<(Vec<(String, Session)>, Revision)> {
        let mut ids = BTreeSet::new();
        for selector in selectors {
            match &selector.session {
                Some(session) => drop(ids.insert(session.clone())),
                None => self.collect(ns, selector, &mut ids).await?,
            }
        }
        if ids.len() > MAX_SESSIONS {
            return Err(too_many());
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let mut found = Vec::new();
        let mut revision = Revision::ZERO;
        for ids in ids.chunks(PAGE) {
            let ids: Vec<_> = ids.iter().filter_map(|id| SessionId::parse("session_id", id).ok()).collect();
            let keys: Vec<_> = ids.iter().map(record_key).collect();
            let reading = self.store.get(ns, &keys).await?;
            revision = reading.revision;
            for (id, found_record) in ids.iter().zip(reading.found) {
                let Some(loaded) = Loaded::from_found(id, found_record, reading.now)? else { continue };
                let concerned = announcement(id.as_str(), loaded.session.clone(), "");
                if !loaded.state().is_hidden() && selectors.iter().any(|selector| selector.matches(&concerned)) {
                    found.push((id.to_string(), loaded.session));
                }
            }
        }
        if ids.is_empty() {
            revision = self.store.get(ns, &[]).await?.revision;
        }
        Ok((found, revision))
    }

    async fn collect(&self, ns: &Namespace, selector: &Selector, ids: &mut BTreeSet<String>) -> Result<()> {
        let name = match (&selector.email_hmac, &selector.business) {
            (Some(email), _) => index::email(email),
            (None, Some(business)) => index::business(business),
            (None, None) => return Ok(()),
        };
        let mut after = None;
        loop {
            let page = self.store.scan(ns, &Index(name.clone()), &Range::From(after), Direction::Ascending, PAGE).await?;
            after = page.last().cloned();
            let full = page.len() == PAGE;
            ids.extend(page.into_iter().map(|(_, member)| member));
            if !full {
                return Ok(());
            }
            if ids.len() > MAX_SESSIONS {
                return Err(too_many());
            }
        }
    }
}

fn too_many() -> Error {
    Error::new(Reason::LimitExceeded, format!("more than {MAX_SESSIONS} sessions match; narrow the selectors")).with_field("selectors")
}

fn announcement(id: &str, session: Session, reason: &str) -> Change {
    Change {
        kind: ChangeKind::Invalidated.into(),
        session: id.to_owned(),
        business: session.business,
        email_hmac: session.email.map(|email| email.hmac).unwrap_or_default(),
        state: state_number(session.state),
        reason: reason.to_owned(),
        ..Change::default()
    }
}
