//! The house: layers look only to their left, files stay small, every test runs, and what is written in two places is the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources(under: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() && path.file_name().unwrap() != "target" && path.file_name().unwrap() != "node_modules" => walk(&path, out),
                path if path.extension().is_some_and(|extension| extension == "rs") => out.push(path),
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(under), &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/conformance")
}

/// `use crate::{flow::…, model::…}` said as `crate::flow`, `crate::model`: the names at the first level of every such list.
fn spelled_out(code: &str) -> String {
    let mut said = String::new();
    for list in code.split("crate::{").skip(1) {
        let (mut depth, mut word) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => said.extend(["crate::", std::mem::take(&mut word).trim(), " "]),
                _ if depth == 0 => word.push(c),
                _ => {}
            }
        }
        said.extend(["crate::", word.trim(), " "]);
    }
    said + code
}

/// Whether code names something, as a path of its own and not as the end of another word.
fn says(code: &str, word: &str) -> bool {
    let own = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| own(at))
}

/// What each layer must not say, beside the layers to its right.
const LAYERS: [(&str, &[&str]); 4] = [
    (
        "model",
        &[
            "crate::store",
            "crate::flow",
            "crate::grpc",
            "crate::ops",
            "crate::clock",
            "tokio::",
            "async fn",
            "redis::",
            "rusqlite",
            "object_store",
            "tonic",
            "cloakroom_api",
        ],
    ),
    ("store", &["crate::flow", "crate::grpc", "crate::ops", "tonic::", "cloakroom_api"]),
    ("flow", &["crate::grpc", "crate::ops", "redis::", "rusqlite", "object_store::", "tonic::", "cloakroom_api"]),
    ("grpc", &["redis::", "rusqlite", "object_store::"]),
];

#[test]
fn a_layer_uses_only_what_stands_to_its_left() {
    let mut wrong = Vec::new();
    for (layer, forbidden) in LAYERS {
        for (name, text) in sources(&format!("server/src/{layer}")) {
            if is_test(&name) {
                continue;
            }
            let code = spelled_out(&code(&text));
            wrong.extend(forbidden.iter().filter(|word| says(&code, word)).map(|word| format!("{name} says {word}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (name, text) in ["server/src", "client/rust/src", "proto", "tests"].into_iter().flat_map(sources) {
        if !text.starts_with("//!") {
            wrong.push(format!("{name} does not start by saying what it is"));
        }
        let lines = code(&text).lines().count();
        if lines > 320 && !is_test(&name) && !name.starts_with("tests/") {
            wrong.push(format!("{name} has {lines} lines of code; the house's size is 300"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_profile_client_fits_on_300_lines() {
    for file in ["client/rust/src/profiles.rs", "client/python/src/cloakroom/profiles.py", "client/node/src/profiles.js"] {
        let lines = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).lines().count();
        assert!(lines <= 300, "{file} has {lines} lines");
    }
}

#[test]
fn every_test_file_is_run() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for entry in fs::read_dir(root().join("tests")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(main.lines().any(|line| line == format!("mod {module};")), "{name} is not run: declare it in tests/main.rs");
        }
    }
}

#[test]
fn no_test_is_left_out() {
    let ignore = ["#[", "ignore"].concat();
    for (name, text) in ["server/src", "client/rust/src", "tests"].into_iter().flat_map(sources) {
        assert!(!text.contains(&ignore), "{name} has a test that does not run");
    }
}

#[test]
fn the_readme_names_every_layer_and_package() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for word in ["model", "store", "flow", "grpc", "proto", "server", "client/rust", "client/python", "client/node", "tests", "deploy"] {
        assert!(readme.contains(word), "README's picture lacks {word}");
    }
    let linked = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://") && !link.starts_with('#'));
    for link in linked {
        let path = link.split('#').next().unwrap();
        assert!(root().join(path).exists(), "README links to {link}, which does not exist");
    }
}
