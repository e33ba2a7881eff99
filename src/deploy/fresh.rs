//! A target as values: what a new disk holds of it before any machine has started.
//!
//! It is what [`super::deploy`] leaves behind on an empty target, made without a mount, without root
//! and without a clock: the same image gives the same bytes.

use serde::Serialize;

use super::etc::{self, EtcPlan};
use super::history::{self, HistoryAction, HistoryRecord, LayerChange, RecordedVerdict};
use super::history_head::HistoryHead;
use super::record::{Deployment, DeploymentKind, FORMAT as DEPLOYMENT_FORMAT, JoinMethod};
use super::{DeployError, FORMAT, TargetIdentity, canonical, var};
use crate::format::{self, Image};
use crate::id::{ImageId, TreeId, hex};
use crate::materialise::{PasswdIds, erofs_image};
use crate::store::{PortableFiles, RefName, Repository};
use crate::tree::{Inode, Tree};

/// The directory of a target.
const TARGET: &str = "layerset";
/// The number of the deployment that a new disk starts with.
const GENERATION: u64 = 1;
/// Directories of the image that are the machine's own, beside `/var`: they start as the image has
/// them, and no update touches them.
const STATE: [&str; 3] = ["root", "home", "srv"];
/// systemd runs what is to run after an update where these are older than `/usr`. The image's
/// derived files are up to date already, and `/usr` cannot be written.
const STAMPS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// How to make a target as values.
#[derive(Debug, Clone)]
pub struct FreshOptions {
    /// The target's id, 16 hex digits.
    pub id: String,
    /// What counts as now, in seconds since 1970.
    pub now: i64,
    /// Who made it, for the history.
    pub who: String,
}

/// A target as values.
#[derive(Debug, Clone)]
pub struct FreshTarget {
    /// The files below the directory that holds `layerset/`.
    pub files: PortableFiles,
    /// The numbers of the owners.
    pub ids: PasswdIds,
    /// The number of its deployment.
    pub generation: u64,
    /// The ref that keeps the deployment's image in the repository, which lies in `layerset/repo`.
    pub keeps: RefName,
}

/// Makes a target with one deployment of an image, whose tree is `tree` and whose repository lies in
/// `layerset/repo`.
pub fn fresh(
    repository: &Repository,
    id: &ImageId,
    tree: &Tree,
    options: &FreshOptions,
) -> Result<FreshTarget, DeployError> {
    let image = repository.read_image(id)?;
    let etc = etc::plan(repository, tree, None, &super::Decisions::default())?;
    let ids = etc::ids_of(&etc.image, &etc.contents)?;
    let metadata = Vec::from(erofs_image(tree, &ids)?);
    let mut fresh = Fresh {
        files: PortableFiles::default(),
        now: options.now,
    };
    fresh.skeleton();
    fresh.json(
        "target.json",
        &TargetIdentity {
            format: FORMAT,
            id: options.id.clone(),
            repository: "repo".into(),
        },
    )?;
    let deployment = Deployment {
        format: DEPLOYMENT_FORMAT,
        generation: GENERATION,
        image: *id,
        created: options.now,
        kind: DeploymentKind::Composefs,
        kind_reason: None,
        join: JoinMethod::Bind,
        has_etc: etc.tree.is_some(),
        etc_tree: TreeId::of(&format::encode_tree(&etc.image)),
        has_var: tree.get(b"var").is_some_and(Inode::is_dir),
        etc_origin: None,
        var_units: Vec::new(),
        var_taken: Vec::new(),
        var_takes: Vec::new(),
        metadata: Some(hex(blake3::hash(&metadata).as_bytes())),
    };
    fresh.deployment(&deployment, &image, &etc, metadata)?;
    fresh.state(tree)?;
    fresh.stamps(tree);
    fresh.history(&image, *id, options)?;
    Ok(FreshTarget {
        files: fresh.files,
        ids,
        generation: GENERATION,
        keeps: RefName::deployment(&options.id, GENERATION)?,
    })
}

/// Returns what the image puts into an empty `/var`, with paths below it.
pub fn initial_var(image: &Tree) -> Result<Tree, DeployError> {
    // Nothing is there, so everything is added.
    let nothing = std::path::Path::new("/proc/self/fdinfo/none");
    Ok(var::plan(image, nothing)?.tree)
}

struct Fresh {
    files: PortableFiles,
    now: i64,
}

impl Fresh {
    fn skeleton(&mut self) {
        self.files.insert("", Inode::directory(0o755));
        for dir in [
            "",
            "/deployments",
            "/deployments/1",
            "/deployments/1/root",
            "/state",
        ] {
            self.dir(dir);
        }
        self.files.put(&format!("{TARGET}/lock"), 0o644, Vec::new());
        let current = Inode::symlink(&format!("deployments/{GENERATION}"));
        self.files.insert(&format!("{TARGET}/current"), current);
    }

