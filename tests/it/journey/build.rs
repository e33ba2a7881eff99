//! Builds that go well: what is kept, what is built, and that it comes out the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::shared::{adopt_debs, keep_debs, world};
use super::world::{PAGE, World, actions, ends_within, layer_ids, row, text};
use crate::support::PATIENCE;

#[test]
fn a_build_without_a_change_keeps_every_layer_and_writes_nothing() {
    let Some(at) = world("a_build_without_a_change_keeps_every_layer_and_writes_nothing") else {
        return;
    };
    let before = ["repo", "layers", "recipes"].map(|name| at.stamps(name));
    let report = at.build();
    let kept = ["debian", "nginx", "hello"].map(|name| row(name, "kept", 0));
    assert_eq!(actions(&report), kept);
    assert_eq!(report["changed"], false);
    assert_eq!(report["image_bytes_written"], 0);
    before.iter().for_each(|before| at.is_untouched(before));
}

#[test]
fn changing_one_file_of_a_layer_builds_that_layer_only() {
    let Some(at) = world("changing_one_file_of_a_layer_builds_that_layer_only") else {
        return;
    };
    let before = at.stamps("repo/objects");
    at.edit(PAGE, "version 1", "version 2");
    let report = at.build();
    let done = actions(&report);
    assert_eq!(
        done[..2],
        [row("debian", "kept", 0), row("nginx", "kept", 0)]
    );
    assert_eq!((done[2].0.as_str(), done[2].1.as_str()), ("hello", "built"));
    assert!((1..100_000).contains(&done[2].2), "{} bytes", done[2].2);
    let reason = text(&report["layers"][2]["reason"]);
    assert!(reason.contains("usr/share/hello/page.html"), "{reason}");
    // The page is the one new file of contents; the files of what lies below are neither written nor touched.
    let touched = at.touched(&before);
    assert_eq!(touched.len(), 1, "{touched:?}");
    assert_eq!(fs::read_to_string(&touched[0]).unwrap(), at.read(PAGE));
    at.is_clean();
    assert_eq!(actions(&at.build())[2], row("hello", "kept", 0));
}

#[test]
fn every_layer_comes_out_the_same_twice_and_what_does_not_is_named() {
    let Some(at) = world("every_layer_comes_out_the_same_twice_and_what_does_not_is_named") else {
        return;
    };
    fs::create_dir(at.path("layers/noise")).unwrap();
    at.write(
        "layers/noise/layer.toml",
        "version = \"1\"\non = [\"debian\"]\n\n[run]\nscripts = [\"setup.sh\"]\n",
    );
    let script = "cat /proc/sys/kernel/random/uuid > /usr/share/noise\n";
    at.write("layers/noise/setup.sh", script);
    at.edit("recipes/web.toml", "\"hello\"]", "\"hello\", \"noise\"]");
    // It has no packages, as hello has none: nothing needs to be resolved.
    let lock = at.read("recipes/web.lock");
    let (_, hello) = lock.rsplit_once("[[layer]]").unwrap();
    let noise = format!("\n[[layer]]{}", hello.replace("\"hello\"", "\"noise\""));
    at.append("recipes/web.lock", &noise);

    let ran = at
        .run("build recipes/web.toml --verify-reproducible")
        .expect(3);
    assert!(
        ran.stdout.starts_with("noise differs in 1 path"),
        "{}",
        ran.transcript()
    );
    assert!(
        ran.stdout.contains("\n  /usr/share/noise: "),
        "{}",
        ran.transcript()
    );
    // Debian, nginx and hello came out the same.
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.transcript());
    at.is_clean();
}

