//! Every decoder that reads bytes of strangers, tried with mutated messages: nothing panics, nothing that is read is larger
//! than what was sent allows, what is read is written again as what is read the same, and where a decoder of our own stands
//! for prost's, it accepts nothing else and reads nothing else.
//!
//! Inputs are the same at each run: see [`fuzz`]. What is private to the manager is tried there (`metadata.rs`), and the
//! readers of requests are held to prost in `proto` (`fields/tests.rs`).

use std::time::SystemTime;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use holdfast::{Address, Authkey};
use holdfast_objects::catalog::{AnyObject, AnyOp, KINDS, arbitrary_spec};
use holdfast_objects::testing::Source;
use holdfast_objects::{Answer, CallId, Creation, Room, SessionId, Turn};
use holdfast_proto::certificate::{check_not_expired, fingerprint, tls_server_end_point};
use holdfast_proto::frame::{
    CallFrame, ClientSays, Deframer, FromClient, FromServer, PREFIX, read_client, read_plain_call, read_server,
};
use holdfast_proto::ops::Op as _;
use holdfast_proto::scram::{Binding, ClientAwaitingChallenge, Nonce, ServerAwaitingProof, Verifier};
use holdfast_proto::status::RichStatus;
use holdfast_proto::{
    Call, ClientFrame, CloseRequest, Datum, Goodbye, Hello, OpenRequest, Refusal, Reply, ServerFrame, ShareRequest,
    TakeUpRequest, Welcome, client_frame, manager, reply, server_frame,
};
use holdfast_tests::{certificate, fuzz};
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Well-formed messages, each from a source of its own.
fn seeds(count: u64, make: impl Fn(&mut Source) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..count).map(|number| make(&mut Source::new(number))).collect()
}

#[test]
fn data() {
    fuzz("Datum", &seeds(300, |source| source.datum().encode_to_vec()), |input, source| {
        let read = Datum::decode(input);
        // In two pieces, as it may lie in a buffer, it is read the same.
        let cut = source.below(input.len() as u64 + 1) as usize;
        let pieces = Datum::decode(input[..cut].chain(&input[cut..]));
        assert_eq!(format!("{read:?}"), format!("{pieces:?}"), "cut at {cut}");
        let Ok(datum) = read else { return };
        let written = datum.encode_to_vec();
        assert!(written.len() <= input.len(), "{datum:?} grew when it was written");
        assert!(datum.bytes() <= 24 + 32 * input.len() as u64, "{} bytes from {}", datum.bytes(), input.len());
        let again = Datum::decode(&*written).unwrap();
        assert_eq!(again.encode_to_vec(), written, "{datum:?} and {again:?}");
        assert_eq!(again.check(), datum.check());
        assert_eq!((again.bytes(), again.type_name()), (datum.bytes(), datum.type_name()));
        let _ = (format!("{}", datum.brief()), datum.copy());
        datum.discard();
    });
}

fn call(source: &mut Source) -> Call {
    let kind = KINDS[source.below(KINDS.len() as u64) as usize].number;
    let op = AnyOp::arbitrary(kind, source);
    let mut request = Vec::new();
    op.encode(&mut request);
    let handle = (source.choice() as u32).checked_shr(source.below(40) as u32).unwrap_or(0);
    let fence = if source.below(4) == 0 { source.choice() } else { 0 };
    Call { sequence: source.choice() >> source.below(64), handle, op: op.number(), request: request.into(), fence }
}

fn client_frame(source: &mut Source) -> ClientFrame {
    let frame = match source.below(6) {
        0 => None,
        1 => Some(client_frame::Frame::Hello(Hello {
            protocol: source.choice() as u32,
            name: "a name".to_owned(),
            pid: source.choice() as u32,
            host: "a host".to_owned(),
            ..Hello::default()
        })),
        2 => Some(client_frame::Frame::Goodbye(Goodbye::default())),
        _ => Some(client_frame::Frame::Call(call(source))),
    };
    ClientFrame { received: source.choice() >> source.below(64), frame }
}

/// The message that such a frame is.
fn client_message(from: FromClient<'_>) -> ClientFrame {
    let call = |call: CallFrame<'_>| Call {
        sequence: call.sequence,
        handle: call.handle,
        op: call.op,
        request: Bytes::copy_from_slice(call.request),
        fence: call.fence,
    };
    let frame = from.frame.map(|says| match says {
        ClientSays::Hello(hello) => client_frame::Frame::Hello(hello),
        ClientSays::Call(plain) => client_frame::Frame::Call(call(plain)),
        ClientSays::Goodbye(goodbye) => client_frame::Frame::Goodbye(goodbye),
    });
    ClientFrame { received: from.received, frame }
}

