//! What was saved: the state of an upload, and the chain of snapshots.

use cloakroom_api::v1;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

use crate::{
    connection::Client,
    error::{Error, Result},
    sessions::Answer,
};

impl Client {
    /// Says what became of a save: the snapshot that it made, or nothing if it is not known. Then all of it may be sent again with the same upload id.
    ///
    /// # Errors
    /// As the contract says of `GetSaveStatus`.
    pub async fn save_status(&self, session_id: &str, upload_id: &str) -> Result<Answer<Option<v1::Snapshot>>> {
        let request = v1::GetSaveStatusRequest { namespace: self.namespace.to_string(), session_id: session_id.to_owned(), upload_id: upload_id.to_owned() };
        let call = || {
            let (mut stub, request) = (self.profile_stub(), request.clone());
            async move { stub.get_save_status(request).await }
        };
        let answer = self.unary(call).await?.into_inner();
        let committed = answer.state() == v1::SaveState::Committed;
        Ok(Answer { value: answer.snapshot.filter(|_| committed), revision: answer.revision })
    }

    /// Lists a session's snapshots, newest first, page by page as they are asked for.
    ///
    /// The stream's errors are those that the contract says of `ListSnapshots`; it ends with the first.
    #[must_use]
    pub fn snapshots(&self, session_id: &str) -> BoxStream<'static, Result<v1::Snapshot>> {
        self.listed(session_id, false)
    }

    /// The same with those that were deleted and can still be revived.
    #[must_use]
    pub fn all_snapshots(&self, session_id: &str) -> BoxStream<'static, Result<v1::Snapshot>> {
        self.listed(session_id, true)
    }

    fn listed(&self, session_id: &str, show_deleted: bool) -> BoxStream<'static, Result<v1::Snapshot>> {
        let (namespace, session_id) = (self.namespace.to_string(), session_id.to_owned());
        let first = v1::ListSnapshotsRequest { namespace, session_id, show_deleted, ..v1::ListSnapshotsRequest::default() };
        let pages = stream::try_unfold((self.clone(), Some(first)), |(this, request)| async move {
            let Some(request) = request else { return Ok(None) };
            let call = || {
                let (mut stub, request) = (this.profile_stub(), request.clone());
                async move { stub.list_snapshots(request).await }
            };
            let page = this.unary(call).await?.into_inner();
            let next = (!page.next_page_token.is_empty()).then_some(v1::ListSnapshotsRequest { page_token: page.next_page_token, ..request });
            Ok::<_, Error>(Some((stream::iter(page.snapshots.into_iter().map(Ok)), (this, next))))
        });
        pages.try_flatten().boxed()
    }

    /// Reads one snapshot; an empty id means the head.
    ///
    /// # Errors
    /// As the contract says of `GetSnapshot`.
    pub async fn snapshot(&self, session_id: &str, snapshot_id: &str) -> Result<Answer<v1::Snapshot>> {
        self.snapshot_page(session_id, snapshot_id, None).await.map(|(snapshot, _, _)| snapshot)
    }

    /// Reads one snapshot with all its entries, in order of their paths; an empty id means the head.
    ///
    /// # Errors
    /// As the contract says of `GetSnapshot`.
    pub async fn snapshot_with_entries(&self, session_id: &str, snapshot_id: &str) -> Result<(Answer<v1::Snapshot>, Vec<v1::Entry>)> {
        let (snapshot, mut entries, mut next) = self.snapshot_page(session_id, snapshot_id, Some(String::new())).await?;
        while !next.is_empty() {
            // The head may have moved since the first page.
            let (_, more, token) = self.snapshot_page(session_id, &snapshot.id, Some(next)).await?;
            entries.extend(more);
            next = token;
        }
        Ok((snapshot, entries))
    }

    async fn snapshot_page(&self, session_id: &str, snapshot_id: &str, page_token: Option<String>) -> Result<(Answer<v1::Snapshot>, Vec<v1::Entry>, String)> {
        let request = v1::GetSnapshotRequest {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            with_entries: page_token.is_some(),
            page_token: page_token.unwrap_or_default(),
            ..v1::GetSnapshotRequest::default()
        };
        let call = || {
            let (mut stub, request) = (self.profile_stub(), request.clone());
            async move { stub.get_snapshot(request).await }
        };
        let page = self.unary(call).await?.into_inner();
        let value = page.snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
        Ok((Answer { value, revision: page.revision }, page.entries, page.next_page_token))
    }
}
