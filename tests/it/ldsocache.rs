//! Compares derived loader caches with those of the real `ldconfig`.

use std::path::{Path, PathBuf};
use std::process::Command;

use layerset::merge::derive::ldsocache;

use crate::dirview::DirView;
use crate::support::skip;

/// `LAYERSET_TEST_ROOT` names a root directory to compare instead of this machine's own, `LAYERSET_TEST_RUNNER` an
/// emulator to run a foreign one's `ldconfig` with.
#[test]
fn the_derived_cache_is_byte_for_byte_that_of_the_roots_own_ldconfig() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let view = DirView(root.clone());
    let Some(cache) = ldsocache::derive(&view).unwrap() else {
        let test = "the_derived_cache_is_byte_for_byte_that_of_the_roots_own_ldconfig";
        return skip(
            test,
            &format!("needs glibc's ldconfig in '{}'", root.display()),
        );
    };
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
    let real = std::fs::read(real).unwrap();
    assert!(
        cache.file.contents == real,
        "{} entries, {} bytes derived, {} bytes real",
        cache.entries.len(),
        cache.file.contents.len(),
        real.len()
    );
    assert!(!cache.entries.is_empty());
}
