//! What requests say in their headers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use holdfast_proto::{
    FENCE_METADATA, HANDLE_METADATA, OBJECT_BINARY_METADATA, OBJECT_METADATA, Reason, Refusal, TOKEN_METADATA,
};
use http::{HeaderMap, HeaderValue, header};

use crate::rpc::Target;

/// Metadata in binary is base64 with or without padding.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token that came with a request.
pub(super) fn token(headers: &HeaderMap) -> Option<Vec<u8>> {
    BINARY.decode(headers.get(TOKEN_METADATA)?.as_bytes()).ok()
}

/// Whether the body is gRPC's, with messages of protobuf.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim_end();
    matches!(content, "application/grpc" | "application/grpc+proto")
}

/// Which object a unary call is about. Refused: `MALFORMED`.
pub(super) fn target(headers: &HeaderMap) -> Result<Target, Refusal> {
    type Read = fn(&HeaderValue) -> Option<Target>;
    let ways: [(&str, Read, &str); 3] = [
        (OBJECT_METADATA, percent_encoded, "printable ASCII, with % and everything else percent-encoded as UTF-8"),
        (OBJECT_BINARY_METADATA, binary, "UTF-8, in base64"),
        (HANDLE_METADATA, handle, "a number in decimal"),
    ];
    let mut target = Target::Nothing;
    for (key, read, form) in ways {
        for value in headers.get_all(key) {
            if target != Target::Nothing {
                return Err(malformed(format!(
                    "the call names its object twice: send one of {OBJECT_METADATA}, {OBJECT_BINARY_METADATA} and \
                     {HANDLE_METADATA}, once"
                )));
            }
            target =
                read(value).ok_or_else(|| malformed(format!("the metadata {key} cannot be read: it is {form}")))?;
        }
    }
    Ok(target)
}

fn malformed(problem: String) -> Refusal {
    Refusal::new(Reason::Malformed, problem)
}

fn binary(value: &HeaderValue) -> Option<Target> {
    String::from_utf8(BINARY.decode(value.as_bytes()).ok()?).ok().map(Target::Name)
}

fn handle(value: &HeaderValue) -> Option<Target> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().map(Target::Handle)
}

/// Percent-encoding as in `grpc-message`. What does not decode is refused: the name of an object must not be guessed.
fn percent_encoded(value: &HeaderValue) -> Option<Target> {
    let mut name = Vec::with_capacity(value.len());
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b' '..=b'~' => byte,
            _ => return None,
        });
    }
    String::from_utf8(name).ok().map(Target::Name)
}

/// The fence with which a unary call comes; 0 if with none. Refused: `MALFORMED`.
pub(super) fn fence(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(value) = headers.get(FENCE_METADATA) else { return Ok(0) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let fence = digits.and_then(|digits| digits.parse().ok());
    fence.ok_or_else(|| malformed(format!("the metadata {FENCE_METADATA} cannot be read: it is a number in decimal")))
}

/// How long the client waits for the answer, if it says so. Refused: `MALFORMED`.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(read_timeout);
    let problem =
        || malformed("the metadata grpc-timeout is at most eight digits and one of H, M, S, m, u, n".to_owned());
    timeout.map(Some).ok_or_else(problem)
}

