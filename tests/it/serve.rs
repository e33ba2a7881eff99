//! `layerset serve`, asked by `curl` and by clients that do not behave.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use layerset::serve::{ServeLimits, ServeOptions, ServeReport, Server};
use serde_json::Value;
use sha2::Digest as _;
use tempfile::TempDir;

use crate::session::Session;
use crate::support::{AT_ONCE, PATIENCE};

/// The directory of a remote, beside files that nobody may have.
struct Lab {
    dir: TempDir,
    blob: Vec<u8>,
    digest: String,
}

fn hex(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Lab {
    fn new(blob_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blob: Vec<u8> = (0..blob_bytes)
            .map(|at| u8::try_from(at.wrapping_mul(7919) >> 5 & 0xff).unwrap())
            .collect();
        let digest = hex(&blob);
        let remote = dir.path().join("remote");
        fs::create_dir_all(remote.join("blobs/sha256").join(&digest[..2])).unwrap();
        fs::write(remote.join("head"), b"the head").unwrap();
        fs::write(remote.join(".head.new"), b"secret").unwrap();
        fs::write(remote.join("blobs/sha256/.new-1"), b"secret").unwrap();
        fs::write(dir.path().join("passwd"), b"secret").unwrap();
        let lab = Self { dir, blob, digest };
        fs::write(lab.remote().join(lab.blob_path()), &lab.blob).unwrap();
        lab
    }

    fn remote(&self) -> PathBuf {
        self.dir.path().join("remote")
    }

    fn blob_path(&self) -> String {
        format!("blobs/sha256/{}/{}", &self.digest[..2], self.digest)
    }

    /// Starts the program.
    fn program(&self, arguments: &[&str]) -> Program {
        let session = Session::new(self.dir.path(), &self.dir.path().join("repo"));
        let mut words = vec!["--json", "serve", "remote", "--listen", "127.0.0.1:0"];
        words.extend(arguments);
        let mut child = session
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !said.ends_with("}\n") {
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        let said: Value = serde_json::from_str(&said).unwrap();
        Program {
            child,
            url: said["url"].as_str().unwrap().to_owned(),
        }
    }

    /// Serves from this process, with limits that a test can wait for.
    fn thread(&self, limits: ServeLimits) -> Running {
        let options = ServeOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_log: None,
            metrics: true,
            limits,
        };
        let server = Server::bind(&self.remote(), options).unwrap();
        let address = server.address();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        Running {
            address,
            stop,
            server: Some(std::thread::spawn(move || server.run(&asked).unwrap())),
        }
    }
}

/// The program while it serves.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn at(&self, path: &str) -> String {
        format!("{}{}", self.url, path.trim_start_matches('/'))
    }

    /// Sends a signal, and returns the exit status and what it said.
    fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut said = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails where it has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of this process.
struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<ServeReport>>,
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn end(mut self) -> ServeReport {
        self.stop.store(true, Ordering::Relaxed);
        self.server.take().unwrap().join().unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        curl(&[&format!("http://{}/{path}", self.address)])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What `curl` got.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        let line = self.headers.lines().find(named)?;
        Some(line.split_once(':').unwrap().1.trim())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[track_caller]
fn curl(arguments: &[&str]) -> Answer {
    let headers = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("curl")
        // First, -q: the ~/.curlrc of whoever runs the tests must not count.
        .args([
            "-q",
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--path-as-is",
        ])
        .args(["--max-time", "120", "--dump-header"])
        .arg(headers.path())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "curl {arguments:?}: {said}");
    let headers = fs::read_to_string(headers.path()).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        headers,
        body: output.stdout,
    }
}

