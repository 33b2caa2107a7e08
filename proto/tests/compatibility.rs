//! The API is a contract: `api.txt` says what it is, and nothing in it may ever be taken away or changed.
//!
//! When something was added, write it down with
//!
//! ```sh
//! HOLDFAST_WRITE_API=1 cargo test -p holdfast-proto --all-features --test compatibility
//! ```

#![cfg(feature = "grpc")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    ServiceDescriptor, Value,
};

const PACKAGE: &str = "holdfast.v1";

fn pool() -> DescriptorPool {
    DescriptorPool::decode(holdfast_proto::DESCRIPTORS).expect("the descriptors were written by the build")
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| message.package_name() == PACKAGE)
}

fn enums(pool: &DescriptorPool) -> impl Iterator<Item = EnumDescriptor> {
    pool.all_enums().filter(|of| of.package_name() == PACKAGE)
}

fn services(pool: &DescriptorPool) -> impl Iterator<Item = ServiceDescriptor> {
    pool.services().filter(|service| service.package_name() == PACKAGE)
}

/// An option of ours, as a number.
fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<u32> {
    let extension = pool.get_extension_by_name(&format!("{PACKAGE}.{name}")).expect("options.proto declares it");
    match options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())? {
        Value::U32(number) => Some(number),
        Value::Bool(is_set) => Some(is_set.into()),
        other => panic!("{name} is {other:?}"),
    }
}

fn type_of(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

/// The whole API, a line for each part of it that somebody may rely on.
fn api(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for message in messages(pool) {
        lines.insert(format!("message {}", message.full_name()));
        for field in message.fields() {
            let label = if field.is_list() { "repeated " } else { "" };
            let presence = if field.supports_presence() { " (may be unset)" } else { "" };
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            let oneof = oneof.map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
            let (type_of, number) = (type_of(&field), field.number());
            lines.insert(format!("field {} = {number}: {label}{type_of}{oneof}{presence}", field.full_name()));
        }
    }
    for of in enums(pool) {
        for value in of.values() {
            lines.insert(format!("value {}.{} = {}", of.full_name(), value.name(), value.number()));
        }
    }
    for service in services(pool) {
        let kind = option(pool, &service.options(), "kind");
        let kind = kind.map(|kind| format!(" of kind {kind}")).unwrap_or_default();
        lines.insert(format!("service {}{kind}", service.full_name()));
        for method in service.methods() {
            let stream = |is_stream: bool| if is_stream { "stream " } else { "" };
            let (op, waits) = (option(pool, &method.options(), "op"), option(pool, &method.options(), "waits"));
            let mut line = format!(
                "method {}({}{}) returns ({}{})",
                method.full_name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name(),
            );
            if let Some(op) = op {
                write!(line, " op {op}").expect("a String grows");
            }
            if waits == Some(1) {
                line.push_str(" waits");
            }
            lines.insert(line);
        }
    }
    lines
}

#[test]
fn nothing_that_was_promised_is_taken_away_or_changed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("api.txt");
    let now = api(&pool());
    if env::var_os("HOLDFAST_WRITE_API").is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        return fs::write(&file, text).expect("api.txt can be written");
    }
    let promised = fs::read_to_string(&file).expect("api.txt is there");
    let promised: BTreeSet<String> = promised.lines().map(str::to_owned).collect();
    let missing: Vec<&String> = promised.difference(&now).collect();
    assert!(
        missing.is_empty(),
        "clients in the field rely on this, and it is gone or was changed:\n{missing:#?}\nPut it back. Names, numbers and \
         types stay for ever: add a field, an op or a message beside it instead. If nobody can have relied on it yet, take \
         the lines out of proto/api.txt and name the change in CHANGELOG.md as a breaking one."
    );
    let new: Vec<&String> = now.difference(&promised).collect();
    assert!(
        new.is_empty(),
        "this is new, and from now on a promise:\n{new:#?}\nWrite it down with HOLDFAST_WRITE_API=1 cargo test -p \
         holdfast-proto --all-features --test compatibility"
    );
}

/// What is documented in a file, by paths of its parts.
fn documented(file: &FileDescriptor) -> BTreeSet<Vec<i32>> {
    let info = file.file_descriptor_proto().source_code_info.as_ref().expect("the build keeps the comments");
    let has_words = |comment: Option<&str>| comment.is_some_and(|comment| comment.trim().len() > 3);
    let is_documented = |location: &&Location| {
        has_words(location.leading_comments.as_deref()) || has_words(location.trailing_comments.as_deref())
    };
    info.location.iter().filter(is_documented).map(|location| location.path.clone()).collect()
}

#[test]
fn every_message_field_value_service_and_method_is_explained() {
    let pool = pool();
    let mut silent = Vec::new();
    let mut check = |file: &FileDescriptor, path: &[i32], name: &str| {
        if !documented(file).contains(path) {
            silent.push(name.to_owned());
        }
    };
    for message in messages(&pool).filter(|message| !message.is_map_entry()) {
        check(&message.parent_file(), message.path(), message.full_name());
        for field in message.fields() {
            check(&message.parent_file(), field.path(), field.full_name());
        }
    }
    for of in enums(&pool) {
        check(&of.parent_file(), of.path(), of.full_name());
        for value in of.values() {
            check(&of.parent_file(), value.path(), value.full_name());
        }
    }
    for service in services(&pool) {
        check(&service.parent_file(), service.path(), service.full_name());
        for method in service.methods() {
            check(&service.parent_file(), method.path(), method.full_name());
        }
    }
    assert!(silent.is_empty(), "each of these needs a comment that says what it is: {silent:#?}");
}

#[test]
fn names_are_as_generators_in_all_languages_like_them() {
    let pool = pool();
    let is_snake = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_pascal = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('_');
    for file in pool.files().filter(|file| file.package_name() == PACKAGE) {
        assert!(file.name().starts_with("holdfast/v1/"), "{}: the folder is the package", file.name());
        assert!(file.services().len() <= 1, "{}: one service, one file", file.name());
    }
    for message in messages(&pool) {
        assert!(is_pascal(message.name()), "{}", message.full_name());
        message.fields().for_each(|field| assert!(is_snake(field.name()), "{}", field.full_name()));
    }
    for of in enums(&pool) {
        let prefix = screaming(of.name());
        // The one value of an enum that stands for nothing needs no prefix.
        for value in of.values().filter(|_| of.values().len() > 1) {
            assert!(value.name().starts_with(&format!("{prefix}_")), "{} begins with {prefix}_", value.full_name());
        }
        assert_eq!(of.default_value().number(), 0, "{}", of.full_name());
    }
    for service in services(&pool) {
        assert!(is_pascal(service.name()) && service.name().ends_with("Service"), "{}", service.full_name());
        let ops: Vec<u32> = service.methods().filter_map(|method| option(&pool, &method.options(), "op")).collect();
        let distinct: BTreeSet<&u32> = ops.iter().collect();
        assert_eq!(ops.len(), distinct.len(), "{}: two ops have one number", service.full_name());
        if option(&pool, &service.options(), "kind").is_some() {
            assert_eq!(ops.len(), service.methods().len(), "{}: each method is an op", service.full_name());
        }
    }
}

fn screaming(pascal: &str) -> String {
    let mut name = String::new();
    for c in pascal.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
