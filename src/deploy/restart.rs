//! Which services run something that a switch replaces: their units, the programs that these start,
//! the libraries that those load, and their configuration.
//!
//! Only enabled services are named, those that a layer asks to restart (`[services]`), and those
//! that the caller knows to run: what does not run needs no restart, and `systemctl try-restart`
//! leaves it alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::check::paths::{started, unit_settings};
use crate::format::Layer;
use crate::id::ObjectId;
use crate::layout::dpkg;
use crate::path::{RelPath, escape};
use crate::tree::view::FileFacts;
use crate::tree::{Inode, Node, Tree};

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
    /// Whether only files change that it reads again when it is told to (`systemctl reload`).
    #[serde(skip)]
    pub by_reload: bool,
    /// Whether a layer asks for it.
    #[serde(skip)]
    pub is_asked: bool,
}

/// What of a service changes.
struct Changed {
    path: RelPath,
    by_reload: bool,
}

/// The units and the files of `/etc` of a package that has something that differs.
struct Owned {
    files: BTreeSet<Vec<u8>>,
}

fn is_unit(path: &[u8]) -> bool {
    UNIT_DIRS
        .iter()
        .any(|dir| is_at_or_below(path, dir.as_bytes()))
}

fn is_at_or_below(path: &[u8], place: &[u8]) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What services run from.
pub struct Services<'a> {
    /// The tree before.
    pub before: &'a Tree,
    /// Says whether a path, which is there before, is another one after.
    pub changes: &'a dyn Fn(&[u8]) -> bool,
    /// What of `/etc` differs, be it there before, after or both times.
    pub etc: &'a BTreeSet<RelPath>,
    /// Reads contents of the tree before; `None` where they cannot be read.
    pub read: &'a dyn Fn(&ObjectId) -> Option<Vec<u8>>,
    /// Services that run though nothing in the image starts them.
    pub also: &'a [String],
}

/// Returns what differs below `/etc` of two trees.
pub(super) fn differing_etc(before: &Tree, after: &Tree) -> BTreeSet<RelPath> {
    let paths = |one: &Tree, other: &Tree| -> Vec<RelPath> {
        let is_same = |path: &RelPath, inode: &Inode| {
            let other = other.get(path.as_bytes());
            other.is_some_and(|other| other.same_content(inode))
        };
        one.below(b"etc")
            .filter(|(path, inode)| !is_same(path, inode))
            .map(|(path, _)| path.clone())
            .collect()
    };
    let (gone, new) = (paths(before, after), paths(after, before));
    gone.into_iter().chain(new).collect()
}

