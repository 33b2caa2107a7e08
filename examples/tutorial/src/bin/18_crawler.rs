//! A crawler: workers fetch pages, and a callback in the main program reads what is in them.
//!
//! Fetching waits for the network, so several workers do it at once; parsing is quick, so it is done by the one process that
//! also knows which pages are new. The site is a little web server in this program.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::mpsc;
use std::thread;

use holdfast::Callbacks;
use holdfast::blocking::Pool;

/// What the site has: a path, a title, and where the page leads to.
const SITE: [(&str, &str, &[&str]); 5] = [
    ("/", "Home", &["/bread", "/cake"]),
    ("/bread", "Bread", &["/", "/rye"]),
    ("/cake", "Cake", &["/", "/bread", "/lost"]),
    ("/rye", "Rye", &["/bread"]),
    ("/secret", "Nobody links here", &[]),
];

/// A page as it came, and who fetched it.
type Fetched = (String, String, u32);

#[holdfast::function]
fn fetch(site: SocketAddr, path: String) -> Fetched {
    let get = || -> io::Result<String> {
        let mut connection = TcpStream::connect(site)?;
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
        io::read_to_string(connection)
    };
    let page = get().unwrap_or_else(|error| format!("HTTP/1.0 000 {error}\r\n"));
    (path, page, process::id())
}

/// The title of a page, and where it leads to.
fn parse(page: &str) -> (String, Vec<String>) {
    let between = |text: &str, end: &str| text.split(end).next().unwrap_or_default().to_owned();
    let title = match page.split_once("<title>") {
        Some((_, rest)) => between(rest, "</title>"),
        None => format!("no page: {}", page.lines().next().unwrap_or_default()),
    };
    let links = page.split("href=\"").skip(1).map(|rest| between(rest, "\"")).collect();
    (title, links)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _family = holdfast::init();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let site = server.local_addr()?;
    thread::spawn(move || serve(&server));
    println!("the crawler is process {}", process::id());

    let pool = Pool::new(3)?;
    let (parsed, pages) = mpsc::channel();
    let mut known = BTreeSet::from(["/".to_owned()]);
    let mut new = vec!["/".to_owned()];
    let mut under_way = 0;
    while under_way > 0 || !new.is_empty() {
        for path in new.drain(..) {
            let parsed = parsed.clone();
            let callback = move |(path, page, worker): Fetched| {
                let (title, links) = parse(&page);
                println!("{path}: fetched by process {worker}, parsed by process {}", process::id());
                // Nobody listens any more if the crawler has given up.
                let _ = parsed.send((path, title, links));
            };
            pool.apply_async_with(fetch, (site, path), Callbacks::new().callback(callback))?;
            under_way += 1;
        }
        let (path, title, links) = pages.recv()?;
        under_way -= 1;
        println!("{path}: {title:?} leads to {links:?}");
        new.extend(links.into_iter().filter(|link| known.insert(link.clone())));
    }
    println!("{} pages: {known:?}", known.len());
    Ok(())
}

/// Answers one request after the other, for ever.
fn serve(server: &TcpListener) -> io::Result<()> {
    for connection in server.incoming() {
        let connection = connection?;
        let mut request = String::new();
        BufReader::new(&connection).read_line(&mut request)?;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, page) = match SITE.iter().find(|(known, ..)| *known == path) {
            Some((_, title, links)) => {
                let links: String = links.iter().map(|link| format!("<a href=\"{link}\">{link}</a>")).collect();
                ("200 OK", format!("<title>{title}</title>{links}"))
            }
            None => ("404 Not Found", String::new()),
        };
        write!(&connection, "HTTP/1.0 {status}\r\nContent-Type: text/html\r\n\r\n{page}")?;
    }
    Ok(())
}
