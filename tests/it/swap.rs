//! Bases swapped under layers made by hand: who is blamed, and which package counts. No root, no packages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use layerset::builder::{CheckReport, CheckedSet, Composer, SilentBuild, check};
use layerset::check::CHECKS_VERSION;
use layerset::durable::RealDisk;
use layerset::format::{Baseline, ImageLayer, LayerPackage};
use layerset::id::LayerId;
use layerset::path::RelPath;
use layerset::store::{Repository, RepositoryOptions};
use layerset::time::Date;
use layerset::tree::{Changeset, Inode, Tree};

use crate::support::bare_layer;

const DPKG: &str = "usr/lib/sysimage/var/lib/dpkg";

/// The baseline of a layer that nothing was wrong with.
const SOUND: Baseline = Baseline {
    checks: CHECKS_VERSION,
    problems: Vec::new(),
    notes: Vec::new(),
    broken: Vec::new(),
    watched: BTreeMap::new(),
    files_only: false,
    derived: Vec::new(),
};

/// A repository to put layers into.
struct Shelf {
    repository: Repository,
    _dir: tempfile::TempDir,
}

/// Files by path; a text that starts with `->` makes a link.
type Files<'a> = &'a [(String, String)];

fn files(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    texts.iter().map(own).collect()
}

impl Shelf {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        Self {
            repository,
            _dir: dir,
        }
    }

    fn tree(&self, files: Files<'_>) -> Tree {
        let transaction = self.repository.begin().unwrap();
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), Inode::directory(0o755));
        for (path, text) in files {
            let path = RelPath::from_text(path).unwrap();
            let mut parent = path.parent();
            while let Some(dir) = parent.filter(|dir| tree.get(dir.as_bytes()).is_none()) {
                tree.insert(dir.clone(), Inode::directory(0o755));
                parent = dir.parent();
            }
            let inode = match text.strip_prefix("->") {
                Some(target) => Inode::symlink(target),
                None => {
                    let id = transaction.put_object(text.as_bytes()).unwrap();
                    Inode::file(id, text.len() as u64, 0o644)
                }
            };
            tree.insert(path, inode);
        }
        transaction.store().unwrap();
        tree
    }

    /// Puts a layer that turned one tree into another, on a base of that id.
    fn layer(
        &self,
        name: &str,
        on: Option<LayerId>,
        packages: &[(&str, &str)],
        trees: [Files<'_>; 2],
    ) -> LayerId {
        let [before, after] = trees.map(|files| self.tree(files));
        let before = if on.is_some() { before } else { Tree::new() };
        let transaction = self.repository.begin().unwrap();
        let changeset = Changeset::between(&before, &after);
        let on = on.map(|id| ImageLayer {
            name: "base".to_owned(),
            id,
            version: "1".to_owned(),
        });
        let packages = packages.iter().map(|(name, version)| LayerPackage {
            name: (*name).to_owned(),
            architecture: "amd64".to_owned(),
            version: (*version).to_owned(),
            sha256: String::new(),
        });
        let changes = transaction.put_changeset(&changeset).unwrap();
        let mut layer = bare_layer((name, "1"), (b"", 0, 0), changes);
        layer.pre_images = crate::support::pre_images(&changeset);
        layer.build.on = on.into_iter().collect();
        layer.packages = packages.collect();
        let id = transaction.put_layer(&layer).unwrap();
        transaction.put_baseline(&id, &SOUND).unwrap();
        transaction.store().unwrap();
        id
    }

    fn check(&self, layers: &[LayerId]) -> CheckReport {
        let set = CheckedSet {
            name: "test".to_owned(),
            layers: layers.to_vec(),
            waivers: Vec::new(),
        };
        let cancel = AtomicBool::new(false);
        let composer = Composer::new(&self.repository, &cancel, &SilentBuild);
        check(&composer, &set, Date::LAST).unwrap()
    }
}

fn summary(report: &CheckReport) -> Vec<String> {
    let line = |f: &layerset::check::Finding| format!("{} {:?} {}", f.layer, f.severity, f.id);
    report.findings.iter().map(line).collect()
}

#[test]
fn a_layer_that_takes_away_what_a_new_base_needs_is_the_one_to_rebuild() {
    let shelf = Shelf::new();
    let tool = files(&[("usr/lib/tool", "tool")]);
    let old = shelf.layer("base", None, &[], [&[], &tool]);
    let linked = files(&[("usr/bin/tool", "->../lib/tool"), ("usr/lib/tool", "tool")]);
    let new = shelf.layer("base", None, &[], [&[], &linked]);
    let gone = files(&[("usr/lib/other", "other")]);
    let app = shelf.layer("app", Some(old), &[], [&tool, &gone]);
    let same = shelf.layer("app", Some(new), &[], [&tool, &gone]);
    assert_eq!(summary(&shelf.check(&[new])), [""; 0]);
    let found = summary(&shelf.check(&[new, app]));
    assert_eq!(found, ["app Rebuild link:/usr/bin/tool"]);
    // Built on that very base it cannot be helped by building. The link is the base's; the layer breaks it.
    let found = summary(&shelf.check(&[new, same]));
    assert_eq!(found, ["app Refuse link:/usr/bin/tool"]);
}

fn status(packages: &[(&str, &str)]) -> String {
    let stanza = |(name, version): &(&str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
        )
    };
    packages.iter().map(stanza).collect()
}

