//! What those can try who have some of the keys.

use std::collections::BTreeSet;

use tough::schema::{Root, Signed, Snapshot, Targets, Timestamp};

use super::*;
use crate::trust::signing::{hashes, keys_of, metafile, read, sign, write};

/// Changes a head, and signs what was changed with the keys of `people` as far as they reach.
struct Thief {
    contents: HeadContents,
    store: KeyStore,
    root: Root,
}

impl Thief {
    fn new(world: &World, people: &[&str]) -> Self {
        let contents = world.contents();
        let newest = contents
            .metadata
            .iter()
            .rev()
            .find(|(name, _)| name.ends_with(".root.json"));
        let root: Signed<Root> = read("root", newest.unwrap().1).unwrap();
        Self {
            store: world.keys(people),
            contents,
            root: root.signed,
        }
    }

    fn keys(&self, role: &str) -> BTreeSet<KeyId> {
        let targets: Signed<Targets> =
            read("targets", &self.contents.metadata["targets.json"]).unwrap();
        let keys = keys_of(&self.root, &targets.signed, role);
        keys.unwrap().keys.into_iter().collect()
    }

    fn change<T: tough::schema::Role + serde::Serialize + serde::de::DeserializeOwned>(
        &mut self,
        role: &str,
        change: impl FnOnce(&mut T),
    ) {
        let file = format!("{role}.json");
        let mut signed: Signed<T> = read(role, &self.contents.metadata[&file]).unwrap();
        change(&mut signed.signed);
        signed.signatures.clear();
        sign(&mut signed, &self.keys(role), &self.store).unwrap();
        self.contents.metadata.insert(file, write(&signed).unwrap());
    }

    /// Makes snapshot and timestamp say what there is.
    fn seal(&mut self) {
        let file = |name: &str| self.contents.metadata.get(name).cloned();
        let names = ["targets.json", "layer.nginx.json"];
        let texts = names.map(|name| (name, file(name)));
        self.change("snapshot", |snapshot: &mut Snapshot| {
            for (name, text) in texts {
                let Some(text) = text else { continue };
                let signed: Signed<Targets> = read(name, &text).unwrap();
                let meta = metafile(&text, signed.signed.version);
                snapshot.meta.insert(name.to_owned(), meta);
            }
        });
        self.seal_timestamp();
    }

    fn seal_timestamp(&mut self) {
        let text = self.contents.metadata["snapshot.json"].clone();
        let signed: Signed<Snapshot> = read("snapshot", &text).unwrap();
        self.change("timestamp", |timestamp: &mut Timestamp| {
            let meta = metafile(&text, signed.signed.version);
            timestamp.meta.insert("snapshot.json".to_owned(), meta);
        });
    }

    fn head(&self) -> Vec<u8> {
        encode_head(&self.contents).unwrap()
    }
}

fn target_of(bytes: &[u8]) -> tough::schema::Target {
    tough::schema::Target {
        length: bytes.len() as u64,
        hashes: hashes(bytes),
        custom: Default::default(),
        _extra: Default::default(),
    }
}

#[test]
fn stolen_online_keys_cannot_sign_software() {
    let mut world = World::busy();
    let machine = world.watcher();
    let mut thief = Thief::new(&world, &["build"]);
    thief.change("targets", |targets: &mut Targets| {
        targets.version = targets.version.checked_add(1).unwrap();
    });
    thief.seal();
    assert_eq!(
        machine.refuses(&thief.head()),
        "role 'targets' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1"
    );
}

