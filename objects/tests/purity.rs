//! That the objects are pure is proven by what they can reach: the crate is `no_std` and forbids unsafe code, and so much
//! as a dependency that knows a clock, a socket or a thread must be argued for here.

use std::env;
use std::process::Command;

/// Every crate that is part of the objects, and why it may be.
const ALLOWED: &[(&str, &str)] = &[
    ("anyhow", "prost-derive, at compile time"),
    ("base64", "the handshake in holdfast-proto, without std"),
    ("block-buffer", "sha2"),
    ("bytes", "buffers for messages, without std"),
    ("castaway", "compact_str"),
    ("cfg-if", "compile-time choices"),
    ("cmov", "ctutils, hmac"),
    ("compact_str", "short texts without an allocation"),
    ("cpufeatures", "sha2 asks which instructions there are"),
    ("crypto-common", "sha2, hmac"),
    ("ctutils", "hmac: comparison in constant time"),
    ("digest", "sha2, hmac"),
    ("either", "itertools"),
    ("foldhash", "hashes, keyed by a seed that arrives as data"),
    ("hashbrown", "hash tables, without std"),
    ("hmac", "the handshake in holdfast-proto"),
    ("holdfast-objects", "the objects"),
    ("holdfast-proto", "messages; without its feature std it knows no machine"),
    ("hybrid-array", "sha2, hmac"),
    ("itertools", "prost-derive, at compile time"),
    ("itoa", "compact_str"),
    ("libc", "cpufeatures, on some platforms"),
    ("pbkdf2", "the handshake in holdfast-proto"),
    ("proc-macro2", "derives, at compile time"),
    ("prost", "messages, without std"),
    ("prost-derive", "derives, at compile time"),
    ("quote", "derives, at compile time"),
    ("rustversion", "castaway, at compile time"),
    ("sha2", "the handshake in holdfast-proto"),
    ("static_assertions", "compact_str, at compile time"),
    ("subtle", "comparison in constant time"),
    ("syn", "derives, at compile time"),
    ("thiserror", "errors, without std"),
    ("thiserror-impl", "derives, at compile time"),
    ("typenum", "numbers as types: sha2"),
    ("unicode-ident", "derives, at compile time"),
    ("zeroize", "keys do not stay in memory"),
    ("zmij", "compact_str"),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "the test asks which cargo runs it; the objects may not")]
fn every_dependency_has_a_reason() {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--package", "holdfast-objects", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    let listed = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let is_allowed = |name: &&str| ALLOWED.iter().any(|(allowed, _)| allowed == name);
    let names = || listed.lines().filter_map(|line| line.split_whitespace().next());
    assert!(names().any(|name| name == "prost"), "cargo tree lists something else than dependencies:\n{listed}");
    let mut unargued: Vec<&str> = names().filter(|name| !is_allowed(name)).collect();
    unargued.sort_unstable();
    unargued.dedup();
    assert!(unargued.is_empty(), "no reason is given for {unargued:?}: can the objects still be pure with them?");
}
