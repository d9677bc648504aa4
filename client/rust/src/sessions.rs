//! Sessions: one browser identity each.

mod types;

use std::time::Duration;

use cloakroom_api::v1;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

pub use self::{
    storage_states::{StorageState, StorageStates},
    types::{Answer, Batch, Filter, NewSession, Owner, Update},
};
use crate::{
    clock,
    connection::Client,
    error::{Error, Result},
};

/// Sessions. The conditions set on it hold for every call made through it: `client.sessions().if_etag(&etag).update(…)`.
#[derive(Clone, Debug)]
pub struct Sessions {
    client: Client,
    min_revision: i64,
    etag: String,
    lease_token: i64,
    request_id: String,
}

/// Calls a method of the session service with a request that is made anew for every attempt.
macro_rules! call {
    ($self:ident, $method:ident, $request:expr) => {{
        let request = $request;
        let call = || {
            let (mut stub, request) = ($self.client.session_stub(), request.clone());
            async move { stub.$method(request).await }
        };
        $self.client.unary(call).await.map(tonic::Response::into_inner)
    }};
}

// Below the macro, which it uses.
mod storage_states;

impl Client {
    /// Sessions: one browser identity each.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions { client: self.clone(), min_revision: 0, etag: String::new(), lease_token: 0, request_id: String::new() }
    }
}

impl Sessions {
    /// Reads answer nothing older than this revision.
    #[must_use]
    pub fn at_least(self, revision: i64) -> Self {
        Self { min_revision: revision, ..self }
    }

    /// Changes are made only if the session (for a storage state: that) still has this etag.
    #[must_use]
    pub fn if_etag(self, etag: &str) -> Self {
        Self { etag: etag.to_owned(), ..self }
    }

    /// Changes are made under this lease.
    #[must_use]
    pub fn under_lease(self, lease_token: i64) -> Self {
        Self { lease_token, ..self }
    }

