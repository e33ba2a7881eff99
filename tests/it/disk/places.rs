//! What is wrong with `[disk]` is told at its place in the recipe, also where only the content of an
//! image shows it.

use layerset::tree::Inode;

use super::export::{Bootable, KERNEL};
use super::refusals::{initrd_with, with_recipe};
use crate::support::path;

/// Volumes in a group, each small enough for a description and too small for some content.
const VOLUMES: &str = r#"
layout = "plain"
[[disk.partitions]]
name = "esp"
size = "64MiB"
type = "esp"
filesystem = "vfat"
[[disk.partitions]]
name = "pv"
size = "600MiB"
type = "lvm"
[[disk.volume_groups]]
name = "vg"
on = ["pv"]
[[disk.volumes]]
name = "root"
group = "vg"
size = "100MiB"
filesystem = "ext4"
mount = "/"
[[disk.volumes]]
name = "var"
group = "vg"
extents = "30%VG"
filesystem = "ext4"
mount = "/var"
"#;

/// An image with lvm2, and with what some filesystems cannot hold.
fn image() -> Bootable {
    Bootable::changed(|transaction, tree| {
        let initrd = format!("boot/initrd.img-{KERNEL}");
        for (name, bytes) in [
            ("usr/sbin/lvm", vec![0x77; 5]),
            ("usr/share/large", vec![0x77; 20_000_000]),
            (&initrd, initrd_with("usr/sbin/lvm")),
        ] {
            let object = transaction.put_object(&bytes).unwrap();
            let inode = Inode::file(object, bytes.len() as u64, 0o755);
            tree.insert(path(name.as_bytes()), inode);
        }
        for dir in ["boot/efi", "var/big", "mnt"] {
            tree.insert(path(dir.as_bytes()), Inode::directory(0o755));
        }
        tree.insert(path(b"boot/efi/link"), Inode::symlink("x"));
        tree.insert(path(b"var/big/link"), Inode::symlink("x"));
    })
}

/// Returns the place that an error starts with, `line:column`, and the rest of it.
fn told_at(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once("recipes/web.toml:")?;
    let (place, message) = rest.split_once(": ")?;
    let (line, column) = place.split_once(':')?;
    let is_number = |text: &str| text.parse::<usize>().is_ok();
    (is_number(line) && is_number(column)).then_some((place, message))
}

const EXPORT: &str = "export disk web -o web.raw --dry-run";

