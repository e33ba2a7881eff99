//! Applying a changeset to a tree, path by path.

use std::collections::BTreeMap;

use super::{drivers, text};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::{Change, Changeset, Inode, Node, Tree, Xattrs};

/// Files above this size are never merged as text, in bytes.
const TEXT_LIMIT: u64 = 8 << 20;

/// Where the merge reads and writes the contents of files.
pub trait Blobs {
    /// Reads a whole object.
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError>;
    /// Stores bytes, and returns their id.
    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError>;
}

/// The contents of a file could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot merge the contents of {object}")]
pub struct MergeError {
    /// The object, or `a merged file`.
    pub object: String,
    /// The store's answer.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A path where both sides changed the same thing differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// Which record or field, where the conflict is narrower than the file.
    pub record: Option<String>,
    /// The line in the file, where known.
    pub line: Option<usize>,
    /// The directory that it needs and that is none here.
    pub missing: Option<RelPath>,
    /// What happened, for people.
    pub reason: String,
}

impl Conflict {
    fn on(path: &RelPath, reason: impl Into<String>) -> Self {
        Self {
            path: path.clone(),
            record: None,
            line: None,
            missing: None,
            reason: reason.into(),
        }
    }
}

/// The result of applying a changeset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Conflicts, in path order; each such path keeps what was there.
    pub conflicts: Vec<Conflict>,
    /// Paths whose contents were merged from both sides.
    pub merged: Vec<RelPath>,
}

/// Applies `changeset` to `tree`. Conflicting paths keep what is in `tree`.
pub fn apply(
    tree: &mut Tree,
    changeset: &Changeset,
    blobs: &dyn Blobs,
) -> Result<ApplyReport, MergeError> {
    let mut applied = ApplyReport::default();
    let first_group = tree
        .iter()
        .map(|(_, inode)| inode.hardlink)
        .max()
        .unwrap_or(0);
    let mut removed = Vec::new();
    for (path, change) in changeset.iter() {
        let current = tree.get(path.as_bytes()).cloned();
        match merge_path(path, change, current.as_ref(), blobs)? {
            MergedPath::Keep => {}
            MergedPath::Conflict(conflicts) => applied.conflicts.extend(conflicts),
            MergedPath::Take { inode: None, .. } => removed.push(path.clone()),
            MergedPath::Take {
                inode: Some(mut inode),
                merged,
            } => {
                if inode.hardlink != 0 {
                    inode.hardlink = inode.hardlink.saturating_add(first_group);
                }
                if merged {
                    applied.merged.push(path.clone());
                    // A merged file is no longer the file that the other names of a hard link hold.
                    inode.hardlink = 0;
                }
                if !inode.is_dir() && change.pre.as_ref().is_some_and(Inode::is_dir) {
                    // The layer replaced a directory: what others put into it has no place now.
                    let orphans: Vec<RelPath> = tree
                        .below(path.as_bytes())
                        .map(|(below, _)| below.clone())
                        .filter(|below| changeset.get(below.as_bytes()).is_none())
                        .collect();
                    if let Some(orphan) = orphans.first() {
                        let reason = format!(
                            "the layer replaces this directory, which also holds '{orphan}'"
                        );
                        applied.conflicts.push(Conflict::on(path, reason));
                        continue;
                    }
                }
                tree.insert(path.clone(), inode);
            }
        }
    }
    // Deepest first, and a directory only when it is empty: others may have put files there.
    for path in removed.iter().rev() {
        let is_empty = tree.below(path.as_bytes()).next().is_none();
        if is_empty {
            tree.remove(path.as_bytes());
        }
    }
    check_parents(tree, changeset, &mut applied);
    tree.canonicalize_hardlinks();
    Ok(applied)
}