    fn dir(&mut self, below: &str) {
        self.files
            .insert(&format!("{TARGET}{below}"), Inode::directory(0o755));
    }

    fn json<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), DeployError> {
        let path = format!("{TARGET}/{name}");
        let bytes = canonical(path.as_ref(), "file", value)?;
        self.files.put(&path, 0o644, bytes);
        Ok(())
    }

    fn deployment(
        &mut self,
        facts: &Deployment,
        image: &Image,
        etc: &EtcPlan<'_>,
        metadata: Vec<u8>,
    ) -> Result<(), DeployError> {
        let dir = format!("deployments/{GENERATION}");
        self.json(&format!("{dir}/deployment.json"), facts)?;
        self.json(&format!("{dir}/image.json"), image)?;
        let dir = format!("{TARGET}/{dir}");
        let tree = format::encode_tree(&etc.image);
        self.files.put(&format!("{dir}/etc.tree"), 0o600, tree);
        self.files
            .put(&format!("{dir}/meta.erofs"), 0o444, metadata);
        if let Some(tree) = &etc.tree {
            self.graft(tree, b"etc", &format!("{dir}/etc"));
        }
        Ok(())
    }

    /// Puts the part of `tree` at `from` at `to`, with hard links of its own.
    fn graft(&mut self, tree: &Tree, from: &[u8], to: &str) {
        let mut part: Tree = tree
            .subtree(from)
            .filter_map(|(path, inode)| Some((path.rebase(from, b"")?, inode.clone())))
            .collect();
        // A group of hard links may reach beyond the part, and numbers meet those of other parts.
        part.canonicalize_hardlinks();
        let used = self.files.tree.iter().map(|(_, inode)| inode.hardlink);
        let first = used.max().unwrap_or(0);
        for (path, mut inode) in part {
            if inode.hardlink != 0 {
                inode.hardlink += first;
            }
            if let Some(path) = path.rebase(b"", to.as_bytes()) {
                self.files.tree.insert(path, inode);
            }
        }
    }

    /// Puts what the image gives to the machine: `/var` as the first switch would make it, and the
    /// other directories as they are.
    fn state(&mut self, tree: &Tree) -> Result<(), DeployError> {
        let var = initial_var(tree)?;
        self.dir("/state/var");
        self.graft(&var, b"", &format!("{TARGET}/state/var"));
        for name in STATE {
            if tree.get(name.as_bytes()).is_some_and(Inode::is_dir) {
                self.graft(tree, name.as_bytes(), &format!("{TARGET}/state/{name}"));
            }
        }
        Ok(())
    }

    fn stamps(&mut self, tree: &Tree) {
        for stamp in STAMPS {
            let (dir, name) = stamp.split_once('/').unwrap_or_default();
            if !tree.get(dir.as_bytes()).is_some_and(Inode::is_dir) {
                continue;
            }
            let place = match dir {
                "etc" => format!("{TARGET}/deployments/{GENERATION}/etc/{name}"),
                _ => format!("{TARGET}/state/{dir}/{name}"),
            };
            self.files.put(&place, 0o644, Vec::new());
            self.files.date(&place, self.now);
        }
    }

    fn history(
        &mut self,
        image: &Image,
        id: ImageId,
        options: &FreshOptions,
    ) -> Result<(), DeployError> {
        let layers = image.layers.iter().map(|layer| LayerChange {
            name: layer.name.clone(),
            from: None,
            to: Some(layer.version.clone()),
        });
        let record = HistoryRecord {
            sequence: 0,
            parent: String::new(),
            when: self.now,
            who: options.who.clone(),
            action: HistoryAction::Deploy,
            from: None,
            to: Some(GENERATION),
            about: None,
            image: Some(id),
            layers: layers.collect(),
            verdict: RecordedVerdict::Unchecked,
            reason: "put on a new disk".to_owned(),
            checks: Vec::new(),
            digest: String::new(),
        };
        let path = format!("{TARGET}/history.jsonl");
        let line = history::next_line(b"", record).map_err(|reason| DeployError::Damaged {
            path: path.clone().into(),
            reason,
        })?;
        let head = HistoryHead::of(&line);
        let head_path = format!("{TARGET}/history.head");
        let head = canonical(std::path::Path::new(&head_path), "history head", &head)?;
        self.files.put(&head_path, 0o644, head);
        self.files.put(&path, 0o644, line);
        Ok(())
    }
}
