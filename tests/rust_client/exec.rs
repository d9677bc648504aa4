//! `cloakroom exec`, `mount` and `mounts prune`, as a person and as a script use them; and mounts that are given up.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cloakroom_client::{LoadOptions, Loaded, MountOptions, SaveOptions};
use cloakroom_tests::process::{PATIENCE, Process};
use serde_json::Value;

use super::{
    Stage,
    command_line::{Ran, command, fine, run, text},
    noise, stage, write,
};

const STATE: &str = r#"{"cookies":[],"origins":[]}"#;

impl Stage {
    /// `cloakroom exec SESSION --root ROOT OPTIONS -- /bin/sh -c SCRIPT sh {}`.
    fn shell<'a>(&'a self, root: &'a Path, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
        let mut arguments = vec!["exec", self.session.as_str(), "--root", text(root)];
        arguments.extend(options);
        arguments.extend(["--", "/bin/sh", "-c", script, "sh", "{}"]);
        arguments
    }

    async fn exec(&self, options: &[&str], script: &str) -> Ran {
        run(self, &self.shell(&self.root(), options, script)).await
    }

    /// The same in the background, apart from any terminal.
    fn start(&self, options: &[&str], script: &str) -> Process {
        let root = self.root();
        let mut command = command(&self.daemon.address(), &self.shell(&root, options, script));
        command.process_group(0);
        Process::spawn("cloakroom exec", command)
    }

    async fn head(&self) -> String {
        self.get().await.value.head_snapshot_id
    }

    async fn loaded(&self) -> Loaded {
        let options = LoadOptions { with_storage_state: true, ..LoadOptions::default() };
        self.client.load(&self.session, self.path(&super::name("loaded")), options).await.unwrap()
    }

    fn assert_all_free(&self) {
        let slots = self.slots();
        assert!(slots.values().all(|claims| claims == &["claim.free"]), "{slots:?}");
    }
}

/// A loop of the shell that ends when `file` comes, or after half a minute.
fn until(file: &Path) -> String {
    format!("i=0; while [ ! -e '{}' ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done", file.display())
}

#[tokio::test]
async fn exec_mounts_runs_and_saves() {
    let stage = stage().await;
    let script = r#"set -e; [ "$CLOAKROOM_PROFILE" = "$1" ]; [ -d "$1" ]; [ ! -e "$CLOAKROOM_STORAGE_STATE" ]; mkdir "$1/Default"; echo login > "$1/Default/Cookies"; echo said"#;
    let ran = stage.exec(&[], script).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "said\n"), "{}", ran.err);
    let head = stage.head().await;
    assert!(ran.err.lines().count() == 1 && ran.err.starts_with("cloakroom: ") && ran.err.contains(&head), "{}", ran.err);
    let loaded = stage.loaded().await;
    assert_eq!(fs::read_to_string(loaded.directory.join("Default/Cookies")).unwrap(), "login\n");
    assert!(loaded.storage_state.is_none());
    stage.assert_all_free();

    // The next one goes on there; what it says of itself is JSON, and what the command says stays as it is.
    let ran = stage.exec(&["--json"], r#"cat "$1/Default/Cookies"; echo again >> "$1/Default/Cookies""#).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "login\n"), "{}", ran.err);
    let said: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((&said["exit_code"], &said["snapshot"]["parent_snapshot_id"]), (&0.into(), &head.into()));
    assert_eq!(said["snapshot"]["id"], stage.head().await);
    assert_eq!(stage.slots().len(), 1);
}

#[tokio::test]
async fn exec_saves_as_it_is_told_and_ends_as_the_command_did() {
    let stage = stage().await;
    let cases: [(&[&str], u8, bool); 7] = [
        (&[], 3, false),
        (&["--save", "success"], 3, false),
        (&["--save", "always"], 3, true),
        (&["--save", "never"], 0, false),
        (&["--save", "never"], 4, false),
        (&["--save", "always"], 0, true),
        (&[], 0, true),
    ];
    for (options, code, saved) in cases {
        let before = stage.head().await;
        let ran = stage.exec(options, &format!("echo {options:?} {code} > \"$1/f\"; exit {code}")).await;
        assert_eq!(ran.code, Some(code.into()), "{}", ran.err);
        assert_eq!(stage.head().await != before, saved, "{options:?} {code}: {}", ran.err);
        assert_eq!(ran.err.contains("not saved"), !saved && !options.contains(&"never"), "{}", ran.err);
        stage.assert_all_free();
    }
    // Of what was not saved nothing is left for the next one.
    assert_eq!(fs::read_to_string(stage.loaded().await.directory.join("f")).unwrap(), "[] 0\n");
}

