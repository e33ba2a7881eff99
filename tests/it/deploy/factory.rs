//! Factory content that changed: told, taken where somebody decides so, and given back.

use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

use layerset::deploy::{
    DeployMode, DeployOptions, DeployReport, KeptContent, OwnCopy, VarReport, deploy,
};

use super::*;

const FACTORY: &str = "usr/share/factory/var";

/// An image with this below `var/site`, which is shared ground of root, and below `var/www`, which
/// is a service's.
fn site<'a>(files: &[(&'a str, &str)]) -> Spec<'a> {
    let mut spec = with(
        base(),
        &[
            ("var/site", "d"),
            ("usr/share", "d"),
            ("usr/share/factory", "d"),
            (FACTORY, "d"),
            ("usr/share/factory/var/site", "d"),
            ("usr/share/factory/var/www", "www:d"),
        ],
    );
    for (path, what) in files {
        spec.insert(path, (*what).to_owned());
    }
    spec
}

const PAGE: &str = "usr/share/factory/var/site/page";

fn decisions(keep: &[&str], take: &[&str]) -> Decisions {
    let paths = |texts: &[&str]| texts.iter().map(|text| path(text)).collect();
    Decisions {
        keep: paths(keep),
        take: paths(take),
    }
}

fn run(world: &World, image: &ImageId, mode: DeployMode, decisions: Decisions) -> DeployReport {
    let options = DeployOptions {
        action: HistoryAction::Deploy,
        stage: StageOptions {
            decisions,
            ..StageOptions::default()
        },
        mode,
        pace: layerset::deploy::SwitchPace::NextStart,
        keep: Some(9),
        note: note(),
        release: None,
        again: false,
        cancel: &AtomicBool::new(false),
        doing: &|_| {},
    };
    let location = world.location(Arc::new(RealDisk));
    deploy(&location, &world.repository, image, &options).unwrap()
}

fn var_of(report: DeployReport) -> VarReport {
    match report {
        DeployReport::Planned { var, .. } => var,
        DeployReport::Deployed(deployed) => deployed.var,
        other => panic!("{other:?}"),
    }
}

fn switch(world: &World, image: &ImageId, take: &[&str]) -> VarReport {
    var_of(run(world, image, DeployMode::Switch, decisions(&[], take)))
}

fn kept(path_text: &str, own: OwnCopy) -> KeptContent {
    KeptContent {
        path: path(path_text),
        own,
        whole: false,
        gone: false,
        decided: false,
    }
}

fn shown(report: &VarReport) -> Vec<String> {
    let mut lines: Vec<String> = report
        .kept
        .iter()
        .map(|kept| {
            let mut line = format!("{} {:?}", kept.path, kept.own).to_lowercase();
            line.push_str(if kept.whole { " whole" } else { "" });
            line.push_str(if kept.gone { " gone" } else { "" });
            line
        })
        .collect();
    lines.extend(report.taken.iter().map(|path| format!("{path} taken")));
    lines.extend(report.unused.iter().map(|path| format!("{path} unused")));
    lines
}