#[test]
fn frames_of_clients() {
    fuzz("ClientFrame", &seeds(300, |source| client_frame(source).encode_to_vec()), |input, _| {
        let prost = ClientFrame::decode(input);
        if let Some((received, call)) = read_plain_call(input) {
            let plain = FromClient { received, frame: Some(ClientSays::Call(call)) };
            assert_eq!(Ok(client_message(plain)), prost, "a plain call is what prost reads");
        }
        if let Ok(read) = read_client(input) {
            assert!(prost.is_ok(), "{read:?} was read, which prost refuses: {prost:?}");
        }
        if let Ok(prost) = prost {
            // As encoders write it, without what was sent twice or is not known, it is read as prost does.
            let written = prost.encode_to_vec();
            assert_eq!(client_message(read_client(&written).unwrap()), prost);
        }
    });
}

fn server_frame(source: &mut Source) -> ServerFrame {
    let frame = match source.below(8) {
        0 => server_frame::Frame::Welcome(Welcome::default()),
        1 => server_frame::Frame::Goodbye(Goodbye::default()),
        choice => {
            let result = match choice {
                2 => reply::Result::Refusal(Refusal { message: "no".to_owned(), reason: source.below(40) as i32 }),
                _ => reply::Result::Response(source.datum().encode_to_vec().into()),
            };
            let delivered = (0..source.below(3)).map(|_| source.choice() as u32).collect();
            let (sequence, index) = (source.choice() >> source.below(64), source.choice() >> source.below(64));
            let acknowledge = source.below(4) == 0;
            server_frame::Frame::Reply(Reply { sequence, index, result: Some(result), delivered, acknowledge })
        }
    };
    ServerFrame { frame: Some(frame) }
}

/// The message that such a frame is.
fn server_message(from: FromServer<'_>) -> ServerFrame {
    let frame = match from {
        FromServer::Welcome(welcome) => server_frame::Frame::Welcome(welcome),
        FromServer::Goodbye(goodbye) => server_frame::Frame::Goodbye(goodbye),
        FromServer::Reply(reply) => server_frame::Frame::Reply(Reply {
            sequence: reply.sequence,
            index: reply.index,
            result: Some(match reply.result {
                Ok(response) => reply::Result::Response(Bytes::copy_from_slice(response)),
                Err(refusal) => reply::Result::Refusal(refusal),
            }),
            delivered: reply.delivered,
            acknowledge: reply.acknowledge,
        }),
    };
    ServerFrame { frame: Some(frame) }
}

#[test]
fn frames_of_managers() {
    fuzz("ServerFrame", &seeds(300, |source| server_frame(source).encode_to_vec()), |input, _| {
        let prost = ServerFrame::decode(input);
        if let Ok(read) = read_server(input) {
            assert!(prost.is_ok(), "{read:?} was read, which prost refuses: {prost:?}");
        }
        if let Ok(prost) = prost {
            match read_server(&prost.encode_to_vec()) {
                Ok(read) => assert_eq!(server_message(read), prost),
                // Nothing at all, and a reply that is none.
                Err(error) => {
                    let is_empty = match &prost.frame {
                        None => true,
                        Some(server_frame::Frame::Reply(reply)) => reply.result.is_none(),
                        Some(_) => false,
                    };
                    assert!(is_empty, "{prost:?} was refused: {error}");
                }
            }
        }
    });
}

/// What a deframer makes of chunks: the messages, and whether the stream was broken.
fn deframed<'a>(limit: usize, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Option<String>) {
    let (mut deframer, mut messages) = (Deframer::new(limit), Vec::new());
    for chunk in chunks {
        deframer.push(Bytes::copy_from_slice(chunk));
        loop {
            match deframer.next_shared() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(broken) => return (messages, Some(broken.to_string())),
            }
        }
    }
    assert!(messages.iter().all(|message| message.len() <= limit));
    (messages, None)
}

#[test]
fn prefixes() {
    let several = |source: &mut Source| {
        let mut stream = BytesMut::new();
        for _ in 0..source.below(5) {
            let message = source.datum().encode_to_vec();
            stream.put_u8(0);
            stream.put_u32(message.len() as u32);
            stream.extend(message);
        }
        stream.to_vec()
    };
    fuzz("Deframer", &seeds(300, several), |input, source| {
        // Small, so that messages are often as large as the limit, or one byte larger.
        let limit = source.below(40) as usize;
        let whole = deframed(limit, std::iter::once(input));
        let bytes: usize = whole.0.iter().map(|message| PREFIX + message.len()).sum();
        assert!(bytes <= input.len());
        let chunk = 1 + source.below(40) as usize;
        assert_eq!(deframed(limit, input.chunks(chunk)), whole, "in chunks of {chunk}");
    });
}

