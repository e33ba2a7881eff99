//! A published remote with a history, a machine that follows it and has a good release deployed, and mirrors that lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use layerset::durable::RealDisk;
use layerset::format::release::{ChannelName, ReleaseKind};
use layerset::id::ImageId;
use layerset::remote::RemoteOptions;
use layerset::store::Repository;
use layerset::transfer::{HeadSigner, SigningAuthority, TransferError};
use layerset::tree::Tree;
use layerset::trust::{Editor, KeyStore, TrustState};

pub use super::mirror::{Fate, Mirror, copy, honest, listing, masked, numberless};
use crate::remote::servers::{Seen, Step, WebServer};
use crate::session::{Ran, Session};
use crate::support::PATIENCE;
use crate::transfer::world::{Files, image, layer, noise};

pub const DAY: i64 = 86_400;

/// How soon the programs of these tests give up.
const IMPATIENT: [(&str, &str); 2] = [("LAYERSET_TIMEOUT", "2"), ("LAYERSET_TRIES", "1")];

/// A publisher with releases 1 and 2 of image `web`, and a machine `seed` that has release 1 and has heard of 2.
pub struct World {
    dir: tempfile::TempDir,
    /// The head after release 1.
    pub first_head: Vec<u8>,
    /// The blobs of release 1, as paths below a remote.
    pub first_blobs: Vec<PathBuf>,
    /// The images of the releases.
    pub images: Vec<ImageId>,
    /// The files of the target.
    pub deployed: BTreeMap<PathBuf, Vec<u8>>,
    /// What it is a copy of, which others copy meanwhile.
    original: Option<Arc<World>>,
}

/// Makes a directory, in memory where that is possible: hundreds of commits would wait for a disk that others use, and what
/// survives a loss of power is another test's matter.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if room > 1 << 30
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

/// Returns the world that others are copied from: made once, as long as tests that use it overlap.
fn template() -> Arc<World> {
    static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = shared.upgrade() {
        return world;
    }
    let mut world = World::fresh();
    world.unmount();
    world.deployed = listing(&world.path("target/layerset"));
    let world = Arc::new(world);
    *shared = Arc::downgrade(&world);
    world
}

fn base_files(version: u32) -> Files {
    let mut files = Files::from([
        (
            "etc/passwd".to_owned(),
            b"root:x:0:0::/root:/bin/sh\n".to_vec(),
        ),
        ("etc/group".to_owned(), b"root:x:0:\n".to_vec()),
    ]);
    for n in 0..6 {
        files.insert(
            format!("usr/lib/same-{n}.so"),
            noise(&format!("lib {n}"), 30_000),
        );
    }
    let mut bytes = noise("changing", 120_000);
    bytes[60_000..60_010].copy_from_slice(&noise(&format!("v{version}"), 10));
    files.insert(format!("usr/lib/libmain.so.{version}"), bytes);
    files
}

fn app_files(version: u32) -> Files {
    let page = format!("<p>version {version}</p>\n").into_bytes();
    Files::from([
        ("srv/page.html".to_owned(), page),
        (
            "srv/photo".to_owned(),
            noise(&format!("photo {version}"), 80_000),
        ),
    ])
}

impl World {
    /// A copy of [`World::fresh`] with nothing mounted: the target can be looked at, and not be updated.
    pub fn new() -> Self {
        let original = template();
        let world = Self {
            dir: scratch(),
            first_head: original.first_head.clone(),
            first_blobs: original.first_blobs.clone(),
            images: original.images.clone(),
            deployed: original.deployed.clone(),
            original: Some(Arc::clone(&original)),
        };
        let all = format!("{}/.", original.dir.path().display());
        copy(Path::new(&all), world.dir.path());
        world
    }

