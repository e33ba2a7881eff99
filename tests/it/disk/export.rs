//! `layerset export disk` from the command line: an image with a kernel of straw, whose disks are
//! read back by the tools of others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use layerset::durable::RealDisk;

use layerset::id::TreeId;
use layerset::store::{Repository, RepositoryOptions, Transaction};
use layerset::tree::{Changeset, Inode, Owner, Tree};

use crate::session::Session;
use crate::support::{bare_layer, commit_web, path};

pub(super) const KERNEL: &str = "6.12.9-straw";

/// A repository with one image that has all that a disk needs, and a session beside it.
pub(super) struct Bootable {
    pub(super) dir: tempfile::TempDir,
    pub(super) session: Session,
}

/// Changes the tree of the image before it is stored.
type Change<'a> = &'a dyn Fn(&Transaction<'_>, &mut Tree);

/// Files of the image: path, mode, owner, contents.
fn files(page: &str) -> Vec<(String, u16, &'static str, Vec<u8>)> {
    let modules = format!("usr/lib/modules/{KERNEL}");
    let mut boot = vec![0xeb; 512];
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    // The block list at the end of the first sector counts the two sectors behind it.
    let mut core = vec![0x90; 3 * 512];
    core[500..512].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 8]);
    let file = |path: &str, bytes: &[u8]| (path.to_owned(), 0o644, "root", bytes.to_vec());
    vec![
        file(&format!("boot/vmlinuz-{KERNEL}"), &[0x4d; 40_000]),
        file(&format!("boot/initrd.img-{KERNEL}"), &[0x30; 70_001]),
        file(
            &format!("{modules}/modules.dep"),
            b"k/erofs.ko:\nk/overlay.ko:\n",
        ),
        file(
            &format!("{modules}/modules.builtin"),
            b"kernel/fs/ext4/ext4.ko\n",
        ),
        file(&format!("{modules}/k/erofs.ko"), b"erofs"),
        file(&format!("{modules}/k/overlay.ko"), b"overlay"),
        file("usr/lib/systemd/systemd", b"\x7fELF"),
        file(
            "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
            &[0x5a; 9_000],
        ),
        file("usr/lib/layerset/boot/i386-pc/boot.img", &boot),
        file("usr/lib/layerset/boot/i386-pc/core.img", &core),
        file("usr/share/factory/var/lib/db/data", &[7; 100_000]),
        file(
            "etc/passwd",
            b"root:x:0:0::/root:/bin/sh\ndb:x:104:104::/var/lib/db:/bin/false\n",
        ),
        file("etc/group", b"root:x:0:\ndb:x:104:\n"),
        file(
            "etc/os-release",
            b"ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Straw 13\"\n",
        ),
        ("etc/db.key".to_owned(), 0o640, "db", b"a setting".to_vec()),
        file("srv/page.html", page.as_bytes()),
    ]
}

fn put(repository: &Repository, left_out: &str, change: Change<'_>) {
    let transaction = repository.begin().unwrap();
    let mut tree = Tree::new();
    tree.insert(path(b""), Inode::directory(0o755));
    let files = files("<h1>straw</h1>").into_iter();
    for (name, mode, owner, bytes) in files.filter(|file| !file.0.starts_with(left_out)) {
        for (end, _) in name.match_indices('/') {
            tree.insert(path(&name.as_bytes()[..end]), Inode::directory(0o755));
        }
        let object = transaction.put_object(&bytes).unwrap();
        let mut inode = Inode::file(object, bytes.len() as u64, mode);
        inode.group = Owner::from_text(owner).unwrap();
        inode.mtime.sec = 1_700_000_123;
        tree.insert(path(name.as_bytes()), inode);
    }
    for (name, mode) in [
        ("var", 0o755),
        ("var/lib", 0o755),
        ("root", 0o700),
        ("home", 0o755),
    ] {
        tree.insert(path(name.as_bytes()), Inode::directory(mode));
    }
    tree.insert(path(b"sbin"), Inode::symlink("usr/sbin"));
    tree.insert(path(b"usr/sbin"), Inode::directory(0o755));
    tree.insert(
        path(b"usr/sbin/init"),
        Inode::symlink("../lib/systemd/systemd"),
    );
    change(&transaction, &mut tree);
    let id = transaction.put_tree(&tree).unwrap();
    let changes = Changeset::between(&Tree::new(), &tree);
    let changeset = transaction.put_changeset(&changes).unwrap();
    commit(repository, transaction, changeset, id);
}

