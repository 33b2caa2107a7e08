//! Checks the handshake against what other implementations have computed, and that it refuses what it must.

use std::error::Error;

use serde_json::Value;

use crate::handshake::prove;

pub fn check(path: &str) -> Result<(), Box<dyn Error>> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let list =
        |name: &str| file[name].as_array().filter(|list| !list.is_empty()).ok_or(format!("{path} has no {name}"));
    let (vectors, refused) = (list("vectors")?, list("refused")?);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().ok_or(format!("{name} is missing in {vector}"));
        let made =
            prove(text("authkey")?, text("client_first")?, text("server_first")?, &from_hex(text("binding_hex")?)?);
        if made != Some((text("client_final")?.to_owned(), text("server_final")?.to_owned())) {
            return Err(format!("{}: made {made:?}", vector["name"]).into());
        }
    }
    for challenge in refused {
        let text = |name: &str| challenge[name].as_str().unwrap_or_default();
        if prove("0123456789abcdef", text("client_first"), text("server_first"), b"").is_some() {
            return Err(format!("{}: was answered", challenge["name"]).into());
        }
    }
    println!("{} vectors hold, {} challenges are refused", vectors.len(), refused.len());
    Ok(())
}

fn from_hex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    (0..text.len())
        .step_by(2)
        .map(|at| Ok(u8::from_str_radix(text.get(at..at + 2).ok_or("half a byte")?, 16)?))
        .collect()
}
