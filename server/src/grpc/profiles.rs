//! The `ProfileService`: every unary call is parse, do, answer; the order of a stream's messages is `upload`'s.

use std::{fmt, pin::Pin, sync::Arc};

use cloakroom_api::v1::{self as api, profile_service_server::ProfileService};
use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    audit::{self, Access},
    parse,
    sessions::convert::conditions,
};
use crate::{
    flow::profiles::{DiffRequest, Listing, Load, LoadPiece, LoadRequest, MarkRequest, Marked, Marking, Pieces, Profiles, RestoreRequest},
    model::{
        error::{Error, Reason, Result},
        id::{SessionId, SnapshotId, UploadId},
        label, page,
    },
};

mod convert;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod upload;

use convert::{accepted, difference, entry, entry_page_size, moment, records, snapshot, snapshot_id};

/// The service, over the operations on profiles.
pub struct ProfileCalls {
    profiles: Arc<Profiles>,
}

impl fmt::Debug for ProfileCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileCalls").finish_non_exhaustive()
    }
}

impl ProfileCalls {
    /// The service.
    #[must_use]
    pub fn new(profiles: Arc<Profiles>) -> Self {
        Self { profiles }
    }
}

/// Sets a mark of a snapshot and answers with it. The requests are alike but for which snapshot they name, and what is to be said of it.
macro_rules! mark {
    ($calls:ident, $request:ident, $rpc:literal, $response:ident, |$given:ident| $snapshot:expr, $marking:expr) => {{
        let (namespace, who) = (parse::namespace(&$request, &$request.get_ref().namespace)?, audit::who(&$request));
        let $given = $request.into_inner();
        let marking = $marking;
        let wanted = MarkRequest {
            namespace,
            session: SessionId::parse("session_id", &$given.session_id)?,
            snapshot: $snapshot,
            marking,
            conditions: conditions($given.etag, $given.lease_token, &$given.request_id)?,
        };
        let access = Access::begin(who, $rpc, &wanted.namespace, &wanted.session);
        let Marked { view, revision } = access.end($calls.profiles.mark(&wanted).await.map_err(Status::from))?;
        Ok(Response::new(api::$response { snapshot: Some(snapshot(view)), revision: revision.0 }))
    }};
}

#[tonic::async_trait]
impl ProfileService for ProfileCalls {
    type LoadProfileStream = Pin<Box<dyn Stream<Item = Result<api::LoadProfileResponse, Status>> + Send>>;

    async fn save_profile(&self, request: Request<Streaming<api::SaveProfileRequest>>) -> Result<Response<api::SaveProfileResponse>, Status> {
        let (metadata, extensions, stream) = request.into_parts();
        let caller = Request::from_parts(metadata, extensions, ());
        let saved = upload::receive(&self.profiles, &caller, stream).await?;
        let revision = saved.revision();
        Ok(Response::new(api::SaveProfileResponse { snapshot: Some(snapshot(saved.view)), revision: revision.0, session_etag: revision.etag() }))
    }

