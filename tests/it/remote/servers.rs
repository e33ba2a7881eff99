//! Servers on loopback: a scripted web server, a real S3 server, Debian's registry.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::support::{AT_ONCE, PATIENCE, skip};

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
    /// Serves the first part of the right answer's body, this many percent of it, and then nothing more.
    Hold(usize),
}

/// Decides by a request, and by how many there were before, what is done with it; files are served where it says nothing.
pub type Rule = dyn Fn(&Seen, usize) -> Option<Step> + Send + Sync;

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
    sent: Arc<AtomicU64>,
}

impl WebServer {
    /// Serves `root`; the first requests get what the script says, the others files.
    pub fn start(root: &Path, script: impl IntoIterator<Item = Step>) -> Self {
        Self::run(root, script, Arc::new(|_, _| None))
    }

    /// Serves `root`, but does what the rule says.
    pub fn ruled(
        root: &Path,
        rule: impl Fn(&Seen, usize) -> Option<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::run(root, [], Arc::new(rule))
    }

    fn run(root: &Path, script: impl IntoIterator<Item = Step>, rule: Arc<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<VecDeque<Step>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let sent = Arc::<AtomicU64>::default();
        let shared = Shared {
            root: root.to_owned(),
            script: script.clone(),
            rule,
            log: seen.clone(),
            ended: stop.clone(),
            sent: sent.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let _ = serve(stream, &shared);
                });
            }
        });
        Self {
            url,
            script,
            seen,
            stop,
            sent,
        }
    }

    /// Returns how many bytes of files were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
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

/// What the threads of a server share.
#[derive(Clone)]
struct Shared {
    root: PathBuf,
    script: Arc<Mutex<VecDeque<Step>>>,
    rule: Arc<Rule>,
    log: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Shared {
        root,
        script,
        rule,
        log,
        ended,
        sent,
    } = shared;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    loop {
        let Some(seen) = request(&mut lines)? else {
            return Ok(());
        };
        let before = {
            let mut log = log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        let step = script.lock().unwrap().pop_front();
        let step = step.or_else(|| rule(&seen, before)).unwrap_or(Step::Files);
        match step {
            Step::Files => {
                let (head, body) = answer(root, &seen);
                out.write_all(head.as_bytes())?;
                if seen.method != "HEAD" {
                    out.write_all(&body)?;
                    sent.fetch_add(body.len() as u64, Ordering::SeqCst);
                }
                continue;
            }
            Step::Hold(percent) => {
                let (head, body) = answer(root, &seen);
                let part = &body[..body.len() * percent / 100];
                out.write_all(head.as_bytes())?;
                out.write_all(part)?;
                sent.fetch_add(part.len() as u64, Ordering::SeqCst);
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
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
    root: tempfile::TempDir,
}

pub const S3_KEY: &str = "AKIDCONFORMANCE";
pub const S3_SECRET: &str = "a-secret-that-must-not-show";

impl S3Server {
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("layers")).unwrap();
        Self::serve(root)
    }

    /// Starts it with a copy of what another one left.
    pub fn start_from(left: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let all = format!("{}/.", left.display());
        let copied = Command::new("cp")
            .arg("-a")
            .arg(all)
            .arg(root.path())
            .status();
        assert!(copied.unwrap().success());
        Self::serve(root)
    }

    /// Returns the head of the remote `fleet`.
    pub fn head(&self) -> Vec<u8> {
        std::fs::read(self.root.path().join("layers/fleet/head")).unwrap()
    }

    /// Ends it, and returns what it stored.
    pub fn stop(self) -> tempfile::TempDir {
        self.root
    }

    fn serve(root: tempfile::TempDir) -> Self {
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
            root,
        }
    }
}

const PROGRAM: &str = "/usr/bin/docker-registry";

/// Debian's `docker-registry` on a free port of loopback, with its own storage.
pub struct Registry {
    pub host: String,
    pub root: tempfile::TempDir,
    child: Child,
}

impl Registry {
    /// Starts it; none, and a line that says so, where it is not installed.
    pub fn start(test: &str, extra: &str) -> Option<Self> {
        let program = Path::new(PROGRAM);
        if !program.exists() {
            skip(test, "needs Debian's docker-registry");
            return None;
        }
        Some(Self::serve(program, extra, tempfile::tempdir().unwrap()))
    }

    /// Starts another one on a copy of what this one stored.
    pub fn copy(&self) -> Self {
        let root = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .args([self.root.path().join("storage"), root.path().to_owned()])
            .status();
        assert!(copied.unwrap().success());
        Self::serve(Path::new(PROGRAM), "", root)
    }

    fn serve(program: &Path, extra: &str, root: tempfile::TempDir) -> Self {
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
            let mut child = Command::new(program)
                .args(["serve".as_ref(), config.as_os_str()])
                .env("OTEL_TRACES_EXPORTER", "none")
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let started = Instant::now();
            while started.elapsed() < PATIENCE {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if answers(&host) {
                    return Self { host, root, child };
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
    // Whoever took the port may be silent.
    let _ = stream.set_read_timeout(Some(AT_ONCE));
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