/// Restores the directories below `/usr` that a layer relies on and that the lower layers no longer
/// have, owned by root with mode 0755, as packages have them there. Elsewhere modes and owners
/// matter.
fn make_parents(tree: &mut Tree, changeset: &Changeset, path: &RelPath) {
    let missing: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent)
        .take_while(|dir| tree.get(dir.as_bytes()).is_none())
        .collect();
    let is_plain =
        |dir: &RelPath| dir.starts_with(b"usr") && changeset.get(dir.as_bytes()).is_none();
    if !missing.iter().all(is_plain) {
        return;
    }
    let mtime = tree.get(path.as_bytes()).map(|inode| inode.mtime);
    for dir in missing {
        let mtime = mtime.unwrap_or_default();
        tree.insert(
            dir,
            Inode {
                mtime,
                ..Inode::directory(0o755)
            },
        );
    }
}

/// Undoes additions whose directory does not exist, and reports them.
fn check_parents(tree: &mut Tree, changeset: &Changeset, applied: &mut ApplyReport) {
    for (path, _) in changeset.iter() {
        let Some(parent) = path.parent() else {
            continue;
        };
        if tree.get(path.as_bytes()).is_some() && tree.get(parent.as_bytes()).is_none() {
            make_parents(tree, changeset, path);
        }
        if tree.get(path.as_bytes()).is_some()
            && !tree.get(parent.as_bytes()).is_some_and(Inode::is_dir)
        {
            tree.remove(path.as_bytes());
            applied.conflicts.push(Conflict {
                missing: Some(parent.clone()),
                ..Conflict::on(path, format!("'{parent}' is not a directory here"))
            });
        }
    }
    applied.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
}

enum MergedPath {
    Keep,
    Take { inode: Option<Inode>, merged: bool },
    Conflict(Vec<Conflict>),
}

fn same(a: Option<&Inode>, b: Option<&Inode>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same_content(b),
        _ => false,
    }
}

fn merge_path(
    path: &RelPath,
    change: &Change,
    current: Option<&Inode>,
    blobs: &dyn Blobs,
) -> Result<MergedPath, MergeError> {
    let (pre, post) = (change.pre.as_ref(), change.post.as_ref());
    if same(current, pre) {
        return Ok(MergedPath::Take {
            inode: post.cloned(),
            merged: false,
        });
    }
    if same(current, post) || same(pre, post) {
        return Ok(MergedPath::Keep);
    }
    if let Some(driver) = drivers::driver_for(path.as_bytes())
        && [pre, current, post]
            .into_iter()
            .flatten()
            .all(|inode| inode.object().is_some())
    {
        return merge_by_driver(path, driver, [pre, current, post], blobs);
    }
    match (pre, current, post) {
        (Some(_), None, Some(_)) => Ok(conflict(
            path,
            "the layer changes it, and it was removed below",
        )),
        (Some(_), Some(_), None) => Ok(conflict(
            path,
            "the layer removes it, and it was changed below",
        )),
        (_, Some(current), Some(post)) => merge_present(path, pre, current, post, blobs),
        (None, None, _) | (_, None, None) | (None, Some(_), None) => Ok(MergedPath::Keep),
    }
}

fn conflict(path: &RelPath, reason: &str) -> MergedPath {
    MergedPath::Conflict(vec![Conflict::on(path, reason)])
}

fn merge_by_driver(
    path: &RelPath,
    driver: &dyn drivers::Driver,
    sides: [Option<&Inode>; 3],
    blobs: &dyn Blobs,
) -> Result<MergedPath, MergeError> {
    let mut bytes: Vec<Option<Vec<u8>>> = Vec::with_capacity(3);
    for side in sides {
        bytes.push(
            side.and_then(Inode::object)
                .map(|id| blobs.read(&id))
                .transpose()?,
        );
    }
    let [pre, current, post] = sides;
    match driver.merge(
        bytes[0].as_deref(),
        bytes[1].as_deref(),
        bytes[2].as_deref(),
    ) {
        Err(conflicts) => Ok(MergedPath::Conflict(
            conflicts
                .into_iter()
                .map(|found| Conflict {
                    path: path.clone(),
                    record: Some(found.record),
                    line: found.line,
                    missing: None,
                    reason: format!("{} ({} driver)", found.reason, driver.name()),
                })
                .collect(),
        )),
        Ok(None) => Ok(MergedPath::Take {
            inode: None,
            merged: true,
        }),
        Ok(Some(merged)) => {
            let node = Node::File {
                object: blobs.write(&merged)?,
                size: merged.len() as u64,
            };
            let inode = match (current, post) {
                (Some(current), Some(post)) => match merge_metadata(path, pre, current, post) {
                    Ok(inode) => Inode { node, ..inode },
                    Err(conflicts) => return Ok(MergedPath::Conflict(conflicts)),
                },
                (Some(one), None) | (None, Some(one)) => Inode {
                    node,
                    ..one.clone()
                },
                (None, None) => return Ok(MergedPath::Keep),
            };
            Ok(MergedPath::Take {
                inode: Some(inode),
                merged: true,
            })
        }
    }
}

