//! What can be asked for.

mod history;
mod mounts;
mod profiles;
mod sessions;
mod values;
mod watch;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use self::values::duration;
pub(crate) use self::{
    history::{DeleteSnapshot, Diff, Pin, Snapshots, UndeleteSnapshot, Undo, Unpin},
    mounts::{Exec, Keep, Mount, Mounts},
    profiles::{Load, Save},
    sessions::{Create, List, OwnedBy, Sessions, StorageState, Update},
    watch::{Invalidate, Watch},
};

const AFTER_HELP: &str = "\
SESSION is an id, or the first characters of one that no other live session shares.

With --json every result is one JSON object on a line of its own. Names are those of the contract; states and kinds come without their prefix, times as RFC 3339,
durations as seconds, bytes as hexadecimal digits (resume tokens as Base64).

Exit codes: 0 done, 1 failed, 2 the arguments cannot be used, 3 not found, 4 somebody else was faster or it exists already, 5 the daemon cannot be reached or has too much
to do. `exec` ends with its command's exit code, 128 and the signal's number if a signal ended it, unless the mount or the save fails.";

/// Keeps logged-in browsers for fleets of workers.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where the daemon is; https:// for TLS
    #[arg(long, global = true, env = "CLOAKROOM_TARGET", default_value = "127.0.0.1:7700", value_name = "ADDRESS")]
    pub(crate) target: String,
    /// The namespace; by default the caller's own
    #[arg(long, global = true, env = "CLOAKROOM_NAMESPACE", default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
    /// The bearer token; better given in the environment, where other users do not see it
    #[arg(long, global = true, env = "CLOAKROOM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// PEM of the authority that signed the daemon's certificate
    #[arg(long, global = true, env = "CLOAKROOM_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM of this client's certificate, for mutual TLS
    #[arg(long, global = true, env = "CLOAKROOM_CERT", value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM of this client's key
    #[arg(long, global = true, env = "CLOAKROOM_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// How long a call may take; loads, saves and watches only may not stand still
    #[arg(long, global = true, default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List, show and change sessions
    #[command(subcommand, arg_required_else_help = true)]
    Sessions(Sessions),
    /// Save a profile directory as the session's new head; only what changed travels
    Save(Save),
    /// Load a profile into a directory, which appears complete or not at all
    Load(Load),
    /// Run a command on a session's profile, and save it when the command did well: mount, run, save
    Exec(Exec),
    /// Give a ready directory with a session's profile until interrupted or the end of the input
    Mount(Mount),
    /// Look after the directories of mounts
    #[command(subcommand, arg_required_else_help = true)]
    Mounts(Mounts),
    /// List a session's snapshots, newest first
    Snapshots(Snapshots),
    /// Make an earlier snapshot the head again, with the storage state that was saved with it
    Undo(Undo),
    /// Keep a snapshot from being deleted
    Pin(Pin),
    /// Let a pinned snapshot go
    Unpin(Unpin),
    /// Put a snapshot away, never the head or a pinned one; it can be revived for 7 days
    DeleteSnapshot(DeleteSnapshot),
    /// Revive a snapshot that was put away
    UndeleteSnapshot(UndeleteSnapshot),
    /// Show what differs between two snapshots: files, and cookies by host and name
    Diff(Diff),
    /// Print every change as it happens, until interrupted
    Watch(Watch),
    /// Tell every watcher to forget what it knows of some sessions
    Invalidate(Invalidate),
    /// Look whether everything works, and say what to do
    Doctor,
    /// Print the version
    Version,
}

#[derive(Args, Debug)]
pub(crate) struct OfSession {
    /// The session
    pub(crate) session: String,
}

#[derive(Args, Debug, Default)]
pub(crate) struct Conditions {
    /// Only if it still has this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
    /// The lease under which this is done
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "TOKEN")]
    pub(crate) lease_token: i64,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("cloakroom").chain(line.split_whitespace()))
    }

    #[test]
    fn the_commands_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_is_understood() {
        let lines = "sessions ls --business b --email e --state active --state needs-login --label a=b --label c=d=e
            sessions list --business b
            sessions show s
            sessions create --business b --id i --email e --label a=b --ttl 24h --ttl-mode absolute
            sessions update s --email x --etag 5 --lease-token 7
            sessions update s --no-labels
            sessions rm s --etag 5
            sessions undelete s
            sessions transition s needs-login --reason password-changed
            sessions touch s
            sessions resolve a
            sessions active --business b
            sessions state get s
            sessions state get s f
            sessions state put s -
            save s d --policy lean --include a --exclude b --storage-state f --upload-id u --etag 5 --replace --force
            load s d --snapshot x --have h --consume --replace --storage-state f --packed
            exec s -- chromium --user-data-dir={}
            exec s --save always --replace --storage-state f --root r -- true
            exec --save never s -- sh -c --save
            mount s --save --replace --root r
            mount s --json
            mounts prune --older-than 12h --root r
            snapshots s --deleted
            undo s --to x --etag 5 --lease-token 7
            pin s x --note why
            unpin s
            delete-snapshot s x --etag 5
            undelete-snapshot s x
            diff s a b
            diff s
            watch --session a --session b --business c --email d --kind profile-saved --resume-file f --interval 1s
            watch --after 5 --all --count 3
            invalidate --business b --reason r --dry-run
            doctor --json --target https://h:1 --namespace n --token t --ca f --timeout 3s
            version";
        for line in lines.lines() {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let lines = "sessions ls --state sleeping
            sessions create --id i
            sessions create --business b --ttl soon
            sessions create --business b --ttl 99999999999999999999d
            sessions create --business b --label a
            sessions update s
            sessions update s --etag 5
            sessions update s --label a=b --no-labels
            sessions active
            sessions active --business b --email e
            sessions transition s
            sessions transition s unspecified
            save s
            save s d --policy tiny
            load s d --consume
            exec s
            exec s true
            mount s --replace
            exec s --save sometimes -- true
            mounts prune --older-than soon
            watch --resume-file f --after 5
            watch --kind everything
            invalidate --reason r
            doctor --cert f
            frobnicate";
        for line in lines.lines() {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
        assert_eq!(parse("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn what_is_not_said_is_not_meant() {
        let Command::Load(load) = parse("load s d").unwrap().command else { panic!("a load") };
        assert!(!load.replace && !load.consume && load.snapshot.is_empty() && load.have.is_none());
    }
}
