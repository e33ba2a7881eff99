//! Images that nobody would make, and random ones.

use proptest::prelude::*;

use super::problems_of;
use super::testing::*;

#[test]
fn hostile_images_come_to_an_end() {
    let many: Vec<String> = (0..100_000).map(|n| format!("lib{n}.so")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "/a:".repeat(350_000);
    let start = crate::time::thread_time();
    // Cycles, and objects that need themselves.
    World::new()
        .elf("usr/bin/app", program(&["liba.so"]))
        .elf("usr/lib/liba.so", lib("liba.so", &["libb.so", "liba.so"]))
        .elf("usr/lib/libb.so", lib("libb.so", &["liba.so"]))
        .check(&[]);
    let world = World::new().elf("usr/bin/app", with_rpath(&long, program(&many)));
    assert_eq!(world.ids().len(), 100_000);
    // A directory that is in itself.
    World::new()
        .link("opt/loop", ".")
        .elf(
            "usr/bin/app",
            with_runpath("/opt/loop/loop", program(&["liba.so"])),
        )
        .elf(
            "opt/liba.so",
            with_runpath("$ORIGIN/loop", lib("liba.so", &["libb.so"])),
        )
        .elf(
            "opt/libb.so",
            with_runpath("$ORIGIN/loop", lib("libb.so", &["liba.so"])),
        )
        .check(&[]);
    // A chain, each with a path of its own.
    let chain = (0..200).fold(
        World::new().elf("usr/bin/app", with_rpath("/o/0", program(&["lib0.so"]))),
        |world, n| {
            let (next, dir) = (format!("lib{}.so", n + 1), format!("/o/{}", n + 1));
            let facts = with_rpath(&dir, lib(&format!("lib{n}.so"), &[&next]));
            world.elf(&format!("o/{n}/lib{n}.so"), facts)
        },
    );
    chain.check(&["elf:needed:/o/199/lib199.so:lib200.so"]);
    // Many that need as many, with names that mean two things so that nothing is known beforehand.
    let mut tangle = World::new();
    for n in 0..400 {
        let facts = with_rpath("/t", program(&many[..400]));
        tangle = tangle.elf(&format!("usr/bin/p{n}"), facts);
        let facts = with_rpath("/t", lib(&format!("lib{n}.so"), &many[..400]));
        tangle = tangle.elf(&format!("t/lib{n}.so"), facts);
    }
    assert_eq!(tangle.ids(), ["elf:unchecked"]);
    let time = crate::time::thread_time() - start;
    assert!(time.as_secs() < 120, "{time:?}");
}

/// Few names in few directories, so that they meet.
fn any_world() -> impl Strategy<Value = World> {
    let names = || proptest::collection::vec(0..4usize, 0..3);
    let path = proptest::option::of(prop_oneof![
        Just("/d0"),
        Just("/d1"),
        Just("$ORIGIN"),
        Just("/d1:/d0"),
    ]);
    let object = (names(), path, any::<bool>(), 0..3usize, 0..3usize);
    let spot = (0..3usize, 0..4usize);
    let link = (0..3usize, 0..3usize, 0..4usize);
    let files = proptest::collection::vec((spot, any::<bool>(), object), 1..9);
    (files, proptest::collection::vec(link, 0..2)).prop_map(|(files, links)| {
        let dirs = ["d0", "d1", "usr/lib"];
        let mut world = World::new();
        for (from, to, name) in links {
            let (path, target) = (
                format!("{}/lib{name}.so", dirs[from]),
                format!("/{}/lib{name}.so", dirs[to]),
            );
            world = world.link(&path, &target);
        }
        for (number, ((dir, name), is_program, object)) in files.into_iter().enumerate() {
            let (needed, path, is_rpath, wanted, defined) = object;
            let needed: Vec<String> = needed.iter().map(|n| format!("lib{n}.so")).collect();
            let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
            let mut facts = match is_program {
                true => program(&needed),
                false => lib(&format!("lib{name}.so"), &needed),
            };
            match path {
                Some(path) if is_rpath => facts = with_rpath(path, facts),
                Some(path) => facts = with_runpath(path, facts),
                None => {}
            }
            if let (Some(file), 1..) = (needed.first(), wanted) {
                facts = wanting(file, &format!("V{wanted}"), facts);
            }
            facts = with_versions(&["V1", "V2"][..defined], facts);
            let path = match is_program {
                true => format!("{}/p{number}", dirs[dir]),
                false => format!("{}/lib{name}.so", dirs[dir]),
            };
            world = world.elf(&path, facts);
        }
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The short cut never hides a problem, and never makes one.
    #[test]
    fn what_is_called_plain_loads_without_a_problem(world in any_world()) {
        let quick = world.problems();
        let slow = problems_of(&world.tree, &world, &world.cache, |_, _| false).unwrap();
        prop_assert_eq!(quick, slow);
    }
}