fn merge_present(
    path: &RelPath,
    pre: Option<&Inode>,
    current: &Inode,
    post: &Inode,
    blobs: &dyn Blobs,
) -> Result<MergedPath, MergeError> {
    let metadata = match merge_metadata(path, pre, current, post) {
        Ok(inode) => inode,
        Err(conflicts) => return Ok(MergedPath::Conflict(conflicts)),
    };
    let pre_node = pre.map(|inode| &inode.node);
    let (node, merged) = if current.node == post.node || Some(&post.node) == pre_node {
        (current.node.clone(), false)
    } else if Some(&current.node) == pre_node {
        (post.node.clone(), false)
    } else {
        match (pre_node, &current.node, &post.node) {
            (
                Some(Node::File {
                    object: pre,
                    size: a,
                }),
                Node::File {
                    object: current,
                    size: b,
                },
                Node::File {
                    object: post,
                    size: c,
                },
            ) if *a.max(b).max(c) <= TEXT_LIMIT => {
                let merge =
                    text::merge(&blobs.read(pre)?, &blobs.read(current)?, &blobs.read(post)?);
                match merge {
                    Ok(bytes) => (
                        Node::File {
                            object: blobs.write(&bytes)?,
                            size: bytes.len() as u64,
                        },
                        true,
                    ),
                    Err(error) => return Ok(conflict(path, &error.to_string())),
                }
            }
            (None, a, b) if a.kind() == b.kind() => {
                return Ok(conflict(path, "two layers add it with different contents"));
            }
            (_, a, b) => {
                let reason = format!("it is a {} here and a {} in the layer", a.kind(), b.kind());
                return Ok(conflict(
                    path,
                    if a.kind() == b.kind() {
                        "both sides changed it"
                    } else {
                        &reason
                    },
                ));
            }
        }
    };
    Ok(MergedPath::Take {
        inode: Some(Inode { node, ..metadata }),
        merged,
    })
}

