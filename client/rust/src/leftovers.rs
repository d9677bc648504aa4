//! What loads that did not finish left beside a directory, whichever client they were of: `client/vectors/README.md` describes the rule.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    sidecar,
    workspace::{self, FORMER, REPLACED},
};

/// Refuses a directory that a load has taken away and not brought back: what is there now, if anything, is not what it was. A sidecar says that something whole came there since.
///
/// # Errors
/// `LOAD_UNFINISHED`; and what the file system says of the directory above.
pub(crate) fn finished(directory: &Path) -> Result<()> {
    if sidecar::path(directory).symlink_metadata().is_ok() {
        return Ok(());
    }
    match leftover(directory)? {
        None => Ok(()),
        Some(left) => {
            let (directory, left) = (directory.display(), left.display());
            let message = format!("a load into {directory} is under way or was cut off in the middle ({left}): load it again; nothing was saved");
            Err(Error::local("LOAD_UNFINISHED", message))
        }
    }
}

fn leftover(directory: &Path) -> Result<Option<PathBuf>> {
    let space = workspace::of(directory);
    let mut candidates = vec![space.join(FORMER), space.join(REPLACED)];
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else { return Ok(None) };
    let name = name.as_encoded_bytes();
    let items = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        items => items.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| Error::file(parent, error))?,
    };
    for item in items {
        if let Some(inside) = elsewhere(item.file_name().as_encoded_bytes(), name) {
            candidates.push(item.path().join(inside));
        }
    }
    candidates.sort_unstable();
    Ok(candidates.into_iter().find(|candidate| candidate.symlink_metadata().is_ok()))
}

/// Where the clients in other languages keep what they took away, if `item` is a workspace of theirs for the directory `name`.
fn elsewhere(item: &[u8], name: &[u8]) -> Option<&'static str> {
    let python = item.strip_prefix(b".").and_then(|item| item.strip_prefix(name)).is_some_and(|rest| rest.starts_with(b".loading-"));
    let node = item.strip_prefix(name).and_then(|rest| rest.strip_prefix(b".cloakroom-"));
    if python {
        Some("aside")
    } else {
        // Host, process and a random number.
        node.filter(|rest| rest.splitn(3, |byte| *byte == b'-').count() == 3).map(|_| "old")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moves::{Moves, faults};

    #[test]
    fn a_directory_that_is_being_taken_away_is_at_no_moment_taken_for_a_whole_one_without_a_sidecar() {
        for step in 0..3 {
            let home = tempfile::tempdir().unwrap();
            let (target, space) = (home.path().join("p"), home.path().join(".p.cloakroom-load"));
            fs::create_dir_all(target.join("login")).unwrap();
            fs::create_dir(&space).unwrap();
            fs::write(sidecar::path(&target), "{}").unwrap();
            // What is not taken back is as after a kill.
            faults::full_after(Some(step));
            Moves::new(&space).take_away(&target, &space.join(FORMER)).unwrap_err();
            assert!(faults::was_full());
            let known = sidecar::path(&target).exists();
            assert_eq!(known, step < 2);
            assert_eq!(finished(&target).map_err(|error| error.reason().to_owned()), if known { Ok(()) } else { Err("LOAD_UNFINISHED".to_owned()) });
        }
    }

    #[test]
    fn what_any_client_left_counts_until_there_is_a_sidecar() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("p");
        for left in [".p.cloakroom-load/former", ".p.cloakroom-load/replaced", ".p.loading-x1y2_z34/aside", "p.cloakroom-00c0ffee-4711-deadbeef/old"] {
            finished(&target).unwrap();
            fs::create_dir_all(home.path().join(left)).unwrap();
            for there in [false, true] {
                if there {
                    fs::create_dir(&target).unwrap();
                }
                let error = finished(&target).unwrap_err();
                let message = error.to_string();
                assert_eq!(error.reason(), "LOAD_UNFINISHED");
                assert!(message.contains(&format!("{} is", target.display())) && message.contains(left) && message.contains("load it again"), "{message}");
            }
            fs::write(sidecar::path(&target), "{}").unwrap();
            finished(&target).unwrap();
            fs::remove_file(sidecar::path(&target)).unwrap();
            fs::remove_dir(&target).unwrap();
            fs::remove_dir_all(home.path().join(left).parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn what_is_of_another_directory_or_was_not_taken_away_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let others = [
            ".q.cloakroom-load/former",
            ".q.loading-x/aside",
            "q.cloakroom-00c0ffee-1-deadbeef/old",
            ".p.cloakroom-load/half",
            ".p.loading-x/work",
            "p.cloakroom-x/old",
        ];
        for other in others {
            fs::create_dir_all(home.path().join(other)).unwrap();
        }
        finished(&home.path().join("p")).unwrap();
        finished(&home.path().join("deep/p")).unwrap();
    }
}
