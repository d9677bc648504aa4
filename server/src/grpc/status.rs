//! From an [`Error`] to a `google.rpc.Status`: the one place that knows codes and details, and the only redaction.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::model::error::{Error, Reason};

/// Domain of every `ErrorInfo`.
const DOMAIN: &str = "cloakroom";
/// When to repeat a call whose error does not say.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The reason's name in the contract, without its prefix; its gRPC code; whether the same call may succeed later.
fn row(reason: Reason) -> (&'static str, Code, bool) {
    use Reason as R;
    match reason {
        R::InvalidField => ("INVALID_FIELD", Code::InvalidArgument, false),
        R::InvalidPageToken => ("INVALID_PAGE_TOKEN", Code::InvalidArgument, false),
        R::InvalidResumeToken => ("INVALID_RESUME_TOKEN", Code::InvalidArgument, false),
        R::RequestIdReused => ("REQUEST_ID_REUSED", Code::InvalidArgument, false),
        R::StorageStateInvalid => ("STORAGE_STATE_INVALID", Code::InvalidArgument, false),
        R::StreamProtocol => ("STREAM_PROTOCOL", Code::InvalidArgument, false),
        R::StreamTruncated => ("STREAM_TRUNCATED", Code::InvalidArgument, false),
        R::PathInvalid => ("PATH_INVALID", Code::InvalidArgument, false),
        R::DataInvalid => ("DATA_INVALID", Code::InvalidArgument, false),
        R::DigestMismatch => ("DIGEST_MISMATCH", Code::InvalidArgument, false),
        R::LimitExceeded => ("LIMIT_EXCEEDED", Code::InvalidArgument, false),
        R::SessionNotFound => ("SESSION_NOT_FOUND", Code::NotFound, false),
        R::SessionExpired => ("SESSION_EXPIRED", Code::NotFound, false),
        R::SessionDeleted => ("SESSION_DELETED", Code::NotFound, false),
        R::SnapshotNotFound => ("SNAPSHOT_NOT_FOUND", Code::NotFound, false),
        R::ProfileEmpty => ("PROFILE_EMPTY", Code::NotFound, false),
        R::StorageStateNotFound => ("STORAGE_STATE_NOT_FOUND", Code::NotFound, false),
        R::SessionExists => ("SESSION_EXISTS", Code::AlreadyExists, false),
        R::EtagMismatch => ("ETAG_MISMATCH", Code::Aborted, false),
        R::LeaseFenced => ("LEASE_FENCED", Code::Aborted, false),
        R::ParentNotHead => ("PARENT_NOT_HEAD", Code::Aborted, false),
        R::Contention => ("CONTENTION", Code::Aborted, true),
        R::IllegalTransition => ("ILLEGAL_TRANSITION", Code::FailedPrecondition, false),
        R::PrefixAmbiguous => ("PREFIX_AMBIGUOUS", Code::FailedPrecondition, false),
        R::StorageStateTooLarge => ("STORAGE_STATE_TOO_LARGE", Code::FailedPrecondition, false),
        R::KeyUnavailable => ("KEY_UNAVAILABLE", Code::FailedPrecondition, false),
        R::Unauthenticated => ("UNAUTHENTICATED", Code::Unauthenticated, false),
        R::PermissionDenied => ("PERMISSION_DENIED", Code::PermissionDenied, false),
        R::QuotaExceeded => ("QUOTA_EXCEEDED", Code::ResourceExhausted, true),
        R::Overloaded => ("OVERLOADED", Code::ResourceExhausted, true),
        R::StorageFull => ("STORAGE_FULL", Code::ResourceExhausted, true),
        R::MetadataUnavailable => ("METADATA_UNAVAILABLE", Code::Unavailable, true),
        R::BlobsUnavailable => ("BLOBS_UNAVAILABLE", Code::Unavailable, true),
        R::RevisionNotReached => ("REVISION_NOT_REACHED", Code::Unavailable, true),
        R::ShuttingDown => ("SHUTTING_DOWN", Code::Unavailable, true),
        R::Deadline => ("DEADLINE", Code::DeadlineExceeded, true),
        R::DataCorrupt => ("DATA_CORRUPT", Code::DataLoss, false),
        R::Internal => ("INTERNAL", Code::Internal, false),
        R::Unsupported => ("UNSUPPORTED", Code::Unimplemented, false),
        R::MessageInvalid => ("MESSAGE_INVALID", Code::InvalidArgument, false),
        R::SnapshotDeleted => ("SNAPSHOT_DELETED", Code::NotFound, false),
        R::SnapshotHeld => ("SNAPSHOT_HELD", Code::FailedPrecondition, false),
    }
}

/// What the daemon does for every reason: its name, its code, and whether the same call may succeed later. A test holds it equal to the table in `error.proto`.
#[must_use]
pub fn table() -> Vec<(&'static str, Code, bool)> {
    Reason::ALL.into_iter().map(row).collect()
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (name, code, retry) = row(error.reason());
        // Log once, where handled: what only an operator can mend is an error, the caller's own mistakes are not worth a line.
        match code {
            Code::Internal | Code::DataLoss => tracing::error!(reason = name, error = ?error, "a call failed"),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => tracing::warn!(reason = name, error = ?error, "a call failed"),
            _ => tracing::debug!(reason = name, error = ?error, "a call was refused"),
        }
        let metadata = error.metadata().iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let mut details = ErrorDetails::new();
        details.set_error_info(name, DOMAIN, metadata.collect::<std::collections::HashMap<_, _>>());
        if retry {
            details.set_retry_info(Some(error.retry_after().unwrap_or(RETRY_AFTER)));
        }
        if let Some(field) = error.field_name() {
            details.add_bad_request_violation(field, error.message());
        }
        if matches!(code, Code::FailedPrecondition | Code::Aborted) {
            details.add_precondition_failure_violation(name, "", error.message());
        }
        if matches!(error.reason(), Reason::QuotaExceeded) {
            details.add_quota_failure_violation("namespace", error.message());
        }
        if let Some(help) = error.help() {
            details.add_help_link(help, "");
        }
        let message = if code == Code::Internal { "the daemon failed; its log says why" } else { error.message() };
        Status::with_error_details(code, message, details)
    }
}
