//! The `SessionService`: every call is parse, do, answer.

use std::{collections::BTreeSet, fmt, sync::Arc};

use cloakroom_api::v1::{self as api, session_service_server::SessionService};
use tonic::{Request, Response, Status};

use super::{
    audit::{self, Access},
    parse,
};
use crate::{
    flow::sessions::{Answer, Filter, NewSession, Owner, Sessions},
    model::{
        email::Email,
        error::Error,
        id::{BusinessId, RequestId, SessionId},
        label, page,
    },
};

pub(super) mod convert;

use convert::{batch_ids, conditions, listed_state, moved_state, patch, revision, session, ttl, ttl_mode};

/// The service, over the operations on sessions.
pub struct SessionCalls {
    sessions: Arc<Sessions>,
}

impl fmt::Debug for SessionCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCalls").finish_non_exhaustive()
    }
}

impl SessionCalls {
    /// The service.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }
}

/// Answers with a session and a revision, which nearly all responses consist of.
macro_rules! answer {
    ($response:ident, $answer:expr) => {{
        let Answer { view, revision } = $answer;
        Ok(Response::new(api::$response { session: Some(session(view)), revision: revision.0 }))
    }};
}

#[tonic::async_trait]
impl SessionService for SessionCalls {
    async fn create_session(&self, request: Request<api::CreateSessionRequest>) -> Result<Response<api::CreateSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = if given.session_id.is_empty() { None } else { Some(SessionId::parse("session_id", &given.session_id)?) };
        let new = NewSession {
            id,
            business: BusinessId::parse("business_id", &given.business_id)?,
            email: Email::parse("email", &given.email)?,
            labels: label::parse_labels("labels", given.labels)?,
            ttl: ttl("ttl", given.ttl.as_ref())?,
            ttl_mode: ttl_mode("ttl_mode", given.ttl_mode)?,
        };
        let request_id = RequestId::parse("request_id", &given.request_id)?;
        answer!(CreateSessionResponse, self.sessions.create(&namespace, new, request_id.as_ref()).await?)
    }

    async fn get_session(&self, request: Request<api::GetSessionRequest>) -> Result<Response<api::GetSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        answer!(GetSessionResponse, self.sessions.get(&namespace, &id, revision("min_revision", given.min_revision)?).await?)
    }

    async fn batch_get_sessions(&self, request: Request<api::BatchGetSessionsRequest>) -> Result<Response<api::BatchGetSessionsResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let ids = batch_ids(&given.session_ids)?;
        let batch = self.sessions.batch_get(&namespace, &ids, revision("min_revision", given.min_revision)?).await?;
        Ok(Response::new(api::BatchGetSessionsResponse {
            sessions: batch.views.into_iter().map(session).collect(),
            missing_session_ids: batch.missing.iter().map(SessionId::to_string).collect(),
            revision: batch.revision.0,
        }))
    }

    async fn update_session(&self, request: Request<api::UpdateSessionRequest>) -> Result<Response<api::UpdateSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let new = given.session.ok_or_else(|| Error::field("session", "session is missing; its `id` says which one to change"))?;
        let id = SessionId::parse("session.id", &new.id)?;
        let patch = patch(new, &given.update_mask.unwrap_or_default().paths)?;
        let conditions = conditions(given.etag, given.lease_token, &given.request_id)?;
        answer!(UpdateSessionResponse, self.sessions.update(&namespace, &id, patch, &conditions).await?)
    }

    async fn delete_session(&self, request: Request<api::DeleteSessionRequest>) -> Result<Response<api::DeleteSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let conditions = conditions(given.etag, given.lease_token, &given.request_id)?;
        answer!(DeleteSessionResponse, self.sessions.delete(&namespace, &id, &conditions).await?)
    }

    async fn undelete_session(&self, request: Request<api::UndeleteSessionRequest>) -> Result<Response<api::UndeleteSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let conditions = conditions(given.etag, given.lease_token, &given.request_id)?;
        answer!(UndeleteSessionResponse, self.sessions.undelete(&namespace, &id, &conditions).await?)
    }

    async fn list_sessions(&self, request: Request<api::ListSessionsRequest>) -> Result<Response<api::ListSessionsResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let filter = Filter {
            business: if given.business_id.is_empty() { None } else { Some(BusinessId::parse("business_id", &given.business_id)?) },
            email: Email::parse("email", &given.email)?,
            states: given.states.into_iter().map(listed_state).collect::<Result<BTreeSet<_>, Error>>()?,
            labels: label::parse_labels("labels", given.labels)?,
        };
        let size = page::parse_size("page_size", given.page_size)?;
        let page = self.sessions.list(&namespace, filter, size, &given.page_token, revision("min_revision", given.min_revision)?).await?;
        Ok(Response::new(api::ListSessionsResponse {
            sessions: page.views.into_iter().map(session).collect(),
            next_page_token: page.next,
            revision: page.revision.0,
        }))
    }

    async fn get_active_session(&self, request: Request<api::GetActiveSessionRequest>) -> Result<Response<api::GetActiveSessionResponse>, Status> {
        use api::get_active_session_request::Owner as Given;
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let missing = || Error::field("owner", "owner is missing; give a business_id or an email");
        let owner = match given.owner.ok_or_else(missing)? {
            Given::BusinessId(business) => Owner::Business(BusinessId::parse("business_id", &business)?),
            Given::Email(email) => Owner::Email(Email::parse("email", &email)?.ok_or_else(missing)?),
        };
        answer!(GetActiveSessionResponse, self.sessions.active(&namespace, &owner, revision("min_revision", given.min_revision)?).await?)
    }

    async fn touch_session(&self, request: Request<api::TouchSessionRequest>) -> Result<Response<api::TouchSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let touched = self.sessions.touch(&namespace, &id, &conditions(given.etag, given.lease_token, "")?).await?;
        let expire_time = touched.expires_at.map(parse::timestamp);
        Ok(Response::new(api::TouchSessionResponse { expire_time, revision: touched.revision.0 }))
    }

    async fn transition_session(&self, request: Request<api::TransitionSessionRequest>) -> Result<Response<api::TransitionSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let to = moved_state(given.to)?;
        let reason = label::parse_reason("reason", &given.reason)?;
        let conditions = conditions(given.etag, given.lease_token, &given.request_id)?;
        answer!(TransitionSessionResponse, self.sessions.transition(&namespace, &id, to, &reason, &conditions).await?)
    }

    async fn resolve_session(&self, request: Request<api::ResolveSessionRequest>) -> Result<Response<api::ResolveSessionResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let prefix = SessionId::parse("id_prefix", &given.id_prefix)?;
        answer!(ResolveSessionResponse, self.sessions.resolve(&namespace, &prefix, revision("min_revision", given.min_revision)?).await?)
    }

    async fn get_storage_state(&self, request: Request<api::GetStorageStateRequest>) -> Result<Response<api::GetStorageStateResponse>, Status> {
        let (namespace, who) = (parse::namespace(&request, &request.get_ref().namespace)?, audit::who(&request));
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let min_revision = revision("min_revision", given.min_revision)?;
        let access = Access::begin(who, "GetStorageState", &namespace, &id);
        let stored = access.end(self.sessions.storage_state(&namespace, &id, min_revision).await.map_err(Status::from))?;
        Ok(Response::new(api::GetStorageStateResponse {
            storage_state: stored.document,
            etag: stored.etag.etag(),
            update_time: Some(parse::timestamp(stored.put_at)),
            revision: stored.revision.0,
        }))
    }

    async fn put_storage_state(&self, request: Request<api::PutStorageStateRequest>) -> Result<Response<api::PutStorageStateResponse>, Status> {
        let (namespace, who) = (parse::namespace(&request, &request.get_ref().namespace)?, audit::who(&request));
        let given = request.into_inner();
        let id = SessionId::parse("session_id", &given.session_id)?;
        let conditions = conditions(given.etag, given.lease_token, &given.request_id)?;
        let access = Access::begin(who, "PutStorageState", &namespace, &id);
        let put = access.end(self.sessions.put_storage_state(&namespace, &id, given.storage_state, &conditions).await.map_err(Status::from))?;
        Ok(Response::new(api::PutStorageStateResponse { etag: put.revision.etag(), revision: put.revision.0 }))
    }
}

#[cfg(test)]
mod tests;
