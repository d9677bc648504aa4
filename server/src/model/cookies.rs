//! A browser's cookies as differences show them: which there are and whether two are the same, never what they hold.

use std::collections::BTreeMap;

use super::tree::Root;

/// What makes a cookie this one and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CookieId {
    /// Its host, with a leading dot when it is for all below too.
    pub host: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// The rest: partition, source scheme and port, as far as the browser tells cookies apart by them.
    pub rest: Vec<String>,
}

/// What a cookie holds, as digests under a key that is thrown away with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieDigest {
    /// Of its value, sealed or not, as the browser stores it.
    pub value: Root,
    /// Of its expiry and its flags.
    pub attributes: Root,
}

/// All cookies of a database.
pub type Cookies = BTreeMap<CookieId, CookieDigest>;

/// How a cookie differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another one.
    Changed {
        /// What the browser stores as its value differs.
        value: bool,
        /// Its expiry or its flags differ.
        attributes: bool,
    },
}

/// Which cookies differ, in the order of their hosts and names.
#[must_use]
pub fn compare(before: &Cookies, after: &Cookies) -> BTreeMap<CookieId, CookieChange> {
    let gone = before.keys().filter(|id| !after.contains_key(id)).map(|id| (id.clone(), CookieChange::Removed));
    let there = after.iter().filter_map(|(id, is)| {
        let change = match before.get(id) {
            None => CookieChange::Added,
            Some(was) if was == is => return None,
            Some(was) => CookieChange::Changed { value: was.value != is.value, attributes: was.attributes != is.attributes },
        };
        Some((id.clone(), change))
    });
    gone.chain(there).collect()
}

/// Whether an entry of this path is a Chromium cookie database by its name: `Cookies`, in whatever directory.
#[must_use]
pub fn is_database(path: &str) -> bool {
    path == "Cookies" || path.ends_with("/Cookies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_or_changed_is_told() {
        let id = |name: &str| CookieId { host: "h".to_owned(), name: name.to_owned(), ..CookieId::default() };
        let digest = |value, attributes| CookieDigest { value: [value; 32], attributes: [attributes; 32] };
        let before = Cookies::from([(id("gone"), digest(1, 1)), (id("same"), digest(1, 1)), (id("value"), digest(1, 1)), (id("life"), digest(1, 1))]);
        let after = Cookies::from([(id("new"), digest(1, 1)), (id("same"), digest(1, 1)), (id("value"), digest(2, 1)), (id("life"), digest(1, 2))]);
        let told: Vec<_> = compare(&before, &after).into_iter().map(|(id, change)| (id.name, change)).collect();
        let changed = |value, attributes| CookieChange::Changed { value, attributes };
        let wanted = [("gone", CookieChange::Removed), ("life", changed(false, true)), ("new", CookieChange::Added), ("value", changed(true, false))];
        assert_eq!(told, wanted.map(|(name, change)| (name.to_owned(), change)));
        assert!(is_database("Default/Network/Cookies") && is_database("Cookies") && !is_database("Default/Safe Browsing Cookies"));
    }
}
