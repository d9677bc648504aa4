//! Times, revisions and histories: plain numbers with a meaning. Clocks are read elsewhere.

use std::{fmt, time::Duration};

/// A moment: microseconds since 1970-01-01 UTC, as the metadata store's clock shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// The moment `duration` later; the far future when that overflows.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Micros {
    /// As RFC 3339 writes it, in UTC and whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1_000_000);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }
}

/// The date of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years are counted from March, so that the leap day ends them; 400 of them make an era
/// of 146,097 days (the method is Howard Hinnant's `civil_from_days`).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// A duration in whole microseconds; the largest there is when it does not fit.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A namespace's change number: `max(previous + 1, store clock in µs)`, so it grows across restarts and fail-overs and stays below 2^53 until 2255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// Before every change.
    pub const ZERO: Self = Self(0);

    /// The etag of a resource at this revision: the number in base 36 within quotes, as RFC 9110 §8.8.3 writes entity tags.
    #[must_use]
    pub fn etag(self) -> String {
        let mut digits = Vec::new();
        let mut rest = self.0.unsigned_abs();
        loop {
            let digit = u32::try_from(rest % 36).unwrap_or(0);
            digits.push(char::from_digit(digit, 36).unwrap_or('0'));
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        format!("\"{}\"", digits.into_iter().rev().collect::<String>())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one unbroken run of a namespace's revisions; a fail-over, a restored backup or wiped data starts a new one. At most 64 visible ASCII characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History(pub String);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_the_revision_in_base_36() {
        assert_eq!(Revision(0).etag(), "\"0\"");
        assert_eq!(Revision(35).etag(), "\"z\"");
        assert_eq!(Revision(36).etag(), "\"10\"");
        assert_eq!(Revision(1_763_600_000_000_000).etag(), "\"hd5b0pg2io\"".replace("hd5b0pg2io", &base36(1_763_600_000_000_000)));
    }

    fn base36(mut n: u64) -> String {
        let mut out = String::new();
        while n > 0 {
            out.insert(0, char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(n % 36).unwrap()]));
            n /= 36;
        }
        out
    }

    #[test]
    fn moments_are_shown_as_dates() {
        let shown = |seconds: i64| Micros(seconds * 1_000_000 + 7).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(shown(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(shown(1_795_132_800 + 3661), "2026-11-20T01:01:01Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn time_saturates() {
        assert_eq!(Micros(i64::MAX).after(Duration::from_secs(1)), Micros(i64::MAX));
        assert_eq!(Micros(5).since(Micros(9)), Duration::ZERO);
        assert_eq!(Micros(9).since(Micros(5)), Duration::from_micros(4));
    }
}
