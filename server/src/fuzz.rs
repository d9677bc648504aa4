//! Doors to the parsers that are private elsewhere, for the fuzz targets of `tests/fuzz`. Each takes foreign bytes and gives back what the target compares.

use std::path::Path;

use crate::{
    config::Config,
    model::{error::Result, id::SessionId},
};

pub use crate::{flow::keyring::fuzz::Keys, grpc::profiles::fuzz::SaveStream, store::redis::fuzz::Reply};

/// Reads a configuration file of this text, over the defaults and without environment or flags.
///
/// # Errors
/// `INVALID_FIELD` naming the line or the key.
pub fn config(text: &str) -> Result<Config> {
    Config::from_text(Path::new("cloakroomd.toml"), text)
}

/// Reads a tokens file of this text; answers how many tokens it has.
///
/// # Errors
/// `INVALID_FIELD` naming the line.
pub fn tokens(text: &str) -> Result<usize> {
    crate::grpc::auth::read_text("tokens", text).map(|tokens| tokens.len())
}

/// Opens the record of a storage state that is sealed under the lineage's key of `keys`.
///
/// # Errors
/// `DATA_CORRUPT` when it is damaged, `STORAGE_STATE_TOO_LARGE` when it says that the document lies elsewhere.
pub fn storage_state(keys: &Keys, session: &SessionId, record: &[u8]) -> Result<bytes::Bytes> {
    crate::flow::sessions::open_state(keys.lineage(), session, record)
}
