//! Compiles the .proto files without protoc, and derives from the descriptors what the rest of the project needs to
//! know about each kind: its number, its ops and their numbers, which request has which response.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use prost_build::{Config, Service, ServiceGenerator};
use prost_reflect::{DescriptorPool, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let files = proto_files(&root.join("holdfast/v1"))?;
    println!("cargo:rerun-if-changed=holdfast/v1");

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
        ])
        .service_generator(Box::new(Services {
            pool,
            tonic: tonic_prost_build::configure().build_client(false).service_generator(),
        }))
        .compile_fds(compiler.file_descriptor_set())?;
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
    tonic: Box<dyn ServiceGenerator>,
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

    fn finalize(&mut self, code: &mut String) {
        self.tonic.finalize(code);
    }
}

fn op_table(service: &Service, kind: u32, ops: &[(u32, usize)], code: &mut String) -> std::fmt::Result {
    let noun = service.proto_name.strip_suffix("Service").expect("services are called NounService");
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
    writeln!(code, "fn decode(op: u32, request: &[u8]) -> Result<Self, crate::ops::Unreadable> {{ match op {{")?;
    for (number, m) in methods() {
        writeln!(code, "{number} => Ok(Self::{}(prost::Message::decode(request)?)),", m.proto_name)?;
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

    writeln!(code, "impl crate::ops::Response for Reply {{")?;
    writeln!(code, "fn encoded_len(&self) -> usize {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(code, "Self::{}(response) => prost::Message::encoded_len(response),", m.proto_name)?;
    }
    writeln!(code, "}} }}")?;
    writeln!(code, "fn encode(&self, into: &mut bytes::BytesMut) {{ match self {{")?;
    for (_, m) in methods() {
        writeln!(code, "Self::{}(response) => prost::Message::encode_raw(response, into),", m.proto_name)?;
    }
    writeln!(code, "}} }}\n}}")?;
    writeln!(code, "}}")?;

    for (number, m) in methods() {
        writeln!(code, "impl crate::ops::Request for {} {{", m.input_type)?;
        writeln!(code, "const KIND: u32 = {kind};\nconst OP: u32 = {number};")?;
        writeln!(code, "const NAME: &'static str = \"{}/{}\";", service.proto_name, m.proto_name)?;
        writeln!(code, "type Response = {};\n}}", m.output_type)?;
    }
    Ok(())
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
