//! A load into the place of what is there already: one call, and nothing on the disk is touched.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cloakroom_api::v1::{self, load_profile_response::Message};
use tonic::{Status, Streaming};

use crate::{
    capture::{Capture, Policy},
    connection::Client,
    error::{Error, Result},
    former::{Found, examine},
    load::{LoadOptions, Loaded},
    parts::Base,
    profiles::Loader,
    progress::{Counter, STALL},
    sidecar::{self, Sidecar},
    system::blocking,
    tree::{Kind, Stat},
};

/// What a load found in its place.
pub(crate) enum Current {
    /// Exactly what is wanted.
    Is(Box<Loaded>),
    /// Another snapshot, or more than the wanted one; the load can go on with what was asked for already.
    Other(Option<Box<Opened>>),
    /// What is no snapshot any more: nothing can be taken from it.
    Changed,
}

/// A load that was asked for and begins with its first message.
pub(crate) struct Opened {
    /// What the daemon was told is here.
    had: Had,
    pub(crate) first: v1::LoadProfileResponse,
    pub(crate) stream: Streaming<v1::LoadProfileResponse>,
}

/// A directory as its sidecar says.
#[derive(Clone, Debug)]
pub(crate) struct Had {
    base: Arc<Base>,
    /// How the system described the sidecar before it was read.
    note: Stat,
}

impl Opened {
    pub(crate) fn had(&self) -> Had {
        self.had.clone()
    }
}

impl Had {
    /// The same still, if no load or save has ended there since: each puts another sidecar into its place.
    pub(crate) fn still(self) -> Option<Arc<Base>> {
        let now = sidecar::path(&self.base.directory).symlink_metadata().ok()?;
        (Stat::of(&now) == self.note).then_some(self.base)
    }

    pub(crate) fn into_base(self) -> Arc<Base> {
        self.base
    }

    pub(crate) fn is(&self, base: Option<&Arc<Base>>) -> bool {
        base.is_some_and(|base| Arc::ptr_eq(base, &self.base))
    }
}

/// What the directory is, compared with its sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Clean,
    Intact,
    Changed,
}

impl Client {
    /// Asks for a load into the place of `target`, with its sidecar as what is there. With `beside`, what does not travel may be there too.
    pub(crate) async fn current(&self, session_id: &str, target: &Path, options: &LoadOptions, beside: bool) -> Result<Current> {
        let (namespace, session, at) = (self.namespace.to_string(), session_id.to_owned(), target.to_owned());
        let Some(had) = blocking(move || Ok(known(at, &namespace, &session))).await? else { return Ok(Current::Other(None)) };
        let base = Arc::clone(&had.base);
        let request = self.load_request(session_id, options, Some(&base));
        let mut attempts = self.attempts_of_a_stream();
        let opened = loop {
            match self.open(&request, &had).await {
                Ok(opened) => break opened,
                Err(status) => attempts.again(&status).await?,
            }
        };
        let Some(Message::Begin(begin)) = opened.first.message.clone() else { return Ok(Current::Other(Some(Box::new(opened)))) };
        let snapshot = begin.snapshot.as_ref().filter(|snapshot| snapshot.id == base.snapshot_id && begin.base_snapshot_id == base.snapshot_id);
        let Some(snapshot) = snapshot.cloned() else { return Ok(Current::Other(Some(Box::new(opened)))) };
        let policy = beside.then(|| snapshot.portability.as_ref().map_or("", |from| &from.capture_policy).parse().unwrap_or(Policy::Full));
        let looked_at = Arc::clone(&base);
        match blocking(move || standing(&looked_at, policy)).await? {
            Standing::Changed => Ok(Current::Changed),
            Standing::Intact => Ok(Current::Other(Some(Box::new(opened)))),
            Standing::Clean => {
                let rest = self.rest(opened, base).await;
                let is = rest.map(|state| Loaded {
                    directory: target.to_owned(),
                    snapshot,
                    base_snapshot_id: begin.base_snapshot_id,
                    content_bytes: begin.content_bytes,
                    storage_state: Some(state).filter(|state| !state.is_empty()),
                });
                if is.is_some() {
                    Counter::new(options.progress.clone()).add(0, 0);
                }
                Ok(is.map_or(Current::Other(None), |is| Current::Is(Box::new(is))))
            }
        }
    }

    async fn open(&self, request: &v1::LoadProfileRequest, had: &Had) -> Result<Opened, Status> {
        let mut stream = self.profile_stub().load_profile(request.clone()).await?.into_inner();
        let first = next(&mut stream).await?.ok_or_else(|| Status::unavailable("the load ended before it began"))?;
        Ok(Opened { had: had.clone(), first, stream })
    }

