//! A shared set that keeps the order in which members were put in: kind `set`.

use alloc::format;
use alloc::vec::Vec;

use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::set::{Op, Reply, Spec};
use holdfast_proto::{
    Datum, Reason, Refusal, SetAddManyRequest, SetAddManyResponse, SetAddRequest, SetAddResponse, SetClearResponse,
    SetCombineRequest, SetCombineResponse, SetCompareRequest, SetCompareResponse, SetContainsManyRequest,
    SetContainsManyResponse, SetContainsRequest, SetContainsResponse, SetDiscardRequest, SetDiscardResponse,
    SetKeepOnlyRequest, SetKeepOnlyResponse, SetLenResponse, SetOperation, SetPopResponse, SetRemoveManyRequest,
    SetRemoveManyResponse, SetRemoveRequest, SetRemoveResponse, SetScanRequest, SetScanResponse, SetToggleRequest,
    SetToggleResponse,
};

use crate::key::{Equality, Key};
use crate::ordered_map::{self, Free, OrderedMap, Place, Taken};
use crate::page::Page;
use crate::{Answer, Creation, Object, Turn, door};

/// What a member costs above its own data: its ordinal and its place in the hash table.
const MEMBER_BYTES: u64 = 16;

/// Python's set.
///
/// - Members compare as in Python. One that is put in again keeps the form and the place that it had.
/// - A cursor is the ordinal of the next member, so it stays good whatever changes between pages.
/// - No op blocks, and no session holds anything of it.
#[derive(Debug)]
pub struct Set {
    equality: Equality,
    members: OrderedMap<()>,
    bytes: u64,
}

/// All there is to know about a [`Set`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub members: Vec<MemberState>,
    /// Of the next new member. 1 if there are no members.
    #[prost(uint64, tag = "2")]
    pub next_ordinal: u64,
}

/// All there is to know about a member.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberState {
    /// The member.
    #[prost(message, required, tag = "1")]
    pub member: Datum,
    /// Its place in the order: rises from member to member.
    #[prost(uint64, tag = "2")]
    pub ordinal: u64,
}

impl Object for Set {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(_: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        Ok(Self { members: OrderedMap::new(equality.clone()), equality, bytes: 0 })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        let mut members = Vec::with_capacity(state.members.len());
        let mut bytes = 0;
        for MemberState { member, ordinal } in state.members {
            let key = door::key("member", Some(member), &equality)?.into_datum();
            bytes += cost(&key);
            members.push(ordered_map::Entry { key, held: (), ordinal });
        }
        creation.room.grow(bytes)?;
        let members = OrderedMap::restore(equality.clone(), members, state.next_ordinal).map_err(|flaw| {
            Refusal::new(Reason::Malformed, format!("the saved state is not that of a set ({flaw:?}): it was damaged"))
        })?;
        Ok(Self { equality, members, bytes })
    }

    fn state(&self) -> State {
        let member = |entry: &Entry| MemberState { member: entry.key.clone(), ordinal: entry.ordinal };
        State { members: self.members.iter_from(0).map(member).collect(), next_ordinal: self.members.next_ordinal() }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Add(request) => self.add(request, turn).map(Reply::Add),
            Op::Discard(request) => self.discard(request, turn).map(Reply::Discard),
            Op::Remove(request) => self.remove(request, turn).map(Reply::Remove),
            Op::Pop(_) => self.pop(turn).map(Reply::Pop),
            Op::Contains(request) => self.contains(request).map(Reply::Contains),
            Op::Len(_) => Ok(Reply::Len(SetLenResponse { len: self.members.len() as u64 })),
            Op::Clear(_) => Ok(Reply::Clear(self.clear(turn))),
            Op::Scan(request) => Ok(Reply::Scan(self.scan(&request, turn))),
            Op::AddMany(request) => self.add_many(request, turn).map(Reply::AddMany),
            Op::RemoveMany(request) => self.remove_many(request, turn).map(Reply::RemoveMany),
            Op::ContainsMany(request) => self.contains_many(request).map(Reply::ContainsMany),
            Op::KeepOnly(request) => self.keep_only(request, turn).map(Reply::KeepOnly),
            Op::Toggle(request) => self.toggle(request, turn).map(Reply::Toggle),
            Op::Compare(request) => self.compare(request).map(Reply::Compare),
            Op::Combine(request) => self.combine(request, turn).map(Reply::Combine),
        }
        .into()
    }

    fn is_vacant(&self) -> bool {
        self.members.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn elements(&self) -> Option<u64> {
        Some(self.members.len() as u64)
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        for entry in self.members.iter_from(0) {
            entry.key.visit_references(visit);
        }
    }
}

