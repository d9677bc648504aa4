//! `GetSession`, `BatchGetSessions`, `ResolveSession`, `GetActiveSession`: readings, which are no use.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Answer, Loaded, Sessions, View, load::not_found, record_key};
use crate::{
    clock,
    model::{
        email::Email,
        error::{Error, Reason, Result},
        id::{BusinessId, Namespace, SessionId},
        session::{State, index, mark},
        time::Revision,
    },
    store::metadata::{Direction, Found, Index, Key, Range, Reading},
};

/// How often a reading that must not be older than some revision is repeated, and after which pause.
const PATIENCE: (u32, Duration) = (10, Duration::from_millis(50));
/// Most candidates that an ambiguous prefix names.
const CANDIDATES: usize = 5;
/// How many members are looked at, first, then, and from then on: nearly always the first is the answer, but expired ones may stand before it until they are swept.
const PROBES: [usize; 3] = [2, 50, 1000];
/// How long such a search goes on: a fraction of the time that a call may take.
const SEARCH: Duration = Duration::from_secs(3);

/// When to try again after a search that was given up: the sweeper takes most within that.
const SWEPT: Duration = Duration::from_secs(2);

/// The answer of a batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The live sessions, in the order asked for.
    pub views: Vec<View>,
    /// The ids that name no live session.
    pub missing: Vec<SessionId>,
    /// The revision that the answer reflects.
    pub revision: Revision,
}

/// Whose session is wanted.
#[derive(Clone, Debug)]
pub enum Owner {
    /// That of a business.
    Business(BusinessId),
    /// That of an e-mail address.
    Email(Email),
}

/// A walk through an index, part by part.
struct Search {
    index: Index,
    range: Range,
    direction: Direction,
    began: Instant,
    /// The member it began with.
    first: Option<(i64, String)>,
    readings: usize,
    seen: usize,
    ended: bool,
}

impl Search {
    fn new(index: &str, range: Range, direction: Direction) -> Self {
        Self { index: Index(index.to_owned()), range, direction, began: clock::monotonic(), first: None, readings: 0, seen: 0, ended: false }
    }

    fn advance(&mut self, members: &[(i64, String)], asked: usize) {
        if self.readings == 0 {
            self.first = members.first().cloned();
        }
        self.readings += 1;
        self.seen += members.len();
        self.ended = members.len() < asked;
        if let Some(last) = members.last() {
            self.range = Range::From(Some(last.clone()));
        }
    }

    /// Whether the index begins otherwise than when an ended search through more than one part did; the search then begins anew.
    async fn is_overtaken(&mut self, sessions: &Sessions, namespace: &Namespace) -> Result<bool> {
        if self.readings < 2 {
            return Ok(false);
        }
        let first = sessions.metadata.scan(namespace, &self.index, &Range::From(None), self.direction, 1).await?.pop();
        let overtaken = first.is_some() && first != self.first;
        (self.range, self.readings, self.ended) = (Range::From(None), 0, false);
        Ok(overtaken)
    }
}

