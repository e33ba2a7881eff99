//! What hostile and broken remotes do: each ends in one clear error, within a bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use layerset::remote::{Location, Mirrors, Remote, RemoteError, RemoteOptions, open};
use layerset::sha256::Sha256;

use super::servers::{Step, WebServer};
use super::{digest, noise, options, put, read, reader, writer};
use crate::support::{AT_ONCE, Nobody};

/// As strict as a test that should not take long.
fn strict() -> RemoteOptions {
    RemoteOptions {
        connect_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_millis(1500),
        minimum_rate: 100,
        rate_window: Duration::from_secs(2),
        attempts: 2,
        ..options([])
    }
}

/// A server with one blob of 4 MiB, and what it does first.
fn serving(
    script: impl IntoIterator<Item = Step>,
) -> (WebServer, Vec<u8>, Sha256, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let bytes = noise(4 << 20);
    let writer = writer(dir.path().to_str().unwrap(), &options([]));
    let blob = put(writer.as_ref(), &bytes).unwrap();
    writer.replace_head(b"a head", None).unwrap();
    (WebServer::start(dir.path(), script), bytes, blob, dir)
}

fn say(head: &str, body: &[u8]) -> Step {
    Step::Say(head.to_owned(), body.to_vec())
}

/// Reads bytes 10 to 19 of a blob, or the head, from a server that does this to every request; returns what is said of it.
fn fate(step: &Step, head: bool) -> String {
    let (server, _, blob, _dir) = serving(std::iter::repeat_n(step.clone(), 8));
    let once = RemoteOptions {
        attempts: 1,
        ..strict()
    };
    let remote = reader(&server.url, &once);
    let started = Instant::now();
    let error = match head {
        true => remote.read_head(1000).map(|_| ()).unwrap_err(),
        false => read(remote.as_ref(), &blob, 10..20)
            .map(|_| ())
            .unwrap_err(),
    };
    assert!(started.elapsed() < AT_ONCE, "{error}");
    error.to_string().replace(&server.url, "URL")
}

#[test]
fn wrong_answers_end_in_one_clear_error() {
    let ranged = "206 Partial Content\r\ncontent-range: bytes 10-19/99";
    let endless = Step::Endless(ranged.to_owned(), vec![b'x'; 4096]);
    let redirect = |to: &str| say(&format!("302 Found\r\nlocation: {to}"), b"");
    let cases = [
        (
            say(&format!("{ranged}\r\ncontent-length: 10"), b"short"),
            "'URL' does not answer: the connection broke: end of file before message length reached",
        ),
        (
            say(ranged, b"short"),
            "'URL' does not answer: the answer ended after 5 of 10 bytes",
        ),
        (
            say(ranged, b"more than ten"),
            "'URL' answers wrongly: more than the 10 bytes asked for",
        ),
        (
            say(&format!("{ranged}\r\ncontent-length: 13"), b"more than ten"),
            "'URL' answers wrongly: it sends 13 bytes where 10 were asked for",
        ),
        (
            endless,
            "'URL' answers wrongly: more than the 10 bytes asked for",
        ),
        (
            Step::Silent,
            "'URL' does not answer: no answer to a request for 1.5 s",
        ),
        (
            Step::Drip(ranged.to_owned(), vec![0; 10]),
            "'URL' does not answer: it sent 1 bytes a second for 2 s, which is too slow",
        ),
        (
            say(
                "206 Partial Content\r\ncontent-range: bytes 0-9/99",
                b"0123456789",
            ),
            "'URL' answers wrongly: it sends bytes 0-9/99 where bytes 10-19 was asked for",
        ),
        (
            say(
                "206 Partial Content\r\ncontent-range: bytes 10-199/999",
                b"0123456789",
            ),
            "'URL' answers wrongly: it sends bytes 10-199/999 where bytes 10-19 was asked for",
        ),
        (
            say("206 Partial Content", b"0123456789"),
            "'URL' answers wrongly: it sends no range where bytes 10-19 was asked for",
        ),
        (
            say("200 OK\r\ncontent-length: 12", b"0123456789ab"),
            "'URL' answers wrongly: it has 12 bytes where bytes 10-19 was asked for",
        ),
        (
            say(
                &format!("{ranged}\r\ncontent-encoding: gzip"),
                b"0123456789",
            ),
            "'URL' answers wrongly: it sends 'gzip' content, which was not asked for",
        ),
        (
            redirect("http://127.0.0.2:1/x"),
            "'URL' answers wrongly: it redirects to http://127.0.0.2, another server",
        ),
        (
            redirect("http://user:secret@elsewhere.example/?token=secret"),
            "'URL' answers wrongly: it redirects to http://elsewhere.example, another server",
        ),
        (
            redirect("/again"),
            "'URL' answers wrongly: it redirects without end",
        ),
        (
            say("302 Found", b""),
            "'URL' answers wrongly: a redirect to nowhere",
        ),
        (
            say("500 Oops", b"a long story"),
            "'URL' does not answer: it answers 500 Internal Server Error",
        ),
        (
            say("503 Busy", b""),
            "'URL' does not answer: it answers 503 Service Unavailable",
        ),
        (
            say("507 Full", b""),
            "'URL' is full: it answers 507 Insufficient Storage",
        ),
        (
            say("403 No", b""),
            "'URL' refuses: it answers 403 Forbidden",
        ),
        (
            say("418 Tea", b""),
            "'URL' answers wrongly: it answers 418 I'm a teapot",
        ),
        (
            say("204 No Content", b""),
            "'URL' answers wrongly: it answers 204 No Content to a request for a range",
        ),
    ];
    // Several wait for their time to run out: side by side they take no longer than one.
    std::thread::scope(|scope| {
        for (step, expected) in &cases {
            scope.spawn(move || assert_eq!(fate(step, false), *expected));
        }
    });
}

