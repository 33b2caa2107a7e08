//! How two ends prove to each other that they hold the same authkey: SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! Both roles are machines over the exact messages of the RFC. Each step consumes the state before it, so that steps
//! cannot be left out, repeated or swapped, and one challenge admits one proof. There is no I/O, clock or randomness
//! here: the caller carries the messages, gives up after its deadline, and brings the random bytes.
//!
//! ```text
//! ClientAwaitingChallenge::begin ──client_first──▶ ServerAwaitingProof::begin
//!                         .prove ◀──server_first──
//!                                ──client_final──▶                     .finish
//! ClientAwaitingSignature.confirm ◀──server_final──
//! ```
//!
//! Nothing is negotiated. Both ends know the user name, the mechanism and the [`Binding`] beforehand, so there is
//! nothing for an attacker to talk down.
//!
//! What it gives: the authkey never travels, a recorded run is of no use later, and a proof of one role is none of the
//! other. What it does not give by itself: secrecy and integrity of what follows on the connection. Those need TLS,
//! with [`Binding::TlsServerEndPoint`].
//!
//! ```
//! use holdfast_proto::scram::*;
//!
//! // Random in earnest.
//! let (key, salt, ours, theirs) = ([7; 32], [1; 16], [2; 18], [3; 18]);
//!
//! let authkey = Authkey::from_random(key);
//! let verifier = Verifier::derive(&authkey, salt);
//!
//! let (client_first, client) = ClientAwaitingChallenge::begin(&Binding::None, Nonce::from_random(ours));
//! let (server_first, server) =
//!     ServerAwaitingProof::begin(&verifier, &Binding::None, &client_first, Nonce::from_random(theirs))?;
//! let (client_final, client) = client.prove(&server_first, &authkey)?;
//! let server_final = server.finish(&verifier, &client_final)?;
//! client.confirm(&server_final)?;
//! # Ok::<(), Failure>(())
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{fmt, format};
use core::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How often the authkey is hashed before it is used as a key: the least that RFC 7677 admits.
///
/// Stretching makes each guess at a password dearer. An authkey is random and at least 128 bits long, so nobody
/// guesses it at any price, while every client pays for the stretching on every connection (about a millisecond at
/// this value).
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// What a client agrees to be asked for. The upper end keeps a false server from spending the client's time.
const ITERATIONS: RangeInclusive<u32> = DEFAULT_ITERATIONS..=1_000_000;

/// The longest message of the handshake that is looked at.
const LONGEST_MESSAGE_BYTES: usize = 512;

/// The longest nonce that a server takes from a client.
const LONGEST_NONCE_BYTES: usize = 128;

/// How much a server must add to the nonce of the client.
const SHORTEST_ADDITION_BYTES: usize = 18;

/// The shortest salt that a client takes from a server.
const SHORTEST_SALT_BYTES: usize = 16;

/// The attributes with a meaning in RFC 5802. None of them can be an extension; `m` is how the RFC spells an extension
/// that must be understood, and none is.
const KNOWN_ATTRIBUTES: &[u8] = b"aceimnprsv";

/// The secret that a manager and its clients share, as text.
///
/// It is 16 to 1024 bytes of printable ASCII. SASLprep (RFC 4013), through which SCRAM puts passwords, leaves such text
/// as it is, so clients in languages without SASLprep agree with those that have it.
///
/// It is overwritten when dropped and shows nothing of itself in `Debug`.
#[derive(Clone)]
pub struct Authkey(Zeroizing<String>);

impl Authkey {
    /// The authkey in the content of a key file: `text` without white space at its ends.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, InvalidAuthkey> {
        let text = Zeroizing::new(text.into());
        let text = text.trim_ascii();
        if text.len() < 16 {
            return Err(InvalidAuthkey::TooShort);
        }
        if text.len() > 1024 {
            return Err(InvalidAuthkey::TooLong);
        }
        match core::str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => Ok(Self(Zeroizing::new(text.into()))),
            _ => Err(InvalidAuthkey::NotPrintable),
        }
    }

    /// A new authkey from 32 bytes of a source fit for secrets: 43 characters of base64url.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// The text, as it is written to a key file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Authkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authkey").finish_non_exhaustive()
    }
}

/// Why a text cannot be an [`Authkey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthkey {
    /// It has fewer than 16 bytes.
    #[error("the authkey is shorter than 16 characters, and so could be guessed: use a random one")]
    TooShort,
    /// It has more than 1024 bytes.
    #[error("the authkey is longer than 1024 characters: check that the file is a key file")]
    TooLong,
    /// It has a byte that is no printable ASCII character.
    #[error("the authkey has a character that is not printable ASCII: check that the file is a key file of one line")]
    NotPrintable,
}

/// Why the handshake failed.
///
/// What a server can meet displays as the one text `authentication failed`, because an explanation would help whoever
/// is guessing; the variant itself is for the server's own log. What a client can meet displays what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// On a server: the message is not one of this protocol.
    #[error("authentication failed")]
    Malformed,
    /// On a server: the client asks for another binding than the listener's, or is bound to another certificate, as it
    /// is when someone stands between.
    #[error("authentication failed")]
    WrongBinding,
    /// On a server: the proof was made with another authkey or for another challenge.
    #[error("authentication failed")]
    WrongProof,

    /// On a client: the manager refused the proof. This is also how a client should report the status with which a
    /// manager answers a failed handshake.
    #[error(
        "the manager did not accept the authkey: check that HOLDFAST_AUTHKEY_FILE names the key file the manager uses"
    )]
    Rejected,
    /// On a client: the other end accepted the proof and could not return one, so it does not hold the authkey.
    #[error(
        "the other end does not hold the authkey and is not to be trusted: check that the address is that of the \
         manager which uses the key file in HOLDFAST_AUTHKEY_FILE"
    )]
    WrongServer,
    /// On a client: the nonce, salt or iterations of the server would make the proof unsafe or too dear to give.
    #[error(
        "the other end asks for a proof that is not safe to give: check that the address is a manager's and that \
         nothing changes the messages on the way"
    )]
    UnacceptableParameters,
    /// On a client: the answer is not one of this protocol.
    #[error("the other end does not speak the handshake of Holdfast: check that the address is a manager's")]
    NotAManager,
}