#[test]
fn scripts_are_run_by_what_their_first_lines_name_and_it_is_said() {
    let Some(at) = world("scripts_are_run_by_what_their_first_lines_name_and_it_is_said") else {
        return;
    };
    fs::create_dir(at.path("layers/noise")).unwrap();
    let definition = "version = \"1\"\non = [\"debian\"]\n\n[run]\nscripts = [\"perl\", \"plain.sh\", \"own\"]\n";
    at.write("layers/noise/layer.toml", definition);
    // A shell would call `open` and fail; perl does not know `set`.
    let perl = "#!/usr/bin/perl -w\nopen(my $f, '>', '/usr/share/by-perl') or die;\nprint $f \"$^W\\n\";\n";
    at.write("layers/noise/perl", perl);
    at.write(
        "layers/noise/plain.sh",
        "set -- a\necho $1 > /usr/share/by-shell\n",
    );
    at.write(
        "layers/noise/own",
        "#!/bin/sh\necho x > /usr/share/by-itself\n",
    );
    fs::set_permissions(at.path("layers/noise/own"), Permissions::from_mode(0o755)).unwrap();
    at.edit("recipes/web.toml", "\"hello\"]", "\"hello\", \"noise\"]");
    let lock = at.read("recipes/web.lock");
    let (_, hello) = lock.rsplit_once("[[layer]]").unwrap();
    let noise = format!("\n[[layer]]{}", hello.replace("\"hello\"", "\"noise\""));
    at.append("recipes/web.lock", &noise);

    let ran = at.run("build recipes/web.toml").expect(0);
    let said = ran.transcript();
    for told in [
        "'perl' has no run bit: it was run by `/usr/bin/perl -w`, which its first line names",
        "'plain.sh' has no run bit: it was run by `/bin/sh -e`",
    ] {
        assert!(said.contains(told), "{said}");
    }
    assert!(!said.contains("'own'"), "{said}");
    let made = dump(&at, "images/web");
    for path in ["by-perl", "by-shell", "by-itself"] {
        assert!(made.contains_key(&format!("/usr/share/{path}")), "{path}");
    }

    // What nothing explains is refused before anything is built.
    at.write("layers/noise/perl", &perl.replacen("#!", "# ", 1));
    let said = at.run("build recipes/web.toml").expect(1).stderr;
    let told = "layers/noise/layer.toml:5:12: 'layers/noise/perl' has no run bit, and nothing says what runs it";
    assert!(
        said.contains(told) && said.contains("chmod +x layers/noise/perl"),
        "{said}"
    );
    // What the image lacks is named: the kernel would say that the script is not there.
    for mode in [0o644, 0o755] {
        at.write("layers/noise/perl", "#!/usr/bin/python3\nprint()\n");
        fs::set_permissions(at.path("layers/noise/perl"), Permissions::from_mode(mode)).unwrap();
        let said = at.run("build recipes/web.toml").expect(1).stderr;
        let told = "layer 'noise': 'perl' is run by '/usr/bin/python3', which the layers below do not have";
        assert!(said.contains(told), "{said}");
    }
    at.is_clean();
}

/// Returns a tree's lines by path.
fn dump(at: &World, image: &str) -> BTreeMap<String, String> {
    let dumped = at.run(&format!("show {image} --dump")).expect(0).stdout;
    let lines = dumped.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(path, facts)| (path.to_owned(), facts.to_owned()))
        .collect()
}

/// Files whose records stand in the order in which the layers brought them, which means nothing to who reads them.
const ORDERED_BY_LAYER: [&str; 5] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/usr/lib/sysimage/var/lib/apt/extended_states",
];

/// Returns what a line of a dump says but for the time.
fn without_time(facts: &str) -> String {
    let mut words: Vec<&str> = facts.split(' ').collect();
    words.remove(4);
    words.join(" ")
}

/// Returns the records of a file, in no order: paragraphs, or lines where there are none; and its other facts
/// without its time.
fn records(at: &World, facts: &str) -> (String, BTreeSet<String>) {
    let mut words: Vec<&str> = facts.split(' ').collect();
    let object = words.remove(5);
    words.remove(4);
    let contents = at.session.run_words(&["show", object]).expect(0).stdout;
    let separator = if contents.contains("\n\n") {
        "\n\n"
    } else {
        "\n"
    };
    let records = contents
        .split(separator)
        .map(|record| record.trim_end().to_owned());
    (words.join(" "), records.collect())
}

