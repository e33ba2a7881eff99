//! The laws of blame over small layers in a real repository.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::fixture::repository;
use super::{CheckReport, CheckedSet, Composer, SilentBuild, check};
use crate::check::{FindingKind, Verdict};
use crate::format::{Baseline, Image, ImageLayer, Layer, LayerPackage, Waiver, parse_tree};
use crate::id::{LayerId, TreeId};
use crate::path::RelPath;
use crate::store::{RefName, Repository};
use crate::time::Date;
use crate::tree::{Changeset, Inode, Owner, Tree};

/// A repository with layers of a few files.
struct Bench {
    repository: Repository,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let (dir, repository) = repository();
        Self {
            repository,
            _dir: dir,
        }
    }

    /// Returns a tree of these executable files, by path with their text.
    fn tree(&self, files: &[(&str, &str)]) -> Tree {
        let transaction = self.repository.begin().unwrap();
        let mut lines = BTreeMap::from([("/".to_owned(), "dir 0755 root root 0.0 -".to_owned())]);
        for dir in [
            "etc",
            "usr",
            "usr/bin",
            "var",
            "var/lib",
            "var/lib/dpkg",
            "var/lib/dpkg/info",
        ] {
            lines.insert(format!("/{dir}"), "dir 0755 root root 0.0 -".to_owned());
        }
        let accounts = [
            ("etc/passwd", "root:x:0:0::/:/usr/sbin/nologin\n"),
            ("etc/group", "root:x:0:\n"),
        ];
        for (path, text) in accounts.iter().chain(files) {
            let object = transaction.put_object(text.as_bytes()).unwrap();
            let line = format!("file 0755 root root 0.0 {object} {}", text.len());
            lines.insert(format!("/{path}"), line);
        }
        transaction.store().unwrap();
        for path in files.iter().map(|(path, _)| *path) {
            for (at, _) in path.match_indices('/') {
                let line = "dir 0755 root root 0.0 -".to_owned();
                lines.entry(format!("/{}", &path[..at])).or_insert(line);
            }
        }
        let lines = lines
            .into_iter()
            .map(|(path, facts)| format!("{path} {facts}\n"));
        parse_tree(&lines.collect::<String>()).unwrap()
    }

    /// Puts a layer that makes `after` of `below`, and was built on these layers.
    fn layer(&self, name: &str, on: &[LayerId], below: &Tree, after: &Tree) -> LayerId {
        let transaction = self.repository.begin().unwrap();
        let on = on
            .iter()
            .map(|id| self.repository.read_layer(id).unwrap().named(*id));
        let layer = Layer {
            changeset: transaction
                .put_changeset(&Changeset::between(below, after))
                .unwrap(),
            ..Layer::bare(name, on)
        };
        let id = transaction.put_layer(&layer).unwrap();
        transaction.store().unwrap();
        id
    }

    /// Makes these layers the present image `web`.
    fn image(&self, layers: &[LayerId], accepted: &[&str]) {
        let transaction = self.repository.begin().unwrap();
        let named = layers
            .iter()
            .map(|id| self.repository.read_layer(id).unwrap().named(*id));
        let image = Image {
            format: 1,
            name: "web".to_owned(),
            architecture: "amd64".to_owned(),
            layers: named.collect::<Vec<ImageLayer>>(),
            tree: TreeId::of(b"absent"),
            bytes: 0,
            entries: 0,
            keep: 3,
            waivers: accepted.iter().map(|id| waiver(id)).collect(),
        };
        let id = transaction.put_image(&image).unwrap();
        transaction
            .commit(&RefName::image("web").unwrap(), &id.to_string())
            .unwrap();
    }

    fn check(&self, name: &str, layers: &[LayerId], waivers: &[&str]) -> CheckReport {
        let cancel = AtomicBool::new(false);
        let composer = Composer::new(&self.repository, &cancel, &SilentBuild);
        let set = CheckedSet {
            name: name.to_owned(),
            layers: layers.to_vec(),
            waivers: waivers.iter().map(|id| waiver(id)).collect(),
        };
        check(&composer, &set, Date::from_text("2027-01-01").unwrap()).unwrap()
    }
}

fn waiver(finding: &str) -> Waiver {
    Waiver {
        finding: finding.to_owned(),
        reason: "known".to_owned(),
        expires: Date::from_text("2027-01-31").unwrap(),
    }
}

/// Returns layer, id and reason of each finding.
fn said(report: &CheckReport) -> Vec<(String, String, String)> {
    let findings = report.findings.iter();
    findings
        .map(|f| (f.layer.clone(), f.id.to_string(), f.reason.clone()))
        .collect()
}

