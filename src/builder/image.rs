//! The image: the layers composed, checked, and committed by the rename of `images/<recipe>`.

use super::check::{CheckedSet, Looked};
use super::keys::{self, ImageKey};
use super::{Build, BuildError};
use crate::check::{Finding, FindingId, FindingKind, Severity, Verdict, renumbered, verdict};
use crate::compose::{Member, ids_of, waive};
use crate::format::{Image, Waiver};
use crate::id::ImageId;
use crate::layout::accounts::{GROUP, PASSWD};
use crate::materialise::MetadataImage;
use crate::path::RelPath;
use crate::recipe::Recipe;
use crate::store::{RefName, Repository, Transaction};
use crate::time::Date;
use crate::tree::{Inode, Tree};

/// Reads a file of an image; one that is not there is empty.
pub(super) type Reader<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, BuildError>;

/// What became of the image.
pub struct Composed {
    /// The image.
    pub id: ImageId,
    /// Whether it is another one than before.
    pub changed: bool,
    /// What the checks found; nothing of it refuses the image.
    pub findings: Vec<Finding>,
    /// Bytes written for it, besides its layers.
    pub bytes_written: u64,
}

impl Build<'_> {
    /// Composes and checks the image, unless that was done before; a set that is not sound changes nothing.
    pub(super) fn image(&self) -> Result<Composed, BuildError> {
        let (recipe, repository) = (self.workspace.recipe(), self.repository);
        let ids: Vec<_> = recipe.layers.iter().map(|name| self.built[name]).collect();
        let name = RefName::image(&recipe.name)?;
        let before = repository.read_ref(&name)?;
        let members = || self.members(recipe.layers.iter().map(String::as_str));
        let today = Date::of_sec(self.options.clock.now_sec()).unwrap_or(Date::LAST);
        let key = || ImageKey::new(repository, recipe, &ids, today);
        if let Some(cached) = keys::find_image(repository, &key())? {
            let changed = before.as_deref() != Some(&cached.image.to_string());
            if changed {
                let tree = repository.read_tree(&repository.read_image(&cached.image)?.tree)?;
                let read = |path: &[u8]| read_file(repository, &tree, path);
                let found = renumbered_since(repository, before.as_deref(), &members()?, &read)?;
                refuse(waive(found, &recipe.waivers, today).findings)?;
                repository.set_ref(&name, &cached.image.to_string())?;
            }
            return Ok(Composed {
                id: cached.image,
                changed,
                findings: cached.findings,
                bytes_written: 0,
            });
        }
        let progress = self.options.progress;
        progress.step(&recipe.name, "composing and checking", None);
        let mut members = members()?;
        let transaction = repository.begin()?;
        let set = CheckedSet {
            name: recipe.name.clone(),
            layers: ids.clone(),
            waivers: recipe.waivers.clone(),
        };
        let looked = Looked::at(&set, &mut members, self.composer, &transaction, today)?;
        let findings = refuse(looked.waived.findings)?;
        let tree = looked.composition.tree;
        let in_force = looked.waived.in_force;
        let image = image_of(recipe, &members, &tree, in_force, today, &transaction)?;
        let id = transaction.put_image(&image)?;
        let numbers = ids_of(&tree, &|object| transaction.read_object(object))?;
        let committed = transaction.commit(&name, &id.to_string())?;
        // What every deployment of this image mounts is made once, here.
        let erofs = repository.cache_dir("erofs")?;
        let disk = repository.disk().as_ref();
        MetadataImage::find_or_make(&erofs, &image.tree, &tree, &numbers)?.remember(disk);
        // Checking may have made baselines, which are part of the key.
        keys::remember_image(repository, &key(), &id, &findings)?;
        Ok(Composed {
            id,
            changed: before.as_deref() != Some(&id.to_string()),
            findings,
            bytes_written: committed.bytes_written,
        })
    }
}

/// Finds accounts that have another number than in the image `before`: files of a machine's `/var` keep theirs.
///
/// `read` reads a file of the new image; `members` are its layers.
pub(super) fn renumbered_since(
    repository: &Repository,
    before: Option<&str>,
    members: &[Member],
    read: Reader<'_>,
) -> Result<Vec<Finding>, BuildError> {
    let id = before.and_then(|text| text.parse::<ImageId>().ok());
    // An image that is damaged or gone says nothing.
    let image = id.and_then(|id| repository.read_image(&id).ok());
    let Some(tree) = image.and_then(|image| repository.read_tree(&image.tree).ok()) else {
        return Ok(Vec::new());
    };
    let mut findings = Vec::new();
    for (path, is_user) in [(PASSWD, true), (GROUP, false)] {
        let old = read_file(repository, &tree, path.as_bytes())?;
        for account in renumbered(&old, &read(path.as_bytes())?) {
            let layer = maker_of(repository, members, path, &account.name)?;
            findings.push(account.finding(is_user, RelPath::from_text(path).ok(), layer));
        }
    }
    Ok(findings)
}

/// Returns the lowest layer whose database has the account.
fn maker_of(
    repository: &Repository,
    members: &[Member],
    path: &str,
    account: &str,
) -> Result<String, BuildError> {
    for member in members {
        let change = member.changeset.get(path.as_bytes());
        let Some(object) = change.and_then(|change| change.post.as_ref()?.object()) else {
            continue;
        };
        let text = repository.read_object(&object)?;
        let is_it = |line: &[u8]| {
            let rest = line.strip_prefix(account.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b":"))
        };
        if text.split(|byte| *byte == b'\n').any(is_it) {
            return Ok(member.layer.name.clone());
        }
    }
    Ok(String::new())
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

fn read_file(repository: &Repository, tree: &Tree, path: &[u8]) -> Result<Vec<u8>, BuildError> {
    let object = tree.get(path).and_then(Inode::object);
    Ok(object
        .map(|id| repository.read_object(&id))
        .transpose()?
        .unwrap_or_default())
}

/// Returns the findings of a sound set.
pub(super) fn refuse(findings: Vec<Finding>) -> Result<Vec<Finding>, BuildError> {
    match verdict(&findings) {
        Verdict::Safe => Ok(findings),
        Verdict::Refused => Err(BuildError::Refused {
            findings: grave(findings),
        }),
        Verdict::RebuildNeeded
            if findings
                .iter()
                .any(|f| f.severity == Severity::Rebuild && f.needs_lock()) =>
        {
            Err(BuildError::NeedsLock {
                findings: grave(findings),
            })
        }
        Verdict::RebuildNeeded => Err(BuildError::RebuildNeeded {
            findings: grave(findings),
        }),
    }
}

/// Returns what is worse than a note, the worst first.
fn grave(mut findings: Vec<Finding>) -> Vec<Finding> {
    // What became of waivers belongs to the answer.
    let is_said = |finding: &Finding| {
        finding.severity > Severity::Note || finding.id.kind() == FindingKind::Waiver
    };
    findings.retain(is_said);
    findings.sort_by_key(|finding| {
        let is_cause = finding.id.kind() == FindingKind::DpkgUnreadable;
        std::cmp::Reverse((finding.severity, is_cause))
    });
    findings
}

/// Returns the waivers that an image records: those in force, and those about the change from one image to the next, which
/// a machine meets too.
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
