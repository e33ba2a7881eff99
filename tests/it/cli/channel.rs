//! Targets that follow a channel, by the program itself.

use std::path::Path;

use layerset::tree::{Changeset, Inode, Tree};

use super::fixture::{Small, open, small};
use crate::session::{Ran, Session};
use crate::support::{bare_layer, commit_web, path};

/// A publisher with a remote in a directory, and a machine that trusts it.
pub(super) struct Fleet {
    pub(super) small: Small,
    pub(super) machine: Session,
}

pub(super) fn fleet() -> Fleet {
    let small = small();
    let dir = small.dir.path();
    std::fs::write(
        dir.join("trust.toml"),
        "[[remote]]\nname = \"main\"\nlocation = \"./remote\"\nroot = \"root.json\"\n",
    )
    .unwrap();
    let machine = Session::new(dir, &dir.join("machine"));
    machine.run("init").expect(0);
    small
        .session
        .run("trust init ./remote --keys keys --root root.json")
        .expect(0);
    let fleet = Fleet { small, machine };
    fleet.publish("");
    fleet
}

impl Fleet {
    pub(super) fn dir(&self) -> &Path {
        self.small.dir.path()
    }

    pub(super) fn publish(&self, options: &str) -> Ran {
        let line = format!(
            "publish web --to ./remote --channel stable --keys keys --root root.json {options}"
        );
        self.small.session.run(&line).expect(0)
    }

    /// Publishes another page.
    pub(super) fn release(&self, version: &str, options: &str) {
        let page = format!("page {version}\n");
        self.small.rebuild(version, page.as_bytes());
        self.publish(options);
    }

    pub(super) fn run(&self, line: &str) -> Ran {
        self.machine
            .run(&format!("{line} --trust trust.toml --target target"))
    }

    pub(super) fn page(&self) -> String {
        let page = self
            .dir()
            .join("target/layerset/current/root/srv/page.html");
        std::fs::read_to_string(page).unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.machine.run("deactivate --target target");
    }
}

#[test]
fn a_target_follows_the_channel_that_it_was_deployed_from() {
    let fleet = fleet();
    fleet
        .run("update")
        .expect(1)
        .says(&["no target at", "deploy an image there first"]);
    fleet.run("deploy --channel web/stable").expect(0);
    let status = fleet.machine.run("status --target target").expect(0);
    status.shows("follows images/web/stable on main, at release 1");

    fleet.run("update").expect(0).shows("is already current");
    fleet.release("2", "");
    let updated = fleet.run("update --json").expect(0).json();
    assert_eq!(updated["switched"], true, "{updated}");
    assert_eq!(updated["pull"]["serial"], 2, "{updated}");
    assert_eq!(fleet.page(), "page 2\n");
    let history = fleet.machine.run("history --target target").expect(0);
    history.shows("release 2 of images/web/stable on main");

    // A layer's channel is none of a target's, and an unknown one leaves everything as it is.
    fleet
        .run("update --channel layers/site/stable")
        .expect(2)
        .says(&["is the channel of a layer"]);
    let unknown = fleet.run("update --channel web/beta");
    assert_ne!(unknown.status, 0);
    unknown.says(&["images/web/beta"]);
    let status = fleet.machine.run("status --target target").expect(0);
    status.shows("follows images/web/stable on main, at release 2");
}

#[test]
fn a_release_that_was_marked_bad_is_never_taken_again_but_the_next_one_is() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    let words = [
        "rollback",
        "--target",
        "target",
        "--mark-bad",
        "--reason",
        "loses mail",
    ];
    fleet.machine.run_words(&words).expect(0);
    let page = fleet.page();
    for line in ["update", "deploy --channel web/stable"] {
        fleet
            .run(line)
            .expect(0)
            .shows("release 2 of 'images/web/stable' is marked bad on this target: loses mail");
        assert_eq!(fleet.page(), page);
    }
    fleet.release("3", "");
    fleet.run("update").expect(0);
    assert_eq!(fleet.page(), "page 3\n");
}

