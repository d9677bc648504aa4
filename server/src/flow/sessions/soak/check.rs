//! At rest: the model against the records, the records against the indices and the lists, the log against the records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{Filter, Loaded, Owner, Sessions, record_key},
    ADDRESSES, BUSINESSES, Report, VALUES,
    model::{Known, Twin},
};
use crate::{
    clock,
    model::{
        email::Email,
        error::{Reason, Result},
        event::{self, Change, ChangeKind, state_number},
        id::{BusinessId, Namespace, SessionId},
        session::{Order, State, index, mark},
        time::Revision,
    },
    store::metadata::{Direction, Index, Range, Scope},
};

/// How much is read at once.
const CHUNK: usize = 1000;

/// Compares, and counts what was compared.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) report: Report,
    sessions: Arc<Sessions>,
    namespace: Namespace,
    seed: u64,
}

impl Ledger {
    pub(super) fn new(sessions: Arc<Sessions>, namespace: Namespace, seed: u64) -> Self {
        Self { report: Report::default(), sessions, namespace, seed }
    }

    /// Every record is what the model says.
    pub(super) async fn compare_with(&self, twins: &[&Twin]) -> Result<()> {
        let now = clock::wall();
        for twin in twins {
            let (found, _, _) = super::super::load(&*self.sessions.metadata, &self.namespace, &twin.id).await?;
            match (&twin.known, found) {
                (Known::Absent | Known::Gone, None) => {}
                (Known::Here(fields), Some(found)) => {
                    let view = self.sessions.view(&self.namespace, found).await?;
                    let wrong = fields.at(now).difference(&view.session, &view.email);
                    assert!(wrong.is_none(), "seed {}: of {twin:?} {}", self.seed, wrong.unwrap_or_default());
                }
                (_, found) => panic!("seed {}: {twin:?} is {found:?}", self.seed),
            }
        }
        Ok(())
    }

    /// Every index holds exactly what follows from the records, and lists and look-ups tell the same.
    pub(super) async fn compare_indices(&mut self, ids: &[SessionId]) -> Result<()> {
        let records = self.records(ids).await?;
        let mut wanted: BTreeMap<String, BTreeSet<(i64, String)>> = self.all_indices().await?.into_iter().map(|name| (name, BTreeSet::new())).collect();
        for record in &records {
            for entry in record.session.indices(&record.id) {
                let score = match entry.order {
                    Order::Born => record.mark(mark::BORN),
                    Order::Used => record.mark(mark::USED),
                    Order::Name => 0,
                };
                wanted.entry(entry.index).or_default().insert((score, entry.member));
            }
        }
        for (name, wanted) in wanted {
            let members = self.members(&name).await?;
            let dangling: Vec<_> = members.difference(&wanted).collect();
            let missing: Vec<_> = wanted.difference(&members).collect();
            assert!(dangling.is_empty() && missing.is_empty(), "seed {}: {name} has {dangling:?} that dangle and misses {missing:?}", self.seed);
            self.report.members += u64::try_from(members.len()).unwrap_or(0);
        }
        self.compare_lists(&records).await?;
        self.compare_active(&records).await
    }

