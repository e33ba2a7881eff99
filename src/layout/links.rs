//! Following a path in an image, symlinks included, as Linux does in a root of its own.

use std::borrow::Cow;

use super::components::parent;

/// The most symlinks followed in one path, as in Linux.
const MAX_LINKS: usize = 40;

/// The most names walked in one path. The longest path has half as many; forty links of a hostile
/// image could ask for eighty thousand.
const MAX_STEPS: usize = 4_096;

/// The kind of an entry, as far as following a path needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind<'t> {
    /// A directory.
    Directory,
    /// A symlink with its target.
    Link(Cow<'t, [u8]>),
    /// Anything else.
    Other,
}

/// What to do if the path goes on after a name that is not a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The path leads nowhere, as in Linux.
    LeadsNowhere,
    /// Treat it as a directory: something later may create it.
    AssumeDirectory,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// To this path, no link in it. Something is there, unless [`OnMissing::AssumeDirectory`] was
    /// asked for.
    Found(Vec<u8>),
    /// Nowhere: the path that it would lead to, as far as known.
    Lost(Vec<u8>),
    /// In a circle, or too far: the place where the walk ended.
    Loop(Vec<u8>),
}

/// Follows `path` from the real directory `dir`; an absolute path starts at the root, and `..` at
/// the root stays there.
///
/// `look` says what is at a path whose directories are real ones. After a slash at its end, and
/// before `.` and `..`, a path has to be a directory.
pub fn walk<'t>(
    look: &dyn Fn(&[u8]) -> Option<EntryKind<'t>>,
    dir: &[u8],
    path: &[u8],
    absent: OnMissing,
) -> Resolution {
    let mut at = if path.starts_with(b"/") {
        Vec::new()
    } else {
        dir.to_vec()
    };
    let mut path = Cow::Borrowed(path);
    let mut next = 0;
    let (mut links, mut steps) = (0, 0);
    // Behind the last name `next` stands one byte after the end.
    while next <= path.len() {
        let rest = &path[next..];
        let end = rest.iter().position(|byte| *byte == b'/');
        let name = &rest[..end.unwrap_or(rest.len())];
        next += name.len() + 1;
        let is_last = next > path.len();
        steps += 1;
        if steps > MAX_STEPS {
            return Resolution::Loop(at);
        }
        let up = at.len();
        step(&mut at, name);
        if matches!(name, b"" | b"." | b"..") {
            continue;
        }
        match look(&at) {
            Some(EntryKind::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Resolution::Loop(at);
                }
                at.truncate(if target.starts_with(b"/") { 0 } else { up });
                path = match is_last {
                    true => Cow::Owned(target.into_owned()),
                    false => Cow::Owned([&target, &b"/"[..], &path[next..]].concat()),
                };
                next = 0;
            }
            Some(EntryKind::Directory) => {}
            Some(EntryKind::Other) if is_last => {}
            _ if absent == OnMissing::AssumeDirectory => {}
            _ => {
                if !is_last {
                    let rest = path[next..].split(|byte| *byte == b'/');
                    rest.for_each(|name| step(&mut at, name));
                }
                return Resolution::Lost(at);
            }
        }
    }
    Resolution::Found(at)
}

/// Takes one name of a path, no link followed.
fn step(at: &mut Vec<u8>, name: &[u8]) {
    match name {
        b"" | b"." => {}
        b".." => at.truncate(parent(at).len()),
        name => {
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(name);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// An image of links; what has a target of `/` is a directory, of nothing a file.
    type Links = BTreeMap<Vec<u8>, Vec<u8>>;

    fn image(links: &[(&str, &str)]) -> Links {
        let pair =
            |(path, target): &(&str, &str)| (path.as_bytes().into(), target.as_bytes().into());
        links.iter().map(pair).collect()
    }

    fn follow(image: &Links, dir: &str, path: &str, absent: OnMissing) -> String {
        let look = |path: &[u8]| {
            Some(match image.get(path)?.as_slice() {
                b"/" => EntryKind::Directory,
                b"" => EntryKind::Other,
                target => EntryKind::Link(target.into()),
            })
        };
        let (mark, at) = match walk(&look, dir.as_bytes(), path.as_bytes(), absent) {
            Resolution::Found(at) => ("", at),
            Resolution::Lost(at) => ("?", at),
            Resolution::Loop(at) => ("~", at),
        };
        format!("{mark}{}", String::from_utf8(at).unwrap())
    }

    #[test]
    fn a_path_leads_to_what_linux_finds_or_says_where_it_ends() {
        let image = image(&[
            ("usr", "/"),
            ("usr/lib", "/"),
            ("usr/lib/a", "/"),
            ("usr/lib/a/file", ""),
            ("lib", "usr/lib"),
            ("usr/lib/rel", "a/../a/./file"),
            ("usr/lib/gone", "../../../../opt/x/../y"),
            ("usr/lib/loop", "loop"),
            ("usr/lib/under", "a/file/x"),
            ("usr/lib/slash", "a/"),
            ("usr/lib/all", "/"),
        ]);
        for (path, nowhere, directory) in [
            ("", "usr/lib", "usr/lib"),
            ("a/file", "usr/lib/a/file", "usr/lib/a/file"),
            ("/lib/rel", "usr/lib/a/file", "usr/lib/a/file"),
            ("../../../lib//rel", "usr/lib/a/file", "usr/lib/a/file"),
            ("slash/file", "usr/lib/a/file", "usr/lib/a/file"),
            ("/", "", ""),
            // A file is no directory.
            ("a/file/", "?usr/lib/a/file", "usr/lib/a/file"),
            ("a/file/.", "?usr/lib/a/file", "usr/lib/a/file"),
            ("a/file/..", "?usr/lib/a", "usr/lib/a"),
            ("under", "?usr/lib/a/file/x", "usr/lib/a/file/x"),
            ("gone", "?opt/y", "opt/y"),
            ("none", "?usr/lib/none", "usr/lib/none"),
            // What comes after it may be there again.
            ("none/../rel", "?usr/lib/rel", "usr/lib/a/file"),
            ("loop", "~usr/lib/loop", "~usr/lib/loop"),
        ] {
            let found = |absent| follow(&image, "usr/lib", path, absent);
            assert_eq!(found(OnMissing::LeadsNowhere), nowhere, "{path}");
            assert_eq!(found(OnMissing::AssumeDirectory), directory, "{path}");
        }
    }

    #[test]
    fn forty_symlinks_are_followed_and_one_more_is_not() {
        let mut image = image(&[("0", "")]);
        for n in 1..=41 {
            image.insert(n.to_string().into(), (n - 1).to_string().into());
        }
        let found = |path| follow(&image, "", path, OnMissing::LeadsNowhere);
        assert_eq!((found("40"), found("41")), ("0".into(), "~1".into()));
    }

    #[test]
    fn a_walk_ends_however_far_links_would_lead() {
        let long = format!("{}a", "./".repeat(2_000));
        let image = image(&[("a", "b"), ("b", &long), ("d", "/")]);
        let found = |path: &str| follow(&image, "", path, OnMissing::AssumeDirectory);
        assert_eq!(found("a"), "~");
        // The longest path that there can be, and no links, is walked to its end.
        assert_eq!(
            found(&"d/".repeat(2_047)),
            "d/".repeat(2_047).trim_end_matches('/')
        );
    }
}
