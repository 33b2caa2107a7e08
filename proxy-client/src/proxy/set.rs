//! A shared set.

use std::borrow::Borrow;
use std::marker::PhantomData;

use holdfast_proto::{
    Datum, SetAddManyRequest, SetAddRequest, SetClearRequest, SetCombineRequest, SetCombineResponse, SetCompareRequest,
    SetContainsManyRequest, SetContainsRequest, SetDiscardRequest, SetKeepOnlyRequest, SetLenRequest, SetOperation,
    SetPopRequest, SetRemoveManyRequest, SetRemoveRequest, SetScanRequest, SetToggleRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dict::{datum, some};
use super::reference::proxy;
use super::remote::{Chunked, Holds, Paged, Remote};
use super::{Mode, Output};
use crate::codec::{from_datum, to_datum};
use crate::error::Result;

/// A shared set that keeps the order in which members were put in: Python's manager set.
///
/// Clones are proxies to the same set. Each method is one call, applied atomically, unless it says otherwise; see the
/// [crate] for what holds for every call. Members compare as in Python: 1, 1.0 and true are one member; NaN is refused.
///
/// The other set of an operation is plain data, in any order and also with repetitions. Where it must be looked at as a
/// whole it is sent in one request; if it is larger than the manager takes (4 MiB by default), the call is refused with
/// [`Reason::ValueTooLarge`](crate::Reason::ValueTooLarge) and nothing is changed. [`copy`](Self::copy) and the sets of
/// the standard library have no such limit.
pub struct Set<T, M: Mode> {
    remote: Remote<M>,
    _members: Holds<T>,
}

proxy!(Set<T> in set);

impl<T, M: Mode> Set<T, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _members: PhantomData }
    }

    /// How many members there are.
    pub fn len(&self) -> Output<M, SetLenRequest, u64> {
        self.remote.once(Ok(SetLenRequest {}), |response, _| Ok(response.len))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Output<M, SetLenRequest, bool> {
        self.remote.once(Ok(SetLenRequest {}), |response, _| Ok(response.len == 0))
    }

    /// Takes everything out, and returns how many members there were.
    pub fn clear(&self) -> Output<M, SetClearRequest, u64> {
        self.remote.once(Ok(SetClearRequest {}), |response, _| Ok(response.removed))
    }
}

/// How a set relates to another, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetComparison {
    /// How many members the set has.
    pub len: u64,
    /// How many different members the other set has.
    pub other: u64,
    /// How many members both have.
    pub common: u64,
}

impl SetComparison {
    /// Whether both have the same members: Python's `s == other`.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.is_subset() && self.is_superset()
    }

    /// Whether all members of the set are in the other: Python's `s <= other`.
    #[must_use]
    pub fn is_subset(&self) -> bool {
        self.common == self.len
    }

    /// Whether all members of the other are in the set: Python's `s >= other`.
    #[must_use]
    pub fn is_superset(&self) -> bool {
        self.common == self.other
    }

    /// Whether the set is a subset and the other has more: Python's `s < other`.
    #[must_use]
    pub fn is_proper_subset(&self) -> bool {
        self.is_subset() && !self.is_superset()
    }

    /// Whether the set is a superset and has more: Python's `s > other`.
    #[must_use]
    pub fn is_proper_superset(&self) -> bool {
        self.is_superset() && !self.is_subset()
    }

    /// Whether no member is in both: Python's `s.isdisjoint(other)`.
    #[must_use]
    pub fn is_disjoint(&self) -> bool {
        self.common == 0
    }
}

/// One member.
impl<T: Serialize + DeserializeOwned, M: Mode> Set<T, M> {
    /// Puts a member in, and returns whether it was not there before: Python's `s.add(member)`.
    pub fn add<Q: Serialize + ?Sized>(&self, member: &Q) -> Output<M, SetAddRequest, bool>
    where
        T: Borrow<Q>,
    {
        self.remote.once(datum(member).map(|member| SetAddRequest { member }), |response, _| Ok(response.added))
    }

    /// Takes a member out if it is there, and returns whether it was: Python's `s.discard(member)`.
    pub fn discard<Q: Serialize + ?Sized>(&self, member: &Q) -> Output<M, SetDiscardRequest, bool>
    where
        T: Borrow<Q>,
    {
        let request = datum(member).map(|member| SetDiscardRequest { member });
        self.remote.once(request, |response, _| Ok(response.removed))
    }

    /// Takes a member out: Python's `s.remove(member)`.
    ///
    /// Refused with [`Reason::MissingKey`](crate::Reason::MissingKey) if it is not there.
    pub fn remove<Q: Serialize + ?Sized>(&self, member: &Q) -> Output<M, SetRemoveRequest, ()>
    where
        T: Borrow<Q>,
    {
        self.remote.once(datum(member).map(|member| SetRemoveRequest { member }), |_, _| Ok(()))
    }

