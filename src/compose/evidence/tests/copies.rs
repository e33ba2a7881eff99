//! Copies, and what is made for something below.

use super::*;

#[test]
fn a_copy_asks_for_a_rebuild_when_its_origin_moves_or_leaves() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/app/lib/libz.so.1"]);
    assert_eq!(
        found[0].reason,
        format!(
            "'/opt/app/lib/libz.so.1' of 'app' holds a copy of '/{LIBRARY}' (zlib1g), and 'debian' has another one now"
        )
    );
    // Built again, it holds today's.
    world
        .app
        .insert("opt/app/lib/libz.so.1", bytes("library 2"));
    let again = world.derived(&World::with([]).derived(&[]));
    assert_eq!(world.check(&again, &world.base), []);
    let found = world.after(LIBRARY, None);
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/app/lib/libz.so.1"]);
    assert!(
        found[0]
            .reason
            .ends_with("and the layers below have it no more")
    );
}

#[test]
fn the_same_file_under_another_name_is_still_the_same() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    world.base.insert("usr/lib/other", bytes("something"));
    assert_eq!(world.after("usr/lib/other", Some(bytes("else"))), []);
    let (derived, build) = (world.derived(&[]), world.base.clone());
    let library = world.base.remove(LIBRARY).unwrap();
    world.base.insert("usr/lib/libz.so.1.3", library);
    assert_eq!(world.check(&derived, &build), []);
}

#[test]
fn what_packages_bring_and_what_says_little_is_no_evidence() {
    let licence = bytes("Everyone is permitted to copy");
    let mut world = World::with([
        ("usr/share/app/data", bytes("library 1")),
        ("opt/app/LICENSE.txt", licence.clone()),
        ("opt/app/__init__.py", Vec::new()),
        ("opt/app/short", b"short".to_vec()),
        ("home/app/.bashrc", bytes("rc")),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/app.list",
            b"/usr/share/app/data\n".to_vec(),
        ),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/app.postinst",
            bytes("postinst"),
        ),
        // A copy of what the layer's own package brings, wherever else that may stand.
        ("opt/app/data", bytes("library 1")),
    ]);
    world.packages.push(LayerPackage {
        name: "app".to_owned(),
        architecture: "all".to_owned(),
        version: "1".to_owned(),
        sha256: String::new(),
    });
    world.base.extend([
        ("usr/share/common-licenses/GPL-3", licence),
        ("usr/lib/python3/x/__init__.py", Vec::new()),
        ("usr/lib/short", b"short".to_vec()),
        ("etc/skel/.bashrc", bytes("rc")),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/x.postinst",
            bytes("postinst"),
        ),
    ]);
    assert_eq!(world.derived(&[]), []);
    // Nobody's package, the same file is a copy.
    world.packages.clear();
    let found = world.derived(&[]);
    let paths: Vec<String> = found.iter().map(|file| file.path.to_string()).collect();
    assert_eq!(paths, ["/opt/app/data", "/usr/share/app/data"]);
}

#[test]
fn what_the_definition_brings_is_refused_for_no_rebuild_changes_it() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    world.brought.insert(ObjectId::of(&bytes("library 1")));
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Refuse derived:app:/opt/app/lib/libz.so.1"]);
    assert!(found[0].is_waivable());
    assert!(found[0].hint.contains("put what is current in place of"));
}

#[test]
fn a_rebuild_that_leaves_the_old_copy_does_not_make_it_normal() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let first = world.derived(&[]);
    world.base.insert(LIBRARY, bytes("library 2"));
    // A script unpacked it from somewhere: it is there again.
    let second = world.derived(&first);
    let found = world.check(&second, &world.base);
    assert_eq!(ids(&found), ["Refuse derived:app:/opt/app/lib/libz.so.1"]);
    // Other checks forget nothing.
    assert_eq!(world.derived(&second), second);
    // Once it is gone, so is the finding.
    world
        .app
        .insert("opt/app/lib/libz.so.1", bytes("library 2"));
    let third = world.derived(&second);
    assert_eq!(world.check(&third, &world.base), []);
}

