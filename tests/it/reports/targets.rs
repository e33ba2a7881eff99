//! What becomes of a machine's own files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::scene::Scene;
use super::{Report, hold};
use crate::support::is_root;

#[test]
fn what_was_reported_of_files_on_machines_is_not_so_here() {
    if is_root("what_was_reported_of_files_on_machines_is_not_so_here") {
        hold(REPORTS);
    }
}

const CONF: &str = "etc/app.conf";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Returns what others may write below a directory, links and mounts aside.
fn open_to_all(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode();
        if !meta.is_symlink() && mode & 0o002 != 0 && mode & 0o1000 == 0 {
            found.push(path.display().to_string());
        }
        if meta.is_dir() {
            open_to_all(&path, found);
        }
    }
}

pub const REPORTS: &[Report] = &[
    Report {
        source: "coreos/rpm-ostree#40",
        said: "Edits in /etc between staging and switching were lost.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.image("two", &[]);
            scene.run("deploy two --stage-only").expect(0);
            scene.edit("etc/hand", "made by hand\n");
            scene.run("deploy two").expect(0);
            assert_eq!(
                (scene.version(), scene.read("etc/hand")),
                ("two".into(), "made by hand\n".into())
            );
        },
    },
    Report {
        source: "blue-build/legacy-template#28",
        said: "A file of /etc that the image changes and nobody edited stays as it was.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[(CONF, "f new\n")]);
            assert_eq!(scene.read(CONF), "new\n");
        },
    },
    Report {
        source: "ostreedev/ostree#545",
        said: "A file of /etc that the admin removed ends the update, or comes back.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            std::fs::remove_file(scene.current(CONF)).unwrap();
            scene.deployed("two", &[]);
            assert_eq!(scene.version(), "two");
            assert!(!scene.current(CONF).exists());
        },
    },
    Report {
        source: "coreos/fedora-coreos-tracker#1589",
        said: "Once a file of /etc was edited there is no way to say that the image's is wanted.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.edit(CONF, "one\nby hand\nthree\nfour\nfive\n");
            scene.image("two", &[(CONF, "f one\nby image\nthree\nfour\nfive\n")]);
            let refused = scene.run("deploy two").expect(3);
            assert!(
                refused.stderr.contains("--take-file"),
                "{}",
                refused.transcript()
            );
            scene.run("deploy two --take-file /etc/app.conf").expect(0);
            assert_eq!(scene.read(CONF), "one\nby image\nthree\nfour\nfive\n");
        },
    },
    Report {
        source: "coreos/rpm-ostree#2440",
        said: "Accounts of the machine were lost because the image's own had changed.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            let passwd = scene.read("etc/passwd");
            scene.edit(
                "etc/passwd",
                &format!("{passwd}anna:x:1000:1000::/home/anna:/bin/sh\n"),
            );
            let changed = format!("f {passwd}daemon:x:34:34::/:/bin/false\n");
            scene.deployed("two", &[("etc/passwd", &changed)]);
            let merged = scene.read("etc/passwd");
            assert!(
                merged.contains("anna:") && merged.contains("daemon:"),
                "{merged}"
            );
        },
    },
    Report {
        source: "ostreedev/ostree#1808",
        said: "Nothing says how to have the earlier deployment back as it was, with its own /etc.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.edit("etc/hand", "of one\n");
            scene.deployed("two", &[]);
            scene.edit("etc/hand", "of two\n");
            scene.run("rollback").expect(0);
            assert_eq!(scene.read("etc/hand"), "of one\n");
        },
    },
    Report {
        source: "ublue-os/uupd#152",
        said: "An update made by a timer loses what the admin changed in /etc before the reboot, and nobody notices.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.image("two", &[]);
            scene.run("deploy two --stage-only").expect(0);
            scene.edit(CONF, "one\ntwo\nby hand\nfour\nfive\n");
            // Whoever switches to what was merged before the edit is told, or the edit comes along.
            let ran = scene.run("deploy two");
            assert!(
                ran.status != 0 || scene.read(CONF).contains("by hand"),
                "{}",
                ran.transcript()
            );
        },
    },
    Report {
        source: "systemd/mkosi#2216",
        said: "The root of the image has the mode of some directory of the person who built it, and services fail.",
        case: || {
            let scene = Scene::new();
            scene.image("one", &[]);
            scene.run_under("077", "deploy one --copy").expect(0);
            for path in ["", "usr", "etc", "var"] {
                assert_eq!(mode(&scene.current(path)), 0o755, "/{path}");
            }
        },
    },
    Report {
        source: "systemd/mkosi#699",
        said: "With a umask of 000, files that the tool makes are writable by everybody.",
        case: || {
            let scene = Scene::new();
            scene.image("one", &[]);
            scene.run_under("000", "deploy one --copy").expect(0);
            let mut found = Vec::new();
            open_to_all(&scene.at(""), &mut found);
            assert!(found.is_empty(), "{found:?}");
        },
    },
    Report {
        source: "systemd/mkosi#253",
        said: "The root of an image is writable by everybody, depending on the distribution.",
        case: || {
            let scene = Scene::new();
            scene.image("one", &[]);
            scene.run_under("000", "deploy one").expect(0);
            assert_eq!(mode(&scene.current("")), 0o755);
        },
    },
    Report {
        source: "coreos/rpm-ostree#1538",
        said: "On a machine that is none of its own, the tool gives errors that say nothing.",
        case: || {
            let scene = Scene::new();
            for line in ["status", "rollback", "history"] {
                let ran = scene.run(line);
                assert_ne!(ran.status, 0, "{}", ran.transcript());
                assert!(ran.stderr.contains("target"), "{}", ran.transcript());
            }
        },
    },
];
