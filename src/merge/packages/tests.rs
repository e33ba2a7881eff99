//! Arbitration held against what installing the chosen versions in one go gives: whole trees are
//! compared.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::{PackageDecision, Winner, arbitrate};
use crate::id::ObjectId;
use crate::merge::{Blobs, Conflict, MergeError, apply};
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Tree};

const DPKG: &str = "usr/lib/sysimage/var/lib/dpkg";

#[derive(Default)]
struct Memory {
    objects: RefCell<BTreeMap<ObjectId, Vec<u8>>>,
    reads: Cell<usize>,
}

impl Blobs for Memory {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.objects.borrow()[id].clone())
    }
    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let id = ObjectId::of(bytes);
        self.objects.borrow_mut().insert(id, bytes.to_vec());
        Ok(id)
    }
}

fn put(memory: &Memory, tree: &mut Tree, path: &str, inode: Option<Inode>, text: &[u8]) {
    let path = RelPath::from_text(path).unwrap();
    let mut parent = path.parent();
    while let Some(dir) = parent.filter(|dir| tree.get(dir.as_bytes()).is_none()) {
        tree.insert(dir.clone(), Inode::directory(0o755));
        parent = dir.parent();
    }
    let file = || Inode::file(memory.write(text).unwrap(), text.len() as u64, 0o644);
    tree.insert(path, inode.unwrap_or_else(file));
}

/// Installs packages: each line is `name[:architecture[:same]] version` and its files.
///
/// A file is `path=content`, `path->target` or `path/`; `a@b=content` is listed as `a` and lies at
/// `b`. `*path=content` is a file that is not listed. The package `-` stands for what belongs to
/// none.
fn image(memory: &Memory, lines: &str) -> Tree {
    let mut tree = Tree::new();
    let mut status = BTreeMap::new();
    tree.insert(RelPath::root(), Inode::directory(0o755));
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let mut name = words.next().unwrap().split(':');
        let package = name.next().unwrap();
        let architecture = name.next().unwrap_or("amd64");
        let same = name.next().is_some();
        let version = words.next().unwrap();
        let (mut listed, mut sums) = (BTreeSet::new(), String::new());
        for word in words {
            let (at, text, inode) = if let Some((at, target)) = word.split_once("->") {
                (at, "", Some(Inode::symlink(target)))
            } else if let Some(at) = word.strip_suffix('/') {
                (at, "", Some(Inode::directory(0o755)))
            } else {
                let (at, text) = word.split_once('=').unwrap();
                (at, text, None)
            };
            let is_listed = !at.starts_with('*');
            let at = at.trim_start_matches('*');
            let (path, at) = at.split_once('@').unwrap_or((at, at));
            if is_listed {
                let parts: Vec<_> = path.split('/').collect();
                listed.extend((1..=parts.len()).map(|n| format!("/{}\n", parts[..n].join("/"))));
                if inode.is_none() {
                    writeln!(sums, "{text}  {path}").unwrap();
                }
            }
            put(memory, &mut tree, at, inode, text.as_bytes());
        }
        if package == "-" {
            continue;
        }
        let multi = if same { "Multi-Arch: same\n" } else { "" };
        let stem = if same {
            format!("{package}:{architecture}")
        } else {
            package.to_owned()
        };
        let record = format!(
            "Package: {package}\nStatus: install ok installed\nArchitecture: {architecture}\n{multi}Version: {version}\n\n"
        );
        status.insert((package.to_owned(), architecture.to_owned()), record);
        let list: String = ["/.\n".to_owned()].into_iter().chain(listed).collect();
        let mut info = |extension: &str, text: &str| {
            let path = format!("{DPKG}/info/{stem}.{extension}");
            put(memory, &mut tree, &path, None, text.as_bytes());
            // dpkg writes these anew with each version.
            let path = RelPath::from_text(&path).unwrap();
            let mut inode = tree.get(path.as_bytes()).unwrap().clone();
            inode.mtime.sec = version.bytes().map(i64::from).sum();
            tree.insert(path, inode);
        };
        info("list", &list);
        info("md5sums", &sums);
        info("postinst", version);
    }
    let status: String = status.into_values().collect();
    put(
        memory,
        &mut tree,
        &format!("{DPKG}/status"),
        None,
        status.as_bytes(),
    );
    tree
}

type Composed = (Tree, Vec<Conflict>, Vec<PackageDecision>);

