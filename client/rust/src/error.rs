//! What can go wrong, sorted by what the caller can do about it.

use std::{collections::HashMap, error::Error as _, fmt, path::Path, time::Duration};

use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

/// What a call of this client answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon refused or failed a call.
    #[error("{0}")]
    Call(#[from] Box<CallError>),
    /// The daemon cannot be reached, or the connection broke.
    #[error(
        "no answer from cloakroomd at {target}: {message}; check that it runs, that this is the address of its gRPC port (7700 by default), and whether it wants TLS (https://)"
    )]
    Unreachable {
        /// Where it was looked for.
        target: String,
        /// What the network said.
        message: String,
    },
    /// Something answers at the target, but not as a daemon does.
    #[error(
        "what answers at {target} is not cloakroomd's gRPC port: {message}; gRPC is on port 7700 by default, and 7701 is for health and metrics: look at the first line that cloakroomd printed"
    )]
    NotGrpc {
        /// Where the daemon was looked for.
        target: String,
        /// What gave it away.
        message: String,
    },
    /// A file of this machine cannot be read or written. Its reason is `FILE_SYSTEM`.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The directory, an argument, or what arrived breaks a rule; the message says which, and what to do.
    ///
    /// Reasons of the client's own: `PROFILE_BUSY` (a browser runs on it, or another load goes into it), `PROFILE_CHANGING` (a file changes while it is read),
    /// `PROFILE_MISSING` (no directory there), `LOAD_UNFINISHED` (a load by some client took the directory away and was cut off, or is still at it), `TARGET_EXISTS` (a load would
    /// overwrite something), `OTHER_SESSION` (the directory that is to be saved came from another one), `NOTHING_TO_SAVE` (nothing in it travels), `CAPTURE_RULE` (a bad glob or policy), `OPTION` (an argument that cannot be used). What arrived damaged, and a path that the contract
    /// forbids, have the contract's reasons, such as `DIGEST_MISMATCH` and `PATH_INVALID`.
    #[error("{message}")]
    Local {
        /// Why, for programs.
        reason: &'static str,
        /// For a person.
        message: String,
    },
}

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The request breaks a rule: change it.
    Invalid,
    /// There is no such session, snapshot, profile or storage state.
    NotFound,
    /// A session with this id exists, or existed and can still be revived.
    AlreadyExists,
    /// Somebody else was faster: read again, then decide.
    Conflict,
    /// The state of things does not allow it: an illegal transition, an ambiguous prefix, a missing key.
    Refused,
    /// The credentials are missing, or do not allow this.
    Denied,
    /// A quota, the daemon's capacity or a disk is used up.
    Exhausted,
    /// The daemon or one of its stores cannot be reached, or did not answer in time.
    Unavailable,
    /// Stored bytes are damaged.
    DataCorrupt,
    /// A fault of the daemon itself, or an answer that this client does not understand.
    Internal,
    /// Something is wrong on this machine.
    Local,
}

/// A failed call, with what the daemon said about it. The reasons stand in `error.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallError {
    /// Why, such as `PARENT_NOT_HEAD`; empty when the answer came from something else than Cloakroom.
    pub reason: String,
    /// The gRPC code's number.
    pub code: i32,
    /// For a person.
    pub message: String,
    /// Facts for programs, such as the current head.
    pub metadata: HashMap<String, String>,
    /// The fields that break a rule, and which.
    pub violations: Vec<(String, String)>,
    /// What to do next, if the daemon knows.
    pub help: Vec<String>,
    /// When to try again, if that can help.
    pub retry_delay: Option<Duration>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The message often says already what the details say.
        let said = |text: &String| self.message.contains(text.as_str());
        let more = |(field, why): &(String, String)| match (said(field), said(why)) {
            (true, true) => None,
            (false, true) => Some(field.clone()),
            (_, false) => Some(format!("{field}: {why}")),
        };
        let violations = self.violations.iter().filter_map(more);
        for more in violations.chain(self.help.iter().filter(|help| !said(help)).cloned()) {
            write!(f, "; {more}")?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, " [{}]", self.reason) }
    }
}

impl std::error::Error for CallError {}

impl Error {
    pub(crate) fn call(target: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        if let Some(message) = foreign(status).filter(|_| info.is_none()) {
            return Self::NotGrpc { target: target.to_owned(), message };
        }
        if info.is_none() && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded) {
            return Self::Unreachable { target: target.to_owned(), message: deepest(status) };
        }
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        Self::Call(Box::new(CallError {
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            code: status.code().into(),
            message: status.message().to_owned(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            violations: violations.iter().map(|one| (one.field.clone(), one.description.clone())).collect(),
            help: details.help().map(|help| help.links.iter().map(|link| link.description.clone()).collect()).unwrap_or_default(),
            retry_delay: details.retry_info().and_then(|retry| retry.retry_delay),
        }))
    }

    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    pub(crate) fn local(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Local { reason, message: message.into() }
    }

