//! Compiles the .proto files without protoc, and derives from the descriptors what the rest of the project needs to
//! know about each kind: its number, its ops and their numbers, which request has which response.

#[path = "build/references.rs"]
mod references;

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use prost_build::{Config, Service, ServiceGenerator};
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let files = proto_files(&root.join("holdfast/v1"))?;
    println!("cargo:rerun-if-changed=holdfast/v1");
    println!("cargo:rerun-if-changed=build");

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(&files)?;
    let pool = compiler.descriptor_pool();
    // For clients that ask a manager what it speaks: with the comments, which their tools show.
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    Config::new()
        .extern_path(".holdfast.v1.Datum", "crate::datum::Datum")
        .bytes([
            ".holdfast.v1.Call.request",
            ".holdfast.v1.Reply.response",
            ".holdfast.v1.OpenRequest.spec",
            ".holdfast.v1.CreateRequest.spec",
            ".holdfast.v1.PoolArguments.encoded",
            ".holdfast.v1.PoolOutcome.encoded",
        ])
        // These requests would be larger than all others, and an op of any kind is moved as the largest is.
        .boxed(".holdfast.v1.ArraySetSliceRequest.elements")
        .boxed(".holdfast.v1.PoolRunRequest.arguments")
        .service_generator(Box::new(Services {
            pool: pool.clone(),
            kinds: Vec::new(),
            tonic: tonic_prost_build::configure().build_client(false).service_generator(),
            messages: Vec::new(),
        }))
        .compile_fds(compiler.file_descriptor_set())?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("holdfast.v1.references.rs"), references::visitors(&pool))?;
    Ok(())
}

fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}

/// Writes the op table of each service that has a kind, and tonic's server for each that has none.
struct Services {
    pool: DescriptorPool,
    /// Number and name of each kind, as they come.
    kinds: Vec<(u32, String)>,
    tonic: Box<dyn ServiceGenerator>,
    /// The request and the response messages of all kinds.
    messages: Vec<String>,
}

impl Services {
    fn service_option(&self, service: &Service, extension: &str) -> Option<u32> {
        let descriptor = self.pool.get_service_by_name(&format!("{}.{}", service.package, service.proto_name))?;
        number(&self.pool, &descriptor.options(), extension)
    }

    fn op_number(&self, service: &Service, method: &str) -> u32 {
        let name = format!("{}.{}", service.package, service.proto_name);
        let descriptor =
            self.pool.get_service_by_name(&name).expect("prost-build and prost-reflect read the same files");
        let method = descriptor.methods().find(|m| m.name() == method).expect("as above");
        number(&self.pool, &method.options(), "holdfast.v1.op").unwrap_or_else(|| {
            panic!("{}.{} is an op of a kind: give it a number with (holdfast.v1.op)", name, method.name())
        })
    }

    /// Whether the op is one that may wait.
    fn waits(&self, method: &prost_build::Method) -> bool {
        let request = method.input_proto_type.trim_start_matches('.');
        let extension = self.pool.get_extension_by_name("holdfast.v1.waits").expect("options.proto declares it");
        self.pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .any(|known| known.input().full_name() == request && known.options().has_extension(&extension))
    }
}

fn number(pool: &DescriptorPool, options: &prost_reflect::DynamicMessage, extension: &str) -> Option<u32> {
    let extension = pool.get_extension_by_name(extension).expect("options.proto declares it");
    if !options.has_extension(&extension) {
        return None;
    }
    match &*options.get_extension(&extension) {
        Value::U32(number) => Some(*number),
        other => panic!("{} is a uint32, not {other:?}", extension.full_name()),
    }
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, code: &mut String) {
        if let Some(kind) = self.service_option(&service, "holdfast.v1.kind") {
            let mut ops: Vec<(u32, usize)> = service
                .methods
                .iter()
                .enumerate()
                .map(|(at, m)| (self.op_number(&service, &m.proto_name), at))
                .collect();
            ops.sort_unstable();
            if let Some(twice) = ops.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                panic!("{}: two ops have number {}", service.proto_name, twice[0].0);
            }
            op_table(&service, kind, &ops, code).expect("writing to a String");
            for method in &service.methods {
                let waits = self.waits(method);
                request_of_op(&service, kind, &ops, method, waits, code).expect("writing to a String");
            }
            for method in &service.methods {
                let request = (&method.input_proto_type, &method.input_type);
                let response = (&method.output_proto_type, &method.output_type);
                for (proto_name, rust_name) in [request, response] {
                    let message = self.pool.get_message_by_name(proto_name.trim_start_matches('.')).expect("as above");
                    message_reader(rust_name, &message, code).expect("writing to a String");
                    message_writer(rust_name, &message, code).expect("writing to a String");
                    self.messages.push(rust_name.clone());
                }
            }
            self.kinds.push((kind, snake(noun(&service))));
        } else if service.methods.iter().all(|m| !m.client_streaming && !m.server_streaming) {
            // The session stream is not among these: its bytes are handled without tonic.
            code.push_str("#[cfg(feature = \"grpc\")]\n");
            let mut server = String::new();
            self.tonic.generate(service, &mut server);
            // tonic writes for crates with std's prelude.
            const FIRST_USE: &str = "use tonic::codegen::*;";
            assert!(server.contains(FIRST_USE), "tonic writes its services in another way now");
            code.push_str(&server.replacen(FIRST_USE, &format!("use std::prelude::rust_2024::*;\n{FIRST_USE}"), 1));
        }
    }

    fn finalize_package(&mut self, _: &str, code: &mut String) {
        each_message(&self.messages, code).expect("writing to a String");
        self.kinds.sort_unstable();
        code.push_str("/// Number and name of each kind, the manager itself first.\n");
        writeln!(code, "pub const KINDS: &[(u32, &str)] = &{:?};", self.kinds).expect("writing to a String");
    }

    fn finalize(&mut self, code: &mut String) {
        self.tonic.finalize(code);
    }
}