const APP: (&str, &str) = ("usr/bin/app", "#!/usr/bin/jq\n");
const JQ: (&str, &str) = ("usr/bin/jq", "a program");

#[test]
fn what_the_image_before_had_is_missed_and_the_layer_that_lost_it_is_named() {
    let bench = Bench::new();
    let ground = bench.tree(&[]);
    let base = bench.layer("base", &[], &Tree::new(), &ground);
    // The app stands on the base alone: that it lacks jq is its normal state.
    let app = bench.layer("app", &[base], &ground, &bench.tree(&[APP]));
    let tools = bench.layer("tools", &[base], &ground, &bench.tree(&[JQ]));
    let empty = bench.layer(
        "tools",
        &[base],
        &ground,
        &bench.tree(&[("usr/bin/yq", "x")]),
    );
    let id = "script:/usr/bin/app";
    bench.image(&[base, app, tools], &[]);
    let report = bench.check("web", &[base, app, tools], &[]);
    assert_eq!((report.verdict, said(&report)), (Verdict::Safe, vec![]));

    let report = bench.check("web", &[base, app, empty], &[]);
    let [(layer, found, reason)] = &said(&report)[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(
        (report.verdict, layer.as_str(), found.as_str()),
        (Verdict::Refused, "tools", id)
    );
    assert!(reason.ends_with("(since 'tools' changed)"), "{reason}");
    assert!(
        report.findings[0].hint.contains("`on`"),
        "{}",
        report.findings[0].hint
    );
    assert_eq!(report.known, []);

    let report = bench.check("web", &[base, app], &[]);
    let [(layer, _, reason)] = &said(&report)[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!((report.verdict, layer.as_str()), (Verdict::Refused, "app"));
    assert!(
        reason.ends_with("(since 'tools' left the recipe)"),
        "{reason}"
    );

    // Accepted once, it has to stay accepted.
    assert_eq!(
        bench.check("web", &[base, app, empty], &[id]).verdict,
        Verdict::Safe
    );
    bench.image(&[base, app, empty], &[id]);
    assert_eq!(
        bench.check("web", &[base, app, empty], &[]).verdict,
        Verdict::Refused
    );
    assert_eq!(
        bench.check("web", &[base, app, empty], &[id]).verdict,
        Verdict::Safe
    );
    // An image that had it from the start, and a layer that brings it along, are as they were.
    bench.image(&[base, app, empty], &[]);
    assert_eq!(
        bench.check("web", &[base, app, tools], &[]).verdict,
        Verdict::Safe
    );
    bench.image(&[base, tools], &[]);
    let own = ("usr/bin/own", "#!/usr/bin/xq\n");
    let brings = bench.layer("app", &[base], &ground, &bench.tree(&[own]));
    let report = bench.check("web", &[base, brings, empty], &[]);
    assert_eq!((report.verdict, said(&report)), (Verdict::Safe, vec![]));
    assert_eq!(report.known.len(), 1);
}

/// A layer with the package of a script, which asks for `jq` without a word in its relations.
fn package(bench: &Bench, script: (&str, &str), has_package: bool) -> (LayerId, LayerId) {
    let ground = bench.tree(&[]);
    let base = bench.layer("base", &[], &Tree::new(), &ground);
    let list = format!("/etc\n/{}\n", script.0);
    let files = [
        script,
        ("var/lib/dpkg/status", ""),
        ("var/lib/dpkg/info/tools.list", list.as_str()),
    ];
    let id = bench.layer("app", &[base], &ground, &bench.tree(&files));
    let mut app = bench.repository.read_layer(&id).unwrap();
    if has_package {
        app.packages = vec![LayerPackage {
            name: "tools".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            sha256: "0".repeat(64),
        }];
    }
    let transaction = bench.repository.begin().unwrap();
    let id = transaction.put_layer(&app).unwrap();
    transaction.store().unwrap();
    (base, id)
}

#[test]
fn an_extra_that_a_package_does_without_is_told_and_refuses_nothing() {
    let settings = ("etc/app", "#!/usr/bin/jq\n");
    for (script, has_package, expect) in [
        (APP, true, Verdict::Safe),
        (APP, false, Verdict::Refused),
        (settings, true, Verdict::Refused),
    ] {
        let bench = Bench::new();
        let (base, app) = package(&bench, script, has_package);
        let ground = bench.tree(&[]);
        let tools = bench.layer("tools", &[base], &ground, &bench.tree(&[JQ]));
        bench.image(&[base, app, tools], &[]);
        let report = bench.check("web", &[base, app], &[]);
        let [(_, id, reason)] = &said(&report)[..] else {
            panic!("{:?}", report.findings);
        };
        assert_eq!(*id, format!("script:/{}", script.0));
        assert!(reason.contains("'tools' left the recipe"), "{reason}");
        assert_eq!(report.verdict, expect, "{script:?} {has_package}");
    }
}

#[test]
fn a_first_image_has_lost_nothing_and_where_the_one_before_is_gone_that_is_said() {
    let bench = Bench::new();
    let ground = bench.tree(&[]);
    let base = bench.layer("base", &[], &Tree::new(), &ground);
    let app = bench.layer("app", &[base], &ground, &bench.tree(&[APP]));
    let report = bench.check("web", &[base, app], &[]);
    let ids: Vec<String> = report.findings.iter().map(|f| f.id.to_string()).collect();
    assert_eq!((report.verdict, ids), (Verdict::Safe, Vec::new()));
    // The layers of the image before have left.
    let gone = LayerId::of(b"gone");
    bench.image(&[base, app], &[]);
    let text = bench
        .repository
        .read_ref(&RefName::image("web").unwrap())
        .unwrap()
        .unwrap();
    let mut image = bench.repository.read_image(&text.parse().unwrap()).unwrap();
    image.layers[1].id = gone;
    let transaction = bench.repository.begin().unwrap();
    let id = transaction.put_image(&image).unwrap();
    transaction
        .commit(&RefName::image("web").unwrap(), &id.to_string())
        .unwrap();
    let report = bench.check("web", &[base, app], &[]);
    assert_eq!(report.findings[0].id.kind(), FindingKind::Baseline);
    assert!(
        report.findings[0]
            .reason
            .contains("the image before it is gone")
    );
}

#[test]
fn a_layer_that_breaks_another_is_named_although_nothing_moved() {
    let bench = Bench::new();
    let accounts = (
        "etc/passwd",
        "root:x:0:0::/:/usr/sbin/nologin\nsvc:x:100:0::/:/usr/sbin/nologin\n",
    );
    let owned = |files: &[(&str, &str)]| {
        let mut tree = bench.tree(files);
        let inode = bench.tree(&[JQ]).get(b"usr/bin/jq").unwrap().clone();
        let owner = Owner::Name("svc".into());
        let place = RelPath::from_text("etc/svc").unwrap();
        tree.insert(place, Inode { owner, ..inode });
        tree
    };
    let ground = owned(&[accounts, APP, JQ]);
    let base = bench.layer("base", &[], &Tree::new(), &ground);
    let with = |file| owned(&[accounts, APP, JQ, file]);
    let fine = bench.layer("fine", &[base], &ground, &with(("etc/x", "x")));
    let top = bench.layer("top", &[base], &ground, &with(("etc/y", "y")));
    // It takes jq away, and an account whose files stay.
    let evil = bench.layer("evil", &[base], &ground, &owned(&[APP]));
    for layers in [vec![base, evil], vec![base, fine, evil, top]] {
        let report = bench.check("web", &layers, &[]);
        let said: Vec<_> = said(&report)
            .into_iter()
            .map(|(layer, id, _)| (layer, id))
            .collect();
        let all = ["owner:passwd:svc", "script:/usr/bin/app"];
        let expect = all.map(|id| ("evil".to_owned(), id.to_owned()));
        assert_eq!((report.verdict, said), (Verdict::Refused, expect.to_vec()));
        for finding in &report.findings {
            assert!(finding.hint.contains("let layers/evil"), "{}", finding.hint);
        }
    }
    let report = bench.check("web", &[base, fine, top], &[]);
    assert_eq!((report.verdict, said(&report)), (Verdict::Safe, vec![]));
}

#[test]
fn files_are_refused_at_once_unless_a_layer_is_to_be_built_again_that_may_mend_them() {
    let bench = Bench::new();
    let ground = bench.tree(&[JQ]);
    let old = bench.layer("base", &[], &Tree::new(), &ground);
    let base = bench.layer("base", &[], &Tree::new(), &bench.tree(&[]));
    let run = ("usr/bin/run", "#!/usr/bin/jq\n");
    let script = bench.layer("script", &[old], &ground, &bench.tree(&[JQ, run]));
    let app = bench.layer("app", &[old], &ground, &bench.tree(&[JQ, APP]));
    let transaction = bench.repository.begin().unwrap();
    let files = Baseline {
        files_only: true,
        ..Baseline::default()
    };
    transaction.put_baseline(&app, &files).unwrap();
    transaction.store().unwrap();
    let verdict = |layers: &[LayerId]| bench.check("web", layers, &[]).verdict;
    assert_eq!(verdict(&[base, app]), Verdict::Refused);
    assert_eq!(verdict(&[base, script]), Verdict::RebuildNeeded);
    assert_eq!(verdict(&[base, script, app]), Verdict::RebuildNeeded);
}

mod disabled;
mod given_away;
