//! The entries as a tree: who lies in whom, and which inode everything is.

use super::directory::Name;
use super::error::Ext4Error;
use super::inode::types;
use super::model::{Entry, EntryKind, Kind};
use crate::path::RelPath;
use crate::time::Timestamp;

/// The inode of the root.
pub(super) const ROOT: u32 = 2;
/// The inode of `lost+found`, which is also the first one that is not reserved.
pub(super) const LOST_FOUND: u32 = 11;
const LOST_FOUND_NAME: &[u8] = b"lost+found";
/// Blocks of `lost+found`, so that a check of a full filesystem has room for what it finds.
pub(super) const LOST_FOUND_BLOCKS: u64 = 4;

/// The most links of an inode.
const MOST_LINKS: u32 = 65_000;

/// Checked entries, each with its inode.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) entries: Vec<Entry>,
    /// The entry that describes each entry's inode: another one for a hard link.
    owners: Vec<u32>,
    /// The inode and the number of links of each entry that is its own owner.
    inodes: Vec<u32>,
    links: Vec<u32>,
    /// The entry that holds each entry; the root holds itself.
    parents: Vec<u32>,
    /// What all directories hold, one after another, and where each one's part starts.
    children: Vec<u32>,
    starts: Vec<u32>,
    /// The last inode in use.
    pub(super) last_inode: u32,
}

impl Tree {
    /// Checks entries and numbers them in their order; adds the root where there is no entry at all,
    /// and `lost+found`.
    pub(super) fn new(mut entries: Vec<Entry>, kind: Kind, epoch: i64) -> Result<Self, Ext4Error> {
        if entries.is_empty() {
            entries.push(own_directory(RelPath::root(), 0o755, epoch));
        }
        if !entries
            .iter()
            .any(|entry| entry.path.as_bytes() == LOST_FOUND_NAME)
        {
            let path = RelPath::new(LOST_FOUND_NAME).unwrap_or_default();
            entries.push(own_directory(path, 0o700, epoch));
        }
        let sorted = sort(&entries)?;
        let parents = parents(&entries, &sorted)?;
        let owners = owners(&entries, &sorted)?;
        let (inodes, last_inode) = number(&entries);
        let (children, starts) = children(&sorted, &parents, entries.len());
        let mut links = count_links(&entries, &owners, &parents);
        check_links(&entries, &mut links, kind)?;
        Ok(Self {
            entries,
            owners,
            inodes,
            links,
            parents,
            children,
            starts,
            last_inode,
        })
    }

    /// Returns the inode of an entry.
    pub(super) fn inode(&self, index: usize) -> u32 {
        self.inodes[self.owners[index] as usize]
    }

    /// Returns the inode of the directory that holds an entry.
    pub(super) fn parent_inode(&self, index: usize) -> u32 {
        self.inodes[self.parents[index] as usize]
    }

    /// Returns the links to the inode of an entry that is no hard link.
    pub(super) fn links(&self, index: usize) -> u32 {
        self.links[index]
    }

    /// Returns what a directory holds, in the byte order of paths.
    pub(super) fn names(&self, index: usize) -> impl Iterator<Item = Name<'_>> + Clone {
        let range = self.starts[index] as usize..self.starts[index + 1] as usize;
        self.children[range].iter().map(|child| {
            let child = *child as usize;
            let owner = &self.entries[self.owners[child] as usize];
            Name {
                name: self.entries[child].path.name(),
                inode: self.inode(child),
                file_type: file_type(&owner.kind),
            }
        })
    }
}

fn own_directory(path: RelPath, mode: u16, epoch: i64) -> Entry {
    Entry {
        path,
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp::from_sec(epoch),
        xattrs: std::collections::BTreeMap::new(),
        kind: EntryKind::Directory,
    }
}

/// Returns the entries in the order of their paths, each once.
fn sort(entries: &[Entry]) -> Result<Vec<u32>, Ext4Error> {
    let mut sorted: Vec<u32> = (0..entries.len() as u32).collect();
    sorted.sort_by(|a, b| entries[*a as usize].path.cmp(&entries[*b as usize].path));
    for pair in sorted.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|index| &entries[index as usize].path);
        if first == second {
            return Err(Ext4Error::Twice {
                path: first.clone(),
            });
        }
    }
    Ok(sorted)
}

fn find(entries: &[Entry], sorted: &[u32], path: &[u8]) -> Option<usize> {
    let at = |index: &u32| entries[*index as usize].path.as_bytes();
    let found = sorted.binary_search_by(|index| at(index).cmp(path)).ok()?;
    Some(sorted[found] as usize)
}

fn parents(entries: &[Entry], sorted: &[u32]) -> Result<Vec<u32>, Ext4Error> {
    let is_directory = |index: usize| matches!(entries[index].kind, EntryKind::Directory);
    find(entries, sorted, b"").ok_or(Ext4Error::NoRoot)?;
    let mut parents = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let path = entry.path.as_bytes();
        if (path.is_empty() || path == LOST_FOUND_NAME) && !is_directory(index) {
            return Err(Ext4Error::NotADirectory {
                path: entry.path.clone(),
            });
        }
        let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let parent = find(entries, sorted, &path[..slash]).filter(|at| is_directory(*at));
        parents.push(parent.ok_or_else(|| Ext4Error::NoParent {
            path: entry.path.clone(),
        })? as u32);
    }
    Ok(parents)
}

fn owners(entries: &[Entry], sorted: &[u32]) -> Result<Vec<u32>, Ext4Error> {
    let mut owners: Vec<u32> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let EntryKind::HardLink(target) = &entry.kind else {
            owners.push(index as u32);
            continue;
        };
        let owner = find(entries, sorted, target.as_bytes())
            .and_then(|at| owners.get(at).copied())
            .filter(|at| !matches!(entries[*at as usize].kind, EntryKind::Directory));
        owners.push(owner.ok_or_else(|| Ext4Error::BadLink {
            path: entry.path.clone(),
            target: target.clone(),
        })?);
    }
    Ok(owners)
}

