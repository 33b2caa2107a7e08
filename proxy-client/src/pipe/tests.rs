//! Ends against each other, against a bare socket in the place of the other end, and on their way to another process. What needs
//! a second process of this library is in the tests of the whole system.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::Datum;
use holdfast_proto::datum::{Named, Reference};
use prost::Message;
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Serialize, Serializer};

use super::end::End;
use super::frame::{HEADER_BYTES, Header};
use super::inbound::{Inbound, News, READ_BYTES};
use super::peer::Peer;
use super::{Connection, MAX_MESSAGE_BYTES, PhantomData, PipeError, Place};
use crate::codec::{CodecError, from_datum, passing, to_datum};
use crate::error::{Error, Result};
use crate::process::descriptors::{gather, scatter};
use crate::session::threads::Blocking;
use crate::{blocking, codec};

/// Nothing takes as long as this unless it hangs.
const LONG: Duration = Duration::from_secs(20);
/// Long enough for a thread to fall asleep, and wrong only in letting a fault pass.
const MOMENT: Duration = Duration::from_millis(20);

type Numbers = Connection<i64, i64, Blocking>;

fn pipe<S, R>() -> (blocking::Connection<S, R>, blocking::Connection<R, S>) {
    blocking::Pipe::new().expect("a pipe")
}

/// An end, and a bare socket in the place of the other one.
fn half() -> (Numbers, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    (
        Connection { place: Place::of(End::new(ours.into(), Inbound::default(), Peer::Here)), messages: PhantomData },
        theirs,
    )
}

