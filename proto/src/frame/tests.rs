use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::client_frame::Frame as Client;
use crate::server_frame::Frame as Server;
use crate::{Call, DictGetRequest, DictGetResponse, DictLenResponse, Reason, Reply, dict, reply};

const NUMBERS: [u64; 7] = [0, 1, 127, 128, 300, u32::MAX as u64, u64::MAX];

fn body(frame: &BytesMut) -> &[u8] {
    assert_eq!(frame[0], 0);
    assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - PREFIX);
    &frame[PREFIX..]
}

#[test]
fn a_call_is_written_and_read_as_prost_does() {
    for received in NUMBERS {
        for sequence in NUMBERS {
            for small in [0, 1, 200, u32::MAX] {
                let request = DictGetRequest { key: Some(crate::Datum::Text("hits".into())) };
                let mut out = BytesMut::new();
                put_call(&mut out, received, sequence, small, small, &request);
                let call =
                    Call { sequence, handle: small, op: small, request: request.encode_to_vec().into(), fence: 0 };
                let frame = ClientFrame { received, frame: Some(Client::Call(call.clone())) };
                assert_eq!(body(&out), frame.encode_to_vec());

                let read = read_client(body(&out)).unwrap();
                assert_eq!(read.received, received);
                let Some(ClientSays::Call(got)) = read.frame else { panic!("a call") };
                let want = CallFrame { sequence, handle: small, op: small, request: &call.request, fence: 0 };
                assert_eq!(got, want);
            }
        }
    }
}

#[test]
fn a_call_of_any_length_is_written_as_prost_does() {
    for len in 0..200 {
        let request = DictGetRequest { key: Some(crate::Datum::Bytes(vec![7; len].into())) };
        let mut out = BytesMut::new();
        put_call(&mut out, u64::MAX, u64::MAX, u32::MAX, u32::MAX, &request);
        let (handle, op) = (u32::MAX, u32::MAX);
        let call = Call { sequence: u64::MAX, handle, op, request: request.encode_to_vec().into(), fence: 0 };
        let frame = ClientFrame { received: u64::MAX, frame: Some(Client::Call(call)) };
        assert_eq!(body(&out), frame.encode_to_vec(), "{len} bytes");
    }
}

#[test]
fn a_reply_is_written_and_read_as_prost_does() {
    for sequence in NUMBERS {
        for index in NUMBERS {
            let len = DictLenResponse { len: index };
            let mut out = BytesMut::new();
            put_response(&mut out, sequence, index, dict::Reply::Len(len));
            let result = Some(reply::Result::Response(len.encode_to_vec().into()));
            let frame = ServerFrame {
                frame: Some(Server::Reply(Reply { sequence, index, result, delivered: vec![], acknowledge: false })),
            };
            assert_eq!(body(&out), frame.encode_to_vec());
            let want =
                ReplyFrame { sequence, index, result: Ok(&len.encode_to_vec()), delivered: vec![], acknowledge: false };
            assert_eq!(read_server(body(&out)).unwrap(), FromServer::Reply(want));

            let refusal = Refusal::new(Reason::MissingKey, "no key \"hits\"");
            let mut out = BytesMut::new();
            put_refusal(&mut out, sequence, index, &refusal);
            let result = Some(reply::Result::Refusal(refusal.clone()));
            let frame = ServerFrame {
                frame: Some(Server::Reply(Reply { sequence, index, result, delivered: vec![], acknowledge: false })),
            };
            assert_eq!(body(&out), frame.encode_to_vec());
            let want = ReplyFrame { sequence, index, result: Err(refusal), delivered: vec![], acknowledge: false };
            assert_eq!(read_server(body(&out)).unwrap(), FromServer::Reply(want));
        }
    }
}

