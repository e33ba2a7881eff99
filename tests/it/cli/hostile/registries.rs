//! Publishing to a registry while publishers are killed.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::World;
use super::proxy::{Hold, Proxy};
use crate::remote::registry::ask;
use crate::remote::servers::Registry;
use crate::session::Ran;

const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// A registry that has release 1, and a publisher's repository with release 2.
struct Start {
    world: World,
    registry: Registry,
}

fn command(world: &World, repository: &str, line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = world.machine(repository).command(&words);
    command.env("LAYERSET_TRIES", "1");
    command
}

fn run(world: &World, repository: &str, line: &str) -> Ran {
    let output = command(world, repository, line).output().unwrap();
    world.machine(repository).ran(line, output)
}

fn with(world: &World, host: &str) -> String {
    let host = host.trim_start_matches("http://");
    let dir = world.path("").display().to_string();
    format!("oci://{host}/fleet --keys {dir}/keys --root {dir}/root.json")
}

fn publish(world: &World, host: &str) -> String {
    format!(
        "publish web --level 1 --channel stable --to {}",
        with(world, host)
    )
}

/// Pulls on a new machine, and returns which release that was.
fn pull(world: &World, machine: &str, registry: &Registry) -> serde_json::Value {
    let policy = format!(
        "[[remote]]\nname = \"main\"\nlocation = \"oci://{}/fleet\"\nroot = \"root.json\"\n",
        registry.host
    );
    let trust = world.path(&format!("{machine}.toml"));
    std::fs::write(&trust, policy).unwrap();
    run(world, machine, "init").expect(0);
    let line = format!("pull web/stable --json --quiet --trust {}", trust.display());
    run(world, machine, &line).expect(0).json()["serial"].clone()
}

/// Returns the blobs that were sent whole.
fn sent(requests: &[(String, String)]) -> BTreeSet<String> {
    let puts = requests.iter().filter(|(method, _)| method == "PUT");
    let digests = puts.filter_map(|(_, path)| path.split_once("digest=")?.1.split('&').next());
    digests.map(|digest| digest.replace("%3A", ":")).collect()
}

/// Says that whoever claimed to be publishing is done, as ten minutes would.
fn release_claims(registry: &Registry) {
    let tags: serde_json::Value =
        serde_json::from_str(&ask(&registry.host, "GET", "/v2/fleet/tags/list", "")).unwrap();
    for tag in tags["tags"].as_array().unwrap() {
        let Some(tag) = tag.as_str().filter(|tag| tag.starts_with("claim-")) else {
            continue;
        };
        let path = format!("/v2/fleet/manifests/{tag}");
        let claim = ask(&registry.host, "GET", &path, "");
        ask(
            &registry.host,
            "PUT",
            &path,
            &claim.replace("\"held\"", "\"released\""),
        );
    }
}

/// Publishes release 2 until the publisher is killed; then what machines see must be whole, and the same command must finish
/// without sending anything twice. Returns the requests of an undisturbed run.
fn publish_killed(start: &Start, hold: Hold) -> Vec<(String, String)> {
    let Start { world, registry } = start;
    let publisher = format!("publisher-{hold:?}");
    super::world::copy(&world.path("second"), &world.path(&publisher));
    let registry = registry.copy();
    let proxy = Proxy::start(&registry.host, hold);
    let mut child = command(world, &publisher, &publish(world, &proxy.url))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    proxy.wait_for(&mut child);
    if hold == Hold::Never {
        assert!(child.wait().unwrap().success());
        return proxy.done();
    }
    assert!(proxy.is_held(), "it ended before request {hold:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let done = proxy.done();
    drop(proxy);

    let has_won = done
        .iter()
        .any(|(method, path)| method == "PUT" && path.ends_with("/manifests/head"));
    let serial = pull(world, &format!("before-{hold:?}"), &registry);
    assert_eq!(serial, if has_won { 2 } else { 1 }, "{done:?}");
    release_claims(&registry);
    let proxy = Proxy::start(&registry.host, Hold::Never);
    run(world, &publisher, &publish(world, &proxy.url)).expect(0);
    let (before, mut again) = (sent(&done), sent(&proxy.done()));
    again.retain(|digest| before.contains(digest) && digest != EMPTY);
    assert_eq!(again, BTreeSet::new(), "{hold:?}: sent twice");
    assert_eq!(pull(world, &format!("after-{hold:?}"), &registry), 2);
    Vec::new()
}

#[test]
fn a_publisher_to_a_registry_that_is_killed_leaves_it_whole_and_goes_on() {
    let name = "a_publisher_to_a_registry_that_is_killed_leaves_it_whole_and_goes_on";
    let Some(registry) = Registry::start(name, "") else {
        return;
    };
    let world = World::empty();
    world.build_at("first", 1);
    world.build_at("second", 1);
    world.build_at("second", 2);
    run(
        &world,
        "first",
        &format!("trust init {}", with(&world, &registry.host)),
    )
    .expect(0);
    run(&world, "first", &publish(&world, &registry.host)).expect(0);
    let start = Start { world, registry };
    let requests = publish_killed(&start, Hold::Never);
    let writes = requests.iter().enumerate();
    let writes: Vec<usize> = writes
        .filter(|(_, (method, _))| method != "GET" && method != "HEAD")
        .map(|(number, _)| number)
        .collect();
    assert!(writes.len() > 5, "{requests:?}");
    let start = &start;
    for some in writes.chunks(4) {
        std::thread::scope(|scope| {
            for number in some {
                scope.spawn(move || publish_killed(start, Hold::After(*number)));
            }
        });
    }
}
