//! The master key: where it comes from, and what is sealed directly under it.

use std::{
    fmt, fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        hex::{hex, unhex},
        seal::Secret,
    },
};

/// Most keys of one source: the current one and those before it.
const MAX_KEYS: usize = 16;
/// Longest text that can hold them, in bytes.
const MAX_TEXT: u64 = 16 * 1024;
/// What stands above the key in a file that was made here.
const HEADER: &str = "# Master key of Cloakroom. Whoever has it and the data can read every profile; without it nobody can.\n\
                      # Keep a copy in another place than the data. To rotate, put a new key above the old one.\n";

/// Where the master key comes from.
#[derive(Clone)]
pub enum KeySource {
    /// A file that is made, with a fresh key, when neither it nor any data exists yet: the embedded default.
    Default(PathBuf),
    /// A key that nobody keeps: for data that end with the daemon.
    Passing,
    /// A file that must exist.
    File(PathBuf),
    /// The text itself, such as the value of an environment variable.
    Value {
        /// What to call it in messages, such as the variable's name.
        name: String,
        /// The text, as it would stand in a file.
        text: String,
    },
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({})", self.name())
    }
}

impl KeySource {
    fn name(&self) -> String {
        match self {
            Self::Passing => "memory".to_owned(),
            Self::Default(path) | Self::File(path) => path.display().to_string(),
            Self::Value { name, .. } => name.clone(),
        }
    }
}

/// The master keys: the first seals, all open. Never printed.
#[derive(Clone)]
pub struct MasterKeys {
    source: String,
    keys: Vec<(String, Secret)>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|(id, _)| id.as_str()).collect();
        f.debug_struct("MasterKeys").field("source", &self.source).field("ids", &ids).finish_non_exhaustive()
    }
}

/// A text sealed under a master key, and which one.
#[derive(Clone, Debug)]
pub(super) struct UnderMaster {
    /// The master key's id.
    pub(super) master: String,
    /// The sealed box.
    pub(super) sealed: Vec<u8>,
}

impl MasterKeys {
    /// Reads keys from text: lines of 64 hexadecimal digits or of base 64, the current key first; empty lines and those that start with `#` are skipped.
    ///
    /// # Errors
    /// `KEY_UNAVAILABLE`, naming `source` and the line but never its text, when it holds no key, too many, or anything else.
    pub fn parse(source: &str, text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let secret = parse_key(line).ok_or_else(|| {
                let message = format!("line {} of {source} is no key: it needs 32 bytes as 64 hexadecimal digits or as base 64", at + 1);
                unavailable(message)
            })?;
            keys.push((key_id(&secret), secret));
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(unavailable(format!("{source} holds {} keys; it needs 1 to {MAX_KEYS}", keys.len())));
        }
        Ok(Self { source: source.to_owned(), keys })
    }

    /// Loads the keys. `fresh` says whether there is no data yet, which is when [`KeySource::Default`] may make a key; `None` if that is not known.
    ///
    /// # Errors
    /// `KEY_UNAVAILABLE`, naming the file and the remedy, when there is no usable key.
    pub fn load(source: &KeySource, fresh: Option<bool>) -> Result<Self> {
        match source {
            KeySource::Value { name, text } => Self::parse(name, text),
            KeySource::Passing => Self::parse("memory", &hex(&clock::random::<32>()?)),
            KeySource::File(path) => Self::read(path)?.ok_or_else(|| missing(path, fresh)),
            KeySource::Default(path) => match Self::read(path)? {
                Some(keys) => Ok(keys),
                None if fresh == Some(true) => Self::create(path),
                None => Err(missing(path, fresh)),
            },
        }
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path, error)),
        };
        if metadata.len() > MAX_TEXT {
            let message = format!("{} has {} bytes; a key file has at most {MAX_TEXT}", path.display(), metadata.len());
            return Err(unavailable(message));
        }
        if metadata.permissions().mode() & 0o007 != 0 {
            tracing::warn!(file = %path.display(), "everybody on this machine can read the master key: chmod 600 it");
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        Self::parse(&path.display().to_string(), &text).map(Some)
    }

    /// Makes a key file: written aside, then renamed, so that no crash leaves half a key. The caller holds the lock of the data directory.
    fn create(path: &Path) -> Result<Self> {
        let key: [u8; 32] = clock::random()?;
        let text = format!("{HEADER}{}\n", hex(&key));
        write_private(path, text.as_bytes()).map_err(|error| {
            let message = format!("the master key file {} cannot be made: {error}", path.display());
            unavailable(message)
        })?;
        tracing::info!(file = %path.display(), "made a master key; keep a copy of it in another place than the data");
        Self::parse(&path.display().to_string(), &text)
    }

    /// A secret of its own for one purpose and one thing, from the current key.
    pub(super) fn derive(&self, purpose: &str, of: &[u8]) -> Result<Secret> {
        Ok(self.current()?.1.derive(purpose, of))
    }

    fn current(&self) -> Result<&(String, Secret)> {
        self.keys.first().ok_or_else(|| unavailable(format!("{} holds no key", self.source)))
    }

    pub(super) fn seal(&self, aad: &[u8], text: &[u8]) -> Result<UnderMaster> {
        let (id, secret) = self.current()?;
        Ok(UnderMaster { master: id.clone(), sealed: secret.seal_box(clock::random()?, aad, text)? })
    }

    pub(super) fn open(&self, aad: &[u8], boxed: &UnderMaster) -> Result<Vec<u8>> {
        if let Some((_, secret)) = self.keys.iter().find(|(id, _)| *id == boxed.master) {
            return secret.open_box(aad, &boxed.sealed);
        }
        let message = format!(
            "the data is sealed under the master key {}, but {} holds another one: give the key that the data was made with",
            boxed.master, self.source
        );
        Err(unavailable(message).with("master_key", &boxed.master))
    }
}