#[tokio::test]
async fn exec_of_what_cannot_be_run_says_so_as_a_shell_does() {
    let stage = stage().await;
    let root = stage.root();
    let no_program = stage.path("no-program");
    write(stage.home.path(), "no-program", b"x");
    for (program, code) in [("/no/such/program", 127), (text(&no_program), 126)] {
        let ran = run(&stage, &["exec", &stage.session, "--root", text(&root), "--", program]).await;
        assert!(ran.error(code).contains(program), "{}", ran.err);
        assert_eq!(stage.head().await, "");
        stage.assert_all_free();
    }
    let ran = run(&stage, &["exec", "no-such-session", "--root", text(&root), "--", "/bin/true"]).await;
    assert!(ran.error(3).contains("SESSION_NOT_FOUND"));
    let ran = run(&stage, &["exec", &stage.session, "--root", text(&no_program), "--", "/bin/true"]).await;
    assert!(ran.error(1).contains("no-program"));
}

#[tokio::test]
async fn exec_hands_the_storage_state_to_the_command_and_reads_it_back() {
    let stage = stage().await;
    // The command makes the first one.
    let make = format!(r#"echo x > "$1/f"; printf '%s' '{STATE}' > "$CLOAKROOM_STORAGE_STATE""#);
    assert_eq!(stage.exec(&[], &make).await.code, Some(0));
    assert_eq!(stage.loaded().await.storage_state.as_deref(), Some(STATE.as_bytes()));
    // The next one finds it, readable by its owner only, and leaves another.
    let other = r#"{"cookies":[],"origins":[],"later":1}"#;
    let seen = stage.path("seen");
    let script = format!(
        r#"cp "$CLOAKROOM_STORAGE_STATE" '{0}'; stat -c %a "$CLOAKROOM_STORAGE_STATE"; printf '%s' '{other}' > "$CLOAKROOM_STORAGE_STATE""#,
        seen.display()
    );
    let ran = stage.exec(&[], &script).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "600\n"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&seen).unwrap(), STATE);
    assert_eq!(stage.loaded().await.storage_state.as_deref(), Some(other.as_bytes()));
    // Left alone it is saved again; taken away it is left out, and that is said.
    assert_eq!(stage.exec(&[], "echo y > \"$1/f\"").await.code, Some(0));
    assert_eq!(stage.loaded().await.storage_state.as_deref(), Some(other.as_bytes()));
    let ran = stage.exec(&[], r#"rm "$CLOAKROOM_STORAGE_STATE""#).await;
    assert!(ran.code == Some(0) && ran.err.starts_with("cloakroom: warning: ") && ran.err.contains("storage state"), "{}", ran.err);
    assert!(stage.loaded().await.storage_state.is_none());
    // What is none is refused, and the command's success does not hide that.
    let ran = stage.exec(&[], r#"echo nonsense > "$CLOAKROOM_STORAGE_STATE""#).await;
    assert!(ran.error(2).contains("STORAGE_STATE_INVALID"));

    // A file of the caller's: made, read back and removed; never one that was there before.
    let file = stage.path("auth.json");
    let ran = stage
        .exec(&["--storage-state", text(&file)], &format!("[ \"$CLOAKROOM_STORAGE_STATE\" = '{0}' ] && printf '%s' '{STATE}' > '{0}'", file.display()))
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!file.exists());
    assert_eq!(stage.loaded().await.storage_state.as_deref(), Some(STATE.as_bytes()));
    fs::write(&file, "somebody else's").unwrap();
    let ran = stage.exec(&["--storage-state", text(&file)], "exit 0").await;
    assert!(ran.error(1).contains("auth.json"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody else's");
    stage.assert_all_free();
    let left: Vec<_> =
        fs::read_dir(stage.root().join("mounts/-").join(&stage.session)).unwrap().map(|slot| slot.unwrap().path().join("storage-state.json")).collect();
    assert!(!left.is_empty() && left.iter().all(|file| !file.exists()));
}

#[tokio::test]
async fn exec_passes_signals_on() {
    let stage = stage().await;
    let never = stage.path("never");
    let wait = until(&never);
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12)] {
        // A command that answers it ends as it likes; saved is what ended with 0.
        let script = format!("echo {signal} > \"$1/f\"; trap 'echo heard; exit 0' {signal}; echo ready; {wait}");
        let mut process = stage.start(&[], &script);
        process.wait_for_line("ready").await;
        let before = stage.head().await;
        process.signal(signal);
        assert_eq!(process.wait().await.code(), Some(0), "{signal}");
        assert!(process.stdout().contains("heard") && stage.head().await != before, "{signal}: {}", process.stderr());
        // One that does not is ended by it, and nothing is saved.
        let mut process = stage.start(&[], &format!("echo not saved > \"$1/f\"; trap - {signal}; echo ready; {wait}"));
        process.wait_for_line("ready").await;
        let before = stage.head().await;
        process.signal(signal);
        assert_eq!(process.wait().await.code(), Some(128 + number), "{signal}");
        assert_eq!(stage.head().await, before);
        stage.assert_all_free();
    }
}

