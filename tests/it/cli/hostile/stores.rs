//! Publishing to an S3 store while publishers are killed, and without credentials that count.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::World;
use super::proxy::{Hold, Proxy};
use crate::remote::servers::{S3_KEY, S3_SECRET, S3Server};
use crate::session::Ran;

const REMOTE: &str = "s3://layers/fleet";

fn at_store(mut command: Command, endpoint: &str) -> Command {
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", S3_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3_SECRET)
        .env("LAYERSET_TRIES", "1");
    command
}

fn command(world: &World, repository: &str, line: &str, endpoint: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    at_store(world.machine(repository).command(&words), endpoint)
}

fn run(world: &World, repository: &str, line: &str, endpoint: &str) -> Ran {
    let output = command(world, repository, line, endpoint).output().unwrap();
    world.machine(repository).ran(line, output)
}

fn is_head_put(method: &str, path: &str) -> bool {
    method == "PUT" && path.ends_with("/head")
}

/// Returns the blobs among requests that put something.
fn put(requests: &[(String, String)]) -> BTreeSet<String> {
    let blobs = requests
        .iter()
        .filter(|(method, path)| method == "PUT" && path.contains("/blobs/"));
    blobs.map(|(_, path)| path.clone()).collect()
}

/// A store that has release 1, and repositories of the publisher of release 2 and of a machine.
struct Start {
    world: World,
    store: tempfile::TempDir,
    head: Vec<u8>,
    publish: String,
    pull: String,
}

fn start() -> Start {
    let world = World::empty();
    world.build_at("first", 1);
    world.build_at("second", 1);
    world.build_at("second", 2);
    let store = S3Server::start();
    let with = format!(
        "{REMOTE} --keys {0}/keys --root {0}/root.json",
        world.path("").display()
    );
    run(
        &world,
        "first",
        &format!("trust init {with}"),
        &store.endpoint,
    )
    .expect(0);
    let publish = format!("publish web --level 1 --channel stable --to {with}");
    run(&world, "first", &publish, &store.endpoint).expect(0);
    run(&world, "machine", "init", &store.endpoint).expect(0);
    let policy =
        format!("[[remote]]\nname = \"main\"\nlocation = {REMOTE:?}\nroot = \"root.json\"\n");
    let trust = world.path("trust.toml");
    std::fs::write(&trust, policy).unwrap();
    Start {
        world,
        head: store.head(),
        store: store.stop(),
        publish,
        pull: format!("pull web/stable --json --quiet --trust {}", trust.display()),
    }
}

