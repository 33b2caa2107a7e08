//! A shared cell with one datum: kind `value`.

use alloc::format;

use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::value::{Op, Reply, Spec};
use holdfast_proto::{
    Datum, Reason, Refusal, ValueAddRequest, ValueAddResponse, ValueCompareAndSetRequest, ValueCompareAndSetResponse,
    ValueGetResponse, ValueSetRequest, ValueSetResponse, value_compare_and_set_request,
};

use crate::key::Equality;
use crate::{Answer, Creation, Object, Turn, door, number};

/// A cell with one datum and a version: the index of the call that last wrote it, 0 before the first write.
///
/// No op blocks, and no session holds anything of it.
#[derive(Debug)]
pub struct Value {
    equality: Equality,
    value: Datum,
    version: u64,
}

/// All there is to know about a [`Value`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// What is in the cell.
    #[prost(message, required, tag = "1")]
    pub value: Datum,
    /// The index of the call that last wrote it.
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

impl Object for Value {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        let initial = door::optional("initial", spec.initial, &equality)?.unwrap_or(Datum::Null);
        creation.room.grow(initial.bytes())?;
        Ok(Self { equality, value: initial, version: 0 })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        let value = door::value("value", Some(state.value), &equality)?;
        creation.room.grow(value.bytes())?;
        Ok(Self { equality, value, version: state.version })
    }

    fn state(&self) -> State {
        State { value: self.value.clone(), version: self.version }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Get(_) => Ok(Reply::Get(self.get())),
            Op::Set(request) => self.set(request, turn).map(Reply::Set),
            Op::Add(request) => self.add(request, turn).map(Reply::Add),
            Op::CompareAndSet(request) => self.compare_and_set(request, turn).map(Reply::CompareAndSet),
        }
        .into()
    }

    fn is_vacant(&self) -> bool {
        self.version == 0 && matches!(self.value, Datum::Null)
    }

    fn bytes(&self) -> u64 {
        self.value.bytes()
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        self.value.visit_references(visit);
    }
}

impl Value {
    fn set(&mut self, request: ValueSetRequest, turn: &mut Turn) -> Result<ValueSetResponse, Refusal> {
        let value = door::value("value", request.value, &self.equality)?;
        self.write(value, turn)?;
        Ok(ValueSetResponse {})
    }

    fn add(&mut self, request: ValueAddRequest, turn: &mut Turn) -> Result<ValueAddResponse, Refusal> {
        let delta = door::value("delta", request.delta, &self.equality)?;
        let sum = number::add(&self.value, &delta, &"the value in the cell")?;
        self.write(sum.copy(), turn)?;
        Ok(ValueAddResponse { value: Some(sum) })
    }

    fn compare_and_set(
        &mut self,
        request: ValueCompareAndSetRequest,
        turn: &mut Turn,
    ) -> Result<ValueCompareAndSetResponse, Refusal> {
        use value_compare_and_set_request::Expected;
        let new = door::value("new", request.new, &self.equality)?;
        let swapped = match request.expected {
            Some(Expected::Value(expected)) => {
                let expected = door::value("value", Some(expected), &self.equality)?;
                self.equality.same(&self.value, &expected)
            }
            Some(Expected::Version(expected)) => self.version == expected,
            None => return Err(nothing_expected()),
        };
        if swapped {
            self.write(new, turn)?;
        }
        Ok(ValueCompareAndSetResponse { swapped, value: Some(self.value.clone()), version: self.version })
    }

    fn write(&mut self, value: Datum, turn: &mut Turn) -> Result<(), Refusal> {
        turn.room.replace(self.value.bytes(), value.bytes())?;
        self.value = value;
        self.version = turn.index;
        Ok(())
    }

    fn get(&self) -> ValueGetResponse {
        ValueGetResponse { value: Some(self.value.copy()), version: self.version }
    }
}

/// A compare-and-set that does not say what it compares with, of any kind.
pub(crate) fn nothing_expected() -> Refusal {
    let message = format!("the request expects nothing: set its field {:?} or {:?}", "value", "version");
    Refusal::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests;
