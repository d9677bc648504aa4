//! How the world asks: the only layer that names tonic or the generated API.

pub mod invalidations;
pub mod parse;
pub mod status;
