//! `ListSessions`: one index is walked, the other filters are tested on the records.

use std::collections::{BTreeMap, BTreeSet};

use super::{Loaded, Sessions, View, record_key};
use crate::{
    flow::keyring::NamespaceKeys,
    model::{
        email::Email,
        error::Result,
        id::{BusinessId, Namespace, SessionId},
        page,
        session::{State, index},
        time::Revision,
    },
    store::metadata::{Direction, Found, Index, Key, Range},
};

/// How many members are looked at per page: what bounds the time of a listing whose filters match little.
const EXAMINED: usize = 2000;
/// How many records are read at once.
const CHUNK: usize = 250;
/// Where a page ends early, in bytes of records, so that answers stay under 3 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// What page tokens are signed for.
const PURPOSE: &str = "page of sessions";

/// Which sessions to list; all that is given must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this business.
    pub business: Option<BusinessId>,
    /// Of this e-mail address.
    pub email: Option<Email>,
    /// In one of these states; none: in any.
    pub states: BTreeSet<State>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// The sessions, oldest first.
    pub views: Vec<View>,
    /// Token of the next page; empty after the last.
    pub next: String,
    /// The revision that the page reflects.
    pub revision: Revision,
}

/// A filter whose address is an HMAC.
struct Plan {
    filter: Filter,
    email_hmac: Option<String>,
}

impl Plan {
    /// The index that likely has the fewest members: an address has few sessions, a label is given to tell some apart, a business has many, a state most.
    fn index(&self) -> Index {
        let Filter { business, states, labels, .. } = &self.filter;
        Index(match (&self.email_hmac, labels.first_key_value(), business, states.first()) {
            (Some(hmac), ..) => index::email(hmac),
            (_, Some((key, value)), ..) => index::label(key, value),
            (_, _, Some(business), _) => index::business(business.as_str()),
            (_, _, _, Some(state)) if states.len() == 1 => index::state(*state),
            _ => index::ALL.to_owned(),
        })
    }

    fn matches(&self, found: &Loaded) -> bool {
        let (Filter { business, states, labels, .. }, session) = (&self.filter, &found.session);
        let hmac = session.email.as_ref().map(|email| &email.hmac);
        found.check_live().is_ok()
            && business.as_ref().is_none_or(|business| business.as_str() == session.business)
            && self.email_hmac.as_ref().is_none_or(|wanted| Some(wanted) == hmac)
            && (states.is_empty() || states.contains(&session.state))
            && labels.iter().all(|(key, value)| session.labels.get(key) == Some(value))
    }

    /// What a page token is bound to. Every part is followed by a NUL, which none of them has.
    fn text(&self) -> Vec<u8> {
        let Filter { business, states, labels, .. } = &self.filter;
        let business = business.as_ref().map_or("", BusinessId::as_str);
        let states = states.iter().map(|state| state.name());
        let labels = labels.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        let parts = [business, self.email_hmac.as_deref().unwrap_or("")].into_iter().chain(states).chain([""]).chain(labels);
        parts.flat_map(|part| part.bytes().chain([0])).collect()
    }
}

impl Sessions {
    /// Lists live sessions that match, oldest first, `size` at most. `token` continues after an earlier page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN`, `REVISION_NOT_REACHED`, and the store's errors.
    pub async fn list(&self, namespace: &Namespace, filter: Filter, size: usize, token: &str, min_revision: Revision) -> Result<Page> {
        let revision = self.reach(namespace, min_revision).await?;
        let Some(keys) = self.keyring.existing(namespace).await? else {
            // Nothing was ever written there, so nobody was given a token either.
            return if token.is_empty() { Ok(Page { views: Vec::new(), next: String::new(), revision }) } else { Err(page::invalid()) };
        };
        let email_hmac = filter.email.as_ref().map(|email| keys.email_hmac(&email.normalised()));
        let plan = Plan { filter, email_hmac };
        let text = bound_to(namespace, &plan);
        let start = match token {
            "" => None,
            token => Some(page::decode(token, &text, |data, tag| keys.verify_token(PURPOSE, data, tag))?),
        };
        let (found, position) = self.walk(namespace, &plan, size, start).await?;
        let mut views = Vec::with_capacity(found.len());
        for session in found {
            views.push(self.view(namespace, session).await?);
        }
        let next = position.map(|position| sign(&keys, &position, &text)).unwrap_or_default();
        Ok(Page { views, next, revision })
    }

    /// Walks the plan's index from a position; says what matched, and where to go on unless that was all.
    async fn walk(&self, namespace: &Namespace, plan: &Plan, size: usize, start: Option<page::Position>) -> Result<(Vec<Loaded>, Option<page::Position>)> {
        let (mut found, mut position, mut examined, mut bytes) = (Vec::new(), start, 0, 0);
        while examined < EXAMINED && found.len() < size {
            // One more than wanted tells whether there is a next page. When the first members did not fill it, the filters match little.
            let wanted = if examined == 0 { CHUNK.min(size + 1) } else { CHUNK };
            let range = Range::From(position.clone());
            let members = self.metadata.scan(namespace, &plan.index(), &range, Direction::Ascending, wanted).await?;
            let last = members.len() < wanted;
            examined += members.len();
            for (member, session) in members.iter().zip(self.with_sizes(namespace, &members).await?) {
                if let Some((session, length)) = session.filter(|(session, _)| plan.matches(session)) {
                    if found.len() == size || (bytes + length > PAGE_BYTES && !found.is_empty()) {
                        return Ok((found, position));
                    }
                    bytes += length;
                    found.push(session);
                }
                position = Some(member.clone());
            }
            if last {
                return Ok((found, None));
            }
        }
        Ok((found, position))
    }

    /// The sessions of index members, with the lengths of their records.
    async fn with_sizes(&self, namespace: &Namespace, members: &[(i64, String)]) -> Result<Vec<Option<(Loaded, usize)>>> {
        let ids = members.iter().map(|(_, member)| SessionId::parse("member", member)).collect::<Result<Vec<_>>>()?;
        let keys: Vec<Key> = ids.iter().map(record_key).collect();
        let reading = self.metadata.get(namespace, &keys).await?;
        let understood = |(id, found): (&SessionId, Found)| {
            let Some(record) = found.live() else { return Ok(None) };
            let length = record.value.len();
            Loaded::from_record(id, record, false, reading.now).map(|session| Some((session, length)))
        };
        ids.iter().zip(reading.found).map(understood).collect()
    }
}

fn bound_to(namespace: &Namespace, plan: &Plan) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[0], &plan.text()].concat()
}

fn sign(keys: &NamespaceKeys, position: &page::Position, text: &[u8]) -> String {
    page::encode(position, text, |data| keys.token_mac(PURPOSE, data))
}
