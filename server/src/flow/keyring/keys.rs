//! The keys of a namespace and of a lineage, what they seal, and how they are kept: as JSON, each key in a sealed box under the key above it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::master::{MasterKeys, UnderMaster};
use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        hex::hex,
        id::{LineageId, Namespace, SessionId},
        seal::Secret,
    },
};

/// The keys of one namespace.
pub struct NamespaceKeys {
    namespace: Namespace,
    version: u32,
    key: Secret,
    email: Secret,
    tokens: Secret,
}

impl fmt::Debug for NamespaceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceKeys").field("namespace", &self.namespace).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The key of one lineage.
#[derive(Clone)]
pub struct LineageKey {
    namespace: Namespace,
    lineage: LineageId,
    version: u32,
    key: Secret,
    /// Its record as stored, for the mirror in the bucket.
    record: Bytes,
}

impl fmt::Debug for LineageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineageKey").field("lineage", &self.lineage).field("version", &self.version).finish_non_exhaustive()
    }
}

/// How a namespace's keys are stored, in the metadata and in the bucket alike.
#[derive(Serialize, Deserialize)]
struct NamespaceRecord {
    version: u32,
    /// Id of the master key that the boxes are sealed under.
    master: String,
    key: String,
    /// Left alone when the key is rotated, so that indices by e-mail address stay.
    email: String,
    tokens: String,
}

/// How a lineage's key is stored, in the metadata and in the bucket alike.
#[derive(Serialize, Deserialize)]
struct LineageRecord {
    version: u32,
    /// Version of the namespace key that the box is sealed under.
    namespace_version: u32,
    key: String,
}

/// How the bucket shows which master key its data needs.
#[derive(Serialize, Deserialize)]
struct CheckRecord {
    master: String,
    check: String,
}

const CHECK: &[u8] = b"cloakroom";

impl NamespaceKeys {
    /// Fresh keys. What seals is random; what addresses are found by and tokens are signed with follows from the master key of this moment, so that a reader of a namespace
    /// that has no keys yet knows them without writing any.
    pub(super) fn generate(namespace: &Namespace, master: &MasterKeys) -> Result<Self> {
        let derived = |purpose| master.derive("namespace", &namespace_aad(namespace, purpose));
        let (email, tokens) = (derived("email")?, derived("tokens")?);
        Ok(Self { namespace: namespace.clone(), version: 1, key: Secret::new(clock::random()?), email, tokens })
    }

    /// Whether addresses are found, and tokens verified, by both alike.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let probe = |keys: &Self| (keys.email.mac(b"agrees"), keys.tokens.mac(b"agrees"));
        probe(self) == probe(other)
    }

    pub(super) fn wrap(&self, master: &MasterKeys) -> Result<Bytes> {
        let seal = |purpose, secret: &Secret| master.seal(&namespace_aad(&self.namespace, purpose), secret.expose());
        let (key, email, tokens) = (seal("key", &self.key)?, seal("email", &self.email)?, seal("tokens", &self.tokens)?);
        let text = |boxed: UnderMaster| STANDARD.encode(boxed.sealed);
        let record = NamespaceRecord { version: self.version, master: key.master.clone(), key: text(key), email: text(email), tokens: text(tokens) };
        to_json(&record)
    }

    pub(super) fn unwrap(namespace: &Namespace, master: &MasterKeys, record: &[u8]) -> Result<Self> {
        let record: NamespaceRecord = from_json("namespace", record)?;
        let open = |purpose, text: &str| {
            let boxed = UnderMaster { master: record.master.clone(), sealed: from_text(text)? };
            master.open(&namespace_aad(namespace, purpose), &boxed).and_then(|bytes| to_secret(&bytes))
        };
        let (key, email, tokens) = (open("key", &record.key)?, open("email", &record.email)?, open("tokens", &record.tokens)?);
        Ok(Self { namespace: namespace.clone(), version: record.version, key, email, tokens })
    }

    /// What an e-mail address is found by: HMAC-SHA-256 of the normalised address under a secret that key rotation leaves alone, in hexadecimal digits.
    #[must_use]
    pub fn email_hmac(&self, normalised: &str) -> String {
        hex(&self.email.mac(normalised.as_bytes()))
    }

    /// Seals a session's e-mail address, as base 64.
    ///
    /// # Errors
    /// `INTERNAL` when there are no random numbers.
    pub fn seal_email(&self, session: &SessionId, email: &str) -> Result<String> {
        let sealed = self.key.derive("email", b"").seal_box(clock::random()?, &self.aad("email", session), email.as_bytes())?;
        Ok(STANDARD.encode(sealed))
    }

    /// Opens what [`Self::seal_email`] made for the same session.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it does not open.
    pub fn open_email(&self, session: &SessionId, sealed: &str) -> Result<String> {
        let text = self.key.derive("email", b"").open_box(&self.aad("email", session), &from_text(sealed)?)?;
        String::from_utf8(text).map_err(|_| corrupt("an e-mail address"))
    }

    /// HMAC-SHA-256 of a token that a client carries back, such as a page token. `purpose` keeps one kind of token from passing as another.
    #[must_use]
    pub fn token_mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        self.tokens.derive(purpose, b"").mac(data)
    }

    /// Whether `tag`, 16 to 32 bytes, begins [`Self::token_mac`] of the same purpose and data; in constant time.
    #[must_use]
    pub fn verify_token(&self, purpose: &str, data: &[u8], tag: &[u8]) -> bool {
        self.tokens.derive(purpose, b"").verify_mac(data, tag)
    }

    fn aad(&self, purpose: &str, session: &SessionId) -> Vec<u8> {
        [purpose, "\0", self.namespace.as_str(), "\0", session.as_str()].concat().into_bytes()
    }
}

