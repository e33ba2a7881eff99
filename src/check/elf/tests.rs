//! Rules of the loader: what a real one would say of each image is known from its source.

use super::testing::*;
use crate::check::Weight;
use crate::elf::{ElfClass, ElfFacts, ElfKind};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::Inode;
use crate::tree::testing::library;

#[test]
fn symbols_are_looked_for_in_all_that_a_program_loads_and_in_nothing_else() {
    let (app, own, plugin) = ("opt/app", at("libown.so.1"), at("plugin.so"));
    let world = || {
        World::new()
            .elf(app, program(&["libown.so.1", "libc.so.6"]))
            .elf(&own, lib("libown.so.1", &[]))
            .elf(&plugin, lib("", &["libown.so.1"]))
            .symbols(app, &["own"], &["hook"])
            // A library may need what the program has; a plug-in is of a program that nobody knows.
            .symbols(&plugin, &["host", "own"], &[])
    };
    let sound = world().symbols(&own, &["hook"], &["own"]);
    assert_eq!(sound.ids(), Vec::<String>::new());
    let gone = world().symbols(&own, &["hook", "away", "~late"], &["else"]);
    let place = format!("/{own}");
    let expect = [
        "elf:symbol:/opt/app:own".to_owned(),
        format!("elf:symbol:{place}:away"),
        format!("elf:symbol:{place}:late"),
    ];
    assert_eq!(gone.ids(), expect);
    let weights: Vec<Weight> = gone.problems().iter().map(|own| own.weight).collect();
    assert_eq!(weights, [Weight::Grave, Weight::Grave, Weight::Minor]);
}

#[test]
fn a_sound_image_has_no_problems_and_each_library_taken_out_makes_some() {
    let files = [
        (at("liba.so.1"), lib("liba.so.1", &["libb.so.1"])),
        (at("libb.so.1"), lib("libb.so.1", &["libc.so.6"])),
        (
            "usr/lib/app/libp.so".to_owned(),
            lib("libp.so", &["libb.so.1"]),
        ),
        (
            "usr/bin/app".to_owned(),
            with_runpath(
                "$ORIGIN/../lib/app",
                program(&["liba.so.1", "libp.so", "libc.so.6"]),
            ),
        ),
    ];
    let without = |gone: &str| {
        let kept = files.iter().filter(|(path, _)| path != gone);
        kept.fold(World::new(), |world, (path, facts)| {
            world.elf(path, facts.clone())
        })
    };
    without("").check(&[]);
    without("usr/bin/app").check(&[]);
    without(&at("liba.so.1")).check(&["elf:needed:/usr/bin/app:liba.so.1"]);
    without(&at("libb.so.1")).check(&[
        "elf:needed:/usr/lib/app/libp.so:libb.so.1",
        "elf:needed:/usr/lib/x86_64-linux-gnu/liba.so.1:libb.so.1",
    ]);
    without("usr/lib/app/libp.so").check(&["elf:needed:/usr/bin/app:libp.so"]);
    let problems = without(&at("libb.so.1")).problems();
    assert_eq!(
        problems[1].reason,
        "'/usr/lib/x86_64-linux-gnu/liba.so.1' needs 'libb.so.1', which is in no directory that the loader searches, \
         so '/usr/bin/app' does not start"
    );
}

#[test]
fn a_program_needs_its_interpreter() {
    let app = |interp: &str| {
        World::new().elf(
            "usr/bin/app",
            ElfFacts {
                interp: Some(interp.to_owned()),
                ..program(&["libc.so.6"])
            },
        )
    };
    app(INTERP).check(&[]);
    app("/lib/gone.so").check(&["elf:interp:/usr/bin/app"]);
    app("/usr/lib").check(&["elf:interp:/usr/bin/app"]);
    app("/lib/ld.so")
        .elf("usr/lib/ld.so", library(183, ElfClass::Elf64, ""))
        .check(&["elf:interp:/usr/bin/app"]);
    // An image that lost its only loader.
    let mut world = app(INTERP).link("usr/lib64/ld-linux-x86-64.so.2", "nowhere");
    world.check(&["elf:interp:/usr/bin/app"]);
    world.tree.remove(at("ld-linux-x86-64.so.2").as_bytes());
    world.check(&["elf:interp:/usr/bin/app"]);
}

