//! A machine's own disk: its deployments, and an ESP with both boot loaders, which the test plays.
//!
//! The ESP is a directory here. What FAT does to a name that is being renamed when power fails, only an emulated machine
//! shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use layerset::boot::entry::{ENTRIES, Entry};
use layerset::boot::grub;
use layerset::deploy::{
    BootVerdict, DeployError, DeployMode, DeployOptions, HistoryAction, Machine, StageOptions,
    Target, TargetLocation, deploy,
};
use layerset::durable::Disk;
use layerset::id::ImageId;
use layerset::store::{Repository, RepositoryOptions};

use super::disk::{Fault, FaultyDisk};
use crate::deploy::{Spec, World, base, note, with};
use crate::support::is_root;

/// A machine that runs generation 1, with version 1 and the images of versions 2 and 3; on BIOS or UEFI.
struct Scene {
    world: World,
    images: [ImageId; 3],
    by_uefi: bool,
}

/// What an image needs so that a machine can start and update itself.
fn bootable<'a>(spec: Spec<'a>, kernel: &'a str) -> Spec<'a> {
    let dep = "f kernel/fs/erofs.ko:\nkernel/fs/overlay.ko:\nkernel/fs/ext4.ko:\n";
    with(
        spec,
        &[
            ("boot", "d"),
            ("boot/vmlinuz-6.1", kernel),
            ("boot/initrd.img-6.1", "f initrd"),
            ("sbin", "d"),
            ("sbin/init", "f init"),
            ("usr/bin", "d"),
            ("usr/bin/layerset", "f layerset"),
            ("usr/lib", "d"),
            ("usr/lib/modules", "d"),
            ("usr/lib/modules/6.1", "d"),
            ("usr/lib/modules/6.1/modules.dep", "f "),
            ("usr/lib/modules/6.1/modules.builtin", &dep.replace(":", "")),
        ],
    )
}

impl Scene {
    fn new(by_uefi: bool) -> Self {
        let world = World::on(|dir| Arc::new(FaultyDisk::new(dir, None)));
        let spec = |app: &'static str| with(base(), &[("usr/app", app)]);
        let images = [
            world.image("1", &bootable(spec("f version 1\n"), "f kernel 1")),
            world.image("2", &bootable(spec("f version 2\n"), "f kernel 2")),
            world.image("3", &bootable(spec("f version 3\n"), "f kernel 2")),
        ];
        let scene = Self {
            world,
            images,
            by_uefi,
        };
        let esp = scene.esp();
        for dir in [ENTRIES, grub::ENTRIES, "layerset/old"] {
            fs::create_dir_all(esp.join(dir)).unwrap();
        }
        let entry = Entry {
            title: "web",
            deployment: 1,
            version: 1,
            kernel_directory: "layerset/old",
            options: "boot=layerset layerset.deployment=1 ro",
        };
        let environment = grub::Environment {
            good: 1,
            ..grub::Environment::default()
        };
        let put = |path: String, bytes: &[u8]| fs::write(esp.join(path), bytes).unwrap();
        put(
            format!("{ENTRIES}/layerset-1.conf"),
            entry.text().unwrap().as_bytes(),
        );
        put(
            format!("{}/layerset-1.cfg", grub::ENTRIES),
            entry.text_of_grub().unwrap().as_bytes(),
        );
        put(
            grub::ENVIRONMENT.to_owned(),
            &environment.to_bytes().unwrap(),
        );
        for (name, text) in [
            ("linux", "kernel 1"),
            ("initrd", "initrd"),
            ("boot.cpio", "x"),
        ] {
            put(format!("layerset/old/{name}"), text.as_bytes());
        }
        // As an export leaves it.
        let location = TargetLocation {
            machine: None,
            ..scene.location(&scene.quiet(), 1)
        };
        let repository = scene.repository(&scene.quiet());
        let options = options(DeployMode::Switch);
        deploy(&location, &repository, &scene.images[0], &options).unwrap();
        scene.world.unmount();
        scene
    }

    fn esp(&self) -> PathBuf {
        self.world.dir.path().join("esp")
    }

    fn quiet(&self) -> Arc<dyn Disk> {
        Arc::new(FaultyDisk::new(self.world.dir.path(), None))
    }

    fn repository(&self, disk: &Arc<dyn Disk>) -> Repository {
        let root = self.world.repository.root();
        Repository::open(root, Arc::clone(disk), RepositoryOptions::default()).unwrap()
    }

