//! Keeping contents, seeing damage, making room.

use super::{Report, hold};
use crate::cli::fixture::{Small, open, small};

#[test]
fn what_was_reported_of_stores_is_not_so_here() {
    hold(REPORTS);
}

fn damage(at: &Small, what: &str) {
    let file = at.file(what);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    // Contents are read-only.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
}

fn damaged(at: &Small) -> Vec<serde_json::Value> {
    let report = at.session.run("fsck --json").expect(4).json();
    report["damaged"].as_array().unwrap().clone()
}

/// Counts the files of the repository.
fn count(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

pub const REPORTS: &[Report] = &[
    Report {
        source: "ostreedev/ostree#1591",
        said: "The check stops at the first thing that is damaged.",
        case: || {
            let at = small();
            damage(&at, "object");
            damage(&at, "changeset");
            assert!(damaged(&at).len() >= 2, "{:?}", damaged(&at));
        },
    },
    Report {
        source: "ostreedev/ostree#2522",
        said: "The check counts what is damaged, and does not say what uses it.",
        case: || {
            let at = small();
            damage(&at, "object");
            let found = damaged(&at);
            let used_by = found[0]["used_by"].to_string();
            assert!(used_by.contains("image web"), "{used_by}");
        },
    },
    Report {
        source: "folbricht/desync#92",
        said: "Nothing says beforehand that a store lacks what an index names.",
        case: || {
            let at = small();
            std::fs::remove_file(at.file("object")).unwrap();
            let found = damaged(&at);
            assert!(
                found[0]["damage"].to_string().contains("missing"),
                "{found:?}"
            );
        },
    },
    Report {
        source: "folbricht/desync#37",
        said: "A damaged chunk ends up in the file that is made of it.",
        case: || {
            let at = small();
            damage(&at, "object");
            let refused = at
                .session
                .run("deploy web --target target --copy")
                .expect(4);
            assert!(
                refused.stderr.contains("srv/page.html"),
                "{}",
                refused.transcript()
            );
            assert!(!at.dir.path().join("target/layerset/current").exists());
        },
    },
    Report {
        source: "coreos/rpm-ostree#4740",
        said: "The check itself removed things, and what used them broke.",
        case: || {
            let at = small();
            damage(&at, "object");
            let before = count(&at.repo().join("objects"));
            damaged(&at);
            assert_eq!(count(&at.repo().join("objects")), before);
            at.session.run("list").expect(0);
        },
    },
    Report {
        source: "NixOS/nix#575",
        said: "Garbage has to be collected twice until all of it is gone.",
        case: || {
            let at = small();
            at.rebuild("2", b"another page\n");
            at.session.run("gc").expect(0);
            let left = at.session.run("gc --dry-run --json").expect(0).json();
            assert_eq!(left["bytes"], 0, "{left}");
        },
    },
    Report {
        source: "NixOS/nix#5015",
        said: "One odd name in the store, and nothing is collected any more.",
        case: || {
            let at = small();
            for odd in ["objects/zz", "objects/00", "trees"] {
                let dir = at.repo().join(odd);
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(dir.join("-"), "odd").unwrap();
            }
            at.session.run("gc").expect(0);
            at.session.run("list").expect(0);
        },
    },
    Report {
        source: "NixOS/nix#2226",
        said: "What an interrupted collection left behind stays for ever, and takes room.",
        case: || {
            let at = small();
            let left = at.repo().join("tmp/left-behind");
            std::fs::create_dir_all(&left).unwrap();
            std::fs::write(left.join("file"), "x").unwrap();
            at.session.run("gc").expect(0);
            assert!(!left.exists());
        },
    },
    Report {
        source: "NixOS/nix#3362",
        said: "The lock of a process that is gone stops every later one.",
        case: || {
            let at = small();
            std::fs::write(at.repo().join("lock"), "999999 layerset gc\n").unwrap();
            at.session.run("gc --lock-timeout 5").expect(0);
        },
    },
    Report {
        source: "NixOS/nix#6757",
        said: "Collecting garbage beside a build takes what the build has just made.",
        case: || {
            let at = small();
            let busy = open(&at.repo());
            let refused = at.session.run("gc --lock-timeout 0").expect(1);
            assert!(refused.stderr.contains("hint:"), "{}", refused.transcript());
            drop(busy);
            at.session.run("gc --lock-timeout 60").expect(0);
        },
    },
    Report {
        source: "coreos/scripts#504",
        said: "A path with a space in it ends the work in the middle, and success is reported all the same.",
        case: || {
            let at = small();
            let odd = at.dir.path().join("my images, é & 'x'");
            std::fs::create_dir(&odd).unwrap();
            let repo = odd.join("re po");
            std::fs::rename(at.repo(), &repo).unwrap();
            let target = odd.join("tar get");
            let words = [
                "--repo",
                repo.to_str().unwrap(),
                "deploy",
                "web",
                "--copy",
                "--target",
            ];
            let words = words.into_iter().chain([target.to_str().unwrap()]);
            at.session.run_words(&words.collect::<Vec<_>>()).expect(0);
            let page = target.join("layerset/current/root/srv/page.html");
            assert_eq!(std::fs::read(page).unwrap(), crate::cli::fixture::PAGE);
        },
    },
];
