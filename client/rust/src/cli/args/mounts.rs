//! What can be asked of mounts.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::values::duration;

const RUN: &str = "\
The command with its arguments. {} in these is the profile directory, and so is $CLOAKROOM_PROFILE; $CLOAKROOM_STORAGE_STATE is a file with the storage state that was saved with the profile, which is read back and saved too";

#[derive(Args, Debug)]
pub(crate) struct Place {
    #[arg(
        long,
        value_name = "DIRECTORY",
        help = "Where this machine's mounts are; by default $CLOAKROOM_MOUNTS, else cloakroom in $XDG_CACHE_HOME or ~/.cache"
    )]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Mount {
    /// The session
    pub(crate) session: String,
    /// Save at the end; without it what was changed is let go
    #[arg(long)]
    pub(crate) save: bool,
    /// Make it the head at the end also if somebody saved meanwhile; what was the head stays as an earlier snapshot
    #[arg(long, requires = "save")]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// When the profile is saved after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// Whatever became of the command
    Always,
    /// If the command exited with 0
    Success,
    /// Never
    Never,
}

#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// The session
    pub(crate) session: String,
    /// When to save: always, success (the command exited with 0) or never
    #[arg(long, default_value = "success", value_name = "WHEN", hide_possible_values = true)]
    pub(crate) save: Keep,
    /// Make it the head also if somebody saved meanwhile; what was the head stays as an earlier snapshot
    #[arg(long)]
    pub(crate) replace: bool,
    /// Where the command finds and leaves the storage state instead of a file beside the profile; it must not be there yet, and is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) storage_state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[arg(last = true, required = true, value_name = "CMD", help = RUN)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mounts {
    /// Remove directories of mounts that nobody has and nobody used for a while
    Prune {
        /// Nobody used them for so long
        #[arg(long, default_value = "7d", value_parser = duration)]
        older_than: Duration,
        #[command(flatten)]
        place: Place,
    },
}
