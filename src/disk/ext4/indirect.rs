//! Indirect blocks: twelve block numbers in the inode, then trees of one, two and three levels.

use std::io;

use super::geometry::BLOCK;
use super::inode::put32;
use super::stream::Run;

/// Block numbers in the inode itself.
const DIRECT: u64 = 12;
/// Block numbers in a block.
const PER_BLOCK: u64 = (BLOCK / 4) as u64;

/// Blocks of the largest file: what 32 bits count in sectors, without the blocks of the largest map.
pub(super) const LARGEST: u64 = (u32::MAX as u64 >> 3) - (PER_BLOCK + 2) * PER_BLOCK - 3;

/// Returns the blocks of the map of a file of `blocks` blocks without holes.
pub(super) fn most_blocks(blocks: u64) -> u64 {
    let mut total = 0;
    let mut left = blocks.saturating_sub(DIRECT);
    for levels in 1..=3 {
        let here = left.min(PER_BLOCK.pow(levels));
        total += (1..=levels)
            .map(|level| here.div_ceil(PER_BLOCK.pow(level)))
            .sum::<u64>();
        left -= here;
    }
    total
}

/// Makes the map of `runs`; `append` stores a block and tells where.
pub(super) fn map(
    runs: &[Run],
    append: &mut dyn FnMut(&[u8]) -> io::Result<u64>,
) -> io::Result<[u8; 60]> {
    let mut root = [0; 60];
    let mut rest = runs;
    for slot in 0..DIRECT {
        put32(&mut root, slot as usize * 4, block_at(&mut rest, slot));
    }
    let mut first = DIRECT;
    for levels in 1..=3u32 {
        let place = (DIRECT as usize + levels as usize - 1) * 4;
        put32(&mut root, place, tree(&mut rest, first, levels, append)?);
        first += PER_BLOCK.pow(levels);
    }
    Ok(root)
}

/// Stores the tree for the blocks of the file from `first` on, and returns its block; 0 where the
/// file has only a hole.
fn tree(
    rest: &mut &[Run],
    first: u64,
    levels: u32,
    append: &mut dyn FnMut(&[u8]) -> io::Result<u64>,
) -> io::Result<u32> {
    if levels == 0 {
        return Ok(block_at(rest, first));
    }
    let child = PER_BLOCK.pow(levels - 1);
    skip_to(rest, first);
    if rest
        .first()
        .is_none_or(|run| run.logical >= first + child * PER_BLOCK)
    {
        return Ok(0);
    }
    let mut block = vec![0; BLOCK];
    for slot in 0..PER_BLOCK {
        let number = tree(rest, first + slot * child, levels - 1, append)?;
        put32(&mut block, slot as usize * 4, number);
    }
    Ok(append(&block)? as u32)
}

fn block_at(rest: &mut &[Run], logical: u64) -> u32 {
    skip_to(rest, logical);
    match rest.first() {
        Some(run) if run.logical <= logical => (run.physical + (logical - run.logical)) as u32,
        _ => 0,
    }
}

/// Forgets the runs that end before `logical`.
fn skip_to(rest: &mut &[Run], logical: u64) {
    while let Some((run, others)) = rest.split_first() {
        if run.logical + run.length > logical {
            break;
        }
        *rest = others;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn blocks_of(runs: &[Run]) -> u64 {
        let mut blocks = 0;
        map(runs, &mut |_| {
            blocks += 1;
            Ok(blocks)
        })
        .unwrap();
        blocks
    }

    #[test]
    fn the_map_takes_as_many_blocks_as_were_planned() {
        for length in [
            0,
            1,
            12,
            13,
            12 + 1024,
            12 + 1024 + 1,
            12 + 1024 + 1025,
            1_100_000,
        ] {
            let run = Run {
                logical: 0,
                physical: 7,
                length,
            };
            assert_eq!(blocks_of(&[run]), most_blocks(length), "{length}");
        }
    }

    #[test]
    fn a_hole_needs_no_map() {
        let last = Run {
            logical: 12 + 1024 + 1024 * 1024 + 5,
            physical: 9,
            length: 1,
        };
        assert_eq!(blocks_of(&[last]), 3);
    }
}
