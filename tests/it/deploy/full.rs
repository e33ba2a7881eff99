//! Full disks: real ext4 and XFS without a byte or an inode left. Every command that is a way back works.
//!
//! As root, `mkfs.xfs`, `mkfs.ext4` and loop devices must be there: `scripts/deps.sh` brings the programs.

use std::io::Write as _;

use layerset::deploy::Subscription;
use layerset::durable::RealDisk;
use rustix::fs::FallocateFlags;

use super::*;
use crate::session::Session;

/// A filesystem in a file, mounted until it is dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    Bytes,
    Inodes,
    Both,
}

impl SmallDisk {
    fn new(make: &[&str], bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, at) = (dir.path().join("disk"), dir.path().join("at"));
        File::create(&file).unwrap().set_len(bytes).unwrap();
        fs::create_dir(&at).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
        };
        let (file, at) = (file.to_str().unwrap(), at.to_str().unwrap());
        run(make[0], &[&make[1..], &[file]].concat());
        run("mount", &["-o", "loop", file, at]);
        Self { dir }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    /// Takes everything that is left, also what is reserved for root.
    fn fill(&self, what: Filling) {
        let ballast = self.at().join("ballast");
        fs::create_dir(&ballast).unwrap();
        let is_full = |result: io::Result<()>| match result {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                true
            }
        };
        let mut files = (0..).map(|number: u32| ballast.join(number.to_string()));
        let (big, small) = (files.next().unwrap(), files.next().unwrap());
        let big = File::create(big).unwrap();
        let mut small = File::create(small).unwrap();
        if what != Filling::Bytes {
            while !is_full(File::create(files.next().unwrap()).map(drop)) {}
        }
        if what != Filling::Inodes {
            let (mut step, mut len) = (64u64 << 20, 0);
            while step >= 1024 {
                match rustix::fs::fallocate(&big, FallocateFlags::empty(), len, step) {
                    Ok(()) => len += step,
                    Err(errno) => {
                        assert!(is_full(Err(errno.into())));
                        step /= 2;
                    }
                }
            }
            while !is_full(small.write_all(&[7; 1024]).and_then(|()| small.sync_all())) {}
            if what == Filling::Both {
                while !is_full(File::create(files.next().unwrap()).map(drop)) {}
            }
        }
        rustix::fs::syncfs(File::open(&ballast).unwrap()).unwrap();
    }

    fn empty(&self) {
        fs::remove_dir_all(self.at().join("ballast")).unwrap();
    }
}

/// A target of three generations, and one that took a page of `/var`, that follows a channel, on a small disk.
struct Scene {
    world: World,
    session: Session,
    disk: SmallDisk,
}

