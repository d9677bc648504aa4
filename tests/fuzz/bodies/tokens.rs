//! What callers bring: tokens, names, storage states, cookie databases.

use cloakroom_server::{
    model::{
        email::Email,
        id::{BusinessId, LineageId, Namespace, RequestId, SessionId, SnapshotId, UploadId},
        label::{parse_labels, parse_reason},
        page,
        resume::{MAX_TOKEN, Resume},
        seal::Secret,
        storage_state::{MAX_DEPTH, MAX_UNARY, validate},
    },
    store::cookies::{DigestKey, read},
};
use serde_json::Value;

use super::within;

fn secret() -> Secret {
    Secret::new([1; 32])
}

/// A resume token. With an odd first byte the rest gets its MAC, so that what is inside gets its turn.
pub(super) fn resume_token(data: &[u8]) -> bool {
    let Some((&mode, rest)) = data.split_first() else { return false };
    let mut token = rest.to_vec();
    if mode % 2 == 1 {
        token.extend_from_slice(&secret().mac(rest)[..16]);
    }
    let decode = |token: &[u8]| Resume::decode(|data, tag| secret().verify_mac(data, tag), token);
    let Ok(resume) = within(100 * MAX_TOKEN, || decode(&token)) else { return false };
    let written = resume.encode(|data| secret().mac(data));
    assert!(written.len() <= token.len().max(MAX_TOKEN));
    assert_eq!(decode(&written).ok(), Some(resume));
    true
}

/// A page token: with an odd first byte the body of one, after one byte of filter; else the text itself.
pub(super) fn page_token(data: &[u8]) -> bool {
    let Some((&[mode, filter], rest)) = data.split_first_chunk::<2>() else { return false };
    let decode = |text: &str, filter: u8| page::decode(text, &[filter], |data, tag| secret().verify_mac(data, tag));
    if mode % 2 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else { return false };
        let Ok(position) = within(4 * text.len(), || decode(text, filter)) else { return false };
        assert_eq!(page::encode(&position, &[filter], |data| secret().mac(data)), text);
        return true;
    }
    let Some((score, member)) = rest.split_first_chunk::<8>() else { return false };
    let Ok(member) = String::from_utf8(member.to_vec()) else { return false };
    let position = (i64::from_be_bytes(*score), member);
    let text = page::encode(&position, &[filter], |data| secret().mac(data));
    if position.1.len() <= 1024 {
        assert_eq!(decode(&text, filter).ok(), Some(position));
    }
    assert!(decode(&text, filter.wrapping_add(1)).is_err());
    decode(&text, filter).is_ok()
}

/// Every kind of name, an e-mail address, a label, a reason.
pub(super) fn names(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let most = 16 * text.len();
    within(most, || {
        let told = |name: Option<String>| assert!(name.is_none_or(|name| name == text));
        told(Namespace::parse("f", text).ok().map(|name| name.to_string()));
        told(SessionId::parse("f", text).ok().map(|name| name.to_string()));
        told(BusinessId::parse("f", text).ok().map(|name| name.to_string()));
        told(RequestId::parse("f", text).ok().flatten().map(|name| name.to_string()));
        told(UploadId::parse("f", text).ok().map(|name| name.to_string()));
        told(SnapshotId::parse("f", text).ok().map(|id| id.to_string()));
        told(LineageId::parse("f", text).ok().map(|id| id.to_string()));
    });
    match within(most, || Email::parse("f", text)) {
        Ok(Some(email)) => {
            let again = Email::parse("f", email.given()).ok().flatten();
            assert_eq!(again.map(|email| email.normalised()), Some(email.normalised()));
        }
        Ok(None) => assert!(text.trim().is_empty()),
        Err(error) => {
            let shown = text.split_whitespace().any(|word| word.len() >= 16 && word.contains('@') && error.to_string().contains(word));
            assert!(!shown, "an address is never shown: {error}");
        }
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if let Ok(labels) = parse_labels("f", [(key.to_owned(), value.to_owned())]) {
        assert!(labels.iter().eq([(&key.to_owned(), &value.to_owned())]), "a label is kept as it is");
    }
    let reason = parse_reason("f", text);
    assert!(reason.as_ref().is_ok_and(|reason| reason == text) || reason.is_err());
    reason.is_ok()
}

/// A Playwright storage state.
pub(super) fn storage_state(data: &[u8]) -> bool {
    // Nothing is built; only a text with escapes is unpacked, one at a time, to see where it ends.
    if within(2 * data.len(), || validate(data, MAX_UNARY)).is_err() {
        return false;
    }
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok(), "it is JSON");
    // Lone surrogates are fine in a browser's strings but not in Rust's.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return true };
    assert!(depth(&value) <= MAX_DEPTH);
    let cookies = value["cookies"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(value["cookies"].is_array() && value["origins"].is_array());
    assert!(cookies.iter().all(|cookie| cookie["name"].is_string() && cookie["domain"].is_string() && cookie["expires"].is_number()));
    let written = serde_json::to_vec(&value).unwrap_or_default();
    assert!(written.len() > MAX_UNARY || validate(&written, MAX_UNARY).is_ok(), "and stays one when written anew");
    true
}

/// Chromium's cookie database. Its memory is SQLite's own but for what is read, which is at most as long as the database; a cookie has some words beside its texts.
pub(super) fn cookies(data: &[u8]) -> bool {
    let Ok(key) = DigestKey::new() else { return false };
    let Ok(cookies) = within(600 * data.len(), || read(data.to_vec(), &key)) else { return false };
    assert_eq!(read(data.to_vec(), &key).ok(), Some(cookies), "the same bytes are the same cookies");
    true
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or_default(),
        Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
