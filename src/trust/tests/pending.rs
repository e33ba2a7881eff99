//! What somebody is shown who signs a change away from the remote.

use serde_json::Value;
use tough::schema::{Root, Signed, Targets};

use super::*;
use crate::trust::signing::{read, write};

/// Rewrites the file of a change on its way; gives root and targets as it says that they were
/// published.
fn rewritten(pending: &PendingChange, change: impl FnOnce(&mut Value)) -> PendingChange {
    let mut value = serde_json::to_value(pending).unwrap();
    change(&mut value);
    PendingChange::from_json(&json(&value)).unwrap()
}

fn text<'v>(value: &'v mut Value, part: &str, name: &str) -> &'v mut Value {
    value.get_mut(part).unwrap().get_mut(name).unwrap()
}

fn refusal(pending: &PendingChange, root: &[u8]) -> String {
    let error = pending.describe_alone(root).unwrap_err();
    assert!(matches!(error, TrustError::Unvouched { .. }), "{error}");
    let text = error.to_string();
    let start = "the pending file cannot be trusted about what was published: ";
    assert!(text.starts_with(start), "{text}");
    text.replace(start, "")
}

#[test]
fn a_key_that_the_file_says_was_there_before_is_not_hidden_from_who_signs() {
    let mut world = World::busy();
    let evil = world.key("evil", "root");
    let mut editor = world.editor();
    let mut keys = editor.public_keys_of("root").unwrap();
    keys.push(evil.clone());
    editor.set_keys("root", &keys, 1).unwrap();
    let honest = editor.sign_partial(&world.keys(&[])).unwrap();
    let shown = format!("  key {} may sign for role 'root'", evil.id().short());
    let lines = honest.describe_alone(&world.root).unwrap();
    assert!(lines.contains(&shown), "{lines:?}");

    let file = rewritten(&honest, |file| {
        let new = text(file, "roles", "root").as_str().unwrap().to_owned();
        let mut old: Signed<Root> = read("root", &new).unwrap();
        old.signed.version = std::num::NonZeroU64::MIN;
        *text(file, "context", "root") = write(&old).unwrap().into();
    });
    assert_eq!(
        refusal(&file, &world.root),
        "its root, version 1, does not follow from the trusted root, version 1"
    );
    // A later version of the root does not help, nor the change as if it made a new remote.
    let file = rewritten(&honest, |file| {
        let new = text(file, "roles", "root").clone();
        *text(file, "context", "root") = new;
    });
    let message = refusal(&file, &world.root);
    assert!(
        message.starts_with("version 2 of the root is not signed as it must be"),
        "{message}"
    );
    let file = rewritten(&honest, |file| {
        file.as_object_mut().unwrap().remove("context").unwrap();
    });
    assert!(file.is_new_remote());
    let error = file.describe(None).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("role 'root' is version 2 in it, after version 0"),
        "{error}"
    );
}

#[test]
fn a_delegation_that_the_file_says_was_there_before_is_not_hidden_from_who_signs() {
    let mut world = World::busy();
    let evil = world.key("evil", "base");
    let mut editor = world.editor();
    let team = std::slice::from_ref(&evil);
    editor
        .delegate(ReleaseKind::Layer, "base", team, 1, None)
        .unwrap();
    let honest = editor.sign_partial(&world.keys(&[])).unwrap();
    let shown = format!("  key {} may sign for role 'layer.base'", evil.id().short());
    let lines = honest.describe_alone(&world.root).unwrap();
    assert!(lines.contains(&shown), "{lines:?}");
    let file = rewritten(&honest, |file| {
        let new = text(file, "roles", "targets").as_str().unwrap().to_owned();
        let mut old: Signed<Targets> = read("targets", &new).unwrap();
        old.signed.version = std::num::NonZeroU64::new(old.signed.version.get() - 1).unwrap();
        *text(file, "context", "targets") = write(&old).unwrap().into();
    });
    let message = refusal(&file, &world.root);
    assert!(
        message.starts_with("its role 'targets' is not signed as it must be"),
        "{message}"
    );
    // Nor is a version left out, for a state that comes between.
    let file = rewritten(&honest, |file| {
        let new = text(file, "roles", "targets").as_str().unwrap().to_owned();
        let mut new: Signed<Targets> = read("targets", &new).unwrap();
        new.signed.version = new.signed.version.checked_add(1).unwrap();
        *text(file, "roles", "targets") = write(&new).unwrap().into();
    });
    let message = refusal(&file, &world.root);
    assert_eq!(
        message,
        "role 'targets' is version 6 in it, after version 4"
    );
}