#[test]
fn a_release_that_a_rollback_left_is_held_until_a_newer_one_or_until_asked_for() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    let rollback = || fleet.machine.run("rollback --target target").expect(0);
    rollback().shows("held until there is a newer one");
    let page = fleet.page();
    for line in ["update", "deploy --channel web/stable"] {
        fleet
            .run(line)
            .expect(0)
            .shows("a rollback left release 2 of 'images/web/stable'");
        assert_eq!(fleet.page(), page);
    }
    let status = fleet.machine.run("status --target target").expect(0);
    status.shows("which a rollback left");
    fleet.run("update --again").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
    let status = fleet.machine.run("status --target target --json");
    assert_eq!(status.expect(0).json()["held"], serde_json::json!([]));
    rollback();
    fleet.release("3", "");
    fleet.run("update").expect(0);
    assert_eq!(fleet.page(), "page 3\n");
    let status = fleet.machine.run("status --target target --json");
    assert_eq!(status.expect(0).json()["held"], serde_json::json!([]));
}

#[test]
fn a_mark_can_be_set_later_and_taken_back() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    let machine = &fleet.machine;
    let words = [
        "mark-bad",
        "2",
        "--target",
        "target",
        "--reason",
        "loses mail",
    ];
    machine.run_words(&words).expect(0).shows("it is current");
    machine.run("mark-bad 2 --target target").expect(2);
    machine
        .run("status --target target")
        .expect(0)
        .shows("generation 2 is marked bad: loses mail");
    machine.run("rollback --target target").expect(0);
    fleet.run("update --again").expect(0).shows("loses mail");
    machine
        .run("mark-good 1 --target target")
        .expect(0)
        .shows("is not marked bad");
    machine.run("mark-good 2 --target target").expect(0);
    fleet.run("update --again").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
}

#[test]
fn a_history_says_of_what_nobody_checked_that_it_is_unchecked() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable --keep 1").expect(0);
    for version in ["2", "3"] {
        fleet.release(version, "");
        fleet.run("update --keep 1").expect(0);
    }
    fleet
        .machine
        .run("rollback --target target --mark-bad")
        .expect(0);
    let history = fleet.machine.run("history --target target --json");
    let history = history.expect(0).json();
    let records = history["records"].as_array().unwrap().iter();
    let rows: Vec<_> = records
        .map(|record| (record["action"].clone(), record["verdict"].clone()))
        .collect();
    let actions = ["deploy", "update", "update", "prune", "rollback", "bad"];
    assert_eq!(
        rows,
        actions.map(|action| (action.into(), "unchecked".into()))
    );
}

#[test]
fn a_publisher_can_go_back_with_a_reason_and_machines_follow() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    let first = fleet.small.image.to_string();
    let publish = "publish --to ./remote --channel stable --keys keys --root root.json";
    let back = format!("{publish} {first}");
    let refused = fleet.small.session.run(&back);
    assert_ne!(refused.status, 0);
    refused.says(&["--rollback"]);
    fleet
        .small
        .session
        .run(&format!("{back} --rollback mail-is-lost"))
        .expect(0);
    fleet.run("update").expect(0);
    assert_eq!(fleet.page(), "<h1>It works</h1>\n");
}

#[test]
fn a_staged_rollout_waits_for_this_machine_and_can_be_gone_ahead_of() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "--percent 0");
    let with_id = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = fleet.machine.command(&words);
        command.env("LAYERSET_MACHINE_ID", "0123456789abcdef0123456789abcdef");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let update = "update --trust trust.toml --target target";
    assert!(with_id(update).contains("is already current"));
    assert!(with_id(&format!("{update} --ahead")).contains("switched from generation 1"));
    assert_eq!(fleet.page(), "page 2\n");

    fleet.release("3", "--not-before 2100-01-01");
    let text = with_id(update);
    assert!(text.contains("already has release 2"), "{text}");
    assert_eq!(fleet.page(), "page 2\n");
    fleet.publish("--not-before 2020-01-01T06:00:00Z");
    with_id(update);
    assert_eq!(fleet.page(), "page 3\n");
    let wrong = fleet.small.session.run(
        "publish web --to ./remote --channel stable --keys keys --root root.json --not-before tomorrow",
    );
    wrong.expect(2).says(&["2026-12-24"]);
}

