use std::sync::Arc;

use super::*;
use crate::durable::RealDisk;
use crate::recipe::{Definition, SourceFile};
use crate::store::{Repository, RepositoryOptions};

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

fn put(tree: &mut Tree, text: &str, contents: &str) {
    let size = contents.len() as u64;
    let inode = Inode::file(ObjectId::of(contents.as_bytes()), size, 0o644);
    insert_with_parents(tree, &path(text), inode);
}

fn changed(changeset: &Changeset) -> Vec<String> {
    changeset.iter().map(|(path, _)| path.to_string()).collect()
}

fn root() -> Tree {
    let mut tree = Tree::new();
    tree.insert(RelPath::root(), Inode::directory(0o755));
    tree
}

#[test]
fn layers_carry_no_cache_that_a_program_of_the_image_makes() {
    let mut merged = root();
    put(&mut merged, "usr/bin/update-mime-database", "program");
    put(&mut merged, "usr/share/mime/packages/a.xml", "a");
    let mut lower = merged.clone();
    for name in ["globs", "text/a.xml", "text/old.xml"] {
        put(&mut lower, &format!("usr/share/mime/{name}"), "of a");
    }
    let mut after = lower.clone();
    after.remove(b"usr/share/mime/text/old.xml");
    put(&mut after, "usr/share/mime/packages/b.xml", "b");
    for name in ["globs", "text/a.xml", "video/b.xml"] {
        put(&mut after, &format!("usr/share/mime/{name}"), "of a and b");
    }
    let mut work = Settler {
        lower: &lower,
        after,
    };
    work.drop_generated();
    let changes = work.changes(&merged, 0);
    assert_eq!(changed(&changes), ["/usr/share/mime/packages/b.xml"]);
}

/// The program is there by a link of alternatives, which settling takes away too.
#[test]
fn layers_carry_no_certificates_of_java_that_follow_the_systems() {
    let dir = tempfile::tempdir().unwrap();
    Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
    let repository =
        Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
    let transaction = repository.begin().unwrap();
    let sink = BuildSink::new(&transaction);
    let mut after = root();
    let database = "usr/lib/sysimage/var/lib/dpkg/alternatives/java";
    for (path, contents) in [
        (database, "auto\n/usr/bin/java\n\n/opt/java\n1\n\n"),
        ("etc/default/cacerts", "cacerts_updates=yes\n"),
        ("opt/java", "program"),
        (
            "usr/share/ca-certificates-java/ca-certificates-java.jar",
            "jar",
        ),
    ] {
        sink.write(contents.as_bytes()).unwrap();
        put(&mut after, path, contents);
    }
    let links = [
        ("etc/alternatives/java", "/opt/java"),
        ("usr/bin/java", "/etc/alternatives/java"),
    ];
    for (text, target) in links {
        insert_with_parents(&mut after, &path(text), Inode::symlink(target));
    }
    let index = repository.index();
    let view = TreeView::new(&after, &transaction, &index);
    let cacerts = javacerts::derive(&view).unwrap().unwrap();
    let object = sink.write(&cacerts.contents).unwrap();
    let size = cacerts.contents.len() as u64;
    let store = path("etc/ssl/certs/java/cacerts");
    insert_with_parents(&mut after, &store, Inode::file(object, size, 0o644));

    let source = SourceFile::new("layer.toml", "on = [\"debian\"]\n[files]\n");
    let definition = Definition::parse(&source, "java").unwrap();
    let (below, mut ids) = (Tree::new(), IdTable::default());
    let settled = {
        let rules = SettleRules {
            files: &[],
            layer: &definition.name,
            state: &definition.state,
            secrets: &definition.secrets,
        };
        let ground = LayersBelow {
            merged: below.clone(),
            lower: below.clone(),
        };
        settle(rules, &ground, after, 0, &mut ids, &sink).unwrap()
    };
    let changes = changed(&settled.changeset);
    assert!(changes.contains(&format!("/{database}")), "{changes:?}");
    for path in ["/etc/ssl/certs/java/cacerts", "/usr/bin/java"] {
        assert!(!changes.contains(&path.to_owned()), "{path}");
    }
}
