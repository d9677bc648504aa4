//! What the file system says of an entry.

use std::{fmt, fs::Metadata, os::unix::fs::MetadataExt as _, str::FromStr};

/// Longer than a tick of any file system's clock that keeps better times than seconds.
const TICK_NS: i128 = 20_000_000;

/// What the file system says of an entry: if it says the same again, the entry was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Itself, unless a second change could hide within one tick of the file system's clock; `now` is the moment before it was made, in nanoseconds since 1970.
    pub(crate) fn settled(self, now: i128) -> Option<Self> {
        (self.mtime_ns.min(self.ctime_ns) + TICK_NS <= now).then_some(self)
    }

    /// The modification time as the contract has it.
    pub(crate) fn mtime(&self) -> i64 {
        self.mtime_ns.try_into().unwrap_or(if self.mtime_ns < 0 { i64::MIN } else { i64::MAX })
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.size, self.mtime_ns, self.ctime_ns, self.inode)
    }
}

impl FromStr for Stat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split(':');
        let mut next = || numbers.next().and_then(|number| number.parse::<i128>().ok()).ok_or(());
        let (size, mtime_ns, ctime_ns, inode) = (next()?, next()?, next()?, next()?);
        let stat = Self { size: size.try_into().map_err(|_| ())?, mtime_ns, ctime_ns, inode: inode.try_into().map_err(|_| ())? };
        if numbers.next().is_none() { Ok(stat) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_survives_its_text_and_nothing_else_is_one() {
        let stat = Stat { size: 1, mtime_ns: -5, ctime_ns: 1 << 80, inode: 7 };
        assert_eq!(stat.to_string().parse(), Ok(stat));
        for bad in ["", "1", "1:2:3", "1:2:3:4:5", "1:2:3:x", "-1:2:3:4", "1:2:3:-4"] {
            assert_eq!(bad.parse::<Stat>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_stat_is_trusted_unless_both_times_are_fresh() {
        let stat = |mtime_ns, ctime_ns| Stat { size: 1, mtime_ns, ctime_ns, inode: 1 };
        let now = 1_000_000_000;
        assert!(stat(now, now).settled(now).is_none());
        assert!(stat(now - TICK_NS + 1, now).settled(now).is_none());
        assert!(stat(now - TICK_NS, now).settled(now).is_some());
        assert!(stat(0, now).settled(now).is_some());
        assert!(stat(now + 1_000_000_000, now).settled(now).is_none());
    }
}
