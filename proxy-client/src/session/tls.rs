//! TLS between h2 and a socket, on `https://` addresses.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use holdfast_proto::certificate::tls_server_end_point;
use holdfast_proto::place::Address;
use holdfast_proto::scram::Binding;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, PeerIncompatible, SignatureScheme, version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::error::ConnectError;
use crate::owner::{FORKED, Owner};

/// Every manager's own certificate is valid for this name. It is of no use where a host has no name.
const NAME: &str = "manager.internal";

/// A socket as h2 sees it: itself, or through TLS.
///
/// What waits in between is never forgotten. h2 reads until it is told `Pending`, and that is only told when nothing is
/// decrypted and left, and the socket has nothing; it flushes whenever it is polled, and what is encrypted and not sent
/// keeps the flush pending on the socket.
#[derive(Debug)]
pub(super) enum MaybeTls<Io: AsyncRead + AsyncWrite + Unpin> {
    Plain(Io),
    Tls(Box<Tls<Io>>),
}

/// A socket with TLS over it. When it is dropped, it tells the peer that nothing more will come.
#[derive(Debug)]
pub(super) struct Tls<Io: AsyncRead + AsyncWrite + Unpin> {
    stream: TlsStream<Io>,
    owner: Owner,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> MaybeTls<Io> {
    /// Shakes hands, where the address is one of TLS. Also returns what the proofs must be bound to.
    ///
    /// Any certificate is taken here. Whose it is shows when the manager has proven that it holds the authkey and was asked
    /// for this very certificate; until then, nothing may be sent but the proof.
    pub(super) async fn open(io: Io, target: &Target) -> Result<(Self, Binding), ConnectError> {
        let Address::Https(_) = &target.address else { return Ok((Self::Plain(io), Binding::None)) };
        let broken = |error: io::Error| failed(&target.address, &error);
        let config = configure().map_err(|error| broken(io::Error::other(error)))?;
        let host = target.address.host().unwrap_or(NAME).to_owned();
        let name = ServerName::try_from(host).or_else(|_| ServerName::try_from(NAME));
        let name = name.map_err(|error| broken(io::Error::other(error)))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await.map_err(broken)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let binding = tls_server_end_point(certificate.map(AsRef::as_ref).unwrap_or_default()).map_err(|error| {
            let cause = format!("its TLS certificate cannot be used: {error}");
            ConnectError::Protocol { address: target.address.clone(), cause }
        })?;
        Ok((Self::Tls(Box::new(Tls { stream, owner: Owner::this() })), binding))
    }
}

/// Why there was no TLS handshake, and what may help.
fn failed(address: &Address, error: &io::Error) -> ConnectError {
    let address = address.clone();
    let advice = "if it serves without TLS, write http:// instead of https://";
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            ConnectError::Protocol { address, cause: format!("it does not speak TLS; {advice}") }
        }
        Some(error) => ConnectError::Protocol { address, cause: format!("the TLS handshake failed: {error}") },
        None => {
            ConnectError::Unreachable { address, cause: format!("the TLS handshake was cut off ({error}); {advice}") }
        }
    }
}

/// TLS 1.3 alone, as the manager has it; nothing is talked down.
fn configure() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    // What is resumed shows no certificate, and proofs are bound to one.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Takes any certificate, of which the peer must hold the private key: the proofs that follow tell whose it is.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Tls<Io> {
    /// What is written through. A fork may not: it would use the keys of its parent a second time.
    fn writer(&mut self) -> io::Result<Pin<&mut TlsStream<Io>>> {
        if self.owner.is_elsewhere() {
            return Err(io::Error::other(FORKED));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for MaybeTls<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_read(cx, buffer),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MaybeTls<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(tls) => tls.writer()?.poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, buffers),
            Self::Tls(tls) => tls.writer()?.poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(tls) => tls.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(tls) => tls.writer()?.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(tls) => tls.writer()?.poll_shutdown(cx),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Drop for Tls<Io> {
    fn drop(&mut self) {
        // close_notify, as far as the socket takes it now: nobody waits for it.
        if let Ok(writer) = self.writer() {
            let _ = writer.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}