#[test]
fn a_bundle_brings_releases_to_machines_that_reach_no_remote() {
    let fleet = fleet();
    let export = "export bundle media --channel web/stable --trust trust.toml --json";
    let first = fleet.machine.run(export).expect(0).json();
    assert_eq!(first["bundle"]["releases"], 2, "{first}");
    let stale = fleet.dir().join("stale");
    copy(&fleet.dir().join("media"), &stale);
    let none = fleet.machine.run(export).expect(0).json();
    assert_eq!(none["bundle"]["bytes_copied"], 0, "{none}");
    // It is of use as long as what signs the image's layers, too.
    assert_eq!(none["expires_first"], "timestamp", "{none}");
    let delegate = "trust delegate ./remote layers/site --days 2 --keys keys --root root.json";
    fleet.small.session.run(delegate).expect(0);
    let short = fleet.machine.run(export).expect(0).json();
    assert_eq!(short["expires_first"], "layer.site", "{short}");

    let remote = fleet.dir().join("remote");
    let away = fleet.dir().join("away");
    std::fs::rename(&remote, &away).unwrap();
    let gone = fleet.run("deploy --channel web/stable");
    assert_ne!(gone.status, 0);
    fleet
        .run("deploy --channel web/stable --from ./media")
        .expect(0);
    assert_eq!(fleet.page(), "<h1>It works</h1>\n");

    std::fs::rename(&away, &remote).unwrap();
    fleet.release("2", "");
    fleet.machine.run(export).expect(0);
    fleet.run("update --from ./media").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
    // What is older than what the machine has seen is refused by name, and nothing changes.
    let refused = fleet.run("update --from ./stale").expect(3);
    refused.says(&["older"]);
    assert_eq!(fleet.page(), "page 2\n");

    // What another publisher signed is not written over.
    fleet
        .small
        .session
        .run("trust init ./other --keys other-keys --root other.json")
        .expect(0);
    let into = "export bundle ./other --channel web/stable --trust trust.toml";
    let refused = fleet.machine.run(into).expect(3);
    refused.says(&["holds what another publisher signed"]);
}

/// Publishes an image with a page in `/var` that each machine gets once.
fn publish_factory(fleet: &Fleet, version: &str) {
    let repository = open(&fleet.small.repo());
    let transaction = repository.begin().unwrap();
    let mut tree = Tree::new();
    for dir in [
        "",
        "usr",
        "usr/share",
        "usr/share/factory",
        "usr/share/factory/var",
        "usr/share/factory/var/site",
        "var",
        "var/site",
        "srv",
    ] {
        tree.insert(path(dir.as_bytes()), Inode::directory(0o755));
    }
    for at in ["usr/share/factory/var/site/page", "srv/page.html"] {
        let text = format!("page {version}\n");
        let object = transaction.put_object(text.as_bytes()).unwrap();
        let file = Inode::file(object, text.len() as u64, 0o644);
        tree.insert(path(at.as_bytes()), file);
    }
    let changes = Changeset::between(&Tree::new(), &tree);
    let changeset = transaction.put_changeset(&changes).unwrap();
    let whole = transaction.put_tree(&tree).unwrap();
    let layer = bare_layer(("site", version), (b"site", 1_700_000_000, 1), changeset);
    let (bytes, paths) = (tree.bytes(), tree.len() as u64);
    commit_web(&repository, transaction, &layer, (whole, bytes, paths));
    fleet.publish("");
}

