//! The order in which objects are made.

use std::collections::HashMap;

use super::DeltaItem;
use super::frames::ALONE;
use super::names::{pattern, split};
use super::plan::{Plan, PlannedPiece};
use crate::id::ObjectId;

/// Returns an order in which objects can be made: what is copied from comes first; alike things
/// stand together.
pub(super) fn order(items: &[DeltaItem], plans: &[Plan]) -> Vec<usize> {
    let numbers: HashMap<ObjectId, usize> = items
        .iter()
        .enumerate()
        .map(|(n, item)| (item.id, n))
        .collect();
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|n| {
        let path = items[*n]
            .paths
            .first()
            .map(|path| pattern(path.as_bytes()))
            .unwrap_or_default();
        let kind = kind(&path);
        let is_large = plans[*n].fresh_size() >= ALONE;
        (plans[*n].is_archive, is_large, kind, path, items[*n].id)
    });
    // An archive within an archive stands before it.
    let mut placed = vec![false; items.len()];
    let mut result = Vec::with_capacity(items.len());
    for first in order {
        let mut stack = vec![(first, false)];
        while let Some((n, is_ready)) = stack.pop() {
            if placed[n] {
                continue;
            }
            if is_ready || !plans[n].is_archive {
                placed[n] = true;
                result.push(n);
                continue;
            }
            stack.push((n, true));
            for piece in plans[n].segments.iter().flat_map(|segment| &segment.pieces) {
                if let PlannedPiece::Copy(slice) = piece
                    && let Some(needed) = numbers.get(&slice.id)
                    && !placed[*needed]
                {
                    stack.push((*needed, false));
                }
            }
        }
    }
    result
}

/// Returns the extension, or the directory where there is none: what is alike.
fn kind(path: &[u8]) -> Vec<u8> {
    let name = split(path).1;
    let stem = name
        .strip_suffix(b".xz")
        .or_else(|| name.strip_suffix(b".gz"))
        .unwrap_or(name);
    let parts = stem.split(|byte| *byte == b'.').skip(1);
    let last = parts.filter(|part| *part != b"#").last();
    last.map_or_else(Vec::new, <[u8]>::to_vec)
}
