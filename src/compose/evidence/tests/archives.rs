//! What archives hold.

use super::*;

#[test]
fn members_of_archives_are_copies_too() {
    let library = bytes("library 1");
    let initrd = cpio(&[("usr/lib/x86_64-linux-gnu/libz.so.1.3", &library)]);
    let early = cpio(&[("kernel/x86/microcode/x.bin", &bytes("microcode"))]);
    let initrd = [
        early,
        vec![0; 512],
        zstd::encode_all(initrd.as_slice(), 3).unwrap(),
    ]
    .concat();
    for (path, archive) in [
        ("boot/initrd.img-6.12.1", initrd),
        (
            "opt/app/bundle.cpio.gz",
            gzip(&cpio(&[("x/libz.so", &library)])),
        ),
        ("opt/app/libz.gz", gzip(&library)),
    ] {
        let mut world = World::with([(path, archive)]);
        let found = world.after(LIBRARY, Some(bytes("library 2")));
        assert_eq!(ids(&found), [format!("Rebuild derived:app:/{path}")]);
        assert!(found[0].reason.contains("(zlib1g)"), "{}", found[0].reason);
    }
}

#[test]
fn a_module_in_an_initramfs_is_known_although_it_was_unpacked() {
    const MODULE: &str = "usr/lib/modules/6.12.1/kernel/fs/ext4.ko.xz";
    let module = bytes("module 1");
    let initrd = cpio(&[("usr/lib/modules/6.12.1/kernel/fs/ext4.ko", &module)]);
    let mut world = World::with([("boot/initrd.img-6.12.1", initrd)]);
    world
        .base
        .insert(MODULE, liblzma::encode_all(module.as_slice(), 6).unwrap());
    let other = liblzma::encode_all(bytes("module 2").as_slice(), 6).unwrap();
    let found = world.after(MODULE, Some(other));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
}

#[test]
fn a_stripped_program_is_known_by_its_build_id() {
    let program = |build: u8, more: &str| {
        let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
        [
            b"\x7fELF",
            &[0; 300][..],
            &note,
            &[build; 20],
            more.as_bytes(),
        ]
        .concat()
    };
    let initrd = cpio(&[("usr/bin/kmod", &program(1, ""))]);
    let mut world = World::with([("boot/initrd.img-6.12.1", initrd)]);
    world.base.insert("usr/bin/kmod", program(1, "symbols"));
    let found = world.after("usr/bin/kmod", Some(program(2, "symbols")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
}

#[test]
fn an_initramfs_that_nobody_can_read_hangs_on_everything() {
    let sealed = [b"BZh91AY&SY".as_slice(), &[7; 300]].concat();
    let mut world = World::with([("boot/initrd.img-6.12.1", sealed.clone())]);
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
    let mut world = World::with([("opt/data.bz2", sealed)]);
    assert_eq!(world.after(LIBRARY, Some(bytes("library 2"))), []);
}

#[test]
fn what_was_unpacked_from_an_archive_below_hangs_on_that_archive() {
    const WHEEL: &str = "usr/share/python-wheels/pip-25.whl";
    let wheel = |version: &str| {
        let members = ["a", "b"].map(|name| (name, bytes(&format!("{name} {version}"))));
        gzip(&cpio(&[
            (members[0].0, &members[0].1),
            (members[1].0, &members[1].1),
        ]))
    };
    let mut world = World::with([
        ("opt/venv/lib/pip/a.py", bytes("a 25")),
        ("opt/venv/lib/pip/b.py", bytes("b 25")),
        ("opt/venv/own.py", bytes("own")),
    ]);
    world.base.insert(WHEEL, wheel("25"));
    let found = world.after(WHEEL, Some(wheel("26")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/venv/lib/pip"]);
    assert!(
        found[0]
            .reason
            .contains("/usr/share/python-wheels/pip-25.whl")
    );
}