    fn location(&self, disk: &Arc<dyn Disk>, running: u64) -> TargetLocation {
        let machine = Machine::with_esp(running, &self.esp(), self.by_uefi);
        TargetLocation {
            machine: Some(Arc::new(machine)),
            ..self.world.location(Arc::clone(disk))
        }
    }

    fn target(&self, disk: &Arc<dyn Disk>, running: u64) -> Target {
        self.location(disk, running).open().unwrap()
    }

    fn deploy(
        &self,
        disk: &Arc<dyn Disk>,
        running: u64,
        version: usize,
    ) -> Result<(), DeployError> {
        let location = self.location(disk, running);
        let image = &self.images[version - 1];
        let options = options(DeployMode::Switch);
        deploy(&location, &self.repository(disk), image, &options).map(drop)
    }

    /// Starts the machine as its loader would, and returns the deployment that runs. Its files have to be there.
    fn start(&self, context: &str) -> u64 {
        let (running, directory) = match self.by_uefi {
            true => start_uefi(&self.esp(), context),
            false => start_bios(&self.esp(), context),
        };
        let dir = self.world.at(&format!("deployments/{running}"));
        for file in ["deployment.json", "image.json", "meta.erofs", "etc/passwd"] {
            assert!(
                dir.join(file).exists(),
                "{context}: {running} has no {file}"
            );
        }
        let read =
            |name: &str| fs::read(self.esp().join(&directory).join(name)).unwrap_or_default();
        let wanted: &[u8] = match self.version_of(running) {
            1 => b"kernel 1",
            _ => b"kernel 2",
        };
        assert_eq!(read("linux"), wanted, "{context}: the kernel of {running}");
        assert!(read("initrd").starts_with(b"initrd"), "{context}");
        assert!(!read("boot.cpio").is_empty(), "{context}");
        running
    }

    fn version_of(&self, generation: u64) -> usize {
        let target = self.world.target_on(self.quiet()).unwrap();
        let image = target.image_id_of(generation).unwrap();
        self.images
            .iter()
            .position(|found| *found == image)
            .unwrap()
            + 1
    }

    /// What the unit of the machine does after a start.
    fn settle(
        &self,
        disk: &Arc<dyn Disk>,
        running: u64,
        problem: Option<&str>,
    ) -> Result<BootVerdict, DeployError> {
        let target = self.location(disk, running).open()?;
        let change = target.change("test")?;
        Ok(change.settle_boot(problem, &[])?.verdict)
    }

    /// Everything agrees about what runs, and nothing is left over.
    fn assert_whole(&self, running: u64, context: &str) {
        let target = self.target(&self.quiet(), running);
        drop(
            target
                .change("test")
                .unwrap_or_else(|error| panic!("{context}: {error}")),
        );
        let status = target.status().unwrap();
        assert_eq!(status.current, Some(running), "{context}");
        let pointer = fs::read_link(self.world.at("current")).unwrap();
        assert_eq!(
            pointer,
            Path::new(&format!("deployments/{running}")),
            "{context}"
        );
        let history = target.history().unwrap();
        assert_eq!(history.broken, None, "{context}");
        let last = history
            .records
            .iter()
            .rev()
            .find(|record| record.action.is_switch());
        assert_eq!(
            last.and_then(|record| record.to),
            Some(running),
            "{context}"
        );
        for deployment in &status.deployments {
            assert_eq!(deployment.damaged, None, "{context}");
        }
    }

