//! What leaves by an `Outbox` comes to an `Inbox`, through HTTP/2's flow control as it is.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use holdfast_proto::frame::{Out as _, Pieces};
use holdfast_stream::{Inbox, Outbox, Sent};
use http::Request;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

/// Nothing here waits for anything but the other end.
const LIMIT: Duration = Duration::from_secs(20);

/// The least that HTTP/2 lets a connection begin with.
const CONNECTION: u32 = 65_535;

/// How the receiving end is made.
#[derive(Clone, Copy, Debug)]
struct Windows {
    stream: u32,
    connection: u32,
}

/// One stream from a client to a server over a pipe in memory.
struct Pair {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// The receiving end says that the windows of its streams have another size now.
    resize: UnboundedSender<u32>,
    /// What else keeps the stream open.
    _rest: Box<dyn std::any::Any>,
}

/// The connections run until the test ends, each as a task of its own.
async fn pair(windows: Windows, pipe: usize) -> Pair {
    let (near, far) = tokio::io::duplex(pipe);
    let accept = async {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(windows.stream).initial_connection_window_size(windows.connection);
        let mut server = builder.handshake::<_, Bytes>(far).await.expect("a client");
        let (request, respond) = server.accept().await.expect("a request").expect("a stream");
        let (resize, mut sizes) = unbounded_channel::<u32>();
        spawn_local(async move {
            loop {
                tokio::select! {
                    more = server.accept() => assert!(more.is_none_or(|more| more.is_err()), "one stream is all"),
                    Some(size) = sizes.recv() => server.set_initial_window_size(size).expect("one at a time"),
                    else => break,
                }
                if sizes.is_closed() && sizes.is_empty() {
                    // Nobody asks any more, but what was sent must still arrive.
                    while server.accept().await.is_some() {}
                    break;
                }
            }
        });
        (request.into_body(), respond, resize)
    };
    let connect = async {
        let (mut client, connection) = h2::client::handshake(near).await.expect("a server");
        spawn_local(connection);
        client = client.ready().await.expect("it is there");
        let request = Request::post("http://localhost/").body(()).expect("a request");
        let (response, send) = client.send_request(request, false).expect("the first one");
        (client, response, send)
    };
    let ((recv, respond, resize), (client, response, send)) = tokio::join!(accept, connect);
    Pair { send, recv, resize, _rest: Box::new((respond, client, response)) }
}

/// Runs a test on one thread, for so long at most.
fn run<F: Future>(test: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async { timeout(LIMIT, test).await.expect("nothing hangs") })
}

/// Bytes of which each tells its place.
fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Sends everything that is to leave.
async fn flush(outbox: &mut Outbox, send: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    poll_fn(|cx| outbox.poll_flush(cx, send)).await
}

/// Whether everything that can leave has left, and more is waiting.
async fn is_stuck(outbox: &mut Outbox, send: &mut SendStream<Bytes>) -> bool {
    poll_fn(|cx| Poll::Ready(outbox.poll_flush(cx, send).is_pending())).await
}

/// Reads so many bytes, and lets others run so often before each piece.
async fn read(inbox: &mut Inbox, len: usize, rests: usize) -> Bytes {
    let mut got = BytesMut::new();
    while got.len() < len {
        for _ in 0..rests {
            yield_now().await;
        }
        got.extend_from_slice(&poll_fn(|cx| inbox.poll_data(cx)).await.expect("more").expect("no error"));
    }
    got.freeze()
}

/// Reads so many bytes, and makes room for others with each piece.
async fn read_at_once(mut recv: RecvStream, len: usize) -> Bytes {
    let mut got = BytesMut::new();
    while got.len() < len {
        yield_now().await;
        let piece = poll_fn(|cx| recv.poll_data(cx)).await.expect("more").expect("no error");
        recv.flow_control().release_capacity(piece.len()).expect("it was read");
        got.extend_from_slice(&piece);
    }
    got.freeze()
}

/// Others run until they have nothing to do. There is nothing that could tell: each of the two connections has something to
/// do for each thing that the other did, and all that they say here are a few frames.
async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

fn any_windows() -> impl Strategy<Value = Windows> {
    let stream = prop_oneof![1u32..20, 20u32..5000, Just(4096), Just(8192), Just(65_535), Just(1 << 20)];
    (stream, prop_oneof![Just(CONNECTION), Just(1 << 20)])
        .prop_map(|(stream, connection)| Windows { stream, connection })
}

