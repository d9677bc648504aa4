//! What can be asked of sessions.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use cloakroom_client::v1;

use crate::cli::args::{
    Conditions, OfSession,
    values::{TtlMode, duration, label, state},
};

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
pub(crate) struct Change {
    /// The session
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
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
