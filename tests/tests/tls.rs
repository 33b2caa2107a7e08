//! TLS: what clients and managers say over it, and what those learn and can do who stand between.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join_all};
use holdfast::{Address, Authkey, ConnectError, Error, Options, blocking};
use holdfast_proto::frame::{self, Deframer};
use holdfast_proto::scram::{Binding, Failure};
use holdfast_proto::{BeginRequest, BeginResponse, FinishRequest, FinishResponse};
use holdfast_tests::{
    Between, Ended, Manager, PATIENCE, Raw, Setup, Stopped, acceptor, certificate, connect_tls, handshake, program,
    until_async, within,
};
use http::{HeaderMap, HeaderValue, Response};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const UNAUTHENTICATED: Option<i32> = Some(16);
const BEGIN: &str = "/holdfast.v1.AuthService/Begin";

fn start() -> Manager {
    Setup::new(program!()).only_tls().tcp().start()
}

fn authority(address: &Address) -> &str {
    match address {
        Address::Http(authority) | Address::Https(authority) => authority,
        Address::Unix(_) => panic!("{address} is no port"),
    }
}

/// The same with another address.
fn through(manager: &Manager, address: &Address) -> Options {
    manager.options().address(address.clone())
}

/// Connecting fails with this library, and then with the other.
async fn fails_to_connect(options: &Options) -> [ConnectError; 2] {
    let options = options.clone();
    let first = holdfast::Manager::connect_with(&options).await.unwrap_err();
    let blocking = tokio::task::spawn_blocking(move || blocking::Manager::connect_with(&options).unwrap_err());
    let errors = [first, blocking.await.unwrap()];
    errors.map(|error| match error {
        Error::Connect(error) => error,
        error => panic!("{error:?}"),
    })
}

