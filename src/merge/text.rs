//! Three-way merge of text by lines, for files without a driver.
//!
//! Bytes are kept as they are: any encoding and line ending will do, only NUL bytes mark a file as
//! binary. There is no output with conflict markers: a file that does not merge is not written.

use diffy::{ConflictStyle, DiffOptions, IncompleteHunkStyle, MergeOptions};

/// Why three texts do not merge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextConflict {
    /// A side is not text.
    #[error("{side} is binary")]
    Binary {
        /// The side: `pre`, `current` or `post`.
        side: &'static str,
    },
    /// Both sides changed the same lines differently.
    #[error("{hunks} conflicting hunks, the first at line {line} of current")]
    Overlap {
        /// How many places conflict.
        hunks: usize,
        /// The line of the first one in current, counted from 1.
        line: usize,
    },
}

/// Merges the changes that lead from `pre` to `current` and from `pre` to `post`.
pub fn merge(pre: &[u8], current: &[u8], post: &[u8]) -> Result<Vec<u8>, TextConflict> {
    if post == pre || current == post {
        return Ok(current.to_vec());
    }
    if current == pre {
        return Ok(post.to_vec());
    }
    for (side, text) in [("pre", pre), ("current", current), ("post", post)] {
        if text.contains(&0) {
            return Err(TextConflict::Binary { side });
        }
    }
    // Longer than any run in the texts, so that no line of theirs can pass for a marker.
    let marker = [pre, current, post].map(longest_run).into_iter().max();
    let marker = marker.unwrap_or(0).max(6) + 1;
    let mut options = MergeOptions::new();
    options
        .set_conflict_style(ConflictStyle::Merge)
        .set_conflict_marker_length(marker)
        .set_incomplete_hunk_style(IncompleteHunkStyle::Git);
    options
        .merge_bytes(pre, current, post)
        .map_err(|marked| locate(&marked, current, marker))
}

const MARKERS: &[u8] = b"<=>|";

fn longest_run(text: &[u8]) -> usize {
    let runs = text.chunk_by(|a, b| a == b);
    let runs = runs.filter(|run| MARKERS.contains(&run[0]));
    runs.map(<[u8]>::len).max().unwrap_or(0)
}