#[test]
fn fast_forward_by_stolen_online_keys_ends_with_their_rotation() {
    let mut world = World::busy();
    let machine = world.watcher();
    let honest = world.head.clone();
    let mut thief = Thief::new(&world, &["build"]);
    let far = std::num::NonZeroU64::new(9_007_199_254_740_991).unwrap();
    thief.change("snapshot", |snapshot: &mut Snapshot| snapshot.version = far);
    thief.change("timestamp", |timestamp: &mut Timestamp| {
        timestamp.version = far
    });
    thief.seal_timestamp();
    machine.verify(&thief.head()).unwrap();
    let message = machine.refuses(&honest);
    assert!(
        message.contains("version 9007199254740991 was seen"),
        "{message}"
    );

    // Whoever publishes on top of the thief's versions is told.
    world.head = thief.head();
    let error = world.editor().sign(&world.keys(&["build"])).unwrap_err();
    assert!(
        error.to_string().contains(
            "is in the wrong hands; run `layerset trust rotate REMOTE snapshot timestamp`"
        ),
        "{error}"
    );

    let new = world.key("new", "online");
    world.edit(&["root", "new"], |editor| {
        editor.set_keys("snapshot", std::slice::from_ref(&new), 1)?;
        editor.set_keys("timestamp", &[new], 1)
    });
    let recovered = world.head.clone();
    let timestamp: Signed<Timestamp> =
        read("timestamp", &world.contents().metadata["timestamp.json"]).unwrap();
    assert_eq!(timestamp.signed.version.get(), 1);
    machine.verify(&recovered).unwrap();
    let message = machine.refuses(&thief.head());
    assert!(
        message.starts_with("role 'timestamp' is not signed as it must be: it has 0 valid"),
        "{message}"
    );
    // From here versions count again.
    let before = world.head.clone();
    world.edit(&["new"], |_| Ok(()));
    machine.verify(&world.head).unwrap();
    assert!(machine.refuses(&before).contains("older state"));
}

/// Puts `bytes` bytes that mean nothing into what the snapshot says of the targets, and a name that
/// nobody delegated.
fn bloated(world: &World, bytes: usize) -> Thief {
    let mut thief = Thief::new(world, &["build"]);
    thief.change("snapshot", |snapshot: &mut Snapshot| {
        snapshot.version = snapshot.version.checked_add(1).unwrap();
        let targets = snapshot.meta.get_mut("targets.json").unwrap();
        let filler = serde_json::Value::String("x".repeat(bytes));
        targets._extra.insert("filler".to_owned(), filler);
        let mut run_up = targets.clone();
        run_up._extra.clear();
        run_up.version = std::num::NonZeroU64::MAX;
        snapshot.meta.insert("layer.later.json".to_owned(), run_up);
    });
    thief.change("timestamp", |timestamp: &mut Timestamp| {
        timestamp.version = timestamp.version.checked_add(1).unwrap();
    });
    thief.seal_timestamp();
    thief
}

#[test]
fn stolen_online_keys_cannot_fill_what_machines_remember() {
    let mut world = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    assert_eq!(
        machine.refuses(&bloated(&world, 17 << 20).head()),
        "'snapshot.json' is larger than the 4194304 bytes that it may have"
    );
    machine.verify(&world.head).unwrap();
    // As much as passes can be read again.
    machine
        .verify(&bloated(&world, (4 << 20) - 4096).head())
        .unwrap();
    machine
        .verify(&bloated(&world, (4 << 20) - 4096).head())
        .unwrap();
}

#[test]
fn what_a_thief_of_online_keys_listed_goes_with_their_rotation() {
    let mut world = World::busy();
    let machine = world.watcher();
    let thief = bloated(&world, 1 << 20);
    world.head = thief.head();
    machine.verify(&world.head).unwrap();
    let later = world.key("later", "later");
    let mut editor = world.editor();
    let team = std::slice::from_ref(&later);
    editor
        .delegate(ReleaseKind::Layer, "later", team, 1, None)
        .unwrap();
    let error = editor
        .sign(&world.keys(&["targets", "later", "build"]))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("run `layerset trust rotate REMOTE snapshot timestamp`"),
        "{error}"
    );
    // Honest heads carry none of it onwards but the names, which machines would miss.
    let meta = |world: &World| {
        let text = &world.contents().metadata["snapshot.json"];
        read::<Snapshot>("snapshot", text).unwrap().signed.meta
    };
    world.edit(&["build"], |_| Ok(()));
    machine.verify(&world.head).unwrap();
    assert!(meta(&world).values().all(|meta| meta._extra.is_empty()));
    assert!(meta(&world).contains_key("layer.later.json"));

    let new = world.key("new", "online");
    world.edit(&["root", "new"], |editor| {
        editor.set_keys("snapshot", std::slice::from_ref(&new), 1)?;
        editor.set_keys("timestamp", &[new], 1)
    });
    machine.verify(&world.head).unwrap();
    let names: BTreeSet<String> = meta(&world).into_keys().collect();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["layer.nginx.json", "targets.json"]
    );
    world.edit(&["targets", "later", "new"], |editor| {
        editor.delegate(ReleaseKind::Layer, "later", &[later], 1, None)
    });
    machine.verify(&world.head).unwrap();
}

