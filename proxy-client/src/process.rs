//! Processes that this program starts: this same program, run a second time for one function.
//!
//! | | |
//! |---|---|
//! | [`handle`] | `Process` |
//! | [`family`] | `init`: what a child does from its begin to its end, and how a parent ends |
//! | [`start`] | how a child is started |
//! | [`boot`] | what it is told, and how |
//! | [`arguments`], [`descriptors`] | what its function is called with |
//! | [`household`] | the children of this process, and the thread that reaps them |
//! | [`identity`] | what a process knows of itself |
//! | [`access`] | the managers to which it can connect |
//! | [`worker`] | children that run an entry of the library itself |

mod access;
mod arguments;
mod boot;
pub(crate) mod descriptors;
mod error;
mod family;
mod handle;
mod household;
mod identity;
mod start;
pub(crate) mod worker;

pub(crate) use access::{Access, inherited, note as note_session};
#[cfg(feature = "embedded")]
pub(crate) use boot::ROLE_VARIABLE;
pub use error::ProcessError;
pub use family::{Family, init};
pub use handle::Process;
pub(crate) use handle::active_children;
pub(crate) use household::Exit;
pub use identity::{CurrentProcess, ParentProcess, current_process};
pub(crate) use identity::{given_name, parent_process};
#[cfg(feature = "embedded")]
pub(crate) use start::has_begun;