fn fails<T: std::fmt::Debug>(result: Result<T>) -> PipeError {
    match result {
        Err(Error::Pipe(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn frame(datum: &Datum) -> Vec<u8> {
    let mut frame = Header::Message(datum.encoded_len()).written().to_vec();
    datum.encode_raw(&mut frame);
    frame
}

/// What a thread gives that is to end soon.
fn joined<T>(thread: thread::JoinHandle<T>) -> T {
    let begin = Instant::now();
    while !thread.is_finished() {
        assert!(begin.elapsed() < LONG, "it was to end");
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().expect("it ends")
}

mod frames {
    use super::*;

    /// Frames of many sizes, with news between them; and what is to come of them.
    fn dialogue() -> (Vec<u8>, Vec<Datum>) {
        let (mut bytes, mut messages) = (Vec::new(), Vec::new());
        for size in [0, 1, 3, 100, READ_BYTES - 7, READ_BYTES, 3 * READ_BYTES, 2, 0] {
            bytes.extend(Header::Released.written());
            messages.push(Datum::Bytes(vec![size as u8; size].into()));
            bytes.extend(frame(messages.last().expect("one")));
        }
        (bytes, messages)
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let (bytes, messages) = dialogue();
        for step in [1, 2, 3, 5, 64, 1000, READ_BYTES, usize::MAX] {
            let (mut inbound, mut rest, mut taken, mut news) = (Inbound::default(), &bytes[..], Vec::new(), 0);
            while !rest.is_empty() {
                let room = inbound.room().expect("room");
                let part = step.min(room.len()).min(rest.len());
                room[..part].copy_from_slice(&rest[..part]);
                rest = &rest[part..];
                inbound.came(part, None);
                while let Some(News::Released) = inbound.next_news().expect("news") {
                    news += 1;
                }
                while let Some(message) = inbound.take().expect("a message") {
                    taken.push(message);
                }
            }
            assert!(taken == messages, "{} messages with steps of {step}", taken.len());
            assert_eq!(news, messages.len(), "steps of {step}");
            assert!(!inbound.has_part());
        }
    }

    #[test]
    fn what_another_process_goes_on_with_is_every_message_and_nothing_else() {
        let (bytes, messages) = dialogue();
        for cut in [0, 1, 9, 40, 5000, 60_000, bytes.len()] {
            let mut inbound = Inbound::default();
            for part in bytes[..cut].chunks(4096) {
                inbound.room().expect("room")[..part.len()].copy_from_slice(part);
                inbound.came(part.len(), None);
                while inbound.next_news().expect("news").is_some() {}
            }
            let missing = inbound.cut_header().unwrap_or(0);
            inbound.room().expect("room")[..missing].copy_from_slice(&bytes[cut..cut + missing]);
            inbound.came(missing, None);
            while inbound.next_news().expect("news").is_some() {}

            let mut next = Inbound::after(inbound.unread().expect("unread"));
            let mut taken = Vec::new();
            let mut rest = &bytes[cut + missing..];
            loop {
                while next.next_news().expect("news").is_some() {}
                while let Some(message) = next.take().expect("a message") {
                    taken.push(message);
                }
                if rest.is_empty() {
                    break;
                }
                let room = next.room().expect("room");
                let part = room.len().min(rest.len());
                room[..part].copy_from_slice(&rest[..part]);
                rest = &rest[part..];
                next.came(part, None);
            }
            assert!(taken == messages, "{} messages, cut at {cut}", taken.len());
        }
    }

    #[test]
    fn a_length_that_was_only_announced_takes_no_memory() {
        let mut inbound = Inbound::default();
        let header = Header::Message(MAX_MESSAGE_BYTES).written();
        inbound.room().expect("room")[..HEADER_BYTES].copy_from_slice(&header);
        inbound.came(HEADER_BYTES, None);
        assert!(inbound.next_news().expect("no news").is_none());
        assert!(inbound.room().expect("room").len() <= 2 * READ_BYTES);
    }

    #[test]
    fn a_burst_is_given_back() {
        let mut inbound = Inbound::default();
        let large = frame(&Datum::Bytes(vec![7; 4 << 20].into()));
        let mut rest = &large[..];
        while !rest.is_empty() {
            let room = inbound.room().expect("room");
            let part = room.len().min(rest.len());
            room[..part].copy_from_slice(&rest[..part]);
            rest = &rest[part..];
            inbound.came(part, None);
        }
        assert!(inbound.take().expect("a message").is_some());
        assert_eq!(inbound.room().expect("room").len(), READ_BYTES);
    }
}

#[test]
fn messages_come_in_order_and_both_ways() {
    let (mut a, mut b) = pipe::<(i64, String), Vec<u64>>();
    for n in 0..100 {
        a.send(&(n, "x".repeat(n as usize % 50))).expect("sent");
        if n % 3 == 0 {
            b.send(&vec![n as u64; 3]).expect("sent");
        }
    }
    for n in 0..100 {
        assert_eq!(b.recv().expect("received"), (n, "x".repeat(n as usize % 50)));
        if n % 3 == 0 {
            assert_eq!(a.recv().expect("received"), [n as u64; 3]);
        }
    }
}

#[test]
fn large_messages_go_through_while_both_ends_work() {
    let (mut a, mut b) = pipe::<serde_json::Value, String>();
    let text: String = (0..5_000_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let nested = serde_json::json!({ "list": [text, 1, [text]] });
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                a.send(&nested).expect("sent");
                assert!(a.recv().expect("received") == text);
            }
        });
        for _ in 0..3 {
            assert!(b.recv().expect("received") == nested);
            b.send(&text).expect("sent");
        }
    });
}

#[test]
fn the_end_comes_after_all_that_was_sent_and_stays() {
    for close in [|end: blocking::Connection<i64, i64>| end.close(), |end| drop(end)] {
        let (mut a, mut b) = pipe::<i64, i64>();
        b.send(&9).expect("sent");
        a.send(&1).expect("sent");
        a.send(&2).expect("sent");
        // It has not received the 9.
        close(a);
        assert!(b.poll(Duration::ZERO).expect("polled"));
        assert_eq!((b.recv().expect("received"), b.recv().expect("received")), (1, 2));
        for _ in 0..3 {
            assert_eq!(fails(b.recv()), PipeError::Ended);
            assert!(b.poll(Duration::ZERO).expect("polled"), "the end can be received");
            assert_eq!(fails(b.send(&3)), PipeError::Closed);
        }
    }
}

#[test]
fn closing_ends_a_pipe_whoever_has_copies_of_the_socket() {
    let (a, mut b) = pipe::<i64, i64>();
    let heir = a.place.0.lock().as_ref().expect("an end").end.socket().try_clone().expect("a copy");
    let waits = thread::spawn(move || fails(b.recv()));
    thread::sleep(MOMENT);
    a.close();
    assert_eq!(joined(waits), PipeError::Ended);
    drop(heir);
}

#[test]
fn one_way_ends_and_iteration() {
    let (mut receiver, mut sender) = blocking::Pipe::one_way::<String>().expect("a pipe");
    let sends = thread::spawn(move || {
        for n in 0..100 {
            sender.send(&n.to_string()).expect("sent");
        }
    });
    let all: Vec<String> = receiver.iter().collect::<Result<_>>().expect("no error");
    assert_eq!(all, (0..100).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    joined(sends);
    assert!(receiver.recv().is_err_and(|error| error.is_end_of_file()));
}

#[test]
fn who_waits_too_long_gets_nothing_and_loses_nothing() {
    let (mut a, mut b) = pipe::<i64, i64>();
    let begin = Instant::now();
    assert_eq!(b.recv_within(MOMENT).expect("no error"), None);
    assert!(!b.poll(MOMENT).expect("no error"));
    assert!(begin.elapsed() >= 2 * MOMENT);
    assert_eq!(b.recv_within(Duration::ZERO).expect("no error"), None);
    a.send(&5).expect("sent");
    assert!(b.poll(Duration::ZERO).expect("no error"));
    assert_eq!(b.recv_within(Duration::ZERO).expect("no error"), Some(5));
    let sends = thread::spawn(move || {
        thread::sleep(MOMENT);
        a.send(&6).expect("sent");
        a
    });
    assert!(b.poll(LONG).expect("no error"));
    assert_eq!(b.recv_within(Duration::MAX).expect("no error"), Some(6));
    drop(joined(sends));
}

#[test]
fn who_sends_into_a_full_pipe_waits_gives_up_or_leaves_a_rest() {
    let (mut a, mut b) = pipe::<(u32, String), i64>();
    let text = "x".repeat(1000);
    let mut sent = 0;
    // Each message is one write, and a write of so few bytes is taken as a whole or not at all.
    let full = loop {
        match a.send_within(&(sent, text.clone()), Duration::ZERO) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(full.is_full(), "{full}");
    assert!(sent > 10);
    let large = "y".repeat(3 << 20);
    let begin = Instant::now();
    assert!(
        matches!(fails(a.send_within(&(sent, large.clone()), MOMENT)), PipeError::Full { patience } if patience == MOMENT)
    );
    assert!(begin.elapsed() >= MOMENT);
    for n in 0..sent {
        assert_eq!(b.recv().expect("received"), (n, text.clone()));
    }
    // Nothing of those that were given up has come. Now a part fits.
    assert!(!b.poll(Duration::ZERO).expect("no error"));
    assert!(matches!(fails(a.send_within(&(1, large.clone()), MOMENT)), PipeError::Unfinished { .. }));
    assert_eq!(b.recv_within(Duration::ZERO).expect("no error"), None);
    let receives = thread::spawn(move || (b.recv().expect("received"), b.recv().expect("received"), b));
    a.send(&(2, String::new())).expect("sent");
    let (first, second, mut b) = joined(receives);
    assert!(first == (1, large.clone()) && second == (2, String::new()));
    // Who waits for an answer sends the rest, too.
    assert!(matches!(fails(a.send_within(&(3, large.clone()), MOMENT)), PipeError::Unfinished { .. }));
    let answers = thread::spawn(move || {
        assert!(b.recv().expect("received") == (3, large));
        b.send(&4).expect("sent");
        b
    });
    assert_eq!(a.recv_within(LONG).expect("no error"), Some(4));
    joined(answers);
}

#[test]
fn what_waits_for_room_ends_with_the_other_end() {
    let (mut a, b) = pipe::<String, i64>();
    let sends = thread::spawn(move || fails(a.send(&"x".repeat(8 << 20))));
    thread::sleep(MOMENT);
    drop(b);
    assert_eq!(joined(sends), PipeError::Closed);
}

#[test]
fn a_message_that_is_cut_off_is_no_message() {
    let whole = frame(&to_datum(&77_i64).expect("data"));
    for cut in 1..whole.len() {
        let (mut ours, mut theirs) = half();
        theirs.write_all(&whole).expect("written");
        theirs.write_all(&whole[..cut]).expect("written");
        assert_eq!(ours.recv().expect("the first is whole"), 77);
        assert_eq!(ours.recv_within(Duration::ZERO).expect("no error"), None, "it may yet come");
        drop(theirs);
        assert!(ours.poll(Duration::ZERO).expect("no error"));
        assert_eq!(fails(ours.recv()), PipeError::Torn);
        assert_eq!(fails(ours.recv()), PipeError::Torn);
    }
}

#[test]
fn what_is_too_large_is_refused_at_both_ends() {
    let (mut ours, mut theirs) = half();
    theirs.write_all(&(MAX_MESSAGE_BYTES as u32 + 1).to_le_bytes()).expect("written");
    assert!(ours.poll(LONG).expect("no error"));
    assert_eq!(fails(ours.recv()), PipeError::TooLarge { bytes: MAX_MESSAGE_BYTES + 1 });

    /// As long as a pipe takes, and the two bytes or more that say what it is.
    struct Huge;
    impl Serialize for Huge {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&vec![0; MAX_MESSAGE_BYTES])
        }
    }
    let (mut a, mut b) = pipe::<Option<Huge>, i64>();
    assert!(matches!(fails(a.send(&Some(Huge))), PipeError::TooLarge { bytes } if bytes > MAX_MESSAGE_BYTES));
    b.send(&1).expect("sent");
    assert_eq!(a.recv().expect("the pipe is as it was"), 1);
    a.send(&None).expect("sent");
    let mut b: blocking::Connection<i64, ()> = Connection { place: b.place, messages: PhantomData };
    b.recv().expect("null");
}

#[test]
fn what_is_of_another_type_is_gone_and_what_is_no_data_is_an_error() {
    let (mut a, b) = pipe::<String, ()>();
    a.send(&"text".to_owned()).expect("sent");
    a.send(&"more".to_owned()).expect("sent");
    let mut numbers: blocking::Connection<(), i64> = Connection { place: b.place, messages: PhantomData };
    assert!(matches!(numbers.recv(), Err(Error::Codec(CodecError::Mismatch { .. }))));
    let mut texts: blocking::Connection<(), String> = Connection { place: numbers.place, messages: PhantomData };
    assert_eq!(texts.recv().expect("received"), "more");

    let (mut ours, mut theirs) = half();
    // Null as a field of a group, which no datum is.
    theirs.write_all(&[2, 0, 0, 0, 0xff, 0xff]).expect("written");
    assert!(matches!(ours.recv(), Err(Error::Codec(CodecError::Invalid(_)))));
    theirs.write_all(&frame(&Datum::Integer(1))).expect("written");
    assert_eq!(ours.recv().expect("received"), 1);
}

/// What a proxy writes.
struct Proxy;

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        passing::serialize(Reference::new(Arc::new(Named { handle: 1, ..Named::default() })), serializer)
    }
}