/// What of the connection the proofs are bound to.
///
/// The kind of listener fixes it for both ends. A peer that asks for the other, or that says it could have bound itself
/// (`y`), is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: a Unix socket or plain TCP.
    None,
    /// The TLS certificate of the server (`tls-server-end-point`, RFC 5929): its hash, at most 64 bytes.
    TlsServerEndPoint(Vec<u8>),
}

impl Binding {
    fn gs2_header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::TlsServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The value of the attribute `c`.
    fn attribute(&self) -> String {
        let data: &[u8] = match self {
            Self::None => &[],
            Self::TlsServerEndPoint(hash) => hash,
        };
        BASE64_STANDARD.encode([self.gs2_header().as_bytes(), data].concat())
    }
}

/// One end's random part in one run of the handshake. It is consumed by the run because it must not serve twice.
#[derive(Debug)]
pub struct Nonce(String);

impl Nonce {
    /// A nonce from 18 bytes of a source fit for secrets.
    #[must_use]
    pub fn from_random(bytes: [u8; 18]) -> Self {
        Self(BASE64_STANDARD.encode(bytes))
    }
}

/// What a server keeps of the authkey: enough to check a client's proof and to give its own.
///
/// It is derived once; the authkey can be dropped afterwards. Who steals it can pose as the server, but as a client only
/// after listening to a run of a real one. Its keys are overwritten when dropped and are not shown in `Debug`.
pub struct Verifier {
    salt: [u8; 16],
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// The verifier of `authkey`, with a `salt` from a random source and [`DEFAULT_ITERATIONS`].
    #[must_use]
    pub fn derive(authkey: &Authkey, salt: [u8; 16]) -> Self {
        Self::from_password(authkey.as_str(), salt, DEFAULT_ITERATIONS)
    }