    /// The next change has this id, so that repeating it is harmless; without it the client makes one for each call.
    #[must_use]
    pub fn with_request_id(self, request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..self }
    }

    fn namespace(&self) -> String {
        self.client.namespace.to_string()
    }

    fn change_id(&self) -> String {
        if self.request_id.is_empty() { clock::random_id() } else { self.request_id.clone() }
    }

    /// Creates a session in state PENDING.
    ///
    /// # Errors
    /// As the contract says of `CreateSession`; a business alone is enough.
    pub async fn create(&self, new: NewSession) -> Result<Answer<v1::Session>> {
        let request = v1::CreateSessionRequest {
            namespace: self.namespace(),
            session_id: new.id,
            business_id: new.business_id,
            email: new.email,
            labels: new.labels,
            ttl: new.ttl.map(duration).transpose()?,
            ttl_mode: new.ttl_mode.into(),
            request_id: self.change_id(),
        };
        let answer = call!(self, create_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Reads one session. Reading is not a use: it does not move the expiry.
    ///
    /// # Errors
    /// As the contract says of `GetSession`.
    pub async fn get(&self, session_id: &str) -> Result<Answer<v1::Session>> {
        let request = v1::GetSessionRequest { namespace: self.namespace(), session_id: session_id.to_owned(), min_revision: self.min_revision };
        let answer = call!(self, get_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Reads up to 100 sessions in one consistent read.
    ///
    /// # Errors
    /// As the contract says of `BatchGetSessions`.
    pub async fn batch_get<I: AsRef<str>>(&self, session_ids: &[I]) -> Result<Answer<Batch>> {
        let session_ids = session_ids.iter().map(|id| id.as_ref().to_owned()).collect();
        let request = v1::BatchGetSessionsRequest { namespace: self.namespace(), session_ids, min_revision: self.min_revision };
        let answer = call!(self, batch_get_sessions, request)?;
        Ok(Answer { value: Batch { sessions: answer.sessions, missing: answer.missing_session_ids }, revision: answer.revision })
    }

    /// Changes the given fields and leaves the others.
    ///
    /// # Errors
    /// As the contract says of `UpdateSession`; `OPTION` if nothing is given.
    pub async fn update(&self, session_id: &str, update: Update) -> Result<Answer<v1::Session>> {
        let given = [
            ("business_id", update.business_id.is_some()),
            ("email", update.email.is_some()),
            ("labels", update.labels.is_some()),
            ("ttl", update.ttl.is_some()),
            ("ttl_mode", update.ttl_mode.is_some()),
        ];
        let paths: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()).collect();
        if paths.is_empty() {
            return Err(Error::local("OPTION", "nothing to change was given: at least one of business_id, email, labels, ttl and ttl_mode"));
        }
        let wanted = v1::Session {
            id: session_id.to_owned(),
            business_id: update.business_id.unwrap_or_default(),
            email: update.email.unwrap_or_default(),
            labels: update.labels.unwrap_or_default(),
            ttl: update.ttl.map(duration).transpose()?,
            ttl_mode: update.ttl_mode.unwrap_or_default().into(),
            ..v1::Session::default()
        };
        let request = v1::UpdateSessionRequest {
            namespace: self.namespace(),
            session: Some(wanted),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: self.etag.clone(),
            lease_token: self.lease_token,
            request_id: self.change_id(),
        };
        let answer = call!(self, update_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Hides a session from every list and lookup; it stays revivable for 7 days. Deleting a deleted one succeeds.
    ///
    /// # Errors
    /// As the contract says of `DeleteSession`.
    pub async fn delete(&self, session_id: &str) -> Result<Answer<v1::Session>> {
        let (namespace, session_id) = (self.namespace(), session_id.to_owned());
        let request = v1::DeleteSessionRequest { namespace, session_id, etag: self.etag.clone(), lease_token: self.lease_token, request_id: self.change_id() };
        let answer = call!(self, delete_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Revives a deleted or expired session in the state it had before.
    ///
    /// # Errors
    /// As the contract says of `UndeleteSession`.
    pub async fn undelete(&self, session_id: &str) -> Result<Answer<v1::Session>> {
        let (namespace, session_id) = (self.namespace(), session_id.to_owned());
        let request =
            v1::UndeleteSessionRequest { namespace, session_id, etag: self.etag.clone(), lease_token: self.lease_token, request_id: self.change_id() };
        let answer = call!(self, undelete_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Lists live sessions, oldest first, page by page as they are asked for. Whatever exists during the whole listing appears exactly once.
    ///
    /// The stream's errors are those that the contract says of `ListSessions`; it ends with the first.
    #[must_use]
    pub fn list(&self, filter: Filter) -> BoxStream<'static, Result<v1::Session>> {
        let first = v1::ListSessionsRequest {
            namespace: self.namespace(),
            business_id: filter.business_id,
            email: filter.email,
            states: filter.states.into_iter().map(Into::into).collect(),
            labels: filter.labels,
            page_size: filter.page_size,
            page_token: String::new(),
            min_revision: self.min_revision,
        };
        let pages = stream::try_unfold((self.clone(), Some(first)), |(this, request)| async move {
            let Some(request) = request else { return Ok(None) };
            let page = call!(this, list_sessions, request.clone())?;
            let next = (!page.next_page_token.is_empty()).then_some(v1::ListSessionsRequest { page_token: page.next_page_token, ..request });
            Ok::<_, Error>(Some((stream::iter(page.sessions.into_iter().map(Ok)), (this, next))))
        });
        pages.try_flatten().boxed()
    }

    /// The most recently used ACTIVE session of a business or an e-mail address.
    ///
    /// # Errors
    /// As the contract says of `GetActiveSession`.
    pub async fn active(&self, owner: &Owner) -> Result<Answer<v1::Session>> {
        let owner = Some(match owner {
            Owner::Business(business_id) => v1::get_active_session_request::Owner::BusinessId(business_id.clone()),
            Owner::Email(email) => v1::get_active_session_request::Owner::Email(email.clone()),
        });
        let request = v1::GetActiveSessionRequest { namespace: self.namespace(), owner, min_revision: self.min_revision };
        let answer = call!(self, get_active_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Counts as a use: moves `last_use_time` and a sliding expiry. Answers when the session expires now.
    ///
    /// # Errors
    /// As the contract says of `TouchSession`.
    pub async fn touch(&self, session_id: &str) -> Result<Answer<Option<prost_types::Timestamp>>> {
        let (namespace, session_id) = (self.namespace(), session_id.to_owned());
        let request = v1::TouchSessionRequest { namespace, session_id, etag: self.etag.clone(), lease_token: self.lease_token };
        let answer = call!(self, touch_session, request)?;
        Ok(Answer { value: answer.expire_time, revision: answer.revision })
    }

    /// Moves a session to another state; `reason` is for those who read it, without secrets.
    ///
    /// # Errors
    /// As the contract says of `TransitionSession`.
    pub async fn transition(&self, session_id: &str, to: v1::SessionState, reason: &str) -> Result<Answer<v1::Session>> {
        let request = v1::TransitionSessionRequest {
            namespace: self.namespace(),
            session_id: session_id.to_owned(),
            to: to.into(),
            reason: reason.to_owned(),
            etag: self.etag.clone(),
            lease_token: self.lease_token,
            request_id: self.change_id(),
        };
        let answer = call!(self, transition_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Finds the one live session whose id starts with a prefix.
    ///
    /// # Errors
    /// As the contract says of `ResolveSession`.
    pub async fn resolve(&self, id_prefix: &str) -> Result<Answer<v1::Session>> {
        let request = v1::ResolveSessionRequest { namespace: self.namespace(), id_prefix: id_prefix.to_owned(), min_revision: self.min_revision };
        let answer = call!(self, resolve_session, request)?;
        session(answer.session, answer.revision)
    }

    /// Playwright storage states of sessions, under the conditions set so far.
    #[must_use]
    pub fn storage_state(&self) -> StorageStates {
        StorageStates(self.clone())
    }
}

fn session(session: Option<v1::Session>, revision: i64) -> Result<Answer<v1::Session>> {
    session.map(|value| Answer { value, revision }).ok_or_else(|| Error::malformed("its session"))
}

pub(crate) fn duration(duration: Duration) -> Result<prost_types::Duration> {
    duration.try_into().map_err(|_| Error::local("OPTION", format!("a time of {duration:?} is longer than the contract can carry")))
}
