//! The contract itself: complete comments, standard shapes, one table of reasons, and no change that breaks a client.

use std::{collections::BTreeMap, fs, path::Path};

use cloakroom_api::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().filter(|file| file.package() == "cloakroom.v1").collect()
}

/// Comments of a file by the path of what they stand at, as `descriptor.proto` numbers it.
fn comments(file: &FileDescriptorProto) -> BTreeMap<Vec<i32>, String> {
    let info = file.source_code_info.as_ref().unwrap();
    info.location.iter().map(|at| (at.path.clone(), at.leading_comments().trim().to_owned())).collect()
}

fn enum_elements(prefix: &[i32], outer: &str, all: &[EnumDescriptorProto], tag: i32, out: &mut Vec<(Vec<i32>, String)>) {
    for (at, one) in (0..).zip(all) {
        let path = [prefix, &[tag, at]].concat();
        let name = format!("{outer}.{}", one.name());
        out.extend((0..).zip(&one.value).map(|(value, v)| ([path.as_slice(), &[2, value]].concat(), format!("{name}.{}", v.name()))));
        out.push((path, name));
    }
}

fn message_elements(prefix: &[i32], outer: &str, all: &[DescriptorProto], tag: i32, out: &mut Vec<(Vec<i32>, String)>) {
    for (at, one) in (0..).zip(all) {
        if one.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
            continue;
        }
        let path = [prefix, &[tag, at]].concat();
        let name = format!("{outer}.{}", one.name());
        out.extend((0..).zip(&one.field).map(|(field, f)| ([path.as_slice(), &[2, field]].concat(), format!("{name}.{}", f.name()))));
        out.extend((0..).zip(&one.oneof_decl).map(|(oneof, o)| ([path.as_slice(), &[8, oneof]].concat(), format!("{name}.{}", o.name()))));
        message_elements(&path, &name, &one.nested_type, 3, out);
        enum_elements(&path, &name, &one.enum_type, 4, out);
        out.push((path, name));
    }
}

#[test]
fn every_element_of_the_contract_has_a_comment() {
    let mut missing = Vec::new();
    for file in files() {
        let comments = comments(&file);
        let mut elements = Vec::new();
        message_elements(&[], file.name(), &file.message_type, 4, &mut elements);
        enum_elements(&[], file.name(), &file.enum_type, 5, &mut elements);
        for (at, service) in (0..).zip(&file.service) {
            elements.push((vec![6, at], service.name().to_owned()));
            elements.extend((0..).zip(&service.method).map(|(method, m)| (vec![6, at, 2, method], format!("{}.{}", service.name(), m.name()))));
        }
        missing.extend(elements.into_iter().filter(|(path, _)| comments.get(path).is_none_or(String::is_empty)).map(|(_, name)| name));
    }
    assert!(missing.is_empty(), "without a comment: {missing:#?}");
}

#[test]
fn every_call_has_its_own_request_with_a_namespace_and_says_its_errors() {
    for file in files() {
        let comments = comments(&file);
        for (at, service) in (0..).zip(&file.service) {
            assert!(service.name().ends_with("Service"));
            for (number, method) in (0..).zip(&service.method) {
                let name = method.name();
                assert_eq!(method.input_type(), format!(".cloakroom.v1.{name}Request"));
                assert_eq!(method.output_type(), format!(".cloakroom.v1.{name}Response"));
                assert!(comments[&vec![6, at, 2, number]].contains("\n Errors: "), "{name} does not say its errors");
                let request = file.message_type.iter().find(|message| message.name() == format!("{name}Request")).unwrap();
                assert_eq!((request.field[0].name(), request.field[0].number()), ("namespace", 1), "{name}Request");
            }
        }
    }
}

#[test]
fn reads_take_min_revision_and_everything_answers_with_a_revision() {
    // GetServerInfo reports on the daemon itself; a save's and a watch's revisions travel in their messages.
    for file in files() {
        for method in file.service.iter().flat_map(|service| &service.method) {
            let message = |suffix: &str| file.message_type.iter().find(|m| m.name() == format!("{}{suffix}", method.name())).unwrap();
            let has = |suffix: &str, field: &str| message(suffix).field.iter().any(|f| f.name() == field);
            let streams = method.server_streaming() || method.name() == "GetServerInfo";
            assert!(streams || has("Response", "revision"), "{} answers without a revision", method.name());
            let reads = ["Get", "List", "BatchGet", "Resolve", "Load", "Diff"].iter().any(|verb| method.name().starts_with(verb));
            let exempt = ["GetServerInfo", "GetSaveStatus"].contains(&method.name());
            assert!(!reads || exempt || has("Request", "min_revision"), "{} reads without min_revision", method.name());
        }
    }
}