/// What writes.
impl Set {
    fn add(&mut self, request: SetAddRequest, turn: &mut Turn) -> Result<SetAddResponse, Refusal> {
        let member = self.member(request.member)?;
        let Place::Free(place) = self.members.place(&member) else {
            return Ok(SetAddResponse { added: false });
        };
        self.ask_for(1, cost(member.datum()), turn)?;
        self.append(&place, member);
        Ok(SetAddResponse { added: true })
    }

    fn discard(&mut self, request: SetDiscardRequest, turn: &mut Turn) -> Result<SetDiscardResponse, Refusal> {
        let member = self.member(request.member)?;
        Ok(SetDiscardResponse { removed: self.take_out(&member, turn) })
    }

    fn remove(&mut self, request: SetRemoveRequest, turn: &mut Turn) -> Result<SetRemoveResponse, Refusal> {
        let member = self.member(request.member)?;
        if self.take_out(&member, turn) { Ok(SetRemoveResponse {}) } else { Err(no_member(&member)) }
    }

    fn pop(&mut self, turn: &mut Turn) -> Result<SetPopResponse, Refusal> {
        let Some((place, _)) = self.members.last() else {
            return Err(Refusal::new(Reason::Empty, "the set is empty: there is no member to take"));
        };
        Ok(SetPopResponse { member: Some(self.take(&place, turn)) })
    }

    fn clear(&mut self, turn: &mut Turn) -> SetClearResponse {
        SetClearResponse { removed: self.members.clear(&mut self.bytes, turn) }
    }

    fn add_many(&mut self, request: SetAddManyRequest, turn: &mut Turn) -> Result<SetAddManyResponse, Refusal> {
        let operand = self.operand(request.members)?;
        self.ask_for(operand.absent.len(), operand.cost_of_absent(), turn)?;
        let added = operand.absent.len() as u64;
        self.append_all(operand.absent);
        Ok(SetAddManyResponse { added })
    }

    fn remove_many(
        &mut self,
        request: SetRemoveManyRequest,
        turn: &mut Turn,
    ) -> Result<SetRemoveManyResponse, Refusal> {
        let mut removed = 0;
        for member in self.members(request.members)? {
            removed += u64::from(self.take_out(&member, turn));
        }
        Ok(SetRemoveManyResponse { removed })
    }

    fn keep_only(&mut self, request: SetKeepOnlyRequest, turn: &mut Turn) -> Result<SetKeepOnlyResponse, Refusal> {
        let operand = self.operand(request.members)?;
        let before = (self.members.len(), self.bytes);
        self.members.keep_only(&operand.present);
        self.bytes = self.members.iter_from(0).map(|entry| cost(&entry.key)).sum();
        turn.room.shrink(before.1 - self.bytes);
        Ok(SetKeepOnlyResponse { removed: (before.0 - self.members.len()) as u64 })
    }

    fn toggle(&mut self, request: SetToggleRequest, turn: &mut Turn) -> Result<SetToggleResponse, Refusal> {
        let operand = self.operand(request.members)?;
        self.check_places(operand.absent.len())?;
        let freed = operand.cost_of_present(self);
        turn.room.replace(freed, operand.cost_of_absent())?;
        self.bytes -= freed;
        let response = SetToggleResponse { added: operand.absent.len() as u64, removed: operand.present.len() as u64 };
        for ordinal in operand.present {
            if let Some(place) = self.members.place_at(ordinal) {
                self.members.remove(&place);
            }
        }
        self.append_all(operand.absent);
        Ok(response)
    }
}