#[test]
fn a_rotation_and_a_delegation_of_a_run_up_name_can_be_one_change() {
    let mut world = World::busy();
    let machine = world.watcher();
    world.head = bloated(&world, 1).head();
    machine.verify(&world.head).unwrap();
    let (new, later) = (world.key("new", "online"), world.key("later", "later"));
    world.edit(&["root", "targets", "later", "new"], |editor| {
        editor.set_keys("snapshot", std::slice::from_ref(&new), 1)?;
        editor.set_keys("timestamp", &[new], 1)?;
        editor.delegate(ReleaseKind::Layer, "later", &[later], 1, None)
    });
    machine.verify(&world.head).unwrap();
}

#[test]
fn rotation_long_ago_does_not_make_machines_forget_versions() {
    let mut world = World::busy();
    let machine = world.watcher();
    let new = world.key("new", "online");
    world.edit(&["root", "new", "build"], |editor| {
        editor.set_keys("timestamp", &[new], 1)
    });
    machine.verify(&world.head).unwrap();
    let old = world.head.clone();
    world.edit(&["new", "build"], |_| Ok(()));
    machine.verify(&world.head).unwrap();
    assert!(machine.refuses(&old).contains("older state"));
}

#[test]
fn a_role_cannot_sign_for_another_name() {
    let mut world = World::busy();
    let machine = world.watcher();
    let bad = release(ReleaseKind::Layer, "base", 9);
    let (name, bytes) = (
        release_target(ReleaseKind::Layer, "base", &bad.id),
        json(&bad),
    );
    let mut thief = Thief::new(&world, &["team", "build"]);
    thief.change("layer.nginx", |targets: &mut Targets| {
        targets
            .targets
            .insert(name.parse().unwrap(), target_of(&bytes));
    });
    thief.seal();
    assert_eq!(
        machine.refuses(&thief.head()),
        format!("role 'layer.nginx' signed '{name}', which only role 'targets' may sign")
    );
}

#[test]
fn the_targets_role_cannot_sign_what_it_delegated() {
    let mut world = World::busy();
    let machine = world.watcher();
    let name = stable(ReleaseKind::Layer, "nginx").target();
    let evil = channel(
        ReleaseKind::Layer,
        "nginx",
        &release(ReleaseKind::Layer, "nginx", 9),
    );
    let mut thief = Thief::new(&world, &["targets", "build"]);
    thief.change("targets", |targets: &mut Targets| {
        targets
            .targets
            .insert(name.parse().unwrap(), target_of(&json(&evil)));
    });
    thief.seal();
    assert_eq!(
        machine.refuses(&thief.head()),
        format!("role 'targets' signed '{name}', which only role 'layer.nginx' may sign")
    );
}

#[test]
fn a_team_cannot_sign_with_the_key_of_another() {
    let mut world = World::busy();
    let other = world.key("other", "web");
    world.edit(&["targets", "other", "build"], |editor| {
        editor.delegate(ReleaseKind::Image, "web", &[other], 1, None)
    });
    let machine = world.watcher();
    let mut thief = Thief::new(&world, &["other", "build"]);
    // It signs the role of nginx with the key of web.
    let keys = thief.keys("image.web");
    let mut signed: Signed<Targets> =
        read("x", &thief.contents.metadata["layer.nginx.json"]).unwrap();
    signed.signed.targets.clear();
    signed.signatures.clear();
    sign(&mut signed, &keys, &thief.store).unwrap();
    thief
        .contents
        .metadata
        .insert("layer.nginx.json".to_owned(), write(&signed).unwrap());
    thief.seal();
    assert_eq!(
        machine.refuses(&thief.head()),
        "role 'layer.nginx' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1"
    );
}

