use std::collections::BTreeMap;

use super::*;
use crate::builder::fixture::{no_rules, repository};
use crate::builder::parents::insert_with_parents;
use crate::id::ObjectId;
use crate::recipe::{FileContent, FileInput};
use crate::tree::Inode;

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

fn shipped(paths: &[&str]) -> Vec<FileInput> {
    let input = |text: &&str| FileInput {
        path: path(text),
        mode: 0o644,
        content: FileContent::File(ObjectId::of(b"")),
    };
    paths.iter().map(input).collect()
}

/// Drops what a build with these files left on `lower`, in a layer that ships `ships`.
fn dropped(
    lower: &[(&str, &str)],
    files: &[(&str, &str)],
    ships: &[&str],
) -> Result<BTreeMap<String, String>, BuildError> {
    let (_dir, repository) = repository();
    let transaction = repository.begin().unwrap();
    let sink = BuildSink::new(&transaction);
    let tree = |files: &[(&str, &str)]| {
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), Inode::directory(0o755));
        for (place, contents) in files {
            let object = sink.write(contents.as_bytes()).unwrap();
            let inode = Inode::file(object, contents.len() as u64, 0o644);
            insert_with_parents(&mut tree, &path(place), inode);
        }
        insert_with_parents(&mut tree, &path("run"), Inode::directory(0o755));
        insert_with_parents(&mut tree, &path("var/run"), Inode::symlink("/run"));
        tree
    };
    let (lower, mut after) = (tree(lower), tree(files));
    let shipped = shipped(ships);
    let rules = SettleRules {
        files: &shipped,
        ..no_rules("app")
    };
    drop(rules, &lower, &mut after, &sink)?;
    let files = after.iter().filter_map(|(path, inode)| {
        let bytes = sink.read(&inode.object()?).unwrap();
        Some((path.to_string(), String::from_utf8(bytes).unwrap()))
    });
    Ok(files.collect())
}

#[test]
fn what_a_definition_ships_by_name_stays_and_what_a_build_leaves_goes() {
    let resolver = ("etc/resolv.conf", "nameserver 192.0.2.1\n");
    let left = [resolver, ("etc/machine-id", "0123\n"), ("tmp/x", "x")];
    assert_eq!(dropped(&[], &left, &[]).unwrap(), BTreeMap::new());
    let kept = dropped(&[], &left, &["etc/resolv.conf"]).unwrap();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["/etc/resolv.conf"]);
    // A build that changes or removes what a lower layer ships leaves it as it was.
    let other = [("etc/resolv.conf", "nameserver 192.0.2.2\n")];
    for files in [&other[..], &[]] {
        let found = dropped(&[resolver], files, &[]).unwrap();
        assert_eq!(found["/etc/resolv.conf"], resolver.1);
    }
    let found = dropped(&[resolver], &other, &["etc/resolv.conf"]).unwrap();
    assert_eq!(found["/etc/resolv.conf"], other[0].1);
    // Derived files are nobody's, whoever ships them.
    let cache = [("etc/ld.so.cache", "x")];
    assert!(
        dropped(&[], &cache, &["etc/ld.so.cache"])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_a_package_lists_stays() {
    let files = |list: &'static str| {
        [
            ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("usr/lib/sysimage/var/lib/dpkg/info/resolver.list", list),
        ]
    };
    for (list, expect) in [("/.\n/etc\n/etc/resolv.conf\n", 2), ("/.\n/etc\n", 1)] {
        assert_eq!(dropped(&[], &files(list), &[]).unwrap().len(), expect);
        // The package of a lower layer says nothing about what this build left.
        let below = &files(list)[1..];
        assert_eq!(dropped(below, &files(list), &[]).unwrap().len(), 1);
    }
}

#[test]
fn a_fixed_machine_id_is_refused_and_one_that_machines_replace_is_kept() {
    let with = |contents: &'static str| {
        let files = [("etc/machine-id", contents)];
        dropped(&[], &files, &["etc/machine-id"])
    };
    for contents in ["", "\n", "uninitialized\n"] {
        assert_eq!(with(contents).unwrap()["/etc/machine-id"], contents);
    }
    let error = with("0123456789abcdef0123456789abcdef\n").unwrap_err();
    assert!(matches!(error, BuildError::MachineId { .. }), "{error}");
}

#[test]
fn what_no_machine_would_see_is_refused_by_name() {
    let error = dropped(&[], &[], &["run/app/x", "var/run/y", "etc/z"]).unwrap_err();
    let BuildError::Volatile { paths, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(paths, &[path("run/app/x"), path("var/run/y")]);
    assert!(dropped(&[], &[], &["srv/tmp/x"]).is_ok());
}

#[test]
fn what_is_dropped_below_var_is_dropped_behind_its_links_too() {
    let place = |name: &str| format!("usr/lib/sysimage/var/{name}");
    let (status, lock, frontend, passwords) = (
        place("lib/dpkg/status"),
        place("lib/dpkg/lock"),
        place("lib/dpkg/lock-frontend"),
        place("cache/debconf/passwords.dat"),
    );
    let lower = [(status.as_str(), "old")];
    let left = [
        (status.as_str(), "new"),
        (lock.as_str(), ""),
        (frontend.as_str(), ""),
        (passwords.as_str(), "Name: app/password"),
    ];
    let kept = dropped(&lower, &left, &[]).unwrap();
    let names: Vec<_> = kept
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(names, [(format!("/{status}").as_str(), "new")]);
}