#[test]
fn a_head_that_is_too_big_or_too_slow_is_refused() {
    let big = "'URL' answers wrongly: the head has more than 1000 bytes";
    for (step, expected) in [
        (say("200 OK\r\ncontent-length: 1001", &[0; 1001]), big),
        (say("200 OK", &[0; 1001]), big),
        (Step::Endless("200 OK".to_owned(), vec![0; 4096]), big),
        (
            say("200 OK\r\ncontent-length: 100", b"short"),
            "'URL' does not answer: the connection broke: end of file before message length reached",
        ),
        (
            Step::Silent,
            "'URL' does not answer: no answer to a request for 1.5 s",
        ),
        (
            Step::Drip("200 OK".to_owned(), vec![0; 10]),
            "'URL' does not answer: it sent 1 bytes a second for 2 s, which is too slow",
        ),
    ] {
        assert_eq!(fate(&step, true), expected);
    }
}

#[test]
fn nobody_there_is_said_at_once() {
    let nobody = Nobody::new();
    let url = nobody.url();
    let error = reader(&url, &strict()).read_head(1000).unwrap_err();
    let expected =
        format!("'{url}' does not answer: no connection: Connection refused (os error 111)");
    assert_eq!(error.to_string(), expected);
    let error = reader("/no/such/dir", &strict())
        .read_head(1000)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "'/no/such/dir' does not answer: there is no such directory"
    );
}

#[test]
fn all_instead_of_a_range_is_taken_only_when_it_is_cheap() {
    let (server, bytes, blob, _dir) = serving([]);
    let remote = reader(&server.url, &strict());
    let all = format!("200 OK\r\ncontent-length: {}", bytes.len());
    server.then(say(&all, &bytes));
    assert!(read(remote.as_ref(), &blob, 1000..3000).unwrap() == bytes[1000..3000]);
    server.then(say(&all, &bytes));
    let error = read(remote.as_ref(), &blob, 3 << 20..4 << 20).unwrap_err();
    let expected = "does not send ranges: all 4194304 bytes of a blob were sent";
    assert!(error.to_string().ends_with(expected), "{error}");
    let is_whole = matches!(error, RemoteError::WholeOnly { size, .. } if size == 4 << 20);
    assert!(is_whole, "{error:?}");
    // Without a length, nobody knows what to ask for instead: the wanted bytes are taken.
    server.then(say("200 OK", &bytes));
    assert!(read(remote.as_ref(), &blob, 3 << 20..4 << 20).unwrap() == bytes[3 << 20..]);
    // A mirror that sends ranges is asked before anybody is asked for all.
    let (other, _, _, _dir) = serving([]);
    server.then(say(&all, &bytes));
    let mirrors = Mirrors::new(vec![
        reader(&server.url, &strict()),
        reader(&other.url, &strict()),
    ]);
    assert!(read(&mirrors, &blob, 3 << 20..4 << 20).unwrap() == bytes[3 << 20..]);
    assert_eq!(other.seen().len(), 1);
}