fn compose(memory: &Memory, base: &Tree, layers: &[Changeset]) -> Composed {
    let mut tree = base.clone();
    let (mut conflicts, mut decisions) = (Vec::new(), Vec::new());
    for layer in layers {
        let mut layer = layer.clone();
        decisions.extend(arbitrate(&mut tree, &mut layer, memory).unwrap());
        conflicts.extend(apply(&mut tree, &layer, memory).unwrap().conflicts);
    }
    tree.validate().unwrap();
    // Directories of the root stay: nobody knows whether they are anyone's.
    let top: Vec<_> = tree.names(b"").map(<[u8]>::to_vec).collect();
    for name in top {
        if tree.get(&name).unwrap().is_dir() && tree.below(&name).next().is_none() {
            tree.remove(&name);
        }
    }
    (tree, conflicts, decisions)
}

fn listing(memory: &Memory, tree: &Tree) -> String {
    let mut out = String::new();
    for (path, inode) in tree.iter() {
        let text = inode
            .object()
            .map(|id| memory.objects.borrow()[&id].clone());
        let text = text.unwrap_or_default().escape_ascii().to_string();
        writeln!(out, "{path} {} {text}", inode.node.kind()).unwrap();
    }
    out
}

/// A layer made on `old` that made it `made` goes onto `new`: that must be as if `expect` had been
/// installed.
fn check(old: &str, made: &str, new: &str, expect: &str, winners: &[Winner]) {
    let memory = Memory::default();
    let [old, made, new, expect] = [old, made, new, expect].map(|lines| image(&memory, lines));
    let layer = Changeset::between(&old, &made);
    let (tree, conflicts, decisions) = compose(&memory, &new, &[layer]);
    assert_eq!(conflicts, []);
    assert_eq!(listing(&memory, &tree), listing(&memory, &expect));
    assert_eq!(tree, expect);
    let found: Vec<_> = decisions.iter().map(|decision| decision.winner).collect();
    assert_eq!(found, winners, "{decisions:?}");
}

/// Two layers made on `base` come to `expect` in either order.
fn siblings(base: &str, a: &str, b: &str, expect: &str) {
    let memory = Memory::default();
    let [base, a, b, expect] = [base, a, b, expect].map(|lines| image(&memory, lines));
    let [a, b] = [a, b].map(|made| Changeset::between(&base, &made));
    for order in [[a.clone(), b.clone()], [b, a]] {
        let (tree, conflicts, _) = compose(&memory, &base, &order);
        assert_eq!(conflicts, []);
        assert_eq!(listing(&memory, &tree), listing(&memory, &expect));
        assert_eq!(tree, expect);
    }
}

const Z1: &str = "libz 1 usr/lib/libz.so.1->libz.so.1.1 usr/lib/libz.so.1.1=one usr/share/z/old=1 usr/share/z/kept=same\n";
const Z2: &str = "libz 2 usr/lib/libz.so.1->libz.so.1.2 usr/lib/libz.so.1.2=two usr/share/z/new/f=2 usr/share/z/kept=same\n";

#[test]
fn the_newer_version_counts_wherever_it_is() {
    let old = "core 1 usr/bin/core=1\n";
    let new = "core 2 usr/bin/core=2\n";
    let app = "app 1 usr/bin/app=a usr/share/z/app=theirs\n";
    let from = |parts: &[&str]| parts.concat();
    check(
        old,
        &from(&[old, Z1, app]),
        &from(&[new, Z2]),
        &from(&[new, Z2, app]),
        &[Winner::Tree],
    );
    check(
        old,
        &from(&[old, Z2, app]),
        &from(&[new, Z1]),
        &from(&[new, Z2, app]),
        &[Winner::Layer],
    );
    // Nothing to decide: the layer alone, the base alone, or the same version.
    check(
        old,
        &from(&[old, Z1, app]),
        new,
        &from(&[new, Z1, app]),
        &[],
    );
    check(
        &from(&[old, Z1]),
        &from(&[old, Z1, app]),
        &from(&[new, Z2]),
        &from(&[new, Z2, app]),
        &[],
    );
    check(
        old,
        &from(&[old, Z2, app]),
        &from(&[new, Z2]),
        &from(&[new, Z2, app]),
        &[],
    );
}

