//! What differs, and what explains it.

use std::collections::BTreeMap;

use super::*;
use crate::format::parse_tree;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::store::StoreError;
use crate::tree::{Inode, Owner, Tree};

/// Two trees of one file each, with the objects of both.
struct Pair {
    trees: [Tree; 2],
    objects: BTreeMap<ObjectId, Vec<u8>>,
}

impl Pair {
    fn new(path: &str, composed: Option<&[u8]>, installed: Option<&[u8]>) -> Self {
        let mut objects = BTreeMap::new();
        let trees = [composed, installed].map(|contents| {
            let mut tree = Tree::new();
            if let Some(contents) = contents {
                let id = ObjectId::of(contents);
                objects.insert(id, contents.to_vec());
                let inode = Inode::file(id, contents.len() as u64, 0o644);
                tree.insert(RelPath::from_text(path).unwrap(), inode);
            }
            tree
        });
        Self { trees, objects }
    }

    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        Ok(self.objects[id].clone())
    }

    fn differences(&self) -> Vec<OracleDifference> {
        compare(&self.trees[0], &self.trees[1], &|id| self.read(id)).unwrap()
    }

    fn is_explained_by(&self, rule: &str) -> bool {
        let text = format!("[[allow]]\npaths = [\"etc\"]\nrule = \"{rule}\"\nreason = \"why\"\n");
        let list = AllowList::parse(&text).unwrap();
        let found = self.differences();
        assert_eq!(found.len(), 1);
        list.explain(&found[0], &|id| self.read(id))
            .unwrap()
            .is_some()
    }
}

#[test]
fn times_do_not_differ_and_everything_else_does() {
    let tree = |text: &str| parse_tree(text).unwrap();
    let before = tree(
        "/ dir 0755 root root 0.0 -\n/a dir 0755 root root 5.0 -\n/l link 0777 root root 0.0 x\n",
    );
    let check = |text: &str, expect: &[(&str, &[&str])]| {
        let found = compare(&before, &tree(text), &|_| Ok(Vec::new())).unwrap();
        let found: Vec<(String, Vec<&str>)> = found
            .into_iter()
            .map(|d| (d.path.to_string(), d.differs))
            .collect();
        let expect: Vec<(String, Vec<&str>)> = expect
            .iter()
            .map(|(path, differs)| ((*path).to_owned(), differs.to_vec()))
            .collect();
        assert_eq!(found, expect, "{text}");
    };
    let root = "/ dir 0755 root root 9.0 -\n";
    check(
        &format!("{root}/a dir 0755 root root 7.0 -\n/l link 0777 root root 1.0 x\n"),
        &[],
    );
    check(
        &format!("{root}/a dir 0700 www #7 0.0 - user.x=31\n/l link 0777 root root 1.0 y\n"),
        &[
            ("/a", &["mode", "owner", "group", "extended attributes"]),
            ("/l", &["contents"]),
        ],
    );
    check(
        &format!("{root}/a fifo 0755 root root 0.0 -\n/b dir 0755 root root 0.0 -\n"),
        &[
            ("/a", &["kind"]),
            ("/b", &["existence"]),
            ("/l", &["existence"]),
        ],
    );
}

#[test]
fn hard_links_are_compared_by_their_names_not_their_numbers() {
    let tree = |groups: [u32; 3]| {
        let names = ["a", "b", "c"].into_iter().zip(groups);
        let inode = |hardlink| Inode {
            hardlink,
            ..Inode::file(ObjectId::of(b"x"), 1, 0o644)
        };
        names
            .map(|(name, group)| (RelPath::from_text(name).unwrap(), inode(group)))
            .collect::<Tree>()
    };
    let count = |a, b| {
        let found = compare(&tree(a), &tree(b), &|_| Ok(Vec::new())).unwrap();
        assert!(found.iter().all(|d| d.differs == ["hard links"]));
        found.len()
    };
    assert_eq!(count([1, 1, 0], [7, 7, 0]), 0);
    assert_eq!(count([1, 1, 0], [0, 0, 0]), 2);
    assert_eq!(count([1, 1, 0], [2, 2, 2]), 3);
}

#[test]
fn differing_lines_are_shown_but_not_of_files_that_are_not_for_everybody() {
    let lines = |mode| {
        let mut pair = Pair::new("etc/x", Some(b"a\nb\nb\n"), Some(b"b\na\nc\n"));
        let path = RelPath::from_text("etc/x").unwrap();
        let inode = pair.trees[1].get(b"etc/x").cloned().unwrap();
        pair.trees[1].insert(path, Inode { mode, ..inode });
        pair.differences().remove(0).lines
    };
    let sample = lines(0o644).unwrap();
    assert_eq!(
        (sample.composed, sample.installed),
        (vec!["b".to_owned()], vec!["c".to_owned()])
    );
    assert_eq!(lines(0o640), None);
}

