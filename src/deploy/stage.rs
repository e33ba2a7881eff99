//! Staging: builds a complete deployment beside the current one, which goes on as it is.
//!
//! Order: checks (nothing is written) → the ref that keeps the image → `.new-<n>` → `syncfs` →
//! renamed to `deployments/<n>` (the commit point) → `fsync` of `deployments`. A stage that fails
//! or dies leaves a `.new-<n>` and a ref that the next command removes.

use std::path::Path;

use super::change::Change;
use super::decide::Decisions;
use super::etc::{self, ChainedIds, EtcPlan, EtcReport};
use super::factory::{FactoryPlan, VarReport};
use super::machine::BootPlan;
use super::preflight::{SpaceRequirement, check_objects};
use super::record::{Deployment, DeploymentDir, DeploymentKind, FORMAT, JoinMethod};
use super::taken::ASIDE;
use super::var::{self, VarPlan};
use super::{DeployError, canonical, mounts, moving, put};
use crate::check::renumbered;
use crate::durable::Disk;
use crate::format::{self, Image};
use crate::id::{ImageId, TreeId};
use crate::layout::accounts::{GROUP, PASSWD};
use crate::materialise::{
    Capabilities, MetadataImage, Ownership, Support, checkout, checkout_subtree,
};
use crate::merge::Blobs as _;
use crate::path::RelPath;
use crate::store::Repository;
use crate::tree::{Inode, Tree};

/// How the tree shall be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KindChoice {
    /// Mounted where the system can, else copied.
    #[default]
    Auto,
    /// Copied.
    Copy,
}

/// How to stage.
#[derive(Debug, Clone, Default)]
pub struct StageOptions {
    /// How the tree shall be on disk.
    pub kind: KindChoice,
    /// Decisions about conflicts in `/etc`.
    pub decisions: Decisions,
}

/// A staged deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedDeployment {
    /// Its number.
    pub generation: u64,
    /// The image.
    pub image: ImageId,
    /// How its tree is on disk.
    pub kind: DeploymentKind,
    /// What became of `/etc`.
    pub etc: EtcReport,
    /// What became of factory content that the machine has already.
    pub var: VarReport,
    /// What the first switch adds to the shared state, as paths in the image.
    pub new_state: Vec<RelPath>,
}

/// Everything that is decided before the first write.
pub(super) struct StagePlan<'r> {
    pub(super) generation: u64,
    id: ImageId,
    image: Image,
    tree: Tree,
    pub(super) etc: EtcPlan<'r>,
    var: VarPlan,
    factory: FactoryPlan,
    /// Whose taken content this deployment follows.
    takes: Vec<u64>,
    kind: DeploymentKind,
    kind_reason: Option<String>,
    join: JoinMethod,
    metadata: Option<MetadataImage>,
    ownership: Ownership,
    image_ids: ChainedIds,
    /// What starts it, on a machine's own disk.
    boot: Option<BootPlan>,
}

/// Refuses an image that gives accounts of the current one other numbers: what they own in `/var`
/// would change its owner.
fn refuse_renumbered(
    image: &Image,
    etc: &EtcPlan<'_>,
    current: Option<&DeploymentDir>,
) -> Result<(), DeployError> {
    let (Some(current), Some(new)) = (current, &etc.tree) else {
        return Ok(());
    };
    let mut findings = Vec::new();
    for (file, is_user) in [(PASSWD, true), (GROUP, false)] {
        let path = current.dir.join(file);
        let old = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            result => result.map_err(|error| DeployError::io("read", &path, error))?,
        };
        let path = RelPath::from_text(file).ok();
        let object = path
            .as_ref()
            .and_then(|path| new.get(path.as_bytes())?.object());
        let Some(object) = object else { continue };
        for account in renumbered(&old, &etc.contents.read(&object)?) {
            findings.push(account.finding(is_user, path.clone(), String::new()));
        }
    }
    findings.retain(|finding| {
        !image
            .waivers
            .iter()
            .any(|w| w.finding == finding.id.as_str())
    });
    if findings.is_empty() {
        Ok(())
    } else {
        Err(DeployError::Renumbered(findings))
    }
}

/// Refuses an `/etc` that nobody decided about, or in which owners would be others.
fn refuse_etc(
    image: &Image,
    etc: &EtcPlan<'_>,
    current: Option<&DeploymentDir>,
) -> Result<(), DeployError> {
    if !etc.report.conflicts.is_empty() {
        return Err(DeployError::Conflicts(etc.report.conflicts.clone()));
    }
    refuse_renumbered(image, etc, current)
}

