//! A door to the decoder of the scripts' answers.

use redis::Value;

use super::{decode, keys::Keys};
use crate::{
    model::{error::Result, id::Namespace},
    store::metadata::{Commit, Txn},
};

/// An answer of the server, as its own client reads it.
#[derive(Clone, Debug)]
pub struct Reply(Value);

impl Reply {
    /// How many kinds of answers there are.
    pub const KINDS: u8 = 7;

    /// Reads an answer as it comes over the connection; none if it is no whole answer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        redis::parse_redis_value(bytes).ok().map(Self)
    }

    /// Decodes it as the answer to one kind of request.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the engine's scripts never answer so.
    pub fn decode(self, kind: u8) -> Result<()> {
        let space = Keys::new("p:", 0).of(&Namespace::default());
        match kind % Self::KINDS {
            0 => {
                let commit = Commit { alternatives: vec![Txn::default(), Txn::default()], ..Commit::from(Txn::default()) };
                let _ = decode::met(&self.0);
                decode::outcome(self.0, &space, &commit, Some("nonce")).map(drop)
            }
            1 => decode::reading(self.0).map(drop),
            2 => decode::page(self.0).map(drop),
            3 => decode::head(self.0).map(drop),
            4 => decode::scored(self.0).map(drop),
            5 => decode::members(self.0).map(drop),
            _ => {
                let Value::Array(answers) = self.0 else { return Ok(()) };
                let Ok([clock, revision, fields]) = <[Value; 3]>::try_from(answers) else { return Ok(()) };
                decode::Moment::of(clock, revision)?.reading(fields).map(drop)
            }
        }
    }
}
