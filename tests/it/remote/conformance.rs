//! What every remote does, whatever it is made of.

use std::sync::Barrier;

use layerset::remote::{Remote, RemoteError, RemoteOptions, WritableRemote};

use super::servers::{Registry, S3_KEY, S3_SECRET, S3Server, WebServer};
use super::{digest, noise, options, put, put_as, read, reader, writer};

/// A remote of some kind, empty, and how it is reached.
struct Subject<'a> {
    /// Where it is read.
    read: String,
    /// Where it is written: for a web server, the directory behind it.
    write: String,
    options: &'a RemoteOptions,
}

impl Subject<'_> {
    fn reader(&self) -> Box<dyn Remote> {
        reader(&self.read, self.options)
    }

    fn writer(&self) -> Box<dyn WritableRemote> {
        writer(&self.write, self.options)
    }
}

fn conforms(subject: &Subject<'_>) {
    nothing_is_there_at_first(subject);
    what_is_put_is_read_back(subject);
    a_big_blob_is_read_back(subject);
    a_wrong_digest_is_refused(subject);
    the_head_is_replaced_only_by_who_saw_it(subject);
    one_of_two_publishers_wins(subject);
    many_readers_read_at_once(subject);
}

fn nothing_is_there_at_first(subject: &Subject<'_>) {
    let remote = subject.reader();
    let absent = digest(b"absent");
    assert_eq!(remote.read_head(1000).unwrap(), None);
    assert_eq!(remote.blob_size(&absent).unwrap(), None);
    let error = read(remote.as_ref(), &absent, 0..1).unwrap_err();
    assert!(matches!(error, RemoteError::NoBlob { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("'{}' has no blob {absent}", remote.location())
    );
}

fn what_is_put_is_read_back(subject: &Subject<'_>) {
    let (remote, writer) = (subject.reader(), subject.writer());
    let bytes = noise(10_000);
    let blob = put(writer.as_ref(), &bytes).unwrap();
    assert_eq!(remote.blob_size(&blob).unwrap(), Some(10_000));
    for range in [0..10_000, 0..1, 1..2, 17..4099, 9_999..10_000] {
        let part = &bytes[range.start as usize..range.end as usize];
        assert!(
            read(remote.as_ref(), &blob, range.clone()).unwrap() == part,
            "{range:?}"
        );
    }
    for empty in [0..0, 5..5, 10_000..10_000] {
        assert_eq!(read(remote.as_ref(), &blob, empty).unwrap(), b"");
    }
    for past in [0..10_001, 9_999..10_001, 10_000..10_001, 1 << 40..1 << 41] {
        let error = read(remote.as_ref(), &blob, past.clone()).unwrap_err();
        assert!(
            matches!(error, RemoteError::Protocol { .. }),
            "{past:?}: {error:?}"
        );
    }
    put(writer.as_ref(), &bytes).unwrap();
    assert!(read(remote.as_ref(), &blob, 0..10_000).unwrap() == bytes);
    let empty = put(writer.as_ref(), b"").unwrap();
    assert_eq!(remote.blob_size(&empty).unwrap(), Some(0));
}

fn a_big_blob_is_read_back(subject: &Subject<'_>) {
    let writer = subject.writer();
    let bytes = noise(20 << 20);
    let blob = digest(&bytes);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let mut told = 0;
    let size = bytes.len() as u64;
    writer
        .put_blob(&blob, &mut file, size, &mut |sent| told += sent)
        .unwrap();
    assert_eq!(told, size);
    let remote = subject.reader();
    assert!(read(remote.as_ref(), &blob, 0..size).unwrap() == bytes);
    let middle = (8 << 20) - 3..(8 << 20) + 5;
    let part = &bytes[middle.start as usize..middle.end as usize];
    assert_eq!(read(remote.as_ref(), &blob, middle).unwrap(), part);
}

fn a_wrong_digest_is_refused(subject: &Subject<'_>) {
    let (remote, writer) = (subject.reader(), subject.writer());
    for length in [1000, 9 << 20] {
        let blob = digest(b"something else");
        let error = put_as(writer.as_ref(), &blob, &noise(length)).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot publish blob '{blob}'"));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.starts_with("the file has the SHA-256 digest "),
            "{cause}"
        );
        assert_eq!(remote.blob_size(&blob).unwrap(), None);
    }
    // A file that is shorter than it is said to be is refused too.
    let mut file = tempfile::tempfile().unwrap();
    let error = writer.put_blob(&digest(b"x"), &mut file, 5, &mut |_| {});
    assert!(matches!(error.unwrap_err(), RemoteError::Local { .. }));
}

fn the_head_is_replaced_only_by_who_saw_it(subject: &Subject<'_>) {
    let (remote, writer) = (subject.reader(), subject.writer());
    writer.replace_head(b"one", None).unwrap();
    let error = writer.replace_head(b"two", None).unwrap_err();
    assert!(matches!(error, RemoteError::Moved { .. }), "{error:?}");
    let one = writer.read_head(1000).unwrap().unwrap();
    assert_eq!(one.bytes, b"one");
    writer.replace_head(b"three", Some(&one.revision)).unwrap();
    let error = writer
        .replace_head(b"four", Some(&one.revision))
        .unwrap_err();
    let meanwhile = format!(
        "somebody else has published to '{}' in the meantime",
        writer.location()
    );
    assert_eq!(error.to_string(), meanwhile);
    assert_eq!(remote.read_head(5).unwrap().unwrap().bytes, b"three");
    let error = remote.read_head(4).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the head has more than 4 bytes"),
        "{error}"
    );
}

