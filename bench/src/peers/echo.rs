//! The raw echo: a 4-byte length and a body of the size of a call, small or large, sent back as it came. The least that a call
//! over this kind of socket can cost.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::args::EchoClientArgs;
use crate::child::{Child, Launch};
use crate::contender::LARGE;
use crate::contender::waiting::Library;
use crate::reading::Reading;
use crate::setting::Setting;
use crate::{load, worker};

const START: Duration = Duration::from_secs(10);
const LENGTH: usize = 4;
/// Bytes of a body that is about as large as a call.
const BODY: usize = 20;
/// As much as one read takes, at first; most frames here are far smaller.
const BUFFER: usize = 16 * 1024;

/// What one call sends, and how often one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) body: usize,
    pub(crate) trips: usize,
}

/// As large as a call, there and back.
pub(crate) const ONCE: Frame = Frame { body: BODY, trips: 1 };
/// The same, and again.
pub(crate) const TWICE: Frame = Frame { body: BODY, trips: 2 };
/// As large as the large value, there and back.
pub(crate) const LARGE_ONCE: Frame = Frame { body: LARGE, trips: 1 };

/// A running echo server.
pub(crate) struct Server {
    _process: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts a server on `socket`, and waits until it listens.
    pub(crate) fn start(setting: &Setting, socket: &Path, cpu: Option<usize>) -> Result<Self> {
        let launch = Launch::new("the echo server", &setting.program).words("echo-server --socket").arg(socket);
        let mut process = Child::start(launch, cpu)?;
        let word = process.line(START)?;
        if word != "ready" {
            bail!("the echo server said {word:?} instead of `ready`");
        }
        Ok(Self { _process: process, socket: socket.to_owned() })
    }

    /// One client, one frame at a time, in as many trips as a call has.
    pub(crate) fn call(
        &self,
        setting: &Setting,
        calls: u64,
        frame: Frame,
        library: Library,
        cpu: Option<usize>,
    ) -> Result<Reading> {
        let Frame { body, trips } = frame;
        let library = match library {
            Library::Async => "",
            Library::Blocking => "--blocking",
        };
        let launch = Launch::new("the echo client", &setting.program)
            .words(&format!("echo-client --calls {calls} --body {body} --trips {trips} {library} --socket"))
            .arg(&self.socket);
        worker::side_by_side([launch], cpu)
    }
}

/// The work of the hidden subcommand `echo-server`.
pub(crate) fn serve(socket: &Path) -> Result<()> {
    runtime()?.block_on(async {
        let listener = UnixListener::bind(socket).with_context(|| format!("listening on {}", socket.display()))?;
        worker::say("ready")?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A client that goes away ends its own connection, nothing else.
                let _ = echo(stream).await;
            });
        }
    })
}

async fn echo(mut stream: UnixStream) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    while stream.read_buf(&mut buffer).await? > 0 {
        // Every whole frame is sent back, the beginning of another is kept.
        let whole = whole_frames(&buffer);
        stream.write_all(&buffer[..whole]).await?;
        buffer.drain(..whole);
    }
    Ok(())
}

/// How many of the bytes are whole frames.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some((length, rest)) = bytes[whole..].split_first_chunk::<LENGTH>() {
        let length = u32::from_be_bytes(*length) as usize;
        if rest.len() < length {
            break;
        }
        whole += LENGTH + length;
    }
    whole
}

/// The work of the hidden subcommand `echo-client`.
pub(crate) fn call(args: &EchoClientArgs) -> Result<()> {
    if args.blocking { call_blocking(args) } else { runtime()?.block_on(call_async(args)) }
}

fn call_blocking(args: &EchoClientArgs) -> Result<()> {
    let mut stream = std::os::unix::net::UnixStream::connect(&args.socket)?;
    let (request, mut reply) = (frame(args.body), buffer(args.body));
    let work = |calls| {
        load::blocking(calls, || {
            for _ in 0..args.trips {
                stream.write_all(&request)?;
                let mut got = 0;
                while whole_frames(&reply[..got]) == 0 {
                    got += some(stream.read(&mut reply[got..])?)?;
                }
            }
            Ok::<_, std::io::Error>(())
        })
    };
    worker::measure_blocking(args.calls, work)
}

async fn call_async(args: &EchoClientArgs) -> Result<()> {
    let mut stream = UnixStream::connect(&args.socket).await?;
    worker::measure(args.calls, async |calls| echo_calls(&mut stream, calls, args).await).await
}

async fn echo_calls(stream: &mut UnixStream, calls: u64, args: &EchoClientArgs) -> Result<load::Load> {
    let (request, mut reply) = (frame(args.body), buffer(args.body));
    load::one_at_a_time(calls, async || {
        for _ in 0..args.trips {
            stream.write_all(&request).await?;
            let mut got = 0;
            while whole_frames(&reply[..got]) == 0 {
                got += some(stream.read(&mut reply[got..]).await?)?;
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .await
}

fn frame(body: usize) -> Vec<u8> {
    let mut frame = vec![b'x'; LENGTH + body];
    frame[..LENGTH].copy_from_slice(&(body as u32).to_be_bytes());
    frame
}

/// Where a reply has room.
fn buffer(body: usize) -> Vec<u8> {
    vec![0; BUFFER.max(LENGTH + body)]
}

fn some(read: usize) -> std::io::Result<usize> {
    if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_their_beginnings() {
        let mut bytes = frame(BODY);
        assert_eq!(whole_frames(&bytes[..3]), 0);
        assert_eq!(whole_frames(&bytes[..23]), 0);
        assert_eq!(whole_frames(&bytes), 24);
        bytes.extend_from_slice(&frame(BODY)[..10]);
        assert_eq!(whole_frames(&bytes), 24);
    }
}