/// Room for an object, which a hostile op must not exceed.
const ROOM: u64 = 1 << 20;

fn creation() -> Creation {
    Creation { seed: 1, room: Room::new(ROOM, "object_bytes") }
}

#[test]
fn ops_of_all_kinds_and_what_they_do_to_objects() {
    for kind in KINDS {
        let numbers: Vec<u32> = (kind.ops)().iter().map(|(number, _)| *number).collect();
        let arbitrary = |source: &mut Source| {
            let mut input = Vec::new();
            let op = AnyOp::arbitrary(kind.number, source);
            op.encode(&mut input);
            input.push(op.number() as u8);
            input
        };
        let new = || {
            let spec = arbitrary_spec(kind.number, &mut Source::new(1));
            AnyObject::create(kind.number, &spec, &mut creation(), &mut |_| Ok(())).unwrap()
        };
        let (mut object, mut index) = (new(), 0);
        fuzz(kind.service, &seeds(500, arbitrary), |input, source| {
            let Some((&number, request)) = input.split_last() else { return };
            // Mostly of an op that there is.
            let number = match source.below(8) {
                0 => u32::from(number),
                _ => numbers.iter().copied().find(|known| *known == u32::from(number)).unwrap_or(numbers[0]),
            };
            let Ok(op) = AnyOp::decode(kind.number, number, request) else { return };
            let (mut written, mut again) = (Vec::new(), Vec::new());
            op.encode(&mut written);
            AnyOp::decode(kind.number, number, &written).unwrap().encode(&mut again);
            assert_eq!(written, again, "{op:?}");
            // Numbers of one field may come one by one, and are written together: a length more.
            assert!(written.len() <= 2 * request.len(), "{op:?} grew when it was written");

            index += 1;
            let before = (object.bytes(), object.elements());
            let room = Room::new(ROOM.saturating_sub(before.0), "object_bytes");
            let mut turn = Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1000, room);
            if let Answer::Refused(refusal) = object.apply(op, &mut turn) {
                assert!(!refusal.message.is_empty());
                assert_eq!((object.bytes(), object.elements()), before, "{}", refusal.message);
            }
            assert!(object.bytes() <= ROOM, "{} bytes", object.bytes());
            if index % 100 == 0 {
                let restored = AnyObject::restore(kind.number, &object.state(), &mut creation()).unwrap();
                assert_eq!((restored.bytes(), restored.elements()), (object.bytes(), object.elements()));
                assert_eq!(restored.state(), object.state());
            }
            if index % 1000 == 0 {
                object = new();
            }
        });
        assert!(index > 100 || std::env::var_os("HOLDFAST_FUZZ_ONLY").is_some(), "hardly an input was an op");
    }
}

#[test]
fn specs_of_all_kinds() {
    for kind in KINDS {
        let specs = seeds(100, |source| arbitrary_spec(kind.number, source));
        fuzz(&format!("spec of {}", kind.name), &specs, |input, _| {
            let mut creation = creation();
            if let Ok(object) = AnyObject::create(kind.number, input, &mut creation, &mut |_| Ok(())) {
                assert!(object.bytes() <= ROOM, "{} bytes", object.bytes());
                assert_eq!(object.bytes(), ROOM - creation.room.left());
            }
        });
    }
}

#[test]
fn requests_to_the_manager_itself() {
    let requests = |source: &mut Source| {
        let (op, mut request) = match source.below(4) {
            0 => {
                let open = OpenRequest { name: "a name".to_owned(), kind: 2, spec: b"\x0a\x00"[..].into(), mode: 1 };
                (1, open.encode_to_vec())
            }
            1 => {
                (3, CloseRequest { handle: source.choice() as u32, deliveries: source.below(9) as u32 }.encode_to_vec())
            }
            2 => (5, ShareRequest { handle: 1, uses: 1, lifetime_ms: source.choice() }.encode_to_vec()),
            _ => (6, TakeUpRequest { token: vec![7; 32], kind: 2 }.encode_to_vec()),
        };
        request.push(op);
        request
    };
    fuzz("manager", &seeds(100, requests), |input, _| {
        let Some((&number, request)) = input.split_last() else { return };
        let Ok(op) = manager::Op::decode(number.into(), request) else { return };
        let (mut written, mut again) = (Vec::new(), Vec::new());
        op.encode(&mut written);
        manager::Op::decode(number.into(), &written).unwrap().encode(&mut again);
        assert_eq!(written, again, "{op:?}");
        assert!(written.len() <= request.len(), "{op:?} grew when it was written");
    });
}