#[test]
fn neither_proxies_nor_ends_go_through_a_pipe() {
    let (mut a, mut b) = pipe::<Vec<Option<Proxy>>, i64>();
    let error = a.send(&vec![None, Some(Proxy)]).expect_err("it has a proxy in it");
    assert!(matches!(&error, Error::Codec(CodecError::Invalid(why)) if why.contains("token")), "{error}");
    b.send(&1).expect("sent");
    assert_eq!(a.recv().expect("received"), 1);

    let (mut a, _b) = pipe::<Vec<Numbers>, i64>();
    let (inner, mut other) = pipe::<i64, i64>();
    let ends = vec![inner];
    assert!(matches!(a.send(&ends), Err(Error::Codec(CodecError::Invalid(why))) if why.contains("argument")));
    let [mut inner] = ends.try_into().expect("one");
    inner.send(&3).expect("it is where it was");
    assert_eq!(other.recv().expect("received"), 3);
}

mod other_process {
    use super::*;

    /// A process that does nothing until it is killed.
    struct Idle(Child);

    impl Idle {
        fn new() -> Self {
            Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("a process"))
        }

        fn pidfd(&self) -> OwnedFd {
            let pid = Pid::from_raw(self.0.id() as i32).expect("an id");
            pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd")
        }

        fn kill(&mut self) {
            self.0.kill().expect("killed");
            self.0.wait().expect("reaped");
        }
    }

    impl Drop for Idle {
        fn drop(&mut self) {
            self.kill();
        }
    }

    /// Says that the socket is that of a process.
    fn hold(socket: &UnixStream, process: &Idle) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pidfd = process.pidfd();
        let pidfds = [pidfd.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&pidfds)));
        let header = Header::Held.written();
        sendmsg(socket, &[IoSlice::new(&header)], &mut control, SendFlags::empty()).expect("sent");
    }

    fn write(mut socket: &UnixStream, number: i64) {
        socket.write_all(&frame(&Datum::Integer(number))).expect("written");
    }

    #[test]
    fn its_death_is_the_end_although_others_have_its_socket() {
        let (mut ours, theirs) = half();
        let mut process = Idle::new();
        write(&theirs, 1);
        hold(&theirs, &process);
        write(&theirs, 2);
        assert_eq!(ours.recv().expect("received"), 1);
        let waits = thread::spawn(move || {
            assert_eq!(ours.recv().expect("received"), 2);
            let last = ours.recv().expect("received");
            (last, fails(ours.recv()), fails(ours.recv()))
        });
        thread::sleep(MOMENT);
        write(&theirs, 3);
        process.kill();
        assert_eq!(joined(waits), (3, PipeError::Ended, PipeError::Ended));
        drop(theirs);
    }

    #[test]
    fn its_death_in_the_middle_of_a_message_is_told() {
        let (mut ours, mut theirs) = half();
        let mut process = Idle::new();
        hold(&theirs, &process);
        theirs.write_all(&frame(&Datum::Bytes([7; 1000].into()))[..500]).expect("written");
        assert!(!ours.poll(Duration::ZERO).expect("no error"));
        process.kill();
        assert_eq!(fails(ours.recv()), PipeError::Torn);
        drop(theirs);
    }

    #[test]
    fn its_death_ends_a_wait_for_room() {
        let (mut ours, theirs) = half();
        let mut process = Idle::new();
        // More than is read ahead lies before it.
        let much: Vec<u8> = (0..20_000).flat_map(|number| frame(&Datum::Integer(number))).collect();
        (&theirs).write_all(&much).expect("written");
        let waits = thread::spawn(move || {
            loop {
                if let Err(error) = ours.send(&i64::MAX) {
                    return (fails::<()>(Err(error)), ours);
                }
            }
        });
        thread::sleep(MOMENT);
        hold(&theirs, &process);
        process.kill();
        // As long as so much lies before it, it cannot be seen; who receives sees it.
        assert!(!waits.is_finished());
        drop(theirs);
        let (error, mut ours) = joined(waits);
        assert_eq!(error, PipeError::Closed);
        assert_eq!(ours.iter().map(|number| number.expect("received")).sum::<i64>(), (0..20_000_i64).sum::<i64>());

        let (mut ours, theirs) = half();
        let mut process = Idle::new();
        write(&theirs, 1);
        hold(&theirs, &process);
        let waits = thread::spawn(move || {
            loop {
                if let Err(error) = ours.send(&i64::MAX) {
                    return fails::<()>(Err(error));
                }
            }
        });
        thread::sleep(MOMENT);
        process.kill();
        assert_eq!(joined(waits), PipeError::Closed);
        drop(theirs);
    }

    #[test]
    fn the_death_of_one_that_passed_the_end_on_is_no_end() {
        let (mut ours, theirs) = half();
        let (mut first, mut second) = (Idle::new(), Idle::new());
        hold(&theirs, &first);
        assert_eq!(ours.recv_within(Duration::ZERO).expect("no error"), None);
        let mut theirs = theirs;
        theirs.write_all(&Header::Released.written()).expect("written");
        first.kill();
        assert_eq!(ours.recv_within(MOMENT).expect("it is under way"), None);
        hold(&theirs, &second);
        write(&theirs, 5);
        assert_eq!(ours.recv().expect("received"), 5);
        second.kill();
        assert_eq!(fails(ours.recv()), PipeError::Ended);
        drop(theirs);
    }

    #[tokio::test]
    async fn its_death_wakes_tasks() {
        let (ours, theirs) = half();
        let mut ours = ours.into_async();
        let mut process = Idle::new();
        assert_eq!(ours.recv_within(MOMENT).await.expect("no error"), None, "it waits for the socket already");
        hold(&theirs, &process);
        let waits = tokio::spawn(async move { (ours.recv().await, ours) });
        tokio::time::sleep(MOMENT).await;
        process.kill();
        let (ended, mut ours) = tokio::time::timeout(LONG, waits).await.expect("in time").expect("it ends");
        assert_eq!(fails(ended), PipeError::Ended);
        let sends = async { while ours.send(&1).await.is_ok() {} };
        tokio::time::timeout(LONG, sends).await.expect("in time");
        drop(theirs);
    }
}

