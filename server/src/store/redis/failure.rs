//! What can go wrong between the daemon and Redis, and what it means to a caller.

use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::model::error::{Error, Reason};

/// When to try again after an outage: longer than the breaker needs to notice that the server is back.
const RETRY: Duration = Duration::from_millis(500);

/// Why a command has no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server is known to be away; nothing was sent.
    Away,
    /// No answer within this time; the command may have been carried out.
    Late(Duration),
    /// The connection or the server said so.
    Redis(RedisError),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

/// What a user of Redis needs with the default key prefix, as rules of ACL SETUSER; a Cluster's needs `+cluster|slots` as well.
pub(super) const ACL: &str = "~cloakroom:* &cloakroom:* +@read +@write +@scripting +@pubsub +@connection +info +time +config|get";

/// What Redis says with an error, as far as it matters here. Also found within the text of an error that a script met, as Redis 6 tells it.
const SAID: [(&str, Reason, &str); 13] = [
    ("OOM", Reason::StorageFull, "is at its memory limit; raise maxmemory or remove data"),
    ("MISCONF", Reason::StorageFull, "cannot write to its disk and refuses changes; free its disk, or see its log"),
    ("READONLY", Reason::MetadataUnavailable, "is a read-only replica now; the new master is looked for"),
    ("NOREPLICAS", Reason::MetadataUnavailable, "has fewer replicas than min-replicas-to-write asks for, and refuses changes"),
    ("LOADING", Reason::MetadataUnavailable, "is loading its data"),
    ("BUSY", Reason::MetadataUnavailable, "is busy with a script"),
    ("MASTERDOWN", Reason::MetadataUnavailable, "is a replica without its master"),
    ("CLUSTERDOWN", Reason::MetadataUnavailable, "is a Cluster that misses a master"),
    ("TRYAGAIN", Reason::MetadataUnavailable, "is moving the keys to another node"),
    ("WRONGPASS", Reason::MetadataUnavailable, "does not accept the credentials; check user and password in its URL"),
    ("NOAUTH", Reason::MetadataUnavailable, "asks for credentials; give user and password in its URL"),
    ("NOPERM", Reason::MetadataUnavailable, "does not permit the user a command, key or channel it needs; grant it with ACL SETUSER"),
    ("WRONGTYPE", Reason::DataCorrupt, "holds something else where a key of Cloakroom's should be; do not share the key prefix"),
];

impl Failure {
    /// The error for a caller; `location` is host and port.
    pub(super) fn error(self, location: &str) -> Error {
        match self {
            Self::Away => unavailable(format!("Redis at {location} cannot be reached")),
            Self::Late(limit) => unavailable(format!("Redis at {location} did not answer within {limit:?}")),
            Self::Redis(error) => {
                let help = said(&error, "NOPERM").then_some(ACL);
                let (reason, message) = describe(&error);
                let told = Error::new(reason, format!("Redis at {location} {message}")).with_source(error);
                let told = help.into_iter().fold(told, |told, rules| told.with_help(format!("ACL SETUSER <user> {rules}")));
                if matches!(reason, Reason::MetadataUnavailable | Reason::StorageFull) { told.with_retry_after(RETRY) } else { told }
            }
        }
    }

    /// Redis said this code.
    pub(super) fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Redis(error) if said(error, code))
    }

    /// The connection was lost after it had been made, so that the command may have been carried out or not.
    pub(super) fn is_dropped(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_connection_dropped() && !error.is_connection_refusal())
    }
}

fn unavailable(message: String) -> Error {
    Error::new(Reason::MetadataUnavailable, message).with_retry_after(RETRY)
}

fn describe(error: &RedisError) -> (Reason, String) {
    if let Some(&(_, reason, message)) = SAID.iter().find(|(code, ..)| said(error, code)) {
        return (reason, message.to_owned());
    }
    if error.detail().is_some_and(|detail| detail.contains("max number of clients")) {
        return (Reason::MetadataUnavailable, "has no room for another client; raise maxclients".to_owned());
    }
    if error.is_cluster_error() {
        return (Reason::MetadataUnavailable, "is a Cluster whose nodes are changing".to_owned());
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => (Reason::MetadataUnavailable, "does not accept the credentials; check user and password in its URL".to_owned()),
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => (Reason::MetadataUnavailable, "cannot be reached".to_owned()),
        ErrorKind::Parse | ErrorKind::RESP3NotSupported => {
            (Reason::MetadataUnavailable, "does not speak the Redis protocol; check the address and whether it wants TLS".to_owned())
        }
        _ => (Reason::Internal, format!("answered with an unexpected error ({})", error.code().unwrap_or("no code"))),
    }
}

fn said(error: &RedisError, code: &str) -> bool {
    if error.code() == Some(code) {
        return true;
    }
    // What scripts meet has no code of its own.
    let detail = error.detail().unwrap_or_default();
    match code {
        "NOPERM" if detail.contains("user executing the script can't") || detail.contains("ACL failure in script") => return true,
        "WRONGTYPE" if detail.contains("ID specified in XADD") => return true,
        _ => {}
    }
    let from_script = error.code() == Some("ERR") && detail.contains("user_script");
    from_script && detail.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == code)
}

/// Stored bytes that are not what the engine writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(
        Reason::DataCorrupt,
        format!("Redis holds {what} that Cloakroom did not write; do not share the key prefix, and restore from a backup if that is not it"),
    )
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn reason(code: &str, detail: &str) -> Reason {
        Failure::Redis(make_extension_error(code.to_owned(), Some(detail.to_owned()))).error("here:1").reason()
    }

    /// Redis 7 answers with the code of what the script met, Redis 6 with its words within a text.
    #[test]
    fn what_a_script_met_is_told_from_its_text() {
        let full = "Error running script (call to f_ab12): @user_script:12: @user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.";
        let disk = "Error running script (call to f_ab12): @user_script:12: @user_script: 12: -MISCONF Redis is configured to save RDB snapshots";
        let acl = "The user executing the script can't run this command or subcommand script: ab12, on @user_script:1.";
        let foreign = "Error running script (call to f_ab12): @user_script:12: WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(reason("ERR", full), Reason::StorageFull);
        assert_eq!(reason("ERR", disk), Reason::StorageFull);
        assert_eq!(reason("ERR", acl), Reason::MetadataUnavailable);
        assert_eq!(reason("ERR", foreign), Reason::DataCorrupt);
        assert_eq!(reason("OOM", "command not allowed"), Reason::StorageFull);
        assert_eq!(reason("NOREPLICAS", "Not enough good replicas to write."), Reason::MetadataUnavailable);
        assert_eq!(reason("ERR", "user_script:1: attempt to compare nil with number"), Reason::Internal);
    }
}