/// Waits until no session is left but the one of a client that asks for it.
async fn is_alone(manager: &Manager) {
    let witness = manager.connect().await;
    let alone = async || (witness.status().await.unwrap().sessions == 1).then_some(());
    until_async("the other sessions end", alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_size_come_back_through_the_async_library() {
    let manager = start();
    let client = manager.connect().await;
    let dict: holdfast::Dict<u64, String> = client.new_dict().await.unwrap();
    // Around what fits one record of TLS and one frame of HTTP/2, and several of both at once.
    let sizes = [0, 1, 100, 16_300, 16_384, 16_393, 16_400, 70_000, 1 << 20, 3 << 20];
    let value =
        |size: usize| -> String { (0..size).map(|at| char::from(b'a' + ((at * 31 + size) % 23) as u8)).collect() };
    try_join_all((0..).zip(sizes).map(|(key, size)| {
        let dict = &dict;
        async move { dict.set(&key, &value(size)).await }
    }))
    .await
    .unwrap();
    let read = join_all((0..).zip(sizes).map(|(key, size)| {
        let dict = &dict;
        async move { (dict.get(&key).await.unwrap().unwrap(), size) }
    }));
    for (read, size) in within("every value", read).await {
        assert!(read == value(size), "{size} bytes");
    }
    let items: Vec<(u64, String)> = dict.items().await.unwrap();
    assert_eq!(items.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), sizes);
    client.close().await;
}

#[test]
fn threads_of_one_blocking_session_do_not_wait_for_what_has_come() {
    const THREADS: u64 = 8;
    let manager = start();
    let client = manager.connect_blocking();
    let counter: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    let large: blocking::Dict<u64, String> = client.new_dict().unwrap();
    // Small replies beside large ones: a record that was decrypted holds replies of several threads.
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (counter, large) = (&counter, &large);
            scope.spawn(move || {
                for round in 0..40 {
                    counter.add(&0, 1).unwrap();
                    if round % 8 == thread {
                        let value = thread.to_string().repeat(300_000);
                        large.set(&thread, &value).unwrap();
                        assert!(large.get(&thread).unwrap() == Some(value), "thread {thread}");
                    }
                }
            });
        }
    });
    assert_eq!(counter.get(&0).unwrap(), Some(THREADS * 40));
    client.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_keep_their_deadlines_and_sessions_survive_them() {
    const SHORT: Duration = Duration::from_millis(200);
    let manager = start();
    let (client, blocking) = (manager.connect().await, manager.connect_blocking());
    let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let other: blocking::Dict<u64, String> = blocking.new_dict().unwrap();
    let stopped = Stopped::new(&manager);
    let began = Instant::now();
    let late = dict.with_timeout(Some(SHORT)).add(&1, 1).await.unwrap_err();
    assert!(matches!(late, Error::Timeout { .. }), "{late:?}");
    // One that is cancelled, and one whose request does not fit what the socket takes.
    assert!(tokio::time::timeout(SHORT, dict.add(&1, 1)).await.is_err());
    let (other, late) = tokio::task::spawn_blocking(move || {
        let late = other.with_timeout(Some(SHORT)).set(&1, &"7".repeat(4_000_000)).unwrap_err();
        (other, late)
    })
    .await
    .unwrap();
    assert!(matches!(late, Error::Timeout { .. }), "{late:?}");
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    drop(stopped);
    assert_eq!(dict.add(&1, 1).await.unwrap(), 3, "all were received in the end");
    tokio::task::spawn_blocking(move || {
        other.set(&2, &"8".to_owned()).unwrap();
        assert_eq!(other.get(&2).unwrap(), Some("8".to_owned()));
        drop((other, blocking));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_names_an_address_with_tls() {
    let manager = start();
    let client = manager.connect().await;
    let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    dict.set(&1, &2).await.unwrap();
    let token = dict.token(1, Duration::from_secs(600)).await.unwrap().to_string();
    assert!(token.contains("@https://127.0.0.1:"), "{token}");
    manager.worker(&["add", "of another process", "0"]).finish();
    let token = token.parse().unwrap();
    let other = holdfast::Manager::connect_with(&through(&manager, holdfast::Token::address(&token))).await.unwrap();
    let dict: holdfast::Dict<u64, u64> = other.dict_from_token(&token).await.unwrap();
    assert_eq!(dict.get(&1).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_signed_otherwise_bind_too() {
    for (algorithm, length) in [(&rcgen::PKCS_ECDSA_P256_SHA256, 32), (&rcgen::PKCS_ECDSA_P384_SHA384, 48)] {
        let manager = Setup::new(program!()).only_tls().certificate(certificate(algorithm)).start();
        let (_, binding) = connect_tls(authority(&manager.addresses[0])).await.unwrap();
        assert!(matches!(&binding, Binding::TlsServerEndPoint(hash) if hash.len() == length), "{binding:?}");
        manager.connect().await.status().await.unwrap();
        manager.connect_blocking().status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_learns_neither_key_nor_token_nor_values() {
    const SECRET: &str = "a value that nobody else may read";
    let manager = start();
    // The same over plain text, so that it shows what would be heard.
    for (address, is_heard) in [(&manager.addresses[1], true), (&manager.addresses[0], false)] {
        let between = Between::listening(address).await;
        let client = holdfast::Manager::connect_with(&through(&manager, &between.address)).await.unwrap();
        let dict: holdfast::Dict<String, String> = client.dict(SECRET).await.unwrap();
        dict.set(SECRET, &SECRET.to_owned()).await.unwrap();
        assert_eq!(dict.get(SECRET).await.unwrap().as_deref(), Some(SECRET));
        drop(dict);
        client.close().await;
        let mut raw = Raw::connect(&between.address).await;
        raw.authenticate(&manager.authkey()).await.unwrap();
        let token = raw.token.clone().unwrap();
        let has = |heard: &[u8], what: &[u8]| heard.windows(what.len()).any(|window| window == what);
        let (said, heard) = (between.from_clients(), between.from_manager());
        assert!(!said.is_empty() && !heard.is_empty());
        for heard in [&said, &heard] {
            assert!(!has(heard, manager.authkey().as_str().as_bytes()), "the authkey never travels");
            assert_eq!(has(heard, SECRET.as_bytes()), is_heard);
        }
        assert_eq!(has(&heard, &token), is_heard);
        drop(raw);
    }
}

/// The streams that a client opened in what it said in HTTP/2.
fn requests(mut said: &[u8]) -> usize {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let mut requests = 0;
    said = said.get(PREFACE..).unwrap_or_default();
    while let [high, middle, low, kind, ..] = *said {
        requests += usize::from(kind == HEADERS);
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        said = said.get(9 + length..).unwrap_or_default();
    }
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_decrypts_in_between_gets_no_proof_that_helps_and_no_call() {
    let manager = start();
    let between = Between::decrypting(&manager.addresses[0]).await;
    for error in fails_to_connect(&through(&manager, &between.address)).await {
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Unproven { failure: Failure::Rejected, .. }), "{error:?}");
        let says = [&between.address.to_string(), "authkey", "HOLDFAST_AUTHKEY_FILE", "in between"];
        assert!(says.iter().all(|says| text.contains(*says)), "{text}");
    }
    // Two requests of each client: Begin and Finish. The tokens and the sessions were never asked for.
    let said = between.from_clients();
    let ends = said.windows(24).filter(|window| window.starts_with(b"PRI * HTTP/2.0")).count();
    assert_eq!(ends, 2, "both have come that far");
    let second = said.windows(14).rposition(|window| window == b"PRI * HTTP/2.0").unwrap();
    assert_eq!((requests(&said[..second]), requests(&said[second..])), (2, 2));
    is_alone(&manager).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_the_managers_certificate_must_have_its_key() {
    // The proofs would fit: what stops him is the signature of the TLS handshake.
    let manager = start();
    let between = Between::imitating(&manager.addresses[0]).await;
    for error in fails_to_connect(&through(&manager, &between.address)).await {
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Protocol { .. }), "{error:?}");
        assert!(text.contains("TLS handshake") && text.contains("BadSignature"), "{text}");
    }
    assert_eq!(between.from_clients(), b"", "not even the beginning of a proof");
    is_alone(&manager).await;
}

#[tokio::test]
async fn a_proof_for_another_certificate_is_of_no_use() {
    let manager = start();
    let (_, right) = connect_tls(authority(&manager.addresses[0])).await.unwrap();
    let Binding::TlsServerEndPoint(hash) = right.clone() else { panic!("{right:?}") };
    let wrong = Binding::TlsServerEndPoint(hash.iter().map(|byte| !byte).collect());
    let attribute = |hash: &[u8]| {
        let data = [b"p=tls-server-end-point,,", hash].concat();
        format!("c={},", BASE64_STANDARD.encode(data))
    };
    // As it was given, and with the certificate in it replaced by the right one.
    for replace in [false, true] {
        let mut raw = Raw::connect(&manager.addresses[0]).await;
        raw.binding = wrong.clone();
        let (mut proof, _) = raw.begin(&manager.authkey()).await.unwrap();
        if replace {
            let Binding::TlsServerEndPoint(wrong) = &wrong else { panic!("{wrong:?}") };
            assert!(proof.starts_with(&attribute(wrong)), "{proof}");
            proof = proof.replace(&attribute(wrong), &attribute(&hash));
        }
        assert_eq!(raw.finish(proof).await.unwrap_err().code(), UNAUTHENTICATED);
        raw.closed().await;
    }
    let mut raw = Raw::connect(&manager.addresses[0]).await;
    raw.authenticate(&manager.authkey()).await.unwrap();
}

#[tokio::test]
async fn the_kind_of_listener_says_what_proofs_are_bound_to() {
    let manager = start();
    let [tls, plain] = &manager.addresses[..] else { panic!("two addresses") };
    let (_, binding) = connect_tls(authority(tls)).await.unwrap();
    let bare = "n=manager,r=abcdefghijklmnopqrstuvwx";
    for (address, header, is_taken) in [
        (tls, "n,,", false),
        (tls, "y,,", false),
        (tls, "p=tls-unique,,", false),
        (tls, "p=tls-exporter,,", false),
        (tls, "p=tls-server-end-point,,", true),
        (plain, "n,,", true),
        (plain, "y,,", false),
        (plain, "p=tls-server-end-point,,", false),
    ] {
        let raw = Raw::connect(address).await;
        let begun = raw.unary(BEGIN, &BeginRequest { client_first: format!("{header}{bare}") }).await;
        match begun {
            Ok(_) => assert!(is_taken, "{header} at {address}"),
            Err(ended) => {
                let Ended::Status { code: 16, message } = ended else { panic!("{ended}") };
                assert_eq!(message, "authentication failed");
                assert!(!is_taken, "{header} at {address}");
                raw.closed().await;
            }
        }
    }
    // A whole run without the binding, and one on plain text with it.
    for (address, binding) in [(tls, Binding::None), (plain, binding)] {
        let mut raw = Raw::connect(address).await;
        raw.binding = binding;
        assert_eq!(raw.authenticate(&manager.authkey()).await.unwrap_err().code(), UNAUTHENTICATED);
    }
}

#[tokio::test]
async fn a_handshake_that_was_recorded_inside_tls_cannot_be_replayed() {
    let manager = start();
    let first = Raw::connect(&manager.addresses[0]).await;
    let (client_first, awaiting) = handshake(&first.binding);
    let begin = BeginRequest { client_first };
    let challenge = BeginResponse::decode(first.unary(BEGIN, &begin).await.unwrap()).unwrap().server_first;
    let (proof, awaiting) = awaiting.prove(&challenge, &manager.authkey()).unwrap();
    let finished = first.finish(proof.clone()).await.unwrap();
    awaiting.confirm(&finished.server_final).unwrap();
    let second = Raw::connect(&manager.addresses[0]).await;
    second.unary(BEGIN, &begin).await.unwrap();
    assert_eq!(second.finish(proof).await.unwrap_err().code(), UNAUTHENTICATED);
    second.closed().await;
    // The token of the first connection opens nothing on another one.
    let third = Raw::connect(&manager.addresses[0]).await;
    let opened = third.open(holdfast_proto::CONNECT_PATH, Some(&finished.token.into())).await;
    assert_eq!(opened.unwrap_err().code(), UNAUTHENTICATED);
}

/// Poses as a manager, without the authkey: it takes every proof and signs with nothing. Notes what it was asked.
async fn pose(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
    let acceptor = acceptor(&certificate(&rcgen::PKCS_ECDSA_P256_SHA256));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, asked) = (acceptor.clone(), asked.clone());
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                asked.lock().unwrap().push(request.uri().to_string());
                let asked_for = request.uri().path().to_owned();
                let mut deframer = Deframer::new(64 << 10);
                let mut body = request.into_body();
                // The connection must be polled while its streams are.
                tokio::spawn(async move {
                    while let Some(Ok(chunk)) = body.data().await {
                        deframer.push(chunk);
                    }
                    let mut answer = BytesMut::new();
                    let message = deframer.next().unwrap().unwrap_or_default();
                    if asked_for == BEGIN {
                        let nonce = BeginRequest::decode(message).unwrap().client_first;
                        let nonce = nonce.rsplit_once("r=").unwrap().1.to_owned();
                        let salt = BASE64_STANDARD.encode([1; 16]);
                        let server_first = format!("r={nonce}abcdefghijklmnopqrstuvwx,s={salt},i=4096");
                        frame::put_message(&mut answer, &BeginResponse { server_first });
                    } else {
                        let server_final = format!("v={}", BASE64_STANDARD.encode([2; 32]));
                        FinishRequest::decode(message).unwrap();
                        frame::put_message(
                            &mut answer,
                            &FinishResponse { server_final, token: Bytes::from_static(&[3; 32]).into() },
                        );
                    }
                    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut send = respond.send_response(head, false).unwrap();
                    send.send_data(answer.freeze(), false).unwrap();
                    let trailers: HeaderMap =
                        [(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]
                            .into_iter()
                            .collect();
                    send.send_trailers(trailers).unwrap();
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_sign_gets_neither_the_token_back_nor_a_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Https(listener.local_addr().unwrap().to_string());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let posing = tokio::spawn(pose(listener, asked.clone()));
    let options = Options::default().address(address).authkey(Authkey::from_random([1; 32]));
    for error in fails_to_connect(&options).await {
        assert!(matches!(error, ConnectError::Unproven { failure: Failure::WrongServer, .. }), "{error:?}");
        assert!(error.to_string().contains("in between"), "{error}");
    }
    posing.abort();
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4, "{asked:?}");
    for pair in asked.chunks(2) {
        assert!(pair[0].starts_with("https://") && pair[0].ends_with("/Begin"), "{asked:?}");
        assert!(pair[1].ends_with("/Finish"), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_scheme_is_told_with_the_right_one() {
    let manager = start();
    let [tls, plain] = &manager.addresses[..] else { panic!("two addresses") };
    let swapped = [
        (Address::Http(authority(tls).to_owned()), "write https:// instead of http://"),
        (Address::Https(authority(plain).to_owned()), "write http:// instead of https://"),
    ];
    for (address, advice) in swapped {
        for error in fails_to_connect(&through(&manager, &address)).await {
            let text = error.to_string();
            assert!(text.contains(advice) && text.contains(&address.to_string()), "{text}");
        }
    }
    // As curl says it.
    let mut http1 = TcpStream::connect(authority(tls)).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", http1.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(head.contains(&format!("content-length: {}\r", body.len())) || head.ends_with(&body.len().to_string()));
    assert!(body.contains("https://"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_without_a_word_of_tls_is_a_lost_session() {
    let manager = start();
    let between = Between::listening(&manager.addresses[0]).await;
    let options = through(&manager, &between.address).reconnect_timeout(Duration::ZERO);
    let client = holdfast::Manager::connect_with(&options).await.unwrap();
    let blocking = tokio::task::spawn_blocking(move || blocking::Manager::connect_with(&options).unwrap());
    let blocking = blocking.await.unwrap();
    let witness = manager.connect().await;
    let before = witness.status().await.unwrap();
    assert_eq!(before.sessions, 3);
    let _nameless: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    between.cut();
    for error in [
        client.status().await.unwrap_err(),
        tokio::task::spawn_blocking(move || blocking.status().unwrap_err()).await.unwrap(),
    ] {
        assert!(matches!(error, Error::Ended { .. }), "{error:?}");
        assert!(error.to_string().contains("open the objects again"), "{error}");
    }
    until_async("the manager gives back what they had", async || {
        let status = witness.status().await.unwrap();
        (status.sessions == 1 && status.objects == before.objects).then_some(())
    })
    .await;
}

/// The lengths of the records of TLS in what was said.
fn records(mut said: &[u8]) -> Vec<usize> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = *said {
        let length = usize::from(u16::from_be_bytes([high, low]));
        records.push(length);
        said = said.get(5 + length..).unwrap_or_default();
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_well_says_so_in_tls_too() {
    /// An alert: two bytes, the kind of the record, and the tag of the cipher. No frame of HTTP/2 is that short.
    const ALERT: usize = 2 + 1 + 16;
    let manager = start();
    for ends in ["close", "drop", "blocking close", "blocking drop"] {
        let between = Between::listening(&manager.addresses[0]).await;
        let options = through(&manager, &between.address);
        match ends {
            "close" => holdfast::Manager::connect_with(&options).await.unwrap().close().await,
            "drop" => drop(holdfast::Manager::connect_with(&options).await.unwrap()),
            _ => {
                let end = move || {
                    let client = blocking::Manager::connect_with(&options).unwrap();
                    if ends == "blocking close" { client.close() } else { drop(client) }
                };
                tokio::task::spawn_blocking(end).await.unwrap();
            }
        }
        let is_over = |said: &[u8]| records(said).last() == Some(&ALERT);
        until_async(ends, async || is_over(&between.from_clients()).then_some(())).await;
        until_async(ends, async || is_over(&between.from_manager()).then_some(())).await;
    }
    is_alone(&manager).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_is_not_ended_is_cut_off_and_holds_up_nobody() {
    let manager = Setup::new(program!()).only_tls().limit("authenticate_ms", 2000).limit("threads", 1).start();
    // The head of a ClientHello of 512 bytes; nothing at all; and an end that never comes.
    let beginnings: [&[u8]; 3] = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", b"PRI * HT"];
    let began = Instant::now();
    let mut halves = Vec::new();
    for beginning in beginnings.iter().cycle().take(30) {
        let mut half = TcpStream::connect(authority(&manager.addresses[0])).await.unwrap();
        half.write_all(beginning).await.unwrap();
        halves.push(half);
    }
    let client = manager.connect().await;
    client.status().await.unwrap();
    for mut half in halves {
        // A reset is an end too.
        let _ = within("the manager hangs up", half.read_to_end(&mut Vec::new())).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    // Who has shaken hands in TLS and then says nothing has no more time.
    let (mut silent, _) = connect_tls(authority(&manager.addresses[0])).await.unwrap();
    let _ = within("the manager hangs up", silent.read_to_end(&mut Vec::new())).await;
    client.status().await.unwrap();
}
