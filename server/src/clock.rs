//! The one home of clocks and random numbers. Everything else is told the time and given its ids.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::model::{
    error::{Error, Reason, Result},
    time::Micros,
};

/// The machine's wall clock. Only an engine that is itself the store's clock may use it for more than a log line.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
pub fn wall() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The machine's monotonic clock, for measuring how long something took.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// `N` random bytes from the operating system.
///
/// # Errors
/// `INTERNAL` when the operating system gives none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::new(Reason::Internal, "the operating system gives no random numbers")),
    }
}

/// A random id for a session: 20 characters of lower-case base 32, 100 bits, easy to abbreviate.
///
/// # Errors
/// `INTERNAL` when the operating system gives no random numbers.
pub fn random_session_id() -> Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes = random::<20>()?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
