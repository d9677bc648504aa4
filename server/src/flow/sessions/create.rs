//! `CreateSession`.

use std::{collections::BTreeMap, time::Duration};

use super::{Answer, Decision, Fingerprint, Loaded, Sessions, commit::attempt_once, create};
use crate::{
    clock,
    flow::keyring::NamespaceKeys,
    model::{
        email::Email,
        error::{Error, Reason, Result},
        id::{BusinessId, Namespace, RequestId, SessionId},
        session::{SealedEmail, Session, State, TtlMode},
        time::micros,
    },
    store::metadata::{Add, Key},
};

/// The counter of a namespace's sessions, hidden ones included.
pub(crate) const QUOTA: &str = "sessions";

/// What a new session shall be.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id; none to have one made.
    pub id: Option<SessionId>,
    /// The business it belongs to.
    pub business: BusinessId,
    /// Its e-mail address.
    pub email: Option<Email>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How long it lives.
    pub ttl: Duration,
    /// How that time runs.
    pub ttl_mode: TtlMode,
}

impl NewSession {
    fn fingerprint(&self) -> Fingerprint {
        let id = self.id.as_ref().map_or("", SessionId::as_str);
        let email = self.email.as_ref().map_or("", Email::given);
        let fields = Fingerprint::of("CreateSession").text(id).text(self.business.as_str()).text(email);
        let labels = self.labels.iter().fold(fields, |all, (key, value)| all.text(key).text(value));
        labels.number(micros(self.ttl)).number(i64::from(self.ttl_mode == TtlMode::Absolute))
    }
}

impl Sessions {
    /// Creates a session in state PENDING, together with its lineage's key.
    ///
    /// # Errors
    /// `SESSION_EXISTS` (also while a hidden one can still be revived), `QUOTA_EXCEEDED`, `REQUEST_ID_REUSED`, `KEY_UNAVAILABLE`, and the stores' errors.
    pub async fn create(&self, namespace: &Namespace, new: NewSession, request: Option<&RequestId>) -> Result<Answer> {
        let op = self.op(namespace, request, || new.fingerprint()).await?;
        let id = match new.id {
            Some(id) => id,
            None => SessionId::parse("session_id", &clock::random_session_id()?)?,
        };
        let keys = self.keyring.namespace(namespace).await?;
        let (lineage, _, key) = self.keyring.new_lineage(namespace).await?;
        let session = Session {
            business: new.business.to_string(),
            email: new.email.map(|email| seal(&keys, &id, &email)).transpose()?,
            state: State::Pending,
            state_reason: String::new(),
            revive_to: None,
            labels: new.labels,
            ttl_micros: u64::try_from(new.ttl.as_micros()).unwrap_or(u64::MAX),
            ttl_mode: new.ttl_mode,
            lineage: lineage.to_string(),
            head: None,
            sequence: 0,
            slot_floor: 0,
        };
        let count = Add { counter: Key(QUOTA.to_owned()), delta: 1, max: self.quota };
        let prepare = || {
            let mut prepared = create(&id, session.clone())?;
            prepared.txn.writes.push(key.clone());
            prepared.txn.adds.push(count.clone());
            Ok(prepared)
        };
        // Nearly always there is none of that id, so it is not looked for first.
        let began = clock::monotonic();
        if let Some(done) = attempt_once(&*self.metadata, namespace, &id, op.as_ref(), prepare()?).await? {
            return self.tell(namespace, done, began).await;
        }
        let decide = |found: Option<Loaded>| match found {
            Some(found) => Err(exists(&found)),
            None => prepare().map(Box::new).map(Decision::Change),
        };
        self.answer(namespace, &id, op.as_ref(), decide).await
    }
}

/// An address at rest.
pub(super) fn seal(keys: &NamespaceKeys, id: &SessionId, email: &Email) -> Result<SealedEmail> {
    Ok(SealedEmail { hmac: keys.email_hmac(&email.normalised()), sealed: keys.seal_email(id, email.given())? })
}

fn exists(found: &Loaded) -> Error {
    let remedy = if found.is_gone() {
        "it is about to be purged: repeat the call in a few seconds, or take another id"
    } else if found.state().is_hidden() {
        "undelete it, or take another id"
    } else {
        "read it by its id, or take another id"
    };
    let message = format!("session {} exists in state {}: {remedy}", found.id, found.state().name());
    Error::new(Reason::SessionExists, message).with("session_id", &found.id).with("state", found.state().name())
}
