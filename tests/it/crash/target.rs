//! Deploy, switch, prune and rollback of a directory target with real mounts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use layerset::deploy::{
    BadPolicy, Decisions, DeployError, DeployMode, DeployOptions, HistoryAction, KindChoice,
    StageOptions, Target, deploy,
};
use layerset::durable::Disk;
use layerset::id::ImageId;
use layerset::path::RelPath;
use layerset::store::{FsckOptions, Repository, RepositoryOptions};

use super::disk::{Fault, FaultyDisk};
use super::repository::is_sync;
use crate::deploy::{World, base, note, with};
use crate::support::is_root;

/// A target whose generation 1 holds version 1, and the image of version 2.
struct Scene {
    world: World,
    second: ImageId,
}

impl Scene {
    fn new(generations: u64) -> Self {
        let world = World::on(|dir| Arc::new(FaultyDisk::new(dir, None)));
        let first = world.image("1", &base());
        let spec = with(
            base(),
            &[
                ("usr/app", "f version 2\n"),
                ("var/new", "d"),
                ("etc/added", "f y\n"),
            ],
        );
        let second = world.image("2", &spec);
        let scene = Self { world, second };
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(scene.world.dir.path(), None));
        scene.deploy(&disk, &first).unwrap();
        if generations == 2 {
            scene.deploy(&disk, &second).unwrap();
        }
        scene
    }

    fn target(&self, disk: &Arc<dyn Disk>) -> Result<Target, DeployError> {
        self.world.target_on(Arc::clone(disk))
    }

    fn deploy(&self, disk: &Arc<dyn Disk>, image: &ImageId) -> Result<(), DeployError> {
        let location = self.world.location(Arc::clone(disk));
        let root = self.world.repository.root();
        let repository = Repository::open(root, Arc::clone(disk), RepositoryOptions::default())?;
        let options = DeployOptions {
            action: HistoryAction::Deploy,
            stage: StageOptions::default(),
            mode: DeployMode::Switch,
            pace: layerset::deploy::SwitchPace::NextStart,
            keep: Some(2),
            note: note(),
            release: None,
            again: false,
            cancel: &AtomicBool::new(false),
            doing: &|_| {},
        };
        deploy(&location, &repository, image, &options).map(drop)
    }

    fn rollback(&self, disk: &Arc<dyn Disk>) -> Result<(), DeployError> {
        let target = self.target(disk)?;
        target.change("test")?.rollback(Some(1), &note()).map(drop)
    }

    fn assert_clean_repository(&self, context: &str) {
        let options = FsckOptions {
            threads: 1,
            progress: &|_, _| {},
        };
        assert_eq!(
            self.world.repository.fsck(options).unwrap().damaged,
            [],
            "{context}"
        );
    }

    /// What runs is exactly version 1 or exactly version 2, and everything around it is in order.
    fn assert_whole(&self, context: &str) -> String {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(self.world.dir.path(), None));
        let target = self
            .target(&disk)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let change = target
            .change("test")
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        change
            .activate()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        drop(change);
        let status = target.status().unwrap();
        for deployment in &status.deployments {
            assert_eq!(
                deployment.damaged, None,
                "{context}: generation {}",
                deployment.generation
            );
        }
        let history = target.history().unwrap();
        assert_eq!(history.broken, None, "{context}");
        assert_eq!(
            history.records.last().and_then(|record| record.to),
            status.current,
            "{context}"
        );
        let app = self.world.read("current/root/usr/app");
        let added = self.world.at("current/root/etc/added").exists();
        let new_state = self.world.at("current/root/var/new").exists();
        match app.as_str() {
            "version 1\n" => assert!(!added, "{context}"),
            "version 2\n" => assert!(added && new_state, "{context}"),
            other => panic!("{context}: {other:?}"),
        }
        let generations: Vec<String> = target
            .generations()
            .unwrap()
            .iter()
            .map(u64::to_string)
            .collect();
        assert_eq!(self.world.names("deployments"), generations, "{context}");
        self.assert_clean_repository(context);
        app
    }

    fn assert_no_strays(&self, context: &str) {
        let repository = &self.world.repository;
        repository.apply_gc(&repository.plan_gc().unwrap()).unwrap();
        assert_eq!(repository.plan_gc().unwrap().files, [], "{context}");
        self.assert_clean_repository(context);
        let tmp = repository.root().join("tmp");
        assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0, "{context}");
        let mut refs = self.world.deployment_refs();
        refs.sort();
        assert_eq!(refs, self.world.names("deployments"), "{context}");
        let names = self.world.names(".");
        assert!(
            names.iter().all(|name| !name.starts_with('.')),
            "{context}: {names:?}"
        );
    }
}

