//! The layers as a caller meets them: through a socket, around handlers that misbehave in every way.

mod auth;
mod details;
mod limits;
mod server;
mod trace;