/// Opens a server as each kind of remote that is over HTTP, and calls `check`.
fn as_every_kind(server: &WebServer, check: impl Fn(&str, &dyn Remote)) {
    let host = server.url.trim_start_matches("http://");
    let environment = [
        ("AWS_ENDPOINT_URL", server.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    for location in [
        server.url.clone(),
        format!("oci://{host}/web"),
        "s3://layers/fleet".to_owned(),
    ] {
        let options = RemoteOptions {
            attempts: 2,
            ..options(environment)
        };
        check(&location, reader(&location, &options).as_ref());
    }
}

/// A pull-through cache, and a bucket behind one: it sends all, whatever is asked for.
#[test]
fn servers_of_every_kind_that_know_no_ranges_are_used() {
    let (bytes, dir) = (noise(4 << 20), tempfile::tempdir().unwrap());
    let blob = digest(&bytes);
    let all = bytes.clone();
    let server = WebServer::ruled(dir.path(), move |_, _| {
        let head = format!(
            "200 OK\r\ncontent-length: {}\r\netag: \"1\"\r\nlast-modified: Sat, 28 Nov 2026 00:00:00 GMT",
            all.len()
        );
        Some(Step::Say(head, all.clone()))
    });
    as_every_kind(&server, |location, remote| {
        assert!(
            read(remote, &blob, 0..4 << 20).unwrap() == bytes,
            "{location}"
        );
        let part = read(remote, &blob, 1000..3000).unwrap();
        assert!(part == bytes[1000..3000], "{location}");
        let error = read(remote, &blob, 3 << 20..4 << 20).unwrap_err();
        assert!(
            matches!(error, RemoteError::WholeOnly { size, .. } if size == 4 << 20),
            "{location}: {error:?}"
        );
        let error = read(remote, &blob, (4 << 20) - 10..(4 << 20) + 10).unwrap_err();
        let too_short = error.to_string().contains("it has 4194304 bytes where");
        assert!(too_short, "{location}: {error}");
    });
}

#[test]
fn a_web_page_from_servers_of_every_kind_is_called_one() {
    let dir = tempfile::tempdir().unwrap();
    let page = b"<!DOCTYPE html><title>Hotel Wi-Fi</title><form>Room</form>".to_vec();
    let server = WebServer::ruled(dir.path(), move |_, _| {
        let head = format!(
            "200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\netag: \"1\"\r\nlast-modified: Sat, 28 Nov 2026 00:00:00 GMT",
            page.len()
        );
        Some(Step::Say(head, page.clone()))
    });
    as_every_kind(&server, |location, remote| {
        let blob = read(remote, &digest(b"any"), 10..20).unwrap_err();
        for error in [remote.read_head(1 << 20).unwrap_err(), blob] {
            let text = error.to_string();
            let is_told = text.contains("with a web page 'Hotel Wi-Fi' instead of data");
            assert!(is_told && text.contains(location), "{location}: {text}");
        }
    });
}

#[test]
fn a_web_page_in_place_of_data_is_called_one() {
    let page =
        b"<!DOCTYPE html>\n<html><head><title>Hotel\n Wi-Fi</title></head><body>Pay</body></html>";
    let html = "content-type: text/html; charset=utf-8";
    let said =
        "with a web page 'Hotel Wi-Fi' instead of data: a captive portal or a login stands between";
    let whole = format!("'URL' answers wrongly: it answers 200 OK {said}");
    for head in ["200 OK".to_owned(), format!("200 OK\r\n{html}")] {
        for is_head in [true, false] {
            assert_eq!(fate(&say(&head, page), is_head), whole);
        }
    }
    let ranged = format!("206 Partial Content\r\n{html}\r\ncontent-range: bytes 10-19/99");
    let part = "'URL' answers wrongly: it answers 206 Partial Content with a web page instead of data: a captive portal or a login stands between";
    assert_eq!(fate(&say(&ranged, b"<html>1234"), false), part);
    let packed = format!("200 OK\r\n{html}\r\ncontent-encoding: gzip");
    let nameless = "'URL' answers wrongly: it answers 200 OK with a web page instead of data: a captive portal or a login stands between";
    assert_eq!(fate(&say(&packed, b"\x1f\x8b"), true), nameless);
    // A server that calls everything a web page, and data that begin like one, are no portal.
    let (server, bytes, blob, _dir) = serving([]);
    let remote = reader(&server.url, &strict());
    let all = format!("200 OK\r\n{html}\r\ncontent-length: {}", bytes.len());
    server.then(say(&all, &bytes));
    assert!(read(remote.as_ref(), &blob, 0..4 << 20).unwrap() == bytes);
    server.then(say(
        "206 Partial Content\r\ncontent-range: bytes 10-19/99",
        b"<html>1234",
    ));
    assert!(read(remote.as_ref(), &blob, 10..20).unwrap() == b"<html>1234");
}

#[test]
fn a_read_that_breaks_continues_from_the_byte_that_arrived() {
    let (server, bytes, blob, _dir) = serving([
        Step::Cut(100),
        say("500 Oops", b""),
        Step::Cut(2 << 20),
        Step::Cut(50),
    ]);
    let options = RemoteOptions {
        attempts: 3,
        ..strict()
    };
    let remote = reader(&server.url, &options);
    assert!(read(remote.as_ref(), &blob, 7..4 << 20).unwrap() == bytes[7..]);
    let ranges = ["7", "107", "107", "2097259", "2097309"];
    let expected: Vec<_> = ranges
        .iter()
        .map(|from| format!("bytes={from}-4194303"))
        .collect();
    assert_eq!(server.ranges(), expected);
}

#[test]
fn a_redirect_within_the_host_is_followed() {
    let (server, bytes, blob, dir) = serving([]);
    let hex = blob.to_string();
    std::fs::copy(
        dir.path().join(format!("blobs/sha256/{}/{hex}", &hex[..2])),
        dir.path().join("moved"),
    )
    .unwrap();
    server.then(say("307 Moved\r\nlocation: /moved", b""));
    let remote = reader(&server.url, &strict());
    assert!(read(remote.as_ref(), &blob, 0..50).unwrap() == bytes[..50]);
    assert_eq!(server.seen().last().unwrap().path, "/moved");
}

#[test]
fn an_interrupt_ends_a_wait_at_once() {
    let (server, _, blob, _dir) = serving([Step::Silent]);
    let cancel = Arc::new(AtomicBool::new(false));
    let options = RemoteOptions {
        cancel: cancel.clone(),
        stall_timeout: 10 * AT_ONCE,
        rate_window: 10 * AT_ONCE,
        ..options([])
    };
    let remote = reader(&server.url, &options);
    let started = Instant::now();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancel.store(true, Ordering::Relaxed);
        });
        read(remote.as_ref(), &blob, 0..10).unwrap_err()
    });
    assert!(matches!(error, RemoteError::Interrupted), "{error:?}");
    assert!(started.elapsed() < AT_ONCE);
}

