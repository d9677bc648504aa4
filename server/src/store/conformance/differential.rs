//! Random commits and reads, applied to the engine and to the [model](super::model) alike, are answered alike.

use std::time::Duration;

use super::{
    Fixture,
    model::Space,
    scene::{Draft, Scene, fresh, index, key, swept, txn},
};
use crate::{
    clock,
    model::time::{Micros, Revision},
    store::metadata::{Commit, Direction, Found, Key, Life, MAX_NUMBER, Number, Outcome, Range, Refusal, Require, Scope, When},
};

/// Operations of one run.
const OPERATIONS: usize = 2_000;
/// The environment variable that repeats a run with its seed.
const SEED: &str = "CLOAKROOM_CONFORMANCE_SEED";

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const MARKS: [&str; 3] = ["m", "n", "o"];
const INDICES: [&str; 3] = ["i", "j", "k"];
const MEMBERS: [&str; 6] = ["a", "aa", "ab", "b", "ä", "\u{10FFFF}"];
const HOUR: Duration = Duration::from_hours(1);

/// `SplitMix64`: small, fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn small(&mut self) -> i64 {
        i64::try_from(self.below(9)).unwrap() - 2
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(super) async fn random_operations_agree_with_the_model(fixture: &dyn Fixture) {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from_be_bytes(clock::random().unwrap()),
    };
    let mut run = Run { scene: fresh(fixture), model: Space::default(), random: Random(seed), seen: Vec::new(), label: String::new(), applied: 0 };
    for n in 0..OPERATIONS {
        run.label = format!("operation {n} of the run with {SEED}={seed}");
        match run.random.below(10) {
            0..6 => run.commit().await,
            6 => run.get().await,
            7 => run.scan().await,
            8 => run.log().await,
            _ => run.expired().await,
        }
    }
    assert!(run.applied > OPERATIONS / 10, "only {} of {OPERATIONS} operations changed anything, with {SEED}={seed}", run.applied);
}

struct Run {
    scene: Scene,
    model: Space,
    random: Random,
    /// Revisions to require, most of them outdated.
    seen: Vec<Revision>,
    label: String,
    applied: usize,
}

impl Run {
    async fn commit(&mut self) {
        let alternatives = (0..=self.random.below(3)).map(|_| self.draft().0).collect();
        let op = self.random.chance(15).then(|| format!("op{}", self.random.below(40)));
        let commit = Commit { alternatives, op };
        let before = self.scene.get(&[]).await.now;
        let outcome = self.scene.store.commit(&self.scene.ns, commit.clone()).await.unwrap();
        let Outcome::Applied(applied) = &outcome else {
            let expected = self.model.commit(&commit, before, self.model.revision());
            assert!(same_refusals(&outcome, &expected), "{}: {commit:?} gave {outcome:?} instead of {expected:?}", self.label);
            return;
        };
        if !applied.replayed {
            assert!(applied.revision > self.model.revision() && applied.revision.0 >= applied.now.0, "{}: {applied:?}", self.label);
            self.seen.push(applied.revision);
            self.applied += 1;
        }
        let expected = self.model.commit(&commit, applied.now, applied.revision);
        assert_eq!(outcome, expected, "{}: {commit:?}", self.label);
    }

    async fn get(&self) {
        let reading = self.scene.get(&KEYS).await;
        let expected: Vec<Found> = KEYS.iter().map(|name| self.model.found(&key(name), reading.now)).collect();
        assert_eq!((reading.found, reading.revision), (expected, self.model.revision()), "{}", self.label);
    }

    async fn scan(&mut self) {
        let name = self.random.of(&INDICES);
        // Only the last index has scores that are all 0.
        let range = match self.random.below(3) {
            0 => Range::From(None),
            _ if name == "k" => Range::Prefix(self.random.of(&["", "a", "aa", "b", "ä", "z"]).to_owned()),
            _ => Range::From(Some((self.random.small(), self.random.of(&MEMBERS).to_owned()))),
        };
        let direction = self.random.of(&[Direction::Ascending, Direction::Descending]);
        let limit = usize::try_from(self.random.below(8)).unwrap();
        let found = self.scene.scan(name, range.clone(), direction, limit).await;
        assert_eq!(found, self.model.scan(&index(name), &range, direction, limit), "{}: {name} {range:?} {direction:?}", self.label);
    }

    async fn log(&mut self) {
        let scope = self.random.of(&Scope::ALL);
        let after = if self.seen.is_empty() || self.random.chance(20) { Revision::ZERO } else { self.random.of(&self.seen) };
        let page = self.scene.store.events(&self.scene.ns, scope, after, 20).await.unwrap();
        assert_eq!(page.entries, self.model.events(scope, after, 20), "{}", self.label);
        assert_eq!((page.head.revision, page.head.last), (self.model.revision(), self.model.last(scope)), "{}", self.label);
    }

