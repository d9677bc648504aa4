//! Which changes a watcher wants to hear of.

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};

use super::event::Change;

/// Most selectors of one watch.
pub const MAX_SELECTORS: usize = 64;

/// One alternative of a watch: the given fields must all match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// Changes of this session.
    pub session: Option<String>,
    /// Changes of sessions of this business, before or after.
    pub business: Option<String>,
    /// Changes of sessions with this e-mail address, by its HMAC in hexadecimal digits, before or after.
    pub email_hmac: Option<String>,
    /// Changes of these kinds, by number; empty for all.
    pub kinds: BTreeSet<i32>,
}

impl Selector {
    /// Whether a change matches.
    #[must_use]
    pub fn matches(&self, change: &Change) -> bool {
        let is = |wanted: &Option<String>, now: &str, before: Option<&str>| wanted.as_deref().is_none_or(|wanted| wanted == now || Some(wanted) == before);
        is(&self.session, &change.session, None)
            && is(&self.business, &change.business, change.previous_business.as_deref())
            && is(&self.email_hmac, &change.email_hmac, change.previous_email_hmac.as_deref())
            && (self.kinds.is_empty() || self.kinds.contains(&change.kind))
    }

    /// A term that every matching change has: what a watcher is found by.
    fn term(&self) -> Term {
        match (&self.session, &self.business, &self.email_hmac) {
            (Some(session), _, _) => Term::Session(session.clone()),
            (None, Some(business), _) => Term::Business(business.clone()),
            (None, None, Some(email)) => Term::Email(email.clone()),
            (None, None, None) => Term::Anything,
        }
    }
}

/// What a change can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// Every change has it.
    Anything,
    /// The session's id.
    Session(String),
    /// The business, before or after.
    Business(String),
    /// The e-mail address's HMAC, before or after.
    Email(String),
}

impl Term {
    /// All terms of a change.
    #[must_use]
    pub fn of(change: &Change) -> Vec<Self> {
        let mut terms = vec![Self::Anything, Self::Session(change.session.clone()), Self::Business(change.business.clone())];
        terms.extend(change.previous_business.clone().map(Self::Business));
        terms.push(Self::Email(change.email_hmac.clone()));
        terms.extend(change.previous_email_hmac.clone().map(Self::Email));
        terms
    }
}

/// The alternatives of one watch, in one order whatever order they were given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selectors(Vec<Selector>);

impl Selectors {
    /// These alternatives; none means everything.
    #[must_use]
    pub fn new(mut selectors: Vec<Selector>) -> Self {
        if selectors.is_empty() {
            selectors.push(Selector::default());
        }
        selectors.sort();
        selectors.dedup();
        Self(selectors)
    }

    /// Whether any alternative matches.
    #[must_use]
    pub fn matches(&self, change: &Change) -> bool {
        self.0.iter().any(|selector| selector.matches(change))
    }

    /// The terms under which the watcher has to be looked up: one for every alternative.
    #[must_use]
    pub fn terms(&self) -> BTreeSet<Term> {
        self.0.iter().map(Selector::term).collect()
    }

    /// Names these selectors in a resume token: a token of one watch must not continue another. 8 bytes of SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        let text = format!("{:?}", self.0);
        let mut out = [0; 8];
        out.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            kind: 2,
            session: "s".to_owned(),
            business: "new".to_owned(),
            previous_business: Some("old".to_owned()),
            email_hmac: "aa".to_owned(),
            ..Change::default()
        }
    }

    fn business(name: &str) -> Selector {
        Selector { business: Some(name.to_owned()), ..Selector::default() }
    }

    #[test]
    fn terms_match_before_and_after() {
        assert!(business("old").matches(&change()) && business("new").matches(&change()));
        assert!(!business("other").matches(&change()));
        let both = Selector { session: Some("s".to_owned()), ..business("other") };
        assert!(!both.matches(&change()));
        assert!(Selector { kinds: BTreeSet::from([2]), ..business("new") }.matches(&change()));
        assert!(!Selector { kinds: BTreeSet::from([3]), ..business("new") }.matches(&change()));
    }

    #[test]
    fn whatever_matches_is_found_by_a_term() {
        let terms = Term::of(&change());
        for selector in [business("old"), business("new"), Selector::default(), Selector { email_hmac: Some("aa".to_owned()), ..Selector::default() }] {
            assert!(selector.matches(&change()));
            assert!(Selectors::new(vec![selector]).terms().iter().any(|term| terms.contains(term)));
        }
    }

    #[test]
    fn a_fingerprint_knows_no_order() {
        let a = Selectors::new(vec![business("a"), business("b")]);
        let b = Selectors::new(vec![business("b"), business("a"), business("b")]);
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_ne!(a.fingerprint(), Selectors::new(vec![]).fingerprint());
    }
}
