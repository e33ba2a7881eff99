//! `kill -9` in the middle of the commands that mend, release and go back: nothing is lost, and the
//! same command goes on.
//!
//! The moments are spread over the time that an undisturbed command takes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::channel::{Fleet, fleet};
use crate::session::Session;

/// How many times each command is killed.
const MOMENTS: u32 = 12;

/// Runs a command undisturbed; returns how long it takes.
fn time(session: &Session, line: &str) -> Duration {
    let started = Instant::now();
    session.run(line).expect(0);
    started.elapsed()
}

/// Starts a command and kills it after `delay`; says whether it was still at work.
fn kill_after(session: &Session, line: &str, delay: Duration) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut child = session
        .command(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    let was_busy = child.try_wait().unwrap().is_none();
    // SIGKILL, to this process only.
    child.kill().unwrap();
    child.wait().unwrap();
    was_busy
}

/// Kills `line` at every moment: `prepare` makes the work anew, `check` looks at what is left, after
/// the blow and after the same command once more. At least one blow has to hit.
fn killed_at_every_moment(
    session: &Session,
    line: &str,
    prepare: &dyn Fn(u32),
    check: &dyn Fn(&str, bool),
) {
    prepare(0);
    let whole = time(session, line);
    check("undisturbed", true);
    let mut hits = 0;
    for moment in 0..MOMENTS {
        prepare(moment + 1);
        let context = format!("{line}, killed at {moment} of {MOMENTS} parts of {whole:?}");
        hits += u32::from(kill_after(session, line, whole * moment / MOMENTS));
        check(&context, false);
        let again = session.run(line);
        assert_eq!(again.status, 0, "{context}\n{}", again.transcript());
        check(&context, true);
    }
    // On a busy machine the undisturbed command may have been the slow one.
    assert!(hits >= 2, "{line}: only {hits} blows hit");
}

fn sound(session: &Session, context: &str) {
    let fsck = session.run("fsck");
    assert_eq!(fsck.status, 0, "{context}\n{}", fsck.transcript());
}

