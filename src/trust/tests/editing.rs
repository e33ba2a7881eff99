//! What publishers do.

use super::*;

#[test]
fn only_what_changed_is_signed_anew() {
    let mut world = World::busy();
    let before = world.contents();
    world.publish(ReleaseKind::Layer, "nginx", 2);
    let after = world.contents();
    let changed: Vec<&String> = after
        .metadata
        .iter()
        .filter(|(name, text)| before.metadata.get(*name) != Some(text))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        changed,
        ["layer.nginx.json", "snapshot.json", "timestamp.json"]
    );
    // The team needs the keys of nobody else but the build server's.
    let mut editor = world.editor();
    let next = release(ReleaseKind::Layer, "nginx", 3);
    editor
        .put(
            &release_target(ReleaseKind::Layer, "nginx", &next.id),
            &json(&next),
        )
        .unwrap();
    editor.sign(&world.keys(&["team", "build"])).unwrap();
    let mut editor = world.editor();
    let same = release(ReleaseKind::Layer, "nginx", 2);
    editor
        .put(
            &release_target(ReleaseKind::Layer, "nginx", &same.id),
            &json(&same),
        )
        .unwrap();
    assert_eq!(editor.changed().count(), 0);
}

#[test]
fn a_missing_key_is_one_sentence() {
    let mut world = World::busy();
    let mut editor = world.editor();
    let next = release(ReleaseKind::Layer, "nginx", 2);
    editor
        .put(
            &release_target(ReleaseKind::Layer, "nginx", &next.id),
            &json(&next),
        )
        .unwrap();
    let store = world.keys(&["build"]);
    let id = world
        .keys(&["team"])
        .public_keys()
        .next()
        .unwrap()
        .0
        .id()
        .short()
        .to_owned();
    let error = editor.sign(&store).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "role 'layer.nginx' needs 1 signature(s) by its keys {id}, and has 0: '{}' holds none of the others",
            store.dir().display()
        )
    );
    assert!(matches!(error, TrustError::MissingKeys { .. }));
}

#[test]
fn two_people_sign_one_change_and_others_publish_meanwhile() {
    let mut world = World::busy();
    let team = ["ann", "bob", "eve"].map(|person| world.key(person, "web"));
    world.edit(&["targets", "ann", "eve", "build"], |editor| {
        editor.delegate(ReleaseKind::Image, "web", &team, 2, None)
    });
    let next = release(ReleaseKind::Image, "web", 2);
    let target = release_target(ReleaseKind::Image, "web", &next.id);
    let mut editor = world.editor();
    editor.put(&target, &json(&next)).unwrap();
    let pending = editor.sign_partial(&world.keys(&["ann"])).unwrap();
    let missing_signatures = pending.missing_signatures().unwrap();
    assert_eq!(
        (
            missing_signatures.len(),
            missing_signatures[0].have,
            missing_signatures[0].threshold
        ),
        (1, 1, 2)
    );

    // Meanwhile another team publishes, and the build server refreshes.
    world.publish(ReleaseKind::Layer, "nginx", 2);

    let mut travelled = PendingChange::from_json(&pending.to_json().unwrap()).unwrap();
    let machine = world.watcher();
    let published = machine.verify(&world.head).unwrap();
    let text = travelled.describe(Some(&published)).unwrap().join("\n");
    assert_eq!(
        text,
        format!(
            "role 'image.web' becomes version 2, good until 2027-12-01T00:00:00Z\n  '{target}' is added\n    version 1.2, release 2"
        )
    );
    // Who has no say adds nothing.
    assert_eq!(
        travelled.add_signatures(&world.keys(&["team"])).unwrap(),
        [""; 0]
    );
    let error = travelled
        .clone()
        .finish(Some(&published), &world.keys(&["build"]), NOW)
        .unwrap_err();
    assert!(
        error.to_string().contains("needs 2 signature(s)"),
        "{error}"
    );
    assert_eq!(
        travelled.add_signatures(&world.keys(&["bob"])).unwrap(),
        ["image.web"]
    );
    assert_eq!(travelled.missing_signatures().unwrap(), []);
    world.head = travelled
        .clone()
        .finish(Some(&published), &world.keys(&["build"]), NOW)
        .unwrap();
    let verified = machine.verify(&world.head).unwrap();
    verified
        .release(ReleaseKind::Image, "web", &next.id)
        .unwrap();
    assert_eq!(
        verified
            .channel(&stable(ReleaseKind::Layer, "nginx"))
            .unwrap()
            .serial,
        2
    );

    // It cannot be finished twice.
    let error = travelled
        .finish(Some(&verified), &world.keys(&["build"]), NOW)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "role 'image.web' was prepared as version 2, but version 2 is published already"
    );
}

#[test]
fn a_root_is_rotated_by_two_people() {
    let mut world = World::busy();
    let new = world.key("second", "root");
    let mut editor = world.editor();
    editor.set_keys("root", &[new], 1).unwrap();
    let mut pending = editor.sign_partial(&world.keys(&["second"])).unwrap();
    assert_eq!(pending.missing_signatures().unwrap().len(), 1);
    pending.add_signatures(&world.keys(&["root"])).unwrap();
    assert_eq!(pending.missing_signatures().unwrap(), []);
    let machine = world.watcher();
    let published = machine.verify(&world.head).unwrap();
    let head = pending
        .finish(Some(&published), &world.keys(&["build"]), NOW)
        .unwrap();
    machine.verify(&head).unwrap();
}

