use super::*;
use crate::id::ObjectId;

fn tree(paths: &[&str]) -> Tree {
    let mut tree = Tree::new();
    tree.insert(RelPath::root(), Inode::directory(0o755));
    for text in paths {
        let (text, inode) = match text.split_once(" -> ") {
            Some((text, target)) => (text, Inode::symlink(target)),
            None => (*text, Inode::file(ObjectId::of(text.as_bytes()), 1, 0o644)),
        };
        let path = RelPath::from_text(text).unwrap();
        let mut above = path.parent();
        while let Some(dir) = above {
            above = dir.parent();
            if tree.get(dir.as_bytes()).is_none() {
                tree.insert(dir, Inode::directory(0o755));
            }
        }
        tree.insert(path, inode);
    }
    tree
}

const GLIB: &str = "usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas";

fn names(tree: &Tree) -> Vec<String> {
    let mut jobs = jobs(tree);
    jobs.retain(|job| job.has_work(tree));
    jobs.iter().map(Job::name).collect()
}

fn outputs(tree: &Tree) -> Vec<String> {
    let jobs = jobs(tree);
    let found = jobs.iter().flat_map(|job| job.outputs(tree));
    found.map(|path| path.to_string()).collect()
}

#[test]
fn a_generator_runs_where_its_program_and_an_input_are() {
    let schema = "usr/share/glib-2.0/schemas/a.gschema.xml";
    let compiled = "usr/share/glib-2.0/schemas/gschemas.compiled";
    for (paths, expect) in [
        (vec![GLIB, schema], vec!["glib-schemas (x86_64-linux-gnu)"]),
        (vec![GLIB], vec![]),
        (vec![schema, compiled], vec![]),
        (vec![GLIB, compiled], vec![]),
        (
            vec![
                GLIB,
                "usr/lib/i386-linux-gnu/glib-2.0/glib-compile-schemas",
                schema,
            ],
            vec!["glib-schemas (i386-linux-gnu)"],
        ),
        (
            vec![
                "usr/bin/gtk-update-icon-cache",
                "usr/share/icons/hicolor/index.theme",
                "usr/share/icons/hicolor/16x16/apps/a.png",
                "usr/share/icons/empty/index.theme",
                "usr/share/icons/linked/index.theme -> ../hicolor/index.theme",
                "usr/share/icons/linked/a.png",
                "usr/share/icons/two words/index.theme",
                "usr/share/icons/two words/a.png",
            ],
            vec!["icon-cache (hicolor)"],
        ),
        (
            vec![
                "usr/bin/kmod",
                "usr/sbin/depmod -> ../bin/kmod",
                "usr/lib/modules/6.1/kernel/a.ko.xz",
                "usr/lib/modules/6.2/kernel/b.ko",
                "usr/lib/modules/6.3/modules.dep",
            ],
            vec!["kernel-modules (6.1)", "kernel-modules (6.2)"],
        ),
        (
            vec![
                "usr/sbin/depmod -> ../bin/kmod",
                "usr/lib/modules/6.1/kernel/a.ko",
            ],
            vec![],
        ),
    ] {
        assert_eq!(names(&tree(&paths)), expect, "{paths:?}");
    }
}

#[test]
fn a_cache_of_nothing_is_derived_too_and_absent() {
    for (cache, others) in [
        (
            "usr/share/applications/mimeinfo.cache",
            ["usr/bin/update-desktop-database", "etc/passwd"],
        ),
        (
            "usr/share/icons/hicolor/icon-theme.cache",
            [
                "usr/bin/gtk-update-icon-cache",
                "usr/share/icons/hicolor/index.theme",
            ],
        ),
    ] {
        let tree = tree(&[&others[..], &[cache]].concat());
        assert_eq!(outputs(&tree), [format!("/{cache}")]);
        assert!(!jobs(&tree)[0].has_work(&tree));
    }
}