    /// What arrived does not make the profile that was announced.
    pub(crate) fn damaged(reason: &'static str, what: impl fmt::Display) -> Self {
        Self::local(reason, format!("the profile that arrived is damaged: {what}; nothing was left behind; load again"))
    }

    /// An answer lacks what the contract promises.
    pub(crate) fn malformed(what: &str) -> Self {
        let message = format!("the daemon's answer lacks {what}: is something else listening there, or a much older daemon?");
        Self::Call(Box::new(CallError { message, code: Code::Internal.into(), ..CallError::default() }))
    }

    /// Why, such as `PARENT_NOT_HEAD`: the daemon's word, or one of this client's own; empty if neither is known.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Call(call) => &call.reason,
            Self::Unreachable { .. } | Self::NotGrpc { .. } => "",
            Self::File { .. } => "FILE_SYSTEM",
            Self::Local { reason, .. } => reason,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Call(call) => match Code::from_i32(call.code) {
                Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
                Code::NotFound => Kind::NotFound,
                Code::AlreadyExists => Kind::AlreadyExists,
                Code::Aborted => Kind::Conflict,
                Code::FailedPrecondition => Kind::Refused,
                Code::Unauthenticated | Code::PermissionDenied => Kind::Denied,
                Code::ResourceExhausted => Kind::Exhausted,
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Kind::Unavailable,
                Code::DataLoss => Kind::DataCorrupt,
                _ => Kind::Internal,
            },
            Self::Unreachable { .. } | Self::NotGrpc { .. } => Kind::Unavailable,
            Self::File { .. } | Self::Local { .. } => Kind::Local,
        }
    }

    /// What the daemon said, if it said something.
    #[must_use]
    pub fn as_call(&self) -> Option<&CallError> {
        match self {
            Self::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        (matches!(self.kind(), Kind::Unavailable | Kind::Exhausted) && !matches!(self, Self::NotGrpc { .. })) || self.reason() == "CONTENTION"
    }

    /// How long to wait at least before that; nothing if the daemon did not say.
    #[must_use]
    pub fn retry_delay(&self) -> Duration {
        self.as_call().and_then(|call| call.retry_delay).unwrap_or_default()
    }
}

/// What gives away that the answer did not come from a gRPC server.
fn foreign(status: &Status) -> Option<String> {
    // tonic's words for an answer of plain HTTP; it has no other mark.
    let code = status.message().strip_prefix("grpc-status header missing, mapped from HTTP status code ");
    code.map(|code| format!("it answers plain HTTP (status {code})"))
}

/// The network's own words; the transport's around them name its machinery.
fn deepest(status: &Status) -> String {
    let mut source = status.source();
    let mut message = status.message().to_owned();
    while let Some(error) = source {
        message = error.to_string();
        source = error.source();
    }
    // rustls's word for bytes that are no TLS record.
    if message.contains("InvalidContentType") { "it does not speak TLS: say http:// instead of https://".to_owned() } else { message }
}

/// Whether the call certainly never left this machine, because there was no connection.
pub(crate) fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_the_daemon_said_reaches_the_caller() {
        let mut details = ErrorDetails::new();
        details.set_error_info("PARENT_NOT_HEAD", "cloakroom", [("head".to_owned(), "ab".to_owned())]);
        details.add_help_link("load the head and save again", "");
        let error = Error::call("t", &Status::with_error_details(Code::Aborted, "the head is another", details));
        assert_eq!((error.reason(), error.kind(), error.is_retryable()), ("PARENT_NOT_HEAD", Kind::Conflict, false));
        assert_eq!(error.as_call().unwrap().metadata["head"], "ab");
        assert_eq!(error.to_string(), "the head is another; load the head and save again [PARENT_NOT_HEAD]");
    }

    #[test]
    fn fields_are_named_once() {
        let mut details = ErrorDetails::new();
        details.set_error_info("INVALID_FIELD", "cloakroom", HashMap::new());
        details.add_bad_request_violation("ttl", "at least 60 s");
        let error = Error::call("t", &Status::with_error_details(Code::InvalidArgument, "ttl: at least 60 s, got 1 s", details));
        assert_eq!(error.to_string(), "ttl: at least 60 s, got 1 s [INVALID_FIELD]");
        assert_eq!(error.as_call().unwrap().violations[0].0, "ttl");

        let mut details = ErrorDetails::new();
        details.set_error_info("INVALID_FIELD", "cloakroom", HashMap::new());
        details.add_bad_request_violation("snapshot_id", "snapshot_id has 4 bytes");
        details.add_bad_request_violation("business_id", "it is empty");
        let error = Error::call("t", &Status::with_error_details(Code::InvalidArgument, "snapshot_id has 4 bytes", details));
        assert_eq!(error.to_string(), "snapshot_id has 4 bytes; business_id: it is empty [INVALID_FIELD]");
    }

    #[test]
    fn silence_names_the_target() {
        let error = Error::call("127.0.0.1:1", &Status::unavailable("tcp connect error"));
        assert_eq!((error.kind(), error.is_retryable()), (Kind::Unavailable, true));
        assert!(error.to_string().contains("127.0.0.1:1"));
    }
}
