//! What only registries have: leases by tags, lists of artifacts, heads that name what they are.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use layerset::remote::{
    Artifact, CountingRemote, RemarkHandler, Remote as _, RemoteError, RemoteOptions,
    WritableRemote as _,
};

use super::servers::{Registry, Step, WebServer};
use super::{digest, noise, options, put, reader, writer};
use crate::support::{AT_ONCE, wait_until};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Asks the registry something with no code of ours in between; returns the body.
pub fn ask(host: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\naccept: {MANIFEST}\r\naccept: application/vnd.oci.image.index.v1+json\r\ncontent-type: {MANIFEST}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.0 2") || text.starts_with("HTTP/1.1 2"),
        "{method} {path}: {text}"
    );
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The registry's own time, which claims are judged by, in seconds since 1970.
fn time_at(host: &str) -> u64 {
    let url = format!("http://{host}/v2/");
    let headers = Command::new("curl")
        .args(["-q", "--silent", "--noproxy", "*", "--head", &url])
        .output()
        .unwrap();
    let headers = String::from_utf8(headers.stdout).unwrap();
    let mut dates = headers
        .lines()
        .filter_map(|line| line.strip_prefix("Date: "));
    let date = dates.next().unwrap();
    let seconds = Command::new("date")
        .args(["--utc", "+%s", "--date", date])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let seconds = String::from_utf8(seconds.stdout).unwrap();
    seconds.trim().parse().unwrap()
}

fn claim(seconds: u64, state: &str) -> (String, String) {
    let empty = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{empty},"layers":[{empty}],"annotations":{{"org.layerset.claim":"{state}","n":"{seconds}"}}}}"#
    );
    (
        format!("/v2/web/manifests/claim-{seconds:010x}-0123456789abcdef"),
        body,
    )
}

#[test]
fn a_claim_that_somebody_left_counts_for_ten_minutes_only() {
    let Some(registry) =
        Registry::start("a_claim_that_somebody_left_counts_for_ten_minutes_only", "")
    else {
        return;
    };
    let location = format!("oci://{}/web", registry.host);
    let remote = writer(&location, &options([]));
    remote.replace_head(b"one", None).unwrap();
    let one = remote.read_head(9).unwrap().unwrap();
    let now = time_at(&registry.host);
    // Released, or older than ten minutes: neither is in the way.
    for (seconds, state) in [(now - 5, "released"), (now - 620, "held")] {
        let (path, body) = claim(seconds, state);
        ask(&registry.host, "PUT", &path, &body);
    }
    remote.replace_head(b"two", Some(&one.revision)).unwrap();
    let two = remote.read_head(9).unwrap().unwrap();
    // One that counts is waited for, until an interrupt.
    let (path, body) = claim(now - 300, "held");
    ask(&registry.host, "PUT", &path, &body);
    let cancel = Arc::new(AtomicBool::new(false));
    let said = Arc::new(Mutex::new(Vec::new()));
    let options = RemoteOptions {
        cancel: cancel.clone(),
        remark: RemarkHandler(Arc::new({
            let said = Arc::clone(&said);
            move |text| said.lock().unwrap().push(text.to_owned())
        })),
        ..options([])
    };
    let waiting = writer(&location, &options);
    let error = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            waiting
                .replace_head(b"three", Some(&two.revision))
                .unwrap_err()
        });
        wait_until("nothing is said", || !said.lock().unwrap().is_empty());
        cancel.store(true, Ordering::Relaxed);
        let started = Instant::now();
        let error = outcome.join().unwrap();
        assert!(started.elapsed() < AT_ONCE);
        error
    });
    assert!(matches!(error, RemoteError::Interrupted), "{error:?}");
    let expected = format!(
        "somebody else publishes to '{location}', or was stopped while publishing: waiting, for at most 10 minutes"
    );
    assert_eq!(*said.lock().unwrap(), [expected]);
    assert_eq!(remote.read_head(9).unwrap().unwrap(), two);
    // The one that was interrupted left no claim that counts.
    let (path, body) = claim(now - 300, "released");
    ask(&registry.host, "PUT", &path, &body);
    let started = Instant::now();
    remote.replace_head(b"four", Some(&two.revision)).unwrap();
    assert!(started.elapsed() < AT_ONCE);
}

