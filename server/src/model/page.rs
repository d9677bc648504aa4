//! Page tokens: where a listing goes on, bound by a MAC to the namespace and to the filters it was made for.
//!
//! `version (1) | score (8, big endian) | member | MAC (16)`, in URL-safe base 64. The MAC covers all before it, and the filters.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::{Error, Reason, Result};

const VERSION: u8 = 1;
const MAC: usize = 16;
/// Longest token: a member of 1 KiB, in base 64.
const MAX_TOKEN: usize = 1400;
/// Most entries of one page.
pub const MAX_PAGE: usize = 500;
/// Entries of a page when none is asked for.
pub const DEFAULT_PAGE: usize = 50;

/// A place in an index: after this score and member.
pub type Position = (i64, String);

/// Makes a token. `mac` signs with the namespace's secret.
#[must_use]
pub fn encode((score, member): &Position, filters: &[u8], mac: impl Fn(&[u8]) -> [u8; 32]) -> String {
    let mut token = vec![VERSION];
    token.extend_from_slice(&score.to_be_bytes());
    token.extend_from_slice(member.as_bytes());
    let tag = mac(&signed(&token, filters));
    token.extend_from_slice(&tag[..MAC]);
    URL_SAFE_NO_PAD.encode(token)
}

/// Reads a token. `verify` checks data against a tag with the namespace's secret, in constant time.
///
/// # Errors
/// `INVALID_PAGE_TOKEN` when it is not one of ours, or was made for other filters.
pub fn decode(token: &str, filters: &[u8], verify: impl Fn(&[u8], &[u8]) -> bool) -> Result<Position> {
    let parse = || {
        let bytes = if token.len() > MAX_TOKEN { None } else { URL_SAFE_NO_PAD.decode(token).ok() }?;
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        let (&[VERSION], rest) = body.split_first_chunk::<1>()? else { return None };
        let (score, member) = rest.split_first_chunk::<8>()?;
        let member = String::from_utf8(member.to_vec()).ok()?;
        verify(&signed(body, filters), tag).then_some((i64::from_be_bytes(*score), member))
    };
    parse().ok_or_else(invalid)
}

/// A token that cannot be one of ours.
#[must_use]
pub fn invalid() -> Error {
    let message = "page_token is not one of this listing: give next_page_token back unchanged, with the same filters, or start without one";
    Error::new(Reason::InvalidPageToken, message).with_field("page_token")
}

/// How many entries a page shall have.
///
/// # Errors
/// `INVALID_FIELD` when it is negative or too large.
pub fn parse_size(field: &str, given: i32) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) if size <= MAX_PAGE => Ok(size),
        _ => Err(Error::field(field, format!("{field} is {given}; it needs 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}"))),
    }
}

fn signed(body: &[u8], filters: &[u8]) -> Vec<u8> {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    [&length.to_be_bytes()[..], body, filters].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::seal::Secret;

    fn token(position: &Position, filters: &[u8]) -> String {
        encode(position, filters, |data| Secret::new([1; 32]).mac(data))
    }

    fn read(token: &str, filters: &[u8]) -> Result<Position> {
        decode(token, filters, |data, tag| Secret::new([1; 32]).verify_mac(data, tag))
    }

    #[test]
    fn a_token_reads_back_only_with_its_filters() {
        let position = (1_795_000_000_000_000, "session-1".to_owned());
        let made = token(&position, b"state=ACTIVE");
        assert_eq!(read(&made, b"state=ACTIVE").unwrap(), position);
        assert_eq!(read(&made, b"state=PENDING").unwrap_err().reason(), Reason::InvalidPageToken);
    }

    #[test]
    fn page_sizes_have_a_default_and_a_bound() {
        assert_eq!((parse_size("page_size", 0).unwrap(), parse_size("page_size", 500).unwrap()), (50, 500));
        assert!(parse_size("page_size", -1).is_err() && parse_size("page_size", 501).is_err());
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_token(text in ".{0,300}", flip in 0usize..100, member in "[a-z]{0,40}") {
            prop_assert!(read(&text, b"").is_err());
            let made = token(&(7, member), b"f");
            let mut bytes = made.clone().into_bytes();
            let at = flip % bytes.len();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of base 64 may carry unused bits, which the decoder refuses; so every change is noticed.
            prop_assert!(read(&changed, b"f").is_err());
        }
    }
}
