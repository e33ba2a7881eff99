//! Deploying, switching, rolling back, activating and pruning.

use super::*;

#[test]
fn a_first_deployment_serves_the_image_with_its_own_etc_and_the_shared_var() {
    if !is_root("a_first_deployment_serves_the_image_with_its_own_etc_and_the_shared_var") {
        return;
    }
    let world = World::new();
    assert_eq!(world.deploy(&world.image("1", &base())), 1);
    assert_eq!(world.read("current/root/usr/app"), "version 1\n");
    assert_eq!(
        fs::read_link(world.at("current")).unwrap(),
        Path::new("deployments/1")
    );
    fs::write(world.at("current/root/etc/new"), "x").unwrap();
    fs::write(world.at("current/root/var/log/messages"), "x").unwrap();
    assert_eq!(world.read("deployments/1/etc/new"), "x");
    assert_eq!(world.read("state/var/log/messages"), "x");
    assert_eq!(
        fs::metadata(world.at("state/var/www")).unwrap().uid(),
        33,
        "owners go by the image's passwd"
    );
    let error = fs::write(world.at("current/root/usr/app"), "x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let status = world.target().status().unwrap();
    let only = &status.deployments[0];
    assert_eq!((status.current, status.previous), (Some(1), None));
    assert_eq!(
        (only.kind, only.join),
        (Some(DeploymentKind::Composefs), Some(JoinMethod::Bind))
    );
    assert!(only.mounted && only.state == DeploymentState::Current);
    assert_eq!(only.layers[0].version, "1");
    let records = world.target().history().unwrap().records;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].from, records[0].to), (None, Some(1)));
    assert_eq!(records[0].layers[0].to.as_deref(), Some("1"));
}

/// Whether programs of a deployment's root start with the privileges of their setuid bits.
fn honours_setuid(world: &World, generation: u64) -> bool {
    use rustix::fs::StatVfsMountFlags;
    let root = world.at(&format!("deployments/{generation}/root"));
    let flags = rustix::fs::statvfs(&root).unwrap().f_flag;
    assert!(flags.contains(StatVfsMountFlags::RDONLY));
    !flags.contains(StatVfsMountFlags::NOSUID)
}

/// An old release has the faults that the new one mends, setuid programs with holes among them.
#[test]
fn only_the_current_deployment_has_setuid_programs_that_work() {
    if !is_root("only_the_current_deployment_has_setuid_programs_that_work") {
        return;
    }
    let world = World::new();
    let working = || [1, 2].map(|generation| honours_setuid(&world, generation));
    world.deploy(&world.image("1", &base()));
    assert!(honours_setuid(&world, 1));
    world.deploy(&world.image("2", &with(base(), &[("usr/app", "f version 2\n")])));
    assert_eq!(working(), [false, true]);
    assert_eq!(world.rollback(None).unwrap(), 1);
    assert_eq!(working(), [true, false]);
    world.rollback(Some(2)).unwrap();
    world.unmount();
    world.target().change("test").unwrap().activate().unwrap();
    assert_eq!(working(), [false, true]);
}

#[test]
fn status_needs_no_repository() {
    if !is_root("status_needs_no_repository") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::rename(world.repository.root(), world.dir.path().join("away")).unwrap();
    let target = Target::open(&world.root(), Arc::new(RealDisk), Arc::new(Noon)).unwrap();
    let status = target.status().unwrap();
    assert_eq!(status.deployments[0].name.as_deref(), Some("web"));
    fs::rename(world.dir.path().join("away"), world.repository.root()).unwrap();
}

#[test]
fn a_rollback_brings_back_the_old_etc_and_keeps_what_is_staged() {
    if !is_root("a_rollback_brings_back_the_old_etc_and_keeps_what_is_staged") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::write(world.at("current/etc/hand"), "one").unwrap();
    world.deploy(&world.image("2", &with(base(), &[("usr/app", "f version 2\n")])));
    fs::write(world.at("current/etc/hand"), "two").unwrap();
    let third = world.image("3", &with(base(), &[("usr/app", "f version 3\n")]));
    world.stage(&third, &StageOptions::default()).unwrap();
    assert_eq!(world.rollback(None).unwrap(), 1);
    assert_eq!(world.read("current/root/etc/hand"), "one");
    assert_eq!(world.read("current/root/usr/app"), "version 1\n");
    let status = world.target().status().unwrap();
    let states: Vec<DeploymentState> = status.deployments.iter().map(|d| d.state).collect();
    use DeploymentState::{Current, Kept, Staged};
    assert_eq!(states, [Current, Kept, Staged]);
    let error = world.switch(3).unwrap_err();
    assert!(
        matches!(
            error,
            DeployError::EtcElsewhere {
                generation: 3,
                from: 2
            }
        ),
        "{error}"
    );
    // What was rolled back from is not chosen by itself, but by its number.
    assert!(matches!(world.rollback(None), Err(DeployError::NoPrevious)));
    assert_eq!(world.rollback(Some(2)).unwrap(), 2);
    assert_eq!(world.read("current/root/etc/hand"), "two");
    // Staged from the /etc of deployment 2: good again now that this one is current and unedited since.
    world.switch(3).unwrap();
    assert_eq!(world.read("current/root/etc/hand"), "two");
}

