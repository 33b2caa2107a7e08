//! Attacks on HTTP/2, written frame by frame: each fails, and honest clients do not suffer.
//!
//! What must hold during and after each is in [`Siege`]. Where each attack is tested, here and elsewhere:
//!
//! | attack | test |
//! |---|---|
//! | rapid reset (CVE-2023-44487) | [`streams_that_are_opened_and_reset_at_once`]; through h2 also in `refused.rs` |
//! | MadeYouReset (CVE-2025-8671): no window, too much window, a stream that depends on itself, data after the end | [`streams_that_the_manager_is_made_to_reset`] |
//! | DATA on streams that are over or never were | [`data_on_streams_that_are_over`] |
//! | CONTINUATION flood | [`headers_without_an_end`] |
//! | PING and SETTINGS floods, answers read or not | [`pings_and_settings_without_an_end`] |
//! | empty DATA | [`empty_data_without_an_end`] |
//! | header bombs: many, one huge, multiplied by HPACK | [`headers_that_are_many_or_huge_or_multiplied`] |
//! | oversize paths, duplicate metadata and pseudo-headers | [`paths_and_metadata_that_make_no_request`]; names twice in `unary.rs` |
//! | a preface byte by byte (slowloris) | [`a_preface_byte_by_byte`] |
//! | 10,000 silent connections | [`ten_thousand_silent_connections`]; who is ousted in `limits.rs` |
//! | half-open handshakes | [`handshakes_that_are_not_finished`]; of TLS in `tls.rs` |
//! | 100,000 wrong proofs | [`wrong_proofs`]; that all look alike in `refused.rs` |
//! | one-byte DATA on the session stream | `attacks_on_calls.rs`: `calls_that_come_byte_by_byte_...` |
//! | no window for replies: the session stream, 128 unary calls | `attacks_on_calls.rs`: `replies_for_which_...`, `unary_calls_for_whose_...`; a client that does not read in `stream.rs` and `unary.rs` |
//! | a length without a body | `attacks_on_calls.rs`: `lengths_without_a_body_...` |
//! | deep nesting, invalid UTF-8 | `attacks_on_calls.rs`: `data_that_are_nested_...`, `texts_and_names_...` |
//! | who ends TLS in between with a certificate of his own, or shows the manager's | `tls.rs`: `who_decrypts_in_between_...`, `who_shows_the_managers_...` |
//! | replay of a recorded proof | `forgeries.rs`; `refused.rs`, and inside TLS `tls.rs`: `a_handshake_that_...` |
//! | reflection; truncated, extended and changed proofs | `forgeries.rs`; unit tests of `scram.rs` |
//! | a proof for another certificate; downgrade flags | `forgeries.rs`; `tls.rs`: `a_proof_for_another_...`, `the_kind_of_listener_...` |
//! | a token on another connection | `refused.rs`: `a_token_is_of_no_use_...`; `tls.rs` |
//! | a token after the end of its session | `forgeries.rs`: `a_token_is_of_no_use_after_...` |
//! | who listens: neither key nor, over TLS, values | `tls.rs`: `who_listens_learns_...` |
//! | a key file that others can read | `serve.rs` of `cli`: `an_authkey_file_that_...`; unit tests of `authkey_file.rs` |
//! | bytes at random | `refused.rs`; the decoders alone in `fuzz.rs` |

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use holdfast::{Address, Authkey};
use holdfast_manager::raise_file_limit;
use holdfast_proto::frame::put_message;
use holdfast_proto::{BeginRequest, FinishRequest, scram::Binding};
use holdfast_tests::http2::{
    END_HEADERS, END_STREAM, PREFACE, Wire, grpc_headers, header_block, http2_frame, indexed_header, kind,
};
use holdfast_tests::{Setup, Siege, handshake, program, times, until};
use rustix::process::{Resource, getrlimit};

const MIB: u64 = 1 << 20;
const BEGIN: &str = "/holdfast.v1.AuthService/Begin";
const FINISH: &str = "/holdfast.v1.AuthService/Finish";
const GET: &str = "/holdfast.v1.DictService/Get";
/// An error of HTTP/2 (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn siege() -> Siege {
    Siege::new(Setup::new(program!()))
}