#[test]
fn a_mirror_that_dies_in_the_middle_costs_nothing() {
    let (first, bytes, blob, _dir) = serving([Step::Cut(1000)]);
    let (second, _, _, _other) = serving([]);
    let options = RemoteOptions {
        attempts: 1,
        ..strict()
    };
    let mirrors = Mirrors::new(vec![
        reader(&first.url, &options),
        reader(&second.url, &options),
    ]);
    assert_eq!(mirrors.order(), [0, 1]);
    assert!(read(&mirrors, &blob, 5..4 << 20).unwrap() == bytes[5..]);
    assert_eq!(second.ranges(), ["bytes=1005-4194303"]);
    // The one that failed is asked last from now on.
    assert_eq!(mirrors.order(), [1, 0]);
    assert!(read(&mirrors, &blob, 0..10).unwrap() == bytes[..10]);
    assert_eq!(first.ranges().len(), 1);
    // One that lacks a blob is no reason to fail either, and what no one has is said.
    assert_eq!(mirrors.blob_size(&blob).unwrap(), Some(4 << 20));
    assert_eq!(mirrors.blob_size(&digest(b"absent")).unwrap(), None);
    let error = read(&mirrors, &digest(b"absent"), 0..1).unwrap_err();
    assert!(matches!(error, RemoteError::NoBlob { .. }), "{error:?}");
}