    fn from_password(password: &str, salt: [u8; 16], iterations: u32) -> Self {
        let salted = salted_password(password, &salt, iterations);
        let stored_key = stored_key(&client_key(&salted));
        Self { salt, iterations, stored_key, server_key: server_key(&salted) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A server that has sent its challenge and waits for the proof of the client.
///
/// It holds about a kilobyte at most and no secret. Drop it when the deadline of the connection passes.
#[derive(Debug)]
#[must_use = "the client is not authenticated before `finish`"]
pub struct ServerAwaitingProof {
    /// What both ends sign, as far as it is known: `client-first-bare,server-first,`.
    transcript: String,
    binding: String,
    nonce: String,
}

impl ServerAwaitingProof {
    /// Answers `client_first` with `server_first`.
    ///
    /// As in the RFC, extensions that the client appends are ignored unless they are mandatory, and are covered by the
    /// proofs.
    pub fn begin(
        verifier: &Verifier,
        binding: &Binding,
        client_first: &str,
        nonce: Nonce,
    ) -> Result<(String, Self), Failure> {
        Self::begin_as(&HOLDFAST, verifier, binding, client_first, nonce)
    }

    fn begin_as(
        profile: &Profile,
        verifier: &Verifier,
        binding: &Binding,
        client_first: &str,
        Nonce(addition): Nonce,
    ) -> Result<(String, Self), Failure> {
        if client_first.len() > LONGEST_MESSAGE_BYTES {
            return Err(Failure::Malformed);
        }
        let bare = client_first.strip_prefix(binding.gs2_header()).ok_or(Failure::WrongBinding)?;
        let [user, client_nonce] = attributes(bare, ["n=", "r="]).ok_or(Failure::Malformed)?;
        let long_enough = (profile.shortest_nonce_bytes..=LONGEST_NONCE_BYTES).contains(&client_nonce.len());
        if user != profile.user || !long_enough || !is_nonce(client_nonce) {
            return Err(Failure::Malformed);
        }

        let nonce = format!("{client_nonce}{addition}");
        let salt = BASE64_STANDARD.encode(verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let transcript = format!("{bare},{server_first},");
        Ok((server_first, Self { transcript, binding: binding.attribute(), nonce }))
    }

    /// Checks the proof in `client_final` and answers with the proof of the server, `server_final`.
    ///
    /// `verifier` must be the one that the run began with. On success the client holds the authkey. On failure, close
    /// the connection, and tell the peer no more than the text of the failure.
    pub fn finish(self, verifier: &Verifier, client_final: &str) -> Result<String, Failure> {
        if client_final.len() > LONGEST_MESSAGE_BYTES {
            return Err(Failure::Malformed);
        }
        let (unproven, proof) = client_final.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let [binding, nonce] = attributes(unproven, ["c=", "r="]).ok_or(Failure::Malformed)?;
        let proof = decode_hash(proof).ok_or(Failure::Malformed)?;
        if binding != self.binding {
            return Err(Failure::WrongBinding);
        }
        if nonce != self.nonce {
            return Err(Failure::WrongProof);
        }

        let transcript = self.transcript + unproven;
        let client_key = xor(&proof, &hmac(&verifier.stored_key, &transcript));
        if !is_same(&stored_key(&client_key), &verifier.stored_key) {
            return Err(Failure::WrongProof);
        }
        let signature = hmac(&verifier.server_key, &transcript);
        Ok(format!("v={}", BASE64_STANDARD.encode(signature)))
    }
}

/// A client that has introduced itself and waits for the challenge of the server.
#[derive(Debug)]
#[must_use = "nothing is proven before `prove` and `confirm`"]
pub struct ClientAwaitingChallenge {
    first_bare: String,
    binding: String,
    nonce: String,
}

impl ClientAwaitingChallenge {
    /// Begins with `client_first`.
    pub fn begin(binding: &Binding, nonce: Nonce) -> (String, Self) {
        Self::begin_as(&HOLDFAST, binding, nonce)
    }

    fn begin_as(profile: &Profile, binding: &Binding, Nonce(nonce): Nonce) -> (String, Self) {
        let first_bare = format!("n={},r={nonce}", profile.user);
        let client_first = format!("{}{first_bare}", binding.gs2_header());
        (client_first, Self { first_bare, binding: binding.attribute(), nonce })
    }

    /// Answers the challenge `server_first` with the proof that this end holds `authkey`, `client_final`.
    ///
    /// This hashes as often as the server asks, at most a million times: call it where a second of work hurts nobody.
    pub fn prove(self, server_first: &str, authkey: &Authkey) -> Result<(String, ClientAwaitingSignature), Failure> {
        if server_first.len() > LONGEST_MESSAGE_BYTES {
            return Err(Failure::NotAManager);
        }
        let [nonce, salt, iterations] = attributes(server_first, ["r=", "s=", "i="]).ok_or(Failure::NotAManager)?;
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| Failure::NotAManager)?;
        let iterations = parse_iterations(iterations).ok_or(Failure::UnacceptableParameters)?;
        let addition = nonce.strip_prefix(&*self.nonce).unwrap_or_default();
        if salt.len() < SHORTEST_SALT_BYTES || addition.len() < SHORTEST_ADDITION_BYTES || !is_nonce(addition) {
            return Err(Failure::UnacceptableParameters);
        }

        let unproven = format!("c={},r={nonce}", self.binding);
        let transcript = format!("{},{server_first},{unproven}", self.first_bare);
        let salted = salted_password(authkey.as_str(), &salt, iterations);
        let client_key = client_key(&salted);
        let proof = xor(&client_key, &hmac(&stored_key(&client_key), &transcript));
        let client_final = format!("{unproven},p={}", BASE64_STANDARD.encode(proof));
        let signature = hmac(&server_key(&salted), &transcript);
        Ok((client_final, ClientAwaitingSignature { signature }))
    }
}

/// A client that has given its proof and waits for the proof of the server.
#[must_use = "the server is not authenticated before `confirm`"]
pub struct ClientAwaitingSignature {
    /// What only a holder of the authkey can send.
    signature: Key,
}

impl ClientAwaitingSignature {
    /// Checks the proof of the server in `server_final`. Before it succeeds, use nothing that the server sent.
    ///
    /// Extensions are refused here, although the RFC would ignore them, because no proof covers them.
    pub fn confirm(self, server_final: &str) -> Result<(), Failure> {
        if server_final.starts_with("e=") {
            return Err(Failure::Rejected);
        }
        let signature = server_final.strip_prefix("v=").and_then(decode_hash).ok_or(Failure::NotAManager)?;
        if is_same(&signature, &self.signature) { Ok(()) } else { Err(Failure::WrongServer) }
    }
}

impl fmt::Debug for ClientAwaitingSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAwaitingSignature").finish_non_exhaustive()
    }
}

/// What Holdfast fixes and the RFC leaves open. The RFC's own example has a shorter nonce than Holdfast admits.
struct Profile {
    user: &'static str,
    shortest_nonce_bytes: usize,
}

/// 24 characters of base64 are 18 random bytes.
const HOLDFAST: Profile = Profile { user: "manager", shortest_nonce_bytes: 24 };

type Key = Zeroizing<[u8; 32]>;

/// The values of the attributes that `message` must begin with, in this order. After them come only optional extensions.
fn attributes<'a, const N: usize>(message: &'a str, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut parts = message.split(',');
    let mut values = [""; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = parts.next()?.strip_prefix(name)?;
    }
    parts.all(is_optional_extension).then_some(values)
}

fn is_optional_extension(attribute: &str) -> bool {
    match attribute.as_bytes() {
        [name, b'=', value @ ..] => {
            name.is_ascii_alphabetic() && !KNOWN_ATTRIBUTES.contains(name) && !value.is_empty() && !value.contains(&0)
        }
        _ => false,
    }
}

/// Whether the value of an attribute can be a nonce, or a part of one. Having been cut out, it has no comma.
fn is_nonce(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn parse_iterations(text: &str) -> Option<u32> {
    // `parse` alone would admit a sign and leading zeros, which the RFC does not.
    let is_number = text.starts_with(|first| matches!(first, '1'..='9')) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|iterations| is_number && ITERATIONS.contains(iterations))
}

/// The SHA-256 hash that `text` is the base64 of: all 44 characters, and only the one spelling with zero spare bits.
fn decode_hash(text: &str) -> Option<Key> {
    // Looked at first so that a long text is not decoded for nothing.
    if text.len() != 44 {
        return None;
    }
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
    Some(Key::new(bytes.as_slice().try_into().ok()?))
}

fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    let mut salted = Key::default();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut *salted);
    salted
}

fn client_key(salted_password: &Key) -> Key {
    hmac(salted_password, "Client Key")
}

fn stored_key(client_key: &Key) -> Key {
    Key::new(Sha256::digest(client_key).into())
}

