//! Arbitrary data and ops for tests, here and in other crates.

mod barrier;
mod event;
mod latch;
mod list;
mod lock;
#[cfg(test)]
pub(crate) mod model;
mod pool;
mod queue;
mod rwlock;
mod semaphore;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use holdfast_proto::datum::{Named, OpaqueDatum, Reference};
use holdfast_proto::{
    ArrayAddRequest, ArrayCompareAndSetRequest, ArrayDescribeRequest, ArrayElements, ArrayFillRequest, ArrayGetRequest,
    ArrayGetSliceRequest, ArraySetRequest, ArraySetSliceRequest, ArraySlice, Attribute, Datum, DictAddRequest,
    DictClearRequest, DictCompareAndSetRequest, DictContainsRequest, DictDeleteRequest, DictGetManyRequest,
    DictGetRequest, DictLenRequest, DictPopItemRequest, DictPopRequest, DictScanRequest, DictSetDefaultRequest,
    DictSetRequest, DictUpdateRequest, Entry, NamespaceAddRequest, NamespaceCompareAndSetRequest,
    NamespaceContainsRequest, NamespaceDeleteRequest, NamespaceGetRequest, NamespaceScanRequest,
    NamespaceSetManyRequest, NamespaceSetRequest, SetAddManyRequest, SetAddRequest, SetClearRequest, SetCombineRequest,
    SetCompareRequest, SetContainsManyRequest, SetContainsRequest, SetDiscardRequest, SetKeepOnlyRequest,
    SetLenRequest, SetPopRequest, SetRemoveManyRequest, SetRemoveRequest, SetScanRequest, SetToggleRequest,
    ValueAddRequest, ValueCompareAndSetRequest, ValueGetRequest, ValueSetRequest, array, array_spec, dict,
    dict_compare_and_set_request, namespace, namespace_compare_and_set_request, set, value,
    value_compare_and_set_request,
};

use crate::Object;
use crate::array::Array;
use crate::dict::Dict;
use crate::namespace::Namespace;
use crate::set::Set;
use crate::value::Value;

/// What the laws of all objects need to know about a kind.
pub trait Tested: Object {
    /// A spec that makes an object: the default one, unless that is refused.
    fn arbitrary_spec(source: &mut Source) -> Self::Spec {
        let _ = source;
        Self::Spec::default()
    }

    /// An op, any and with anything in it, also what must be refused.
    fn arbitrary_op(source: &mut Source) -> Self::Op;

    /// What an op promises.
    fn promise(op: &Self::Op) -> Promise;
}

/// What an op promises, besides its own meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It changes nothing.
    Reads,
    /// It only ever makes things smaller, and is never refused for a limit.
    Frees,
    /// Neither.
    Writes,
}

/// A source of choices that follow from a number: the same number, the same choices.
#[derive(Clone, Debug)]
pub struct Source(u64);

impl Source {
    /// The source of the choices that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next choice, of all. (`SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>)
    pub fn choice(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next choice, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.choice() % end
    }

    fn often(&mut self) -> bool {
        self.below(50) != 0
    }

    /// Data of any kind, mostly small and often equal to other data; seldom not valid.
    pub fn datum(&mut self) -> Datum {
        self.nested(3)
    }

    /// Data that is often a key of the same few, seldom none, seldom not fit to be one.
    pub fn key(&mut self) -> Option<Datum> {
        let number = self.below(6);
        self.often().then(|| match self.below(12) {
            0..4 => Datum::Integer(number as i64),
            4 => Datum::Float(number as f64),
            5 => Datum::Boolean(number.is_multiple_of(2)),
            6..9 => Datum::from(["a", "b", "c", "d", "e", "longer than what fits inside a datum"][number as usize]),
            9 => Datum::Tuple([Datum::Integer(number as i64), Datum::from("a")].into()),
            _ => self.datum(),
        })
    }

    /// Data to store, seldom none.
    fn value(&mut self) -> Option<Datum> {
        self.often().then(|| if self.below(2) == 0 { self.number() } else { self.datum() })
    }

