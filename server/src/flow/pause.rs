//! Pauses of random length, so that those that met once do not meet again.

use std::time::Duration;

use tokio::time::sleep;

use crate::{clock, model::error::Result};

/// Waits between tries of something that others were faster with: at most `first` after the first try (`attempt` 0), twice as long after each further one, never longer than
/// `longest`.
///
/// # Errors
/// `INTERNAL` when the operating system gives no random numbers.
pub async fn between_tries(attempt: u32, first: Duration, longest: Duration) -> Result<()> {
    let most = (first * 2u32.pow(attempt.min(16))).min(longest);
    let share = u32::from(u16::from_be_bytes(clock::random()?));
    sleep(most * share / u32::from(u16::MAX)).await;
    Ok(())
}

/// Waits about as long: between three and five quarters of it.
pub async fn about(time: Duration) {
    // Without random numbers half the room is as good as any.
    let share = clock::random::<1>().map_or(128, |[byte]| u32::from(byte));
    sleep(time * 3 / 4 + time * share / 510).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the test's own clock.
    fn now() -> tokio::time::Instant {
        sleep(Duration::ZERO).deadline()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_keep_to_their_bounds() {
        let (first, longest) = (Duration::from_millis(2), Duration::from_millis(100));
        for attempt in [0, 1, 5, 6, 40] {
            let most = (first * 2u32.pow(attempt.min(10))).min(longest);
            let mut lengths = Vec::new();
            for _ in 0..50 {
                let began = now();
                between_tries(attempt, first, longest).await.unwrap();
                lengths.push(now() - began);
            }
            // The timer counts in milliseconds.
            assert!(lengths.iter().all(|length| *length <= most + Duration::from_millis(1)), "{attempt}: {lengths:?}");
            assert!(attempt < 5 || lengths.iter().any(|length| *length != lengths[0]), "{attempt}: {lengths:?}");
        }
        let began = now();
        about(longest).await;
        assert!((longest * 3 / 4..=longest * 5 / 4 + Duration::from_millis(1)).contains(&(now() - began)));
    }
}