#[test]
fn writes_accept_etag_and_lease_token() {
    let names = [
        "UpdateSession",
        "DeleteSession",
        "UndeleteSession",
        "TouchSession",
        "TransitionSession",
        "PutStorageState",
        "RestoreSnapshot",
        "PinSnapshot",
        "DeleteSnapshot",
        "UndeleteSnapshot",
    ];
    let messages: BTreeMap<_, _> = files().into_iter().flat_map(|file| file.message_type).map(|message| (message.name().to_owned(), message)).collect();
    for name in names.iter().map(|name| format!("{name}Request")).chain(["SaveBegin".to_owned()]) {
        for field in ["etag", "lease_token"] {
            assert!(messages[&name].field.iter().any(|f| f.name() == field), "{name} has no {field}");
        }
    }
}

#[test]
fn the_table_of_reasons_is_what_the_daemon_does() {
    let file = files().into_iter().find(|file| file.name().ends_with("error.proto")).unwrap();
    let table: BTreeMap<String, (String, bool)> = comments(&file)[&vec![5, 0]]
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|'))
        .map(|line| line.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>())
        .filter(|cells| cells[0] != "reason" && !cells[0].starts_with('-'))
        .map(|cells| (cells[0].clone(), (cells[1].clone(), cells[3] == "yes")))
        .collect();
    let reasons: Vec<_> = file.enum_type[0].value.iter().skip(1).map(|value| value.name().trim_start_matches("ERROR_REASON_").to_owned()).collect();
    assert_eq!(reasons.len(), table.len(), "one row per reason");
    let code = |code: tonic::Code| {
        format!("{code:?}").chars().fold(String::new(), |name, c| {
            if c.is_uppercase() && !name.is_empty() { name + "_" + &c.to_string() } else { name + &c.to_uppercase().to_string() }
        })
    };
    let does: BTreeMap<String, (String, bool)> =
        cloakroom_server::grpc::status::table().into_iter().map(|(name, c, retry)| (name.to_owned(), (code(c), retry))).collect();
    assert_eq!(does, table);
    assert!(reasons.iter().all(|reason| table.contains_key(reason)));
}

/// What a client compiled against the contract relies on: names, numbers and types.
fn promises(files: &[FileDescriptorProto]) -> BTreeMap<String, String> {
    fn fields(name: &str, message: &DescriptorProto, out: &mut BTreeMap<String, String>) {
        let kind = |f: &FieldDescriptorProto| format!("{} {:?} {:?} {} oneof {:?}", f.name(), f.r#type(), f.label(), f.type_name(), f.oneof_index.is_some());
        out.extend(message.field.iter().map(|f| (format!("{name} field {}", f.number()), kind(f))));
        message.nested_type.iter().for_each(|inner| fields(&format!("{name}.{}", inner.name()), inner, out));
        message.enum_type.iter().for_each(|inner| values(&format!("{name}.{}", inner.name()), inner, out));
    }
    fn values(name: &str, one: &EnumDescriptorProto, out: &mut BTreeMap<String, String>) {
        out.extend(one.value.iter().map(|value| (format!("{name} value {}", value.number()), value.name().to_owned())));
    }
    let mut out = BTreeMap::new();
    for file in files {
        file.message_type.iter().for_each(|message| fields(message.name(), message, &mut out));
        file.enum_type.iter().for_each(|one| values(one.name(), one, &mut out));
        for service in &file.service {
            let kind =
                |m: &prost_types::MethodDescriptorProto| format!("{} {} {} {}", m.input_type(), m.client_streaming(), m.output_type(), m.server_streaming());
            out.extend(service.method.iter().map(|m| (format!("{} method {}", service.name(), m.name()), kind(m))));
        }
    }
    out
}

/// `proto/promises.txt` is what has been published. It only grows: run with `CLOAKROOM_WRITE_PROMISES=1` after adding to the contract.
#[test]
fn what_was_promised_is_still_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/promises.txt");
    let now = promises(&files());
    let text = now.iter().fold(String::new(), |text, (key, value)| text + key + ": " + value + "\n");
    let promised = fs::read_to_string(&path).unwrap_or_default();
    for line in promised.lines() {
        let (key, value) = line.split_once(": ").unwrap();
        assert_eq!(now.get(key).map(String::as_str), Some(value), "the contract broke its promise: {key}");
    }
    if std::env::var_os("CLOAKROOM_WRITE_PROMISES").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert_eq!(promised, text, "the contract grew; write it down with CLOAKROOM_WRITE_PROMISES=1 cargo test -p cloakroom-tests promised");
    }
}

#[test]
fn the_service_config_is_valid_json_and_names_only_calls_that_exist() {
    let config: serde_json::Value = serde_json::from_str(cloakroom_api::SERVICE_CONFIG).unwrap();
    let methods: Vec<_> = files()
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(move |m| (format!("cloakroom.v1.{}", service.name()), m.name().to_owned())))
        .collect();
    for entry in config["methodConfig"].as_array().unwrap() {
        for name in entry["name"].as_array().unwrap() {
            let (service, method) = (name["service"].as_str().unwrap(), name["method"].as_str());
            assert!(methods.iter().any(|(s, m)| s == service && method.is_none_or(|method| method == m)), "{name}");
        }
    }
}