#[test]
fn a_document_signed_under_a_wrong_name_is_refused() {
    let mut world = World::busy();
    // A publisher's own mistake, or a stolen key: bytes of one thing under the name of another.
    let (base, nginx) = (
        release(ReleaseKind::Layer, "base", 1),
        release(ReleaseKind::Layer, "nginx", 2),
    );
    let target = release_target(ReleaseKind::Layer, "nginx", &nginx.id);
    let wrong = channel(ReleaseKind::Layer, "base", &base);
    world.edit(&["team", "build"], |editor| {
        editor.put(&target, &json(&base))?;
        editor.put(&stable(ReleaseKind::Layer, "nginx").target(), &json(&wrong))
    });
    let machine = world.watcher();
    let verified = machine.verify(&world.head).unwrap();
    let error = verified
        .release(ReleaseKind::Layer, "nginx", &nginx.id)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "'{target}' was signed under a wrong name: it says it is release {} of layer 'base'",
            base.id
        )
    );
    let error = verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it says it is channel 'layers/base/stable'"),
        "{error}"
    );
}

#[test]
fn a_channel_reaches_releases_of_its_own_name_only() {
    let mut world = World::busy();
    let nginx = release(ReleaseKind::Layer, "nginx", 1);
    let wrong = channel(ReleaseKind::Image, "web", &nginx);
    world.edit(&["targets", "build"], |editor| {
        editor.put(&stable(ReleaseKind::Image, "web").target(), &json(&wrong))
    });
    let machine = world.watcher();
    let verified = machine.verify(&world.head).unwrap();
    let channel = verified
        .channel(&stable(ReleaseKind::Image, "web"))
        .unwrap();
    let error = verified
        .release(ReleaseKind::Image, "web", &channel.release)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the remote has no release {} of image 'web'", nginx.id)
    );
}

#[test]
fn a_role_that_is_hidden_from_the_snapshot_is_missed() {
    let mut world = World::busy();
    let (old, new) = (world.watcher(), world.watcher());
    old.verify(&world.head).unwrap();
    let mut thief = Thief::new(&world, &["build"]);
    thief.change("snapshot", |snapshot: &mut Snapshot| {
        snapshot.meta.remove("layer.nginx.json").unwrap();
    });
    thief.seal_timestamp();
    assert_eq!(
        old.refuses(&thief.head()),
        "the remote's snapshot lacks 'layer.nginx.json', which an earlier one had"
    );
    assert_eq!(
        new.refuses(&thief.head()),
        "the remote's head lacks 'layer.nginx.json'"
    );
}

#[test]
fn a_role_that_delegates_further_is_refused() {
    let mut world = World::busy();
    let machine = world.watcher();
    let mut thief = Thief::new(&world, &["team", "build"]);
    let targets: Signed<Targets> =
        read("targets", &thief.contents.metadata["targets.json"]).unwrap();
    let mut further = targets.signed.delegations.unwrap();
    further.roles[0].name = "layer.other".to_owned();
    thief.change("layer.nginx", |targets: &mut Targets| {
        targets.delegations = Some(further)
    });
    thief.seal();
    let message = machine.refuses(&thief.head());
    assert_eq!(
        message,
        "role 'layer.nginx' cannot be used: it delegates further"
    );
}