#[test]
fn statuses() {
    let status = |source: &mut Source| {
        let refusal = Refusal { reason: source.below(40) as i32, message: "why not".to_owned() };
        RichStatus::new(&refusal, "/holdfast.v1.DictService/Get").encode_to_vec()
    };
    fuzz("RichStatus", &seeds(40, status), |input, _| {
        if let Ok(status) = RichStatus::decode(input) {
            let _ = status.reason();
            assert_eq!(RichStatus::decode(&*status.encode_to_vec()), Ok(status));
        }
    });
}

#[test]
fn messages_of_the_handshake() {
    let authkey = Authkey::from_random([7; 32]);
    let verifier = Verifier::derive(&authkey, [3; 16]);
    let bindings = [Binding::None, Binding::TlsServerEndPoint(vec![9; 32])];
    for binding in &bindings {
        let client = || ClientAwaitingChallenge::begin(binding, Nonce::from_random([1; 18]));
        let server = |first: &str| ServerAwaitingProof::begin(&verifier, binding, first, Nonce::from_random([2; 18]));
        let (first, waiting) = client();
        let (challenge, _) = server(&first).unwrap();
        let (proof, _) = waiting.prove(&challenge, &authkey).unwrap();
        let signature = server(&first).unwrap().1.finish(&verifier, &proof).unwrap();
        let as_seeds = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let all = as_seeds(&[&first, &challenge, &proof, &signature]);

        fuzz("a server's challenge", &all, |input, _| {
            let text = String::from_utf8_lossy(input);
            if let Ok((challenge, _)) = server(&text) {
                assert!(challenge.len() <= text.len() + 200, "{challenge} to {text}");
            }
        });
        fuzz("a client's proof", &as_seeds(&[&proof, &proof, &challenge]), |input, _| {
            let text = String::from_utf8_lossy(input);
            let verdict = server(&first).unwrap().1.finish(&verifier, &text);
            assert_eq!(verdict.is_ok(), *text == *proof, "{text}");
        });
        fuzz("a client's trust", &as_seeds(&[&signature, &signature, &proof]), |input, source| {
            // To stretch the key takes a millisecond.
            if source.below(50) == 0 {
                let (_, waiting) = client().1.prove(&challenge, &authkey).unwrap();
                let text = String::from_utf8_lossy(input);
                assert_eq!(waiting.confirm(&text).is_ok(), *text == *signature, "{text}");
            }
        });
        fuzz("a client's proof to anybody", &as_seeds(&[&challenge, &challenge, &proof]), |input, source| {
            let text = String::from_utf8_lossy(input);
            if source.below(50) == 0
                && let Ok((answer, _)) = client().1.prove(&text, &authkey)
            {
                assert!(answer.len() <= 2 * text.len() + 200);
            }
        });
    }
}

#[test]
fn authkeys_and_addresses() {
    let texts: Vec<Vec<u8>> = [
        "unix:/run/holdfast/manager.sock",
        "http://localhost:7070",
        "https://[::1]:0/",
        "0123456789abcdef0123456789abcdef",
        "unix:",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    fuzz("texts", &texts, |input, _| {
        let text = String::from_utf8_lossy(input);
        match text.parse::<Address>() {
            Ok(address) => {
                let _ = address.host();
                assert_eq!(address.to_string().parse(), Ok(address));
            }
            Err(invalid) => assert!(invalid.to_string().contains("write unix:PATH")),
        }
        if let Ok(authkey) = Authkey::new(input) {
            assert_eq!(
                Authkey::new(authkey.as_str()).map(|again| again.as_str().to_owned()).unwrap(),
                authkey.as_str()
            );
        }
    });
}

#[test]
fn certificates() {
    let certificates: Vec<Vec<u8>> =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
            .into_iter()
            .map(|algorithm| CertificateDer::from_pem_slice(certificate(algorithm).as_bytes()).unwrap().to_vec())
            .collect();
    fuzz("certificates", &certificates, |input, _| {
        if let Ok(Binding::TlsServerEndPoint(hash)) = tls_server_end_point(input) {
            assert!((28..=64).contains(&hash.len()));
        }
        let _ = check_not_expired(input, SystemTime::UNIX_EPOCH);
        assert_eq!(fingerprint(input).len(), 32 * 3 - 1);
    });
}