mod passed {
    use super::*;

    /// Writes an end as an argument, and reads it as the other process would.
    fn pass<T: Serialize + serde::de::DeserializeOwned>(end: T) -> T {
        let (datum, descriptors) = gather(|| to_datum(&(&end,)));
        let datum = datum.expect("it can be passed");
        drop(end);
        scatter(descriptors, || from_datum::<(T,)>(datum)).expect("it is read").0
    }

    #[test]
    fn an_end_goes_on_where_it_was() {
        let (mut a, mut b) = pipe::<i64, String>();
        for n in 0..30 {
            a.send(&n).expect("sent");
        }
        assert_eq!(b.recv().expect("received"), 0);
        b.send(&"before".to_owned()).expect("sent");
        for n in 1..30 {
            b = pass(b);
            assert_eq!(b.recv().expect("received"), n);
            b.send(&n.to_string()).expect("sent");
        }
        assert_eq!(a.recv().expect("received"), "before");
        for n in 1..30 {
            a = pass(a);
            assert_eq!(a.recv().expect("received"), n.to_string());
        }
        drop(b);
        assert_eq!(fails(a.recv()), PipeError::Ended);
    }

    #[test]
    fn one_way_ends_are_passed_as_what_they_are() {
        let (mut receiver, sender) = blocking::Pipe::one_way::<i64>().expect("a pipe");
        let mut sender = pass(sender);
        sender.send(&1).expect("sent");
        receiver = pass(receiver);
        assert_eq!(receiver.recv().expect("received"), 1);
        let (datum, descriptors) = gather(|| to_datum(&receiver).expect("data"));
        let read = scatter(descriptors, || from_datum::<blocking::Sender<i64>>(datum));
        assert!(matches!(read, Err(CodecError::Invalid(why)) if why.contains("Receiver")));
        assert_eq!(fails(sender.send(&2)), PipeError::Closed, "nobody has it");
    }