#[test]
fn siblings_compose_to_one_tree_in_both_orders() {
    let Some(at) = world("siblings_compose_to_one_tree_in_both_orders") else {
        return;
    };
    // Both add to the package database, users or groups, and libraries; neither knows of the other.
    for (layer, packages) in [
        ("clock", "\"cron\", \"logrotate\", \"nano\""),
        ("names", "\"uuid-runtime\", \"tcpdump\", \"vim-tiny\""),
    ] {
        let dir = format!("layers/{layer}");
        fs::create_dir(at.path(&dir)).unwrap();
        at.write(
            &format!("{dir}/layer.toml"),
            &format!("on = [\"debian\"]\n\n[apt]\npackages = [{packages}]\n"),
        );
    }
    for (recipe, order) in [
        ("ab", "\"clock\", \"names\""),
        ("ba", "\"names\", \"clock\""),
    ] {
        at.write(
            &format!("recipes/{recipe}.toml"),
            &format!("architecture = \"amd64\"\nlayers = [\"debian\", {order}]\n"),
        );
    }
    adopt_debs(&at);
    at.run("lock recipes/ab.toml").expect(0);
    at.run("lock recipes/ba.toml").expect(0);
    keep_debs(&at.path("repo"));
    let ab = at.json("build recipes/ab.toml --json");
    let ba = at.json("build recipes/ba.toml --json");
    assert_eq!(
        actions(&ab).iter().filter(|l| l.1 == "built").count(),
        2,
        "{ab}"
    );
    assert_eq!(
        actions(&ba).iter().filter(|l| l.1 == "built").count(),
        0,
        "{ba}"
    );
    assert_eq!(layer_ids(&ab), layer_ids(&ba));

    let (left, right) = (dump(&at, "ab"), dump(&at, "ba"));
    let changed = ["clock", "names"].map(|name| {
        let layer = at
            .session
            .run_words(&["show", "--json", &layer_ids(&ab)[name]]);
        let changes = dump(&at, &text(&layer.expect(0).json()["changeset"]));
        let paths = changes
            .keys()
            .map(|path| path.trim_start_matches(['+', '-', '~']).to_owned());
        paths.collect::<BTreeSet<String>>()
    });
    let paths: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for path in paths {
        let (left, right) = (left.get(path), right.get(path));
        if left != right {
            // What both change has the time of the layer that came last, and each layer has its own.
            let is_merged = changed.iter().all(|paths| paths.contains(path));
            let facts = [left, right].map(|facts| facts.map(|facts| without_time(facts)));
            if is_merged && facts[0] == facts[1] {
                continue;
            }
            assert!(
                ORDERED_BY_LAYER.contains(&path.as_str()),
                "{path}\n  {left:?}\n  {right:?}"
            );
            assert_eq!(
                records(&at, left.unwrap()),
                records(&at, right.unwrap()),
                "{path}"
            );
        }
    }
    // A decision in a layer above both is content, and stands.
    fs::create_dir(at.path("layers/pick")).unwrap();
    at.write(
        "layers/pick/layer.toml",
        "on = [\"clock\", \"names\"]\n\n[run]\nscripts = [\"pick.sh\"]\n",
    );
    at.write(
        "layers/pick/pick.sh",
        "update-alternatives --set editor /usr/bin/vim.tiny\n",
    );
    at.write(
        "recipes/pick.toml",
        "architecture = \"amd64\"\nlayers = [\"debian\", \"clock\", \"names\", \"pick\"]\n",
    );
    at.run("lock recipes/pick.toml").expect(0);
    at.json("build recipes/pick.toml --json");
    let picked = &dump(&at, "pick")["/etc/alternatives/editor"];
    assert!(picked.contains("/usr/bin/vim.tiny"), "{picked}");

    // Both are editors: which one `editor` is follows from their merged priorities, not from the order.
    assert!(
        left["/etc/alternatives/editor"].contains("/bin/nano"),
        "{}",
        left["/etc/alternatives/editor"]
    );
    for path in [
        "/usr/bin/editor",
        "/usr/bin/vi",
        "/usr/sbin/cron",
        "/usr/sbin/uuidd",
        "/usr/bin/tcpdump",
    ] {
        assert!(left.contains_key(path), "{path}");
    }
}

