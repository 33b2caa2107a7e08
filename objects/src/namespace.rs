//! A shared object with attributes: kind `namespace`.

use alloc::format;
use alloc::string::{String, ToString as _};

use holdfast_proto::datum::Reference;
use holdfast_proto::namespace::{Op, Reply, Spec};
use holdfast_proto::{
    Attribute, Datum, DictAddRequest, DictCompareAndSetRequest, DictContainsRequest, DictDeleteRequest, DictGetRequest,
    DictScanRequest, DictSetRequest, DictUpdateRequest, Entry, NamespaceAddRequest, NamespaceAddResponse,
    NamespaceCompareAndSetRequest, NamespaceCompareAndSetResponse, NamespaceContainsRequest, NamespaceContainsResponse,
    NamespaceDeleteRequest, NamespaceDeleteResponse, NamespaceGetRequest, NamespaceGetResponse, NamespaceScanRequest,
    NamespaceScanResponse, NamespaceSetManyRequest, NamespaceSetManyResponse, NamespaceSetRequest,
    NamespaceSetResponse, Reason, Refusal, ScanWhat, dict, dict_compare_and_set_request,
    namespace_compare_and_set_request,
};

use crate::dict::{self as dicts, Dict};
use crate::{Answer, Creation, Object, Turn};

/// How many bytes the name of an attribute may have.
const NAME_BYTES: usize = 256;

/// Python's Namespace: a dict whose keys are names. An attribute costs what an entry of a dict does.
///
/// What a dict does is left to a dict. What differs is what names may be, and that a missing attribute is refused where a
/// dict would answer with nothing or begin at 0.
#[derive(Debug)]
pub struct Namespace {
    attributes: Dict,
}

impl Object for Namespace {
    type Spec = Spec;
    type Op = Op;
    type State = dicts::State;

    fn create(_: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        Ok(Self { attributes: Dict::create(dict::Spec {}, creation)? })
    }

    fn restore(state: dicts::State, creation: &mut Creation) -> Result<Self, Refusal> {
        for entry in &state.entries {
            match &entry.key {
                Datum::Text(name) => check(name)?,
                other => return Err(damaged(other)),
            }
        }
        Ok(Self { attributes: Dict::restore(state, creation)? })
    }

    fn state(&self) -> dicts::State {
        self.attributes.state()
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Get(request) => self.get(request).map(Reply::Get),
            Op::Set(request) => self.set(request, turn).map(Reply::Set),
            Op::Delete(request) => self.delete(request, turn).map(Reply::Delete),
            Op::Contains(request) => self.contains(request).map(Reply::Contains),
            Op::Scan(request) => self.scan(&request, turn).map(Reply::Scan),
            Op::SetMany(request) => self.set_many(request, turn).map(Reply::SetMany),
            Op::Add(request) => self.add(request, turn).map(Reply::Add),
            Op::CompareAndSet(request) => self.compare_and_set(request, turn).map(Reply::CompareAndSet),
        }
        .into()
    }

    fn is_vacant(&self) -> bool {
        self.attributes.is_vacant()
    }

    fn bytes(&self) -> u64 {
        self.attributes.bytes()
    }

    fn elements(&self) -> Option<u64> {
        self.attributes.elements()
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        self.attributes.visit_references(visit);
    }
}

impl Namespace {
    fn get(&self, request: NamespaceGetRequest) -> Result<NamespaceGetResponse, Refusal> {
        let found = self.attributes.get(DictGetRequest { key: key(&request.name)? })?;
        if found.value.is_none() {
            return Err(missing(&request.name));
        }
        Ok(NamespaceGetResponse { value: found.value, version: found.version })
    }

    fn set(&mut self, request: NamespaceSetRequest, turn: &mut Turn) -> Result<NamespaceSetResponse, Refusal> {
        self.attributes.set(DictSetRequest { key: key(&request.name)?, value: request.value }, turn)?;
        Ok(NamespaceSetResponse {})
    }

    fn delete(&mut self, request: NamespaceDeleteRequest, turn: &mut Turn) -> Result<NamespaceDeleteResponse, Refusal> {
        self.check_there(&request.name)?;
        self.attributes.delete(DictDeleteRequest { key: key(&request.name)? }, turn)?;
        Ok(NamespaceDeleteResponse {})
    }

