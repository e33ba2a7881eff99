//! A small remote with two teams, machines that watch it, and a mirror that does to it what it
//! likes.

mod attacks;
mod editing;
mod machine;
mod pending;
mod theft;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::durable::RealDisk;
use crate::format::release::{
    Channel, ChannelName, Downgrade, Release, ReleaseId, ReleaseKind, Rollout, release_target,
};
use crate::format::{HeadContents, decode_head, encode_head, to_canonical_json};
use crate::id::{LayerId, TreeId};

/// 2026-12-01.
const NOW: i64 = 1_796_083_200;
const DAY: i64 = 86_400;

/// The publishers of a remote, each with keys of their own.
struct World {
    dir: TempDir,
    head: Vec<u8>,
    root: Vec<u8>,
    now: i64,
    machines: u32,
}

/// A machine that was given the root.
struct Watcher {
    root: Vec<u8>,
    state: TrustState,
    dir: std::path::PathBuf,
    now: i64,
}

impl World {
    /// `root` and `targets` have a key each, `build` has those of snapshot and timestamp.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = BTreeMap::new();
        for (role, person) in [
            ("root", "root"),
            ("targets", "targets"),
            ("snapshot", "build"),
            ("timestamp", "build"),
        ] {
            keys.insert(role, (vec![key(dir.path(), person, role)], 1));
        }
        let options = InitOptions {
            keys,
            validity: Validity::default(),
        };
        let all = together(dir.path(), &["root", "targets", "build"]);
        let (head, root) = init(&options, &all, NOW).unwrap();
        Self {
            dir,
            head,
            root,
            now: NOW,
            machines: 0,
        }
    }

    /// A remote with layers `base` and `nginx`, of which the second has a role of its own, and an
    /// image.
    fn busy() -> Self {
        let mut world = Self::new();
        let team = world.key("team", "nginx");
        world.edit(&["targets", "team", "build"], |editor| {
            editor.delegate(ReleaseKind::Layer, "nginx", &[team], 1, None)
        });
        for (kind, name) in [
            (ReleaseKind::Layer, "base"),
            (ReleaseKind::Layer, "nginx"),
            (ReleaseKind::Image, "web"),
        ] {
            world.publish(kind, name, 1);
        }
        world
    }

    fn key(&self, person: &str, label: &str) -> PublicKey {
        key(self.dir.path(), person, label)
    }

    /// The keys of some people together.
    fn keys(&self, people: &[&str]) -> KeyStore {
        together(self.dir.path(), people)
    }

    fn watcher(&mut self) -> Watcher {
        self.machines += 1;
        let dir = self.dir.path().join(format!("machine-{}", self.machines));
        Watcher {
            root: self.root.clone(),
            state: TrustState::open(Arc::new(RealDisk), &dir).unwrap(),
            dir,
            now: self.now,
        }
    }

    fn editor(&mut self) -> Editor {
        let publisher = self.watcher();
        let verified = verify_to_edit(&self.head, &self.root, &publisher.state, self.now).unwrap();
        Editor::open(&verified, self.now).unwrap()
    }

    fn edit(
        &mut self,
        people: &[&str],
        change: impl FnOnce(&mut Editor) -> Result<(), TrustError>,
    ) {
        let mut editor = self.editor();
        change(&mut editor).unwrap();
        self.head = editor.sign(&self.keys(people)).unwrap();
    }

    /// Publishes release `serial` to the channel `stable`.
    fn publish(&mut self, kind: ReleaseKind, name: &str, serial: u64) {
        let release = release(kind, name, serial);
        let channel = channel(kind, name, &release);
        self.edit(&["targets", "team", "build"], |editor| {
            editor.put(&release_target(kind, name, &release.id), &json(&release))?;
            editor.put(&stable(kind, name).target(), &json(&channel))
        });
    }

    fn contents(&self) -> HeadContents {
        decode_head(&self.head).unwrap()
    }
}

impl Watcher {
    fn verify(&self, head: &[u8]) -> Result<Verified, TrustError> {
        verify(head, &self.root, &self.state, self.now)
    }

    /// Offers a head that must be refused, without a trace; returns the message.
    fn refuses(&self, head: &[u8]) -> String {
        let before = files(&self.dir);
        let error = self.verify(head).unwrap_err();
        assert_eq!(files(&self.dir), before, "a refused head left something");
        assert!(error.is_of_mirror(), "{error}");
        error.to_string()
    }
}

fn key(dir: &Path, person: &str, label: &str) -> PublicKey {
    let mut store = KeyStore::open(&dir.join("keys").join(person)).unwrap();
    std::fs::create_dir_all(store.dir()).unwrap();
    store.generate(&RealDisk, label).unwrap()
}

fn together(dir: &Path, people: &[&str]) -> KeyStore {
    let joint = dir.join("keys").join(format!("joint-{}", people.join("-")));
    std::fs::create_dir_all(&joint).unwrap();
    for person in people {
        let Ok(entries) = std::fs::read_dir(dir.join("keys").join(person)) else {
            continue;
        };
        for entry in entries {
            let from = entry.unwrap().path();
            std::fs::copy(&from, joint.join(from.file_name().unwrap())).unwrap();
        }
    }
    KeyStore::open(&joint).unwrap()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries
        .map(|entry| entry.path())
        .filter(|path| name(path) != "lock")
        .map(|path| (name(&path), std::fs::read(&path).unwrap()))
        .collect()
}

fn release(kind: ReleaseKind, name: &str, serial: u64) -> Release {
    let id = LayerId::of(format!("{kind:?} {name} {serial}").as_bytes());
    Release {
        format: 1,
        kind,
        name: name.to_owned(),
        version: format!("1.{serial}"),
        serial,
        published: NOW,
        id: ReleaseId::from(id),
        manifest_bytes: 100,
        tree: TreeId::of(b"tree"),
        tree_bytes: 100,
        corrections: None,
        baseline: None,
        layers: Vec::new(),
        objects: 1,
        object_bytes: 1,
        packs: Vec::new(),
        deltas: Vec::new(),
    }
}

fn channel(kind: ReleaseKind, name: &str, release: &Release) -> Channel {
    Channel {
        format: 1,
        kind,
        name: name.to_owned(),
        channel: "stable".to_owned(),
        release: release.id,
        serial: release.serial,
        published: release.published,
        rollout: Rollout::default(),
        downgrade: None,
    }
}

fn stable(kind: ReleaseKind, name: &str) -> ChannelName {
    ChannelName::new(kind, name, "stable").unwrap()
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    to_canonical_json("test", value).unwrap()
}

/// Rewrites a head as somebody without keys can.
fn tampered(head: &[u8], change: impl FnOnce(&mut HeadContents)) -> Vec<u8> {
    let mut contents = decode_head(head).unwrap();
    change(&mut contents);
    encode_head(&contents).unwrap()
}

fn goes_back(serial: u64) -> Option<Downgrade> {
    Some(Downgrade {
        from: serial,
        reason: "2 loses data".to_owned(),
    })
}