    #[test]
    fn an_end_that_was_passed_is_no_more() {
        let (mut a, mut b) = pipe::<i64, i64>();
        let (datum, descriptors) = gather(|| to_datum(&a));
        assert_eq!(fails(a.recv()), PipeError::Passed);
        assert_eq!(fails(a.send(&1)), PipeError::Passed);
        assert!(gather(|| to_datum(&a)).0.is_err());
        drop(a);
        assert_eq!(b.recv_within(MOMENT).expect("it is under way"), None);
        let mut a: blocking::Connection<i64, i64> =
            scatter(descriptors, || from_datum(datum.expect("data"))).expect("an end");
        a.send(&1).expect("sent");
        assert_eq!(b.recv().expect("received"), 1);
    }

    #[test]
    fn an_end_that_nobody_takes_up_is_closed() {
        let (a, mut b) = pipe::<i64, i64>();
        let (_, descriptors) = gather(|| to_datum(&a).expect("data"));
        drop(a);
        scatter(descriptors, || ());
        assert_eq!(fails(b.recv()), PipeError::Ended);
    }

    #[test]
    fn an_end_with_something_unfinished_stays() {
        let (mut a, mut b) = pipe::<String, String>();
        let large = "x".repeat(3 << 20);
        assert!(matches!(fails(a.send_within(&large, Duration::ZERO)), PipeError::Unfinished { .. }));
        let why = |refused: Result<Datum, CodecError>| refused.expect_err("it is refused").to_string();
        assert!(why(gather(|| to_datum(&a)).0).contains("in part"));
        assert!(!b.poll(Duration::ZERO).expect("no error"));
        assert!(why(gather(|| to_datum(&b)).0).contains("receive them first"));
        let receives = thread::spawn(move || (b.recv().expect("received").len(), b));
        a.send(&String::new()).expect("sent");
        let (received, mut b) = joined(receives);
        assert_eq!(received, large.len());
        assert_eq!(b.recv().expect("received"), "");
        while a.send_within(&"y".repeat(100), Duration::ZERO).is_ok() {}
        assert!(why(gather(|| to_datum(&a)).0).contains("full"));
        assert_eq!(b.recv().expect("received").len(), 100);
    }