    /// A number, mostly; often near the ends of its type.
    fn number(&mut self) -> Datum {
        match self.below(8) {
            0 => Datum::Integer(i64::MAX - self.below(2) as i64),
            1 => Datum::Integer(i64::MIN),
            2 => Datum::Float(f64::MAX),
            3 => Datum::Float(self.below(8) as f64 / 2.0),
            _ => Datum::Integer(self.below(5) as i64 - 2),
        }
    }

    fn nested(&mut self, depth: u64) -> Datum {
        const LEAVES: u64 = 11;
        const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
        match self.below(if depth == 0 { LEAVES } else { LEAVES + 5 }) {
            0 => Datum::Null,
            1 => Datum::Boolean(self.below(2) == 0),
            2 | 3 => self.number(),
            4 => Datum::from("t".repeat(self.below(40) as usize).as_str()),
            5 => Datum::Bytes((0..self.below(40)).map(|byte| byte as u8).collect()),
            6 => Datum::BigInteger([1 + self.below(3) as u8, 0, 0, 0, 0, 0, 0, 0, 0].into()),
            7 => Datum::Float(TWO_TO_64 * (1.0 + self.below(3) as f64)),
            8 => Datum::Opaque(Box::new(OpaqueDatum { codec: "pickle".into(), data: [self.below(3) as u8].into() })),
            9 => [Datum::Unset, Datum::Float(f64::NAN), Datum::BigInteger([1].into()), Datum::Null]
                [self.below(4) as usize]
                .clone(),
            10 => {
                let object = [self.below(3) as u8; 16];
                Datum::Reference(Reference::new(Arc::new(Named { handle: 0, kind: 2, object })))
            }
            11 => Datum::List(self.elements(depth)),
            12 => Datum::Tuple(self.elements(depth)),
            13 | 14 => Datum::Set(self.elements(depth)),
            _ => Datum::Map(self.elements(depth).iter().map(|key| (key.clone(), self.nested(depth - 1))).collect()),
        }
    }

    fn elements(&mut self, depth: u64) -> Box<[Datum]> {
        (0..self.below(4)).map(|_| self.nested(depth - 1)).collect()
    }

    fn entries(&mut self) -> Vec<Entry> {
        (0..self.below(6)).map(|_| Entry { key: self.key(), value: self.value() }).collect()
    }

    /// The name of one of few attributes, seldom not fit to be one.
    fn name(&mut self) -> String {
        if self.often() {
            ["x", "y", "z", "a longer name than what fits"][self.below(4) as usize].into()
        } else {
            "n".repeat(257 * self.below(2) as usize)
        }
    }

    /// What may be an element of an array: of any type, and of any size.
    fn scalar(&mut self) -> Datum {
        match self.below(12) {
            0..6 => Datum::Integer(self.below(5) as i64 - 1),
            6 => Datum::Integer(1 << self.below(63)),
            7 => Datum::BigInteger([0, 1 << 7 | self.below(2) as u8, 0, 0, 0, 0, 0, 0, self.below(2) as u8].into()),
            8 => Datum::from(["a", "b", "€"][self.below(3) as usize]),
            9 => Datum::Float([0.5, -1.0, 1e30, 1e300, f64::MAX, f64::INFINITY][self.below(6) as usize]),
            _ => self.datum(),
        }
    }

    /// So many elements, seldom of two types.
    fn array_elements(&mut self, len: u64) -> ArrayElements {
        let mut elements = ArrayElements::default();
        let small = |source: &mut Self| source.below(5);
        match self.below(4) {
            0 => elements.integers = (0..len).map(|_| small(self) as i64 - 1).collect(),
            1 => elements.naturals = (0..len).map(|_| small(self)).collect(),
            2 => elements.floats = (0..len).map(|_| small(self) as f64 / 2.0).collect(),
            _ => elements.characters = (0..len).map(|_| ['a', '€'][self.below(2) as usize]).collect(),
        }
        if !self.often() {
            elements.floats.push(1e300);
        }
        elements
    }

    fn array_slice(&mut self) -> Option<ArraySlice> {
        let bound = |source: &mut Self| (source.below(2) == 0).then(|| source.below(10) as i64 - 5);
        let mut bound = || bound(self);
        let (start, stop, step) = (bound(), bound(), bound());
        (self.below(3) != 0).then_some(ArraySlice { start, stop, step })
    }