/// Lengths of what is put, one after the other, and how often others run before the next.
fn any_frames() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let len = prop_oneof![8 => 1usize..300, 2 => 4000usize..4200, 1 => 60_000usize..140_000];
    prop::collection::vec((len, 0usize..8), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever the windows and whoever is slow: it arrives, in order.
    #[test]
    fn everything_arrives_in_order(
        windows in any_windows(),
        pipe in prop_oneof![Just(64usize), Just(1 << 16)],
        frames in any_frames(),
        rests in 0usize..6,
    ) {
        // A byte at a time through a window of one takes a while.
        let most = windows.stream as usize * 2000;
        let all = bytes(frames.iter().map(|(len, _)| len).sum::<usize>().min(most));
        let sent = all.clone();
        let got = run(async {
            let Pair { mut send, recv, resize: _resize, _rest } = pair(windows, pipe).await;
            let len = sent.len();
            let write = async {
                let (mut outbox, mut rest) = (Outbox::default(), sent);
                for (len, rests) in frames {
                    outbox.frames().push(rest.split_to(len.min(rest.len())));
                    let _ = is_stuck(&mut outbox, &mut send).await;
                    for _ in 0..rests {
                        yield_now().await;
                    }
                }
                flush(&mut outbox, &mut send).await.expect("nobody resets");
                assert!(outbox.is_empty());
                send
            };
            let mut inbox = Inbox::from(recv);
            let (_send, got) = tokio::join!(write, read(&mut inbox, len, rests));
            got
        });
        prop_assert!(got == all, "{} bytes of {}", got.len(), all.len());
    }
}

