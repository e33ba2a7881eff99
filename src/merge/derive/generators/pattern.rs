//! Path patterns of the table: `*` within a component, `**` for any number of components, `{}` for
//! the instance.
//!
//! The instance is one whole component, taken literally: a directory of the image that is called
//! `*` matches itself only.

use crate::glob::{GlobPart, GlobSyntax, MatchScope, name_matches, path_matches};
use crate::layout::join;
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
        if self.text.contains("**") {
            let parts: Vec<GlobPart<'_>> = self.parts().collect();
            return path_matches(&parts, path, MatchScope::Itself);
        }
        let mut names = path.split(|byte| *byte == b'/');
        let is_next = |part: GlobPart<'_>| names.next().is_some_and(|name| is_name(part, name));
        self.parts().all(is_next) && names.next().is_none()
    }

    /// Returns what matches in a tree, in path order.
    pub(super) fn find(self, tree: &Tree) -> Vec<(&RelPath, &Inode)> {
        let parts: Vec<GlobPart<'_>> = self.parts().collect();
        let mut found = Vec::new();
        add_matches(tree, &parts, 0, Vec::new(), &mut found);
        found.sort_by_key(|(path, _)| *path);
        found
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

/// Adds what matches below `dir`, to which the parts before `next` have led. Only where any number
/// of names may follow is everything below looked at.
fn add_matches<'t>(
    tree: &'t Tree,
    parts: &[GlobPart<'_>],
    next: usize,
    dir: Vec<u8>,
    found: &mut Vec<(&'t RelPath, &'t Inode)>,
) {
    let Some(part) = parts.get(next) else {
        found.extend(tree.get_key_value(&dir));
        return;
    };
    match part {
        GlobPart::Any => {
            let below = tree.below(&dir);
            found.extend(
                below.filter(|(path, _)| path_matches(parts, path.as_bytes(), MatchScope::Itself)),
            );
        }
        GlobPart::Name(name) => add_matches(tree, parts, next + 1, join(&dir, name), found),
        GlobPart::Stars(_) => {
            for name in tree.names(&dir).filter(|name| is_name(*part, name)) {
                add_matches(tree, parts, next + 1, join(&dir, name), found);
            }
        }
    }
}

/// Says whether a part that stands for one name stands for this one.
fn is_name(part: GlobPart<'_>, name: &[u8]) -> bool {
    match part {
        GlobPart::Name(expect) => expect == name,
        GlobPart::Stars(pattern) => name_matches(pattern, name, GlobSyntax::Stars),
        GlobPart::Any => false,
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
            ("a*/*", vec!["/a-z/c", "/a/b", "/a/bc"]),
            ("*/b/c", vec!["/a/b/c"]),
            ("a*/**", vec!["/a-z/c", "/a/b", "/a/b/c", "/a/bc"]),
            ("none", vec![]),
        ] {
            let found = Pattern::new(pattern, b"").find(&tree);
            let found: Vec<String> = found.iter().map(|(path, _)| path.to_string()).collect();
            assert_eq!(found, expect, "{pattern}");
        }
    }
}
