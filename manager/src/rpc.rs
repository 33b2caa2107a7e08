//! What a unary RPC asks for: which op, of which object.

use holdfast_objects::catalog::{KINDS, Kind};
use holdfast_proto::ops::Op as _;
use holdfast_proto::{Reason, Refusal, manager};

/// One op, as the path of an RPC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// The number of the kind.
    pub(crate) kind: u32,
    /// The number of the op within the kind.
    pub(crate) op: u32,
}

/// Which object an RPC is about, as its metadata say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// None is named.
    Nothing,
    /// The object of that name.
    Name(String),
    /// The object behind that handle of the connection's session.
    Handle(u32),
}

/// The manager itself, which is no kind of object but has ops like one.
const MANAGER: Kind =
    Kind { number: manager::KIND, name: manager::NAME, service: manager::SERVICE, ops: manager::Op::table };

/// The full names of all services whose methods are ops.
pub(crate) fn services() -> impl Iterator<Item = &'static str> {
    kinds().map(|kind| kind.service)
}

fn kinds() -> impl Iterator<Item = &'static Kind> {
    std::iter::once(&MANAGER).chain(KINDS)
}

impl Method {
    /// The op that the RPC of this path stands for. Refused: `UNKNOWN_OP`.
    pub(crate) fn find(path: &str) -> Result<Self, Refusal> {
        let (service, name) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or((path, ""));
        let kind = kinds().find(|kind| kind.service == service).ok_or_else(|| unknown_service(service))?;
        let op = (kind.ops)().iter().find(|(_, known)| *known == name);
        op.map(|&(op, _)| Self { kind: kind.number, op }).ok_or_else(|| unknown_method(kind, name))
    }

    /// Whether it is an op of the manager itself, which is about no object.
    pub(crate) fn is_of_manager(self) -> bool {
        self.kind == MANAGER.number
    }
}

#[cold]
fn unknown_service(service: &str) -> Refusal {
    let known: Vec<&str> = services().collect();
    let message = format!(
        "there is no service {service:?}: this manager knows {}. A newer manager may know more",
        known.join(", ")
    );
    Refusal::new(Reason::UnknownOp, message)
}

#[cold]
fn unknown_method(kind: &Kind, name: &str) -> Refusal {
    let known: Vec<&str> = (kind.ops)().iter().map(|&(_, name)| name).collect();
    let message = format!(
        "{} has no method {name:?}: this manager knows {}. A newer manager may know more",
        kind.service,
        known.join(", ")
    );
    Refusal::new(Reason::UnknownOp, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_of_every_kind_has_a_path() {
        for kind in kinds() {
            for &(op, name) in (kind.ops)() {
                let path = format!("/{}/{name}", kind.service);
                assert_eq!(Method::find(&path), Ok(Method { kind: kind.number, op }), "{path}");
            }
        }
    }

    #[test]
    fn other_paths_are_refused_with_what_there_is() {
        for (path, says) in [
            ("", "ManagerService"),
            ("/", "ManagerService"),
            ("/holdfast.v1.NoService/Get", "ManagerService"),
            ("/holdfast.v1.ManagerService", "ManagerService"),
            ("holdfast.v1.ManagerService/Open", "ManagerService"),
            ("/holdfast.v1.ManagerService/", "TakeUp"),
            ("/holdfast.v1.ManagerService/open", "TakeUp"),
            ("/holdfast.v1.ManagerService/Open/", "TakeUp"),
        ] {
            let refusal = Method::find(path).expect_err(path);
            assert!(refusal.why() == Reason::UnknownOp && refusal.message.contains(says), "{path}: {refusal}");
        }
    }
}