fn commit(repository: &Repository, transaction: Transaction<'_>, changeset: TreeId, tree: TreeId) {
    let build = (&b"straw"[..], 1_700_000_000, 1);
    let layer = bare_layer(("straw", "1"), build, changeset);
    commit_web(repository, transaction, &layer, (tree, 1, 1));
}

impl Bootable {
    pub(super) fn new() -> Self {
        Self::changed(|_, _| ())
    }

    /// Leaves out what starts with `left_out`.
    fn without(left_out: &str) -> Self {
        Self::made(left_out, &|_, _| ())
    }

    /// Changes the tree of the image.
    pub(super) fn changed(change: impl Fn(&Transaction<'_>, &mut Tree)) -> Self {
        // No path of the image starts like this.
        Self::made("-", &change)
    }

    fn made(left_out: &str, change: Change<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        Repository::init(&repo, Arc::new(RealDisk)).unwrap();
        let options = RepositoryOptions::default();
        put(
            &Repository::open(&repo, Arc::new(RealDisk), options).unwrap(),
            left_out,
            change,
        );
        let session = Session::new(dir.path(), &repo);
        Self { dir, session }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Copies the partition with this number out of a raw disk.
    pub(super) fn partition(&self, disk: &str, number: usize) -> PathBuf {
        let json = run("sfdisk", &["--json", disk], self.dir.path());
        let table: serde_json::Value = serde_json::from_str(&json).unwrap();
        let part = &table["partitiontable"]["partitions"][number - 1];
        let value = |key: &str| part[key].as_u64().unwrap().to_string();
        let out = format!("{disk}.{number}");
        let (skip, count) = (
            format!("skip={}", value("start")),
            format!("count={}", value("size")),
        );
        let (input, output) = (format!("if={disk}"), format!("of={out}"));
        run(
            "dd",
            &[
                "bs=512",
                "conv=sparse",
                "status=none",
                &input,
                &output,
                &skip,
                &count,
            ],
            self.dir.path(),
        );
        self.at(&out)
    }
}

/// Runs a tool, which must succeed, and returns what it prints.
#[track_caller]
pub(super) fn run(program: &str, arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}\n{text}{said}"
    );
    text
}

pub(super) fn digest(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(std::fs::File::open(path).unwrap())
        .unwrap();
    hasher.finalize().to_string()
}

const FORMATS: [&str; 7] = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "ova"];

#[test]
fn every_format_holds_the_same_disk_and_has_the_same_bytes_twice() {
    let straw = Bootable::new();
    let export = |prefix: &str| {
        let outputs: Vec<String> = FORMATS
            .iter()
            .map(|format| format!("-o {prefix}.{format}"))
            .collect();
        let line = format!(
            "export disk web --size 1GiB {} -o {prefix}.tar.gz",
            outputs.join(" ")
        );
        straw.session.run(&line).expect(0);
    };
    std::fs::create_dir(straw.at("one")).unwrap();
    std::fs::create_dir(straw.at("two")).unwrap();
    export("one/disk");
    std::fs::remove_dir_all(straw.at("repo/cache")).unwrap();
    export("two/disk");
    for format in FORMATS.iter().chain(&["tar.gz"]) {
        let of = |dir: &str| digest(&straw.at(&format!("{dir}/disk.{format}")));
        assert_eq!(of("one"), of("two"), "{format}");
    }
    for (format, driver) in [
        ("qcow2", "qcow2"),
        ("vmdk", "vmdk"),
        ("vhd", "vpc"),
        ("vhdx", "vhdx"),
        ("vdi", "vdi"),
    ] {
        let file = format!("one/disk.{format}");
        run(
            "qemu-img",
            &["compare", "-f", "raw", "-F", driver, "one/disk.raw", &file],
            straw.dir.path(),
        );
    }
    let info = run(
        "qemu-img",
        &["info", "-f", "vpc", "--output=json", "one/disk.vhd"],
        straw.dir.path(),
    );
    assert!(info.contains("1073741824"), "{info}");
    run("tar", &["-xSzf", "one/disk.tar.gz"], straw.dir.path());
    assert_eq!(
        digest(&straw.at("disk.raw")),
        digest(&straw.at("one/disk.raw"))
    );
}

