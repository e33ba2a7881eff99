//! What leaves the machine is searched for secrets, whichever way it leaves.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use layerset::format::Waiver;
use layerset::store::RefName;
use layerset::time::Date;

use super::fixture::{Small, open, small};
use crate::session::{Ran, Session};

/// A way out: the command, and whether an image's own waivers count for it. A layer has none.
struct Way {
    line: &'static str,
    is_of_image: bool,
    /// Whether it is tried on a machine that has nothing of it yet.
    elsewhere: bool,
}

const fn image(line: &'static str) -> Way {
    Way {
        line,
        is_of_image: true,
        elsewhere: false,
    }
}

const fn layer(line: &'static str) -> Way {
    Way {
        is_of_image: false,
        ..image(line)
    }
}

const WAYS: [Way; 10] = [
    image("publish web --channel stable --to ./other --dry-run OTHER"),
    image("publish web --channel stable --to ./other --pending out OTHER"),
    // After the others: then there is nothing left to sign.
    image("publish web --channel stable --to ./other OTHER"),
    layer("publish layers/web/site --channel stable --to ./other OTHER"),
    image("export disk web -o out.raw"),
    image("export disk web -o out.qcow2 --dry-run"),
    image("export bundle out --channel web/stable --trust trust.toml"),
    layer("export bundle out --channel layers/site/stable --trust trust.toml"),
    Way {
        elsewhere: true,
        ..image("export bundle out --channel web/stable --trust trust.toml")
    },
    Way {
        elsewhere: true,
        ..layer("export bundle out --channel layers/site/stable --trust trust.toml")
    },
];

/// Commands that send nothing of a layer anywhere: a new one has to be put here, or among the ways.
const STAY: [&str; 33] = [
    "init",
    "lock",
    "build",
    "compose",
    "check",
    "list",
    "show",
    "diff",
    "why",
    "deploy",
    "update",
    "rollback",
    "agent",
    "adopt-host",
    "health",
    "settle-boot",
    "mark-bad",
    "mark-good",
    "pin",
    "status",
    "history",
    "run",
    "activate",
    "deactivate",
    "forget",
    "gc",
    "fsck",
    "pull",
    "new",
    "schema",
    "completions",
    "man",
    "help",
];