/// The files of `libfoo` in a version, beside a base's database.
fn with_foo(version: &str) -> Vec<(String, String)> {
    let path = |name: &str| format!("{DPKG}/{name}");
    vec![
        ("var/lib/dpkg".to_owned(), format!("->../../{DPKG}")),
        (
            path("status"),
            status(&[("base", "1"), ("libfoo", version)]),
        ),
        (
            path("info/libfoo.list"),
            format!("/.\n/usr\n/usr/lib\n/usr/lib/libfoo\n/usr/lib/foo-{version}\n"),
        ),
        ("usr/lib/libfoo".to_owned(), format!("library {version}")),
        (format!("usr/lib/foo-{version}"), "data".to_owned()),
    ]
}

#[test]
fn a_package_of_the_base_and_of_a_layer_is_decided_by_its_version_as_a_whole() {
    let shelf = Shelf::new();
    let bare = vec![
        ("var/lib/dpkg".to_owned(), format!("->../../{DPKG}")),
        (format!("{DPKG}/status"), status(&[("base", "1")])),
    ];
    let base_of = |files: Files<'_>| shelf.layer("base", None, &[], [&[], files]);
    let old = base_of(&bare);
    let app = |version: &str| {
        let packages = [("libfoo", version)];
        shelf.layer("app", Some(old), &packages, [&bare, &with_foo(version)])
    };
    let base = base_of(&with_foo("1.10"));
    for (version, said) in [
        (
            "1.9",
            "libfoo 1.9 of layer 'app' gives way to 1.10, which is below it",
        ),
        (
            "1.11",
            "libfoo 1.11 of layer 'app' replaces 1.10, which is below it",
        ),
    ] {
        let report = shelf.check(&[base, app(version)]);
        assert_eq!(summary(&report), ["app Note package:libfoo"], "{version}");
        assert_eq!(report.findings[0].reason, said);
    }
    let report = shelf.check(&[base, app("1.10")]);
    assert_eq!(summary(&report), [""; 0], "equal versions need no decision");
}

#[test]
fn a_database_that_a_layer_damaged_is_said_with_its_line() {
    let shelf = Shelf::new();
    let sound = "root:x:0:0:root:/root:/usr/sbin/nologin\n";
    let passwd = |text: &str| files(&[("etc/passwd", text)]);
    let base = shelf.layer("base", None, &[], [&[], &passwd(sound)]);
    let short = format!("{sound}weird:x:500:500\n");
    let app = shelf.layer("app", Some(base), &[], [&passwd(sound), &passwd(&short)]);
    let report = shelf.check(&[base, app]);
    assert_eq!(summary(&report), ["app Note record:/etc/passwd:line-2"]);
    assert_eq!(
        report.findings[0].reason,
        "'/etc/passwd', line 2: 4 fields, passwd has 7"
    );

    let database = |text: &str| {
        let link = format!("->../../{DPKG}");
        let path = format!("{DPKG}/status");
        files(&[("var/lib/dpkg", &link), (&path, text)])
    };
    let whole = status(&[("one", "1"), ("two", "1")]);
    let base = shelf.layer("base", None, &[("two", "1")], [&[], &database(&whole)]);
    let cut = &whole[..whole.len() - 20];
    let app = shelf.layer("app", Some(base), &[], [&database(&whole), &database(cut)]);
    let found = summary(&shelf.check(&[base, app]));
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|line| line.starts_with("app Refuse dpkg:unreadable:")),
        "{found:?}"
    );
}

#[test]
fn a_baseline_of_other_checks_is_made_again_where_the_layers_below_are_at_hand_and_else_unknown() {
    let shelf = Shelf::new();
    let bin = |names: &[&str]| -> Vec<(String, String)> {
        let link = |name: &&str| (format!("usr/bin/{name}"), "->nowhere".to_owned());
        names.iter().map(link).collect()
    };
    let old = shelf.layer("base", None, &[], [&[], &bin(&["a"])]);
    let app = shelf.layer("app", Some(old), &[], [&bin(&["a"]), &bin(&["a", "b"])]);
    let new = shelf.layer("base", None, &[], [&[], &bin(&["a", "new"])]);
    let other = Baseline {
        checks: CHECKS_VERSION + 1,
        ..SOUND
    };
    let transaction = shelf.repository.begin().unwrap();
    for id in [old, app, new] {
        transaction.put_baseline(&id, &other).unwrap();
    }
    transaction.store().unwrap();
    // Checked: a baseline that was made again is used, and nothing is kept.
    // There is no image before it, so nothing is lost.
    let report = shelf.check(&[new, app]);
    assert!(summary(&report).is_empty());
    let known: Vec<&str> = report.known.iter().map(|f| f.id.as_str()).collect();
    let scripts = ["link:/usr/bin/b", "link:/usr/bin/a", "link:/usr/bin/new"];
    assert_eq!(known, scripts);
    let kept = shelf.repository.read_baseline(&app).unwrap();
    assert_eq!(kept, Some(other));

    // Without the base that it was built on, nobody can say what was wrong with it then.
    let gone = shelf.repository.root().join("layers").join(old.to_hex());
    std::fs::remove_file(gone).unwrap();
    let found = summary(&shelf.check(&[new, app]));
    assert_eq!(
        found,
        ["app Note baseline:app", "app Rebuild link:/usr/bin/b"]
    );
}
