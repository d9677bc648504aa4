//! What can be asked of profiles.

use std::path::PathBuf;

use clap::Args;
use cloakroom_client::Policy;

use crate::cli::args::Conditions;

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
    /// Make it the head, whatever is the head now and wherever the directory came from; what was the head stays as an earlier snapshot
    #[arg(long)]
    pub(crate) replace: bool,
    /// Save although a live browser holds the profile, or nothing is in it
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
