//! Directory targets: images put on a running Linux, switched by one rename, and taken back by the
//! same.
//!
//! ```text
//! <root>/layerset/
//!   target.json            format, id, repository
//!   lock                   exclusive for every change of the target
//!   current -> deployments/<n>    the one pointer: its rename is the commit point of a switch
//!   deployments/<n>/       image.json deployment.json etc.tree meta.erofs etc/ root/
//!                          etc-conflicts/ var-new/ var-taken/ var-taken.json pinned bad
//!   state/var/             shared by all deployments
//!   bad/<image>            why an image is bad here
//!   held.json              images that rollbacks left
//!   agent.json             what `layerset agent` remembers, for its reports
//!   history.jsonl          append-only, each record with the hash of the one before
//!   history.head           how many records there are, and the digest of the last
//!   reserve/               what a switch or a mark takes when the disk is full
//! ```
//!
//! Reading ([`Target::status`], [`Target::history`]) takes no lock and needs no repository.
//! Changing goes through [`Target::change`], which holds the lock, clears what a dead command left,
//! and completes the history. A deployment is built as `.new-<n>` and gets its name by one rename;
//! it is removed by first renaming it to `.old-<n>`. Readers ignore both kinds of names, and the
//! next command removes them.

mod activate;
mod change;
mod changelog;
mod changes;
mod contents;
mod damage;
mod decide;
mod error;
mod etc;
mod factory;
mod fresh;
mod history;
mod history_head;
mod location;
mod machine;
mod mounts;
mod moving;
mod pointer;
mod preflight;
mod prune;
mod record;
mod restart;
mod reuse;
mod room;
mod run;
mod running;
mod service_unit;
mod stage;
mod stamp;
mod status;
mod subscription;
mod switch;
mod taken;
mod var;
mod verdicts;

pub use activate::ActivationReport;
pub use change::Change;
pub use changelog::cves as changelog_cves;
pub use changes::{ImageChanges, ImageParts, PackageChange, changes, package_changes, wanted};
pub use decide::{ConflictSide, Decisions};
pub use error::{DeployError, HarmedObject};
pub use etc::EtcReport;
pub use factory::{KeptContent, OwnCopy, VarReport};
pub use fresh::{FreshOptions, FreshTarget, fresh, initial_var};
pub use history::{
    ChainBreak, History, HistoryAction, HistoryRecord, LayerChange, Note, RecordedCheck,
    RecordedVerdict,
};
pub use location::TargetLocation;
pub use machine::{
    BootReport, BootVerdict, Booted, Exchange, Machine, MachineError, Next, Notice, OldProgram,
    ROOT as MACHINE_ROOT, SwitchClass, SwitchWay, UnitChanges,
};
pub use mounts::activation_unit;
pub use prune::PrunePlan;
pub use record::{Deployment, DeploymentKind, EtcOrigin, JoinMethod};
pub use restart::{ServiceRestart, Services};
pub use run::{
    DeployMode, DeployOptions, DeployReport, NewDeployment, SourceRelease, SwitchPace, deploy,
    plan_parts,
};
pub use running::{RUN_PATH, RunNetwork};
pub use service_unit::{UNIT_DIRECTORIES, UnitMark, update_units};
pub use stage::{KindChoice, StageOptions, StagedDeployment};
pub use status::{DeploymentOrigin, DeploymentState, DeploymentStatus, TargetStatus};
pub use subscription::Subscription;
pub use switch::{BadPolicy, SwitchReport};

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::pointer::Pointer;
use crate::durable::{Disk, LatchingDisk, Reserve, make_dirs, replace_file};
use crate::format;
use crate::id::ImageId;
use crate::id::hex;
use crate::store::Repository;
use crate::time::Clock;

const FORMAT: u32 = 1;

/// What `target.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TargetIdentity {
    format: u32,
    id: String,
    /// Absolute; on a machine's own disk, which may be mounted anywhere, relative to the directory of
    /// this file.
    repository: PathBuf,
}