/// Merges mode, owner, group and extended attributes; the node of the result is that of `current`.
fn merge_metadata(
    path: &RelPath,
    pre: Option<&Inode>,
    current: &Inode,
    post: &Inode,
) -> Result<Inode, Vec<Conflict>> {
    let mut conflicts = Vec::new();
    let mut fail = |field: &str, here: String, there: String| {
        conflicts.push(Conflict {
            path: path.clone(),
            record: Some(field.to_owned()),
            line: None,
            missing: None,
            reason: format!("{field} is {here} here and {there} in the layer"),
        });
    };
    let mode = field(pre.map(|p| &p.mode), &current.mode, &post.mode).unwrap_or_else(|| {
        fail(
            "mode",
            format!("{:04o}", current.mode),
            format!("{:04o}", post.mode),
        );
        &current.mode
    });
    let owner = field(pre.map(|p| &p.owner), &current.owner, &post.owner).unwrap_or_else(|| {
        fail("owner", current.owner.to_string(), post.owner.to_string());
        &current.owner
    });
    let group = field(pre.map(|p| &p.group), &current.group, &post.group).unwrap_or_else(|| {
        fail("group", current.group.to_string(), post.group.to_string());
        &current.group
    });
    let none = Xattrs::new();
    let pre_xattrs = pre.map_or(&none, |p| &p.xattrs);
    let mut xattrs = current.xattrs.clone();
    let names: BTreeMap<&Vec<u8>, ()> = pre_xattrs
        .keys()
        .chain(current.xattrs.keys())
        .chain(post.xattrs.keys())
        .map(|name| (name, ()))
        .collect();
    for name in names.into_keys() {
        let (here, there) = (current.xattrs.get(name), post.xattrs.get(name));
        match field(Some(&pre_xattrs.get(name)), &here, &there) {
            Some(Some(value)) => drop(xattrs.insert(name.clone(), (*value).clone())),
            Some(None) => drop(xattrs.remove(name)),
            None => {
                let name = format!("xattr {}", crate::path::escape(name));
                fail(&name, "one value".to_owned(), "another".to_owned());
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    Ok(Inode {
        node: current.node.clone(),
        mode: *mode,
        owner: owner.clone(),
        group: group.clone(),
        // The layer's time, as if it had been built here: the tree must not show which layers were
        // kept.
        mtime: post.mtime,
        xattrs,
        hardlink: 0,
    })
}

/// Merges one field; `None` is a conflict. Without a pre-image only agreement is no conflict.
fn field<'a, T: PartialEq>(pre: Option<&T>, current: &'a T, post: &'a T) -> Option<&'a T> {
    if current == post || Some(post) == pre {
        Some(current)
    } else if Some(current) == pre {
        Some(post)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::parse_tree;
    use crate::merge::testing::Memory;

    /// A tree of text files: `path = contents`, below directories that are made as needed.
    fn tree(memory: &Memory, files: &[(&str, &str)]) -> Tree {
        let mut tree = parse_tree("/ dir 0755 root root 0.0 -").unwrap();
        for (path, contents) in files {
            let path = RelPath::from_text(path).unwrap();
            let mut parent = path.parent();
            while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
                tree.insert(dir.clone(), Inode::directory(0o755));
                parent = dir.parent();
            }
            let id = memory.write(contents.as_bytes()).unwrap();
            tree.insert(path, Inode::file(id, contents.len() as u64, 0o644));
        }
        tree
    }

    fn text_at(memory: &Memory, tree: &Tree, path: &str) -> String {
        String::from_utf8(
            memory
                .read(&tree.get(path.as_bytes()).unwrap().object().unwrap())
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn a_directory_of_usr_that_is_gone_below_comes_back_with_what_a_layer_put_into_it() {
        let memory = Memory::default();
        let old = tree(
            &memory,
            &[("usr/share/man/man3/a", "a"), ("srv/data/a", "a")],
        );
        let with = [("usr/share/man/man3/x", "x"), ("srv/data/x", "x")];
        let all = [
            &[("usr/share/man/man3/a", "a"), ("srv/data/a", "a")],
            &with[..],
        ]
        .concat();
        let changes = Changeset::between(&old, &tree(&memory, &all));
        let mut new = tree(&memory, &[("usr/share/doc", "")]);
        let applied = apply(&mut new, &changes, &memory).unwrap();
        let places: Vec<String> = applied
            .conflicts
            .iter()
            .map(|c| c.path.to_string())
            .collect();
        assert_eq!(places, ["/srv/data/x"]);
        assert!(new.get(b"usr/share/man/man3/x").is_some());
        assert!(new.get(b"usr/share/man").is_some_and(Inode::is_dir));
        new.validate().unwrap();
    }

    #[test]
    fn a_layer_goes_onto_a_newer_base_without_undoing_it() {
        let memory = Memory::default();
        let old = tree(
            &memory,
            &[
                ("usr/lib/libz", "1"),
                ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
            ],
        );
        let made = tree(
            &memory,
            &[
                ("usr/lib/libz", "1"),
                ("usr/bin/app", "app"),
                (
                    "etc/passwd",
                    "root:x:0:0::/root:/bin/sh\napp:x:101:101::/:/bin/false\n",
                ),
            ],
        );
        let mut new = tree(
            &memory,
            &[
                ("usr/lib/libz", "2"),
                (
                    "etc/passwd",
                    "root:x:0:0::/root:/bin/sh\nsync:x:4:65534::/bin:/bin/sync\n",
                ),
            ],
        );
        let applied = apply(&mut new, &Changeset::between(&old, &made), &memory).unwrap();
        assert_eq!(applied.conflicts, []);
        assert_eq!(text_at(&memory, &new, "usr/lib/libz"), "2");
        assert_eq!(text_at(&memory, &new, "usr/bin/app"), "app");
        let passwd = text_at(&memory, &new, "etc/passwd");
        assert!(
            passwd.contains("sync:") && passwd.contains("app:"),
            "{passwd}"
        );
        new.validate().unwrap();
    }

    #[test]
    fn both_sides_changing_a_binary_is_a_conflict_that_keeps_what_was_there() {
        let memory = Memory::default();
        let old = tree(&memory, &[("bin/x", "a\0")]);
        let made = tree(&memory, &[("bin/x", "b\0")]);
        let mut new = tree(&memory, &[("bin/x", "c\0")]);
        let applied = apply(&mut new, &Changeset::between(&old, &made), &memory).unwrap();
        assert_eq!(applied.conflicts.len(), 1);
        assert_eq!(text_at(&memory, &new, "bin/x"), "c\0");
    }

    #[test]
    fn mode_and_contents_merge_apart() {
        let memory = Memory::default();
        let old = tree(&memory, &[("etc/f", "a\nb\nc\nd\ne\n")]);
        let mut made = old.clone();
        let mut new = tree(&memory, &[("etc/f", "a\nb\nc\nd\nE\n")]);
        let path = RelPath::from_text("etc/f").unwrap();
        made.insert(
            path,
            Inode {
                mode: 0o600,
                ..old.get(b"etc/f").unwrap().clone()
            },
        );
        let applied = apply(&mut new, &Changeset::between(&old, &made), &memory).unwrap();
        assert_eq!(applied.conflicts, []);
        assert_eq!(new.get(b"etc/f").unwrap().mode, 0o600);
        assert_eq!(text_at(&memory, &new, "etc/f"), "a\nb\nc\nd\nE\n");
    }

    #[test]
    fn a_directory_that_others_still_use_survives_its_removal() {
        let memory = Memory::default();
        let old = tree(&memory, &[("srv/d/mine", "1"), ("keep", "")]);
        let made = tree(&memory, &[("keep", "")]);
        let mut new = tree(
            &memory,
            &[("srv/d/mine", "1"), ("srv/d/theirs", "2"), ("keep", "")],
        );
        let applied = apply(&mut new, &Changeset::between(&old, &made), &memory).unwrap();
        assert_eq!(applied.conflicts, []);
        assert!(new.get(b"srv/d/mine").is_none() && new.get(b"srv/d/theirs").is_some());
        new.validate().unwrap();
    }

    #[test]
    fn a_file_whose_directory_became_a_file_is_a_conflict() {
        let memory = Memory::default();
        let old = tree(&memory, &[("srv/d/a", "1")]);
        let made = tree(&memory, &[("srv/d/a", "1"), ("srv/d/b", "2")]);
        let mut new = tree(&memory, &[("srv/d", "now a file")]);
        let applied = apply(&mut new, &Changeset::between(&old, &made), &memory).unwrap();
        assert_eq!(applied.conflicts.len(), 1, "{:?}", applied.conflicts);
        new.validate().unwrap();
    }

    #[test]
    fn hardlink_groups_of_two_layers_do_not_mix() {
        let memory = Memory::default();
        let old = tree(&memory, &[("x", "")]);
        let with_links = |a: &str, b: &str, contents: &str| {
            let mut made = tree(&memory, &[("x", ""), (a, contents), (b, contents)]);
            for name in [a, b] {
                let inode = Inode {
                    hardlink: 1,
                    ..made.get(name.as_bytes()).unwrap().clone()
                };
                made.insert(RelPath::from_text(name).unwrap(), inode);
            }
            Changeset::between(&old, &made)
        };
        let mut new = old.clone();
        apply(&mut new, &with_links("a1", "a2", "a"), &memory).unwrap();
        apply(&mut new, &with_links("b1", "b2", "b"), &memory).unwrap();
        let group = |name: &str| new.get(name.as_bytes()).unwrap().hardlink;
        assert!(
            group("a1") == group("a2") && group("b1") == group("b2") && group("a1") != group("b1")
        );
        new.validate().unwrap();
    }
}