/// What reads.
impl Set {
    fn contains(&self, request: SetContainsRequest) -> Result<SetContainsResponse, Refusal> {
        let member = self.member(request.member)?;
        Ok(SetContainsResponse { contains: self.members.get(&member).is_some() })
    }

    fn contains_many(&self, request: SetContainsManyRequest) -> Result<SetContainsManyResponse, Refusal> {
        let members = self.members(request.members)?;
        let contains = members.iter().map(|member| self.members.get(member).is_some());
        Ok(SetContainsManyResponse { contains: contains.collect() })
    }

    fn compare(&self, request: SetCompareRequest) -> Result<SetCompareResponse, Refusal> {
        let operand = self.operand(request.members)?;
        let common = operand.present.len() as u64;
        let other = common + operand.absent.len() as u64;
        Ok(SetCompareResponse { len: self.members.len() as u64, other, common })
    }

    fn scan(&self, request: &SetScanRequest, turn: &Turn) -> SetScanResponse {
        let page = Page::new(request.bytes, turn.page_bytes);
        let (members, cursor) = fill(page, self.members.iter_from(request.cursor));
        SetScanResponse { members, cursor }
    }

    /// The members are walked in order, beside what the operand has in common with them, which is in the same order. So
    /// a page costs the operand and itself, however large the set is.
    fn combine(&self, request: SetCombineRequest, turn: &Turn) -> Result<SetCombineResponse, Refusal> {
        let Ok(operation) = SetOperation::try_from(request.operation) else {
            return Err(unknown_operation(request.operation));
        };
        let operand = self.operand(request.members)?;
        let page = Page::new(request.bytes, turn.page_bytes);
        let (members, cursor) = if operation == SetOperation::Intersection {
            let rest = operand.present.partition_point(|ordinal| *ordinal < request.cursor);
            fill(page, operand.present[rest..].iter().filter_map(|ordinal| self.members.at(*ordinal)))
        } else {
            fill(page, except(self.members.iter_from(request.cursor), &operand.present))
        };
        let others = match operation {
            _ if cursor != 0 => Vec::new(),
            SetOperation::Union => operand.firsts,
            SetOperation::SymmetricDifference => operand.absent.iter().map(|absent| absent.position).collect(),
            SetOperation::Intersection | SetOperation::Difference => Vec::new(),
        };
        Ok(SetCombineResponse { members, cursor, others })
    }
}

/// What the ops are made of.
impl Set {
    #[inline]
    fn member(&self, member: Option<Datum>) -> Result<Key, Refusal> {
        door::key("member", member, &self.equality)
    }

    fn members(&self, members: Vec<Datum>) -> Result<Vec<Key>, Refusal> {
        members.into_iter().map(|member| door::key("members", Some(member), &self.equality)).collect()
    }

    /// Looks up the other set of an operation.
    fn operand(&self, members: Vec<Datum>) -> Result<Operand, Refusal> {
        let mut operand = Operand::default();
        let mut absent = OrderedMap::new(self.equality.clone());
        let mut present: Vec<(u64, u32)> = Vec::new();
        for (position, member) in (0..).zip(self.members(members)?) {
            if let Some(entry) = self.members.get(&member) {
                present.push((entry.ordinal, position));
            } else if let Place::Free(place) = absent.place(&member) {
                absent.append(&place, member, position);
            }
        }
        present.sort_unstable();
        present.dedup_by_key(|(ordinal, _)| *ordinal);
        operand.present = present.iter().map(|(ordinal, _)| *ordinal).collect();
        for entry in absent.into_entries() {
            operand.absent.push(Absent { member: Key::new(entry.key)?, position: entry.held });
        }
        operand.firsts = present.iter().map(|(_, position)| *position).collect();
        operand.firsts.extend(operand.absent.iter().map(|absent| absent.position));
        operand.firsts.sort_unstable();
        Ok(operand)
    }

