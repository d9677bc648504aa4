//! What can go wrong, sorted by what the caller can do about it.

use std::{collections::HashMap, fmt, time::Duration};

use tonic::{Code, Status};
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
    #[error("cannot reach the daemon at {target}: {message}")]
    Unreachable {
        /// Where it was looked for.
        target: String,
        /// What the network said.
        message: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The directory, an argument, or what the daemon sent breaks a rule; the text says which and what to do.
    #[error("{0}")]
    Invalid(String),
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
    /// The field that was wrong, if one was.
    pub field: Option<String>,
    /// What to do next, if the daemon knows.
    pub help: Option<String>,
    /// When to try again, if that can help.
    pub retry_delay: Option<Duration>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.reason.is_empty() {
            write!(f, " [{}]", self.reason)?;
        }
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for CallError {}

impl Error {
    pub(crate) fn call(target: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        if info.is_none() && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown) {
            return Self::Unreachable { target: target.to_owned(), message: status.message().to_owned() };
        }
        Self::Call(Box::new(CallError {
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            code: status.code().into(),
            message: status.message().to_owned(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            field: details.bad_request().and_then(|bad| bad.field_violations.first()).map(|violation| violation.field.clone()),
            help: details.help().and_then(|help| help.links.first()).map(|link| link.description.clone()),
            retry_delay: details.retry_info().and_then(|retry| retry.retry_delay),
        }))
    }

    pub(crate) fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    /// Why the daemon refused, such as `PARENT_NOT_HEAD`; empty when it is not the daemon's word.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Call(call) => &call.reason,
            _ => "",
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Call(call) => call.retry_delay.is_some() || call.code == Code::Unavailable as i32,
            Self::Unreachable { .. } => true,
            Self::File { .. } | Self::Invalid(_) => false,
        }
    }
}
