//! What is let go of: targets, recipes and caches; and looking without waiting or writing.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::channel::fleet;
use super::fixture::{open, small};
use crate::session::transcripts;
use crate::support::is_root;

/// Makes refs as deployments of a target have that an earlier version made: nothing says where it is.
fn deployed_before(at: &super::fixture::Small) {
    let dir = at.repo().join("refs/deployments/0f3c9a7be2d14650");
    fs::create_dir_all(&dir).unwrap();
    for generation in ["1", "2"] {
        fs::write(dir.join(generation), format!("{}\n", at.image)).unwrap();
    }
}

#[test]
fn a_target_of_which_nothing_is_known_is_forgotten_only_when_it_is_said_to_be_gone() {
    let at = small();
    deployed_before(&at);
    let ran = [
        "forget 0000000000000000",
        "forget 0f3c9a7be2d14650",
        "forget 0f3c9a7be2d14650 --gone",
        "forget 0f3c9a7be2d14650 --gone",
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset forget 0000000000000000
    ! error: the repository knows no target, recipe or ref '0000000000000000'
    ! hint: `layerset list` shows the refs, and targets as deployments/<id>/…
    [status 1]

    $ layerset forget 0f3c9a7be2d14650
    ! error: nothing says where target 0f3c9a7be2d14650 is, so it may be in use
    ! hint: if its directory is gone, say so with --gone; if it is not, the next deploy there records where it is
    [status 3]

    $ layerset forget 0f3c9a7be2d14650 --gone
    2 deployments of target 0f3c9a7be2d14650 released
    `layerset gc` frees what nothing else needs
    [status 0]

    $ layerset forget 0f3c9a7be2d14650 --gone
    ! error: the repository knows no target, recipe or ref '0f3c9a7be2d14650'
    ! hint: `layerset list` shows the refs, and targets as deployments/<id>/…
    [status 1]
    ");
}

#[test]
fn a_recipe_that_is_gone_is_no_root_any_more() {
    let at = small();
    at.session.run("forget layers/web/sit").expect(1);
    at.session.run("forget web nothing").expect(1);
    assert!(at.file("image ref").exists());
    let ran = at.session.run("forget web");
    insta::assert_snapshot!(ran.transcript(), @r"
    $ layerset forget web
    images/web released
    layers/web/site released
    `layerset gc` frees what nothing else needs
    [status 0]
    ");
    at.session.run("gc").expect(0).shows("0 objects stay");
}

#[test]
fn a_live_target_is_refused_with_its_path_and_one_that_was_removed_is_not() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let machine = &fleet.machine;
    let refs = fleet.dir().join("machine/refs/deployments");
    let id = fs::read_dir(&refs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let id = id.to_str().unwrap().to_owned();
    machine
        .run("list")
        .expect(0)
        .shows(&format!("deployments/{id} is 'DIR/target'"));
    for name in [
        id.clone(),
        format!("deployments/{id}"),
        format!("deployments/{id}/1"),
    ] {
        machine
            .run(&format!("forget {name} --gone"))
            .expect(3)
            .says(&[
                "is there, at 'DIR/target'",
                "layerset deactivate --target DIR/target",
            ]);
    }
    machine.run("deactivate --target target").expect(0);
    fs::remove_dir_all(fleet.dir().join("target")).unwrap();
    let ran = machine.run(&format!("--json forget {id}")).expect(0).json();
    assert_eq!(ran["released"], 1);
    assert!(
        ran["targets"][0]["root"]
            .as_str()
            .unwrap()
            .ends_with("target")
    );
    let targets = fleet.dir().join("machine/targets");
    assert_eq!(fs::read_dir(targets).unwrap().count(), 0);
}

/// Another command has the repository alone, and goes on for hours.
#[test]
fn looking_waits_for_nobody() {
    let at = small();
    let repository = open(&at.repo());
    let lock = layerset::durable::Lock::take(
        &at.repo().join("lock"),
        layerset::durable::LockMode::Shared,
        "layerset build",
        std::time::Duration::ZERO,
        &|_| {},
    );
    drop(repository);
    let said = "another layerset command uses the repository";
    at.session
        .run("gc --dry-run --lock-timeout 0")
        .expect(0)
        .says(&[said]);
    at.session.run("gc --lock-timeout 0").expect(1);
    drop(lock);
    let _alone = layerset::durable::Lock::take(
        &at.repo().join("lock"),
        layerset::durable::LockMode::Exclusive,
        "layerset gc",
        crate::support::PATIENCE,
        &|_| {},
    );
    for line in ["gc --dry-run", "check web", "why /srv/page.html web"] {
        let ran = at.session.run(&format!("{line} --lock-timeout 0"));
        ran.expect(0).says(&[said]);
    }
    at.session.run("list --lock-timeout 0").expect(1);
}

#[test]
fn looking_works_on_a_read_only_filesystem() {
    if !is_root("looking_works_on_a_read_only_filesystem") {
        return;
    }
    let at = small();
    let repo = at.repo();
    // A repository that no command opened yet has no lock file.
    for with_lock in [true, false] {
        if !with_lock {
            fs::remove_file(repo.join("lock")).unwrap();
        }
        let run = |arguments: &[&str]| {
            let status = Command::new("mount").args(arguments).arg(&repo).status();
            assert!(status.unwrap().success());
        };
        run(&["--bind", repo.to_str().unwrap()]);
        run(&["-o", "remount,bind,ro"]);
        let ran = [
            "gc --dry-run",
            "check web",
            "why /srv/page.html web",
            "fsck",
        ]
        .map(|line| at.session.run(line));
        let unmounted = Command::new("umount").arg("-l").arg(&repo).status();
        assert!(unmounted.unwrap().success());
        for (number, ran) in ran.into_iter().enumerate() {
            if number < 3 || with_lock {
                ran.expect(0);
            }
        }
    }
}

#[test]
fn why_names_the_layer_and_the_package() {
    let at = small();
    insta::assert_snapshot!(at.session.run("why /srv/page.html web").transcript(), @r"
    $ layerset why /srv/page.html web
    path     /srv/page.html
    layer    site 1 9c8a046d5ad4
    package  none
    [status 0]
    ");
    let json: Value = at
        .session
        .run("why /srv/page.html web --json")
        .expect(0)
        .json();
    assert_eq!(json["layers"][0]["name"], "site");
    assert_eq!(json["since"], Value::Null);
    at.session
        .run("why /srv/none web")
        .expect(1)
        .says(&["the image 'web' has no '/srv/none'"]);
    at.session
        .run("why nginx web")
        .expect(1)
        .says(&["no layer of the image 'web' installed 'nginx'"]);
    at.session.run("why nginx").expect(2);
}

/// One layer goes back, by the deployment that has it or by its version; the release that is left is held.
#[test]
fn one_layer_is_set_back_by_a_new_set() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let none = fleet.machine.run("rollback --layer site --target target");
    none.expect(1)
        .says(&["no earlier deployment has another build of 'site'"]);
    for version in ["2", "3"] {
        fleet.release(version, "");
        fleet.run("update").expect(0);
    }
    let machine = &fleet.machine;
    machine
        .run("rollback --layer nginx --target target")
        .expect(2)
        .says(&["generation 3 has no layer 'nginx'", "it has: site"]);
    machine
        .run("rollback --layer site --to 9 --target target")
        .expect(1)
        .says(&["no other build of 'site' has version 9"]);
    machine
        .run("rollback --to 1.2 --target target")
        .expect(2)
        .says(&["'1.2' is no generation"]);

    let back = machine.run("rollback --layer site --target target");
    back.expect(0)
        .shows("site 3 -> 2 of generation 2; the other layers stay");
    assert_eq!(fleet.page(), "page 2\n");
    let history = machine
        .run("history --target target --json")
        .expect(0)
        .json();
    let last = history["records"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&last["action"], &last["verdict"]),
        (&"rollback".into(), &"safe".into())
    );
    assert_eq!(last["layers"][0]["to"], "2");
    // A timer does not undo it.
    fleet
        .run("update")
        .expect(0)
        .shows("a rollback left release 3");
    let first = machine
        .run("rollback --layer site --to 1 --target target --json")
        .expect(0)
        .json();
    assert_eq!(
        (&first["from"]["version"], &first["to"]["version"]),
        (&"2".into(), &"1".into())
    );
    assert_ne!(fleet.page(), "page 2\n");
    let why = machine.run("why /srv/page.html --target target").expect(0);
    why.shows("before that 2");
    // Each of these sets was deployed before, so they are the deployments that were there.
    assert_eq!(first["deploy"]["reused"], true);
    machine.run("rollback --to 2 --target target").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
    machine.run("fsck").expect(0);
}
