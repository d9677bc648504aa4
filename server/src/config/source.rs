//! Where values come from: defaults, a TOML file over them, the environment over that, flags over all. Every error says where the value stood.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::de::{DeTable, DeValue};

use super::{kind::Kind, table::Key};
use crate::model::error::{Error, Result};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    File { path: String, line: usize },
    Env(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("its default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// For every key the value of the strongest source.
#[derive(Debug)]
pub(super) struct Values {
    keys: Vec<Key>,
    given: BTreeMap<String, (String, Source)>,
}

impl Values {
    /// The defaults.
    pub(super) fn defaults(keys: Vec<Key>) -> Self {
        let given = keys.iter().map(|key| (key.path.clone(), (key.default.to_owned(), Source::Default))).collect();
        Self { keys, given }
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// `INVALID_FIELD` when it is no TOML, has an unknown key, or a key of a wrong shape.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Result<()> {
        let shown = path.display().to_string();
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let parsed = DeTable::parse(text).map_err(|error| {
            let line = line(error.span().map_or(0, |span| span.start));
            Error::field("config", format!("{shown}:{line}: {}", error.message()))
        })?;
        for (name, value) in parsed.get_ref() {
            let DeValue::Table(section) = value.get_ref() else {
                self.entry(name.get_ref(), value.get_ref(), Source::File { path: shown.clone(), line: line(name.span().start) })?;
                continue;
            };
            for (key, value) in section {
                let source = Source::File { path: shown.clone(), line: line(key.span().start) };
                self.entry(&format!("{}.{}", name.get_ref(), key.get_ref()), value.get_ref(), source)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &str, value: &DeValue<'_>, source: Source) -> Result<()> {
        if !self.given.contains_key(key) {
            return Err(unknown(key, &source, self.keys.iter().map(|key| key.path.as_str())));
        }
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Integer(value) if value.radix() == 10 => value.as_str().to_owned(),
            other => {
                let message = format!("{key} is a TOML {} ({source}); it needs a string, a decimal number or true or false", other.type_str());
                return Err(Error::field(key, message));
            }
        };
        self.given.insert(key.to_owned(), (text, source));
        Ok(())
    }

    /// Lays the environment over what is there: first the names that other programs share, below the file (so call this twice, before and after it).
    ///
    /// # Errors
    /// `INVALID_FIELD` when a variable of a section names no key, or one nearly names a key.
    pub(super) fn shared_environment(&mut self, variables: &BTreeMap<String, String>) {
        for key in &self.keys {
            if let Some((name, text)) = key.also.iter().find_map(|name| Some((*name, variables.get(*name)?))) {
                self.given.insert(key.path.clone(), (text.clone(), Source::Env(name.to_owned())));
            }
        }
    }

    /// Lays the variables `CLOAKROOM_…` over what is there. Variables that are not the daemon's, such as those of a client, are left alone.
    ///
    /// # Errors
    /// `INVALID_FIELD` when one starts like a section of the configuration, or is nearly the name of a key, but is none.
    pub(super) fn environment(&mut self, variables: &BTreeMap<String, String>) -> Result<()> {
        for (name, text) in variables.iter().filter(|(name, _)| name.starts_with("CLOAKROOM_")) {
            if let Some(key) = self.keys.iter().find(|key| key.env == *name) {
                self.given.insert(key.path.clone(), (text.clone(), Source::Env(name.clone())));
                continue;
            }
            let of_a_section = self.keys.iter().filter_map(|key| key.path.split_once('.')).any(|(section, _)| {
                let prefix = format!("CLOAKROOM_{}_", section.to_ascii_uppercase());
                name.starts_with(&prefix)
            });
            if of_a_section || self.keys.iter().any(|key| distance(&key.env, name) <= 2) {
                let source = Source::Env(name.clone());
                return Err(unknown(name, &source, self.keys.iter().map(|key| key.env.as_str())));
            }
        }
        Ok(())
    }

    /// Lays a flag over what is there.
    pub(super) fn flag(&mut self, path: &str, flag: &'static str, text: String) {
        debug_assert!(self.given.contains_key(path), "{flag} sets a key of the table");
        self.given.insert(path.to_owned(), (text, Source::Flag(flag)));
    }

    /// Reads a key.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming key, value, source and remedy.
    pub(super) fn read<T>(&self, path: &str, kind: &Kind<T>) -> Result<T> {
        let (text, source) = match self.given.get(path) {
            Some((text, source)) => (text.as_str(), source),
            None => ("", &Source::Default),
        };
        (kind.read)(text).map_err(|complaint| {
            let value = if kind.secret { "not usable".to_owned() } else { format!("{text:?}") };
            let complaint = if complaint.is_empty() { complaint } else { format!(" {complaint};") };
            Error::field(path, format!("{path} is {value} ({source});{complaint} it needs {}", kind.needs))
        })
    }

    /// Where a key's value was given, for checks that span several keys.
    pub(super) fn source(&self, path: &str) -> String {
        self.given.get(path).map_or_else(String::new, |(_, source)| source.to_string())
    }
}

fn unknown<'a>(name: &str, source: &Source, known: impl Iterator<Item = &'a str>) -> Error {
    let hint = suggestion(name, known).map(|known| format!("did you mean {known}? ")).unwrap_or_default();
    Error::field(name, format!("{name} is no key of the configuration ({source}); {hint}`cloakroomd --print-config` shows all keys"))
}

/// The key that was meant, if that can be guessed: one that is written nearly alike, or one of that name in another section.
fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.collect();
    let close = (name.len() / 5).clamp(2, 3);
    let nearest = known.iter().map(|known| (distance(known, name), *known)).min().filter(|(edits, _)| *edits <= close);
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let mut elsewhere = known.iter().filter(|known| last(known) == last(name));
    nearest.map(|(_, known)| known).or_else(|| elsewhere.next().copied().filter(|_| elsewhere.next().is_none()))
}

/// The edit distance of Levenshtein: how many characters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_edits() {
        for (a, b, edits) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("listen", "listn", 1), ("abc", "abc", 0)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }
}
