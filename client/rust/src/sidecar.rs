//! What a directory held when it was loaded or saved, in a file beside it that clients in every language share: `client/vectors/README.md` describes it.

use std::{
    borrow::Cow,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cloakroom_api::v1;
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    error::{Error, Result},
    hex::{hex, unhex},
    tree::{DIGEST, Entry, Kind, Tree},
};

const VERSION: u32 = 1;
/// About what the text of an entry has beside its path and its leaves.
const FIXED: usize = 320;

/// What a directory held, and of which session.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    /// The namespace that the client asks for; empty for the caller's own.
    pub(crate) namespace: String,
    pub(crate) session_id: String,
    pub(crate) snapshot_id: String,
    /// Where the profile comes from, as the snapshot says.
    pub(crate) origin: Origin,
    /// Whether the snapshot carries a storage state.
    pub(crate) storage_state: bool,
    /// Exactly the snapshot's entries.
    pub(crate) tree: Tree,
}

/// What stays true of a profile when a save cannot find it out anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Origin {
    #[serde(skip_serializing_if = "String::is_empty")]
    os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    brand: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    browser_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password_store: String,
}

impl Origin {
    /// What a snapshot says, or a directory.
    pub(crate) fn of(portability: Option<&v1::Portability>) -> Self {
        let v1::Portability { os, brand, browser_version, password_store, .. } = portability.cloned().unwrap_or_default();
        Self { os, brand, browser_version, password_store }
    }

    /// Fills in what is not known anew.
    pub(crate) fn hand_on(&self, to: &mut v1::Portability) {
        let pairs = [
            (&self.os, &mut to.os),
            (&self.brand, &mut to.brand),
            (&self.browser_version, &mut to.browser_version),
            (&self.password_store, &mut to.password_store),
        ];
        for (known, field) in pairs.into_iter().filter(|(_, field)| field.is_empty()) {
            field.clone_from(known);
        }
    }
}

#[derive(Serialize)]
struct Head<'a> {
    version: u32,
    namespace: &'a str,
    session_id: &'a str,
    snapshot_id: &'a str,
    manifest_root: &'a str,
    origin: &'a Origin,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    storage_state: bool,
}

#[derive(Deserialize)]
struct Body<'a> {
    version: u32,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    snapshot_id: Cow<'a, str>,
    #[serde(borrow)]
    manifest_root: Cow<'a, str>,
    #[serde(default)]
    origin: Origin,
    #[serde(default)]
    storage_state: bool,
    #[serde(borrow)]
    entries: Vec<Item<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ItemKind {
    File,
    Directory,
    Link,
}

#[derive(Deserialize)]
struct Item<'a> {
    kind: ItemKind,
    #[serde(borrow)]
    path: Cow<'a, str>,
    mode: u32,
    #[serde(borrow)]
    mtime_ns: Cow<'a, str>,
    size: u64,
    #[serde(borrow, default)]
    root: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    leaves: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stat: Cow<'a, str>,
}

/// Where the sidecar of a directory is.
pub(crate) fn path(directory: &Path) -> PathBuf {
    let mut name: OsString = directory.as_os_str().to_owned();
    name.push(".cloakroom.json");
    name.into()
}

impl Sidecar {
    /// The sidecar of a directory, if there is a sound one, of whichever session.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        Self::parse(&fs::read(path(directory)).ok()?)
    }

    /// Whether it is of that session.
    pub(crate) fn is_of(&self, namespace: &str, session_id: &str) -> bool {
        (self.namespace.as_str(), self.session_id.as_str()) == (namespace, session_id)
    }

    /// What a sidecar says, if it is sound.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let body: Body<'_> = serde_json::from_slice(text).ok().filter(|body: &Body<'_>| body.version == VERSION)?;
        let entries: Option<Vec<_>> = body.entries.into_iter().map(|item| item.entry().map(Arc::new)).collect();
        let tree = Tree::new(entries?);
        (hex(&tree.manifest_root()) == body.manifest_root).then(|| Self {
            namespace: body.namespace.into_owned(),
            session_id: body.session_id.into_owned(),
            snapshot_id: body.snapshot_id.into_owned(),
            origin: body.origin,
            storage_state: body.storage_state,
            tree,
        })
    }

    /// Puts the sidecar beside its directory, whole or not at all.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let target = path(directory);
        let aside = target.with_extension(format!("{}.tmp", clock::random_id()));
        self.write_new(&aside).and_then(|()| fs::rename(&aside, &target)).map_err(|error| {
            // Best effort: what cannot be written often cannot be removed either, and the first error tells more.
            let _ = fs::remove_file(&aside);
            Error::file(&target, error)
        })
    }

    /// Writes the sidecar to a file that is not there yet.
    pub(crate) fn write_new(&self, at: &Path) -> io::Result<()> {
        let text = self.text()?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(at)?.write_all(&text)
    }

    /// The text of its file, written by hand: most of it are digests, which need no look for characters to be escaped.
    pub(crate) fn text(&self) -> io::Result<Vec<u8>> {
        let head = Head {
            version: VERSION,
            namespace: &self.namespace,
            session_id: &self.session_id,
            snapshot_id: &self.snapshot_id,
            manifest_root: &hex(&self.tree.manifest_root()),
            origin: &self.origin,
            storage_state: self.storage_state,
        };
        let entries = self.tree.entries();
        let size = entries.iter().map(|entry| FIXED + entry.path.len() + entry.target.len() + entry.leaves.len().div_ceil(3) * 4).sum::<usize>();
        let mut text = String::with_capacity(size + FIXED);
        let head = serde_json::to_string(&head)?;
        text.push_str(head.strip_suffix('}').unwrap_or(&head));
        text.push_str(",\"entries\":[");
        for (number, entry) in entries.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "," });
            item(entry, &mut text)?;
        }
        text.push_str("]}");
        Ok(text.into_bytes())
    }
}