#[test]
fn factory_content_that_changed_is_told_and_taken_and_a_rollback_gives_back_what_was_there() {
    if !is_root("factory content that changed is told and taken") {
        return;
    }
    let world = World::new();
    let image = |page: &str| world.image(page, &site(&[(PAGE, &format!("f {page}"))]));
    let page = || world.read("state/var/site/page");
    assert_eq!(switch(&world, &image("one"), &[]), VarReport::default());
    assert_eq!(page(), "one");
    // Told in advance and with the update; the machine's stays.
    let two = image("two");
    let told = [kept("var/site/page", OwnCopy::Unedited)];
    let planned = run(&world, &two, DeployMode::Plan, Decisions::default());
    assert_eq!(var_of(planned.clone()).kept, told);
    let json = serde_json::to_value(&planned).unwrap();
    assert_eq!(json["var"]["kept"][0]["path"], "/var/site/page");
    assert_eq!(switch(&world, &two, &[]).kept, told);
    assert_eq!(page(), "one");
    // A copy of an older image is no edit; what is of no image is one.
    let three = image("three");
    let planned = || var_of(run(&world, &three, DeployMode::Plan, Decisions::default()));
    assert_eq!(planned().kept, told);
    fs::write(world.at("state/var/site/page"), "mine").unwrap();
    assert_eq!(
        planned().kept,
        [kept("var/site/page", OwnCopy::Edited)],
        "edited"
    );
    let keep = decisions(&["var/site"], &[]);
    let decided = var_of(run(&world, &three, DeployMode::Plan, keep));
    assert!(decided.kept[0].decided && decided.unused.is_empty());
    // What is current already is taken by another deployment of it.
    for take in ["var/nothing", "var/site/page"] {
        let took = run(&world, &two, DeployMode::Plan, decisions(&[], &[take]));
        assert_eq!(var_of(took).taken.len(), usize::from(take != "var/nothing"));
    }
    assert_eq!(page(), "mine");
    let taken = switch(&world, &two, &["var/site"]);
    assert_eq!(shown(&taken), ["/var/site/page taken"]);
    assert_eq!(page(), "two");
    assert_eq!(world.read("deployments/3/var-taken/site/page"), "mine");
    let mode = |path: &str| fs::metadata(world.at(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("deployments/3/var-taken"), 0o700);
    // A service goes on writing; both sides live on, whoever is current.
    let beside = world.at("state/var/site/.page.new");
    fs::write(&beside, "written since").unwrap();
    fs::rename(&beside, world.at("state/var/site/page")).unwrap();
    switch(&world, &three, &[]);
    assert_eq!(page(), "written since");
    for (to, expected) in [
        (2, "mine"),
        (4, "written since"),
        (3, "written since"),
        (1, "mine"),
        (1, "mine"),
        (3, "written since"),
    ] {
        world.rollback(Some(to)).unwrap();
        assert_eq!(page(), expected, "at {to}");
        world.target().change("test").unwrap().activate().unwrap();
        assert_eq!(page(), expected, "at {to}, activated again");
    }
    // What was given back is not taken again unless somebody says so.
    world.rollback(Some(1)).unwrap();
    switch(&world, &two, &[]);
    assert_eq!(page(), "mine");
    assert_eq!(
        shown(&switch(&world, &two, &["var/site/page"])),
        ["/var/site/page taken"]
    );
    assert_eq!(page(), "two");
}

#[test]
fn what_a_service_owns_is_told_and_taken_as_one_directory_or_by_the_names_in_it() {
    if !is_root("what a service owns is told and taken as one directory") {
        return;
    }
    let world = World::new();
    let image = |version: &str, a: &str, b: &str| {
        let files = [
            ("usr/share/factory/var/www/a", &*format!("www:f {a}")),
            ("usr/share/factory/var/www/b", &format!("www:f {b}")),
            ("usr/share/factory/var/www/sub", "www:d"),
            ("usr/share/factory/var/www/sub/c", &format!("www:f {b}")),
        ];
        world.image(version, &site(&files))
    };
    switch(&world, &image("1", "a1", "b1"), &[]);
    let two = image("2", "a2", "b2");
    let planned = |take: &[&str]| {
        let planned = run(&world, &two, DeployMode::Plan, decisions(&[], take));
        shown(&var_of(planned))
    };
    assert_eq!(planned(&[]), ["/var/www unedited whole"]);
    fs::write(world.at("state/var/www/b"), "edited").unwrap();
    fs::write(world.at("state/var/www/upload"), "of the machine").unwrap();
    assert_eq!(planned(&[]), ["/var/www edited whole"]);
    assert_eq!(
        planned(&["var/www/a", "var/www/none"]),
        [
            "/var/www edited whole",
            "/var/www/a taken",
            "/var/www/none unused"
        ]
    );
    assert_eq!(planned(&["var/www/a", "var/www"]), ["/var/www taken"]);
    assert_eq!(planned(&["var"]), ["/var/www taken"]);
    switch(&world, &two, &["var/www/a"]);
    let read = |name: &str| world.read(&format!("state/var/www/{name}"));
    assert_eq!(
        (read("a"), read("b")),
        ("a2".to_owned(), "edited".to_owned())
    );
    switch(&world, &two, &["var/www"]);
    assert_eq!((read("a"), read("b")), ("a2".to_owned(), "b2".to_owned()));
    assert!(!world.at("state/var/www/upload").exists());
    assert_eq!(fs::metadata(world.at("state/var/www")).unwrap().uid(), 33);
    // The first decision stands, as its deployment is on the way here.
    world.rollback(Some(2)).unwrap();
    assert_eq!(
        (read("a"), read("b")),
        ("a2".to_owned(), "edited".to_owned())
    );
    assert_eq!(read("upload"), "of the machine");
    world.rollback(Some(1)).unwrap();
    assert_eq!(
        (read("a"), read("b")),
        ("a1".to_owned(), "edited".to_owned())
    );
}

#[test]
fn content_of_every_kind_is_told_and_taken_and_given_back() {
    if !is_root("content of every kind is told and taken and given back") {
        return;
    }
    for kind in [KindChoice::Auto, KindChoice::Copy] {
        let world = World::new();
        let old = site(&[
            ("usr/share/factory/var/site/file", "f was a file"),
            ("usr/share/factory/var/site/dir", "d"),
            ("usr/share/factory/var/site/dir/in", "f in a directory"),
            ("usr/share/factory/var/site/link", "l old"),
            ("usr/share/factory/var/site/gone", "f goes"),
            ("usr/share/factory/var/site/same", "f same"),
            ("usr/share/factory/var/site/moved", "d"),
            ("usr/share/factory/var/site/moved/x", "f one"),
            ("var/site/dir", "d"),
            ("var/site/moved", "d"),
        ]);
        let new = site(&[
            ("usr/share/factory/var/site/file", "d"),
            ("usr/share/factory/var/site/file/in", "f is a directory"),
            ("usr/share/factory/var/site/dir", "f is a file"),
            ("usr/share/factory/var/site/link", "l new"),
            ("usr/share/factory/var/site/same", "f same"),
            ("usr/share/factory/var/site/fresh", "f fresh"),
            ("usr/share/factory/var/site/moved", "d"),
            ("usr/share/factory/var/site/moved/x", "f two"),
            ("var/site/moved", "d"),
        ]);
        world.deploy(&world.image("1", &old));
        let at = |name: &str| world.at("state/var/site").join(name);
        let elsewhere = world.dir.path().join("elsewhere");
        fs::rename(at("moved"), &elsewhere).unwrap();
        symlink(&elsewhere, at("moved")).unwrap();
        fs::write(at("dir/own"), "of the machine").unwrap();
        let two = world.image("2", &new);
        let stage = |decisions: Decisions| {
            let options = StageOptions { kind, decisions };
            let target = world.target();
            let change = target.change("test").unwrap();
            change.stage(&world.repository, &two, &options).unwrap()
        };
        let staged = stage(Decisions::default());
        assert_eq!(
            shown(&staged.var),
            [
                "/var/site/dir unedited",
                "/var/site/file unedited whole",
                "/var/site/gone unedited gone",
                "/var/site/link unedited",
                "/var/site/moved/x elsewhere",
            ]
        );
        let staged = stage(decisions(&[], &["var/site"]));
        assert_eq!(
            shown(&staged.var),
            [
                "/var/site/moved/x elsewhere",
                "/var/site/dir taken",
                "/var/site/file taken",
                "/var/site/gone taken",
                "/var/site/link taken",
            ]
        );
        // Nothing happens before the switch.
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "was a file");
        world.switch(staged.generation).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            (read("dir"), read("file/in")),
            ("is a file".to_owned(), "is a directory".to_owned())
        );
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("new"));
        assert!(!at("gone").exists() && read("fresh") == "fresh" && read("same") == "same");
        assert_eq!(fs::read_to_string(elsewhere.join("x")).unwrap(), "one");
        world.rollback(Some(1)).unwrap();
        assert_eq!(
            (read("file"), read("gone")),
            ("was a file".to_owned(), "goes".to_owned())
        );
        assert_eq!(
            (read("dir/in"), read("dir/own")),
            ("in a directory".to_owned(), "of the machine".to_owned())
        );
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("old"));
        world.rollback(Some(staged.generation)).unwrap();
        assert!(!at("gone").exists() && read("dir") == "is a file");
    }
}

