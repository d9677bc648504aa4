//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use cloakroom_client::{Policy, v1};

const AFTER_HELP: &str = "\
SESSION is an id, or the first characters of one that no other live session shares.

With --json every result is one JSON object on a line of its own. Names are those of the contract; states and kinds come without their prefix, times as RFC 3339,
durations as seconds, bytes as hexadecimal digits (resume tokens as Base64).

Exit codes: 0 done, 1 failed, 2 the arguments cannot be used, 3 not found, 4 somebody else was faster or it exists already, 5 the daemon cannot be reached or has too much
to do.";

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
    /// List a session's snapshots, newest first
    Snapshots(OfSession),
    /// Print every change as it happens, until interrupted
    Watch(Watch),
    /// Tell every watcher to forget what it knows of some sessions
    Invalidate(Invalidate),
    /// Look whether everything works, and say what to do
    Doctor,
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List live sessions, oldest first
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show one session
    Show(OfSession),
    /// Create a session
    Create(Create),
    /// Change a session; what is not given stays
    Update(Update),
    /// Delete a session; it can be revived for 7 days
    Rm(Change),
    /// Revive a deleted or expired session; its whole id is needed
    Undelete(Change),
    /// Move a session to another state
    Transition(Transition),
    /// Count as a use, which moves a sliding expiry
    Touch(Change),
    /// Find the one session whose id starts so
    Resolve {
        /// The first characters of its id
        prefix: String,
    },
    /// Show the most recently used ACTIVE session of a business or an e-mail address
    Active(OwnedBy),
    /// Read and replace Playwright storage states
    #[command(subcommand, arg_required_else_help = true)]
    State(StorageState),
}

#[derive(Args, Debug)]
pub(crate) struct OfSession {
    /// The session
    pub(crate) session: String,
}

#[derive(Args, Debug)]
pub(crate) struct Change {
    /// The session
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
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

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Of this business
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) business: String,
    /// Of this e-mail address
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) email: String,
    /// In this state; may be given several times
    #[arg(long, value_parser = state)]
    pub(crate) state: Vec<v1::SessionState>,
    /// With this label; may be given several times
    #[arg(long, value_parser = label, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The business it belongs to
    #[arg(long)]
    pub(crate) business: String,
    /// The wanted id; by default the daemon makes one
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) id: String,
    /// The account's e-mail address
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) email: String,
    /// A label; may be given several times
    #[arg(long, value_parser = label, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<(String, String)>,
    /// Time to live, such as 90s, 15m, 24h, 30d
    #[arg(long, value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Whether the time to live runs from the last use or from the creation
    #[arg(long)]
    pub(crate) ttl_mode: Option<TtlMode>,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(["business", "email", "label", "no_labels", "ttl", "ttl_mode"]))]