impl Change<'_> {
    /// Stages an image as a new deployment.
    pub fn stage(
        &self,
        repository: &Repository,
        image: &ImageId,
        options: &StageOptions,
    ) -> Result<StagedDeployment, DeployError> {
        self.target.require_repository(repository.root())?;
        self.release_strays(repository)?;
        let mut plan = self.plan_stage(repository, image, options)?;
        let name = self.ref_name(plan.generation)?;
        repository.set_ref(&name, &image.to_string())?;
        repository.remember_target(self.target.id(), self.target.root())?;
        let new = self
            .target
            .deployments_dir()
            .join(format!(".new-{}", plan.generation));
        if let Err(error) = self.build(repository, &mut plan, options, &new) {
            // What cannot be removed now is removed by the next command; the first error is the one
            // that matters.
            let _ = self.target.remove_dir(&new);
            let _ = repository.remove_ref(&name);
            return Err(error);
        }
        self.target.keep_reserve();
        Ok(StagedDeployment {
            generation: plan.generation,
            image: *image,
            kind: plan.kind,
            etc: plan.etc.report,
            var: plan.factory.report(),
            new_state: plan
                .var
                .tree
                .iter()
                .filter_map(|(path, _)| path.rebase(b"", b"var"))
                .collect(),
        })
    }

    fn plan_stage<'r>(
        &self,
        repository: &'r Repository,
        id: &ImageId,
        options: &StageOptions,
    ) -> Result<StagePlan<'r>, DeployError> {
        let target = self.target;
        let image = repository.read_image(id)?;
        let tree = repository.read_tree(&image.tree)?;
        check_objects(repository, &tree)?;
        target.refuse_unknown_origin()?;
        let current = target
            .current()?
            .map(|n| target.deployment(n))
            .transpose()?;
        let etc = moving::plan(repository, &tree, current.as_ref(), &options.decisions)?;
        refuse_etc(&image, &etc, current.as_ref())?;
        let image_ids = ChainedIds(vec![etc::ids_of(&etc.image, &etc.contents)?]);
        let (kind, kind_reason) = self.choose_kind(options.kind)?;
        let join = match kind {
            DeploymentKind::Composefs => JoinMethod::Bind,
            DeploymentKind::Copy if mounts::may_bind(&target.dir) => JoinMethod::Bind,
            DeploymentKind::Copy => JoinMethod::Symlink,
        };
        let metadata = match kind {
            DeploymentKind::Composefs => Some(MetadataImage::find_or_make(
                &repository.cache_dir("erofs")?,
                &image.tree,
                &tree,
                &image_ids,
            )?),
            DeploymentKind::Copy => None,
        };
        let ownership = if rustix::process::geteuid().is_root() {
            Ownership::Exact
        } else {
            Ownership::Current
        };
        let boot = match &target.machine {
            Some(machine) => Some(machine.plan(repository, &image, &tree)?),
            None => None,
        };
        let plan = StagePlan {
            boot,
            generation: self.next_generation()?,
            id: *id,
            var: var::plan(&tree, &target.var_dir())?,
            factory: target.plan_factory(
                repository,
                &tree,
                current.as_ref(),
                &options.decisions,
            )?,
            takes: target.takes_of(current.as_ref())?,
            image,
            tree,
            etc,
            kind,
            kind_reason,
            join,
            metadata,
            ownership,
            image_ids,
        };
        plan.need().require(&target.dir)?;
        Ok(plan)
    }

    fn choose_kind(
        &self,
        choice: KindChoice,
    ) -> Result<(DeploymentKind, Option<String>), DeployError> {
        if self.target.machine.is_some() {
            return Ok((DeploymentKind::Composefs, None));
        }
        if choice == KindChoice::Copy {
            return Ok((DeploymentKind::Copy, None));
        }
        match Capabilities::probe(&self.target.dir)?.composefs {
            Support::Works => Ok((DeploymentKind::Composefs, None)),
            Support::Missing(reason) => Ok((DeploymentKind::Copy, Some(reason))),
        }
    }

    fn build<'r>(
        &self,
        repository: &'r Repository,
        plan: &mut StagePlan<'r>,
        options: &StageOptions,
        new: &Path,
    ) -> Result<(), DeployError> {
        let target = self.target;
        let disk = target.disk.as_ref();
        disk.mkdir(new, 0o755)?;
        let manifest = canonical(&new.join("image.json"), "image", &plan.image)?;
        put(disk, &new.join("image.json"), 0o644, &manifest)?;
        let etc_tree = format::encode_tree(&plan.etc.image);
        put(disk, &new.join("etc.tree"), 0o600, &etc_tree)?;
        plan.write_root(disk, repository, new)?;
        self.write_etc(repository, plan, &options.decisions, new)?;
        let has_state = !plan.var.tree.is_empty();
        if has_state {
            plan.checkout(&plan.var.tree, &new.join("var-new"))?;
        }
        let mut takes = plan.takes.clone();
        if !plan.factory.taken.is_empty() {
            plan.write_taken(disk, new)?;
            takes.push(plan.generation);
        }
        let facts = Deployment {
            format: FORMAT,
            generation: plan.generation,
            image: plan.id,
            created: target.clock.now_sec(),
            kind: plan.kind,
            kind_reason: plan.kind_reason.clone(),
            join: plan.join,
            has_etc: plan.etc.tree.is_some(),
            has_var: plan.tree.get(b"var").is_some_and(Inode::is_dir),
            etc_tree: TreeId::of(&etc_tree),
            etc_origin: plan.etc.origin.clone(),
            var_units: plan.var.units.clone(),
            var_taken: plan.factory.taken.clone(),
            var_takes: takes,
            metadata: plan.metadata.as_ref().map(MetadataImage::digest),
        };
        let bytes = canonical(&new.join("deployment.json"), "deployment", &facts)?;
        put(disk, &new.join("deployment.json"), 0o644, &bytes)?;
        let boot = target.machine.as_ref().zip(plan.boot.as_ref());
        if let Some((machine, boot)) = boot {
            machine.install_kernel(disk, repository, boot)?;
            // Before the deployment has its name: none is ever without.
            machine.add_entry(disk, boot, plan.generation)?;
        }
        disk.sync_fs(new)?;
        disk.rename(new, &target.deployment_dir(plan.generation))?;
        disk.sync_dir(&target.deployments_dir())?;
        Ok(())
    }
}

