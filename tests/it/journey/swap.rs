//! The base is swapped under layers that were built on another one: what is kept, what is rebuilt, what is refused.

use std::fs;

use serde_json::Value;

use super::shared::{adopt_debs, world};
use super::world::{World, actions, layer_ids, text};
use crate::archive::UpdateArchive;

const DEBIAN: &str = "layers/debian/layer.toml";

/// Locks one layer of `recipes/web.toml` again.
fn lock(at: &World, layer: &str) {
    at.run(&format!("lock recipes/web.toml --update {layer}"))
        .expect(0);
}

/// Locks the base from an archive in which packages have moved, and returns what has.
pub(super) fn move_base(
    at: &World,
    name: &str,
    change: impl FnOnce(UpdateArchive) -> UpdateArchive,
) -> Vec<[String; 3]> {
    adopt_debs(at);
    let (sources, moved) = change(UpdateArchive::from(at.dir.path())).make(&at.path(name));
    let sources = sources.to_str().unwrap();
    at.run(&format!(
        "lock recipes/web.toml --update debian --apt-sources {sources}"
    ))
    .expect(0);
    moved
}

fn action(report: &Value, layer: &str) -> (String, String) {
    let layers = report["layers"].as_array().unwrap();
    let found = layers.iter().find(|l| l["name"] == layer).unwrap();
    (text(&found["action"]), text(&found["reason"]))
}

fn ids(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| text(&f["id"])).collect()
}

#[test]
fn a_moved_base_keeps_what_is_safe_and_rebuilds_what_is_built_from_it() {
    let Some(at) = world("a_moved_base_keeps_what_is_safe_and_rebuilds_what_is_built_from_it")
    else {
        return;
    };
    at.append(
        "layers/hello/layer.toml",
        "\n[rebuild]\nwhen = [\"usr/lib/x86_64-linux-gnu/libssl.so.3\"]\n",
    );
    let before = layer_ids(&at.build());
    at.run("deploy web --target t").expect(0);
    let moved = move_base(&at, "moved", |archive| archive.bump(&["libssl3t64"]));
    assert!(
        moved.iter().any(|[name, ..]| name == "libssl3t64"),
        "{moved:?}"
    );

    // Before anything is built, packages tell what would be built from what moves.
    let check = at.run("check recipes/web.toml --json");
    assert_eq!(check.status, 3, "{}", check.stderr);
    let foretold = [("debian", "build"), ("nginx", "keep"), ("hello", "rebuild")];
    assert_eq!(actions_foretold(&check.json()), foretold);

    // `update` follows the verdict too: the base changes, and takes along what must be rebuilt.
    let report = at.json("update debian --target t --recipe recipes/web.toml --locked --json");
    let build = &report["build"];
    let after = layer_ids(build);
    assert_ne!(after["debian"], before["debian"]);
    assert_eq!(after["nginx"], before["nginx"], "{build:#}");
    assert_ne!(after["hello"], before["hello"]);
    let (what, why) = action(build, "nginx");
    assert_eq!(what, "kept");
    assert!(why.starts_with("it is safe on debian "), "{why}");
    let (what, why) = action(build, "hello");
    assert_eq!(what, "built");
    assert!(why.contains("libssl.so.3"), "{why}");
    let hello = &build["layers"].as_array().unwrap()[2]["findings"][0];
    assert_eq!(
        hello["id"],
        "rebuild:hello:usr/lib/x86_64-linux-gnu/libssl.so.3"
    );
    assert_eq!(hello["severity"], "rebuild");

    // The machine runs it: programs of the kept layer with libraries of the new base.
    assert!(at.chroot(&["nginx", "-v"]).is_empty());
    let check = at.json("check web --json");
    assert_eq!(
        (&check["verdict"], ids(&check)),
        (&Value::from("safe"), vec![])
    );
    let again = at.build();
    let kept = actions(&again)
        .iter()
        .all(|(_, what, bytes)| what == "kept" && *bytes == 0);
    assert!(kept, "{again:#}");
    at.run("fsck").expect(0);
}