    async fn expired(&mut self) {
        let limit = usize::try_from(self.random.below(5)).unwrap();
        let found = self.scene.store.expired(&self.scene.ns, limit).await.unwrap();
        let now = self.scene.get(&[]).await.now;
        let expected = self.model.expired(1000, now);
        // Engines may order equal expiries as they like; which of them a page shows is then open.
        assert_eq!(found.len(), limit.min(expected.len()), "{}", self.label);
        assert!(found.is_sorted_by_key(|waiting| waiting.record.expires_at), "{}", self.label);
        assert!(found.iter().all(|waiting| expected.contains(waiting)), "{}: {found:?} are not among {expected:?}", self.label);
        let times = |list: &[crate::store::metadata::ExpiredRecord]| list.iter().take(limit).map(|waiting| waiting.record.expires_at).collect::<Vec<_>>();
        assert_eq!(times(&found), times(&expected), "{}", self.label);
    }

    fn draft(&mut self) -> Draft {
        let mut draft = txn();
        for _ in 0..self.random.below(3) {
            draft = draft.need(self.require());
        }
        if self.random.chance(20) {
            draft = draft.add(self.random.of(&["x", "y"]), self.random.small(), 6);
        }
        if self.random.chance(20) {
            let cost = 1 + u32::try_from(self.random.below(3)).unwrap();
            draft = draft.meter(self.random.of(&["x", "y"]), HOUR, 50, cost);
        }
        let mut free: Vec<&str> = KEYS.to_vec();
        for _ in 0..self.random.below(4) {
            let at = usize::try_from(self.random.below(free.len() as u64)).unwrap();
            draft = self.write(draft, free.swap_remove(at));
        }
        for _ in 0..self.random.below(4) {
            draft = self.index(draft);
        }
        for scope in Scope::ALL {
            if self.random.chance(30) {
                draft = draft.event(scope, &self.random.below(1000).to_string());
            }
        }
        draft.note(self.random.of(&["", "note"]))
    }

    fn require(&mut self) -> Require {
        let name = key(self.random.of(&KEYS));
        match self.random.below(4) {
            0 => Require::Absent(name),
            1 => Require::Mark(name, self.random.of(&MARKS).into(), self.random.small().max(0)),
            kind => {
                // Mostly the right revision, or hardly anything would ever be applied.
                let right = match self.model.found(&name, Micros(2)) {
                    Found::Absent => Revision(1),
                    Found::Live(record) | Found::Expired(record) => record.revision,
                };
                let revision = if self.random.chance(80) || self.seen.is_empty() { right } else { self.random.of(&self.seen) };
                if kind == 2 { Require::At(name, revision) } else { Require::Expired(name, revision) }
            }
        }
    }

    /// Expiries lie in the past or an hour ahead, so that the moment of a call does not matter.
    fn life(&mut self) -> Life {
        let past = When::At(Micros(1 + i64::try_from(self.random.below(3)).unwrap()));
        match self.random.below(8) {
            0..3 => Life::Forever,
            3 => Life::Keep,
            4 => Life::SweptAt(past),
            5 => Life::DroppedAt(past),
            6 => swept(3_600_000),
            _ => Life::DroppedAt(When::In(HOUR)),
        }
    }

    fn write(&mut self, draft: Draft, name: &str) -> Draft {
        let marks = [(self.random.of(&["m", "n"]), self.mark()), ("o", self.mark())];
        match self.random.below(10) {
            0..5 => draft.put_all(name, &self.random.below(1000).to_string(), self.life(), marks),
            5 => draft.put_all(name, "", self.life(), []),
            6 | 7 => draft.touch(name, self.life(), marks),
            _ => draft.delete(name),
        }
    }

    fn mark(&mut self) -> Number {
        match self.random.below(5) {
            0 => Number::Keep,
            1 => Number::Revision,
            2 => Number::NowPlus(HOUR),
            3 => Number::Literal(self.random.of(&[MAX_NUMBER, -MAX_NUMBER])),
            _ => Number::Literal(self.random.small()),
        }
    }

    fn index(&mut self, draft: Draft) -> Draft {
        let (name, member) = (self.random.of(&INDICES), self.random.of(&MEMBERS));
        if self.random.chance(30) {
            return draft.no_member(name, member);
        }
        let score = match self.random.below(4) {
            _ if name == "k" => Number::Literal(0),
            0 => Number::Revision,
            1 => Number::MarkOf(Key(self.random.of(&KEYS).to_owned()), self.random.of(&MARKS).into()),
            2 => Number::NowPlus(HOUR),
            _ => Number::Literal(self.random.small()),
        };
        draft.member_at(name, member, score)
    }
}

/// Equal, but for the microseconds that passed between the model's moment and the engine's.
fn same_refusals(found: &Outcome, expected: &Outcome) -> bool {
    let (Outcome::Refused(found), Outcome::Refused(expected)) = (found, expected) else { return false };
    let slack = Duration::from_mins(1);
    found.len() == expected.len()
        && found.iter().zip(expected).all(|pair| match pair {
            (Refusal::Meter { meter, retry_after }, Refusal::Meter { meter: other, retry_after: expected }) => {
                meter == other && retry_after.abs_diff(*expected) < slack
            }
            (found, expected) => found == expected,
        })
}