    /// How long a call is willing to wait, seldom in a way that must be refused.
    fn patience_ms(&mut self) -> Option<i64> {
        match self.below(10) {
            0 => Some(-1),
            1..4 => Some(0),
            4..6 => Some(1 + self.below(1000) as i64),
            _ => None,
        }
    }

    /// A fence, if any is named; seldom one that was given.
    fn fence(&mut self) -> Option<u64> {
        (self.below(4) == 0).then(|| self.below(20))
    }

    /// How many of something: mostly few, seldom none or less than none.
    fn few(&mut self) -> i64 {
        if self.below(12) == 0 { -1 } else { self.below(4) as i64 }
    }

    fn members(&mut self) -> Vec<Datum> {
        (0..self.below(6)).filter_map(|_| self.key()).collect()
    }
}

impl Tested for Dict {
    fn arbitrary_op(source: &mut Source) -> dict::Op {
        use dict::Op;
        use dict_compare_and_set_request::Expected;
        let key = source.key();
        match source.below(20) {
            0 | 1 => Op::Get(DictGetRequest { key }),
            2..5 => Op::Set(DictSetRequest { key, value: source.value() }),
            5 | 6 => Op::Delete(DictDeleteRequest { key }),
            7 => Op::Contains(DictContainsRequest { key }),
            8 => Op::Len(DictLenRequest {}),
            9 => Op::Pop(DictPopRequest { key, default: if source.below(2) == 0 { None } else { source.value() } }),
            10 => Op::PopItem(DictPopItemRequest {}),
            11 => Op::SetDefault(DictSetDefaultRequest { key, default: source.value() }),
            12 => Op::Update(DictUpdateRequest { entries: source.entries() }),
            13 => Op::GetMany(DictGetManyRequest {
                keys: (0..source.below(5)).filter_map(|_| source.key()).collect(),
                bytes: source.below(60) as u32,
            }),
            14 | 15 => Op::Scan(DictScanRequest {
                cursor: source.below(12),
                what: source.below(4) as i32,
                bytes: source.below(60) as u32,
            }),
            16 if source.below(4) == 0 => Op::Clear(DictClearRequest {}),
            16 | 17 => Op::Add(DictAddRequest { key, delta: Some(source.number()) }),
            _ => {
                let expected = match source.below(8) {
                    0 => None,
                    1..5 => Some(Expected::Version(source.below(6))),
                    _ => source.value().map(Expected::Value),
                };
                let new = if source.below(3) == 0 { None } else { source.value() };
                Op::CompareAndSet(DictCompareAndSetRequest { key, expected, new })
            }
        }
    }

    fn promise(op: &dict::Op) -> Promise {
        use dict::Op;
        match op {
            Op::Get(_) | Op::Contains(_) | Op::Len(_) | Op::GetMany(_) | Op::Scan(_) => Promise::Reads,
            Op::Delete(_) | Op::Pop(_) | Op::PopItem(_) | Op::Clear(_) => Promise::Frees,
            Op::CompareAndSet(request) if request.new.is_none() => Promise::Frees,
            Op::Set(_) | Op::SetDefault(_) | Op::Update(_) | Op::Add(_) | Op::CompareAndSet(_) => Promise::Writes,
        }
    }
}

impl Tested for Value {
    fn arbitrary_op(source: &mut Source) -> value::Op {
        use value::Op;
        use value_compare_and_set_request::Expected;
        match source.below(8) {
            0 => Op::Get(ValueGetRequest {}),
            1 | 2 => Op::Set(ValueSetRequest { value: source.value() }),
            3..6 => Op::Add(ValueAddRequest { delta: Some(source.number()) }),
            _ => {
                let expected = match source.below(8) {
                    0 => None,
                    1..5 => Some(Expected::Version(source.below(6))),
                    _ => Some(Expected::Value(source.number())),
                };
                Op::CompareAndSet(ValueCompareAndSetRequest { expected, new: source.value() })
            }
        }
    }

    fn promise(op: &value::Op) -> Promise {
        match op {
            value::Op::Get(_) => Promise::Reads,
            _ => Promise::Writes,
        }
    }
}

