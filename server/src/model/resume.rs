//! Resume tokens: where a watch stood, in a form that every replica reads and no caller can make.
//!
//! `version (1) | protobuf | first 16 bytes of HMAC-SHA-256 over both`, under a secret of the namespace. The protobuf maps every scope to a history and a revision, so that a
//! later daemon can add scopes without a new version.

use prost::Message as _;

use super::{
    error::{Error, Reason, Result},
    time::{History, Revision},
};

/// Longest token in bytes.
pub const MAX_TOKEN: usize = 512;
const VERSION: u8 = 1;
const MAC: usize = 16;

/// Where a watch stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The selectors it had, as their fingerprint.
    pub selectors: [u8; 8],
    /// The history it was in.
    pub history: History,
    /// Everything up to here was sent.
    pub revision: Revision,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    selectors: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<WireScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireScope {
    #[prost(string, tag = "1")]
    scope: String,
    #[prost(string, tag = "2")]
    history: String,
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// The scope that this daemon's watches follow.
const SCOPE: &str = "sessions";

impl Resume {
    /// Makes the token; `mac` is the namespace's.
    #[must_use]
    pub fn encode(&self, mac: impl Fn(&[u8]) -> [u8; 32]) -> Vec<u8> {
        let scope = WireScope { scope: SCOPE.to_owned(), history: self.history.0.clone(), revision: self.revision.0 };
        let mut token = vec![VERSION];
        token.extend(Wire { selectors: self.selectors.to_vec(), scopes: vec![scope] }.encode_to_vec());
        let tag = mac(&token);
        token.extend_from_slice(&tag[..MAC]);
        token
    }

    /// Reads a token; `verify` compares the beginning of a MAC with the namespace's.
    ///
    /// # Errors
    /// `INVALID_RESUME_TOKEN` when it is none of this namespace.
    pub fn decode(verify: impl Fn(&[u8], &[u8]) -> bool, token: &[u8]) -> Result<Self> {
        Self::read(verify, token).ok_or_else(|| Self::refused(token.len()))
    }

    /// What a token says that nobody vouches for: enough to tell one of another store from one that somebody made up. None if it does not even have the form of one.
    #[must_use]
    pub fn unverified(token: &[u8]) -> Option<Self> {
        Self::read(|_, _| true, token)
    }

    /// The refusal of a token of so many bytes.
    #[must_use]
    fn refused(length: usize) -> Error {
        let message = format!("resume_token has {length} bytes and is none that was issued in this namespace; start without it");
        Error::new(Reason::InvalidResumeToken, message).with_field("resume_token")
    }

    fn read(verify: impl Fn(&[u8], &[u8]) -> bool, token: &[u8]) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (body, mac) = token.split_at_checked(token.len().checked_sub(MAC)?)?;
        if !verify(body, mac) || body.first() != Some(&VERSION) {
            return None;
        }
        let wire = Wire::decode(body.get(1..)?).ok()?;
        let scope = wire.scopes.into_iter().find(|scope| scope.scope == SCOPE)?;
        Some(Self { selectors: wire.selectors.try_into().ok()?, history: History(scope.history), revision: Revision(scope.revision) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::seal::Secret;

    fn resume() -> Resume {
        Resume { selectors: [3; 8], history: History("h".repeat(64)), revision: Revision(i64::MAX >> 10) }
    }

    fn decode(secret: u8, token: &[u8]) -> Result<Resume> {
        let secret = Secret::new([secret; 32]);
        Resume::decode(|data, tag| secret.verify_mac(data, tag), token)
    }

    #[test]
    fn a_token_reads_back_only_whole_and_under_its_secret() {
        let token = resume().encode(|data| Secret::new([1; 32]).mac(data));
        assert!(token.len() <= MAX_TOKEN);
        assert_eq!(decode(1, &token).unwrap(), resume());
        assert_eq!(decode(2, &token).unwrap_err().reason(), Reason::InvalidResumeToken);
        assert_eq!(Resume::unverified(&token), Some(resume()));
        for at in 0..token.len() {
            let mut bad = token.clone();
            bad[at] ^= 0x10;
            assert!(decode(1, &bad).is_err());
            assert!(decode(1, &token[..at]).is_err());
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(decode(1, &bytes).is_err());
        }
    }
}
