use super::*;
use crate::builder::fixture::{no_rules, repository};
use crate::recipe::{Definition, SourceFile};

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
        by_hand: BTreeSet::new(),
    };
    work.drop_generated();
    let changes = work.changes(&merged, 0);
    assert_eq!(changed(&changes), ["/usr/share/mime/packages/b.xml"]);
}

/// The program is there by a link of alternatives, which settling takes away too.
#[test]
fn layers_carry_no_certificates_of_java_that_follow_the_systems() {
    let (_dir, repository) = repository();
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
            allowed: &definition.allowed_secrets,
            packages: &[],
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

#[test]
fn a_layer_carries_what_somebody_chose_and_no_other_link_of_alternatives() {
    let (_dir, repository) = repository();
    let transaction = repository.begin().unwrap();
    let sink = BuildSink::new(&transaction);
    let database = "usr/lib/sysimage/var/lib/dpkg/alternatives/editor";
    let group = |status: &str| {
        let slave = "editor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n";
        let choices = "/bin/nano\n40\n/usr/share/man/man1/nano.1.gz\n/usr/bin/vim\n15\n\n\n";
        format!("{status}\n/usr/bin/editor\n{slave}{choices}")
    };
    let mut merged = root();
    let manual = "usr/share/man/man1/nano.1.gz";
    for (path, contents) in [
        (database, group("auto").as_str()),
        ("bin/nano", "nano"),
        ("usr/bin/vim", "vim"),
        (manual, "nano"),
    ] {
        sink.write(contents.as_bytes()).unwrap();
        put(&mut merged, path, contents);
    }
    let link = |tree: &mut Tree, at: &str, target: &str| {
        insert_with_parents(tree, &path(at), Inode::symlink(target));
    };
    let mut lower = merged.clone();
    let page = "usr/share/man/man1/editor.1.gz";
    for (at, target) in [
        ("etc/alternatives/editor", "/bin/nano"),
        ("usr/bin/editor", "/etc/alternatives/editor"),
        (
            "etc/alternatives/editor.1.gz",
            "/usr/share/man/man1/nano.1.gz",
        ),
        (page, "/etc/alternatives/editor.1.gz"),
    ] {
        link(&mut lower, at, target);
    }
    let ground = LayersBelow { merged, lower };
    let settled = |status: &str, target: &str| {
        let mut after = ground.lower.clone();
        sink.write(group(status).as_bytes()).unwrap();
        put(&mut after, database, &group(status));
        link(&mut after, "etc/alternatives/editor", target);
        if target != "/bin/nano" {
            after.remove(b"etc/alternatives/editor.1.gz");
            after.remove(page.as_bytes());
        }
        let rules = no_rules("app");
        let mut ids = IdTable::default();
        let settled = settle(rules, &ground, after, 0, &mut ids, &sink).unwrap();
        changed(&settled.changeset)
    };
    let chosen = ["/etc/alternatives", "/etc/alternatives/editor"];
    let both = ["/etc/alternatives/editor", &format!("/{database}")];
    // The directory itself is derived here, for nothing else is in it.
    let plain = |paths: Vec<String>| -> Vec<String> {
        paths.into_iter().filter(|path| path != chosen[0]).collect()
    };
    assert_eq!(plain(settled("manual", "/usr/bin/vim")), both);
    // The same as automatic mode links below, and yet a decision.
    assert_eq!(plain(settled("manual", "/bin/nano")), both);
    assert!(settled("auto", "/bin/nano").is_empty());
}