#[test]
fn a_reply_says_what_it_delivers() {
    let len = DictLenResponse { len: 5 };
    for delivered in [vec![], vec![1], vec![7, 300, u32::MAX, 7]] {
        let mut out = BytesMut::new();
        put_special_response(&mut out, 3, 4, &dict::Reply::Len(len), delivered.clone(), true);
        let result = Some(reply::Result::Response(len.encode_to_vec().into()));
        let reply = Reply { sequence: 3, index: 4, result, delivered: delivered.clone(), acknowledge: true };
        assert_eq!(body(&out), ServerFrame { frame: Some(Server::Reply(reply)) }.encode_to_vec());
        let want = ReplyFrame { sequence: 3, index: 4, result: Ok(&len.encode_to_vec()), delivered, acknowledge: true };
        assert_eq!(read_server(body(&out)).unwrap(), FromServer::Reply(want));
    }
    // One by one: a reply with an empty response and twice the handle 9.
    let FromServer::Reply(reply) = read_server(&[0x12, 0x06, 0x1a, 0x00, 0x28, 0x09, 0x28, 0x09]).unwrap() else {
        panic!("a reply")
    };
    assert_eq!(reply.delivered, [9, 9]);
}

#[test]
fn replies_of_all_lengths_are_written_as_prost_does() {
    for len in (0..300).chain([20_000]) {
        for (sequence, index) in [(1, 0), (u64::MAX, u64::MAX), (1 << 14, 1 << 21)] {
            let value = Some(crate::Datum::from(&*"x".repeat(len)));
            let response = DictGetResponse { value, version: index };
            let mut out = BytesMut::new();
            put_response(&mut out, sequence, index, dict::Reply::Get(response.clone()));
            let result = Some(reply::Result::Response(response.encode_to_vec().into()));
            let mut reply = Reply { sequence, index, result, delivered: vec![], acknowledge: false };
            let of = |reply: &Reply| ServerFrame { frame: Some(Server::Reply(reply.clone())) }.encode_to_vec();
            assert_eq!(body(&out), of(&reply));

            let mut out = BytesMut::new();
            put_response_to_acknowledge(&mut out, sequence, index, dict::Reply::Get(response.clone()));
            reply.acknowledge = true;
            assert_eq!(body(&out), of(&reply));
            let want = ReplyFrame {
                sequence,
                index,
                result: Ok(&response.encode_to_vec()),
                delivered: vec![],
                acknowledge: true,
            };
            assert_eq!(read_server(body(&out)).unwrap(), FromServer::Reply(want));
        }
    }
}

#[test]
fn the_other_frames_are_read() {
    let hello = Hello { protocol: 1, name: "worker".into(), pid: 12, host: "here".into(), ..Hello::default() };
    let goodbye = Goodbye { message: "done".into() };
    let welcome = Welcome {
        session: vec![1; 16],
        incarnation: vec![2; 16],
        calls_in_flight: 3,
        frame_bytes: 4,
        ..Welcome::default()
    };
    let client = |frame| ClientFrame { received: 7, frame }.encode_to_vec();
    let server = |frame| ServerFrame { frame: Some(frame) }.encode_to_vec();
    let read =
        |frame: Option<Client>| read_client(&client(frame)).unwrap().frame.map(|says| alloc::format!("{says:?}"));

    assert_eq!(read(None), None);
    assert_eq!(read(Some(Client::Hello(hello.clone()))), Some(alloc::format!("{:?}", ClientSays::Hello(hello))));
    assert_eq!(
        read(Some(Client::Goodbye(goodbye.clone()))),
        Some(alloc::format!("{:?}", ClientSays::Goodbye(goodbye.clone())))
    );
    assert_eq!(read_server(&server(Server::Welcome(welcome.clone()))).unwrap(), FromServer::Welcome(welcome));
    assert_eq!(read_server(&server(Server::Goodbye(goodbye.clone()))).unwrap(), FromServer::Goodbye(goodbye));
}

#[test]
fn unknown_fields_are_skipped_and_nonsense_is_refused() {
    // Field 15 as varint, fixed64, bytes and fixed32, then received = 5.
    let mut message = vec![0x78, 0x01, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7a, 2, 9, 9, 0x7d, 1, 2, 3, 4];
    message.extend([0x08, 0x05]);
    assert_eq!(read_client(&message).unwrap(), FromClient { received: 5, frame: None });

    for nonsense in [
        &[0x0b][..],                           // a group
        &[0x00, 0x01],                         // field 0
        &[0x0a, 0x01, 0x00],                   // `received` as bytes
        &[0x1a, 0x05, 0x00],                   // a call longer than its frame
        &[0x1a, 0x02, 0x0a, 0x00],             // a call whose sequence is bytes
        &[0x08, 0xff],                         // half a varint
        &[0xd2, 0x8b, 0xd6, 0xc3, 0x22, 0x00], // a field number that is too large
        &[0x12, 0x02, 0x12, 0xff],             // a hello that ends in its name
    ] {
        assert!(matches!(read_client(nonsense), Err(Broken::Malformed(_))), "{nonsense:x?}");
    }
    assert!(matches!(read_server(&[]), Err(Broken::Malformed(_))));
    assert!(matches!(read_server(&[0x12, 0x00]), Err(Broken::Malformed(_))), "a reply without a result");
}