fn number(entries: &[Entry]) -> (Vec<u32>, u32) {
    let mut last = LOST_FOUND;
    let inodes = entries
        .iter()
        .map(|entry| match (&entry.kind, entry.path.as_bytes()) {
            (EntryKind::HardLink(_), _) => 0,
            (_, b"") => ROOT,
            (_, LOST_FOUND_NAME) => LOST_FOUND,
            _ => {
                last += 1;
                last
            }
        })
        .collect();
    (inodes, last)
}

/// Gathers the children of each entry. Returns them all, and where each entry's begin.
fn children(sorted: &[u32], parents: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let held = |index: &&u32| parents[**index as usize] != **index;
    let mut starts = vec![0u32; count + 1];
    for index in sorted.iter().filter(held) {
        starts[parents[*index as usize] as usize + 1] += 1;
    }
    for index in 0..count {
        starts[index + 1] += starts[index];
    }
    let mut next = starts.clone();
    let mut children = vec![0; starts[count] as usize];
    for index in sorted.iter().filter(held) {
        let place = &mut next[parents[*index as usize] as usize];
        children[*place as usize] = *index;
        *place += 1;
    }
    (children, starts)
}

fn count_links(entries: &[Entry], owners: &[u32], parents: &[u32]) -> Vec<u32> {
    let mut links = vec![0; entries.len()];
    for (index, entry) in entries.iter().enumerate() {
        links[owners[index] as usize] += 1;
        if matches!(entry.kind, EntryKind::Directory) {
            links[index] += 1; // "."
            if !entry.path.is_root() {
                links[parents[index] as usize] += 1; // ".."
            }
        }
    }
    links
}

fn check_links(entries: &[Entry], links: &mut [u32], kind: Kind) -> Result<(), Ext4Error> {
    for (entry, links) in entries.iter().zip(links) {
        if *links <= MOST_LINKS {
            continue;
        }
        if kind != Kind::Ext4 || !matches!(entry.kind, EntryKind::Directory) {
            return Err(Ext4Error::TooManyLinks {
                path: entry.path.clone(),
                links: *links,
            });
        }
        *links = 1; // "more than can be counted" (dir_nlink)
    }
    Ok(())
}

/// Returns the type bits of an entry's mode; none for a hard link.
pub(super) fn type_bits(kind: &EntryKind) -> u16 {
    match kind {
        EntryKind::File { .. } => types::FILE,
        EntryKind::Directory => types::DIRECTORY,
        EntryKind::CharDevice(_) => types::CHAR,
        EntryKind::BlockDevice(_) => types::BLOCK,
        EntryKind::Fifo => types::FIFO,
        EntryKind::Socket => types::SOCKET,
        EntryKind::Symlink(_) => types::SYMLINK,
        EntryKind::HardLink(_) => 0,
    }
}

/// Returns how directories say what an entry is.
fn file_type(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File { .. } => 1,
        EntryKind::Directory => 2,
        EntryKind::CharDevice(_) => 3,
        EntryKind::BlockDevice(_) => 4,
        EntryKind::Fifo => 5,
        EntryKind::Socket => 6,
        EntryKind::Symlink(_) => 7,
        EntryKind::HardLink(_) => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::ext4::testing::{directory, file, link};

    fn tree(entries: Vec<Entry>) -> Result<Tree, Ext4Error> {
        Tree::new(entries, Kind::Ext4, 0)
    }

    #[test]
    fn inodes_follow_the_order_of_the_entries() {
        let entries = vec![
            file("z/b", b""),
            directory(""),
            directory("z"),
            link("z/a", "z/b"),
            file("a", b""),
        ];
        let tree = tree(entries).unwrap();
        let inodes: Vec<u32> = (0..6).map(|index| tree.inode(index)).collect();
        assert_eq!(inodes, [12, ROOT, 13, 12, 14, LOST_FOUND]);
        assert_eq!([tree.links(0), tree.links(1), tree.links(2)], [2, 4, 2]);
        let names: Vec<_> = tree.names(2).map(|name| (name.name, name.inode)).collect();
        assert_eq!(names, [(&b"a"[..], 12), (b"b", 12)]);
    }

    #[test]
    fn an_empty_filesystem_has_a_root_and_lost_found() {
        let tree = tree(Vec::new()).unwrap();
        assert_eq!(tree.entries.len(), 2);
        assert_eq!(tree.links(0), 3);
    }

    #[test]
    fn what_makes_no_tree_is_refused_by_name() {
        let root = || directory("");
        let check = |entries: Vec<Entry>, message: &str| {
            assert_eq!(tree(entries).unwrap_err().to_string(), message);
        };
        check(
            vec![directory("a")],
            "the root directory is missing among the entries",
        );
        check(
            vec![root(), file("a", b""), file("a", b"")],
            "'/a' occurs twice",
        );
        check(
            vec![root(), file("a/b", b"")],
            "'/a/b' has no directory to lie in",
        );
        check(
            vec![root(), file("a", b""), file("a/b", b"")],
            "'/a/b' has no directory to lie in",
        );
        check(
            vec![root(), file("lost+found", b"")],
            "'/lost+found' must be a directory",
        );
        for (target, first) in [("b", link("a", "b")), ("", link("a", ""))] {
            check(
                vec![root(), first, file("b", b"")],
                &format!("'/a' cannot be a hard link to '/{target}', which is no earlier file"),
            );
        }
    }
}