    #[test]
    fn other_formats_leave_it_where_it_is() {
        let (a, mut b) = pipe::<i64, i64>();
        assert!(serde_json::to_string(&a).is_err());
        assert!(codec::to_datum(&a).is_err());
        let mut a = a;
        a.send(&1).expect("sent");
        assert_eq!(b.recv().expect("received"), 1);
    }
}

mod tasks {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use tokio::time::timeout;

    use super::*;

    fn pipe<S, R>() -> (crate::Connection<S, R>, crate::Connection<R, S>) {
        crate::Pipe::new().expect("a pipe")
    }

    /// Polls a future once, which must wait.
    async fn begin<F: Future + Unpin>(future: &mut F) {
        let waits = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await;
        assert!(waits);
    }

    #[tokio::test]
    async fn a_task_is_woken_by_what_comes_and_by_the_end() {
        let (mut a, mut b) = pipe::<i64, i64>();
        let echo = tokio::spawn(async move {
            let mut received = 0;
            loop {
                match b.recv().await {
                    Ok(number) => b.send(&(number + 1)).await.expect("sent"),
                    Err(error) => return (received, fails::<()>(Err(error))),
                }
                received += 1;
            }
        });
        for number in 0..500 {
            a.send(&number).await.expect("sent");
            assert_eq!(timeout(LONG, a.recv()).await.expect("in time").expect("received"), number + 1);
        }
        a.close();
        assert_eq!(timeout(LONG, echo).await.expect("in time").expect("it ends"), (500, PipeError::Ended));
    }

