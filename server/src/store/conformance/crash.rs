//! Transactions of every kind, failed after each of their steps: what is stored afterwards is the state before or the state after, and a repetition finds out which.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Fixture,
    model::Space,
    scene::{Draft, Scene, any, dropped, fresh, key, swept, txn},
};
use crate::{
    model::{error::Reason, time::Micros},
    store::metadata::{Applied, Commit, Direction, Found, Index, Life, LogEntry, MAX_NUMBER, Number, Outcome, Range, Refusal, Require, Scope},
};

const HOUR: Duration = Duration::from_hours(1);
/// More steps than any of the transactions has.
const MOST_STEPS: u32 = 200;

/// What the transactions below start from.
fn start() -> Draft {
    txn()
        .put_marked("a", "a0", [("m", Number::Literal(1))])
        .put_for("waiting", "w0", swept(0))
        .put_for("dropping", "d0", dropped(3_600_000))
        .put("other", "o0")
        .member("i", "a", 1)
        .member("i", "gone", 2)
        .add("c", 5, 10)
        .meter("m", HOUR, 10, 1)
        .event(Scope::Sessions, "start")
}

/// Transactions that together make every kind of change, alone and all at once.
fn transactions(scene: &Start) -> Vec<(&'static str, Commit)> {
    let everything = || {
        txn()
            .need(Require::At(key("a"), scene.revision))
            .add("c", 3, 10)
            .add("new counter", 1, 1)
            .meter("m", HOUR, 10, 2)
            .meter("new meter", HOUR, 10, 1)
            .put_marked("a", "a1", [("m", Number::Keep), ("n", Number::Revision)])
            .put_for("new", "n1", swept(3_600_000))
            .touch("dropping", swept(3_600_000), [("m", Number::NowPlus(HOUR))])
            .delete("other")
            .member_at("i", "a", Number::MarkOf(key("a"), "n".into()))
            .member_at("j", "new", Number::Revision)
            .no_member("i", "gone")
            .event(Scope::Sessions, "all")
            .event(Scope::Cache, "all")
            .note("note")
    };
    let refused = txn().need(Require::Absent(key("a"))).put("a", "never");
    vec![
        ("nothing", txn().into()),
        ("a put", txn().put("new", "n1").into()),
        ("a sweep", txn().need(Require::Expired(key("waiting"), scene.revision)).delete("waiting").no_member("i", "a").event(Scope::Sessions, "swept").into()),
        ("a revival", txn().put_for("waiting", "w1", Life::Forever).member("i", "waiting", 3).into()),
        ("a counter back to zero", txn().add("c", -5, 0).touch("a", Life::Keep, []).into()),
        ("everything", everything().into()),
        ("everything, as a second choice", any([refused, everything()])),
    ]
}

/// The revision that wrote what the transactions start from.
struct Start {
    revision: crate::model::time::Revision,
}

pub(super) async fn a_fault_after_any_step_leaves_all_or_nothing(fixture: &dyn Fixture) {
    let kinds = transactions(&Start { revision: crate::model::time::Revision::ZERO }).len();
    for kind in 0..kinds {
        let mut faults_met = 0;
        for steps in 0..MOST_STEPS {
            if !one_fault(fixture, kind, steps).await {
                break;
            }
            faults_met += 1;
        }
        assert!((1..MOST_STEPS).contains(&faults_met), "transaction {kind} met {faults_met} faults");
    }
}

/// Runs one transaction with a fault after `steps` steps. Says whether it came to that.
async fn one_fault(fixture: &dyn Fixture, kind: usize, steps: u32) -> bool {
    let scene = fresh(fixture);
    let mut model = Space::default();
    let began = scene.apply(start()).await;
    model.commit(&start().into(), began.now, began.revision);
    scene.waiting("waiting").await;
    let (what, mut commit) = transactions(&Start { revision: began.revision }).swap_remove(kind);
    commit.op = Some("op".to_owned());
    assert_same(&scene, &model, what).await;

    fixture.faults().fail_after(steps);
    let answer = scene.store.commit(&scene.ns, commit.clone()).await;
    let met = fixture.faults().clear();
    match &answer {
        Ok(outcome) => assert!(!met, "{what}: a fault after {steps} steps, but the answer {outcome:?}"),
        Err(error) => assert_eq!(error.reason(), Reason::MetadataUnavailable, "{what}: {error:?}"),
    }
    let before = scene.get(&[]).await.revision == began.revision;
    if before {
        assert!(answer.is_err(), "{what}: acknowledged, but nothing changed");
        assert_same(&scene, &model, what).await;
    }
    // The repetition applies it now or says how it was applied; either way the result is that of one application.
    let applied: Applied = scene.apply(commit.clone()).await;
    assert_eq!(applied.replayed, !before, "{what}: a fault after {steps} steps");
    let Outcome::Applied(expected) = model.commit(&commit, applied.now, applied.revision) else { panic!("the model refuses {what}") };
    assert_eq!(applied, Applied { replayed: !before, ..expected }, "{what}");
    assert_same(&scene, &model, what).await;
    answer.is_err()
}