    /// Takes out and returns the member that was put in last: Python's `s.pop()`, which takes any.
    ///
    /// Refused with [`Reason::Empty`](crate::Reason::Empty) if there is none.
    pub fn pop(&self) -> Output<M, SetPopRequest, T> {
        self.remote.once(Ok(SetPopRequest {}), |response, _| some(response.member))
    }

    /// Whether it is a member: Python's `member in s`.
    pub fn contains<Q: Serialize + ?Sized>(&self, member: &Q) -> Output<M, SetContainsRequest, bool>
    where
        T: Borrow<Q>,
    {
        let request = datum(member).map(|member| SetContainsRequest { member });
        self.remote.once(request, |response, _| Ok(response.contains))
    }
}

/// Many members. Up to about 256 KiB of them are one call, applied as a whole or not at all; more are sent in several
/// calls, each of them so.
impl<T: Serialize + DeserializeOwned, M: Mode> Set<T, M> {
    /// Puts many members in, in order, and returns how many were not there before.
    ///
    /// Sent in chunks of about 256 KiB, each of which is put in as a whole or not at all.
    pub fn add_many<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Chunked<Datum, SetAddManyRequest, u64, M>>
    where
        T: Borrow<Q>,
    {
        let make = |members| SetAddManyRequest { members };
        self.remote.chunked(data(members), make, 0, |total, response| *total += response.added)
    }

    /// [`add_many`](Self::add_many) by its name in Python: `s.update(members)`, or `s |= members`.
    pub fn update<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Chunked<Datum, SetAddManyRequest, u64, M>>
    where
        T: Borrow<Q>,
    {
        self.add_many(members)
    }

    /// Takes many members out, those that are there, and returns how many that were.
    ///
    /// Sent in chunks of about 256 KiB, each of which is taken out atomically.
    pub fn remove_many<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Chunked<Datum, SetRemoveManyRequest, u64, M>>
    where
        T: Borrow<Q>,
    {
        let make = |members| SetRemoveManyRequest { members };
        self.remote.chunked(data(members), make, 0, |total, response| *total += response.removed)
    }

    /// [`remove_many`](Self::remove_many) by its name in Python: `s.difference_update(members)`, or `s -= members`.
    pub fn difference_update<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Chunked<Datum, SetRemoveManyRequest, u64, M>>
    where
        T: Borrow<Q>,
    {
        self.remove_many(members)
    }

    /// Which of these are members, in their order.
    ///
    /// Asked for in chunks of about 256 KiB, each of them answered for one moment.
    pub fn contains_many<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Chunked<Datum, SetContainsManyRequest, Vec<bool>, M>>
    where
        T: Borrow<Q>,
    {
        let make = |members| SetContainsManyRequest { members };
        self.remote.chunked(data(members), make, Vec::new(), |all, response| all.extend(response.contains))
    }
}

/// What needs the other set as a whole: one call, refused if the other is too large for one.
impl<T: Serialize + DeserializeOwned, M: Mode> Set<T, M> {
    /// Takes out every member but these, and returns how many were taken out: Python's `s.intersection_update(members)`, or
    /// `s &= members`.
    pub fn intersection_update<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetKeepOnlyRequest, u64>
    where
        T: Borrow<Q>,
    {
        let request = data(members).map(|members| SetKeepOnlyRequest { members });
        self.remote.once(request, |response, _| Ok(response.removed))
    }

    /// Takes out those that are members and puts in those that are not: Python's `s.symmetric_difference_update(members)`,
    /// or `s ^= members`. Returns how many were put in, and how many taken out.
    pub fn symmetric_difference_update<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        members: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetToggleRequest, (u64, u64)>
    where
        T: Borrow<Q>,
    {
        let request = data(members).map(|members| SetToggleRequest { members });
        self.remote.once(request, |response, _| Ok((response.added, response.removed)))
    }

    /// How the set relates to another, at one moment: whether it is a subset, a superset, equal, disjoint.
    pub fn compare<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetCompareRequest, SetComparison>
    where
        T: Borrow<Q>,
    {
        let request = data(other).map(|members| SetCompareRequest { members });
        self.remote.once(request, |response, _| {
            Ok(SetComparison { len: response.len, other: response.other, common: response.common })
        })
    }

    /// Whether no member is in both: Python's `s.isdisjoint(other)`.
    pub fn is_disjoint<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetCompareRequest, bool>
    where
        T: Borrow<Q>,
    {
        let request = data(other).map(|members| SetCompareRequest { members });
        self.remote.once(request, |response, _| Ok(response.common == 0))
    }