    #[tokio::test]
    async fn large_messages_go_through_in_one_thread() {
        let (mut a, mut b) = pipe::<String, String>();
        let text = "x".repeat(5 << 20);
        let both = async {
            let there = async {
                a.send(&text).await?;
                a.recv().await
            };
            let back = async {
                let text = b.recv().await?;
                b.send(&text).await
            };
            tokio::join!(there, back)
        };
        let (there, back) = timeout(LONG, both).await.expect("in time");
        back.expect("sent");
        assert!(there.expect("received") == text);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_takes_nothing_and_sends_nothing_later() {
        let (mut a, mut b) = pipe::<String, i64>();
        let mut waits = a.recv();
        begin(&mut waits).await;
        drop(waits);
        b.send(&1).await.expect("sent");
        // Never polled.
        drop(a.recv());
        assert_eq!(a.recv().await.expect("received"), 1);

        let full = loop {
            if let Err(error) = a.send_within(&"x".repeat(1000), Duration::ZERO).await {
                break error;
            }
        };
        assert!(full.is_full());
        let last = "last".to_owned();
        let mut sends = a.send(&last);
        begin(&mut sends).await;
        drop(sends);
        let mut received = Vec::new();
        while let Some(text) = b.recv_within(MOMENT).await.expect("no error") {
            received.push(text);
        }
        assert!(received.iter().all(|text| text.len() == 1000));

        let large = "y".repeat(3 << 20);
        let mut sends = a.send(&large);
        begin(&mut sends).await;
        drop(sends);
        let answers = tokio::spawn(async move {
            assert!(b.recv().await.expect("received") == large);
            b.send(&2).await.expect("sent");
            b
        });
        assert_eq!(timeout(LONG, a.recv()).await.expect("in time").expect("received"), 2);
        answers.await.expect("it ends");
    }

    #[tokio::test]
    async fn patience_ends_a_wait() {
        let (mut a, mut b) = pipe::<i64, i64>();
        let begin = Instant::now();
        assert_eq!(timeout(LONG, a.recv_within(MOMENT)).await.expect("in time").expect("no error"), None);
        assert!(!timeout(LONG, a.poll(MOMENT)).await.expect("in time").expect("no error"));
        assert!(begin.elapsed() >= 2 * MOMENT);
        b.send(&1).await.expect("sent");
        assert!(a.poll(Duration::ZERO).await.expect("no error"));
        assert_eq!(a.recv_within(Duration::MAX).await.expect("no error"), Some(1));
    }

    #[tokio::test]
    async fn a_task_that_always_finds_something_lets_others_run() {
        let (mut a, mut b) = pipe::<i64, i64>();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let other = stop.clone();
        tokio::spawn(async move { other.store(true, std::sync::atomic::Ordering::Relaxed) });
        let talks = async {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                a.send(&1).await.expect("sent");
                b.recv().await.expect("received");
            }
        };
        let mut talks = pin!(talks);
        timeout(LONG, &mut talks).await.expect("the other task ran");
    }

