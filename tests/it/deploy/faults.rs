//! What happens when something is damaged, full, edited, or fails.

use std::os::fd::BorrowedFd;

use super::*;

#[test]
fn removing_a_deployment_never_walks_into_a_mount() {
    if !is_root("removing_a_deployment_never_walks_into_a_mount") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::write(world.at("state/var/log/precious"), "data").unwrap();
    // A half-removed deployment in which the shared state is still mounted, as after a kill.
    let left = world.at("deployments/.old-9/root/var");
    fs::create_dir_all(&left).unwrap();
    let bound = Command::new("mount")
        .arg("--bind")
        .args([world.at("state/var"), left.clone()])
        .status()
        .unwrap();
    assert!(bound.success() && left.join("log/precious").exists());
    drop(world.target().change("test").unwrap());
    assert_eq!(world.names("deployments"), ["1"]);
    assert_eq!(world.read("state/var/log/precious"), "data");
}

/// Sets or clears the immutable flag; says whether the filesystem has one.
pub(super) fn set_immutable(path: &Path, is_immutable: bool) -> bool {
    let file = File::open(path).unwrap();
    let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
        return false;
    };
    let immutable = rustix::fs::IFlags::IMMUTABLE;
    let flags = if is_immutable {
        flags | immutable
    } else {
        flags - immutable
    };
    rustix::fs::ioctl_setflags(&file, flags).is_ok()
}

#[test]
fn what_cannot_be_removed_is_told_and_stops_nothing() {
    let test = "what_cannot_be_removed_is_told_and_stops_nothing";
    if !is_root(test) {
        return;
    }
    let world = World::new();
    for version in ["1", "2", "3"] {
        let app = format!("f version {version}\n");
        world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
    }
    if !set_immutable(&world.at("deployments/1/etc/app.conf"), true) {
        crate::support::skip(
            test,
            "the filesystem of the temporary directory has no immutable files",
        );
        return;
    }
    let told = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let telling = Arc::clone(&told);
    let target = world.target().with_waiting(TargetLockWait {
        patience: PATIENCE,
        remark: Arc::new(move |text| telling.lock().unwrap().push(text.to_owned())),
        ..TargetLockWait::default()
    });
    let change = target.change("test").unwrap();
    let plan = target.plan_prune(2).unwrap();
    assert_eq!(plan.remove, [1]);
    change.prune(&world.repository, &plan, &note()).unwrap();
    drop(change);
    assert_eq!(world.names("deployments"), [".old-1", "2", "3"]);
    assert_eq!(world.deployment_refs(), ["2", "3"]);
    assert_eq!(told.lock().unwrap().len(), 1);
    // One of a command that died, under the number that comes next.
    fs::create_dir(world.at("deployments/.new-4")).unwrap();
    fs::write(world.at("deployments/.new-4/file"), "").unwrap();
    assert!(set_immutable(&world.at("deployments/.new-4/file"), true));
    assert_eq!(
        target
            .change("test")
            .unwrap()
            .rollback(None, &note())
            .unwrap()
            .to,
        2
    );
    assert!(
        told.lock().unwrap()[1].contains("is left over: cannot remove"),
        "{told:?}"
    );
    let image = world.image("4", &with(base(), &[("usr/app", "f version 4\n")]));
    assert_eq!(world.deploy(&image), 5);
    set_immutable(&world.at("deployments/.old-1/etc/app.conf"), false);
    set_immutable(&world.at("deployments/.new-4/file"), false);
    drop(target.change("test").unwrap());
    assert_eq!(world.names("deployments"), ["2", "3", "5"]);
}

