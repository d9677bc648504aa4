//! `UpdateSession` and `TransitionSession`.

use std::{collections::BTreeMap, time::Duration};

use super::{Answer, Conditions, Decision, Edit, Fingerprint, Loaded, Sessions, create::seal, load::not_found};
use crate::{
    flow::keyring::NamespaceKeys,
    model::{
        email::Email,
        error::Result,
        event::{ChangeKind, state_number},
        id::{BusinessId, Namespace, SessionId},
        session::{Session, State, TtlMode},
        time::micros,
    },
};

/// New values of some fields.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// The business it belongs to.
    pub business: Option<BusinessId>,
    /// Its e-mail address, or that it has none.
    pub email: Option<Option<Email>>,
    /// Its labels, all of them.
    pub labels: Option<BTreeMap<String, String>>,
    /// How long it lives.
    pub ttl: Option<Duration>,
    /// How that time runs.
    pub ttl_mode: Option<TtlMode>,
}

impl Patch {
    fn fingerprint(&self, id: &SessionId, conditions: &Conditions) -> Fingerprint {
        let mut all = Fingerprint::of("UpdateSession").text(id.as_str()).text(&conditions.etag).number(conditions.lease_token);
        if let Some(business) = &self.business {
            all = all.text("business").text(business.as_str());
        }
        if let Some(email) = &self.email {
            all = all.text("email").text(email.as_ref().map_or("", Email::given));
        }
        if let Some(labels) = &self.labels {
            let named = all.text("labels").number(i64::try_from(labels.len()).unwrap_or(i64::MAX));
            all = labels.iter().fold(named, |all, (key, value)| all.text(key).text(value));
        }
        if let Some(ttl) = self.ttl {
            all = all.text("ttl").number(micros(ttl));
        }
        if let Some(mode) = self.ttl_mode {
            all = all.text("ttl_mode").number(i64::from(mode == TtlMode::Absolute));
        }
        all
    }

    /// The record with the new values. An address that stays keeps its sealed text, so that a patch without effect changes nothing.
    fn apply(&self, keys: &NamespaceKeys, id: &SessionId, session: &Session) -> Result<Session> {
        let mut after = session.clone();
        if let Some(business) = &self.business {
            after.business = business.to_string();
        }
        match &self.email {
            None => {}
            Some(None) => after.email = None,
            Some(Some(email)) => {
                let before = session.email.as_ref().map(|sealed| keys.open_email(id, &sealed.sealed)).transpose()?;
                if before.as_deref() != Some(email.given()) {
                    after.email = Some(seal(keys, id, email)?);
                }
            }
        }
        if let Some(labels) = &self.labels {
            after.labels.clone_from(labels);
        }
        if let Some(ttl) = self.ttl {
            after.ttl_micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        }
        if let Some(mode) = self.ttl_mode {
            after.ttl_mode = mode;
        }
        Ok(after)
    }
}

impl Sessions {
    /// Changes fields of a session; its index members move in the same transaction. Naming the TTL or its mode starts the time to live anew.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `ETAG_MISMATCH`, `LEASE_FENCED`, `REQUEST_ID_REUSED`, `CONTENTION`, and the stores' errors.
    pub async fn update(&self, namespace: &Namespace, id: &SessionId, patch: Patch, conditions: &Conditions) -> Result<Answer> {
        let op = self.op(namespace, conditions.request.as_ref(), || patch.fingerprint(id, conditions)).await?;
        let keys = self.keyring.namespace(namespace).await?;
        let restart = patch.ttl.is_some() || patch.ttl_mode.is_some();
        let decide = |found: Option<Loaded>| {
            let found = usable(id, found, conditions)?;
            let after = patch.apply(&keys, id, &found.session)?;
            if after == found.session && !restart {
                return Ok(Decision::Keep(Box::new(found)));
            }
            let edit = Edit::new(ChangeKind::SessionUpdated, after).restarting_ttl(restart).under_lease(conditions.lease_token);
            found.edit(edit).map(Box::new).map(Decision::Change)
        };
        self.answer(namespace, id, op.as_ref(), decide).await
    }

    /// Moves a session to another state, for a reason.
    ///
    /// # Errors
    /// `ILLEGAL_TRANSITION`, else as [`Self::update`].
    pub async fn transition(&self, namespace: &Namespace, id: &SessionId, to: State, reason: &str, conditions: &Conditions) -> Result<Answer> {
        let fingerprint = || {
            let named = Fingerprint::of("TransitionSession").text(id.as_str()).number(state_number(to).into()).text(reason);
            named.text(&conditions.etag).number(conditions.lease_token)
        };
        let op = self.op(namespace, conditions.request.as_ref(), fingerprint).await?;
        let decide = |found: Option<Loaded>| {
            let found = usable(id, found, conditions)?;
            found.session.state.check_move(to)?;
            let after = Session { state: to, state_reason: reason.to_owned(), ..found.session.clone() };
            if after == found.session {
                return Ok(Decision::Keep(Box::new(found)));
            }
            let edit = Edit::new(ChangeKind::SessionTransitioned, after).because(reason).under_lease(conditions.lease_token);
            found.edit(edit).map(Box::new).map(Decision::Change)
        };
        self.answer(namespace, id, op.as_ref(), decide).await
    }
}

/// A session that is there, live, and meets the conditions of a write.
pub(super) fn usable(id: &SessionId, found: Option<Loaded>, conditions: &Conditions) -> Result<Loaded> {
    let found = found.ok_or_else(|| not_found(id))?;
    found.check_live()?;
    found.check_conditions(&conditions.etag, conditions.lease_token)?;
    Ok(found)
}