impl Scene {
    fn new(make: &[&str], bytes: u64) -> Self {
        let disk = SmallDisk::new(make, bytes);
        let mut world = World::below(tempfile::tempdir_in(disk.at()).unwrap(), |_| {
            Arc::new(RealDisk)
        });
        fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for version in ["1", "2", "3"] {
            let app = format!("f version {version}\n");
            world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
        }
        // The fourth takes a page from the image; the third is current, as it was before.
        let page = [
            "var/site",
            "usr/share",
            "usr/share/factory",
            "usr/share/factory/var",
        ];
        let page = page.map(|dir| (dir, "d"));
        let page = with(with(base(), &page), &[("usr/share/factory/var/site", "d")]);
        let page = with(page, &[("usr/share/factory/var/site/page", "f taken")]);
        fs::create_dir_all(world.at("state/var/site")).unwrap();
        fs::write(world.at("state/var/site/page"), "of the machine").unwrap();
        let take = StageOptions {
            decisions: Decisions {
                take: [path("var/site/page")].into(),
                ..Decisions::default()
            },
            ..StageOptions::default()
        };
        let fifth = [("usr/share/factory/var/site/page", "f the fifth")];
        world.image("5", &with(page.clone(), &fifth));
        let taker = world.stage(&world.image("4", &page), &take).unwrap();
        world.switch(taker).unwrap();
        world.rollback(Some(3)).unwrap();
        let target = world.target();
        let channel = "images/web/stable".parse().unwrap();
        let change = target.change("test").unwrap();
        let subscription = Subscription::new("main", &channel, 3);
        change.subscribe(&subscription).unwrap();
        drop(change);
        let repository = world.repository.root().to_owned();
        // Let go of the lock: garbage collection waits for everybody.
        let elsewhere = disk.dir.path().join("elsewhere");
        Repository::init(&elsewhere, Arc::new(RealDisk)).unwrap();
        world.repository =
            Repository::open(&elsewhere, Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let session = Session::new(world.dir.path(), &repository);
        Self {
            world,
            session,
            disk,
        }
    }

    /// Runs a command on the target; the history is whole after it, and has `records` more.
    #[track_caller]
    fn run(&self, line: &str, records: usize) -> String {
        let before = self.target().history().unwrap().records.len();
        let target = self.world.root();
        let line = match line.split(' ').next() {
            Some("forget" | "fsck" | "gc") => line.to_owned(),
            _ => format!("{line} --target {}", target.display()),
        };
        let ran = self.session.run(&line).expect(0);
        let history = self.target().history().unwrap();
        assert_eq!((history.broken, history.torn), (None, false), "{line}");
        let after = history.records.len();
        assert_eq!(after - before, records, "{line}\n{}", ran.transcript());
        ran.stderr
    }

    fn target(&self) -> Target {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Target::open(&self.world.root(), disk, Arc::new(Noon)).unwrap()
    }

    #[track_caller]
    fn expect(&self, version: &str) {
        let app = self.world.read("current/root/usr/app");
        assert_eq!(app, format!("version {version}\n"));
    }
}

fn every_way_back_works(make: &[&str], bytes: u64, filling: Filling) {
    let scene = Scene::new(make, bytes);
    scene.disk.fill(filling);
    let probe = File::create(scene.world.dir.path().join("probe"));
    let probe = probe.and_then(|mut file| {
        file.write_all(&[7; 4096])?;
        file.sync_all()
    });
    assert_eq!(probe.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let _ = fs::remove_file(scene.world.dir.path().join("probe"));

    let told = scene.run("rollback", 1);
    assert!(told.contains("is full"), "{told}");
    scene.expect("2");
    assert_eq!(scene.target().held().unwrap().len(), 1);
    scene.run("pin 1", 1);
    scene.run("mark-bad 2 --reason slow", 1);
    assert!(
        scene.target().status().unwrap().deployments[1]
            .bad
            .is_some()
    );
    scene.run("mark-good 2", 1);
    assert!(
        scene.target().status().unwrap().deployments[1]
            .bad
            .is_none()
    );
    scene.run("deactivate", 0);
    scene.run("activate", 0);
    scene.expect("2");
    scene.run("gc", 0);
    scene.run("gc --dry-run", 0);
    // What is released, collected and looked for takes no room.
    scene.run("forget images/1", 0);
    scene.run("gc --cache", 0);
    scene.run("fsck --repair", 0);
    // The reserve lasts.
    for version in ["3", "1", "2", "1", "3", "2", "3", "1"] {
        scene.run(&format!("rollback --to {version}"), 1);
        scene.expect(version);
    }
    // What was taken of /var goes back, and comes again.
    for (version, page) in [
        ("4", "taken"),
        ("1", "of the machine"),
        ("4", "taken"),
        ("1", "of the machine"),
    ] {
        scene.run(&format!("rollback --to {version}"), 1);
        assert_eq!(scene.world.read("state/var/site/page"), page);
    }
    scene.run("rollback --to 3 --mark-bad", 2);
    scene.run("rollback --to 2 --reason again", 1);
    scene.run("pin 1 --remove", 1);
    let status = scene.target().status().unwrap();
    assert!(status.deployments.iter().all(|one| one.damaged.is_none()));
    let records = scene.target().history().unwrap().records;
    assert_eq!(records[records.len() - 2].reason, "again");

    // With room again, the reserve fills up by itself, and says nothing any more.
    scene.disk.empty();
    let told = scene.run("rollback --to 3", 1);
    assert!(!told.contains("is full"), "{told}");
    scene.expect("3");
    scene.session.run("fsck").expect(0);
}

const EXT4: [&str; 5] = ["mkfs.ext4", "-q", "-N", "1000", "-F"];
const XFS: [&str; 2] = ["mkfs.xfs", "-q"];

#[test]
fn every_way_back_works_on_a_full_ext4() {
    if !is_root("every_way_back_works_on_a_full_ext4") {
        return;
    }
    for filling in [Filling::Bytes, Filling::Inodes, Filling::Both] {
        every_way_back_works(&EXT4, 64 << 20, filling);
    }
}

#[test]
fn every_way_back_works_on_a_full_xfs() {
    if !is_root("every_way_back_works_on_a_full_xfs") {
        return;
    }
    every_way_back_works(&XFS, 512 << 20, Filling::Both);
}

/// Somebody empties the reserve, and fills the disk: the switch is made, and what it could not record is told.
#[test]
fn without_a_reserve_a_switch_tells_what_it_cannot_record_and_loses_no_record() {
    let test = "without_a_reserve_a_switch_tells_what_it_cannot_record_and_loses_no_record";
    if !is_root(test) {
        return;
    }
    let scene = Scene::new(&EXT4, 64 << 20);
    let history = scene.world.at("history.jsonl");
    let before = fs::read(&history).unwrap();
    // A copy has no blocks behind its end but the rest of its last one, which is filled as well.
    let filler = "x".repeat(4096 - before.len() % 4096 - 400);
    scene.run(&format!("pin 1 --reason {filler}"), 1);
    let before = fs::read(&history).unwrap();
    fs::remove_file(&history).unwrap();
    fs::write(&history, &before).unwrap();
    for name in scene.world.names("reserve") {
        if !name.starts_with("link") {
            fs::remove_file(scene.world.at("reserve").join(name)).unwrap();
        }
    }
    scene.disk.fill(Filling::Both);
    let told = scene.run("rollback", 0);
    assert!(
        told.contains("the history does not tell this rollback"),
        "{told}"
    );
    assert!(told.contains("could not be held"), "{told}");
    scene.expect("2");
    assert_eq!(fs::read(&history).unwrap(), before);
    scene.disk.empty();
    // The next command completes the history.
    scene.run("pin 1 --remove", 2);
    let records = scene.target().history().unwrap().records;
    let repaired = &records[records.len() - 2];
    assert_eq!((repaired.from, repaired.to), (Some(3), Some(2)));
}

/// Taking needs room for the image's side: without it, nothing of `/var` has changed, and with room again it is done.
#[test]
fn a_disk_that_is_full_in_the_middle_of_taking_leaves_var_as_it_was() {
    if !is_root("a_disk_that_is_full_in_the_middle_of_taking_leaves_var_as_it_was") {
        return;
    }
    for filling in [Filling::Bytes, Filling::Inodes, Filling::Both] {
        let scene = Scene::new(&EXT4, 64 << 20);
        let page = || scene.world.read("state/var/site/page");
        let take = "deploy 4 --take-file /var/site/page";
        let target = scene.world.root();
        let go = |line: &str| {
            scene
                .session
                .run(&format!("{line} --target {}", target.display()))
        };
        // Staged with room, switched without: the reserve is enough.
        go(&format!("{take} --stage-only")).expect(0);
        assert_eq!(page(), "of the machine");
        scene.disk.fill(filling);
        let staged = scene.target().generations().unwrap().pop().unwrap();
        scene.run(&format!("rollback --to {staged}"), 1);
        assert_eq!(page(), "taken");
        scene.run("rollback --to 3", 1);
        assert_eq!(page(), "of the machine");
        // Without room, nothing is staged, and nothing of it stays.
        let before = scene.world.names("deployments");
        let refused = go("deploy 5 --take-file /var/site/page");
        assert_eq!(refused.status, 1, "{}", refused.transcript());
        assert!(
            refused.stderr.contains("free") || refused.stderr.contains("no space left"),
            "{}",
            refused.transcript()
        );
        assert_eq!(
            (page().as_str(), scene.world.names("deployments")),
            ("of the machine", before)
        );
        scene.expect("3");
        scene.disk.empty();
        go("deploy 5 --take-file /var/site/page").expect(0);
        assert_eq!(page(), "the fifth");
        scene.run("rollback --to 3", 1);
        assert_eq!(page(), "of the machine");
    }
}
