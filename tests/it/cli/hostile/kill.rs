//! `kill -9` at every request: what arrived stays, nothing else does, and the same command goes on.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::World;
use super::world::{copy, listing};
use crate::remote::servers::{Seen, Step, WebServer};
use crate::support::{AT_ONCE, wait_until};
use sha2::Digest as _;

fn kill(child: &mut Child) {
    // SIGKILL, to this process only.
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns how many bytes of blobs arrived on disk.
fn arrived(machine: &Path) -> u64 {
    let incoming = machine.join("cache/incoming");
    if !incoming.exists() {
        return 0;
    }
    let files = listing(&incoming);
    files.values().map(|bytes| bytes.len() as u64).sum()
}

/// Returns how many bytes of blobs were asked for.
fn asked(server: &WebServer) -> u64 {
    let seen = server.seen();
    let ranges = seen.iter().filter(|seen| seen.path.starts_with("/blobs/"));
    let length = |seen: &Seen| {
        let (start, end) = seen
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some(end.parse::<u64>().ok()? + 1 - start.parse::<u64>().ok()?)
    };
    ranges.map(|seen| length(seen).unwrap()).sum()
}

/// A machine that has nothing, or release 1.
fn machine(world: &World, name: &str, is_new: bool) {
    if is_new {
        world.machine(name).run("init").expect(0);
    } else {
        world.another_machine(name);
    }
}

/// Pulls undisturbed; returns how many requests there were, and how many bytes of blobs were asked for.
fn whole(world: &World, is_new: bool) -> (usize, u64) {
    let name = format!("whole-{is_new}");
    machine(world, &name, is_new);
    let server = WebServer::start(&world.path("remote"), []);
    let trust = world.policy(&name, &[&server.url]);
    world.pull_on(&name, &trust).expect(0);
    (server.seen().len(), asked(&server))
}

/// Kills a pull when the server is halfway in its answer to request `at`, then pulls again.
fn pull_killed_at(world: &World, is_new: bool, at: usize, bytes: u64) {
    let name = format!("killed-{is_new}-{at}");
    machine(world, &name, is_new);
    let server = WebServer::ruled(&world.path("remote"), move |_, number| {
        (number >= at).then_some(Step::Hold(50))
    });
    let trust = world.policy(&name, &[&server.url]);
    let line = format!("pull web/stable --quiet --trust {}", trust.display());
    let mut child = world
        .pull_command(&name, &line)
        .env("LAYERSET_TIMEOUT", "600")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dir = world.path(&name);
    let head = std::fs::read(world.path("remote/head")).unwrap().len() as u64;
    let head_part = if at == 0 { head / 2 } else { head };
    // All that was sent is taken in before the blow: otherwise it would be chance what there is to lose.
    wait_until("the request never came", || server.seen().len() > at);
    let mut stable = (0, Instant::now());
    wait_until("what was sent does not arrive", || {
        let now = (server.seen().len() as u64, arrived(&dir) + head_part);
        if stable.0 != now.0 {
            stable = (now.0, Instant::now());
        }
        now.1 == server.sent_bytes() && stable.1.elapsed() > Duration::from_millis(50)
    });
    kill(&mut child);
    drop(server);
    let kept = arrived(&dir);
    world.machine(&name).run("fsck").expect(0);

    let server = WebServer::start(&world.path("remote"), []);
    let trust = world.policy(&name, &[&server.url]);
    world.pull_on(&name, &trust).expect(0);
    world.is_at(&name, 2);
    assert_eq!(asked(&server) + kept, bytes, "at request {at}");
    assert_eq!(arrived(&dir), 0, "what arrived is of no more use");
    let left = std::fs::read_dir(dir.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "work of the killed process stays");
}

fn kill_at_every_request(world: &World, is_new: bool) -> u64 {
    let (requests, bytes) = whole(world, is_new);
    assert!(requests > 3, "{requests}");
    std::thread::scope(|scope| {
        for at in 0..requests {
            scope.spawn(move || pull_killed_at(world, is_new, at, bytes));
        }
    });
    bytes
}

#[test]
fn a_first_pull_that_is_killed_at_any_request_goes_on_where_it_was() {
    let world = World::new();
    let bytes = kill_at_every_request(&world, true);
    assert!(bytes > 380_000, "{bytes}");
}

#[test]
fn an_update_by_deltas_that_is_killed_at_any_request_goes_on_where_it_was() {
    let world = World::new();
    let bytes = kill_at_every_request(&world, false);
    assert!(bytes < 100_000, "{bytes}");
}

#[test]
fn what_arrived_and_was_damaged_on_disk_since_is_fetched_again() {
    let world = World::new();
    machine(&world, "damaged", true);
    let server = WebServer::ruled(&world.path("remote"), |seen, number| {
        (seen.path.starts_with("/blobs/") && number > 4).then_some(Step::Hold(50))
    });
    let trust = world.policy("damaged", &[&server.url]);
    // It gives up by itself, and keeps what came.
    world
        .pull_on("damaged", &trust)
        .expect(1)
        .says(&["no answer to"]);
    drop(server);
    let incoming = world.path("damaged/cache/incoming");
    let kept = arrived(&world.path("damaged"));
    assert!(kept > 0);
    for (name, mut bytes) in listing(&incoming) {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        std::fs::write(incoming.join(name), bytes).unwrap();
    }
    let trust = world.policy("damaged", &[world.path("remote").to_str().unwrap()]);
    let ran = world.pull_with("damaged", &trust, "").expect(0);
    let ran = ran.says(&["blob ", " from an earlier try is damaged"]);
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    world.has_release("damaged", 2);
}

#[test]
fn an_interrupt_ends_a_pull_that_waits_and_says_how_to_go_on() {
    let world = World::new();
    let server = WebServer::ruled(&world.path("remote"), |seen, _| {
        seen.path.starts_with("/blobs/").then_some(Step::Silent)
    });
    let trust = world.policy("seed", &[&server.url]);
    let line = format!("pull web/stable --trust {}", trust.display());
    let mut command = world.pull_command("seed", &line);
    command
        .env("LAYERSET_TIMEOUT", "600")
        .stderr(Stdio::piped());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("no blob was asked for", || server.seen().len() > 1);
    let started = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = world.ran("seed", child.wait_with_output().unwrap());
    assert!(started.elapsed() < AT_ONCE);
    ran.expect(130).says(&[
        "error: interrupted",
        "hint: finished steps were kept; run the command again to continue",
    ]);
    world.has_release("seed", 1);
}

#[test]
fn a_pull_that_is_killed_at_any_moment_leaves_a_sound_repository() {
    let world = World::new();
    let trust = world.policy("moments", &[world.path("remote").to_str().unwrap()]);
    std::thread::scope(|scope| {
        for moment in 0..8_u64 {
            let (world, trust) = (&world, &trust);
            scope.spawn(move || {
                let name = format!("moment-{moment}");
                world.another_machine(&name);
                let line = format!("pull web/stable --quiet --trust {}", trust.display());
                let mut child = world
                    .pull_command(&name, &line)
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap();
                std::thread::sleep(Duration::from_millis(moment * 10));
                kill(&mut child);
                world.machine(&name).run("fsck").expect(0);
                world.pull_on(&name, trust).expect(0);
                world.is_at(&name, 2);
            });
        }
    });
}

#[test]
fn a_publisher_to_a_directory_that_is_killed_at_any_moment_leaves_a_whole_remote() {
    let world = World::new();
    // What there was before release 2, and a publisher that has yet to send it.
    let old = world.mirror("old");
    old.set_head(&world.first_head);
    for blob in old.blobs() {
        let of_first = world.first_blobs.iter().any(|first| blob.ends_with(first));
        if !of_first {
            std::fs::remove_file(blob).unwrap();
        }
    }
    let moments = 6_u64;
    std::thread::scope(|scope| {
        for moment in 0..moments {
            let world = &world;
            scope.spawn(move || publish_killed_after(world, moment * 15));
        }
    });
}

fn publish_killed_after(world: &World, milliseconds: u64) {
    let name = format!("published-{milliseconds}");
    let dir = world.path(&name);
    copy(&world.path("mirror-old"), &dir);
    let publisher = format!("publisher-{milliseconds}");
    copy(&world.path("publisher"), &world.path(&publisher));
    let line = world.publish_line(&dir, "stable");
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = world.machine(&publisher).command(&words);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(milliseconds));
    kill(&mut child);
    for (path, bytes) in listing(&dir) {
        let file = path.file_name().unwrap().to_str().unwrap();
        if path.starts_with("blobs") && !file.starts_with('.') {
            assert_eq!(
                file,
                format!("{:x}", sha2::Sha256::digest(&bytes)),
                "a torn blob"
            );
        }
    }
    world.machine(&publisher).run(&line).expect(0);
    let trust = world.policy(&name, &[dir.to_str().unwrap()]);
    let machine = format!("machine-{milliseconds}");
    world.machine(&machine).run("init").expect(0);
    let pulled = world.pull_with(&machine, &trust, "--json").expect(0).json();
    assert_eq!(pulled["serial"], 2);
    world.is_at(&machine, 2);
}