#[test]
fn pruning_spares_what_is_needed_and_lets_go_of_the_images() {
    if !is_root("pruning_spares_what_is_needed_and_lets_go_of_the_images") {
        return;
    }
    let world = World::new();
    for version in ["1", "2", "3", "4", "5"] {
        let app = format!("f version {version}\n");
        world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
    }
    let image = world.image("6", &with(base(), &[("usr/app", "f version 6\n")]));
    world.stage(&image, &StageOptions::default()).unwrap();
    fs::write(world.at("state/var/log/messages"), "kept").unwrap();
    let target = world.target();
    {
        let change = target.change("test prune").unwrap();
        change.pin(2, &note()).unwrap();
        let plan = target.plan_prune(1).unwrap();
        assert_eq!(plan.remove, [1, 3]);
        assert_eq!(target.plan_prune(5).unwrap().remove, [1]);
        change.prune(&world.repository, &plan, &note()).unwrap();
    }
    assert_eq!(world.names("deployments"), ["2", "4", "5", "6"]);
    assert_eq!(world.deployment_refs(), ["2", "4", "5", "6"]);
    assert_eq!(world.read("state/var/log/messages"), "kept");
    assert_eq!(world.read("current/root/usr/app"), "version 5\n");
    // A prune that died after its rename is finished, and its number is never given again.
    fs::rename(world.at("deployments/6"), world.at("deployments/.old-6")).unwrap();
    assert_eq!(world.stage(&image, &StageOptions::default()).unwrap(), 6);
    world.switch(6).unwrap();
    assert_eq!(world.names("deployments"), ["2", "4", "5", "6"]);
}

#[test]
fn activation_after_a_reboot_mounts_what_is_needed_and_checks_its_metadata() {
    if !is_root("activation_after_a_reboot_mounts_what_is_needed_and_checks_its_metadata") {
        return;
    }
    let world = World::new();
    for version in ["1", "2", "3", "4"] {
        let app = format!("f version {version}\n");
        world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
    }
    let target = world.target();
    {
        let change = target.change("test").unwrap();
        change.pin(1, &note()).unwrap();
        assert_eq!(change.deactivate().unwrap(), 12);
        assert!(!world.at("current/root/usr").exists());
        let done = change.activate().unwrap();
        assert_eq!((done.mounted, done.failed), (vec![4, 1, 3], vec![]));
        assert_eq!(change.activate().unwrap().already, [4, 1, 3]);
    }
    let mounted: Vec<bool> = target
        .status()
        .unwrap()
        .deployments
        .iter()
        .map(|d| d.mounted)
        .collect();
    assert_eq!(mounted, [true, false, true, true]);
    assert_eq!(world.read("current/root/usr/app"), "version 4\n");
    // Mounts are made again by a rollback, too; but not of metadata that something wrote to.
    assert_eq!(world.rollback(Some(2)).unwrap(), 2);
    let change = target.change("test").unwrap();
    change.deactivate().unwrap();
    let meta = world.at("deployments/3/meta.erofs");
    let mut bytes = fs::read(&meta).unwrap();
    fs::remove_file(&meta).unwrap();
    bytes[2000] ^= 1;
    fs::write(&meta, bytes).unwrap();
    let error = change.rollback(Some(3), &note()).unwrap_err();
    assert!(
        matches!(error, DeployError::Metadata { generation: 3, .. }),
        "{error}"
    );
    assert_eq!(target.current().unwrap(), Some(2));
}

#[test]
fn a_bad_deployment_is_only_chosen_by_its_number() {
    if !is_root("a_bad_deployment_is_only_chosen_by_its_number") {
        return;
    }
    let world = World::new();
    for version in ["1", "2", "3"] {
        let app = format!("f version {version}\n");
        world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
    }
    let target = world.target();
    let change = target.change("test").unwrap();
    change.mark_bad(2, &note()).unwrap();
    assert_eq!(target.previous().unwrap(), Some(1));
    let switch = |bad| change.switch(2, HistoryAction::Update, bad, &note());
    let error = switch(BadPolicy::Refuse).unwrap_err();
    assert!(
        matches!(error, DeployError::Bad { generation: 2, .. }),
        "{error}"
    );
    assert_eq!(switch(BadPolicy::Allow).unwrap().to, 2);
    assert_eq!(
        target.status().unwrap().deployments[1].bad.as_deref(),
        Some("test")
    );
    assert!(change.mark_good(2, &note()).unwrap());
    assert_eq!(target.status().unwrap().deployments[1].bad, None);
}

#[test]
fn a_bad_image_is_remembered_after_its_deployment_is_gone() {
    if !is_root("a_bad_image_is_remembered_after_its_deployment_is_gone") {
        return;
    }
    let world = World::new();
    let mut images = Vec::new();
    for version in ["1", "2", "3", "4"] {
        let app = format!("f version {version}\n");
        let image = world.image(version, &with(base(), &[("usr/app", &app)]));
        world.deploy(&image);
        images.push(image);
    }
    let target = world.target();
    let change = target.change("test").unwrap();
    change.mark_bad(2, &note()).unwrap();
    let plan = target.plan_prune(2).unwrap();
    assert!(plan.remove.contains(&2), "{plan:?}");
    change.prune(&world.repository, &plan, &note()).unwrap();
    assert_eq!(target.bad_image(&images[1]).as_deref(), Some("test"));
    assert_eq!(target.bad_image(&images[2]), None);
    change.mark_bad(4, &note()).unwrap();
    assert!(change.mark_good(4, &note()).unwrap());
    assert_eq!(target.bad_image(&images[3]), None);
}