/// Returns the refs of a repository, which `list` does not show while what they name is damaged.
fn refs(repo: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![repo.join("refs")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => pending.push(path),
                false => {
                    let id = std::fs::read_to_string(&path).unwrap();
                    found.push((path.display().to_string(), id));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_repair_that_is_killed_loses_nothing_and_goes_on() {
    let fleet = fleet();
    let machine = &fleet.machine;
    machine.run("pull web/stable --trust trust.toml").expect(0);
    let repo = fleet.dir().join("machine");
    let before = refs(&repo);
    assert!(!before.is_empty());
    let own = |what: &str| {
        let at = &fleet.small;
        repo.join(at.file(what).strip_prefix(at.repo()).unwrap())
    };
    let damage = |round: u32| {
        for what in ["object", "tree", "changeset", "layer", "image"] {
            let file = own(what);
            // Missing, or there and damaged.
            match round % 2 {
                0 => std::fs::remove_file(&file).unwrap(),
                _ => std::fs::write(&file, "other").unwrap(),
            }
        }
    };
    killed_at_every_moment(
        machine,
        "fsck --repair --trust trust.toml",
        &damage,
        &|context, is_done| {
            assert_eq!(refs(&repo), before, "{context}");
            if is_done {
                sound(machine, context);
            }
        },
    );
}

#[test]
fn a_garbage_collection_that_is_killed_keeps_what_is_needed_and_goes_on() {
    let at = super::fixture::small();
    let cached = at.repo().join("cache/outgoing/old");
    let garbage = |round: u32| {
        for version in 0..20 {
            at.rebuild("1", format!("page {round} {version}\n").as_bytes());
        }
        at.rebuild("1", b"the page that stays\n");
        std::fs::create_dir_all(cached.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&cached).unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(90 * 86_400);
        let times = std::fs::FileTimes::new();
        file.set_times(times.set_accessed(old).set_modified(old))
            .unwrap();
    };
    killed_at_every_moment(&at.session, "gc --cache", &garbage, &|context, is_done| {
        sound(&at.session, context);
        at.session.run("show web").expect(0);
        if is_done {
            assert!(!cached.exists(), "{context}");
            let left = at.session.run("gc --dry-run --json").expect(0).json();
            assert_eq!(left["bytes"], 0, "{context}: {left}");
        }
    });
}

#[test]
fn a_release_of_what_is_gone_that_is_killed_takes_all_or_can_be_done_again() {
    let at = super::fixture::small();
    let targets = at.repo().join("targets");
    // The target lies where it was deployed, and somebody removes it by hand.
    let deployed = |_: u32| {
        for name in ["gone", "stays"] {
            at.session
                .run(&format!("deploy web --copy --target {name}"))
                .expect(0);
        }
        let gone = at.dir.path().join("gone");
        at.session.run("deactivate --target gone");
        std::fs::remove_dir_all(gone).unwrap();
        at.rebuild("1", b"another page\n");
    };
    let deployments = |context: &str| -> usize {
        let dir = at.repo().join("refs/deployments");
        let ids = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{context}: {error}"));
        ids.map(|id| std::fs::read_dir(id.unwrap().path()).unwrap().count())
            .filter(|count| *count > 0)
            .count()
    };
    let id_of_gone = || {
        let list = at.session.run("list --json").expect(0).json();
        let all = list["targets"].as_array().unwrap().clone();
        let gone = all
            .iter()
            .find(|target| target["root"].as_str().unwrap().ends_with("/gone"));
        gone.map(|target| target["id"].as_str().unwrap().to_owned())
    };
    deployed(0);
    let line = format!("forget {}", id_of_gone().unwrap());
    let whole = time(&at.session, &line);
    for moment in 0..MOMENTS {
        deployed(moment);
        let id = id_of_gone().unwrap();
        let line = format!("forget {id}");
        let context = format!("{line}, killed at {moment} of {MOMENTS}");
        kill_after(&at.session, &line, whole * moment / MOMENTS);
        sound(&at.session, &context);
        // The one that is there is never let go.
        assert!(deployments(&context) >= 1, "{context}");
        let again = at.session.run(&line);
        let is_gone = again.status == 1 && again.stderr.contains("knows no target");
        assert!(
            again.status == 0 || is_gone,
            "{context}\n{}",
            again.transcript()
        );
        assert_eq!(deployments(&context), 1, "{context}");
        assert!(!targets.join(&id).exists(), "{context}");
        at.session.run("gc").expect(0);
        sound(&at.session, &context);
        at.session.run("status --target stays").expect(0);
    }
    // So are refs, of which several go in one command.
    killed_at_every_moment(
        &at.session,
        "forget web",
        &|round| {
            at.rebuild("1", format!("page {round}\n").as_bytes());
        },
        &|context, is_done| {
            sound(&at.session, context);
            if !is_done {
                // What is left of the refs is forgotten by the same command; where none is, it was
                // done.
                at.rebuild("1", b"once more\n");
            }
        },
    );
}

/// A target with versions 1 and 2, of which 2 is current.
fn two_generations() -> Fleet {
    let fleet = fleet();
    let session = &fleet.small.session;
    session.run("deploy web --target target").expect(0);
    fleet.small.rebuild("2", b"page 2\n");
    session
        .run("deploy web --target target --keep 20")
        .expect(0);
    fleet
}

fn whole_target(session: &Session, context: &str) {
    let status = session
        .run("status --target target --json")
        .expect(0)
        .json();
    assert!(status["history_broken"].is_null(), "{context}: {status:#}");
    assert!(status["lost_current"].is_null(), "{context}: {status:#}");
    for deployment in status["deployments"].as_array().unwrap() {
        assert!(deployment["damaged"].is_null(), "{context}: {status:#}");
    }
    let root = session.run("history --target target");
    assert_eq!(root.status, 0, "{context}\n{}", root.transcript());
}

fn page(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("target/layerset/current/root/srv/page.html")).unwrap()
}

#[test]
fn a_mark_that_is_killed_is_set_or_not_and_can_be_set_again() {
    let fleet = two_generations();
    let session = &fleet.small.session;
    let is_bad = |generation: usize| -> bool {
        let status = session
            .run("status --target target --json")
            .expect(0)
            .json();
        !status["deployments"][generation - 1]["bad"].is_null()
    };
    for (line, other, bad) in [
        (
            "mark-bad 1 --target target --reason slow",
            "mark-good 1 --target target",
            true,
        ),
        (
            "mark-good 1 --target target",
            "mark-bad 1 --target target --reason slow",
            false,
        ),
    ] {
        killed_at_every_moment(
            session,
            line,
            &|_| drop(session.run(other).expect(0)),
            &|context, is_done| {
                whole_target(session, context);
                assert!(!is_done || is_bad(1) == bad, "{context}");
                assert!(!is_bad(2), "{context}");
                assert_eq!(page(fleet.dir()), "page 2\n", "{context}");
                sound(session, context);
            },
        );
    }
}

#[test]
fn a_rollback_of_one_layer_that_is_killed_is_made_or_not_and_can_be_made_again() {
    let fleet = two_generations();
    let session = &fleet.small.session;
    let first = String::from_utf8(super::fixture::PAGE.to_vec()).unwrap();
    let line = "rollback --layer site --to 1 --target target";
    let back = |_: u32| {
        if page(fleet.dir()) != "page 2\n" {
            session.run("rollback --to 2 --target target").expect(0);
        }
    };
    let whole = time(session, line);
    assert_eq!(page(fleet.dir()), first);
    let mut hits = 0;
    for moment in 0..MOMENTS {
        back(moment);
        let context = format!("{line}, killed at {moment} of {MOMENTS}");
        hits += u32::from(kill_after(session, line, whole * moment / MOMENTS));
        // A switch that was under way is finished, or taken back.
        session.run("activate --target target").expect(0);
        whole_target(session, &context);
        sound(session, &context);
        let now = page(fleet.dir());
        assert!(now == first || now == "page 2\n", "{context}: {now}");
        if now != first {
            session.run(line).expect(0);
            assert_eq!(page(fleet.dir()), first, "{context}");
        }
    }
    assert!(hits >= 2, "only {hits} blows hit");
}
