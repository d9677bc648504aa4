//! How the world asks: the only layer that names tonic or the generated API.

pub mod accept;
pub mod admin;
mod audit;
pub mod auth;
pub mod health;
pub mod invalidations;
pub mod layers;
pub mod parse;
pub mod profiles;
pub mod server;
pub mod sessions;
pub mod status;