impl Tested for Set {
    fn arbitrary_op(source: &mut Source) -> set::Op {
        use set::Op;
        let member = source.key();
        let bytes = source.below(60) as u32;
        match source.below(20) {
            0..4 => Op::Add(SetAddRequest { member }),
            4 => Op::Discard(SetDiscardRequest { member }),
            5 => Op::Remove(SetRemoveRequest { member }),
            6 => Op::Pop(SetPopRequest {}),
            7 => Op::Contains(SetContainsRequest { member }),
            8 => Op::Len(SetLenRequest {}),
            9 if source.below(4) == 0 => Op::Clear(SetClearRequest {}),
            9 | 10 => Op::Scan(SetScanRequest { cursor: source.below(12), bytes }),
            11 | 12 => Op::AddMany(SetAddManyRequest { members: source.members() }),
            13 => Op::RemoveMany(SetRemoveManyRequest { members: source.members() }),
            14 => Op::ContainsMany(SetContainsManyRequest { members: source.members() }),
            15 => Op::KeepOnly(SetKeepOnlyRequest { members: source.members() }),
            16 | 17 => Op::Toggle(SetToggleRequest { members: source.members() }),
            18 => Op::Compare(SetCompareRequest { members: source.members() }),
            _ => {
                let (operation, cursor) = (source.below(5) as i32, source.below(8));
                Op::Combine(SetCombineRequest { operation, members: source.members(), cursor, bytes })
            }
        }
    }

    fn promise(op: &set::Op) -> Promise {
        use set::Op;
        match op {
            Op::Contains(_) | Op::Len(_) | Op::Scan(_) | Op::ContainsMany(_) | Op::Compare(_) | Op::Combine(_) => {
                Promise::Reads
            }
            Op::Discard(_) | Op::Remove(_) | Op::Pop(_) | Op::Clear(_) | Op::RemoveMany(_) | Op::KeepOnly(_) => {
                Promise::Frees
            }
            Op::Add(_) | Op::AddMany(_) | Op::Toggle(_) => Promise::Writes,
        }
    }
}

impl Tested for Namespace {
    fn arbitrary_op(source: &mut Source) -> namespace::Op {
        use namespace::Op;
        use namespace_compare_and_set_request::Expected;
        let name = source.name();
        match source.below(14) {
            0 => Op::Get(NamespaceGetRequest { name }),
            1..4 => Op::Set(NamespaceSetRequest { name, value: source.value() }),
            4 | 5 => Op::Delete(NamespaceDeleteRequest { name }),
            6 => Op::Contains(NamespaceContainsRequest { name }),
            7 => {
                let (cursor, names_only) = (source.below(6), source.below(2) == 0);
                Op::Scan(NamespaceScanRequest { cursor, names_only, bytes: source.below(60) as u32 })
            }
            8 | 9 => Op::SetMany(NamespaceSetManyRequest {
                attributes: (0..source.below(5))
                    .map(|_| Attribute { name: source.name(), value: source.value() })
                    .collect(),
            }),
            10 | 11 => Op::Add(NamespaceAddRequest { name, delta: Some(source.number()) }),
            _ => {
                let expected = match source.below(8) {
                    0 => None,
                    1..5 => Some(Expected::Version(source.below(6))),
                    _ => source.value().map(Expected::Value),
                };
                let new = if source.below(3) == 0 { None } else { source.value() };
                Op::CompareAndSet(NamespaceCompareAndSetRequest { name, expected, new })
            }
        }
    }

    fn promise(op: &namespace::Op) -> Promise {
        use namespace::Op;
        match op {
            Op::Get(_) | Op::Contains(_) | Op::Scan(_) => Promise::Reads,
            Op::Delete(_) => Promise::Frees,
            Op::CompareAndSet(request) if request.new.is_none() => Promise::Frees,
            Op::Set(_) | Op::SetMany(_) | Op::Add(_) | Op::CompareAndSet(_) => Promise::Writes,
        }
    }
}