    #[tokio::test]
    async fn an_end_changes_libraries_and_processes_without_loss() {
        let (mut a, b) = pipe::<i64, i64>();
        let mut b = b.into_blocking();
        a.send(&1).await.expect("sent");
        a.send(&2).await.expect("sent");
        assert_eq!(b.recv().expect("received"), 1);
        let mut b = b.into_async();
        assert_eq!(b.recv().await.expect("received"), 2);
        assert_eq!(b.recv_within(MOMENT).await.expect("no error"), None, "the runtime knows the socket");
        let (datum, descriptors) = gather(|| to_datum(&b));
        drop(b);
        let read = scatter(descriptors, || from_datum::<crate::Connection<i64, i64>>(datum.expect("data")));
        let mut b = read.expect("an end");
        let waits = tokio::spawn(async move { b.recv().await });
        tokio::task::yield_now().await;
        a.send(&3).await.expect("sent");
        assert_eq!(timeout(LONG, waits).await.expect("in time").expect("it ends").expect("received"), 3);
    }
}

#[test]
fn a_bare_socket_sees_what_is_documented() {
    let (mut ours, mut theirs) = half();
    ours.send(&-1).expect("sent");
    let mut frame = [0; 6];
    theirs.read_exact(&mut frame).expect("six bytes");
    // The length, and a datum: field 3, a zigzag varint.
    assert_eq!(frame, [2, 0, 0, 0, 3 << 3, 1]);
}
