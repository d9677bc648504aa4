//! What differs between two snapshots.

use super::{restores::two, *};
use crate::{model::cookies::CookieChange, store::cookies::tests::chromium};

/// Paths and contents.
type Files<'a> = &'a [(&'a str, &'a [u8])];

impl World {
    fn diffing(&self, base: Option<SnapshotId>, snapshot: Option<SnapshotId>) -> DiffRequest {
        let (namespace, session, min_revision) = (self.ns.clone(), self.session.clone(), Revision::ZERO);
        DiffRequest { namespace, session, snapshot, base, size: 1000, token: String::new(), min_revision }
    }

    async fn diff(&self, base: Option<SnapshotId>, snapshot: Option<SnapshotId>) -> DiffPage {
        self.replica().profiles.diff(&self.diffing(base, snapshot)).await.unwrap()
    }

    /// The cookie databases that differ between profiles with these files.
    async fn cookies(&self, before: Files<'_>, after: Files<'_>) -> Vec<CookieDatabase> {
        let tree = |files: Files<'_>| files.iter().fold(sample().file("Default/Cookies", b""), |tree, (path, bytes)| tree.file(path, bytes));
        let n = self.objects("c").await.len();
        let a = self.put(&format!("before-{n}"), self.head().await, &tree(before), None).await;
        self.put(&format!("after-{n}"), Some(a), &tree(after), None).await;
        self.diff(None, None).await.cookies
    }
}

fn paths(page: &DiffPage) -> Vec<(&str, bool, bool, u64)> {
    page.comparison.differences.iter().map(|one| (one.path(), one.before.is_some(), one.after.is_some(), one.changed_bytes)).collect()
}

#[tokio::test]
async fn a_snapshot_is_compared_with_the_one_it_was_made_from() {
    let (world, [(_, a), (_, b)]) = two().await;
    let page = world.diff(None, None).await;
    assert_eq!((page.view.id, page.base.as_ref().map(|base| base.id)), (b, Some(a)));
    assert_eq!(paths(&page), [("Default/Cookies", true, true, 30_000), ("Default/next", false, true, 11)]);
    assert_eq!((page.comparison.added, page.comparison.removed, page.comparison.changed, page.comparison.changed_bytes), (1, 0, 1, 30_011));
    let back = world.diff(Some(b), Some(a)).await;
    assert_eq!(paths(&back), [("Default/Cookies", true, true, 30_000), ("Default/next", true, false, 0)]);
    let first = world.diff(None, Some(a)).await;
    let entries = u64::try_from(first.comparison.differences.len()).unwrap();
    assert_eq!((first.base, first.comparison.added, first.comparison.added), (None, entries, first.view.snapshot.entries));
    assert_eq!(first.comparison.changed_bytes, first.view.snapshot.content);
    assert!(paths(&world.diff(Some(a), Some(a)).await).is_empty());
    // After an undo the head is compared with what it was made from, not with what was undone.
    world.restore(a, "undo").await.unwrap();
    assert_eq!(world.diff(None, None).await.base, None);
}

#[tokio::test]
async fn pages_of_differences_follow_each_other_and_belong_to_their_pair() {
    let (world, [(first, a), (_, b)]) = two().await;
    let many = (0..25).fold(first, |tree, n| tree.file(&format!("many/{n:02}"), &[n]));
    let c = world.put("many", Some(b), &many, None).await;
    let all = world.diff(Some(a), Some(c)).await;
    assert!(all.next.is_empty() && all.comparison.differences.len() == 26 && all.cookies.is_empty(), "the directory too");
    let (mut got, mut wanted) = (Vec::new(), DiffRequest { size: 7, ..world.diffing(Some(a), Some(c)) });
    loop {
        let page = world.profiles.diff(&wanted).await.unwrap();
        assert_eq!(page.comparison.added, 26, "the totals are those of all pages");
        got.extend(page.comparison.differences);
        wanted.token = page.next;
        if wanted.token.is_empty() {
            break;
        }
    }
    assert_eq!(got, all.comparison.differences);
    let page = world.profiles.diff(&DiffRequest { size: 7, ..wanted.clone() }).await.unwrap();
    for (base, snapshot) in [(Some(b), Some(c)), (Some(c), Some(a)), (None, Some(a))] {
        let other = DiffRequest { token: page.next.clone(), ..world.diffing(base, snapshot) };
        assert_eq!(world.profiles.diff(&other).await.unwrap_err().reason(), Reason::InvalidPageToken);
    }
    world.mark(a, Marking::Delete).await.unwrap();
    assert_eq!(world.profiles.diff(&wanted).await.unwrap_err().reason(), Reason::SnapshotDeleted);
    let unknown = world.diffing(Some(SnapshotId([9; 16])), None);
    assert_eq!(world.profiles.diff(&unknown).await.unwrap_err().reason(), Reason::SnapshotNotFound);
}