    /// Entries, kernels and deployments belong together, and the loaders agree about what starts next.
    fn assert_no_strays(&self, running: u64, context: &str) {
        let esp = self.esp();
        let target = self.target(&self.quiet(), running);
        let generations: Vec<String> = target
            .generations()
            .unwrap()
            .iter()
            .map(u64::to_string)
            .collect();
        for (dir, end) in [(ENTRIES, ".conf"), (grub::ENTRIES, ".cfg")] {
            let mut found: Vec<String> = names(&esp.join(dir))
                .iter()
                .map(|name| {
                    let name = name
                        .strip_prefix("layerset-")
                        .and_then(|name| name.strip_suffix(end));
                    let name =
                        name.unwrap_or_else(|| panic!("{context}: {:?}", names(&esp.join(dir))));
                    name.split('+').next().unwrap().to_owned()
                })
                .collect();
            found.sort();
            assert_eq!(found, generations, "{context}");
        }
        let mut kernels: Vec<String> = names(&esp.join("layerset"));
        kernels.retain(|name| esp.join("layerset").join(name).is_dir() && name != "grub");
        let texts = names(&esp.join(ENTRIES)).into_iter();
        let mut used: Vec<String> = texts
            .map(|name| {
                let text = fs::read_to_string(esp.join(ENTRIES).join(name)).unwrap();
                let line = text
                    .lines()
                    .find(|line| line.starts_with("linux "))
                    .unwrap();
                line.split('/').nth(2).unwrap().to_owned()
            })
            .collect();
        used.sort();
        used.dedup();
        assert_eq!(kernels, used, "{context}");
        let next = |by_uefi| {
            let machine = Machine::with_esp(running, &esp, by_uefi);
            machine.next().unwrap().deployment
        };
        assert_eq!(next(true), next(false), "{context}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// systemd-boot: among entries with tries left or without a counter, the highest version; it counts by renaming.
fn start_uefi(esp: &Path, context: &str) -> (u64, String) {
    let dir = esp.join(ENTRIES);
    let mut entries = Vec::new();
    for name in names(&dir) {
        let Some(stem) = name
            .strip_suffix(".conf")
            .filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        let text = fs::read_to_string(dir.join(&name)).unwrap();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("{context}: {name} has no {key}"))
                .trim()
                .to_owned()
        };
        let (id, counter) = stem
            .split_once('+')
            .map_or((stem, None), |(id, counter)| (id, Some(counter)));
        let counts = counter.map(|counter| {
            let (left, used) = counter.split_once('-').unwrap_or((counter, "0"));
            (left.parse::<u8>().unwrap(), used.parse::<u8>().unwrap())
        });
        let version: u64 = value("version ").parse().unwrap();
        let is_alive = counts.is_none_or(|(left, _)| left > 0);
        let directory = value("linux /");
        let directory = directory.strip_suffix("/linux").unwrap().to_owned();
        entries.push((
            (is_alive, version),
            name.clone(),
            id.to_owned(),
            counts,
            directory,
        ));
    }
    entries.sort();
    let (_, name, id, counts, directory) = entries
        .pop()
        .unwrap_or_else(|| panic!("{context}: no entry"));
    if let Some((left, used)) = counts.filter(|(left, _)| *left > 0) {
        let to = format!("{id}+{}-{}.conf", left - 1, used + 1);
        fs::rename(dir.join(name), dir.join(to)).unwrap();
    }
    (
        id.strip_prefix("layerset-").unwrap().parse().unwrap(),
        directory,
    )
}

/// GRUB with the menu of the disk: what is tried while it has tries, else what is good; it counts in its environment.
fn start_bios(esp: &Path, context: &str) -> (u64, String) {
    let path = esp.join(grub::ENVIRONMENT);
    let found = grub::Environment::from_bytes(&fs::read(&path).unwrap());
    let mut environment = found.unwrap_or_else(|error| panic!("{context}: {error}"));
    let trying = environment.trying.filter(|_| environment.tries > 0);
    if trying.is_some() {
        environment.tries -= 1;
        fs::write(&path, environment.to_bytes().unwrap()).unwrap();
    }
    let number = trying.unwrap_or(environment.good);
    let path = esp
        .join(grub::ENTRIES)
        .join(format!("layerset-{number}.cfg"));
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{context}: {number}: {error}"));
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("linux /"))
        .unwrap();
    let directory = line.split("/linux ").next().unwrap().to_owned();
    (number, directory)
}

fn options(mode: DeployMode) -> DeployOptions<'static> {
    static CANCEL: AtomicBool = AtomicBool::new(false);
    DeployOptions {
        action: HistoryAction::Update,
        stage: StageOptions::default(),
        mode,
        pace: layerset::deploy::SwitchPace::NextStart,
        keep: Some(2),
        note: note(),
        release: None,
        again: false,
        cancel: &CANCEL,
        doing: &|_| {},
    }
}

type Work = fn(&Scene, &Arc<dyn Disk>, u64) -> Result<(), DeployError>;

/// What is done, from which deployments, and what runs after the next start once it is done.
struct Case {
    name: &'static str,
    /// Brings the machine to where the work starts, and returns what runs.
    prepare: fn(&Scene) -> u64,
    work: Work,
    /// The version that runs in the end.
    expect: usize,
}

/// Lets the machine start with what is next, and settles that as healthy.
fn go_on(scene: &Scene) -> u64 {
    let running = scene.start("preparing");
    scene.settle(&scene.quiet(), running, None).unwrap();
    running
}

