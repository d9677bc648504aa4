//! What operators are given: the example configuration, the example tokens, the image and the compose file say what the daemon says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cloakroom_server::{config, grpc::auth::Tokens};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

#[test]
fn the_example_configuration_is_what_print_config_prints() {
    assert_eq!(read("cloakroomd.toml"), config::print(), "write it anew: cloakroomd --print-config > deploy/cloakroomd.toml");
}

#[test]
fn the_example_tokens_are_tokens() {
    let tokens = Tokens::open(&root().join("deploy/tokens.example")).unwrap();
    for role in ["reader", "worker", "operator"] {
        assert_eq!(tokens.caller(role).unwrap().role.to_string(), role);
    }
}

#[test]
fn files_name_only_variables_that_the_daemon_knows() {
    let known = config::print();
    for file in ["compose.yaml", "Dockerfile", "README.md"] {
        let text = read(file);
        let variables: Vec<&str> =
            text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).filter(|word| word.starts_with("CLOAKROOM_")).collect();
        assert!(!variables.is_empty(), "{file} configures nothing");
        for variable in variables.iter().filter(|variable| **variable != "CLOAKROOM_") {
            let line = |line: &str| line.strip_prefix("# Environment: ").is_some_and(|names| names.split(", ").any(|name| name == *variable));
            assert!(known.lines().any(line), "{file} names {variable}, which is no setting");
        }
    }
}

/// The instructions of a Dockerfile, continuation lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = |line: &str| line.trim().split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    joined.lines().filter(|line| !line.trim().is_empty()).map(|line| split(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

#[test]
fn the_image_is_built_of_what_is_there_and_does_not_run_as_root() {
    let instructions = instructions(&read("Dockerfile"));
    let all = |word: &str| instructions.iter().filter(|(name, _)| name == word).map(|(_, rest)| rest.as_str()).collect::<Vec<_>>();
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"];
    assert!(instructions.iter().all(|(name, _)| known.contains(&name.as_str())), "{instructions:#?}");

    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "one to build, one to run");
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage.split_once(" AS ")).map(|(_, name)| name).collect();
    let version = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = version.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap().trim_end_matches('"').to_owned();
    assert!(stages[0].starts_with(&format!("rust:{version}-slim-")), "{} builds with the workspace's Rust {version}", stages[0]);
    assert_eq!(
        stages[0].split("-slim-").nth(1).map(|rest| rest.split(' ').next()),
        stages[1].split(':').nth(1).map(|rest| rest.split('-').next()),
        "one Debian"
    );

    for copy in all("COPY") {
        let words: Vec<&str> = copy.split_whitespace().collect();
        if let Some(stage) = words[0].strip_prefix("--from=") {
            assert!(names.contains(&stage), "COPY --from={stage}: there is no such stage");
            continue;
        }
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "COPY {source}: there is no such file");
        }
    }
    let last = |word: &str| all(word).last().copied().unwrap_or_else(|| panic!("no {word}"));
    assert!(!last("USER").starts_with("root") && !last("USER").starts_with('0'), "USER {}", last("USER"));
    assert!(instructions.iter().rposition(|(name, _)| name == "USER") > instructions.iter().rposition(|(name, _)| name == "RUN"), "only building is root's");
    let (home, data) = (last("VOLUME"), last("ENV"));
    assert!(data.contains(&format!("CLOAKROOM_DATA_DIR={home}/")), "data lies on the volume: {data}");
    let ports: Vec<&str> = last("EXPOSE").split(' ').collect();
    let config = config::Config::defaults().unwrap();
    assert_eq!(ports, [config.listen.port().to_string(), config.http_listen.port().to_string()]);
    assert!(last("HEALTHCHECK").contains(&format!("/dev/tcp/127.0.0.1/{}", config.http_listen.port())));
    assert_eq!(last("ENTRYPOINT"), "[\"cloakroomd\"]");
}