#[test]
fn the_head_and_blobs_are_served_whole_with_what_caches_need() {
    let lab = Lab::new(1_000_000);
    let program = lab.program(&[]);
    let blob = curl(&[&program.at(&lab.blob_path())]);
    assert_eq!(blob.status, 200);
    assert!(blob.body == lab.blob, "the blob differs");
    assert_eq!(blob.header("etag"), Some(&*format!("\"{}\"", lab.digest)));
    assert_eq!(blob.header("content-length"), Some("1000000"));
    assert_eq!(blob.header("accept-ranges"), Some("bytes"));
    assert!(blob.header("cache-control").unwrap().contains("immutable"));
    let head = curl(&[&program.at("/head")]);
    assert_eq!((head.status, head.text()), (200, "the head".to_owned()));
    assert_eq!(
        head.header("etag"),
        Some(&*format!("\"{}\"", hex(b"the head")))
    );
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    // A HEAD says the same about the body, and has none.
    let asked = curl(&["--head", &program.at(&lab.blob_path())]);
    assert_eq!((asked.status, asked.body.len()), (200, asked.headers.len()));
    assert_eq!(asked.header("content-length"), Some("1000000"));
    assert_eq!(asked.header("etag"), blob.header("etag"));
    let missing = format!("blobs/sha256/00/{}", "0".repeat(64));
    assert_eq!(curl(&[&program.at(&missing)]).status, 404);
    assert_eq!(curl(&[&program.at("/healthz")]).text(), "ok\n");
    assert_eq!(curl(&[&program.at("/metrics")]).status, 404);
}

#[test]
fn a_range_is_answered_by_exactly_its_bytes() {
    let lab = Lab::new(300_000);
    let program = lab.program(&[]);
    let url = program.at(&lab.blob_path());
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("1000-201000", 1000, 201_001),
        ("299999-", 299_999, 300_000),
        ("-5", 299_995, 300_000),
        ("10-9999999999", 10, 300_000),
    ] {
        let part = curl(&["--range", range, &url]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == lab.blob[from..to], "{range} differs");
        let said = format!("bytes {from}-{}/300000", to - 1);
        assert_eq!(part.header("content-range"), Some(&*said));
        assert_eq!(
            part.header("content-length"),
            Some(&*(to - from).to_string())
        );
    }
    let beyond = curl(&["--range", "300000-300001", &url]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */300000"));
    assert_eq!(beyond.header("cache-control"), None);
    // Several ranges, and a part of another state: all of it, which a server may always send.
    assert!(curl(&["--range", "0-1,5-6", &url]).body == lab.blob);
    let stale = curl(&["--range", "0-1", "-H", "If-Range: \"other\"", &url]);
    assert_eq!((stale.status, stale.body.len()), (200, 300_000));
    let fresh = format!("If-Range: \"{}\"", lab.digest);
    let part = curl(&["--range", "0-1", "-H", &fresh, &url]);
    assert_eq!((part.status, part.body.len()), (206, 2));
}

#[test]
fn who_has_the_current_state_gets_304_until_it_changes() {
    let lab = Lab::new(1000);
    let program = lab.program(&[]);
    let condition = |text: &str| format!("If-None-Match: {text}");
    let url = program.at(&lab.blob_path());
    for tags in [
        format!("\"{}\"", lab.digest),
        format!("W/\"{}\"", lab.digest),
        format!("\"x\", \"{}\"", lab.digest),
        "*".to_owned(),
    ] {
        let same = curl(&["-H", &condition(&tags), &url]);
        assert_eq!((same.status, same.body.len()), (304, 0), "{tags}");
        assert!(same.header("etag").is_some() && same.header("cache-control").is_some());
    }
    assert_eq!(curl(&["-H", &condition("\"other\""), &url]).status, 200);
    let head = program.at("/head");
    let tag = curl(&[&head]).header("etag").unwrap().to_owned();
    assert_eq!(curl(&["-H", &condition(&tag), &head]).status, 304);
    fs::write(lab.remote().join("new"), b"another").unwrap();
    fs::rename(lab.remote().join("new"), lab.remote().join("head")).unwrap();
    let changed = curl(&["-H", &condition(&tag), &head]);
    assert_eq!(
        (changed.status, changed.text()),
        (200, "another".to_owned())
    );
}

