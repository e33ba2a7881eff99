//! Builds that are stopped in the middle.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};

use super::shared::{copy, world};
use super::world::{World, actions, ends_within, layer_ids, pid, text};
use crate::support::AT_ONCE;

/// Interrupts a build while it unpacks packages, and looks at what is left.
fn interrupt(at: &World, signal: impl FnOnce(&Child)) {
    let before = at.stamps("repo/refs");
    at.forget("debian");
    let child = at.spawn_bootstrap();
    signal(&child);
    let output = ends_within(child, AT_ONCE);
    at.session
        .ran("build recipes/web.toml", output)
        .expect(130)
        .says(&["error: interrupted"]);
    at.is_clean();
    at.is_untouched(&before);
    assert_eq!(processes_about(at.dir.path()), Vec::<String>::new());
}

/// Returns the command lines of running processes that name `dir`.
fn processes_about(dir: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(dir.to_str().unwrap()))
        .collect()
}

#[test]
fn an_interrupt_from_the_terminal_ends_a_bootstrap_in_good_order() {
    let Some(at) = world("an_interrupt_from_the_terminal_ends_a_bootstrap_in_good_order") else {
        return;
    };
    // A terminal signals the whole process group.
    interrupt(&at, |child| {
        kill_process_group(pid(child), Signal::INT).unwrap()
    });
}

#[test]
fn an_interrupt_of_the_program_alone_ends_a_bootstrap_in_good_order() {
    let Some(at) = world("an_interrupt_of_the_program_alone_ends_a_bootstrap_in_good_order") else {
        return;
    };
    // As a supervisor does, or `kill`.
    interrupt(&at, |child| kill_process(pid(child), Signal::TERM).unwrap());
}

#[test]
fn a_killed_build_is_cleared_away_and_another_repository_gives_the_same_ids() {
    let Some(at) =
        world("a_killed_build_is_cleared_away_and_another_repository_gives_the_same_ids")
    else {
        return;
    };
    let (ids, image) = {
        let report = at.build();
        (layer_ids(&report), text(&report["image"]))
    };
    fs::rename(at.path("repo"), at.path("old")).unwrap();
    at.run("init").expect(0);
    copy(
        &at.path("old/cache/debs"),
        &at.path("repo/cache/debs"),
        &|_| true,
    );

    let mut child = at.spawn_bootstrap();
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(fs::read_dir(at.path("repo/tmp")).unwrap().count() > 0);
    // What it ran must not outlive it: the next build removes the directory that they write to.
    let deadline = Instant::now() + AT_ONCE;
    while !processes_about(at.dir.path()).is_empty() {
        if Instant::now() > deadline {
            let left = processes_about(at.dir.path());
            let _ = kill_process_group(pid(&child), Signal::KILL);
            panic!("still running: {left:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }

    let report = at.build();
    assert_eq!(
        actions(&report)
            .iter()
            .filter(|layer| layer.1 == "built")
            .count(),
        3
    );
    assert_eq!(layer_ids(&report), ids);
    assert_eq!(text(&report["image"]), image);
    at.is_clean();
    at.run("fsck").expect(0);
}
