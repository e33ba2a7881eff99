//! Room: what is needed is counted exactly, and nothing is left where it is not there.

use layerset::tree::Inode;

use super::export::{Bootable, run};
use crate::support::path;

/// A small filesystem in memory, at a directory; it ends with the test.
struct Small<'a>(&'a str);

impl<'a> Small<'a> {
    fn new(dir: &'a str, bytes: u64) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let options = format!("size={bytes}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs", dir];
        run("mount", &arguments, std::path::Path::new("/"));
        Self(dir)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        run("umount", &[self.0], std::path::Path::new("/"));
    }
}

/// Returns the number in front of `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let (before, _) = text.split_once(word).unwrap();
    let digits = before.rsplit(' ').find(|part| !part.is_empty()).unwrap();
    digits.parse().unwrap()
}

#[test]
fn a_disk_takes_exactly_the_room_that_it_is_said_to_need() {
    if !crate::support::is_root("a_disk_takes_exactly_the_room_that_it_is_said_to_need") {
        return;
    }
    let straw = Bootable::new();
    let dir = straw.at("small");
    let dir = dir.to_str().unwrap();
    let export = || straw.session.run("export disk web -o small/web.raw");
    let needed = {
        let _small = Small::new(dir, 1 << 20);
        let ran = export()
            .expect(1)
            .says(&["1048576 bytes free", "are needed"]);
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
        number_before(&ran.stderr, " are needed")
    };
    {
        let _small = Small::new(dir, needed - 4096);
        export().expect(1).says(&["are needed"]);
    }
    let _small = Small::new(dir, needed);
    export().expect(0);
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(straw.at("small/web.raw")).unwrap();
    assert_eq!(metadata.blocks() * 512, needed);
    // A disk of a gigabyte that holds so little.
    assert!(metadata.len() > 20 * needed, "{needed}");
}

#[test]
fn an_output_that_does_not_fit_leaves_nothing_behind() {
    if !crate::support::is_root("an_output_that_does_not_fit_leaves_nothing_behind") {
        return;
    }
    let straw = Bootable::new();
    let dir = straw.at("small");
    let _small = Small::new(dir.to_str().unwrap(), 5 << 20);
    for format in ["qcow2", "vmdk", "vhd", "vdi", "ova", "tar.gz"] {
        // The raw disk fits, and then another file of the same size does not.
        let other = format!("-o small/b.{format} --compression none");
        let line = format!("export disk web -o small/a.raw {other}");
        let ran = straw.session.run(&line);
        if ran.status != 0 {
            ran.says(&["small/"]);
        }
        for name in ["a.raw", &format!("b.{format}")] {
            let path = dir.join(name);
            if path.exists() {
                assert!(std::fs::metadata(&path).unwrap().len() > 0);
                std::fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "{format}");
    }
}

#[test]
fn a_size_that_is_said_is_kept_or_its_change_is_told() {
    let straw = Bootable::new();
    let size = |line: &str| {
        let ran = straw
            .session
            .run(&format!("export disk web --dry-run --json {line}"));
        ran.expect(0).json()
    };
    let exact = size("-o x.raw --size 1000000000");
    assert_eq!(exact["virtual_bytes"], 1_000_341_504u64);
    let told = exact["remarks"][0].as_str().unwrap();
    assert!(
        told.contains("1000000000") && told.contains("1000341504"),
        "{told}"
    );
    let even = size("-o x.raw --size 1GiB");
    assert_eq!(even["remarks"].as_array().unwrap().len(), 0);
    // Amazon rounds a volume up by itself, which is said; the others refuse.
    super::refusals::with_recipe(&straw, "size = '1500MiB'\n");
    for (line, numbers) in [
        ("-o x.tar.gz", ["1572864000", "whole GiB"]),
        ("-o x.tar.gz --profile gcp", ["1572864000", "whole GiB"]),
    ] {
        let ran = straw
            .session
            .run(&format!("export disk web {line}"))
            .expect(1);
        ran.says(&["recipes/web.toml:3:8: "]).says(&numbers);
    }
    assert!(!straw.at("x.tar.gz").exists());
}

/// As `/var/log/lastlog` and files of databases are: a disk has room for what they hold.
#[test]
fn a_file_that_is_mostly_zeros_makes_no_disk_larger() {
    const SIZE: usize = 300 << 20;
    let with = |name: &str, bytes: &[u8]| {
        let straw = Bootable::changed(|transaction, tree| {
            let object = transaction.put_object(bytes).unwrap();
            let inode = Inode::file(object, bytes.len() as u64, 0o644);
            tree.insert(path(name.as_bytes()), inode);
        });
        let sizes = ["plain", "updatable"].map(|layout| {
            let line = format!("export disk web -o web.raw --layout {layout} --dry-run --json");
            let json = straw.session.run(&line).expect(0).json();
            json["virtual_bytes"].as_u64().unwrap()
        });
        (straw, sizes)
    };
    let mut sparse = vec![0; SIZE];
    sparse[SIZE / 2] = 1;
    let (_, small) = with("srv/database", b"small");
    let (straw, large) = with("srv/database", &sparse);
    for (small, large) in small.into_iter().zip(large) {
        assert!(large < small + (8 << 20), "{small} and {large}");
    }
    straw
        .session
        .run("export disk web -o web.raw --layout plain")
        .expect(0);
    let root = straw.partition("web.raw", 3);
    let root = root.to_str().unwrap();
    let dir = straw.dir.path();
    run("e2fsck", &["-fn", root], dir);
    run("debugfs", &["-R", "dump /srv/database database", root], dir);
    assert!(std::fs::read(straw.at("database")).unwrap() == sparse);
}