#[test]
fn nothing_else_can_be_reached() {
    let lab = Lab::new(1000);
    let remote = lab.remote();
    let linked = "1".repeat(64);
    fs::create_dir(remote.join("blobs/sha256/11")).unwrap();
    std::os::unix::fs::symlink(
        lab.dir.path().join("passwd"),
        remote.join("blobs/sha256/11").join(&linked),
    )
    .unwrap();
    let program = lab.program(&[]);
    for path in [
        "/",
        "/blobs/",
        "/blobs/sha256/",
        "/.head.new",
        "/blobs/sha256/.new-1",
        "/../passwd",
        "/%2e%2e/passwd",
        "/..%2fpasswd",
        "/%2e%2e%2fpasswd",
        "/blobs/../head",
        "/blobs/sha256/../../../passwd",
        "/blobs/sha256/..%2f..%2f..%2fpasswd",
        "/blobs/sha256/%2e%2e/%2e%2e/%2e%2e/passwd",
        "//passwd",
        "/head%00",
        &format!("/blobs/sha256/11/{linked}"),
        &format!("/blobs/sha256/{}/..%2f{}", &lab.digest[..2], lab.digest),
    ] {
        let answer = curl(&[&format!("{}{path}", program.url.trim_end_matches('/'))]);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.text(), "not found\n", "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = curl(&["-X", method, "-d", "x", &program.at("/head")]);
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(fs::read(remote.join("head")).unwrap(), b"the head");
}

#[test]
fn the_access_log_and_the_metrics_say_what_was_answered() {
    let lab = Lab::new(5000);
    let log = lab.dir.path().join("access.log");
    let program = lab.program(&["--metrics", "--access-log", log.to_str().unwrap()]);
    curl(&[&program.at(&lab.blob_path())]);
    curl(&["--range", "0-99", &program.at(&lab.blob_path())]);
    curl(&["--range", "9999-", &program.at(&lab.blob_path())]);
    curl(&["-A", "evil\" agent", &program.at("/nothing")]);
    let metrics = curl(&[&program.at("/metrics")]);
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .contains("version=0.0.4")
    );
    for expect in [
        "layerset_http_requests_total{code=\"200\",kind=\"blob\"} 1",
        "layerset_http_requests_total{code=\"206\",kind=\"blob\"} 1",
        "layerset_http_requests_total{code=\"416\",kind=\"blob\"} 1",
        "layerset_http_requests_total{code=\"404\",kind=\"other\"} 1",
        "layerset_http_request_duration_seconds_count{kind=\"blob\"} 3",
        "layerset_http_requests_in_flight 1",
        &format!(
            "layerset_http_response_bytes_total{{kind=\"blob\"}} {}",
            5000 + 100 + "no such bytes\n".len()
        ),
    ] {
        let text = metrics.text();
        assert!(
            text.lines().any(|line| line == expect),
            "{expect} is not in\n{text}"
        );
    }
    let (status, said) = program.end(rustix::process::Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("5 answers"), "{said}");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    let of_blob = format!(
        "\"GET /{} HTTP/1.1\" 200 5000 \"-\" \"curl/",
        lab.blob_path()
    );
    assert!(lines[0].starts_with("127.0.0.1 - - [") && lines[0].contains(&of_blob));
    assert!(lines[1].contains("\" 206 100 \""), "{text}");
    assert!(
        lines[3].contains("\" 404 10 \"-\" \"evil\\\" agent\" "),
        "{text}"
    );
    let millis = lines[0].rsplit(' ').next().unwrap();
    assert!(millis.parse::<u64>().is_ok(), "{text}");
}

#[test]
fn many_clients_are_served_at_once_and_none_gets_what_is_anothers() {
    let lab = Lab::new(3_000_000);
    let running = lab.thread(ServeLimits::default());
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (running, lab) = (&running, &lab);
            scope.spawn(move || {
                for turn in 0..4 {
                    let from = client * 150_000 + turn * 1000;
                    let range = format!("{from}-{}", from + 99_999);
                    let url = format!("http://{}/{}", running.address, lab.blob_path());
                    let part = curl(&["--range", &range, &url]);
                    assert!(part.body == lab.blob[from..from + 100_000]);
                }
            });
        }
    });
    let served = running.end();
    assert_eq!((served.answers, served.bytes), (64, 6_400_000));
}