    async fn get_save_status(&self, request: Request<api::GetSaveStatusRequest>) -> Result<Response<api::GetSaveStatusResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let session = SessionId::parse("session_id", &given.session_id)?;
        let upload = UploadId::parse("upload_id", &given.upload_id)?;
        let status = self.profiles.status(&namespace, &session, &upload).await?;
        let state = if status.view.is_some() { api::SaveState::Committed } else { api::SaveState::Unknown };
        Ok(Response::new(api::GetSaveStatusResponse { state: state.into(), snapshot: status.view.map(snapshot), revision: status.revision.0 }))
    }

    async fn load_profile(&self, request: Request<api::LoadProfileRequest>) -> Result<Response<Self::LoadProfileStream>, Status> {
        let (namespace, who) = (parse::namespace(&request, &request.get_ref().namespace)?, audit::who(&request));
        let given = request.into_inner();
        let wanted = LoadRequest {
            namespace,
            session: SessionId::parse("session_id", &given.session_id)?,
            snapshot: snapshot_id("snapshot_id", &given.snapshot_id)?,
            have: snapshot_id("have_snapshot_id", &given.have_snapshot_id)?,
            accept: accepted(&given.accept_codecs),
            with_storage_state: given.with_storage_state,
            min_revision: moment("min_revision", given.min_revision)?,
        };
        let what = if wanted.with_storage_state { "LoadProfile with storage state" } else { "LoadProfile" };
        let access = Access::begin(who, what, &wanted.namespace, &wanted.session);
        match self.profiles.load(wanted).await {
            Ok(load) => Ok(Response::new(answer(load, access))),
            Err(error) => access.end(Err(error.into())),
        }
    }

    async fn list_snapshots(&self, request: Request<api::ListSnapshotsRequest>) -> Result<Response<api::ListSnapshotsResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let session = SessionId::parse("session_id", &given.session_id)?;
        let (size, since) = (page::parse_size("page_size", given.page_size)?, moment("min_revision", given.min_revision)?);
        let listing = Listing { size, token: &given.page_token, deleted: given.show_deleted, min_revision: since };
        let page = self.profiles.list(&namespace, &session, listing).await?;
        let snapshots = page.views.into_iter().map(snapshot).collect();
        Ok(Response::new(api::ListSnapshotsResponse { snapshots, next_page_token: page.next, revision: page.revision.0 }))
    }

    async fn get_snapshot(&self, request: Request<api::GetSnapshotRequest>) -> Result<Response<api::GetSnapshotResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let given = request.into_inner();
        let session = SessionId::parse("session_id", &given.session_id)?;
        let wanted = snapshot_id("snapshot_id", &given.snapshot_id)?;
        let size = entry_page_size(given.page_size)?;
        let entries = given.with_entries.then_some((size, given.page_token.as_str()));
        let since = moment("min_revision", given.min_revision)?;
        let found = self.profiles.get(&namespace, &session, wanted, entries, since).await?;
        Ok(Response::new(api::GetSnapshotResponse {
            snapshot: Some(snapshot(found.view)),
            entries: found.entries.iter().map(|of| entry(of)).collect(),
            next_page_token: found.next,
            revision: found.revision.0,
        }))
    }

    async fn restore_snapshot(&self, request: Request<api::RestoreSnapshotRequest>) -> Result<Response<api::RestoreSnapshotResponse>, Status> {
        let (namespace, who) = (parse::namespace(&request, &request.get_ref().namespace)?, audit::who(&request));
        let given = request.into_inner();
        let wanted = RestoreRequest {
            namespace,
            session: SessionId::parse("session_id", &given.session_id)?,
            snapshot: snapshot_id("snapshot_id", &given.snapshot_id)?,
            head: snapshot_id("head_snapshot_id", &given.head_snapshot_id)?,
            conditions: conditions(given.etag, given.lease_token, &given.request_id)?,
        };
        let access = Access::begin(who, "RestoreSnapshot", &wanted.namespace, &wanted.session);
        let restored = access.end(self.profiles.restore(wanted).await.map_err(Status::from))?;
        Ok(Response::new(api::RestoreSnapshotResponse {
            snapshot: Some(snapshot(restored.view)),
            revision: restored.revision.0,
            session_etag: restored.etag,
            former_head_snapshot_id: restored.former.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn diff_snapshots(&self, request: Request<api::DiffSnapshotsRequest>) -> Result<Response<api::DiffSnapshotsResponse>, Status> {
        let (namespace, who) = (parse::namespace(&request, &request.get_ref().namespace)?, audit::who(&request));
        let given = request.into_inner();
        let wanted = DiffRequest {
            namespace,
            session: SessionId::parse("session_id", &given.session_id)?,
            snapshot: snapshot_id("snapshot_id", &given.snapshot_id)?,
            base: snapshot_id("base_snapshot_id", &given.base_snapshot_id)?,
            size: entry_page_size(given.page_size)?,
            token: given.page_token,
            min_revision: moment("min_revision", given.min_revision)?,
        };
        let access = Access::begin(who, "DiffSnapshots", &wanted.namespace, &wanted.session);
        Ok(Response::new(difference(access.end(self.profiles.diff(&wanted).await.map_err(Status::from))?)))
    }

    async fn pin_snapshot(&self, request: Request<api::PinSnapshotRequest>) -> Result<Response<api::PinSnapshotResponse>, Status> {
        let marking = |given: &api::PinSnapshotRequest| {
            let note = label::parse_reason("note", &given.note)?;
            Ok::<_, Status>(if given.unpin { Marking::Unpin } else { Marking::Pin(note) })
        };
        mark!(self, request, "PinSnapshot", PinSnapshotResponse, |given| snapshot_id("snapshot_id", &given.snapshot_id)?, marking(&given)?)
    }

    async fn delete_snapshot(&self, request: Request<api::DeleteSnapshotRequest>) -> Result<Response<api::DeleteSnapshotResponse>, Status> {
        let named = |id: &str| SnapshotId::parse("snapshot_id", id).map(Some);
        mark!(self, request, "DeleteSnapshot", DeleteSnapshotResponse, |given| named(&given.snapshot_id)?, Marking::Delete)
    }

    async fn undelete_snapshot(&self, request: Request<api::UndeleteSnapshotRequest>) -> Result<Response<api::UndeleteSnapshotResponse>, Status> {
        let named = |id: &str| SnapshotId::parse("snapshot_id", id).map(Some);
        mark!(self, request, "UndeleteSnapshot", UndeleteSnapshotResponse, |given| named(&given.snapshot_id)?, Marking::Undelete)
    }
}

/// A load as the wire has it: `begin`, pieces, `end`. If the pieces end without theirs, the stream ends with an error: never as if it were complete.
fn answer(load: Load, access: Access) -> <ProfileCalls as ProfileService>::LoadProfileStream {
    use api::load_profile_response::Message;
    let response = |message| Ok(api::LoadProfileResponse { message: Some(message) });
    let root = bytes::Bytes::copy_from_slice(&load.root);
    let begin = Message::Begin(api::LoadBegin {
        snapshot: Some(snapshot(load.view)),
        base_snapshot_id: load.base.map(|base| base.to_string()).unwrap_or_default(),
        content_bytes: i64::try_from(load.content).unwrap_or(i64::MAX),
    });
    let next = move |load: Option<(Pieces, Access)>| {
        let root = root.clone();
        async move {
            let (mut pieces, access) = load?;
            let last = match pieces.recv().await {
                Some(Ok(LoadPiece::Records(piece))) => return Some((response(Message::Records(records(piece))), Some((pieces, access)))),
                Some(Ok(LoadPiece::StorageState(data))) => {
                    return Some((response(Message::StorageState(api::StorageStateChunk { data })), Some((pieces, access))));
                }
                Some(Ok(LoadPiece::End)) => response(Message::End(api::LoadEnd { manifest_root: root })),
                Some(Err(error)) => Err(error.into()),
                None => Err(Error::new(Reason::ShuttingDown, "the load was given up before its end: load again").into()),
            };
            Some((access.end(last), None))
        }
    };
    stream::iter([response(begin)]).chain(stream::unfold(Some((load.pieces, access)), next)).boxed()
}

#[cfg(test)]
mod tests;