type Work = fn(&Scene, &Arc<dyn Disk>) -> Result<(), DeployError>;

fn enumerate(name: &str, generations: u64, work: Work, expect: &str) {
    let count = {
        let scene = Scene::new(generations);
        let disk = Arc::new(FaultyDisk::new(scene.world.dir.path(), None));
        work(&scene, &(disk.clone() as Arc<dyn Disk>)).unwrap();
        disk.calls()
    };
    assert!(count > 3, "{name} makes only {count} calls");
    let mut old_states = 0;
    for fault in Fault::ALL {
        for at in 0..count {
            let scene = Scene::new(generations);
            let before = scene.world.read("current/root/usr/app");
            let dir: &Path = scene.world.dir.path();
            let disk = Arc::new(FaultyDisk::new(dir, Some((at, fault))));
            let result = work(&scene, &(disk.clone() as Arc<dyn Disk>));
            assert!(disk.struck(), "{name}: call {at} was not reached");
            if matches!(fault, Fault::LosePower | Fault::LoseData) {
                scene.world.unmount();
                disk.power_cut();
            }
            let context = format!("{name}, {fault:?} at call {at}: {}", disk.log()[at]);
            let now = scene.assert_whole(&context);
            assert!(
                result.is_err() || now == expect,
                "{context}: it said that it had succeeded"
            );
            old_states += usize::from(now == before);
            let again: Arc<dyn Disk> = Arc::new(FaultyDisk::new(dir, None));
            work(&scene, &again).unwrap_or_else(|error| panic!("{context}: and then {error}"));
            assert_eq!(scene.assert_whole(&context), expect, "{context}");
            scene.assert_no_strays(&context);
        }
    }
    assert!(old_states > 0, "{name} never left the old state");
}

#[test]
fn every_call_of_a_deploy_may_stop_fail_or_lose_data() {
    if is_root("every_call_of_a_deploy_may_stop_fail_or_lose_data") {
        enumerate(
            "deploy",
            1,
            |scene, disk| scene.deploy(disk, &scene.second),
            "version 2\n",
        );
    }
}

#[test]
fn every_call_of_a_rollback_may_stop_fail_or_lose_data() {
    if is_root("every_call_of_a_rollback_may_stop_fail_or_lose_data") {
        enumerate("rollback", 2, Scene::rollback, "version 1\n");
    }
}

const PAGE: &str = "state/var/site/page";

/// A target whose generation 1 has a page and a directory of `/var` that the machine changed, and an
/// image that has others.
///
/// It lies in memory where that is possible: the disk of the tests is what may lose data here, and a
/// real one would take minutes for syncs.
fn taking() -> (World, ImageId) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let world = World::below(dir.unwrap(), |dir| Arc::new(FaultyDisk::new(dir, None)));
    let image = |version: &str| {
        let page = format!("f page {version}");
        let spec = with(
            base(),
            &[
                ("var/site", "d"),
                ("usr/share", "d"),
                ("usr/share/factory", "d"),
                ("usr/share/factory/var", "d"),
                ("usr/share/factory/var/site", "d"),
                ("usr/share/factory/var/site/page", &page),
                ("usr/share/factory/var/www", "www:d"),
                ("usr/share/factory/var/www/a", &page),
            ],
        );
        world.image(version, &spec)
    };
    let (first, second) = (image("1"), image("2"));
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(world.dir.path(), None));
    take(&world, &disk, &first, &[]).unwrap();
    // What the machine wrote was safe long ago: the disk takes what is older than its last sync so.
    for (path, text) in [(PAGE, "mine"), ("state/var/www/own", "mine too")] {
        std::fs::write(world.at(path), text).unwrap();
    }
    (world, second)
}

fn take(
    world: &World,
    disk: &Arc<dyn Disk>,
    image: &ImageId,
    paths: &[&str],
) -> Result<(), DeployError> {
    let location = world.location(Arc::clone(disk));
    let root = world.repository.root();
    let repository = Repository::open(root, Arc::clone(disk), RepositoryOptions::default())?;
    let paths = paths.iter().map(|path| RelPath::from_text(path).unwrap());
    let decisions = Decisions {
        take: paths.collect(),
        ..Decisions::default()
    };
    let options = DeployOptions {
        action: HistoryAction::Deploy,
        stage: StageOptions {
            decisions,
            // Copies: a mount for each of a thousand scenes takes minutes, and `enumerate` has them.
            kind: KindChoice::Copy,
        },
        mode: DeployMode::Switch,
        pace: layerset::deploy::SwitchPace::NextStart,
        keep: Some(9),
        note: note(),
        release: None,
        again: false,
        cancel: &AtomicBool::new(false),
        doing: &|_| {},
    };
    deploy(&location, &repository, image, &options).map(drop)
}