#[test]
fn what_others_put_beside_outputs_is_theirs() {
    let tree = tree(&[
        "usr/sbin/update-ca-certificates",
        "usr/bin/openssl",
        "etc/ca-certificates.conf",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/ssl/certs/A.pem -> /usr/share/ca-certificates/mozilla/A.crt",
        "etc/ssl/certs/L.pem -> /usr/local/share/ca-certificates/L.crt",
        "etc/ssl/certs/0a1b2c3d.0 -> A.pem",
        "etc/ssl/certs/0a1b2c3d.x -> A.pem",
        "etc/ssl/certs/company.pem",
        "etc/ssl/certs/other.pem -> /opt/other.pem",
        "etc/ssl/certs/deadbeef.0",
        "etc/ssl/certs/java/cacerts",
        "usr/bin/update-mime-database",
        "usr/share/mime/packages/a.xml",
        "usr/share/mime/text/a.xml",
        "usr/share/mime/globs",
    ]);
    assert_eq!(
        outputs(&tree),
        [
            "/etc/ssl/certs/0a1b2c3d.0",
            "/etc/ssl/certs/A.pem",
            "/etc/ssl/certs/L.pem",
            "/etc/ssl/certs/ca-certificates.crt",
            "/usr/share/mime/globs",
            "/usr/share/mime/text",
            "/usr/share/mime/text/a.xml",
        ]
    );
}

#[test]
fn the_key_covers_what_is_read_and_only_that() {
    let paths = [
        "usr/sbin/update-ca-certificates",
        "usr/bin/openssl",
        "etc/ca-certificates.conf",
        "usr/local/share/ca-certificates/own.crt -> /srv/own.crt",
        "usr/local/share/ca-certificates/more -> /srv/more",
        "srv/own.crt",
        "srv/more/again -> ../more",
        "srv/more/x.crt",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/passwd",
    ];
    let key = |tree: &Tree| jobs(tree)[0].key(tree);
    let before = tree(&paths);
    let with = |path: &str, bytes: &[u8]| {
        let mut tree = before.clone();
        let path = RelPath::from_text(path).unwrap();
        tree.insert(path, Inode::file(ObjectId::of(bytes), 1, 0o644));
        tree
    };
    for (path, changes) in [
        ("usr/sbin/update-ca-certificates", true),
        ("usr/bin/openssl", true),
        ("etc/ca-certificates.conf", true),
        ("srv/own.crt", true),
        ("srv/more/x.crt", true),
        ("srv/more/y.crt", true),
        ("etc/ssl/certs/company.pem", true),
        ("usr/share/ca-certificates/new.crt", true),
        ("etc/ssl/certs/ca-certificates.crt", false),
        ("etc/passwd", false),
    ] {
        assert_eq!(
            key(&with(path, b"other")) != key(&before),
            changes,
            "{path}"
        );
    }
    let mut dated = before.clone();
    let conf = RelPath::from_text("etc/ca-certificates.conf").unwrap();
    let inode = before.get(conf.as_bytes()).unwrap().clone();
    let mtime = Timestamp::from_sec(7);
    dated.insert(conf, Inode { mtime, ..inode });
    assert_eq!(key(&dated), key(&before));
    assert_eq!(jobs(&dated)[0].mtime(&dated, &[]), mtime);
}

#[test]
fn every_line_of_the_table_is_complete() {
    let mut seen = BTreeSet::new();
    for line in TABLE {
        assert!(seen.insert(line.name), "{}", line.name);
        for text in [line.each, line.program, line.script] {
            assert!(!text.is_empty(), "{}", line.name);
        }
        assert!(!line.reads.is_empty() && !line.makes.is_empty());
        let has_instance = line.each.contains('*');
        for text in line.makes.iter().chain(line.reads).chain([&line.program]) {
            assert!(has_instance || !text.contains("{}"), "{}", line.name);
            assert!(text.split('/').filter(|part| *part == "**").count() <= 1);
        }
    }
}

#[test]
fn two_hundred_thousand_entries_take_no_time() {
    let mut big = tree(&[
        GLIB,
        "usr/bin/update-mime-database",
        "usr/bin/gtk-update-icon-cache",
    ]);
    for number in 0..100_000 {
        for dir in ["usr/share/glib-2.0/schemas", "usr/share/icons"] {
            let path = format!("{dir}/{number}");
            let inode = Inode::file(ObjectId::of(b""), 0, 0o644);
            big.insert(RelPath::from_text(&path).unwrap(), inode);
        }
    }
    let started = crate::time::thread_time();
    let found = jobs(&big);
    let keys: Vec<JobKey> = found.iter().map(|job| job.key(&big)).collect();
    assert_eq!(keys.len(), 2);
    let time = crate::time::thread_time() - started;
    assert!(time.as_secs() < 20, "{time:?}");
}
