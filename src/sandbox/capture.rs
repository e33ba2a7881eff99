//! Turns the changes in a view into a changeset. The upper directory says where to look, the merged
//! view says what is there.
//!
//! Two things are not changes: a directory whose time alone differs, and a hard link that overlayfs
//! broke by copying one of its names up while contents, metadata and time stayed what they were
//! (packages do nothing that looks like that).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::OnceLock;

use crate::id::ObjectId;
use crate::materialise::{FileMeta, ObjectSink, PasswdIds, ScanOptions, hash_file, scan_selected};
use crate::path::RelPath;
use crate::sandbox::upper::{TouchedPaths, touched};
use crate::sandbox::{SandboxError, ViewRoot};
use crate::tree::{Change, Changeset, Inode, Node, Tree};

/// What a build changed.
#[derive(Debug)]
pub struct CapturedChanges {
    /// The changes. `pre` is the inode of the lower tree as it is; `post` numbers hard-link groups
    /// within the changeset only.
    pub changeset: Changeset,
    /// The users and groups of the view after the build, by which owners got their names.
    pub ids: PasswdIds,
}

/// Reads the changes of the overlay of `upper` above `lower`, as seen at `merged`, and gives new
/// contents to `sink`.
///
/// Nothing may write to the view meanwhile. `options` names what does not belong to the image; it
/// is not reported at all.
pub fn capture(
    merged: &Path,
    upper: &Path,
    lower: &Tree,
    options: &ScanOptions,
    sink: &dyn ObjectSink,
) -> Result<CapturedChanges, SandboxError> {
    let ids = {
        let root = ViewRoot::open(merged)?;
        PasswdIds::read(|place| root.read(place))?
    };
    let touched = touched(upper, lower, options)?;
    let known = KnownContents {
        lower,
        touched: &touched,
        objects: OnceLock::new(),
        sink,
    };
    let found = scan_selected(merged, &touched.selections, options, &ids, &known)?;
    Ok(CapturedChanges {
        changeset: changes(lower, &found, &touched, options),
        ids,
    })
}

/// Stores only contents that the lower tree does not have.
struct KnownContents<'a> {
    lower: &'a Tree,
    touched: &'a TouchedPaths,
    /// All objects of the lower tree; needed only after renames.
    objects: OnceLock<BTreeSet<ObjectId>>,
    sink: &'a dyn ObjectSink,
}

impl ObjectSink for KnownContents<'_> {
    fn put_file(&self, mut file: File, meta: &FileMeta, path: &Path) -> io::Result<ObjectId> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        if let Some(Node::File { object, size }) = self.lower.get(bytes).map(|inode| &inode.node)
            && *size == meta.size
        {
            if self.touched.metadata_only.contains(bytes) {
                return Ok(*object);
            }
            // Packages are often configured or installed again: equal contents are worth a read to
            // spare a write.
            if hash_file(&mut file, meta.size)? == *object {
                return Ok(*object);
            }
            file.rewind()?;
        } else if self.was_renamed(bytes) {
            let object = hash_file(&mut file, meta.size)?;
            if self
                .objects
                .get_or_init(|| self.lower.objects())
                .contains(&object)
            {
                return Ok(object);
            }
            file.rewind()?;
        }
        self.sink.put_file(file, meta, path)
    }
}

impl KnownContents<'_> {
    fn was_renamed(&self, path: &[u8]) -> bool {
        self.touched.renamed.iter().any(|renamed| {
            path.strip_prefix(renamed.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }
}

fn changes(lower: &Tree, found: &Tree, touched: &TouchedPaths, options: &ScanOptions) -> Changeset {
    let links = HardlinkGroups {
        before: groups(lower),
        after: groups(found),
    };
    let mut paths: BTreeSet<&RelPath> = found.iter().map(|(path, _)| path).collect();
    for selection in &touched.selections {
        paths.insert(&selection.path);
        let whole = selection.depth == crate::materialise::ScanDepth::Subtree;
        let still_there = found
            .get(selection.path.as_bytes())
            .is_some_and(Inode::is_dir);
        if whole || !still_there {
            paths.extend(
                lower
                    .below(selection.path.as_bytes())
                    .map(|(path, _)| path)
                    .filter(|path| !is_left_out(path, options)),
            );
        }
    }
    let mut changes: BTreeMap<RelPath, Change> = BTreeMap::new();
    for path in paths {
        let (pre, post) = (lower.get(path.as_bytes()), found.get(path.as_bytes()));
        if !is_noop(path, pre, post, &links) {
            let change = Change {
                pre: pre.cloned(),
                post: post.cloned(),
            };
            changes.insert(path.clone(), change);
        }
    }
    renumber(&mut changes);
    changes.into_iter().collect()
}

/// Says whether options keep `path` from being looked at, so that its absence in the scan means
/// nothing.
fn is_left_out(path: &RelPath, options: &ScanOptions) -> bool {
    let mut at = Some(path.clone());
    let mut below = false;
    while let Some(current) = at {
        if options.omitted.contains(&current) || (below && options.closed.contains(&current)) {
            return true;
        }
        at = current.parent();
        below = true;
    }
    false
}

/// The names of each hard-link group, by group number.
type NamesByGroup<'a> = BTreeMap<u32, HashSet<&'a RelPath>>;

struct HardlinkGroups<'a> {
    before: NamesByGroup<'a>,
    after: NamesByGroup<'a>,
}

fn groups(tree: &Tree) -> NamesByGroup<'_> {
    let mut groups = NamesByGroup::new();
    for (path, inode) in tree.iter().filter(|(_, inode)| inode.hardlink != 0) {
        groups.entry(inode.hardlink).or_default().insert(path);
    }
    groups
}

fn is_noop(
    path: &RelPath,
    pre: Option<&Inode>,
    post: Option<&Inode>,
    links: &HardlinkGroups<'_>,
) -> bool {
    let (Some(pre), Some(post)) = (pre, post) else {
        return pre.is_none() && post.is_none();
    };
    if !pre.same_content(post) {
        return false;
    }
    if pre.is_dir() {
        return true;
    }
    let linked_as_before = match links.after.get(&post.hardlink) {
        None => true,
        Some(after) => links
            .before
            .get(&pre.hardlink)
            .is_some_and(|before| after.contains(path) && after.is_subset(before)),
    };
    pre.mtime == post.mtime && linked_as_before
}

/// Numbers the hard-link groups of the changed names from 1 in path order. A single name is no
/// group.
fn renumber(changes: &mut BTreeMap<RelPath, Change>) {
    let mut posts: Tree = changes
        .iter()
        .filter_map(|(path, change)| Some((path.clone(), change.post.clone()?)))
        .collect();
    posts.canonicalize_hardlinks();
    for (path, inode) in posts {
        if let Some(post) = changes.get_mut(&path).and_then(|c| c.post.as_mut()) {
            post.hardlink = inode.hardlink;
        }
    }
}
