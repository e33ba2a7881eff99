//! What layerset 0.1.0 wrote is read, updated and rolled back: see `tests/fixtures/v0/make.sh`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use layerset::format::{Baseline, BaselineOf, decode_baseline, encode_baseline};
use serde_json::Value;

use crate::session::{Ran, Session};
use crate::support::is_root;

/// Where the fixture was made: targets name their repository by its path.
const MADE_AT: &str = "/tmp/layerset-v0";

/// The layers of the fixture's newest image, by the ids that 0.1.0 gave them.
const LAYERS: [(&str, &str); 3] = [
    (
        "base",
        "b3:389249ae7af146f03ed83968345ce074ff26070411eff266aeea88421ce89672",
    ),
    (
        "data",
        "b3:3abedc72d868b8cdf29b4de39f318f1418609fdfef2a2e59335d1cd28fb36897",
    ),
    (
        "site",
        "b3:d2950243480eb48b6e5c0d89426669e1251e949d91ce97e95fd099cffb847cb1",
    ),
];

/// A copy of the fixture, at another place.
struct Fixture {
    dir: tempfile::TempDir,
    publisher: Session,
    machine: Session,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for target in ["target", "copied"] {
            let _ = self.machine.run_words(&["deactivate", "--target", target]);
        }
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let packed = fs::read("tests/fixtures/v0/v0.tar.zst").unwrap();
    let plain = zstd::decode_all(packed.as_slice()).unwrap();
    let mut tar = Command::new("tar")
        .args(["--extract", "--same-permissions", "--same-owner"])
        .args(["--numeric-owner", "--xattrs", "--acls"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&plain).unwrap();
    assert!(tar.wait().unwrap().success());
    let here = dir.path().to_str().unwrap();
    for name in [
        "target/layerset/target.json",
        "copied/layerset/target.json",
        "sources.list",
    ] {
        let path = dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(MADE_AT), "{text}");
        fs::write(&path, text.replace(MADE_AT, here)).unwrap();
    }
    Fixture {
        publisher: Session::new(dir.path(), &dir.path().join("repo")),
        machine: Session::new(dir.path(), &dir.path().join("machine")),
        dir,
    }
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn build(&self) -> Value {
        let built = self.publisher.run("build recipes/web.toml --json");
        built.expect(0).json()
    }

    fn publish(&self) -> Value {
        let words =
            "publish web --to ./remote --channel stable --keys keys --root root.json --json";
        self.publisher.run(words).expect(0).json()
    }

    fn on_target(&self, line: &str) -> Ran {
        let line = format!("{line} --target target");
        self.machine.run(&line).expect(0)
    }

    fn update(&self) -> Value {
        self.on_target("update --trust trust.toml --json").json()
    }

