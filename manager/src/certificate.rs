//! The certificate that a manager shows over TLS.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use holdfast_proto::certificate::{InvalidCertificate, check_not_expired, fingerprint, tls_server_end_point};
use holdfast_proto::place::{PrivateFileError, create_private_file, read_private_file};
use holdfast_proto::scram::Binding;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};

/// What every certificate that a manager makes is valid for, whatever it is reached as: a client of another library that
/// insists on a name uses this one.
const NAME: &str = "manager.internal";

/// How a client of this machine may call it.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificate of a manager, with its private key: what it needs to listen on `https://` addresses.
///
/// Clients need not know it. They take any certificate, and the proofs of the handshake are bound to the one that they
/// got: only a manager that holds the authkey can have shown it.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    binding: Binding,
    fingerprint: String,
}

/// The certificate of a manager, or its private key, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file with the certificate cannot be read.
    #[error("the certificate {} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file with the private key cannot be read or written, or others could have done either.
    #[error("the private key {} {problem}", path.display())]
    PrivateKey {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        problem: PrivateFileError,
    },
    /// The file holds none that can be used.
    #[error("the certificate {} cannot be used: {problem}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// The file holds no private key that can be used.
    #[error("the private key {} cannot be used: {problem}", path.display())]
    UnusableKey {
        /// Which file.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
}

impl Certificate {
    /// Reads the certificate and its private key from one file, and makes the file first if there is none.
    ///
    /// What is made is signed by itself, with ECDSA on P-256, and has no end of validity (RFC 5280, 4.1.2.5). Its names are
    /// `manager.internal`, those of this machine for itself, and `hosts`, as far as they are names. The file must belong to
    /// this user and be accessible to nobody else; it appears whole or not at all.
    ///
    /// Fails where the file cannot be made or read, is exposed, or does not hold what it should, and where the certificate
    /// has expired.
    pub fn create(path: &Path, hosts: &[&str]) -> Result<Self, CertificateError> {
        let failed = |problem| CertificateError::PrivateKey { path: path.into(), problem };
        let pem = match read_private_file(path) {
            Err(PrivateFileError::Missing) => {
                let unmade = |error: rcgen::Error| failed(PrivateFileError::Write(io::Error::other(error)));
                create_private_file(path, make(hosts).map_err(unmade)?.as_bytes()).map_err(failed)?;
                read_private_file(path)
            }
            found => found,
        };
        let pem = pem.map_err(failed)?;
        let again = |error| match error {
            CertificateError::Unusable { path, problem } => {
                let problem = format!("{problem} (or delete the file, and holdfast serve makes a new one)");
                CertificateError::Unusable { path, problem }
            }
            error => error,
        };
        Self::of((path, &pem), (path, &pem)).map_err(again)
    }

    /// Reads a certificate, followed by those that it is signed with, if any, and its private key, all in PEM.
    ///
    /// The file of the private key must belong to this user and be accessible to nobody else. Fails where one of the two
    /// cannot be read, they do not belong together, the certificate has expired, or proofs cannot be bound to it.
    pub fn read(certificate: &Path, private_key: &Path) -> Result<Self, CertificateError> {
        let chain =
            fs::read(certificate).map_err(|error| CertificateError::Unreadable { path: certificate.into(), error })?;
        let key = read_private_file(private_key)
            .map_err(|problem| CertificateError::PrivateKey { path: private_key.into(), problem })?;
        Self::of((certificate, &chain), (private_key, &key))
    }

    /// The SHA-256 hash of the certificate, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// What the proofs on its connections are bound to.
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    fn of(certificate: (&Path, &[u8]), private_key: (&Path, &[u8])) -> Result<Self, CertificateError> {
        let unusable = |problem: String| CertificateError::Unusable { path: certificate.0.into(), problem };
        let invalid = |error: InvalidCertificate| unusable(error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.1)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(format!("it is not in PEM: {error}")))?;
        let own = chain.first().ok_or_else(|| unusable("there is none in the file, in PEM".to_owned()))?;
        let (binding, fingerprint) = (tls_server_end_point(own).map_err(invalid)?, fingerprint(own));
        check_not_expired(own, SystemTime::now()).map_err(invalid)?;
        let key = PrivateKeyDer::from_pem_slice(private_key.1).map_err(|error| CertificateError::UnusableKey {
            path: private_key.0.into(),
            problem: format!("there is none in the file, in PEM without a passphrase ({error})"),
        })?;
        let config = configure(chain, key)
            .map_err(|error| unusable(format!("it and the key in {} do not fit: {error}", private_key.0.display())))?;
        Ok(Self { config: Arc::new(config), binding, fingerprint })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// TLS 1.3 alone: every library that speaks gRPC has it, and nothing can be talked down.
fn configure(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session of ours has one connection, so there is nothing to resume; and what is resumed shows no certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// A new certificate and its private key, in PEM.
fn make(hosts: &[&str]) -> Result<String, rcgen::Error> {
    let is_name = |host: &&&str| match host.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => host.is_ascii(),
    };
    let mut names: Vec<String> = [NAME].iter().chain(&LOCAL_NAMES).map(ToString::to_string).collect();
    for host in hosts.iter().filter(is_name) {
        if !names.iter().any(|name| name == host) {
            names.push((*host).to_owned());
        }
    }
    let mut certificate = CertificateParams::new(names)?;
    certificate.distinguished_name.push(DnType::CommonName, "Holdfast manager");
    certificate.is_ca = IsCa::ExplicitNoCa;
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    certificate.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let key = KeyPair::generate()?;
    Ok(certificate.self_signed(&key)?.pem() + &key.serialize_pem())
}
