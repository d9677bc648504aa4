//! The command line: parse, ask the daemon, print.

mod args;
mod doctor;
mod exec;
mod history;
mod json;
mod mounts;
mod output;
mod profiles;
mod sessions;
mod signals;
mod watch;

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use cloakroom_client::{Client, Error, Kind, Options, Result};

use crate::cli::{
    args::{Arguments, Command, Global},
    output::Output,
};

/// Ended by Ctrl-C, as a shell says it.
const INTERRUPTED: u8 = 130;

/// How long an interrupted command may go on with a step that should not be left half done; on a disk that answers it takes milliseconds.
const FINISHING: Duration = Duration::from_secs(5);

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client's or the daemon's word.
    Client(Error),
    /// The output cannot be written.
    Output(io::Error),
    /// It was said already; only the exit code is missing.
    Told,
    /// It ends with the exit code of another program, or as a signal would have ended it.
    Exit(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The exit codes that `cloakroom --help` lists.
fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        _ if error.reason() == "OPTION" || error.reason() == "CAPTURE_RULE" => 2,
        Kind::Invalid => 2,
        _ if error.reason() == "SNAPSHOT_NOT_FOUND" => 3,
        Kind::NotFound => 3,
        Kind::Conflict | Kind::AlreadyExists => 4,
        Kind::Unavailable | Kind::Exhausted => 5,
        _ => 1,
    }
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return told(&format!("cannot start: {error}"), 1),
    };
    let mut output = Output::new(arguments.global.json);
    // These answer signals themselves.
    let answers = matches!(arguments.command, Command::Exec(_) | Command::Mount(_));
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(arguments, &mut output) => ended,
            _ = tokio::signal::ctrl_c(), if !answers => Err(Failure::Exit(INTERRUPTED)),
        }
    });
    // What is half done leaves nothing behind; threads that still read a file are not waited for. But who interrupts a load while it patches a directory wants that directory.
    if matches!(ended, Err(Failure::Exit(_))) {
        runtime.shutdown_timeout(FINISHING);
    } else {
        runtime.shutdown_background();
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Exit(code)) => ExitCode::from(code),
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => told(&format!("cannot write the output: {error}"), 1),
        Err(Failure::Client(error)) => told(&in_options(&explained(&error)), exit_code(&error)),
    }
}

/// An error with its reason, which what the daemon says has at its end already.
fn explained(error: &Error) -> String {
    match error {
        Error::Local { reason, message } => format!("{message} [{reason}]"),
        error => error.to_string(),
    }
}

/// What the library says of its options, in those of the command line.
fn in_options(text: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("say replace", "say --replace"),
        ("says replace", "says --replace"),
        ("say force", "say --force"),
        ("`force`", "--force"),
        ("(`replace` in the clients)", "(--replace)"),
        ("with storage_state", "with --storage-state"),
    ];
    WORDS.iter().fold(text.to_owned(), |text, (library, option)| text.replace(library, option))
}

/// Says why a command ends.
fn told(message: &str, code: u8) -> ExitCode {
    say(message);
    ExitCode::from(code)
}

/// Says what a person should know although the command went well.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {}", in_options(message)));
}

/// One line on standard error.
pub(crate) fn say(message: &str) {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    // Nobody is left to hear of it when even this fails.
    let _ = writeln!(io::stderr(), "cloakroom: {line}");
}

async fn run(arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    if matches!(arguments.command, Command::Version) {
        return output.version();
    }
    let client = connect(&arguments.global)?;
    match arguments.command {
        Command::Exec(what) => exec::exec(&client, what, output).await,
        Command::Mount(what) => mounts::mount(&client, what, output).await,
        Command::Mounts(what) => mounts::run(what, output).await,
        Command::Sessions(command) => sessions::run(&client, command, output).await,
        Command::Save(save) => profiles::save(&client, save, output).await,
        Command::Load(load) => profiles::load(&client, load, output).await,
        Command::Snapshots(of) => profiles::snapshots(&client, &of, output).await,
        Command::Undo(what) => history::undo(&client, what, output).await,
        Command::Pin(what) => history::pin(&client, what, output).await,
        Command::Unpin(what) => history::unpin(&client, what, output).await,
        Command::DeleteSnapshot(what) => history::delete(&client, what, output).await,
        Command::UndeleteSnapshot(what) => history::undelete(&client, what, output).await,
        Command::Diff(what) => history::diff(&client, what, output).await,
        Command::Watch(what) => watch::watch(&client, what, output).await,
        Command::Invalidate(what) => watch::invalidate(&client, what, output).await,
        Command::Doctor => doctor::doctor(&client, output).await,
        Command::Version => Ok(()),
    }
}

fn connect(global: &Global) -> Result<Client> {
    let identity = match (&global.cert, &global.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let options = Options {
        namespace: global.namespace.clone(),
        token: global.token.clone(),
        ca_certificate: global.ca.as_deref().map(read).transpose()?,
        identity,
        timeout: Some(global.timeout),
        // A person waits: a daemon that is not there is said at once.
        wait_for_ready: false,
    };
    Client::connect(&global.target, options)
}

/// A file's content; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = if path == Path::new("-") { io::stdin().read_to_end(&mut content).map(|_| content) } else { fs::read(path) };
    read.map_err(|source| Error::File { path: path.display().to_string(), source })
}

/// The id of the session that a person means: an id, or a prefix that only one live session has.
pub(crate) async fn session_id(client: &Client, given: &str) -> Result<String> {
    match client.sessions().resolve(given).await {
        // It may be the id of a session that is not live: the call itself says so better.
        Err(error) if error.reason() == "SESSION_NOT_FOUND" => Ok(given.to_owned()),
        found => Ok(found?.value.id),
    }
}