#[test]
fn an_edited_history_is_shown_and_does_not_stop_a_rollback() {
    if !is_root("an_edited_history_is_shown_and_does_not_stop_a_rollback") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    world.deploy(&world.image("2", &with(base(), &[("usr/app", "f version 2\n")])));
    let log = world.at("history.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("tester", "nobody", 1)).unwrap();
    let broken = world.target().status().unwrap().history_broken.unwrap();
    assert_eq!(broken.line, 1);
    assert_eq!(world.rollback(None).unwrap(), 1);
    assert_eq!(world.target().history().unwrap().broken.unwrap().line, 1);
}

#[test]
fn a_damaged_or_missing_object_is_refused_by_path_before_anything_is_written() {
    if !is_root("a_damaged_or_missing_object_is_refused_by_path_before_anything_is_written") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    let spec = with(
        base(),
        &[("usr/app", "f version 2\n"), ("usr/lib", "f library\n")],
    );
    let image = world.image("2", &spec);
    let object = |text: &str| {
        let id = layerset::id::ObjectId::of(text.as_bytes());
        world.repository.object_path(&id)
    };
    fs::set_permissions(object("version 2\n"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(object("version 2\n"), "VERSION 2\n").unwrap();
    fs::remove_file(object("library\n")).unwrap();
    let before = (world.names("deployments"), world.deployment_refs());
    let error = world.stage(&image, &StageOptions::default()).unwrap_err();
    let DeployError::Objects(harmed) = &error else {
        panic!("{error}");
    };
    let paths: Vec<&RelPath> = harmed.iter().flat_map(|one| &one.paths).collect();
    assert_eq!(paths, [&path("usr/app"), &path("usr/lib")]);
    assert!(error.to_string().contains("'/usr/app'"), "{error}");
    assert_eq!(
        (world.names("deployments"), world.deployment_refs()),
        before
    );
}

#[test]
fn a_second_command_learns_who_holds_the_target() {
    let world = World::new();
    let target = world.target().with_waiting(TargetLockWait {
        patience: Duration::from_millis(100),
        ..TargetLockWait::default()
    });
    let _first = target.change("layerset deploy").unwrap();
    let error = target.change("layerset rollback").unwrap_err();
    // The holder is this program, which is not called layerset.
    let holder = format!("(process {}, since ", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
}

#[test]
fn too_little_room_is_refused_with_the_numbers_before_the_first_write() {
    if !is_root("too_little_room_is_refused_with_the_numbers_before_the_first_write") {
        return;
    }
    let world = World::new();
    let image = world.image(
        "1",
        &with(
            base(),
            &[("usr/big", &format!("f {}", "x".repeat(3 << 20)))],
        ),
    );
    fs::create_dir(world.root()).unwrap();
    for (option, wanted) in [
        ("size=2m,nr_inodes=500", "bytes"),
        ("size=40m,nr_inodes=48", "inodes"),
    ] {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", option, "none"])
            .arg(world.root())
            .status()
            .unwrap();
        assert!(mounted.success());
        let target = world.target();
        let before = (world.names("."), world.names("deployments"));
        let error = {
            let change = target.change("test").unwrap();
            change
                .stage(&world.repository, &image, &copied())
                .unwrap_err()
        };
        let DeployError::NoSpace {
            needed_bytes,
            available_bytes,
            needed_inodes,
            available_inodes,
            ..
        } = error
        else {
            panic!("{error}");
        };
        match wanted {
            "bytes" => assert!(needed_bytes > available_bytes && needed_bytes > 3 << 20),
            _ => assert!(needed_inodes > available_inodes && needed_bytes < available_bytes),
        }
        let after = (world.names("."), world.names("deployments"));
        assert_eq!(after.1, before.1);
        assert!(
            after
                .0
                .iter()
                .all(|name| ["lock", "bad", "reserve"].contains(&name.as_str())
                    || before.0.contains(name))
        );
        assert_eq!(world.deployment_refs(), [] as [&str; 0]);
        assert!(
            // Detached: a program that another test starts just now may hold what was open here until it is executed.
            Command::new("umount")
                .arg("-l")
                .arg(world.root())
                .status()
                .unwrap()
                .success()
        );
    }
}

/// Works until the Nth call, then fails for good, as a disk does that went away.
#[derive(Debug)]
struct Failing {
    calls: AtomicUsize,
    limit: usize,
}

impl Failing {
    fn at(limit: usize) -> Arc<Self> {
        let calls = AtomicUsize::new(0);
        Arc::new(Self { calls, limit })
    }

    fn count(&self, path: &Path) -> Result<(), DurableError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Ok(());
        }
        let source = io::Error::from_raw_os_error(28);
        Err(DurableError::new("test", path, source))
    }
}

impl Disk for Failing {
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError> {
        self.count(path).and_then(|()| RealDisk.mkdir(path, mode))
    }
    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        self.count(path)
            .and_then(|()| RealDisk.write(path, mode, fill))
    }
    fn sync_file(&self, path: &Path) -> Result<(), DurableError> {
        self.count(path).and_then(|()| RealDisk.sync_file(path))
    }
    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError> {
        self.count(path)
            .and_then(|()| RealDisk.symlink(target, path))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.count(to).and_then(|()| RealDisk.rename(from, to))
    }
    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.count(to).and_then(|()| RealDisk.exchange(from, to))
    }
    fn remove(&self, path: &Path) -> Result<(), DurableError> {
        self.count(path).and_then(|()| RealDisk.remove(path))
    }
    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError> {
        self.count(path)
            .and_then(|()| RealDisk.remove_in(dir, path))
    }
    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.count(to)
            .and_then(|()| RealDisk.rename_in(from_dir, from, to_dir, to))
    }
    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.count(to)
            .and_then(|()| RealDisk.exchange_in(from_dir, from, to_dir, to))
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        // A failing append leaves half of its bytes.
        self.count(path)
            .inspect_err(|_| drop(RealDisk.append(path, &bytes[..bytes.len() / 2])))
            .and_then(|()| RealDisk.append(path, bytes))
    }
    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        self.count(dir).and_then(|()| RealDisk.sync_fs(dir))
    }
    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        self.count(dir).and_then(|()| RealDisk.sync_dir(dir))
    }
}

