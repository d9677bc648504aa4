//! What an error of the object store means for an operator.

use std::{error::Error as StdError, io};

use crate::model::error::{Error, Reason};

/// Translates an error of the store at `location`, met while it tried to `what` the object `name`. The store's own text goes to the log alone.
pub(super) fn translate(location: &str, what: &str, name: &str, error: object_store::Error) -> Error {
    if let object_store::Error::Generic { source, .. } = &error
        && let Some(error) = source.downcast_ref::<Error>()
    {
        return own(location, what, name, error);
    }
    let (reason, problem, help) = judge(&error);
    let message = format!("cannot {what} {name} in the blob store {location}: {problem}");
    Error::new(reason, message).with_help(help).with_source(error)
}

/// The same for an error of a store of ours, which knows best what it means.
pub(super) fn own(location: &str, what: &str, name: &str, error: &Error) -> Error {
    let reason = match error.reason() {
        // Redis as a blob store fails with the words of Redis as a metadata store.
        Reason::MetadataUnavailable => Reason::BlobsUnavailable,
        reason => reason,
    };
    let mut told = Error::new(reason, format!("cannot {what} {name} in the blob store {location}: {}", error.message()));
    if let Some(help) = error.help() {
        told = told.with_help(help);
    }
    if let Some(delay) = error.retry_after() {
        told = told.with_retry_after(delay);
    }
    if let Some(cause) = std::error::Error::source(error) { told.with_source(cause.to_string()) } else { told }
}

fn judge(error: &object_store::Error) -> (Reason, String, &'static str) {
    use object_store::Error as E;
    if let Some(disk) = disk_error(error) {
        return disk;
    }
    let unavailable = |problem: &str, help| (Reason::BlobsUnavailable, problem.to_owned(), help);
    match error {
        _ if is_no_bucket(error) => unavailable("there is no such bucket", "create the bucket, or correct its name in the configuration"),
        E::Unauthenticated { .. } => unavailable("it refuses the credentials", "correct the access key and the secret in the configuration"),
        E::PermissionDenied { .. } => {
            unavailable("the credentials do not allow it", "allow reading, writing, listing and deleting objects, or correct the access key and the secret")
        }
        E::NotImplemented { .. } | E::NotSupported { .. } => unavailable("it cannot do that", "use another kind of store"),
        _ => unavailable("it cannot be reached, or fails", "check its address and whether it runs"),
    }
}

/// An error of the operating system behind `error`, if it is one that tells more than "failed".
fn disk_error(error: &object_store::Error) -> Option<(Reason, String, &'static str)> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        let found = current.downcast_ref::<io::Error>().map(io::Error::kind);
        let (reason, help) = match found {
            Some(io::ErrorKind::StorageFull) => (Reason::StorageFull, "make room on the disk"),
            Some(io::ErrorKind::QuotaExceeded) => (Reason::StorageFull, "raise the disk quota, or make room"),
            Some(io::ErrorKind::ReadOnlyFilesystem) => (Reason::StorageFull, "mount the file system writable"),
            Some(io::ErrorKind::PermissionDenied) => (Reason::BlobsUnavailable, "let the daemon's user read and write the directory"),
            _ => {
                cause = current.source();
                continue;
            }
        };
        return found.map(|kind| (reason, kind.to_string(), help));
    }
    None
}

/// S3 answers 404 for a missing object and for a missing bucket; only the body tells them apart.
pub(super) fn is_no_bucket(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.to_string().contains("NoSuchBucket") {
            return true;
        }
        cause = current.source();
    }
    false
}