#[test]
fn keys_that_were_revoked_sign_nothing_any_more() {
    let mut world = World::busy();
    let stolen = world
        .keys(&["team"])
        .public_keys()
        .next()
        .unwrap()
        .0
        .clone();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    // The only key of a role cannot go.
    let error = world.editor().revoke_key(stolen.id()).unwrap_err();
    assert!(
        error.to_string().ends_with("role 'layer.nginx' has 0 key(s) and needs 1: give it another key first, with `layerset trust rotate REMOTE layer.nginx`"),
        "{error}"
    );
    let fresh = world.key("fresh", "nginx");
    world.edit(&["targets", "fresh", "build"], |editor| {
        let mut keys = editor.public_keys_of("layer.nginx")?;
        keys.push(fresh);
        editor.set_keys("layer.nginx", &keys, 1)?;
        let roles = editor.revoke_key(stolen.id())?;
        assert_eq!(roles, ["layer.nginx"]);
        Ok(())
    });
    machine.verify(&world.head).unwrap();
    let keys: BTreeSet<KeyId> = [stolen.id().clone()].into();
    let mut thief = Thief::new(&world, &["team", "build"]);
    let mut signed: Signed<Targets> =
        read("x", &thief.contents.metadata["layer.nginx.json"]).unwrap();
    signed.signed.version = signed.signed.version.checked_add(1).unwrap();
    signed.signatures.clear();
    sign(&mut signed, &keys, &thief.store).unwrap();
    assert_eq!(signed.signatures.len(), 1);
    thief
        .contents
        .metadata
        .insert("layer.nginx.json".to_owned(), write(&signed).unwrap());
    thief.seal();
    assert_eq!(
        machine.refuses(&thief.head()),
        "role 'layer.nginx' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1"
    );
    // Nor do publishers sign with it by accident.
    let mut editor = world.editor();
    editor.renew("layer.nginx").unwrap();
    let error = editor.sign(&world.keys(&["team", "build"])).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("role 'layer.nginx' needs 1 signature(s) by its keys"),
        "{error}"
    );
}

#[test]
fn a_root_is_rotated_by_the_old_and_the_new_key() {
    let mut world = World::busy();
    let (old, late) = (world.watcher(), world.watcher());
    old.verify(&world.head).unwrap();
    let new = world.key("second", "root");
    let mut editor = world.editor();
    editor
        .set_keys("root", std::slice::from_ref(&new), 1)
        .unwrap();
    let error = editor.sign(&world.keys(&["second", "build"])).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("role 'root' needs 1 signature(s)"),
        "{error}"
    );
    world.edit(&["root", "second", "build"], |editor| {
        editor.set_keys("root", &[new], 1)
    });
    old.verify(&world.head).unwrap();
    // A machine that was given the first root finds the way.
    late.verify(&world.head).unwrap();
    // The old key makes no root any more.
    let mut thief = Thief::new(&world, &["root"]);
    let second: Signed<Root> = read("root", &thief.contents.metadata["2.root.json"]).unwrap();
    let first: Signed<Root> = read("root", &thief.contents.metadata["1.root.json"]).unwrap();
    let mut third = second.clone();
    third.signed.version = second.signed.version.checked_add(1).unwrap();
    third.signatures.clear();
    let keys = keys_of(
        &first.signed,
        &Targets::new(String::new(), third.signed.version, third.signed.expires),
        "root",
    )
    .unwrap();
    sign(&mut third, &keys.keys.into_iter().collect(), &thief.store).unwrap();
    assert_eq!(third.signatures.len(), 1);
    thief
        .contents
        .metadata
        .insert("3.root.json".to_owned(), write(&third).unwrap());
    for machine in [&old, &late] {
        assert_eq!(
            machine.refuses(&thief.head()),
            "version 3 of the root is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1"
        );
    }
}

#[test]
fn two_of_three_keys_are_needed_where_the_threshold_says_so() {
    let mut world = World::busy();
    let team = ["ann", "bob", "eve"].map(|person| world.key(person, "web"));
    world.edit(&["targets", "ann", "eve", "build"], |editor| {
        editor.delegate(ReleaseKind::Image, "web", &team, 2, None)
    });
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    let mut thief = Thief::new(&world, &["eve", "build"]);
    thief.change("image.web", |targets: &mut Targets| targets.targets.clear());
    let text = thief.contents.metadata["image.web.json"].clone();
    thief.change("snapshot", |snapshot: &mut Snapshot| {
        let version = snapshot.meta["image.web.json"].version;
        snapshot
            .meta
            .insert("image.web.json".to_owned(), metafile(&text, version));
    });
    thief.seal_timestamp();
    assert_eq!(
        machine.refuses(&thief.head()),
        "role 'image.web' is not signed as it must be: it has 1 valid signature(s) by its keys and needs 2"
    );
}