/// Says `total` pieces, each about a stream of its own, on as many connections as that takes, with the token of each
/// connection and without; a connection gets 1000 at once, until it is ended. Returns how many were ended with an error.
fn flood(siege: &Siege, total: usize, piece: impl Fn(&Wire, u32) -> Vec<u8>) -> usize {
    const BATCH: usize = 1000;
    let (mut said, mut ended) = (0, 0);
    for round in 0.. {
        if said >= total {
            break;
        }
        let address = &siege.manager.addresses[round % 2];
        let authenticated = round % 4 < 2;
        let wire = match authenticated {
            true => Wire::authenticated(address, &siege.manager.authkey()),
            false => Wire::connect(address, &[]),
        };
        let mut stream = 5;
        while said < total {
            let pieces: Vec<u8> = (0..BATCH as u32).flat_map(|number| piece(&wire, stream + 2 * number)).collect();
            stream += 2 * BATCH as u32;
            said += BATCH;
            if !wire.say(&pieces) || wire.heard().ended || stream > 100_000 {
                break;
            }
        }
        ended += usize::from(wire.heard().goaway.is_some());
    }
    ended
}

#[test]
fn streams_that_are_opened_and_reset_at_once() {
    let siege = siege();
    let round = || {
        let ended = flood(&siege, times("HOLDFAST_RAPID_RESETS", 100_000), |wire, stream| {
            let reset = http2_frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [wire.request(stream, 0, if stream % 4 == 1 { BEGIN } else { GET }, &[]), reset].concat()
        });
        assert!(ended > 0, "nobody was told to calm down");
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

#[test]
fn streams_that_the_manager_is_made_to_reset() {
    let siege = siege();
    let window = |stream: u32, by: u32| http2_frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    type Provoke<'a> = &'a (dyn Fn(u32) -> Vec<u8> + Sync);
    let provocations: [(&str, Provoke<'_>); 4] = [
        ("no window", &|stream| window(stream, 0)),
        ("too much window", &|stream| window(stream, u32::MAX >> 1)),
        ("a stream that depends on itself", &|stream| {
            http2_frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[7]].concat())
        }),
        ("data after the end", &|stream| {
            [http2_frame(kind::DATA, END_STREAM, stream, b""), http2_frame(kind::DATA, 0, stream, b"more")].concat()
        }),
    ];
    for (name, provoke) in provocations {
        let round = || {
            let ended = flood(&siege, times("HOLDFAST_MADE_RESETS", 10_000), |wire, stream| {
                [wire.request(stream, 0, GET, &[]), provoke(stream)].concat()
            });
            assert!(ended > 0, "{name}: nobody was told to calm down");
        };
        println!("{name}:");
        siege.withstands(16 * MIB, || siege.again_and_again(round));
    }
    siege.recovers();
}

#[test]
fn data_on_streams_that_are_over() {
    let siege = siege();
    // Over, never opened, and opened by nobody but servers.
    let round = || {
        for stream in [3, 99_999, 2, 0] {
            let wire = Wire::authenticated(&siege.manager.addresses[1], &siege.manager.authkey());
            let data = http2_frame(kind::DATA, 0, stream, b"x");
            for _ in 0..100 {
                if !wire.say(&data.repeat(1000)) {
                    break;
                }
            }
            // That stream 3 was just closed is something to be forgiven, until the connection's window is used up.
            if stream != 3 {
                assert!(wire.ended().goaway.is_some(), "stream {stream}: {:?}", wire.heard());
            }
        }
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

#[test]
fn headers_without_an_end() {
    let siege = siege();
    let round = || {
        for authenticated in [true, false] {
            for piece in [&b""[..], b"\x10", &[b'x'; 16 << 10]] {
                let wire = connect(&siege, authenticated);
                let first = http2_frame(kind::HEADERS, 0, 5, &header_block(&grpc_headers(GET)));
                assert!(wire.say(&first));
                let more = http2_frame(kind::CONTINUATION, 0, 5, piece).repeat(10);
                let said = (0..100_000).take_while(|_| wire.say(&more)).count();
                assert!(said < 100_000, "{} bytes at a time were taken for ever", piece.len());
                wire.ended();
            }
        }
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

#[test]
fn pings_and_settings_without_an_end() {
    let siege = siege();
    let frames = times("HOLDFAST_PINGS", 200_000);
    let ping = http2_frame(kind::PING, 0, 0, b"12345678");
    let settings = http2_frame(kind::SETTINGS, 0, 0, b"\x00\x04\x00\x00\x80\x00");
    for frame in [ping, settings] {
        let batch = frame.repeat(1000);
        let round = || {
            let wire = Wire::authenticated(&siege.manager.addresses[1], &siege.manager.authkey());
            let said = (0..frames / 1000).take_while(|_| wire.say(&batch)).count();
            // Who does not read the answers is not read either, or ended; nothing is kept for it.
            let deaf = Wire::deaf(&siege.manager.addresses[1]).unwrap();
            deaf.greet(&[]);
            let to_the_deaf = (0..frames / 1000 * 10).take_while(|_| deaf.say(&batch)).count();
            println!("{said} thousand were taken of one who reads, {to_the_deaf} of one who does not");
        };
        siege.withstands(16 * MIB, || siege.again_and_again(round));
    }
    siege.recovers();
}

#[test]
fn empty_data_without_an_end() {
    let siege = siege();
    let round = || {
        for path in [holdfast_proto::CONNECT_PATH, GET] {
            let wire = Wire::authenticated(&siege.manager.addresses[1], &siege.manager.authkey());
            assert!(wire.say(&wire.request(5, 0, path, &[])));
            let batch = http2_frame(kind::DATA, 0, 5, b"").repeat(1000);
            let said = (0..1000).take_while(|_| wire.say(&batch)).count();
            assert!(said < 1000, "a million empty frames were taken");
            assert_eq!(wire.ended().goaway, Some(ENHANCE_YOUR_CALM));
        }
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

#[test]
fn headers_that_are_many_or_huge_or_multiplied() {
    let siege = siege();
    let request = header_block(&grpc_headers(GET));
    // 4000 bytes that stand in the table once, and are named 12,000 times by one byte each.
    let multiplied = [indexed_header("x", &[b'y'; 3900]), request.clone(), vec![0x80 | 62; 12_000]].concat();
    let many = [request.clone(), header_block(&[("x", b"y")]).repeat(2000)].concat();
    let huge = [request, header_block(&[("x", &[b'y'; 1 << 20])])].concat();
    for (name, block) in [("multiplied", multiplied), ("many", many), ("huge", huge)] {
        let round = || {
            for authenticated in [true, false] {
                let wire = connect(&siege, authenticated);
                let _ = (5..405).step_by(2).take_while(|stream| wire.say(&in_frames(*stream, &block))).count();
                // Each is more than four times what a request may have.
                wire.ended();
            }
        };
        println!("{name}:");
        siege.withstands(6 * MIB, || siege.again_and_again(round));
    }
    siege.recovers();
}

/// With a token of its own, or without.
fn connect(siege: &Siege, authenticated: bool) -> Wire {
    let address = &siege.manager.addresses[1];
    match authenticated {
        true => Wire::authenticated(address, &siege.manager.authkey()),
        false => Wire::connect(address, &[]),
    }
}

/// A list of headers in as many frames as it takes.
fn in_frames(stream: u32, block: &[u8]) -> Vec<u8> {
    const LARGEST: usize = 16 << 10;
    let chunks = block.chunks(LARGEST).enumerate();
    let frames = chunks.map(|(at, chunk)| {
        let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let flags = if (at + 1) * LARGEST >= block.len() { END_HEADERS } else { 0 };
        http2_frame(kind, flags, stream, chunk)
    });
    frames.flatten().collect()
}

#[test]
fn paths_and_metadata_that_make_no_request() {
    let siege = siege();
    siege.withstands(16 * MIB, || siege.again_and_again(|| paths_and_metadata(&siege)));
    siege.recovers();
}

/// Requests that are none, one after the other, each of which is answered or costs its sender the connection.
fn paths_and_metadata(siege: &Siege) {
    let connect = || Wire::authenticated(&siege.manager.addresses[0], &siege.manager.authkey());
    let (mut wire, mut stream) = (connect(), 5);
    // What is no HTTP/2 at all may cost its sender the connection; it must not stay without an answer.
    let mut answer = |block: &[u8]| {
        stream += 2;
        wire.say(&in_frames(stream, block));
        wire.say(&http2_frame(kind::DATA, END_STREAM, stream, b""));
        let ended = wire.until("an answer, a reset, or the end", |heard| {
            let answered = heard.answered.contains(&stream) || heard.reset.contains_key(&stream);
            (answered || heard.ended).then_some(!answered)
        });
        if ended {
            (wire, stream) = (connect(), 5);
        }
        ended
    };
    let long = format!("/{}", "p".repeat(7 << 10));
    let longer = format!("/{}", "p".repeat(9 << 10));
    let slashes = "/".repeat(4 << 10);
    for path in
        ["", "*", "/", &slashes, &long, &longer, "/\u{1f4a3}", "/%zz", "http://x/y", "/holdfast.v1.AuthService/"]
    {
        assert!(!answer(&header_block(&grpc_headers(path))), "{path:?} cost the connection");
    }
    for more in [
        ("holdfast-token-bin", &b"AAAA"[..]),
        ("holdfast-token-bin", b"*not base64*"),
        ("content-type", b"application/grpc"),
        ("te", b"gzip"),
        ("grpc-timeout", b"1S"),
        (":path", b"/another"),
        (":method", b"GET"),
        ("connection", b"close"),
        ("Upper-Case", b"x"),
        ("", b"x"),
        ("x", b"\x00\r\n"),
    ] {
        // Twice, which doubles what is there already or is new.
        let headers = [grpc_headers(GET), vec![more, more]].concat();
        answer(&header_block(&headers));
    }
}

#[test]
fn a_preface_byte_by_byte() {
    const CONNECTIONS: usize = 400;
    let timeout = Duration::from_secs(2);
    let siege = Siege::new(Setup::new(program!()).setting("handshake_timeout", "2s"));
    let preface = [PREFACE, &http2_frame(kind::SETTINGS, 0, 0, b"")].concat();
    // Twenty bytes of each within the time.
    let due = |after: Duration| {
        let bytes = after.as_secs_f64() / timeout.as_secs_f64() * 20.0 * CONNECTIONS as f64;
        (bytes as usize).min(preface.len() * CONNECTIONS)
    };
    let round = || {
        let wires: Vec<Wire> =
            (0..CONNECTIONS).map(|number| Wire::silent(&siege.manager.addresses[number % 2]).unwrap()).collect();
        let began = Instant::now();
        // A byte of each now and then, one after the other; who waits for the whole waits for longer than there is time.
        let mut said = 0;
        until("the manager hangs up on all of them", || {
            while said < due(began.elapsed()) {
                wires[said % CONNECTIONS].say(&preface[said / CONNECTIONS..][..1]);
                said += 1;
            }
            wires.iter().all(|wire| wire.heard().ended).then_some(())
        });
        println!("hung up after {:?}, {said} bytes of {}", began.elapsed(), preface.len() * CONNECTIONS);
        assert!(said < preface.len() * CONNECTIONS, "they were given the time to say it all");
    };
    siege.withstands(32 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

#[test]
fn ten_thousand_silent_connections() {
    /// What this process needs beside them.
    const OTHERS: u64 = 500;
    raise_file_limit();
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = files.saturating_sub(OTHERS).min(10_000);
    println!("{connections} connections, as {files} files may be open");
    let siege = siege();
    // The manager closes most of them, and hears of it only when this end does too.
    let come = |number: usize| Wire::deaf(&siege.manager.addresses[number % 2]).unwrap();
    let silent = siege.withstands(64 * MIB, || crowd(&siege, connections as usize, come));
    let used = siege.used();
    assert!(used["unauthenticated"] <= Some(1024), "{used:?}");
    drop(silent);
    siege.recovers();
}

/// So many who come, and others in place of the oldest for as long as it takes to see what their coming does.
fn crowd(siege: &Siege, many: usize, come: impl Fn(usize) -> Wire) -> VecDeque<Wire> {
    let mut crowd: VecDeque<Wire> = (0..many).map(&come).collect();
    let mut next = many;
    siege.again_and_again(|| {
        crowd.pop_front();
        crowd.push_back(come(next));
        next += 1;
    });
    crowd
}

#[test]
fn handshakes_that_are_not_finished() {
    let siege = siege();
    let begin = |number: usize| {
        let wire = Wire::deaf(&siege.manager.addresses[number % 2]).unwrap();
        wire.greet(&[]);
        wire.say(&unary(&wire, 1, BEGIN, &BeginRequest { client_first: handshake(&Binding::None).0 }));
        wire
    };
    // 1024 connections of HTTP/2 at once.
    let half = siege.withstands(96 * MIB, || crowd(&siege, 3000, begin));
    assert!(siege.used()["unauthenticated"] <= Some(1024));
    drop(half);
    siege.recovers();
}

fn unary(wire: &Wire, stream: u32, path: &str, request: &impl prost::Message) -> Vec<u8> {
    let mut body = bytes::BytesMut::new();
    put_message(&mut body, request);
    [wire.request(stream, 0, path, &[]), http2_frame(kind::DATA, END_STREAM, stream, &body)].concat()
}

/// Attempts to authenticate: the first half of one with a proof that is well-formed and wrong, or both halves at once with
/// one that is not.
fn attempt(address: &Address, wrong: &Authkey, well_formed: bool) -> Wire {
    let (client_first, awaiting) = handshake(&Binding::None);
    let begin = BeginRequest { client_first };
    if well_formed {
        let wire = Wire::connect(address, &[]);
        let begun: holdfast_proto::BeginResponse = wire.ask(1, BEGIN, &begin);
        let (client_final, _) = awaiting.prove(&begun.server_first, wrong).unwrap();
        wire.say(&unary(&wire, 3, FINISH, &FinishRequest { client_final }));
        return wire;
    }
    let wire = Wire::deaf(address).unwrap();
    wire.greet(&[]);
    let finish = FinishRequest { client_final: "c=biws,r=guessed,p=AAAA".to_owned() };
    wire.say(&[unary(&wire, 1, BEGIN, &begin), unary(&wire, 3, FINISH, &finish)].concat());
    wire
}

#[test]
fn wrong_proofs() {
    /// How many wait for their answer at once: more than there are places for.
    const AT_ONCE: usize = 2000;
    /// Of how many is looked whether they are answered.
    const WATCHED: usize = 200;
    let siege = siege();
    let wrong = Authkey::from_random([1; 32]);
    let attempts = times("HOLDFAST_WRONG_PROOFS", 10_000);
    let guess = || {
        let (mut open, mut watched) = (VecDeque::new(), Vec::new());
        for number in 0..attempts {
            let address = &siege.manager.addresses[number % 2];
            match number % 100 {
                0 | 51 if watched.len() < WATCHED => watched.push(attempt(address, &wrong, true)),
                _ => open.push_back(attempt(address, &wrong, false)),
            }
            if open.len() > AT_ONCE {
                open.pop_front();
            }
            if number % 1000 == 999 {
                // Who has the authkey is served at once.
                let honest = siege.manager.connect_blocking();
                honest.status().unwrap();
            }
        }
        (open, watched)
    };
    let began = Instant::now();
    let (open, watched) = siege.withstands(96 * MIB, guess);
    // Only a guess that is answered tells something. All guesses from one place together have ten answers a second.
    let answered = watched.iter().filter(|wire| wire.heard().answered.contains(&3)).count();
    println!("{attempts} attempts in {:?}; {answered} of {} were answered", began.elapsed(), watched.len());
    assert!(answered < watched.len() / 2, "{answered} of {} guesses were answered", watched.len());
    drop((open, watched));
    siege.recovers();
}