/// Commits that come together may be written together; a fault in one must leave nothing of it behind, and spare what was acknowledged.
pub(super) async fn a_fault_among_concurrent_commits_leaves_each_all_or_nothing(fixture: &dyn Fixture) {
    const COMMITS: usize = 12;
    let mut failures = 0;
    for steps in (0..100).step_by(3) {
        let scene = fresh(fixture);
        scene.apply(txn()).await;
        fixture.faults().fail_after(steps);
        let commits = (0..COMMITS).map(|n| {
            let name = format!("r{n}");
            let draft = txn().put(&name, "1").member("i", &name, 1).add("c", 1, 100).event(Scope::Sessions, &name).event(Scope::Cache, &name);
            scene.store.commit(&scene.ns, draft.op(&name))
        });
        let answers = futures::future::join_all(commits).await;
        let _ = fixture.faults().clear();
        let names = |entries: Vec<LogEntry>| entries.into_iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect::<BTreeSet<_>>();
        let logged = names(scene.log(Scope::Sessions).await);
        assert_eq!(names(scene.log(Scope::Cache).await), logged);
        let members: BTreeSet<String> = scene.members("i").await.into_iter().map(|(_, member)| member).collect();
        assert_eq!(members, logged, "after a fault at step {steps}");
        assert_eq!(scene.counter("c").await, i64::try_from(logged.len()).unwrap(), "after a fault at step {steps}");
        for (n, answer) in answers.into_iter().enumerate() {
            let name = format!("r{n}");
            assert_eq!(scene.absent(&name).await, !logged.contains(&name), "{name} after a fault at step {steps}");
            match answer {
                Ok(Outcome::Applied(_)) => assert!(logged.contains(&name), "{name} was acknowledged and is gone"),
                Ok(Outcome::Refused(refusals)) => panic!("{refusals:?}"),
                Err(error) => {
                    assert_eq!(error.reason(), Reason::MetadataUnavailable, "{error:?}");
                    failures += 1;
                }
            }
        }
    }
    assert!(failures > 0, "no fault was met");
}

/// Compares everything that the transactions above can have changed.
pub(super) async fn assert_same(scene: &Scene, model: &Space, what: &str) {
    let names = ["a", "waiting", "dropping", "other", "new", "none"];
    let reading = scene.get(&names).await;
    let expected: Vec<Found> = names.iter().map(|name| model.found(&key(name), reading.now)).collect();
    assert_eq!(reading.found, expected, "{what}");
    assert_eq!(reading.revision, model.revision(), "{what}");
    for index in ["i", "j"] {
        assert_eq!(scene.members(index).await, model.scan(&Index(index.to_owned()), &Range::From(None), Direction::Ascending, 1000), "{what}");
    }
    assert_eq!(scene.store.expired(&scene.ns, 1000).await.unwrap(), model.expired(1000, reading.now), "{what}");
    for scope in Scope::ALL {
        assert_eq!(scene.log(scope).await, model.events(scope, crate::model::time::Revision::ZERO, 1000), "{what}");
        assert_eq!(scene.store.history(&scene.ns, scope).await.unwrap().last, model.last(scope), "{what}");
    }
    for counter in ["c", "new counter"] {
        let probe: Commit = txn().add(counter, -MAX_NUMBER, 0).into();
        let refused = model.clone().commit(&probe, reading.now, model.revision());
        assert_eq!(Outcome::Refused(scene.refuse(probe).await), refused, "{what}");
    }
    for meter in ["m", "new meter"] {
        assert_same_meter(scene, model, meter, reading.now, what).await;
    }
}

/// A meter shows where it stands when something behind it refuses: itself if it is used up, else the record.
async fn assert_same_meter(scene: &Scene, model: &Space, meter: &str, now: Micros, what: &str) {
    for cost in 1..=10 {
        let probe: Commit = txn().meter(meter, HOUR, 10, cost).touch("none", Life::Keep, []).into();
        let Outcome::Refused(expected) = model.clone().commit(&probe, now, model.revision()) else { panic!("the model applies the probe of {meter}") };
        let found = scene.refuse(probe).await;
        let same_kind = matches!((&found[0], &expected[0]), (Refusal::Meter { .. }, Refusal::Meter { .. }) | (Refusal::Record(_), Refusal::Record(_)));
        assert!(same_kind, "{what}: meter {meter} refuses {cost} units with {found:?} instead of {expected:?}");
    }
}