impl LineageKey {
    pub(super) fn generate(namespace: &NamespaceKeys, lineage: LineageId) -> Result<Self> {
        let (key, version) = (Secret::new(clock::random()?), 1);
        let aad = lineage_aad(&namespace.namespace, lineage, version);
        let sealed = namespace.key.seal_box(clock::random()?, &aad, key.expose())?;
        let record = to_json(&LineageRecord { version, namespace_version: namespace.version, key: STANDARD.encode(sealed) })?;
        Ok(Self { namespace: namespace.namespace.clone(), lineage, version, key, record })
    }

    pub(super) fn unwrap(namespace: &NamespaceKeys, lineage: LineageId, record: Bytes) -> Result<Self> {
        let parsed: LineageRecord = from_json("lineage", &record)?;
        if parsed.namespace_version != namespace.version {
            let message =
                format!("the key of lineage {lineage} is sealed under version {} of the namespace's key, not {}", parsed.namespace_version, namespace.version);
            return Err(Error::new(Reason::KeyUnavailable, message));
        }
        let aad = lineage_aad(&namespace.namespace, lineage, parsed.version);
        let key = to_secret(&namespace.key.open_box(&aad, &from_text(&parsed.key)?)?)?;
        Ok(Self { namespace: namespace.namespace.clone(), lineage, version: parsed.version, key, record })
    }

    /// The key itself, to derive the keys of packs from.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.key
    }

    /// Its version; it grows with every rotation.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The record that keeps it, sealed under the namespace's key.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// Seals a session's storage state.
    ///
    /// # Errors
    /// `INTERNAL` when there are no random numbers.
    pub fn seal_state(&self, session: &SessionId, state: &[u8]) -> Result<Vec<u8>> {
        self.key.derive("storage state", b"").seal_box(clock::random()?, &self.state_aad(session), state)
    }

    /// Opens what [`Self::seal_state`] made for the same session.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it does not open.
    pub fn open_state(&self, session: &SessionId, sealed: &[u8]) -> Result<Vec<u8>> {
        self.key.derive("storage state", b"").open_box(&self.state_aad(session), sealed)
    }

    fn state_aad(&self, session: &SessionId) -> Vec<u8> {
        ["storage state\0", self.namespace.as_str(), "\0", session.as_str()].concat().into_bytes()
    }
}

/// A text that opens only under the right master key.
pub(super) fn make_check(master: &MasterKeys) -> Result<Bytes> {
    let boxed = master.seal(b"check", CHECK)?;
    to_json(&CheckRecord { master: boxed.master, check: STANDARD.encode(boxed.sealed) })
}

/// Whether [`make_check`]'s text opens.
pub(super) fn open_check(master: &MasterKeys, record: &[u8]) -> Result<()> {
    let record: CheckRecord = from_json("check", record)?;
    let opened = master.open(b"check", &UnderMaster { master: record.master, sealed: from_text(&record.check)? })?;
    if opened == CHECK { Ok(()) } else { Err(corrupt("the key check")) }
}

fn namespace_aad(namespace: &Namespace, purpose: &str) -> Vec<u8> {
    ["namespace\0", namespace.as_str(), "\0", purpose].concat().into_bytes()
}

fn lineage_aad(namespace: &Namespace, lineage: LineageId, version: u32) -> Vec<u8> {
    format!("lineage\0{namespace}\0{lineage}\0{version}").into_bytes()
}

fn to_json(record: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(record).map_err(|error| Error::new(Reason::Internal, "a key record cannot be written").with_source(error))?;
    Ok(bytes.into())
}

fn from_json<'a, T: Deserialize<'a>>(what: &str, record: &'a [u8]) -> Result<T> {
    serde_json::from_slice(record).map_err(|error| corrupt(&format!("the key record of a {what}")).with_source(error))
}

fn from_text(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| corrupt("a sealed text").with_source(error))
}

fn to_secret(bytes: &[u8]) -> Result<Secret> {
    Secret::from_slice(bytes).ok_or_else(|| corrupt("a key"))
}

fn corrupt(what: &str) -> Error {
    Error::new(Reason::DataCorrupt, format!("{what} is damaged"))
}
