//! Path patterns of the table: `*` within a component, `**` for any number of components, `{}` for
//! the instance.
//!
//! The instance is one whole component, taken literally: a directory of the image that is called
//! `*` matches itself only.

use crate::glob::{GlobPart, MatchScope, path_matches};
use crate::path::RelPath;
use crate::tree::{Inode, Tree};

/// A pattern of the table, with the instance that fills its `{}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern<'a> {
    text: &'static str,
    instance: &'a [u8],
}

impl<'a> Pattern<'a> {
    /// Fills the `{}` of `text`.
    pub(super) fn new(text: &'static str, instance: &'a [u8]) -> Self {
        Self { text, instance }
    }

    fn parts(self) -> impl Iterator<Item = GlobPart<'a>> {
        self.text.split('/').map(move |part| match part {
            "{}" => GlobPart::Name(self.instance),
            part => GlobPart::of(part.as_bytes()),
        })
    }

    /// Says whether a path matches.
    pub(super) fn matches(self, path: &[u8]) -> bool {
        let parts: Vec<GlobPart<'_>> = self.parts().collect();
        path_matches(&parts, path, MatchScope::Itself)
    }

    /// Returns what matches in a tree, in path order.
    pub(super) fn find(self, tree: &Tree) -> Vec<(&RelPath, &Inode)> {
        let parts: Vec<GlobPart<'_>> = self.parts().collect();
        let plain: Vec<&[u8]> = parts
            .iter()
            .map_while(|part| match part {
                GlobPart::Name(name) => Some(*name),
                _ => None,
            })
            .collect();
        let prefix = plain.join(&b'/');
        if plain.len() == parts.len() {
            return tree.get_key_value(&prefix).into_iter().collect();
        }
        tree.below(&prefix)
            .filter(|(path, _)| path_matches(&parts, path.as_bytes(), MatchScope::Itself))
            .collect()
    }

    /// Returns the name that the first `*` stands for.
    pub(super) fn instance_in(self, path: &[u8]) -> Option<Vec<u8>> {
        let star = self
            .parts()
            .position(|part| matches!(part, GlobPart::Stars(_)))?;
        path.split(|byte| *byte == b'/')
            .nth(star)
            .map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_in_their_component_and_instances_are_literal() {
        for (pattern, instance, path, expect) in [
            ("etc/a", "", "etc/a", true),
            ("etc/a", "", "etc/a/b", false),
            ("etc/*.pem", "", "etc/x.pem", true),
            ("etc/*.pem", "", "etc/x/y.pem", false),
            ("usr/{}/**", "x", "usr/x/a/b", true),
            ("usr/{}/**", "x", "usr/x", false),
            ("usr/{}/**", "*", "usr/x/a", false),
            ("usr/**/*.png", "", "usr/a.png", true),
            ("usr/**/*.png", "", "usr/a/b/c.png", true),
            ("usr/**/*.png", "", "usr/a/b/c.svg", false),
            ("a/*b*c", "", "a/xbybzc", true),
            ("a/*b*c", "", "a/xbybz", false),
        ] {
            let pattern = Pattern::new(pattern, instance.as_bytes());
            assert_eq!(
                pattern.matches(path.as_bytes()),
                expect,
                "{pattern:?} {path}"
            );
        }
        let found = Pattern::new("usr/lib/*/x", b"").instance_in(b"usr/lib/amd64/x");
        assert_eq!(found.unwrap(), b"amd64");
    }

    #[test]
    fn find_gives_what_matches_and_nothing_else() {
        let mut tree = Tree::new();
        for path in ["", "a", "a/b", "a/b/c", "a/bc", "a-z", "a-z/c"] {
            tree.insert(RelPath::from_text(path).unwrap(), Inode::directory(0o755));
        }
        for (pattern, expect) in [
            ("a", vec!["/a"]),
            ("a/*", vec!["/a/b", "/a/bc"]),
            ("a/**", vec!["/a/b", "/a/b/c", "/a/bc"]),
            ("**/c", vec!["/a-z/c", "/a/b/c"]),
            ("none", vec![]),
        ] {
            let found = Pattern::new(pattern, b"").find(&tree);
            let found: Vec<String> = found.iter().map(|(path, _)| path.to_string()).collect();
            assert_eq!(found, expect, "{pattern}");
        }
    }
}
