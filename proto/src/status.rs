//! A refusal as the status of an RPC: the messages that gRPC's rich error model puts beside code and text.
//!
//! The numbers are those of `google/rpc/status.proto`, `google/rpc/error_details.proto` and `google/protobuf/any.proto`.
//! See <https://grpc.io/docs/guides/error/> and <https://google.aip.dev/193>.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use prost::{Message, Name};

use crate::{Reason, Refusal};

/// The domain of all reasons of Holdfast.
pub const DOMAIN: &str = "holdfast.v1";

/// How long the text of a status may be, in bytes. It travels three times in the headers of a response, once
/// percent-encoded, and clients take 8 KiB of headers.
const TEXT_BYTES: usize = 1000;

/// How long the path of an RPC may be there. Those that exist are shorter.
const PATH_BYTES: usize = 200;

/// `google.rpc.Status`: what `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, Message)]
pub struct RichStatus {
    /// The gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The text, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// What programs decide by.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// `google.protobuf.Any`: a message, and which one it is.
#[derive(Clone, PartialEq, Message)]
pub struct Detail {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`: the reason.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    /// The name of the [`Reason`], as in the `.proto` file.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// [`DOMAIN`].
    #[prost(string, tag = "2")]
    pub domain: String,
    /// More, by name: `method`, the path of the RPC, and `number`, the number of the reason.
    #[prost(btree_map = "string, string", tag = "3")]
    pub metadata: BTreeMap<String, String>,
}

impl Name for ErrorInfo {
    const NAME: &'static str = "ErrorInfo";
    const PACKAGE: &'static str = "google.rpc";
}

impl Name for Refusal {
    const NAME: &'static str = "Refusal";
    const PACKAGE: &'static str = "holdfast.v1";
}

impl RichStatus {
    /// The status that stands for `refusal` where the RPC of that path was refused: an [`ErrorInfo`] for any gRPC client,
    /// and the [`Refusal`] for those that have the `.proto` files. A long text is cut.
    #[must_use]
    pub fn new(refusal: &Refusal, path: &str) -> Self {
        let message = cut(&refusal.message, TEXT_BYTES);
        let metadata = [("method", cut(path, PATH_BYTES)), ("number", refusal.reason.to_string())];
        let info = ErrorInfo {
            reason: refusal.why().as_str_name().to_string(),
            domain: DOMAIN.to_string(),
            metadata: metadata.map(|(name, value)| (name.to_string(), value)).into(),
        };
        let short = Refusal { reason: refusal.reason, message: message.clone() };
        Self { code: refusal.why().grpc_code(), message, details: vec![Detail::new(&info), Detail::new(&short)] }
    }

    /// The detail of that type, if there is one that can be read.
    #[must_use]
    pub fn detail<M: Message + Name + Default>(&self) -> Option<M> {
        let detail = self.details.iter().find(|detail| detail.type_url.rsplit('/').next() == Some(&*M::full_name()))?;
        M::decode(&*detail.value).ok()
    }

    /// The reason, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_str_name(&self.detail::<ErrorInfo>()?.reason)
    }
}

impl Detail {
    fn new<M: Message + Name>(message: &M) -> Self {
        Self { type_url: alloc::format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
    }
}

fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_string();
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    alloc::format!("{}\u{2026}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_can_be_read_back_from_its_status() {
        let refusal = Refusal::new(Reason::MissingKey, "the dict has no key 1");
        let status = RichStatus::new(&refusal, "/holdfast.v1.DictService/Pop");
        let status = RichStatus::decode(&*status.encode_to_vec()).expect("it was just encoded");
        assert_eq!((status.code, &*status.message), (5, "the dict has no key 1"));
        assert_eq!(status.reason(), Some(Reason::MissingKey));
        assert_eq!(status.detail::<Refusal>(), Some(refusal));
        let info = status.detail::<ErrorInfo>().expect("it is there");
        assert_eq!((&*info.reason, &*info.domain), ("REASON_MISSING_KEY", "holdfast.v1"));
        assert_eq!(info.metadata["method"], "/holdfast.v1.DictService/Pop");
        assert_eq!(info.metadata["number"], "6");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let refusal = Refusal::new(Reason::Quota, "x".to_string() + &"\u{e4}".repeat(1000));
        let status = RichStatus::new(&refusal, &"/".repeat(8000));
        assert_eq!(status.message.len(), 999 + 3);
        assert!(status.message.ends_with("\u{e4}\u{2026}"));
        // Whatever the text, the headers of a refusal fit what clients take.
        assert!(3 * status.message.len() + status.encoded_len() * 4 / 3 < 8000);
    }
}
