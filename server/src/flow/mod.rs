//! What spans stores: sessions, saves, loads, watches, sweeping.

pub mod keyring;
pub mod profiles;
pub mod sessions;
pub mod tasks;