impl Sessions {
    /// Reads a session.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn get(&self, namespace: &Namespace, id: &SessionId, min_revision: Revision) -> Result<Answer> {
        if let Some((session, revision)) = self.cache.get(namespace, id, min_revision) {
            return Ok(Answer { view: self.view(namespace, session).await?, revision });
        }
        let began = clock::monotonic();
        let reading = self.read(namespace, &[record_key(id)], min_revision).await?;
        let found = reading.found.into_iter().next().unwrap_or(Found::Absent);
        let session = Loaded::from_found(id, found, reading.now)?.ok_or_else(|| not_found(id))?;
        session.check_live()?;
        let revision = reading.revision;
        self.cache.keep(namespace, &session, revision, began);
        Ok(Answer { view: self.view(namespace, session).await?, revision })
    }

    /// Reads many sessions at one moment.
    ///
    /// # Errors
    /// `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn batch_get(&self, namespace: &Namespace, ids: &[SessionId], min_revision: Revision) -> Result<Batch> {
        let (found, revision) = self.read_all(namespace, ids, min_revision).await?;
        let (mut views, mut missing) = (Vec::new(), Vec::new());
        for (id, session) in ids.iter().zip(found) {
            match session.filter(|session| session.check_live().is_ok()) {
                Some(session) => views.push(self.view(namespace, session).await?),
                None => missing.push(id.clone()),
            }
        }
        Ok(Batch { views, missing, revision })
    }

    /// The live session whose id is, or as the only one starts with, `prefix`.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `PREFIX_AMBIGUOUS` naming candidates, `METADATA_UNAVAILABLE` when too many expired ones stand before the answer, `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn resolve(&self, namespace: &Namespace, prefix: &SessionId, min_revision: Revision) -> Result<Answer> {
        let revision = self.reach(namespace, min_revision).await?;
        let mut search = Search::new(index::NAMES, Range::Prefix(prefix.to_string()), Direction::Ascending);
        let mut live: Vec<Loaded> = Vec::new();
        while let Some(mut members) = self.search(namespace, &mut search).await? {
            let all = members.len();
            members.retain(|(_, member)| member.starts_with(prefix.as_str()));
            live.extend(self.live(namespace, &members).await?.0);
            if members.len() < all || live.len() > CANDIDATES || live.first().is_some_and(|first| first.id == *prefix) {
                break;
            }
        }
        // As in git, a whole id is never ambiguous.
        let exact = live.iter().position(|session| session.id == *prefix);
        if live.len() > 1 && exact.is_none() {
            return Err(ambiguous(prefix, &live));
        }
        let session = exact.or(Some(0)).filter(|at| *at < live.len()).map(|at| live.swap_remove(at)).ok_or_else(|| {
            let message = format!("no live session's id starts with {prefix}: list the sessions to see those there are");
            Error::new(Reason::SessionNotFound, message)
        })?;
        Ok(Answer { view: self.view(namespace, session).await?, revision })
    }

    /// The most recently used ACTIVE session of an owner, in constant time as long as expired ones are swept.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `METADATA_UNAVAILABLE` when too many expired ones stand before the answer, `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn active(&self, namespace: &Namespace, owner: &Owner, min_revision: Revision) -> Result<Answer> {
        let revision = self.reach(namespace, min_revision).await?;
        let none = || Error::new(Reason::SessionNotFound, "there is no ACTIVE session of that owner: list the sessions to see those in other states");
        let name = match owner {
            Owner::Business(business) => index::business_used(business.as_str()),
            Owner::Email(email) => match self.keyring.existing(namespace).await? {
                Some(keys) => index::email_used(&keys.email_hmac(&email.normalised())),
                None => return Err(none()),
            },
        };
        let mut search = Search::new(&name, Range::From(None), Direction::Descending);
        loop {
            while let Some(members) = self.search(namespace, &mut search).await? {
                // It may have moved on between the two readings; then the next one is the answer.
                let active =
                    |session: &Loaded| session.session.state == State::Active && session.session.indices(&session.id).iter().any(|entry| entry.index == name);
                // A copy that was last used when the index says is no older than the last touch either.
                if let Some((used, first)) = members.first()
                    && let Some((session, reflects)) = self.cache.get(namespace, &SessionId::parse("member", first)?, min_revision)
                    && session.mark(mark::USED) == *used
                    && active(&session)
                {
                    return Ok(Answer { view: self.view(namespace, session).await?, revision: revision.min(reflects) });
                }
                let began = clock::monotonic();
                let (live, read) = self.live(namespace, &members).await?;
                if let Some(session) = live.into_iter().find(active) {
                    self.cache.keep(namespace, &session, read, began);
                    return Ok(Answer { view: self.view(namespace, session).await?, revision });
                }
            }
            // Whoever was used during a search of several readings moved to where it had begun.
            if !search.is_overtaken(self, namespace).await? {
                return Err(none());
            }
        }
    }

    /// The members in the next part of an index; nothing behind its end.
    async fn search(&self, namespace: &Namespace, search: &mut Search) -> Result<Option<Vec<(i64, String)>>> {
        if search.ended {
            return Ok(None);
        }
        if search.began.elapsed() > SEARCH {
            let message = format!("{} expired sessions and more stand before the answer: try again when they are swept, in some seconds", search.seen);
            return Err(Error::new(Reason::MetadataUnavailable, message).with_retry_after(SWEPT));
        }
        let probe = PROBES.get(search.readings).copied().unwrap_or(PROBES[2]);
        let members = self.metadata.scan(namespace, &search.index, &search.range, search.direction, probe).await?;
        search.advance(&members, probe);
        Ok(Some(members))
    }

    /// A revision that every reading from now on reflects, at least `min_revision`.
    pub(super) async fn reach(&self, namespace: &Namespace, min_revision: Revision) -> Result<Revision> {
        match self.floor.known(namespace).filter(|known| *known >= min_revision) {
            Some(known) => Ok(known),
            None => Ok(self.read(namespace, &[], min_revision).await?.revision),
        }
    }

    /// Reads records when the namespace stands at `min_revision` or later; waits a little for that.
    pub(super) async fn read(&self, namespace: &Namespace, keys: &[Key], min_revision: Revision) -> Result<Reading> {
        let (patience, pause) = PATIENCE;
        let mut tried = 0;
        loop {
            let reading = self.metadata.get(namespace, keys).await?;
            let stands = reading.revision;
            if stands >= min_revision {
                self.floor.saw(namespace, stands);
                return Ok(reading);
            }
            if tried == patience {
                let message = format!(
                    "min_revision is {min_revision}, but namespace {namespace} stands at {stands}: was that revision made there, and in this deployment?"
                );
                return Err(Error::new(Reason::RevisionNotReached, message).with("revision", stands));
            }
            tried += 1;
            sleep(pause).await;
        }
    }

    /// Reads sessions in one consistent reading; none where there is no record.
    async fn read_all(&self, namespace: &Namespace, ids: &[SessionId], min_revision: Revision) -> Result<(Vec<Option<Loaded>>, Revision)> {
        let keys: Vec<Key> = ids.iter().map(record_key).collect();
        let reading = self.read(namespace, &keys, min_revision).await?;
        let understood = |(id, found): (&SessionId, Found)| Loaded::from_found(id, found, reading.now);
        let sessions = ids.iter().zip(reading.found).map(understood).collect::<Result<_>>()?;
        Ok((sessions, reading.revision))
    }

    /// The live sessions among the members of an index, in its order, and the revision of that reading.
    async fn live(&self, namespace: &Namespace, members: &[(i64, String)]) -> Result<(Vec<Loaded>, Revision)> {
        let ids = members.iter().map(|(_, member)| SessionId::parse("member", member)).collect::<Result<Vec<_>>>()?;
        let (sessions, revision) = self.read_all(namespace, &ids, Revision::ZERO).await?;
        Ok((sessions.into_iter().flatten().filter(|session| session.check_live().is_ok()).collect(), revision))
    }
}

fn ambiguous(prefix: &SessionId, live: &[Loaded]) -> Error {
    let names: Vec<_> = live.iter().take(CANDIDATES).map(|session| session.id.to_string()).collect();
    let more = if live.len() > CANDIDATES { ", …" } else { "" };
    let message = format!("more than one session id starts with {prefix}: {}{more}; give more characters", names.join(", "));
    Error::new(Reason::PrefixAmbiguous, message).with("candidates", names.join(","))
}