#[test]
fn two_builds_at_once_both_succeed() {
    let Some(at) = world("two_builds_at_once_both_succeed") else {
        return;
    };
    at.forget("nginx");
    at.edit(PAGE, "version 1", "version 2");
    let line = "build recipes/web.toml --json";
    let children = [at.spawn(line), at.spawn(line)];
    let reports = children.map(|child| {
        let output = ends_within(child, 3 * PATIENCE);
        at.session.ran(line, output).expect(0).json()
    });
    assert_eq!(reports[0]["image"], reports[1]["image"]);
    assert_eq!(layer_ids(&reports[0]), layer_ids(&reports[1]));
    at.is_clean();
    at.run("fsck").expect(0);
}

#[test]
fn a_kept_layer_that_no_longer_merges_is_built_again() {
    let Some(at) = world("a_kept_layer_that_no_longer_merges_is_built_again") else {
        return;
    };
    fs::create_dir_all(at.path("layers/paint/files/etc")).unwrap();
    at.write("layers/paint/layer.toml", "on = [\"debian\"]\n\n[files]\n");
    at.write(
        "layers/paint/files/etc/paint.conf",
        "colour = red\n\n\n\ncoats = 1\n",
    );
    fs::create_dir_all(at.path("layers/check")).unwrap();
    at.write(
        "layers/check/layer.toml",
        "on = [\"paint\"]\n\n[run]\nscripts = [\"check.sh\"]\n",
    );
    at.write(
        "layers/check/check.sh",
        "sed -i '1s/$/ # checked/' /etc/paint.conf\n",
    );
    at.write(
        "recipes/paint.toml",
        "architecture = \"amd64\"\nlayers = [\"debian\", \"paint\", \"check\"]\n",
    );
    adopt_debs(&at);
    at.run("lock recipes/paint.toml").expect(0);
    at.json("build recipes/paint.toml --json");
    let contents = || {
        let line = dump(&at, "paint")["/etc/paint.conf"].clone();
        let object = line
            .split(' ')
            .find(|word| word.starts_with("b3:"))
            .unwrap()
            .to_owned();
        at.run(&format!("show {object}")).expect(0).stdout
    };
    assert_eq!(contents(), "colour = red # checked\n\n\n\ncoats = 1\n");

    // Elsewhere in the file, both changes merge, and the upper layer is kept.
    at.write(
        "layers/paint/files/etc/paint.conf",
        "colour = red\n\n\n\ncoats = 2\n",
    );
    let report = at.json("build recipes/paint.toml --json");
    let action = |report: &Value, name: &str| {
        let layers = report["layers"].as_array().unwrap();
        let layer = layers.iter().find(|layer| layer["name"] == name).unwrap();
        (text(&layer["action"]), text(&layer["reason"]))
    };
    assert_eq!(action(&report, "check").0, "kept", "{report}");
    assert_eq!(contents(), "colour = red # checked\n\n\n\ncoats = 2\n");

    // In the same line they do not, and the upper layer is built on what is there now.
    at.write(
        "layers/paint/files/etc/paint.conf",
        "colour = blue\n\n\n\ncoats = 2\n",
    );
    let report = at.json("build recipes/paint.toml --json");
    let (what, why) = action(&report, "check");
    assert_eq!(what, "built", "{report}");
    assert!(
        why.contains("must be rebuilt") && why.contains("/etc/paint.conf"),
        "{why}"
    );
    assert_eq!(contents(), "colour = blue # checked\n\n\n\ncoats = 2\n");
    at.is_clean();
}