    /// Builds, publishes release 1, pulls and deploys it, and publishes release 2.
    pub fn fresh() -> Self {
        let mut world = Self::published();
        let machine = world.machine("seed");
        machine.run("init").expect(0);
        let trust = world.policy("seed", &[world.path("remote").to_str().unwrap()]);
        let target = world.path("target");
        let line = format!(
            "deploy --channel web/stable --copy --target {} --trust {}",
            target.display(),
            trust.display()
        );
        machine.run(&line).expect(0);
        let first_head = std::fs::read(world.path("remote/head")).unwrap();
        let remote = listing(&world.path("remote"));
        let blobs = remote.into_keys().filter(|path| path.starts_with("blobs"));
        world.first_blobs = blobs.collect();
        let images = vec![world.images[0], world.build(2)];
        world.publish("stable", "").expect(0);
        let deployed = listing(&target.join("layerset"));
        world.deployed = deployed;
        world.images = images;
        world.first_head = first_head;
        // The machine has seen that there is a release 2, and could not get it.
        let empty = world.mirror("empty");
        std::fs::remove_dir_all(empty.dir.join("blobs")).unwrap();
        let trust = world.policy("seed", &[empty.dir.to_str().unwrap()]);
        world
            .pull_on("seed", &trust)
            .expect(1)
            .says(&["has no blob"]);
        world
    }

    /// A directory.
    pub fn empty() -> Self {
        Self {
            dir: scratch(),
            first_head: Vec::new(),
            first_blobs: Vec::new(),
            images: Vec::new(),
            deployed: BTreeMap::new(),
            original: None,
        }
    }

