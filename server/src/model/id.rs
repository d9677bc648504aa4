//! Names: each parsed once at the edge, valid ever after.

use std::fmt;

use super::{
    error::{Error, Result},
    hex::{hex, unhex},
};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A tenant: the unit of isolation, keys and atomicity. 1 to 63 of `a-z 0-9 -`, the first a letter or digit.
    Namespace
}
name! {
    /// A session's id: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
    SessionId
}
name! {
    /// The business a session belongs to: 1 to 256 bytes of UTF-8 without control characters.
    BusinessId
}
name! {
    /// What makes a repeated request harmless: 1 to 64 visible ASCII characters.
    RequestId
}
name! {
    /// Names one save for repetitions: 16 to 64 of `A-Z a-z 0-9 -`.
    UploadId
}

impl Namespace {
    /// Parses a namespace given in `field`.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it breaks the rule.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        check(field, text, 1, 63, ok, "`a-z 0-9 -`, the first a letter or digit")?;
        first_alphanumeric(field, text)?;
        Ok(Self(text.to_owned()))
    }
}

impl Default for Namespace {
    /// The namespace `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl SessionId {
    /// Parses an id given in `field`.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it breaks the rule.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        check(field, text, 1, 128, ok, "`A-Z a-z 0-9 . _ -`, the first a letter or digit")?;
        first_alphanumeric(field, text)?;
        Ok(Self(text.to_owned()))
    }
}

impl BusinessId {
    /// Parses a business given in `field`.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it breaks the rule.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        check(field, text, 1, 256, |c| !c.is_control(), "any characters but control characters")?;
        Ok(Self(text.to_owned()))
    }
}

impl RequestId {
    /// Parses an optional id given in `field`; empty means none.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it breaks the rule.
    pub fn parse(field: &str, text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        check(field, text, 1, 64, |c| c.is_ascii_graphic(), "visible ASCII characters")?;
        Ok(Some(Self(text.to_owned())))
    }
}

impl UploadId {
    /// Parses an upload id given in `field`.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it breaks the rule.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        check(field, text, 16, 64, |c| c.is_ascii_alphanumeric() || c == '-', "`A-Z a-z 0-9 -`")?;
        Ok(Self(text.to_owned()))
    }
}

/// Checks a name's length in bytes and its characters. The value itself is shown only when it is short and plain, for it may be anything.
fn check(field: &str, text: &str, min: usize, max: usize, ok: impl Fn(char) -> bool, rule: &str) -> Result<()> {
    if text.len() < min || text.len() > max {
        let message = format!("{field} has {} bytes; it needs {min} to {max}", text.len());
        return Err(Error::field(field, message));
    }
    match text.chars().position(|c| !ok(c)) {
        None => Ok(()),
        Some(at) => {
            let message = format!("{field} has a forbidden character at position {at}; allowed are {rule}");
            Err(Error::field(field, message))
        }
    }
}

fn first_alphanumeric(field: &str, text: &str) -> Result<()> {
    match text.chars().next() {
        Some(first) if !first.is_ascii_alphanumeric() => {
            // Not the whole: in a file of tokens a token may stand where the name belongs.
            Err(Error::field(field, format!("{field} starts with {first:?}; it must start with a letter or a digit")))
        }
        _ => Ok(()),
    }
}

macro_rules! digits {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Parses 32 lower-case hexadecimal digits given in `field`.
            ///
            /// # Errors
            /// `INVALID_FIELD` when they are anything else.
            pub fn parse(field: &str, text: &str) -> Result<Self> {
                parse_hex(text).map(Self).ok_or_else(|| {
                    let message = format!("{field} has {} bytes; it needs 32 lower-case hexadecimal digits", text.len());
                    Error::field(field, message)
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

digits! {
    /// Names one saved state of a session.
    SnapshotId
}
digits! {
    /// Names a session's chain of commits and the key they are sealed with; random, never reused.
    LineageId
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    unhex(text).filter(|_| lower)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_rules() {
        assert!(Namespace::parse("namespace", "team-7").is_ok());
        for bad in ["", "-a", "Team", "a_b", &"a".repeat(64), "a\u{0}"] {
            assert!(Namespace::parse("namespace", bad).is_err(), "{bad:?}");
        }
        assert!(SessionId::parse("session_id", "acct.1_B-2").is_ok());
        for bad in ["", ".a", "a/b", "a b", &"a".repeat(129), "ä"] {
            assert!(SessionId::parse("session_id", bad).is_err(), "{bad:?}");
        }
        assert!(BusinessId::parse("business_id", "urn:müller & söhne").is_ok());
        assert!(BusinessId::parse("business_id", "a\nb").is_err());
        assert!(UploadId::parse("upload_id", "0123456789abcde").is_err());
        assert!(RequestId::parse("request_id", "").unwrap().is_none());
    }

    #[test]
    fn an_error_names_field_and_limit_but_not_a_long_value() {
        let error = SessionId::parse("session_id", &"x".repeat(500)).unwrap_err();
        assert_eq!(error.field_name(), Some("session_id"));
        assert_eq!(error.message(), "session_id has 500 bytes; it needs 1 to 128");
    }

    #[test]
    fn digits_read_back() {
        let id = SnapshotId([0xab; 16]);
        assert_eq!(SnapshotId::parse("snapshot_id", &id.to_string()).unwrap(), id);
        assert!(SnapshotId::parse("snapshot_id", &"G".repeat(32)).is_err());
        assert!(SnapshotId::parse("snapshot_id", &"é".repeat(16)).is_err());
    }
}
