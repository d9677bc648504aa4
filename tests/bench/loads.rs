//! Loads of a real Chromium's profile, as whole processes, against a plain copy of the same tree to the same disk.

use std::{fs, path::Path, process::Command, time::Instant};

use cloakroom_client::{Client, Options, Policy, SaveOptions};
use cloakroom_tests::daemon::{self, Daemon};

use crate::{
    floor,
    profiles::{become_like, copy, create, directory},
    table,
};

const RUNS: usize = 5;

/// What a process that was started took, in milliseconds.
#[derive(Default)]
struct Taken {
    wall: Vec<f64>,
    client: f64,
    daemon: f64,
}

pub(crate) async fn run(daemon: &mut Daemon, profiles: &Path) {
    table::head("Loads, medium profile, full capture, loopback, embedded");
    let work = tempfile::tempdir_in(directory()).unwrap();
    let path = |name: &str| work.path().join(name);
    create(&daemon.url(), "loads");
    let client = Client::connect(&daemon.url(), Options::default()).unwrap();
    let options = || SaveOptions { policy: Policy::Full, ..SaveOptions::default() };
    become_like(&path("source"), &profiles.join("v2"));
    let former = client.save("loads", path("source"), options()).await.unwrap().snapshot;
    become_like(&path("source"), &profiles.join("v3"));
    client.save("loads", path("source"), options()).await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a profile's size is far below 2^52")]
    table::fact(&format!("the profile: {} entries", former.entry_count), former.total_bytes as f64 / 1e6, "MB");

    let (mut copies, mut full, mut delta) = (Vec::new(), Taken::default(), Taken::default());
    for round in 0..RUNS {
        // Each round has names of its own: ext4 gives the inodes of what was just removed to nobody for some minutes, and looks past all of them for each new file.
        let name = |what: &str| path(&format!("{what}-{round}"));
        load(&mut Taken::default(), daemon, &name("loaded"), &["--snapshot", &former.id]);
        load(&mut delta, daemon, &name("loaded"), &["--replace"]);
        load(&mut full, daemon, &name("full"), &[]);
        let start = Instant::now();
        copy(&name("full"), &name("copy"));
        copies.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let tree = path("full-0");
    let floor = tokio::task::spawn_blocking(move || floor::of_a_load(&tree)).await.unwrap();
    report(table::median(copies), full, delta, &floor);
}

#[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
fn report(copies: f64, full: Taken, delta: Taken, floor: &[(&str, f64)]) {
    let mean = |sum: f64| sum / RUNS as f64;
    let (wall, delta_wall) = (table::median(full.wall), table::median(delta.wall));
    table::fact("cp -a of the loaded tree", copies, "ms");
    table::fact("full load", wall, "ms");
    table::at_most("full load / cp -a", wall / copies, 2.0, "");
    table::fact("load after an idle run, from the former directory", delta_wall, "ms");
    table::at_least("full load / load after an idle run", wall / delta_wall, 10.0, "");
    table::fact("processor time of a full load, client", mean(full.client), "ms");
    table::fact("processor time of a full load, daemon", mean(full.daemon), "ms");
    table::fact("processor time of a load after an idle run, client", mean(delta.client), "ms");
    table::fact("processor time of a load after an idle run, daemon", mean(delta.daemon), "ms");
    for (what, taken) in floor {
        table::fact(&format!("processor time of {what} alone"), *taken, "ms");
    }
    let sum: f64 = floor.iter().map(|(_, taken)| taken).sum();
    table::fact("all of these, on two processors without a gap", sum / 2.0, "ms");
    table::fact("that / cp -a", sum / 2.0 / copies, "");
}

fn load(taken: &mut Taken, daemon: &mut Daemon, target: &Path, options: &[&str]) {
    let pid = daemon.process().id();
    let mut command = Command::new(daemon::binary("cloakroom"));
    command.args(["--target", &daemon.url(), "--json", "load", "loads"]).arg(target).args(options);
    let (before, served, start) = (of_children(), of_threads(pid), Instant::now());
    let output = command.output().unwrap();
    taken.wall.push(start.elapsed().as_secs_f64() * 1000.0);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    taken.client += of_children() - before;
    taken.daemon += of_threads(pid) - served;
}

/// Processor time of the children that have ended, in milliseconds; the system counts it in hundredths of seconds.
fn of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    // Of proc(5): the first here is the third there, and these are the 16th and 17th.
    fields.skip(13).take(2).map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
}

/// Processor time of a process's threads, in milliseconds.
fn of_threads(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| floor::of_thread(&thread.unwrap().path())).sum()
}
