//! Extent trees: runs of blocks, four of them in the inode, more in blocks of their own.

use std::io;

use super::checksum::Sums;
use super::geometry::{BLOCK, SHORTEST_RUN};
use super::inode::{put16, put32};
use super::stream::Run;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const RECORD: usize = 12;
/// Records in the inode.
const IN_ROOT: usize = 4;
/// Records in a block; four bytes are left for its checksum.
const IN_BLOCK: usize = (BLOCK - HEADER) / RECORD;
/// Blocks of one extent.
const LONGEST: u64 = 32_768;

/// A record of a node: its first block in the file, and the rest as bytes.
type Record = (u32, [u8; RECORD]);

/// Returns the most blocks of the tree of `blocks` blocks with data between `holes` known holes.
///
/// The metadata of groups split runs. So does each hole that is not known yet, but it saves more
/// blocks than the larger tree needs.
pub(super) fn most_blocks(blocks: u64, holes: u64) -> u64 {
    let mut nodes = blocks.saturating_sub(1).div_ceil(SHORTEST_RUN) + 1 + holes;
    let mut total = 0;
    while nodes > IN_ROOT as u64 {
        nodes = nodes.div_ceil(IN_BLOCK as u64);
        total += nodes;
    }
    total
}

/// Makes the tree of `runs`; `append` stores a block and tells where.
pub(super) fn map(
    runs: &[Run],
    sums: Sums,
    append: &mut dyn FnMut(&[u8]) -> io::Result<u64>,
) -> io::Result<[u8; 60]> {
    let mut records: Vec<Record> = runs.iter().flat_map(extents).collect();
    let mut depth = 0;
    while records.len() > IN_ROOT {
        let mut above = Vec::with_capacity(records.len().div_ceil(IN_BLOCK));
        for some in records.chunks(IN_BLOCK) {
            let mut block = vec![0; BLOCK];
            fill(&mut block, some, IN_BLOCK, depth);
            let tail = HEADER + IN_BLOCK * RECORD;
            if let Some(sum) = sums.of(&block[..tail]) {
                put32(&mut block, tail, sum);
            }
            above.push(index(some[0].0, append(&block)?));
        }
        records = above;
        depth += 1;
    }
    let mut root = [0; 60];
    fill(&mut root, &records, IN_ROOT, depth);
    Ok(root)
}

fn extents(run: &Run) -> impl Iterator<Item = Record> {
    let run = *run;
    (0..run.length).step_by(LONGEST as usize).map(move |done| {
        let mut record = [0; RECORD];
        let logical = (run.logical + done) as u32;
        let physical = run.physical + done;
        put32(&mut record, 0, logical);
        put16(&mut record, 4, LONGEST.min(run.length - done) as u16);
        put16(&mut record, 6, (physical >> 32) as u16);
        put32(&mut record, 8, physical as u32);
        (logical, record)
    })
}

fn index(logical: u32, block: u64) -> Record {
    let mut record = [0; RECORD];
    put32(&mut record, 0, logical);
    put32(&mut record, 4, block as u32);
    put16(&mut record, 8, (block >> 32) as u16);
    (logical, record)
}

fn fill(out: &mut [u8], records: &[Record], most: usize, depth: u16) {
    put16(out, 0, MAGIC);
    put16(out, 2, records.len() as u16);
    put16(out, 4, most as u16);
    put16(out, 6, depth);
    for (place, (_, record)) in out[HEADER..].chunks_exact_mut(RECORD).zip(records) {
        place.copy_from_slice(record);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn blocks_of(runs: u64) -> usize {
        let runs: Vec<Run> = (0..runs)
            .map(|index| Run {
                logical: index * 2,
                physical: 1000 + index,
                length: 1,
            })
            .collect();
        let mut blocks = 0;
        let sums = Sums::new(&[0; 16], true);
        let root = map(&runs, sums, &mut |_| {
            blocks += 1;
            Ok(blocks)
        });
        assert_eq!(root.unwrap()[..2], [0x0a, 0xf3]);
        blocks as usize
    }

    #[test]
    fn four_extents_stand_in_the_inode_and_more_make_a_tree() {
        assert_eq!([blocks_of(0), blocks_of(4)], [0, 0]);
        assert_eq!([blocks_of(5), blocks_of(340)], [1, 1]);
        assert_eq!([blocks_of(341), blocks_of(1360)], [2, 4]);
        assert_eq!(blocks_of(1361), 5 + 1);
    }

    #[test]
    fn the_bound_holds_for_runs_of_the_shortest_length() {
        assert_eq!(most_blocks(0, 0), 0);
        // One block at the end of a group, two whole groups, one block at the start of the fourth.
        assert_eq!(most_blocks(2 * SHORTEST_RUN + 2, 0), 0);
        assert_eq!(most_blocks(3 * SHORTEST_RUN + 2, 0), 1);
        assert_eq!(most_blocks(1, 4), 1);
    }

    #[test]
    fn a_long_run_is_split() {
        let run = Run {
            logical: 0,
            physical: 10,
            length: LONGEST + 1,
        };
        assert_eq!(extents(&run).count(), 2);
    }
}