/// Publishes release 2 until the publisher is killed; then everything must be sound, and the same command must finish
/// without sending anything twice. Returns the requests of an undisturbed run.
fn publish_killed(start: &Start, hold: Hold) -> Vec<(String, String)> {
    let Start {
        world,
        publish,
        pull,
        ..
    } = start;
    let (publisher, machine) = (format!("publisher-{hold:?}"), format!("machine-{hold:?}"));
    super::world::copy(&world.path("second"), &world.path(&publisher));
    super::world::copy(&world.path("machine"), &world.path(&machine));
    let store = S3Server::start_from(start.store.path());
    let proxy = Proxy::start(&store.endpoint, hold);
    let mut child = command(world, &publisher, publish, &proxy.url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    proxy.wait_for(&mut child);
    if hold != Hold::Never {
        assert!(proxy.is_held(), "it ended before request {hold:?}");
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    if hold == Hold::Never {
        assert!(status.success());
        return proxy.done();
    }
    let done = proxy.done();
    let before = put(&done);
    drop(proxy);

    // What machines see is whole: the release before, unless the last write was done.
    let has_won = done
        .last()
        .is_some_and(|(method, path)| is_head_put(method, path));
    if !has_won {
        assert_eq!(store.head(), start.head);
    } else {
        let seen = run(world, &machine, pull, &store.endpoint).expect(0).json();
        assert_eq!(seen["serial"], 2);
    }

    let proxy = Proxy::start(&store.endpoint, Hold::Never);
    run(world, &publisher, publish, &proxy.url).expect(0);
    let again: Vec<_> = put(&proxy.done()).intersection(&before).cloned().collect();
    assert_eq!(again, Vec::<String>::new(), "{hold:?}: sent twice");
    let pulled = run(world, &machine, pull, &store.endpoint).expect(0).json();
    assert_eq!(pulled["serial"], 2);
    proxy.done()
}

#[test]
fn a_publisher_that_is_killed_at_any_write_leaves_a_whole_remote_and_goes_on() {
    let start = start();
    let requests = publish_killed(&start, Hold::Never);
    let writes = requests.iter().enumerate();
    let writes: Vec<usize> = writes
        .filter(|(_, (method, _))| method == "PUT")
        .map(|(number, _)| number)
        .collect();
    // The head comes last, and what it names before.
    assert!(writes.len() > 3, "{requests:?}");
    assert!(requests[*writes.last().unwrap()].1.ends_with("/head"));
    // After one write is before the next.
    let first = [Hold::Before(0), Hold::Before(writes[0])];
    let holds = first.into_iter().chain(writes.into_iter().map(Hold::After));
    let start = &start;
    std::thread::scope(|scope| {
        for hold in holds {
            scope.spawn(move || publish_killed(start, hold));
        }
    });
}

/// Publishes release 2 to `ours` up to the moment before the head is replaced; then somebody else publishes release 3 to
/// `theirs`, and we go on.
fn overtaken(ours: &str, theirs: &str) -> (Start, S3Server, Ran) {
    let start = start();
    let world = &start.world;
    let store = S3Server::start_from(start.store.path());
    world.build_at("third", 3);
    let proxy = Proxy::start(&store.endpoint, Hold::Head);
    let to = |channel: &str| start.publish.replace("stable", channel);
    let mut child = command(world, "second", &to(ours), &proxy.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    proxy.wait_for(&mut child);
    run(world, "third", &to(theirs), &store.endpoint).expect(0);
    proxy.release();
    let output = child.wait_with_output().unwrap();
    let ran = world.machine("second").ran("publish", output);
    (start, store, ran)
}

#[test]
fn two_publishers_to_two_channels_both_win() {
    let (start, store, ran) = overtaken("beta", "stable");
    ran.expect(0).shows("published to images/web/beta");
    let shown = start.publish.find("--to ").unwrap();
    let line = start.publish[shown..].replace("--to ", "trust show ");
    let text = run(&start.world, "second", &line, &store.endpoint)
        .expect(0)
        .stdout;
    for channel in ["images/web/beta: release", "images/web/stable: release"] {
        assert!(text.contains(channel), "{text}");
    }
    let pulled = run(&start.world, "machine", &start.pull, &store.endpoint).expect(0);
    assert_eq!(pulled.json()["serial"], 2);
    let beta = start.pull.replace("web/stable", "web/beta");
    let pulled = run(&start.world, "machine", &beta, &store.endpoint).expect(0);
    assert_eq!(pulled.json()["serial"], 3);
    run(&start.world, "machine", "fsck", &store.endpoint).expect(0);
}

#[test]
fn of_two_publishers_to_one_channel_the_second_is_told_who_was_first() {
    let (start, store, ran) = overtaken("stable", "stable");
    let ran = ran.expect(3);
    insta::assert_snapshot!(ran.stderr.trim(), @r#"
    error: somebody else has pointed channel 'images/web/stable' at b3:15b33fcad5a2a5b9b2cdda0272abd24536ea6eac40520df3e4cd19af76bce9a6 in the meantime
    hint: look at what is there now; the same command publishes on top of it
    "#);
    let pulled = run(&start.world, "machine", &start.pull, &store.endpoint).expect(0);
    assert_eq!(pulled.json()["serial"], 2);
    // What the hint says works.
    run(&start.world, "second", &start.publish, &store.endpoint).expect(0);
    let pulled = run(&start.world, "machine", &start.pull, &store.endpoint).expect(0);
    assert_eq!(pulled.json()["serial"], 3);
}
