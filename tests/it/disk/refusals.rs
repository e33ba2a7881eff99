//! What goes wrong around `layerset export disk`, and descriptions that a machine could not follow:
//! damage, two exports at once, names, mount points, arguments.

use std::path::{Path, PathBuf};

use layerset::boot::Archive;
use layerset::tree::Inode;

use super::export::{Bootable, KERNEL, digest, run};
use crate::support::path;

/// Finds the object of the page in the repository.
fn page_object(straw: &Bootable) -> PathBuf {
    let hex = blake3::hash(b"<h1>straw</h1>").to_string();
    straw.at("repo/objects").join(&hex[..2]).join(&hex[2..])
}

#[test]
fn a_missing_or_damaged_object_is_named_by_its_path_in_the_image() {
    let straw = Bootable::new();
    let object = page_object(&straw);
    let before = straw.names();
    let check = |layout: &str, message: &str| {
        let ran = straw
            .session
            .run(&format!("export disk web -o web.qcow2 --layout {layout}"));
        assert_eq!(ran.status, 4, "{}", ran.stderr);
        let said = &ran.stderr;
        assert!(
            said.contains(message) && said.contains("layerset fsck"),
            "{said}"
        );
        assert_eq!(straw.names(), before);
    };
    // A bit that falls over leaves size and time as they were.
    let times = std::fs::metadata(&object).unwrap().modified().unwrap();
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, "<h1>straw</h2>").unwrap();
    let file = std::fs::File::options().write(true).open(&object).unwrap();
    file.set_modified(times).unwrap();
    check("plain", "'/srv/page.html'");
    check("updatable", "is damaged");
    std::fs::write(&object, "<h1>straw</h2>").unwrap();
    check("plain", "'/srv/page.html' of the image cannot be read");
    std::fs::remove_file(&object).unwrap();
    check("updatable", "'/srv/page.html' of the image cannot be read");
}

#[test]
fn one_file_is_written_once_whatever_it_is_called() {
    let straw = Bootable::new();
    std::fs::create_dir(straw.at("dir")).unwrap();
    std::os::unix::fs::symlink("dir", straw.at("link")).unwrap();
    for pair in ["-o a.raw -o ./a.raw", "-o dir/a.raw -o link/a.raw"] {
        let ran = straw.session.run(&format!("export disk web {pair}"));
        assert!(ran.stderr.contains("is asked for twice"), "{}", ran.stderr);
    }
    std::fs::write(straw.at("dir/a.raw"), "old").unwrap();
    straw
        .session
        .run("export disk web -o dir/a.raw --force-overwrite link/a.raw")
        .expect(0);
    let ran = straw.session.run("export disk web -o - --format raw");
    assert!(ran.stderr.contains("standard output"), "{}", ran.stderr);
    let longest = format!("{}.qcow2", "n".repeat(249));
    straw
        .session
        .run(&format!("export disk web -o {longest}"))
        .expect(0);
    assert!(straw.at(&longest).exists());
}

#[test]
fn a_second_export_to_a_name_waits_for_nobody_and_breaks_nothing() {
    let straw = Bootable::new();
    let names = [".web.qcow2.part", ".web.qcow2.raw.part"];
    for name in names {
        let file = std::fs::File::create(straw.at(name)).unwrap();
        file.lock().unwrap();
        let ran = straw.session.run("export disk web -o web.qcow2");
        let message = "another export is writing 'web.qcow2";
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
        assert!(straw.at(name).exists() && !straw.at("web.qcow2").exists());
        // As a killed one leaves it.
        drop(file);
    }
    std::fs::write(straw.at(".web.qcow2.mkfs.part"), "left").unwrap();
    std::fs::write(straw.at(names[0]), "left").unwrap();
    straw.session.run("export disk web -o web.qcow2").expect(0);
    assert!(!straw.names().iter().any(|name| name.ends_with(".part")));
}

#[test]
fn a_repository_that_takes_no_cache_is_read_all_the_same() {
    let straw = Bootable::new();
    // A file stands where the cache would be, which stops root too.
    let cache = straw.at("repo/cache");
    std::fs::remove_dir_all(&cache).ok();
    std::fs::write(&cache, "").unwrap();
    straw.session.run("export disk web -o web.qcow2").expect(0);
}

pub(super) fn with_recipe(straw: &Bootable, disk: &str) {
    std::fs::create_dir_all(straw.at("recipes")).unwrap();
    let recipe = format!("layers = [\"straw\"]\n[disk]\n{disk}");
    std::fs::write(straw.at("recipes/web.toml"), recipe).unwrap();
}

#[test]
fn a_filesystem_of_its_own_has_what_the_image_gives_to_its_directory() {
    let straw = Bootable::new();
    let part = |mount: &str| {
        format!(
            "[[disk.partitions]]\nname = \"db\"\nsize = \"64MiB\"\nfilesystem = \"ext4\"\nmount = \"{mount}\"\n"
        )
    };
    with_recipe(&straw, &part("/var/lib/db"));
    straw.session.run("export disk web -o web.raw").expect(0);
    let (db, data) = (straw.partition("web.raw", 3), straw.partition("web.raw", 4));
    let list = |disk: &Path, path: &str| {
        run(
            "debugfs",
            &["-R", &format!("ls {path}"), disk.to_str().unwrap()],
            straw.dir.path(),
        )
    };
    assert!(list(&db, "/").contains(" data "));
    let hidden = list(&data, "/layerset/state/var/lib/db");
    assert!(!hidden.contains(" data "), "{hidden}");
    // The image is found by its id, and its recipe with it.
    let id = std::fs::read_to_string(straw.at("repo/refs/images/web")).unwrap();
    straw
        .session
        .run(&format!("export disk {id} -o id.raw"))
        .expect(0);
    assert_eq!(digest(&straw.at("id.raw")), digest(&straw.at("web.raw")));

    for (mount, message) in [
        ("/data", "the image has no such directory"),
        ("/sbin", "'/sbin' of the image is a link"),
    ] {
        with_recipe(&straw, &part(mount));
        let ran = straw.session.run("export disk web -o no.raw");
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }
}

