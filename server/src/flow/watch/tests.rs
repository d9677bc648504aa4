//! The guarantee, on a real engine, and on one that loses wake-ups, entries and histories.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    model::{
        error::{Error, Reason},
        event::{self, ChangeKind},
        selector::Selector,
        time::History,
    },
    store::{
        embedded::{Embedded, Limits},
        metadata::{Commit, Direction, EngineInfo, ExpiredRecord, Head, Index, Key, LogPage, Outcome, Range, Reading, Scope, Txn},
    },
};

/// The real engine, with faults to switch on.
#[derive(Debug)]
struct Faulty {
    inner: Embedded,
    no_wakes: AtomicBool,
    drop_entry: AtomicBool,
    other_history: AtomicBool,
    down: AtomicBool,
}

impl Faulty {
    fn up(&self) -> Result<()> {
        if self.down.load(Ordering::Relaxed) { Err(Error::new(Reason::MetadataUnavailable, "down by a test")) } else { Ok(()) }
    }

    fn head(&self, mut head: Head) -> Head {
        if self.other_history.load(Ordering::Relaxed) {
            head.history = History("other".to_owned());
        }
        head
    }
}

#[async_trait::async_trait]
impl Metadata for Faulty {
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        self.inner.get(ns, keys).await
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        self.inner.scan(ns, index, range, direction, limit).await
    }

    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        self.inner.commit(ns, commit).await
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        self.inner.expired(ns, limit).await
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        self.up()?;
        let mut page = self.inner.events(ns, scope, after, limit).await?;
        if !page.entries.is_empty() && self.drop_entry.swap(false, Ordering::Relaxed) {
            page.entries.remove(0);
        }
        page.head = self.head(page.head);
        Ok(page)
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        self.up()?;
        Ok(self.head(self.inner.history(ns, scope).await?))
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        if self.no_wakes.load(Ordering::Relaxed) {
            return Ok(watch::channel(Revision::ZERO).1);
        }
        self.inner.watch(ns).await
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.inner.namespaces().await
    }

    async fn probe(&self) -> Result<EngineInfo> {
        self.inner.probe().await
    }
}

struct Rig {
    store: Arc<Faulty>,
    hub: Hub,
    ns: Namespace,
}

const LONG: Duration = Duration::from_hours(1);

fn rig_with(limits: Limits, no_wakes: bool) -> Rig {
    let store = Arc::new(Faulty {
        inner: Embedded::ephemeral(limits).unwrap(),
        no_wakes: AtomicBool::new(no_wakes),
        drop_entry: AtomicBool::new(false),
        other_history: AtomicBool::new(false),
        down: AtomicBool::new(false),
    });
    let hub = Hub::new(store.clone(), Arc::new(Tasks::new()));
    Rig { store, hub, ns: Namespace::default() }
}

fn rig() -> Rig {
    rig_with(Limits::default(), false)
}

impl Rig {
    async fn change(&self, session: &str, business: &str) -> Revision {
        let change = Change { kind: ChangeKind::SessionUpdated.into(), session: session.to_owned(), business: business.to_owned(), ..Change::default() };
        let txn = Txn { events: vec![(Scope::Sessions, Bytes::from(event::encode(vec![change])))], ..Txn::default() };
        match self.store.commit(&self.ns, txn.into()).await.unwrap() {
            Outcome::Applied(applied) => applied.revision,
            Outcome::Refused(why) => panic!("refused: {why:?}"),
        }
    }

    async fn subscribe(&self, selectors: Vec<Selector>, start: Start, bookmark_every: Duration) -> Subscriber {
        let mut subscriber = self.hub.subscribe(&self.ns, Selectors::new(selectors), start, bookmark_every).await.unwrap();
        assert_eq!(hear(&mut subscriber).await.event, Event::Opened);
        subscriber
    }
}

async fn hear(subscriber: &mut Subscriber) -> Message {
    timeout(Duration::from_secs(20), subscriber.next()).await.expect("heard nothing for 20 s").unwrap().expect("the stream ended")
}

/// Hears changes until `count` revisions came, and nothing but changes.
async fn hear_changes(subscriber: &mut Subscriber, count: usize) -> Vec<Revision> {
    let mut revisions = Vec::new();
    while revisions.len() < count {
        match hear(subscriber).await.event {
            Event::Changes(matched) => revisions.extend(matched.into_iter().map(|one| one.revision)),
            other => panic!("{other:?} instead of a change"),
        }
    }
    revisions
}

fn of_business(business: &str) -> Selector {
    Selector { business: Some(business.to_owned()), ..Selector::default() }
}