#[test]
fn an_environment_hangs_on_the_minor_version_of_its_python() {
    let config = b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.13.5\n";
    let mut world = World::with([("opt/venv/pyvenv.cfg", config.to_vec())]);
    world
        .base
        .insert("usr/bin/python3.13", bytes("python 3.13.5"));
    let patched = Some(bytes("python 3.13.6"));
    assert_eq!(world.after("usr/bin/python3.13", patched), []);
    let found = world.after("usr/bin/python3.13", None);
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/venv/pyvenv.cfg"]);
    assert!(
        found[0]
            .reason
            .contains("is made for '/usr/bin/python3.13'")
    );
}

#[test]
fn a_module_hangs_on_the_headers_that_it_was_built_against() {
    const SYMBOLS: &str = "usr/src/linux-headers-6.12.1/Module.symvers";
    let module = [bytes("code"), b"\0vermagic=6.12.1 SMP preempt \0".to_vec()].concat();
    for path in ["usr/lib/modules/6.12.1/extra/x.ko", "opt/app/x.ko"] {
        let mut world = World::with([(path, module.clone())]);
        world.base.insert(SYMBOLS, bytes("symbols"));
        let found = world.after(SYMBOLS, Some(bytes("others")));
        assert_eq!(ids(&found), [format!("Rebuild derived:app:/{path}")]);
    }
}

#[test]
fn a_copied_directory_is_one_entry_and_many_origins_stay_few() {
    let mut world = World::new();
    let leak = |text: String| -> &'static str { text.leak() };
    for number in 0..1100 {
        let contents = bytes(&format!("file {number}"));
        let from = leak(format!("usr/lib/tool/{}/f{number}", number % 80));
        let to = leak(format!("opt/copy/tool/{}/f{number}", number % 80));
        world.base.insert(from, contents.clone());
        world.app.insert(to, contents);
    }
    world.app.insert("opt/one", bytes("library 1"));
    let found = world.derived(&[]);
    let paths: Vec<String> = found.iter().map(|file| file.path.to_string()).collect();
    assert_eq!(paths, ["/opt/copy", "/opt/one"]);
    assert!(found[0].origins.len() <= 8, "{}", found[0].origins.len());
    let found = world.after("usr/lib/tool/7/f7", Some(bytes("other")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/copy"]);
}

#[test]
fn a_copy_that_an_upper_layer_replaced_is_nobodys_concern() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let (derived, build) = (world.derived(&[]), world.base.clone());
    world.base.insert(LIBRARY, bytes("library 2"));
    let transaction = world.repository.begin().unwrap();
    let (mut composition, mut members) = world.set(&transaction, &build);
    members[1].baseline.derived = derived;
    assert_eq!(moved(&composition, &members).len(), 1);
    let path = RelPath::from_text("opt/app/lib/libz.so.1").unwrap();
    let object = transaction.put_object(&bytes("library 2")).unwrap();
    composition
        .tree
        .insert(path, Inode::file(object, 600, 0o644));
    assert_eq!(moved(&composition, &members), []);
    // What a sibling above makes of the origin is not what a rebuild would see.
    world.base.insert(LIBRARY, bytes("library 1"));
    let (mut composition, mut members) = world.set(&transaction, &build);
    members[1].baseline.derived = world.derived(&[]);
    let path = RelPath::from_text(LIBRARY).unwrap();
    composition
        .tree
        .insert(path.clone(), Inode::file(object, 600, 0o644));
    composition.origin.insert(path, 2);
    assert_eq!(moved(&composition, &members), []);
}

#[test]
fn a_copy_of_a_derived_file_hangs_on_what_that_is_derived_from() {
    const CERTIFICATE: &str = "usr/share/ca-certificates/mozilla/a.crt";
    let mut world = World::with([("opt/app/certificates.pem", bytes("all certificates"))]);
    world.base.insert(CERTIFICATE, bytes("certificate 1"));
    world.base_derived = Some((
        "etc/ssl/certs/ca-certificates.crt",
        bytes("all certificates"),
    ));
    let found = world.after(CERTIFICATE, Some(bytes("certificate 2")));
    assert_eq!(
        ids(&found),
        ["Rebuild derived:app:/opt/app/certificates.pem"]
    );
    assert!(found[0].reason.contains("/usr/share/ca-certificates"));
}
