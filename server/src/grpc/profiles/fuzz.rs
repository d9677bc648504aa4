//! A door to the receiving side of a save: the same parsing and the same rules, without a network and without stores.

use std::sync::Arc;

use bytes::Bytes;
use cloakroom_api::v1::{self as api, save_profile_request::Message};

use super::{
    convert::received,
    upload::{Later, begin, later},
};
use crate::model::{
    assembly::{Assembled, Assembly},
    error::{Error, Reason, Result},
    id::Namespace,
    manifest::Manifest,
    storage_state::{MAX_IN_SAVE, validate},
};

/// What came of a save's stream.
#[derive(Debug)]
pub struct SaveStream {
    /// The profile, verified.
    pub profile: Assembled,
    /// The unpacked bytes of its frames, in their order.
    pub frames: Vec<Bytes>,
    /// The storage state that came along.
    pub storage_state: Vec<u8>,
}

impl SaveStream {
    /// Takes the messages of a save. `base` is the parent's manifest.
    ///
    /// # Errors
    /// Those of the contract.
    pub fn receive(messages: Vec<api::SaveProfileRequest>, base: Option<Arc<Manifest>>) -> Result<Self> {
        let truncated = || Error::new(Reason::StreamTruncated, "the save ended before its `end` message");
        let mut messages = messages.into_iter();
        let first = messages.next().ok_or_else(truncated)?;
        let Some(Message::Begin(given)) = first.message else {
            return Err(Error::new(Reason::StreamProtocol, "the first message of a save must be `begin`"));
        };
        let begin = begin(Namespace::default(), given)?;
        begin.portability.check("begin.portability")?;
        let mut assembly = Assembly::new(base.filter(|_| !begin.full));
        let (mut frames, mut storage_state) = (Vec::new(), Vec::new());
        loop {
            match later(messages.next().ok_or_else(truncated)?)? {
                Later::Records(records) => {
                    if let Some(work) = assembly.accept(received(records)?)? {
                        let hashed = work.run()?;
                        assembly.supply(&hashed);
                        frames.push(hashed.plain);
                    }
                }
                Later::StorageState(chunk) => storage_state.extend_from_slice(&chunk.data),
                Later::End(root) => {
                    if !storage_state.is_empty() {
                        validate(&storage_state, MAX_IN_SAVE)?;
                    }
                    return Ok(Self { profile: assembly.finish(&root)?, frames, storage_state });
                }
            }
        }
    }
}
