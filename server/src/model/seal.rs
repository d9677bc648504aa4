//! Sealing: AES-256-GCM (NIST SP 800-38D) under keys that are derived (HKDF-SHA-256, RFC 5869) or wrapped by the key above them.
//!
//! ```text
//! master key ──wraps──► namespace key ──wraps──► lineage key ──derives──► key of one pack, storage state or record
//! ```
//! Every sealed text is bound to what it is and where it belongs by its associated data, so it opens nowhere else.

use std::fmt;

use ring::{aead, hkdf, hmac};

use super::error::{Error, Reason, Result};

/// Length of a nonce in bytes.
pub const NONCE: usize = 12;
/// Bytes that sealing adds to a text: the authentication tag.
pub const TAG: usize = 16;
/// First byte of a [`Secret::seal_box`].
const BOX_VERSION: u8 = 1;

/// A key of 256 bits. It is never printed, and compared by nobody.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A key of these bytes, which must be random or derived.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key of exactly 32 bytes; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for wrapping this key under another one.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose (`label`) and one thing (`context`). Different purposes or things give unrelated keys.
    #[must_use]
    pub fn derive(&self, label: &str, context: &[u8]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"cloakroom v1");
        let info = [label.as_bytes(), &[0], context];
        let mut out = [0; 32];
        // HKDF gives up to 255 × 32 bytes, so 32 never fail.
        let filled = salt.extract(&self.0).expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        debug_assert!(filled.is_ok(), "HKDF gives 32 bytes");
        Self(out)
    }

    /// HMAC-SHA-256 of `data` under this key.
    #[must_use]
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), data);
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Whether `tag` begins the HMAC-SHA-256 of `data`, compared in constant time. `tag` has 16 to 32 bytes.
    #[must_use]
    pub fn verify_mac(&self, data: &[u8], tag: &[u8]) -> bool {
        if !(16..=32).contains(&tag.len()) {
            return false;
        }
        let mine = self.mac(data);
        mine.iter().zip(tag).fold(0, |different, (a, b)| different | (a ^ b)) == 0
    }

    /// Seals `text` in place and appends the tag. A nonce must never be used twice with one key.
    ///
    /// # Errors
    /// `INTERNAL` when the text is longer than GCM allows (64 GiB).
    pub fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut Vec<u8>) -> Result<()> {
        self.seal_tail(nonce, aad, text, 0)
    }

    /// Seals what stands in `buffer` from `start` on, in place, and appends the tag; what stands before it stays as it is.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_tail(&self, nonce: [u8; NONCE], aad: &[u8], buffer: &mut Vec<u8>, start: usize) -> Result<()> {
        let text = buffer.get_mut(start..).unwrap_or_default();
        let tag = self
            .aead()?
            .seal_in_place_separate_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), text)
            .map_err(|_| Error::new(Reason::Internal, "a text is too long to be sealed"))?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what [`Self::seal`] made, in place; the tag is cut off.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when key, nonce, associated data or a single bit differ.
    pub fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut Vec<u8>) -> Result<()> {
        let length = self.open_slice(nonce, aad, sealed)?;
        sealed.truncate(length);
        Ok(())
    }

    /// Opens what [`Self::seal`] made, in place; answers how long the text at its beginning is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_slice(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Result<usize> {
        let opened = self.aead()?.open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), sealed);
        Ok(opened.map_err(|_| Error::new(Reason::DataCorrupt, "sealed data does not open"))?.len())
    }

    /// Seals a small text with a random nonce that travels with it: `version (1) | nonce (12) | sealed text | tag (16)`.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_box(&self, nonce: [u8; NONCE], aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = text.to_vec();
        self.seal(nonce, aad, &mut sealed)?;
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(BOX_VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`Self::seal_box`] made.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is too short, of another version, or does not open.
    pub fn open_box(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let corrupt = || Error::new(Reason::DataCorrupt, "a sealed box is damaged, or of an unknown version");
        let (&version, rest) = sealed.split_first().ok_or_else(corrupt)?;
        let (&nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or_else(corrupt)?;
        if version != BOX_VERSION {
            return Err(corrupt());
        }
        let mut text = rest.to_vec();
        self.open(nonce, aad, &mut text)?;
        Ok(text)
    }

    fn aead(&self) -> Result<aead::LessSafeKey> {
        aead::UnboundKey::new(&aead::AES_256_GCM, &self.0)
            .map(aead::LessSafeKey::new)
            .map_err(|_| Error::new(Reason::Internal, "AES-256-GCM refuses a key of 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_only_where_it_belongs() {
        let key = Secret::new([7; 32]);
        let sealed = key.seal_box([1; NONCE], b"session a", b"hello").unwrap();
        assert_eq!(key.open_box(b"session a", &sealed).unwrap(), b"hello");
        assert!(key.open_box(b"session b", &sealed).is_err());
        assert!(key.derive("x", b"").open_box(b"session a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open_box(b"session a", &bad).is_err(), "bit flipped at {at}");
            assert!(key.open_box(b"session a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn derived_keys_differ_by_label_and_context() {
        let key = Secret::new([7; 32]);
        let all = [key.derive("a", b"b"), key.derive("a", b"c"), key.derive("ab", b""), key.derive("a\0b", b"")];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a.expose() != b.expose()));
        }
    }

    #[test]
    fn a_mac_verifies_also_when_cut_to_16_bytes() {
        let key = Secret::new([9; 32]);
        let tag = key.mac(b"data");
        assert!(key.verify_mac(b"data", &tag) && key.verify_mac(b"data", &tag[..16]));
        assert!(!key.verify_mac(b"date", &tag) && !key.verify_mac(b"data", &tag[..8]));
    }
}
