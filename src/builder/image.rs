//! The image: the layers composed, checked, and committed by the rename of `images/<recipe>`.

use super::BuildError;
use super::check::{CheckedSet, Examination};
use super::keys::{self, ImageKey};
use super::refuse::refuse;
use super::session::BuildSession;
use crate::check::{Finding, FindingId, FindingKind};
use crate::compose::{Member, ids_of};
use crate::format::{Image, Waiver};
use crate::id::ImageId;
use crate::materialise::MetadataImage;
use crate::recipe::Recipe;
use crate::store::{RefName, Transaction};
use crate::time::Date;
use crate::tree::Tree;

/// What became of the image.
pub(super) struct ComposedImage {
    /// The image.
    pub id: ImageId,
    /// Whether it differs from the one before.
    pub changed: bool,
    /// What the checks found. None of it refuses the image.
    pub findings: Vec<Finding>,
    /// Bytes written for it, besides its layers.
    pub bytes_written: u64,
}

impl BuildSession<'_> {
    /// Composes, checks and commits the image, unless the cache has it. A set that is not sound
    /// changes nothing.
    pub(super) fn image(&self) -> Result<ComposedImage, BuildError> {
        let (recipe, repository) = (self.workspace.recipe(), self.repository);
        let ids: Vec<_> = recipe.layers.iter().map(|name| self.built[name]).collect();
        let name = RefName::image(&recipe.name)?;
        let before = repository.read_ref(&name)?;
        let today = self.options.today();
        let key = || ImageKey::new(repository, recipe, &ids, today);
        let cached = keys::find_image(repository, &key(), self.untouched)?;
        // Another image than the present one is compared with that first.
        let is_current = |id: &ImageId| {
            let id = id.to_string();
            before.as_ref().is_none_or(|before| *before == id)
        };
        if let Some(cached) = cached.filter(|cached| is_current(&cached.image)) {
            let changed = before.is_none();
            if changed {
                repository.set_ref(&name, &cached.image.to_string())?;
            }
            return Ok(ComposedImage {
                id: cached.image,
                changed,
                findings: cached.findings,
                bytes_written: 0,
            });
        }
        let progress = self.options.progress;
        progress.step(&recipe.name, "composing and checking", None);
        let mut members = self.members(recipe.layers.iter().map(String::as_str))?;
        let transaction = repository.begin()?;
        let set = CheckedSet {
            name: recipe.name.clone(),
            layers: ids.clone(),
            waivers: recipe.waivers.clone(),
        };
        let looked = Examination::at(&set, &mut members, self.composer, &transaction, today)?;
        let findings = refuse(looked.waived.findings)?;
        let tree = looked.composition.tree;
        let in_force = looked.waived.in_force;
        let image = image_of(recipe, &members, &tree, in_force, today, &transaction)?;
        let id = transaction.put_image(&image)?;
        transaction.put_image_baseline(&id, &looked.record)?;
        let numbers = ids_of(&tree, &|object| transaction.read_object(object))?;
        let committed = transaction.commit(&name, &id.to_string())?;
        // What every deployment of this image mounts is made once, here.
        let erofs = repository.cache_dir("erofs")?;
        let disk = repository.disk().as_ref();
        MetadataImage::find_or_make(&erofs, &image.tree, &tree, &numbers)?.remember(disk);
        // Checking may have made baselines, which are part of the key.
        let is_said_once = |finding: &Finding| {
            finding.id.kind() == FindingKind::Baseline && finding.layer.is_empty()
        };
        let mut lasting = findings.clone();
        lasting.retain(|finding| !is_said_once(finding));
        keys::remember_image(repository, &key(), &id, &lasting)?;
        Ok(ComposedImage {
            id,
            changed: before.as_deref() != Some(&id.to_string()),
            findings,
            bytes_written: committed.bytes_written,
        })
    }
}

/// Makes the manifest of an image, and puts its tree.
pub(super) fn image_of(
    recipe: &Recipe,
    members: &[Member],
    tree: &Tree,
    in_force: Vec<Waiver>,
    today: Date,
    transaction: &Transaction<'_>,
) -> Result<Image, BuildError> {
    tree.validate()
        .map_err(|source| BuildError::Tree { source })?;
    Ok(Image {
        format: 1,
        name: recipe.name.clone(),
        architecture: recipe.architecture.clone(),
        layers: members.iter().filter_map(Member::named).collect(),
        keep: recipe.policy.keep,
        bytes: tree.bytes(),
        entries: tree.len() as u64,
        tree: transaction.put_tree(tree)?,
        waivers: recorded(in_force, &recipe.waivers, today),
    })
}

/// Returns the waivers that an image records: those in force, and those about the change from one
/// image to the next, which a machine meets too.
fn recorded(mut in_force: Vec<Waiver>, all: &[Waiver], today: Date) -> Vec<Waiver> {
    for waiver in all {
        let id: Option<FindingId> = waiver.finding.parse().ok();
        let is_change = id.is_some_and(|id| id.kind() == FindingKind::Renumber);
        if is_change && waiver.expires >= today && !in_force.contains(waiver) {
            in_force.push(waiver.clone());
        }
    }
    in_force.sort_by(|a, b| a.finding.cmp(&b.finding));
    in_force
}
