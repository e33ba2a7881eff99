//! `fsck --repair`: every damage to every kind of file, on machines of each kind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::channel::{Fleet, fleet};
use super::fixture::small;
use crate::session::Session;

/// The ways in which a file is damaged.
const DAMAGES: [&str; 4] = ["deleted", "truncated", "flipped", "emptied"];

/// Damages a file. A flipped byte keeps the size, and the time by which an object is told untouched.
fn harm(file: &Path, how: &str) {
    let times = std::fs::metadata(file).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    match how {
        "deleted" => return,
        "truncated" => bytes.truncate(bytes.len() / 2),
        "emptied" => bytes.clear(),
        "flipped" => {
            // Of an id in a ref, this is another digit.
            let at = bytes.len() / 2;
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        }
        other => panic!("no such damage: {other}"),
    }
    std::fs::write(file, bytes).unwrap();
    let times = std::fs::FileTimes::new().set_modified(times);
    std::fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_times(times)
        .unwrap();
}

fn only_file(dir: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(dir).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "{}", dir.display());
    file
}

/// The files of a machine's repository that has pulled, or deployed, the one image.
fn kinds(fleet: &Fleet, repo: &Path) -> Vec<(&'static str, PathBuf)> {
    let at = &fleet.small;
    let own = |what: &str| repo.join(at.file(what).strip_prefix(at.repo()).unwrap());
    vec![
        ("object", own("object")),
        ("tree", own("tree")),
        ("changeset", own("changeset")),
        ("layer", own("layer")),
        ("image", own("image")),
        ("config", repo.join("config.toml")),
        (
            "channel ref",
            repo.join("refs/remotes/main/images/web/stable"),
        ),
    ]
}

/// Runs the commands that a repair names, until one leaves a sound repository.
fn follow_hints(session: &Session, report: &Value, options: &str) -> bool {
    let commands = report["commands"].as_array().unwrap();
    commands.iter().any(|text| {
        let text = text.as_str().unwrap();
        let command = text.split('`').nth(1).unwrap();
        let line = command.strip_prefix("layerset ").unwrap();
        session.run(&format!("{line} {options}"));
        session.run("fsck").status == 0
    })
}

fn first_json(text: &str) -> Value {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    documents.next().unwrap().unwrap()
}

#[test]
fn a_machine_with_a_remote_heals_every_damage_or_names_what_does() {
    let fleet = fleet();
    let machine = &fleet.machine;
    let repo = fleet.dir().join("machine");
    let options = "--trust trust.toml";
    machine.run(&format!("pull web/stable {options}")).expect(0);
    for (kind, file) in kinds(&fleet, &repo) {
        for how in DAMAGES {
            let context = format!("{kind} {how}");
            harm(&file, how);
            let found = machine.run("fsck");
            let is_lost_ref = context == "channel ref deleted";
            // A comment of the configuration, or nothing that anybody points at.
            let is_harmless = is_lost_ref || context == "config flipped";
            assert!(
                is_harmless || found.status != 0,
                "{context}: {}",
                found.transcript()
            );
            let repaired = machine.run(&format!("--json fsck --repair {options}"));
            if repaired.status != 0 {
                let report = first_json(&repaired.stdout);
                assert!(
                    follow_hints(machine, &report, options),
                    "{context}: {}",
                    repaired.transcript()
                );
            }
            machine.run("fsck").expect(0);
            if is_lost_ref {
                machine.run(&format!("pull web/stable {options}")).expect(0);
            }
        }
    }
    // All is as it was: nothing was taken from elsewhere meanwhile.
    machine.run(&format!("pull web/stable {options}")).expect(0);
    machine.run("fsck").expect(0);
    machine.run("gc --dry-run").expect(0).shows("0 manifests");
}

#[test]
fn a_machine_without_a_remote_is_healed_from_the_repository_of_another() {
    let whole = small();
    let at = small();
    let from = whole.repo();
    for kind in ["object", "tree", "changeset", "layer", "image"] {
        for how in DAMAGES {
            harm(&at.file(kind), how);
            at.session.run("fsck").expect(4);
            let line = format!("fsck --repair --from {}", from.display());
            let ran = at.session.run(&line).expect(0);
            assert!(
                ran.stdout.contains("is whole again: copied from"),
                "{}",
                ran.stdout
            );
            at.session.run("fsck").expect(0);
        }
    }
    // Another repository that is damaged as well gives nothing.
    harm(&at.file("object"), "flipped");
    harm(&whole.file("object"), "flipped");
    let line = format!("fsck --repair --from {}", from.display());
    at.session.run(&line).expect(4);
}

