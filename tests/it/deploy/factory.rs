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

/// An access list that lets user 1234 read (`linux/posix_acl_xattr.h`).
const READ_BY_1234: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 4, 0, 255, 255,
    255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];
const ACL: &str = "system.posix_acl_access";
const ODD: &[u8] = b"b\xff\xfe";

/// A file with a hole of 8 MiB.
fn with_hole(version: &str) -> Vec<u8> {
    let mut bytes = format!("head {version}").into_bytes();
    bytes.resize(8 << 20, 0);
    bytes.extend_from_slice(version.as_bytes());
    bytes
}

/// An image whose factory content of `/var/site` has links, holes, attributes and odd names.
fn odd(world: &World, version: &str) -> ImageId {
    world.image_with(version, &site(&[]), |transaction, tree| {
        let file = |text: &[u8], mode: u16| {
            Inode::file(
                transaction.put_object(text).unwrap(),
                text.len() as u64,
                mode,
            )
        };
        let at = |name: &[u8]| {
            RelPath::new(&[&b"usr/share/factory/var/site/"[..], name].concat()).unwrap()
        };
        let linked = Inode {
            hardlink: 1,
            ..file(format!("linked {version}").as_bytes(), 0o644)
        };
        tree.insert(at(b"one"), linked.clone());
        tree.insert(at(b"two"), linked);
        // As a build takes it from its sandbox.
        let mut source = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut source, &with_hole(version)).unwrap();
        io::Seek::rewind(&mut source).unwrap();
        let (object, size) = transaction.put_file(&mut source).unwrap();
        tree.insert(at(b"holes"), Inode::file(object, size, 0o600));
        let mut attributes = file(format!("attributes {version}").as_bytes(), 0o644);
        let note = ("user.note", version.as_bytes());
        for (name, value) in [note, (ACL, &READ_BY_1234)] {
            attributes.xattrs.insert(name.into(), value.to_vec());
        }
        tree.insert(at(b"attributes"), attributes);
        tree.insert(at(ODD), file(format!("odd {version}").as_bytes(), 0o644));
        tree.insert(
            at(b"new\nline"),
            file(format!("line {version}").as_bytes(), 0o4755),
        );
    })
}

#[test]
fn links_holes_attributes_and_odd_names_are_taken_and_given_back_as_they_are() {
    if !is_root("links holes attributes and odd names are taken and given back") {
        return;
    }
    use std::os::unix::ffi::OsStrExt as _;
    for kind in [KindChoice::Auto, KindChoice::Copy] {
        let world = World::new();
        let at = |name: &[u8]| {
            world
                .at("state/var/site")
                .join(std::ffi::OsStr::from_bytes(name))
        };
        let read = |name: &[u8]| fs::read(at(name)).unwrap();
        let attribute = |name: &str| {
            let mut value = [0; 256];
            let got = rustix::fs::lgetxattr(at(b"attributes"), name, &mut value[..]);
            got.map(|count| value[..count].to_vec()).unwrap()
        };
        let facts = |name: &[u8]| fs::metadata(at(name)).unwrap();
        let stage = |image: &ImageId, take: &[&[u8]]| {
            let path = |name: &&[u8]| match name.is_empty() {
                true => b"var/site".to_vec(),
                false => [b"var/site/", *name].concat(),
            };
            let take = take.iter().map(|name| RelPath::new(&path(name)).unwrap());
            let decisions = Decisions {
                take: take.collect(),
                ..Decisions::default()
            };
            let options = StageOptions { kind, decisions };
            let target = world.target();
            let change = target.change("test").unwrap();
            let staged = change.stage(&world.repository, image, &options).unwrap();
            drop(change);
            world.switch(staged.generation).unwrap();
            staged.var
        };
        let assert_of_image = |version: &str| {
            let text = |what: &str| format!("{what} {version}").into_bytes();
            assert_eq!(
                (read(b"one"), read(b"two")),
                (text("linked"), text("linked"))
            );
            assert_eq!(facts(b"one").ino(), facts(b"two").ino());
            assert!(read(b"holes") == with_hole(version));
            let used = facts(b"holes").blocks() * 512;
            // What is read first may be stored as it is.
            assert!(used < 2 << 20, "{used} bytes of a hole");
            assert_eq!(facts(b"holes").mode() & 0o7777, 0o600);
            assert_eq!(attribute("user.note"), version.as_bytes());
            assert_eq!(attribute(ACL), READ_BY_1234);
            assert_eq!((read(ODD), read(b"new\nline")), (text("odd"), text("line")));
            assert_eq!(facts(b"new\nline").mode() & 0o7777, 0o4755);
        };
        stage(&odd(&world, "1"), &[]);
        assert_of_image("1");
        // The machine changes all of them, in place.
        for name in [
            b"one".as_slice(),
            b"holes",
            b"attributes",
            ODD,
            b"new\nline",
        ] {
            let file = fs::OpenOptions::new().write(true).open(at(name)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"mine!", 0).unwrap();
        }
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(at(b"attributes"), "user.note", b"mine", flags).unwrap();
        let mine = |name: &[u8]| assert!(read(name).starts_with(b"mine!"), "{name:?}");
        let two = odd(&world, "2");
        let told = shown(&stage(&two, &[]));
        assert_eq!(
            told,
            [
                "/var/site/attributes edited",
                "/var/site/b\\xff\\xfe edited",
                "/var/site/holes edited",
                "/var/site/new\\x0aline edited",
                "/var/site/one edited",
                "/var/site/two edited",
            ]
        );
        // One of two names: the other one, and what it is a name of, stay.
        stage(&two, &[b"one"]);
        assert_eq!(read(b"one"), b"linked 2");
        mine(b"two");
        assert_ne!(facts(b"one").ino(), facts(b"two").ino());
        world.rollback(Some(2)).unwrap();
        assert_eq!(facts(b"one").ino(), facts(b"two").ino());
        mine(b"one");
        let taken = shown(&stage(&two, &[b""]));
        assert_eq!(
            taken.iter().filter(|line| line.ends_with(" taken")).count(),
            6,
            "{taken:?}"
        );
        assert_of_image("2");
        let taker = world.target().current().unwrap();
        for _ in 0..2 {
            world.rollback(Some(2)).unwrap();
            for name in [
                b"one".as_slice(),
                b"two",
                b"holes",
                b"attributes",
                ODD,
                b"new\nline",
            ] {
                mine(name);
            }
            assert_eq!(facts(b"one").ino(), facts(b"two").ino());
            assert!(facts(b"holes").blocks() * 512 < 2 << 20);
            assert_eq!(attribute("user.note"), b"mine");
            assert_eq!(attribute(ACL), READ_BY_1234);
            world.rollback(taker).unwrap();
            assert_of_image("2");
        }
    }
}