#[tokio::test]
async fn exec_under_nohup_is_not_ended_by_a_hang_up_and_neither_is_its_command() {
    let stage = stage().await;
    let (root, go) = (stage.root(), stage.path("go"));
    let script = format!("echo ready; {}; echo done > \"$1/f\"", until(&go));
    let inner = command(&stage.daemon.address(), &stage.shell(&root, &[], &script));
    let mut command = Command::new("/bin/sh");
    command.env_clear().env("CLOAKROOM_TARGET", stage.daemon.address());
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    let mut process = Process::spawn("cloakroom exec", command);
    process.wait_for_line("ready").await;
    let own = process.id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    process.signal("HUP");
    for child in children.split_whitespace() {
        assert!(Command::new("/bin/sh").args(["-c", "kill -s HUP \"$0\"", child]).status().unwrap().success());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(process.try_wait().is_none());
    fs::write(&go, "").unwrap();
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.stderr());
    assert_ne!(stage.head().await, "");
}

#[tokio::test]
async fn exec_whose_save_is_refused_does_not_end_well() {
    let stage = stage().await;
    assert_eq!(stage.exec(&[], "echo first > \"$1/f\"").await.code, Some(0));
    for (options, code) in [(vec![], 4), (vec!["--replace"], 0)] {
        let go = stage.path(&super::name("go"));
        let mut process = stage.start(&options, &format!("echo ready; {}; echo mine > \"$1/f\"", until(&go)));
        process.wait_for_line("ready").await;
        let elsewhere = stage.loaded().await.directory;
        write(&elsewhere, "f", b"theirs");
        let theirs = stage.save(&elsewhere).await.snapshot.id;
        fs::write(&go, "").unwrap();
        assert_eq!(process.wait().await.code(), Some(code), "{}", process.stderr());
        assert_eq!(process.stderr().contains("PARENT_NOT_HEAD"), code == 4, "{}", process.stderr());
        let (head, _) = stage.client.snapshot_with_entries(&stage.session, "").await.unwrap();
        assert_eq!(if code == 4 { &head.id } else { &head.parent_snapshot_id }, &theirs);
        stage.assert_all_free();
    }
}

/// `cloakroom mount` with a pipe as its input, killed when dropped.
struct Piped(Child);

