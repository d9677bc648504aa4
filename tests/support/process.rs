//! Programs that tests start: their output kept, their end awaited, nothing left behind.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// How long a start or a stop may take before a test gives up on it. Generous: it only costs time when all is lost.
pub const PATIENCE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(5);

/// A child process with its output in files. Dropping it kills it (SIGKILL) and reaps it.
///
/// Files instead of pipes: a child never blocks on a full pipe, and what a killed child wrote stays readable.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    output: TempDir,
}

impl Process {
    /// Starts `command`; `name` is what panics call it.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let output = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory for {name}: {e}"));
        let file = |stream: &str| {
            let path = output.path().join(stream);
            File::create(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(file(STDOUT)).stderr(file(STDERR));
        let child = command.spawn().unwrap_or_else(|e| {
            let program = Path::new(command.get_program()).display();
            panic!("cannot start {name} ({program}): {e}; {INSTALL}")
        });
        Self { name: name.to_owned(), child, status: None, output }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote to its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read(STDOUT)
    }

    /// All that it wrote to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read(STDERR)
    }

    fn read(&self, stream: &str) -> String {
        let bytes = fs::read(self.output.path().join(stream)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has written a whole line that contains `text`, to either stream, and returns the line.
    ///
    /// # Panics
    /// When it ends before, or [`PATIENCE`] is over.
    pub async fn wait_for_line(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                // Asked before the output is read: what it wrote before its end is not missed.
                let ended = self.try_wait();
                let line = [STDOUT, STDERR].into_iter().find_map(|stream| whole_line_with(&self.read(stream), text));
                if line.is_some() || ended.is_some() {
                    return line;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        match found.await {
            Ok(Some(line)) => line,
            Ok(None) => self.give_up(&format!("ended before it wrote a line with {text:?}")),
            Err(_) => self.give_up(&format!("wrote no line with {text:?} within {PATIENCE:?}")),
        }
    }

    /// Its exit status, when it has ended.
    ///
    /// # Panics
    /// When the operating system cannot tell.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or_else(|e| panic!("cannot wait for {}: {e}", self.name));
        }
        self.status
    }

    /// Waits until it ends by itself; the exit code is `status.code()`, `None` after a signal.
    ///
    /// # Panics
    /// When it still runs after [`PATIENCE`].
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.try_wait() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        match ended.await {
            Ok(status) => status,
            Err(_) => self.give_up(&format!("still runs after {PATIENCE:?}")),
        }
    }

    /// Sends SIGTERM and waits for the end; the exit code, `None` when a signal ended it.
    ///
    /// # Panics
    /// When it still runs after [`PATIENCE`].
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait().await.code()
    }

    /// Ends it as a crash of the machine would (`kill -9`): no handler runs. Returns when it is gone.
    ///
    /// # Panics
    /// When the operating system refuses.
    pub fn kill9(&mut self) {
        if self.try_wait().is_none() {
            self.child.kill().unwrap_or_else(|e| panic!("cannot kill {}: {e}", self.name));
            self.status = self.child.wait().ok();
        }
    }

    /// Sends a signal by its name without `SIG`, such as `STOP` (freeze) or `CONT` (go on); nothing when it has ended.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) {
        // Not yet reaped, so the id is still its own.
        if self.try_wait().is_some() {
            return;
        }
        // The shell's builtin: sending a signal otherwise needs `unsafe` or a further crate.
        let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$1\" \"$2\"", "kill", signal, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send SIG{signal} to {}", self.name);
    }

    /// Panics with `complaint` and the end of what it wrote.
    fn give_up(&self, complaint: &str) -> ! {
        panic!("{} {complaint}{}", self.name, self.last_words())
    }

    fn last_words(&self) -> String {
        format!("\n--- its stdout:\n{}\n--- its stderr:\n{}", tail(&self.stdout()), tail(&self.stderr()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            // Nobody is left to hear of an error; the kill of an own, unreaped child does not fail.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows what its programs said")]
            {
                eprintln!("=== {} ({}){}", self.name, self.id(), self.last_words());
            }
        }
    }
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const INSTALL: &str = "`tests/install` installs what the tests need";

fn whole_line_with(output: &str, text: &str) -> Option<String> {
    let complete = &output[..=output.rfind('\n')?];
    complete.lines().find(|line| line.contains(text)).map(str::to_owned)
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Processor time of a process so far, all its threads together, in µs: from Linux's ticks of 10 ms.
///
/// # Panics
/// When there is no such process, or this is not Linux.
#[must_use]
pub fn processor_time(process: u32) -> f64 {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0.0)).sum();
    ticks * 10_000.0
}

/// Finds a program of the tests: the one that the environment `variable` names, else the one that `tests/install` put
/// into `target/test-tools/venv/bin`, else the one in `PATH`.
///
/// # Panics
/// When there is none, naming the command that installs it. A missing program never skips a test.
#[must_use]
pub fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(named) = env::var_os(variable).map(PathBuf::from) {
        assert!(named.is_file(), "{variable} names {}, which is not there; {INSTALL}", named.display());
        return named;
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/venv/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(installed)
        .chain(env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("there is no {name}, neither in PATH nor by {variable}; {INSTALL}"))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::{Process, program};

    fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::spawn("a shell", command)
    }

    fn is_alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[tokio::test]
    async fn lines_of_both_streams_are_found_and_the_exit_code_is_told() {
        let mut process = shell("echo first; echo second >&2; sleep 0.05; printf 'third '; echo end; exit 7");
        assert_eq!(process.wait_for_line("second").await, "second");
        assert_eq!(process.wait_for_line("third").await, "third end");
        assert_eq!(process.wait().await.code(), Some(7));
        assert_eq!((process.stdout().as_str(), process.stderr().as_str()), ("first\nthird end\n", "second\n"));
    }

    #[tokio::test]
    async fn terminate_lets_the_handler_run_and_kill9_does_not() {
        let script = "trap 'echo handled; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut polite = shell(script);
        polite.wait_for_line("ready").await;
        assert_eq!(polite.terminate().await, Some(3));
        assert!(polite.stdout().contains("handled"));

        let mut killed = shell(script);
        killed.wait_for_line("ready").await;
        killed.kill9();
        assert!(!is_alive(killed.id()));
        assert_eq!(killed.wait().await.code(), None);
        assert!(!killed.stdout().contains("handled"));
    }

    #[tokio::test]
    async fn a_stopped_process_stands_still_until_it_is_continued() {
        let mut process = shell("echo ready; while :; do read line < /dev/null; sleep 0.01; echo tick; done");
        process.wait_for_line("tick").await;
        process.signal("STOP");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let frozen = process.stdout();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(process.stdout(), frozen);
        process.signal("CONT");
        let length = frozen.len();
        while process.stdout().len() == length {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn dropping_it_ends_it() {
        let mut process = shell("echo ready; exec sleep 1000");
        process.wait_for_line("ready").await;
        let id = process.id();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
    }

    #[tokio::test]
    #[should_panic(expected = "ended before it wrote a line with \"ready\"")]
    async fn an_early_end_is_told_at_once() {
        shell("echo broken >&2; exit 1").wait_for_line("ready").await;
    }

    #[test]
    #[should_panic(expected = "`tests/install` installs what the tests need")]
    fn a_missing_program_names_the_remedy() {
        let _ = program("CLOAKROOM_TEST_NO_SUCH_VARIABLE", "no-such-program");
    }

    #[test]
    #[should_panic(expected = "`tests/install` installs what the tests need")]
    fn a_program_that_cannot_be_started_names_the_remedy() {
        let _ = Process::spawn("nothing", Command::new("/no/such/program"));
    }
}
