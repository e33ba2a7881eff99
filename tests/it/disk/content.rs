//! What images hold that filesystems of a disk find hard: files below a FAT mount point, long names,
//! many links, large directories, attributes, devices.

use std::collections::BTreeMap;

use layerset::tree::{Inode, Node};

use super::export::{Bootable, run};
use super::refusals::with_recipe;
use crate::support::path;

#[test]
fn what_lies_below_a_fat_mount_point_is_on_that_filesystem() {
    let straw = Bootable::changed(|transaction, tree| {
        let object = transaction.put_object(b"grub").unwrap();
        for dir in [
            "boot/efi",
            "boot/efi/EFI",
            "boot/efi/EFI/debian",
            "boot/efi/empty",
        ] {
            tree.insert(path(dir.as_bytes()), Inode::directory(0o755));
        }
        tree.insert(
            path(b"boot/efi/EFI/debian/grubx64.efi"),
            Inode::file(object, 4, 0o600),
        );
    });
    straw
        .session
        .run("export disk web -o web.raw --layout plain")
        .expect(0);
    let (esp, root) = (straw.partition("web.raw", 2), straw.partition("web.raw", 3));
    let (esp, root) = (esp.to_str().unwrap(), root.to_str().unwrap());
    run("fsck.vfat", &["-n", esp], straw.dir.path());
    let read = |path: &str| run("mtype", &["-i", esp, path], straw.dir.path());
    assert_eq!(read("::/EFI/debian/grubx64.efi"), "grub");
    assert!(read("::/loader/loader.conf").contains("timeout"));
    let list = run("mdir", &["-i", esp, "-b", "::/"], straw.dir.path());
    assert!(list.contains("empty"), "{list}");
    let left = run(
        "debugfs",
        &["-R", "ls -p /boot/efi", root],
        straw.dir.path(),
    );
    assert!(!left.contains("EFI"), "{left}");

    // A vfat of its own on an updatable machine, too.
    let straw = Bootable::changed(|transaction, tree| {
        let object = transaction.put_object(b"shared").unwrap();
        let place = b"usr/share/factory/var/share";
        tree.insert(path(place), Inode::directory(0o755));
        let file = [&place[..], b"/a name that is long"].concat();
        tree.insert(path(&file), Inode::file(object, 6, 0o644));
    });
    with_recipe(
        &straw,
        "[[disk.partitions]]\nname = 'x'\nsize = '64MiB'\nfilesystem = 'vfat'\nmount = '/var/share'\n",
    );
    straw.session.run("export disk web -o web.raw").expect(0);
    let share = straw.partition("web.raw", 3);
    let share = share.to_str().unwrap();
    run("fsck.vfat", &["-n", share], straw.dir.path());
    let read = run(
        "mtype",
        &["-i", share, "::/a name that is long"],
        straw.dir.path(),
    );
    assert_eq!(read, "shared");
}

#[test]
fn a_boot_file_that_the_image_has_too_is_refused() {
    let straw = Bootable::changed(|transaction, tree| {
        let object = transaction.put_object(b"mine").unwrap();
        for dir in ["boot/efi", "boot/efi/efi", "boot/efi/efi/boot"] {
            tree.insert(path(dir.as_bytes()), Inode::directory(0o755));
        }
        let place = path(b"boot/efi/efi/boot/bootx64.efi");
        tree.insert(place, Inode::file(object, 4, 0o644));
    });
    let ran = straw
        .session
        .run("export disk web -o web.raw --layout plain");
    ran.expect(1)
        .says(&["'esp' for '/boot/efi' is vfat", "FAT ignores case"]);
    assert!(!straw.at("web.raw").exists());
}

#[test]
fn a_directory_of_the_machine_that_is_a_link_is_refused_or_stays_one() {
    let straw = Bootable::changed(|_, tree| {
        let below: Vec<_> = tree.subtree(b"var").map(|(path, _)| path.clone()).collect();
        for path in below {
            tree.remove(path.as_bytes());
        }
        tree.insert(path(b"data"), Inode::directory(0o755));
        tree.insert(path(b"var"), Inode::symlink("data"));
    });
    let ran = straw.session.run("export disk web -o web.raw").expect(1);
    ran.says(&["'/var' of the image is a link", "--layout plain"]);
    straw
        .session
        .run("export disk web -o web.raw --layout plain")
        .expect(0);
    let root = straw.partition("web.raw", 3);
    let link = run(
        "debugfs",
        &["-R", "stat /var", root.to_str().unwrap()],
        straw.dir.path(),
    );
    assert!(link.contains("Fast link dest: \"data\""), "{link}");
}

