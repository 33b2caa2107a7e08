//! Where a manager is found on a machine, when nobody says: what `holdfast serve` and every client agree on.
//!
//! | what | environment | default |
//! |---|---|---|
//! | address | `HOLDFAST_ADDRESS` | `unix:$XDG_RUNTIME_DIR/holdfast/manager.sock`, or `unix:/tmp/holdfast-UID/manager.sock` |
//! | authkey file | `HOLDFAST_AUTHKEY_FILE` | `$XDG_CONFIG_HOME/holdfast/authkey`, or `$HOME/.config/holdfast/authkey` |

mod address;
mod authkey_file;
mod private_file;

use std::env;
use std::format;
use std::path::PathBuf;

pub use address::{Address, InvalidAddress};
pub use authkey_file::{AuthkeyFileError, create_authkey_file, read_authkey_file, write_authkey_file};
pub use private_file::{
    PrivateFileError, create_private_file, make_folder_of, read_private_file, replace_private_file,
};

/// Names the address of the manager.
pub const ADDRESS_VARIABLE: &str = "HOLDFAST_ADDRESS";

/// Names the file that holds the authkey.
pub const AUTHKEY_FILE_VARIABLE: &str = "HOLDFAST_AUTHKEY_FILE";

/// Names the file with the certificate of a manager, for the manager alone.
pub const CERTIFICATE_FILE_VARIABLE: &str = "HOLDFAST_CERTIFICATE_FILE";

/// Names the file with the private key of that certificate, for the manager alone.
pub const PRIVATE_KEY_FILE_VARIABLE: &str = "HOLDFAST_PRIVATE_KEY_FILE";

/// The name of the default socket.
const SOCKET: &str = "manager.sock";

/// The folder for sockets of this user: short, since the path of a Unix socket has at most 107 bytes. An
/// `XDG_RUNTIME_DIR` that leaves no room for the name of a socket, as on machines that keep such folders deep down, is
/// taken for none.
#[must_use]
pub fn runtime_folder() -> PathBuf {
    let folder = env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("holdfast"));
    match folder.filter(|folder| folder.is_absolute() && Address::Unix(folder.join(SOCKET)).check().is_ok()) {
        Some(folder) => folder,
        None => PathBuf::from(format!("/tmp/holdfast-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The address that a manager listens on if it is told none.
#[must_use]
pub fn default_address() -> Address {
    Address::Unix(runtime_folder().join(SOCKET))
}

/// The file that the authkey is in if nobody names another.
#[must_use]
pub fn default_authkey_file() -> PathBuf {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    match absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config"))) {
        Some(folder) => folder.join("holdfast").join("authkey"),
        None => runtime_folder().join("authkey"),
    }
}
