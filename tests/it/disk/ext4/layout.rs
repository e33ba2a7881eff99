//! Sizes, places, and what does not fit.

use std::ops::ControlFlow;

use layerset::disk::FileMedium;
use layerset::disk::ext4::{Content, EntryKind, Ext4Error, Journal, Kind, minimum_size, plan};

use super::support::*;

#[test]
fn empty_filesystems_of_every_size_are_clean() {
    if !has_tools("empty_filesystems_of_every_size_are_clean") {
        return;
    }
    for kind in KINDS {
        let smallest = minimum_size(Vec::new(), &options(kind, 0)).unwrap();
        // A last group that is too small for its metadata, one that is just large enough, many.
        let last = 128 * MIB + 2 * MIB;
        for size in [
            smallest,
            8 * MIB,
            64 * MIB,
            last,
            last + MIB,
            3000 * MIB,
            20 << 30,
        ] {
            Image::new(Vec::new(), &options(kind, size)).is_clean();
        }
    }
}

#[test]
fn the_superblock_says_what_mke2fs_would_say() {
    if !has_tools("the_superblock_says_what_mke2fs_would_say") {
        return;
    }
    let features = |kind, size| {
        let image = Image::new(Vec::new(), &options(kind, size));
        let said = run("dumpe2fs", &["-h"], &image.path());
        let said = String::from_utf8(said.stdout).unwrap();
        let line = |key: &str| {
            let line = said.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .unwrap_or_default()
                .1
                .trim()
                .to_owned()
        };
        [
            line("Filesystem features"),
            line("Total journal size"),
            line("Filesystem UUID"),
        ]
    };
    let uuid = "30313233-3435-3637-3839-616263646566";
    assert_eq!(
        features(Kind::Ext4, 2 << 30),
        [
            "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super \
             large_file huge_file dir_nlink extra_isize metadata_csum",
            "64M",
            uuid
        ]
    );
    let ext3 = "has_journal ext_attr resize_inode dir_index filetype sparse_super large_file";
    assert_eq!(features(Kind::Ext3, 600 * MIB), [ext3, "16M", uuid]);
    let ext2 = "ext_attr resize_inode dir_index filetype sparse_super large_file";
    assert_eq!(features(Kind::Ext2, 600 * MIB), [ext2, "", uuid]);
}

