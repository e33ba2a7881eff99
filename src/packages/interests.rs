//! dpkg's file triggers: which packages are interested in which paths.
//!
//! The file is `triggers/File`, as dpkg's `lib/dpkg/triglib.c` reads and writes it: a line is an
//! absolute path, a blank, a package, and `/noawait` or `/await` for whether somebody waits for it.

use crate::path::RelPath;

/// A package that wants to be told of changes at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    /// The path, without slashes around it; it stands for everything below, too.
    pub path: RelPath,
    /// The package, with `:` and its architecture where it may be installed for several.
    pub package: String,
}

/// Reads dpkg's list of file triggers: the interests, sorted, and the lines that cannot be read,
/// with their numbers.
pub fn interests(file: &[u8]) -> (Vec<Interest>, Vec<(usize, &[u8])>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let body = file.strip_suffix(b"\n").unwrap_or(file);
    if body.is_empty() {
        return (found, unreadable);
    }
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        match interest(line) {
            Some(interest) => found.push(interest),
            None => unreadable.push((index + 1, line)),
        }
    }
    found.sort();
    found.dedup();
    (found, unreadable)
}

fn interest(line: &[u8]) -> Option<Interest> {
    let line = std::str::from_utf8(line).ok()?;
    let (path, package) = line.split_once(' ')?;
    let package = package
        .strip_suffix("/noawait")
        .or_else(|| package.strip_suffix("/await"))
        .unwrap_or(package);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
    if !package.starts_with(|c: char| c.is_ascii_alphanumeric()) || !package.chars().all(is_name) {
        return None;
    }
    let path = path.strip_prefix('/')?.trim_end_matches('/');
    Some(Interest {
        path: RelPath::new(path.as_bytes()).ok()?,
        package: package.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_line_is_an_interest_or_a_problem(lines in proptest::collection::vec("[/ a-zA-Z.:\u{fffd}]{1,12}", 1..20)) {
            let text = lines.join("\n");
            let (read, unreadable) = interests(text.as_bytes());
            let mut distinct: Vec<_> = lines.iter().filter_map(|line| interest(line.as_bytes())).collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(&read, &distinct);
            let bad = lines.iter().filter(|line| interest(line.as_bytes()).is_none()).count();
            prop_assert_eq!(unreadable.len(), bad);
        }
    }
}
