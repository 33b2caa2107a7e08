//! TLS as tests need it: a client that takes any certificate, certificates to choose from, and those who stand between.

use std::io;
use std::sync::{Arc, Mutex};

use holdfast::Address;
use holdfast_proto::certificate::tls_server_end_point;
use holdfast_proto::scram::Binding;
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::wait::within;

/// Connects to a port and shakes hands, whatever certificate it shows; also returns what proofs are to be bound to.
pub async fn connect_tls(authority: &str) -> io::Result<(TlsStream<TcpStream>, Binding)> {
    let provider = rustls::crypto::ring::default_provider().into();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(authority).await?;
    let name = ServerName::try_from("manager.internal").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let stream = within("a TLS handshake", connecting).await?;
    let binding = tls_server_end_point(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
    Ok((stream, binding))
}

/// Checks nothing.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A new certificate that is signed by itself with this algorithm, and its private key, both in PEM.
#[must_use]
pub fn certificate(algorithm: &'static SignatureAlgorithm) -> String {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(["manager.internal".to_owned()]).unwrap().self_signed(&key).unwrap();
    certificate.pem() + &key.serialize_pem()
}

/// What accepts TLS with a certificate and its private key, both in PEM.
#[must_use]
pub fn acceptor(pem: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    showing(certificate, &PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap())
}

/// What accepts TLS with a certificate and a private key, whether they belong together or not.
fn showing(certificate: CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> TlsAcceptor {
    let key = rustls::crypto::ring::sign::any_supported_type(key).unwrap();
    let provider = rustls::crypto::ring::default_provider().into();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Somebody between clients and a manager, who passes everything on and keeps a copy.
#[derive(Debug)]
pub struct Between {
    /// Where clients reach it.
    pub address: Address,
    heard: Arc<Heard>,
    cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What went by.
#[derive(Debug, Default)]
struct Heard {
    from_clients: Mutex<Vec<u8>>,
    from_manager: Mutex<Vec<u8>>,
}

impl Between {
    /// Sees what goes over the network.
    pub async fn listening(manager: &Address) -> Self {
        Self::start(manager, None).await
    }

    /// Has a certificate of its own, and so sees what is inside TLS.
    pub async fn decrypting(manager: &Address) -> Self {
        Self::start(manager, Some(acceptor(&certificate(&rcgen::PKCS_ECDSA_P256_SHA256)))).await
    }

    /// Shows the certificate of the manager, but has another private key.
    pub async fn imitating(manager: &Address) -> Self {
        let Address::Https(authority) = manager else { panic!("{manager} shows no certificate") };
        let (stream, _) = connect_tls(authority).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let own = self::certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let key = PrivateKeyDer::from_pem_slice(own.as_bytes()).unwrap();
        Self::start(manager, Some(showing(certificate, &key))).await
    }

    async fn start(manager: &Address, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (address, to) = match manager {
            Address::Http(to) => (Address::Http(authority), to.clone()),
            Address::Https(to) => (Address::Https(authority), to.clone()),
            Address::Unix(_) => panic!("nobody stands between on a Unix socket"),
        };
        let (cut, _) = watch::channel(false);
        let heard = Arc::<Heard>::default();
        let (receiver, copy) = (cut.subscribe(), heard.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, tls, heard, mut cut) = (to.clone(), tls.clone(), copy.clone(), receiver.clone());
                tokio::spawn(async move {
                    let pass = async {
                        match tls {
                            None => pass(client, TcpStream::connect(to).await?, &heard).await,
                            Some(tls) => pass(tls.accept(client).await?, connect_tls(&to).await?.0, &heard).await,
                        }
                    };
                    tokio::select! {
                        _ = pass => {}
                        // Ends also when nobody is left who could cut.
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, heard, cut, task }
    }

    /// What clients said.
    #[must_use]
    pub fn from_clients(&self) -> Vec<u8> {
        self.heard.from_clients.lock().unwrap().clone()
    }

    /// What the manager said.
    #[must_use]
    pub fn from_manager(&self) -> Vec<u8> {
        self.heard.from_manager.lock().unwrap().clone()
    }

    /// Ends every connection without a word of TLS.
    pub fn cut(&self) {
        self.cut.send(true).unwrap();
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    client: impl AsyncRead + AsyncWrite,
    manager: impl AsyncRead + AsyncWrite,
    heard: &Heard,
) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_manager, to_manager) = tokio::io::split(manager);
    tokio::join!(
        copy(from_client, to_manager, &heard.from_clients),
        copy(from_manager, to_client, &heard.from_manager)
    );
    Ok(())
}

/// One direction, until it ends.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        heard.lock().unwrap().extend_from_slice(&buffer[..read]);
        // Who does not listen any more misses it; what is said is still heard.
        let _ = to.write_all(&buffer[..read]).await;
        let _ = to.flush().await;
    }
    let _ = to.shutdown().await;
}
