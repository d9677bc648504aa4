//! Labels and other free text that callers give a session.

use std::collections::BTreeMap;

use super::error::{Error, Result};

/// Most labels of a session.
pub const MAX_LABELS: usize = 32;
/// Longest key of a label in bytes.
pub const MAX_KEY: usize = 63;
/// Longest value of a label in bytes.
pub const MAX_VALUE: usize = 128;
/// Longest reason in bytes.
pub const MAX_REASON: usize = 256;

/// Parses labels given in `field`.
///
/// # Errors
/// `INVALID_FIELD` when there are too many, or one breaks the rule. Values are never shown.
pub fn parse_labels(field: &str, given: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<String, String>> {
    let labels: BTreeMap<_, _> = given.into_iter().collect();
    if labels.len() > MAX_LABELS {
        return Err(Error::field(field, format!("{field} has {} entries; it needs at most {MAX_LABELS}", labels.len())));
    }
    for (key, value) in &labels {
        check_key(field, key)?;
        check_text(&format!("{field}[{key}]"), value, MAX_VALUE)?;
    }
    Ok(labels)
}

/// Parses why something was done, given in `field`; empty is allowed.
///
/// # Errors
/// `INVALID_FIELD` when it is too long or has control characters.
pub fn parse_reason(field: &str, text: &str) -> Result<String> {
    check_text(field, text, MAX_REASON)?;
    Ok(text.to_owned())
}

fn check_key(field: &str, key: &str) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Error::field(field, format!("a key of {field} has {} bytes; it needs 1 to {MAX_KEY}", key.len())));
    }
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '/' | '-');
    match key.chars().position(|c| !ok(c)) {
        None => Ok(()),
        Some(at) => Err(Error::field(field, format!("a key of {field} has a forbidden character at position {at}; allowed are `a-z 0-9 . _ / -`"))),
    }
}

fn check_text(field: &str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::field(field, format!("{field} has {} bytes; it needs at most {max}", text.len())));
    }
    match text.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(Error::field(field, format!("{field} has a control character at position {at}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        parse_labels("labels", pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn labels_keep_to_their_limits() {
        assert_eq!(labels(&[("team/a.b_c-9", "Ünicode = ok"), ("empty", "")]).unwrap().len(), 2);
        let (long_key, long_value) = ("k".repeat(64), "v".repeat(129));
        for bad in [("", "v"), ("Upper", "v"), ("a=b", "v"), ("k", "line\nbreak"), (long_key.as_str(), "v"), ("k", long_value.as_str())] {
            let error = labels(&[bad]).unwrap_err();
            assert!(error.field_name().unwrap().starts_with("labels"), "{error}");
        }
        let many: Vec<_> = (0..33).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(parse_labels("labels", many).unwrap_err().message(), "labels has 33 entries; it needs at most 32");
    }

    #[test]
    fn an_error_shows_a_key_that_is_fine_and_no_value() {
        let error = labels(&[("env", "se\u{7}cret")]).unwrap_err();
        assert_eq!(error.message(), "labels[env] has a control character at position 2");
    }

    #[test]
    fn a_reason_is_short_plain_text() {
        assert_eq!(parse_reason("reason", "").unwrap(), "");
        assert!(parse_reason("reason", &"r".repeat(257)).is_err() && parse_reason("reason", "a\tb").is_err());
    }
}
