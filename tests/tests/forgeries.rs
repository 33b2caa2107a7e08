//! Attacks on the handshake and the token that it gives: nobody gets in, and honest clients do not suffer.
//!
//! What must hold meanwhile and afterwards is in [`Siege`]; which attack is tested where, in `attacks.rs`.

#![expect(clippy::unwrap_used, reason = "tests")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use holdfast::Address;
use holdfast::blocking::Dict;
use holdfast_proto::frame::{put_client, put_message};
use holdfast_proto::scram::Binding;
use holdfast_proto::{
    BeginRequest, BeginResponse, CONNECT_PATH, ClientFrame, Datum, DictAddRequest, Goodbye, Hello, OBJECT_METADATA,
    PROTOCOL, client_frame,
};
use holdfast_tests::http2::{END_STREAM, Wire, http2_frame, kind};
use holdfast_tests::{Ended, Raw, Setup, Siege, handshake, program, until};
use prost::Message;

const MIB: u64 = 1 << 20;
const BEGIN: &str = "/holdfast.v1.AuthService/Begin";
const UNAUTHENTICATED: Option<i32> = Some(16);

/// Over a Unix socket, TLS and TCP.
fn siege() -> Siege {
    Siege::new(Setup::new(program!()).tls())
}

/// What somebody has heard of a handshake that went well.
struct Recorded {
    client_first: String,
    client_final: String,
    /// The manager's own proof.
    signature: String,
}

async fn begin(raw: &Raw, client_first: String) -> String {
    let begun = raw.unary(BEGIN, &BeginRequest { client_first }).await.unwrap();
    BeginResponse::decode(begun).unwrap().server_first
}

async fn record(siege: &Siege, address: &Address) -> Recorded {
    let raw = Raw::connect(address).await;
    let (client_first, awaiting) = handshake(&raw.binding);
    let server_first = begin(&raw, client_first.clone()).await;
    let (client_final, awaiting) = awaiting.prove(&server_first, &siege.manager.authkey()).unwrap();
    let finished = raw.finish(client_final.clone()).await.unwrap();
    awaiting.confirm(&finished.server_final).unwrap();
    let signature = finished.server_final.strip_prefix("v=").unwrap().to_owned();
    Recorded { client_first, client_final, signature }
}

fn proof(client_final: &str) -> (&str, &str) {
    client_final.rsplit_once(",p=").unwrap()
}

/// What is made of the right last message of a handshake: all of these are wrong.
fn forged(right: &str, recorded: &Recorded, address: &Address) -> Vec<(&'static str, String)> {
    let (message, text) = proof(right);
    let bytes = BASE64_STANDARD.decode(text).unwrap();
    let with = |bytes: &[u8]| format!("{message},p={}", BASE64_STANDARD.encode(bytes));
    let mut flipped = bytes.clone();
    flipped[31] ^= 1;
    // Of what is bound to a certificate, and of what is bound to none.
    let flags = if matches!(address, Address::Https(_)) { "n,," } else { "y,," };
    let nonce = message.split_once(",r=").unwrap().1;
    vec![
        ("no proof", message.to_owned()),
        ("nothing of it", with(&[])),
        ("a byte of it", with(&bytes[..1])),
        ("half of it", with(&bytes[..16])),
        ("all but a byte", with(&bytes[..31])),
        ("all but a letter", right[..right.len() - 1].to_owned()),
        ("a byte more", with(&[&bytes[..], &[0]].concat())),
        ("twice", with(&bytes.repeat(2))),
        ("padding more", format!("{right}=")),
        ("an attribute more", format!("{right},x=1")),
        ("a line end more", format!("{right}\n")),
        ("a bit of it", with(&flipped)),
        ("the proof of another handshake", format!("{message},p={}", proof(&recorded.client_final).1)),
        ("the manager's proof", format!("{message},p={}", recorded.signature)),
        ("all of another handshake", recorded.client_final.clone()),
        ("other flags", format!("c={},r={nonce},p={text}", BASE64_STANDARD.encode(flags))),
    ]
}

/// Says what is forged: the manager answers as it answers every failure, and hangs up.
async fn is_refused(name: &str, raw: Raw, client_final: String) {
    let refused = raw.finish(client_final).await.expect_err(name);
    assert_eq!(refused.code(), UNAUTHENTICATED, "{name}: {refused}");
    let Ended::Status { message, .. } = refused else { panic!("{name}: {refused}") };
    assert_eq!(message, "authentication failed", "{name}");
    raw.closed().await;
}

