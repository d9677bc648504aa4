//! A unary call ends in time: within the daemon's bound, or the caller's own if that is earlier. Streams have no deadline, only [`super::idle`].

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response};
use tokio::time::timeout;
use tonic::{Status, body::Body};

use super::{
    Concern, Next,
    method::{Class, Method},
};
use crate::model::error::{Error, Reason};

/// An answer must leave before its caller stops waiting, or nobody hears the reason: this much earlier, but at most a tenth of the caller's time.
const MARGIN: Duration = Duration::from_millis(10);

/// The concern.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    most: Duration,
}

impl Deadline {
    /// At most this long.
    #[must_use]
    pub fn new(most: Duration) -> Self {
        Self { most }
    }
}

impl Concern for Deadline {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let unary = request.extensions().get::<Arc<Method>>().is_some_and(|method| method.class == Class::Unary);
        if !unary {
            return next.run(request).await;
        }
        let callers = callers(request.headers()).filter(|callers| *callers <= self.most);
        let allowed = callers.map_or(self.most, |callers| callers.saturating_sub(MARGIN.min(callers / 10)));
        match timeout(allowed, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Status::from(expired(callers, self.most)).into_http(),
        }
    }
}

fn expired(callers: Option<Duration>, most: Duration) -> Error {
    let message = match callers {
        Some(callers) => format!("the call took longer than its caller's deadline of {callers:?}"),
        None => format!("the call took longer than this daemon allows: {most:?} (limits.request_timeout)"),
    };
    Error::new(Reason::Deadline, message)
}

/// The caller's own bound: up to 8 digits and a unit (gRPC over HTTP/2, `Timeout`).
fn callers(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            callers(&headers)
        };
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("1H"), Some(Duration::from_hours(1)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        for bad in ["", "S", "10", "-1S", "+1S", "123456789S", "1s", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
