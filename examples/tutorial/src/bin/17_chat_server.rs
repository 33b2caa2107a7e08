//! A chat server whose pool of four serves four clients at once. The fifth waits until one leaves.
//!
//! The server takes every client, and gives the pool one task for each: a conversation, which lasts until the client leaves.
//! So who is the fifth is connected, and hears nothing until a worker is free. In Python the task is given the connection;
//! here, where a worker may be on another machine, it is given an address at which the server passes the connection on.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::Duration;

use holdfast::blocking::Pool;

/// A conversation: every line comes back in capital letters, with the worker's process id before it.
#[holdfast::function]
fn talk(address: SocketAddr) -> Result<(), String> {
    let converse = || -> io::Result<()> {
        let client = TcpStream::connect(address)?;
        for line in BufReader::new(&client).lines() {
            writeln!(&client, "{} {}", process::id(), line?.to_uppercase())?;
        }
        Ok(())
    };
    converse().map_err(|error| error.to_string())
}

/// Gives the pool one conversation after the other, for ever.
fn serve(server: &TcpListener, pool: &Pool) -> holdfast::Result<()> {
    for client in server.incoming().flatten() {
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = door.local_addr().expect("it is bound");
        pool.apply_async(talk, (address,))?;
        thread::spawn(move || pass_on(&client, &door));
    }
    Ok(())
}

/// Passes on what client and worker say to each other, from when the worker has come until both have left.
fn pass_on(client: &TcpStream, door: &TcpListener) -> io::Result<()> {
    let (worker, _) = door.accept()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            io::copy(&mut &*client, &mut &worker)?;
            worker.shutdown(Shutdown::Write)
        });
        io::copy(&mut &worker, &mut &*client)
    })?;
    client.shutdown(Shutdown::Both)
}

/// Says something, and gives the answer: who speaks, and what. `None` if there is none for so long.
fn say(mut client: &TcpStream, line: &str, patience: Duration) -> io::Result<Option<String>> {
    writeln!(client, "{line}")?;
    hear(client, patience)
}

fn hear(client: &TcpStream, patience: Duration) -> io::Result<Option<String>> {
    client.set_read_timeout(Some(patience))?;
    let mut answer = String::new();
    match BufReader::new(client).read_line(&mut answer) {
        Ok(_) => Ok(Some(answer.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _family = holdfast::init();
    let pool = Pool::new(4)?;
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = server.local_addr()?;
    thread::spawn(move || serve(&server, &pool));

    let (long, short) = (Duration::from_secs(20), Duration::from_millis(300));
    let mut clients = Vec::new();
    for name in ["ada", "bob", "cleo", "dan"] {
        let client = TcpStream::connect(address)?;
        println!("{name}: {}", say(&client, &format!("hello, i am {name}"), long)?.ok_or("no answer")?);
        clients.push(client);
    }

    let fifth = TcpStream::connect(address)?;
    println!("eve: {}", say(&fifth, "hello, i am eve", short)?.unwrap_or("(hears nothing)".to_owned()));
    println!("bob: {}", say(&clients[1], "bye", long)?.ok_or("no answer")?);
    drop(clients.remove(1));
    println!("eve: {}", hear(&fifth, long)?.ok_or("no answer")?);
    Ok(())
}