fn one_of_two_publishers_wins(subject: &Subject<'_>) {
    for round in 0..20 {
        let writers = [subject.writer(), subject.writer()];
        let seen = writers[0].read_head(1000).unwrap().unwrap();
        let barrier = Barrier::new(2);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = writers
                .iter()
                .enumerate()
                .map(|(index, writer)| {
                    let (barrier, seen) = (&barrier, &seen.revision);
                    scope.spawn(move || {
                        let bytes = format!("round {round} of {index}");
                        barrier.wait();
                        (
                            bytes.clone(),
                            writer.replace_head(bytes.as_bytes(), Some(seen)),
                        )
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let winners: Vec<_> = outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let moved = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Err(RemoteError::Moved { .. })));
        assert_eq!(moved.count(), 1, "{outcomes:?}");
        let head = subject.reader().read_head(1000).unwrap().unwrap();
        assert_eq!(head.bytes, winners[0].0.as_bytes());
    }
}

fn many_readers_read_at_once(subject: &Subject<'_>) {
    let bytes = noise(1 << 20);
    let blob = put(subject.writer().as_ref(), &bytes).unwrap();
    let remote = subject.reader();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (remote, bytes) = (&remote, &bytes);
            scope.spawn(move || {
                for index in 0..10_u64 {
                    let range = thread * 1000 + index..thread * 100_000 + 50_000;
                    let part = &bytes[range.start as usize..range.end as usize];
                    assert!(read(remote.as_ref(), &blob, range).unwrap() == part);
                }
            });
        }
    });
}

#[test]
fn a_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let options = options([]);
    conforms(&Subject {
        read: path.clone(),
        write: format!("file://{path}"),
        options: &options,
    });
    let left: Vec<_> = walk(dir.path())
        .into_iter()
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path.to_str().unwrap().to_owned()),
        }
    }
    found
}

#[test]
fn a_web_server_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let server = WebServer::start(dir.path(), []);
    let options = options([]);
    conforms(&Subject {
        read: server.url.clone(),
        write: dir.path().to_str().unwrap().to_owned(),
        options: &options,
    });
}

#[test]
fn an_s3_server_conforms() {
    let server = S3Server::start();
    let options = options([
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", S3_KEY),
        ("AWS_SECRET_ACCESS_KEY", S3_SECRET),
    ]);
    let location = "s3://layers/some/prefix".to_owned();
    conforms(&Subject {
        read: location.clone(),
        write: location,
        options: &options,
    });
}

#[test]
fn a_registry_conforms() {
    registry_conforms("a_registry_conforms", "");
}

#[test]
fn a_registry_that_deletes_conforms() {
    let deletes = "  delete:\n    enabled: true\n";
    registry_conforms("a_registry_that_deletes_conforms", deletes);
}

fn registry_conforms(test: &str, extra: &str) {
    let Some(registry) = Registry::start(test, extra) else {
        return;
    };
    let location = format!("oci://{}/fleet/web", registry.host);
    let options = options([]);
    conforms(&Subject {
        read: location.clone(),
        write: location,
        options: &options,
    });
}