pub(crate) struct Update {
    /// The session
    pub(crate) session: String,
    /// Another business
    #[arg(long)]
    pub(crate) business: Option<String>,
    /// Another e-mail address; empty for none
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// A label; may be given several times; the given ones replace all that were there
    #[arg(long, value_parser = label, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<(String, String)>,
    /// No labels
    #[arg(long, conflicts_with = "label")]
    pub(crate) no_labels: bool,
    /// Another time to live, such as 90s, 15m, 24h, 30d
    #[arg(long, value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Another way for the time to live to run
    #[arg(long)]
    pub(crate) ttl_mode: Option<TtlMode>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct Transition {
    /// The session
    pub(crate) session: String,
    /// pending, active, needs-login, quarantined or retired
    #[arg(value_parser = state)]
    pub(crate) state: v1::SessionState,
    /// Why, for those who read it; no secrets
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
#[group(id = "owner", required = true, multiple = false)]
pub(crate) struct OwnedBy {
    /// Of this business
    #[arg(long, group = "owner")]
    pub(crate) business: Option<String>,
    /// Of this e-mail address
    #[arg(long, group = "owner")]
    pub(crate) email: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageState {
    /// Read the storage state
    Get {
        /// The session
        session: String,
        /// Where to write it, readable by its owner only; - for standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Replace the storage state
    Put {
        /// The session
        session: String,
        /// Where to read it from; - for standard input
        file: PathBuf,
        #[command(flatten)]
        conditions: Conditions,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Save {
    /// The session
    pub(crate) session: String,
    /// The profile: a browser's user data directory
    pub(crate) directory: PathBuf,
    /// How much to leave out: default, lean or full
    #[arg(long, default_value = "default")]
    pub(crate) policy: Policy,
    /// A glob of what to take although the policy leaves it out; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// A glob of what to leave out too; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// A Playwright storage state to save with it; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) storage_state: Option<PathBuf>,
    /// Names this save, so that repeating it is harmless
    #[arg(long, value_name = "ID")]
    pub(crate) upload_id: Option<String>,
    /// Save although a live browser holds the profile
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct Load {
    /// The session
    pub(crate) session: String,
    /// Where to load it
    pub(crate) directory: PathBuf,
    /// The snapshot: its id, or at least the first 4 digits of it; by default the head
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    pub(crate) snapshot: String,
    /// A directory with a former snapshot of the session: only the difference travels
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) have: Option<PathBuf>,
    /// Use up the directory of --have instead of copying what is unchanged, which is ten times faster
    #[arg(long, requires = "have")]
    pub(crate) consume: bool,
    /// Put it in the place of what is there; if that is a former snapshot, only the difference travels
    #[arg(long)]
    pub(crate) replace: bool,
    /// Replace also what a live browser holds
    #[arg(long)]
    pub(crate) force: bool,
    /// Write the storage state that was saved with it to this file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(crate) storage_state: Option<PathBuf>,
    /// Have it packed, also when the daemon is on this machine
    #[arg(long)]
    pub(crate) packed: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Changes of this session; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) session: Vec<String>,
    /// Changes of this business; may be given several times
    #[arg(long)]
    pub(crate) business: Vec<String>,
    /// Changes of this e-mail address; may be given several times
    #[arg(long)]
    pub(crate) email: Vec<String>,
    /// Only changes of this kind, such as profile-saved; may be given several times
    #[arg(long, value_parser = change_kind)]
    pub(crate) kind: Vec<v1::ChangeKind>,
    /// Where the place to go on from is kept: read at the start if it is there, written after every printed change
    #[arg(long, value_name = "FILE")]
    pub(crate) resume_file: Option<PathBuf>,
    /// Start after this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "resume_file")]
    pub(crate) after: Option<i64>,
    /// How often the daemon says that nothing happened: 1s to 60s
    #[arg(long, value_parser = duration)]
    pub(crate) interval: Option<Duration>,
    /// Also print when the watch opens, and that nothing happened
    #[arg(long)]
    pub(crate) all: bool,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["session", "business", "email"]))]
pub(crate) struct Invalidate {
    /// This session; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) session: Vec<String>,
    /// Sessions of this business; may be given several times
    #[arg(long)]
    pub(crate) business: Vec<String>,
    /// Sessions of this e-mail address; may be given several times
    #[arg(long)]
    pub(crate) email: Vec<String>,
    /// Why, for those who watch; no secrets
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Only say how many sessions match
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TtlMode {
    /// From the last use
    Sliding,
    /// From the creation
    Absolute,
}

impl From<TtlMode> for v1::TtlMode {
    fn from(mode: TtlMode) -> Self {
        match mode {
            TtlMode::Sliding => Self::Sliding,
            TtlMode::Absolute => Self::Absolute,
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is given as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a time is given as 90s, 15m, 24h or 30d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a time is given as 90s, 15m, 24h or 30d".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

/// The name of an enum value as people write it: `needs-login` for `SESSION_STATE_NEEDS_LOGIN`.
fn contract_name(prefix: &str, text: &str) -> String {
    format!("{prefix}{}", text.to_ascii_uppercase().replace('-', "_"))
}

fn state(text: &str) -> Result<v1::SessionState, String> {
    let found = v1::SessionState::from_str_name(&contract_name("SESSION_STATE_", text)).filter(|state| *state != v1::SessionState::Unspecified);
    found.ok_or_else(|| "the states are pending, active, needs-login, quarantined and retired".to_owned())
}

fn change_kind(text: &str) -> Result<v1::ChangeKind, String> {
    let found = v1::ChangeKind::from_str_name(&contract_name("CHANGE_KIND_", text)).filter(|kind| *kind != v1::ChangeKind::Unspecified);
    found.ok_or_else(|| {
        let names = "session-created, session-updated, session-transitioned, session-deleted, session-expired, session-undeleted, session-purged";
        format!("the kinds are {names}, storage-state-put, profile-saved and invalidated")
    })
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
            save s d --policy lean --include a --exclude b --storage-state f --upload-id u --etag 5 --force
            load s d --snapshot x --have h --consume --replace --storage-state f --packed
            snapshots s
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
    fn values_become_what_they_mean() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_hours(48)));
        assert_eq!(state("Needs-Login"), Ok(v1::SessionState::NeedsLogin));
        assert_eq!(change_kind("storage_state_put"), Ok(v1::ChangeKind::StorageStatePut));
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        let Command::Load(load) = parse("load s d").unwrap().command else { panic!("a load") };
        assert!(!load.replace && !load.consume && load.snapshot.is_empty() && load.have.is_none());
    }
}
