//! Every access to a secret leaves a line: who, what, where, and what became of it; never the secret. The lines have the target `audit`, whatever the log shows otherwise
//! (`telemetry.audit`).

use std::sync::Arc;

use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::parse::Caller;
use crate::model::id::{Namespace, SessionId};

/// An access to a session's secret. It is told once: when it has ended, a load with its last message; or, if the caller went away or its time was over before, when it is
/// dropped. Then nobody knows here what becomes of it: a commit that has begun goes on.
#[derive(Debug)]
pub(super) struct Access {
    who: Arc<str>,
    what: &'static str,
    namespace: Namespace,
    session: SessionId,
    told: bool,
}

impl Access {
    /// It begins now; all of the request was found valid.
    pub(super) fn begin(who: Arc<str>, what: &'static str, namespace: &Namespace, session: &SessionId) -> Self {
        Self { who, what, namespace: namespace.clone(), session: session.clone(), told: false }
    }

    /// It ended like this.
    pub(super) fn end<T>(mut self, result: Result<T, Status>) -> Result<T, Status> {
        match &result {
            Ok(_) => self.tell("OK"),
            Err(status) => self.tell(&reason(status)),
        }
        result
    }

    fn tell(&mut self, outcome: &str) {
        self.told = true;
        let Self { who, what, namespace, session, .. } = &*self;
        tracing::info!(target: "audit", %who, what, %namespace, %session, outcome, "access to a secret");
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if !self.told {
            self.tell("UNKNOWN");
        }
    }
}

/// The name of the caller's token; without authentication, where it calls from.
pub(super) fn who<T>(request: &Request<T>) -> Arc<str> {
    if let Some(caller) = request.extensions().get::<Caller>() {
        return Arc::clone(&caller.name);
    }
    match request.remote_addr().map(|address| address.ip().to_canonical()) {
        Some(ip) if ip.is_loopback() => "loopback".into(),
        Some(ip) => ip.to_string().into(),
        None => "unknown".into(),
    }
}

fn reason(status: &Status) -> String {
    let known = status.get_details_error_info().map(|info| info.reason);
    known.unwrap_or_else(|| if status.code() == Code::Cancelled { "CANCELLED".to_owned() } else { format!("{:?}", status.code()).to_ascii_uppercase() })
}