#[tokio::main(flavor = "current_thread")]
async fn forge(siege: &Siege) {
    for address in &siege.manager.addresses {
        let recorded = record(siege, address).await;
        for which in 0..forged(&recorded.client_final, &recorded, address).len() {
            let raw = Raw::connect(address).await;
            let (right, _) = raw.begin(&siege.manager.authkey()).await.unwrap();
            let (name, wrong) = forged(&right, &recorded, address).swap_remove(which);
            is_refused(name, raw, wrong).await;
        }
        // All that was recorded, from its beginning; the manager adds to the nonce.
        let raw = Raw::connect(address).await;
        begin(&raw, recorded.client_first.clone()).await;
        is_refused("replay", raw, recorded.client_final.clone()).await;
        // The manager's own nonce and proof, reflected.
        let raw = Raw::connect(address).await;
        let (flags, _) = recorded.client_first.split_once("n=manager").unwrap();
        let (message, _) = proof(&recorded.client_final);
        let (binding, nonce) = message.split_once(",r=").unwrap();
        let challenge = begin(&raw, format!("{flags}n=manager,r={nonce}")).await;
        let both = challenge.strip_prefix("r=").unwrap().split_once(',').unwrap().0;
        is_refused("reflection", raw, format!("{binding},r={both},p={}", recorded.signature)).await;
        // A proof by who holds the authkey, for another certificate.
        if matches!(address, Address::Https(_)) {
            let mut raw = Raw::connect(address).await;
            raw.binding = Binding::TlsServerEndPoint(vec![9; 32]);
            let (proof, _) = raw.begin(&siege.manager.authkey()).await.unwrap();
            is_refused("another certificate", raw, proof).await;
        }
        // What all of these were made from is right.
        Raw::connect(address).await.authenticate(&siege.manager.authkey()).await.unwrap();
    }
}

#[test]
fn handshakes_that_are_replayed_reflected_cut_or_changed_are_refused_alike() {
    let siege = siege();
    siege.withstands(16 * MIB, || siege.again_and_again(|| forge(&siege)));
    siege.recovers();
}

/// One addition to a dict, as a unary call on this stream.
fn add(wire: &Wire, stream: u32) -> Vec<u8> {
    let mut body = BytesMut::new();
    put_message(&mut body, &DictAddRequest { key: Some(Datum::Integer(0)), delta: Some(Datum::Integer(1)) });
    let head = wire.request(stream, 0, "/holdfast.v1.DictService/Add", &[(OBJECT_METADATA, b"counted")]);
    [head, http2_frame(kind::DATA, END_STREAM, stream, &body)].concat()
}

fn session_frame(frame: client_frame::Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    put_client(&mut bytes, &ClientFrame { received: 0, frame: Some(frame) });
    http2_frame(kind::DATA, 0, 5, &bytes)
}

#[test]
fn a_token_is_of_no_use_after_the_end_of_its_session() {
    let siege = siege();
    let owner = siege.manager.connect_blocking();
    let counted: Dict<u64, u64> = owner.dict("counted").unwrap();
    let mut expected = 0;
    let round = || {
        for address in [0, 2] {
            let wire = Wire::authenticated(&siege.manager.addresses[address], &siege.manager.authkey());
            let sessions = owner.status().unwrap().sessions;
            wire.say(&wire.request(5, 0, CONNECT_PATH, &[]));
            let hello = Hello { protocol: PROTOCOL, name: "raw".to_owned(), ..Hello::default() };
            wire.say(&session_frame(client_frame::Frame::Hello(hello)));
            wire.say(&add(&wire, 7));
            wire.until("an answer", |heard| heard.data.contains_key(&7).then_some(()));
            expected += 1;
            assert_eq!(counted.get(&0).unwrap(), Some(expected), "while the session lives, the token is good");
            wire.say(&session_frame(client_frame::Frame::Goodbye(Goodbye::default())));
            until("the session ends", || (owner.status().unwrap().sessions == sessions).then_some(()));
            // The connection lingers, so that its client can take note.
            for stream in [9, 11] {
                wire.say(&add(&wire, stream));
            }
            let heard = wire.ended();
            assert!([9, 11].iter().all(|stream| !heard.data.contains_key(stream)), "{heard:?}");
            assert_eq!(counted.get(&0).unwrap(), Some(expected), "nothing was applied");
        }
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    drop(counted);
    owner.delete("counted").unwrap();
    owner.close();
    siege.recovers();
}
