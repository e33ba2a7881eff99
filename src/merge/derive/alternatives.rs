//! The links of update-alternatives(1): functions of its database and of what somebody chose.
//!
//! For each group in automatic mode the choice of the highest priority is linked from
//! `/etc/alternatives`, with those of its slaves whose files exist; of equal priorities the first
//! path wins (`alternative_set_best` in dpkg's utils/update-alternatives.c). In manual mode the
//! group's link in `/etc/alternatives` is somebody's decision, and content. The other links follow
//! from it in the same way.

use std::collections::BTreeSet;

use super::DerivedLink;
use crate::layout::{ALTERNATIVES, dpkg};
use crate::merge::drivers::alternatives::chosen;
use crate::tree::view::{ImageView, ViewError, ViewNode, join, resolve};

/// The links that the databases of an image ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DerivedAlternatives {
    /// Links that must exist, in `/etc/alternatives` and at the names that programs use; sorted.
    pub links: Vec<DerivedLink>,
    /// Links below `/etc/alternatives` that no choice has, with the names that point at them;
    /// sorted.
    pub absent: Vec<Vec<u8>>,
    /// Names below `/etc/alternatives` that are derived, whether or not they are there.
    pub derived: BTreeSet<Vec<u8>>,
    /// Names that point at those, whether or not they are there.
    pub public: BTreeSet<Vec<u8>>,
    /// Names of groups whose link in `/etc/alternatives` is somebody's decision.
    pub manual: BTreeSet<Vec<u8>>,
    /// Names of groups for which somebody chose a path that is gone, with the path.
    pub overruled: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Derives the links of all groups. A database that does not parse has none: the dpkg driver or the
/// package's own script reports it.
pub fn derive(view: &dyn ImageView) -> Result<DerivedAlternatives, ViewError> {
    let mut found = DerivedAlternatives::default();
    for name in view.names(dpkg::ALTERNATIVES.as_bytes()) {
        let database = view.read(&join(dpkg::ALTERNATIVES.as_bytes(), &name))?;
        let current = match view.node(&join(ALTERNATIVES.as_bytes(), &name)) {
            Some(ViewNode::Symlink(target)) => Some(target),
            _ => None,
        };
        let exists = |path: &[u8]| resolve(view, path).is_some();
        let Some(chosen) = chosen(&database, current.as_deref(), &exists) else {
            continue;
        };
        match chosen.path {
            Some(path) => found.add(&name, chosen.link, Some(path)),
            None => found.add_manual(&name, chosen.link),
        }
        for (slave, link, path) in chosen.slaves {
            found.add(slave, link, path.filter(|path| exists(path)));
        }
        if let Some(path) = current.filter(|_| chosen.is_overruled) {
            found.overruled.push((name, path));
        }
    }
    found.links.sort();
    found.absent.sort();
    Ok(found)
}

/// Returns the path of a name without its first slash.
fn relative(link: &[u8]) -> Vec<u8> {
    link.strip_prefix(b"/").unwrap_or(link).to_vec()
}

impl DerivedAlternatives {
    fn add(&mut self, name: &[u8], link: &[u8], path: Option<&[u8]>) {
        let inner = join(ALTERNATIVES.as_bytes(), name);
        self.derived.insert(inner.clone());
        match path {
            Some(path) => {
                self.links.push(DerivedLink {
                    path: inner.clone(),
                    target: path.to_vec(),
                });
                self.add_public(inner, link);
            }
            None => {
                self.public.insert(relative(link));
                self.absent.extend([inner, relative(link)]);
            }
        }
    }

    fn add_manual(&mut self, name: &[u8], link: &[u8]) {
        self.manual.insert(name.to_vec());
        self.add_public(join(ALTERNATIVES.as_bytes(), name), link);
    }

