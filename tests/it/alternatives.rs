//! Compares the links that are derived of alternatives with those that update-alternatives makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use layerset::merge::derive::alternatives::derive;
use layerset::tree::view::{ImageView as _, ViewNode};

use crate::debian::{OwnDebian, run};
use crate::dirview::DirView;

const DATABASE: &str = "/usr/lib/sysimage/var/lib/dpkg/alternatives";

/// Runs the root's own program on the database where images have it.
fn update(root: &Path, arguments: &[&str]) {
    let all = [&["--admindir", DATABASE], arguments].concat();
    let output = run(root, "update-alternatives", &all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Adds a program of the group `tool`; `page` says whether it has a manual page.
fn install(root: &Path, name: &str, priority: &str, page: bool) {
    let (path, manual) = (format!("/opt/{name}"), format!("/opt/{name}.1"));
    let mut arguments = vec!["--install", "/usr/bin/tool", "tool", &path, priority];
    if page {
        let slave = ["--slave", "/usr/share/tool.1", "tool.1", &manual];
        arguments.extend(slave);
    }
    update(root, &arguments);
}

/// Returns what stands at each link of the group.
fn links(view: &DirView) -> BTreeMap<Vec<u8>, Option<ViewNode>> {
    let inner = ["etc/alternatives/tool", "etc/alternatives/tool.1"];
    let paths = inner
        .into_iter()
        .chain(["usr/bin/tool", "usr/share/tool.1"]);
    let at = |path: &str| (path.into(), view.node(path.as_bytes()));
    paths.map(at).collect()
}

/// Derives the links of the root as its files are, and compares them with those that the program
/// leaves when it looks at the group the next time.
fn check(root: &Path, what: &str, next: &[&str]) {
    let view = DirView(root.to_owned());
    let found = derive(&view).unwrap();
    let mut derived = links(&view);
    for path in &found.absent {
        derived.insert(path.clone(), None);
    }
    for link in &found.links {
        derived.insert(
            link.path.clone(),
            Some(ViewNode::Symlink(link.target.clone())),
        );
    }
    update(root, next);
    assert_eq!(derived, links(&view), "{what}");
}

#[test]
fn derived_links_are_those_that_update_alternatives_makes_in_either_mode() {
    let test = "derived_links_are_those_that_update_alternatives_makes_in_either_mode";
    let Some(debian) = OwnDebian::new(test) else {
        return;
    };
    let root = debian.root();
    fs::create_dir_all(root.join(&DATABASE[1..])).unwrap();
    for name in ["a", "a.1", "b", "c", "c.1", "own"] {
        fs::write(root.join("opt").join(name), name).unwrap();
    }
    let again = ["--install", "/usr/bin/tool", "tool", "/opt/a", "10"];
    let again = [
        &again[..],
        &["--slave", "/usr/share/tool.1", "tool.1", "/opt/a.1"],
    ]
    .concat();
    install(&root, "a", "10", true);
    install(&root, "b", "20", false);
    install(&root, "c", "5", true);
    check(&root, "the highest priority", &again);
    for name in ["a", "b", "c"] {
        update(&root, &["--set", "tool", &format!("/opt/{name}")]);
        // As a layer carries it: the chosen link alone.
        for derived in [
            "usr/bin/tool",
            "usr/share/tool.1",
            "etc/alternatives/tool.1",
        ] {
            let _ = fs::remove_file(root.join(derived));
        }
        check(&root, &format!("{name} by hand"), &again);
    }
    // By hand, c; then its page goes, and then itself.
    fs::remove_file(root.join("opt/c.1")).unwrap();
    check(&root, "c without a page", &["--set", "tool", "/opt/c"]);
    fs::remove_file(root.join("opt/c")).unwrap();
    check(&root, "c is gone", &again);
    // A link that somebody made, to what is no choice.
    update(&root, &["--set", "tool", "/opt/a"]);
    fs::remove_file(root.join("etc/alternatives/tool")).unwrap();
    symlink("/opt/own", root.join("etc/alternatives/tool")).unwrap();
    check(&root, "no choice of the group", &again);
    // No link at all.
    fs::remove_file(root.join("etc/alternatives/tool")).unwrap();
    check(&root, "nothing chosen", &again);
    update(&root, &["--set", "tool", "/opt/a"]);
    update(&root, &["--auto", "tool"]);
    check(&root, "automatic again", &again);
}