fn op_table(service: &Service, kind: u32, ops: &[(u32, usize)], code: &mut String) -> std::fmt::Result {
    let noun = noun(service);
    let module = snake(noun);
    let methods = || ops.iter().map(|&(number, at)| (number, &service.methods[at]));
    let has_spec = noun != "Manager";

    writeln!(code, "/// The ops of `{}`, kind {kind}.", service.proto_name)?;
    writeln!(code, "pub mod {module} {{")?;
    writeln!(code, "/// The number of the kind.\npub const KIND: u32 = {kind};")?;
    writeln!(code, "/// The name of the kind, for people.\npub const NAME: &str = {module:?};")?;
    writeln!(code, "/// The full name of the service, as it stands in the paths of its RPCs.")?;
    writeln!(code, "pub const SERVICE: &str = \"{}.{}\";", service.package, service.proto_name)?;
    if has_spec {
        writeln!(code, "/// How an object of this kind is made.\npub type Spec = super::{noun}Spec;")?;
    }

    writeln!(code, "/// What can be asked.\n#[derive(Clone, Debug, PartialEq)]\npub enum Op {{")?;
    for (_, m) in methods() {
        writeln!(code, "/// `{}`\n{}(super::{}),", m.proto_name, m.proto_name, m.input_type)?;
    }
    writeln!(code, "}}")?;

    writeln!(code, "/// What is answered.\n#[derive(Clone, Debug, PartialEq)]\npub enum Reply {{")?;
    for (_, m) in methods() {
        writeln!(code, "/// To `{}`.\n{}(super::{}),", m.proto_name, m.proto_name, m.output_type)?;
    }
    writeln!(code, "}}")?;

    writeln!(code, "impl crate::ops::Op for Op {{\nconst KIND: u32 = KIND;\ntype Reply = Reply;")?;
    writeln!(code, "fn table() -> &'static [(u32, &'static str)] {{ &[")?;
    for (number, m) in methods() {
        writeln!(code, "({number}, {:?}),", m.proto_name)?;
    }
    writeln!(code, "] }}")?;
    writeln!(code, "fn number(&self) -> u32 {{ match self {{")?;
    for (number, m) in methods() {
        writeln!(code, "Self::{}(_) => {number},", m.proto_name)?;
    }
    writeln!(code, "}} }}")?;
    writeln!(
        code,
        "#[inline]\nfn decode(op: u32, request: &[u8]) -> Result<Self, crate::ops::Unreadable> {{ match op {{"
    )?;
    for (number, m) in methods() {
        writeln!(code, "{number} => crate::fields::read(request, Self::{}),", m.proto_name)?;
    }
    writeln!(code, "_ => Err(crate::ops::Unreadable::Unknown), }} }}")?;
    writeln!(
        code,
        "fn decode_in(op: u32, request: &[u8], buffer: &bytes::Bytes) -> Result<Self, crate::ops::Unreadable> {{ match op {{"
    )?;
    for (number, m) in methods() {
        writeln!(code, "{number} => crate::fields::read_in(request, buffer, Self::{}),", m.proto_name)?;
    }
    writeln!(code, "_ => Err(crate::ops::Unreadable::Unknown), }} }}")?;
    writeln!(code, "fn encode(&self, into: &mut alloc::vec::Vec<u8>) {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(
            code,
            "Self::{}(request) => prost::Message::encode(request, into).expect(\"a Vec grows\"),",
            m.proto_name
        )?;
    }
    writeln!(code, "}} }}\n}}")?;

    for holder in ["Op", "Reply"] {
        let (visit, change): (String, String) = methods()
            .map(|(_, m)| {
                let name = &m.proto_name;
                (
                    format!("Self::{name}(message) => message.visit_references(visit),"),
                    format!("Self::{name}(message) => message.change_references(change),"),
                )
            })
            .unzip();
        code.push_str(&references::implementation(holder, &visit, &change, "match self"));
    }

    writeln!(code, "impl crate::ops::Response for Reply {{")?;
    writeln!(code, "#[inline]\nfn encoded_len(&self) -> usize {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(code, "Self::{}(response) => crate::ops::Written::written_len(response),", m.proto_name)?;
    }
    writeln!(code, "}} }}")?;
    writeln!(code, "#[inline]\nfn encode(&self, into: &mut impl crate::frame::Out) {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(code, "Self::{}(response) => crate::ops::Written::put(response, into),", m.proto_name)?;
    }
    writeln!(code, "}} }}")?;
    writeln!(code, "#[inline]\nfn write(self, writer: impl crate::ops::Writer) {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(code, "Self::{}(response) => writer.write(response),", m.proto_name)?;
    }
    writeln!(code, "}} }}\n}}")?;
    writeln!(code, "}}")?;

    Ok(())
}