#[test]
fn thousands_of_files_are_told_and_taken_under_a_service_that_keeps_writing() {
    if !is_root("thousands of files are told and taken under a service that keeps writing") {
        return;
    }
    let world = World::new();
    let names: Vec<String> = (0..3000)
        .map(|n| format!("{FACTORY}/site/{n:04}"))
        .collect();
    let image = |version: &str| {
        let mut spec = site(&[]);
        for name in &names {
            spec.insert(name, format!("f {version} {name}"));
        }
        world.image(version, &spec)
    };
    switch(&world, &image("one"), &[]);
    let two = image("two");
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, dir) = (Arc::clone(&stop), world.at("state/var/site"));
    // It replaces its files, removes them, and writes into them, and sees none missing that it did
    // not remove itself.
    let service = std::thread::spawn(move || {
        let mut count = 0_u32;
        while !ended.load(Ordering::Relaxed) {
            let name = dir.join(format!("{:04}", count % 3000));
            assert!(name.exists(), "{}", name.display());
            fs::write(dir.join("new"), format!("service {count}")).unwrap();
            fs::rename(dir.join("new"), &name).unwrap();
            count += 7;
        }
        count
    });
    let started = std::time::Instant::now();
    let report = switch(&world, &two, &["var/site"]);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!((report.taken.len(), report.kept.len()), (3000, 0));
    stop.store(true, Ordering::Relaxed);
    assert!(service.join().unwrap() > 0);
    for name in names.iter().map(|name| name.rsplit('/').next().unwrap()) {
        let (shown, aside) = (
            world.read(&format!("state/var/site/{name}")),
            world.read(&format!("deployments/2/var-taken/site/{name}")),
        );
        assert!(
            shown.starts_with("two") || shown.starts_with("service"),
            "{shown}"
        );
        assert!(
            aside.starts_with("one") || aside.starts_with("service"),
            "{aside}"
        );
    }
    world.rollback(None).unwrap();
    for name in names.iter().map(|name| name.rsplit('/').next().unwrap()) {
        let shown = world.read(&format!("state/var/site/{name}"));
        assert!(!shown.starts_with("two"), "{shown}");
    }
}

