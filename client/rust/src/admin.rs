//! What the daemon is, and how it is.

use std::time::{Duration, SystemTime};

use cloakroom_api::v1;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{clock, connection::Client, error::Result, sessions::Answer};

/// How far two clocks may be apart before it is worth a word: the daemon tells its time in whole seconds.
pub const TOLERATED_SKEW: Duration = Duration::from_secs(5);

/// What the daemon is, and what its clock said.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerInfo {
    /// What it says of itself.
    pub info: v1::GetServerInfoResponse,
    /// How far its clock is before (positive) or behind (negative) this machine's, in seconds; nothing if it did not say.
    pub clock_skew: Option<f64>,
}

impl std::ops::Deref for ServerInfo {
    type Target = v1::GetServerInfoResponse;

    fn deref(&self) -> &v1::GetServerInfoResponse {
        &self.info
    }
}

impl Client {
    /// Tells every watcher to forget what it knows of the selected sessions, without changing them; answers how many they are. `reason` is for those who
    /// watch, without secrets. With `validate_only` it only counts.
    ///
    /// # Errors
    /// As the contract says of `Invalidate`.
    pub async fn invalidate(&self, selectors: Vec<v1::Selector>, reason: &str, validate_only: bool) -> Result<Answer<i64>> {
        let (namespace, reason, request_id) = (self.namespace.to_string(), reason.to_owned(), clock::random_id());
        let request = v1::InvalidateRequest { namespace, selectors, reason, validate_only, request_id };
        let call = || {
            let (mut stub, request) = (self.invalidation_stub(), request.clone());
            async move { stub.invalidate(request).await }
        };
        let answer = self.unary(call).await?.into_inner();
        Ok(Answer { value: answer.session_count, revision: answer.revision })
    }

    /// Says what the daemon is, what it stands on and what it can do. A store that is down is part of the answer, not an error.
    ///
    /// # Errors
    /// As the contract says of `GetServerInfo`.
    pub async fn server_info(&self) -> Result<ServerInfo> {
        let request = v1::GetServerInfoRequest { namespace: self.namespace.to_string() };
        let call = || {
            let (mut stub, request) = (self.admin_stub(), request.clone());
            async move { stub.get_server_info(request).await }
        };
        let answer = self.unary(call).await?;
        let here = clock::wall();
        let there = answer.metadata().get("date").and_then(|date| date.to_str().ok()).and_then(http_date);
        Ok(ServerInfo { clock_skew: there.map(|there| skew(there, here)), info: answer.into_inner() })
    }

    /// Asks `grpc.health.v1` whether a service serves; an empty name means the daemon as a whole.
    ///
    /// # Errors
    /// When nobody answers, or the daemon knows no such service.
    pub async fn is_serving(&self, service: &str) -> Result<bool> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let call = || {
            let (mut stub, request) = (HealthClient::new(self.transport()), request.clone());
            async move { stub.check(request).await }
        };
        Ok(self.unary(call).await?.into_inner().status() == ServingStatus::Serving)
    }
}

fn skew(there: SystemTime, here: SystemTime) -> f64 {
    match there.duration_since(here) {
        Ok(before) => before.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

/// A date as HTTP writes it (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = 1 + MONTHS.iter().position(|name| name == month)? as u64;
    let time: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = time.as_slice() else { return None };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, counted from March so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), at(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), at(0));
        assert_eq!(http_date("Thu, 29 Feb 2024 23:59:59 GMT"), at(1_709_251_199));
        assert_eq!(http_date("Fri, 01 Mar 2024 00:00:00 GMT"), at(1_709_251_200));
        for bad in ["", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nix 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0 08:49:37 GMT"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