#[test]
fn a_decision_names_both_versions() {
    let memory = Memory::default();
    let base = image(&memory, "core 1 a=1");
    let [one, two] =
        [Z1, Z2].map(|z| Changeset::between(&base, &image(&memory, &format!("core 1 a=1\n{z}"))));
    let (_, _, decisions) = compose(&memory, &base, &[one, two]);
    let decision = PackageDecision {
        package: "libz".to_owned(),
        architecture: "amd64".to_owned(),
        tree_version: "1".to_owned(),
        layer_version: "2".to_owned(),
        winner: Winner::Layer,
    };
    assert_eq!(decisions, [decision]);
}

#[test]
fn siblings_come_to_one_tree_in_either_order() {
    let base = "core 1 usr/bin/core=1\n";
    let with = |parts: &[&str]| [&[base], parts].concat().concat();
    let (app, web) = (
        "app 1 usr/bin/app=a\n",
        "web 1 srv/web=w usr/share/z/web=w\n",
    );
    siblings(
        base,
        &with(&[Z1, app]),
        &with(&[Z2, web]),
        &with(&[Z2, app, web]),
    );
    // A version that is spelt differently, and one that is a bit newer.
    siblings(
        base,
        &with(&["p 1.0 x=a"]),
        &with(&["p 1.0-0 x=b"]),
        &with(&["p 1.0-0 x=b"]),
    );
    siblings(
        base,
        &with(&["p 1~rc1 x=a"]),
        &with(&["p 1 x=b"]),
        &with(&["p 1 x=b"]),
    );
    // Two that go different ways.
    siblings(
        base,
        &with(&["p 1 x=p1\n", "q 2 y=q2 z=q2"]),
        &with(&["p 2 x=p2\n", "q 1 y=q1 w=q1"]),
        &with(&["p 2 x=p2\n", "q 2 y=q2 z=q2"]),
    );
    // Of another kind: all on one side, amd64 on the other.
    siblings(
        base,
        &with(&["p:all 1 x=a"]),
        &with(&["p 2 y=b"]),
        &with(&["p 2 y=b"]),
    );
    // One name for two architectures is two packages.
    let both = "p:i386:same 2 usr/lib/i386/p=b\n";
    siblings(
        base,
        &with(&["p:amd64:same 1 usr/lib/amd64/p=a\n"]),
        &with(&["p:amd64:same 2 usr/lib/amd64/p=b\n", both]),
        &with(&["p:amd64:same 2 usr/lib/amd64/p=b\n", both]),
    );
}

#[test]
fn a_file_may_move_to_another_package_or_another_place() {
    let base = "core 1 usr/bin/core=1\n";
    let with = |text: &str| format!("{base}{text}");
    siblings(
        base,
        &with("p 1 a/f=1 b/f=1"),
        &with("p 2 c/f=2 b/g=2"),
        &with("p 2 c/f=2 b/g=2"),
    );
    // The newer version gave a file to a package of its own.
    let one = "p 1 usr/bin/p=1 usr/share/p/data=1\np-doc 1 doc/p=1\n";
    let two = "p 2 usr/bin/p=2\np-data 2 usr/share/p/data=2\np-doc 2 doc/p=2\n";
    siblings(base, &with(one), &with(two), &with(two));
    // A directory became a link, and a link a directory.
    siblings(
        base,
        &with("p 1 o/d/f=1 o/l->d"),
        &with("p 2 o/d->e o/e/f=2 o/l/f=2"),
        &with("p 2 o/d->e o/e/f=2 o/l/f=2"),
    );
}

#[test]
fn what_another_package_owns_stays() {
    let base = "core 1 usr/share/both/=\n".replace("/=", "/");
    let with = |text: &str| format!("{base}{text}");
    let q = "q 1 usr/share/p/q=q usr/share/both/q=q taken=q\n";
    // In the layer, q took over a file of p that p's newer version does not have.
    check(
        &base,
        &with(&format!("p 1 usr/share/p/f=1\n{q}")),
        &with("p 2 usr/share/other/f=2"),
        &with(&format!("p 2 usr/share/other/f=2\n{q}")),
        &[Winner::Tree],
    );
    // A file that two packages list, as those of two architectures do.
    let q = "q 1 s/both/f=x g=1\n";
    let (one, two) = (with(&format!("p 1 s/both/f=x\n{q}")), with("p 2 h=2\n"));
    siblings(&base, &one, &two, &with(&format!("p 2 h=2\n{q}")));
    let q = "q 1 usr/share/p/q=q usr/share/both/q=q taken=q\n";
    // Where p's newer version has it too, nobody knows whose it is.
    let memory = Memory::default();
    let [old, made, new] = [
        base.clone(),
        with(&format!("p 1 a=1\n{q}")),
        with("p 2 a=2 taken=p"),
    ]
    .map(|lines| image(&memory, &lines));
    let (tree, conflicts, _) = compose(&memory, &new, &[Changeset::between(&old, &made)]);
    let paths: Vec<_> = conflicts
        .iter()
        .map(|conflict| conflict.path.to_string())
        .collect();
    assert_eq!(paths, ["/taken"]);
    assert!(listing(&memory, &tree).contains("Version: 2"));
}

