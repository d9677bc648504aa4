//! The configuration from all its sources.

use super::*;

fn load(flags: &[&str], file: Option<&str>, environment: &[(&str, &str)]) -> Result<Config> {
    use clap::Parser as _;
    let dir = tempfile::tempdir().unwrap();
    let mut flags = Flags::try_parse_from([&["cloakroomd"], flags].concat()).unwrap();
    if let Some(text) = file {
        let path = dir.path().join("cloakroomd.toml");
        fs::write(&path, text).unwrap();
        flags.config = Some(path);
    }
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(&flags, &environment)
}

fn refused(flags: &[&str], file: Option<&str>, environment: &[(&str, &str)]) -> String {
    let error = load(flags, file, environment).unwrap_err();
    assert_eq!(error.reason(), crate::Reason::InvalidField);
    error.message().to_owned()
}

#[test]
fn the_printed_defaults_read_back_as_the_defaults() {
    let printed = load(&[], Some(&print()), &[]).unwrap();
    assert_eq!(format!("{printed:?}"), format!("{:?}", Config::defaults().unwrap()));
    assert_eq!(printed.listen.to_string(), "127.0.0.1:7700");
    assert_eq!(printed.limits.message_bytes, 4 << 20);
}

#[test]
fn the_printed_defaults_name_every_key_with_a_text_and_its_variable() {
    let printed = print();
    for key in keys() {
        assert!(!key.docs.is_empty() && key.docs.iter().all(|doc| doc.len() > 5), "{} says what it means", key.path);
        assert!(printed.contains(&key.env), "{} is printed", key.env);
        assert!(key.default.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\'), "{} stands in TOML without escapes", key.path);
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_shared_variables_over_defaults() {
    let file = Some("listen = \"127.0.0.1:1\"\nhttp_listen = \"127.0.0.1:2\"\n[blobs]\nregion = \"file\"\n");
    let environment =
        [("CLOAKROOM_LISTEN", "127.0.0.1:3"), ("CLOAKROOM_HTTP_LISTEN", "127.0.0.1:4"), ("AWS_REGION", "shared"), ("AWS_ENDPOINT_URL", "http://s3")];
    let config = load(&["--listen", "127.0.0.1:5"], file, &environment).unwrap();
    assert_eq!((config.listen.port(), config.http_listen.port()), (5, 4));
    assert_eq!((config.blobs.region.as_str(), config.blobs.endpoint.as_str()), ("file", "http://s3"));
    let config = load(&[], None, &[("AWS_REGION", "shared"), ("CLOAKROOM_BLOBS_REGION", "own")]).unwrap();
    assert_eq!(config.blobs.region, "own");
}

#[test]
fn a_wrong_value_names_key_value_source_and_remedy() {
    let message = refused(&[], Some("\n[metadata]\nengine = \"sqlite\"\n"), &[]);
    assert!(message.starts_with("metadata.engine is \"sqlite\" (/") && message.contains("cloakroomd.toml:3)"), "{message}");
    assert!(message.ends_with("it needs \"embedded\" or \"ephemeral\" or \"redis\""), "{message}");
    let message = refused(&[], None, &[("CLOAKROOM_LIMITS_REQUEST_TIMEOUT", "10")]);
    assert!(
        message.starts_with("limits.request_timeout is \"10\" (environment variable CLOAKROOM_LIMITS_REQUEST_TIMEOUT); it needs a duration from 1ms to"),
        "{message}"
    );
    let message = refused(&["--listen", "localhost:7700"], None, &[]);
    assert!(message.starts_with("listen is \"localhost:7700\" (flag --listen); it needs an IP address and a port"), "{message}");
    let message = refused(&[], Some("insecure = [1]"), &[]);
    assert!(message.starts_with("insecure is a TOML array"), "{message}");
    let message = refused(&[], Some("listen = "), &[]);
    assert!(message.contains("cloakroomd.toml:1:"), "{message}");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let message = refused(&[], Some("[metadata]\n\nredisurl = \"x\"\n"), &[]);
    assert!(message.starts_with("metadata.redisurl is no key") && message.contains(":3); did you mean metadata.redis_url?"), "{message}");
    let message = refused(&[], Some("[metadate]\nengine = \"redis\"\n"), &[]);
    assert!(message.contains("did you mean metadata.engine?"), "{message}");
    let message = refused(&[], None, &[("CLOAKROOM_LISTN", "x")]);
    assert!(message.contains("did you mean CLOAKROOM_LISTEN?"), "{message}");
    let message = refused(&[], None, &[("CLOAKROOM_METADATA_FOO", "x")]);
    assert!(message.starts_with("CLOAKROOM_METADATA_FOO is no key"), "{message}");
    assert!(!message.contains("did you mean") && message.contains("--print-config"), "nothing is like it: {message}");
    for (file, meant) in [
        ("tokens_file = \"t\"", Some("auth.tokens_file")),
        ("[limits]\nengine = \"redis\"", Some("metadata.engine")),
        ("[limits]\nidel_timeout = \"1s\"", Some("limits.idle_timeout")),
        ("[cache]\nttl = 1", None),
        ("verbose = true", None),
        ("[limits]\ntimeout = \"1s\"", None),
    ] {
        let message = refused(&[], Some(file), &[]);
        assert_eq!(message.split("did you mean ").nth(1).and_then(|rest| rest.split('?').next()), meant, "{message}");
    }
    assert!(load(&[], None, &[("CLOAKROOM_TOKEN", "of a client")]).is_ok(), "variables of clients are none of the daemon's business");
}

#[test]
fn addresses_that_others_can_reach_need_tls_and_authentication_or_insecure() {
    for flags in [["--listen", "0.0.0.0:7700"], ["--http-listen", "[::]:7701"]] {
        let message = refused(&flags, None, &[]);
        assert!(message.contains("which other machines can reach, but tls.cert, tls.key and auth.tokens_file are not set"), "{message}");
        assert!(message.contains("--insecure"), "{message}");
        assert!(load(&[&flags[..], &["--insecure"]].concat(), None, &[]).is_ok());
        let tls = "[tls]\ncert = \"c\"\nkey = \"k\"\n";
        assert!(refused(&flags, Some(tls), &[]).contains("but auth.tokens_file is not set"));
        assert!(refused(&flags, Some("[auth]\ntokens_file = \"t\"\n"), &[]).contains("but tls.cert and tls.key are not set"));
        assert!(load(&flags, Some(&format!("{tls}[auth]\ntokens_file = \"t\"\n")), &[]).is_ok());
        let certificates = format!("{tls}client_ca = \"ca\"\n");
        let message = refused(&flags, Some(&certificates), &[]);
        assert!(message.contains("auth.tokens_file (tls.client_ca says who may connect, not which namespace is whose) is not set"), "{message}");
        assert!(load(&flags, Some(&format!("{certificates}[auth]\ntokens_file = \"t\"\n")), &[]).is_ok());
    }
    assert!(load(&["--listen", "[::1]:0", "--http-listen", "127.0.0.2:0"], None, &[]).is_ok());
}

#[test]
fn keys_that_need_each_other_are_asked_for() {
    for (file, key) in [
        ("[tls]\ncert = \"c\"", "tls.key"),
        ("[tls]\nkey = \"c\"", "tls.cert"),
        ("[tls]\nclient_ca = \"c\"", "tls.cert"),
        ("[metadata]\nengine = \"redis\"", "metadata.redis_url"),
        ("[blobs]\nbackend = \"s3\"", "blobs.bucket"),
        ("[blobs]\naccess_key_id = \"x\"", "blobs.secret_access_key"),
        ("[blobs]\nbackend = \"s3\"\nbucket = \"b\"", "keys.master_key_file"),
        ("[blobs]\nbackend = \"redis\"", "blobs.redis_url"),
        ("[blobs]\nredis_cluster = true", "blobs.redis_url"),
        ("[metadata]\nredis_url = \"redis://h\"\n[blobs]\nredis_cluster = true", "blobs.redis_url"),
        ("[blobs]\nbackend = \"redis\"\nredis_url = \"redis://h\"", "keys.master_key_file"),
        ("[metadata]\nredis_url = \"redis://h\"\n[blobs]\nbackend = \"redis\"", "keys.master_key_file"),
        ("[metadata]\nengine = \"redis\"\nredis_url = \"redis://h\"", "keys.master_key_file"),
    ] {
        let message = refused(&[], Some(file), &[]);
        assert!(message.starts_with(&format!("{key} is empty although ")), "{message}");
    }
}

#[test]
fn there_is_one_master_key() {
    let hex = "0".repeat(64);
    let file = "[metadata]\nengine = \"redis\"\nredis_url = \"redis://h\"\n";
    assert!(load(&[], Some(file), &[("CLOAKROOM_KEYS_MASTER_KEY", &hex)]).is_ok());
    let message = refused(&[], Some(file), &[("CLOAKROOM_KEYS_MASTER_KEY", &hex), ("CLOAKROOM_KEYS_MASTER_KEY_FILE", "/key")]);
    assert!(message.contains("are both set") && !message.contains(&hex), "{message}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, "hunter2\n").unwrap();
    let reference = format!("file:{}", path.display());
    let environment = [("CLOAKROOM_BLOBS_ACCESS_KEY_ID", "id"), ("CLOAKROOM_BLOBS_SECRET_ACCESS_KEY", reference.as_str())];
    let config = load(&[], None, &environment).unwrap();
    assert_eq!(config.blobs.secret_access_key.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let message = refused(&[], None, &[("CLOAKROOM_METADATA_REDIS_URL", "file:/nowhere/secret")]);
    assert!(
        message.starts_with("metadata.redis_url is not usable (environment variable CLOAKROOM_METADATA_REDIS_URL); its file /nowhere/secret cannot be read"),
        "{message}"
    );
}

#[test]
fn ephemeral_keeps_both_stores_in_memory() {
    let config = load(&["--ephemeral"], Some("[metadata]\nengine = \"embedded\"\n[blobs]\nbackend = \"local\"\n"), &[]).unwrap();
    assert_eq!((config.metadata.engine, config.blobs.backend), (Engine::Ephemeral, Backend::Memory));
}
