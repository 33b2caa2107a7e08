//! The handshake: SCRAM-SHA-256 (RFC 5802, RFC 7677) as docs/protocol.md says in section 2.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Answers the manager's challenge. Returns `client_final`, which shows the manager that we hold the authkey, and the
/// `server_final` with which it has to show the same. `binding` is empty in plain text.
pub fn prove(authkey: &str, client_first: &str, server_first: &str, binding: &[u8]) -> Option<(String, String)> {
    let (header, bare) = client_first.split_once(",,")?;
    let (_, own_nonce) = bare.split_once(",r=")?;
    let mut parts = server_first.splitn(3, ',');
    let nonce = parts.next()?.strip_prefix("r=")?;
    let salt = BASE64.decode(parts.next()?.strip_prefix("s=")?).ok()?;
    let iterations = parts.next()?.strip_prefix("i=")?.parse().ok()?;
    // What is weaker comes from nobody who means well.
    let added = nonce.strip_prefix(own_nonce)?;
    if added.len() < 18 || salt.len() < 16 || !(4096..=1_000_000).contains(&iterations) {
        return None;
    }

    let salted: [u8; 32] = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(authkey.as_bytes(), &salt, iterations);
    let (client_key, server_key) = (mac(&salted, "Client Key"), mac(&salted, "Server Key"));
    let unproven = format!("c={},r={nonce}", BASE64.encode([header.as_bytes(), b",,", binding].concat()));
    let transcript = format!("{bare},{server_first},{unproven}");
    let signature = mac(&Sha256::digest(&client_key), &transcript);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
    let server_final = format!("v={}", BASE64.encode(mac(&server_key, &transcript)));
    Some((format!("{unproven},p={}", BASE64.encode(proof)), server_final))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