#[test]
fn grub_finds_its_menu_on_a_boot_filesystem() {
    let straw = Bootable::new();
    with_recipe(
        &straw,
        r#"
layout = "plain"
table = "mbr"
[[disk.partitions]]
name = "boot"
size = "64MiB"
flags = ["boot"]
filesystem = "ext4"
mount = "/boot"
[[disk.partitions]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
"#,
    );
    straw.session.run("export disk web -o web.raw").expect(0);
    let boot = straw.partition("web.raw", 1);
    // GRUB looks for this path on each partition, and the menu names kernels as it is named.
    let menu = run(
        "debugfs",
        &["-R", "cat /boot/grub/grub.cfg", boot.to_str().unwrap()],
        straw.dir.path(),
    );
    assert!(
        menu.contains(&format!("linux /boot/vmlinuz-{KERNEL}")),
        "{menu}"
    );
}

/// Makes an initrd with one program.
pub(super) fn initrd_with(program: &str) -> Vec<u8> {
    let mut archive = Archive::new();
    archive.file(program, b"a program").unwrap();
    archive.finish()
}

const ON_A_VOLUME: &str = r#"
layout = "plain"
[[disk.partitions]]
name = "esp"
size = "64MiB"
type = "esp"
filesystem = "vfat"
[[disk.partitions]]
name = "pv"
size = "rest"
type = "lvm"
[[disk.physical_volumes]]
name = "pv0"
on = "pv"
[[disk.volume_groups]]
name = "vg"
on = ["pv0"]
[[disk.volumes]]
name = "root"
group = "vg"
size = "rest"
filesystem = "ext4"
mount = "/"
"#;

#[test]
fn volumes_need_what_finds_them() {
    let initrd = format!("boot/initrd.img-{KERNEL}");
    let in_initrd = format!("there is no 'lvm' in its initrd '/{initrd}'");
    let unknown = format!("the initrd '/{initrd}' cannot be read to see whether it has 'lvm'");
    // What is in the image, what the initrd is, and what is said.
    let cases: [(&str, Option<&str>, Option<&str>); 5] = [
        ("usr/sbin/x", None, Some("there is no 'lvm' in the image")),
        ("usr/sbin/lvm", None, Some(&unknown)),
        ("usr/sbin/lvm", Some("etc/lvm/lvm"), Some(&in_initrd)),
        ("usr/sbin/lvm", Some("sbin/lvm"), None),
        ("usr/sbin/lvm", Some("usr/sbin/lvm"), None),
    ];
    for (program, held, refused) in cases {
        let straw = Bootable::changed(|transaction, tree| {
            let mut put = |name: &str, bytes: &[u8]| {
                let object = transaction.put_object(bytes).unwrap();
                let inode = Inode::file(object, bytes.len() as u64, 0o755);
                tree.insert(path(name.as_bytes()), inode);
            };
            put(program, b"a program");
            if let Some(held) = held {
                put(&initrd, &initrd_with(held));
            }
        });
        with_recipe(&straw, ON_A_VOLUME);
        let before = straw.names();
        let ran = straw.session.run("export disk web -o web.raw");
        let Some(why) = refused else {
            ran.expect(0);
            continue;
        };
        let message = format!("'/' lies on a logical volume, and {why}");
        let help = "add the package lvm2 to the layer 'straw', which makes the initrd";
        ran.expect(1).says(&["recipes/web.toml:", &message, help]);
        assert_eq!(straw.names(), before);
    }
}

#[test]
fn an_appliance_says_what_starts_its_disk_and_gcp_gets_whole_gib() {
    let straw = Bootable::new();
    straw
        .session
        .run("export disk web -o web.ova -o web.tar.gz --layout plain --table mbr")
        .expect(0);
    let description = run("tar", &["-xOf", "web.ova", "web.ovf"], straw.dir.path());
    assert!(!description.contains("\"efi\""), "{description}");
    let listed = run("tar", &["-tvzf", "web.tar.gz"], straw.dir.path());
    assert!(listed.contains(" 1073741824 "), "{listed}");
}

#[test]
fn arguments_for_the_kernel_are_checked_wherever_they_stand() {
    let straw = Bootable::new();
    for (argument, message) in [
        ("root=/dev/sda", "is said by the layout"),
        ("console=ttyS1", "goes into 'console'"),
        ("a b", "holds a space"),
        ("it's", "single quote"),
    ] {
        let words = [
            "export",
            "disk",
            "web",
            "-o",
            "web.raw",
            "--kernel-argument",
        ];
        let words: Vec<&str> = words.into_iter().chain([argument]).collect();
        let ran = straw.session.run_words(&words);
        assert_eq!(ran.status, 2, "{argument}");
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }
}
