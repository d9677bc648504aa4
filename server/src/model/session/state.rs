//! The states of a session, and the moves between them.

use serde::{Deserialize, Serialize};

use crate::model::error::{Error, Reason, Result};

/// Where a session is in its life. `PENDING → ACTIVE ⇄ NEEDS_LOGIN → RETIRED`; the last three are moved to by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "documented once, in session.proto")]
pub enum State {
    Pending,
    Active,
    NeedsLogin,
    Quarantined,
    Retired,
    Expired,
    Deleted,
}

impl State {
    /// Every state, in the order of their life.
    pub const ALL: [Self; 7] = [Self::Pending, Self::Active, Self::NeedsLogin, Self::Quarantined, Self::Retired, Self::Expired, Self::Deleted];

    /// The name as in the contract, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
            Self::NeedsLogin => "NEEDS_LOGIN",
            Self::Quarantined => "QUARANTINED",
            Self::Retired => "RETIRED",
            Self::Expired => "EXPIRED",
            Self::Deleted => "DELETED",
        }
    }

    /// Whether lists and lookups leave such a session out.
    #[must_use]
    pub fn is_hidden(self) -> bool {
        matches!(self, Self::Expired | Self::Deleted)
    }

    /// Checks a move that a caller asks for.
    ///
    /// # Errors
    /// `ILLEGAL_TRANSITION`, naming the moves that are allowed.
    pub fn check_move(self, to: Self) -> Result<()> {
        let allowed: &[Self] = match self {
            Self::Pending => &[Self::Active, Self::Retired],
            Self::Active => &[Self::NeedsLogin, Self::Retired],
            Self::NeedsLogin | Self::Quarantined => &[Self::Active, Self::NeedsLogin, Self::Retired],
            Self::Retired | Self::Expired | Self::Deleted => &[],
        };
        if self == to || allowed.contains(&to) {
            return Ok(());
        }
        let names: Vec<_> = allowed.iter().map(|state| state.name()).collect();
        let choice = if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") };
        let message = format!("a session cannot go from {} to {}; from there it can go to: {choice}", self.name(), to.name());
        Err(Error::new(Reason::IllegalTransition, message).with("from", self.name()).with("to", to.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moves_are_those_of_the_contract() {
        let allowed: Vec<_> = State::ALL
            .into_iter()
            .flat_map(|from| State::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from != to && from.check_move(*to).is_ok())
            .map(|(from, to)| format!("{}>{}", from.name(), to.name()))
            .collect();
        let expected = "PENDING>ACTIVE PENDING>RETIRED ACTIVE>NEEDS_LOGIN ACTIVE>RETIRED NEEDS_LOGIN>ACTIVE NEEDS_LOGIN>RETIRED \
                        QUARANTINED>ACTIVE QUARANTINED>NEEDS_LOGIN QUARANTINED>RETIRED";
        assert_eq!(allowed.join(" "), expected);
    }
}