fn read_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let value = |value| HeaderValue::from_bytes(value).expect("a value");
        pairs.iter().map(|&(key, bytes)| (key.parse().expect("a name"), value(bytes))).collect()
    }

    #[test]
    fn an_object_is_named_in_one_of_three_ways() {
        let name = |name: &str| Target::Name(name.to_owned());
        for (key, value, expected) in [
            ("holdfast-object", &b"hits"[..], name("hits")),
            ("holdfast-object", b"", name("")),
            ("holdfast-object", b"100%25 of %c3%A4 b", name("100% of \u{e4} b")),
            ("holdfast-object-bin", b"w6Q=", name("\u{e4}")),
            ("holdfast-object-bin", b"w6Q", name("\u{e4}")),
            ("holdfast-handle", b"0", Target::Handle(0)),
            ("holdfast-handle", b"4294967295", Target::Handle(u32::MAX)),
        ] {
            assert_eq!(target(&headers(&[(key, value)])), Ok(expected), "{key}: {value:?}");
        }
        assert_eq!(target(&headers(&[("holdfast", b"hits")])), Ok(Target::Nothing));
    }

    #[test]
    fn what_names_no_object_or_several_is_refused() {
        for (key, value) in [
            ("holdfast-object", &b"%"[..]),
            ("holdfast-object", b"a%4"),
            ("holdfast-object", b"%zz"),
            ("holdfast-object", b"%+1"),
            ("holdfast-object", b"%ff"),
            ("holdfast-object", b"\xc3\xa4"),
            ("holdfast-object-bin", b"w6Q*"),
            ("holdfast-object-bin", b"/w=="),
            ("holdfast-object-bin", b"w6Q,w6Q"),
            ("holdfast-handle", b""),
            ("holdfast-handle", b"+1"),
            ("holdfast-handle", b"-1"),
            ("holdfast-handle", b"4294967296"),
            ("holdfast-handle", b"hits"),
        ] {
            let refusal = target(&headers(&[(key, value)])).expect_err("it was to be refused");
            assert!(refusal.why() == Reason::Malformed && refusal.message.contains(key), "{refusal}");
        }
        for pairs in [
            [("holdfast-object", &b"a"[..]), ("holdfast-object-bin", b"YQ")],
            [("holdfast-object", b"a"), ("holdfast-handle", b"1")],
            [("holdfast-handle", b"1"), ("holdfast-handle", b"1")],
        ] {
            let refusal = target(&headers(&pairs)).expect_err("it was to be refused");
            assert!(refusal.message.contains("twice"), "{refusal}");
        }
    }

    #[test]
    fn timeouts_have_the_units_of_grpc() {
        let read = |value: &[u8]| timeout(&headers(&[("grpc-timeout", value)])).map_err(|refusal| refusal.why());
        for (value, expected) in [
            (&b"0n"[..], Duration::ZERO),
            (b"99999999H", Duration::from_secs(99_999_999 * 3600)),
            (b"2M", Duration::from_secs(120)),
            (b"3S", Duration::from_secs(3)),
            (b"4m", Duration::from_millis(4)),
            (b"5u", Duration::from_micros(5)),
            (b"6n", Duration::from_nanos(6)),
        ] {
            assert_eq!(read(value), Ok(Some(expected)));
        }
        for value in [&b""[..], b"S", b"1", b"1s", b"-1S", b"+1S", b"123456789n", b"1 S", b"\xff"] {
            assert_eq!(read(value), Err(Reason::Malformed), "{value:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    /// Percent-encoded as strictly as can be.
    fn encoded(name: &str) -> String {
        name.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    #[test]
    fn whatever_the_metadata_are_they_name_an_object_or_are_refused() {
        const PIECES: [&[u8]; 12] =
            [b"%", b"%4", b"%41", b"%c3%a4", b"%ff", b"%zz", b"a", b" ", b"=", b"w6Q", b"\xc3\xa4", b"4294967295"];
        let mut source = holdfast_objects::testing::Source::new(1);
        for _ in 0..20_000 {
            let pieces = 0..source.below(6);
            let value: Vec<u8> = pieces.flat_map(|_| PIECES[source.below(12) as usize].to_vec()).collect();
            for key in [OBJECT_METADATA, OBJECT_BINARY_METADATA, HANDLE_METADATA] {
                match target(&headers(&[(key, &value)])) {
                    Ok(Target::Name(name)) => {
                        assert!(name.len() <= value.len(), "{name:?} from {value:?}");
                        let again = target(&headers(&[(OBJECT_METADATA, encoded(&name).as_bytes())]));
                        assert_eq!(again, Ok(Target::Name(name)));
                    }
                    Ok(Target::Handle(handle)) => {
                        let again = target(&headers(&[(HANDLE_METADATA, handle.to_string().as_bytes())]));
                        assert_eq!(again, Ok(Target::Handle(handle)));
                    }
                    Ok(other) => panic!("{other:?} from {value:?}"),
                    Err(refusal) => assert_eq!(refusal.why(), Reason::Malformed),
                }
            }
            let headers = headers(&[("grpc-timeout", &value), ("content-type", &value), (TOKEN_METADATA, &value)]);
            let _ = (timeout(&headers), is_grpc(&headers));
            assert!(token(&headers).is_none_or(|token| token.len() <= value.len()));
        }
    }

    #[test]
    fn only_grpc_with_protobuf_is_grpc() {
        for (value, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc+json", false),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&headers(&[("content-type", value.as_bytes())])), is, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