#[test]
fn factory_content_is_told_before_and_with_an_update_and_taken_or_kept_as_somebody_says() {
    let fleet = fleet();
    publish_factory(&fleet, "1");
    fleet.run("deploy --channel web/stable").expect(0);
    let page = fleet.dir().join("target/layerset/state/var/site/page");
    let read = || std::fs::read_to_string(&page).unwrap();
    assert_eq!(read(), "page 1\n");
    std::fs::write(&page, "mine\n").unwrap();
    publish_factory(&fleet, "2");
    let told = "/var/site/page stays";
    let cure = "--take-file or --keep-file /var/site/page";
    let planned = fleet.run("update --dry-run").expect(0);
    planned.shows(told);
    fleet.run("update --dry-run").expect(0).shows(cure);
    let json = |options: &str| {
        fleet
            .run(&format!("update --json {options}"))
            .expect(0)
            .json()
    };
    let kept = |decided: bool| {
        serde_json::json!({
            "kept": [{"path": "/var/site/page", "own": "edited", "whole": false, "gone": false, "decided": decided}],
            "taken": [], "unused": [],
        })
    };
    let taken = serde_json::json!({"kept": [], "taken": ["/var/site/page"], "unused": []});
    assert_eq!(json("--dry-run")["var"], kept(false));
    let keep = "--keep-file /var/site/page";
    assert_eq!(json(&format!("--dry-run {keep}"))["var"], kept(true));
    let take = "--take-file /var/site";
    assert_eq!(json(&format!("--dry-run {take}"))["var"], taken);
    // What contradicts itself is refused, and what is named for nothing is told.
    fleet
        .run(&format!("update {take} {keep}"))
        .expect(2)
        .says(&["/var/site"]);
    fleet
        .run("update --dry-run --take-file /var/nothing")
        .expect(0)
        .shows("/var/nothing");
    assert_eq!(read(), "mine\n");
    assert_eq!(json(keep)["var"], kept(true));
    assert_eq!(
        (read().as_str(), fleet.page().as_str()),
        ("mine\n", "page 2\n")
    );
    publish_factory(&fleet, "3");
    fleet
        .run(&format!("update {take}"))
        .expect(0)
        .shows("/var/site/page is taken from the image");
    assert_eq!(read(), "page 3\n");
    fleet.machine.run("rollback --target target").expect(0);
    assert_eq!(
        (read().as_str(), fleet.page().as_str()),
        ("mine\n", "page 2\n")
    );
    // Whoever took it once decides again.
    fleet.run("update --again").expect(0);
    assert_eq!(read(), "mine\n");
    fleet.run(&format!("update --again {take}")).expect(0);
    assert_eq!(read(), "page 3\n");
}

#[test]
fn a_publisher_without_the_keys_hands_the_change_over_to_whoever_has_them() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let keys = fleet.dir().join("keys");
    let safe = fleet.dir().join("safe");
    std::fs::create_dir(&safe).unwrap();
    for entry in std::fs::read_dir(&keys).unwrap() {
        let name = entry.unwrap().file_name();
        if name.to_str().unwrap().starts_with("targets") {
            std::fs::rename(keys.join(&name), safe.join(&name)).unwrap();
        }
    }
    fleet.small.rebuild("2", b"page 2\n");
    let publish =
        "publish web --to ./remote --channel stable --with-layers --keys keys --root root.json";
    let refused = fleet.small.session.run(publish);
    assert_ne!(refused.status, 0, "{}", refused.transcript());
    refused.says(&["'targets'", "--pending"]);
    let handed = format!("{publish} --pending change.json");
    fleet
        .small
        .session
        .run(&handed)
        .expect(0)
        .shows("role 'targets' has 0 of 1 signatures");
    fleet.run("update").expect(0).shows("is already current");
    let sign = fleet
        .small
        .session
        .run("trust sign change.json --keys safe --root root.json");
    sign.expect(0);
    fleet
        .small
        .session
        .run("trust sign change.json --keys keys --root root.json --publish ./remote")
        .expect(0);
    fleet.run("update").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
    // The layer has a channel too, for other build servers.
    let pulled = fleet
        .machine
        .run("pull layers/site/stable --trust trust.toml --json")
        .expect(0)
        .json();
    assert_eq!(pulled["kind"], "layer");
    assert_eq!(pulled["parts"][0]["how"], "present");
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_dry_run_of_a_pull_prints_the_plan_and_changes_nothing() {
    let fleet = fleet();
    let pull = |options: &str| {
        let line = format!("pull web/stable --trust trust.toml {options}");
        fleet.machine.run(&line).expect(0)
    };
    let first = pull("--dry-run --json").json();
    assert_eq!(first["dry_run"], true, "{first}");
    assert_eq!(first["parts"][0]["how"], "packs", "{first}");
    assert!(first["bytes"].as_u64().unwrap() > 0, "{first}");
    let listed = fleet.machine.run("list --json").expect(0).json();
    assert_eq!(listed["images"].as_array().unwrap().len(), 0, "{listed}");
    let pulled = pull("--json").json();
    assert_eq!(pulled["parts"][0]["how"], "packs", "{pulled}");
    assert_eq!(pulled["id"], first["id"]);

    fleet.release("2", "");
    pull("--dry-run")
        .shows("release 2, ")
        .shows("; nothing was changed");
    let pulled = pull("--json").json();
    assert_eq!(pulled["serial"], 2, "{pulled}");
    pull("--dry-run").shows("would take 0 B in 0 requests");
}
