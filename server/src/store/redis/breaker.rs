//! Fails commands at once while the server is known to be away, so that an outage costs callers nothing and the server no storm of connections.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::failure::Failure;
use crate::clock;

/// The state of one server as its callers saw it.
#[derive(Debug)]
pub(super) struct Breaker {
    epoch: Instant,
    open: AtomicBool,
    opened: Notify,
    /// When a command was last answered, and when a connection was last lost: µs since the epoch, 0 for never.
    answered: AtomicU64,
    dropped: AtomicU64,
}

impl Breaker {
    /// Closed: commands go through.
    pub(super) fn new() -> Self {
        let never = || AtomicU64::new(0);
        Self { epoch: clock::monotonic(), open: AtomicBool::new(false), opened: Notify::new(), answered: never(), dropped: never() }
    }

    /// Whether commands fail at once.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// A point in time, for [`Self::failed`].
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// A command was answered, be it with an error.
    pub(super) fn answered(&self) {
        self.answered.store(self.now(), Ordering::Relaxed);
    }

    /// A command that began then has no answer. Opens when that means that the server is away: the connection was refused; nobody had an answer during a whole timeout;
    /// or a connection made after the last loss was lost as well, with no answer in between. Says whether it opened now.
    pub(super) fn failed(&self, failure: &Failure, began: u64) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let away = match failure {
            Failure::Away => false,
            Failure::Late(_) => answered < began,
            Failure::Redis(_) if failure.is_dropped() => {
                let before = self.dropped.swap(self.now(), Ordering::Relaxed);
                before != 0 && answered < before && before < began
            }
            Failure::Redis(error) => error.is_io_error(),
        };
        let opens = away && !self.open.swap(true, Ordering::Relaxed);
        if opens {
            self.opened.notify_one();
        }
        opens
    }

    /// Waits until it is open.
    pub(super) async fn until_open(&self) {
        while !self.is_open() {
            self.opened.notified().await;
        }
    }

    /// The server is back.
    pub(super) fn close(&self) {
        self.answered();
        self.open.store(false, Ordering::Relaxed);
    }
}

/// Growing pauses between attempts: doubled up to a maximum, each shortened at random by up to a half, so that many daemons do not come at once.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(500);

impl Pauses {
    /// From the shortest on.
    pub(super) fn new() -> Self {
        Self { next: SHORTEST }
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        let [part] = clock::random::<1>().unwrap_or([0]);
        full.mul_f64(1.0 - f64::from(part) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::RedisError;

    use super::*;

    fn io(kind: io::ErrorKind) -> Failure {
        Failure::Redis(RedisError::from(io::Error::from(kind)))
    }

    #[test]
    fn a_refused_connection_opens_and_close_closes() {
        let breaker = Breaker::new();
        assert!(breaker.failed(&io(io::ErrorKind::ConnectionRefused), breaker.now()));
        assert!(breaker.is_open());
        assert!(!breaker.failed(&io(io::ErrorKind::ConnectionRefused), breaker.now()), "opens once");
        breaker.close();
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_lost_connection_is_no_outage_but_the_next_one_without_an_answer_is() {
        let breaker = Breaker::new();
        let pause = || std::thread::sleep(Duration::from_millis(1));
        let began = breaker.now();
        pause();
        for _ in 0..64 {
            assert!(!breaker.failed(&io(io::ErrorKind::BrokenPipe), began), "all of one connection");
        }
        pause();
        breaker.answered();
        pause();
        assert!(!breaker.failed(&io(io::ErrorKind::BrokenPipe), breaker.now()), "answered in between");
        pause();
        assert!(breaker.failed(&io(io::ErrorKind::BrokenPipe), breaker.now()));
    }

    #[test]
    fn a_late_answer_is_an_outage_only_when_nobody_was_answered() {
        let breaker = Breaker::new();
        let began = breaker.now();
        std::thread::sleep(Duration::from_millis(1));
        breaker.answered();
        assert!(!breaker.failed(&Failure::Late(LONGEST), began));
        std::thread::sleep(Duration::from_millis(1));
        assert!(breaker.failed(&Failure::Late(LONGEST), breaker.now()));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..8).map(|_| pauses.next()).collect();
        assert!(all[0] >= SHORTEST / 2 && all[0] <= SHORTEST);
        assert!(all[7] >= LONGEST / 2 && all[7] <= LONGEST);
    }
}
