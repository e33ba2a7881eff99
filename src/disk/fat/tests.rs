use super::super::testing::Memory;
use super::*;

fn options() -> FatOptions {
    FatOptions {
        serial: 0x1234_abcd,
        label: Some("ESP".into()),
        sector: SectorSize::B512,
        start: 2 << 20,
        time: 1_795_826_844,
        only_fat32: false,
    }
}

fn file(path: &str, size: u64) -> FatFile {
    FatFile {
        path: path.into(),
        size: Some(size),
    }
}

fn write(size: usize, options: &FatOptions, files: &[FatFile]) -> Result<Memory, FatError> {
    let mut medium = Memory::new(size);
    let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
        let size = files[index].size.unwrap_or(0);
        Ok(Box::new(io::repeat(b'x').take(size)))
    };
    write_fat(&mut medium, options, files, &mut open)?;
    Ok(medium)
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let files = [file("EFI/BOOT/BOOTX64.EFI", 70_000), file("a long name", 3)];
    let once = write(36 << 20, &options(), &files).unwrap();
    let again = write(36 << 20, &options(), &files).unwrap();
    assert!(once.bytes() == again.bytes());
    assert_eq!(&once.bytes()[82..90], b"FAT32   ");
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let said =
        |size: usize, files: &[FatFile]| write(size, &options(), files).err().unwrap().to_string();
    let full = said(4 << 20, &[file("a", 5 << 20)]);
    assert!(
        full.starts_with("the files need 5242880 bytes, and the filesystem has 41"),
        "{full}"
    );
    assert_eq!(
        said(100 << 10, &[]),
        "102400 bytes are too few, or too many, for FAT"
    );
    let many: Vec<FatFile> = (0..600).map(|i| file(&format!("F{i}"), 0)).collect();
    assert_eq!(
        said(4 << 20, &many),
        "the files need 19296 bytes, and the filesystem has 16384"
    );
    let options = FatOptions {
        only_fat32: true,
        ..options()
    };
    let error = write(16 << 20, &options, &[]).err().unwrap();
    assert_eq!(
        error.to_string(),
        "16777216 bytes are too few, or too many, for FAT32"
    );
}

#[test]
fn names_that_fat_cannot_hold_are_refused() {
    let said = |files: &[FatFile]| write(8 << 20, &options(), files).err().unwrap().to_string();
    for (path, reason) in [
        ("a:b", "it holds a control character or one of \"*:<>?\\|"),
        ("a/", "a part of it is empty, '.' or '..'"),
        ("a/../b", "a part of it is empty, '.' or '..'"),
        ("a.", "it ends in a dot or a space"),
        (&"x".repeat(256), "it is longer than 255 characters"),
    ] {
        assert_eq!(
            said(&[file(path, 1)]),
            format!("'{path}' is no name for FAT: {reason}")
        );
    }
    for files in [
        ["a/b", "A/c"],
        ["a", "A"],
        ["a", "a"],
        ["a", "a/b"],
        ["a/b", "a"],
    ] {
        let files = files.map(|path| file(path, 1));
        assert!(said(&files).ends_with("is there twice: FAT ignores case"));
    }
    assert!(said(&[file("big", 1 << 32)]).contains("less than 4 GiB"));
}

#[test]
fn a_file_of_another_length_than_said_is_refused() {
    for (is, found) in [(4, 4), (9, 6)] {
        let mut medium = Memory::new(8 << 20);
        let mut open = |_| -> io::Result<Box<dyn Read>> { Ok(Box::new(io::repeat(1).take(is))) };
        let error = write_fat(&mut medium, &options(), &[file("a", 5)], &mut open).unwrap_err();
        let expected = format!("'a' was said to have 5 bytes, and has {found}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_least_size_is_enough() {
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let options = FatOptions {
            sector,
            ..options()
        };
        let size = least_fat16(sector);
        assert!(Geometry::of(size, &options).is_ok());
        let options = FatOptions {
            only_fat32: true,
            ..options
        };
        let least = least_fat32(sector);
        assert!(Geometry::of(least, &options).is_ok());
        assert!(Geometry::of(least - (2 << 20), &options).is_err());
    }
}

#[test]
fn what_files_need_is_enough_and_little_more() {
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let files = [file("a/kernel", 300 << 20), file("b", 10)];
        let size = needed_fat32(&files, sector, 1 << 20).unwrap();
        let options = FatOptions {
            sector,
            only_fat32: true,
            ..options()
        };
        let geometry = Geometry::of(size, &options).unwrap();
        let tree = Tree::new(&files, &geometry).unwrap();
        assert!(tree.clusters <= u64::from(geometry.clusters));
        assert!(size < (303 << 20), "{size}");
    }
}

#[test]
fn any_files_fit_what_they_are_said_to_need() {
    let many: Vec<FatFile> = (0..600).map(|n| file(&format!("name-{n:04}"), 1)).collect();
    for sector in [SectorSize::B512, SectorSize::B4096] {
        // Nothing; more than the root folder of FAT16 holds; more than FAT16 has clusters for.
        for files in [
            &[][..],
            &many,
            &[file("a", 40 << 20)],
            &[file("a", 3 << 30)],
        ] {
            let options = FatOptions {
                sector,
                only_fat32: false,
                ..options()
            };
            let size = needed_fat(files, &options, 0).unwrap();
            check_fat(size, &options, files).unwrap();
            let content: u64 = files.iter().filter_map(|file| file.size).sum();
            let most = content + content / 4 + least_fat32(sector) + (16 << 20);
            assert!(size < most, "{size} for {content}");
        }
    }
    let twice = [file("a", 1), file("A", 1)];
    assert!(needed_fat(&twice, &options(), 0).is_err());
}
