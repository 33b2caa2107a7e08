//! Makes the stubs from the .proto files. protox reads them, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = "../../../proto";
    let files: Vec<String> = ["auth", "barrier", "datum", "dict", "lock", "manager", "queue", "value"]
        .map(|name| format!("{protos}/holdfast/v1/{name}.proto"))
        .to_vec();
    println!("cargo:rerun-if-changed={protos}/holdfast/v1");
    tonic_prost_build::configure().build_server(false).compile_fds(protox::compile(&files, [protos])?)?;
    Ok(())
}
