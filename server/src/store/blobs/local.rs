//! Reading parts of a file. The object store's own way fills every buffer with zeros first, which costs as much as opening what is read.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use object_store::{Error, Result};
use tokio::task::spawn_blocking;

/// Reads ranges of the file at `path`; less than wanted where it ends before.
///
/// # Errors
/// `NotFound` when it is not there, and what the file system says.
pub(super) async fn read(path: PathBuf, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
    let reading = spawn_blocking(move || ranges_of(&path, &ranges).map_err(|error| translate(&path, error)));
    reading.await.map_err(|source| Error::JoinError { source })?
}

fn ranges_of(path: &Path, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let mut file = File::open(path)?;
    let read = |range: &Range<u64>| {
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        file.seek(SeekFrom::Start(range.start))?;
        (&file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    };
    ranges.iter().map(read).collect()
}

fn translate(path: &Path, source: io::Error) -> Error {
    let (path, not_found) = (path.display().to_string(), source.kind() == ErrorKind::NotFound);
    let source = source.into();
    if not_found { Error::NotFound { path, source } } else { Error::Generic { store: "LocalFileSystem", source } }
}