#[test]
fn a_base_of_which_every_package_moved_keeps_the_layers_above() {
    let Some(at) = world("a_base_of_which_every_package_moved_keeps_the_layers_above") else {
        return;
    };
    let before = layer_ids(&at.build());
    // An account of the base that has no fixed number is numbered by the table, whatever a package says.
    let moved = move_base(&at, "moved", |archive| {
        archive.bump_all().user("systemd", "systemd-network", 955)
    });
    let report = at.build();
    let after = layer_ids(&report);
    assert_ne!(after["debian"], before["debian"]);
    for layer in ["nginx", "hello"] {
        assert_eq!(action(&report, layer).0, "kept", "{report:#}");
        assert_eq!(after[layer], before[layer]);
    }
    assert_eq!(ids(&report), Vec::<String>::new());

    // What apt was given is what the machine has, by its own database, its programs and its files.
    at.run("deploy web --target t").expect(0);
    let lock = at.read("recipes/web.lock");
    let base = lock.split("[[layer]]").nth(1).unwrap();
    let installed = at.chroot(&["dpkg-query", "-W", "-f", "${Package} ${Version}\n"]);
    let mut seen = 0;
    for [name, old, new] in &moved {
        if base.contains(&format!("name = \"{name}\", version = \"{new}\"")) {
            assert!(
                installed.contains(&format!("{name} {new}\n")),
                "{name} {old} {new}"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, base.matches("{ name = ").count());
    let library = fs::read(at.path("t/layerset/current/root/usr/lib/x86_64-linux-gnu/libc.so.6"));
    let library = library.unwrap();
    let section = b".layerset.update";
    assert!(library.windows(section.len()).any(|piece| piece == section));
    for program in [
        &["nginx", "-v"][..],
        &["systemctl", "--version"],
        &["sort", "--version"],
    ] {
        at.chroot(program);
    }
    let passwd = at.current("etc/passwd");
    assert!(!passwd.contains(":955:"), "{passwd}");
}

/// Returns the layers of a forecast with what would become of them.
fn actions_foretold(report: &Value) -> Vec<(&str, &str)> {
    assert_eq!(report["forecast"], true);
    let layers = report["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| {
            (
                layer["name"].as_str().unwrap(),
                layer["action"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_base_without_a_package_that_a_layer_needs_asks_for_a_lock_and_then_builds() {
    let Some(at) =
        world("a_base_without_a_package_that_a_layer_needs_asks_for_a_lock_and_then_builds")
    else {
        return;
    };
    let packages = "packages = [\"ca-certificates\", \"dbus\", \"systemd\", \"systemd-sysv\"]";
    at.edit(DEBIAN, packages, &packages.replace(']', ", \"libxml2\"]"));
    fs::create_dir_all(at.path("layers/tool")).unwrap();
    at.write(
        "layers/tool/layer.toml",
        "on = [\"debian\"]\n\n[apt]\npackages = [\"libxml2-utils\"]\nrecommends = false\n",
    );
    at.edit(
        "recipes/web.toml",
        "\"nginx\", \"hello\"",
        "\"nginx\", \"hello\", \"tool\"",
    );
    adopt_debs(&at);
    at.run("lock recipes/web.toml").expect(0);
    let before = at.build();
    assert_eq!(ids(&before), Vec::<String>::new());

    // The library is there under another SONAME: its package fits, the program does not start.
    move_base(&at, "soname", |archive| archive.soname("libxml2"));
    let failed = at.run("build recipes/web.toml").expect(3);
    let failed = failed.says(&["[tool]", "/usr/bin/xmllint", "libxml2.so.2"]);
    assert!(!failed.stderr.contains("[nginx]"), "{}", failed.stderr);

    at.edit(DEBIAN, ", \"libxml2\"]", "]");
    lock(&at, "debian");
    let image = at.read("repo/refs/images/web");
    let failed = at.run("build recipes/web.toml");
    assert_eq!(failed.status, 3, "{}", failed.stderr);
    for expected in ["[tool]", "libxml2-utils", "needs libxml2", "--update tool"] {
        assert!(
            failed.stderr.contains(expected),
            "{expected}: {}",
            failed.stderr
        );
    }
    assert!(!failed.stderr.contains("[nginx]"), "{}", failed.stderr);
    assert_eq!(
        at.read("repo/refs/images/web"),
        image,
        "the image is as it was"
    );

    // The base is there, so that the set can be checked; every finding says what it is about.
    let check = at.run("check recipes/web.toml --json");
    assert_eq!(check.status, 3);
    let report = check.json();
    assert_eq!(report["verdict"], "rebuild-needed");
    let unmet = report["findings"].as_array().unwrap();
    let unmet = unmet
        .iter()
        .find(|f| f["package"] == "libxml2-utils")
        .unwrap();
    assert_eq!(
        (&unmet["layer"], &unmet["severity"]),
        (&Value::from("tool"), &Value::from("rebuild"))
    );
    let explained = at.run(&format!(
        "check recipes/web.toml --explain {}",
        text(&unmet["id"])
    ));
    assert!(
        explained.stdout.contains("[[waivers]]"),
        "{}",
        explained.stdout
    );

    lock(&at, "tool");
    let after = at.build();
    assert_eq!(layer_ids(&after)["nginx"], layer_ids(&before)["nginx"]);
    assert_eq!(action(&after, "tool").0, "built");
    at.run("deploy web --target t").expect(0);
    assert!(at.chroot(&["xmllint", "--version"]).is_empty());
}

#[test]
fn an_account_with_another_number_is_refused_until_somebody_accepts_it() {
    let Some(at) = world("an_account_with_another_number_is_refused_until_somebody_accepts_it")
    else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    let table = at.read("layers/ids.toml");
    let line = table
        .lines()
        .find(|line| line.starts_with("systemd-network"))
        .unwrap();
    assert_ne!(line, "systemd-network = 955");
    at.write(
        "layers/ids.toml",
        &table.replace(line, "systemd-network = 955"),
    );
    let failed = at.run("build recipes/web.toml");
    assert_eq!(failed.status, 3, "{}", failed.stderr);
    assert!(
        failed
            .stderr
            .contains("[debian] user 'systemd-network' had number"),
        "{}",
        failed.stderr
    );

    let waiver = |kind: &str, day: &str| {
        format!(
            "\n[[waivers]]\nfinding = \"renumber:{kind}:systemd-network\"\nreason = \"owns nothing\"\nexpires = {day}\n"
        )
    };
    let recipe = at.read("recipes/web.toml");
    at.append(
        "recipes/web.toml",
        &(waiver("user", "2020-01-01") + &waiver("group", "2020-01-01")),
    );
    let failed = at.run("build recipes/web.toml");
    assert_eq!(failed.status, 3, "a waiver that has expired is not applied");
    // An image that was built without the waiver cannot reach the machine either.
    at.write(
        "recipes/web.toml",
        &(recipe + &waiver("user", "2999-01-01") + &waiver("group", "2999-01-01")),
    );
    let report = at.build();
    let waived = report["findings"].as_array().unwrap();
    assert!(
        waived
            .iter()
            .any(|f| f["waived"] == "owns nothing (until 2999-01-01)"),
        "{report:#}"
    );
    let image = at.run("show web --json").expect(0).json();
    assert_eq!(image["waivers"].as_array().unwrap().len(), 2, "{image:#}");
    at.run("deploy web --target t").expect(0);
}
