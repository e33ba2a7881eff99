//! Compares derived loader caches with those of the real `ldconfig`.

use std::path::{Path, PathBuf};
use std::process::Command;

use layerset::merge::derive::ldsocache;

use crate::debian::{OwnDebian, run};
use crate::dirview::DirView;

/// Compares what is derived for a root with what its `ldconfig` wrote, and returns how many entries there are.
fn compare(root: &Path, real: &[u8]) -> usize {
    let cache = ldsocache::derive(&DirView(root.to_owned()))
        .unwrap()
        .unwrap();
    assert!(
        cache.file.contents == real,
        "{} entries, {} bytes derived, {} bytes real",
        cache.entries.len(),
        cache.file.contents.len(),
        real.len()
    );
    cache.entries.len()
}

/// Adds what a small Debian lacks: a directory that only the configuration names, its libraries for newer processors, links
/// with a name of their own and without an end, and what is no library.
fn fill(root: &Path) {
    let entries = std::fs::read_dir(root.join("usr/lib")).unwrap();
    let mut libs = entries.map(|entry| entry.unwrap().path().join("libcap.so.2"));
    let library = libs.find(|path| path.exists()).unwrap();
    let own = root.join("opt/own/lib");
    let newer = own.join("glibc-hwcaps/x86-64-v3");
    std::fs::create_dir_all(&newer).unwrap();
    std::fs::copy(&library, own.join("libcap.so.2.99")).unwrap();
    std::fs::copy(&library, newer.join("libcap.so.2")).unwrap();
    std::fs::write(own.join("libtext.so.1"), "no library").unwrap();
    std::os::unix::fs::symlink("libcap.so.2.99", own.join("libother.so")).unwrap();
    std::os::unix::fs::symlink("none", own.join("libnone.so.1")).unwrap();
    std::fs::write(root.join("etc/ld.so.conf.d/own.conf"), "/opt/own/lib\n").unwrap();
}

#[test]
fn the_derived_cache_is_byte_for_byte_that_of_the_roots_own_ldconfig() {
    let test = "the_derived_cache_is_byte_for_byte_that_of_the_roots_own_ldconfig";
    let Some(debian) = OwnDebian::new(test) else {
        return;
    };
    let root = debian.root();
    fill(&root);
    // -X makes no links, as deriving makes none here.
    let output = run(&root, "ldconfig", &["-X", "-C", "/tmp/ld.so.cache"]);
    assert!(output.status.success(), "{output:?}");
    let real = std::fs::read(root.join("tmp/ld.so.cache")).unwrap();
    let entries = compare(&root, &real);
    assert!(entries > 50, "{entries}");
}

/// Compares the root that `LAYERSET_TEST_ROOT` names, this machine's own else; `LAYERSET_TEST_RUNNER` names an emulator to
/// run a foreign one's `ldconfig` with.
#[test]
#[ignore = "it depends on the machine"]
fn the_cache_of_a_root_is_that_of_its_ldconfig() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let dir = tempfile::tempdir_in(root.join("tmp")).unwrap();
    let real = dir.path().join("ld.so.cache");
    let inside = Path::new("/").join(real.strip_prefix(&root).unwrap());
    let program = root.join("sbin/ldconfig");
    let mut ldconfig = match std::env::var_os("LAYERSET_TEST_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    if root != Path::new("/") {
        ldconfig.arg("-r").arg(&root);
    }
    // Without -r no privilege is needed: -X makes no links, -C writes to our own directory.
    let output = ldconfig.arg("-X").arg("-C").arg(&inside).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    compare(&root, &std::fs::read(real).unwrap());
}
