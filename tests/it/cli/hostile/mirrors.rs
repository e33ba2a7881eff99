//! Several mirrors, some of which are wrong, behind or gone.

use super::World;
use super::world::{Mirror, honest, masked, numberless};
use crate::remote::servers::{Seen, Step, WebServer};
use crate::support::Nobody;

fn flip(mirror: &Mirror) {
    mirror.spoil(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
}

fn serve(mirror: &Mirror) -> WebServer {
    WebServer::ruled(&mirror.dir, honest)
}

fn blobs_asked(server: &WebServer) -> usize {
    let is_blob = |seen: &&Seen| seen.path.starts_with("/blobs/");
    server.seen().iter().filter(is_blob).count()
}

/// Pulls from these mirrors, and returns the run with names in place of addresses.
fn pull(world: &World, machine: &str, servers: &[&WebServer], more: &str) -> crate::session::Ran {
    world.another_machine(machine);
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    let trust = world.policy(machine, &urls);
    let mut ran = world.pull_with(machine, &trust, more);
    for (name, url) in ["FIRST", "SECOND", "THIRD"].iter().zip(urls) {
        ran.stderr = ran.stderr.replace(url, name);
    }
    ran
}

#[test]
fn what_one_mirror_sends_wrong_comes_from_the_next() {
    let world = World::new();
    let (bad, good) = (world.mirror("bad"), world.mirror("good"));
    flip(&bad);
    let (first, second) = (serve(&bad), serve(&good));
    let ran = pull(&world, "delta", &[&first, &second], "--json").expect(0);
    world.has_release("delta", 2);
    // The deltas too come from where they are right.
    for part in ran.json()["parts"].as_array().unwrap() {
        assert_ne!(part["how"], "packs", "{}", ran.transcript());
    }
    insta::assert_snapshot!(masked(ran.stderr.trim()), @r#"blob DIGEST from 'FIRST' is damaged: it has another digest: asking again"#);
    let ran = pull(&world, "packs", &[&first, &second], "--no-deltas").expect(0);
    world.has_release("packs", 2);
    assert!(
        ran.stderr.starts_with("blob ") && ran.stderr.contains(" from 'FIRST' is damaged"),
        "{}",
        ran.stderr
    );
    // Who lied is asked no more.
    let asked = blobs_asked(&first);
    let ran = pull(&world, "turned", &[&second, &first], "").expect(0);
    assert_eq!(ran.stderr, "");
    assert_eq!(blobs_asked(&first), asked);
}

#[test]
fn a_mirror_that_answers_wrongly_or_lacks_blobs_is_left_for_the_next() {
    let world = World::new();
    let (short, empty, good) = (
        world.mirror("short"),
        world.mirror("none"),
        world.mirror("good"),
    );
    short.spoil(|bytes| bytes.truncate(bytes.len() / 2));
    std::fs::remove_dir_all(empty.dir.join("blobs")).unwrap();
    let servers = [&short, &empty, &good].map(serve);
    let [first, second, third] = &servers;
    pull(&world, "m", &[first, second, third], "").expect(0);
    world.has_release("m", 2);
}

#[test]
fn when_every_mirror_is_wrong_all_are_named_with_the_blob() {
    let world = World::new();
    let mirrors = ["one", "two", "three"].map(|name| world.mirror(name));
    for mirror in &mirrors {
        flip(mirror);
    }
    let servers = [0, 1, 2].map(|number| serve(&mirrors[number]));
    let [first, second, third] = &servers;
    let ran = pull(&world, "m", &[first, second, third], "--quiet").expect(4);
    world.has_release("m", 1);
    insta::assert_snapshot!(masked(ran.stderr.trim()), @r#"
    error: blob DIGEST from 'SECOND' and 'THIRD' and 'FIRST' is damaged: its index has another digest
    hint: nothing was taken over; try a mirror, or --from another place
    "#);
}

#[test]
fn a_head_that_is_wrong_or_old_on_one_mirror_is_taken_from_the_next() {
    let world = World::new();
    let (altered, old, good) = (
        world.mirror("alt"),
        world.mirror("old"),
        world.mirror("good"),
    );
    altered.tamper(|head| {
        head.targets
            .remove("images/web/channels/stable.json")
            .unwrap();
    });
    old.set_head(&world.first_head);
    let servers = [&altered, &old, &good].map(serve);
    let [first, second, third] = &servers;
    let ran = pull(&world, "m", &[first, second, third], "").expect(0);
    world.has_release("m", 2);
    insta::assert_snapshot!(masked(ran.stderr.trim()), @r#"
    'FIRST' is left out: the remote's head lacks 'images/web/channels/stable.json'
    'SECOND' is left out: the remote offers an older state than the one seen before: role 'timestamp' has version 2, but version 3 was seen
    "#);
    // Blobs are asked of the one that was right.
    assert_eq!((blobs_asked(first), blobs_asked(second)), (0, 0));

    // A name that nobody answers for, and no mirror that can be used.
    let gone = WebServer::ruled(&old.dir, |_, _| None);
    drop(gone);
    let unanswered = Nobody::new();
    let nobody = unanswered.url();
    let trust = world.policy("none", &[&nobody, &second.url, &first.url]);
    let ran = world.pull_with("m", &trust, "--quiet").expect(1);
    let text = ran.stderr.replace(&nobody, "NOBODY");
    let text = text
        .replace(&second.url, "SECOND")
        .replace(&first.url, "FIRST");
    insta::assert_snapshot!(masked(text.trim()), @r#"
    error: none of the 3 mirrors can be used
    caused by: 'NOBODY' does not answer: no connection: Connection refused (os error 111)
    caused by: 'SECOND': the remote offers an older state than the one seen before: role 'timestamp' has version 2, but version 3 was seen
    caused by: 'FIRST': the remote's head lacks 'images/web/channels/stable.json'
    hint: what arrived is kept: run the command again, or name mirrors in the trust policy
    "#);
}

#[test]
fn a_mirror_that_shows_nothing_new_does_not_hide_what_another_one_has() {
    let world = World::new();
    // What the machine has seen already, and what was published since.
    let frozen = world.mirror("frozen");
    world.build(3);
    world.publish("stable", "").expect(0);
    let current = world.mirror("current");
    let (first, second) = (serve(&frozen), serve(&current));
    let ran = pull(&world, "m", &[&first, &second], "--json").expect(0);
    assert_eq!(ran.json()["serial"], 3, "{}", ran.transcript());
    insta::assert_snapshot!(masked(ran.stderr.trim()), @r#"'FIRST' is behind 'SECOND', which is asked instead"#);
    assert_eq!(blobs_asked(&first), 0);
    // Where nobody has anything new, that is no fault of anybody.
    world.machine("m").run("fsck").expect(0);
    let trust = world.policy("m", &[&second.url, &second.url]);
    let ran = world.pull_with("m", &trust, "").expect(0);
    assert_eq!(ran.stderr, "");
    assert!(
        ran.stdout.contains("in 2 requests"),
        "{}",
        numberless(&ran.stdout)
    );
}

#[test]
fn a_silent_mirror_costs_one_wait_and_all_are_asked_again_when_none_answers() {
    let world = World::new();
    let good = world.mirror("good");
    let silent = WebServer::ruled(&good.dir, |_, _| Some(Step::Silent));
    // The other one is down for its first request.
    let down = Step::Say("503 Service Unavailable".to_owned(), Vec::new());
    let flaky = WebServer::ruled(&good.dir, move |seen, number| match number {
        0 => Some(down.clone()),
        _ => honest(seen, number),
    });
    world.another_machine("patient");
    let trust = world.policy("patient", &[&silent.url, &flaky.url]);
    let line = format!("pull web/stable --trust {}", trust.display());
    let mut command = world.pull_command("patient", &line);
    command
        .env("LAYERSET_TIMEOUT", "1")
        .env("LAYERSET_TRIES", "3");
    world.ran("patient", command.output().unwrap()).expect(0);
    world.has_release("patient", 2);
    // Once in each round in which the other did not answer either.
    assert_eq!(silent.seen().len(), 2);
}