    /// Reads a file of what the target runs.
    fn current(&self, name: &str) -> String {
        let path = self.path("target/layerset/current").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn fsck(&self) {
        for session in [&self.publisher, &self.machine] {
            let report = session.run("fsck --json").expect(0).json();
            assert_eq!(report["damaged"], serde_json::json!([]));
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Returns name, id and action of each layer of a build.
fn layers(report: &Value) -> Vec<(String, String, String)> {
    let row = |layer: &Value| {
        (
            text(&layer["name"]),
            text(&layer["id"]),
            text(&layer["action"]),
        )
    };
    report["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}

#[test]
fn what_v0_wrote_is_read() {
    if !is_root("what_v0_wrote_is_read") {
        return;
    }
    let fixture = fixture();
    fixture.fsck();
    let list = fixture.publisher.run("list --json").expect(0).json();
    assert_eq!(list["layers"].as_array().unwrap().len(), 3, "{list}");
    for (name, id) in LAYERS {
        let shown = fixture
            .publisher
            .run(&format!("show {id} --json"))
            .expect(0)
            .json();
        assert_eq!(shown["name"], name);
        assert_eq!(shown["build"]["builder"], 2);
    }
    // Accounts without their shell, a script without its interpreter and a link to nowhere are in the fixture from the start.
    let check = fixture.publisher.run("check web --json").expect(0).json();
    assert_eq!(check["verdict"], "safe", "{check}");
    let known = check["known"].as_array().unwrap().iter();
    let known: Vec<String> = known.map(|finding| text(&finding["id"])).collect();
    let all = [
        "account:/etc/passwd:mail",
        "account:/etc/passwd:root",
        "link:/usr/lib/tiny/dangling",
        "script:/usr/bin/broken",
        "script:/usr/share/tiny/run",
    ];
    assert_eq!(known, all);
    let shown = fixture
        .publisher
        .run("trust show ./remote --root root.json --json");
    assert_eq!(shown.expect(0).json()["warnings"], serde_json::json!([]));

    for (target, kind) in [("target", "composefs"), ("copied", "copy")] {
        let status = fixture
            .machine
            .run(&format!("status --target {target} --json"));
        let status = status.expect(0).json();
        assert_eq!(status["current"], 2, "{status}");
        assert_eq!(status["deployments"][1]["kind"], kind, "{status}");
        assert_eq!(status["deployments"][1]["damaged"], Value::Null, "{status}");
        let history = fixture
            .machine
            .run(&format!("history --target {target} --json"));
        let history = history.expect(0).json();
        assert_eq!(history["broken"], Value::Null, "{history}");
    }
    fixture.on_target("activate");
    assert_eq!(fixture.current("root/srv/page.html"), "page 2\n");
    let diff = fixture.machine.run("diff 1 2 --target target").expect(0);
    diff.shows("/srv/page.html");
}

#[test]
fn what_v0_built_is_kept_and_updated_and_rolled_back() {
    if !is_root("what_v0_built_is_kept_and_updated_and_rolled_back") {
        return;
    }
    let fixture = fixture();
    fixture.on_target("activate");
    let before = fixture.publisher.run("list --json").expect(0).json();
    let report = fixture.build();
    let kept: Vec<_> = LAYERS
        .iter()
        .map(|(name, id)| ((*name).to_owned(), (*id).to_owned(), "kept".to_owned()))
        .collect();
    assert_eq!(layers(&report), kept);
    assert_eq!(report["changed"], false, "{report}");
    assert_eq!(
        fixture.publisher.run("list --json").expect(0).json(),
        before
    );
    let sent = fixture.publish();
    assert_eq!(sent["outcome"]["blobs_sent"], 0, "{sent}");
    assert_eq!(fixture.update()["switched"], false);

    fixture.write("layers/site/files/srv/page.html", "page 3\n");
    let report = fixture.build();
    let built = layers(&report);
    assert_eq!(built[..2], kept[..2]);
    assert_eq!(built[2].2, "built", "{report}");
    fixture.publish();
    let updated = fixture.update();
    assert_eq!(updated["switched"], true, "{updated}");
    let how: Vec<String> = updated["pull"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| text(&part["how"]))
        .collect();
    assert_eq!(how, ["present", "present", "delta", "delta"], "{updated}");
    assert_eq!(fixture.current("root/srv/page.html"), "page 3\n");
    assert_eq!(fixture.current("etc/motd"), "edited\n");
    for page in ["page 2\n", "page 1\n"] {
        fixture.on_target("rollback");
        assert_eq!(fixture.current("root/srv/page.html"), page);
    }
    let mail = fs::read_to_string(fixture.path("target/layerset/state/var/mail"));
    assert_eq!(mail.unwrap(), "mail\n");

    let copied = fixture.publisher.run("deploy web --target copied --copy");
    copied.expect(0);
    fixture.publisher.run("rollback --target copied").expect(0);
    let page = fixture.path("copied/layerset/current/root/srv/page.html");
    assert_eq!(fs::read_to_string(page).unwrap(), "page 2\n");
    fixture.publisher.run("gc").expect(0);
    fixture.machine.run("gc").expect(0);
    fixture.fsck();
}

impl Fixture {
    /// Reads the baseline that lies beside a layer in a repository.
    fn baseline(&self, repository: &str, id: &str) -> Baseline {
        let bytes = fs::read(self.baseline_path(repository, id)).unwrap();
        decode_baseline(BaselineOf::Layer(id.parse().unwrap()), &bytes).unwrap()
    }

    fn baseline_path(&self, repository: &str, id: &str) -> PathBuf {
        let hex = id.trim_start_matches("b3:");
        self.path(repository).join("baselines").join(hex)
    }
}

#[test]
fn other_checks_change_no_layer_and_what_they_find_is_kept_and_published_beside_it() {
    if !is_root("other_checks_change_no_layer_and_what_they_find_is_kept_and_published_beside_it") {
        return;
    }
    let fixture = fixture();
    fixture.on_target("activate");
    let report = fixture
        .publisher
        .run("build recipes/web.toml --rebuild data --json");
    let report = report.expect(0).json();
    let (name, id, action) = layers(&report)[1].clone();
    assert_eq!((name.as_str(), action.as_str()), ("data", "built"));
    let shown = fixture
        .publisher
        .run(&format!("show {id} --json"))
        .expect(0)
        .json();
    assert_eq!(shown["baseline"], Value::Null, "{shown}");
    let baseline = fixture.baseline("repo", &id);
    assert_eq!(baseline.problems, ["script:/usr/share/tiny/run"]);

    // As if checks of an earlier version had looked, which saw nothing.
    let earlier = Baseline {
        checks: 0,
        problems: Vec::new(),
        ..baseline.clone()
    };
    let bytes = encode_baseline(BaselineOf::Layer(id.parse().unwrap()), &earlier).unwrap();
    fs::write(fixture.baseline_path("repo", &id), bytes).unwrap();
    fixture.publish();
    fixture.update();
    assert_eq!(fixture.baseline("machine", &id), earlier);
    let check = fixture.publisher.run("check web --json").expect(0).json();
    assert_eq!(check["verdict"], "safe", "{check}");
    let again = fixture.build();
    assert_eq!(again["changed"], false, "{again}");
    assert!(layers(&again).iter().all(|(_, _, action)| action == "kept"));
    assert_eq!(layers(&again)[1].1, id);
    assert_eq!(fixture.baseline("repo", &id), baseline);

    // The later one is signed for the same release, and nothing is sent for it.
    let sent = fixture.publish();
    assert_eq!(sent["outcome"]["changed"], true, "{sent}");
    assert_eq!(sent["outcome"]["blobs_sent"], 0, "{sent}");
    assert_eq!(fixture.publish()["outcome"]["changed"], false);
    let pull = "pull images/web/stable --trust trust.toml";
    fixture.machine.run(pull).expect(0);
    assert_eq!(fixture.baseline("machine", &id), baseline);

    // It goes with its layer, and its damage is found.
    let path = fixture.baseline_path("repo", &id);
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    fs::write(&path, text.replace("tiny/run", "tiny/ruN")).unwrap();
    let damaged = fixture.publisher.run("fsck --json").expect(4).json();
    assert_eq!(damaged["damaged"][0]["what"], "baseline", "{damaged}");
    fs::write(&path, bytes).unwrap();
    fixture.fsck();
    fixture.build();
    fixture.publisher.run("gc").expect(0);
    assert!(path.exists());
    fs::remove_file(fixture.path("repo/refs/images/web")).unwrap();
    for layer in ["data", "site"] {
        let path = format!("repo/refs/layers/web/{layer}");
        fs::remove_file(fixture.path(&path)).unwrap();
    }
    fixture.publisher.run("gc").expect(0);
    assert!(!path.exists());
    fixture.fsck();
}

/// Returns the lines of the lock that say epochs.
fn epochs(lock: &str) -> Vec<&str> {
    lock.lines()
        .filter(|line| line.starts_with("epoch"))
        .collect()
}

#[test]
fn a_lock_of_v0_keeps_its_epochs_and_a_new_one_has_those_of_its_packages() {
    if !is_root("a_lock_of_v0_keeps_its_epochs_and_a_new_one_has_those_of_its_packages") {
        return;
    }
    let fixture = fixture();
    let read = || fs::read_to_string(fixture.path("recipes/web.lock")).unwrap();
    let lock = || {
        let line = "lock recipes/web.toml --apt-sources sources.list";
        fixture.publisher.run(line).expect(0);
        read()
    };
    let before = read();
    assert_eq!(lock(), before, "nothing moved");
    fs::remove_file(fixture.path("recipes/web.lock")).unwrap();
    let fresh = lock();
    // The date of the package, and that of layers without any.
    let expect = [
        "epoch = 1700000000",
        "epoch = 946684800",
        "epoch = 946684800",
    ];
    assert_eq!(epochs(&fresh), expect);

    // Another day, and another repository.
    let release = fs::read_to_string(fixture.path("debs/Release")).unwrap();
    let line = |line: &str| match line.starts_with("Date:") {
        true => "Date: Sun, 01 Nov 2020 08:00:00 UTC\n".to_owned(),
        false => format!("{line}\n"),
    };
    let later: String = release.lines().map(line).collect();
    assert_ne!(later, release);
    fixture.write("debs/Release", &later);
    fs::remove_file(fixture.path("recipes/web.lock")).unwrap();
    let elsewhere = Session::new(fixture.dir.path(), &fixture.path("elsewhere"));
    elsewhere.run("init").expect(0);
    elsewhere
        .run("lock recipes/web.toml --apt-sources sources.list")
        .expect(0);
    assert_eq!(read(), fresh);

    // A package that moves takes its own layer along, and no other.
    let moved = before.replace("version = \"1\"", "version = \"0\"");
    assert_ne!(moved, before);
    fixture.write("recipes/web.lock", &moved);
    let now = lock();
    assert_eq!(epochs(&now)[0], expect[0]);
    assert_eq!(epochs(&now)[1..], epochs(&before)[1..]);
}