/// Sizes of the window, each larger than the one before.
fn any_sizes() -> impl Strategy<Value = Vec<u32>> {
    let more = prop_oneof![1u32..100, 1000u32..10_000, 60_000u32..80_000];
    (1u32..5000, prop::collection::vec(more, 0..5)).prop_map(|(first, more)| {
        let mut sizes = vec![first];
        sizes.extend(more.into_iter().scan(first, |size, more| {
            *size += more;
            Some(*size)
        }));
        sizes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The other end makes its window larger, as those do that measure what the network carries, while room is known and while
    /// none is. Where it makes it smaller and larger again h2 stands still now and then, also without an outbox.
    #[test]
    fn everything_arrives_in_order_while_the_window_grows(
        sizes in any_sizes(),
        pipe in prop_oneof![Just(64usize), Just(1 << 16)],
        len in 1000usize..20_000,
        step in 1usize..2000,
    ) {
        let all = bytes(len);
        let sent = all.clone();
        let got = run(async {
            let Pair { mut send, recv, resize, _rest } = pair(window(sizes[0]), pipe).await;
            let write = async {
                let mut outbox = Outbox::default();
                for part in sent.chunks(step) {
                    outbox.frames().slice(part);
                    let _ = is_stuck(&mut outbox, &mut send).await;
                    yield_now().await;
                }
                flush(&mut outbox, &mut send).await.expect("nobody resets");
            };
            let change = async {
                for &size in &sizes[1..] {
                    resize.send(size).expect("the server runs");
                    // A size is not changed again before the other end has taken note of it.
                    settle().await;
                }
            };
            let ((), (), got) = tokio::join!(write, change, read_at_once(recv, len));
            got
        });
        prop_assert!(got == all, "{} bytes of {}", got.len(), all.len());
    }
}

/// A window of `stream` bytes, and room for all on the connection.
fn window(stream: u32) -> Windows {
    Windows { stream, connection: 1 << 20 }
}

#[test]
fn windows_can_be_used_up_to_the_last_byte_and_no_further() {
    for size in [1usize, 100, 4095, 4096, 4097, 8192, 50_000] {
        run(async {
            let Pair { mut send, recv, resize: _resize, _rest } = pair(window(size as u32), 1 << 16).await;
            let (mut outbox, all) = (Outbox::default(), bytes(2 * size + 1));
            outbox.frames().slice(&all[..size - 1]);
            assert!(!is_stuck(&mut outbox, &mut send).await, "there is room for {size}");
            outbox.frames().slice(&all[size - 1..size]);
            flush(&mut outbox, &mut send).await.expect("nobody resets");
            settle().await;
            outbox.frames().slice(&all[size..]);
            assert!(is_stuck(&mut outbox, &mut send).await, "the window of {size} is used up");
            settle().await;
            assert_eq!(outbox.len(), size + 1, "nothing more left");
            let mut inbox = Inbox::from(recv);
            let rest = flush(&mut outbox, &mut send);
            let (flushed, got) = tokio::join!(rest, read(&mut inbox, all.len(), 1));
            flushed.expect("nobody resets");
            assert_eq!(got, all);
        });
    }
}

#[test]
fn what_was_read_is_told_at_last_however_small_the_window() {
    for size in [1u32, 2, 15, 16, 17, 1000, 4096, 5000, 65_535] {
        run(async {
            let Pair { mut send, recv, resize: _resize, _rest } = pair(window(size), 1 << 16).await;
            let (mut outbox, mut inbox) = (Outbox::default(), Inbox::from(recv));
            // Piece by piece, each of which is read before the next one is sent: nothing else comes that could make the
            // inbox tell.
            let piece = bytes((size as usize / 7).max(1));
            for _ in 0..50 {
                outbox.frames().push(piece.clone());
                let (flushed, got) = tokio::join!(flush(&mut outbox, &mut send), read(&mut inbox, piece.len(), 0));
                flushed.expect("nobody resets");
                assert_eq!(got, piece);
            }
        });
    }
}

#[test]
fn a_stream_that_is_reset_in_the_middle_ends_with_an_error() {
    run(async {
        let Pair { mut send, recv, resize: _resize, _rest } = pair(window(10_000), 1 << 16).await;
        let mut outbox = Outbox::default();
        outbox.frames().slice(&bytes(100));
        // Room is known for more.
        flush(&mut outbox, &mut send).await.expect("nobody has reset it");
        outbox.frames().slice(&bytes(50_000));
        assert!(is_stuck(&mut outbox, &mut send).await);
        let reset = async {
            settle().await;
            drop((recv, _rest));
        };
        let (flushed, ()) = tokio::join!(flush(&mut outbox, &mut send), reset);
        let error = flushed.expect_err("nobody reads it any more");
        assert_eq!(error.reason(), Some(h2::Reason::STREAM_CLOSED), "{error}");
    });
}

#[test]
fn a_reset_is_told_also_where_room_was_known() {
    run(async {
        let Pair { mut send, recv, resize: _resize, _rest } = pair(window(10_000), 1 << 16).await;
        let mut outbox = Outbox::default();
        outbox.frames().slice(&bytes(100));
        flush(&mut outbox, &mut send).await.expect("nobody has reset it");
        drop((recv, _rest));
        settle().await;
        outbox.frames().slice(&bytes(100));
        flush(&mut outbox, &mut send).await.expect_err("nobody reads it any more");
    });
}

#[test]
fn a_window_that_is_made_smaller_while_room_is_known_holds_up_no_more_than_that() {
    for size in [0u32, 1, 50, 200, 5000] {
        run(async {
            let Pair { mut send, recv, resize, _rest } = pair(window(10_000), 1 << 16).await;
            let (mut outbox, all) = (Outbox::default(), bytes(30_000));
            outbox.frames().slice(&all[..100]);
            flush(&mut outbox, &mut send).await.expect("nobody resets");
            settle().await;
            resize.send(size).expect("the server runs");
            settle().await;
            // There seems to be room for these, of which nobody has been asked again.
            outbox.frames().slice(&all[100..1000]);
            assert!(!is_stuck(&mut outbox, &mut send).await, "h2 keeps them");
            outbox.frames().slice(&all[1000..]);
            assert!(is_stuck(&mut outbox, &mut send).await, "and no more");
            assert!(outbox.len() > 20_000, "{} bytes wait here", outbox.len());
            settle().await;
            resize.send(10_000).expect("the server runs");
            let mut inbox = Inbox::from(recv);
            let (flushed, got) = tokio::join!(flush(&mut outbox, &mut send), read(&mut inbox, all.len(), 1));
            flushed.expect("nobody resets");
            assert!(got == all, "after a window of {size}");
        });
    }
}

#[test]
fn long_bytes_are_not_copied_and_count_like_others() {
    run(async {
        let Pair { mut send, recv, resize: _resize, _rest } = pair(window(100_000), 1 << 16).await;
        let long = bytes(200_000);
        let mut outbox = Outbox::keeping(Sent::new(0, usize::MAX));
        outbox.frames().slice(b"head");
        outbox.frames().put_shared(&long);
        outbox.mark(1);
        outbox.frames().slice(b"tail");
        outbox.mark(2);
        assert_eq!(outbox.len(), 200_008);
        assert!(is_stuck(&mut outbox, &mut send).await);
        let mut inbox = Inbox::from(recv);
        let (flushed, got) = tokio::join!(flush(&mut outbox, &mut send), read(&mut inbox, 200_008, 0));
        flushed.expect("nobody resets");
        assert!(got.starts_with(b"head") && got[4..200_004] == long && got.ends_with(b"tail"));
        outbox.frames().put_shared(&long);
        outbox.mark(3);
        outbox.forget(1);
        let (forgotten, kept) = outbox.take_kept().expect("it keeps");
        assert_eq!((forgotten, kept.len()), (1, 200_004));
        let pieces = |mut pieces: Pieces| {
            std::iter::from_fn(move || Some(pieces.take(usize::MAX)).filter(|piece| !piece.is_empty()))
                .collect::<Vec<_>>()
        };
        let kept = pieces(kept);
        assert_eq!(kept[0], "tail");
        assert_eq!(kept[1].as_ptr(), long.as_ptr());
    });
}

#[test]
fn short_frames_for_one_who_does_not_read_wait_here() {
    run(async {
        let Pair { mut send, recv, resize: _resize, _rest } = pair(window(10_000), 1 << 16).await;
        let (mut outbox, all) = (Outbox::default(), bytes(20_000));
        for frame in all.chunks(100) {
            outbox.frames().slice(frame);
            let _ = is_stuck(&mut outbox, &mut send).await;
            settle().await;
        }
        assert_eq!(outbox.len(), 10_000, "h2 keeps nothing for which there is no room");
        let mut inbox = Inbox::from(recv);
        let (flushed, got) = tokio::join!(flush(&mut outbox, &mut send), read(&mut inbox, all.len(), 0));
        flushed.expect("nobody resets");
        assert_eq!(got, all);
    });
}
