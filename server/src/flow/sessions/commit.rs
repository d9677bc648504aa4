//! Committing decisions: again when somebody else was faster, once when the request is repeated.

use std::time::Duration;

use bytes::Bytes;

use super::{
    edit::Prepared,
    load::{Loaded, load, not_found},
};
use crate::{
    flow::{keyring::NamespaceKeys, pause::between_tries},
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, RequestId, SessionId},
        time::Revision,
    },
    store::metadata::{Applied, Commit, Key, Metadata, Outcome, Refusal, Require, Txn},
};

/// How often a change is tried when others keep being faster.
const ATTEMPTS: u32 = 8;
/// Longest pause between the first two tries; it doubles with each.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(256);
/// Length of a request's digest in a note.
const DIGEST: usize = 16;

/// What a request asks for, told apart from every other request; it becomes the digest of an [`Op`].
#[derive(Debug, Default)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Of a call of this method.
    #[must_use]
    pub fn of(method: &str) -> Self {
        Self::default().text(method)
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let mut all = self.number(i64::try_from(text.len()).unwrap_or(i64::MAX));
        all.0.extend_from_slice(text);
        all
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }
}

/// A request with an id: its repetition is answered from what the first one did.
#[derive(Clone, Debug)]
pub struct Op {
    request: RequestId,
    digest: [u8; DIGEST],
}

impl Op {
    /// A request with an id; none without one.
    #[must_use]
    pub fn new(keys: &NamespaceKeys, request: Option<RequestId>, fingerprint: &Fingerprint) -> Option<Self> {
        let request = request?;
        // Keyed, so that nobody who reads the store can guess what was asked for.
        let mac = keys.token_mac("request", &fingerprint.0);
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&mac[..DIGEST]);
        Some(Self { request, digest })
    }

    /// Its name in the store.
    #[must_use]
    pub fn name(&self) -> String {
        format!("r/{}", self.request)
    }

    /// What a repetition needs to know: which request it was, and which session it made or changed.
    #[must_use]
    pub fn note(&self, id: &SessionId) -> Bytes {
        self.note_of(id.as_str())
    }

    /// The same of a request that made or changed something else, which is named in few characters.
    #[must_use]
    pub fn note_of(&self, name: &str) -> Bytes {
        [&self.digest[..], name.as_bytes()].concat().into()
    }

    /// Which session an earlier request with this id was about.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when that was another request.
    pub fn check_note(&self, note: &[u8]) -> Result<SessionId> {
        SessionId::parse("note", &self.noted(note)?)
    }

    /// What an earlier request with this id was about.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when that was another request.
    pub fn noted(&self, note: &[u8]) -> Result<String> {
        let same = note.split_first_chunk::<DIGEST>().filter(|(digest, _)| **digest == self.digest);
        let Some((_, id)) = same else {
            let message = format!("request_id {} was used for another request within the last 10 minutes: give every request its own", self.request);
            return Err(Error::new(Reason::RequestIdReused, message).with_field("request_id"));
        };
        Ok(String::from_utf8_lossy(id).into_owned())
    }
}

/// What a rule decides about a session it was shown.
#[derive(Debug)]
pub enum Decision {
    /// Change it.
    Change(Box<Prepared>),
    /// It is already as it shall be.
    Keep(Box<Loaded>),
}

/// What became of a change.
#[derive(Clone, Debug)]
pub struct Done {
    /// The session. After a repetition: as it is now, which may be later than the change.
    pub session: Loaded,
    /// The change's revision; when nothing had to change, the namespace's.
    pub revision: Revision,
    /// An earlier request with the same id did it.
    pub replayed: bool,
    /// Something was written now.
    pub changed: bool,
}

/// Reads a session, lets `decide` decide, and commits; reads again when the session changed meanwhile. `decide` is a pure rule: it may run several times.
///
/// # Errors
/// What `decide` refuses, unless an earlier request with the same id succeeded; `REQUEST_ID_REUSED`; `CONTENTION` after eight tries; the store's errors.
pub async fn change<D>(metadata: &dyn Metadata, namespace: &Namespace, id: &SessionId, op: Option<&Op>, mut decide: D) -> Result<Done>
where
    D: FnMut(Option<Loaded>) -> Result<Decision> + Send,
{
    for attempt in 0..ATTEMPTS {
        let (found, revision, _) = load(metadata, namespace, id).await?;
        let prepared = match decide(found) {
            Ok(Decision::Change(prepared)) => prepared,
            // What the first request did may be why this one is refused, or has nothing left to do.
            settled => {
                if let Some(done) = replay(metadata, namespace, op).await? {
                    return Ok(done);
                }
                let Decision::Keep(session) = settled? else { continue };
                let Some(named) = op else { return Ok(Done { session: *session, revision, replayed: false, changed: false }) };
                match remember(metadata, namespace, named, *session).await? {
                    Some(done) => return Ok(done),
                    None => continue,
                }
            }
        };
        if let Some(done) = attempt_once(metadata, namespace, id, op, *prepared).await? {
            return Ok(done);
        }
        between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
    }
    let message = format!("other writers of session {id} were faster {ATTEMPTS} times in a row: repeat the call");
    Err(Error::new(Reason::Contention, message).with("session_id", id))
}