#[tokio::test]
async fn every_change_comes_once_and_in_order_also_across_a_resume() {
    let rig = rig();
    let mut subscriber = rig.subscribe(vec![], Start::Now, LONG).await;
    let mut made = Vec::new();
    for _ in 0..700 {
        made.push(rig.change("s", "b").await);
    }
    let mut heard = hear_changes(&mut subscriber, 300).await;
    let (history, at) = (subscriber.history_for_test(), *heard.last().unwrap());
    drop(subscriber);
    let mut resumed = rig.subscribe(vec![], Start::Resume(history, at), LONG).await;
    heard.extend(hear_changes(&mut resumed, 700 - heard.len()).await);
    assert_eq!(heard, made);
}

#[tokio::test]
async fn a_namespace_that_was_never_written_to_loses_nothing() {
    let rig = rig();
    let mut subscriber = rig.subscribe(vec![], Start::Now, LONG).await;
    let first = rig.change("s", "b").await;
    let message = hear(&mut subscriber).await;
    assert_eq!(message.event, Event::Changes(vec![Matched { revision: first, changes: changes_of("s", "b") }]));
    let second = rig.change("s", "b").await;
    let mut resumed = rig.subscribe(vec![], Start::Resume(message.history, message.revision), LONG).await;
    assert_eq!(hear_changes(&mut resumed, 1).await, [second]);
}

fn changes_of(session: &str, business: &str) -> Vec<Change> {
    vec![Change { kind: ChangeKind::SessionUpdated.into(), session: session.to_owned(), business: business.to_owned(), ..Change::default() }]
}