#[test]
fn links_between_directories_are_followed() {
    let base = "- 0 lib->usr/lib usr/lib/\ncore 1 usr/bin/core=1\n";
    let with = |text: &str| format!("{base}{text}");
    let old = "p 1 lib/m/f@usr/lib/m/f=1 lib/m/old@usr/lib/m/old=1 usr/lib/m/g=1\n";
    let new = "p 2 usr/lib/m/f=2 lib/m/g@usr/lib/m/g=2\n";
    siblings(base, &with(old), &with(new), &with(new));
    check(base, &with(old), &with(new), &with(new), &[Winner::Tree]);
    // A package may list the link as its directory; the image needs it.
    siblings(
        base,
        &with("p 1 lib@usr/lib/"),
        &with("p 2 usr/lib/x=2"),
        &with("p 2 usr/lib/x=2"),
    );
    // The layer brings the link with it.
    let base = "core 1 usr/bin/core=1\n";
    let with = |text: &str| format!("{base}- 0 opt/l->../usr/lib\n{text}");
    let old = "p 1 opt/l/f@usr/lib/f=1\n";
    check(
        base,
        &with(old),
        &with("p 2 usr/lib/x=2"),
        &with("p 2 usr/lib/x=2"),
        &[Winner::Tree],
    );
}

#[test]
fn diverted_files_are_found_where_they_are() {
    let diversions = format!("- 0 {DPKG}/diversions=/bin/p\n/bin/p.real\nwrap\n");
    let memory = Memory::default();
    let make = |lines: &str| {
        let mut tree = image(&memory, lines);
        let text = diversions.split_once('=').unwrap().1;
        put(
            &memory,
            &mut tree,
            &format!("{DPKG}/diversions"),
            None,
            text.as_bytes(),
        );
        tree
    };
    let base = "wrap 1 bin/p=wrapper\n";
    let old = make(base);
    let with = |text: &str| make(&format!("{base}{text}"));
    for (made, new, expect) in [
        (
            "p 1 bin/p@bin/p.real=1",
            "p 2 bin/p@bin/p.real=2",
            "p 2 bin/p@bin/p.real=2",
        ),
        (
            "p 2 bin/p@bin/p.real=2",
            "p 1 bin/p@bin/p.real=1 x=1",
            "p 2 bin/p@bin/p.real=2",
        ),
        ("p 1 bin/p@bin/p.real=1", "p 2 y=2", "p 2 y=2"),
        ("p 2 y=2", "p 1 bin/p@bin/p.real=1", "p 2 y=2"),
    ] {
        let layer = Changeset::between(&old, &with(made));
        let (tree, conflicts, decisions) = compose(&memory, &with(new), &[layer]);
        assert_eq!((conflicts.len(), decisions.len()), (0, 1), "{conflicts:?}");
        assert_eq!(listing(&memory, &tree), listing(&memory, &with(expect)));
    }
}

#[test]
fn what_settling_moved_and_byte_code_go_with_their_package() {
    let base = "core 1 usr/bin/core=1\n";
    let with = |text: &str| format!("{base}{text}");
    let one = "p 1 var/lib/p/s@usr/lib/sysimage/var/lib/p/s=1 py/m.py=1 *py/__pycache__/m.cpython-311.pyc=1 py/o.py=1 *py/__pycache__/o.cpython-311.pyc=1\n";
    let two = "p 2 var/lib/p/s@usr/lib/sysimage/var/lib/p/s=2 py/m.py=2 *py/__pycache__/m.cpython-311.pyc=2\n";
    siblings(base, &with(one), &with(two), &with(two));
    siblings(base, &with(one), &with("p 2 y=2"), &with("p 2 y=2"));
}

