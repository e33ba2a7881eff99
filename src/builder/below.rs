//! The layers below a build: composed, and changed through a writable view that is read back.

use super::refuse::refuse;
use super::views::{lower_kind, volatile};
use super::{BuildError, BuildSink, Composer};
use crate::compose::{Member, ids_of};
use crate::materialise::ObjectDir;
use crate::sandbox::{BuildView, LowerTree, MountedView, capture};
use crate::store::WorkDir;
use crate::tree::{Changeset, Inode, Tree};

/// Composed layers.
#[derive(Debug)]
pub(super) struct LayersBelow {
    /// Their tree, without its derived files.
    pub merged: Tree,
    /// The same with its derived files: what a build sees.
    pub lower: Tree,
}

impl LayersBelow {
    /// Returns empty trees, for a base, which has no layers below it.
    pub(super) fn nothing() -> Self {
        Self {
            merged: Tree::new(),
            lower: Tree::new(),
        }
    }

    /// Composes `members`, lowest first, and reports progress under `name`. Layers that do not
    /// merge are an error.
    pub(super) fn compose(
        composer: &Composer<'_>,
        name: &str,
        members: &[Member],
    ) -> Result<Self, BuildError> {
        let transaction = composer.repository().begin()?;
        let mut composition = composer.compose(name, members, &transaction)?;
        refuse(std::mem::take(&mut composition.findings))?;
        // The view reads objects from the repository, so those of the merge and the derivers must
        // be stored first.
        transaction.store()?;
        Ok(Self {
            merged: composition.merged,
            lower: composition.tree,
        })
    }

    /// Runs `change` on a writable view in `work`, and returns the tree as it left it.
    pub(super) fn change(
        &self,
        work: &WorkDir,
        sink: &BuildSink<'_>,
        change: impl FnOnce(&MountedView) -> Result<(), BuildError> + Send,
    ) -> Result<Tree, BuildError> {
        let repository = sink.transaction().repository();
        let ids = ids_of(&self.lower, &|id| repository.read_object(id))?;
        let objects_dir = repository.objects_dir();
        let objects = ObjectDir::new(&objects_dir);
        let kind = lower_kind(work, &objects_dir)?;
        let view_dir = work.path().join("view");
        repository.disk().mkdir(&view_dir, 0o755)?;
        let below = LowerTree {
            tree: &self.lower,
            ids: &ids,
            objects: &objects,
            kind,
        };
        let changeset = BuildView::with(&view_dir, below, |view| {
            change(view)?;
            let captured = capture(view.merged(), view.upper(), &self.lower, &volatile(), sink)?;
            Ok::<_, BuildError>(captured.changeset)
        })?;
        Ok(after(&self.lower, changeset))
    }
}

/// Puts captured changes onto the very tree that they were made on.
fn after(lower: &Tree, changeset: Changeset) -> Tree {
    let mut tree = lower.clone();
    let groups = tree
        .iter()
        .map(|(_, inode)| inode.hardlink)
        .max()
        .unwrap_or(0);
    for (path, change) in changeset {
        match change.post {
            None => drop(tree.remove(path.as_bytes())),
            Some(inode) => {
                let hardlink = if inode.hardlink == 0 {
                    0
                } else {
                    inode.hardlink + groups
                };
                tree.insert(path, Inode { hardlink, ..inode });
            }
        }
    }
    tree
}
