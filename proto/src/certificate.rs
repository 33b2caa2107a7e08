//! What both ends must know of the manager's TLS certificate: the hash to which the handshake is bound, and until when it
//! is valid.
//!
//! The crates that do TLS keep both to themselves, so the few fields are read here.

use std::string::{String, ToString};
use std::time::{Duration, SystemTime};
use std::vec::Vec;

use der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{DateTime, Decode, Reader, SliceReader, Tag, TagNumber};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::scram::Binding;

/// A certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// It is none, or is damaged.
    #[error("it is not an X.509 certificate: {0}")]
    Malformed(der::Error),
    /// RFC 5929 defines no binding for it.
    #[error(
        "it is signed with {0}, for which RFC 5929 defines no tls-server-end-point: use one that is signed with ECDSA or \
         RSA and SHA-256"
    )]
    NoHash(ObjectIdentifier),
    /// Its time is over.
    #[error("it expired at {0}: use one that is valid")]
    Expired(String),
}

impl From<der::Error> for InvalidCertificate {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

/// What the proofs are bound to on a TLS connection: the `tls-server-end-point` of the server's certificate, in DER.
///
/// It is the hash of the certificate, by the hash function with which the certificate is signed, or by SHA-256 where that
/// is MD5 or SHA-1 (RFC 5929, section 4.1).
pub fn tls_server_end_point(certificate: &[u8]) -> Result<Binding, InvalidCertificate> {
    let (_, algorithm) = parts(certificate)?;
    let hash = match hash_function(algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    Ok(Binding::TlsServerEndPoint(hash))
}

/// The SHA-256 hash of a certificate in DER, as people compare it: in hexadecimal, with colons.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    let bytes: Vec<String> = Sha256::digest(certificate).iter().map(|byte| std::format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Refuses a certificate whose time is over at `now`.
pub fn check_not_expired(certificate: &[u8], now: SystemTime) -> Result<(), InvalidCertificate> {
    let (body, _) = parts(certificate)?;
    let end = body.sequence(|fields| {
        // The version is left out where it is the first.
        if Tag::peek(fields)?.is_context_specific() {
            fields.tlv_bytes()?;
        }
        let (_serial, _algorithm, _issuer) = (fields.tlv_bytes()?, fields.tlv_bytes()?, fields.tlv_bytes()?);
        let end = AnyRef::decode(fields)?.sequence(|validity| {
            validity.tlv_bytes()?;
            time(AnyRef::decode(validity)?)
        })?;
        skip(fields)?;
        Ok::<_, der::Error>(end)
    })?;
    // A clock before 1970 is wrong, and no reason to refuse.
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if now <= end {
        return Ok(());
    }
    let end = DateTime::from_unix_duration(end)?;
    Err(InvalidCertificate::Expired(end.to_string()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The body of a certificate, and the algorithm with which it is signed.
fn parts(certificate: &[u8]) -> Result<(AnyRef<'_>, AnyRef<'_>), der::Error> {
    AnyRef::from_der(certificate)?.sequence(|fields| {
        let parts = (AnyRef::decode(fields)?, AnyRef::decode(fields)?);
        skip(fields)?;
        Ok(parts)
    })
}

/// The hash function in the `AlgorithmIdentifier` of a signature (RFC 3279, RFC 4055, RFC 5758).
fn hash_function(algorithm: AnyRef<'_>) -> Result<Hash, InvalidCertificate> {
    const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    let (signature, parameters) = identifier(algorithm)?;
    if signature == RSASSA_PSS {
        return pss_hash_function(parameters);
    }
    match signature.to_string().as_str() {
        // RSA with MD5 and SHA-1, ECDSA with SHA-1; then with SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Ok(Hash::Sha256),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Ok(Hash::Sha256),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Ok(Hash::Sha224),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Ok(Hash::Sha384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Ok(Hash::Sha512),
        _ => Err(InvalidCertificate::NoHash(signature)),
    }
}

/// RSASSA-PSS names its hash function in its parameters, and means SHA-1 where it does not.
fn pss_hash_function(parameters: Option<AnyRef<'_>>) -> Result<Hash, InvalidCertificate> {
    const HASH_ALGORITHM: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    let Some(parameters) = parameters else { return Ok(Hash::Sha256) };
    let named = parameters.sequence(|fields| {
        let mut named = None;
        while !fields.is_finished() {
            let field = AnyRef::decode(fields)?;
            if field.header().tag() == HASH_ALGORITHM {
                named = Some(AnyRef::from_der(field.value())?);
            }
        }
        Ok::<_, der::Error>(named)
    })?;
    let Some(named) = named else { return Ok(Hash::Sha256) };
    let (hash, _) = identifier(named)?;
    match hash.to_string().as_str() {
        "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Ok(Hash::Sha256),
        "2.16.840.1.101.3.4.2.4" => Ok(Hash::Sha224),
        "2.16.840.1.101.3.4.2.2" => Ok(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Ok(Hash::Sha512),
        _ => Err(InvalidCertificate::NoHash(hash)),
    }
}

fn identifier(algorithm: AnyRef<'_>) -> Result<(ObjectIdentifier, Option<AnyRef<'_>>), der::Error> {
    algorithm.sequence(|fields| {
        let algorithm = ObjectIdentifier::decode(fields)?;
        let parameters = if fields.is_finished() { None } else { Some(AnyRef::decode(fields)?) };
        Ok((algorithm, parameters))
    })
}

/// Either form of a time, since 1970.
fn time(time: AnyRef<'_>) -> Result<Duration, der::Error> {
    match time.header().tag() {
        Tag::UtcTime => Ok(time.decode_as::<UtcTime>()?.to_unix_duration()),
        _ => Ok(time.decode_as::<GeneralizedTime>()?.to_unix_duration()),
    }
}

/// Passes over what is left, which is of no interest here.
fn skip<'a>(fields: &mut SliceReader<'a>) -> Result<(), der::Error> {
    while !fields.is_finished() {
        fields.tlv_bytes()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// A piece of DER.
    fn piece(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut piece = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => piece.push(length),
            Ok(length) => piece.extend([0x81, length]),
            Err(_) => panic!("no piece is that long"),
        }
        [piece, content].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        piece(0x30, parts)
    }

    fn oid(text: &str) -> Vec<u8> {
        piece(0x06, &[ObjectIdentifier::new_unwrap(text).as_bytes()])
    }

    /// A certificate as far as this module looks at it.
    fn certificate(algorithm: &[u8], end: &[u8]) -> Vec<u8> {
        let validity = sequence(&[&piece(0x17, &[b"750101000000Z"]), end]);
        let body = sequence(&[
            &piece(0xa0, &[&piece(0x02, &[&[2]])]),
            &piece(0x02, &[&[7; 20]]),
            algorithm,
            &sequence(&[]),
            &validity,
            &sequence(&[]),
            &sequence(&[&[0x05, 0x00]]),
        ]);
        sequence(&[&body, algorithm, &piece(0x03, &[&[0; 72]])])
    }

    fn far() -> Vec<u8> {
        piece(0x18, &[b"99991231235959Z"])
    }

    fn binding(algorithm: &[u8]) -> Result<usize, InvalidCertificate> {
        let certificate = certificate(algorithm, &far());
        let Binding::TlsServerEndPoint(hash) = tls_server_end_point(&certificate)? else { panic!("it is TLS") };
        let expected = match hash.len() {
            28 => Sha224::digest(&certificate).to_vec(),
            32 => Sha256::digest(&certificate).to_vec(),
            48 => Sha384::digest(&certificate).to_vec(),
            _ => Sha512::digest(&certificate).to_vec(),
        };
        assert_eq!(hash, expected);
        Ok(hash.len())
    }

    #[test]
    fn the_hash_is_that_of_the_signature_and_sha_256_for_weak_ones() {
        for (algorithm, length) in [
            ("1.2.840.113549.1.1.4", 32),
            ("1.2.840.113549.1.1.5", 32),
            ("1.2.840.10045.4.1", 32),
            ("1.2.840.113549.1.1.11", 32),
            ("1.2.840.113549.1.1.12", 48),
            ("1.2.840.113549.1.1.13", 64),
            ("1.2.840.113549.1.1.14", 28),
            ("1.2.840.10045.4.3.1", 28),
            ("1.2.840.10045.4.3.2", 32),
            ("1.2.840.10045.4.3.3", 48),
            ("1.2.840.10045.4.3.4", 64),
        ] {
            assert_eq!(binding(&sequence(&[&oid(algorithm), &[5, 0]])), Ok(length), "{algorithm}");
        }
        // Ed25519 has no hash function of its own.
        let ed25519 = binding(&sequence(&[&oid("1.3.101.112")])).unwrap_err();
        assert!(ed25519.to_string().contains("1.3.101.112") && ed25519.to_string().contains("ECDSA"), "{ed25519}");
    }

    #[test]
    fn pss_names_its_hash_in_its_parameters() {
        let pss = |parameters: &[&[u8]]| sequence(&[&[&oid("1.2.840.113549.1.1.10")[..]], parameters].concat());
        assert_eq!(binding(&pss(&[])), Ok(32));
        assert_eq!(binding(&pss(&[&sequence(&[])])), Ok(32));
        for (hash, length) in [
            ("1.3.14.3.2.26", 32),
            ("2.16.840.1.101.3.4.2.1", 32),
            ("2.16.840.1.101.3.4.2.2", 48),
            ("2.16.840.1.101.3.4.2.3", 64),
            ("2.16.840.1.101.3.4.2.4", 28),
        ] {
            let named = piece(0xa0, &[&sequence(&[&oid(hash), &[5, 0]])]);
            let others = piece(0xa2, &[&piece(0x02, &[&[48]])]);
            assert_eq!(binding(&pss(&[&sequence(&[&named, &others])])), Ok(length), "{hash}");
        }
        let unknown = piece(0xa0, &[&sequence(&[&oid("1.2.3.4")])]);
        assert!(matches!(binding(&pss(&[&sequence(&[&unknown])])), Err(InvalidCertificate::NoHash(_))));
    }

    #[test]
    fn the_end_of_its_time_is_told() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let algorithm = sequence(&[&oid("1.2.840.10045.4.3.2")]);
        let ends = certificate(&algorithm, &piece(0x17, &[b"300102030405Z"]));
        assert_eq!(check_not_expired(&ends, at(1_893_553_445)), Ok(()));
        let expired = check_not_expired(&ends, at(1_893_553_446)).unwrap_err().to_string();
        assert!(expired.contains("2030-01-02T03:04:05Z"), "{expired}");
        assert_eq!(check_not_expired(&certificate(&algorithm, &far()), at(200_000_000_000)), Ok(()));
    }

    #[test]
    fn a_damaged_certificate_is_refused_without_panic() {
        let whole = certificate(&sequence(&[&oid("1.2.840.113549.1.1.10"), &sequence(&[])]), &far());
        for length in 0..whole.len() {
            assert!(tls_server_end_point(&whole[..length]).is_err(), "{length} bytes");
            assert!(check_not_expired(&whole[..length], SystemTime::UNIX_EPOCH).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let _ = (tls_server_end_point(&flipped), check_not_expired(&flipped, SystemTime::UNIX_EPOCH));
            }
        }
    }

    #[test]
    fn a_fingerprint_is_readable() {
        let fingerprint = fingerprint(b"");
        assert!(fingerprint.starts_with("E3:B0:C4:42:") && fingerprint.len() == 95, "{fingerprint}");
    }
}