/// Names a key without giving it away: 16 hexadecimal digits derived from it.
fn key_id(secret: &Secret) -> String {
    hex(&secret.derive("master key id", b"").expose()[..8])
}

fn parse_key(line: &str) -> Option<Secret> {
    Secret::from_slice(&unhex(line).filter(|bytes| bytes.len() == 32).or_else(|| STANDARD.decode(line).ok())?)
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(directory)?.sync_all()
}

fn unavailable(message: String) -> Error {
    Error::new(Reason::KeyUnavailable, message)
}

fn missing(path: &Path, fresh: Option<bool>) -> Error {
    let make = "make one with `openssl rand -hex 32`, mode 0600, the same on every replica, and keep a copy of it elsewhere";
    let (why, remedy) = match fresh {
        Some(true) => (", and there is no data yet", make.to_owned()),
        Some(false) => (", but the data was sealed with one", "put your copy of it there".to_owned()),
        None => ("", format!("put your copy of it there or, if there is no data yet, {make}")),
    };
    unavailable(format!("the master key file {} does not exist{why}: {remedy}", path.display()))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    unavailable(format!("the master key file {} cannot be read: {error}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_digits_or_base_64_and_the_first_seals() {
        let (old, new) = ("ab".repeat(32), STANDARD.encode([7; 32]));
        let both = MasterKeys::parse("x", &format!("# comment\n\n {new} \n{old}\n")).unwrap();
        let only_old = MasterKeys::parse("x", &old.to_uppercase()).unwrap();
        let sealed = only_old.seal(b"a", b"text").unwrap();
        assert_eq!(both.open(b"a", &sealed).unwrap(), b"text");
        let error = only_old.open(b"a", &both.seal(b"a", b"text").unwrap()).unwrap_err();
        assert_eq!(error.reason(), Reason::KeyUnavailable);
        assert_eq!(both.open(b"b", &sealed).unwrap_err().reason(), Reason::DataCorrupt);
    }

    #[test]
    fn a_bad_key_is_named_by_its_line_and_never_shown() {
        for text in [
            "",
            "# nothing\n",
            "secret!",
            &"g".repeat(64),
            &"é".repeat(32),
            &STANDARD.encode([1; 31]),
            &"+f".repeat(32),
            &format!("{}\n", "ab".repeat(32)).repeat(17),
        ] {
            let error = MasterKeys::parse("the-file", text).unwrap_err();
            assert_eq!(error.reason(), Reason::KeyUnavailable);
            assert!(error.message().contains("the-file") && !error.message().contains("secret!"), "{error}");
        }
    }

    #[test]
    fn a_key_file_is_made_only_for_fresh_data_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys").join("master.key");
        let source = KeySource::Default(path.clone());
        let error = MasterKeys::load(&source, Some(false)).unwrap_err();
        assert!(error.reason() == Reason::KeyUnavailable && error.message().contains("master.key"), "{error}");
        // Only the default makes a key; what is said of the data is what is known of it.
        for (fresh, words) in
            [(Some(true), "there is no data yet: make one"), (Some(false), "the data was sealed with one: put your copy"), (None, "if there is no data yet")]
        {
            let error = MasterKeys::load(&KeySource::File(path.clone()), fresh).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
        let made = MasterKeys::load(&source, Some(true)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with('#'));
        let again = MasterKeys::load(&source, Some(false)).unwrap();
        assert_eq!(again.open(b"a", &made.seal(b"a", b"x").unwrap()).unwrap(), b"x");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn nothing_prints_a_key() {
        let text = "ab".repeat(32);
        let source = KeySource::Value { name: "CLOAKROOM_MASTER_KEY".to_owned(), text: text.clone() };
        let shown = format!("{source:?} {:?}", MasterKeys::load(&source, None).unwrap());
        assert!(!shown.contains(&text) && shown.contains("CLOAKROOM_MASTER_KEY"), "{shown}");
    }
}