#[test]
fn slow_clients_are_given_up_and_hold_up_nobody() {
    // Much longer than an answer takes, wherever: who is held up by one of them waits as long.
    const LIMIT: Duration = Duration::from_secs(8);
    let lab = Lab::new(40_000_000);
    let running = lab.thread(ServeLimits {
        header_time: LIMIT,
        stall_time: LIMIT,
        ..ServeLimits::default()
    });
    // Some say nothing, some never end their request, some take nothing of a large answer.
    let mut silent: Vec<TcpStream> = (0..20).map(|_| running.connect()).collect();
    let mut unfinished: Vec<TcpStream> = (0..20).map(|_| running.connect()).collect();
    for stream in &mut unfinished {
        stream.write_all(b"GET /head HTTP/1.1\r\nHo").unwrap();
    }
    let mut deaf: Vec<TcpStream> = (0..20).map(|_| running.connect()).collect();
    for stream in &mut deaf {
        let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", lab.blob_path());
        stream.write_all(request.as_bytes()).unwrap();
    }
    let began = Instant::now();
    assert_eq!(running.get("head").status, 200);
    assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    // All are given up after their time: those that wait for an answer read an end.
    for stream in silent.iter_mut().chain(&mut unfinished) {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
    let gone = "layerset_http_connections 1";
    let deadline = Instant::now() + PATIENCE;
    while !running
        .get("metrics")
        .text()
        .lines()
        .any(|line| line == gone)
    {
        assert!(
            Instant::now() < deadline,
            "{}",
            running.get("metrics").text()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn connections_beyond_the_limit_wait_and_large_headers_are_refused() {
    let lab = Lab::new(1000);
    let header_time = Duration::from_secs(2);
    let running = lab.thread(ServeLimits {
        connections: 2,
        header_bytes: 8192,
        header_time,
        ..ServeLimits::default()
    });
    // The third is taken once one of these is given up, and that takes as long from now at the least.
    let began = Instant::now();
    let (_one, _two) = (running.connect(), running.connect());
    assert_eq!(running.get("head").status, 200);
    assert!(began.elapsed() >= header_time, "{:?}", began.elapsed());
    let large = format!("X: {}", "x".repeat(20_000));
    let url = format!("http://{}/head", running.address);
    assert_eq!(curl(&["-H", &large, &url]).status, 431);
}

#[test]
fn a_signal_ends_it_when_answers_that_have_begun_are_out() {
    let lab = Lab::new(30_000_000);
    let program = lab.program(&[]);
    let address = program.url.trim_start_matches("http://");
    let mut client = TcpStream::connect(address.trim_end_matches('/')).unwrap();
    let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", lab.blob_path());
    client.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 1000];
    client.read_exact(&mut first).unwrap();
    let slow = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        first.len() + rest.len()
    });
    let began = Instant::now();
    let (status, said) = program.end(rustix::process::Signal::INT);
    assert_eq!(status, Some(0), "{said}");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(said.contains("1 answers, 30 MB"), "{said}");
    assert!(slow.join().unwrap() > 30_000_000);
}

#[test]
fn what_cannot_be_served_is_said_in_one_sentence() {
    let lab = Lab::new(10);
    let session = Session::new(lab.dir.path(), &lab.dir.path().join("repo"));
    session
        .run("serve nowhere --listen 127.0.0.1:0")
        .expect(1)
        .says(&["cannot open 'nowhere'", "publish --to"]);
    let program = lab.program(&[]);
    let taken = program.url.trim_start_matches("http://");
    let taken = taken.trim_end_matches('/');
    session
        .run(&format!("serve remote --listen {taken}"))
        .expect(1)
        .says(&[&format!("cannot listen on {taken}"), "--listen"]);
    session
        .run("--json serve remote --access-log -")
        .expect(2)
        .says(&["standard output"]);
    assert!(Path::new(&lab.remote()).exists());
}