/// Appends one entry.
fn item(entry: &Entry, text: &mut String) -> io::Result<()> {
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
    };
    let path = serde_json::to_string(&entry.path)?;
    let failed = io::Error::other;
    write!(text, "{{\"kind\":\"{kind}\",\"path\":{path},\"mode\":{},\"mtime_ns\":\"{}\",\"size\":{}", entry.mode, entry.mtime_ns, entry.size)
        .map_err(failed)?;
    if entry.kind == Kind::File {
        write!(text, ",\"root\":\"{}\",\"leaves\":\"", hex(&entry.root)).map_err(failed)?;
        STANDARD.encode_string(&entry.leaves, text);
        text.push('"');
    }
    if entry.kind == Kind::Link {
        write!(text, ",\"target\":{}", serde_json::to_string(&entry.target)?).map_err(failed)?;
    }
    match entry.stat {
        Some(stat) => write!(text, ",\"stat\":\"{stat}\"}}").map_err(failed),
        None => text.write_str(",\"stat\":\"\"}").map_err(failed),
    }
}

/// Removes the sidecar of a directory; gone already is fine.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    let target = path(directory);
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(&target, error)),
        _ => Ok(()),
    }
}

impl Item<'_> {
    fn entry(self) -> Option<Entry> {
        let (path, mtime_ns) = (self.path.into_owned(), self.mtime_ns.parse().ok()?);
        let entry = match self.kind {
            ItemKind::Directory => Entry::directory(path, self.mode, mtime_ns),
            ItemKind::Link => Entry { mode: self.mode, mtime_ns, ..Entry::link(path, self.target?.into_owned()) },
            ItemKind::File => {
                let entry = Entry::file(path, self.mode, mtime_ns, self.size, STANDARD.decode(self.leaves?.as_bytes()).ok()?);
                let complete = entry.leaves.len() == entry.leaf_count().checked_mul(DIGEST)? && Some(entry.root.as_slice()) == unhex(&self.root?).as_deref();
                complete.then_some(entry)?
            }
        };
        let stat = if self.stat.is_empty() { None } else { Some(self.stat.parse().ok()?) };
        (entry.size == self.size).then_some(Entry { stat, ..entry })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{
        tree::Stat,
        vectors::{tree_of, vectors},
    };

    fn origin() -> Origin {
        Origin::of(Some(&v1::Portability { os: "linux".to_owned(), brand: "chromium".to_owned(), ..v1::Portability::default() }))
    }

    fn sidecar(tree: Tree) -> Sidecar {
        Sidecar { namespace: "n".to_owned(), session_id: "s".to_owned(), snapshot_id: "ab".repeat(16), origin: origin(), storage_state: false, tree }
    }

    #[test]
    fn what_is_written_is_read_and_only_for_its_session() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("p");
        for case in vectors("manifests")["trees"].as_array().unwrap() {
            let stat = Stat::of(&fs::metadata(home.path()).unwrap());
            let entries = tree_of(&case["tree"]).entries().iter().map(|entry| Arc::new(Entry { stat: Some(stat), ..Entry::clone(entry) })).collect();
            sidecar(Tree::new(entries)).write(&directory).unwrap();
            let read = Sidecar::read(&directory).unwrap();
            assert_eq!(read.snapshot_id, "ab".repeat(16));
            assert!(read.tree.entries().iter().all(|entry| entry.stat == Some(stat)));
            assert_eq!(hex(&read.tree.manifest_root()), case["manifest_root"]);
            assert_eq!(read.origin, origin());
            assert!(read.is_of("n", "s") && !read.is_of("", "s") && !read.is_of("n", "t"));
        }
        let beside: Vec<_> = fs::read_dir(home.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert_eq!(beside, ["p.cloakroom.json"]);
        assert_eq!(fs::metadata(path(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
        remove(&directory).unwrap();
        remove(&directory).unwrap();
        assert!(Sidecar::read(&directory).is_none());
    }

    #[test]
    fn a_damaged_one_counts_as_none() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("p");
        let tree = &vectors("manifests")["trees"][2]["tree"];
        sidecar(tree_of(tree)).write(&directory).unwrap();
        let whole = fs::read_to_string(path(&directory)).unwrap();
        assert!(whole.contains("\"size\":20480,\"root\":\""));
        let damages = [
            ("\"version\":1", "\"version\":2"),
            ("20480", "20481"),
            ("\"mode\":384", "\"mode\":385"),
            ("\"kind\":\"file\"", "\"kind\":\"pipe\""),
            ("\"leaves\":\"", "\"leaves\":\"AAAA"),
        ];
        for (from, to) in damages {
            assert!(whole.contains(from), "{from}");
            fs::write(path(&directory), whole.replacen(from, to, 1)).unwrap();
            assert!(Sidecar::read(&directory).is_none(), "{from} → {to}");
        }
        for at in (0..whole.len()).step_by(97) {
            fs::write(path(&directory), &whole[..at]).unwrap();
            assert!(Sidecar::read(&directory).is_none(), "cut at {at}");
        }
    }
}