#[test]
fn what_does_not_fit_the_content_is_told_at_its_place() {
    let straw = image();
    let part = |name: &str, rest: &str| format!("[[disk.partitions]]\nname = '{name}'\n{rest}\n");
    let root = part("root", "size = 'rest'\nfilesystem = 'ext4'\nmount = '/'\n");
    let esp = "type = 'esp'\nfilesystem = 'vfat'\nmount = '/boot/efi'\n";
    let plain = |rest: &str| format!("layout = 'plain'\n{rest}");
    let volumes = |from: &str, to: &str| VOLUMES.trim_start().replace(from, to);
    let mut wrong = Vec::new();
    // The description starts in line 3.
    for (disk, place, message) in [
        (
            "size = '262MiB'".to_owned(),
            "3:8",
            "the disk has 262 MiB, and what is on it needs",
        ),
        (
            "size = '17TiB'".to_owned(),
            "3:8",
            "'data' cannot be written: ",
        ),
        (
            format!(
                "size = '40TiB'\n{}",
                part("x", "size = '18TiB'\nfilesystem = 'ext4'")
            ),
            "6:8",
            "'x' cannot be written: ",
        ),
        (
            part("data", "size = '9MiB'"),
            "5:8",
            "'data' has 9 MiB, and needs",
        ),
        (
            format!("size = '1GiB'\n{}", part("data", "size = '2%'")),
            "3:8",
            "the disk has 1 GiB, and what is on it needs",
        ),
        (
            plain(&format!(
                "{}{root}",
                part("esp", &format!("size = '64MiB'\n{esp}"))
            )),
            "9:9",
            "cannot hold '/boot/efi/link': it is a link",
        ),
        (
            part(
                "big",
                "size = '64MiB'\nfilesystem = 'vfat'\nmount = '/var/big'",
            ),
            "7:9",
            "cannot hold '/var/big/link': it is a link",
        ),
        (
            part(
                "big",
                "size = '400MiB'\nfilesystem = 'xfs'\nmount = '/var/big'",
            ),
            "7:9",
            "the image has 1 files below '/var/big'",
        ),
        (
            part("x", "size = '64MiB'\nfilesystem = 'ext4'\nmount = '/sbin'"),
            "7:9",
            "'/sbin' of the image is a link",
        ),
        (
            volumes("100MiB", "8MiB"),
            "19:8",
            "'root' has 8 MiB, and needs",
        ),
        (
            volumes("30%VG", "0.1%VG"),
            "13:1",
            "the volumes of 'vg' need",
        ),
        (
            volumes("30%VG", "99%VG"),
            "13:1",
            "the volumes of 'vg' need",
        ),
        (
            volumes("600MiB", "64MiB"),
            "13:1",
            "the volumes of 'vg' need",
        ),
        (
            volumes("100MiB", "700MiB"),
            "13:1",
            "the volumes of 'vg' need",
        ),
    ] {
        with_recipe(&straw, &disk);
        let ran = straw.session.run(EXPORT);
        let is_told =
            told_at(&ran.stderr).is_some_and(|said| said.0 == place && said.1.contains(message));
        if ran.status == 0 || !is_told {
            wrong.push(format!(
                "{disk}\n  {place}: {message}\n{}",
                ran.transcript()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Who reads these formats takes sectors for 512 bytes, and would find no partition.
#[test]
fn other_sectors_than_512_bytes_are_for_formats_that_leave_them_to_the_machine() {
    let straw = image();
    with_recipe(&straw, "sector = 4096");
    for name in [
        "web.vhd",
        "web.vhdx",
        "web.vmdk",
        "web.vdi",
        "web.ova",
        "web.tar.gz",
    ] {
        let line = format!("export disk web -o ok.raw -o {name} --dry-run");
        let ran = straw.session.run(&line).expect(1);
        let said = told_at(&ran.stderr).unwrap();
        assert_eq!(said.0, "3:10", "{}", ran.stderr);
        assert!(
            said.1.contains("has sectors of 512 bytes, not 4096"),
            "{said:?}"
        );
    }
    let line = "export disk web -o a.raw -o b.qcow2 -o c.raw.gz --dry-run";
    straw.session.run(line).expect(0);
}

/// What an option says is not in the recipe, so that nothing there is to blame.
#[test]
fn what_an_option_says_is_no_fault_of_the_recipe() {
    let straw = image();
    with_recipe(&straw, "size = '2GiB'");
    let ran = straw
        .session
        .run(&format!("{EXPORT} --size 262MiB"))
        .expect(1);
    assert!(told_at(&ran.stderr).is_none(), "{}", ran.stderr);
    ran.says(&["the disk has 262 MiB", "at least"]);
}

/// Each size of a sound description becomes each of several others: what comes out is a disk, or an
/// error that points into the recipe.
#[test]
fn every_other_size_makes_a_disk_or_an_error_with_a_place() {
    let straw = image();
    let sizes = ["64MiB", "600MiB", "100MiB", "30%VG"];
    let others = [
        "1B",
        "5MiB",
        "1%",
        "100%",
        "150%",
        "rest",
        "1TiB",
        "9e9",
        "9999999999TiB",
        "0",
        "",
    ];
    let (mut made, mut refused) = (0, 0);
    for size in sizes {
        for other in others {
            for with in ["", "size = '700MiB'\n", "size = '1GiB'\n"] {
                let disk = format!("{with}{}", VOLUMES.replacen(size, other, 1));
                with_recipe(&straw, &disk);
                let ran = straw.session.run(EXPORT);
                match ran.status {
                    0 => made += 1,
                    _ => {
                        refused += 1;
                        assert!(told_at(&ran.stderr).is_some(), "{disk}\n{}", ran.stderr);
                    }
                }
            }
        }
    }
    assert!(made > 5 && refused > 60, "{made} made, {refused} refused");
}
