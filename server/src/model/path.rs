//! Paths inside a profile: relative, within bounds, and never out of the tree.

use super::error::{Error, Reason, Result};

/// Longest path, in bytes.
pub const MAX_PATH: usize = 1024;
/// Most components of a path.
pub const MAX_COMPONENTS: usize = 64;
/// Longest component, in bytes.
pub const MAX_COMPONENT: usize = 255;
/// How much of a bad path an error shows, in characters.
const SHOWN: usize = 120;

/// Checks the path of an entry.
///
/// # Errors
/// `PATH_INVALID`, saying which rule it breaks.
pub fn check(path: &str) -> Result<()> {
    length("path", path)?;
    components(path)?;
    for component in path.split('/') {
        match component {
            "" => return Err(invalid("path", path, "has an empty component: it must be relative, without `//` and without a `/` at its end")),
            "." | ".." => return Err(invalid("path", path, "has a component `.` or `..`: write it without")),
            _ => {}
        }
    }
    Ok(())
}

/// Checks where the link at `path` points. A target is relative to the link's own directory, and `..` stands only before the first name: from a directory, which is no
/// link, `..` leads exactly one level up, and without a `..` behind it no further link can lead out of the profile.
///
/// # Errors
/// `PATH_INVALID`, saying which rule it breaks.
pub fn check_target(path: &str, target: &str) -> Result<()> {
    let field = "symlink_target";
    length(field, target)?;
    if target.starts_with('/') {
        return Err(invalid(field, target, "is absolute: make it relative, or leave this link out"));
    }
    let mut names = target.split('/').filter(|name| !matches!(*name, "" | ".")).peekable();
    let mut climbs = 0;
    while names.next_if_eq(&"..").is_some() {
        climbs += 1;
    }
    if names.any(|name| name == "..") {
        return Err(invalid(field, target, "has a `..` behind a name: `..` may stand only before the first name"));
    }
    if climbs > path.matches('/').count() {
        return Err(invalid(field, target, "leads out of the profile: leave this link out"));
    }
    Ok(())
}

/// The directory that holds `path`; `None` for what lies directly in the profile.
#[must_use]
pub fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// An error about `path`, which is shown shortened and with its control characters escaped.
#[must_use]
pub fn invalid(field: &'static str, path: &str, problem: &str) -> Error {
    Error::new(Reason::PathInvalid, format!("{field} {} {problem}", shown(path))).with_field(field)
}

/// A path as an error shows it.
#[must_use]
pub fn shown(path: &str) -> String {
    match path.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &path[..end]),
        None => format!("{path:?}"),
    }
}

fn length(field: &'static str, path: &str) -> Result<()> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err(invalid(field, path, &format!("has {} bytes; it needs 1 to {MAX_PATH}", path.len())));
    }
    if path.contains(['\0', '\\']) {
        return Err(invalid(field, path, "has a NUL or a backslash"));
    }
    Ok(())
}

fn components(path: &str) -> Result<()> {
    let (mut count, mut longest) = (0, 0);
    for component in path.split('/') {
        count += 1;
        longest = longest.max(component.len());
    }
    if count > MAX_COMPONENTS {
        return Err(invalid("path", path, &format!("has {count} components; at most {MAX_COMPONENTS} are allowed")));
    }
    if longest > MAX_COMPONENT {
        return Err(invalid("path", path, &format!("has a component of {longest} bytes; at most {MAX_COMPONENT} are allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_and_within_bounds() {
        let long = "x".repeat(255);
        for good in ["a", "Default/Cookies", "a b/ü/日本", "...", "a/..b", &long, &["d"; 64].join("/")] {
            assert!(check(good).is_ok(), "{good}");
        }
        let bad = ["", "/etc/passwd", "a//b", "a/", "/", ".", "..", "a/../b", "a/./b", "../a", "a\0b", "a\\b", "C:\\a"];
        let too_long = [&"x".repeat(256), &["d"; 65].join("/"), &vec![long; 5].join("/")].map(String::clone);
        for path in bad.into_iter().chain(too_long.iter().map(String::as_str)) {
            let error = check(path).unwrap_err();
            assert_eq!((error.reason(), error.field_name()), (Reason::PathInvalid, Some("path")), "{path:?}");
            assert!(error.message().len() < 500, "{error}");
        }
    }

    #[test]
    fn links_cannot_lead_out_not_even_through_other_links() {
        for (path, target) in [("l", "a"), ("l", "."), ("d/l", ".."), ("d/l", "../a/b"), ("d/e/l", "../../x"), ("d/l", "./../a"), ("l", "a/"), ("l", "a//b/.")]
        {
            assert!(check_target(path, target).is_ok(), "{path} -> {target}");
        }
        // The last one looks harmless, but if `d/up` points to `..`, then `d/up/..` is outside.
        for (path, target) in [("l", ".."), ("l", "/etc"), ("d/l", "../../x"), ("l", ""), ("l", "a\\b"), ("d/l", "up/.."), ("l", "./..")] {
            assert_eq!(check_target(path, target).unwrap_err().reason(), Reason::PathInvalid, "{path} -> {target}");
        }
    }
}
