//! `layerset adopt-host`, on the system that runs the tests.

use std::fs;

use super::channel::fleet;

#[test]
fn a_host_is_looked_at_first_and_adopted_then() {
    let fleet = fleet();
    let dir = fleet.dir().canonicalize().unwrap();
    let adopt = |more: &str| {
        fleet.run(&format!(
            "adopt-host web/stable --config agent/agent.toml {more}"
        ))
    };
    let before = names(&dir);
    let report = adopt("--json").expect(0).json();
    assert_eq!(
        (&report["applied"], &report["release"]),
        (&false.into(), &1.into())
    );
    assert!(
        report["system"]
            .as_str()
            .is_some_and(|name| !name.is_empty()),
        "{report}"
    );
    adopt("")
        .expect(0)
        .shows("nothing was changed; --apply deploys it to target");
    // What is remembered of signatures is all that looking leaves.
    assert_eq!(names(&dir), before);
    assert!(!fleet.dir().join("target").exists() && !dir.join("agent").exists());

    adopt("--apply")
        .expect(0)
        .shows("switched from nothing to generation 1")
        .shows("systemctl enable --now layerset-agent.timer");
    assert_eq!(fleet.page(), "<h1>It works</h1>\n");
    let config = fs::read_to_string(dir.join("agent/agent.toml")).unwrap();
    assert!(
        config.contains(&format!("target = \"{}/target\"", dir.display())),
        "{config}"
    );
    // The agent knows where to go from there.
    fleet.release("2", "");
    fleet
        .machine
        .run("agent --config agent/agent.toml --trust trust.toml")
        .expect(0)
        .shows("generation 2 is current");
    assert_eq!(fleet.page(), "page 2\n");

    // Once more changes nothing of what is the machine's.
    fs::write(dir.join("agent/agent.toml"), "switch = \"never\"\n").unwrap();
    adopt("--apply")
        .expect(0)
        .shows("the target was there before");
    let config = fs::read_to_string(dir.join("agent/agent.toml")).unwrap();
    assert_eq!(config, "switch = \"never\"\n");
    adopt("--channel x").expect(2);
}

#[test]
fn a_channel_that_is_not_there_leaves_nothing_behind() {
    let fleet = fleet();
    let before = names(fleet.dir());
    let said = fleet.run("adopt-host web/beta --apply --config agent/agent.toml");
    assert_ne!(said.status, 0);
    said.says(&["images/web/beta"]);
    assert_eq!(names(fleet.dir()), before);
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