    fn contains(&self, request: NamespaceContainsRequest) -> Result<NamespaceContainsResponse, Refusal> {
        let found = self.attributes.contains(DictContainsRequest { key: key(&request.name)? })?;
        Ok(NamespaceContainsResponse { contains: found.contains })
    }

    fn scan(&self, request: &NamespaceScanRequest, turn: &Turn) -> Result<NamespaceScanResponse, Refusal> {
        let what = if request.names_only { ScanWhat::Keys } else { ScanWhat::Items };
        let scan = DictScanRequest { cursor: request.cursor, what: what.into(), bytes: request.bytes };
        let page = self.attributes.scan(&scan, turn)?;
        let attributes = page.entries.into_iter().map(attribute).collect();
        Ok(NamespaceScanResponse { attributes, cursor: page.cursor })
    }

    fn set_many(
        &mut self,
        request: NamespaceSetManyRequest,
        turn: &mut Turn,
    ) -> Result<NamespaceSetManyResponse, Refusal> {
        let entry = |Attribute { name, value }: Attribute| Ok(Entry { key: key(&name)?, value });
        let entries = request.attributes.into_iter().map(entry).collect::<Result<_, Refusal>>()?;
        self.attributes.update(DictUpdateRequest { entries }, turn)?;
        Ok(NamespaceSetManyResponse {})
    }

    fn add(&mut self, request: NamespaceAddRequest, turn: &mut Turn) -> Result<NamespaceAddResponse, Refusal> {
        self.check_there(&request.name)?;
        let sum = self.attributes.add(DictAddRequest { key: key(&request.name)?, delta: request.delta }, turn)?;
        Ok(NamespaceAddResponse { value: sum.value })
    }

    fn compare_and_set(
        &mut self,
        request: NamespaceCompareAndSetRequest,
        turn: &mut Turn,
    ) -> Result<NamespaceCompareAndSetResponse, Refusal> {
        use dict_compare_and_set_request::Expected as Wanted;
        use namespace_compare_and_set_request::Expected;
        let expected = request.expected.map(|expected| match expected {
            Expected::Value(value) => Wanted::Value(value),
            Expected::Version(version) => Wanted::Version(version),
        });
        let swap = DictCompareAndSetRequest { key: key(&request.name)?, expected, new: request.new };
        let swap = self.attributes.compare_and_set(swap, turn)?;
        Ok(NamespaceCompareAndSetResponse { swapped: swap.swapped, value: swap.value, version: swap.version })
    }

    fn check_there(&self, name: &str) -> Result<(), Refusal> {
        let found = self.attributes.contains(DictContainsRequest { key: key(name)? })?;
        if found.contains { Ok(()) } else { Err(missing(name)) }
    }
}

/// A name as the key that it is in the dict. Refused: `INVALID_NAME`.
fn key(name: &str) -> Result<Option<Datum>, Refusal> {
    check(name)?;
    Ok(Some(name.into()))
}

fn check(name: &str) -> Result<(), Refusal> {
    if (1..=NAME_BYTES).contains(&name.len()) { Ok(()) } else { Err(invalid(name)) }
}

fn attribute(entry: Entry) -> Attribute {
    let name = match entry.key {
        Some(Datum::Text(name)) => name.to_string(),
        _ => String::new(),
    };
    Attribute { name, value: entry.value }
}

#[cold]
fn invalid(name: &str) -> Refusal {
    let message = format!(
        "the name of an attribute has {} bytes and must have 1 to {NAME_BYTES}: use another name, or a dict",
        name.len()
    );
    Refusal::new(Reason::InvalidName, message)
}

#[cold]
fn missing(name: &str) -> Refusal {
    let message = format!("the namespace has no attribute {}: set it first", Datum::from(name).brief());
    Refusal::new(Reason::MissingAttribute, message)
}

#[cold]
fn damaged(name: &Datum) -> Refusal {
    let message =
        format!("the saved state is not that of a namespace (the name {} is no text): it was damaged", name.brief());
    Refusal::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests;