#[test]
fn an_updatable_disk_holds_a_whole_repository_a_deployment_and_its_state() {
    let straw = Bootable::new();
    straw.session.run("export disk web -o web.raw").expect(0);
    let verified = run("sfdisk", &["--verify", "web.raw"], straw.dir.path());
    assert!(verified.contains("No errors detected"), "{verified}");
    let data = straw.partition("web.raw", 3);
    let data = data.to_str().unwrap();
    run("e2fsck", &["-fn", data], straw.dir.path());
    std::fs::create_dir(straw.at("out")).unwrap();
    run(
        "debugfs",
        &["-R", "rdump /layerset out", data],
        straw.dir.path(),
    );
    let out = straw.at("out");
    straw.session.run("fsck --repo out/layerset/repo").expect(0);
    let status = straw.session.run("status --target out").expect(0);
    assert!(status.stdout.contains("current"), "{}", status.stdout);
    let history = straw.session.run("history --target out").expect(0);
    assert!(
        history.stdout.contains("put on a new disk"),
        "{}",
        history.stdout
    );
    let stat = |path: &str| {
        run(
            "debugfs",
            &["-R", &format!("stat {path}"), data],
            straw.dir.path(),
        )
    };
    let key = stat("/layerset/deployments/1/etc/db.key");
    assert!(
        key.contains("Mode:  0640") && key.contains("Group:   104"),
        "{key}"
    );
    let objects = stat("/layerset/repo/objects");
    assert!(objects.contains("Mode:  0700"), "{objects}");
    let state = std::fs::read(out.join("layerset/state/var/lib/db/data")).unwrap();
    assert_eq!(state, [7; 100_000]);
    for dir in ["root", "home", "srv"] {
        assert!(out.join("layerset/state").join(dir).is_dir(), "{dir}");
    }

    let esp = straw.partition("web.raw", 2);
    let esp = esp.to_str().unwrap();
    run("fsck.vfat", &["-n", esp], straw.dir.path());
    let read = |path: &str| run("mtype", &["-i", esp, path], straw.dir.path());
    let entry = read("::/loader/entries/layerset-1.conf");
    let uuid = run(
        "blkid",
        &["-p", "-o", "value", "-s", "UUID", data],
        straw.dir.path(),
    );
    let root = format!("layerset.deployment=1 root=UUID={} ro", uuid.trim());
    assert!(
        entry.contains(&root) && entry.contains("title web, Straw 13"),
        "{entry}"
    );
    let initrd = entry
        .lines()
        .find_map(|line| line.strip_prefix("initrd "))
        .unwrap()
        .trim();
    let size = run(
        "mdir",
        &["-i", esp, "-b", &format!("::{initrd}")],
        straw.dir.path(),
    );
    assert!(size.contains("initrd"), "{size}");
    let bytes = Command::new("mtype")
        .args(["-i", esp, &format!("::{initrd}")])
        .output()
        .unwrap();
    // 70001 bytes, and zeros up to whole sectors.
    assert_eq!(bytes.stdout.len(), 70_144);
}

