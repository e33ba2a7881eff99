//! What a mirror without keys can try.

use super::*;

#[test]
fn an_honest_head_is_taken_and_read() {
    let mut world = World::busy();
    let machine = world.watcher();
    let verified = machine.verify(&world.head).unwrap();
    let names: Vec<String> = verified
        .channels()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        names,
        [
            "layers/base/stable",
            "layers/nginx/stable",
            "images/web/stable"
        ]
    );
    let channel = verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap();
    let release = verified
        .release(ReleaseKind::Layer, "nginx", &channel.release)
        .unwrap();
    assert_eq!((release.serial, channel.serial), (1, 1));
    assert_eq!(verified.releases(ReleaseKind::Layer, "nginx"), [release.id]);
    assert_eq!(verified.names(ReleaseKind::Layer), ["base", "nginx"]);
    assert_eq!(verified.signer(ReleaseKind::Layer, "nginx"), "layer.nginx");
    assert_eq!(verified.signer(ReleaseKind::Layer, "base"), "targets");
    assert_eq!(verified.clock_warning(), None);
    let missing = verified
        .channel(&stable(ReleaseKind::Layer, "other"))
        .unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the remote has no channel 'layers/other/stable'"
    );
    // The same again changes nothing.
    let before = files(&machine.dir);
    machine.verify(&world.head).unwrap();
    assert_eq!(files(&machine.dir), before);
}