#[test]
fn what_cannot_be_given_back_stops_no_rollback() {
    if !is_root("what cannot be given back stops no rollback") {
        return;
    }
    let world = World::new();
    let image = |page: &str| world.image(page, &site(&[(PAGE, &format!("f {page}"))]));
    switch(&world, &image("one"), &[]);
    switch(&world, &image("two"), &["var/site"]);
    // Damaged, and with a link of a service in the way.
    let record = world.at("deployments/2/var-taken.json");
    let good = fs::read(&record).unwrap();
    fs::write(&record, "{").unwrap();
    world.rollback(Some(1)).unwrap();
    assert_eq!(world.read("state/var/site/page"), "two");
    fs::write(&record, good).unwrap();
    let (site, elsewhere) = (
        world.at("state/var/site"),
        world.dir.path().join("elsewhere"),
    );
    fs::rename(&site, &elsewhere).unwrap();
    symlink(&elsewhere, &site).unwrap();
    world.rollback(Some(2)).unwrap();
    world.rollback(Some(1)).unwrap();
    assert_eq!(fs::read_to_string(elsewhere.join("page")).unwrap(), "two");
    assert_eq!(world.read("deployments/2/var-taken/site/page"), "one");
    // It goes back as soon as it can.
    fs::remove_file(&site).unwrap();
    fs::rename(&elsewhere, &site).unwrap();
    world.target().change("test").unwrap().activate().unwrap();
    assert_eq!(world.read("state/var/site/page"), "one");
}
