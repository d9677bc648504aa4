//! Repetition of failed calls, as the published service config says.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use cloakroom_api::SERVICE_CONFIG;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    clock,
    connection::Client,
    error::{Error, Kind, Result, never_sent},
};

/// How long a daemon is waited for that was never seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// How long a save or load waits for a daemon that went away: a restart takes less. It has no deadline of its own.
const AWAY: Duration = Duration::from_secs(30);

/// Pauses between attempts, which grow up to the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) next: Duration,
    pub(crate) longest: Duration,
    pub(crate) factor: f64,
}

impl Backoff {
    /// The next pause: anywhere between nothing and what it has grown to, so that many clients do not come back at once.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = clock::jittered(self.next);
        self.next = self.longest.min(self.next.mul_f64(self.factor));
        pause
    }
}

/// Says whether and when a failed call is worth another attempt.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    stream: bool,
    /// How many reached the daemon and failed.
    failures: u64,
    backoff: Backoff,
    began: Instant,
    /// Set by the first failure, or when the call itself is bound by it; for a stream by each failure that says that the daemon is there.
    deadline: Option<Instant>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(client: &'a Client, stream: bool) -> Self {
        Self { client, stream, failures: 0, backoff: client.policy.backoff, began: clock::monotonic(), deadline: None }
    }

    /// Until when there are attempts.
    pub(crate) fn deadline(&mut self) -> Instant {
        let patience = if self.stream { AWAY } else { self.client.policy.timeout };
        *self.deadline.get_or_insert_with(|| clock::monotonic() + patience)
    }

    /// Waits until the next attempt is due; answers the failure if there is to be none.
    pub(crate) async fn again(&mut self, status: &Status) -> Result<()> {
        let (client, error, away) = (self.client, self.client.failed(status), never_sent(status));
        if !away {
            client.seen.store(true, Ordering::Relaxed);
            self.failures += 1;
            // A stream may have gone on for minutes before.
            self.deadline = self.deadline.filter(|_| !self.stream);
        }
        let mut deadline = self.deadline();
        if away && !client.seen.load(Ordering::Relaxed) {
            deadline = deadline.min(self.began + UNSEEN);
        }
        let worth_it = if away {
            // What was sent once is not given up because the daemon is away at the moment.
            client.policy.wait_for_ready || self.failures > 0
        } else {
            self.passes(&error, status) && client.throttle.allows(&client.policy) && self.failures < client.policy.attempts
        };
        let delay = self.backoff.pause().max(error.retry_delay());
        if !worth_it || clock::monotonic() + delay >= deadline {
            return Err(error);
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Whether the same may succeed in a moment.
    fn passes(&self, error: &Error, status: &Status) -> bool {
        // A unary call's deadline is the caller's and is over; a stream's is the daemon's, which ended it to make room, and says to begin again.
        let unavailable = error.kind() == Kind::Unavailable && error.is_retryable() && (self.stream || status.code() != Code::DeadlineExceeded);
        unavailable || (self.stream && error.reason() == "OVERLOADED")
    }
}

/// What the service config says of unary calls.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    pub(crate) attempts: u64,
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Duration,
    pub(crate) wait_for_ready: bool,
    /// In thousandths, as gRPC counts them.
    tokens: i64,
    refund: i64,
}

impl RetryPolicy {
    pub(crate) fn published() -> Self {
        let config: serde_json::Value = serde_json::from_str(SERVICE_CONFIG).unwrap_or_default();
        let method = &config["methodConfig"][0];
        let retry = &method["retryPolicy"];
        let throttling = &config["retryThrottling"];
        let seconds = |value: &serde_json::Value, default: f64| {
            let text = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse().ok());
            Duration::from_secs_f64(text.unwrap_or(default))
        };
        let refund = (0..1000).find(|thousandths| f64::from(*thousandths) / 1000.0 >= throttling["tokenRatio"].as_f64().unwrap_or(0.1));
        Self {
            attempts: retry["maxAttempts"].as_u64().unwrap_or(1),
            backoff: Backoff {
                next: seconds(&retry["initialBackoff"], 0.05),
                longest: seconds(&retry["maxBackoff"], 2.0),
                factor: retry["backoffMultiplier"].as_f64().unwrap_or(2.0),
            },
            timeout: seconds(&method["timeout"], 10.0),
            wait_for_ready: method["waitForReady"].as_bool().unwrap_or(false),
            tokens: throttling["maxTokens"].as_i64().unwrap_or(10) * 1000,
            refund: refund.map_or(100, i64::from),
        }
    }
}