#[test]
fn an_update_that_fails_at_any_write_leaves_exactly_the_old_or_the_new() {
    if !is_root("an_update_that_fails_at_any_write_leaves_exactly_the_old_or_the_new") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::write(world.at("current/etc/hand"), "x").unwrap();
    let new = with(
        base(),
        &[
            ("usr/app", "f version 2\n"),
            ("var/new", "d"),
            ("etc/added", "f y\n"),
        ],
    );
    let image = world.image("2", &new);
    let (mut failures, mut recovered, mut limit) = (0, 0, 0);
    loop {
        let disk = Failing::at(limit);
        let run = || -> Result<(), DeployError> {
            let target = world.target_on(disk.clone())?;
            let root = world.repository.root();
            let repository = Repository::open(root, disk.clone(), RepositoryOptions::default())?;
            let change = target.change("test")?;
            let staged = change.stage(&repository, &image, &StageOptions::default())?;
            change.switch(
                staged.generation,
                HistoryAction::Update,
                BadPolicy::Refuse,
                &note(),
            )?;
            let plan = target.plan_prune(2)?;
            change.prune(&repository, &plan, &note()).map(drop)
        };
        let outcome = run();
        let target = world.target();
        let current = target.current().unwrap().unwrap();
        let app = world.read("current/root/usr/app");
        assert_eq!(
            app,
            if current == 1 {
                "version 1\n"
            } else {
                "version 2\n"
            }
        );
        assert_eq!(world.read("current/root/etc/hand"), "x");
        let expect = mark(&world);
        assert_eq!(world.read("current/root/var/log/mark"), expect);
        let change = target.change("test").unwrap();
        let history = target.history().unwrap();
        assert_eq!((history.broken, history.torn), (None, false));
        assert_eq!(history.records.last().unwrap().to, Some(current));
        recovered += history
            .records
            .iter()
            .filter(|r| r.action == HistoryAction::Recovered)
            .count();
        assert!(
            world
                .names("deployments")
                .iter()
                .all(|name| !name.starts_with('.'))
        );
        if current != 1 {
            change.rollback(Some(1), &note()).unwrap();
        }
        let plan = target.plan_prune(1).unwrap();
        change.prune(&world.repository, &plan, &note()).unwrap();
        for generation in target
            .generations()
            .unwrap()
            .into_iter()
            .filter(|n| *n != 1)
        {
            // The newest staged one survives pruning; take it away by hand.
            let dir = world.at("deployments").join(generation.to_string());
            fs::rename(
                dir,
                world.at("deployments").join(format!(".old-{generation}")),
            )
            .unwrap();
        }
        drop(change);
        drop(target.change("test").unwrap());
        fs::remove_file(world.at("history.jsonl")).unwrap();
        fs::remove_file(world.at("history.head")).unwrap();
        fs::remove_dir_all(world.at("state/var/new"))
            .or_else(ignore_missing)
            .unwrap();
        match outcome {
            Ok(()) => break,
            Err(_) => failures += 1,
        }
        limit += 1;
        assert!(limit < 500);
    }
    assert!(failures > 20, "{failures}");
    assert!(recovered > 0);
}

/// Leaves a mark in the shared state, once.
fn mark(world: &World) -> &'static str {
    fs::write(world.at("state/var/log/mark"), "here").unwrap();
    "here"
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// A user who may write where root deploys prepares it, so that root writes and removes elsewhere.
#[test]
fn a_target_that_another_user_prepared_is_refused() {
    use std::os::unix::fs::{chown, lchown, symlink};
    if !is_root("a_target_that_another_user_prepared_is_refused") {
        return;
    }
    const STRANGER: Option<u32> = Some(4242);
    for name in [
        "",
        "deployments",
        "state",
        "state/var",
        "lock",
        "target.json",
    ] {
        let world = World::new();
        let elsewhere = world.dir.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("1")).unwrap();
        fs::create_dir_all(world.at("state")).unwrap();
        if ["", "state"].contains(&name) {
            fs::remove_dir_all(world.at(name)).unwrap();
        }
        let planted = if name.is_empty() {
            world.root().join("layerset")
        } else {
            world.at(name)
        };
        symlink(&elsewhere, &planted).unwrap();
        lchown(&planted, STRANGER, STRANGER).unwrap();
        let error = world.target_on(Arc::new(RealDisk)).unwrap_err();
        let by_name = matches!(&error, DeployError::Prepared { uid: 4242, .. });
        // Without a target there, what is read through the link is no target either.
        assert!(by_name || name == "target.json", "{name}: {error}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "{name}");
    }
    // One that came into being later stops every change.
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::rename(world.at("state"), world.at("was")).unwrap();
    symlink("was", world.at("state")).unwrap();
    // A link of root's own leads to another disk, and is fine.
    drop(world.target().change("test").unwrap());
    lchown(world.at("state"), STRANGER, STRANGER).unwrap();
    let target = world.target();
    assert!(matches!(
        target.change("test").map(drop),
        Err(DeployError::Prepared { .. })
    ));
    fs::remove_file(world.at("state")).unwrap();
    fs::rename(world.at("was"), world.at("state")).unwrap();
    // The image says whose `/var` is.
    chown(world.at("state/var"), STRANGER, STRANGER).unwrap();
    drop(target.change("test").unwrap());
}
