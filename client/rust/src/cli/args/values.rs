//! Values as people write them.

use std::time::Duration;

use clap::ValueEnum;
use cloakroom_client::v1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TtlMode {
    /// From the last use
    Sliding,
    /// From the creation
    Absolute,
}

impl From<TtlMode> for v1::TtlMode {
    fn from(mode: TtlMode) -> Self {
        match mode {
            TtlMode::Sliding => Self::Sliding,
            TtlMode::Absolute => Self::Absolute,
        }
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is given as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a time is given as 90s, 15m, 24h or 30d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a time is given as 90s, 15m, 24h or 30d".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

/// The name of an enum value as people write it: `needs-login` for `SESSION_STATE_NEEDS_LOGIN`.
fn contract_name(prefix: &str, text: &str) -> String {
    format!("{prefix}{}", text.to_ascii_uppercase().replace('-', "_"))
}

pub(super) fn state(text: &str) -> Result<v1::SessionState, String> {
    let found = v1::SessionState::from_str_name(&contract_name("SESSION_STATE_", text)).filter(|state| *state != v1::SessionState::Unspecified);
    found.ok_or_else(|| "the states are pending, active, needs-login, quarantined and retired".to_owned())
}

pub(super) fn change_kind(text: &str) -> Result<v1::ChangeKind, String> {
    let found = v1::ChangeKind::from_str_name(&contract_name("CHANGE_KIND_", text)).filter(|kind| *kind != v1::ChangeKind::Unspecified);
    found.ok_or_else(|| {
        let names = "session-created, session-updated, session-transitioned, session-deleted, session-expired, session-undeleted, session-purged";
        format!("the kinds are {names}, storage-state-put, profile-saved and invalidated")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_what_they_mean() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_hours(48)));
        assert_eq!(state("Needs-Login"), Ok(v1::SessionState::NeedsLogin));
        assert_eq!(change_kind("storage_state_put"), Ok(v1::ChangeKind::StorageStatePut));
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    }
}
