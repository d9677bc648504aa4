//! Who may call: bearer tokens, kept as hashes in a file that is read again when it changes.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ring::digest;
use tokio_util::sync::CancellationToken;

use super::parse::Caller;
use crate::model::{
    error::{Error, Reason, Result},
    hex::unhex,
    id::Namespace,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The key of the configuration that names the file.
const KEY: &str = "auth.tokens_file";
/// Longest token, in bytes.
const MAX_TOKEN: usize = 4096;

/// What a caller may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read, also logins: storage states and profiles.
    Reader,
    /// Create, change, save, delete.
    Worker,
    /// Operate the daemon, in every namespace.
    Operator,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "reader" => Some(Self::Reader),
            "worker" => Some(Self::Worker),
            "operator" => Some(Self::Operator),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Worker => "worker",
            Self::Operator => "operator",
        })
    }
}

pub(crate) struct Token {
    hash: [u8; 32],
    caller: Caller,
}

/// The tokens of a file.
pub struct Tokens {
    path: PathBuf,
    known: RwLock<Arc<[Token]>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it cannot be read, has no token or a line that is none; the line is named, never shown.
    pub fn open(path: &Path) -> Result<Self> {
        let known = read(path)?;
        Ok(Self { path: path.to_owned(), known: RwLock::new(known) })
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it is nobody's.
    pub fn caller(&self, token: &str) -> Result<Caller> {
        let unknown = || Error::new(Reason::Unauthenticated, "the token is not one of this daemon's; ask its operator for one");
        if token.len() > MAX_TOKEN {
            return Err(unknown());
        }
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        // All are compared, each to its last byte: the time taken says nothing about which one, or how much of it, was right.
        let found = known.iter().filter(|token| same(&token.hash, hash.as_ref())).fold(None, |found, token| found.or(Some(token)));
        found.map(|token| token.caller.clone()).ok_or_else(unknown)
    }

    /// Reads the file again whenever it changes, until `stop`. A file that is missing or wrong changes nothing: those who could call still can.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let stamp = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.modified().ok(), meta.len()));
        let mut seen = None;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let now = stamp(&self.path);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.path) {
                Ok(tokens) => {
                    tracing::info!(tokens = tokens.len(), "the tokens file was read");
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = tokens;
                }
                Err(error) => tracing::error!(error = %error, "the tokens file is not usable; the tokens read before stay valid"),
            }
        }
    }
}

/// Compares in constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn read(path: &Path) -> Result<Arc<[Token]>> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Error::field(KEY, format!("the tokens file {shown} cannot be read ({error})")))?;
    read_text(&shown, &text)
}

/// Reads the text of the file that messages call `shown`.
pub(crate) fn read_text(shown: &str, text: &str) -> Result<Arc<[Token]>> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let token = parse(line).map_err(|what| {
            let message = format!("{shown}:{}: {what}; a line is `name namespace role sha256`", number + 1);
            Error::field(KEY, message)
        })?;
        if tokens.iter().any(|other| same(&other.hash, &token.hash)) {
            return Err(Error::field(KEY, format!("{shown}:{}: the same token stands on an earlier line", number + 1)));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(Error::field(KEY, format!("the tokens file {shown} has no token, so nobody could call; add a line `name namespace role sha256`")));
    }
    Ok(tokens.into())
}

fn parse(line: &str) -> Result<Token, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let &[name, namespace, role, hash] = words.as_slice() else {
        return Err(format!("it has {} words instead of 4", words.len()));
    };
    let namespace = Namespace::parse("namespace", namespace).map_err(|error| error.to_string())?;
    let role = Role::parse(role).ok_or("the role is none of reader, worker, operator")?;
    let hash =
        unhex(hash).and_then(|hash| hash.try_into().ok()).ok_or("the hash is not 64 hexadecimal digits (make it with `printf %s \"$TOKEN\" | sha256sum`)")?;
    Ok(Token { hash, caller: Caller { name: name.into(), namespace, role } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, namespace: &str, role: &str, token: &str) -> String {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        format!("{name} {namespace} {role} {}\n", crate::model::hex::hex(hash.as_ref()))
    }

    fn tokens(text: &str) -> Result<Tokens> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, text).unwrap();
        Tokens::open(&path)
    }

    #[test]
    fn a_token_names_its_caller() {
        let tokens = tokens(&format!("# who\n\n{}{}", line("ann", "team-a", "reader", "s3cret"), line("bob", "team-b", "operator", "other"))).unwrap();
        let ann = tokens.caller("s3cret").unwrap();
        assert_eq!((&*ann.name, ann.namespace.as_str(), ann.role), ("ann", "team-a", Role::Reader));
        assert_eq!(tokens.caller("other").unwrap().role, Role::Operator);
        for wrong in ["", "s3cre", "s3cret ", "S3CRET", &"x".repeat(MAX_TOKEN + 1)] {
            assert_eq!(tokens.caller(wrong).unwrap_err().reason(), Reason::Unauthenticated);
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let good = line("ann", "default", "worker", "t");
        for (text, complaint) in [
            (String::new(), "has no token"),
            ("# only a comment\n".to_owned(), "has no token"),
            (format!("{good}ann default worker"), ":2: it has 3 words instead of 4"),
            (good.replace("worker", "admin"), ":1: the role is none of"),
            (good.replace("default", "No!"), ":1: namespace has a forbidden character"),
            ("ann default worker s3cretplain".to_owned(), ":1: the hash is not 64 hexadecimal digits"),
            (format!("{good}{good}"), ":2: the same token"),
        ] {
            let error = tokens(&text).unwrap_err();
            assert!(error.message().contains(complaint), "{error}");
            assert!(!error.message().contains("s3cretplain"));
        }
        let error = tokens("ann -s3cretplain worker default\n").unwrap_err();
        assert!(!error.to_string().contains("s3cretplain"), "a token in the namespace's place is not shown: {error}");
        assert!(Tokens::open(Path::new("/nowhere/tokens")).unwrap_err().message().contains("/nowhere/tokens cannot be read"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, line("ann", "default", "worker", "one")).unwrap();
        let tokens = Arc::new(Tokens::open(&path).unwrap());
        let tasks = crate::flow::tasks::Tasks::new();
        tasks.spawn(Arc::clone(&tokens).follow(tasks.stopping()));
        fs::write(&path, line("ann", "default", "worker", "two") + &line("eve", "default", "reader", "three")).unwrap();
        tokio::time::sleep(3 * LOOK).await;
        assert!(tokens.caller("one").is_err() && tokens.caller("two").is_ok() && tokens.caller("three").is_ok());
        fs::write(&path, "broken").unwrap();
        tokio::time::sleep(3 * LOOK).await;
        assert!(tokens.caller("two").is_ok());
        fs::remove_file(&path).unwrap();
        tokio::time::sleep(3 * LOOK).await;
        assert!(tokens.caller("two").is_ok());
        assert!(tasks.stop(LOOK).await);
    }
}
