//! From the wire's strings and messages to types, once, at the edge.

use std::{sync::Arc, time::Duration};

use prost_types::{Duration as ProtoDuration, Timestamp};
use tonic::Request;

use super::auth::Role;
use crate::model::{
    error::{Error, Result},
    id::Namespace,
    time::Micros,
};

/// Who calls: set by the authentication layer as an extension of every request. Without authentication nobody sets it, and everything is allowed in every namespace.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name, for logs.
    pub name: Arc<str>,
    /// The namespace that an empty one means.
    pub namespace: Namespace,
    /// What it may do. An operator may do it in every namespace.
    pub role: Role,
}

/// The namespace of a request: the given one, or the caller's own. Whether the caller may use it was decided before (the authentication layer reads no bodies, so it
/// is decided here for callers bound to one namespace).
///
/// # Errors
/// `INVALID_FIELD` when it breaks the rule, `PERMISSION_DENIED` when the caller is bound to another one.
pub fn namespace<T>(request: &Request<T>, given: &str) -> Result<Namespace> {
    let caller = request.extensions().get::<Caller>();
    if given.is_empty() {
        return Ok(caller.map(|caller| caller.namespace.clone()).unwrap_or_default());
    }
    let wanted = Namespace::parse("namespace", given)?;
    match caller {
        Some(caller) if caller.namespace != wanted && caller.role < Role::Operator => {
            let message = format!("these credentials are for namespace {}, not for {wanted}", caller.namespace);
            Err(Error::new(crate::Reason::PermissionDenied, message))
        }
        _ => Ok(wanted),
    }
}

/// An optional duration within bounds.
///
/// # Errors
/// `INVALID_FIELD` naming the bounds when it is negative or outside them.
pub fn duration(field: &str, given: Option<&ProtoDuration>, default: Duration, min: Duration, max: Duration) -> Result<Duration> {
    let Some(given) = given else { return Ok(default) };
    let parsed = Duration::try_from(*given);
    if let Ok(duration) = &parsed
        && (min..=max).contains(duration)
    {
        return Ok(*duration);
    }
    let shown = parsed.map_or_else(|_| given.seconds.to_string(), |duration| duration.as_secs_f64().to_string());
    Err(Error::field(field, format!("{field} is {shown} s; it needs {} s to {} s", min.as_secs(), max.as_secs())))
}

/// A moment as the wire writes it.
#[must_use]
pub fn timestamp(moment: Micros) -> Timestamp {
    let nanos = moment.0.rem_euclid(1_000_000) * 1000;
    Timestamp { seconds: moment.0.div_euclid(1_000_000), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// A duration as the wire writes it.
#[must_use]
pub fn proto_duration(duration: Duration) -> ProtoDuration {
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or(0);
    ProtoDuration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}
