//! Farms of links and scripts as they come, judged by the kernel.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::kernel::{Said, follow, start};
use crate::support::{is_root, skip};

/// Machine code that calls `exit(0)`, and the machine's number in ELF.
#[cfg(target_arch = "x86_64")]
const EXIT: Option<(u8, &[u8])> = Some((62, b"\xb8\x3c\0\0\0\x31\xff\x0f\x05"));
#[cfg(target_arch = "aarch64")]
const EXIT: Option<(u8, &[u8])> = Some((183, b"\xa8\x0b\x80\xd2\0\0\x80\xd2\x01\0\0\xd4"));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const EXIT: Option<(u8, &[u8])> = None;

/// The smallest program: a header, one segment that is the whole file, and its code.
fn program((machine, code): (u8, &[u8])) -> Vec<u8> {
    const START: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    bytes.extend([machine, 0, 1, 0, 0, 0]);
    for word in [START + HEADERS, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    bytes.extend(b"\x01\0\0\0\x05\0\0\0");
    let size = HEADERS + code.len() as u64;
    for word in [0, START, START, size, size, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes
}

/// Directories and names are few, so that paths meet; none of them is one that a running system fills.
const DIRS: [&str; 4] = ["usr", "usr/d", "opt", "opt/d"];
const NAMES: usize = 6;
const PARTS: [&str; 12] = [
    "n0", "n1", "n2", "n3", "n4", "n5", "d", "usr", "opt", "..", ".", "",
];

#[derive(Debug, Clone)]
enum Entry {
    None,
    Dir,
    Program(u32),
    Link(String),
    Script(Vec<u8>),
}

/// Where the entry of this number is.
fn place(number: usize) -> String {
    format!("{}/n{}", DIRS[number / NAMES], number % NAMES)
}

fn path(most: usize) -> impl Strategy<Value = String> {
    let parts = prop::collection::vec(prop::sample::select(&PARTS[..]), 1..=most);
    parts.prop_map(|parts| parts.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    let relative = path(7).prop_map(|path| match path.as_str() {
        "" => ".".to_owned(),
        _ => path,
    });
    let absolute = path(5).prop_map(|path| format!("/{path}"));
    prop_oneof![3 => relative, 2 => absolute]
}

/// A first line about as long as it likes, with an absolute path.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(&["#!", "#! ", "#!\t "][..]);
    let slashes = prop_oneof![6 => Just(1usize), 1 => 225usize..255];
    let end = ["\n", "", "\r\n", " -x\n", " \t\n", "\0x\n", " \0\n", "\t"];
    let end = prop::sample::select(end.to_vec());
    let number = 0..DIRS.len() * NAMES;
    let path = prop_oneof![path(4), number.prop_map(place)];
    let parts = (start, slashes, path, end);
    parts.prop_map(|(start, slashes, path, end)| {
        format!("{start}{}{path}{end}", "/".repeat(slashes)).into_bytes()
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        1 => Just(Entry::None),
        1 => Just(Entry::Dir),
        6 => prop::sample::select(&[0o755u32, 0o755, 0o010, 0o644][..]).prop_map(Entry::Program),
        8 => target().prop_map(Entry::Link),
        6 => line().prop_map(Entry::Script),
    ]
}

type Farm = Vec<Entry>;

/// Makes the farm in `root`, and returns its links and its scripts.
fn plant(root: &Path, farm: &Farm, program: &[u8]) -> [Vec<String>; 2] {
    let [mut links, mut scripts] = [Vec::new(), Vec::new()];
    for dir in DIRS {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (number, entry) in farm.iter().enumerate() {
        let path = place(number);
        let at = root.join(&path);
        let put = |bytes: &[u8], mode: u32| {
            fs::write(&at, bytes).unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        };
        match entry {
            Entry::None => {}
            Entry::Dir => fs::create_dir(&at).unwrap(),
            Entry::Program(mode) => put(program, *mode),
            Entry::Link(target) => {
                symlink(target, &at).unwrap();
                links.push(format!("/{path}"));
            }
            Entry::Script(line) => {
                put(line, 0o755);
                scripts.push(format!("/{path}"));
            }
        }
    }
    [links, scripts]
}

#[test]
fn random_links_and_scripts_are_judged_as_the_kernel_judges_them() {
    const TEST: &str = "random_links_and_scripts_are_judged_as_the_kernel_judges_them";
    if !is_root(TEST) {
        return;
    }
    let Some(exit) = EXIT else {
        return skip(TEST, "needs an amd64 or arm64 machine");
    };
    let program = program(exit);
    // What happened how often: links that lead somewhere and nowhere, scripts that start and do not.
    let seen = [const { AtomicUsize::new(0) }; 4];
    let count = |at: usize| seen[at].fetch_add(1, Ordering::Relaxed);
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let farms = prop::collection::vec(entry(), DIRS.len() * NAMES);
    let judge = |farm: Farm| {
        // The target directory may hold what can be started, which cannot be said of '/tmp'.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [links, scripts] = plant(dir.path(), &farm, &program);
        let said = Said::of(dir.path());
        for (path, kernel) in links.iter().zip(follow(dir.path(), &links)) {
            let is_said = said.links.contains(path);
            prop_assert_eq!(is_said, kernel.is_err(), "{}: {:?}", path, kernel);
            count(usize::from(is_said));
        }
        for (path, kernel) in scripts.iter().zip(start(dir.path(), &scripts)) {
            let is_said = said.scripts.contains(path);
            prop_assert_eq!(is_said, kernel != Ok(0), "{}: {:?}", path, kernel);
            count(2 + usize::from(is_said));
        }
        Ok(())
    };
    TestRunner::new(config).run(&farms, judge).unwrap();
    let seen = seen.map(AtomicUsize::into_inner);
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}