/// Everything that ext4 can hold and that others stumble over, read back by e2fsck and debugfs.
#[test]
fn what_is_awkward_in_an_image_is_whole_on_the_disk() {
    const LINKS: usize = 65_000;
    let long = "n".repeat(255);
    let straw = Bootable::changed(|transaction, tree| {
        let object = transaction.put_object(b"one").unwrap();
        let file = |mode| Inode::file(object, 3, mode);
        let mut awkward: BTreeMap<String, Inode> = BTreeMap::new();
        awkward.insert("usr/hard".into(), Inode::directory(0o755));
        for number in 0..LINKS {
            let linked = Inode {
                hardlink: 7,
                ..file(0o644)
            };
            awkward.insert(format!("usr/hard/{number}"), linked);
        }
        // One file with names on both sides of a mount point.
        for name in ["srv/one", "usr/one", "usr/two"] {
            awkward.insert(
                name.into(),
                Inode {
                    hardlink: 8,
                    ..file(0o640)
                },
            );
        }
        awkward.insert(format!("usr/{long}"), file(0o644));
        awkward.insert("usr/fifo".into(), Inode::new(Node::Fifo, 0o600));
        awkward.insert("usr/socket".into(), Inode::new(Node::Socket, 0o600));
        awkward.insert("usr/char".into(), Inode::new(Node::CharDevice(259), 0o600));
        awkward.insert("usr/link".into(), Inode::symlink(&"x".repeat(4000)));
        let mut attributed = file(0o755);
        // cap_net_raw+ep, and an ACL that gives a user more than the group.
        let capability = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        attributed
            .xattrs
            .insert(b"security.capability".to_vec(), capability.to_vec());
        let mut acl = vec![2, 0, 0, 0];
        for (tag, rights, id) in [
            (1u16, 6u16, u32::MAX),
            (2, 4, 104),
            (4, 4, u32::MAX),
            (16, 4, u32::MAX),
            (32, 4, u32::MAX),
        ] {
            acl.extend(tag.to_le_bytes());
            acl.extend(rights.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        attributed
            .xattrs
            .insert(b"system.posix_acl_access".to_vec(), acl);
        awkward.insert("usr/attributed".into(), attributed);
        for (name, inode) in awkward {
            tree.insert(path(name.as_bytes()), inode);
        }
        tree.canonicalize_hardlinks();
    });
    with_recipe(
        &straw,
        "layout = 'plain'\ntable = 'mbr'\n[[disk.partitions]]\nname = 'root'\nsize = '256MiB'\nflags = ['boot']\nfilesystem = 'ext4'\nmount = '/'\n[[disk.partitions]]\nname = 'srv'\nsize = 'rest'\nfilesystem = 'ext4'\nmount = '/srv'\n",
    );
    straw.session.run("export disk web -o web.raw").expect(0);
    let (root, srv) = (straw.partition("web.raw", 1), straw.partition("web.raw", 2));
    let (root, srv) = (root.to_str().unwrap(), srv.to_str().unwrap());
    for disk in [root, srv] {
        run("e2fsck", &["-fn", disk], straw.dir.path());
    }
    let stat = |disk: &str, path: &str| {
        run(
            "debugfs",
            &["-R", &format!("stat {path}"), disk],
            straw.dir.path(),
        )
    };
    assert!(stat(root, "/usr/hard/0").contains("Links: 65000"));
    assert!(stat(root, "/usr/one").contains("Links: 2"));
    assert!(stat(srv, "/one").contains("Links: 1"));
    for (path, kind) in [
        ("fifo", "FIFO"),
        ("socket", "socket"),
        ("char", "character special"),
    ] {
        assert!(stat(root, &format!("/usr/{path}")).contains(kind), "{path}");
    }
    assert!(stat(root, &format!("/usr/{long}")).contains("Size: 3"));
    let attributes = run(
        "debugfs",
        &["-R", "ea_list /usr/attributed", root],
        straw.dir.path(),
    );
    for name in ["security.capability (20)", "system.posix_acl_access"] {
        assert!(attributes.contains(name), "{attributes}");
    }
}

#[test]
fn more_links_than_ext4_counts_are_refused_by_name() {
    let straw = Bootable::changed(|transaction, tree| {
        let object = transaction.put_object(b"one").unwrap();
        tree.insert(path(b"usr/hard"), Inode::directory(0o755));
        for number in 0..65_001 {
            let linked = Inode {
                hardlink: 1,
                ..Inode::file(object, 3, 0o644)
            };
            tree.insert(path(format!("usr/hard/{number:05}").as_bytes()), linked);
        }
    });
    let ran = straw
        .session
        .run("export disk web -o web.raw --layout plain");
    ran.expect(1).says(&["'/usr/hard/00000' has 65001 links"]);
    assert!(!straw.at("web.raw").exists());
}
