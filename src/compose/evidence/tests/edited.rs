//! What a script made of files below without copying them as they are.

use super::*;

const CONF: &str = "usr/share/app/app.conf";

/// A file of settings with lines of its own.
fn settings(what: &str) -> Vec<u8> {
    let line = |number| format!("setting-{number} = {what} of a program that reads it\n");
    (0..20).map(line).collect::<String>().into_bytes()
}

fn certificate(what: &str) -> String {
    let body = blake3::hash(what.as_bytes()).to_hex().repeat(8);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn with_base(files: &[(&'static str, Vec<u8>)], app: (&'static str, Vec<u8>)) -> World {
    let mut world = World::with([app]);
    world.base.extend(files.iter().cloned());
    world
}

#[test]
fn an_edited_copy_asks_for_a_rebuild_where_a_script_made_it() {
    let mut edited = settings("one");
    edited.extend(b"more = 1\n");
    let world = || {
        with_base(
            &[(CONF, settings("one"))],
            ("etc/app/app.conf", edited.clone()),
        )
    };
    let found = world().after(CONF, Some(settings("two")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/etc/app/app.conf"]);
    // Whoever ships it wants it so, whatever becomes of the origin.
    let mut shipped = world();
    shipped.brought.insert(ObjectId::of(&edited));
    assert_eq!(shipped.after(CONF, Some(settings("two"))), []);
    // Another name, or other lines, are no evidence.
    let other = ("etc/app/other.conf", edited.clone());
    let mut other = with_base(&[(CONF, settings("one"))], other);
    assert_eq!(other.after(CONF, Some(settings("two"))), []);
    let own = ("etc/app/app.conf", settings("mine"));
    let mut own = with_base(&[(CONF, settings("one"))], own);
    assert_eq!(own.after(CONF, Some(settings("two"))), []);
    // In its place it is merged.
    let mut same = with_base(&[(CONF, settings("one"))], (CONF, edited));
    assert_eq!(same.derived(&[]), []);
    assert_eq!(same.after(LIBRARY, Some(bytes("library 2"))), []);
}

#[test]
fn certificates_that_are_put_together_are_made_of_their_files() {
    let files = [
        ("etc/pki/a.pem", certificate("a").into_bytes()),
        ("etc/pki/b.pem", certificate("b").into_bytes()),
    ];
    let both = [certificate("a"), certificate("b")].concat();
    let world = || with_base(&files, ("opt/app/ca.pem", both.clone().into_bytes()));
    let said = ["Rebuild derived:app:/opt/app/ca.pem"];
    let other = certificate("c").into_bytes();
    assert_eq!(
        ids(&world().after("etc/pki/a.pem", Some(other.clone()))),
        said
    );
    // All of a directory: what comes into it belongs there, too.
    assert_eq!(
        ids(&world().after("etc/pki/c.pem", Some(other.clone()))),
        said
    );
    let one = ("opt/app/ca.pem", format!("# mine\n{}", certificate("a")));
    let mut one = with_base(&files, (one.0, one.1.into_bytes()));
    assert_eq!(one.after("etc/pki/b.pem", Some(other)), []);
}

#[test]
fn an_image_of_a_filesystem_may_hold_all_that_programs_are_made_of() {
    let mut image = b"hsqs".to_vec();
    image.extend(bytes("compressed"));
    let mut world = World::with([("srv/boot/root.squashfs", image.clone())]);
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/srv/boot/root.squashfs"]);
    let mut world = World::with([("srv/boot/root.squashfs", image.clone())]);
    world.brought.insert(ObjectId::of(&image));
    assert_eq!(world.after(LIBRARY, Some(bytes("library 2"))), []);
}
