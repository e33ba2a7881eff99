//! What is new, whose it is, how bad, and what a waiver makes of it.

mod laws;

use super::*;
use crate::check::{self, Finding, Problem, Severity, Subject, Weight};
use crate::format::{Baseline, ImageLayer, Layer, LayerPackage, Waiver, parse_tree};
use crate::id::{LayerId, ObjectId};
use crate::path::RelPath;
use crate::store::Transaction;
use crate::time::Date;
use crate::tree::{Changeset, Tree};

fn id(text: &str) -> LayerId {
    LayerId::of(text.as_bytes())
}

/// A layer called `name`, of the build `build`, built on these builds of other layers.
pub(super) fn member(name: &str, build: &str, on: &[(&str, &str)]) -> Member {
    let on = on.iter().map(|(name, build)| ImageLayer {
        name: (*name).to_owned(),
        id: id(build),
        version: "1".to_owned(),
    });
    let layer = Layer::bare(name, on);
    Member {
        id: Some(id(build)),
        layer,
        changeset: Changeset::new(),
        baseline: knows(&[]),
    }
}

/// Gives a member the files of a tree in its text form.
fn with_files(member: Member, text: &str) -> Member {
    let tree = parse_tree(&format!("/ dir 0755 root root 0.0 -\n{text}")).unwrap();
    let changeset = Changeset::between(&Tree::new(), &tree);
    Member {
        changeset,
        ..member
    }
}

pub(super) fn with_package(mut member: Member, name: &str, version: &str) -> Member {
    member.layer.packages.push(LayerPackage {
        name: name.to_owned(),
        architecture: "amd64".to_owned(),
        version: version.to_owned(),
        sha256: String::new(),
    });
    member
}

fn knowing(mut member: Member, ids: &[&str]) -> Member {
    member.baseline = knows(ids);
    member
}

fn knows(ids: &[&str]) -> Baseline {
    Baseline {
        checks: check::CHECKS_VERSION,
        problems: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Baseline::default()
    }
}

fn found(id: &str, subject: Subject, member: usize, weight: Weight) -> MemberProblem {
    let problem = Problem {
        id: id.parse().unwrap(),
        subject,
        package: None,
        other: None,
        weight,
        reason: format!("{id} is wrong"),
        hint: "mend it".to_owned(),
    };
    MemberProblem {
        problem,
        member,
        owner: member,
    }
}

fn at(path: &str) -> Subject {
    Subject::Path(RelPath::from_text(path).unwrap())
}

fn package(name: &str) -> Subject {
    Subject::Package {
        name: name.to_owned(),
        architecture: "amd64".to_owned(),
    }
}

fn summary(findings: &[Finding]) -> Vec<String> {
    let line = |f: &Finding| format!("{} {:?} {}", f.layer, f.severity, f.id);
    findings.iter().map(line).collect()
}

#[test]
fn news_about_a_layer_on_another_base_asks_for_its_rebuild_and_else_refuses() {
    let problem = |member| vec![found("elf:x", at("usr/x"), member, Weight::Grave)];
    let moved = [
        member("base", "new", &[]),
        member("app", "app", &[("base", "old")]),
    ];
    let new = judge(problem(1), &moved).new;
    assert_eq!(summary(&new), ["app Rebuild elf:x"]);
    let same = [
        member("base", "new", &[]),
        member("app", "app", &[("base", "new")]),
    ];
    let new = judge(problem(1), &same).new;
    assert_eq!(summary(&new), ["app Refuse elf:x"]);
    // The base stands on nothing: building it again gives the same.
    let new = judge(problem(0), &moved).new;
    assert_eq!(summary(&new), ["base Refuse elf:x"]);
    // A layer below is missing altogether.
    let alone = [member("app", "app", &[("base", "old")])];
    let new = judge(problem(0), &alone).new;
    assert_eq!(summary(&new), ["app Rebuild elf:x"]);
}

