//! Garbage collection: marks from the refs, sweeps the rest; a plan first, then the plan applied.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::baseline::BASELINES;
use super::{RefName, Repository, StoreError};
use crate::id::{ImageId, LayerId, ObjectId, TreeId};

/// What garbage collection would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct GcPlan {
    /// Files to remove with their sizes: images, layers, baselines, trees, objects, so that nothing
    /// that stays ever points at something removed.
    pub files: Vec<(PathBuf, u64)>,
    /// Where in `files` a kind ends; removals before it are made durable before those after it.
    pub steps: Vec<usize>,
    /// Objects among them.
    pub objects: usize,
    /// Trees, baselines, layers and images among them.
    pub manifests: usize,
    /// Objects that stay.
    pub kept_objects: usize,
}

impl GcPlan {
    /// Returns the bytes that applying the plan frees.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }
}

/// What garbage collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Files removed.
    pub files: usize,
    /// Bytes freed.
    pub bytes: u64,
    /// Work directories of dead processes removed.
    pub work_dirs: usize,
}

#[derive(Debug, Default)]
struct MarkSet {
    images: BTreeSet<String>,
    layers: BTreeSet<String>,
    trees: BTreeSet<String>,
    objects: BTreeSet<ObjectId>,
}

impl Repository {
    /// Finds what no ref needs. The repository must be open exclusively for the plan to be carried out.
    pub fn plan_gc(&self) -> Result<GcPlan, StoreError> {
        let mut marked = MarkSet::default();
        // What a damaged ref kept must not be taken for what nobody needs.
        let damaged = |name: &RefName| StoreError::DamagedRef {
            name: name.to_string(),
        };
        for (name, id) in self.refs()? {
            if name.is_layer() {
                let id = id.parse().map_err(|_| damaged(&name))?;
                self.mark_layer(&id, &mut marked)?;
            } else {
                let id = id.parse().map_err(|_| damaged(&name))?;
                self.mark_image(&id, &mut marked)?;
            }
        }
        let mut plan = GcPlan::default();
        let with_baseline = marked.layers.union(&marked.images).cloned().collect();
        for (dir, keep) in [
            ("images", &marked.images),
            ("layers", &marked.layers),
            (BASELINES, &with_baseline),
            ("trees", &marked.trees),
        ] {
            let path = self.root.join(dir);
            // Repositories that layerset 0.1 made lack the directory of baselines.
            if dir == BASELINES && !path.is_dir() {
                continue;
            }
            self.sweep(&path, &mut plan, |name| keep.contains(name))?;
            plan.steps.push(plan.files.len());
        }
        plan.manifests = plan.files.len();
        let kept: BTreeSet<String> = marked.objects.iter().map(ObjectId::to_hex).collect();
        for byte in 0..=255u8 {
            let first = format!("{byte:02x}");
            let dir = self.root.join("objects").join(&first);
            if dir.is_dir() {
                self.sweep(&dir, &mut plan, |name| {
                    kept.contains(&format!("{first}{name}"))
                })?;
            }
        }
        plan.objects = plan.files.len() - plan.manifests;
        // A replacement that died before its rename leaves the new file beside the old one.
        let is_final = |name: &str| !name.starts_with('.');
        self.sweep(&self.root, &mut plan, is_final)?;
        let mut pending = vec![self.root.join("refs")];
        while let Some(dir) = pending.pop() {
            self.sweep(&dir, &mut plan, is_final)?;
            let entries =
                std::fs::read_dir(&dir).map_err(|error| StoreError::io("list", &dir, error))?;
            let dirs = entries
                .filter_map(Result::ok)
                .filter(|entry| entry.path().is_dir());
            pending.extend(dirs.map(|entry| entry.path()));
        }
        // Nobody builds, pulls or publishes now. A pull that broke off fetches again what it had, if it is
        // resumed.
        for dir in ["captures", "incoming", "indexes"] {
            self.sweep_all(&self.root.join("cache").join(dir), &mut plan)?;
        }
        plan.kept_objects = kept.len();
        Ok(plan)
    }

    /// Plans to remove everything below a directory, which may be absent; directories after their
    /// contents.
    fn sweep_all(&self, dir: &std::path::Path, plan: &mut GcPlan) -> Result<(), StoreError> {
        if !dir.is_dir() {
            return Ok(());
        }
        let mut found = GcPlan::default();
        self.sweep(dir, &mut found, |_| false)?;
        for (path, size) in found.files {
            if path.is_dir() {
                self.sweep_all(&path, plan)?;
                plan.files.push((path, 0));
            } else {
                plan.files.push((path, size));
            }
        }
        Ok(())
    }

    fn sweep(
        &self,
        dir: &std::path::Path,
        plan: &mut GcPlan,
        keep: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let entries = std::fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", dir, error))?;
            if !entry.file_name().to_str().is_some_and(&keep) {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                found.push((entry.path(), size));
            }
        }
        found.sort();
        plan.files.extend(found);
        Ok(())
    }

    fn mark_image(&self, id: &ImageId, marked: &mut MarkSet) -> Result<(), StoreError> {
        if marked.images.insert(id.to_hex()) {
            let image = self.read_image(id)?;
            self.mark_tree(&image.tree, marked)?;
            for layer in &image.layers {
                self.mark_layer(&layer.id, marked)?;
            }
        }
        Ok(())
    }

    fn mark_layer(&self, id: &LayerId, marked: &mut MarkSet) -> Result<(), StoreError> {
        if marked.layers.insert(id.to_hex()) {
            let layer = self.read_layer(id)?;
            marked.trees.insert(layer.changeset.to_hex());
            marked
                .objects
                .extend(self.read_changeset(&layer.changeset)?.post_objects());
            marked.objects.extend(layer.pre_images);
        }
        Ok(())
    }

    fn mark_tree(&self, id: &TreeId, marked: &mut MarkSet) -> Result<(), StoreError> {
        if marked.trees.insert(id.to_hex()) {
            marked.objects.extend(self.read_tree(id)?.objects());
        }
        Ok(())
    }

    /// Removes what the plan names. Stopping anywhere leaves a sound repository: manifests go
    /// before what they name.
    pub fn apply_gc(&self, plan: &GcPlan) -> Result<GcReport, StoreError> {
        self.require_writable()?;
        let mut report = GcReport::default();
        for (index, (path, size)) in plan.files.iter().enumerate() {
            if index > 0 && plan.steps.contains(&index) {
                // Whatever refers to a thing must be gone for good before the thing goes.
                self.disk.sync_fs(&self.root)?;
            }
            self.disk.remove(path)?;
            report.files += 1;
            report.bytes += size;
        }
        report.work_dirs = self.remove_dead_work()?;
        Ok(report)
    }
}