/// Reads the number of conflicts and the place of the first one out of a marked merge.
fn locate(marked: &[u8], current: &[u8], marker: usize) -> TextConflict {
    enum Part {
        Both,
        Current,
        Post,
    }
    let is_marker = |line: &[u8], byte| {
        line.len() >= marker && line[..marker].iter().all(|found| *found == byte)
    };
    let mut hunks = 0;
    let mut before = 0;
    let mut part = Part::Both;
    // The merge with each conflict decided for current, to map lines of the merge back to it.
    let mut decided = Vec::with_capacity(marked.len());
    for line in marked.split_inclusive(|&byte| byte == b'\n') {
        part = match part {
            Part::Both if is_marker(line, b'<') => {
                hunks += 1;
                Part::Current
            }
            Part::Current if is_marker(line, b'=') => Part::Post,
            Part::Post if is_marker(line, b'>') => Part::Both,
            Part::Post => Part::Post,
            part => {
                before += usize::from(hunks == 0);
                decided.extend_from_slice(line);
                part
            }
        };
    }
    let mut options = DiffOptions::new();
    options.set_context_len(0);
    let patch = options.create_patch_bytes(current, &decided);
    let (mut grown, mut shrunk) = (0, 0);
    for hunk in patch.hunks() {
        let (old, new) = (hunk.old_range(), hunk.new_range());
        if new.start() + new.len().max(1) <= before + 1 {
            grown += new.len();
            shrunk += old.len();
        }
    }
    // Texts without a final newline can shift the count by one.
    let last = current
        .split_inclusive(|&byte| byte == b'\n')
        .count()
        .max(1);
    let line = (before + 1 + shrunk).saturating_sub(grown).clamp(1, last);
    TextConflict::Overlap { hunks, line }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRE: &[u8] = b"a\nb\nc\nd\ne\nf\ng\nh\n";

    #[test]
    fn a_conflict_behind_the_last_line_is_at_the_last_line() {
        let found = merge(b"\n<\nb\na", b"\n<", b"a\na\na\n\n\n\n\n\n");
        assert!(
            matches!(found, Err(TextConflict::Overlap { line: 1..=2, .. })),
            "{found:?}"
        );
    }

    #[test]
    fn changes_in_different_places_are_joined() {
        let current = b"a\nB\nc\nd\ne\nf\ng\nh\n";
        let post = b"a\nb\nc\nd\ne\nf\ng\nH\ni\n";
        let merged = merge(PRE, current, post).unwrap();
        assert_eq!(merged, b"a\nB\nc\nd\ne\nf\ng\nH\ni\n");
    }

    #[test]
    fn a_conflict_names_its_line_in_current() {
        for (current, post, hunks, line) in [
            (
                "a\nb\nc\nd\nE1\nf\ng\nh\n",
                "a\nb\nc\nd\nE2\nf\ng\nh\n",
                1,
                5,
            ),
            // Two lines that post inserts above do not count, the one that current inserts does.
            (
                "0\na\nb\nc\nd\nE1\nf\ng\nh\n",
                "a\nb\nx\ny\nc\nd\nE2\nf\ng\nh\n",
                1,
                6,
            ),
            ("a\nb\nc\nd\nE1\nf\ng\nh\n", "a\nc\nd\nE2\nf\ng\nh\n", 1, 5),
            (
                "A1\nb\nc\nd\ne\nf\ng\nH1",
                "A2\nb\nc\nd\ne\nf\ng\nH2\n",
                2,
                1,
            ),
        ] {
            let conflict = merge(PRE, current.as_bytes(), post.as_bytes()).unwrap_err();
            assert_eq!(
                conflict,
                TextConflict::Overlap { hunks, line },
                "{current:?}"
            );
        }
    }

    #[test]
    fn text_that_looks_like_markers_is_only_text() {
        let pre = b"<<<<<<< ours\nx\n=======\ny\n>>>>>>> theirs\n";
        let current = b"<<<<<<< ours\nx1\n=======\ny\n>>>>>>> theirs\n";
        let post = b"<<<<<<< ours\nx2\n=======\ny\n>>>>>>> theirs\n";
        let conflict = merge(pre, current, post).unwrap_err();
        assert_eq!(conflict, TextConflict::Overlap { hunks: 1, line: 2 });
    }

    #[test]
    fn binary_is_refused_but_not_where_one_side_is_untouched() {
        let conflict = merge(PRE, b"a\n", b"a\0\n").unwrap_err();
        assert_eq!(conflict, TextConflict::Binary { side: "post" });
        assert_eq!(conflict.to_string(), "post is binary");
        assert_eq!(merge(b"\0", b"\0", b"a\0b").unwrap(), b"a\0b");
    }

    proptest! {
        #[test]
        fn an_untouched_side_gives_the_other_byte_for_byte(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(merge(&a, &b, &a).unwrap(), b.clone());
            prop_assert_eq!(merge(&a, &a, &b).unwrap(), b.clone());
            prop_assert_eq!(merge(&a, &b, &b).unwrap(), b);
        }

        #[test]
        fn any_bytes_merge_or_conflict_within_the_file(
            pre in "[ab<=>\n]{0,40}", current in "[ab<=>\n]{0,40}", post in "[ab<=>\n]{0,40}",
        ) {
            match merge(pre.as_bytes(), current.as_bytes(), post.as_bytes()) {
                Ok(_) => {}
                Err(TextConflict::Overlap { hunks, line }) => {
                    prop_assert!(hunks > 0);
                    prop_assert!((1..=current.lines().count() + 1).contains(&line));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