#[test]
fn a_changed_document_is_refused_by_name() {
    let mut world = World::busy();
    let machine = world.watcher();
    let target = stable(ReleaseKind::Image, "web").target();
    let changed = "'images/web/channels/stable.json' was changed after it was signed";
    let longer = "'images/web/channels/stable.json' is larger than the 263 bytes that it may have";
    for (old, new, message) in [
        ("\"serial\": 1", "\"serial\": 9", changed),
        ("\"serial\": 1", "\"serial\":1", changed),
        ("}\n", "} \n", longer),
    ] {
        let head = tampered(&world.head, |head| {
            let text = head.targets.get_mut(&target).unwrap();
            *text = text.replacen(old, new, 1);
        });
        assert_ne!(head, world.head);
        let verified = machine.verify(&head).unwrap();
        let error = verified
            .channel(&stable(ReleaseKind::Image, "web"))
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_release_in_place_of_another_is_refused() {
    let mut world = World::busy();
    let machine = world.watcher();
    let (nginx, base) = (
        release(ReleaseKind::Layer, "nginx", 1),
        release(ReleaseKind::Layer, "base", 1),
    );
    let head = tampered(&world.head, |head| {
        let text = head.targets[&release_target(ReleaseKind::Layer, "base", &base.id)].clone();
        head.targets
            .insert(release_target(ReleaseKind::Layer, "nginx", &nginx.id), text);
    });
    let verified = machine.verify(&head).unwrap();
    let error = verified
        .release(ReleaseKind::Layer, "nginx", &nginx.id)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("was changed after it was signed"),
        "{error}"
    );
}

#[test]
fn changed_metadata_is_refused_by_name() {
    let mut world = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    for (file, message) in [
        (
            "targets.json",
            "'targets.json' was changed after it was signed",
        ),
        (
            "layer.nginx.json",
            "'layer.nginx.json' was changed after it was signed",
        ),
        (
            "snapshot.json",
            "'snapshot.json' was changed after it was signed",
        ),
        (
            "timestamp.json",
            "role 'timestamp' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1",
        ),
    ] {
        let head = tampered(&world.head, |head| {
            let text = head.metadata.get_mut(file).unwrap();
            *text = text
                .replace("\"expires\":\"2026", "\"expires\":\"2036")
                .replace("\"expires\":\"2027", "\"expires\":\"2037");
        });
        assert_ne!(head, world.head, "{file}");
        assert_eq!(machine.refuses(&head), message);
    }
}

#[test]
fn an_older_head_is_refused_as_a_rollback() {
    let mut world = World::busy();
    let machine = world.watcher();
    let old = world.head.clone();
    world.publish(ReleaseKind::Layer, "nginx", 2);
    machine.verify(&world.head).unwrap();
    let message = machine.refuses(&old);
    assert_eq!(
        message,
        "the remote offers an older state than the one seen before: role 'timestamp' has version 5, but version 6 was seen"
    );
    // Another mirror still can deliver.
    machine.verify(&world.head).unwrap();
}

#[test]
fn raised_versions_are_refused_without_keys() {
    let mut world = World::busy();
    let machine = world.watcher();
    let head = tampered(&world.head, |head| {
        let text = head.metadata.get_mut("timestamp.json").unwrap();
        *text = text.replace("\"version\":5}", "\"version\":9007199254740991}");
    });
    assert_ne!(head, world.head);
    let message = machine.refuses(&head);
    assert!(
        message.starts_with("role 'timestamp' is not signed as it must be"),
        "{message}"
    );
}

#[test]
fn a_frozen_remote_is_told_by_role_and_date() {
    let mut world = World::busy();
    let mut machine = world.watcher();
    machine.verify(&world.head).unwrap();
    machine.now = NOW + 7 * DAY;
    machine.verify(&world.head).unwrap();
    machine.now += 2 * DAY;
    assert_eq!(
        machine.refuses(&world.head),
        "role 'timestamp' expired at 2026-12-08T00:00:00Z, and this machine's clock says 2026-12-10T00:00:00Z: the remote has been stale for 2 day(s)"
    );
    // A publisher can still refresh it, and then it is taken.
    world.now = machine.now;
    world.edit(&["build"], |_| Ok(()));
    machine.verify(&world.head).unwrap();
}

#[test]
fn a_clock_that_is_wrong_is_named_and_bricks_nothing() {
    let mut world = World::busy();
    let mut machine = world.watcher();
    machine.now = NOW + 20 * 365 * DAY;
    let message = machine.refuses(&world.head);
    assert!(
        message.ends_with(
            "this machine's clock says 2046-11-26T00:00:00Z, which looks wrong: check the clock"
        ),
        "{message}"
    );
    machine.now = 12;
    let verified = machine.verify(&world.head).unwrap();
    let warning = verified.clock_warning().unwrap();
    assert!(
        warning.starts_with("this machine's clock says 1970-01-01T00:00:12Z, but channel 'layers/base/stable' was signed on 2026-12-01"),
        "{warning}"
    );
    // And after it was put right, all is well.
    machine.now = NOW;
    assert_eq!(machine.verify(&world.head).unwrap().clock_warning(), None);
}

#[test]
fn an_expired_delegated_role_stops_its_own_documents_only() {
    let mut world = World::new();
    let team = world.key("team", "nginx");
    world.edit(&["targets", "team", "build"], |editor| {
        editor.delegate(ReleaseKind::Layer, "nginx", &[team], 1, Some(2 * DAY))
    });
    world.publish(ReleaseKind::Layer, "nginx", 1);
    world.publish(ReleaseKind::Layer, "base", 1);
    let mut machine = world.watcher();
    machine.now = NOW + 3 * DAY;
    let verified = machine.verify(&world.head).unwrap();
    verified
        .channel(&stable(ReleaseKind::Layer, "base"))
        .unwrap();
    let error = verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("role 'layer.nginx' expired at 2026-12-03"),
        "{error}"
    );
    // Who is going to sign anew, or to look after others' mistakes, reads it.
    let verified = verify_to_edit(&world.head, &world.root, &machine.state, machine.now).unwrap();
    let nginx = verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap();
    verified
        .release(ReleaseKind::Layer, "nginx", &nginx.release)
        .unwrap();
}

#[test]
fn endless_data_is_refused_before_it_is_stored() {
    let mut world = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    let huge = vec![0; (8 << 20) + 1];
    assert_eq!(
        machine.refuses(&huge),
        "'head' is larger than the 8388608 bytes that it may have"
    );
    let bomb = zstd::bulk::compress(&vec![b' '; 65 << 20], 3).unwrap();
    assert!(
        machine
            .refuses(&bomb)
            .contains("it unpacks to more than 67108864 bytes")
    );
    let head = tampered(&world.head, |head| {
        head.metadata
            .get_mut("timestamp.json")
            .unwrap()
            .push_str(&" ".repeat(1 << 17));
    });
    assert_eq!(
        machine.refuses(&head),
        "'timestamp.json' is larger than the 65536 bytes that it may have"
    );
    let head = tampered(&world.head, |head| {
        head.metadata
            .get_mut("layer.nginx.json")
            .unwrap()
            .push_str(&" ".repeat(40 << 20));
    });
    assert_eq!(
        machine.refuses(&head),
        "'layer.nginx.json' is larger than the 16777216 bytes that it may have"
    );
    let head = tampered(&world.head, |head| {
        head.metadata
            .get_mut("layer.nginx.json")
            .unwrap()
            .push_str(&" ".repeat(1 << 20));
    });
    let signed = world.contents().metadata["layer.nginx.json"].len();
    assert_eq!(
        machine.refuses(&head),
        format!("'layer.nginx.json' is larger than the {signed} bytes that it may have")
    );
}