    /// Asks for the places and the room that further members need.
    fn ask_for(&self, members: usize, bytes: u64, turn: &mut Turn) -> Result<(), Refusal> {
        self.check_places(members)?;
        turn.room.grow(bytes)
    }

    fn check_places(&self, further: usize) -> Result<(), Refusal> {
        if self.members.has_place_for(further) { Ok(()) } else { Err(full()) }
    }

    fn append(&mut self, place: &Free, member: Key) {
        self.bytes += cost(member.datum());
        self.members.append(place, member, ());
    }

    fn append_all(&mut self, absent: Vec<Absent>) {
        for Absent { member, .. } in absent {
            if let Place::Free(place) = self.members.place(&member) {
                self.append(&place, member);
            }
        }
    }

    /// Takes a member out if it is there, and says whether it was.
    fn take_out(&mut self, member: &Key, turn: &mut Turn) -> bool {
        match self.members.place(member) {
            Place::Taken(place) => {
                self.take(&place, turn);
                true
            }
            Place::Free(_) => false,
        }
    }

    fn take(&mut self, place: &Taken, turn: &mut Turn) -> Datum {
        let member = self.members.remove(place).key;
        turn.room.shrink(cost(&member));
        self.bytes -= cost(&member);
        member
    }
}

type Entry = ordered_map::Entry<()>;

/// The other set of an operation, as it relates to this one.
#[derive(Default)]
struct Operand {
    /// The ordinals of the members that it has too, rising.
    present: Vec<u64>,
    /// What else it has, each once.
    absent: Vec<Absent>,
    /// Where each of its members comes first, rising.
    firsts: Vec<u32>,
}

/// A member of an operand that is not in the set.
struct Absent {
    member: Key,
    /// Where it comes first.
    position: u32,
}

impl Operand {
    fn cost_of_absent(&self) -> u64 {
        self.absent.iter().map(|absent| cost(absent.member.datum())).sum()
    }

    fn cost_of_present(&self, set: &Set) -> u64 {
        let entries = self.present.iter().filter_map(|ordinal| set.members.at(*ordinal));
        entries.map(|entry| cost(&entry.key)).sum()
    }
}

/// The entries but those with these ordinals. Both rise.
fn except<'a>(entries: impl Iterator<Item = &'a Entry>, ordinals: &[u64]) -> impl Iterator<Item = &'a Entry> {
    let mut ordinals = ordinals.iter().copied().peekable();
    entries.filter(move |entry| {
        while ordinals.next_if(|ordinal| *ordinal < entry.ordinal).is_some() {}
        ordinals.peek() != Some(&entry.ordinal)
    })
}

/// Fills a page, and says where the next one begins.
fn fill<'a>(mut page: Page, mut entries: impl Iterator<Item = &'a Entry>) -> (Vec<Datum>, u64) {
    let mut members = Vec::new();
    for entry in entries.by_ref() {
        page.count(&entry.key);
        members.push(entry.key.clone());
        if page.is_full() {
            break;
        }
    }
    (members, entries.next().map_or(0, |next| next.ordinal))
}

/// What a member costs, as the limits count.
fn cost(member: &Datum) -> u64 {
    member.bytes() + MEMBER_BYTES
}

#[cold]
fn no_member(member: &Key) -> Refusal {
    let message = format!("the set has no member {}: discard it if it need not be there", member.datum().brief());
    Refusal::new(Reason::MissingKey, message)
}

#[cold]
fn full() -> Refusal {
    Refusal::new(
        Reason::Quota,
        "a set can have about four billion members and this one has: remove some, or use several sets",
    )
}

#[cold]
fn unknown_operation(operation: i32) -> Refusal {
    let message = format!(
        "the field \"operation\" of the request is {operation}: set it to 0 (union), 1 (intersection), 2 (difference) or \
         3 (symmetric difference)"
    );
    Refusal::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests;
