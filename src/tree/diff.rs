//! The difference of two trees, in path order.

use std::cmp::Ordering;

use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// A path at which two trees differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// What the first tree has there.
    pub before: Option<&'a Inode>,
    /// What the second tree has there.
    pub after: Option<&'a Inode>,
}

/// Iterates over the paths at which `before` and `after` differ, in path order.
pub fn diff<'a>(
    before: &'a Tree,
    after: &'a Tree,
) -> impl Iterator<Item = (&'a RelPath, Difference<'a>)> {
    let mut left = before.iter().peekable();
    let mut right = after.iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((l, _)), Some((r, _))) => l.cmp(r),
            };
            match order {
                Ordering::Less => {
                    return left.next().map(|(path, inode)| {
                        (
                            path,
                            Difference {
                                before: Some(inode),
                                after: None,
                            },
                        )
                    });
                }
                Ordering::Greater => {
                    return right.next().map(|(path, inode)| {
                        (
                            path,
                            Difference {
                                before: None,
                                after: Some(inode),
                            },
                        )
                    });
                }
                Ordering::Equal => {
                    let ((path, l), (_, r)) = (left.next()?, right.next()?);
                    if l != r {
                        return Some((
                            path,
                            Difference {
                                before: Some(l),
                                after: Some(r),
                            },
                        ));
                    }
                }
            }
        }
    })
}