#[test]
fn paths_are_searched_as_the_loader_does() {
    let check = |facts: ElfFacts, lib_path: &str, expect: bool| {
        let note = format!("{facts:?} {lib_path}");
        let world = World::new()
            .dir("opt/app/bin")
            .elf("opt/app/bin/app", facts)
            .elf(lib_path, lib("libx.so", &[]));
        assert_eq!(world.ids().is_empty(), expect, "{note}");
    };
    let app = || program(&["libx.so"]);
    check(app(), "opt/x/libx.so", false);
    check(app(), "usr/lib/libx.so", true);
    check(app(), &at("libx.so"), true);
    check(app(), "usr/lib64/libx.so", false);
    check(with_rpath("/opt/x", app()), "opt/x/libx.so", true);
    check(with_runpath("/opt/x", app()), "opt/x/libx.so", true);
    check(with_runpath("/gone::/opt/x/", app()), "opt/x/libx.so", true);
    // A DT_RUNPATH replaces the DT_RPATH, even an empty one.
    check(
        with_runpath("", with_rpath("/opt/x", app())),
        "opt/x/libx.so",
        false,
    );
    check(
        with_runpath("$ORIGIN/../lib", app()),
        "opt/app/lib/libx.so",
        true,
    );
    check(with_rpath("${ORIGIN}", app()), "opt/app/bin/libx.so", true);
    check(
        with_runpath("/opt/$LIB", app()),
        "opt/lib/x86_64-linux-gnu/libx.so",
        true,
    );
    check(
        with_runpath("/opt/$PLATFORM", app()),
        "opt/x86_64/libx.so",
        true,
    );
    check(with_runpath("bin", app()), "bin/libx.so", false);
    check(program(&["/opt/x/libx.so"]), "opt/x/libx.so", true);
    check(program(&["$ORIGIN/libx.so"]), "opt/app/bin/libx.so", true);
    check(program(&["bin/libx.so"]), "bin/libx.so", false);
    let nodeflib = ElfFacts {
        nodeflib: true,
        ..app()
    };
    check(nodeflib, &at("libx.so"), false);
}

#[test]
fn only_the_rpath_is_inherited() {
    let world = |app: fn(&str, ElfFacts) -> ElfFacts, middle: ElfFacts| {
        World::new()
            .elf("usr/bin/app", app("/opt/x", program(&["liba.so"])))
            .elf("opt/x/liba.so", middle)
            .elf("opt/x/libb.so", lib("libb.so", &[]))
    };
    let middle = || lib("liba.so", &["libb.so"]);
    let lacks = &["elf:needed:/opt/x/liba.so:libb.so"];
    world(with_rpath, middle()).check(&[]);
    world(with_runpath, middle()).check(lacks);
    world(with_rpath, with_runpath("/gone", middle())).check(lacks);
    world(with_runpath, with_rpath("$ORIGIN", middle())).check(&[]);
    // What is loaded already is found by its name.
    World::new()
        .elf(
            "usr/bin/app",
            with_runpath("/opt/x", program(&["libb.so", "liba.so"])),
        )
        .elf("opt/x/liba.so", middle())
        .elf("opt/x/libb.so", lib("libb.so", &[]))
        .check(&[]);
}

#[test]
fn the_origin_of_a_library_is_where_it_is_found() {
    let world = |path: &str| {
        World::new()
            .elf("usr/bin/app", with_runpath(path, program(&["liba.so"])))
            .elf(
                "opt/real/liba.so",
                with_runpath("$ORIGIN/sub", lib("liba.so", &["libb.so"])),
            )
            .link("opt/link/liba.so", "../real/liba.so")
            .elf("opt/link/sub/libb.so", lib("libb.so", &[]))
    };
    world("/opt/link").check(&[]);
    world("/opt/real").check(&["elf:needed:/opt/real/liba.so:libb.so"]);
}

