//! Repairing a repository: what is damaged or missing is brought back by its digest, from wherever it
//! can be had.
//!
//! ```text
//! another repository → targets (manifests, refs) → remotes → made of layers again → taken away
//! ```
//!
//! Nothing is trusted but digests: whatever has the right one is what was lost. What comes back may
//! show what else is missing, so it goes round until nothing more comes.

use std::path::Path;

use serde::Serialize;

use super::AgentError;
use crate::builder::{Composer, recompose};
use crate::causes::chain;
use crate::deploy::Target;
use crate::format::release::{Release, ReleaseId, ReleaseKind};
use crate::store::{
    Damage, DamagedThing, Dependent, FsckOptions, FsckReport, Harmed, RefName, Repository,
};
use crate::transfer::{Connection, Origins, PullOptions, TransferError, restore};

/// How often it goes round at most: a ref leads to an image, the image to layers, these to objects.
const ROUNDS: usize = 4;

/// Where whole bytes may be.
pub struct RepairOptions<'a> {
    /// The remotes; `None` where there is no trust policy.
    pub origins: Option<&'a Origins>,
    /// Another repository.
    pub other: Option<&'a Path>,
    /// Opens the target at a path.
    pub open: &'a dyn Fn(&Path) -> Option<Target>,
    /// Composes images.
    pub composer: &'a Composer<'a>,
    /// How to fetch.
    pub pull: &'a PullOptions<'a>,
    /// How to look.
    pub fsck: FsckOptions<'a>,
}

/// A thing that is whole again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedThing {
    /// What it is.
    pub what: &'static str,
    /// Its id or name.
    pub name: String,
    /// How it came back.
    pub how: String,
}

/// What a repair came to.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// What is whole again.
    pub repaired: Vec<RepairedThing>,
    /// What fsck says afterwards.
    pub left: FsckReport,
    /// What that harms.
    pub harmed: Harmed,
    /// What could not be asked, and why.
    pub remarks: Vec<String>,
}

/// Verifies every byte of a repository, and that each deployment of a known target has its image
/// there.
pub fn verify(
    repository: &Repository,
    open: &dyn Fn(&Path) -> Option<Target>,
    options: FsckOptions<'_>,
) -> Result<FsckReport, AgentError> {
    let mut report = repository.fsck(options).map_err(TransferError::from)?;
    let targets = repository.targets().map_err(TransferError::from)?;
    for (id, root) in targets {
        let target = root.and_then(|root| open(&root));
        let Some(target) = target.filter(|target| target.id() == id) else {
            continue;
        };
        for generation in target.generations()? {
            let name = RefName::deployment(&id, generation).map_err(TransferError::from)?;
            if matches!(repository.read_ref(&name), Ok(None)) {
                report.damaged.push(DamagedThing {
                    what: "ref",
                    name: name.to_string(),
                    damage: Damage::Missing,
                    users: vec![Dependent {
                        name: format!("generation {generation} of '{}'", target.root().display()),
                        path: None,
                    }],
                });
            }
        }
    }
    Ok(report)
}

/// Brings back what `found` says is damaged, as far as that can be had.
pub fn repair(
    repository: &Repository,
    found: FsckReport,
    options: &RepairOptions<'_>,
) -> Result<RepairReport, AgentError> {
    let mut repair = Repair {
        repository,
        options,
        todo: Vec::new(),
        report: RepairReport::default(),
    };
    let mut left = found;
    for _ in 0..ROUNDS {
        let before = repair.report.repaired.len();
        repair.todo = left.damaged.clone();
        if repair.todo.is_empty() {
            break;
        }
        repository.doubt(&repair.todo);
        repair.round()?;
        left = verify(repository, options.open, options.fsck)?;
        repair.settle_rest(&left);
        if repair.report.repaired.len() == before {
            break;
        }
    }
    let mut report = repair.report;
    report.harmed = repository.harmed(&left.damaged);
    report.left = left;
    report.remarks.dedup();
    Ok(report)
}

struct Repair<'a> {
    repository: &'a Repository,
    options: &'a RepairOptions<'a>,
    todo: Vec<DamagedThing>,
    report: RepairReport,
}