#[test]
fn what_was_so_when_a_layer_was_built_is_no_news() {
    let app = knowing(member("app", "app", &[("base", "old")]), &["elf:x"]);
    let members = [member("base", "new", &[]), app];
    let problems = vec![
        found("elf:x", at("usr/x"), 1, Weight::Grave),
        found("elf:y", at("usr/y"), 1, Weight::Grave),
        found("link:z", at("usr/z"), 1, Weight::Minor),
    ];
    let minor = |member: &mut Member| member.baseline.notes = vec!["link:z".to_owned()];
    let mut graver = members.clone();
    minor(&mut graver[1]);
    let judged = judge(
        vec![found("link:z", at("usr/z"), 1, Weight::Grave)],
        &graver,
    );
    assert_eq!(summary(&judged.new), ["app Rebuild link:z"]);
    let judged = judge(
        vec![found("link:z", at("usr/z"), 1, Weight::Minor)],
        &graver,
    );
    assert_eq!(summary(&judged.known), ["app Note link:z"]);
    let judged = judge(problems, &members);
    assert_eq!(
        summary(&judged.new),
        ["app Rebuild elf:y", "app Note link:z"]
    );
    assert_eq!(summary(&judged.known), ["app Note elf:x"]);
}

#[test]
fn a_baseline_that_is_not_known_is_said_and_never_taken_for_a_sound_one() {
    let judged = |checks: u32, on: &str| {
        let mut app = knowing(member("app", "app", &[("base", on)]), &["elf:x"]);
        app.baseline.checks = checks;
        app.layer.rebuild.when = vec!["python".to_owned()];
        let members = [member("base", "new", &[]), app];
        let judged = judge(
            vec![found("elf:x", at("usr/x"), 1, Weight::Grave)],
            &members,
        );
        (summary(&judged.new), judged.known.len())
    };
    let version = check::CHECKS_VERSION;
    let watched = "app Rebuild rebuild:app:python".to_owned();
    assert_eq!(judged(version, "old"), (vec![watched.clone()], 1));
    assert_eq!(judged(version, "new"), (vec![], 1));
    for other in [0, version + 1] {
        let (new, known) = judged(other, "old");
        let all = ["app Note baseline:app", "app Rebuild elf:x", &watched];
        assert_eq!((new.as_slice(), known), (&all.map(str::to_owned)[..], 0));
        let (new, _) = judged(other, "new");
        assert_eq!(new, ["app Note baseline:app", "app Refuse elf:x"]);
    }
}

#[test]
fn a_watched_path_that_changed_below_asks_for_a_rebuild() {
    let base = |target: &str| {
        with_files(
            member("base", target, &[]),
            &format!("/python link 0777 root root 0.0 {target}\n"),
        )
    };
    let mut app = member("app", "app", &[("base", "3.11")]);
    app.layer.rebuild.when = vec!["python".to_owned(), "absent".to_owned()];
    app.baseline.watched = watched(&app, &[base("3.11")]);
    let other = with_files(
        member("other", "other", &[]),
        "/python link 0777 root root 0.0 odd\n",
    );
    let check = |base: Member, expect: &[&str]| {
        let new = judge(Vec::new(), &[base, other.clone(), app.clone()]).new;
        assert_eq!(summary(&new), expect);
    };
    check(base("3.11"), &[]);
    check(base("3.13"), &["app Rebuild rebuild:app:python"]);
    check(
        member("base", "none", &[]),
        &["app Rebuild rebuild:app:python"],
    );
}

#[test]
fn a_baseline_lists_what_lower_layers_do_not() {
    let base = knowing(member("base", "b", &[]), &["link:a"]);
    let app = member("app", "a", &[("base", "b")]);
    let problems = [
        found("dpkg:depends:p:q", package("p"), 1, Weight::Grave),
        found("elf:b", at("usr/b"), 1, Weight::Grave),
        found("link:a", at("usr/a"), 0, Weight::Minor),
    ];
    let made = baseline(&problems, &[base.clone(), app], &[], None);
    assert_eq!(
        (made.problems, made.notes.len()),
        (vec!["elf:b".to_owned()], 0),
        "unmet relations are never normal"
    );
    let made = baseline(&problems[..1], &[base], &[], None);
    assert_eq!(
        made.problems,
        ["dpkg:depends:p:q"],
        "but a base is as its own tools left it"
    );
}

