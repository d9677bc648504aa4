//! Whose a slot is: the names of claim files, and which processes live. `client/vectors/README.md` ("Claims") lays it down for all clients.

use std::{
    fs,
    io::{self, ErrorKind},
    process,
};

use rustix::process::{Pid, test_kill_process};

use crate::{hex::hex, tree::sha256};

/// What the name of every claim file begins with.
pub(crate) const PREFIX: &str = "claim.";
/// Hexadecimal digits of a host.
const HOST: usize = 8;

/// What the name of a claim file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody has the slot.
    Free,
    /// A process has it, or had it.
    Held {
        /// The first digits of a SHA-256 of the host's name and its set of processes.
        host: String,
        pid: u32,
        /// When the process started, as the system counts; 0 where it does not tell.
        start: u64,
    },
}

impl Claim {
    /// This process's own.
    pub(crate) fn own() -> Self {
        let pid = process::id();
        Self::Held { host: this_host(), pid, start: stat_of(pid).ok().and_then(|stat| started(&stat)).map_or(0, |(_, start)| start) }
    }

    /// What a file name says, if it is a claim's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?;
        if rest == "free" {
            return Some(Self::Free);
        }
        let [host, pid, start] = rest.split('.').collect::<Vec<_>>().try_into().ok()?;
        let sound = host.len() == HOST && host.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        let claim = sound.then(|| Some(Self::Held { host: host.to_owned(), pid: pid.parse().ok()?, start: start.parse().ok()? }))??;
        // One claim has one name: `+7` and `007` are none.
        (claim.name() == name).then_some(claim)
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Free => format!("{PREFIX}free"),
            Self::Held { host, pid, start } => format!("{PREFIX}{host}.{pid}.{start}"),
        }
    }

    /// Whether the slot may be taken: nobody has it, or a process of this host that does not live any more.
    pub(crate) fn may_be_taken(&self) -> bool {
        match self {
            Self::Free => true,
            Self::Held { host, pid, start } => *host == this_host() && !lives(*pid, *start),
        }
    }
}

/// Two machines that share a directory are told apart by it, and two containers: they may have one host name, but not the same processes.
fn this_host() -> String {
    let mut known = rustix::system::uname().nodename().to_bytes().to_vec();
    known.push(b'\n');
    known.extend(fs::read_link("/proc/self/ns/pid").map(|processes| processes.into_os_string().into_encoded_bytes()).unwrap_or_default());
    let mut digits = hex(&sha256(&known));
    digits.truncate(HOST);
    digits
}

fn stat_of(pid: u32) -> io::Result<String> {
    // The name of a program may hold any bytes.
    fs::read(format!("/proc/{pid}/stat")).map(|stat| String::from_utf8_lossy(&stat).into_owned())
}

/// Whether a process has ended, and its start: fields 3, 20 and 22 of its `stat`, counted from behind its name, which may hold spaces and parentheses.
fn started(stat: &str) -> Option<(bool, u64)> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, threads, began) = (fields.first()?, fields.get(17)?.parse::<u64>().ok()?, fields.get(19)?.parse().ok()?);
    // Nobody has asked for its end yet. A first thread may end before the others do: then the process lives.
    Some((matches!(*state, "Z" | "X") && threads <= 1, began))
}

/// Whether that very process lives. In doubt it does: a slot that is left alone costs a load, one that two use costs a login.
fn lives(pid: u32, start: u64) -> bool {
    match stat_of(pid) {
        Ok(said) => started(&said).is_none_or(|(ended, began)| !ended && (start == 0 || start == began)),
        Err(error) if error.kind() == ErrorKind::NotFound && stat_of(process::id()).is_ok() => false,
        // The process ended between the opening and the reading.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => false,
        Err(_) => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_says_one_thing_and_what_is_none_says_nothing() {
        assert_eq!(Claim::parse("claim.free"), Some(Claim::Free));
        let held = Claim::Held { host: "0a1b2c3d".to_owned(), pid: 17, start: 9 };
        assert_eq!(Claim::parse("claim.0a1b2c3d.17.9").as_ref(), Some(&held));
        assert_eq!(held.name(), "claim.0a1b2c3d.17.9");
        let own = Claim::own();
        assert_eq!(Claim::parse(&own.name()), Some(own));
        for bad in
            ["claim", "claim.", "free", "claim.0A1B2C3D.17.9", "claim.0a1b2c3.17.9", "claim.0a1b2c3d.+17.9", "claim.0a1b2c3d.17", "claim.0a1b2c3d.17.9.1"]
        {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
        assert_eq!(Claim::parse("claim.0a1b2c3d.017.9"), None);
    }

    #[test]
    fn a_stat_is_read_from_behind_the_name() {
        let rest = |state, threads| format!("17 (a) b) {state} 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 {threads} 21 4711 23");
        assert_eq!(started(&rest("S", 1)), Some((false, 4711)));
        assert_eq!((started(&rest("Z", 1)), started(&rest("X", 0))), (Some((true, 4711)), Some((true, 4711))));
        assert_eq!(started(&rest("Z", 2)), Some((false, 4711)), "its other threads go on");
        assert_eq!((started("17 (a"), started("17 (a) S 1")), (None, None));
    }

    #[test]
    fn only_what_a_dead_process_of_this_host_had_may_be_taken() {
        let Claim::Held { host, pid, start } = Claim::own() else { panic!("a process has its own claim") };
        assert!(start > 0);
        let held = |host: &str, pid, start| Claim::Held { host: host.to_owned(), pid, start };
        assert!(Claim::Free.may_be_taken());
        assert!(!held(&host, pid, start).may_be_taken() && !held(&host, pid, 0).may_be_taken());
        assert!(held(&host, pid, start + 1).may_be_taken(), "another process had this id");
        assert!(held(&host, 1 << 30, start).may_be_taken() && held(&host, 1 << 30, 0).may_be_taken());
        assert!(!held("00000000", 1 << 30, start).may_be_taken(), "nothing is known of another host");
    }

    #[test]
    fn a_process_that_was_not_waited_for_is_dead() {
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let (_, start) = started(&stat_of(child.id()).unwrap()).unwrap();
        assert!(lives(child.id(), start));
        child.kill().unwrap();
        let mut rounds = 0;
        while lives(child.id(), start) && rounds < 1000 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            rounds += 1;
        }
        assert!(!lives(child.id(), start) && stat_of(child.id()).is_ok(), "its end was not asked for yet");
        child.wait().unwrap();
        assert!(!lives(child.id(), start));
    }
}