impl Repair<'_> {
    fn round(&mut self) -> Result<(), AgentError> {
        if let Some(other) = self.options.other {
            for thing in &self.todo {
                let copied = self.repository.copy_from(other, thing);
                copied.map_err(TransferError::from)?;
            }
            self.settle(&format!("copied from '{}'", other.display()));
        }
        self.ask_targets()?;
        self.ask_remotes()?;
        self.compose_again();
        for thing in &self.todo {
            let discarded = self.repository.discard(thing);
            discarded.map_err(TransferError::from)?;
        }
        self.settle("taken away: nothing needs it");
        Ok(())
    }

    /// Takes off the list what is whole now.
    fn settle(&mut self, how: &str) {
        let (mended, rest) = std::mem::take(&mut self.todo)
            .into_iter()
            .partition(|thing| self.repository.is_mended(thing));
        self.todo = rest;
        let mended: Vec<DamagedThing> = mended;
        self.report
            .repaired
            .extend(mended.into_iter().map(|thing| RepairedThing {
                what: thing.what,
                name: thing.name,
                how: how.to_owned(),
            }));
    }

    /// Takes off the list what a ref asked for that is another one now.
    fn settle_rest(&mut self, left: &FsckReport) {
        let is_left = |thing: &DamagedThing| {
            let mut left = left.damaged.iter();
            left.any(|one| (one.what, &one.name) == (thing.what, &thing.name))
        };
        for thing in std::mem::take(&mut self.todo) {
            if !is_left(&thing) {
                self.report.repaired.push(RepairedThing {
                    what: thing.what,
                    name: thing.name,
                    how: "nothing asks for it any more".to_owned(),
                });
            }
        }
    }

    fn remark(&mut self, text: String) {
        self.report.remarks.push(text);
    }

    /// A deployment knows its image, and keeps a copy of the manifest.
    fn ask_targets(&mut self) -> Result<(), AgentError> {
        let repository = self.repository;
        let targets = repository.targets().map_err(TransferError::from)?;
        for (id, root) in targets {
            let target = root.and_then(|root| (self.options.open)(&root));
            let Some(target) = target.filter(|target| target.id() == id) else {
                continue;
            };
            for generation in target.generations()? {
                let Ok(image) = target.image_of(generation) else {
                    continue;
                };
                let bring = || {
                    let transaction = repository.begin()?;
                    let id = transaction.put_image(&image)?;
                    transaction.store()?;
                    let name = RefName::deployment(target.id(), generation)?;
                    match repository.read_ref(&name)? {
                        Some(text) if text == id.to_string() => Ok(()),
                        _ => repository.set_ref(&name, &id.to_string()),
                    }
                };
                bring().map_err(TransferError::from)?;
            }
            self.settle(&format!("from the target '{}'", target.root().display()));
        }
        Ok(())
    }

    fn ask_remotes(&mut self) -> Result<(), AgentError> {
        let Some(origins) = self.options.origins else {
            return Ok(());
        };
        let harmed = self.repository.harmed(&self.todo);
        if harmed == Harmed::default() {
            return Ok(());
        }
        for tried in origins.connect_each(self.options.pull.progress)? {
            let name = tried.remote;
            match tried.connected {
                Ok(connection) => {
                    self.restore_from(&name, &connection, &harmed)?;
                    self.settle(&format!("from remote '{name}'"));
                }
                Err(error) => {
                    let why = chain(&error);
                    self.remark(format!("remote '{name}' could not be asked: {why}"));
                }
            }
        }
        Ok(())
    }

    /// Fetches what the remote has of what is harmed: layers first, so that images find them.
    fn restore_from(
        &mut self,
        name: &str,
        connection: &Connection,
        harmed: &Harmed,
    ) -> Result<(), AgentError> {
        let source = &connection.source;
        let layers = harmed
            .layers
            .iter()
            .map(|id| ReleaseId::from(*id))
            .collect();
        let images = harmed
            .images
            .iter()
            .map(|id| ReleaseId::from(*id))
            .collect();
        for (kind, wanted) in [(ReleaseKind::Layer, layers), (ReleaseKind::Image, images)] {
            for release in releases(connection, kind, wanted) {
                let pull = PullOptions {
                    // What a delta starts from may be what is damaged.
                    deltas: false,
                    recompose: connection.remote.recompose,
                    ..*self.options.pull
                };
                let restored = restore(
                    self.repository,
                    &source.remote,
                    &source.verified,
                    &release,
                    &pull,
                );
                match restored {
                    Err(TransferError::Interrupted) => {
                        return Err(TransferError::Interrupted.into());
                    }
                    Err(error) => {
                        let (kind, what) = (kind.word(), &release.name);
                        let why = chain(&error);
                        self.remark(format!("{kind} '{what}' of remote '{name}': {why}"));
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    /// An image's tree, and what programs of the image derive, follow from its layers.
    fn compose_again(&mut self) {
        let harmed = self.repository.harmed(&self.todo);
        for id in &harmed.images {
            if let Err(error) = recompose(self.options.composer, id) {
                let why = chain(&error);
                self.remark(format!(
                    "image {} cannot be composed again: {why}",
                    id.short()
                ));
            }
        }
        self.settle("made of its layers again");
    }
}

/// Finds the releases of a remote that are wanted.
fn releases(
    connection: &Connection,
    kind: ReleaseKind,
    wanted: std::collections::BTreeSet<ReleaseId>,
) -> Vec<Release> {
    let verified = &connection.source.verified;
    let mut found = Vec::new();
    for name in verified.names(kind) {
        let ids = verified.releases(kind, &name).into_iter();
        found.extend(
            ids.filter(|id| wanted.contains(id))
                .filter_map(|id| verified.release(kind, &name, &id).ok()),
        );
    }
    found
}
