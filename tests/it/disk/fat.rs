//! FAT filesystems, against fsck.vfat and mtools.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use layerset::disk::{FatFile, FatOptions, MIB, SectorSize, Window, needed_fat, write_fat};

use super::tool::{disk, has, run};

/// Where the filesystem lies on its disk.
const START: u64 = 2 * MIB;

fn options(sector: SectorSize, only_fat32: bool) -> FatOptions {
    FatOptions {
        serial: 0x1234_abcd,
        label: Some("ESP".into()),
        sector,
        start: START,
        time: 1_795_826_844,
        only_fat32,
    }
}

/// Files like those of an ESP, and traps: empty, exactly a cluster, long names, many in a folder.
fn files() -> BTreeMap<String, Option<Vec<u8>>> {
    let mut files: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    let mut put = |path: &str, size: usize| {
        let bytes = (0..size).map(|at| (at % 251) as u8 ^ size as u8);
        files.insert(path.to_owned(), Some(bytes.collect()));
    };
    put("EFI/BOOT/BOOTX64.EFI", 120_001);
    put("EFI/systemd/systemd-bootx64.efi", 120_001);
    put("loader/loader.conf", 40);
    put("loader/entries/layerset-1+3.conf", 200);
    put("loader/entries/layerset-2+3.conf", 200);
    put("layerset/4f68bce3/vmlinuz", 3 * 1024 * 1024);
    put("layerset/4f68bce3/initrd", 5 * 1024 * 1024 + 1);
    put("empty", 0);
    put("one-cluster", 4096);
    put("EXACT.TXT", 512);
    put("with spaces and ünïcödé 名前.text", 9);
    put(&format!("{}.txt", "long".repeat(60)), 7);
    for number in 0..150 {
        put(&format!("many/the file number {number}"), number);
    }
    files.insert("loader/keys".to_owned(), None);
    files
}

/// Writes a filesystem, has it checked, and reads every file back.
fn round_trip(test: &str, size: u64, options: &FatOptions, expect: &str) {
    round_trip_of(test, size, options, expect, &files());
}

