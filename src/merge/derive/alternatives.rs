//! The links of update-alternatives(1): functions of its database, in automatic mode.
//!
//! For each group the choice of the highest priority is linked from `/etc/alternatives`, with those
//! of its slaves whose files exist; of equal priorities the first path wins
//! (`alternative_set_best` in dpkg's utils/update-alternatives.c). A group in manual mode is
//! somebody's decision: its link is content, and stays as it is.

use std::collections::BTreeSet;

use super::DerivedLink;
use crate::layout::{ALTERNATIVES, dpkg};
use crate::merge::drivers::alternatives::best_choice;
use crate::tree::view::{ImageView, ViewError, join, resolve};

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
}

/// Derives the links of all groups in automatic mode. A database that does not parse has none: the
/// dpkg driver or the package's own script reports it.
pub fn derive(view: &dyn ImageView) -> Result<DerivedAlternatives, ViewError> {
    let mut found = DerivedAlternatives::default();
    for name in view.names(dpkg::ALTERNATIVES.as_bytes()) {
        let database = view.read(&join(dpkg::ALTERNATIVES.as_bytes(), &name))?;
        let Some(best) = best_choice(&database) else {
            continue;
        };
        found.add(&name, best.link, Some(best.path));
        for (slave, link, path) in best.slaves {
            let exists = path.filter(|path| resolve(view, path).is_some());
            found.add(slave, link, exists);
        }
    }
    found.links.sort();
    found.absent.sort();
    Ok(found)
}

impl DerivedAlternatives {
    fn add(&mut self, name: &[u8], link: &[u8], path: Option<&[u8]>) {
        let inner = join(ALTERNATIVES.as_bytes(), name);
        let public = link.strip_prefix(b"/").unwrap_or(link).to_vec();
        self.derived.insert(inner.clone());
        self.public.insert(public.clone());
        match path {
            Some(path) => {
                let target = [b"/".as_slice(), &inner].concat();
                self.links.push(DerivedLink {
                    path: inner,
                    target: path.to_vec(),
                });
                self.links.push(DerivedLink {
                    path: public,
                    target,
                });
            }
            None => self.absent.extend([inner, public]),
        }
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

    #[test]
    fn manual_mode_and_broken_databases_derive_nothing() {
        let manual = String::from_utf8(EDITOR.to_vec())
            .unwrap()
            .replacen("auto", "manual", 1);
        for database in [manual.as_bytes(), &EDITOR[..40], b""] {
            assert_eq!(derived(database), DerivedAlternatives::default());
        }
    }
}
