//! Servers on loopback: a scripted web server, a real S3 server, Debian's registry.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::support;

/// What a scripted server does with one request.
#[derive(Clone)]
pub enum Step {
    /// Serves the files of its directory, with ranges.
    Files,
    /// Says this: status line and headers, then a body, and closes the connection.
    Say(String, Vec<u8>),
    /// Says this, then the body one byte a second.
    Drip(String, Vec<u8>),
    /// Says this and never ends the body, which repeats.
    Endless(String, Vec<u8>),
    /// Serves the right range, but closes the connection after so many bytes of it.
    Cut(usize),
    /// Reads the request and says nothing.
    Silent,
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A web server of files that can be told to misbehave.
pub struct WebServer {
    pub url: String,
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl WebServer {
    /// Serves `root`; the first requests get what the script says, the others files.
    pub fn start(root: &Path, script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<VecDeque<Step>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (root, steps, log, ended) =
            (root.to_owned(), script.clone(), seen.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (root, steps, log, ended) =
                    (root.clone(), steps.clone(), log.clone(), ended.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, &root, &steps, &log, &ended);
                });
            }
        });
        Self {
            url,
            script,
            seen,
            stop,
        }
    }

    pub fn then(&self, step: Step) {
        self.script.lock().unwrap().push_back(step);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the ranges that were asked for, in order.
    pub fn ranges(&self) -> Vec<String> {
        let seen = self.seen();
        let ranges = seen.iter().filter_map(|seen| seen.header("range"));
        ranges.map(str::to_owned).collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn serve(
    stream: TcpStream,
    root: &Path,
    script: &Mutex<VecDeque<Step>>,
    log: &Mutex<Vec<Seen>>,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    loop {
        let Some(seen) = request(&mut lines)? else {
            return Ok(());
        };
        log.lock().unwrap().push(seen.clone());
        let step = script.lock().unwrap().pop_front().unwrap_or(Step::Files);
        match step {
            Step::Files => {
                let (head, body) = answer(root, &seen);
                out.write_all(head.as_bytes())?;
                if seen.method != "HEAD" {
                    out.write_all(&body)?;
                }
                continue;
            }
            Step::Cut(after) => {
                let (head, body) = answer(root, &seen);
                out.write_all(head.as_bytes())?;
                out.write_all(&body[..after.min(body.len())])?;
            }
            Step::Say(head, body) => {
                out.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())?;
                out.write_all(&body)?;
            }
            Step::Drip(head, body) => {
                out.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())?;
                for byte in body {
                    out.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_secs(1));
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            Step::Endless(head, body) => {
                out.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())?;
                while !ended.load(Ordering::Relaxed) {
                    out.write_all(&body)?;
                }
            }
            Step::Silent => {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        out.flush()?;
        return out.shutdown(Shutdown::Both);
    }
}

fn request(lines: &mut BufReader<TcpStream>) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let Some((key, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Seen {
        method,
        path,
        headers,
    }))
}

fn answer(root: &Path, seen: &Seen) -> (String, Vec<u8>) {
    let Ok(bytes) = std::fs::read(root.join(seen.path.trim_start_matches('/'))) else {
        return (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Vec::new(),
        );
    };
    let size = bytes.len();
    let range = seen.header("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
    });
    match range {
        Some((start, _)) if start >= size => (
            format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */{size}\r\ncontent-length: 0\r\n\r\n"
            ),
            Vec::new(),
        ),
        Some((start, end)) => {
            let end = end.min(size - 1);
            let part = bytes[start..=end].to_vec();
            let length = part.len();
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{end}/{size}\r\ncontent-length: {length}\r\n\r\n"
            );
            (head, part)
        }
        None => (
            format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n"),
            bytes,
        ),
    }
}

/// A real S3 server over a directory, in this process, with one bucket `layers`.
pub struct S3Server {
    pub endpoint: String,
    _runtime: tokio::runtime::Runtime,
    _root: tempfile::TempDir,
}

pub const S3_KEY: &str = "AKIDCONFORMANCE";
pub const S3_SECRET: &str = "a-secret-that-must-not-show";

impl S3Server {
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("layers")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(S3_KEY, S3_SECRET));
        let service = builder.build();
        // This server looks at a condition, then writes, then writes the entity tag; real stores do that as one step. The
        // gate makes one step of it, so that the test is of our side.
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, gate) = (service.clone(), gate.clone());
                let serve = hyper::service::service_fn(move |request| {
                    let (service, gate) = (service.clone(), gate.clone());
                    async move {
                        let request: hyper::Request<hyper::body::Incoming> = request;
                        let head = request.uri().path().ends_with("/head");
                        let _gate = if head { Some(gate.lock().await) } else { None };
                        let answer = service.call(request.map(s3s::Body::from)).await;
                        Ok::<_, Infallible>(answer.unwrap())
                    }
                });
                tokio::spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(io, serve).await;
                });
            }
        });
        Self {
            endpoint,
            _runtime: runtime,
            _root: root,
        }
    }
}

/// Debian's `docker-registry` on a free port of loopback, with its own storage.
pub struct Registry {
    pub host: String,
    pub root: tempfile::TempDir,
    child: Child,
}

impl Registry {
    /// Starts it; none, and a line that says so, where it is not installed.
    pub fn start(test: &str, extra: &str) -> Option<Self> {
        let program = PathBuf::from("/usr/bin/docker-registry");
        if !program.exists() {
            support::skip(test, "needs Debian's docker-registry");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        // Another process may take the port in between: try a few.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let host = free.local_addr().unwrap().to_string();
            drop(free);
            let config = root.path().join("config.yml");
            let storage = root.path().join("storage");
            let text = format!(
                "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n{extra}http:\n  addr: {host}\n",
                storage.display()
            );
            std::fs::write(&config, text).unwrap();
            let log = std::fs::File::create(root.path().join("log")).unwrap();
            let mut child = Command::new(&program)
                .args(["serve".as_ref(), config.as_os_str()])
                .env("OTEL_TRACES_EXPORTER", "none")
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(20) {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if answers(&host) {
                    return Some(Self { host, root, child });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(root.path().join("log")).unwrap();
        panic!("docker-registry does not start: {log}");
    }
}

fn answers(host: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(host) else {
        return false;
    };
    let _ = stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.starts_with("HTTP/1.")
}

impl Drop for Registry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.root.path().join("log"));
            eprintln!("docker-registry said: {}", log.unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
