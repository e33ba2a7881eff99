//! The files of a layer that may have been made of others.

use std::collections::{BTreeMap, BTreeSet};

use super::ground::Ground;
use super::{Evidence, MIN_BYTES};
use crate::compose::error::ComposeError;
use crate::compose::member::Member;
use crate::compose::packages::find_owners;
use crate::compose::view::TreeView;
use crate::id::ObjectId;
use crate::layout::{logical, name, within};
use crate::path::RelPath;
use crate::tree::Node;

/// Places with paper: it says the same in many packages, and nothing runs by it.
const PAPER: [&[u8]; 6] = [
    b"usr/share/common-licenses",
    b"usr/share/doc",
    b"usr/share/info",
    b"usr/share/licenses",
    b"usr/share/man",
    b"usr/share/locale",
];

/// How the names of papers start, in lower case.
const PAPER_NAMES: [&[u8]; 9] = [
    b"authors",
    b"changelog",
    b"contributing",
    b"copying",
    b"copyright",
    b"licence",
    b"license",
    b"notice",
    b"readme",
];

/// Databases that tools of packages write, as programs know them: they go with their packages.
const DATABASES: [&[u8]; 5] = [
    b"var/lib/apt",
    b"var/lib/dpkg",
    b"var/lib/systemd/deb-systemd-helper-enabled",
    b"var/lib/ucf",
    b"var/cache/debconf",
];

/// Templates of what belongs to users: a copy is theirs from the first day.
const TEMPLATES: &[u8] = b"etc/skel";

/// Says whether a file is there to be read, a licence for example.
pub(super) fn is_paper(path: &[u8]) -> bool {
    let last = name(path).to_ascii_lowercase();
    PAPER.iter().any(|dir| within(path, dir))
        || PAPER_NAMES.iter().any(|name| last.starts_with(name))
}

/// Says whether nothing is made of a file in the sense of this module.
pub(super) fn is_no_origin(path: &[u8]) -> bool {
    let last = name(path).to_ascii_lowercase();
    within(path, PAPER[0])
        || within(path, TEMPLATES)
        || PAPER_NAMES.iter().any(|name| last.starts_with(name))
        || is_of_database(path)
}

fn is_of_database(path: &[u8]) -> bool {
    DATABASES.iter().any(|dir| within(logical(path), dir))
}

/// Says whether a file is an initramfs, by its name.
pub(super) fn is_initramfs(path: &RelPath) -> bool {
    let is_name = |name: &&[u8]| path.name().starts_with(name);
    within(path.as_bytes(), b"boot") && [&b"initrd"[..], b"initramfs"].iter().any(is_name)
}

/// The files of a layer that are of no package of its own.
pub(super) struct Candidates {
    /// Their paths and contents.
    pub(super) files: BTreeMap<RelPath, ObjectId>,
    /// What the layer's own packages bring: copies of that are made of nothing below.
    pub(super) own: BTreeSet<ObjectId>,
}

impl Candidates {
    pub(super) fn of(
        evidence: &Evidence<'_>,
        member: &Member,
        ground: &Ground<'_>,
    ) -> Result<Self, ComposeError> {
        let mut files = BTreeMap::new();
        for (path, change) in member.changeset.iter() {
            let Some(Node::File { object, size }) = change.post.as_ref().map(|post| &post.node)
            else {
                continue;
            };
            let is_large = *size >= MIN_BYTES || path.name() == b"pyvenv.cfg";
            if is_large && !is_of_database(path.as_bytes()) && ground.object(path) != Some(*object)
            {
                files.insert(path.clone(), *object);
            }
        }
        let mut owners: BTreeMap<RelPath, Option<String>> =
            files.keys().map(|path| (path.clone(), None)).collect();
        if !member.layer.packages.is_empty() && !owners.is_empty() {
            let tree = &evidence.composition.tree;
            let view = TreeView::new(tree, evidence.transaction, evidence.index);
            find_owners(tree, &view, &mut owners)
                .map_err(|source| ComposeError::Check { source })?;
        }
        let own: BTreeSet<&str> = member
            .layer
            .packages
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        let is_own = |path: &RelPath| {
            let owner = owners.get(path).and_then(Option::as_deref);
            owner.is_some_and(|owner| own.contains(owner))
        };
        let (owned, files): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files.into_iter().partition(|(path, _)| is_own(path));
        Ok(Self {
            own: owned.into_values().collect(),
            files: files
                .into_iter()
                .filter(|(path, _)| !is_paper(path.as_bytes()))
                .collect(),
        })
    }
}
