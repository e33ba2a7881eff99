//! Deployments of one image: what is there is used again, and what is one too many goes first.

use std::sync::atomic::AtomicBool;

use layerset::deploy::{DeployMode, DeployOptions, DeployReport, deploy};

use super::*;

fn run(world: &World, image: &ImageId, mode: DeployMode) -> DeployReport {
    let options = DeployOptions {
        action: HistoryAction::Deploy,
        stage: StageOptions::default(),
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

fn reused(report: &DeployReport) -> (u64, bool) {
    match report {
        DeployReport::Deployed(deployed) => (deployed.generation, deployed.reused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_image_on_the_same_etc_uses_its_deployment_again() {
    if !is_root("the_same_image_on_the_same_etc_uses_its_deployment_again") {
        return;
    }
    let world = World::new();
    let one = world.image("1", &base());
    let two = world.image(
        "2",
        &with(
            base(),
            &[("etc/app.conf", "f one\ntwo\nthree\nfour\nsix\n")],
        ),
    );
    assert_eq!(reused(&run(&world, &one, DeployMode::Switch)), (1, false));
    assert_eq!(reused(&run(&world, &two, DeployMode::Switch)), (2, false));
    assert_eq!(reused(&run(&world, &one, DeployMode::Switch)), (1, true));
    assert_eq!(reused(&run(&world, &two, DeployMode::Switch)), (2, true));
    assert_eq!(world.names("deployments"), ["1", "2"]);
    // Another /etc is another deployment, and so is one whose /etc was edited since.
    fs::write(world.at("current/etc/hand"), "edited").unwrap();
    assert_eq!(reused(&run(&world, &one, DeployMode::Switch)), (3, false));
    assert_eq!(world.read("current/etc/hand"), "edited");
    // What is current is not staged, and what is staged already is not staged again.
    let unchanged = run(&world, &one, DeployMode::Stage);
    assert!(matches!(
        unchanged,
        DeployReport::Unchanged {
            generation: Some(3),
            ..
        }
    ));
    let three = world.image("3", &with(base(), &[("usr/app", "f version 3\n")]));
    assert_eq!(reused(&run(&world, &three, DeployMode::Stage)), (4, false));
    assert_eq!(reused(&run(&world, &three, DeployMode::Stage)), (4, true));
    fs::write(world.at("current/etc/hand"), "again").unwrap();
    assert_eq!(reused(&run(&world, &three, DeployMode::Switch)), (5, false));
    assert_eq!(world.read("current/etc/hand"), "again");
}

#[test]
fn pruning_takes_twins_first_and_never_the_last_good_image() {
    if !is_root("pruning_takes_twins_first_and_never_the_last_good_image") {
        return;
    }
    let world = World::new();
    let one = world.image("1", &base());
    let two = world.image("2", &with(base(), &[("usr/app", "f version 2\n")]));
    world.deploy(&one);
    for _ in 0..4 {
        world.deploy(&two);
    }
    // 1: one, 2 to 5: two; 5 is current, 4 is what a rollback takes.
    let target = world.target();
    assert_eq!(target.plan_prune(3).unwrap().remove, [2, 3]);
    assert_eq!(target.plan_prune(1).unwrap().remove, [2, 3]);
    // Once the newest is bad, so are its twins, and the rollback goes past them.
    let change = target.change("test").unwrap();
    change.mark_bad(5, &note()).unwrap();
    assert_eq!(target.previous().unwrap(), Some(1));
    let bad: Vec<bool> = target
        .status()
        .unwrap()
        .deployments
        .iter()
        .map(|found| found.bad.is_some())
        .collect();
    assert_eq!(bad, [false, true, true, true, true]);
    change.mark_good(2, &note()).unwrap();
    assert_eq!(target.bad_image(&two), None);
    assert!(
        target
            .status()
            .unwrap()
            .deployments
            .iter()
            .all(|found| found.bad.is_none())
    );
}
