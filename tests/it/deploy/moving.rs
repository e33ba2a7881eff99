//! Services that change their files below `/etc` all the time, while images are deployed.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use layerset::deploy::{DeployMode, DeployOptions, DeployReport, deploy};

use super::*;

type Told = Arc<Mutex<Vec<String>>>;

fn deploy_now(world: &World, image: &ImageId, stage: StageOptions) -> (u64, Vec<String>) {
    let told = Told::default();
    let telling = Arc::clone(&told);
    let mut location = world.location(Arc::new(RealDisk));
    location.waiting.remark = Arc::new(move |text| telling.lock().unwrap().push(text.to_owned()));
    let options = DeployOptions {
        action: HistoryAction::Deploy,
        stage,
        mode: DeployMode::Switch,
        pace: layerset::deploy::SwitchPace::NextStart,
        keep: Some(3),
        note: note(),
        release: None,
        again: false,
        cancel: &AtomicBool::new(false),
        doing: &|_| {},
    };
    let report = deploy(&location, &world.repository, image, &options).unwrap();
    let DeployReport::Deployed(deployed) = report else {
        panic!("{report:?}");
    };
    assert!(deployed.switched.is_some());
    let told = told.lock().unwrap().clone();
    (deployed.generation, told)
}

/// Rewrites, appends, replaces, makes and removes files and directories of one place below `/etc`.
fn keep_changing(dir: &Path, stop: &AtomicBool) {
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        fs::write(
            dir.join("lease"),
            format!("{round}\n").repeat(1 + round as usize % 300),
        )
        .unwrap();
        fs::write(dir.join(".next"), format!("{round}\n")).unwrap();
        fs::rename(dir.join(".next"), dir.join("state")).unwrap();
        let (old, new) = (dir.join("peers"), dir.join("peers/a"));
        if round % 2 == 0 {
            fs::create_dir_all(&new).unwrap();
        } else {
            fs::remove_dir_all(&old).unwrap();
        }
    }
}

/// Ends the service also where the test fails.
struct StopWhenDone<'a>(&'a AtomicBool);

impl Drop for StopWhenDone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_service_that_keeps_changing_its_directory_stops_no_deploy() {
    if !is_root("a_service_that_keeps_changing_its_directory_stops_no_deploy") {
        return;
    }
    let world = World::new();
    let spec = with(base(), &[("etc/vpn", "d"), ("etc/vpn/peers", "d")]);
    world.deploy(&world.image("0", &spec));
    let stop = AtomicBool::new(false);
    let mut told = Vec::new();
    for (number, kind) in [
        KindChoice::Auto,
        KindChoice::Copy,
        KindChoice::Auto,
        KindChoice::Auto,
    ]
    .into_iter()
    .enumerate()
    {
        let etc = world.at("current/etc").canonicalize().unwrap();
        fs::write(etc.join("by-hand"), number.to_string()).unwrap();
        let app = format!("f version {number}\n");
        let image = world.image(
            &number.to_string(),
            &with(spec.clone(), &[("usr/app", &app)]),
        );
        let stage = StageOptions {
            kind,
            ..StageOptions::default()
        };
        stop.store(false, Ordering::Relaxed);
        told.extend(std::thread::scope(|scope| {
            let _stop = StopWhenDone(&stop);
            scope.spawn(|| keep_changing(&etc.join("vpn"), &stop));
            deploy_now(&world, &image, stage).1
        }));
        assert_eq!(
            world.read("current/root/usr/app"),
            format!("version {number}\n")
        );
        assert_eq!(world.read("current/root/etc/by-hand"), number.to_string());
        assert!(world.names("deployments").len() <= 3);
    }
    let about: Vec<&String> = told
        .iter()
        .filter(|text| text.contains("changed while"))
        .collect();
    assert!(
        about.iter().any(|text| text.contains("'/etc/vpn")),
        "{told:?}"
    );
    assert!(
        told.iter().all(|text| !text.contains("by-hand")),
        "{told:?}"
    );
}

/// What somebody edits by hand while a long copy is made arrives in the new deployment.
#[test]
fn an_edit_while_a_deployment_is_made_is_taken_along() {
    if !is_root("an_edit_while_a_deployment_is_made_is_taken_along") {
        return;
    }
    let world = World::new();
    let mut spec = base();
    let names: Vec<String> = (0..3000).map(|number| format!("usr/{number}")).collect();
    for name in &names {
        spec.insert(name, format!("f {name}\n"));
    }
    world.deploy(&world.image("1", &spec));
    let etc = world.at("current/etc").canonicalize().unwrap();
    let image = world.image("2", &with(spec, &[("usr/app", "f version 2\n")]));
    let made = world.at("deployments/.new-2/root/usr");
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            crate::support::wait_until("nothing is staged", || {
                made.exists() || world.at("deployments/2").exists()
            });
            fs::write(etc.join("app.conf"), "one\nedited\nthree\nfour\nfive\n").unwrap();
        });
        deploy_now(&world, &image, copied()).1
    });
    assert_eq!(
        world.read("current/etc/app.conf"),
        "one\nedited\nthree\nfour\nfive\n"
    );
    assert_eq!(told, [] as [String; 0]);
}

/// Something below `/etc` that cannot be removed, or that is mounted, is told where it is left over.
#[test]
fn an_immutable_deployment_and_a_mount_in_it_are_left_over_and_stop_nothing() {
    let test = "an_immutable_deployment_and_a_mount_in_it_are_left_over_and_stop_nothing";
    if !is_root(test) {
        return;
    }
    let world = World::new();
    for version in ["1", "2", "3"] {
        let app = format!("f version {version}\n");
        world.deploy(&world.image(version, &with(base(), &[("usr/app", &app)])));
    }
    let first = world.at("deployments/1");
    if !super::faults::set_immutable(&first, true) {
        return crate::support::skip(test, "the filesystem has no immutable files");
    }
    let mount = world.at("deployments/2/etc");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&mount)
        .status();
    assert!(mounted.unwrap().success());
    let mut told = Vec::new();
    for version in ["4", "5", "6"] {
        let app = format!("f version {version}\n");
        let image = world.image(version, &with(base(), &[("usr/app", &app)]));
        told.extend(deploy_now(&world, &image, StageOptions::default()).1);
        assert_eq!(
            world.read("current/root/usr/app"),
            format!("version {version}\n")
        );
    }
    assert!(
        told.iter()
            .any(|text| text.contains("generation 1 cannot be removed")),
        "{told:?}"
    );
    assert_eq!(world.names("deployments"), ["1", "4", "5", "6"]);
    super::faults::set_immutable(&first, false);
}