#[test]
fn what_is_broken_from_outside_stays_news_when_the_layer_is_built_again() {
    let files = |object: &str| {
        format!(
            "/tool file 0755 root root 0.0 {} 1\n",
            ObjectId::of(object.as_bytes())
        )
    };
    let base = member("base", "b", &[]);
    let before = with_files(
        with_package(member("app", "a", &[]), "p", "1"),
        &files("same"),
    );
    let before = knowing(before, &[]);
    let problems = [
        found("elf:tool", at("tool"), 1, Weight::Grave),
        found("unit:p", package("p"), 1, Weight::Grave),
    ];
    let check = |object: &str, version: &str, previous: &Member, expect: &[&str]| {
        let now = with_files(
            with_package(member("app", "n", &[("base", "b")]), "p", version),
            &files(object),
        );
        let mut members = [base.clone(), now];
        let made = baseline(&problems, &members, &[], Some(previous));
        assert_eq!(made.problems, expect);
        // Looked at again, by other checks and without what was there before, it stays so.
        members[1].baseline = made.clone();
        members[1].baseline.checks += 1;
        assert_eq!(baseline(&problems, &members, &[], None), made);
    };
    check("same", "1", &before, &[]);
    check("other", "1", &before, &["elf:tool"]);
    check("same", "2", &before, &["unit:p"]);
    let knew = knowing(before, &["elf:tool", "unit:p"]);
    check("same", "1", &knew, &["elf:tool", "unit:p"]);
}

#[test]
fn a_waiver_accepts_one_finding_until_its_day_and_says_when_it_does_not() {
    let finding = |id: &str, severity| Finding {
        id: id.parse().unwrap(),
        severity,
        layer: "app".to_owned(),
        package: None,
        path: None,
        reason: String::new(),
        hint: String::new(),
        waived: None,
    };
    let waiver = |id: &str| Waiver {
        finding: id.to_owned(),
        reason: "known".to_owned(),
        expires: Date::from_text("2027-01-31").unwrap(),
    };
    let on = |day: &str, id: &str| {
        let findings = vec![
            finding("elf:x", Severity::Refuse),
            finding("conflict:/etc/passwd", Severity::Refuse),
            finding("link:y", Severity::Note),
        ];
        let waived = waive(findings, &[waiver(id)], Date::from_text(day).unwrap());
        (summary(&waived.findings), waived.in_force.len())
    };
    let rest = ["app Refuse conflict:/etc/passwd", "app Note link:y"];
    let check = |day: &str, id: &str, first: &str, last: Option<&str>, in_force: usize| {
        let expect: Vec<&str> = [first].into_iter().chain(rest).chain(last).collect();
        assert_eq!(
            on(day, id),
            (expect.iter().map(|s| (*s).to_owned()).collect(), in_force)
        );
    };
    check("2027-01-31", "elf:x", "app Note elf:x", None, 1);
    check(
        "2027-02-01",
        "elf:x",
        "app Refuse elf:x",
        Some("app Note waiver:expired:elf:x"),
        0,
    );
    check(
        "2027-01-31",
        "elf:z",
        "app Refuse elf:x",
        Some(" Note waiver:unused:elf:z"),
        0,
    );
    check(
        "2027-01-31",
        "link:y",
        "app Refuse elf:x",
        Some(" Note waiver:unused:link:y"),
        0,
    );
    check(
        "2027-01-31",
        "conflict:/etc/passwd",
        "app Refuse elf:x",
        Some("app Note waiver:void:conflict:/etc/passwd"),
        0,
    );
}

/// A program of the image that fails, or a sandbox that does.
struct Failing {
    ran: bool,
}

impl Generate for Failing {
    fn generate(
        &self,
        _: &Tree,
        _: &Transaction<'_>,
        jobs: &[crate::merge::derive::generators::Job],
    ) -> Result<Vec<Tree>, GenerateError> {
        Err(GenerateError {
            generator: jobs[0].name(),
            source: "exit status: 2".into(),
            ran: self.ran,
        })
    }
}

