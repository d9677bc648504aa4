//! Which files of a user data directory travel: the rules that all clients share, read from one data file.

use serde::Deserialize;

use crate::error::{Error, Result};

const RULES: &str = include_str!("../../capture.json");

/// How much to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What every browser makes or fetches again by itself.
    #[default]
    Default,
    /// Also caches that web apps fill, and what the browser downloads or learns again.
    Lean,
    /// Only what must never travel.
    Full,
}

impl Policy {
    /// The name in the rules and in a snapshot's portability record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Lean => "lean",
            Self::Full => "full",
        }
    }
}

impl std::str::FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = [Self::Default, Self::Lean, Self::Full].into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| Error::Invalid(format!("there is no capture policy {text:?}; there are default, lean and full")))
    }
}

#[derive(Deserialize)]
struct File {
    never: Vec<Rule>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    glob: String,
    #[serde(default)]
    drop: Vec<String>,
}

/// The rules for one capture. How they are read stands in `capture.json`.
#[derive(Clone, Debug)]
pub struct Capture {
    policy: Policy,
    never: Vec<Glob>,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    rules: Vec<(Glob, bool)>,
}

impl Capture {
    /// The shared rules under a policy, with the caller's own globs before them.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming a glob that is bad.
    pub fn new(policy: Policy, include: &[String], exclude: &[String]) -> Result<Self> {
        let file: File = serde_json::from_str(RULES).map_err(|error| Error::Invalid(format!("capture.json: {error}")))?;
        let globs = |texts: &[String]| texts.iter().map(|text| Glob::parse(text)).collect::<Result<Vec<_>>>();
        let never: Vec<_> = file.never.into_iter().map(|rule| rule.glob).collect();
        let drops = |rule: &Rule| rule.drop.iter().any(|name| name == policy.name());
        let rules = file.rules.iter().map(|rule| Ok((Glob::parse(&rule.glob)?, drops(rule)))).collect::<Result<Vec<_>>>()?;
        Ok(Self { policy, never: globs(&never)?, include: globs(include)?, exclude: globs(exclude)?, rules })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The verdict on one path itself; it travels if the directories above it do too.
    #[must_use]
    pub fn keeps(&self, path: &str) -> bool {
        let segments: Vec<_> = path.split('/').collect();
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(&segments));
        if any(&self.never) {
            return false;
        }
        if any(&self.include) {
            return true;
        }
        !any(&self.exclude) && self.rules.iter().find(|(glob, _)| glob.matches(&segments)).is_none_or(|(_, drop)| !drop)
    }
}

/// A pattern over paths.
#[derive(Clone, Debug)]
struct Glob {
    segments: Vec<Vec<char>>,
    anywhere: bool,
}

impl Glob {
    fn parse(text: &str) -> Result<Self> {
        let anchored = text.strip_prefix('/');
        let body = anchored.unwrap_or(text);
        let bad = body.split('/').any(str::is_empty) || text.contains(['\0', '\\']);
        if bad {
            return Err(Error::Invalid(format!("the glob {text:?} is bad: it needs segments with one / between them, without NUL and backslash")));
        }
        let segments: Vec<Vec<char>> = body.split('/').map(|segment| segment.chars().collect()).collect();
        let anywhere = anchored.is_none() && segments.len() == 1;
        Ok(Self { segments, anywhere })
    }

    fn matches(&self, path: &[&str]) -> bool {
        if self.anywhere {
            return path.last().is_some_and(|last| segments_match(&self.segments, &[last]));
        }
        segments_match(&self.segments, path)
    }
}

fn segments_match(globs: &[Vec<char>], path: &[&str]) -> bool {
    match (globs.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((glob, rest)), _) if glob.as_slice() == ['*', '*'] => (0..=path.len()).any(|skip| segments_match(rest, &path[skip..])),
        (Some(_), None) => false,
        (Some((glob, rest)), Some((segment, deeper))) => segment_matches(glob, &segment.chars().collect::<Vec<_>>()) && segments_match(rest, deeper),
    }
}

fn segment_matches(glob: &[char], text: &[char]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=text.len()).any(|skip| segment_matches(rest, &text[skip..])),
        (Some((g, rest)), Some((t, more))) => (*g == '?' || g == t) && segment_matches(rest, more),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