    /// Takes the rest of a load that brings nothing but perhaps a storage state. Nothing if it is another one after all, or breaks off.
    async fn rest(&self, opened: Opened, base: Arc<Base>) -> Option<Bytes> {
        let Opened { first, mut stream, .. } = opened;
        // With a base and without any records nothing is ever written there.
        let mut loader = Loader::new(Path::new(""), Some(base));
        loader.accept(first).ok()?;
        while let Some(message) = next(&mut stream).await.ok()? {
            if loader.accept(message).ok()?.is_some() {
                return None;
            }
        }
        let state = Bytes::from(std::mem::take(&mut loader.storage_state));
        loader.finish().ok().map(|_| state)
    }
}

async fn next(stream: &mut Streaming<v1::LoadProfileResponse>) -> Result<Option<v1::LoadProfileResponse>, Status> {
    let message = tokio::time::timeout(STALL, stream.message()).await;
    message.unwrap_or_else(|_| Err(Status::unavailable(format!("the load stood still for {STALL:?}"))))
}

/// The directory as its sidecar says, if it is of that session.
pub(crate) fn known(directory: PathBuf, namespace: &str, session: &str) -> Option<Had> {
    let note = Stat::of(&sidecar::path(&directory).symlink_metadata().ok()?);
    let known = Sidecar::read(&directory).filter(|known| known.is_of(namespace, session) && directory.is_dir())?;
    Some(Had { base: Arc::new(Base { directory, snapshot_id: known.snapshot_id, tree: known.tree }), note })
}

/// Without a policy nothing may be there that is not of the snapshot.
fn standing(base: &Base, policy: Option<Policy>) -> Result<Standing> {
    let found = match examine(base) {
        Ok(found) => found,
        // As if it had not been there: the load tells what cannot be read, if it matters.
        Err(Error::Local { .. } | Error::File { .. }) => return Ok(Standing::Changed),
        Err(error) => return Err(error),
    };
    let capture = policy.map(|policy| Capture::new(policy, &[], &[])).transpose()?;
    let fits = |found: &Found| match base.tree.get(&found.path) {
        Some(entry) => entry.stat == Some(found.stat) || entry.kind == Kind::Link || found.suits(entry),
        None => capture.as_ref().is_some_and(|capture| found.kind.is_none() || (!found.path.is_empty() && !capture.keeps(&found.path))),
    };
    Ok(if found.iter().all(fits) { Standing::Clean } else { Standing::Intact })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{profiles::walk, system::set_attributes_at};

    /// A base with a file, a directory and a link, and a cache beside.
    fn made(home: &Path) -> Base {
        let directory = home.join("p");
        fs::create_dir_all(directory.join("Default/Cache")).unwrap();
        fs::write(directory.join("Default/Cookies"), "c").unwrap();
        fs::write(directory.join("Default/Cache/f"), "x").unwrap();
        std::os::unix::fs::symlink("Default", directory.join("l")).unwrap();
        let tree = walk(&directory, &Capture::new(Policy::Default, &[], &[]).unwrap(), &crate::tree::Tree::default()).unwrap();
        Base { directory, snapshot_id: "ab".repeat(16), tree }
    }

    #[test]
    fn what_stands_there_is_told_by_what_travels() {
        type Change = fn(&Path);
        let changes: [(&str, Change, Standing); 8] = [
            ("nothing", |_| {}, Standing::Clean),
            ("a file in a cache", |at| fs::write(at.join("Default/Cache/g"), "x").unwrap(), Standing::Clean),
            ("a new file", |at| fs::write(at.join("new"), "x").unwrap(), Standing::Intact),
            ("an empty directory", |at| fs::create_dir(at.join("new")).unwrap(), Standing::Intact),
            ("another mode", |at| set_attributes_at(&at.join("Default/Cookies"), 0o400, 1).unwrap(), Standing::Intact),
            ("another time of a directory", |at| set_attributes_at(&at.join("Default"), 0o700, 1).unwrap(), Standing::Intact),
            ("other content", |at| fs::write(at.join("Default/Cookies"), "d").unwrap(), Standing::Changed),
            ("a file is gone", |at| fs::remove_file(at.join("l")).unwrap(), Standing::Changed),
        ];
        for (what, change, expected) in changes {
            let home = tempfile::tempdir().unwrap();
            let base = made(home.path());
            assert_eq!(standing(&base, Some(Policy::Default)).unwrap(), Standing::Clean, "{what}");
            assert_eq!(standing(&base, None).unwrap(), Standing::Intact, "the cache is not of the snapshot");
            assert_eq!(standing(&base, Some(Policy::Full)).unwrap(), Standing::Intact, "a cache travels under this policy");
            change(&base.directory);
            assert_eq!(standing(&base, Some(Policy::Default)).unwrap(), expected, "{what}");
        }
    }
}
