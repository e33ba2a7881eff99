//! `update` from a channel: one release after another of a remote in a directory, pulled, composed,
//! deployed and written down.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use layerset::agent::{self, AgentError, ChannelReport};
use layerset::deploy::{
    DeployMode, DeployOptions, DeployReport, HistoryAction, StageOptions, Target, TargetLocation,
    TargetLockWait,
};
use layerset::durable::{Disk, RealDisk};
use layerset::format::release::ChannelName;
use layerset::remote;
use layerset::store::{self, FsckOptions, Repository};
use layerset::time::{Clock as _, SystemClock};
use layerset::transfer::{FollowOptions, MachineId, NoProgress, Origins, PullOptions, Turn};
use layerset::tree::Tree;
use layerset::trust::TrustState;

use super::disk::{Fault, FaultyDisk};
use crate::deploy::{note, unmount_below};
use crate::session::Session;
use crate::support::is_root;
use crate::transfer::world::{Files, image, layer, open, stable};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// What the machine is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    /// The version that runs.
    runs: u64,
    /// The release that the target says it follows the channel at: `channel.json`.
    follows: u64,
    /// The release that the machine will not go below: `seen.json`.
    seen: u64,
}

/// A remote whose channel is at release 2, and a machine that has deployed release 1 from it.
///
/// The machine lies in `live`; `saved` is a copy of it, from which every case starts.
struct Scene {
    dir: tempfile::TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

/// Makes a directory, in memory where that is possible: every case copies the machine, and would
/// wait for a disk that others use. Deployments are copies there; metadata images and their mounts
/// are the matter of [`super::target`].
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn base_files(version: u32) -> Files {
    [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n".to_owned()),
        ("etc/group", "root:x:0:\n".to_owned()),
        ("usr/same", "the same in all versions\n".to_owned()),
        ("usr/version", version.to_string()),
    ]
    .map(|(path, text)| (path.to_owned(), text.into_bytes()))
    .into()
}

fn app_files(version: u32) -> Files {
    let page = format!("<p>version {version}</p>\n");
    Files::from([("srv/page.html".to_owned(), page.into_bytes())])
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: scratch() };
        let dir = scene.dir.path();
        let publisher = Session::new(dir, &dir.join("publisher"));
        let keys = "--keys keys --root root.json";
        let release = |version: u32| {
            let repository = open(&dir.join("publisher"));
            let (base, tree) = layer(&repository, "base", &Tree::new(), &base_files(version));
            let (app, _) = layer(&repository, "app", &tree, &app_files(version));
            image(&repository, &[base, app]);
            drop(repository);
            let line = format!("publish web --to ./remote --channel stable {keys}");
            publisher.run(&line).expect(0);
        };
        let line = format!("trust init ./remote {keys}");
        publisher.run(&line).expect(0);
        release(1);
        std::fs::write(
            dir.join("trust.toml"),
            format!(
                "[[remote]]\nname = \"main\"\nlocation = {:?}\nroot = \"root.json\"\n",
                dir.join("remote")
            ),
        )
        .unwrap();
        let repo = scene.live().join("repo");
        Repository::init(&repo, Arc::new(RealDisk)).unwrap();
        std::fs::create_dir(repo.join("trust")).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        scene.update(&disk, Some(&stable())).unwrap();
        release(2);
        unmount_below(dir);
        copy(&scene.live(), &scene.saved());
        scene
    }

    fn live(&self) -> PathBuf {
        self.dir.path().join("live")
    }

    fn saved(&self) -> PathBuf {
        self.dir.path().join("saved")
    }

    /// Starts over, with release 1 running.
    fn reset(&self) {
        unmount_below(self.dir.path());
        std::fs::remove_dir_all(self.live()).unwrap();
        copy(&self.saved(), &self.live());
        let target = self.target(&self.calm());
        let _ = target.change("test").unwrap().activate().unwrap();
    }

    /// A disk that works, and does not wait for the real one.
    fn calm(&self) -> Arc<dyn Disk> {
        Arc::new(FaultyDisk::new(&self.live(), None))
    }

    fn location(&self, disk: &Arc<dyn Disk>) -> TargetLocation {
        TargetLocation {
            root: self.live().join("target"),
            disk: Arc::clone(disk),
            clock: Arc::new(SystemClock),
            // Another test's child process may hold our lock's descriptor between fork and exec.
            machine: None,
            waiting: TargetLockWait {
                patience: Duration::from_secs(10),
                ..TargetLockWait::default()
            },
        }
    }

    fn target(&self, disk: &Arc<dyn Disk>) -> Target {
        self.location(disk).open().unwrap()
    }

    fn repository(&self, disk: &Arc<dyn Disk>) -> Repository {
        let options = store::RepositoryOptions {
            patience: Duration::from_secs(10),
            ..store::RepositoryOptions::default()
        };
        Repository::open(&self.live().join("repo"), Arc::clone(disk), options).unwrap()
    }

    /// What `layerset update` does; with a channel, what the first `layerset deploy --channel`
    /// does.
    fn update(
        &self,
        disk: &Arc<dyn Disk>,
        first: Option<&ChannelName>,
    ) -> Result<ChannelReport, AgentError> {
        let repository = self.repository(disk);
        let pull = PullOptions {
            // The order of calls is the same every time.
            threads: 1,
            deltas: true,
            gap: None,
            recompress: None,
            recompose: true,
            cancel: &GO_ON,
            progress: &NoProgress,
            waiting: store::LockWait {
                patience: Duration::from_secs(60),
                tell: &|_| {},
            },
        };
        let following = FollowOptions {
            origins: Origins {
                policy: self.dir.path().join("trust.toml"),
                remote: None,
                from: None,
                states: self.live().join("repo/trust"),
                disk: Arc::clone(disk),
                open: remote::RemoteOptions::default(),
                now: SystemClock.now_sec(),
            },
            turn: Turn::Wait,
            machine: MachineId::Given(String::new()),
            pull: &pull,
        };
        let deploying = DeployOptions {
            action: HistoryAction::Deploy,
            stage: StageOptions::default(),
            mode: DeployMode::Switch,
            pace: layerset::deploy::SwitchPace::NextStart,
            keep: Some(1),
            note: note(),
            release: None,
            again: false,
            cancel: &GO_ON,
            doing: &|_| {},
        };
        let location = self.location(disk);
        match first {
            Some(channel) => {
                agent::deploy_channel(&location, &repository, channel, &following, &deploying)
            }
            None => agent::update(&location, &repository, None, &following, &deploying),
        }
    }

    /// What runs is exactly release 1 or release 2, what is written about it is no further than
    /// that, and everything around it is in order.
    fn assert_whole(&self, context: &str) -> At {
        let disk = self.calm();
        let target = self.target(&disk);
        let change = target
            .change("test")
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let activated = change
            .activate()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(activated.failed, [], "{context}");
        drop(change);
        let status = target.status().unwrap();
        for deployment in &status.deployments {
            assert_eq!(deployment.damaged, None, "{context}");
        }
        let history = target.history().unwrap();
        assert_eq!(history.broken, None, "{context}");
        let last = history.records.last().and_then(|record| record.to);
        assert_eq!(last, status.current, "{context}");
        let root = self.live().join("target/layerset/current/root");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let runs: u64 = read("usr/version").parse().unwrap();
        assert_eq!(
            read("srv/page.html"),
            format!("<p>version {runs}</p>\n"),
            "{context}"
        );
        let repository = self.repository(&disk);
        let options = FsckOptions {
            threads: 1,
            progress: &|_, _| {},
        };
        let damaged = repository.fsck(options).unwrap().damaged;
        assert_eq!(damaged, [], "{context}");
        let state = TrustState::open(disk, &self.live().join("repo/trust/main")).unwrap();
        let at = At {
            runs,
            follows: status.channel.unwrap().serial,
            seen: state.taken(&stable()).unwrap().unwrap(),
        };
        // In this order, and one step after the other.
        assert!(at.follows <= at.runs, "{context}: {at:?}");
        assert!(at.seen <= at.follows, "{context}: {at:?}");
        at
    }

    /// Nothing is left that nothing refers to.
    fn assert_no_strays(&self, context: &str) {
        let disk = self.calm();
        let repository = self.repository(&disk);
        repository.apply_gc(&repository.plan_gc().unwrap()).unwrap();
        assert_eq!(repository.plan_gc().unwrap().files, [], "{context}");
        drop(repository);
        let live = self.live();
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(live.join(dir)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let target = self.target(&disk);
        let refs = names(&format!("repo/refs/deployments/{}", target.id()));
        assert_eq!(refs, names("target/layerset/deployments"), "{context}");
        for dir in ["repo/tmp", "repo/cache/incoming"] {
            let left = if live.join(dir).exists() {
                names(dir)
            } else {
                Vec::new()
            };
            assert!(left.is_empty(), "{context}: {dir} has {left:?}");
        }
        for dir in ["repo", "repo/trust/main", "target/layerset"] {
            let names = names(dir);
            let hidden = names.iter().filter(|name| name.starts_with('.'));
            assert_eq!(hidden.count(), 0, "{context}: {dir} has {names:?}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .args(["-a", "--"])
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}

const OLD: At = At {
    runs: 1,
    follows: 1,
    seen: 1,
};
const NEW: At = At {
    runs: 2,
    follows: 2,
    seen: 2,
};

#[test]
fn every_call_of_an_update_from_a_channel_may_stop_fail_or_lose_data() {
    if !is_root("every call of an update") {
        return;
    }
    let scene = Scene::new();
    let count = {
        scene.reset();
        let disk = Arc::new(FaultyDisk::new(&scene.live(), None));
        scene
            .update(&(disk.clone() as Arc<dyn Disk>), None)
            .unwrap();
        assert_eq!(scene.assert_whole("no fault"), NEW);
        disk.calls()
    };
    let mut left: Vec<At> = Vec::new();
    for fault in Fault::ALL {
        for at in 0..count {
            scene.reset();
            let disk = Arc::new(FaultyDisk::new(&scene.live(), Some((at, fault))));
            let result = scene.update(&(disk.clone() as Arc<dyn Disk>), None);
            assert!(disk.struck(), "call {at} was not reached");
            if matches!(fault, Fault::LosePower | Fault::LoseData) {
                unmount_below(scene.dir.path());
                disk.power_cut();
            }
            let context = format!("update, {fault:?} at call {at}: {}", disk.log()[at]);
            let now = scene.assert_whole(&context);
            assert!(
                result.is_err() || now == NEW,
                "{context}: it said that it had succeeded"
            );
            left.push(now);
            let again = scene
                .update(&scene.calm(), None)
                .unwrap_or_else(|error| panic!("{context}: and then {error}"));
            let ChannelReport::Deployed { deployed, .. } = again else {
                panic!("{context}: {again:?}");
            };
            // What is already current is not deployed again; what was owed for it is written down.
            let is_kept = matches!(deployed, DeployReport::Unchanged { .. });
            assert_eq!(is_kept, now.runs == 2, "{context}: {deployed:?}");
            assert_eq!(scene.assert_whole(&context), NEW, "{context}");
            scene.assert_no_strays(&context);
        }
    }
    // The places between the commit points were met, those after the switch among them.
    let switched = At { runs: 2, ..OLD };
    let subscribed = At { seen: 1, ..NEW };
    for state in [OLD, switched, subscribed, NEW] {
        assert!(left.contains(&state), "never found {state:?}");
    }
}
