//! `layerset agent` on a directory target: one round after another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::channel::{Fleet, fleet};
use crate::session::Ran;

/// Writes agent.toml; hooks and metrics are beside it.
fn configure(fleet: &Fleet, more: &str) {
    let dir = fleet.dir().canonicalize().unwrap();
    let text = format!(
        "{more}\n[report]\nhooks = \"{0}/hooks\"\ntextfile = \"{0}/metrics.prom\"\n",
        dir.display()
    );
    fs::write(dir.join("agent.toml"), text).unwrap();
    let hooks = dir.join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("10-tell");
    let script = format!(
        "#!/bin/sh\ncat >>{}/events; echo >>{0}/events\n",
        dir.display()
    );
    fs::write(&hook, script.replace("{0}", &dir.display().to_string())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
}

fn round(fleet: &Fleet, options: &str) -> Ran {
    fleet.run(&format!("agent --config agent.toml {options}"))
}

/// Returns what the hooks were told since the last call.
fn events(dir: &Path) -> Vec<serde_json::Value> {
    let path = dir.join("events");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn kinds(dir: &Path) -> Vec<String> {
    let events = events(dir).into_iter();
    events
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect()
}

fn metric(fleet: &Fleet, name: &str) -> f64 {
    let text = fs::read_to_string(fleet.dir().join("metrics.prom")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("layerset_{name}{{")));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A window that is closed now, whenever that is: it opens in twelve hours, for an hour.
fn closed() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let hour = (now.as_secs() / 3600 + 12) % 24;
    format!(
        "[[window]]\nfrom = \"{hour:02}:00\"\nto = \"{:02}:00\"\ntimezone = \"UTC\"\n",
        (hour + 1) % 24
    )
}

#[test]
fn a_release_is_staged_at_once_and_switched_to_in_its_window() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    configure(&fleet, &closed());
    round(&fleet, "").expect(0).shows("nothing new");
    assert_eq!(kinds(fleet.dir()), [""; 0]);
    assert_eq!(metric(&fleet, "update_pending"), 0.0);
    assert_eq!(metric(&fleet, "healthy"), 1.0);

    fleet.release("2", "");
    round(&fleet, "")
        .expect(0)
        .shows("release 2 is staged as generation 2");
    let told = events(fleet.dir());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["event"], &told[0]["generation"]),
        (&"staged".into(), &2.into())
    );
    assert_eq!(told[0]["channel"], "images/web/stable");
    assert_eq!(fleet.page(), "<h1>It works</h1>\n");
    assert_eq!(metric(&fleet, "update_pending"), 1.0);
    assert_eq!(metric(&fleet, "generation"), 1.0);
    // Again: it is staged already, and nobody is told twice.
    round(&fleet, "").expect(0).shows("generation 2");
    assert_eq!(kinds(fleet.dir()), [""; 0]);
    let staged = fleet
        .machine
        .run("status --target target --json")
        .expect(0)
        .json();
    assert_eq!(
        staged["deployments"].as_array().unwrap().len(),
        2,
        "{staged}"
    );

    let report = round(&fleet, "--now --json").expect(0).json();
    assert_eq!(report["outcome"], "switched", "{report}");
    assert_eq!(fleet.page(), "page 2\n");
    assert_eq!(kinds(fleet.dir()), ["switched"]);
    assert_eq!(metric(&fleet, "update_pending"), 0.0);
    assert_eq!(metric(&fleet, "generation"), 2.0);

    // By a window that is open.
    configure(&fleet, "[[window]]\nfrom = \"00:00\"\nto = \"00:00\"\n");
    fleet.release("3", "");
    round(&fleet, "").expect(0).shows("generation 3 is current");
    assert_eq!(fleet.page(), "page 3\n");
}

#[test]
fn what_cannot_reach_others_goes_back_and_is_not_taken_again() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let lost = "[health]\nreachable = [\"no-such-host.invalid:22\"]\ntimeout = \"100ms\"\n";
    configure(&fleet, lost);
    fleet.release("2", "");
    let said = round(&fleet, "").expect(3);
    said.shows(
        "generation 2 was not well, and is marked bad: no-such-host.invalid:22 is reachable",
    )
    .shows("generation 1 is current again");
    assert_eq!(fleet.page(), "<h1>It works</h1>\n");
    assert_eq!(kinds(fleet.dir()), ["returned"]);
    assert_eq!(
        (metric(&fleet, "healthy"), metric(&fleet, "bad_images")),
        (0.0, 1.0)
    );
    let history = fleet.machine.run("history --target target").expect(0);
    history
        .shows("rolled back from generation 2 to generation 1")
        .shows("no-such-host.invalid:22 is reachable failed: ");

    round(&fleet, "")
        .expect(0)
        .shows("is marked bad on this target");
    assert_eq!(kinds(fleet.dir()), [""; 0]);
    // The next one is, when the network is back.
    configure(&fleet, "");
    fleet.release("3", "");
    round(&fleet, "").expect(0).shows("generation 3 is current");
    assert_eq!(fleet.page(), "page 3\n");
}

#[test]
fn a_remote_that_is_gone_is_told_once_and_changes_nothing() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    configure(&fleet, "");
    let (remote, away) = (fleet.dir().join("remote"), fleet.dir().join("away"));
    fs::rename(&remote, &away).unwrap();
    for told in [&["failed"][..], &[]] {
        assert_ne!(round(&fleet, "").status, 0);
        assert_eq!(kinds(fleet.dir()), told);
    }
    fs::rename(&away, &remote).unwrap();
    round(&fleet, "").expect(0).shows("nothing new");
    assert!(metric(&fleet, "last_contact_timestamp_seconds") > 1.7e9);
    // What is wrong with the file is said with its place, before anything is done.
    fs::write(
        fleet.dir().join("agent.toml"),
        "[[window]]\nfrom = \"2am\"\n",
    )
    .unwrap();
    round(&fleet, "")
        .expect(1)
        .says(&["agent.toml:2:8: a time of day", "missing key 'window.to'"]);
}