impl Tested for Array {
    fn arbitrary_spec(source: &mut Source) -> array::Spec {
        const TYPECODES: [&str; 14] = ["b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "f", "d", "u", "w"];
        let typecode = TYPECODES[source.below(14) as usize].into();
        array::Spec { typecode, contents: Some(array_spec::Contents::Length(source.below(8))) }
    }

    fn arbitrary_op(source: &mut Source) -> array::Op {
        use array::Op;
        let index = source.below(10) as i64 - 5;
        match source.below(16) {
            0 => Op::Describe(ArrayDescribeRequest {}),
            1 => Op::Get(ArrayGetRequest { index }),
            2..5 => Op::Set(ArraySetRequest { index, value: source.often().then(|| source.scalar()) }),
            5 | 6 => {
                let (slice, skip) = (source.array_slice(), source.below(3) * source.below(3));
                Op::GetSlice(ArrayGetSliceRequest { slice, skip, bytes: source.below(60) as u32 })
            }
            7..10 => {
                let (slice, skip, left) = (source.array_slice(), source.below(2), source.below(2));
                let len = source.below(6);
                let elements = source.often().then(|| source.array_elements(len).into());
                Op::SetSlice(ArraySetSliceRequest { slice, elements, skip, left })
            }
            10 => Op::Fill(ArrayFillRequest { value: source.often().then(|| source.scalar()) }),
            11..14 => Op::Add(ArrayAddRequest { index, delta: source.often().then(|| source.scalar()) }),
            _ => {
                let (expected, new) = (Some(source.scalar()), Some(source.scalar()));
                Op::CompareAndSet(ArrayCompareAndSetRequest { index, expected, new })
            }
        }
    }

    fn promise(op: &array::Op) -> Promise {
        use array::Op;
        match op {
            Op::Describe(_) | Op::Get(_) | Op::GetSlice(_) => Promise::Reads,
            // None of them ever needs room.
            Op::Set(_) | Op::SetSlice(_) | Op::Fill(_) | Op::Add(_) | Op::CompareAndSet(_) => Promise::Frees,
        }
    }
}

/// Python's equality, told as plainly as possible; slow. For data without NaN, whose members and keys are distinct.
#[must_use]
pub fn naively_equal(a: &Datum, b: &Datum) -> bool {
    let all_in = |a: &[Datum], b: &[Datum]| a.iter().all(|a| b.iter().any(|b| naively_equal(a, b)));
    match (a, b) {
        (Datum::List(a), Datum::List(b)) | (Datum::Tuple(a), Datum::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| naively_equal(a, b))
        }
        (Datum::Set(a), Datum::Set(b)) => all_in(a, b) && all_in(b, a),
        (Datum::Map(a), Datum::Map(b)) => {
            let entry_in = |(key, value): &(Datum, Datum)| {
                b.iter().any(|(other, found)| naively_equal(key, other) && naively_equal(value, found))
            };
            a.len() == b.len() && a.iter().all(entry_in)
        }
        _ => match (exact(a), exact(b)) {
            (None, None) => a == b,
            (a, b) => a == b,
        },
    }
}

/// A number without a fraction as sign, magnitude's odd part and power of two; 0 has no parts.
fn exact(datum: &Datum) -> Option<(bool, u128, u32)> {
    let parts = |negative: bool, magnitude: u128, shift: u32| match magnitude {
        0 => (false, 0, 0),
        _ => (negative, magnitude >> magnitude.trailing_zeros(), shift + magnitude.trailing_zeros()),
    };
    let integer = |integer: i128| parts(integer < 0, integer.unsigned_abs(), 0);
    match datum {
        Datum::Boolean(boolean) => Some(integer(i128::from(*boolean))),
        Datum::Integer(value) => Some(integer(i128::from(*value))),
        Datum::BigInteger(bytes) if bytes.len() <= 16 => {
            let negative = bytes.first().is_some_and(|first| first >> 7 == 1);
            let start = if negative { -1i128 } else { 0 };
            Some(integer(bytes.iter().fold(start, |sum, byte| (sum << 8) | i128::from(*byte))))
        }
        Datum::Float(float) if float.is_finite() => {
            let (bits, negative) = (float.to_bits(), *float < 0.0);
            let exponent = (bits >> 52 & 0x7ff) as i32;
            let mantissa = u128::from(bits & ((1 << 52) - 1)) | if exponent == 0 { 0 } else { 1 << 52 };
            let exponent = exponent.max(1) - 1075;
            let zeros = if mantissa == 0 { 0 } else { mantissa.trailing_zeros() as i32 };
            let is_whole = mantissa == 0 || exponent + zeros >= 0;
            is_whole.then(|| parts(negative, mantissa >> zeros, (exponent + zeros).max(0) as u32))
        }
        _ => None,
    }
}