/// What the machine wrote is in its place, or aside in a deployment.
fn assert_nothing_lost(world: &World, context: &str) {
    for (path, text) in [("site/page", "mine"), ("www/own", "mine too")] {
        let sides = [
            "state/var",
            "deployments/2/var-taken",
            "deployments/3/var-taken",
        ];
        let found = sides.iter().any(|side| {
            let side = world.at(&format!("{side}/{path}"));
            std::fs::read_to_string(side).is_ok_and(|found| found == text)
        });
        assert!(found, "{context}: {path} is lost");
    }
    assert!(
        world.at(PAGE).exists() && world.at("state/var/www").exists(),
        "{context}"
    );
}

#[test]
fn every_call_of_taking_from_the_image_and_of_giving_back_may_stop_fail_or_lose_data() {
    if !is_root("every call of taking from the image and of giving back may stop") {
        return;
    }
    let back = |world: &World, disk: &Arc<dyn Disk>| {
        let target = world.target_on(Arc::clone(disk))?;
        target.change("test")?.rollback(Some(1), &note()).map(drop)
    };
    let all = ["var/site", "var/www"];
    for is_back in [false, true] {
        let scene = || {
            let (world, second) = taking();
            let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(world.dir.path(), None));
            if is_back {
                take(&world, &disk, &second, &all).unwrap();
            }
            (world, second)
        };
        let work = |world: &World, second: &ImageId, disk: &Arc<dyn Disk>| match is_back {
            true => back(world, disk),
            false => take(world, disk, second, &all),
        };
        let (first, count) = {
            let (world, second) = scene();
            let disk = Arc::new(FaultyDisk::new(world.dir.path(), None));
            work(&world, &second, &(disk.clone() as Arc<dyn Disk>)).unwrap();
            let log = disk.log();
            assert!(log.iter().any(|call| call.starts_with("exchange")));
            // Until then it is a deploy or a rollback as `enumerate` has them.
            let first = log.iter().position(|call| call.contains("var-taken"));
            (first.unwrap(), disk.calls())
        };
        for fault in Fault::ALL {
            for at in first..count {
                let (world, second) = scene();
                let dir = world.dir.path();
                let disk = Arc::new(FaultyDisk::new(dir, Some((at, fault))));
                let _ = work(&world, &second, &(disk.clone() as Arc<dyn Disk>));
                if matches!(fault, Fault::LosePower | Fault::LoseData) {
                    world.unmount();
                    disk.power_cut();
                }
                let context = format!("{is_back}, {fault:?} at call {at}: {}", disk.log()[at]);
                assert_nothing_lost(&world, &context);
                let again: Arc<dyn Disk> = Arc::new(FaultyDisk::new(dir, None));
                work(&world, &second, &again).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_nothing_lost(&world, &context);
                let (page, has_own) = (world.read(PAGE), world.at("state/var/www/own").exists());
                let expected = if is_back { "mine" } else { "page 2" };
                assert_eq!((page.as_str(), has_own), (expected, is_back), "{context}");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_a_target_takes_nothing_until_it_is_opened_again() {
    if !is_root("a failed sync of a target") {
        return;
    }
    let switch = |target: &Target, generation| {
        let change = target.change("test")?;
        change.switch(generation, HistoryAction::Deploy, BadPolicy::Allow, &note())
    };
    let calls = {
        let scene = Scene::new(2);
        let disk = Arc::new(FaultyDisk::new(scene.world.dir.path(), None));
        let target = scene.target(&(disk.clone() as Arc<dyn Disk>)).unwrap();
        switch(&target, 1).unwrap();
        disk.log()
    };
    let syncs: Vec<usize> = (0..calls.len()).filter(|at| is_sync(&calls[*at])).collect();
    assert!(syncs.len() >= 2, "{calls:?}");
    for at in syncs {
        let context = format!("call {at}: {}", calls[at]);
        let scene = Scene::new(2);
        let dir = scene.world.dir.path();
        let disk = Arc::new(FaultyDisk::new(dir, Some((at, Fault::Fail))));
        let target = scene.target(&(disk.clone() as Arc<dyn Disk>)).unwrap();
        switch(&target, 1).unwrap_err();
        let after = (target.current().unwrap(), disk.calls());
        let refused = switch(&target, 1).unwrap_err().to_string();
        assert!(
            refused.contains("start the command again"),
            "{context}: {refused}"
        );
        assert_eq!(
            (target.current().unwrap(), disk.calls()),
            after,
            "{context}"
        );

        let disk: Arc<dyn Disk> = disk;
        switch(&scene.target(&disk).unwrap(), 1).unwrap();
        assert_eq!(scene.assert_whole(&context), "version 1\n");
    }
}
