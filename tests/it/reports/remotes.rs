//! Publishing and pulling.

use std::path::{Path, PathBuf};

use super::{Report, hold};
use crate::cli::fixture::{Small, small};
use crate::session::{Ran, Session};
use crate::support::is_root;

#[test]
fn what_was_reported_of_remotes_is_not_so_here() {
    if is_root("what_was_reported_of_remotes_is_not_so_here") {
        hold(REPORTS);
    }
}

/// A publisher with a remote in a directory, and a machine that trusts it.
struct Fleet {
    small: Small,
    machine: Session,
}

impl Fleet {
    fn new() -> Self {
        let small = small();
        let dir = small.dir.path().to_owned();
        let trust = "[[remote]]\nname = \"main\"\nlocation = \"./remote\"\nroot = \"root.json\"\n";
        std::fs::write(dir.join("trust.toml"), trust).unwrap();
        let machine = Session::new(&dir, &dir.join("machine"));
        machine.run("init").expect(0);
        let line = "trust init ./remote --keys keys --root root.json";
        small.session.run(line).expect(0);
        let fleet = Self { small, machine };
        fleet.publish();
        fleet
    }

    fn dir(&self) -> &Path {
        self.small.dir.path()
    }

    fn publish(&self) {
        let line = "publish web --to ./remote --channel stable --keys keys --root root.json";
        self.small.session.run(line).expect(0);
    }

    fn release(&self, page: &str) {
        self.small.rebuild(page, page.as_bytes());
        self.publish();
    }

    fn pull(&self) -> Ran {
        self.machine.run("pull web/stable --trust trust.toml")
    }

    fn deploy(&self) {
        let line = "deploy --channel web/stable --copy --trust trust.toml --target target";
        self.machine.run(line).expect(0);
    }

    fn update(&self) -> Ran {
        self.machine
            .run("update --trust trust.toml --target target")
    }

    fn page(&self) -> String {
        let page = "target/layerset/current/root/srv/page.html";
        std::fs::read_to_string(self.dir().join(page)).unwrap()
    }

    /// Returns the blobs of the remote.
    fn blobs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir().join("remote/blobs/sha256")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Takes the blobs away that are not among `before`, and returns what puts them back.
    fn without_new(&self, before: &[PathBuf]) -> impl FnOnce() + use<> {
        let new: Vec<PathBuf> = self
            .blobs()
            .into_iter()
            .filter(|blob| !before.contains(blob))
            .collect();
        assert!(!new.is_empty());
        let aside = |blob: &PathBuf| self.dir().join(blob.file_name().unwrap());
        let moved: Vec<(PathBuf, PathBuf)> =
            new.iter().map(|blob| (blob.clone(), aside(blob))).collect();
        for (from, to) in &moved {
            std::fs::rename(from, to).unwrap();
        }
        move || {
            for (from, to) in moved {
                std::fs::rename(to, from).unwrap();
            }
        }
    }
}

pub const REPORTS: &[Report] = &[
    Report {
        source: "rauc/meta-rauc#235",
        said: "A bundle that was not written whole gives an error about an absurd size.",
        case: || {
            let fleet = Fleet::new();
            let head = fleet.dir().join("remote/head");
            let bytes = std::fs::read(&head).unwrap();
            std::fs::write(&head, &bytes[..bytes.len() / 2]).unwrap();
            let refused = fleet.pull();
            assert_ne!(refused.status, 0);
            assert!(
                refused.stderr.contains("remote"),
                "{}",
                refused.transcript()
            );
            fleet.machine.run("fsck").expect(0);
        },
    },
    Report {
        source: "rauc/rauc#544",
        said: "Without the keys that are trusted the tool ends with an assertion of its own.",
        case: || {
            let fleet = Fleet::new();
            std::fs::remove_file(fleet.dir().join("trust.toml")).unwrap();
            let refused = fleet.pull().expect(1);
            assert!(
                refused.stderr.contains("[[remote]]"),
                "{}",
                refused.transcript()
            );
        },
    },
    Report {
        source: "systemd/casync#250",
        said: "It says that there is no such file or directory, and not which.",
        case: || {
            let fleet = Fleet::new();
            std::fs::rename(fleet.dir().join("remote"), fleet.dir().join("elsewhere")).unwrap();
            let refused = fleet.pull();
            assert_ne!(refused.status, 0);
            assert!(
                refused.stderr.contains("remote'"),
                "{}",
                refused.transcript()
            );
        },
    },
    Report {
        source: "ostreedev/ostree#1321",
        said: "Pulling what is there already is an error.",
        case: || {
            let fleet = Fleet::new();
            fleet.pull().expect(0);
            fleet.pull().expect(0);
        },
    },
    Report {
        source: "ostreedev/ostree#2435",
        said: "After a pull that was broken off everything counts as there, and deploying says that files are missing.",
        case: || {
            let fleet = Fleet::new();
            let restore = fleet.without_new(&[]);
            let refused = fleet.pull();
            assert_ne!(refused.status, 0, "{}", refused.transcript());
            restore();
            fleet.pull().expect(0);
            fleet.machine.run("fsck").expect(0);
        },
    },
    Report {
        source: "systemd/systemd#41880",
        said: "The update fails, and the next try says that all is up to date.",
        case: || {
            let fleet = Fleet::new();
            fleet.deploy();
            let before = fleet.blobs();
            fleet.release("second\n");
            let restore = fleet.without_new(&before);
            for _ in 0..2 {
                let refused = fleet.update();
                assert_ne!(refused.status, 0, "{}", refused.transcript());
            }
            restore();
            fleet.update().expect(0);
            assert_eq!(fleet.page(), "second\n");
        },
    },
    Report {
        source: "systemd/systemd#42187",
        said: "What an update had fetched before it was broken off has to be cleaned up by hand first.",
        case: || {
            let fleet = Fleet::new();
            fleet.deploy();
            let before = fleet.blobs();
            fleet.release("second\n");
            let restore = fleet.without_new(&before);
            let _ = fleet.update();
            restore();
            fleet.release("third\n");
            fleet.update().expect(0);
            assert_eq!(fleet.page(), "third\n");
        },
    },
    Report {
        source: "mendersoftware/mender#1581",
        said: "What failed is tried again and again in an endless loop.",
        case: || {
            let fleet = Fleet::new();
            fleet.deploy();
            fleet.release("bad\n");
            fleet.update().expect(0);
            fleet.machine.run("rollback --target target").expect(0);
            let held = fleet.update();
            assert!(
                held.transcript().contains("--again"),
                "{}",
                held.transcript()
            );
            assert_ne!(fleet.page(), "bad\n");
        },
    },
    Report {
        source: "folbricht/desync#97",
        said: "Two clients that fetch the same at the same time leave bad chunks.",
        case: || {
            let fleet = Fleet::new();
            let words = ["pull", "web/stable", "--trust", "trust.toml"];
            let start = || fleet.machine.command(&words).spawn().unwrap();
            let mut both = [start(), start()];
            for child in &mut both {
                assert!(child.wait().unwrap().success());
            }
            fleet.machine.run("fsck").expect(0);
        },
    },
];
