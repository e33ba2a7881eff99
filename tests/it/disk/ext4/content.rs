//! What comes back without a mount, by debugfs.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use layerset::disk::ext4::{Content, EntryKind, Kind};
use layerset::time::Timestamp;

use super::support::*;

#[test]
fn large_directories_have_an_index_that_e2fsck_likes() {
    if !has_tools("large_directories_have_an_index_that_e2fsck_likes") {
        return;
    }
    let mut entries = vec![directory("")];
    // One level of index, and two: a block holds fifteen names of 255 bytes.
    for (at, count, width) in [("many", 20_000, 8), ("long", 12_000, 255)] {
        entries.push(directory(at));
        for number in 0..count {
            entries.push(file(&format!("{at}/{number:0width$}"), b""));
        }
    }
    for kind in KINDS {
        let image = Image::new(entries.clone(), &options(kind, 400 * MIB));
        image.is_clean();
        let levels = |at: &str| {
            let said = image.debugfs(&format!("htree_dump {at}"));
            let line = said
                .lines()
                .find(|line| line.contains("Indirect levels"))
                .unwrap();
            line.trim().rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!([levels("many"), levels("long")], ["0", "1"]);
        let listed = image.debugfs("ls -p many");
        assert_eq!(listed.lines().filter(|line| line.len() > 1).count(), 20_002);
    }
}

#[test]
fn deep_paths_and_the_longest_names_come_back() {
    if !has_tools("deep_paths_and_the_longest_names_come_back") {
        return;
    }
    let mut entries = vec![directory("")];
    let mut at = String::new();
    for _ in 0..1500 {
        at.push_str(if at.is_empty() { "d" } else { "/d" });
        entries.push(directory(&at));
    }
    entries.push(file(&format!("{at}/end"), b"deep"));
    let name = "n".repeat(255);
    entries.push(file(&name, b"named"));
    for kind in KINDS {
        let image = Image::new(entries.clone(), &options(kind, 64 * MIB));
        image.is_clean();
        assert_eq!(image.debugfs(&format!("cat {at}/end")), "deep");
        assert_eq!(image.debugfs(&format!("cat {name}")), "named");
    }
}

#[test]
fn sparse_content_stays_sparse() {
    if !has_tools("sparse_content_stays_sparse") {
        return;
    }
    const SIZE: u64 = 3_000_000_123;
    let islands = Islands {
        size: SIZE,
        at: [0, 10, 11, 300, 500_000, 700_000]
            .map(|block| block * 4096)
            .to_vec(),
    };
    let holes = SIZE.div_ceil(4096) - 6;
    for kind in [Kind::Ext3, Kind::Ext4] {
        let sparse = EntryKind::File {
            content: Content::Sparse(object(), holes),
            size: SIZE,
        };
        let entries = vec![directory(""), entry("sparse", 0o644, sparse)];
        let image = Image::with(entries, &options(kind, 64 * MIB), &islands).unwrap();
        image.is_clean();
        let data = image.blocks("sparse");
        let map = if kind == Kind::Ext4 { 1 } else { 4 };
        assert_eq!(data.len(), 6 + map, "{kind:?}: {data:?}");
        assert!(image.debugfs("stat sparse").contains("Size: 3000000123"));
        let held = std::fs::metadata(image.path()).unwrap().blocks() * 512;
        assert!(held < 2 * MIB, "{held}");
        let file = std::fs::File::open(image.path()).unwrap();
        for at in &islands.at {
            let place = image.debugfs(&format!("bmap sparse {}", at / 4096));
            let place: u64 = place.trim().parse().unwrap();
            let mut block = [0; 4096];
            file.read_exact_at(&mut block, place * 4096).unwrap();
            assert!(block == [1; 4096], "{at}");
        }
    }
}

#[test]
fn files_that_cross_groups_come_back() {
    if !has_tools("files_that_cross_groups_come_back") {
        return;
    }
    let mut large = bytes(5, 1 << 20).repeat(200);
    for (number, block) in large.chunks_mut(4096).enumerate() {
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    for kind in [Kind::Ext3, Kind::Ext4] {
        let entries = vec![
            directory(""),
            file("large", &large),
            file("small", b"small"),
        ];
        let image = Image::smallest(entries, kind);
        image.is_clean();
        let dump = image.dump();
        assert!(
            std::fs::read(dump.join("large")).unwrap() == large,
            "{kind:?}"
        );
        assert_eq!(std::fs::read(dump.join("small")).unwrap(), b"small");
    }
}

#[test]
fn inodes_say_what_the_entries_said() {
    if !has_tools("inodes_say_what_the_entries_said") {
        return;
    }
    let mut late = file("late", b"x");
    late.mtime = Timestamp {
        sec: 7_000_000_000,
        nsec: 5,
    };
    let acl = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
    let entries = vec![
        directory(""),
        late,
        link("again", "late"),
        symlink("short", &"s".repeat(59)),
        symlink("long", &"l".repeat(60)),
        entry("char", 0o600, EntryKind::CharDevice(0x0103)),
        entry("block", 0o660, EntryKind::BlockDevice(0x1010_0307)),
        entry("pipe", 0o4755, EntryKind::Fifo),
        entry("socket", 0o644, EntryKind::Socket),
        with_xattr(file("attributes", b"x"), "user.note", &[b'v'; 3000]),
        with_xattr(file("acl", b"x"), "system.posix_acl_access", &acl),
    ];
    for kind in KINDS {
        let image = Image::new(entries.clone(), &options(kind, 16 * MIB));
        image.is_clean();
        let check = |at: &str, wanted: &[&str]| {
            let said = image.debugfs(&format!("stat {at}"));
            for words in wanted {
                assert!(
                    said.contains(words),
                    "{kind:?} {at}: no '{words}' in {said}"
                );
            }
        };
        check(
            "late",
            &[
                "Links: 2",
                "User:  1000",
                "Group: 100000",
                "mtime: 0xa13b8600:00000016",
            ],
        );
        check("again", &["Inode: 12 ", "Links: 2"]);
        check("short", &["Fast link dest: \"sss", "Size: 59"]);
        check("long", &["Size: 60", "Blockcount: 8"]);
        check(
            "char",
            &[
                "Type: character special",
                "0600",
                "major/minor number: 01:03",
            ],
        );
        check("block", &["Type: block special", "0660"]);
        check("pipe", &["Type: FIFO", "Mode:  04755"]);
        check("socket", &["Type: socket"]);
        check("/", &["Mode:  0755", "Links: 3"]);
        check("lost+found", &["Mode:  0700", "Size: 16384"]);
        let value = image.debugfs("ea_get -x attributes user.note");
        assert_eq!(value.matches("76").count(), 3000, "{value}");
        assert!(
            image
                .debugfs("ea_list acl")
                .contains("system.posix_acl_access")
        );
    }
}

#[test]
#[ignore = "makes 100,000 files"]
fn a_hundred_thousand_files_come_back() {
    if !has_tools("a_hundred_thousand_files_come_back") {
        return;
    }
    let mut entries = vec![directory("")];
    for number in 0..100_000u64 {
        if number % 500 == 0 {
            entries.push(directory(&format!("{}", number / 500)));
        }
        let content = bytes(number, (number % 9000) as usize);
        entries.push(file(&format!("{}/{number}", number / 500), &content));
    }
    let image = Image::smallest(entries, Kind::Ext4);
    image.is_clean();
    let dump = image.dump();
    for number in 0..100_000u64 {
        let at = dump.join(format!("{}/{number}", number / 500));
        assert!(std::fs::read(at).unwrap() == bytes(number, (number % 9000) as usize));
    }
}