#[test]
fn a_program_that_fails_on_a_moved_layer_asks_to_rebuild_it_and_is_an_error_else() {
    use crate::durable::RealDisk;
    use crate::store::{Repository, RepositoryOptions};
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
    let repository =
        Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
    let transaction = repository.begin().unwrap();
    let object = transaction.put_object(b"x").unwrap();
    let dirs: String = [
        "usr",
        "usr/bin",
        "usr/share",
        "usr/share/icons",
        "usr/share/icons/x",
        "usr/share/icons/x/16",
    ]
    .map(|path| format!("/{path} dir 0755 root root 0.0 -\n"))
    .concat();
    let files: String = [
        "usr/bin/gtk-update-icon-cache",
        "usr/share/icons/x/index.theme",
        "usr/share/icons/x/16/a.png",
    ]
    .map(|path| format!("/{path} file 0755 root root 0.0 {object} 1\n"))
    .concat();
    let base = with_files(member("base", "b2", &[]), &(dirs + &files));
    for (on, ran, ids) in [
        ("b1", true, Some(vec!["app derive:"])),
        ("b1", false, None),
        ("b2", true, None),
    ] {
        let members = [base.clone(), member("app", "a1", &[("base", on)])];
        let result = compose(
            &members,
            &transaction,
            &repository.index(),
            &Failing { ran },
        );
        let found = result.ok().map(|composition| {
            let grave = composition.findings.into_iter();
            let rebuild = grave.filter(|f| f.severity == Severity::Rebuild && !f.is_waivable());
            rebuild
                .map(|f| format!("{} {}:", f.layer, f.id.kind().word()))
                .collect::<Vec<_>>()
        });
        let ids = ids.map(|ids| ids.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(found, ids, "built on {on}, ran {ran}");
    }
}

/// Composes `members` in a repository of their own, and returns the findings of one kind.
fn composed(members: &[Member], kind: check::FindingKind) -> Vec<String> {
    use crate::durable::RealDisk;
    use crate::store::{Repository, RepositoryOptions};
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
    let repository =
        Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
    let transaction = repository.begin().unwrap();
    let generate = UnavailableGenerator;
    let composition = compose(members, &transaction, &repository.index(), &generate).unwrap();
    let found = composition.findings;
    summary(
        &found
            .into_iter()
            .filter(|f| f.id.kind() == kind)
            .collect::<Vec<_>>(),
    )
}

#[test]
fn what_a_layer_removed_as_a_whole_and_is_more_today_asks_for_a_rebuild() {
    let object = ObjectId::of(b"x");
    let tree = |names: &[&str]| {
        let mut text = "/ dir 0755 root root 0.0 -\n/srv dir 0755 root root 0.0 -\n".to_owned();
        for name in names {
            let line = match name.contains('.') {
                true => format!("/srv/{name} file 0644 root root 0.0 {object} 1\n"),
                false => format!("/srv/{name} dir 0755 root root 0.0 -\n"),
            };
            text.push_str(&line);
        }
        parse_tree(&text).unwrap()
    };
    let base = |name: &str, names: &[&str]| Member {
        changeset: Changeset::between(&Tree::new(), &tree(names)),
        ..member(name, &names.join(" "), &[])
    };
    let old = ["d", "d/a.conf", "k.conf"];
    let mut app = member("app", "app", &[("base", &old.join(" "))]);
    app.changeset = Changeset::between(&tree(&old), &tree(&["k.conf"]));
    app.layer.sweeps = vec![crate::format::Sweep {
        dir: RelPath::from_text("srv/d").unwrap(),
        what: crate::format::Swept::Removed,
        suffix: String::new(),
        to: None,
        own: Vec::new(),
    }];
    let kind = check::FindingKind::Covered;
    let asked = ["app Rebuild covered:app:/srv/d"];
    let with = |members: &[Member]| composed(&[members, &[app.clone()]].concat(), kind);
    assert!(with(&[base("base", &old)]).is_empty());
    let more = [&old[..], &["d/b.conf"]].concat();
    assert_eq!(with(&[base("base", &more)]), asked);
    let elsewhere = [&old[..], &["l.conf"]].concat();
    assert!(with(&[base("base", &elsewhere)]).is_empty());
    // A sibling's file is none of its business, whoever moved.
    let mut sibling = member("sibling", "sibling", &[("base", "x")]);
    sibling.changeset = Changeset::between(&tree(&old), &tree(&more));
    assert!(with(&[base("base", &elsewhere), sibling]).is_empty());
}

fn unheard(layer: &str, by: &str, member: usize) -> MemberProblem {
    let subject = Subject::Layer(layer.to_owned());
    let mut found = found(
        &format!("trigger:{layer}:{by}:/x"),
        subject,
        member,
        Weight::Grave,
    );
    found.problem.package = Some(by.to_owned());
    found
}

#[test]
fn a_trigger_that_dpkg_ran_in_a_build_is_never_news() {
    let base = || with_package(member("base", "b1", &[]), "watcher", "1");
    let app = |build| knowing(member("app", build, &[("base", "b1")]), &[]);
    let problems = vec![unheard("app", "watcher", 1)];
    // The layer gained its first such file: it was sound before, and is no less sound now.
    let being_built = Member {
        id: None,
        ..app("a2")
    };
    let set = [base(), being_built];
    let made = baseline(&problems, &set, &[], Some(&app("a1")));
    assert_eq!(made.problems, ["trigger:app:watcher:/x"]);
    assert!(made.broken.is_empty());
    // Not even a baseline that lists nothing makes news of it, and it is no old problem either.
    let judged = judge(problems.clone(), &[base(), app("a2")]);
    assert!(judged.new.is_empty() && judged.known.is_empty());
    // On a base whose trigger is new, it did not run.
    let moved = Member {
        id: Some(id("b2")),
        ..base()
    };
    let judged = judge(problems.clone(), &[moved, app("a2")]);
    assert_eq!(summary(&judged.new), ["app Rebuild trigger:app:watcher:/x"]);
}

#[test]
fn a_trigger_beside_a_layer_asks_for_one_to_stand_on_the_other() {
    let base = || member("base", "b1", &[]);
    let side = |name, on| member(name, name, on);
    let beside = |name| side(name, &[("base", "b1")]);
    let holder = with_package(beside("db"), "server", "1");
    let found = vec![unheard("app", "server", 2)];
    let set = [base(), holder.clone(), beside("app")];
    let judged = judge(found.clone(), &set);
    assert_eq!(summary(&judged.new), ["app Refuse trigger:app:server:/x"]);
    assert_eq!(judged.new[0].hint, "mend it");
    // A layer that was built on both of them did not hear it either.
    let above = Member {
        id: None,
        ..side("top", &[("base", "b1"), ("db", "db"), ("app", "app")])
    };
    let set = [base(), holder.clone(), beside("app"), above];
    let made = baseline(&found, &set, &[], None);
    assert!(
        made.problems.is_empty() && made.broken.is_empty(),
        "{made:?}"
    );
    for set in [
        [
            base(),
            holder.clone(),
            side("app", &[("base", "b1"), ("db", "db")]),
        ],
        [
            base(),
            with_package(side("db", &[("base", "b1"), ("app", "app")]), "server", "1"),
            beside("app"),
        ],
    ] {
        assert!(judge(found.clone(), &set).new.is_empty());
    }
}

#[test]
fn files_whose_directory_left_are_a_question_and_no_rebuild() {
    let object = ObjectId::of(b"x");
    let tree = |version: &str, pool: bool| {
        let dirs = [
            "etc",
            "etc/php",
            "etc/php/V",
            "etc/php/V/fpm",
            "etc/php/V/fpm/pool.d",
        ];
        let dir = |dir: &str| format!("/{} dir 0755 root root 0.0 -\n", dir.replace('V', version));
        let mut text: String = ["".to_owned()].into_iter().chain(dirs.map(dir)).collect();
        text.insert_str(0, "/ dir 0755 root root 0.0 -\n");
        if pool {
            let path = format!("etc/php/{version}/fpm/pool.d/shop.conf");
            text.push_str(&format!("/{path} file 0644 root root 0.0 {object} 1\n"));
        }
        parse_tree(&text).unwrap()
    };
    let mut base = member("base", "new", &[]);
    base.changeset = Changeset::between(&Tree::new(), &tree("8.4", false));
    let mut app = member("app", "app", &[("base", "old")]);
    app.changeset = Changeset::between(&tree("8.2", false), &tree("8.2", true));
    let kind = check::FindingKind::Conflict;
    let place = "conflict:/etc/php/8.2/fpm/pool.d/shop.conf";
    // Packages and scripts may find the place themselves.
    let found = composed(&[base.clone(), app.clone()], kind);
    assert_eq!(found, [format!("app Rebuild {place}")]);
    app.baseline.files_only = true;
    let found = composed(&[base, app], kind);
    assert_eq!(found, [format!("app Refuse {place}")]);
}