impl Services<'_> {
    /// Names the services to restart, sorted by unit; `layers` are those that change.
    pub fn restarts(&self, layers: &[&Layer]) -> Vec<ServiceRestart> {
        let mut found: BTreeMap<String, ServiceRestart> = BTreeMap::new();
        for layer in layers {
            for unit in &layer.restart {
                let asked = ServiceRestart {
                    unit: unit.clone(),
                    reason: format!("layer '{}' changes, and asks for it", layer.name),
                    by_reload: false,
                    is_asked: true,
                };
                found.insert(unit.clone(), asked);
            }
        }
        let mut known: BTreeMap<RelPath, Option<RelPath>> = BTreeMap::new();
        let owners = self.owners_of_etc();
        let mut units = self.enabled();
        units.extend(self.also.iter().cloned());
        for unit in units {
            if found.contains_key(&unit) {
                continue;
            }
            if let Some(changed) = self.what_changes(&unit, &owners, &mut known) {
                let changed = ServiceRestart {
                    unit: unit.clone(),
                    reason: format!("/{} changes", escape(changed.path.as_bytes())),
                    by_reload: changed.by_reload,
                    is_asked: false,
                };
                found.insert(unit, changed);
            }
        }
        found.into_values().collect()
    }

    /// Returns a program of the tree before, or what it loads, if that changes.
    pub(super) fn program_changes(&self, program: &str) -> Option<RelPath> {
        let path = self.before.resolve(program.as_bytes())?;
        self.file_changes(path, &mut BTreeMap::new())
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
        owners: &[Owned],
        known: &mut BTreeMap<RelPath, Option<RelPath>>,
    ) -> Option<Changed> {
        let anew = |path: RelPath| Changed {
            path,
            by_reload: false,
        };
        // An instance is described by its template.
        let template = unit.split_once('@').and_then(|(name, rest)| {
            let (_, kind) = rest.rsplit_once('.')?;
            Some(format!("{name}@.{kind}"))
        });
        let names = std::iter::once(unit.to_owned()).chain(template);
        let places: Vec<String> = names
            .flat_map(|name| UNIT_DIRS.map(|dir| format!("{dir}/{name}")))
            .collect();
        let mut files = places
            .iter()
            .filter_map(|place| self.before.resolve(place.as_bytes()));
        let Some(file) = files.next() else {
            // What is known to run, and has no unit that could say what it runs from, may run
            // anything.
            let place = RelPath::from_text(places.last()?).ok();
            let place = place.filter(|_| self.also.iter().any(|also| also == unit));
            return place.map(anew);
        };
        let drop_ins: Vec<String> = places.iter().map(|place| format!("{place}.d")).collect();
        let is_drop_in = |path: &RelPath| {
            let is_below = |dir: &String| is_at_or_below(path.as_bytes(), dir.as_bytes());
            drop_ins.iter().any(is_below)
        };
        if (self.changes)(file.as_bytes()) {
            return Some(anew(file));
        }
        let drop_in = drop_ins.iter().find_map(|dir| {
            let mut below = self.before.below(dir.as_bytes());
            let found = below.find(|(path, _)| (self.changes)(path.as_bytes()));
            found.map(|(path, _)| path.clone())
        });
        let new_drop_in = || self.etc.iter().find(|path| is_drop_in(path)).cloned();
        if let Some(path) = drop_in.or_else(new_drop_in) {
            return Some(anew(path));
        }
        let text = self.contents(&file)?;
        let programs = started(&text);
        let program = programs.iter().find_map(|program| {
            let path = self
                .before
                .resolve(program.trim_start_matches('/').as_bytes())?;
            self.file_changes(path, known)
        });
        program
            .map(anew)
            .or_else(|| self.configuration_changes(unit, &file, &text, owners))
    }

    /// Returns a path of a service's configuration that differs: what its unit names, what is
    /// called like it, and what its package has in `/etc`.
    fn configuration_changes(
        &self,
        unit: &str,
        file: &RelPath,
        text: &[u8],
        owners: &[Owned],
    ) -> Option<Changed> {
        let name = unit.split(['.', '@']).next().unwrap_or(unit);
        let mut places: Vec<Vec<u8>> = ["etc/", "etc/default/"]
            .iter()
            .flat_map(|dir| ["", ".conf", ".d"].map(|end| format!("{dir}{name}{end}").into_bytes()))
            .collect();
        for setting in unit_settings(text)
            .iter()
            .filter(|s| s.section == "Service")
        {
            let words = setting.value.split_ascii_whitespace();
            let words = words.filter_map(|word| Some(&word[word.find("/etc/")? + 1..]));
            places.extend(words.map(|word| {
                let word = word.trim_matches(['"', '\'']).trim_end_matches('/');
                word.as_bytes().to_vec()
            }));
        }
        // Links such as `/etc/x.conf -> /etc/x/main.conf` lead to what is read.
        let led: Vec<Vec<u8>> = places
            .iter()
            .filter_map(|place| Some(self.before.resolve(place)?.as_bytes().to_vec()))
            .collect();
        places.extend(led);
        let of_package = |path: &RelPath| {
            let mut both = owners
                .iter()
                .filter(|owned| owned.files.contains(file.as_bytes()));
            both.any(|owned| owned.files.contains(path.as_bytes()))
        };
        let is_meant = |path: &&RelPath| {
            let at = |place: &Vec<u8>| is_at_or_below(path.as_bytes(), place);
            let is_dir = |tree: &Tree| tree.get(path.as_bytes()).is_some_and(Inode::is_dir);
            places.iter().any(at) || (!is_dir(self.before) && of_package(path))
        };
        // Only systemd itself reads these, when it starts a program.
        let settings = unit_settings(text);
        let environments: Vec<&[u8]> = settings
            .iter()
            .filter(|setting| setting.key == "EnvironmentFile")
            .filter_map(|s| Some(&s.value[s.value.find("/etc/")? + 1..]))
            .map(|path| path.trim_matches(['"', '\'']).as_bytes())
            .collect();
        let is_environment = |path: &RelPath| {
            path.starts_with(b"etc/default") || environments.contains(&path.as_bytes())
        };
        let meant: Vec<&RelPath> = self.etc.iter().filter(is_meant).collect();
        let path = (*meant.first()?).clone();
        let by_reload = !meant.into_iter().any(is_environment);
        Some(Changed { path, by_reload })
    }

    /// Returns the packages that have something of `/etc` that differs.
    fn owners_of_etc(&self) -> Vec<Owned> {
        if self.etc.is_empty() {
            return Vec::new();
        }
        let lists = self.before.below(dpkg::INFO.as_bytes());
        let lists = lists.filter(|(path, _)| path.name().ends_with(b".list"));
        let owned = lists.filter_map(|(path, _)| {
            let list = self.contents(path)?;
            let files: BTreeSet<Vec<u8>> = list
                .split(|byte| *byte == b'\n')
                .filter_map(|line| {
                    let path = line.strip_prefix(b"/")?;
                    // Lists say where a file was before `/usr` was one tree.
                    let real = self.before.resolve(path);
                    Some(real.map_or(path.to_vec(), |real| real.as_bytes().to_vec()))
                })
                .filter(|path| path.starts_with(b"etc/") || is_unit(path))
                .collect();
            let is_hit = self.etc.iter().any(|path| files.contains(path.as_bytes()));
            is_hit.then_some(Owned { files })
        });
        owned.collect()
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
        for (unit, program) in [
            ("a", "usr/bin/a"),
            ("b", "usr/bin/b -c /etc/named/x.conf --dir=/etc/other/"),
            ("off", "usr/bin/off"),
            ("unknown", "usr/bin/a"),
        ] {
            let text = format!("[Service]\nExecStart=/{program}\n");
            file(
                &mut tree,
                &format!("usr/lib/systemd/system/{unit}.service"),
                text.as_bytes(),
            );
        }
        file(&mut tree, "usr/bin/a", b"#!/usr/bin/perl\n");
        file(&mut tree, "usr/bin/b", b"plain");
        file(&mut tree, "usr/bin/off", b"off");
        file(&mut tree, "usr/bin/perl", b"perl");
        file(&mut tree, "etc/owned", b"x");
        let list = b"/.\n/etc\n/etc/owned\n/usr/lib/systemd/system/a.service\n";
        file(&mut tree, &format!("{}/a.list", dpkg::INFO), list);
        for unit in ["a", "b"] {
            let link = format!("etc/systemd/system/multi-user.target.wants/{unit}.service");
            tree.insert(path(&link), Inode::symlink("x"));
        }
        let check = |changed: &[&str], layers: &[&Layer], expected: &[(&str, &str)]| {
            let etc = changed.iter().filter(|changed| changed.starts_with("etc/"));
            let services = Services {
                before: &tree,
                changes: &|path| changed.iter().any(|changed| changed.as_bytes() == path),
                etc: &etc.map(|changed| path(changed)).collect(),
                read: &|id| contents.get(id).cloned(),
                also: &["off.service".to_owned()],
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
        for (changed, unit) in [
            // Called like the service, there before or not.
            ("etc/a/conf.d/new", "a.service"),
            ("etc/default/a", "a.service"),
            // The package's own.
            ("etc/owned", "a.service"),
            // Named in the unit.
            ("etc/named/x.conf", "b.service"),
            ("etc/other/deep/er", "b.service"),
            // Added to the unit.
            ("etc/systemd/system/b.service.d/x.conf", "b.service"),
            // Not enabled, and known to run.
            ("etc/off.conf", "off.service"),
        ] {
            check(&[changed], &[], &[(unit, &format!("/{changed} changes"))]);
        }
        check(&["etc/passwd", "etc/ab", "etc/unknown"], &[], &[]);
        let mut layer = Layer::bare("shop", []);
        layer.restart = vec!["b.service".to_owned()];
        check(
            &[],
            &[&layer],
            &[("b.service", "layer 'shop' changes, and asks for it")],
        );
    }
}