const CASES: [Case; 8] = [
    Case {
        name: "update",
        prepare: |_| 1,
        work: |scene, disk, running| scene.deploy(disk, running, 2),
        expect: 2,
    },
    Case {
        name: "rollback",
        prepare: |scene| {
            scene.deploy(&scene.quiet(), 1, 2).unwrap();
            go_on(scene)
        },
        work: |scene, disk, running| match scene.version_of(running) {
            1 => Ok(()),
            _ => {
                let target = scene.location(disk, running).open()?;
                target.change("test")?.rollback(None, &note()).map(drop)
            }
        },
        expect: 1,
    },
    Case {
        name: "bless",
        prepare: |scene| {
            scene.deploy(&scene.quiet(), 1, 2).unwrap();
            scene.start("preparing")
        },
        work: |scene, disk, running| scene.settle(disk, running, None).map(drop),
        expect: 2,
    },
    Case {
        name: "give up",
        prepare: |scene| {
            scene.deploy(&scene.quiet(), 1, 2).unwrap();
            scene.start("preparing")
        },
        work: |scene, disk, running| match running {
            // It runs what was good already.
            1 => Ok(()),
            _ => scene.settle(disk, running, Some("it fails")).map(drop),
        },
        expect: 1,
    },
    Case {
        name: "update that prunes",
        prepare: |scene| {
            scene.deploy(&scene.quiet(), 1, 2).unwrap();
            let second = go_on(scene);
            scene.deploy(&scene.quiet(), second, 3).unwrap();
            go_on(scene)
        },
        work: |scene, disk, running| match scene.version_of(running) {
            1 => Ok(()),
            _ => scene.deploy(disk, running, 1),
        },
        expect: 1,
    },
    // The trees are exchanged in between, which leaves nothing on the disk.
    Case {
        name: "live switch",
        prepare: |_| 1,
        work: |scene, disk, running| {
            if scene.version_of(running) == 1 {
                scene.deploy(disk, running, 2)?;
            }
            scene.settle(disk, exchange(scene, 2), None).map(drop)
        },
        expect: 2,
    },
    Case {
        name: "live switch and back",
        prepare: |_| 1,
        work: |scene, disk, running| {
            match scene.deploy(disk, running, 2) {
                // It was so far before.
                Err(DeployError::BadImage { .. }) => {}
                other => other?,
            }
            let verdict = scene.settle(disk, exchange(scene, 2), Some("it fails"))?;
            assert_ne!(verdict, BootVerdict::Good);
            // The trees before are back.
            let target = scene.location(disk, 1).open()?;
            target.change("test").map(drop)
        },
        expect: 1,
    },
    Case {
        name: "edits before a restart",
        prepare: |scene| {
            scene.deploy(&scene.quiet(), 1, 2).unwrap();
            fs::write(scene.world.at("deployments/1/etc/late"), "late").unwrap();
            1
        },
        work: |scene, disk, running| {
            let target = scene.location(disk, running).open()?;
            let change = target.change("test")?;
            change.renew_next_etc(&scene.repository(disk)).map(drop)
        },
        expect: 2,
    },
];

/// What runs from the trees of a version's deployment, put beneath everything.
fn exchange(scene: &Scene, version: usize) -> u64 {
    let target = scene.world.target_on(scene.quiet()).unwrap();
    let found = target.find(&scene.images[version - 1]).unwrap();
    found.expect("it is staged")
}

fn enumerate(case: &Case, by_uefi: bool) -> usize {
    let count = {
        let scene = Scene::new(by_uefi);
        let running = (case.prepare)(&scene);
        let disk = Arc::new(FaultyDisk::new(scene.world.dir.path(), None));
        (case.work)(&scene, &(disk.clone() as Arc<dyn Disk>), running).unwrap();
        disk.calls()
    };
    assert!(count > 3, "{} makes only {count} calls", case.name);
    for fault in Fault::ALL {
        for at in 0..count {
            let scene = Scene::new(by_uefi);
            let running = (case.prepare)(&scene);
            let dir = scene.world.dir.path();
            let disk = Arc::new(FaultyDisk::new(dir, Some((at, fault))));
            let result = (case.work)(&scene, &(disk.clone() as Arc<dyn Disk>), running);
            assert!(disk.struck(), "{}: call {at} was not reached", case.name);
            let is_cut = matches!(fault, Fault::LosePower | Fault::LoseData);
            if is_cut {
                disk.power_cut();
            }
            let context = format!(
                "{}, UEFI {by_uefi}, {fault:?} at call {at}: {}",
                case.name,
                disk.log()[at]
            );
            // A power cut ends what ran; else the same command is tried again first.
            let running = if is_cut {
                scene.start(&context)
            } else {
                running
            };
            scene.assert_whole(running, &context);
            let again = (case.work)(&scene, &scene.quiet(), running);
            again
                .unwrap_or_else(|error| panic!("{context}: and then {error} (it said {result:?})"));
            let running = scene.start(&context);
            scene
                .settle(&scene.quiet(), running, None)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            scene.assert_whole(running, &context);
            assert_eq!(scene.version_of(running), case.expect, "{context}");
            scene.assert_no_strays(running, &context);
        }
    }
    count * Fault::ALL.len()
}