/// gRPC's retry throttling (gRFC A6): while more than half of the tokens are gone, failures are not repeated, so that an ailing daemon is not buried.
#[derive(Debug)]
pub(crate) struct Throttle(AtomicI64);

impl Throttle {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        Self(AtomicI64::new(policy.tokens))
    }

    pub(crate) fn succeeded(&self, policy: &RetryPolicy) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some((tokens + policy.refund).min(policy.tokens)));
    }

    fn allows(&self, policy: &RetryPolicy) -> bool {
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some((tokens - 1000).max(0)));
        before.unwrap_or_default() - 1000 > policy.tokens / 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::Options;

    fn said(code: Code, reason: &str, delay: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "cloakroom", HashMap::new());
        if let Some(delay) = delay {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(code, "not now", details)
    }

    #[tokio::test]
    async fn a_save_or_load_waits_out_what_passes_and_a_unary_call_only_an_outage() {
        let client = Client::connect("127.0.0.1:1", Options::default()).unwrap();
        let asked = Duration::from_millis(300);
        for (code, reason, delay, of_a_stream, of_a_call) in [
            (Code::Unavailable, "SHUTTING_DOWN", None, true, true),
            (Code::ResourceExhausted, "OVERLOADED", Some(asked), true, false),
            (Code::DeadlineExceeded, "DEADLINE", None, true, false),
            (Code::ResourceExhausted, "QUOTA_EXCEEDED", None, false, false),
            (Code::ResourceExhausted, "OVERLOADED", Some(Duration::from_mins(1)), false, false),
            (Code::Aborted, "PARENT_NOT_HEAD", None, false, false),
        ] {
            for (mut attempts, wanted) in [(client.attempts_of_a_stream(), of_a_stream), (client.attempts(), of_a_call)] {
                let began = clock::monotonic();
                let again = attempts.again(&said(code, reason, delay)).await;
                assert_eq!(again.is_ok(), wanted, "{reason}: {again:?}");
                assert!(again.is_err() || began.elapsed() >= delay.unwrap_or_default(), "{reason}");
                client.throttle.succeeded(&client.policy);
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_late_has_its_time_anew_and_not_for_ever() {
        let client = Client::connect("127.0.0.1:1", Options::default()).unwrap();
        let mut attempts = client.attempts_of_a_stream();
        attempts.deadline = Some(clock::monotonic());
        for _ in 1..client.policy.attempts {
            attempts.again(&said(Code::Unavailable, "BLOBS_UNAVAILABLE", None)).await.unwrap();
        }
        assert!(attempts.again(&said(Code::Unavailable, "BLOBS_UNAVAILABLE", None)).await.is_err());
        assert!(attempts.deadline() > clock::monotonic() + AWAY / 2);
        let mut attempts = client.attempts();
        attempts.deadline = Some(clock::monotonic());
        assert!(attempts.again(&said(Code::Unavailable, "BLOBS_UNAVAILABLE", None)).await.is_err());
    }

    #[test]
    fn the_published_policy_is_read() {
        let policy = RetryPolicy::published();
        assert_eq!(
            (policy.attempts, policy.backoff.next, policy.backoff.longest, policy.timeout),
            (5, Duration::from_millis(50), Duration::from_secs(2), Duration::from_secs(10))
        );
        assert_eq!((policy.wait_for_ready, policy.tokens, policy.refund), (false, 20_000, 200));
    }

    #[test]
    fn failures_use_up_the_tokens_and_successes_bring_them_back() {
        let policy = RetryPolicy::published();
        let throttle = Throttle::new(&policy);
        assert_eq!((0..20).filter(|_| throttle.allows(&policy)).count(), 9);
        (0..60).for_each(|_| throttle.succeeded(&policy));
        assert!(throttle.allows(&policy));
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let mut backoff = Backoff { next: Duration::from_secs(1), longest: Duration::from_secs(3), factor: 2.0 };
        for most in [1, 2, 3, 3] {
            assert_eq!(backoff.next, Duration::from_secs(most));
            assert!(backoff.pause() <= Duration::from_secs(most));
        }
    }
}