    /// Whether all members are in the other: Python's `s.issubset(other)`. [`compare`](Self::compare) also tells whether it is
    /// a proper one.
    pub fn is_subset<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetCompareRequest, bool>
    where
        T: Borrow<Q>,
    {
        let request = data(other).map(|members| SetCompareRequest { members });
        self.remote.once(request, |response, _| Ok(response.common == response.len))
    }

    /// Whether all members of the other are in this set: Python's `s.issuperset(other)`. [`compare`](Self::compare) also tells
    /// whether it is a proper one.
    pub fn is_superset<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> Output<M, SetCompareRequest, bool>
    where
        T: Borrow<Q>,
    {
        let request = data(other).map(|members| SetCompareRequest { members });
        self.remote.once(request, |response, _| Ok(response.common == response.other))
    }

    /// All members, in order, in a collection of the caller's choice: a `Vec<T>`, a `HashSet<T>`... Python's `s.copy()`.
    ///
    /// Read a page at a time: a member that is there throughout is returned once, one that comes or goes meanwhile may be.
    pub fn copy<C: FromIterator<T>>(&self) -> M::Output<Paged<SetScanRequest, T, C, M>> {
        let request = SetScanRequest { cursor: 0, bytes: 0 };
        let take = |request: &mut SetScanRequest, page: holdfast_proto::SetScanResponse, read: &mut Vec<T>| {
            read_all(page.members, read)?;
            request.cursor = page.cursor;
            Ok(page.cursor != 0)
        };
        self.remote.paged(Ok(request), take, |read| Ok(C::from_iter(read)))
    }

    /// The members of either set, this one's first: Python's `s | other`. What both have is given as the other has it.
    ///
    /// Computed by the manager, a page at a time: what is in the result throughout is returned once, what comes or goes
    /// meanwhile may be; nothing is returned that `other` rules out. The shared set is not changed.
    pub fn union<'a, Q: Serialize + ?Sized + 'a, C: FromIterator<T>>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Paged<SetCombineRequest, T, C, M>>
    where
        T: Borrow<Q>,
    {
        self.combine(SetOperation::Union, data(other))
    }

    /// The members of both sets, as this one has them: Python's `s & other`. Read as [`union`](Self::union) is.
    pub fn intersection<'a, Q: Serialize + ?Sized + 'a, C: FromIterator<T>>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Paged<SetCombineRequest, T, C, M>>
    where
        T: Borrow<Q>,
    {
        self.combine(SetOperation::Intersection, data(other))
    }

    /// The members that the other does not have: Python's `s - other`. Read as [`union`](Self::union) is.
    pub fn difference<'a, Q: Serialize + ?Sized + 'a, C: FromIterator<T>>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Paged<SetCombineRequest, T, C, M>>
    where
        T: Borrow<Q>,
    {
        self.combine(SetOperation::Difference, data(other))
    }

    /// What exactly one of the two has, this one's first: Python's `s ^ other`. Read as [`union`](Self::union) is.
    pub fn symmetric_difference<'a, Q: Serialize + ?Sized + 'a, C: FromIterator<T>>(
        &self,
        other: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<Paged<SetCombineRequest, T, C, M>>
    where
        T: Borrow<Q>,
    {
        self.combine(SetOperation::SymmetricDifference, data(other))
    }

    fn combine<C: FromIterator<T>>(
        &self,
        operation: SetOperation,
        members: Result<Vec<Datum>>,
    ) -> M::Output<Paged<SetCombineRequest, T, C, M>> {
        let request =
            members.map(|members| SetCombineRequest { operation: operation.into(), members, cursor: 0, bytes: 0 });
        let take = |request: &mut SetCombineRequest, page: SetCombineResponse, read: &mut Vec<T>| {
            read_all(page.members, read)?;
            // A position that is not in the request can only come of a manager that is not right.
            let others = page.others.iter().filter_map(|at| request.members.get(*at as usize).cloned());
            read_all(others, read)?;
            request.cursor = page.cursor;
            Ok(page.cursor != 0)
        };
        self.remote.paged(request, take, |read| Ok(C::from_iter(read)))
    }
}

fn data<'a, Q: Serialize + ?Sized + 'a>(members: impl IntoIterator<Item = &'a Q>) -> Result<Vec<Datum>> {
    members.into_iter().map(|member| Ok(to_datum(member)?)).collect()
}

fn read_all<T: DeserializeOwned>(members: impl IntoIterator<Item = Datum>, read: &mut Vec<T>) -> Result<()> {
    for member in members {
        read.push(from_datum(member)?);
    }
    Ok(())
}
