//! The rules for paths and for the targets of links.

const MAX_PATH: usize = 1024;
const MAX_COMPONENT: usize = 255;
const MAX_DEPTH: usize = 64;

/// What is wrong with the path of an entry.
pub(crate) fn fault_in_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains(['\0', '\\']) {
        return Some("it has a NUL or a backslash");
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Some("a component is empty, `.` or `..`");
    }
    if path.len() > MAX_PATH || path.split('/').count() > MAX_DEPTH || path.split('/').any(|name| name.len() > MAX_COMPONENT) {
        return Some("it is longer than 1,024 bytes, or 64 components, or 255 bytes in one of them");
    }
    None
}

/// What is wrong with a link's target. First climbing and then descending, no chain of links leads out of the profile.
pub(crate) fn fault_in_target(path: &str, target: &str) -> Option<&'static str> {
    if target.is_empty() || target.starts_with('/') || target.contains(['\0', '\\']) {
        return Some("its target is empty or absolute, or has a NUL or a backslash");
    }
    let names: Vec<_> = target.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let climbs = names.iter().take_while(|name| **name == "..").count();
    if names[climbs..].contains(&"..") {
        return Some("its target has `..` after a name");
    }
    (climbs > path.matches('/').count()).then_some("its target is outside the profile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::vectors;

    #[test]
    fn paths_and_links_are_judged_as_the_vectors_say() {
        let vectors = vectors("paths");
        for case in vectors["paths"].as_array().unwrap() {
            let fault = fault_in_path(case["path"].as_str().unwrap());
            assert_eq!(fault.is_none(), case["ok"].as_bool().unwrap(), "{case}: {fault:?}");
        }
        for case in vectors["links"].as_array().unwrap() {
            let fault = fault_in_target(case["path"].as_str().unwrap(), case["target"].as_str().unwrap());
            assert_eq!(fault.is_none(), case["ok"].as_bool().unwrap(), "{case}: {fault:?}");
        }
    }
}