#[tokio::test]
async fn a_selector_lets_through_only_what_matches_and_positions_move_on() {
    let rig = rig();
    let mut subscriber = rig.subscribe(vec![of_business("mine")], Start::Now, Duration::from_millis(30)).await;
    let mut mine = Vec::new();
    for number in 0..50 {
        let revision = rig.change("s", if number % 10 == 0 { "mine" } else { "other" }).await;
        if number % 10 == 0 {
            mine.push(revision);
        }
    }
    let mut heard = Vec::new();
    let last = rig.change("s", "other").await;
    loop {
        let message = hear(&mut subscriber).await;
        match message.event {
            Event::Changes(matched) => heard.extend(matched.into_iter().map(|one| one.revision)),
            Event::Bookmark if message.revision >= last => break,
            Event::Bookmark => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, mine);
}

#[tokio::test]
async fn a_bookmark_never_overtakes_a_change() {
    let rig = rig();
    let mut subscriber = rig.subscribe(vec![], Start::Now, Duration::from_millis(1)).await;
    let mut heard = Revision::ZERO;
    for _ in 0..200 {
        let made = rig.change("s", "b").await;
        loop {
            let message = hear(&mut subscriber).await;
            match message.event {
                Event::Changes(matched) => heard = matched.last().unwrap().revision,
                Event::Bookmark => assert!(message.revision < made || heard >= made, "a bookmark at {} before {made}", message.revision),
                other => panic!("{other:?}"),
            }
            if heard >= made {
                break;
            }
        }
    }
}

#[tokio::test]
async fn positions_that_were_never_given_out_are_reset() {
    let rig = rig();
    let revision = rig.change("s", "b").await;
    let elsewhere = |revision| Start::Resume(History("elsewhere".to_owned()), revision);
    // Also from the beginning of the other history: what it acknowledged later was never heard of.
    let foreign = |history: &str| Start::Foreign(History(history.to_owned()));
    for start in [Start::After(Revision(revision.0 + 1_000_000_000)), elsewhere(revision), elsewhere(Revision::ZERO), foreign("elsewhere"), foreign("")] {
        let mut subscriber = rig.subscribe(vec![], start, LONG).await;
        assert_eq!(hear(&mut subscriber).await.event, Event::Reset(ResetReason::HistoryChanged));
        let next = rig.change("s", "b").await;
        assert_eq!(hear_changes(&mut subscriber, 1).await, [next]);
    }
    // Who hears only that it opened, and dies, is told of the reset the next time.
    let opened = rig.hub.subscribe(&rig.ns, Selectors::new(vec![]), elsewhere(revision), LONG).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(opened.event, Event::Opened);
    let mut again = rig.subscribe(vec![], Start::Resume(opened.history, opened.revision), LONG).await;
    assert_eq!(hear(&mut again).await.event, Event::Reset(ResetReason::HistoryChanged));
    let own = foreign(&rig.subscribe(vec![], Start::Now, LONG).await.history().0);
    let forged = rig.hub.subscribe(&rig.ns, Selectors::new(vec![]), own, LONG).await.unwrap_err();
    assert_eq!(forged.reason(), Reason::InvalidResumeToken);
    for start in [Start::After(Revision(revision.0 - 1)), Start::Resume(History::default(), Revision::ZERO)] {
        let mut subscriber = rig.subscribe(vec![], start, LONG).await;
        assert_eq!(hear_changes(&mut subscriber, 1).await[0], revision);
    }
}

#[tokio::test]
async fn one_who_sleeps_through_more_than_memory_holds_reads_the_log_and_misses_nothing() {
    let rig = rig();
    let mut sleeper = rig.subscribe(vec![of_business("mine")], Start::Now, LONG).await;
    let mut mine = Vec::new();
    for number in 0..9_500 {
        let concerned = number % 100 == 0;
        let revision = rig.change("s", if concerned { "mine" } else { "other" }).await;
        if concerned {
            mine.push(revision);
        }
    }
    let mut watcher = rig.subscribe(vec![], Start::Now, LONG).await;
    let last = rig.change("s", "other").await;
    assert_eq!(hear_changes(&mut watcher, 1).await, [last]);
    assert_eq!(hear_changes(&mut sleeper, mine.len()).await, mine);
}

#[tokio::test]
async fn what_the_log_no_longer_holds_is_a_reset() {
    let rig = rig_with(Limits { log_entries: 100, ..Limits::default() }, false);
    let first = rig.change("s", "b").await;
    // Trimming is the store's business, now and then.
    let trimmed = |page: LogPage| page.entries.first().is_some_and(|entry| entry.previous > first);
    while !trimmed(rig.store.events(&rig.ns, Scope::Sessions, first, 1).await.unwrap()) {
        rig.change("s", "b").await;
    }
    let history = rig.store.history(&rig.ns, Scope::Sessions).await.unwrap().history;
    let mut subscriber = rig.subscribe(vec![], Start::Resume(history, first), LONG).await;
    assert_eq!(hear(&mut subscriber).await.event, Event::Reset(ResetReason::Compacted));
    let next = rig.change("s", "b").await;
    assert_eq!(hear_changes(&mut subscriber, 1).await, [next]);
}

#[tokio::test]
async fn a_lost_wake_up_costs_a_second_and_no_change() {
    let rig = rig_with(Limits::default(), true);
    let mut subscriber = rig.subscribe(vec![], Start::Now, LONG).await;
    let started = crate::clock::monotonic();
    let revision = rig.change("s", "b").await;
    assert_eq!(hear_changes(&mut subscriber, 1).await, [revision]);
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_hole_in_the_log_is_a_reset() {
    let rig = rig();
    rig.change("s", "b").await;
    let mut subscriber = rig.subscribe(vec![], Start::Now, LONG).await;
    rig.store.drop_entry.store(true, Ordering::Relaxed);
    rig.change("s", "b").await;
    assert_eq!(hear(&mut subscriber).await.event, Event::Reset(ResetReason::Gap));
    let next = rig.change("s", "b").await;
    assert_eq!(hear_changes(&mut subscriber, 1).await, [next]);
}

#[tokio::test]
async fn another_history_is_a_reset_also_when_nobody_writes() {
    let rig = rig();
    rig.change("s", "b").await;
    let mut subscriber = rig.subscribe(vec![of_business("nobody")], Start::Now, LONG).await;
    rig.store.other_history.store(true, Ordering::Relaxed);
    let message = hear(&mut subscriber).await;
    assert_eq!((message.event, message.history), (Event::Reset(ResetReason::HistoryChanged), History("other".to_owned())));
}

#[tokio::test]
async fn draining_ends_every_stream_after_what_is_pending() {
    let rig = rig();
    let mut subscriber = rig.subscribe(vec![], Start::Now, LONG).await;
    let revision = rig.change("s", "b").await;
    assert_eq!(hear_changes(&mut subscriber, 1).await, [revision]);
    rig.hub.drain();
    assert_eq!(hear(&mut subscriber).await.event, Event::Draining);
    assert_eq!(subscriber.next().await.unwrap(), None);
}

/// Bookmarks may still come for a while after the log was last read; what is complete is not later than that reading.
#[tokio::test]
async fn a_bookmark_does_not_make_an_old_reading_younger() {
    let rig = rig_with(Limits::default(), true);
    let mut subscriber = rig.subscribe(vec![], Start::Now, Duration::from_millis(100)).await;
    let opened = subscriber.complete().expect("it begins at the log's end");
    assert!(opened <= crate::clock::monotonic());
    rig.store.down.store(true, Ordering::Relaxed);
    let down = crate::clock::monotonic();
    let mut bookmarks = 0;
    while down.elapsed() < Duration::from_millis(1500) {
        assert_eq!(hear(&mut subscriber).await.event, Event::Bookmark);
        assert!(subscriber.complete().unwrap() <= down, "nothing was read since");
        bookmarks += 1;
    }
    assert!(bookmarks > 5);
    rig.store.down.store(false, Ordering::Relaxed);
    while subscriber.complete().unwrap() <= down {
        assert_eq!(hear(&mut subscriber).await.event, Event::Bookmark);
    }
}