#[test]
fn every_call_of_a_machines_switch_may_stop_fail_or_lose_data_by_uefi() {
    if is_root("every_call_of_a_machines_switch_may_stop_fail_or_lose_data_by_uefi") {
        let cuts: usize = CASES.iter().map(|case| enumerate(case, true)).sum();
        assert!(cuts > 60, "{cuts}");
    }
}

#[test]
fn every_call_of_a_machines_switch_may_stop_fail_or_lose_data_by_bios() {
    if is_root("every_call_of_a_machines_switch_may_stop_fail_or_lose_data_by_bios") {
        let cuts: usize = CASES.iter().map(|case| enumerate(case, false)).sum();
        assert!(cuts > 60, "{cuts}");
    }
}

/// What does not come up is left after three starts, is marked bad, and is not taken again.
#[test]
fn what_never_comes_up_is_left_and_marked() {
    if !is_root("what_never_comes_up_is_left_and_marked") {
        return;
    }
    for by_uefi in [true, false] {
        let scene = Scene::new(by_uefi);
        scene.deploy(&scene.quiet(), 1, 2).unwrap();
        let starts: Vec<u64> = (0..4).map(|_| scene.start("a start")).collect();
        assert_eq!(starts, [2, 2, 2, 1]);
        assert_eq!(
            scene.settle(&scene.quiet(), 1, None).unwrap(),
            BootVerdict::Good
        );
        let target = scene.target(&scene.quiet(), 1);
        let bad = target.bad_image(&scene.images[1]);
        assert_eq!(bad.as_deref(), Some("it did not come up in 3 starts"));
        let error = scene.deploy(&scene.quiet(), 1, 2).unwrap_err();
        assert!(matches!(error, DeployError::BadImage { .. }), "{error}");
        scene.assert_whole(1, "after it");
        // Only a way back that names it tries it again.
        let change = target.change("test").unwrap();
        change.rollback(Some(2), &note()).unwrap();
        drop(change);
        assert_eq!(scene.start("asked for"), 2);
    }
}

/// Edits of `/etc` between staging and restart are in what starts next, once, and nothing else of it changes.
#[test]
fn what_is_edited_before_a_restart_is_merged_again() {
    if !is_root("what_is_edited_before_a_restart_is_merged_again") {
        return;
    }
    let scene = Scene::new(true);
    scene.deploy(&scene.quiet(), 1, 2).unwrap();
    let renew = || {
        let target = scene.target(&scene.quiet(), 1);
        let change = target.change("test").unwrap();
        let repository = scene.repository(&scene.quiet());
        change.renew_next_etc(&repository).unwrap()
    };
    assert_eq!(renew(), None);
    fs::write(scene.world.at("deployments/1/etc/late"), "late").unwrap();
    assert_eq!(renew(), Some(2));
    assert_eq!(renew(), None);
    let late = fs::read_to_string(scene.world.at("deployments/2/etc/late"));
    assert_eq!(late.unwrap(), "late");
    assert!(
        !names(&scene.world.at("deployments"))
            .iter()
            .any(|name| name.starts_with('.'))
    );
    let running = go_on(&scene);
    assert_eq!(running, 2);
    scene.assert_whole(2, "after it");
    // A way back keeps what it had.
    let target = scene.target(&scene.quiet(), 2);
    let change = target.change("test").unwrap();
    change.rollback(None, &note()).unwrap();
    fs::write(scene.world.at("deployments/2/etc/later"), "x").unwrap();
    let repository = scene.repository(&scene.quiet());
    assert_eq!(change.renew_next_etc(&repository).unwrap(), None);
    assert!(!scene.world.at("deployments/1/etc/later").exists());
}

#[test]
fn what_proved_itself_stays_when_it_is_unwell_later() {
    if !is_root("what_proved_itself_stays_when_it_is_unwell_later") {
        return;
    }
    let scene = Scene::new(true);
    scene.deploy(&scene.quiet(), 1, 2).unwrap();
    let running = go_on(&scene);
    let verdict = scene
        .settle(&scene.quiet(), running, Some("no page"))
        .unwrap();
    assert_eq!((running, verdict), (2, BootVerdict::Unwell));
    assert_eq!(scene.start("after it"), 2);
}
