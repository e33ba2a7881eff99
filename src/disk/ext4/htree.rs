//! Directories with an index: names sorted by their hash, and a tree over the blocks of names.

use std::io;

use super::checksum::{Sums, crc32c};
use super::directory::{Name, block, put_name, room};
use super::geometry::BLOCK;
use super::hash::{HALF_MD4, NameHash, hash};
use super::inode::{put16, put32};

/// Where the records of the root and of other nodes start.
const IN_ROOT: usize = 32;
const IN_NODE: usize = 8;
const RECORD: usize = 8;

/// One block of names: the hash from which it is responsible, and which of the sorted names it has.
struct Leaf {
    from: u32,
    names: std::ops::Range<usize>,
}

/// The index of a directory, laid out.
pub(super) struct Index<'a> {
    names: Vec<(NameHash, Name<'a>)>,
    leaves: Vec<Leaf>,
    /// Nodes between the root and the leaves.
    nodes: usize,
    sums: Sums,
}

impl<'a> Index<'a> {
    /// Lays out an index; `None` when there are more names than two levels hold.
    pub(super) fn new(
        names: impl Iterator<Item = Name<'a>>,
        seed: &[u8; 16],
        sums: Sums,
    ) -> Option<Self> {
        let mut names: Vec<_> = names.map(|name| (hash(name.name, seed), name)).collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.name.cmp(b.1.name)));
        let leaves = leaves(&names, room(sums));
        let nodes = if leaves.len() <= capacity(IN_ROOT, sums) {
            0
        } else {
            leaves.len().div_ceil(capacity(IN_NODE, sums))
        };
        (nodes <= capacity(IN_ROOT, sums)).then_some(Self {
            names,
            leaves,
            nodes,
            sums,
        })
    }

    /// Returns the blocks of the directory.
    pub(super) fn blocks(&self) -> u64 {
        (1 + self.nodes + self.leaves.len()) as u64
    }

    /// Gives the blocks in their order: the root, the nodes, the names.
    pub(super) fn write(
        &self,
        own: u32,
        parent: u32,
        append: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let first_leaf = 1 + self.nodes;
        let leaves: Vec<(u32, u32)> = (first_leaf as u32..)
            .zip(&self.leaves)
            .map(|(place, leaf)| (leaf.from, place))
            .collect();
        let groups: Vec<_> = leaves.chunks(capacity(IN_NODE, self.sums)).collect();
        let mut root = vec![0; BLOCK];
        put_name(&mut root, Name::directory(b".", own), 12);
        put_name(&mut root[12..], Name::directory(b"..", parent), BLOCK - 12);
        root[28] = HALF_MD4;
        root[29] = 8; // bytes of these facts
        root[30] = u8::from(self.nodes > 0);
        if self.nodes == 0 {
            put_records(&mut root, IN_ROOT, &leaves, self.sums);
        } else {
            let nodes: Vec<_> = (1..)
                .zip(&groups)
                .map(|(place, group)| (group[0].0, place))
                .collect();
            put_records(&mut root, IN_ROOT, &nodes, self.sums);
        }
        append(&root)?;
        for group in groups.iter().take(self.nodes) {
            let mut node = vec![0; BLOCK];
            put16(&mut node, 4, BLOCK as u16);
            put_records(&mut node, IN_NODE, group, self.sums);
            append(&node)?;
        }
        for leaf in &self.leaves {
            let names = self.names[leaf.names.clone()].iter().map(|(_, name)| *name);
            append(&block(names, self.sums))?;
        }
        Ok(())
    }
}

/// Deals the sorted names to blocks. A fifth of each stays free, so that new names find room.
fn leaves(names: &[(NameHash, Name<'_>)], room: usize) -> Vec<Leaf> {
    let mut out: Vec<Leaf> = Vec::new();
    let mut filled = usize::MAX;
    for (index, (hash, name)) in names.iter().enumerate() {
        match out.last_mut() {
            Some(leaf) if filled + name.bytes() <= room / 5 * 4 => {
                leaf.names.end = index + 1;
                filled += name.bytes();
            }
            last => {
                // The lowest bit says that names with this hash are in the block before, too.
                let goes_on = last.is_some() && names[index - 1].0.major == hash.major;
                out.push(Leaf {
                    from: hash.major | u32::from(goes_on),
                    names: index..index + 1,
                });
                filled = name.bytes();
            }
        }
    }
    out
}

/// Returns how many records a node has whose records start at `start`.
fn capacity(start: usize, sums: Sums) -> usize {
    // The checksum takes the place of one record.
    (BLOCK - start) / RECORD - usize::from(sums.exist())
}

fn put_records(out: &mut [u8], start: usize, records: &[(u32, u32)], sums: Sums) {
    let limit = capacity(start, sums);
    for (place, (hash, block)) in out[start..].chunks_exact_mut(RECORD).zip(records) {
        put32(place, 0, *hash);
        put32(place, 4, *block);
    }
    // The first record has no hash of its own: it begins at zero.
    put16(out, start, limit as u16);
    put16(out, start + 2, records.len() as u16);
    if let Some(sum) = sums.of(&out[..start + records.len() * RECORD]) {
        let tail = start + limit * RECORD;
        put32(out, tail + 4, crc32c(sum, &[0; 8]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_two_blocks_share_is_marked_in_the_second() {
        let name = Name {
            name: &[b'n'; 200],
            inode: 12,
            file_type: 1,
        };
        let of = |major| (NameHash { major, minor: 0 }, name);
        // Fifteen names fill four fifths of a block.
        let mut names = vec![of(2); 10];
        names.extend(vec![of(4); 10]);
        names.push(of(6));
        let leaves = leaves(&names, BLOCK);
        let found: Vec<_> = leaves
            .iter()
            .map(|leaf| (leaf.from, leaf.names.clone()))
            .collect();
        assert_eq!(found, [(2, 0..15), (4 | 1, 15..21)]);
    }

    #[test]
    fn checksums_cost_a_node_one_record() {
        let [with, without] = [true, false].map(|wanted| Sums::new(&[0; 16], wanted));
        assert_eq!(
            [capacity(IN_ROOT, without), capacity(IN_NODE, without)],
            [508, 511]
        );
        assert_eq!(
            [capacity(IN_ROOT, with), capacity(IN_NODE, with)],
            [507, 510]
        );
    }
}
