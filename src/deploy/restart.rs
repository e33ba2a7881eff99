//! Which services run something that a switch replaces: their units, the programs that these start,
//! and the libraries that those load.
//!
//! Only enabled services are named, and those that a layer asks to restart (`[services]`): what does
//! not run needs no restart, and `systemctl try-restart` leaves it alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::check::paths::started;
use crate::format::Layer;
use crate::id::ObjectId;
use crate::path::{RelPath, escape};
use crate::tree::view::FileFacts;
use crate::tree::{Node, Tree};

/// Where units are; the first that has one wins (systemd.unit(5)).
const UNIT_DIRS: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];
/// Programs and libraries are not larger, in bytes: what is, is not looked into.
const LIMIT: u64 = 256 << 20;

/// A service to restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceRestart {
    /// The unit.
    pub unit: String,
    /// What of it changes.
    pub reason: String,
}

/// What services run from.
pub struct Services<'a> {
    /// The tree before.
    pub before: &'a Tree,
    /// Says whether a path, which is there before, is another one after.
    pub changes: &'a dyn Fn(&[u8]) -> bool,
    /// Reads contents of the tree before; `None` where they cannot be read.
    pub read: &'a dyn Fn(&ObjectId) -> Option<Vec<u8>>,
}

impl Services<'_> {
    /// Names the services to restart, sorted by unit; `layers` are those that change.
    pub fn restarts(&self, layers: &[&Layer]) -> Vec<ServiceRestart> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for layer in layers {
            for unit in &layer.restart {
                let reason = format!("layer '{}' changes, and asks for it", layer.name);
                found.insert(unit.clone(), reason);
            }
        }
        let mut known: BTreeMap<RelPath, Option<RelPath>> = BTreeMap::new();
        for unit in self.enabled() {
            if found.contains_key(&unit) {
                continue;
            }
            if let Some(path) = self.what_changes(&unit, &mut known) {
                let reason = format!("{} changes", escape(path.as_bytes()));
                found.insert(unit, format!("/{reason}"));
            }
        }
        let restarts = found.into_iter();
        restarts
            .map(|(unit, reason)| ServiceRestart { unit, reason })
            .collect()
    }

    /// Returns the services that something wants or requires.
    fn enabled(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for dir in UNIT_DIRS {
            for (path, inode) in self.before.below(dir.as_bytes()) {
                let parent = path.parent();
                let above = parent.as_ref().map(RelPath::name).unwrap_or_default();
                let wanted = above.ends_with(b".wants") || above.ends_with(b".requires");
                let is_link = matches!(inode.node, Node::Symlink { .. });
                let name = String::from_utf8_lossy(path.name());
                if wanted && is_link && name.ends_with(".service") {
                    found.insert(name.into_owned());
                }
            }
        }
        found
    }

    /// Returns the first path that a unit needs and that changes.
    fn what_changes(
        &self,
        unit: &str,
        known: &mut BTreeMap<RelPath, Option<RelPath>>,
    ) -> Option<RelPath> {
        // An instance is described by its template.
        let template = unit.split_once('@').and_then(|(name, rest)| {
            let (_, kind) = rest.rsplit_once('.')?;
            Some(format!("{name}@.{kind}"))
        });
        let names = std::iter::once(unit.to_owned()).chain(template);
        let places = names.flat_map(|name| UNIT_DIRS.map(|dir| format!("{dir}/{name}")));
        let file = places
            .filter_map(|place| self.before.resolve(place.as_bytes()))
            .next()?;
        if (self.changes)(file.as_bytes()) {
            return Some(file);
        }
        let programs = started(&self.contents(&file)?);
        programs.iter().find_map(|program| {
            let path = self
                .before
                .resolve(program.trim_start_matches('/').as_bytes())?;
            self.file_changes(path, known)
        })
    }

    /// Returns a file, or what it loads, if that changes. Each file is looked into once.
    fn file_changes(
        &self,
        path: RelPath,
        known: &mut BTreeMap<RelPath, Option<RelPath>>,
    ) -> Option<RelPath> {
        if let Some(answer) = known.get(&path) {
            return answer.clone();
        }
        // Libraries may need each other: while one is looked into, it counts as unchanged.
        known.insert(path.clone(), None);
        let answer = if (self.changes)(path.as_bytes()) {
            Some(path.clone())
        } else {
            let loaded = self.loaded(&path);
            loaded
                .into_iter()
                .find_map(|file| self.file_changes(file, known))
        };
        known.insert(path, answer.clone());
        answer
    }

    /// Returns the files that a program or library loads before it starts.
    fn loaded(&self, path: &RelPath) -> Vec<RelPath> {
        let Some(bytes) = self.contents(path) else {
            return Vec::new();
        };
        let names: Vec<Vec<u8>> = match FileFacts::of(bytes.as_slice()) {
            FileFacts::Elf(facts) => facts
                .needed
                .iter()
                .map(|n| n.clone().into_bytes())
                .collect(),
            FileFacts::Script(script) => vec![script.interpreter],
            FileFacts::BrokenElf(_) | FileFacts::Other => Vec::new(),
        };
        let dirs = self.library_dirs();
        let find = |name: Vec<u8>| {
            if let Some(rest) = name.strip_prefix(b"/") {
                return self.before.resolve(rest);
            }
            dirs.iter().find_map(|dir| {
                let path = crate::layout::join(dir.as_bytes(), &name);
                self.before.resolve(&path)
            })
        };
        names.into_iter().filter_map(find).collect()
    }

    /// Returns where Debian's libraries lie: the directory of the architecture comes first.
    fn library_dirs(&self) -> Vec<RelPath> {
        let below = self.before.below(b"usr/lib");
        let triplets = below.filter(|(path, inode)| {
            let name = String::from_utf8_lossy(path.name());
            let depth = path.as_bytes().iter().filter(|byte| **byte == b'/').count();
            inode.is_dir() && depth == 2 && name.contains("-linux-gnu")
        });
        let mut dirs: Vec<RelPath> = triplets.map(|(path, _)| path.clone()).collect();
        dirs.extend(RelPath::new(b"usr/lib").ok());
        dirs
    }

    fn contents(&self, path: &RelPath) -> Option<Vec<u8>> {
        match self.before.get(path.as_bytes())?.node {
            Node::File { object, size } if size <= LIMIT => (self.read)(&object),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::Inode;

    #[test]
    fn services_are_restarted_for_their_unit_their_program_and_what_starts_it() {
        let mut contents: BTreeMap<ObjectId, Vec<u8>> = BTreeMap::new();
        let mut tree = Tree::new();
        let path = |text: &str| RelPath::from_text(text).unwrap();
        let mut file = |tree: &mut Tree, at: &str, bytes: &[u8]| {
            let id = ObjectId::of(bytes);
            contents.insert(id, bytes.to_vec());
            for dir in std::iter::successors(path(at).parent(), RelPath::parent) {
                tree.insert(dir, Inode::directory(0o755));
            }
            tree.insert(path(at), Inode::file(id, bytes.len() as u64, 0o755));
        };
        for (unit, program) in [("a", "usr/bin/a"), ("b", "usr/bin/b"), ("off", "usr/bin/a")] {
            let text = format!("[Service]\nExecStart=/{program}\n");
            file(
                &mut tree,
                &format!("usr/lib/systemd/system/{unit}.service"),
                text.as_bytes(),
            );
        }
        file(&mut tree, "usr/bin/a", b"#!/usr/bin/perl\n");
        file(&mut tree, "usr/bin/b", b"plain");
        file(&mut tree, "usr/bin/perl", b"perl");
        for unit in ["a", "b"] {
            let link = format!("etc/systemd/system/multi-user.target.wants/{unit}.service");
            tree.insert(path(&link), Inode::symlink("x"));
        }
        let check = |changed: &[&str], layers: &[&Layer], expected: &[(&str, &str)]| {
            let services = Services {
                before: &tree,
                changes: &|path| changed.iter().any(|changed| changed.as_bytes() == path),
                read: &|id| contents.get(id).cloned(),
            };
            let found = services.restarts(layers);
            let found: Vec<_> = found
                .iter()
                .map(|s| (s.unit.as_str(), s.reason.as_str()))
                .collect();
            assert_eq!(found, expected, "{changed:?}");
        };
        check(&["usr/share/doc/x"], &[], &[]);
        check(
            &["usr/bin/perl"],
            &[],
            &[("a.service", "/usr/bin/perl changes")],
        );
        check(
            &["usr/lib/systemd/system/b.service"],
            &[],
            &[("b.service", "/usr/lib/systemd/system/b.service changes")],
        );
        let mut layer = Layer::bare("shop", []);
        layer.restart = vec!["b.service".to_owned()];
        check(
            &[],
            &[&layer],
            &[("b.service", "layer 'shop' changes, and asks for it")],
        );
    }
}
