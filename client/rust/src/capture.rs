//! Which files of a user data directory travel: the rules that all clients share, read from one data file.

use std::str::{Chars, FromStr};

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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Lean, Self::Full];

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

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| Error::local("CAPTURE_RULE", format!("there is no capture policy {text:?}; there are default, lean and full")))
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
    /// `CAPTURE_RULE` naming a glob that is bad.
    pub fn new(policy: Policy, include: &[String], exclude: &[String]) -> Result<Self> {
        Self::read(RULES, policy, include, exclude)
    }

    /// The same with other rules than the shared ones.
    pub(crate) fn read(rules: &str, policy: Policy, include: &[String], exclude: &[String]) -> Result<Self> {
        let file: File = serde_json::from_str(rules).map_err(|error| Error::local("CAPTURE_RULE", format!("capture.json: {error}")))?;
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
    segments: Vec<Segment>,
    /// It is matched against the last segment of a path only.
    anywhere: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Wild(Vec<char>),
    /// `**`: any number of segments.
    Deep,
}

impl Glob {
    fn parse(text: &str) -> Result<Self> {
        let anchored = text.strip_prefix('/');
        let body = anchored.unwrap_or(text);
        if body.split('/').any(str::is_empty) || text.contains(['\0', '\\']) {
            let message = format!("the glob {text:?} is bad: it needs segments with one / between them, without NUL and backslash");
            return Err(Error::local("CAPTURE_RULE", message));
        }
        let segments: Vec<_> = body.split('/').map(Segment::parse).collect();
        let anywhere = anchored.is_none() && segments.len() == 1;
        Ok(Self { segments, anywhere })
    }

    fn matches(&self, path: &[&str]) -> bool {
        let path = if self.anywhere { &path[path.len().saturating_sub(1)..] } else { path };
        segments_match(&self.segments, path)
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        match text {
            "**" => Self::Deep,
            _ if text.contains(['*', '?']) => Self::Wild(text.chars().collect()),
            _ => Self::Literal(text.to_owned()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Wild(glob) => wild_matches(glob, text),
            Self::Deep => true,
        }
    }
}

/// Goes on greedily; on a mismatch the last `**` takes one segment more. Trying every `**` anew would take time exponential in their number.
fn segments_match(globs: &[Segment], path: &[&str]) -> bool {
    let (mut glob, mut at, mut deep) = (0, 0, None);
    loop {
        match (globs.get(glob), path.get(at)) {
            (Some(Segment::Deep), _) => {
                glob += 1;
                deep = Some((glob, at));
            }
            (Some(wanted), Some(segment)) if wanted.matches(segment) => {
                glob += 1;
                at += 1;
            }
            (None, None) => return true,
            _ => match &mut deep {
                Some((behind, taken)) if *taken < path.len() => {
                    *taken += 1;
                    (glob, at) = (*behind, *taken);
                }
                _ => return false,
            },
        }
    }
}

/// Goes on greedily; on a mismatch the last `*` takes one character more.
fn wild_matches(glob: &[char], text: &str) -> bool {
    let mut at = 0;
    let mut rest = text.chars();
    let mut star: Option<(usize, Chars<'_>)> = None;
    loop {
        let mut after = rest.clone();
        match (glob.get(at), after.next()) {
            (Some('*'), _) => {
                at += 1;
                star = Some((at, rest.clone()));
            }
            (Some(wanted), Some(found)) if *wanted == '?' || *wanted == found => {
                at += 1;
                rest = after;
            }
            (None, None) => return true,
            _ => {
                let Some((behind, taken)) = &mut star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                at = *behind;
                rest = taken.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::vectors::vectors;

    fn travels(capture: &Capture, path: &str) -> bool {
        path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]).all(|prefix| capture.keeps(prefix))
    }

    fn texts(value: &Value) -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn many_deep_segments_take_no_time() {
        let glob = Glob::parse(&format!("/{}a", "**/".repeat(30))).unwrap();
        let path = vec!["b"; 64];
        assert!(!glob.matches(&path));
        assert!(glob.matches(&[&path[..], &["a"]].concat()) && glob.matches(&["a"]));
    }

    #[test]
    fn globs_match_as_the_vectors_say() {
        let vectors = vectors("capture");
        for case in vectors["globs"].as_array().unwrap() {
            let glob = Glob::parse(case["glob"].as_str().unwrap()).unwrap();
            let segments: Vec<_> = case["path"].as_str().unwrap().split('/').collect();
            assert_eq!(glob.matches(&segments), case["matches"], "{case}");
        }
        for glob in texts(&vectors["bad_globs"]) {
            let error = Glob::parse(&glob).unwrap_err();
            assert!(error.reason() == "CAPTURE_RULE" && error.to_string().contains(&format!("{glob:?}")), "{error}");
        }
    }

    #[test]
    fn every_path_travels_as_the_vectors_say() {
        let vectors = vectors("capture");
        for policy in Policy::ALL {
            let capture = Capture::new(policy, &[], &[]).unwrap();
            for case in vectors["decisions"].as_array().unwrap() {
                assert_eq!(travels(&capture, case["path"].as_str().unwrap()), case[policy.name()], "{} under {}", case["path"], policy.name());
            }
        }
        for case in vectors["callers"].as_array().unwrap() {
            let policy = case["policy"].as_str().unwrap().parse().unwrap();
            let capture = Capture::new(policy, &texts(&case["include"]), &texts(&case["exclude"])).unwrap();
            assert_eq!(travels(&capture, case["path"].as_str().unwrap()), case["kept"], "{case}");
        }
    }

    #[test]
    fn an_unknown_policy_is_named_with_those_that_exist() {
        let error = "tiny".parse::<Policy>().unwrap_err();
        assert!(error.to_string().contains("\"tiny\"") && error.to_string().contains("lean"));
    }

    #[test]
    fn many_stars_stay_fast() {
        let glob = Glob::parse(&"*a".repeat(40)).unwrap();
        assert!(glob.matches(&["ba".repeat(40).as_str()]));
        assert!(!glob.matches(&[("a".repeat(200) + "b").as_str()]));
    }
}