#[test]
fn a_rule_explains_what_it_says_and_no_more() {
    let check = |rule, a: &str, b: &str, expect| {
        let pair = Pair::new("etc/x", Some(a.as_bytes()), Some(b.as_bytes()));
        assert_eq!(pair.is_explained_by(rule), expect, "{rule}: {a:?} {b:?}");
    };
    check("same-lines", "a\nb\nb\n", "b\na\nb\n", true);
    check("same-lines", "a\nb\nb\n", "b\na\na\n", false);
    check("same-lines", "a\nb\n", "a\nb\n\n", false);
    let days = "same-lines-but-days";
    check(days, "a:*:1:0\nb:!:2:0\n", "b:!:9:0\na:*:1:0\n", true);
    check(days, "a:*:1:0\n", "a:!:1:0\n", false);
    check(days, "a:*:1:0\n", "a:*:1:9\n", false);
    check(days, "a:*:1:0\n", "", false);
    check(
        "same-stanzas",
        "P: a\nV: 1\n\nP: b\n\n",
        "P: b\n\nP: a\nV: 1\n",
        true,
    );
    check(
        "same-stanzas",
        "P: a\nV: 1\n\nP: b\n",
        "P: b\nV: 1\n\nP: a\n",
        false,
    );
    check(
        "same-triples",
        "a\nb\nc\nd\ne\nf\n",
        "d\ne\nf\na\nb\nc\n",
        true,
    );
    check(
        "same-triples",
        "a\nb\nc\nd\ne\nf\n",
        "d\nb\nf\na\ne\nc\n",
        false,
    );
    check("same-triples", "a\nb\nc\nd\n", "d\na\nb\nc\n", false);
    let (p, q) = (
        "Package: p\nAuto-Installed: 1\n\n",
        "Package: q\nAuto-Installed: 1\n\n",
    );
    check("more-automatic", &format!("{p}{q}"), q, true);
    check("more-automatic", q, &format!("{p}{q}"), false);
    check("more-automatic", &format!("Package: p\n\n{q}"), q, false);
    check("only-composed", "a", "b", false);
    check("only-installed", "a", "b", false);
}

#[test]
fn existence_is_explained_by_the_rule_for_its_side_only() {
    for (composed, installed, rule) in [
        (Some(&b"x"[..]), None, "only-composed"),
        (None, Some(&b"x"[..]), "only-installed"),
    ] {
        let pair = Pair::new("etc/x", composed, installed);
        for other in [
            "same-lines",
            "same-stanzas",
            "only-composed",
            "only-installed",
        ] {
            assert_eq!(pair.is_explained_by(other), other == rule, "{rule} {other}");
        }
    }
}

#[test]
fn a_difference_in_metadata_is_not_explained_by_equal_records() {
    let mut pair = Pair::new("etc/x", Some(b"a\nb\n"), Some(b"b\na\n"));
    assert!(pair.is_explained_by("same-lines"));
    let path = RelPath::from_text("etc/x").unwrap();
    let mut inode = pair.trees[0].get(b"etc/x").cloned().unwrap();
    inode.group = Owner::from_text("adm").unwrap();
    pair.trees[0].insert(path, inode);
    assert!(!pair.is_explained_by("same-lines"));
}

#[test]
fn the_list_is_read_strictly_and_the_built_in_one_is_valid() {
    AllowList::built_in().unwrap();
    for bad in [
        "[[allow]]\npaths = [\"a\"]\nrule = \"any\"\nreason = \"x\"\n",
        "[[allow]]\npaths = [\"a\"]\nrule = \"same-lines\"\nreason = \" \"\n",
        "[[allow]]\npaths = []\nrule = \"same-lines\"\nreason = \"x\"\n",
        "[[allow]]\npaths = [\"a?\"]\nrule = \"same-lines\"\nreason = \"x\"\n",
        "[[allow]]\npaths = [\"a\"]\nrule = \"same-lines\"\nreason = \"x\"\nwhen = 1\n",
        "[[alow]]\n",
    ] {
        assert!(AllowList::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_only_its_owner_reads_and_each_installation_makes_anew_is_a_secret() {
    let kind = |mode: u16| {
        let mut pair = Pair::new("etc/key", Some(b"one"), Some(b"two"));
        for tree in &mut pair.trees {
            let path = RelPath::from_text("etc/key").unwrap();
            let inode = tree.remove(path.as_bytes()).unwrap();
            tree.insert(path, Inode { mode, ..inode });
        }
        pair.differences()[0].kind
    };
    for private in [0o600, 0o640, 0o400] {
        assert_eq!(kind(private), Some(DifferenceKind::Secret));
    }
    assert_eq!(kind(0o644), None);
}