    async fn records(&self, ids: &[SessionId]) -> Result<Vec<Loaded>> {
        let mut records = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(record_key).collect();
            let reading = self.sessions.metadata.get(&self.namespace, &keys).await?;
            for (id, found) in chunk.iter().zip(reading.found) {
                records.extend(Loaded::from_found(id, found, reading.now)?);
            }
        }
        Ok(records)
    }

    /// The names of all indices that there can be.
    async fn all_indices(&self) -> Result<Vec<String>> {
        let mut names = vec![index::ALL.to_owned(), index::NAMES.to_owned()];
        names.extend(State::ALL.map(index::state));
        names.extend((0..BUSINESSES).flat_map(|n| [index::business(&format!("b{n}")), index::business_used(&format!("b{n}"))]));
        names.extend((0..VALUES).flat_map(|n| ["env", "team"].map(|key| index::label(key, &n.to_string()))));
        let keys = self.sessions.keyring.namespace(&self.namespace).await?;
        let hmacs = (0..ADDRESSES).map(|n| keys.email_hmac(&format!("a{n}@x.org")));
        names.extend(hmacs.flat_map(|hmac| [index::email(&hmac), index::email_used(&hmac)]));
        Ok(names)
    }

    async fn members(&self, name: &str) -> Result<BTreeSet<(i64, String)>> {
        let (mut all, mut position) = (BTreeSet::new(), None);
        loop {
            let page = self.sessions.metadata.scan(&self.namespace, &Index(name.to_owned()), &Range::From(position), Direction::Ascending, CHUNK).await?;
            let last = page.len() < CHUNK;
            position = page.last().cloned();
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Listings by several filters give the live records that match, oldest first.
    async fn compare_lists(&self, records: &[Loaded]) -> Result<()> {
        let business = |n: u64| BusinessId::parse("business", &format!("b{n}")).map(Some);
        let by_label = |n: u64| BTreeMap::from([("env".to_owned(), n.to_string())]);
        let mut filters = vec![Filter::default()];
        for n in 0..BUSINESSES {
            filters.push(Filter { business: business(n)?, ..Filter::default() });
            filters.push(Filter { business: business(n)?, states: BTreeSet::from([State::Active, State::Pending]), ..Filter::default() });
            filters.push(Filter { business: business(n)?, labels: by_label(n % VALUES), ..Filter::default() });
            filters.push(Filter { email: Email::parse("email", &format!("a{n}@X.org"))?, states: BTreeSet::from([State::Active]), ..Filter::default() });
        }
        let mut by_birth: Vec<&Loaded> = records.iter().filter(|record| record.check_live().is_ok()).collect();
        by_birth.sort_by_key(|record| record.mark(mark::BORN));
        let keys = self.sessions.keyring.namespace(&self.namespace).await?;
        for filter in filters {
            let hmac = filter.email.as_ref().map(|email| keys.email_hmac(&email.normalised()));
            let matches = |record: &&&Loaded| {
                let session = &record.session;
                filter.business.as_ref().is_none_or(|business| business.as_str() == session.business)
                    && hmac.as_ref().is_none_or(|hmac| session.email.as_ref().is_some_and(|email| email.hmac == *hmac))
                    && (filter.states.is_empty() || filter.states.contains(&session.state))
                    && filter.labels.iter().all(|(key, value)| session.labels.get(key) == Some(value))
            };
            let wanted: Vec<_> = by_birth.iter().filter(matches).map(|record| record.id.clone()).collect();
            assert_eq!(self.list(&filter).await?, wanted, "seed {}: {filter:?}", self.seed);
        }
        Ok(())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<SessionId>> {
        let (mut ids, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.sessions.list(&self.namespace, filter.clone(), 23, &token, Revision::ZERO).await?;
            ids.extend(page.views.into_iter().map(|view| view.session.id));
            token = page.next;
            if token.is_empty() {
                return Ok(ids);
            }
        }
    }

    /// The active session of every business is the one used last.
    async fn compare_active(&self, records: &[Loaded]) -> Result<()> {
        for n in 0..BUSINESSES {
            let business = BusinessId::parse("business", &format!("b{n}"))?;
            let active = records.iter().filter(|record| record.session.state == State::Active && record.session.business == business.as_str());
            let wanted = active.map(|record| record.mark(mark::USED)).max();
            let found = match self.sessions.active(&self.namespace, &Owner::Business(business), Revision::ZERO).await {
                Ok(answer) => Some(answer.view.session.mark(mark::USED)),
                Err(error) if error.reason() == Reason::SessionNotFound => None,
                Err(error) => return Err(error),
            };
            assert_eq!(found, wanted, "seed {}: the active session of b{n}", self.seed);
        }
        Ok(())
    }

    /// Who follows the log from the start knows every session as its record is.
    pub(super) async fn compare_log(&mut self, ids: &[SessionId]) -> Result<()> {
        let mut told: BTreeMap<String, Change> = BTreeMap::new();
        let mut last = Revision::ZERO;
        loop {
            let page = self.sessions.metadata.events(&self.namespace, Scope::Sessions, last, CHUNK).await?;
            for entry in &page.entries {
                assert_eq!(entry.previous, last, "seed {}: the log has a hole", self.seed);
                last = entry.revision;
                for change in event::decode(&entry.payload)? {
                    self.follow(&mut told, change);
                    self.report.events += 1;
                }
            }
            if page.entries.is_empty() {
                break;
            }
        }
        for record in self.records(ids).await? {
            let change = told.remove(record.id.as_str());
            let told = change.map(|change| (change.business, change.email_hmac, change.state));
            let email = record.session.email.map(|email| email.hmac).unwrap_or_default();
            assert_eq!(told, Some((record.session.business, email, state_number(record.session.state))), "seed {}: {}", self.seed, record.id);
        }
        assert!(told.is_empty(), "seed {}: the log tells of sessions that are gone: {:?}", self.seed, told.keys());
        Ok(())
    }

    fn follow(&self, told: &mut BTreeMap<String, Change>, change: Change) {
        let before = told.remove(&change.session);
        let seed = self.seed;
        match (&before, change.kind()) {
            (None, ChangeKind::SessionCreated) => {}
            (None, _) | (Some(_), ChangeKind::SessionCreated) => panic!("seed {seed}: {change:?} after {before:?}"),
            (Some(before), kind) => {
                assert_eq!(change.previous_business.as_ref().unwrap_or(&change.business), &before.business, "seed {seed}: {change:?}");
                assert_eq!(change.previous_email_hmac.as_ref().unwrap_or(&change.email_hmac), &before.email_hmac, "seed {seed}: {change:?}");
                let state = if change.previous_state == 0 { change.state } else { change.previous_state };
                assert_eq!(state, before.state, "seed {seed}: {change:?}");
                if kind == ChangeKind::SessionPurged {
                    return;
                }
            }
        }
        told.insert(change.session.clone(), change);
    }
}