fn commands(session: &Session, line: &str) -> BTreeSet<String> {
    let help = session.run(line).expect(0).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  ") || line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Everything below a directory, by name; repositories and what is remembered of remotes aside.
fn files(dir: &Path) -> BTreeSet<String> {
    let found = Command::new("find")
        .args([
            ".",
            "-path",
            "./repo",
            "-prune",
            "-o",
            "-path",
            "./machine",
            "-prune",
            "-o",
        ])
        .arg("-print")
        .current_dir(dir)
        .output()
        .unwrap();
    String::from_utf8(found.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

struct World {
    small: Small,
    key: String,
}

impl World {
    fn new() -> Option<Self> {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519"])
            .output();
        let Ok(made) = made else {
            crate::support::skip("secrets leave no machine", "needs openssl");
            return None;
        };
        let small = small();
        let key = String::from_utf8(made.stdout).unwrap();
        small.rebuild("2", key.as_bytes());
        let world = Self { small, key };
        std::fs::write(
            world.dir().join("trust.toml"),
            "[[remote]]\nname = \"main\"\nlocation = \"./remote\"\nroot = \"root.json\"\n",
        )
        .unwrap();
        for line in ["trust init ./remote KEYS", "trust init ./other OTHER"] {
            world.run(line).expect(0);
        }
        world.machine().run("init").expect(0);
        Some(world)
    }

    fn dir(&self) -> &Path {
        self.small.dir.path()
    }

    fn machine(&self) -> Session {
        Session::new(self.dir(), &self.dir().join("machine"))
    }

    fn run(&self, line: &str) -> Ran {
        let line = line.replace("KEYS", "--keys keys --root root.json");
        let line = line.replace("OTHER", "--keys other-keys --root other.json");
        self.small.session.run(&line)
    }

    fn forget_searches(&self) {
        for repository in ["repo", "machine"] {
            let _ = std::fs::remove_dir_all(self.dir().join(repository).join("cache/secrets"));
        }
    }

    /// Publishes what the publisher of an older version would: nobody searched.
    fn publish_unsearched(&self) {
        let repository = open(&self.small.repo());
        let searches = self.small.repo().join("cache/secrets");
        std::fs::create_dir_all(&searches).unwrap();
        for (name, id) in repository.refs().unwrap() {
            if name.is_layer() {
                let hex = id.strip_prefix("b3:").unwrap();
                std::fs::write(searches.join(hex), "{\"search\":1,\"found\":[]}").unwrap();
            }
        }
        self.run("publish web --channel stable --with-layers --to ./remote KEYS")
            .expect(0);
        self.forget_searches();
    }

    /// Makes an image that accepts what its layer has.
    fn accept(&self) {
        let repository = open(&self.small.repo());
        let id = repository.resolve_image("web").unwrap();
        let mut image = repository.read_image(&id).unwrap();
        image.waivers = vec![Waiver {
            finding: "secret:/srv/page.html".to_owned(),
            reason: "a test".to_owned(),
            expires: Date::new(2100, 1, 1).unwrap(),
        }];
        let transaction = repository.begin().unwrap();
        let id = transaction.put_image(&image).unwrap();
        let name = RefName::image("web").unwrap();
        transaction.commit(&name, &id.to_string()).unwrap();
    }

    fn go(&self, way: &Way) -> Ran {
        self.forget_searches();
        match way.elsewhere {
            false => self.run(way.line),
            true => {
                std::fs::remove_dir_all(self.dir().join("machine")).unwrap();
                self.machine().run("init").expect(0);
                self.machine().run(way.line)
            }
        }
    }
}

#[test]
fn no_secret_leaves_the_machine_whichever_way() {
    let Some(world) = World::new() else { return };
    world.publish_unsearched();
    for way in &WAYS {
        let before = files(world.dir());
        let ran = world.go(way).expect(3).says(&[
            "1 files hold what everybody would get with them",
            "/srv/page.html holds a private key",
        ]);
        let shown = ran.transcript();
        assert!(
            !shown.contains(world.key.lines().nth(1).unwrap()),
            "{shown}"
        );
        assert_eq!(files(world.dir()), before, "{shown}");
        assert!(!world.dir().join("out").exists());
    }
    // With a waiver of the image, only layers of their own are refused.
    world.accept();
    world.publish_unsearched();
    for way in &WAYS {
        let ran = world.go(way);
        let is_refused = ran.stderr.contains("what everybody would get");
        assert_eq!(is_refused, !way.is_of_image, "{}", ran.transcript());
        // There is no kernel for a disk.
        let is_done = way.is_of_image && !way.line.starts_with("export disk");
        assert_eq!(ran.status == 0, is_done, "{}", ran.transcript());
        let out = world.dir().join("out");
        let _ = std::fs::remove_dir_all(&out);
        let _ = std::fs::remove_file(&out);
    }
}

#[test]
fn every_command_that_lets_something_out_is_searched() {
    let small = small();
    let is_a_way = |name: &str| {
        WAYS.iter()
            .any(|way| way.line.starts_with(&format!("{name} ")))
    };
    let mut missing: Vec<String> = Vec::new();
    for name in commands(&small.session, "--help") {
        // A remote's directory holds what was published; trust is about signatures.
        let is_known =
            STAY.contains(&name.as_str()) || ["serve", "trust", "export"].contains(&name.as_str());
        if !is_known && !is_a_way(&name) {
            missing.push(name);
        }
    }
    for name in commands(&small.session, "export --help") {
        let name = format!("export {name}");
        if name != "export help" && !is_a_way(&name) {
            missing.push(name);
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
