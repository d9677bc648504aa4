//! Playwright storage states of sessions.

use bytes::Bytes;
use cloakroom_api::v1;

use crate::{
    error::Result,
    sessions::{Answer, Sessions},
};

/// A Playwright storage state.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageState {
    /// The JSON document, byte for byte as it was put.
    pub json: Bytes,
    /// Its version; give it to [`Sessions::if_etag`] to replace it only if it is still this.
    pub etag: String,
    /// When it was put.
    pub update_time: Option<prost_types::Timestamp>,
}

/// Playwright storage states of sessions.
#[derive(Clone, Debug)]
pub struct StorageStates(pub(super) Sessions);

impl StorageStates {
    /// Reads the session's storage state.
    ///
    /// # Errors
    /// As the contract says of `GetStorageState`.
    pub async fn get(&self, session_id: &str) -> Result<Answer<StorageState>> {
        let sessions = &self.0;
        let request = v1::GetStorageStateRequest { namespace: sessions.namespace(), session_id: session_id.to_owned(), min_revision: sessions.min_revision };
        let answer = call!(sessions, get_storage_state, request)?;
        let value = StorageState { json: answer.storage_state, etag: answer.etag, update_time: answer.update_time };
        Ok(Answer { value, revision: answer.revision })
    }

    /// Replaces the session's storage state with the JSON that Playwright's `storageState()` gives; answers its new etag. Counts as a use.
    ///
    /// # Errors
    /// As the contract says of `PutStorageState`.
    pub async fn put(&self, session_id: &str, json: impl Into<Bytes>) -> Result<Answer<String>> {
        let sessions = &self.0;
        let request = v1::PutStorageStateRequest {
            namespace: sessions.namespace(),
            session_id: session_id.to_owned(),
            storage_state: json.into(),
            etag: sessions.etag.clone(),
            lease_token: sessions.lease_token,
            request_id: sessions.change_id(),
        };
        let answer = call!(sessions, put_storage_state, request)?;
        Ok(Answer { value: answer.etag, revision: answer.revision })
    }
}
