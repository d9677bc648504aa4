//! Signals that a command answers itself instead of being ended by them.

use std::{
    fs::{self, File},
    future::pending,
    io,
};

use cloakroom_client::Error;
use futures::future::select_all;
use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::signal::unix::{self, SignalKind};

use crate::cli::Failure;

/// What a shell adds to a signal's number to make it an exit code.
const SHELL: i32 = 128;

/// The signals that ask a command to end.
pub(crate) const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
/// The signals that are a program's own affair.
pub(crate) const OWN: [Signal; 2] = [Signal::USR1, Signal::USR2];

/// Signals that come from now on.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(crate) fn of(signals: impl IntoIterator<Item = Signal>) -> Result<Self, Failure> {
        let ignored = ignored();
        let signals = signals.into_iter().filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0);
        let listen = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        let listening: io::Result<_> = signals.map(listen).collect();
        Ok(Self(listening.map_err(|source| Error::File { path: "signals".to_owned(), source })?))
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        if self.0.is_empty() {
            return pending().await;
        }
        let coming = self.0.iter_mut().map(|(signal, coming)| {
            Box::pin(async move {
                coming.recv().await;
                *signal
            })
        });
        select_all(coming).await.0
    }

    /// Does something, unless one comes before it is done.
    pub(crate) async fn unless<T, E: Into<Failure>>(&mut self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            signal = self.next() => Err(Failure::Exit(exit_code(signal.as_raw()))),
        }
    }
}

/// The signals that whoever started this wants ignored, as `nohup` does, bit by bit; none where the system does not tell. Listening to one would end that, for a child too.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The exit code of a program that a signal ended, as a shell says it.
pub(crate) fn exit_code(signal: i32) -> u8 {
    u8::try_from(SHELL + signal).unwrap_or(u8::MAX)
}

/// Passes a signal on to a child that was not waited for yet.
pub(crate) fn pass_on(signal: Signal, child: u32) {
    let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return };
    // The terminal sends the signals of its keys to all that stand before it: twice would mean "at once" to many programs.
    if matches!(signal, Signal::INT | Signal::QUIT) && in_the_foreground() {
        return;
    }
    // It ended at this moment: then it needs none.
    let _ = kill_process(child, signal);
}

fn in_the_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}
