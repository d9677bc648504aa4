//! The one error type of the daemon: a [`Reason`] says what the caller can do, the rest says it to a person.
//!
//! Messages name the value that was wrong and the remedy; secrets, cookies and e-mail addresses never enter them. `grpc::status` turns an error into
//! a `google.rpc.Status`, and is the only place that does.

use std::{fmt, time::Duration};

/// What a fallible function of the daemon answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed. The names, codes and retry rules stand in `proto/cloakroom/v1/error.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "documented once, in error.proto")]
pub enum Reason {
    InvalidField,
    InvalidPageToken,
    InvalidResumeToken,
    RequestIdReused,
    StorageStateInvalid,
    StreamProtocol,
    StreamTruncated,
    PathInvalid,
    DataInvalid,
    DigestMismatch,
    LimitExceeded,
    SessionNotFound,
    SessionExpired,
    SessionDeleted,
    SnapshotNotFound,
    ProfileEmpty,
    StorageStateNotFound,
    SessionExists,
    EtagMismatch,
    LeaseFenced,
    ParentNotHead,
    Contention,
    IllegalTransition,
    PrefixAmbiguous,
    StorageStateTooLarge,
    KeyUnavailable,
    Unauthenticated,
    PermissionDenied,
    QuotaExceeded,
    Overloaded,
    StorageFull,
    MetadataUnavailable,
    BlobsUnavailable,
    RevisionNotReached,
    ShuttingDown,
    Deadline,
    DataCorrupt,
    Internal,
    Unsupported,
    MessageInvalid,
    SnapshotDeleted,
    SnapshotHeld,
}

impl Reason {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 42] = [
        Self::InvalidField,
        Self::InvalidPageToken,
        Self::InvalidResumeToken,
        Self::RequestIdReused,
        Self::StorageStateInvalid,
        Self::StreamProtocol,
        Self::StreamTruncated,
        Self::PathInvalid,
        Self::DataInvalid,
        Self::DigestMismatch,
        Self::LimitExceeded,
        Self::SessionNotFound,
        Self::SessionExpired,
        Self::SessionDeleted,
        Self::SnapshotNotFound,
        Self::ProfileEmpty,
        Self::StorageStateNotFound,
        Self::SessionExists,
        Self::EtagMismatch,
        Self::LeaseFenced,
        Self::ParentNotHead,
        Self::Contention,
        Self::IllegalTransition,
        Self::PrefixAmbiguous,
        Self::StorageStateTooLarge,
        Self::KeyUnavailable,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::StorageFull,
        Self::MetadataUnavailable,
        Self::BlobsUnavailable,
        Self::RevisionNotReached,
        Self::ShuttingDown,
        Self::Deadline,
        Self::DataCorrupt,
        Self::Internal,
        Self::Unsupported,
        Self::MessageInvalid,
        Self::SnapshotDeleted,
        Self::SnapshotHeld,
    ];
}

/// Something failed. Made by [`Error::new`] or [`Error::field`], then completed by the `with_…` methods.
pub struct Error(Box<Detail>);

struct Detail {
    reason: Reason,
    message: String,
    field: Option<String>,
    metadata: Vec<(&'static str, String)>,
    help: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message for a person: what was wrong, with which value, and what to do.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Detail { reason, message: message.into(), field: None, metadata: Vec::new(), help: None, retry_after: None, source: None }))
    }

    /// A field of a request breaks its rule. `field` is its path as in the `.proto`, such as `session.labels`.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(Reason::InvalidField, message);
        error.0.field = Some(field.into());
        error
    }

    /// Adds a fact for programs; it becomes metadata of `ErrorInfo`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.metadata.push((key, value.to_string()));
        self
    }

    /// Names the field that was wrong, also for other reasons than [`Reason::InvalidField`].
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what to do next; it becomes `google.rpc.Help`.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Says when to try again; it becomes `google.rpc.RetryInfo`.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Keeps the cause for the log. It is never sent to a caller.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The message for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field that was wrong, if one was.
    #[must_use]
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Facts for programs.
    #[must_use]
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// When to try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.reason, self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, " ({source:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
