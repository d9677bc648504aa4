//! Where a profile comes from. The daemon keeps it for those who load; it draws no conclusions from it.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// Longest text of each kind, in bytes.
pub const MAX_TEXT: usize = 64;

/// The surroundings in which a profile was captured; empty texts mean unknown.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Portability {
    /// Operating system.
    #[prost(string, tag = "1")]
    pub os: String,
    /// Browser.
    #[prost(string, tag = "2")]
    pub brand: String,
    /// The browser's version.
    #[prost(string, tag = "3")]
    pub browser_version: String,
    /// Where Chromium kept its cookie key.
    #[prost(string, tag = "4")]
    pub password_store: String,
    /// The browser had exited before the capture.
    #[prost(bool, tag = "5")]
    pub quiesced: bool,
    /// The capture rules that were applied.
    #[prost(string, tag = "6")]
    pub capture_policy: String,
}

impl Portability {
    /// Checks the texts: at most [`MAX_TEXT`] visible ASCII characters each. `field` is where they stand in the request.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the text that breaks the rule.
    pub fn check(&self, field: &str) -> Result<()> {
        let texts = [
            ("os", &self.os),
            ("brand", &self.brand),
            ("browser_version", &self.browser_version),
            ("password_store", &self.password_store),
            ("capture_policy", &self.capture_policy),
        ];
        for (name, text) in texts {
            if text.len() > MAX_TEXT || !text.chars().all(|c| c.is_ascii_graphic()) {
                let message = format!("{field}.{name} has {} bytes; it needs at most {MAX_TEXT} visible ASCII characters", text.len());
                return Err(Error::field(format!("{field}.{name}"), message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_plain() {
        let good = Portability { os: "linux".to_owned(), browser_version: "156.0.8078.79".to_owned(), quiesced: true, ..Portability::default() };
        assert!(good.check("begin.portability").is_ok());
        let bad = Portability { brand: "x".repeat(65), ..Portability::default() };
        assert_eq!(bad.check("begin.portability").unwrap_err().field_name(), Some("begin.portability.brand"));
        let bad = Portability { password_store: "a b".to_owned(), ..Portability::default() };
        assert!(bad.check("p").is_err());
    }

    #[test]
    fn it_reads_back_from_json_also_when_parts_are_missing() {
        let read: Portability = serde_json::from_str(r#"{"os":"linux"}"#).unwrap();
        assert_eq!(read, Portability { os: "linux".to_owned(), ..Portability::default() });
    }
}
