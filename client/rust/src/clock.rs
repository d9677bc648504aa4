//! The one home of clocks and randomness in this client.

use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use crate::hex::hex;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in nanoseconds since 1970.
pub(crate) fn wall_ns() -> i128 {
    wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The system's generator fails only where there is none; then zeros make ids that repeat, and the daemon refuses those.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}

/// 32 hexadecimal digits that nobody else has: for uploads, requests and names of files set aside.
pub(crate) fn random_id() -> String {
    hex(&random::<16>())
}

/// Somewhere between nothing and `delay`, so that many clients do not come back at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(f64::from(u32::from_be_bytes(random())) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_spreads_over_the_whole_delay_and_not_beyond() {
        let delays: Vec<_> = (0..200).map(|_| jittered(Duration::from_secs(1))).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(250)) && delays.iter().any(|delay| *delay > Duration::from_millis(750)));
    }

    #[test]
    fn ids_are_of_the_contracts_form_and_differ() {
        let (one, other) = (random_id(), random_id());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