#[test]
fn the_smallest_size_holds_everything_and_a_block_less_does_not() {
    if !has_tools("the_smallest_size_holds_everything_and_a_block_less_does_not") {
        return;
    }
    let content = bytes(1, 1_000_000);
    for kind in KINDS {
        for count in [1, 40, 150] {
            let mut entries = vec![directory("")];
            for number in 0..count {
                entries.push(file(&format!("f{number}"), &content));
            }
            let mut options = options(kind, 0);
            let smallest = minimum_size(entries.clone(), &options).unwrap();
            options.size = smallest;
            Image::new(entries.clone(), &options).is_clean();
            options.size = smallest - 4096;
            match plan(entries, &options) {
                Err(Ext4Error::TooSmall { needs, has }) => {
                    assert_eq!((needs, has), (smallest, smallest - 4096));
                }
                other => panic!("{kind:?} {count}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_full_filesystem_holds_empty_files_and_holes_behind_its_last_block() {
    if !has_tools("a_full_filesystem_holds_empty_files_and_holes_behind_its_last_block") {
        return;
    }
    let entries = vec![
        directory(""),
        file("full", &bytes(1, 20 << 20)),
        file("empty", b""),
        file("zeros", &[0; 70_000]),
    ];
    let mut options = options(Kind::Ext4, 0);
    options.journal = Journal::None;
    options.size = minimum_size(entries.clone(), &options).unwrap();
    Image::new(entries, &options).is_clean();
}

#[test]
fn a_late_change_moves_nothing_early() {
    if !has_tools("a_late_change_moves_nothing_early") {
        return;
    }
    let tree = |late: usize, more: bool| {
        let mut entries = vec![directory(""), directory("early"), directory("late")];
        for number in 0..200 {
            let at = format!("early/{number}");
            entries.push(file(&at, &bytes(number, 5000 + number as usize * 100)));
        }
        entries.push(file("late/file", &bytes(999, late)));
        if more {
            entries.push(directory("late/directory"));
            entries.push(file("late/directory/new", &bytes(1000, 10_000)));
        }
        entries
    };
    for kind in KINDS {
        let before = Image::new(tree(100_000, false), &options(kind, 140 * MIB));
        let after = Image::new(tree(900_000, true), &options(kind, 250 * MIB));
        let (before, after) = (before.bytes(), after.bytes());
        // From the first of the early files to the last.
        let place = |image: &[u8], number| {
            let wanted = bytes(number, 4096);
            image
                .chunks(4096)
                .position(|block| block == wanted)
                .unwrap()
        };
        let (first, last) = (place(&before, 0) * 4096, place(&before, 199) * 4096);
        assert!(before[first..last] == after[first..last], "{kind:?}");
        assert_eq!(first, place(&after, 0) * 4096);
    }
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    let entries = || {
        let mut entries = vec![directory("")];
        for number in 0..3000 {
            entries.push(file(
                &format!("a rather long name {number}"),
                &bytes(number, 300),
            ));
        }
        entries
    };
    for kind in KINDS {
        let image = || Image::new(entries(), &options(kind, 64 * MIB)).bytes();
        assert!(image() == image(), "{kind:?}");
    }
}

#[test]
fn a_filesystem_grows_a_hundredfold() {
    if !has_tools("a_filesystem_grows_a_hundredfold") {
        return;
    }
    // Without checksums e2fsck reads all inodes, which takes long.
    for (kind, sizes) in [
        (Kind::Ext3, &[20u64 << 30][..]),
        (Kind::Ext4, &[20 << 30, 200 << 30]),
    ] {
        let entries = vec![directory(""), file("a", &bytes(7, 3_000_000))];
        let image = Image::new(entries, &options(kind, 2 << 30));
        for size in sizes {
            let file = std::fs::File::options().write(true).open(image.path());
            file.unwrap().set_len(*size).unwrap();
            let output = run("resize2fs", &[], &image.path());
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            image.is_clean();
            let said = run("dumpe2fs", &["-h"], &image.path());
            let said = String::from_utf8(said.stdout).unwrap();
            let blocks = format!("Block count:              {}\n", size / 4096);
            assert!(said.contains(&blocks), "{said}");
        }
    }
}

#[test]
fn contents_of_another_length_are_refused_by_path() {
    for (size, comparison) in [(4096u64, "more bytes"), (20_000, "fewer bytes")] {
        let kind = EntryKind::File {
            content: Content::Object(object()),
            size,
        };
        let entries = vec![directory(""), entry("data", 0o644, kind)];
        let contents = Islands {
            size: 8192,
            at: vec![0],
        };
        let error = Image::with(entries, &options(Kind::Ext4, 16 * MIB), &contents).err();
        assert_eq!(
            error.unwrap().to_string(),
            format!(
                "the content of '/data' has {comparison} than the {size} bytes that are expected"
            )
        );
    }
}

#[test]
fn a_caller_can_stop_the_writing() {
    let entries = vec![
        directory(""),
        file("a", &bytes(1, 100)),
        file("b", &bytes(2, 100)),
    ];
    let plan = plan(entries, &options(Kind::Ext4, 16 * MIB)).unwrap();
    let mut medium = FileMedium::new(tempfile::tempfile().unwrap(), 16 * MIB).unwrap();
    let mut told = 0;
    let result = plan.write(&mut medium, &NO_OBJECTS, &mut |bytes| {
        told += bytes;
        ControlFlow::Break(())
    });
    assert!(matches!(result, Err(Ext4Error::Cancelled)));
    assert_eq!(told, 100);
}

#[test]
fn options_outside_their_range_are_refused() {
    let check = |change: &dyn Fn(&mut layerset::disk::ext4::FsOptions), message: &str| {
        let mut options = options(Kind::Ext4, 64 * MIB);
        change(&mut options);
        assert_eq!(plan(Vec::new(), &options).unwrap_err().to_string(), message);
    };
    check(
        &|options| options.label = "seventeen letters".to_owned(),
        "'seventeen letters' is not a label: at most 16 bytes fit, none of them NUL",
    );
    check(
        &|options| options.journal = Journal::Bytes(1000),
        "the length of the journal cannot be 1000: 4194304 to 41943040000 are possible",
    );
    check(
        &|options| options.size = 17 << 40,
        "18691697672192 bytes are too large for a filesystem with blocks of 4096 bytes: 16 TiB is \
         the limit",
    );
}