fn server_key(salted_password: &Key) -> Key {
    hmac(salted_password, "Server Key")
}

fn hmac(key: &Key, message: &str) -> Key {
    let hmac = Hmac::<Sha256>::new_from_slice(&**key).expect("HMAC takes keys of any length");
    Key::new(hmac.chain_update(message).finalize().into_bytes().into())
}

fn xor(left: &Key, right: &Key) -> Key {
    Key::new(core::array::from_fn(|i| left[i] ^ right[i]))
}

/// Takes the same time whatever the keys are.
fn is_same(left: &Key, right: &Key) -> bool {
    left.as_slice().ct_eq(right.as_slice()).into()
}

#[cfg(test)]
mod tests {

    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    const RFC_7677: Profile = Profile { user: "user", shortest_nonce_bytes: 20 };
    const RFC_CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const RFC_SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const RFC_CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const RFC_SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const RFC_CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const RFC_SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    const CLIENT_FIRST: &str = "n,,n=manager,r=AQEBAQEBAQEBAQEBAQEBAQEB";
    const SERVER_FIRST: &str = "r=AQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgIC,s=AwMDAwMDAwMDAwMDAwMDAw==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=AQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgIC,\
         p=U6nJHNmYJO/TWqHlVosD1cq5frigdoJSJ+CtghIjXVM=";
    const SERVER_FINAL: &str = "v=u/BekOv6uPfAawMql7A9+a7DgrYoN0Cep3BeIIhe1Dc=";

    fn authkey() -> Authkey {
        Authkey::from_random(core::array::from_fn(|i| i as u8))
    }

    fn verifier() -> Verifier {
        Verifier::derive(&authkey(), [3; 16])
    }

    fn client() -> (String, ClientAwaitingChallenge) {
        ClientAwaitingChallenge::begin(&Binding::None, Nonce::from_random([1; 18]))
    }

    fn server(verifier: &Verifier, client_first: &str) -> Result<(String, ServerAwaitingProof), Failure> {
        ServerAwaitingProof::begin(verifier, &Binding::None, client_first, Nonce::from_random([2; 18]))
    }

    fn finish(verifier: &Verifier, client_final: &str) -> Result<String, Failure> {
        server(verifier, CLIENT_FIRST).unwrap().1.finish(verifier, client_final)
    }

    fn confirm(awaiting: &ClientAwaitingSignature, server_final: &str) -> Result<(), Failure> {
        ClientAwaitingSignature { signature: awaiting.signature.clone() }.confirm(server_final)
    }

    /// Everything that differs from `message` by one bit or one byte and is still text.
    fn corruptions(message: &str) -> impl Iterator<Item = String> {
        let bytes = message.as_bytes();
        let flip = |at: usize| {
            let mut flipped = bytes.to_vec();
            flipped[at / 8] ^= 1 << (at % 8);
            flipped
        };
        let flipped = (0..bytes.len() * 8).map(flip);
        let heads = (0..bytes.len()).map(|end| bytes[..end].to_vec());
        let tails = (1..=bytes.len()).map(|start| bytes[start..].to_vec());
        let without_one = (0..bytes.len()).map(|at| [&bytes[..at], &bytes[at + 1..]].concat());
        let one_twice = (0..bytes.len()).map(|at| [&bytes[..=at], &bytes[at..]].concat());
        let all = flipped.chain(heads).chain(tails).chain(without_one).chain(one_twice);
        all.filter_map(|bytes| String::from_utf8(bytes).ok()).filter(move |text| text != message)
    }

    #[test]
    fn the_example_of_rfc_7677_holds_in_both_roles() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = Verifier::from_password("pencil", salt, 4096);
        let password = Authkey(Zeroizing::new("pencil".into()));

        let (client_first, client) =
            ClientAwaitingChallenge::begin_as(&RFC_7677, &Binding::None, Nonce(RFC_CLIENT_NONCE.into()));
        assert_eq!(client_first, RFC_CLIENT_FIRST);
        let (client_final, client) = client.prove(RFC_SERVER_FIRST, &password).unwrap();
        assert_eq!(client_final, RFC_CLIENT_FINAL);
        client.confirm(RFC_SERVER_FINAL).unwrap();

