//! What the kernel reads from a mount, and writes.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use layerset::disk::ext4::{Content, Entry, EntryKind, Kind};
use layerset::time::Timestamp;

use super::support::*;

/// One of everything, in shapes that the format stores in different ways.
fn everything() -> Vec<Entry> {
    let acl = |tags: &[(u16, u16, u32)]| {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in tags {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    };
    let none = u32::MAX;
    let list = acl(&[
        (1, 6, none),
        (2, 4, 70_000),
        (4, 4, none),
        (16, 4, none),
        (32, 0, none),
    ]);
    let capability = [0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut before = file("before 1970", b"old");
    before.mtime = Timestamp {
        sec: -86_400,
        nsec: 999_999_999,
    };
    let mut far = file("in 2200", b"new");
    far.mtime = Timestamp {
        sec: 7_258_118_400,
        nsec: 1,
    };
    let mut full = directory("full of attributes");
    for number in 0..12 {
        full = with_xattr(full, &format!("user.number {number}"), &bytes(number, 200));
    }
    let mut entries = vec![
        directory(""),
        file("empty", b""),
        file("short", b"short\n"),
        file("a whole block", &bytes(1, 4096)),
        file("long", &bytes(2, 5_000_001)),
        file(
            "holes",
            &[&bytes(3, 4096)[..], &[0; 40_960], &bytes(4, 10)].concat(),
        ),
        link("short again", "short"),
        entry("set user", 0o4755, file("x", b"#!").kind),
        entry("sticky", 0o1777, EntryKind::Directory),
        before,
        far,
        symlink("link", "short"),
        symlink("link of 59", &"a".repeat(59)),
        symlink("link of 60", &"b".repeat(60)),
        symlink("link of 4095", &"c".repeat(4095)),
        entry(
            "null",
            0o666,
            EntryKind::CharDevice(rustix::fs::makedev(1, 3)),
        ),
        entry(
            "nvme",
            0o660,
            EntryKind::BlockDevice(rustix::fs::makedev(259, 70_000)),
        ),
        entry("pipe", 0o644, EntryKind::Fifo),
        entry("socket", 0o644, EntryKind::Socket),
        with_xattr(file("shared", b"acl"), "system.posix_acl_access", &list),
        with_xattr(file("ping", b"elf"), "security.capability", &capability),
        with_xattr(
            file("large attribute", b"x"),
            "trusted.large",
            &bytes(5, 4000),
        ),
        with_xattr(file("empty attribute", b"x"), "user.empty", b""),
        full,
        directory("many"),
    ];
    for number in 0..2000 {
        entries.push(file(
            &format!("many/{number}"),
            format!("{number}").as_bytes(),
        ));
    }
    // An ACL changes the mode bits of the group.
    for entry in &mut entries {
        if entry.path.as_bytes() == b"shared" {
            entry.mode = 0o640;
        }
    }
    entries
}

#[test]
fn the_kernel_reads_everything_as_it_was() {
    let test = "the_kernel_reads_everything_as_it_was";
    if !has_tools(test) {
        return;
    }
    for kind in KINDS {
        let image = Image::new(everything(), &options(kind, 64 * MIB));
        image.is_clean();
        let Some(mount) = image.mount(test, "loop,ro") else {
            return;
        };
        let entries = everything();
        let by_path: BTreeMap<_, _> = entries.iter().map(|entry| (&entry.path, entry)).collect();
        for entry in &entries {
            let owner = match &entry.kind {
                EntryKind::HardLink(target) => by_path[target],
                _ => entry,
            };
            is_as_described(&mount.point.join(entry.path.as_path()), owner);
        }
    }
}

#[track_caller]
fn is_as_described(path: &Path, entry: &Entry) {
    let found = path.symlink_metadata().unwrap();
    assert_eq!(found.mode() & 0o7777, u32::from(entry.mode), "{path:?}");
    assert_eq!(
        (found.uid(), found.gid()),
        (entry.uid, entry.gid),
        "{path:?}"
    );
    let times = [
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ];
    assert_eq!(
        times,
        [(entry.mtime.sec, i64::from(entry.mtime.nsec)); 2],
        "{path:?}"
    );
    let file_type = found.file_type();
    match &entry.kind {
        EntryKind::Directory => assert!(file_type.is_dir()),
        EntryKind::File {
            content: Content::Bytes(bytes),
            ..
        } => assert!(std::fs::read(path).unwrap() == bytes[..], "{path:?}"),
        EntryKind::Symlink(target) => {
            let read = std::fs::read_link(path).unwrap();
            assert_eq!(read.as_os_str().as_bytes(), &target[..]);
        }
        EntryKind::CharDevice(device) => {
            assert!(file_type.is_char_device());
            assert_eq!(found.rdev(), *device);
        }
        EntryKind::BlockDevice(device) => {
            assert!(file_type.is_block_device());
            assert_eq!(found.rdev(), *device);
        }
        EntryKind::Fifo => assert!(file_type.is_fifo()),
        EntryKind::Socket => assert!(file_type.is_socket()),
        EntryKind::File { .. } | EntryKind::HardLink(_) => unreachable!(),
    }
    assert_eq!(xattrs(path), entry.xattrs, "{path:?}");
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65_536];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

#[test]
fn the_kernel_goes_on_writing_and_the_journal_is_used() {
    let test = "the_kernel_goes_on_writing_and_the_journal_is_used";
    if !has_tools(test) {
        return;
    }
    for kind in KINDS {
        let image = Image::new(everything(), &options(kind, 200 * MIB));
        let Some(mount) = image.mount(test, "loop,rw") else {
            return;
        };
        // Splits blocks of an index, and starts one.
        for number in 0..1000 {
            std::fs::write(mount.point.join(format!("many/new {number}")), b"new").unwrap();
            std::fs::write(mount.point.join(format!("sticky/{number}")), b"new").unwrap();
        }
        std::fs::write(mount.point.join("large"), bytes(1, 20 << 20)).unwrap();
        std::fs::remove_file(mount.point.join("long")).unwrap();
        let attributed = mount.point.join("large attribute");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&attributed, "user.more", b"more", flags).unwrap_or_else(|error| {
            assert_eq!(error, rustix::io::Errno::NOSPC);
        });
        drop(mount);
        image.is_clean();
        if kind != Kind::Ext2 {
            let said = run("dumpe2fs", &["-h"], &image.path());
            let said = String::from_utf8(said.stdout).unwrap();
            let line = said
                .lines()
                .find(|line| line.starts_with("Journal sequence"))
                .unwrap();
            assert!(
                !line.ends_with("0x00000001"),
                "the journal was not used: {said}"
            );
        }
        let Some(mount) = image.mount(test, "loop,ro") else {
            return;
        };
        assert!(std::fs::read(mount.point.join("large")).unwrap() == bytes(1, 20 << 20));
        assert_eq!(
            std::fs::read(mount.point.join("many/new 7")).unwrap(),
            b"new"
        );
        assert_eq!(std::fs::read(mount.point.join("many/7")).unwrap(), b"7");
    }
}