/// Commits one decision; nothing when the session is no longer as the decision was made for.
pub(super) async fn attempt_once(metadata: &dyn Metadata, namespace: &Namespace, id: &SessionId, op: Option<&Op>, prepared: Prepared) -> Result<Option<Done>> {
    let Prepared { mut txn, pending } = prepared;
    txn.note = op.map(|op| op.note(id)).unwrap_or_default();
    let commit = Commit { alternatives: vec![txn], op: op.map(Op::name) };
    match metadata.commit(namespace, commit).await? {
        Outcome::Applied(applied) if applied.replayed => replayed(metadata, namespace, op, &applied).await.map(Some),
        Outcome::Applied(applied) => Ok(Some(Done { session: pending.applied(&applied), revision: applied.revision, replayed: false, changed: true })),
        Outcome::Refused(refusals) => check_quota(&refusals).map(|()| None),
    }
}

/// Only a counter cannot be helped by reading again.
fn check_quota(refusals: &[Refusal]) -> Result<()> {
    let full = refusals.iter().find_map(|refusal| match refusal {
        Refusal::Counter { counter, value } => Some((counter, value)),
        _ => None,
    });
    match full {
        None => Ok(()),
        Some((counter, value)) => {
            let message = format!("the namespace has {value} of {counter}, hidden ones included, and may have no more: delete some, or raise the quota");
            Err(Error::new(Reason::QuotaExceeded, message).with("quota", counter).with("used", value))
        }
    }
}

/// Remembers a request that had nothing to do, so that a late repetition does nothing either; nothing when the session changed meanwhile.
async fn remember(metadata: &dyn Metadata, namespace: &Namespace, op: &Op, session: Loaded) -> Result<Option<Done>> {
    let key = super::record_key(&session.id);
    let unchanged = if session.expired { Require::Expired(key, session.revision) } else { Require::At(key, session.revision) };
    let txn = Txn { requires: vec![unchanged], note: op.note(&session.id), ..Txn::default() };
    match metadata.commit(namespace, Commit { alternatives: vec![txn], op: Some(op.name()) }).await? {
        Outcome::Applied(applied) if applied.replayed => replayed(metadata, namespace, Some(op), &applied).await.map(Some),
        Outcome::Applied(applied) => Ok(Some(Done { session, revision: applied.revision, replayed: false, changed: false })),
        Outcome::Refused(_) => Ok(None),
    }
}

async fn replay(metadata: &dyn Metadata, namespace: &Namespace, op: Option<&Op>) -> Result<Option<Done>> {
    let Some(named) = op else { return Ok(None) };
    match look_up(metadata, namespace, named).await? {
        Some(applied) => replayed(metadata, namespace, op, &applied).await.map(Some),
        None => Ok(None),
    }
}

/// The revision that an earlier request with this id made, if there was one, and what it was about.
///
/// # Errors
/// `REQUEST_ID_REUSED` when that was another request; the store's errors.
pub(crate) async fn remembered(metadata: &dyn Metadata, namespace: &Namespace, op: Option<&Op>) -> Result<Option<(Revision, String)>> {
    let Some(op) = op else { return Ok(None) };
    let Some(applied) = look_up(metadata, namespace, op).await? else { return Ok(None) };
    Ok(Some((applied.revision, op.noted(&applied.note)?)))
}

/// Looks an operation up without doing anything: its transaction requires what cannot be, so only a remembered result can answer.
async fn look_up(metadata: &dyn Metadata, namespace: &Namespace, op: &Op) -> Result<Option<Applied>> {
    let nowhere = Key("n/nowhere".to_owned());
    let requires = vec![Require::Absent(nowhere.clone()), Require::At(nowhere, Revision::ZERO)];
    let commit = Commit { alternatives: vec![Txn { requires, ..Txn::default() }], op: Some(op.name()) };
    match metadata.commit(namespace, commit).await? {
        Outcome::Applied(applied) => Ok(Some(applied)),
        Outcome::Refused(_) => Ok(None),
    }
}

async fn replayed(metadata: &dyn Metadata, namespace: &Namespace, op: Option<&Op>, applied: &Applied) -> Result<Done> {
    let id = op.ok_or_else(|| Error::new(Reason::Internal, "a commit without an id was replayed"))?.check_note(&applied.note)?;
    let (session, _, _) = load(metadata, namespace, &id).await?;
    let session = session.ok_or_else(|| not_found(&id))?;
    Ok(Done { session, revision: applied.revision, replayed: true, changed: false })
}
