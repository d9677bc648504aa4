//! How the world asks: the only layer that names tonic or the generated API.

pub mod parse;
pub mod sessions;
pub mod status;