/// Writes which op a request is of.
fn request_of_op(
    service: &Service,
    kind: u32,
    ops: &[(u32, usize)],
    method: &prost_build::Method,
    waits: bool,
    code: &mut String,
) -> std::fmt::Result {
    let is_this = |at: usize| service.methods[at].proto_name == method.proto_name;
    let (number, _) = ops.iter().find(|&&(_, at)| is_this(at)).expect("every method is an op");
    writeln!(code, "impl crate::ops::Request for {} {{", method.input_type)?;
    writeln!(code, "const KIND: u32 = {kind};\nconst OP: u32 = {number};\nconst WAITS: bool = {waits};")?;
    writeln!(code, "const NAME: &'static str = \"{}/{}\";", service.proto_name, method.proto_name)?;
    writeln!(code, "type Response = {};\n}}", method.output_type)
}

/// Writes how a message is read field by field. A field that is not of the types below is left to prost, and with it the
/// whole message.
fn message_reader(rust_name: &str, message: &MessageDescriptor, code: &mut String) -> std::fmt::Result {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let oneofs: Vec<String> =
        message.oneofs().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned()).collect();

    writeln!(code, "impl crate::ops::Readable for {rust_name} {{")?;
    writeln!(code, "#[inline]\n#[allow(unused_mut, clippy::needless_update, clippy::map_identity)]")?;
    writeln!(code, "fn read(message: &[u8]) -> Option<Self> {{")?;
    writeln!(code, "let mut fields = crate::fields::Fields::new(message);")?;
    for oneof in &oneofs {
        writeln!(code, "let mut r#{oneof} = None;")?;
    }
    let mut read = oneofs;
    for field in fields.iter().filter(|field| field.number() < 16) {
        match (oneof(field), field_reader(field)) {
            (Some(oneof), Some(reader)) => {
                let variant = format!("{}::{}::{}", snake(rust_name), camel(&oneof), camel(field.name()));
                writeln!(code, "if let Some(value) = {reader} {{ r#{oneof} = Some({variant}(value)); }}")?;
            }
            (None, Some(reader)) => {
                writeln!(code, "let r#{} = {reader};", field.name())?;
                read.push(field.name().to_owned());
            }
            (_, None) => {}
        }
    }
    let read: String = read.iter().map(|name| format!("r#{name}, ")).collect();
    writeln!(code, "if !fields.is_empty() {{ return None; }}")?;
    writeln!(code, "Some(Self {{ {read}..Default::default() }})\n}}\n}}")
}

/// The oneof that a field belongs to. One that only makes a single field optional is none.
fn oneof(field: &FieldDescriptor) -> Option<String> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
}

/// What reads a field: to an `Option` where the message has one, or is a oneof.
fn field_reader(field: &FieldDescriptor) -> Option<String> {
    const VARINT: u32 = 0;
    const LENGTH_DELIMITED: u32 = 2;
    let key = |wire_type| field.number() << 3 | wire_type;
    let repeated = field.cardinality() == Cardinality::Repeated;
    let plain = !repeated && field.containing_oneof().is_none();
    Some(match field.kind() {
        Kind::Message(message) if message.full_name() == "holdfast.v1.Datum" => {
            format!("fields.{}({})?", if repeated { "data" } else { "datum" }, key(LENGTH_DELIMITED))
        }
        Kind::String if plain => format!("fields.text({})?", key(LENGTH_DELIMITED)),
        Kind::Bytes if plain => format!("fields.blob({})?", key(LENGTH_DELIMITED)),
        kind if !repeated => {
            let read = format!("fields.number({})?.map({})", key(VARINT), number_from(&kind)?);
            if plain { read + ".unwrap_or_default()" } else { read }
        }
        _ => return None,
    })
}