#[test]
fn a_tree_is_made_of_its_layers_again_and_what_nobody_needs_is_taken_away() {
    let at = small();
    for how in DAMAGES {
        harm(&at.file("tree"), how);
        let ran = at.session.run("fsck --repair").expect(0);
        assert!(
            ran.stdout.contains("made of its layers again"),
            "{}",
            ran.stdout
        );
    }
    std::fs::write(at.repo().join("objects/ab/stray"), "x").unwrap();
    let loose = at.repo().join("trees").join("ab".repeat(32));
    std::fs::write(&loose, "x").unwrap();
    let baseline = at.repo().join("baselines").join(at.layer.to_hex());
    std::fs::write(&baseline, "x").unwrap();
    at.session.run("fsck").expect(4);
    at.session.run("fsck --repair").expect(0);
    at.session.run("fsck").expect(0);
    assert!(!loose.exists() && !baseline.exists());
}

#[test]
fn without_any_source_the_repair_names_what_helps_and_leaves_what_is_there() {
    let at = small();
    harm(&at.file("object"), "flipped");
    let bytes = std::fs::read(at.file("object")).unwrap();
    let ran = at.session.run("fsck --repair").expect(4);
    assert!(
        ran.stderr.contains("`layerset build recipes/web.toml`"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("fsck --repair --repo REPO --from DIR"),
        "{}",
        ran.stderr
    );
    // A mounted deployment may use it.
    assert_eq!(std::fs::read(at.file("object")).unwrap(), bytes);
}

/// The id that a damaged ref held is not known, so what it kept must not be collected.
#[test]
fn garbage_collection_refuses_a_damaged_ref() {
    let at = small();
    for how in ["truncated", "emptied"] {
        let file = at.file("image ref");
        let whole = std::fs::read(&file).unwrap();
        harm(&file, how);
        let ran = at.session.run("gc").expect(4);
        assert!(
            ran.stderr.contains("the ref 'images/web' is damaged"),
            "{}",
            ran.stderr
        );
        assert!(at.file("image").exists() && at.file("tree").exists());
        std::fs::write(&file, whole).unwrap();
    }
}

#[test]
fn a_target_gives_back_its_manifests_and_refs() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let (machine, repo) = (&fleet.machine, fleet.dir().join("machine"));
    let refs = only_file(&repo.join("refs/deployments"));
    let image = only_file(&repo.join("images"));
    for how in DAMAGES {
        for file in [refs.join("1"), image.clone()] {
            harm(&file, how);
            machine.run("fsck").expect(4);
            let ran = machine.run("fsck --repair").expect(0);
            // Another digit names an image that never was.
            let how_it_came = match how == "flipped" && file != image {
                true => "nothing asks for it any more",
                false => "from the target",
            };
            assert!(ran.stdout.contains(how_it_came), "{how}: {}", ran.stdout);
            machine.run("fsck").expect(0);
        }
    }
    // Everything that it deployed is there, by digest.
    let status = machine
        .run("status --target target --json")
        .expect(0)
        .json();
    assert_eq!(status["deployments"][0]["damaged"], Value::Null);
    // What the repository lost, the status of the target says.
    for how in ["deleted", "truncated"] {
        let object = fleet.small.file("object");
        let own = repo.join(object.strip_prefix(fleet.small.repo()).unwrap());
        harm(&own, how);
        let status = machine
            .run("status --target target --json")
            .expect(0)
            .json();
        let damaged = status["deployments"][0]["damaged"]
            .as_str()
            .unwrap_or_default();
        assert!(damaged.contains("/srv/page.html"), "{how}: {status}");
        machine.run("fsck --repair --trust trust.toml").expect(0);
        let status = machine
            .run("status --target target --json")
            .expect(0)
            .json();
        assert_eq!(status["deployments"][0]["damaged"], Value::Null, "{how}");
    }
}