    /// Builds and publishes release 1; there is no machine yet.
    pub fn published() -> Self {
        let mut world = Self::empty();
        world.images.push(world.build(1));
        let at = world.path("remote");
        let keys = world.keys();
        world
            .publisher()
            .run(&format!("trust init {} {keys}", at.display()))
            .expect(0);
        world.publish("stable", "").expect(0);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn publisher(&self) -> Session {
        Session::new(self.dir.path(), &self.path("publisher"))
    }

    pub fn machine(&self, name: &str) -> Session {
        Session::new(self.dir.path(), &self.path(name))
    }

    fn keys(&self) -> String {
        format!(
            "--keys {0}/keys --root {0}/root.json",
            self.dir.path().display()
        )
    }

    /// Builds a version of image `web` in the publisher's repository.
    pub fn build(&self, version: u32) -> ImageId {
        self.build_at("publisher", version)
    }

    pub fn build_at(&self, repository: &str, version: u32) -> ImageId {
        let path = self.path(repository);
        if !path.exists() {
            Repository::init(&path, Arc::new(RealDisk)).unwrap();
        }
        let repository = Repository::open(&path, Arc::new(RealDisk), Default::default()).unwrap();
        let (base, tree) = layer(&repository, "base", &Tree::new(), &base_files(version));
        let (app, _) = layer(&repository, "app", &tree, &app_files(version));
        image(&repository, &[base, app])
    }

    /// Publishes what `web` is now.
    pub fn publish(&self, channel: &str, more: &str) -> Ran {
        let line = self.publish_line(&self.path("remote"), channel);
        self.publisher().run(&format!("{line} {more}"))
    }

    /// Returns the command that publishes what `web` is now to the remote in a directory.
    pub fn publish_line(&self, dir: &Path, channel: &str) -> String {
        let keys = self.keys();
        let to = dir.display();
        format!("publish web --to {to} --level 1 --channel {channel} {keys}")
    }

    /// Runs `layerset trust` on a remote in a directory.
    pub fn trust(&self, command: &str, dir: &Path, more: &str) -> Ran {
        let keys = self.keys();
        let line = format!("trust {command} {} {more} {keys}", dir.display());
        self.publisher().run(&line)
    }

    /// Writes a trust policy with these locations.
    pub fn policy(&self, name: &str, locations: &[&str]) -> PathBuf {
        let path = self.path(&format!("trust-{name}.toml"));
        let mirrors: Vec<String> = locations[1..].iter().map(|at| format!("{at:?}")).collect();
        let text = format!(
            "[[remote]]\nname = \"main\"\nlocation = {:?}\nmirrors = [{}]\nroot = \"root.json\"\n",
            locations[0],
            mirrors.join(", ")
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Copies the machine that has release 1.
    pub fn another_machine(&self, name: &str) {
        copy(&self.path("seed"), &self.path(name));
    }

    pub fn pull_on(&self, machine: &str, trust: &Path) -> Ran {
        self.pull_with(machine, trust, "--quiet")
    }

    /// Pulls `web/stable` as an impatient person.
    pub fn pull_with(&self, machine: &str, trust: &Path, more: &str) -> Ran {
        let line = format!("pull web/stable --trust {} {more}", trust.display());
        let output = self.pull_command(machine, &line).output().unwrap();
        self.machine(machine).ran(&line, output)
    }

    pub fn pull_command(&self, machine: &str, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.machine(machine).command(&words);
        command.envs(IMPATIENT);
        command
    }

    pub fn ran(&self, machine: &str, output: Output) -> Ran {
        self.machine(machine).ran("", output)
    }

    /// Copies the remote for a mirror.
    pub fn mirror(&self, name: &str) -> Mirror {
        let dir = self.path(&format!("mirror-{name}"));
        copy(&self.path("remote"), &dir);
        Mirror { dir }
    }

    /// Signs a remote anew with a clock that says `now`.
    pub fn sign_at(
        &self,
        dir: &Path,
        now: i64,
        edit: &mut dyn FnMut(&mut Editor) -> Result<(), TransferError>,
    ) {
        let location = dir.to_str().unwrap().parse().unwrap();
        let remote = layerset::remote::open_writable(&location, &RemoteOptions::default()).unwrap();
        let memory = tempfile::tempdir().unwrap();
        let state = TrustState::open(Arc::new(RealDisk), &memory.path().join("s")).unwrap();
        let keys = KeyStore::open(&self.path("keys")).unwrap();
        let root = std::fs::read(self.path("root.json")).unwrap();
        let authority = SigningAuthority {
            remote: remote.as_ref(),
            root: &root,
            state: &state,
            keys: &keys,
            now,
        };
        HeadSigner::open(authority).unwrap().edit(edit).unwrap();
    }

    /// Lets a machine that has release 1 pull from a server that does what the rule says to a changed copy of the remote.
    pub fn attack(
        &self,
        name: &str,
        change: impl FnOnce(&Mirror),
        rule: impl Fn(&Seen, usize) -> Option<Step> + Send + Sync + 'static,
    ) -> Fate {
        let mirror = self.mirror(name);
        change(&mirror);
        let server = WebServer::ruled(&mirror.dir, rule);
        self.another_machine(name);
        let trust = self.policy(name, &[&server.url]);
        let started = Instant::now();
        let mut ran = self.pull_on(name, &trust);
        ran.stderr = ran.stderr.replace(&server.url, "URL");
        Fate {
            ran,
            took: started.elapsed(),
            machine: name.to_owned(),
        }
    }

    /// Fails unless the attack was refused in time, the repository is clean and as it was, and what runs still runs.
    #[track_caller]
    pub fn is_unharmed(&self, fate: &Fate) {
        let transcript = fate.ran.transcript();
        assert_ne!(fate.ran.status, 0, "{}: {transcript}", fate.machine);
        assert!(fate.took < PATIENCE, "{transcript}");
        let errors = fate.ran.stderr.matches("error: ").count();
        assert_eq!(errors, 1, "{}: {transcript}", fate.machine);
        self.has_release(&fate.machine, 1);
    }

    /// What a deployment mounted goes before the directory does.
    fn unmount(&self) {
        let target = self.path("target");
        if target.exists() {
            let line = format!("deactivate --target {}", target.display());
            let _ = self.machine("seed").run(&line);
        }
    }

    /// Fails unless a repository is sound, its channel is at this release, and what runs is as it was.
    #[track_caller]
    pub fn has_release(&self, machine: &str, serial: usize) {
        self.machine(machine).run("fsck").expect(0);
        self.is_at(machine, serial);
    }

    /// Fails unless a repository's channel is at this release, and what runs is as it was.
    #[track_caller]
    pub fn is_at(&self, machine: &str, serial: usize) {
        let disk = Arc::new(RealDisk);
        let repository = Repository::open(&self.path(machine), disk, Default::default()).unwrap();
        let found = repository.resolve_image("remotes/main/images/web/stable");
        assert_eq!(found.ok(), self.images.get(serial - 1).copied());
        assert_eq!(listing(&self.path("target/layerset")), self.deployed);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.original.is_none() {
            self.unmount();
        }
    }
}

pub fn stable() -> ChannelName {
    ChannelName::new(ReleaseKind::Image, "web", "stable").unwrap()
}

pub fn now() -> i64 {
    use layerset::time::Clock as _;
    layerset::time::SystemClock.now_sec()
}