#[tokio::test]
async fn cookies_that_came_went_and_changed_are_named_and_their_values_are_not() {
    let world = World::new().await;
    let path = "Default/Network/Cookies";
    let many: Vec<(String, String)> = (0..400).map(|n| (format!("site-{n}.test"), format!("{n:08x}").repeat(40))).collect();
    let rows: Vec<_> = many.iter().map(|(host, value)| (host.as_str(), "sid", value.as_str(), 5)).collect();
    let before = chromium(&[&rows[..], &[("login.test", "auth", "5ec2e7", 5), ("login.test", "gone", "5ec2e7", 5)]].concat());
    let after = chromium(&[&rows[..], &[("login.test", "auth", "5ec2e8", 5), ("login.test", "new", "5ec2e7", 5)]].concat());
    assert!(before.len() > 100_000, "many leaves");
    let [database] = &world.cookies(&[(path, &before)], &[(path, &after)]).await[..] else { panic!("one database") };
    let told: Vec<_> = database.changes.iter().map(|(id, change)| (id.host.as_str(), id.name.as_str(), *change)).collect();
    let changed = CookieChange::Changed { value: true, attributes: false };
    assert_eq!(told, [("login.test", "auth", changed), ("login.test", "gone", CookieChange::Removed), ("login.test", "new", CookieChange::Added)]);
    assert_eq!((database.path.as_str(), database.unknown.as_str(), database.truncated), (path, "", false));
    let [database] = &world.cookies(&[], &[(path, &after)]).await[..] else { panic!("one database") };
    assert!(database.changes.len() == 402 && database.changes.iter().all(|(_, change)| *change == CookieChange::Added));
    assert!(world.cookies(&[(path, &after)], &[(path, &after)]).await.is_empty(), "what does not differ is not read");
    let long: Vec<_> = (0..2000).map(|n| format!("{n}-{}", "x".repeat(400))).collect();
    let rows: Vec<_> = long.iter().map(|name| ("h", name.as_str(), "00", 5)).collect();
    let [database] = &world.cookies(&[], &[(path, &chromium(&rows))]).await[..] else { panic!("one database") };
    assert!(database.truncated && (1000..1400).contains(&database.changes.len()), "{}", database.changes.len());
}

#[tokio::test]
async fn a_cookie_database_that_is_not_all_there_is_unknown_and_says_why() {
    let world = World::new().await;
    let path = "Default/Cookies";
    let (before, after) = (chromium(&[("a", "b", "00", 5)]), chromium(&[("a", "b", "01", 5)]));
    let hot = [&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7][..], &[1; 600]].concat();
    let cases: [(Files<'_>, &str); 4] = [
        (&[(path, &after), ("Default/Cookies-journal", &hot)], "of the newer snapshot: a hot journal"),
        (&[(path, &after), ("Default/Cookies-wal", &[7; 4128])], "of the newer snapshot: a write-ahead log"),
        (&[(path, b"no database at all")], "of the newer snapshot: it is not an SQLite database"),
        (&[(path, &before), ("Default/Cookies-journal", &hot)], "of the newer snapshot: a hot journal"),
    ];
    for (files, why) in cases {
        let [database] = &world.cookies(&[(path, &before)], files).await[..] else { panic!("one database: {why}") };
        assert!(database.unknown.starts_with(why) && database.changes.is_empty(), "{}", database.unknown);
    }
    let finished = [(path, &after[..]), ("Default/Cookies-journal", &[0; 600]), ("Default/Cookies-wal", b"")];
    let [database] = &world.cookies(&[(path, &before)], &finished).await[..] else { panic!("one database") };
    assert_eq!((database.unknown.as_str(), database.changes.len()), ("", 1), "what is over does not matter");
}
