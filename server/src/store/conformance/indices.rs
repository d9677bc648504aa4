//! Indices: ordered, paged, and scored by numbers that only the transaction knows.

use std::time::Duration;

use super::{
    Fixture,
    scene::{fresh, key, listed, swept, txn},
};
use crate::store::metadata::{
    Direction::{Ascending, Descending},
    Life, Number, Range,
};

pub(super) async fn members_are_ordered_by_score_then_by_bytes(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    assert_eq!(scene.members("i").await, []);
    let mut draft = txn();
    for (score, member) in [(2, "b"), (2, "a"), (10, "A"), (-5, "z"), (2, "ä"), (2, "B"), (2, "aa"), (0, "\u{10FFFF}"), (0, "\u{FFFD}")] {
        draft = draft.member("i", member, score);
    }
    scene.apply(draft).await;
    let ordered = [(-5, "z"), (0, "\u{FFFD}"), (0, "\u{10FFFF}"), (2, "B"), (2, "a"), (2, "aa"), (2, "b"), (2, "ä"), (10, "A")];
    assert_eq!(scene.members("i").await, listed(ordered));
    let mut backwards = listed(ordered);
    backwards.reverse();
    assert_eq!(scene.scan("i", Range::From(None), Descending, 1000).await, backwards);
}

pub(super) async fn adding_a_member_again_moves_it(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().member("i", "a", 1).member("i", "b", 2).member("other", "a", 1)).await;
    scene.apply(txn().member("i", "a", 3)).await;
    assert_eq!(scene.members("i").await, listed([(2, "b"), (3, "a")]));
    assert_eq!(scene.members("other").await, listed([(1, "a")]));
}

pub(super) async fn removing_a_missing_member_succeeds(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().no_member("i", "a")).await;
    scene.apply(txn().member("i", "a", 1).member("i", "b", 1)).await;
    scene.apply(txn().no_member("i", "a")).await;
    scene.apply(txn().no_member("i", "a")).await;
    assert_eq!(scene.members("i").await, listed([(1, "b")]));
}

pub(super) async fn index_changes_apply_in_their_order(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().member("i", "a", 1)).await;
    scene.apply(txn().no_member("i", "a").member("i", "a", 2).member("i", "b", 1).no_member("i", "b").member("i", "c", 1).member("i", "c", 3)).await;
    assert_eq!(scene.members("i").await, listed([(2, "a"), (3, "c")]));
}

pub(super) async fn a_scan_starts_after_its_position_and_keeps_to_its_limit(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().member("i", "a", 1).member("i", "b", 1).member("i", "c", 2).member("i", "d", 3)).await;
    let from = |score: i64, member: &str| Range::From(Some((score, member.to_owned())));
    assert_eq!(scene.scan("i", Range::From(None), Ascending, 2).await, listed([(1, "a"), (1, "b")]));
    assert_eq!(scene.scan("i", Range::From(None), Descending, 2).await, listed([(3, "d"), (2, "c")]));
    assert_eq!(scene.scan("i", Range::From(None), Ascending, 0).await, []);
    assert_eq!(scene.scan("i", from(1, "a"), Ascending, 10).await, listed([(1, "b"), (2, "c"), (3, "d")]));
    assert_eq!(scene.scan("i", from(2, "c"), Descending, 10).await, listed([(1, "b"), (1, "a")]));
    assert_eq!(scene.scan("i", from(1, "aa"), Ascending, 1).await, listed([(1, "b")]), "no member stands there");
    assert_eq!(scene.scan("i", from(2, ""), Ascending, 1).await, listed([(2, "c")]), "before all members of a score");
    assert_eq!(scene.scan("i", from(2, "b"), Descending, 1).await, listed([(1, "b")]));
    assert_eq!(scene.scan("i", from(9, "a"), Ascending, 10).await, []);
    assert_eq!(scene.scan("i", from(0, "a"), Descending, 10).await, []);
}

