//! TLS on a connection that came in, and a word to those who came without.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Certificate;

/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What HTTP/2 in plain text begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// What those are told who do not speak TLS.
const ADVICE: &str = "this port speaks TLS: write https:// instead of http://";

/// Shakes hands. An error means that the connection is of no use; its peer was told why, where that can be done.
pub(super) async fn shake_hands(mut stream: TcpStream, certificate: &Certificate) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        advise(&mut stream).await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    TlsAcceptor::from(certificate.config().clone()).accept(stream).await
}

/// Tells a client in plain HTTP what is wrong, and waits until it has taken note.
async fn advise(stream: &mut TcpStream) -> io::Result<()> {
    let mut said = [0; 1024];
    let mut length = 0;
    // As far as is needed to know which version it speaks.
    while length < PREFACE.len() && said[..length] == PREFACE[..length] {
        match stream.read(&mut said[length..]).await? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    let answer = if said.starts_with(PREFACE) { go_away() } else { bad_request() };
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // Closed with bytes unread, the connection would be reset, and the answer lost.
    while stream.read(&mut said).await? > 0 {}
    Ok(())
}

/// SETTINGS, and GOAWAY with the error PROTOCOL_ERROR (RFC 9113, section 6).
fn go_away() -> Vec<u8> {
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const LAST_STREAM: [u8; 4] = [0; 4];
    const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
    let length = 8 + u8::try_from(ADVICE.len()).expect("the advice is short");
    let head = [0, 0, length, 7, 0, 0, 0, 0, 0];
    [&EMPTY_SETTINGS[..], &head, &LAST_STREAM, &PROTOCOL_ERROR, ADVICE.as_bytes()].concat()
}

fn bad_request() -> Vec<u8> {
    let length = ADVICE.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{ADVICE}\n"
    )
    .into_bytes()
}
