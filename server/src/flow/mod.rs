//! What spans stores: sessions, saves, loads, watches, sweeping.

pub mod follow;
pub mod invalidate;
pub mod keyring;
pub mod pause;
pub mod pressure;
pub mod profiles;
pub mod sessions;
pub mod sweep;
pub mod tasks;
pub mod watch;
