//! dpkg's file triggers: which packages wait for which paths, and which of these paths a layer has.
//!
//! If a package of a lower layer gains such an interest after an upper layer was built, its trigger
//! has never seen that layer's files.

use std::collections::BTreeMap;

use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::dpkg;
use crate::packages::{self, Interest};
use crate::path::{RelPath, escape};

/// Directories that are links below `/` since `/usr` was merged.
const MERGED: [&[u8]; 7] = [
    b"bin", b"lib", b"lib32", b"lib64", b"libo32", b"libx32", b"sbin",
];

/// The content of dpkg's list of file triggers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interests {
    /// What is listed, sorted.
    pub interests: Vec<Interest>,
    /// One problem for each line that cannot be read: `trigger:unreadable:line-N`.
    pub problems: Vec<Problem>,
}

/// Reads the content of dpkg's list of file triggers.
pub fn interests(file: &[u8]) -> Interests {
    let (interests, unreadable) = packages::interests(file);
    let problem = |(line, text): (usize, &[u8])| self::unreadable(line, text);
    Interests {
        interests,
        problems: unreadable.into_iter().map(problem).collect(),
    }
}

fn unreadable(number: usize, line: &[u8]) -> Problem {
    let shown = &line[..line.len().min(80)];
    Problem {
        id: FindingKind::Trigger.at(format_args!("unreadable:line-{number}")),
        // Where the integrator found it may be the other one; the image's is what a build leaves.
        subject: Subject::Path(
            RelPath::from_text(&format!("{}/{}", dpkg::DIRECTORY, dpkg::FILE_TRIGGERS))
                .unwrap_or_default(),
        ),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!(
            "line {number} of dpkg's list of file triggers cannot be read: '{}'",
            escape(shown)
        ),
        hint: "rebuild the layer that changed the list, or repair it there".to_owned(),
    }
}

/// Returns the interests in which some of these paths lie, in the order given.
///
/// Each path costs a look-up for each directory above it.
pub fn touched<'a>(
    interests: &'a [Interest],
    paths: &mut dyn Iterator<Item = &RelPath>,
) -> Vec<&'a Interest> {
    let mut open: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, interest) in interests.iter().enumerate() {
        let place = merged(interest.path.as_bytes());
        open.entry(place).or_default().push(index);
    }
    let mut hit = Vec::new();
    for path in paths {
        if open.is_empty() {
            break;
        }
        let place = merged(path.as_bytes());
        let mut end = place.len();
        loop {
            hit.extend(open.remove(&place[..end]).into_iter().flatten());
            match place[..end].iter().rposition(|byte| *byte == b'/') {
                Some(slash) => end = slash,
                None if end > 0 => end = 0,
                None => break,
            }
        }
    }
    hit.sort_unstable();
    hit.into_iter().map(|index| &interests[index]).collect()
}

/// Returns where a path lies once `/usr` has been merged: interests are written as packages named
/// their files then.
fn merged(path: &[u8]) -> Vec<u8> {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or(path);
    if MERGED.contains(&first) {
        return [b"usr/", path].concat();
    }
    path.to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(interests: &[&Interest]) -> Vec<String> {
        let show = |interest: &&Interest| format!("{} {}", interest.path, interest.package);
        interests.iter().map(show).collect()
    }

    #[test]
    fn the_list_of_dpkg_is_read_and_what_it_would_not_write_is_said() {
        let text = b"/usr/share/man man-db/noawait\n/a/ libglib2.0-0:amd64/await\nrelative x\n/nothing\n\n/x -y\n/a b/ c\n/\xff x\n/../x y\n";
        let read = interests(text);
        assert_eq!(
            shown(&read.interests.iter().collect::<Vec<_>>()),
            ["/a libglib2.0-0:amd64", "/usr/share/man man-db"]
        );
        let ids: Vec<&str> = read
            .problems
            .iter()
            .map(|problem| problem.id.as_str())
            .collect();
        let expect: Vec<String> = (3..=9)
            .map(|n| format!("trigger:unreadable:line-{n}"))
            .collect();
        assert_eq!(ids, expect);
        assert_eq!(interests(b""), Interests::default());
    }

    #[test]
    fn an_interest_is_touched_by_its_path_and_all_below() {
        let list = interests(
            b"/usr/share/man man-db\n/usr/share/mandala m\n/lib/modules kmod\n/usr/lib/x a\n/usr/lib/x b\n/etc/one o\n/usr/share/glib g\n",
        )
        .interests;
        let check = |paths: &[&str], expect: &[&str]| {
            let paths: Vec<RelPath> = paths
                .iter()
                .map(|path| RelPath::from_text(path).unwrap())
                .collect();
            assert_eq!(shown(&touched(&list, &mut paths.iter())), expect);
        };
        check(&["usr/share/man/man1/a"], &["/usr/share/man man-db"]);
        check(&["usr/share/mandalas", "usr/share", "usr"], &[]);
        check(
            &["etc/one", "usr/lib/x"],
            &["/etc/one o", "/usr/lib/x a", "/usr/lib/x b"],
        );
        check(&["usr/lib/modules/6/a.ko"], &["/lib/modules kmod"]);
        check(&["lib/x/y"], &["/usr/lib/x a", "/usr/lib/x b"]);
    }
}
