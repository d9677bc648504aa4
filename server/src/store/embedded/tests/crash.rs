//! A daemon is killed in the middle of its commits, again and again: what it acknowledged is there, and of the rest each transaction is there as a whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::*;
use crate::store::metadata::{Add, IndexChange, Require};

/// The directory and the first number for the child.
const DIR: &str = "CLOAKROOM_TEST_CRASH_DIR";
const FIRST: &str = "CLOAKROOM_TEST_CRASH_FIRST";
/// How often the child is killed.
const KILLS: usize = 24;
/// Commits in flight at once.
const COMMITTERS: usize = 6;

/// Transaction number `n`: a record, an index member scored by it, a counter and an event, which stand or fall together.
fn numbered(n: u32) -> Commit {
    let name = format!("r{n}");
    let member = IndexChange::Add(Index("all".to_owned()), name.clone(), Number::MarkOf(key(&name), "at".into()));
    let txn = Txn {
        requires: vec![Require::Absent(key(&name))],
        adds: vec![Add { counter: key("count"), delta: 1, max: 1 << 50 }],
        indices: vec![member],
        events: vec![(Scope::Sessions, name.clone().into())],
        ..put(&name, n.to_string().repeat(usize::try_from(n % 200).unwrap() + 1))
    };
    Commit { alternatives: vec![txn], op: Some(format!("op{n}")) }
}

/// The killed daemon: not a test by itself, it does nothing unless [`DIR`] is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let next = AtomicU32::new(std::env::var(FIRST).unwrap().parse().unwrap());
    let store = open(Path::new(&dir));
    let committer = || async {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let revision = apply(&store, numbered(n)).await.revision;
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {n} {revision}").unwrap();
            out.flush().unwrap();
        }
    };
    futures::future::join_all((0..COMMITTERS).map(|_| committer())).await;
}

/// Runs the child on a directory, kills it after a while, and says what it had acknowledged.
fn run_and_kill(dir: &Path, first: u32, lifetime: Duration) -> BTreeMap<u32, Revision> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::tests::crash::child", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in out.lines() {
            let line = line.unwrap();
            // A line that the kill cut short acknowledges nothing.
            if let Some((n, revision)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' '))
                && let (Ok(n), Ok(revision)) = (n.parse(), revision.parse())
            {
                acknowledged.insert(n, Revision(revision));
            }
        }
        acknowledged
    });
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap()
}

/// Everything the store holds, by transaction number, each part of the store on its own.
struct Contents {
    members: BTreeMap<u32, Revision>,
    events: BTreeMap<u32, Revision>,
    records: BTreeMap<u32, Revision>,
    count: i64,
}

async fn contents(store: &Embedded, highest: u32) -> Contents {
    let ns = Namespace::default();
    let number = |name: &[u8]| std::str::from_utf8(name).unwrap()[1..].parse::<u32>().unwrap();
    let (mut members, mut position) = (BTreeMap::new(), None);
    loop {
        let page = store.scan(&ns, &Index("all".to_owned()), &Range::From(position), Direction::Ascending, 1000).await.unwrap();
        members.extend(page.iter().map(|(score, member)| (number(member.as_bytes()), Revision(*score))));
        let Some(last) = page.last() else { break };
        position = Some(last.clone());
    }
    let (mut events, mut after) = (BTreeMap::new(), Revision::ZERO);
    loop {
        let page = store.events(&ns, Scope::Sessions, after, 1000).await.unwrap();
        for entry in &page.entries {
            assert_eq!(entry.previous, after, "the log has a gap");
            after = entry.revision;
            events.insert(number(&entry.payload), entry.revision);
        }
        assert!(page.head.last >= after && page.head.revision >= page.head.last);
        if page.entries.is_empty() {
            assert_eq!(page.head.last, after);
            break;
        }
    }
    let mut records = BTreeMap::new();
    for from in (0..highest).step_by(1000) {
        let numbers: Vec<u32> = (from..highest.min(from + 1000)).collect();
        let reading = store.get(&ns, &numbers.iter().map(|n| key(&format!("r{n}"))).collect::<Vec<_>>()).await.unwrap();
        for (n, found) in numbers.into_iter().zip(reading.found) {
            if let Some(record) = found.live() {
                assert_eq!(record.value, n.to_string().repeat(usize::try_from(n % 200).unwrap() + 1));
                assert_eq!(record.mark("at"), record.revision.0);
                records.insert(n, record.revision);
            }
        }
    }
    let probe = Txn { adds: vec![Add { counter: key("count"), delta: -(1 << 50), max: 0 }], ..Txn::default() };
    let outcome = store.commit(&ns, probe.into()).await.unwrap();
    let Outcome::Refused(refusals) = outcome else { panic!("{outcome:?}") };
    let [crate::store::metadata::Refusal::Counter { value: count, .. }] = refusals[..] else { panic!("{refusals:?}") };
    Contents { members, events, records, count }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_daemon_acknowledged_is_there_and_the_rest_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let history = head(&store).await.history;
    store.close().await;
    let (mut acknowledged, mut unanswered, mut first) = (BTreeMap::new(), 0, 0);
    for _ in 0..KILLS {
        let lifetime = Duration::from_micros(u64::from(u16::from_be_bytes(clock::random().unwrap())) * 4);
        let answered = run_and_kill(dir.path(), first, lifetime);
        acknowledged.extend(answered);
        // The child had at most so many in flight beyond the last that was answered.
        let end = acknowledged.keys().last().map_or(first, |last| first.max(last + 1)) + u32::try_from(COMMITTERS).unwrap() * 2;

        let store = open(dir.path());
        assert_eq!(head(&store).await.history, history, "a kill ends no history");
        let Contents { members, events, records, count } = contents(&store, end).await;
        assert_eq!((&members, &events), (&records, &records), "a transaction is there in part");
        assert_eq!(count, i64::try_from(records.len()).unwrap());
        for (n, revision) in &acknowledged {
            assert_eq!(records.get(n), Some(revision), "transaction {n} was acknowledged and is gone or changed");
        }
        let revisions: BTreeSet<_> = records.values().collect();
        assert_eq!(revisions.len(), records.len());
        // Nobody heard of these; a repetition finds out, and then they are there like all others.
        for n in first..end {
            let applied = apply(&store, numbered(n)).await;
            assert_eq!(applied.replayed, records.contains_key(&n), "transaction {n}");
            unanswered += usize::from(applied.replayed && !acknowledged.contains_key(&n));
            acknowledged.insert(n, applied.revision);
        }
        store.close().await;
        first = end;
    }
    assert!(acknowledged.len() > KILLS * 20, "only {} transactions in {KILLS} lives", acknowledged.len());
    println!("{KILLS} kills, {} transactions, {unanswered} of them durable but unanswered", acknowledged.len());
}