impl<'r> StagePlan<'r> {
    /// Plans `/etc` anew, by what the machine has now; the same is refused as before.
    pub(super) fn renew_etc(
        &mut self,
        repository: &'r Repository,
        current: &DeploymentDir,
        decisions: &Decisions,
    ) -> Result<(), DeployError> {
        self.etc = moving::plan(repository, &self.tree, Some(current), decisions)?;
        refuse_etc(&self.image, &self.etc, Some(current))
    }
}

impl StagePlan<'_> {
    fn need(&self) -> SpaceRequirement {
        let mut need = SpaceRequirement::new();
        match &self.metadata {
            // Twice: in the deployment and in the cache, which often is on the same filesystem.
            Some(metadata) => {
                need.add_file(metadata.bytes());
                need.add_file(metadata.bytes());
            }
            None => need.add_tree(&self.tree),
        }
        need.add_tree(self.etc.tree.as_ref().unwrap_or(&self.etc.image));
        need.add_tree(&self.var.tree);
        need.add_tree(&self.factory.tree);
        for side in self.etc.saved.iter().flatten() {
            need.add_tree(side);
        }
        need
    }

    /// Writes a tree with the machine's numbers of owners.
    fn checkout(&self, tree: &Tree, at: &Path) -> Result<(), DeployError> {
        checkout(tree, &self.etc.contents, at, &self.etc.ids, self.ownership)?;
        Ok(())
    }

    fn write_root(
        &self,
        disk: &dyn Disk,
        repository: &Repository,
        new: &Path,
    ) -> Result<(), DeployError> {
        let root = new.join("root");
        disk.mkdir(&root, 0o755)?;
        let Some(metadata) = &self.metadata else {
            // The image's own numbers, as in a mounted deployment.
            let tree = self.root_tree();
            checkout(
                &tree,
                &self.etc.contents,
                &root,
                &self.image_ids,
                self.ownership,
            )?;
            return Ok(());
        };
        Ok(metadata.write(disk, repository.disk().as_ref(), &new.join("meta.erofs"))?)
    }

    /// Writes what is taken of `/var`. It may be for a service's eyes only.
    fn write_taken(&self, disk: &dyn Disk, new: &Path) -> Result<(), DeployError> {
        let aside = new.join(ASIDE);
        let mut tree = self.factory.tree.clone();
        if tree.is_empty() {
            return Ok(disk.mkdir(&aside, 0o700)?);
        }
        // Only root walks here.
        tree.insert(RelPath::root(), Inode::directory(0o700));
        self.checkout(&tree, &aside)
    }

    /// Returns the tree without what lies below `etc` and `var`, which are joined to it.
    fn root_tree(&self) -> Tree {
        let joined = |name: &[u8]| self.tree.get(name).is_some_and(Inode::is_dir);
        let hidden = |path: &RelPath| {
            [&b"etc"[..], b"var"]
                .iter()
                .any(|name| joined(name) && path.starts_with(name) && path.as_bytes() != *name)
        };
        let mut tree: Tree = self
            .tree
            .iter()
            .filter(|(path, _)| !hidden(path))
            .map(|(path, inode)| (path.clone(), inode.clone()))
            .collect();
        if self.join == JoinMethod::Symlink {
            for (name, to) in [(&b"etc"[..], "../etc"), (b"var", "../../../state/var")] {
                if let (true, Ok(path)) = (joined(name), RelPath::new(name)) {
                    tree.insert(path, Inode::symlink(to));
                }
            }
        }
        tree.canonicalize_hardlinks();
        tree
    }

    pub(super) fn write_etc(&self, disk: &dyn Disk, new: &Path) -> Result<(), DeployError> {
        if let Some(tree) = &self.etc.tree {
            let (contents, ids) = (&self.etc.contents, &self.etc.ids);
            checkout_subtree(
                tree,
                b"etc",
                contents,
                &new.join("etc"),
                ids,
                self.ownership,
            )?;
        }
        if let Some(sides) = &self.etc.saved {
            let dir = new.join("etc-conflicts");
            disk.mkdir(&dir, 0o700)?;
            for (name, side) in ["before", "machine", "image"].iter().zip(sides) {
                self.checkout(side, &dir.join(name))?;
            }
        }
        Ok(())
    }
}