#[test]
fn a_plain_disk_is_a_classic_root_and_with_an_mbr_it_has_one_partition() {
    let straw = Bootable::new();
    straw
        .session
        .run("export disk web -o gpt.raw --layout plain")
        .expect(0);
    straw
        .session
        .run("export disk web -o mbr.raw --layout plain --table mbr")
        .expect(0);
    let json = run("sfdisk", &["--json", "mbr.raw"], straw.dir.path());
    let table: serde_json::Value = serde_json::from_str(&json).unwrap();
    let parts = table["partitiontable"]["partitions"].as_array().unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0]["bootable"], true);
    // GRUB's image lies between the table and the partition.
    let head = std::fs::read(straw.at("mbr.raw")).unwrap();
    assert_eq!(head[512..515], [0x90; 3]);
    for (disk, number) in [("gpt.raw", 3), ("mbr.raw", 1)] {
        let root = straw.partition(disk, number);
        let root = root.to_str().unwrap();
        run("e2fsck", &["-fn", root], straw.dir.path());
        let read = |path: &str| {
            run(
                "debugfs",
                &["-R", &format!("cat {path}"), root],
                straw.dir.path(),
            )
        };
        assert!(read("/etc/fstab").contains(" / ext4 "), "{disk}");
        assert_eq!(read("/etc/machine-id"), "");
        let menu = read("/boot/grub/grub.cfg");
        assert!(menu.contains(&format!("/boot/vmlinuz-{KERNEL}")), "{menu}");
        assert!(!menu.contains("layerset.deployment"), "{menu}");
        assert_eq!(read("/srv/page.html"), "<h1>straw</h1>");
        let data = run(
            "debugfs",
            &["-R", "stat /var/lib/db/data", root],
            straw.dir.path(),
        );
        assert!(data.contains("Size: 100000"), "{data}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let straw = Bootable::new();
    std::fs::write(straw.at("old.raw"), "old").unwrap();
    let before = straw.names();
    for (line, message) in [
        ("-o old.raw", "'old.raw' exists already"),
        ("-o /dev/null --format raw", "'/dev/null' is a device"),
        ("-o no/web.raw", "there is no directory for 'no/web.raw'"),
        ("-o web.raw -o web.raw", "'web.raw' is asked for twice"),
        (
            "-o web.iso",
            "'web.iso' does not say which disk format it is",
        ),
        ("-o web.x --format qcow3", "there is no disk format 'qcow3'"),
        (
            "-o web.raw --size 100MiB",
            "the disk has 100 MiB, and what is on it needs",
        ),
        ("-o web.raw --size 10Gi", "'Gi' is not a unit of size"),
        ("-o web.tar.gz --size 1500MiB", "it must be whole GiB"),
        (
            "-o web.raw --layout updatable --table mbr",
            "an updatable disk has a gpt table",
        ),
        (
            "-o web.raw --profile nowhere",
            "there is no profile 'nowhere'",
        ),
        (
            "-o web.qcow2 --profile openstack",
            "openstack/contextualisation",
        ),
    ] {
        let ran = straw.session.run(&format!("export disk web {line}"));
        assert_ne!(ran.status, 0, "{line}");
        assert!(ran.stderr.contains(message), "{line}\n{}", ran.stderr);
        assert_eq!(straw.names(), before, "{line}");
    }
    assert_eq!(std::fs::read(straw.at("old.raw")).unwrap(), b"old");
    straw
        .session
        .run("export disk web -o old.raw --force-overwrite old.raw")
        .expect(0);
    assert!(std::fs::metadata(straw.at("old.raw")).unwrap().len() > 1 << 20);
}

#[test]
fn an_image_that_cannot_boot_is_refused_with_the_layer_that_it_lacks() {
    for (left_out, message, hint) in [
        (
            "boot/vmlinuz",
            "the image has no kernel",
            "the layer 'kernel'",
        ),
        ("boot/initrd", "has no initrd", "initramfs-tools"),
        ("usr/lib/systemd/systemd", "no init", "systemd-sysv"),
        ("usr/lib/modules/6.12.9-straw/k/erofs", "erofs", ""),
        (
            "usr/lib/systemd/boot",
            "systemd-bootx64.efi",
            "the layer 'machine'",
        ),
        ("usr/lib/layerset", "boot.img", "the layer 'machine'"),
    ] {
        let straw = Bootable::without(left_out);
        let ran = straw.session.run("export disk web -o web.raw");
        assert_ne!(ran.status, 0, "{left_out}");
        assert!(
            ran.stderr.contains(message) && ran.stderr.contains(hint),
            "{}",
            ran.stderr
        );
        assert!(!straw.at("web.raw").exists());
    }
}

#[test]
fn a_dry_run_decides_everything_and_writes_nothing() {
    let straw = Bootable::new();
    let before = straw.names();
    let planned = straw
        .session
        .run("export disk web -o web.qcow2 --dry-run --json")
        .expect(0);
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(straw.names(), before);
    let made = straw
        .session
        .run("export disk web -o web.qcow2 --json")
        .expect(0);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    for key in [
        "virtual_bytes",
        "used_bytes",
        "partitions",
        "kernel",
        "image",
    ] {
        assert_eq!(planned[key], made[key], "{key}");
    }
    let bytes = std::fs::metadata(straw.at("web.qcow2")).unwrap().len();
    assert_eq!(made["outputs"][0]["bytes"], bytes);
    assert!(
        straw
            .session
            .run("export disk web -o x.raw --report --dry-run")
            .expect(0)
            .stdout
            .contains("straw")
    );
}

#[test]
fn a_recipe_describes_partitions_volumes_and_what_is_mounted() {
    let straw = Bootable::new();
    std::fs::create_dir(straw.at("recipes")).unwrap();
    let recipe = r#"
layers = ["straw"]
[disk]
layout = "plain"
table = "mbr"
kernel_arguments = ["quiet"]
[[disk.partitions]]
name = "boot"
size = "64MiB"
flags = ["boot"]
filesystem = { type = "ext2" }
mount = "/boot"
[[disk.partitions]]
name = "root"
size = "512MiB"
filesystem = { type = "ext4", label = "top" }
mount = "/"
[[disk.partitions]]
name = "swap"
size = "32MiB"
logical = true
type = "swap"
filesystem = { type = "swap" }
[[disk.partitions]]
name = "var"
size = "rest"
logical = true
filesystem = { type = "ext3" }
mount = "/var"
"#;
    std::fs::write(straw.at("recipes/web.toml"), recipe).unwrap();
    straw.session.run("export disk web -o web.raw").expect(0);
    let json = run("sfdisk", &["--json", "web.raw"], straw.dir.path());
    let table: serde_json::Value = serde_json::from_str(&json).unwrap();
    // Two primary ones, the extended one, two logical ones.
    assert_eq!(
        table["partitiontable"]["partitions"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let part = |number| {
        straw
            .partition("web.raw", number)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (boot, root, var) = (part(1), part(2), part(5));
    for filesystem in [&boot, &root, &var] {
        run("e2fsck", &["-fn", filesystem], straw.dir.path());
    }
    let list = |disk: &str, path: &str| {
        run(
            "debugfs",
            &["-R", &format!("ls {path}"), disk],
            straw.dir.path(),
        )
    };
    assert!(list(&boot, "/").contains(&format!("vmlinuz-{KERNEL}")));
    assert!(!list(&root, "/boot").contains("vmlinuz"));
    assert!(list(&var, "/lib/db").contains("data"));
    let fstab = run(
        "debugfs",
        &["-R", "cat /etc/fstab", &root],
        straw.dir.path(),
    );
    let lines: Vec<&str> = fstab
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(lines.len(), 4, "{fstab}");
    assert!(
        lines[0].contains(" / ext4 ") && lines[3].contains(" none swap "),
        "{fstab}"
    );
}

#[test]
fn an_ordinary_user_exports_the_same_bytes() {
    if !crate::support::is_root("an_ordinary_user_exports_the_same_bytes") {
        return;
    }
    let straw = Bootable::new();
    straw.session.run("export disk web -o root.qcow2").expect(0);
    run("chown", &["-R", "65534:65534", "."], straw.dir.path());
    run("chmod", &["0755", "."], straw.dir.path());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // The program may lie where only root can go.
    let program = straw.at("layerset");
    crate::support::copy_program(Path::new(env!("CARGO_BIN_EXE_layerset")), &program);
    command
        .arg(&program)
        .args(["export", "disk", "web", "-o", "user.qcow2"]);
    command
        .current_dir(straw.dir.path())
        .env("LAYERSET_REPO", straw.at("repo"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        digest(&straw.at("root.qcow2")),
        digest(&straw.at("user.qcow2"))
    );
}