fn round_trip_of(
    test: &str,
    size: u64,
    options: &FatOptions,
    expect: &str,
    files: &BTreeMap<String, Option<Vec<u8>>>,
) {
    if !["fsck.vfat", "mtype", "blkid"]
        .iter()
        .all(|tool| has(test, tool))
    {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let list: Vec<FatFile> = files
        .iter()
        .map(|(path, bytes)| FatFile {
            path: path.clone(),
            size: bytes.as_ref().map(|bytes| bytes.len() as u64),
        })
        .collect();
    let contents: Vec<&[u8]> = files
        .values()
        .map(|bytes| bytes.as_deref().unwrap_or_default())
        .collect();
    let (path, mut medium) = disk(dir.path(), "disk", START + size);
    let mut window = Window::new(&mut medium, START, size).unwrap();
    let mut open = |index: usize| Ok(Box::new(contents[index]) as Box<dyn Read>);
    write_fat(&mut window, options, &list, &mut open).unwrap();

    let whole = std::fs::read(&path).unwrap();
    let alone = dir.path().join("alone");
    std::fs::write(&alone, &whole[START as usize..]).unwrap();
    let said = run("fsck.vfat", &["-n", "-v", alone.to_str().unwrap()]);
    assert!(
        !said.contains("ifference") && !said.contains("rong"),
        "{said}"
    );
    let said = run("blkid", &["-p", "-o", "export", alone.to_str().unwrap()]);
    for line in [expect, "LABEL=ESP", "UUID=1234-ABCD", "TYPE=vfat"] {
        assert!(said.contains(line), "{said}");
    }
    let image = format!("{}@@{START}", path.display());
    let target = dir.path().join("files");
    std::fs::create_dir(&target).unwrap();
    run(
        "mcopy",
        &["-s", "-n", "-i", &image, "::", target.to_str().unwrap()],
    );
    for (name, bytes) in files {
        let Some(bytes) = bytes else {
            continue;
        };
        let read = std::fs::read(target.join(name));
        assert!(
            read.unwrap_or_else(|error| panic!("{name}: {error}")) == *bytes,
            "{name}"
        );
    }
    let listing = run("mdir", &["-i", &image, "::"]);
    assert!(listing.contains("2026-11-28"), "{listing}");
    let all = run("mdir", &["-/", "-b", "-i", &image, "::"]);
    let found: BTreeSet<&str> = all
        .lines()
        .filter_map(|line| line.strip_prefix("::/"))
        .collect();
    for (name, bytes) in files {
        let end = if bytes.is_some() { "" } else { "/" };
        assert!(found.contains(&*format!("{name}{end}")), "{name}: {all}");
    }
    let count = found.iter().filter(|name| !name.ends_with('/')).count();
    assert_eq!(count, files.values().flatten().count(), "{all}");
}

#[test]
fn an_esp_is_sound_and_its_files_read_back() {
    let test = "an_esp_is_sound_and_its_files_read_back";
    round_trip(
        test,
        256 * MIB,
        &options(SectorSize::B512, true),
        "VERSION=FAT32",
    );
}

#[test]
fn the_smallest_esp_is_sound() {
    let test = "the_smallest_esp_is_sound";
    round_trip(
        test,
        33 * MIB,
        &options(SectorSize::B512, true),
        "VERSION=FAT32",
    );
}

#[test]
fn an_esp_of_large_sectors_is_sound() {
    let test = "an_esp_of_large_sectors_is_sound";
    round_trip(
        test,
        257 * MIB,
        &options(SectorSize::B4096, true),
        "VERSION=FAT32",
    );
}

#[test]
fn a_small_vfat_is_fat16() {
    let test = "a_small_vfat_is_fat16";
    round_trip(
        test,
        30 * MIB,
        &options(SectorSize::B512, false),
        "VERSION=FAT16",
    );
    round_trip(
        test,
        40 * MIB,
        &options(SectorSize::B4096, false),
        "VERSION=FAT16",
    );
}

#[test]
fn a_filesystem_of_what_the_files_need_holds_them() {
    let list: Vec<FatFile> = files()
        .into_iter()
        .map(|(path, bytes)| FatFile {
            path,
            size: bytes.map(|bytes| bytes.len() as u64),
        })
        .collect();
    let size = needed_fat(&list, &options(SectorSize::B512, true), 0).unwrap();
    let test = "a_filesystem_of_what_the_files_need_holds_them";
    round_trip(
        test,
        size,
        &options(SectorSize::B512, true),
        "VERSION=FAT32",
    );
}

/// Names that collide once they are short, beside names that are short already.
#[test]
fn random_names_keep_their_files() {
    let test = "random_names_keep_their_files";
    let name = prop_oneof![
        3 => "[A-Ca-c~1. _-]{0,11}[A-Ca-c1~]",
        1 => "[A-C]{1,6}~[1-3](\\.[A-C]{1,3})?",
        1 => "[a-zé名+]{1,40}",
    ];
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let any = prop::collection::btree_map(path, 0..9000usize, 1..60);
    let mut runner = TestRunner::new(Config::with_cases(12));
    let result = runner.run(&any, |sizes| {
        // FAT ignores case, and a file is no folder: what contradicts others is left out.
        let mut files: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for (path, size) in sizes {
            let mut more = files.clone();
            more.insert(path, Some(vec![size as u8; size]));
            let list: Vec<FatFile> = more
                .iter()
                .map(|(path, bytes)| FatFile {
                    path: path.clone(),
                    size: bytes.as_ref().map(|bytes| bytes.len() as u64),
                })
                .collect();
            if needed_fat(&list, &options(SectorSize::B512, true), 0).is_ok() {
                files = more;
            }
        }
        let options = options(SectorSize::B512, false);
        round_trip_of(test, 20 * MIB, &options, "VERSION=FAT16", &files);
        Ok(())
    });
    result.unwrap();
}
