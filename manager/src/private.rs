//! A manager that belongs to one process and ends with it.

use std::fs::{self, DirBuilder};
use std::future::{Future, pending};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use holdfast_proto::place::{Address, create_authkey_file, runtime_folder};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::file_limit::raise_file_limit;
use crate::limits::Limits;
use crate::network::Network;
use crate::process::Process;
use crate::server::{Config, Listen, Server, StartError, Stopped};
use crate::transport::make_private_folder;

/// The owner is gone or wants no more: there is hardly anybody to wait for.
const DRAIN: Duration = Duration::from_secs(1);

/// The longest name of a socket below the folder.
const SOCKET: &str = "manager.sock";

/// Runs a manager for the process that started this one, until that process closes the other end of standard input, or
/// ends, however it does.
///
/// The socket and the authkey are in a new folder that only this user can enter; `ready` is told their places once clients
/// can connect, and the folder is removed at the end.
pub async fn run_private(
    limits: Limits,
    network: Network,
    threads: usize,
    ready: impl FnOnce(&Address, &Path),
) -> Result<Stopped, StartError> {
    raise_file_limit();
    // Before anything else: an owner that dies from now on is noticed.
    let owner_gone = watch_owner().map_err(StartError::System)?;
    let folder = Folder::make().map_err(StartError::System)?;
    let authkey_file = folder.0.join("authkey");
    let authkey = create_authkey_file(&authkey_file).map_err(|error| StartError::System(io::Error::other(error)))?;
    let listen = vec![Listen { address: Address::Unix(folder.0.join(SOCKET)), beyond_loopback: false }];
    let (certificate, epoch_file, drain) = (None, None, DRAIN);
    let server = Server::bind(Config { listen, authkey, certificate, epoch_file, limits, network, threads, drain })?;
    ready(&server.addresses()[0], &authkey_file);
    server.run(owner_gone).await
}

/// Tells when the process that started this one closes its end of standard input, or ends.
///
/// A pipe alone would do if it could not be inherited: a child of the owner that is forked without exec keeps it open. So
/// the owner is watched too, where the system can do that.
fn watch_owner() -> io::Result<impl Future<Output = ()>> {
    let ended = Process::parent().map(Process::ended).transpose()?;
    let (gone, closed) = oneshot::channel::<()>();
    thread::Builder::new().name("holdfast-owner".to_owned()).spawn(move || {
        // What it says is of no interest, only the end of it; an error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(gone);
    })?;
    Ok(async {
        let ended = async {
            match ended {
                Some(ended) => ended.await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = closed => {}
            () = ended => {}
        }
    })
}

/// A folder that only this user can enter, and that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("private-{}", &id[..12]);
        let parent = runtime_folder();
        // The path of a Unix socket has 107 bytes at most, and some systems keep their runtime folders deep down.
        let fits = parent.as_os_str().len() + name.len() + SOCKET.len() + 2 <= 107;
        let folder = if fits { parent.join(name) } else { PathBuf::from("/tmp").join(format!("holdfast-{name}")) };
        if fits {
            make_private_folder(&parent)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed holds no more than a key that nobody asks for.
        let _ = fs::remove_dir_all(&self.0);
    }
}
