//! As much of HTTP/1.1 as it takes to ask a server for JSON, one request at a time, over one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// No answer here is longer.
const LONGEST: usize = 64 << 10;

/// A connection that is kept.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects to a port of this machine.
    pub(super) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), host: format!("127.0.0.1:{port}") })
    }

    /// Posts JSON, and reads the JSON that comes back.
    pub(super) fn post<T: DeserializeOwned>(&mut self, path: &str, question: &impl Serialize) -> Result<T> {
        let body = serde_json::to_string(question)?;
        let (host, length) = (&self.host, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        // One write, so that it is one packet.
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        let (status, answer) = read_answer(&mut self.stream)?;
        if status != 200 {
            bail!("{path}: status {status}: {}", String::from_utf8_lossy(&answer));
        }
        serde_json::from_slice(&answer).with_context(|| format!("{path}: {}", String::from_utf8_lossy(&answer)))
    }
}

/// The status and the body of an answer that says its length.
fn read_answer(stream: &mut impl BufRead) -> Result<(u16, Vec<u8>)> {
    let status = read_line(stream)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let mut length = None;
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>().context("a length that is no number")?);
        }
    }
    let length = length.filter(|length| *length <= LONGEST).context("an answer without a length, or too long")?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, body))
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.take(LONGEST as u64).read_line(&mut line)? == 0 {
        bail!("the connection was closed");
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() -> Result<()> {
        let two = "HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone";
        let mut stream = two.as_bytes();
        assert_eq!(read_answer(&mut stream)?, (200, b"{}".to_vec()));
        assert_eq!(read_answer(&mut stream)?, (404, b"gone".to_vec()));
        assert!(read_answer(&mut stream).is_err(), "there is no third");
        assert!(read_answer(&mut "HTTP/1.1 200 OK\r\n\r\n".as_bytes()).is_err(), "without a length");
        Ok(())
    }
}