#[test]
fn what_is_announced_is_listed_with_its_deltas() {
    let Some(registry) = Registry::start("what_is_announced_is_listed_with_its_deltas", "") else {
        return;
    };
    let remote = writer(&format!("oci://{}/web", registry.host), &options([]));
    let id = format!("b3:{}", "a1".repeat(32));
    let bytes = noise(1000);
    let blob = put(remote.as_ref(), &bytes).unwrap();
    let layer = Artifact {
        kind: "layer",
        name: "nginx".to_owned(),
        id: id.clone(),
        version: "1.22.1-9".to_owned(),
        blobs: vec![(blob, 1000)],
        from: None,
    };
    let delta = |from: &str| Artifact {
        kind: "delta",
        from: Some(format!("b3:{}", from.repeat(32))),
        ..layer.clone()
    };
    for artifact in [&layer, &delta("b2"), &delta("c3"), &layer, &delta("b2")] {
        remote.announce(artifact).unwrap();
    }
    let short = "a1".repeat(16);
    let manifest = ask(
        &registry.host,
        "GET",
        &format!("/v2/web/manifests/layer-nginx-{short}"),
        "",
    );
    assert!(
        manifest.contains("\"artifactType\":\"application/vnd.layerset.layer.v1\""),
        "{manifest}"
    );
    assert!(manifest.contains(&blob.to_string()));
    // This registry keeps no list of referrers by itself.
    let index = ask(
        &registry.host,
        "GET",
        &format!("/v2/web/manifests/sha256-{}", digest(manifest.as_bytes())),
        "",
    );
    assert_eq!(
        index.matches("application/vnd.layerset.delta.v1").count(),
        2,
        "{index}"
    );
    let from = "b2".repeat(16);
    let found = ask(
        &registry.host,
        "GET",
        &format!("/v2/web/manifests/delta-nginx-{from}-{short}"),
        "",
    );
    assert!(found.contains("\"subject\""), "{found}");
}

#[test]
fn a_small_head_costs_one_request_and_a_big_one_two() {
    let Some(registry) = Registry::start("a_small_head_costs_one_request_and_a_big_one_two", "")
    else {
        return;
    };
    let remote = CountingRemote::new(writer(
        &format!("oci://{}/web", registry.host),
        &options([]),
    ));
    let mut revision = None;
    for length in [1000, (1 << 20) + 1] {
        let bytes = noise(length);
        remote.replace_head(&bytes, revision.as_ref()).unwrap();
        let head = remote.read_head(8 << 20).unwrap().unwrap();
        assert!(head.bytes == bytes);
        revision = Some(head.revision);
        let manifest = ask(&registry.host, "GET", "/v2/web/manifests/head", "");
        assert_eq!(manifest.contains("\"data\":"), length == 1000);
    }
    assert_eq!(
        (remote.requests(), remote.received_bytes()),
        (4, 1000 + (1 << 20) + 1)
    );
}

#[test]
fn a_head_that_is_not_what_it_names_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let descriptor = |data: &str, size: u64| {
        format!(
            r#"{{"mediaType":"x","digest":"sha256:{}","size":{size},"data":"{data}"}}"#,
            digest(b"head")
        )
    };
    let manifest = |layer: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"x","config":{{"mediaType":"x","digest":"x","size":2}},"layers":[{layer}]}}"#
        )
    };
    let named = "the head is not what its own manifest names";
    let none = "the tag 'head' is no manifest of layerset";
    for (body, expected) in [
        (manifest(&descriptor("aGVhZA==", 4)), ""),
        (manifest(&descriptor("aGVhRA==", 4)), named),
        (manifest(&descriptor("aGVhZA==", 5)), named),
        (manifest(&descriptor("!", 4)), "the head is no base64"),
        (
            manifest(&descriptor("", 1 << 40)),
            "the head has more than 1000 bytes",
        ),
        (manifest(""), none),
        ("{".to_owned(), none),
        (format!("{}1{}", "[".repeat(200), "]".repeat(200)), none),
        ("[".repeat(100_000), none),
    ] {
        let server = WebServer::start(
            dir.path(),
            [Step::Say("200 OK".to_owned(), body.into_bytes())],
        );
        let host = server.url.trim_start_matches("http://");
        let outcome = reader(&format!("oci://{host}/web"), &options([])).read_head(1000);
        match outcome {
            Ok(head) => assert_eq!(
                (head.unwrap().bytes.as_slice(), expected),
                (&b"head"[..], "")
            ),
            Err(error) => assert!(
                error.to_string().ends_with(expected) && !expected.is_empty(),
                "{error}"
            ),
        }
    }
}
