//! The shape, its places, and documents of every kind of badness.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn cookie() -> serde_json::Value {
    json!({"name": "sid", "value": "secret", "domain": ".x.org", "path": "/", "expires": -1, "httpOnly": true, "secure": false, "sameSite": "Lax"})
}

fn document() -> serde_json::Value {
    json!({
        "cookies": [cookie()],
        "origins": [{
            "origin": "https://x.org",
            "localStorage": [{"name": "token", "value": "secret"}],
            "sessionStorage": [{"name": "a", "value": "secret"}],
            "indexedDB": [{"name": "db", "version": 1, "stores": [{"records": [{"value": {"deep": [1, 2.5e3, null]}}]}]}],
        }],
    })
}

fn check(document: &serde_json::Value) -> Result<()> {
    validate(document.to_string().as_bytes(), MAX_UNARY)
}

/// Changes one place of a good document, given as a JSON pointer, and says what the error is.
fn broken(pointer: &str, value: serde_json::Value) -> String {
    let mut document = document();
    *document.pointer_mut(pointer).unwrap() = value;
    let error = check(&document).unwrap_err();
    assert_eq!(error.reason(), Reason::StorageStateInvalid);
    assert!(!error.message().contains("secret"), "{error}");
    error.message().strip_suffix("; it must be what Playwright's storageState() gives").unwrap().to_owned()
}

#[test]
fn what_playwright_gives_is_accepted_with_unknown_fields_anywhere() {
    check(&document()).unwrap();
    check(&json!({"cookies": [], "origins": []})).unwrap();
    let mut more = document();
    more["extra"] = json!({"a": [null, true]});
    more["cookies"][0]["partitionKey"] = json!("https://y.org");
    more["cookies"][0]["expires"] = json!(1_795_000_000.25);
    more["cookies"][0].as_object_mut().unwrap().remove("sameSite");
    more["origins"][0]["localStorage"][0]["x"] = json!(1);
    check(&more).unwrap();
}

#[test]
fn lone_surrogates_of_a_browser_are_accepted_in_values_and_names() {
    let text = r#"{"cookies":[],"\udc00x":1,"origins":[{"origin":"o","localStorage":[{"name":"\ud800","value":"a\udfffb"}],"\ud8ff":"\ud8ff"}]}"#;
    validate(text.as_bytes(), MAX_UNARY).unwrap();
}

#[test]
fn errors_name_the_place_and_the_need() {
    assert_eq!(broken("/cookies/0/domain", json!(7)), "storage_state.cookies[0].domain is not a string");
    assert_eq!(broken("/cookies/0/value", json!(["secret"])), "storage_state.cookies[0].value is not a string");
    assert_eq!(broken("/cookies/0/expires", json!("secret")), "storage_state.cookies[0].expires is not a finite number");
    assert_eq!(broken("/cookies/0/secure", json!(null)), "storage_state.cookies[0].secure is not true or false");
    assert_eq!(broken("/cookies/0/sameSite", json!("secret")), "storage_state.cookies[0].sameSite is not one of Strict, Lax, None");
    assert_eq!(broken("/cookies/0", json!("secret")), "storage_state.cookies[0] is not an object");
    assert_eq!(broken("/cookies", json!({})), "storage_state.cookies is not an array");
    assert_eq!(broken("/origins/0/localStorage/0", json!({"name": "secret"})), "storage_state.origins[0].localStorage[0] has no `value`");
    assert_eq!(broken("/origins/0/sessionStorage", json!(1)), "storage_state.origins[0].sessionStorage is not an array");
    assert_eq!(broken("/origins/0/indexedDB/0", json!(1)), "storage_state.origins[0].indexedDB[0] is not an object");
    assert_eq!(broken("", json!({"cookies": []})), "storage_state has no `origins`");
    assert_eq!(broken("", json!(["secret"])), "storage_state is not an object");
}

#[test]
fn the_place_is_right_behind_good_neighbours() {
    let mut document = document();
    let mut bad = cookie();
    bad["path"] = json!(false);
    document["cookies"] = json!([cookie(), cookie(), bad, cookie()]);
    assert_eq!(check(&document).unwrap_err().field_name(), Some("storage_state.cookies[2].path"));
}

#[test]
fn what_is_no_json_is_refused_by_line_and_column() {
    let message = |text: &[u8]| validate(text, MAX_UNARY).unwrap_err().message().to_owned();
    assert!(message(b"").starts_with("storage_state is not JSON at line 1, column 0;"));
    assert!(message(b"{\"cookies\": [],\n secret}").starts_with("storage_state is not JSON at line 2, column 2;"));
    assert!(message(b"{\"cookies\": [], \"origins\": []} x").starts_with("storage_state is not JSON at line 1, column 32;"));
    assert!(message(b"{\"cookies\": [], \"origins\": [\xff]}").starts_with("storage_state is not UTF-8 at byte 28;"));
    assert!(message(b"{\"cookies\": [], \"cookies\": [], \"origins\": []}").starts_with("storage_state.cookies is there twice;"));
}

#[test]
fn numbers_are_finite() {
    let text = document().to_string().replace("\"expires\":-1", "\"expires\":1e999");
    assert!(text.contains("1e999"));
    assert!(validate(text.as_bytes(), MAX_UNARY).is_err());
    assert!(validate(text.replace("1e999", "NaN").as_bytes(), MAX_UNARY).is_err());
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{{\"cookies\":[],\"origins\":[],\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    validate(nested(MAX_DEPTH).as_bytes(), MAX_UNARY).unwrap();
    let error = validate(nested(MAX_DEPTH + 1).as_bytes(), MAX_UNARY).unwrap_err();
    assert!(error.message().contains("nested deeper than 64"), "{error}");
    validate(b"{\"cookies\":[],\"origins\":[],\"x\":\"[[[[\\\"[[[[\"}", MAX_UNARY).unwrap();
    let million = "[".repeat(1_000_000);
    assert!(validate(million.as_bytes(), MAX_UNARY).is_err(), "and the stack holds");
    let error = validate(&vec![b' '; MAX_UNARY + 1], MAX_UNARY).unwrap_err();
    assert!(error.message().starts_with("storage_state has 3145729 bytes; it needs at most 3145728;"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = validate(&bytes, MAX_UNARY);
    }

    /// Every cut and every flipped byte of a good document is either refused, or still a document that serde_json reads.
    #[test]
    fn damage_is_refused_or_is_still_json(at in 0usize..600, byte in any::<u8>()) {
        let mut text = document().to_string().into_bytes();
        let at = at % text.len();
        prop_assert!(validate(&text[..at], MAX_UNARY).is_err());
        text[at] = byte;
        if validate(&text, MAX_UNARY).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok() || text.windows(2).any(|pair| pair == b"\\u"));
        }
    }
}