/// What makes a number of the bits of its varint: larger ones are cut to its size, as everywhere in protobuf.
fn number_from(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Bool => "|bits| bits != 0",
        Kind::Uint32 => "|bits| bits as u32",
        Kind::Uint64 => "|bits| bits",
        Kind::Int32 | Kind::Enum(_) => "|bits| bits as i32",
        Kind::Int64 => "|bits| bits as i64",
        _ => return None,
    })
}

/// Writes how a message is written. One that has a field of another type than those below is left to prost.
fn message_writer(rust_name: &str, message: &MessageDescriptor, code: &mut String) -> std::fmt::Result {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let parts: Option<Vec<(String, String)>> = fields.iter().map(field_writer).collect();
    writeln!(code, "impl crate::ops::Written for {rust_name} {{")?;
    if let Some(parts) = parts {
        let lens: Vec<&str> = parts.iter().map(|(len, _)| len.as_str()).collect();
        let len = if lens.is_empty() { "0".to_owned() } else { lens.join(" + ") };
        let puts: String = parts.iter().map(|(_, put)| format!("{put};\n")).collect();
        writeln!(code, "#[inline]\nfn written_len(&self) -> usize {{ {len} }}")?;
        writeln!(code, "#[inline]\n#[allow(unused_variables)]")?;
        writeln!(code, "fn put(&self, out: &mut impl crate::frame::Out) {{ {puts} }}")?;
        let is_datum = |field: &&FieldDescriptor| {
            matches!(field.kind(), Kind::Message(_)) && field.cardinality() != Cardinality::Repeated
        };
        let data = fields.iter().filter(is_datum);
        let discards: String = data
            .map(|field| format!("if let Some(datum) = self.r#{} {{ datum.discard(); }}\n", field.name()))
            .collect();
        writeln!(code, "#[inline]\nfn discard(self) {{ {discards} }}")?;
    } else {
        writeln!(code, "fn written_len(&self) -> usize {{ prost::Message::encoded_len(self) }}")?;
        writeln!(code, "fn put(&self, out: &mut impl crate::frame::Out) {{ out.message(self); }}")?;
        writeln!(code, "fn discard(self) {{}}")?;
    }
    writeln!(code, "}}")
}

/// The length of a field, and what writes it.
fn field_writer(field: &FieldDescriptor) -> Option<(String, String)> {
    if oneof(field).is_some() || field.number() > 15 {
        return None;
    }
    let is_repeated = field.cardinality() == Cardinality::Repeated;
    // A field of its own presence, which is written also if it is 0.
    let is_optional = field.containing_oneof().is_some();
    let (what, value) = match field.kind() {
        Kind::Message(message) if message.full_name() == "holdfast.v1.Datum" => {
            (if is_repeated { "data" } else { "datum" }, format!("&self.r#{}", field.name()))
        }
        _ if is_repeated => return None,
        Kind::String | Kind::Bytes if !is_optional => ("blob", format!("&self.r#{}", field.name())),
        kind => {
            let bits = bits_of(&kind)?;
            if is_optional {
                ("optional", format!("self.r#{}.map(|number| {})", field.name(), bits("number")))
            } else {
                ("number", bits(&format!("self.r#{}", field.name())))
            }
        }
    };
    let (number, len) = (field.number(), format!("crate::written::{what}_len({value})"));
    Some((len, format!("crate::written::put_{what}({number}, {value}, out)")))
}

/// What makes the bits of its varint of a number: those with a sign have 64, as everywhere in protobuf.
fn bits_of(kind: &Kind) -> Option<fn(&str) -> String> {
    Some(match kind {
        Kind::Bool | Kind::Uint32 => |number| format!("u64::from({number})"),
        Kind::Uint64 => |number| number.to_owned(),
        Kind::Int32 | Kind::Enum(_) => |number| format!("i64::from({number}) as u64"),
        Kind::Int64 => |number| format!("{number} as u64"),
        _ => return None,
    })
}

/// Lets the tests hold what is written here for every message to prost.
fn each_message(messages: &[String], code: &mut String) -> std::fmt::Result {
    writeln!(code, "#[cfg(test)]\npub(crate) fn each_message(visit: &mut impl crate::ops::VisitMessages) {{")?;
    for message in messages {
        writeln!(code, "visit.message::<{message}>({message:?});")?;
    }
    writeln!(code, "}}")
}

fn camel(name: &str) -> String {
    let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    name.split('_').map(capital).collect()
}

fn noun(service: &Service) -> &str {
    service.proto_name.strip_suffix("Service").expect("services are called NounService")
}

fn snake(noun: &str) -> String {
    let mut out = String::new();
    for c in noun.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