#[test]
fn a_plugin_may_rely_on_its_program_and_on_its_neighbours() {
    let plugin = || lib("libjava.so", &["libjvm.so"]);
    let lacks = &["elf:needed:/usr/lib/jvm/lib/libjava.so:libjvm.so"];
    let world = World::new().elf("usr/lib/jvm/lib/libjava.so", plugin());
    world.check(lacks);
    // Some program loads both by their paths.
    let jvm = || lib("libjvm.so", &[]);
    let near = world.clone().elf("usr/lib/jvm/lib/server/libjvm.so", jvm());
    near.check(&[]);
    world
        .clone()
        .elf("usr/lib/other/libjvm.so", jvm())
        .check(lacks);
    // That helps no program that the loader starts.
    near.elf(
        "usr/bin/java",
        with_runpath("/usr/lib/jvm/lib", program(&["libjava.so"])),
    )
    .check(lacks);
}

#[test]
fn a_program_that_brings_what_a_library_lacks_excuses_it() {
    let world = World::new()
        .elf("usr/lib/a/liba.so", lib("liba.so", &["libb.so"]))
        .elf("usr/lib/b/libb.so", lib("libb.so", &[]));
    let lacks = &["elf:needed:/usr/lib/a/liba.so:libb.so"];
    world.check(lacks);
    let both = "/usr/lib/a:/usr/lib/b";
    let good = world.elf(
        "usr/bin/good",
        with_runpath(both, program(&["liba.so", "libb.so"])),
    );
    good.check(&[]);
    good.elf(
        "usr/bin/bad",
        with_runpath("/usr/lib/a", program(&["liba.so"])),
    )
    .check(lacks);
}

#[test]
fn versions_are_those_of_what_the_name_means_in_the_process() {
    let old = || with_versions(&["X_1"], lib("libx.so.1", &[]));
    let new = || with_versions(&["X_1", "X_2"], lib("libx.so.1", &[]));
    let user = |version: &str| wanting("libx.so.1", version, lib("liba.so.1", &["libx.so.1"]));
    let world = |version: &str, provider: ElfFacts| {
        World::new()
            .elf("usr/bin/app", program(&["liba.so.1"]))
            .elf(&at("liba.so.1"), user(version))
            .elf(&at("libx.so.1"), provider)
    };
    let lacks = &["elf:version:/usr/lib/x86_64-linux-gnu/liba.so.1:libx.so.1:X_2"];
    world("X_1", old()).check(&[]);
    world("X_2", new()).check(&[]);
    world("X_2", old()).check(lacks);
    // The loader only warns.
    world("X_2", lib("libx.so.1", &[])).check(&[]);
    let mut weak = user("X_2");
    weak.version_needs[0].weak = true;
    world("X_2", old()).elf(&at("liba.so.1"), weak).check(&[]);
    // A private copy comes first, and lacks the version for all of the process.
    let shadowed = world("X_2", new()).elf("opt/old/libx.so.1", old()).elf(
        "usr/bin/legacy",
        with_runpath("/opt/old", program(&["libx.so.1", "liba.so.1"])),
    );
    shadowed.check(lacks);
    assert_eq!(
        shadowed.problems()[0].reason,
        "'/usr/lib/x86_64-linux-gnu/liba.so.1' needs version 'X_2' of 'libx.so.1', which '/opt/old/libx.so.1' does not \
         define, so '/usr/bin/legacy' does not start"
    );
}

#[test]
fn the_cache_comes_before_the_default_directories_and_hwcaps_are_for_some_machines_only() {
    let app = |file: &str| World::new().elf("usr/bin/app", program(&[file]));
    app("liba.so.1")
        .elf("opt/lib/liba.so.1", lib("liba.so.1", &[]))
        .cached("liba.so.1", "/opt/lib/liba.so.1")
        .check(&[]);
    // A stale line does no harm where the library is in a default directory.
    app("liba.so.1")
        .elf(&at("liba.so.1"), lib("liba.so.1", &[]))
        .cached("liba.so.1", "/opt/lib/liba.so.1")
        .check(&[]);
    let v3 = "/usr/lib/glibc-hwcaps/x86-64-v3/liba.so.1";
    let world = app("liba.so.1")
        .elf(&v3[1..], with_versions(&["A_1"], lib("liba.so.1", &[])))
        .cached_for("x86-64-v3", "liba.so.1", v3);
    let lacks = &["elf:needed:/usr/bin/app:liba.so.1"];
    world.check(lacks);
    // With both, a better machine takes the copy, which must be as good.
    let newer = with_versions(&["A_1", "A_2"], lib("liba.so.1", &[]));
    let both = world
        .elf(&at("liba.so.1"), newer)
        .cached("liba.so.1", "/lib/x86_64-linux-gnu/liba.so.1");
    both.check(&[]);
    both.elf(
        "usr/bin/app",
        wanting("liba.so.1", "A_2", program(&["liba.so.1"])),
    )
    .check(&["elf:version:/usr/bin/app:liba.so.1:A_2"]);
}

