//! Groups of update-alternatives(1) whose link is gone though there is something that it could lead
//! to. A link that is there, and leads nowhere, is judged as a link.

use super::faults::Faults;
use super::image::Image;
use crate::check::{FindingKind, Weight};
use crate::layout::{ALTERNATIVES, dpkg, name};
use crate::tree::view::ViewError;

/// A group, as far as it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group<'a> {
    /// The path that programs use.
    link: &'a str,
    /// What it may lead to.
    choices: Vec<&'a str>,
}

/// Finds groups with a choice and without their link: `alternative:PATH:LINK`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let dirs = dpkg::DIRECTORIES.map(|dir| format!("{dir}/alternatives"));
    let dir = dirs
        .iter()
        .find(|dir| !image.names(dir.as_bytes()).is_empty());
    let Some(dir) = dir else {
        return Ok(());
    };
    for path in image.files(dir.as_bytes(), |_| true) {
        let text = image.text(path.as_bytes())?;
        let Some(group) = read(&text) else {
            continue;
        };
        let group_name = String::from_utf8_lossy(name(path.as_bytes())).into_owned();
        let link = format!("/{ALTERNATIVES}/{group_name}");
        if !group
            .choices
            .iter()
            .any(|choice| image.file(choice.as_bytes()).is_some())
        {
            continue;
        }
        for link in [link.as_str(), group.link] {
            if !image.has_entry(link) {
                faults.add(
                    FindingKind::Alternative,
                    &path,
                    link,
                    weight(group.link),
                    &format!(
                        "has choices for '{}', and the link '{link}' does not exist",
                        group.link
                    ),
                    "rebuild the layer of the group, or run update-alternatives --auto for it",
                );
            }
        }
    }
    Ok(())
}

/// Manual pages start nothing.
fn weight(link: &str) -> Weight {
    match link.starts_with("/usr/share/") {
        true => Weight::Minor,
        false => Weight::Grave,
    }
}

/// Reads a group: mode and link, slaves of two lines each up to an empty line, and choices: a path,
/// a priority, and a path for each slave.
fn read(text: &str) -> Option<Group<'_>> {
    let mut lines = text.lines();
    let link = lines.nth(1).filter(|link| link.starts_with('/'))?;
    let mut slaves = 0;
    while lines.next().is_some_and(|slave| !slave.is_empty()) {
        lines.next();
        slaves += 1;
    }
    let mut choices = Vec::new();
    while let Some(choice) = lines.next().filter(|choice| choice.starts_with('/')) {
        choices.push(choice);
        lines.nth(slaves);
    }
    Some(Group { link, choices })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_is_read_with_its_choices() {
        let text = "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n/usr/bin/gawk\n10\n\n\n";
        let group = read(text).unwrap();
        assert_eq!(group.link, "/usr/bin/awk");
        assert_eq!(group.choices, ["/usr/bin/mawk", "/usr/bin/gawk"]);
        assert_eq!(read("auto\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(/[a-z]*|[0-9\n]|[^x])*") {
            read(&text);
        }
    }
}
