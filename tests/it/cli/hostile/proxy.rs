//! A proxy in front of a server that counts requests, and stops the world at one of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::wait_until;

/// When a request is held for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Never: all pass.
    Never,
    /// Request of this number, before the server hears of it.
    Before(usize),
    /// Request of this number, once the server has done it.
    After(usize),
    /// The first that replaces the head, before the server hears of it; until it is let go.
    Head,
}

/// Stands before a server; one thread a connection, one request a connection towards the server.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    hold: Hold,
    asked: AtomicUsize,
    done: Mutex<Vec<(String, String)>>,
    is_held: AtomicBool,
    is_released: AtomicBool,
    ended: AtomicBool,
}

impl Proxy {
    pub fn start(upstream: &str, hold: Hold) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            hold,
            asked: AtomicUsize::new(0),
            done: Mutex::default(),
            is_held: AtomicBool::new(false),
            is_released: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = of_thread.clone();
                std::thread::spawn(move || shared.pass(stream));
            }
        });
        Self {
            url: format!("http://{address}"),
            shared,
        }
    }

    /// Waits until a request is held, or the program that asks has ended.
    pub fn wait_for(&self, child: &mut Child) {
        wait_until("no request was held", || {
            self.is_held() || child.try_wait().unwrap().is_some()
        });
    }

    /// Says whether the request came that is held.
    pub fn is_held(&self) -> bool {
        self.shared.is_held.load(Ordering::SeqCst)
    }

    /// Lets go what is held.
    pub fn release(&self) {
        self.shared.is_released.store(true, Ordering::SeqCst);
    }

    /// Returns method and path of what the server did.
    pub fn done(&self) -> Vec<(String, String)> {
        self.shared.done.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

impl Shared {
    fn pass(&self, mut client: TcpStream) -> Option<()> {
        let (head, body) = request(&mut client)?;
        let first = head.lines().next()?.to_owned();
        let mut words = first.split(' ').map(str::to_owned);
        let what = (words.next()?, words.next()?);
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.hold {
            Hold::Before(at) if number >= at => return self.hold(),
            Hold::After(at) if number > at => return self.hold(),
            Hold::Head if what.0 == "PUT" && what.1.ends_with("/head") => self.wait(),
            _ => {}
        }
        let mut server = TcpStream::connect(&self.upstream).ok()?;
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(head.as_bytes()).ok()?;
        server.write_all(&body).ok()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        self.done.lock().unwrap().push(what);
        if self.hold == Hold::After(number) {
            return self.hold();
        }
        client.write_all(&answer).ok()?;
        client.shutdown(Shutdown::Both).ok()
    }

    fn wait(&self) {
        self.is_held.store(true, Ordering::SeqCst);
        while !self.is_released.load(Ordering::SeqCst) && !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hold(&self) -> Option<()> {
        self.is_held.store(true, Ordering::SeqCst);
        while !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    while body.len() < length.unwrap_or(0) {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&buffer[..count]);
    }
    Some((head, body))
}