#[test]
fn what_is_for_another_machine_is_passed_over_and_what_is_no_library_is_not() {
    let world = || World::new().elf("usr/bin/app", with_runpath("/opt/x", program(&["libx.so"])));
    let good = || world().elf("usr/lib/libx.so", lib("libx.so", &[]));
    let lacks = &["elf:needed:/usr/bin/app:libx.so"];
    good()
        .elf("opt/x/libx.so", library(3, ElfClass::Elf32, "libx.so"))
        .check(&[]);
    good()
        .elf("opt/x/libx.so", library(183, ElfClass::Elf64, "libx.so"))
        .check(&[]);
    good()
        .file("opt/x/libx.so", b"INPUT ( libx.so.1 )")
        .check(lacks);
    good().dir("opt/x/libx.so").check(lacks);
    let fixed = ElfFacts {
        kind: ElfKind::Executable,
        ..lib("libx.so", &[])
    };
    good().elf("opt/x/libx.so", fixed).check(lacks);
    good().link("opt/x/libx.so", "nowhere").check(&[]);
}

#[test]
fn objects_of_machines_without_a_loader_and_of_left_out_directories_are_data() {
    let foreign = || ElfFacts {
        needed: vec!["libgone.so".to_owned()],
        ..library(183, ElfClass::Elf64, "libf.so")
    };
    let firmware = ElfFacts {
        interp: Some("/lib/ld-linux-aarch64.so.1".to_owned()),
        ..foreign()
    };
    let broken = || lib("libf.so", &["libgone.so"]);
    let world = World::new()
        .elf("usr/lib/firmware/core", firmware.clone())
        .elf("usr/aarch64-linux-gnu/lib/libf.so", foreign())
        .elf("usr/lib/debug/libf.so", broken())
        .elf("usr/share/doc/x/libf.so", broken())
        .elf("var/lib/libf.so", broken())
        .elf("boot/libf.so", broken());
    world.check(&[]);
    // With a loader it is a second architecture.
    let loader = ElfFacts {
        needed: Vec::new(),
        ..library(183, ElfClass::Elf64, "ld-linux-aarch64.so.1")
    };
    world.elf("usr/lib/ld-linux-aarch64.so.1", loader).check(&[
        "elf:needed:/usr/aarch64-linux-gnu/lib/libf.so:libgone.so",
        "elf:needed:/usr/lib/firmware/core:libgone.so",
    ]);
}

#[test]
fn broken_programs_and_libraries_are_told_and_broken_data_is_not() {
    let mut world = World::new();
    for path in ["usr/lib/liba.so.1", "usr/share/x/test.bin", "usr/bin/tool"] {
        world = world.broken(path);
    }
    let mut data = Inode::file(ObjectId::of(b""), 4096, 0o644);
    let put = |world: &mut World, path: &str, inode: Inode| {
        world.tree.insert(RelPath::from_text(path).unwrap(), inode);
    };
    put(&mut world, "usr/lib/liba.so.1", data.clone());
    put(&mut world, "usr/share/x/test.bin", data.clone());
    world.check(&["elf:broken:/usr/bin/tool", "elf:broken:/usr/lib/liba.so.1"]);
    data.mode = 0o755;
    put(&mut world, "usr/share/x/test.bin", data);
    assert_eq!(world.ids().len(), 3);
}

#[test]
fn ids_and_reasons_are_words_and_lines_whatever_the_names() {
    let problems = World::new()
        .elf("usr/bin/a b", program(&["lib\n\u{a0}x\t.so"]))
        .problems();
    let [problem] = &problems[..] else { panic!() };
    assert!(
        !problem.id.as_str().contains(char::is_whitespace),
        "{}",
        problem.id
    );
    assert!(!problem.reason.contains('\n'), "{}", problem.reason);
}
