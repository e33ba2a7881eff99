//! What layerset 0.1.0 wrote is read, updated and rolled back: see `tests/fixtures/v0/make.sh`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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
            .run(&format!("show {id}"))
            .expect(0)
            .json();
        assert_eq!(shown["name"], name);
        assert_eq!(shown["build"]["builder"], 2);
    }
    // A script without its interpreter and a link to nowhere are in the fixture from the start.
    let check = fixture.publisher.run("check web --json").expect(0).json();
    assert_eq!(check["verdict"], "safe", "{check}");
    let known = check["known"].as_array().unwrap().iter();
    let known: Vec<String> = known.map(|finding| text(&finding["id"])).collect();
    let all = [
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