    fn add_public(&mut self, inner: Vec<u8>, link: &[u8]) {
        let path = relative(link);
        self.public.insert(path.clone());
        self.links.push(DerivedLink {
            path,
            target: [b"/".as_slice(), &inner].concat(),
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    const EDITOR: &[u8] =
        b"auto\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n\
        /bin/nano\n40\n/usr/share/man/man1/nano.1.gz\n/usr/bin/vim.tiny\n15\n\n\n";

    fn derived(database: &[u8]) -> DerivedAlternatives {
        let view = MemoryView::new()
            .file(
                "usr/lib/sysimage/var/lib/dpkg/alternatives/editor",
                database,
            )
            .file("usr/share/man/man1/nano.1.gz", b"x");
        derive(&view).unwrap()
    }

    #[test]
    fn the_highest_priority_is_linked_with_its_slaves() {
        let found = derived(EDITOR);
        let links: Vec<String> = found
            .links
            .iter()
            .map(|link| {
                format!(
                    "{} -> {}",
                    String::from_utf8_lossy(&link.path),
                    String::from_utf8_lossy(&link.target)
                )
            })
            .collect();
        assert_eq!(
            links,
            [
                "etc/alternatives/editor -> /bin/nano",
                "etc/alternatives/editor.1.gz -> /usr/share/man/man1/nano.1.gz",
                "usr/bin/editor -> /etc/alternatives/editor",
                "usr/share/man/man1/editor.1.gz -> /etc/alternatives/editor.1.gz",
            ]
        );
        assert!(found.absent.is_empty());
    }

    #[test]
    fn a_slave_that_the_best_choice_lacks_is_absent() {
        let text = String::from_utf8(EDITOR.to_vec())
            .unwrap()
            .replace("\n15\n", "\n50\n");
        let found = derived(text.as_bytes());
        assert_eq!(found.links[0].target, b"/usr/bin/vim.tiny");
        assert_eq!(
            found.absent,
            [
                b"etc/alternatives/editor.1.gz".to_vec(),
                b"usr/share/man/man1/editor.1.gz".to_vec()
            ]
        );
    }

    /// What is derived of the group in manual mode, with `current` chosen and `gone` missing.
    fn manual(current: Option<&str>, gone: &str) -> DerivedAlternatives {
        let text = String::from_utf8(EDITOR.to_vec()).unwrap();
        let text = text.replacen("auto", "manual", 1);
        let place = "usr/lib/sysimage/var/lib/dpkg/alternatives/editor";
        let mut view = MemoryView::new().file(place, text.as_bytes());
        let files = [
            "bin/nano",
            "usr/bin/vim.tiny",
            "usr/share/man/man1/nano.1.gz",
            "opt/own",
        ];
        for file in files.into_iter().filter(|file| *file != gone) {
            view = view.file(file, b"x");
        }
        if let Some(current) = current {
            view = view.link("etc/alternatives/editor", current);
        }
        derive(&view).unwrap()
    }

    fn paths(found: &DerivedAlternatives) -> Vec<String> {
        let paths = found.links.iter().map(|link| &link.path);
        paths
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }

    #[test]
    fn in_manual_mode_all_links_but_the_chosen_one_are_derived() {
        let nano = manual(Some("/bin/nano"), "");
        let public = ["usr/bin/editor", "usr/share/man/man1/editor.1.gz"];
        assert_eq!(
            paths(&nano),
            ["etc/alternatives/editor.1.gz", public[0], public[1]]
        );
        assert!(nano.manual.contains(&b"editor"[..]) && nano.overruled.is_empty());
        assert!(!nano.derived.contains(&b"etc/alternatives/editor"[..]));
        let vim = manual(Some("/usr/bin/vim.tiny"), "");
        assert_eq!(paths(&vim), [public[0]]);
        assert_eq!(vim.absent.len(), 2);
        // What is no choice of the group has no known slaves.
        let own = manual(Some("/opt/own"), "");
        assert_eq!(paths(&own), [public[0]]);
        assert!(own.absent.is_empty() && own.derived.is_empty());
    }

    #[test]
    fn without_what_was_chosen_a_group_is_in_automatic_mode() {
        let target = |found: &DerivedAlternatives| {
            assert_eq!(found.links[0].path, b"etc/alternatives/editor");
            String::from_utf8_lossy(&found.links[0].target).into_owned()
        };
        let gone = manual(Some("/bin/nano"), "bin/nano");
        assert_eq!(target(&gone), "/usr/bin/vim.tiny");
        let overruled = [(b"editor".to_vec(), b"/bin/nano".to_vec())];
        assert_eq!(gone.overruled, overruled);
        let unset = manual(None, "");
        assert_eq!(target(&unset), "/bin/nano");
        assert!(unset.overruled.is_empty() && unset.manual.is_empty());
    }

    #[test]
    fn broken_databases_derive_nothing() {
        for database in [&EDITOR[..40], b""] {
            assert_eq!(derived(database), DerivedAlternatives::default());
        }
    }
}
