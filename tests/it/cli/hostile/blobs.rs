//! Blobs that are not what they must be, and servers that do not answer as they should.

use std::io::Write as _;
use std::path::Path;

use super::World;
use super::world::{Fate, Mirror, honest};
use crate::remote::servers::{Seen, Step};
use crate::support::Nobody;

type Harm = (&'static str, fn(&Mirror), fn(&Seen, usize) -> Option<Step>);

fn nothing(_: &Mirror) {}

fn is_blob(seen: &Seen) -> bool {
    seen.path.starts_with("/blobs/")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn say(head: &str, body: &[u8]) -> Option<Step> {
    Some(Step::Say(head.to_owned(), body.to_vec()))
}

/// The answer that the range of a request should get, as a status and headers.
fn partial(seen: &Seen) -> String {
    let range = seen
        .header("range")
        .unwrap_or("bytes=0-0")
        .replace('=', " ");
    format!("206 Partial Content\r\ncontent-range: {range}/1000000")
}

const HARMS: [Harm; 20] = [
    (
        "truncated",
        |m| m.spoil(|bytes| bytes.truncate(bytes.len() / 2)),
        honest,
    ),
    ("empty", |m| m.spoil(Vec::clear), honest),
    (
        "padded in front",
        |m| m.spoil(|bytes| bytes.insert(0, 0)),
        honest,
    ),
    (
        "one bit",
        |m| m.spoil(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1)),
        honest,
    ),
    ("zeroes", |m| m.spoil(|bytes| bytes.fill(0)), honest),
    ("swapped", swap, honest),
    (
        "recompressed",
        |m| {
            m.spoil(|bytes| {
                let length = bytes.len();
                *bytes = gzip(bytes);
                bytes.resize(length, 0);
            })
        },
        honest,
    ),
    (
        "missing",
        |m| std::fs::remove_dir_all(m.dir.join("blobs")).unwrap(),
        honest,
    ),
    ("a directory", make_directories, honest),
    ("a page to log in", nothing, |seen, _| {
        is_blob(seen).then(|| say("200 OK\r\ncontent-type: text/html", b"<html>log in</html>"))?
    }),
    ("compressed on the way", nothing, |seen, _| {
        let head = format!("{}\r\ncontent-encoding: gzip", partial(seen));
        is_blob(seen).then(|| say(&head, &gzip(b"x")))?
    }),
    ("oversized", nothing, |seen, _| {
        let head = format!("{}\r\ncontent-length: 99999999", partial(seen));
        is_blob(seen).then(|| say(&head, &[b'x'; 70_000]))?
    }),
    ("endless", nothing, |seen, _| {
        is_blob(seen).then(|| Step::Endless(partial(seen), vec![b'x'; 65_536]))
    }),
    ("an endless head", nothing, |_, _| {
        Some(Step::Endless("200 OK".to_owned(), vec![b'x'; 65_536]))
    }),
    ("redirected elsewhere", nothing, |seen, _| {
        is_blob(seen).then(|| {
            say(
                "302 Found\r\nlocation: http://169.254.169.254/latest/secrets",
                b"",
            )
        })?
    }),
    ("redirected to a file", nothing, |seen, _| {
        is_blob(seen).then(|| say("302 Found\r\nlocation: file:///etc/passwd", b""))?
    }),
    ("stalled", nothing, |seen, _| {
        is_blob(seen).then_some(Step::Silent)
    }),
    ("one byte a second", nothing, |seen, _| {
        is_blob(seen).then(|| Step::Drip(partial(seen), vec![b'x'; 100]))
    }),
    ("another range", nothing, |seen, _| {
        is_blob(seen).then(|| say("206 Partial Content\r\ncontent-range: bytes 7-8/9", b"xx"))?
    }),
    ("all instead of a range", nothing, |seen, _| {
        is_blob(seen).then(|| say("200 OK\r\ncontent-length: 3", b"all"))?
    }),
];

fn swap(mirror: &Mirror) {
    let blobs = mirror.blobs();
    let bytes: Vec<_> = blobs
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for (number, path) in blobs.iter().enumerate() {
        // As long as before: a wrong length is told before it is looked at.
        let mut other = bytes[(number + 1) % bytes.len()].clone();
        other.resize(bytes[number].len(), 0);
        std::fs::write(path, other).unwrap();
    }
}

fn make_directories(mirror: &Mirror) {
    for path in mirror.blobs() {
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }
}

/// Many at a time: some wait for their time to run out.
fn fates(world: &World) -> Vec<(&'static str, Fate)> {
    let mut all = Vec::new();
    for harms in HARMS.chunks(10) {
        std::thread::scope(|scope| {
            let started: Vec<_> = harms
                .iter()
                .map(|(name, change, rule)| {
                    let machine = name.replace(' ', "-");
                    (
                        *name,
                        scope.spawn(move || world.attack(&machine, change, rule)),
                    )
                })
                .collect();
            for (name, fate) in started {
                all.push((name, fate.join().unwrap()));
            }
        });
    }
    all
}

#[test]
fn every_wrong_answer_is_refused_in_one_sentence_and_harms_nothing() {
    let world = World::new();
    let mut table = String::new();
    for (name, fate) in fates(&world) {
        world.is_unharmed(&fate);
        table.push_str(&fate.numberless_row(name));
    }
    insta::assert_snapshot!(table, @r#"
    truncated [status 1]
      error: 'URL' answers wrongly: it ends before bytes N-N, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    empty [status 1]
      error: 'URL' has no blob DIGEST
      hint: this mirror is incomplete: try another, or publish again
    padded in front [status 4]
      error: blob DIGEST from 'URL' is damaged: its index has another digest
      hint: nothing was taken over; try a mirror, or --from another place
    one bit [status 4]
      error: blob DIGEST from 'URL' is damaged: its index has another digest
      hint: nothing was taken over; try a mirror, or --from another place
    zeroes [status 4]
      error: blob DIGEST from 'URL' is damaged: its index has another digest
      hint: nothing was taken over; try a mirror, or --from another place
    swapped [status 4]
      error: blob DIGEST from 'URL' is damaged: its index has another digest
      hint: nothing was taken over; try a mirror, or --from another place
    recompressed [status 4]
      error: blob DIGEST from 'URL' is damaged: its index has another digest
      hint: nothing was taken over; try a mirror, or --from another place
    missing [status 1]
      error: 'URL' has no blob DIGEST
      hint: this mirror is incomplete: try another, or publish again
    a directory [status 1]
      error: 'URL' has no blob DIGEST
      hint: this mirror is incomplete: try another, or publish again
    a page to log in [status 1]
      error: 'URL' answers wrongly: it answers N OK with a web page instead of data: a captive portal or a login stands between, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    compressed on the way [status 1]
      error: 'URL' answers wrongly: it sends 'gzip' content, which was not asked for, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    oversized [status 1]
      error: 'URL' answers wrongly: it sends N bytes where N were asked for, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    endless [status 1]
      error: 'URL' answers wrongly: more than the N bytes asked for, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    an endless head [status 1]
      error: 'URL' answers wrongly: the head has more than N bytes
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    redirected elsewhere [status 1]
      error: 'URL' answers wrongly: it redirects to http://N.N.N.N, another server, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    redirected to a file [status 1]
      error: 'URL' answers wrongly: it redirects to a 'file:' address, which is not a server, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    stalled [status 1]
      error: 'URL' does not answer: no answer to a request for N s
      hint: what arrived is kept: run the command again, or name mirrors in the trust policy
    one byte a second [status 1]
      error: 'URL' does not answer: it sent N bytes a second for N s, which is too slow
      hint: what arrived is kept: run the command again, or name mirrors in the trust policy
    another range [status 1]
      error: 'URL' answers wrongly: it sends bytes N-N/N where bytes N-N was asked for, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    all instead of a range [status 1]
      error: 'URL' answers wrongly: it has N bytes where bytes N-N was asked for, of blob DIGEST
      hint: this server, or one on the way to it, is broken or hostile: try a mirror
    "#);
}

#[test]
fn what_is_appended_to_a_blob_is_never_read() {
    let world = World::new();
    let fate = world.attack(
        "padded",
        |mirror| mirror.spoil(|bytes| bytes.extend_from_slice(&[0; 5000])),
        honest,
    );
    assert_eq!(fate.ran.status, 0, "{}", fate.ran.transcript());
    world.has_release("padded", 2);
}

#[test]
fn a_bundle_that_is_damaged_is_refused_as_a_mirror_is() {
    let world = World::new();
    let mirror = world.mirror("medium");
    mirror.spoil(|bytes| bytes.truncate(bytes.len() / 2));
    world.another_machine("medium");
    let nobody = Nobody::new();
    let trust = world.policy("medium", &[&nobody.url()]);
    let from = |dir: &Path| format!("--from {}", dir.display());
    world
        .pull_with("medium", &trust, &from(&mirror.dir))
        .expect(1)
        .says(&["'DIR/mirror-medium' answers wrongly: it has"]);
    world.has_release("medium", 1);
    world
        .pull_with("medium", &trust, &from(&world.path("remote")))
        .expect(0);
    world.has_release("medium", 2);
}
