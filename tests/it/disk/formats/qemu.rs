//! What QEMU's tools read of the formats that they know.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use layerset::export::formats::{Codec, DiskFormat};
use proptest::prelude::*;

use super::*;

#[test]
fn qemu_reads_every_format_back() {
    if !has("qemu-img", "qemu_reads_every_format_back") {
        return;
    }
    // Whole MiB; a size that ends within a block and a grain; a second level 2 table.
    for size in [32 * MIB, 32 * MIB + 512 * 7, 600 * MIB] {
        let disk = awkward(size);
        for (format, name) in QEMU {
            let image = disk.at(name);
            Run::new(*format).write(&disk, &image);
            assert_same_for_qemu(&disk, &image, name);
            let back = disk.at("back");
            let paths = [image.to_str().unwrap(), back.to_str().unwrap()];
            run(
                "qemu-img",
                &["convert", "-f", name, "-O", "raw", paths[0], paths[1]],
            );
            let back = open_existing(&back);
            back.set_len(disk.size).unwrap();
            assert_eq!(digest(&disk.at("back")), digest(&disk.raw()), "{name}");
        }
    }
}

#[test]
fn qcow2_is_right_for_every_compression() {
    if !has("qemu-img", "qcow2_is_right_for_every_compression") {
        return;
    }
    let disk = awkward(40 * MIB);
    let mut sizes = Vec::new();
    for (codec, kind) in [
        (Some(Codec::Zstd(3)), "zstd"),
        (Some(Codec::Zstd(19)), "zstd"),
        (Some(Codec::Deflate(6)), "zlib"),
        (None, "zlib"),
    ] {
        let image = disk.at("a.qcow2");
        sizes.push(
            Run::new(DiskFormat::Qcow2)
                .codec(codec)
                .write(&disk, &image),
        );
        assert_same_for_qemu(&disk, &image, "qcow2");
        let image = image.to_str().unwrap();
        let info = run("qemu-img", &["info", "--output=json", image]).unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["format-specific"]["data"]["compression-type"], kind);
    }
    assert!(sizes[1] <= sizes[0] && sizes[2] < sizes[3], "{sizes:?}");
    // The noise cannot shrink; the rest nearly vanishes.
    assert!(sizes[0] < 2 * MIB, "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn random_sparse_disks_survive(
        sectors in 1u64..6000,
        pieces in prop::collection::vec((0u64..6000, 1usize..150_000, 0u8..4), 0..12),
    ) {
        if !has("qemu-img", "random_sparse_disks_survive") {
            return Ok(());
        }
        let disk = Disk::new(sectors * 512);
        for (seed, (at, length, kind)) in (0..).zip(pieces) {
            let at = at * 512 % disk.size;
            let length = length.min((disk.size - at) as usize);
            disk.put(at, &match kind {
                0 => noise(seed, length),
                1 => vec![0; length],
                2 => text(seed, length),
                _ => vec![0xff; length],
            });
        }
        for (format, name) in QEMU {
            for codec in [Codec::Zstd(3), Codec::Deflate(6)] {
                let image = disk.at(name);
                Run::new(*format).codec(Some(codec)).write(&disk, &image);
                let (raw, image) = (disk.raw(), image.to_str().unwrap().to_owned());
                let raw = raw.to_str().unwrap();
                run("qemu-img", &["compare", "-f", "raw", "-F", name, raw, &image]);
                if *name == "qcow2" {
                    run("qemu-img", &["check", "-f", name, &image]);
                } else {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_fixed_vhd_has_the_size_that_azure_asks_for() {
    let disk = awkward(33 * MIB);
    let image = disk.at("a.vhd");
    assert_eq!(
        Run::new(DiskFormat::Vhd).write(&disk, &image),
        33 * MIB + 512
    );
    let mut footer = [0; 512];
    let mut file = File::open(&image).unwrap();
    file.seek(SeekFrom::End(-512)).unwrap();
    file.read_exact(&mut footer).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[40..48], (33 * MIB).to_be_bytes(), "original size");
    assert_eq!(footer[48..56], (33 * MIB).to_be_bytes(), "current size");
    assert_eq!(footer[60..64], 2u32.to_be_bytes(), "fixed");
    let date = u32::from_be_bytes(footer[24..28].try_into().unwrap());
    assert_eq!(i64::from(date), 1_700_000_000 - 946_684_800);
    let stored = u32::from_be_bytes(footer[64..68].try_into().unwrap());
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    assert_eq!(stored, !sum);
    // Holes stay holes.
    assert!(file.metadata().unwrap().blocks() * 512 < 8 * MIB);
}