#[test]
fn damage_of_every_kind_is_refused() {
    let mut world = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    for length in [0, 1, world.head.len() / 2, world.head.len() - 1] {
        let message = machine.refuses(&world.head[..length]);
        assert!(
            message.starts_with("the remote's head is damaged"),
            "{message}"
        );
    }
    let message = machine.refuses(b"<html>log in to the hotel</html>");
    assert!(
        message.starts_with("the remote's head is damaged"),
        "{message}"
    );
    let names: Vec<String> = world.contents().metadata.keys().cloned().collect();
    for name in names.iter().filter(|name| *name != "1.root.json") {
        let head = tampered(&world.head, |head| {
            head.metadata.insert(name.clone(), "{}".to_owned());
        });
        let message = machine.refuses(&head);
        assert!(
            message.contains(name.trim_end_matches(".json")),
            "{name}: {message}"
        );
    }
    let head = tampered(&world.head, |head| {
        head.metadata
            .insert("2.root.json".to_owned(), "{}".to_owned());
    });
    let message = machine.refuses(&head);
    assert!(
        message.starts_with("version 2 of the root cannot be used"),
        "{message}"
    );
}

#[test]
fn parts_of_different_states_are_refused_as_mixed() {
    let mut world = World::busy();
    let old = world.contents();
    world.publish(ReleaseKind::Layer, "nginx", 2);
    world.publish(ReleaseKind::Layer, "base", 2);
    let machine = world.watcher();
    for file in ["targets.json", "layer.nginx.json", "snapshot.json"] {
        let head = tampered(&world.head, |head| {
            head.metadata
                .insert(file.to_owned(), old.metadata[file].clone());
        });
        assert_eq!(
            machine.refuses(&head),
            format!(
                "the remote mixes parts of different states: '{file}' is signed, but not the one that the rest names"
            )
        );
    }
}

#[test]
fn missing_files_are_refused_by_name() {
    let mut world = World::busy();
    let machine = world.watcher();
    for file in [
        "targets.json",
        "layer.nginx.json",
        "snapshot.json",
        "timestamp.json",
    ] {
        let head = tampered(&world.head, |head| {
            head.metadata.remove(file).unwrap();
        });
        assert_eq!(
            machine.refuses(&head),
            format!("the remote's head lacks '{file}'")
        );
    }
    let target = stable(ReleaseKind::Layer, "nginx").target();
    let head = tampered(&world.head, |head| {
        head.targets.remove(&target).unwrap();
    });
    let verified = machine.verify(&head).unwrap();
    let error = verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the remote's head lacks '{target}'")
    );
    // And a mirror that has it delivers.
    let verified = machine.verify(&world.head).unwrap();
    verified
        .channel(&stable(ReleaseKind::Layer, "nginx"))
        .unwrap();
}

#[test]
fn another_remote_is_refused_by_the_root_of_this_one() {
    let mut world = World::busy();
    let other = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    let message = machine.refuses(&other.head);
    assert!(
        message.starts_with("role 'timestamp' is not signed as it must be: it has 0 valid"),
        "{message}"
    );
}

#[test]
fn the_root_of_another_remote_starts_afresh() {
    let mut world = World::busy();
    world.publish(ReleaseKind::Layer, "nginx", 7);
    let mut machine = world.watcher();
    let verified = machine.verify(&world.head).unwrap();
    let nginx = stable(ReleaseKind::Layer, "nginx");
    machine
        .state
        .record(&verified.channel(&nginx).unwrap())
        .unwrap();
    let other = World::busy();
    machine.root = other.root.clone();
    let verified = machine.verify(&other.head).unwrap();
    let channel = verified.channel(&nginx).unwrap();
    machine.state.accept(&channel, None).unwrap();
    assert_eq!(machine.state.taken(&nginx).unwrap(), None);
}