/// What is there during the whole listing appears exactly once, whatever comes and goes meanwhile.
pub(super) async fn scan_pages_are_stable_under_inserts(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    for direction in [Ascending, Descending] {
        let name = format!("{direction:?}");
        let mut draft = txn();
        for n in 0..20 {
            draft = draft.member(&name, &format!("stays{n:02}"), n * 10);
        }
        scene.apply(draft).await;
        let (mut seen, mut position) = (Vec::new(), None);
        for round in 0.. {
            let page = scene.scan(&name, Range::From(position.clone()), direction, 3).await;
            let Some(last) = page.last() else { break };
            position = Some(last.clone());
            seen.extend(page.into_iter().map(|(_, member)| member).filter(|member| member.starts_with("stays")));
            let guest = format!("guest{round}");
            let mut churn = txn().member(&name, &guest, last_score(position.as_ref()) - 1).member(&name, &format!("{guest}-after"), round * 7);
            if round > 0 {
                churn = churn.no_member(&name, &format!("guest{}", round - 1));
            }
            if round < 20 {
                scene.apply(churn).await;
            }
            assert!(round < 100, "the listing does not end");
        }
        let mut expected: Vec<String> = (0..20).map(|n| format!("stays{n:02}")).collect();
        if direction == Descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

fn last_score(position: Option<&(i64, String)>) -> i64 {
    position.map_or(0, |(score, _)| *score)
}

pub(super) async fn a_prefix_selects_its_members(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut draft = txn();
    for member in ["a", "ab", "abc", "ab\u{10FFFF}", "ab\u{10FFFF}\u{10FFFF}z", "ac", "b", "ABC", "ä", "äb", "a\u{7F}", "ab*"] {
        draft = draft.member("i", member, 0);
    }
    scene.apply(draft).await;
    let scan = |prefix: &str, direction, limit| scene.scan("i", Range::Prefix(prefix.to_owned()), direction, limit);
    let members = |found: Vec<(i64, String)>| found.into_iter().map(|(_, member)| member).collect::<Vec<_>>();
    let ab = ["ab", "ab*", "abc", "ab\u{10FFFF}", "ab\u{10FFFF}\u{10FFFF}z"];
    assert_eq!(members(scan("ab", Ascending, 1000).await), ab);
    assert_eq!(members(scan("ab", Descending, 1000).await), ab.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(members(scan("ab", Ascending, 2).await), ["ab", "ab*"]);
    assert_eq!(members(scan("ab", Descending, 1).await), ["ab\u{10FFFF}\u{10FFFF}z"]);
    assert_eq!(members(scan("ä", Ascending, 1000).await), ["ä", "äb"]);
    assert_eq!(members(scan("ab*", Ascending, 1000).await), ["ab*"], "a prefix is no pattern");
    assert_eq!(members(scan("none", Ascending, 1000).await), Vec::<String>::new());
    assert_eq!(members(scan("", Ascending, 1000).await).len(), 12);
}

pub(super) async fn scores_resolve_inside_the_transaction(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let ahead = Duration::from_millis(1500);
    let applied = scene.apply(txn().member_at("i", "rev", Number::Revision).member_at("i", "at", Number::NowPlus(ahead)).member("i", "lit", -3)).await;
    let mut expected = vec![(applied.revision.0, "rev".to_owned()), (applied.now.0 + 1_500_000, "at".to_owned()), (-3, "lit".to_owned())];
    expected.sort();
    assert_eq!(scene.members("i").await, expected);
}

pub(super) async fn scores_can_be_a_mark_of_the_record_after_the_writes(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let of = |name: &str| Number::MarkOf(key(name), "m".into());
    let scored = |name: &'static str| txn().member_at("i", name, of(name));
    let first = scene.apply(scored("a").put_marked("a", "1", [("m", Number::Revision)])).await;
    assert_eq!(scene.members("i").await, [(first.revision.0, "a".to_owned())], "put in the same transaction");
    scene.apply(scored("a").touch("a", Life::Keep, [("m", Number::Literal(5))])).await;
    assert_eq!(scene.members("i").await, listed([(5, "a")]), "touched in the same transaction");
    scene.apply(scored("a").put_marked("a", "2", [("m", Number::Keep)])).await;
    assert_eq!(scene.members("i").await, listed([(5, "a")]), "kept");
    scene.apply(txn().touch("a", Life::Keep, [("m", Number::Literal(6))])).await;
    assert_eq!(scene.members("i").await, listed([(5, "a")]), "a score is taken once, it does not follow");
    scene.apply(scored("a")).await;
    assert_eq!(scene.members("i").await, listed([(6, "a")]), "not written in this transaction");
    scene.apply(scored("a").touch("a", swept(0), [])).await;
    scene.apply(scored("a")).await;
    assert_eq!(scene.members("i").await, listed([(6, "a")]), "waiting for the sweeper");
    scene.apply(scored("a").put("a", "3")).await;
    assert_eq!(scene.members("i").await, listed([(0, "a")]), "a record without the mark");
    scene.apply(scored("a").put_marked("a", "4", [("m", Number::Literal(9))])).await;
    scene.apply(scored("a").delete("a")).await;
    assert_eq!(scene.members("i").await, listed([(0, "a")]), "deleted in the same transaction");
    scene.apply(scored("none")).await;
    assert_eq!(scene.members("i").await, listed([(0, "a"), (0, "none")]), "never there");
}
