//! `cloakroom exec`: mount, run, save.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::OpenOptionsExt as _,
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::ExitStatus,
};

use cloakroom_client::{Client, Error, Result, Saved};
use serde_json::json as object;
use tokio::process::Command;

use crate::cli::{
    Failure,
    args::{self, Keep},
    json,
    mounts::{mounted, save},
    output::{Output, signed_size, size},
    say,
    signals::{ENDING, OWN, Signals, exit_code, pass_on},
    warn,
};

/// Exit codes of a shell for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

pub(crate) async fn exec(client: &Client, what: args::Exec, output: &Output) -> Result<(), Failure> {
    let mut signals = Signals::of(ENDING.into_iter().chain(OWN))?;
    let (id, mut mount) = signals.unless(mounted(client, &what.session, what.place.root, true)).await?;
    let file = StateFile::make(&what.storage_state.unwrap_or_else(|| mount.storage_state_file()), mount.storage_state.as_deref())?;
    let code = run(&what.command, &mount.directory, &file.path, &mut signals).await?;
    let wanted = match what.save {
        Keep::Always => true,
        Keep::Success => code == 0,
        Keep::Never => false,
    };
    let saved = if wanted { Some(signals.unless(async { save(&mut mount, what.replace, file.read()?).await }).await?) } else { None };
    drop(file);
    if let Err(error) = mount.discard().await {
        warn(&format!("the directory is let go only now: {error}"));
    }
    report(&id, code, what.save, saved.as_ref(), output);
    if code == 0 { Ok(()) } else { Err(Failure::Exit(code)) }
}

/// Runs the command to its end; answers its exit code.
async fn run(command: &[OsString], directory: &Path, state: &Path, signals: &mut Signals) -> Result<u8, Failure> {
    let (program, arguments) = command.split_first().ok_or(Failure::Exit(NOT_RUN))?;
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| filled_in(argument, directory)));
    command.env("CLOAKROOM_PROFILE", directory).env("CLOAKROOM_STORAGE_STATE", state);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            say(&format!("{} cannot be run: {error}; nothing was saved", Path::new(program).display()));
            return Err(Failure::Exit(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }));
        }
    };
    loop {
        tokio::select! {
            ended = child.wait() => {
                let ended = ended.map_err(|source| Error::File { path: program.to_string_lossy().into_owned(), source })?;
                return Ok(code_of(ended));
            }
            signal = signals.next() => if let Some(child) = child.id() {
                pass_on(signal, child);
            },
        }
    }
}

fn code_of(ended: ExitStatus) -> u8 {
    match ended.code() {
        Some(code) => u8::try_from(code).unwrap_or(1),
        None => exit_code(ended.signal().unwrap_or_default()),
    }
}

/// An argument with the directory in the place of each `{}`.
fn filled_in(argument: &OsStr, directory: &Path) -> OsString {
    let (mut filled, mut rest) = (Vec::new(), argument.as_bytes());
    while let Some(at) = rest.windows(2).position(|two| two == b"{}") {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(directory.as_os_str().as_bytes());
        rest = &rest[at + 2..];
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

/// What became of it, on standard error: the standard output is the command's.
fn report(id: &str, code: u8, when: Keep, saved: Option<&Saved>, output: &Output) {
    for warning in saved.iter().flat_map(|saved| &saved.warnings).filter(|_| !output.is_json()) {
        warn(warning);
    }
    if output.is_json() {
        let snapshot = saved.map(|saved| json::snapshot(&saved.snapshot));
        let (revision, warnings) = (saved.map(|saved| saved.revision), saved.map(|saved| &saved.warnings));
        // Nobody is left to hear of it when even this fails.
        let _ = writeln!(io::stderr(), "{}", object!({ "exit_code": code, "snapshot": snapshot, "revision": revision, "warnings": warnings }));
    } else if let Some(Saved { snapshot, sent, .. }) = saved {
        let (total, sent) = (signed_size(snapshot.total_bytes), size(sent.bytes));
        say(&format!("{id} is at snapshot {} (number {}): {} entries, {total}; {sent} travelled", snapshot.id, snapshot.sequence, snapshot.entry_count));
    } else if when == Keep::Success {
        say(&format!("not saved, because the command ended with {code}; --save always saves nevertheless"));
    }
}

/// The file in which a command finds and leaves the storage state; it is removed at the end, because it holds cookies.
#[derive(Debug)]
struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// With what is known, or not there at all. Never what was there before: that may be of another session.
    fn make(path: &Path, state: Option<&[u8]>) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AlreadyExists => {
                let message = format!("{} is there already, perhaps with another session's cookies: remove it, or name another file", path.display());
                Error::Local { reason: "TARGET_EXISTS", message }
            }
            _ => Error::File { path: path.display().to_string(), source },
        };
        // The command may go to another directory.
        let path = std::path::absolute(path).map_err(failed)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let made = Self { path: path.clone() };
        match state {
            Some(state) => file.write_all(state).map_err(failed)?,
            // It was only made to see whether that can be done.
            None => fs::remove_file(&path).map_err(failed)?,
        }
        Ok(made)
    }

    /// What the command left; nothing if that is no file any more, or empty.
    fn read(&self) -> Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path: self.path.display().to_string(), source }),
            Ok(state) => Ok(Some(state).filter(|state| !state.is_empty())),
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Gone already is fine; where it cannot be removed, its owner alone may read it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_directory_comes_in_the_place_of_braces() {
        let filled = |argument: &str| filled_in(OsStr::new(argument), Path::new("/a b")).into_string().unwrap();
        assert_eq!(
            ["{}", "--user-data-dir={}", "{}{}", "{", "}{", "", "é{}é"].map(filled),
            ["/a b", "--user-data-dir=/a b", "/a b/a b", "{", "}{", "", "é/a bé"]
        );
    }

    #[test]
    fn a_state_file_is_new_private_and_gone_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("state.json");
        let file = StateFile::make(&at, Some(b"{}")).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"{}");
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
        let error = StateFile::make(&at, None).unwrap_err();
        assert!(error.reason() == "TARGET_EXISTS" && error.to_string().contains("state.json") && at.exists());
        fs::write(&at, "").unwrap();
        assert_eq!(file.read().unwrap(), None);
        drop(file);
        assert!(!at.exists());
        let none = StateFile::make(&at, None).unwrap();
        assert!(!at.exists() && none.read().unwrap().is_none());
        fs::write(&at, "left").unwrap();
        drop(none);
        assert!(!at.exists());
    }
}