impl Piped {
    fn start(stage: &Stage, options: &[&str]) -> (Self, String) {
        let root = stage.root();
        let mut command = command(&stage.daemon.address(), &["mount", &stage.session, "--root", text(&root)]);
        let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        // The end of the process ends the line too.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }

    /// Closes the pipe; answers the exit code.
    async fn close(&mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        let began = Instant::now();
        loop {
            if let Some(ended) = self.0.try_wait().unwrap() {
                return ended.code();
            }
            assert!(began.elapsed() < PATIENCE, "it still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn mount_gives_a_directory_until_it_is_told_to_end() {
    let stage = stage().await;
    let root = stage.root();
    // A signal, with and without --save.
    for (options, signal, saved) in [(vec!["--save"], "TERM", true), (vec![], "INT", false), (vec!["--save"], "INT", true)] {
        let before = stage.head().await;
        let mut arguments = vec!["mount", &stage.session, "--root", text(&root)];
        arguments.extend(options);
        let mut process = Process::spawn("cloakroom mount", command(&stage.daemon.address(), &arguments));
        let directory = PathBuf::from(process.wait_for_line("profile").await);
        write(&directory, "f", signal.as_bytes());
        process.signal(signal);
        assert_eq!(process.wait().await.code(), Some(0), "{}", process.stderr());
        let head = stage.head().await;
        assert_eq!(head != before, saved);
        assert_eq!(process.stdout().contains(&format!("is at snapshot {head}")), saved);
        stage.assert_all_free();
    }
    // The end of a pipe.
    let (mut piped, line) = Piped::start(&stage, &["--save", "--json"]);
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(said["snapshot"]["id"], stage.head().await);
    write(Path::new(said["directory"].as_str().unwrap()), "f", b"by a pipe");
    assert_eq!(piped.close().await, Some(0));
    assert_eq!(fs::read(stage.loaded().await.directory.join("f")).unwrap(), b"by a pipe");
    stage.assert_all_free();

    let pruned = fine(&stage, &["--json", "mounts", "prune", "--older-than", "0s", "--root", text(&root)]).await.json();
    assert!(pruned[0]["slots"] == 1 && pruned[0]["bytes"].as_u64().unwrap() > 9, "{pruned:?}");
    assert_eq!(stage.slots(), BTreeMap::new());
    assert_eq!(fs::read_dir(root.join("mounts")).unwrap().count(), 0);
    assert_eq!(fine(&stage, &["mounts", "prune", "--root", text(&root)]).await.out, "0 directories removed, 0 B\n");
}

#[tokio::test]
async fn the_place_of_mounts_is_taken_from_the_environment() {
    let stage = stage().await;
    let home = stage.path("home");
    for (variables, place) in [
        (vec![("CLOAKROOM_MOUNTS", "a"), ("XDG_CACHE_HOME", "b"), ("HOME", "c")], Some("a")),
        (vec![("CLOAKROOM_MOUNTS", ""), ("XDG_CACHE_HOME", "b"), ("HOME", "c")], Some("b/cloakroom")),
        (vec![("HOME", "c")], Some("c/.cache/cloakroom")),
        (vec![], None),
    ] {
        let mut command = command(&stage.daemon.address(), &["exec", &stage.session, "--save", "never", "--", "/bin/echo", "{}"]);
        command.envs(variables.iter().map(|(name, value)| (*name, if value.is_empty() { PathBuf::new() } else { home.join(value) })));
        let mut process = Process::spawn("cloakroom exec", command);
        let code = process.wait().await.code();
        match place {
            Some(place) => assert!(code == Some(0) && process.stdout().starts_with(text(&home.join(place).join("mounts/-"))), "{}", process.stderr()),
            None => assert!(code == Some(2) && process.stderr().contains("CLOAKROOM_MOUNTS"), "{}", process.stderr()),
        }
    }
}

#[tokio::test]
async fn a_mount_that_is_given_up_lets_its_directory_go() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for number in 0..40 {
        write(&directory, &format!("{number}"), &noise(number, 1 << 20));
    }
    stage.save(&directory).await;
    let options = || MountOptions { root: Some(stage.root()), ..MountOptions::default() };
    for pause in [0, 1, 3, 10, 30, 60] {
        // Given up while it takes a slot, asks, or loads; or not at all.
        let mount = stage.client.mount(&stage.session, options());
        drop(tokio::time::timeout(Duration::from_millis(pause), mount).await);
        let began = Instant::now();
        while stage.slots().values().any(|claims| claims != &["claim.free"]) {
            assert!(began.elapsed() < PATIENCE, "after {pause} ms: {:?}", stage.slots());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mount = stage.mount().await;
        super::assert_same(&mount.directory, &directory);
        mount.discard().await.unwrap();
        // One that was given up while it took its slot may have made it just now.
        assert!(stage.slots().len() <= 2, "after {pause} ms: {:?}", stage.slots());
    }
    // One that the daemon refuses, too.
    let error = stage.client.mount("no-such-session", options()).await.unwrap_err();
    assert_eq!(error.reason(), "SESSION_NOT_FOUND");
    let claims: Vec<_> = fs::read_dir(stage.root().join("mounts/-/no-such-session")).unwrap().map(|slot| slot.unwrap().path().join("claim.free")).collect();
    assert!(claims.len() == 1 && claims[0].exists());
    for bad in ["", "../x", "a/b", ".hidden", "é"] {
        let error = stage.client.mount(bad, options()).await.unwrap_err();
        assert!(error.reason() == "OPTION" && error.to_string().contains(bad), "{error}");
    }
    // A save is refused as ever, and the mount goes on.
    let mut mount = stage.mount().await;
    let refused = mount.save(SaveOptions { etag: "1".to_owned(), ..SaveOptions::default() }).await.unwrap_err();
    assert_eq!(refused.reason(), "ETAG_MISMATCH");
    write(&mount.directory, "0", b"x");
    mount.save(SaveOptions::default()).await.unwrap();
}
