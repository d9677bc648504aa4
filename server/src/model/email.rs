//! E-mail addresses: told apart by one rule that never changes, for indices depend on it.

use std::fmt;

use super::error::{Error, Result};

/// Longest address in bytes (RFC 5321 §4.5.3.1.3 leaves 254 for an address without its angle brackets).
pub const MAX_EMAIL: usize = 254;

/// An account's address. Never printed.
///
/// Two addresses are the same when they are after trimming white space and lowering ASCII letters. Only ASCII: what else counts as lower case changes with Unicode's
/// versions, and a changed rule would lose index members. Nothing else is folded: `a+b@x.org` and `ab@x.org` differ, as do `ä@x.org` and `Ä@x.org`.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    given: String,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl Email {
    /// Parses an optional address given in `field`; empty, or nothing but white space, means none.
    ///
    /// # Errors
    /// `INVALID_FIELD`, which never shows the address, when it is too long or does not have the shape of one.
    pub fn parse(field: &str, text: &str) -> Result<Option<Self>> {
        let given = text.trim();
        if given.is_empty() {
            return Ok(None);
        }
        if given.len() > MAX_EMAIL {
            return Err(Error::field(field, format!("{field} has {} bytes; it needs at most {MAX_EMAIL}", given.len())));
        }
        if let Some(at) = given.chars().position(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::field(field, format!("{field} has white space or a control character at position {at}; an address has none")));
        }
        let parts: Vec<_> = given.split('@').collect();
        match parts[..] {
            [local, domain] if !local.is_empty() && !domain.is_empty() => Ok(Some(Self { given: given.to_owned() })),
            _ => {
                let message = format!("{field} has {} `@`; it needs exactly one, with something before and after it", parts.len() - 1);
                Err(Error::field(field, message))
            }
        }
    }

    /// The address as given, without white space around it.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What two spellings of the same address have in common.
    #[must_use]
    pub fn normalised(&self) -> String {
        self.given.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_surrounding_space_do_not_count_and_nothing_else_is_folded() {
        let normalised = |text| Email::parse("email", text).unwrap().unwrap().normalised();
        assert_eq!(normalised("  Ann.Lee@Example.ORG\n"), "ann.lee@example.org");
        assert_ne!(normalised("a+b@x.org"), normalised("ab@x.org"));
        assert_ne!(normalised("Ä@x.org"), normalised("ä@x.org"));
        assert_eq!(Email::parse("email", "  ").unwrap(), None);
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        let long = format!("{}@x.org", "a".repeat(250));
        for text in ["secret", "@x.org", "secret@", "a@secret@b", "sec ret@x.org", "sec\u{0}ret@x.org", "sec\u{a0}ret@x", &long] {
            let error = Email::parse("session.email", text).unwrap_err();
            assert_eq!(error.field_name(), Some("session.email"));
            assert!(!error.message().contains("sec") && !error.message().contains("x.org"), "{error}");
        }
        assert!(!format!("{:?}", Email::parse("email", "secret@x.org").unwrap()).contains("secret"));
    }
}
