//! What operators write: the configuration, the tokens file, the master key's file.

use cloakroom_server::{Reason, flow::keyring::MasterKeys, fuzz};

use super::within;

/// Words that could be a secret, and are in no message of ours: what stands there is never shown.
fn secrets(text: &str) -> impl Iterator<Item = &str> {
    let plain = |word: &&str| word.len() >= 24 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'/'));
    text.split_whitespace().filter(plain)
}

/// A configuration file.
pub(super) fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    // Such a value is read from the file it names.
    if text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("file:")) {
        return false;
    }
    // The parser's tree takes a few hundred bytes for every two of the text.
    let read = within(1000 * text.len() + 256 * 1024, || fuzz::config(text));
    match &read {
        Ok(config) => assert!(format!("{config:?}").contains("Hidden") || config.keys.master_key.is_none()),
        Err(error) => assert!(error.reason() == Reason::InvalidField && error.field_name().is_some(), "{error}"),
    }
    read.is_ok()
}

/// A tokens file.
pub(super) fn token_file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let lines = text.lines().count();
    let read = within(200 * text.len(), || fuzz::tokens(text));
    match &read {
        Ok(count) => assert!((1..=lines).contains(count)),
        Err(error) => {
            assert_eq!(error.reason(), Reason::InvalidField);
            assert!(!secrets(text).any(|word| error.to_string().contains(word)), "a token in the wrong place is not shown");
        }
    }
    read.is_ok()
}

/// The file of a master key.
pub(super) fn key_file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let read = within(100 * text.len(), || MasterKeys::parse("the file", text));
    match &read {
        Ok(keys) => assert!(!secrets(text).any(|word| format!("{keys:?}").contains(word))),
        Err(error) => {
            assert_eq!(error.reason(), Reason::KeyUnavailable);
            assert!(!secrets(text).any(|word| error.to_string().contains(word)), "a key is not shown");
        }
    }
    read.is_ok()
}