        let nonce = Nonce(RFC_SERVER_NONCE.into());
        let (server_first, server) =
            ServerAwaitingProof::begin_as(&RFC_7677, &verifier, &Binding::None, RFC_CLIENT_FIRST, nonce).unwrap();
        assert_eq!(server_first, RFC_SERVER_FIRST);
        assert_eq!(server.finish(&verifier, RFC_CLIENT_FINAL).unwrap(), RFC_SERVER_FINAL);
    }

    /// The messages were computed with Python's `hashlib` and `hmac`.
    #[test]
    fn a_run_has_the_messages_of_an_independent_implementation() {
        let verifier = verifier();
        let (client_first, client) = client();
        assert_eq!(client_first, CLIENT_FIRST);
        let (server_first, server) = server(&verifier, &client_first).unwrap();
        assert_eq!(server_first, SERVER_FIRST);
        let (client_final, client) = client.prove(&server_first, &authkey()).unwrap();
        assert_eq!(client_final, CLIENT_FINAL);
        let server_final = server.finish(&verifier, &client_final).unwrap();
        assert_eq!(server_final, SERVER_FINAL);
        client.confirm(&server_final).unwrap();
    }

    /// The messages were computed with Python's `hashlib` and `hmac`.
    #[test]
    fn a_run_bound_to_a_certificate_has_the_messages_of_an_independent_implementation() {
        let verifier = verifier();
        let binding = Binding::TlsServerEndPoint(vec![0xcb; 32]);
        let (client_first, client) = ClientAwaitingChallenge::begin(&binding, Nonce::from_random([1; 18]));
        assert_eq!(client_first, "p=tls-server-end-point,,n=manager,r=AQEBAQEBAQEBAQEBAQEBAQEB");
        let begin = |binding: &Binding, client_first: &str| {
            ServerAwaitingProof::begin(&verifier, binding, client_first, Nonce::from_random([2; 18]))
        };
        let (server_first, server) = begin(&binding, &client_first).unwrap();
        let (client_final, client) = client.prove(&server_first, &authkey()).unwrap();
        assert_eq!(
            client_final,
            "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsy8vLy8vLy8vLy8vLy8vLy8vLy8vLy8vLy8vLy8vLy8s=,\
             r=AQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgIC,p=ASnajl8SCcl1czxhHyN3kaWGJn8odZy5KYqfzzNLRtM="
        );
        let server_final = server.finish(&verifier, &client_final).unwrap();
        assert_eq!(server_final, "v=/Qvr/loBEya8CJ7EXqMiQriH3NpoueVIwmP72iE8R44=");
        client.confirm(&server_final).unwrap();

        // The certificate of someone in between.
        let (_, server) = begin(&Binding::TlsServerEndPoint(vec![0xcc; 32]), &client_first).unwrap();
        assert_eq!(server.finish(&verifier, &client_final), Err(Failure::WrongBinding));
        for other in ["n,,", "y,,", "p=tls-unique,,", "p=tls-server-end-point,a=manager,", ""] {
            let client_first = client_first.replace("p=tls-server-end-point,,", other);
            assert_eq!(begin(&binding, &client_first).unwrap_err(), Failure::WrongBinding, "{client_first}");
        }
    }

    /// The file that clients in other languages are checked against, which was computed with Python's `hashlib` and `hmac`.
    #[test]
    fn the_vectors_for_other_languages_hold_in_both_roles() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../docs/handshake-vectors.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap_or_else(|| panic!("{name} of {vector}"));
            let bytes = |name: &str| from_hex(text(name));
            let key = Authkey(Zeroizing::new(text("authkey").into()));
            assert_eq!(bytes("authkey_hex"), key.as_str().as_bytes());
            let binding = match bytes("binding_hex") {
                hash if hash.is_empty() => Binding::None,
                hash => Binding::TlsServerEndPoint(hash),
            };
            assert_eq!(text("header"), binding.gs2_header());
            let profile = if text("user") == RFC_7677.user { &RFC_7677 } else { &HOLDFAST };

            let (client_first, client) =
                ClientAwaitingChallenge::begin_as(profile, &binding, Nonce(text("client_nonce").into()));
            assert_eq!(client_first, text("client_first"));
            let (client_final, client) = client.prove(text("server_first"), &key).unwrap();
            assert_eq!(client_final, text("client_final"));
            client.confirm(text("server_final")).unwrap();
            let ends_in = |message: &str, attribute: &str, hex: &str| {
                message.ends_with(&format!("{attribute}={}", BASE64_STANDARD.encode(bytes(hex))))
            };
            assert!(ends_in(&client_final, ",p", "proof_hex"));
            assert!(ends_in(text("server_final"), "v", "signature_hex"));

            // The manager's own salts have 16 bytes.
            let Ok(salt) = bytes("salt_hex").try_into() else { continue };
            let iterations = vector["iterations"].as_u64().unwrap().try_into().unwrap();
            let verifier = Verifier::from_password(key.as_str(), salt, iterations);
            let nonce = Nonce(text("server_nonce").into());
            let (server_first, server) =
                ServerAwaitingProof::begin_as(profile, &verifier, &binding, &client_first, nonce).unwrap();
            assert_eq!(server_first, text("server_first"));
            assert_eq!(server.finish(&verifier, &client_final).unwrap(), text("server_final"));
        }

        let refused = file["refused"].as_array().unwrap();
        assert_eq!(refused.len(), 6);
        for case in refused {
            let (client_first, client) = client();
            assert_eq!(case["client_first"], client_first);
            let answer = client.prove(case["server_first"].as_str().unwrap(), &authkey());
            assert_eq!(answer.unwrap_err(), Failure::UnacceptableParameters, "{case}");
        }
    }

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_binding_that_the_listener_does_not_have_is_refused() {
        let verifier = verifier();
        for header in ["y,,", "p=tls-server-end-point,,", "p=tls-unique,,", "n,a=manager,", "N,,", ",,", ""] {
            let client_first = CLIENT_FIRST.replace("n,,", header);
            assert_eq!(server(&verifier, &client_first).unwrap_err(), Failure::WrongBinding, "{client_first}");
        }
        // "y,,", nothing, and "n,," in another spelling.
        for attribute in ["c=eSws", "c=", "c=biws=", "c=biw", "c=n,,"] {
            let client_final = CLIENT_FINAL.replace("c=biws", attribute);
            assert!(finish(&verifier, &client_final).is_err(), "{client_final}");
        }
    }

    #[test]
    fn a_client_with_another_key_fails_on_the_server() {
        let verifier = verifier();
        let (client_first, client) = client();
        let (server_first, server) = server(&verifier, &client_first).unwrap();
        let (client_final, _) = client.prove(&server_first, &Authkey::from_random([9; 32])).unwrap();
        assert_eq!(server.finish(&verifier, &client_final), Err(Failure::WrongProof));
    }

    #[test]
    fn a_server_with_another_key_fails_on_the_client() {
        // It does not care about the proof, as a false server would not, and signs the transcript with what it has.
        let other = Verifier::derive(&Authkey::from_random([9; 32]), [3; 16]);
        let (client_first, client) = client();
        let (server_first, server) = server(&other, &client_first).unwrap();
        let (client_final, client) = client.prove(&server_first, &authkey()).unwrap();
        let transcript = server.transcript + client_final.rsplit_once(",p=").unwrap().0;
        let server_final = format!("v={}", BASE64_STANDARD.encode(hmac(&other.server_key, &transcript)));
        assert_eq!(client.confirm(&server_final), Err(Failure::WrongServer));
    }

    #[test]
    fn a_server_that_reports_an_error_fails_on_the_client() {
        let (_, awaiting) = client().1.prove(SERVER_FIRST, &authkey()).unwrap();
        assert_eq!(confirm(&awaiting, "e=invalid-proof"), Err(Failure::Rejected));
        assert_eq!(confirm(&awaiting, "e="), Err(Failure::Rejected));
    }

    #[test]
    fn no_corrupted_proof_is_taken() {
        let verifier = verifier();
        assert_eq!(finish(&verifier, CLIENT_FINAL).as_deref(), Ok(SERVER_FINAL));
        for corrupted in corruptions(CLIENT_FINAL) {
            assert!(finish(&verifier, &corrupted).is_err(), "{corrupted}");
        }
        let (_, awaiting) = client().1.prove(SERVER_FIRST, &authkey()).unwrap();
        assert_eq!(confirm(&awaiting, SERVER_FINAL), Ok(()));
        for corrupted in corruptions(SERVER_FINAL) {
            assert!(confirm(&awaiting, &corrupted).is_err(), "{corrupted}");
        }
    }

    #[test]
    fn no_corrupted_beginning_leads_to_a_proof() {
        let verifier = verifier();
        for corrupted in corruptions(CLIENT_FIRST) {
            if let Ok((_, server)) = server(&verifier, &corrupted) {
                assert!(server.finish(&verifier, CLIENT_FINAL).is_err(), "{corrupted}");
            }
        }
        for corrupted in corruptions(SERVER_FIRST) {
            if let Ok((client_final, _)) = client().1.prove(&corrupted, &authkey()) {
                assert!(finish(&verifier, &client_final).is_err(), "{corrupted}");
            }
        }
    }

    #[test]
    fn a_proof_must_be_the_whole_hash() {
        let verifier = verifier();
        let (unproven, proof) = CLIENT_FINAL.rsplit_once(",p=").unwrap();
        let proof = BASE64_STANDARD.decode(proof).unwrap();
        let longer = [proof.as_slice(), &[0]].concat();
        for wrong in [&proof[..31], &proof[1..], &longer, &[], &proof[..1]] {
            let client_final = format!("{unproven},p={}", BASE64_STANDARD.encode(wrong));
            assert_eq!(finish(&verifier, &client_final), Err(Failure::Malformed));
        }
        assert_eq!(finish(&verifier, unproven), Err(Failure::Malformed));
    }

    #[test]
    fn a_recorded_proof_is_of_no_use_against_a_new_nonce() {
        let verifier = verifier();
        let begin = || ServerAwaitingProof::begin(&verifier, &Binding::None, CLIENT_FIRST, Nonce::from_random([4; 18]));
        let (server_first, server) = begin().unwrap();
        assert_eq!(server.finish(&verifier, CLIENT_FINAL), Err(Failure::WrongProof));
        // With the nonce put right, the recorded proof still signs the old one.
        let nonce = server_first.split(',').next().unwrap();
        let proof = CLIENT_FINAL.rsplit_once(",p=").unwrap().1;
        let client_final = format!("c=biws,{nonce},p={proof}");
        assert_eq!(begin().unwrap().1.finish(&verifier, &client_final), Err(Failure::WrongProof));
    }

    #[test]
    fn a_proof_must_repeat_the_nonce_of_its_challenge() {
        // Even for one who holds the key and signs the other nonce.
        let verifier = verifier();
        let key = client_key(&salted_password(authkey().as_str(), &verifier.salt, verifier.iterations));
        let run = |nonce: &str| {
            let (_, server) = server(&verifier, CLIENT_FIRST).unwrap();
            let unproven = format!("c=biws,r={nonce}");
            let proof = xor(&key, &hmac(&stored_key(&key), &format!("{}{unproven}", server.transcript)));
            server.finish(&verifier, &format!("{unproven},p={}", BASE64_STANDARD.encode(proof)))
        };
        let (client, server) = ("AQEBAQEBAQEBAQEBAQEBAQEB", "AgICAgICAgICAgICAgICAgIC");
        assert_eq!(run(&format!("{client}{server}")).as_deref(), Ok(SERVER_FINAL));
        for nonce in ["", client, server, &format!("{server}{client}"), &format!("{client}{server}A")] {
            assert_eq!(run(nonce), Err(Failure::WrongProof), "{nonce}");
        }
    }

    #[test]
    fn what_the_server_says_cannot_be_reflected_to_it() {
        let verifier = verifier();
        // Its own nonce as the client's, and its own proof as the client's.
        let nonce = "AgICAgICAgICAgICAgICAgIC";
        let (server_first, server) = server(&verifier, &format!("n,,n=manager,r={nonce}")).unwrap();
        assert!(server_first.starts_with(&format!("r={nonce}{nonce},")));
        let signature = SERVER_FINAL.strip_prefix("v=").unwrap();
        let client_final = format!("c=biws,r={nonce}{nonce},p={signature}");
        assert_eq!(server.finish(&verifier, &client_final), Err(Failure::WrongProof));

        let client_final = CLIENT_FINAL.rsplit_once(",p=").unwrap().0.to_string() + ",p=" + signature;
        assert_eq!(finish(&verifier, &client_final), Err(Failure::WrongProof));
    }

    #[test]
    fn what_the_client_says_cannot_be_reflected_to_it() {
        let (client_final, awaiting) = client().1.prove(SERVER_FIRST, &authkey()).unwrap();
        let proof = client_final.rsplit_once(",p=").unwrap().1;
        assert_eq!(confirm(&awaiting, &format!("v={proof}")), Err(Failure::WrongServer));
        assert_eq!(client().1.prove(CLIENT_FIRST, &authkey()).unwrap_err(), Failure::NotAManager);
    }

    #[test]
    fn a_client_insists_on_its_nonce_extended() {
        let own = "AQEBAQEBAQEBAQEBAQEBAQEB";
        let prove = |nonce: &str| client().1.prove(&SERVER_FIRST.replace(&SERVER_FIRST[2..50], nonce), &authkey());
        assert!(prove(&format!("{own}{:x<18}", "")).is_ok());
        for nonce in [
            own.to_string(),
            format!("{own}{:x<17}", ""),
            format!("{:x<48}", ""),
            format!("{:x<18}{own}", ""),
            format!("{own}{:x<18} ", ""),
            format!("{own}{:x<18}\u{fc}", ""),
            String::new(),
        ] {
            assert_eq!(prove(&nonce).unwrap_err(), Failure::UnacceptableParameters, "{nonce}");
        }
    }

    #[test]
    fn a_client_bounds_the_iterations_and_the_salt() {
        let prove = |from, to| client().1.prove(&SERVER_FIRST.replace(from, to), &authkey());
        for iterations in [
            "i=4095",
            "i=1",
            "i=0",
            "i=-4096",
            "i=+4096",
            "i=04096",
            "i= 4096",
            "i=4096.0",
            "i=1000001",
            "i=4294971392",
            "i=99999999999999999999",
            "i=",
            "i=\u{664}096",
        ] {
            assert_eq!(prove("i=4096", iterations).unwrap_err(), Failure::UnacceptableParameters, "{iterations}");
        }
        assert_eq!(parse_iterations("4096"), Some(4096));
        assert_eq!(parse_iterations("1000000"), Some(1_000_000));
        for salt in ["s=AwMDAwMDAwMDAwMDAwMD", "s=Aw==", "s="] {
            let failure = prove("s=AwMDAwMDAwMDAwMDAwMDAw==", salt).unwrap_err();
            assert_eq!(failure, Failure::UnacceptableParameters, "{salt}");
        }
        assert_eq!(prove("s=Aw", "s=*w").unwrap_err(), Failure::NotAManager);
        assert!(prove("s=AwMD", "s=AwMDAwMD").is_ok());
    }

    #[test]
    fn a_server_bounds_the_nonce_and_knows_one_user() {
        let verifier = verifier();
        let begin = |nonce: &str| server(&verifier, &format!("n,,n=manager,r={nonce}")).map(|_| ());
        assert_eq!(begin(&format!("{:x<24}", "")), Ok(()));
        assert_eq!(begin(&format!("{:x<128}", "")), Ok(()));
        for nonce in [
            String::new(),
            format!("{:x<23}", ""),
            format!("{:x<129}", ""),
            format!("{:x<24},", ""),
            format!("{:x<24} ", ""),
            format!("{:x<24}\0", ""),
            format!("{:x<24}\u{7f}", ""),
            format!("{:x<24}\u{fc}", ""),
        ] {
            assert_eq!(begin(&nonce), Err(Failure::Malformed), "{nonce}");
        }
        for user in
            ["n=user", "n=", "n=Manager", "n=manager ", "n==6Danager", "u=manager", "m=x,n=manager", "a=manager"]
        {
            let client_first = CLIENT_FIRST.replace("n=manager", user);
            assert_eq!(server(&verifier, &client_first).unwrap_err(), Failure::Malformed, "{user}");
        }
    }

    #[test]
    fn messages_are_bounded() {
        let verifier = verifier();
        let long = format!(",x={:x<512}", "");
        assert_eq!(server(&verifier, &(CLIENT_FIRST.to_string() + &long)).unwrap_err(), Failure::Malformed);
        let client_final = CLIENT_FINAL.replace(",p=", &(long.clone() + ",p="));
        assert_eq!(finish(&verifier, &client_final), Err(Failure::Malformed));
        let server_first = SERVER_FIRST.to_string() + &long;
        assert_eq!(client().1.prove(&server_first, &authkey()).unwrap_err(), Failure::NotAManager);

        // The longest run that keeps to the rules stays within the bound.
        let binding = Binding::TlsServerEndPoint(vec![0; 64]);
        let (client_first, client) = ClientAwaitingChallenge::begin(&binding, Nonce(format!("{:x<128}", "")));
        let nonce = Nonce::from_random([2; 18]);
        let (server_first, server) = ServerAwaitingProof::begin(&verifier, &binding, &client_first, nonce).unwrap();
        let (client_final, client) = client.prove(&server_first, &authkey()).unwrap();
        client.confirm(&server.finish(&verifier, &client_final).unwrap()).unwrap();
    }

    #[test]
    fn optional_extensions_are_signed_and_mandatory_ones_refused() {
        let verifier = verifier();
        let key = authkey();
        let salted = salted_password(key.as_str(), &verifier.salt, verifier.iterations);
        // The holder of the key appends `first` and `last` as extensions, and signs `signed` as the last.
        let run = |first: &str, last: &str, signed: &str| {
            let (server_first, server) = server(&verifier, &format!("{CLIENT_FIRST}{first}"))?;
            let unproven = CLIENT_FINAL.rsplit_once(",p=").unwrap().0;
            let bare = CLIENT_FIRST.strip_prefix("n,,").unwrap();
            let transcript = format!("{bare}{first},{server_first},{unproven}{signed}");
            let client_key = client_key(&salted);
            let proof = xor(&client_key, &hmac(&stored_key(&client_key), &transcript));
            server.finish(&verifier, &format!("{unproven}{last},p={}", BASE64_STANDARD.encode(proof))).map(|_| ())
        };
        assert_eq!(run("", "", ""), Ok(()));
        assert_eq!(run(",x=1,Y==,", "", ""), Err(Failure::Malformed));
        assert_eq!(run(",x=1,Y==", ",z=2", ",z=2"), Ok(()));
        assert_eq!(run("", ",z=2", ",z=3"), Err(Failure::WrongProof));
        assert_eq!(run("", ",z=2", ""), Err(Failure::WrongProof));
        for extension in [",m=1", ",r=1", ",p=1", ",x=", ",x", ",=", ",", ",xx=1", ",1=1", ",\u{fc}=1", ",x=\0"] {
            assert_eq!(run(extension, "", ""), Err(Failure::Malformed), "{extension:?}");
            assert_eq!(run("", extension, extension), Err(Failure::Malformed), "{extension:?}");
        }

        let prove = |server_first: String| client().1.prove(&server_first, &key);
        assert!(prove(format!("{SERVER_FIRST},x=1")).is_ok());
        assert_eq!(prove(format!("{SERVER_FIRST},m=1")).unwrap_err(), Failure::NotAManager);
        assert_eq!(prove(format!("m=1,{SERVER_FIRST}")).unwrap_err(), Failure::NotAManager);
        let (_, awaiting) = prove(SERVER_FIRST.into()).unwrap();
        assert_eq!(confirm(&awaiting, &format!("{SERVER_FINAL},x=1")), Err(Failure::NotAManager));
    }

    #[test]
    fn nonsense_is_refused_without_panic() {
        let verifier = verifier();
        let words = [
            "n",
            ",",
            "=",
            "n,,",
            "y,,",
            "n=manager",
            "r=",
            "c=biws",
            "s=",
            "i=4096",
            "p=",
            "v=",
            "e=",
            "m=",
            "AwMD",
            "\0",
            "\u{fc}",
            "\u{1f512}",
            "+",
            "/",
            "==",
            "AQEBAQEBAQEBAQEBAQEBAQEB",
            ",r=",
            ",p=",
            ",s=",
            ",i=",
        ];
        let (_, awaiting) = client().1.prove(SERVER_FIRST, &authkey()).unwrap();
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..random % 13 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text += words[(random >> 32) as usize % words.len()];
            }
            random = random.wrapping_add(1);
            let _ = server(&verifier, &text);
            let _ = client().1.prove(&text, &authkey());
            assert!(finish(&verifier, &text).is_err(), "{text}");
            assert!(confirm(&awaiting, &text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_authkey_is_trimmed_and_must_be_worth_the_name() {
        assert_eq!(Authkey::new(" \r\n 0123456789abcdef\t\n").unwrap().as_str(), "0123456789abcdef");
        assert_eq!(Authkey::new("correct horse battery staple\n").unwrap().as_str(), "correct horse battery staple");
        assert_eq!(Authkey::new(vec![b'~'; 1024]).unwrap().as_str().len(), 1024);
        let refused = |text: &[u8]| Authkey::new(text).unwrap_err();
        assert_eq!(refused(b""), InvalidAuthkey::TooShort);
        assert_eq!(refused(b"0123456789abcde                  \n"), InvalidAuthkey::TooShort);
        assert_eq!(refused(&[b'~'; 1025]), InvalidAuthkey::TooLong);
        for odd in [&b"\0"[..], b"\n", b"\x7f", b"\x80", "\u{fc}".as_bytes(), b"\xff\xff"] {
            let text = [b"0123456789abcdef", odd, b"0"].concat();
            assert_eq!(refused(&text), InvalidAuthkey::NotPrintable, "{odd:?}");
        }

        let random = authkey();
        assert_eq!(random.as_str(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
        assert_eq!(Authkey::new(random.as_str()).unwrap().as_str(), random.as_str());
    }

    #[test]
    fn debug_shows_no_secret() {
        let (_, awaiting) = client().1.prove(SERVER_FIRST, &authkey()).unwrap();
        assert_eq!(format!("{:?}", authkey()), "Authkey { .. }");
        assert_eq!(format!("{:?}", verifier()), "Verifier { iterations: 4096, .. }");
        assert_eq!(format!("{awaiting:?}"), "ClientAwaitingSignature { .. }");

        let verifier = verifier();
        let shown = format!("{:?}{:?}{:?}", client(), server(&verifier, CLIENT_FIRST), authkey());
        for key in [&verifier.stored_key, &verifier.server_key, &awaiting.signature] {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let list = format!("{:?}", key.as_slice());
            for spelling in [BASE64_STANDARD.encode(key), hex, list[1..list.len() - 1].to_string()] {
                assert!(!shown.contains(&spelling));
            }
        }
        assert!(!shown.contains(authkey().as_str()));
    }

    #[test]
    fn a_server_tells_nobody_what_was_wrong() {
        for failure in [Failure::Malformed, Failure::WrongBinding, Failure::WrongProof] {
            assert_eq!(failure.to_string(), "authentication failed");
        }
        assert_eq!(
            Failure::Rejected.to_string(),
            "the manager did not accept the authkey: check that HOLDFAST_AUTHKEY_FILE names the key file the manager uses"
        );
    }
}
