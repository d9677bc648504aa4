//! The order of a save's messages: `begin`, any number of `records` and `storage_state`, `end`.

use std::{sync::Arc, time::Duration};

use cloakroom_api::v1::{self as api, save_profile_request::Message};
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming};

use super::convert::{etag, moment, portability, received, snapshot_id};
use crate::{
    flow::profiles::{Begin, Budget, Profiles, Repeat, Save, Saved, Saving},
    grpc::{
        audit::{self, Access},
        parse,
    },
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, SessionId, UploadId},
        tree::Root,
    },
};

/// How long the caller may take to close its side behind `end`.
const CLOSE: Duration = Duration::from_millis(500);

/// Receives a save. `caller` is the call without its messages.
pub(super) async fn receive(profiles: &Arc<Profiles>, caller: &Request<()>, mut stream: Streaming<api::SaveProfileRequest>) -> Result<Saved, Status> {
    let idle = profiles.idle();
    let first = next(&mut stream, idle).await?;
    let Some(Message::Begin(begin)) = first.message else {
        return Err(protocol("the first message of a save must be `begin`").into());
    };
    let namespace = parse::namespace(caller, &first.namespace)?;
    let begin = self::begin(namespace, begin)?;
    let access = Access::begin(audit::who(caller), "SaveProfile", &begin.namespace, &begin.session);
    let saving = async {
        match profiles.save(begin).await? {
            Saving::New(save) => new(*save, &mut stream, idle).await,
            Saving::Repeat(repeat) => repeated(*repeat, &mut stream, idle).await,
        }
    };
    access.end(saving.await)
}

/// The first message.
pub(super) fn begin(namespace: Namespace, given: api::SaveBegin) -> Result<Begin> {
    Ok(Begin {
        namespace,
        session: SessionId::parse("begin.session_id", &given.session_id)?,
        parent: snapshot_id("begin.parent_snapshot_id", &given.parent_snapshot_id)?,
        full: given.full,
        upload: UploadId::parse("begin.upload_id", &given.upload_id)?,
        etag: etag("begin.etag", given.etag)?,
        lease_token: moment("begin.lease_token", given.lease_token)?.0,
        portability: portability(given.portability.unwrap_or_default()),
    })
}

async fn new(mut save: Save, stream: &mut Streaming<api::SaveProfileRequest>, idle: Duration) -> Result<Saved, Status> {
    match pieces(&mut save, stream, idle).await {
        Ok(root) => Ok(save.end(root).await?),
        Err(status) => {
            save.give_up().await;
            Err(status)
        }
    }
}

/// Takes all pieces; answers the root with which the stream ends.
async fn pieces(save: &mut Save, stream: &mut Streaming<api::SaveProfileRequest>, idle: Duration) -> Result<Root, Status> {
    loop {
        // The permit comes before the bytes.
        let budget: Budget = save.reserve().await?;
        match later(next(stream, idle).await?)? {
            Later::Records(records) => save.records(budget, received(records)?).await?,
            Later::StorageState(chunk) => save.storage_state(budget, chunk.data).await?,
            Later::End(root) => return closed(stream).await.map(|()| root),
        }
    }
}

/// A repetition is read and compared, but not worked on.
async fn repeated(mut repeat: Repeat, stream: &mut Streaming<api::SaveProfileRequest>, idle: Duration) -> Result<Saved, Status> {
    loop {
        match later(next(stream, idle).await?)? {
            Later::Records(_) => {}
            Later::StorageState(chunk) => repeat.storage_state(&chunk.data),
            Later::End(root) => {
                closed(stream).await?;
                return Ok(repeat.end(&root)?);
            }
        }
    }
}

/// Nothing may follow `end`. Seeing the end of the caller's side also spares it a reset; whoever leaves it open is answered all the same.
async fn closed(stream: &mut Streaming<api::SaveProfileRequest>) -> Result<(), Status> {
    match timeout(CLOSE, stream.message()).await {
        Ok(Ok(Some(_))) => Err(protocol("`end` is the last message of a save, but another one followed").into()),
        _ => Ok(()),
    }
}

/// A message behind the first.
pub(super) enum Later {
    Records(api::ProfileRecords),
    StorageState(api::StorageStateChunk),
    End(Root),
}

pub(super) fn later(request: api::SaveProfileRequest) -> Result<Later> {
    match request.message {
        Some(Message::Records(records)) => Ok(Later::Records(records)),
        Some(Message::StorageState(chunk)) => Ok(Later::StorageState(chunk)),
        Some(Message::End(end)) => <Root>::try_from(end.manifest_root.as_ref()).map(Later::End).map_err(|_| {
            let message = format!("end.manifest_root has {} bytes; it needs 32", end.manifest_root.len());
            Error::field("end.manifest_root", message)
        }),
        Some(Message::Begin(_)) => Err(protocol("a save has only one `begin`, its first message")),
        None => Err(protocol("a message of a save is empty: it needs `records`, `storage_state` or `end`")),
    }
}

async fn next(stream: &mut Streaming<api::SaveProfileRequest>, idle: Duration) -> Result<api::SaveProfileRequest, Status> {
    let truncated = || Error::new(Reason::StreamTruncated, "the save ended before its `end` message; nothing was changed: send it again");
    match timeout(idle, stream.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(truncated().into()),
        Ok(Err(status)) => Err(broken(status, truncated())),
        Err(_) => {
            let message = format!("no message of the save came for {} s; nothing was changed: send it again", idle.as_secs());
            Err(Error::new(Reason::Deadline, message).into())
        }
    }
}

/// What tonic says of a stream that it cannot read on. Too large and undecodable messages are the caller's, and named by the layers above; a broken connection is a save
/// that was cut off.
fn broken(status: Status, truncated: Error) -> Status {
    let cut = matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Unavailable) || status.message().contains("Unexpected EOF");
    if cut && status.details().is_empty() { truncated.with_source(status).into() } else { status }
}

fn protocol(message: &str) -> Error {
    Error::new(Reason::StreamProtocol, message)
}