#[test]
fn a_name_that_is_delegated_takes_its_documents_along_and_back() {
    let mut world = World::busy();
    let base = release(ReleaseKind::Layer, "base", 1);
    let team = world.key("base", "base");
    world.edit(&["targets", "base", "build"], |editor| {
        editor.delegate(ReleaseKind::Layer, "base", &[team], 1, None)
    });
    let machine = world.watcher();
    let verified = machine.verify(&world.head).unwrap();
    assert_eq!(verified.signer(ReleaseKind::Layer, "base"), "layer.base");
    verified
        .release(ReleaseKind::Layer, "base", &base.id)
        .unwrap();

    world.edit(&["targets", "build"], |editor| {
        editor.revoke(ReleaseKind::Layer, "base", DocumentPolicy::Keep)
    });
    let verified = machine.verify(&world.head).unwrap();
    assert_eq!(verified.signer(ReleaseKind::Layer, "base"), "targets");
    verified
        .release(ReleaseKind::Layer, "base", &base.id)
        .unwrap();

    world.edit(&["targets", "build"], |editor| {
        editor.revoke(ReleaseKind::Layer, "nginx", DocumentPolicy::Drop)
    });
    let verified = machine.verify(&world.head).unwrap();
    assert_eq!(verified.releases(ReleaseKind::Layer, "nginx"), []);
    assert!(
        !world
            .contents()
            .targets
            .keys()
            .any(|name| name.contains("nginx"))
    );

    // And a name can get a role again: its versions go on.
    let again = world.key("again", "nginx");
    world.edit(&["targets", "again", "build"], |editor| {
        editor.delegate(ReleaseKind::Layer, "nginx", &[again], 1, None)
    });
    machine.verify(&world.head).unwrap();
}

#[test]
fn keys_that_others_can_read_and_keys_of_other_kinds_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let dir = world.dir.path().join("keys/root");
    let path = std::fs::read_dir(&dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another name is as good, and files that are no keys do not matter.
    let other = dir.join("whatever");
    std::fs::rename(&path, &other).unwrap();
    std::fs::write(dir.join("README"), "keys of the root").unwrap();
    assert_eq!(KeyStore::open(&dir).unwrap().public_keys().count(), 1);
    std::fs::set_permissions(&other, PermissionsExt::from_mode(0o640)).unwrap();
    let error = KeyStore::open(&dir).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "key file '{}' is refused: others can read it (mode 0640)",
            other.display()
        )
    );
    std::fs::write(&other, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n").unwrap();
    std::fs::set_permissions(&other, PermissionsExt::from_mode(0o600)).unwrap();
    let error = KeyStore::open(&dir).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it is not an unencrypted PKCS#8 key in PEM form"),
        "{error}"
    );
    assert!(PublicKey::from_hex("abc").is_err());
}

#[test]
fn thresholds_that_cannot_be_met_are_refused() {
    let mut world = World::busy();
    let (one, two) = (world.key("a", "a"), world.key("b", "b"));
    for (keys, threshold) in [
        (vec![], 1),
        (vec![one.clone()], 0),
        (vec![one.clone()], 2),
        (vec![two.clone(), two], 1),
    ] {
        let mut editor = world.editor();
        assert!(
            editor
                .delegate(ReleaseKind::Layer, "base", &keys, threshold, None)
                .is_err()
        );
        assert!(editor.set_keys("root", &keys, threshold).is_err());
        assert_eq!(editor.changed().count(), 0);
    }
    assert!(world.editor().set_keys("layer.none", &[one], 1).is_err());
}

#[test]
fn metadata_that_machines_would_refuse_as_too_large_is_not_published() {
    let mut world = World::busy();
    let mut editor = world.editor();
    let mut keys = editor.public_keys_of("root").unwrap();
    keys.extend((0..2000).map(|number| PublicKey::from_hex(&format!("{number:064x}")).unwrap()));
    editor.set_keys("root", &keys, 1).unwrap();
    let error = editor.sign(&world.keys(&["root", "build"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'2.root.json' is larger than the 262144 bytes that it may have"
    );
}

#[test]
fn what_expires_first_is_told_of_what_is_needed() {
    let mut world = World::new();
    let team = world.key("team", "nginx");
    world.edit(&["targets", "team", "build"], |editor| {
        editor.delegate(ReleaseKind::Layer, "nginx", &[team], 1, Some(2 * DAY))
    });
    world.publish(ReleaseKind::Layer, "nginx", 1);
    world.publish(ReleaseKind::Layer, "base", 1);
    let mut web = release(ReleaseKind::Image, "web", 1);
    let nginx = release(ReleaseKind::Layer, "nginx", 1);
    web.layers = vec![crate::format::ImageLayer {
        name: nginx.name,
        id: nginx.id.layer(),
        version: nginx.version,
    }];
    let points = channel(ReleaseKind::Image, "web", &web);
    world.edit(&["targets", "build"], |editor| {
        editor.put(
            &release_target(ReleaseKind::Image, "web", &web.id),
            &json(&web),
        )?;
        editor.put(&stable(ReleaseKind::Image, "web").target(), &json(&points))
    });
    let verified = world.watcher().verify(&world.head).unwrap();
    let (team, all) = (
        (NOW + 2 * DAY, "layer.nginx".to_owned()),
        (NOW + 7 * DAY, "timestamp".to_owned()),
    );
    assert_eq!(verified.expires(), team);
    for (kind, name, first) in [
        (ReleaseKind::Layer, "base", &all),
        (ReleaseKind::Layer, "nginx", &team),
        (ReleaseKind::Image, "web", &team),
    ] {
        let channels = [stable(kind, name)];
        assert_eq!(verified.expires_for(&channels).unwrap(), *first, "{name}");
    }
}