/// How long to wait for another command on the same target, and whom to tell.
#[derive(Clone)]
pub struct TargetLockWait {
    /// How long to wait.
    pub patience: Duration,
    /// Told once who holds the target.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
    /// Told what was found and mended, or left over, on the way.
    pub remark: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for TargetLockWait {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(600),
            tell: Arc::new(|_| {}),
            remark: Arc::new(|_| {}),
        }
    }
}

/// A directory target.
pub struct Target {
    root: PathBuf,
    dir: PathBuf,
    identity: TargetIdentity,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    waiting: TargetLockWait,
    /// The machine that runs from it, where this is its own disk.
    machine: Option<Arc<Machine>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("dir", &self.dir)
            .field("id", &self.identity.id)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Opens the target at `root`, or makes one that takes its objects from `repository`.
    ///
    /// The commit point of making one is the rename of `target.json`.
    pub fn open_or_init(
        root: &Path,
        repository: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DeployError> {
        let repository = absolute(repository)?;
        match Self::open(root, Arc::clone(&disk), Arc::clone(&clock)) {
            Ok(target) => {
                target.require_repository(&repository)?;
                return Ok(target);
            }
            Err(DeployError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        make_dirs(root, 0o755).map_err(|error| DeployError::io("make directory", root, error))?;
        let dir = root.join("layerset");
        refuse_prepared(&dir)?;
        disk.mkdir(&dir, 0o755)?;
        refuse_strangers(&dir)?;
        for (name, mode) in [
            ("deployments", 0o755),
            ("state", 0o755),
            ("state/var", 0o755),
        ] {
            disk.mkdir(&dir.join(name), mode)?;
        }
        let identity = TargetIdentity {
            format: FORMAT,
            id: random_id()?,
            repository,
        };
        let path = dir.join("target.json");
        let bytes = format::to_canonical_json("target", &identity).map_err(|error| {
            DeployError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            }
        })?;
        disk.sync_fs(&dir)?;
        replace_file(disk.as_ref(), &path, 0o644, &bytes)?;
        Self::open(root, disk, clock)
    }

    /// Opens the target at `root`.
    ///
    /// After a sync that failed, this handle changes nothing any more: open the target again.
    pub fn open(
        root: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DeployError> {
        let root = absolute(root)?;
        let dir = root.join("layerset");
        let path = dir.join("target.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DeployError::Missing { path: root });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(DeployError::NoDirectory { path: root });
            }
            Err(error) => return Err(DeployError::io("read", &path, error)),
        };
        let mut identity: TargetIdentity =
            serde_json::from_slice(&bytes).map_err(|error| DeployError::Damaged {
                path,
                reason: error.to_string(),
            })?;
        if identity.format != FORMAT {
            return Err(DeployError::Incompatible {
                path: root,
                format: identity.format,
            });
        }
        if identity.repository.is_relative() {
            identity.repository = absolute(&dir.join(&identity.repository))?;
        }
        Ok(Self {
            disk: Arc::new(
                LatchingDisk::new(&root, disk).with_reserve(Reserve::new(dir.join("reserve"))),
            ),
            root,
            dir,
            identity,
            clock,
            waiting: TargetLockWait::default(),
            machine: None,
        })
    }

    /// Sets how changes wait for another command.
    #[must_use]
    pub fn with_waiting(mut self, waiting: TargetLockWait) -> Self {
        self.waiting = waiting;
        self
    }

    /// Makes it the target that this machine runs from.
    #[must_use]
    pub fn with_machine(mut self, machine: Option<Arc<Machine>>) -> Self {
        self.machine = machine;
        self
    }

    /// Returns the machine that runs from it, where this is its own disk.
    pub fn machine(&self) -> Option<&Machine> {
        self.machine.as_deref()
    }

    /// Returns the directory that the target was made in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the target's id, 16 hex digits.
    pub fn id(&self) -> &str {
        &self.identity.id
    }

    /// Returns where the objects of its deployments are.
    pub fn repository(&self) -> &Path {
        &self.identity.repository
    }

    /// Reads the history, and verifies it.
    pub fn history(&self) -> Result<History, DeployError> {
        History::load(&self.history_path())
    }

    /// Returns the number of the current deployment: on a machine's own disk, the one that runs.
    pub fn current(&self) -> Result<Option<u64>, DeployError> {
        match &self.machine {
            Some(machine) => Ok(Some(machine.running())),
            None => self.pointer().read(),
        }
    }

    /// Returns where the `/etc` of what is current lies, with the edits of the machine.
    pub fn current_etc(&self) -> Result<Option<PathBuf>, DeployError> {
        let current = self.current()?;
        Ok(current.map(|current| self.deployment_dir(current).join("etc")))
    }

    /// Lists the numbers of all deployments, in order.
    pub fn generations(&self) -> Result<Vec<u64>, DeployError> {
        let mut found: Vec<u64> = self
            .names()?
            .iter()
            .filter_map(|name| parse_generation(name))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn names(&self) -> Result<Vec<String>, DeployError> {
        let dir = self.deployments_dir();
        let list = |error| DeployError::io("list", &dir, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(list)? {
            names.extend(entry.map_err(list)?.file_name().into_string());
        }
        Ok(names)
    }

    fn deployment(&self, generation: u64) -> Result<record::DeploymentDir, DeployError> {
        record::DeploymentDir::load(self.deployment_dir(generation), generation)
    }

    fn deployment_dir(&self, generation: u64) -> PathBuf {
        self.deployments_dir().join(generation.to_string())
    }

    /// Says whether an image is current and looks intact.
    pub fn runs(&self, image: &ImageId) -> Result<bool, DeployError> {
        let current = self.current()?.and_then(|n| self.deployment(n).ok());
        let starts_next = match &self.machine {
            Some(machine) => machine.next()?.deployment == self.current()?,
            None => true,
        };
        Ok(starts_next
            && current.is_some_and(|deployment| {
                deployment.facts.image == *image
                    && self.is_mounted(&deployment).unwrap_or(false)
                    && deployment.image().is_ok()
            }))
    }

    fn deployments_dir(&self) -> PathBuf {
        self.dir.join("deployments")
    }

    fn pointer(&self) -> Pointer {
        Pointer::of_dir(&self.dir)
    }

    fn history_path(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }

    fn var_dir(&self) -> PathBuf {
        self.dir.join("state/var")
    }

    fn require_repository(&self, given: &Path) -> Result<(), DeployError> {
        if absolute(given)? == self.identity.repository {
            return Ok(());
        }
        Err(DeployError::OtherRepository {
            recorded: self.identity.repository.clone(),
            given: given.to_owned(),
        })
    }

    /// Computes what staging an image would do to `/etc`, and writes nothing.
    pub fn plan_etc(
        &self,
        repository: &Repository,
        image: &crate::id::ImageId,
        decisions: &Decisions,
    ) -> Result<EtcReport, DeployError> {
        let tree = repository.read_tree(&repository.read_image(image)?.tree)?;
        self.plan_etc_of(repository, &tree, decisions)
    }

    /// Does the same for a tree whose files of `/etc` are in the repository.
    pub fn plan_etc_of(
        &self,
        repository: &Repository,
        tree: &crate::tree::Tree,
        decisions: &Decisions,
    ) -> Result<EtcReport, DeployError> {
        let current = self.current()?.map(|n| self.deployment(n)).transpose()?;
        Ok(moving::plan(repository, tree, current.as_ref(), decisions)?.report)
    }

    /// Counts the paths of the current `/etc` that are not as the image has them: what was edited, made
    /// and removed on the machine.
    pub fn count_etc_edits(&self, repository: &Repository) -> Result<usize, DeployError> {
        match self.current()? {
            Some(current) => etc::count_edits(repository, &self.deployment(current)?),
            None => Ok(0),
        }
    }

    /// Computes what staging an image would do to factory content that the machine has already, and
    /// writes nothing.
    pub fn plan_var(
        &self,
        repository: &Repository,
        tree: &crate::tree::Tree,
        decisions: &Decisions,
    ) -> Result<VarReport, DeployError> {
        let current = self.current()?.map(|n| self.deployment(n)).transpose()?;
        let plan = self.plan_factory(repository, tree, current.as_ref(), decisions)?;
        Ok(plan.report())
    }

    /// Returns whose taken content the shared state shows while a deployment is current, as far as
    /// they are still there.
    fn takes_of(&self, current: Option<&record::DeploymentDir>) -> Result<Vec<u64>, DeployError> {
        let generations = self.generations()?;
        let takes = current.map_or(&[][..], |current| &current.facts.var_takes);
        let there = takes.iter().filter(|taker| generations.contains(taker));
        Ok(there.copied().collect())
    }

    fn plan_factory(
        &self,
        repository: &Repository,
        tree: &crate::tree::Tree,
        current: Option<&record::DeploymentDir>,
        decisions: &Decisions,
    ) -> Result<factory::FactoryPlan, DeployError> {
        let tree_of = |image: &crate::id::ImageId| {
            let image = repository.read_image(image).ok()?;
            repository.read_tree(&image.tree).ok()
        };
        // What the image before had decides what is told, and nothing else: without it, nothing is.
        let before = current.and_then(|current| tree_of(&current.facts.image));
        let known = || {
            let generations = self.generations().unwrap_or_default();
            let images: BTreeSet<_> = generations
                .iter()
                .filter_map(|n| self.image_id_of(*n).ok())
                .collect();
            images.iter().filter_map(tree_of).collect()
        };
        let state = self.var_dir();
        Ok(factory::plan(
            tree,
            before.as_ref(),
            &state,
            decisions,
            &known,
        ))
    }
}

fn parse_generation(name: &str) -> Option<u64> {
    let generation: u64 = name.parse().ok()?;
    (generation > 0 && generation.to_string() == name).then_some(generation)
}

/// Makes a path absolute, with symbolic links resolved where it exists.
fn absolute(path: &Path) -> Result<PathBuf, DeployError> {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| DeployError::io("resolve", path, error))
}

/// Refuses a directory that holds anything but a target that was never finished.
fn refuse_strangers(dir: &Path) -> Result<(), DeployError> {
    let list = |error| DeployError::io("list", dir, error);
    for entry in std::fs::read_dir(dir).map_err(list)? {
        let name = entry.map_err(list)?.file_name();
        let known = ["deployments", "state", ".target.json.new", "lock"];
        if !known.iter().any(|known| name == *known) {
            return Err(DeployError::Occupied {
                path: dir.to_owned(),
            });
        }
    }
    Ok(())
}

/// Refuses a target of which another user made a part: a link of theirs would lead what root writes
/// and removes to places of their choice. Links of one's own may lead to another disk.
fn refuse_prepared(dir: &Path) -> Result<(), DeployError> {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    let parts = [
        "",
        "target.json",
        "lock",
        "deployments",
        "state",
        "state/var",
        "reserve",
        "bad",
    ];
    for path in parts.map(|part| dir.join(part)) {
        let path = path.components().collect::<PathBuf>();
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(_) => continue,
        };
        // The directory `state/var` has the owner that the image gives it.
        let is_ours = found.uid() == own || found.is_dir() && path.ends_with("state/var");
        if !is_ours {
            return Err(DeployError::Prepared {
                path,
                uid: found.uid(),
            });
        }
    }
    Ok(())
}

fn random_id() -> Result<String, DeployError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| DeployError::io("read", path, error))?;
    Ok(hex(&bytes))
}

/// Writes a new file.
fn put(disk: &dyn Disk, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DeployError> {
    disk.write(path, mode, &mut |file| {
        std::io::Write::write_all(file, bytes)
    })?;
    Ok(())
}

/// Returns the canonical JSON of what goes to `path`.
fn canonical<T: serde::Serialize>(
    path: &Path,
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, DeployError> {
    format::to_canonical_json(what, value).map_err(|error| DeployError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
