//! How connections are treated.

use std::time::Duration;

use holdfast_stream::BusyPoll;

use crate::settings;
use crate::settings::{Count, Polling, Size, Span};

/// The largest window that HTTP/2 has (RFC 9113, section 6.9.1).
const WINDOW_MAX: u64 = (1 << 31) - 1;

/// The window that HTTP/2 has without being told (RFC 9113, section 6.9.2).
const WINDOW_MIN: u64 = (1 << 16) - 1;

settings! {
    /// How connections are treated: what HTTP/2 and TCP are told, and how long things may take.
    ///
    /// The defaults bound what a hostile client can cost; each says which attack it is there for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Network {
        /// How long a new connection may take to prove that it holds the authkey, HTTP/2's own handshake included. It is
        /// closed then.
        "handshake_timeout" handshake_timeout: Duration as Span in 1..=3_600_000, = Duration::from_secs(10);
        /// How long a TCP peer may be silent before its host is asked for a sign of life. Whole seconds count.
        "keepalive_time" keepalive_time: Duration as Span in 1000..=86_400_000, = Duration::from_secs(10);
        /// How long the host of a silent TCP peer has for a sign of life; the connection ends then. Whole multiples of
        /// two seconds count. For keepalive_time and this time together, what is sent to a TCP peer may stay unacknowledged.
        "keepalive_timeout" keepalive_timeout: Duration as Span in 2000..=240_000, = Duration::from_secs(10);
        /// How long a session waits for its client after its TCP connection broke; it is lost then. With 0ms it is lost at
        /// once.
        "session_grace" session_grace: Duration as Span in 0..=600_000, = Duration::from_secs(2);
        /// How long nothing is accepted after the system had no file descriptor for a connection, or no memory.
        "accept_pause" accept_pause: Duration as Span in 1..=60_000, = Duration::from_millis(100);
        /// Streams of one connection at once. Every call of a session is on one stream.
        "http2_max_concurrent_streams" max_concurrent_streams: u32 as Count in 2..=u64::from(u32::MAX), = 256;
        /// Streams of one connection that are reset for an error of the client before the connection ends
        /// ("MadeYouReset", CVE-2025-8671).
        "http2_max_local_error_resets" max_local_error_resets: usize as Count, = 256;
        /// Streams that a client has reset before they were taken in, at once; more end the connection ("rapid reset",
        /// CVE-2023-44487).
        "http2_max_pending_accept_resets" max_pending_accept_resets: usize as Count, = 20;
        /// Bytes in the headers of one request, as HTTP/2 counts them. A connection that sends four times as much ends.
        "http2_max_header_list" max_header_list: u32 as Size in 1024..=1 << 20, = 8 << 10;
        /// Bytes that a client may send on one stream before the manager has read them.
        "http2_stream_window" stream_window: u32 as Size in WINDOW_MIN..=WINDOW_MAX, = 1 << 20;
        /// Bytes that a client may send on all streams of a connection before the manager has read them.
        "http2_connection_window" connection_window: u32 as Size in WINDOW_MIN..=WINDOW_MAX, = 2 << 20;
        /// Bytes of one stream that wait inside HTTP/2 to be sent. What is beyond waits where max_outbound_bytes counts it.
        "http2_send_buffer" send_buffer: usize as Size in 16 << 10..=u64::from(u32::MAX), = 128 << 10;
        /// Whether a thread that has served a call looks for the next one for a while before it sleeps: auto, off, or a
        /// number of microseconds from 1 to 1000.
        ///
        /// With auto it does so where that has lately paid, for 50 microseconds at most: calls that come one after the
        /// other are answered in a fraction of the time. A manager that nobody calls sleeps, and so does one that has a
        /// single CPU, or shares its CPUs with others who want them.
        "busy_poll" busy_poll: BusyPoll as Polling, = BusyPoll::Auto;
    }
}