#[test]
fn a_file_is_believed_by_roots_that_lead_to_its_own() {
    let mut world = World::busy();
    let first = world.root.clone();
    let next = world.key("next", "root");
    world.edit(&["root", "next", "build"], |editor| {
        editor.set_keys("root", &[next], 1)
    });
    let mut editor = world.editor();
    editor.renew("targets").unwrap();
    let honest = editor.sign_partial(&world.keys(&[])).unwrap();
    let second = world.contents().metadata["2.root.json"].clone();
    honest.describe_alone(&first).unwrap();
    honest.describe_alone(second.as_bytes()).unwrap();
    let file = rewritten(&honest, |file| {
        let context = text(file, "context", "roots").as_array_mut().unwrap();
        assert_eq!(context.len(), 1);
        file["context"].as_object_mut().unwrap().remove("roots");
    });
    file.describe_alone(&first).unwrap();

    world.edit(&["next", "build"], |editor| editor.renew("root"));
    let third = world.contents().metadata["3.root.json"].clone();
    let message = refusal(&honest, third.as_bytes());
    assert_eq!(
        message,
        "its root, version 2, does not follow from the trusted root, version 3"
    );
    let mut editor = world.editor();
    editor.renew("targets").unwrap();
    let honest = editor.sign_partial(&world.keys(&[])).unwrap();
    honest.describe_alone(&first).unwrap();
    let file = rewritten(&honest, |file| {
        file["context"].as_object_mut().unwrap().remove("roots");
    });
    assert_eq!(refusal(&file, &first), "version 2 of the root is not in it");
    let other = World::new();
    refusal(&honest, &other.root);
}

#[test]
fn who_signs_a_channel_sees_what_machines_will_do() {
    let mut world = World::busy();
    world.publish(ReleaseKind::Image, "web", 2);
    let old = release(ReleaseKind::Image, "web", 1);
    let mut back = channel(ReleaseKind::Image, "web", &old);
    back.rollout = Rollout {
        percent: 20,
        not_before: NOW + DAY,
        others: None,
    };
    back.downgrade = goes_back(2);
    let next = release(ReleaseKind::Image, "web", 3);
    let target = release_target(ReleaseKind::Image, "web", &next.id);
    let mut editor = world.editor();
    editor
        .put(&stable(ReleaseKind::Image, "web").target(), &json(&back))
        .unwrap();
    editor.put(&target, &json(&next)).unwrap();
    let pending = editor.sign_partial(&world.keys(&[])).unwrap();
    let told = |pending: &PendingChange| {
        let lines = pending.describe_alone(&world.root).unwrap();
        lines[1..].join("\n")
    };
    let channel = "  'images/web/channels/stable.json' changes\n    ";
    assert_eq!(
        told(&pending),
        format!(
            "{channel}release 1, {}, for 20 % of the machines, not before 2026-12-02T00:00:00Z; machines go back to it from release 2 and lower: '2 loses data'\n  '{target}' is added\n    version 1.3, release 3",
            old.id
        )
    );
    // Another text than the one whose digest is signed is not shown.
    let file = rewritten(&pending, |file| {
        let name = stable(ReleaseKind::Image, "web").target();
        let text = text(file, "documents", &name);
        *text = text.as_str().unwrap().replace("20", "10").into();
    });
    assert!(
        told(&file).starts_with(&format!("{channel}SHA-256 ")),
        "{}",
        told(&file)
    );
}

#[test]
fn who_signs_a_root_sees_what_it_says_beside_keys() {
    let mut world = World::busy();
    let mut editor = world.editor();
    editor.renew("root").unwrap();
    let renewed = editor.sign_partial(&world.keys(&[])).unwrap();
    assert_eq!(renewed.describe_alone(&world.root).unwrap().len(), 1);
    let file = rewritten(&renewed, |file| {
        let new = text(file, "roles", "root").as_str().unwrap().to_owned();
        let mut new: Signed<Root> = read("root", &new).unwrap();
        new.signed.consistent_snapshot = true;
        let spans = new.signed._extra.get_mut("validity_seconds").unwrap();
        spans["timestamp"] = (300 * DAY).into();
        *text(file, "roles", "root") = write(&new).unwrap().into();
    });
    assert_eq!(
        file.describe_alone(&world.root).unwrap()[1..],
        [
            "  signatures of role 'timestamp' are good for 300 day(s) from when they are made",
            "  machines look for files under other names"
        ]
    );
}