#[test]
fn interests_in_triggers_go_with_their_package() {
    let memory = Memory::default();
    let make = |lines: &str, file: &str, named: &str| {
        let mut tree = image(&memory, &format!("core 1 a=1\n{lines}"));
        for (name, text) in [("File", file), ("ldconfig", named)] {
            if !text.is_empty() {
                let path = format!("{DPKG}/triggers/{name}");
                put(&memory, &mut tree, &path, None, text.as_bytes());
            }
        }
        tree
    };
    let base = make("", "/x core\n", "");
    let one = make("p 1 f=1", "/x core\n/y p\n/z p/noawait\n", "p\n");
    let two = make("p 2 f=2", "/x core\n/y p/noawait\n", "");
    let [a, b] = [&one, &two].map(|made| Changeset::between(&base, made));
    for order in [[a.clone(), b.clone()], [b, a]] {
        let (tree, conflicts, _) = compose(&memory, &base, &order);
        assert_eq!(conflicts, []);
        assert_eq!(
            listing(&memory, &tree).replace(&format!("/{DPKG}/triggers dir \n"), ""),
            listing(&memory, &two).replace(&format!("/{DPKG}/triggers dir \n"), "")
        );
    }
}

#[test]
fn a_package_that_both_sides_upgraded_is_decided_where_its_files_are_known() {
    let p =
        |version: u32, text: &str| format!("core 1 a=1\np {version} f={version} doc=same {text}\n");
    check(
        &p(1, ""),
        &p(2, "g=2"),
        &p(3, "h=3"),
        &p(3, "h=3"),
        &[Winner::Tree],
    );
    check(
        &p(1, ""),
        &p(3, "g=3"),
        &p(2, "h=2"),
        &p(3, "g=3"),
        &[Winner::Layer],
    );
    check(
        &p(1, "g=1"),
        &p(3, "h=3"),
        &p(2, "g=2"),
        &p(3, "h=3"),
        &[Winner::Layer],
    );
    check(
        &p(1, "g=1"),
        &p(3, "g=3"),
        &p(2, ""),
        &p(3, "g=3"),
        &[Winner::Layer],
    );
    // A file that the layer left alone is no longer in the tree: its bytes are unknown.
    let memory = Memory::default();
    for tree in ["p 2 f=2 doc=other", "p 2 f=2"] {
        let [old, made, new] =
            [p(1, ""), p(3, ""), format!("core 1 a=1\n{tree}")].map(|lines| image(&memory, &lines));
        let (_, conflicts, decisions) = compose(&memory, &new, &[Changeset::between(&old, &made)]);
        assert_eq!(decisions, []);
        assert!(
            conflicts
                .iter()
                .any(|conflict| conflict.path.name() == b"status"),
            "{conflicts:?}"
        );
    }
}

#[test]
fn a_database_that_cannot_be_read_is_left_to_its_driver() {
    let memory = Memory::default();
    let base = image(&memory, "core 1 a=1");
    let mut made = image(&memory, &format!("core 1 a=1\n{Z1}"));
    let mut new = image(&memory, &format!("core 1 a=1\n{Z2}"));
    for (side, damage) in [
        (0, "Package: x\n\n"),
        (1, "Package: y"),
        (1, "nonsense\n\n"),
    ] {
        let tree = [&mut made, &mut new].into_iter().nth(side).unwrap();
        let path = format!("{DPKG}/status");
        let sound = tree.get(path.as_bytes()).unwrap().clone();
        let text = [
            memory.read(&sound.object().unwrap()).unwrap(),
            damage.into(),
        ]
        .concat();
        put(&memory, tree, &path, None, &text);
        let mut layer = Changeset::between(&base, &made);
        let (before, mut tree) = (layer.clone(), new.clone());
        assert_eq!(arbitrate(&mut tree, &mut layer, &memory).unwrap(), []);
        assert!(tree == new && layer == before);
        let conflicts = apply(&mut tree, &layer, &memory).unwrap().conflicts;
        assert!(
            conflicts
                .iter()
                .any(|conflict| conflict.path.name() == b"status")
        );
        let tree = [&mut made, &mut new].into_iter().nth(side).unwrap();
        tree.insert(RelPath::from_text(&path).unwrap(), sound);
    }
}

