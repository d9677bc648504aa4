//! What can be asked about changes.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use cloakroom_client::v1;

use crate::cli::args::values::{change_kind, duration};

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