#[test]
fn a_sink_that_fails_is_no_fault_of_a_mirror() {
    let (first, _, blob, _dir) = serving([]);
    let (second, _, _, _other) = serving([]);
    let mirrors = Mirrors::new(vec![
        reader(&first.url, &strict()),
        reader(&second.url, &strict()),
    ]);
    let mut full = |_: &[u8]| Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let error = mirrors.read_blob(&blob, 0..10, &mut full).unwrap_err();
    assert!(matches!(error, RemoteError::Local { .. }), "{error:?}");
    assert_eq!(second.seen().len(), 0);
}

#[test]
fn what_is_no_file_in_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let head = dir.path().join("head");
    let remote = reader(dir.path().to_str().unwrap(), &options([]));
    std::os::unix::fs::symlink("/etc/passwd", &head).unwrap();
    let error = remote.read_head(100_000).unwrap_err().to_string();
    assert!(
        error.ends_with("answers wrongly: 'head' is a symlink"),
        "{error}"
    );
    std::fs::remove_file(&head).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &head,
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    let error = remote.read_head(100_000).unwrap_err().to_string();
    assert!(
        error.ends_with("answers wrongly: 'head' is no regular file"),
        "{error}"
    );
}

#[test]
fn a_web_server_can_only_be_read() {
    let location: Location = "https://updates.example.org/x".parse().unwrap();
    assert!(open(&location, &options([])).is_ok());
    let error = layerset::remote::open_writable(&location, &options([]))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "'https://updates.example.org/x' can only be read"
    );
}

#[test]
fn a_store_that_ignores_the_conditions_of_writes_is_not_published_to() {
    let dir = tempfile::tempdir().unwrap();
    let yes = Step::Say(
        "200 OK\r\netag: \"1\"\r\ncontent-length: 0".to_owned(),
        Vec::new(),
    );
    let server = WebServer::ruled(dir.path(), move |_, _| Some(yes.clone()));
    let environment = [
        ("AWS_ENDPOINT_URL", server.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let remote = writer("s3://layers/x", &options(environment));
    let error = remote.replace_head(b"head", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'s3://layers/x' answers wrongly: it ignores the conditions of writes, so that publishers would overwrite each other"
    );
}

#[test]
fn what_a_killed_publisher_left_beside_blobs_goes_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let remote = writer(dir.path().to_str().unwrap(), &options([]));
    let bytes = noise(1000);
    let blob = put(&*remote, &bytes).unwrap();
    let name = blob.to_string();
    let blobs = dir.path().join("blobs/sha256").join(&name[..2]);
    let left = |age: u64| {
        let path = blobs.join(format!(".{name}.{age}.new"));
        let file = std::fs::File::create(&path).unwrap();
        let age = Duration::from_secs(age * 3600);
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
        path
    };
    let (old, young) = (left(25), left(23));
    remote.replace_head(b"head", None).unwrap();
    assert!(!old.exists() && young.exists() && blobs.join(&name).exists());
}

#[test]
fn a_server_that_is_asked_too_often_is_asked_again_and_is_not_full() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("head"), b"head").unwrap();
    let often = || {
        Step::Say(
            "429 Too Many Requests".to_owned(),
            b"quota exceeded".to_vec(),
        )
    };
    let server = WebServer::start(dir.path(), [often()]);
    let remote = reader(&server.url, &options([]));
    assert_eq!(remote.read_head(9).unwrap().unwrap().bytes, b"head");
    let server = WebServer::start(dir.path(), std::iter::repeat_with(often).take(9));
    let error = reader(&server.url, &options([])).read_head(9).unwrap_err();
    assert!(
        matches!(error, RemoteError::Unreachable { .. }),
        "{error:?}"
    );
}