#[test]
fn nothing_is_read_where_one_side_has_the_database_alone() {
    let memory = Memory::default();
    let base = image(&memory, "core 1 a=1");
    let mut layer = Changeset::between(&base, &image(&memory, &format!("core 1 a=1\n{Z1}")));
    let mut tree = base.clone();
    assert_eq!(arbitrate(&mut tree, &mut layer, &memory).unwrap(), []);
    assert_eq!(memory.reads.get(), 0);
    let mut tree = image(&memory, "core 1 a=1\nother 1 b=1");
    assert_eq!(arbitrate(&mut tree, &mut layer, &memory).unwrap(), []);
    assert_eq!(memory.reads.get(), 3);
}

/// A package at a version, with files that follow from both: `files` has a bit for each that it
/// has.
fn package(name: char, version: u32, files: u8) -> String {
    let places = [
        "shared/NAME-a",
        "shared/deep/NAME",
        "NAME/x/f",
        "NAME/x/g",
        "NAME/y/z/f",
        "lib/NAME@usr/lib/NAME",
    ];
    let mut line = format!("{name} {version}");
    for (bit, place) in places.iter().enumerate() {
        if files & 1 << bit != 0 {
            let content = if bit % 2 == 0 { version } else { 0 };
            let place = place.replace("NAME", &name.to_string());
            write!(line, " {place}={content}").unwrap();
        }
    }
    line + "\n"
}

proptest! {
    #[test]
    fn any_siblings_come_to_the_newest_of_each_package(
        files in proptest::collection::vec(0_u8..64, 9),
        layers in proptest::collection::vec(proptest::collection::vec(0_u32..4, 3), 3),
        turn in 0_usize..6,
    ) {
        let memory = Memory::default();
        let base = "- 0 lib->usr/lib usr/lib/\ncore 1 usr/bin/core=1\n";
        let with = |versions: &[u32]| {
            let all = ['p', 'q', 'r'].into_iter().zip(versions).enumerate();
            let all = all.filter(|(_, (_, version))| **version > 0);
            let lines = all.map(|(at, (name, version))| package(name, *version, files[at * 3 + *version as usize - 1]));
            image(&memory, &(base.to_owned() + &lines.collect::<String>()))
        };
        let old = with(&[0, 0, 0]);
        let newest: Vec<u32> = (0..3).map(|at| layers.iter().map(|layer| layer[at]).max().unwrap()).collect();
        let mut layers: Vec<_> = layers.iter().map(|layer| Changeset::between(&old, &with(layer))).collect();
        layers.rotate_left(turn % 3);
        if turn > 2 {
            layers.swap(0, 1);
        }
        let (tree, conflicts, _) = compose(&memory, &old, &layers);
        prop_assert_eq!(conflicts, []);
        prop_assert_eq!(listing(&memory, &tree), listing(&memory, &with(&newest)));
        prop_assert_eq!(tree, with(&newest));
    }

    #[test]
    fn hostile_databases_harm_nothing_but_themselves(
        list in proptest::collection::vec("(/|a|b|l|\\.\\.|\\.|\n|/a/b|/l/l|/etc/passwd|\u{0}|loop/){0,6}\n", 0..8),
        diversions in "(/a\n/b\nx\n|/l/f\n/etc/passwd\n:\n|/a\n){0,2}",
        status in "(Package: p\n\n|Status|\n|Package: p\nStatus: a b installed\nArchitecture: /\nVersion: 3\n\n){0,2}",
        is_newer in any::<bool>(),
    ) {
        let memory = Memory::default();
        let base = image(&memory, "core 1 etc/passwd=secret l->a a/b/=\n- 0 loop->loop\n".replace("/=", "/").as_str());
        let (mine, theirs) = if is_newer { (3, 2) } else { (1, 2) };
        let extra = "core 1 etc/passwd=secret l->a a/b/\n- 0 loop->loop\n";
        let mut made = image(&memory, &format!("{extra}p {mine} f=1 a/g=1"));
        let mut new = image(&memory, &format!("{extra}p {theirs} f=2 a/h=1"));
        let list = list.concat();
        for tree in [&mut made, &mut new] {
            put(&memory, tree, &format!("{DPKG}/info/p.list"), None, list.as_bytes());
            put(&memory, tree, &format!("{DPKG}/diversions"), None, diversions.as_bytes());
        }
        let path = format!("{DPKG}/status");
        let sound = memory.read(&made.get(path.as_bytes()).unwrap().object().unwrap()).unwrap();
        put(&memory, &mut made, &path, None, &[sound, status.into()].concat());
        let (tree, ..) = compose(&memory, &new, &[Changeset::between(&base, &made)]);
        prop_assert!(tree.get(b"etc/passwd").is_some());
    }
}
