//! What can be asked of snapshots.

use clap::Args;

use super::Conditions;

#[derive(Args, Debug)]
pub(crate) struct Snapshots {
    /// The session
    pub(crate) session: String,
    /// Also those that were deleted and can still be revived
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Undo {
    /// The session
    pub(crate) session: String,
    /// The snapshot that shall be the head again: its id, or at least the first 4 digits of it; by default the one that the head was made from
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SNAPSHOT")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The session
    pub(crate) session: String,
    /// The snapshot: its id, or at least the first 4 digits of it; by default the head
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) snapshot: String,
    /// Why it is kept
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct Unpin {
    /// The session
    pub(crate) session: String,
    /// The snapshot: its id, or at least the first 4 digits of it; by default the head
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) snapshot: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteSnapshot {
    /// The session
    pub(crate) session: String,
    /// The snapshot: its id, or at least the first 4 digits of it
    pub(crate) snapshot: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct UndeleteSnapshot {
    /// The session
    pub(crate) session: String,
    /// The snapshot: its id, or at least the first 4 digits of it (`snapshots --deleted` lists them)
    pub(crate) snapshot: String,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The session
    pub(crate) session: String,
    /// The older snapshot: its id, or at least the first 4 digits of it; by default the one that the newer was made from
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) from: String,
    /// The newer snapshot; by default the head
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) to: String,
}
