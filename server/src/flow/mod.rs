//! What spans stores: sessions, saves, loads, watches, sweeping.

pub mod tasks;
pub mod watch;