/// The messages that come out when `stream` arrives in chunks of `size`.
fn cut(stream: &[u8], size: usize, limit: usize) -> Result<Vec<Vec<u8>>, Broken> {
    let mut deframer = Deframer::new(limit);
    let mut messages = Vec::new();
    for chunk in stream.chunks(size) {
        deframer.push(Bytes::copy_from_slice(chunk));
        while let Some(message) = deframer.next()? {
            let message = message.to_vec();
            messages.push(message);
        }
    }
    assert!(!deframer.has_rest());
    Ok(messages)
}

#[test]
fn messages_survive_any_cutting_of_the_stream() {
    let sizes = [0_usize, 1, 4, 5, 6, 100, 0, 0, 3000, 2];
    let messages: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, &size)| vec![at as u8; size]).collect();
    let mut stream = Vec::new();
    for message in &messages {
        stream.push(0);
        stream.extend((message.len() as u32).to_be_bytes());
        stream.extend(message);
    }
    for size in (1..200).chain([1000, 3000, stream.len()]) {
        assert_eq!(cut(&stream, size, 3000).unwrap(), messages, "chunks of {size}");
    }
    assert_eq!(cut(&stream, 7, 2999), Err(Broken::TooLarge { bytes: 3000, limit: 2999 }));
    assert_eq!(cut(&[1, 0, 0, 0, 0], 2, 10), Err(Broken::Compressed));
}

#[test]
fn a_shared_message_outlives_its_chunk() {
    let mut deframer = Deframer::new(100);
    deframer.push(Bytes::from_static(&[0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 2, 8]));
    let message = deframer.next().unwrap().unwrap().to_vec();
    assert_eq!(message, [1, 2, 3]);
    assert!(deframer.next().unwrap().is_none());
    assert!(deframer.is_inside_message());
    deframer.push(Bytes::from_static(&[9]));
    let kept = deframer.next_shared().unwrap().unwrap();
    assert!(!deframer.is_inside_message());
    drop(deframer);
    assert_eq!(&kept[..], [8, 9]);
}

proptest! {
    /// The short way must say what the long way says, also of frames that no encoder writes.
    #[test]
    fn a_plain_call_is_read_as_any_frame_is(
        (received, sequence, handle, op, fence) in any::<(u64, u64, u32, u32, u64)>(),
        small in any::<bool>(),
        request in prop::collection::vec(any::<u8>(), 0..300),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let (received, sequence) = if small { (received % 200, sequence % 200) } else { (received, sequence) };
        let call = Call { sequence, handle, op, request: request.into(), fence: if small { 0 } else { fence } };
        let mut message = ClientFrame { received, frame: Some(Client::Call(call)) }.encode_to_vec();
        for (at, byte) in damage {
            // The fields before the request are the ones that are looked at.
            let at = at.index(message.len().min(40));
            message[at] = byte;
        }
        for message in [&message[..], &message[..cut.index(message.len() + 1)]] {
            if let Some((received, call)) = read_plain_call(message) {
                let frame = Some(ClientSays::Call(call));
                prop_assert_eq!(read_any_client(message), Ok(FromClient { received, frame }));
            }
        }
    }
}

#[test]
fn a_call_as_encoders_write_it_is_plain() {
    for sequence in NUMBERS {
        let mut out = BytesMut::new();
        put_call(&mut out, sequence, sequence, 7, 13, &DictGetRequest { key: Some(crate::Datum::Text("hits".into())) });
        let (received, call) = read_plain_call(body(&out)).unwrap();
        assert_eq!((received, call.sequence, call.handle, call.op), (sequence, sequence, 7, 13));
    }
}
