//! Which units a tree has, and which of several files of a name systemd takes.

use std::collections::{BTreeMap, BTreeSet};

use super::lookup::{self, Lookup};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Node, Tree};

/// Whose manager reads a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// That of the system.
    System,
    /// That of a user.
    User,
}

/// Where units lie, in order of precedence (systemd.unit(5)).
pub(super) const DIRS: [(Scope, &[u8]); 10] = [
    (Scope::System, b"etc/systemd/system"),
    (Scope::System, b"usr/local/lib/systemd/system"),
    (Scope::System, b"usr/lib/systemd/system"),
    // Before Debian 12, /lib may be a directory of its own.
    (Scope::System, b"lib/systemd/system"),
    (Scope::User, b"etc/systemd/user"),
    (Scope::User, b"usr/local/share/systemd/user"),
    (Scope::User, b"usr/share/systemd/user"),
    (Scope::User, b"usr/local/lib/systemd/user"),
    (Scope::User, b"usr/lib/systemd/user"),
    (Scope::User, b"lib/systemd/user"),
];

/// Where programs lie that write units when a machine starts (systemd.generator(7)).
const GENERATORS: [&[u8]; 4] = [
    b"etc/systemd/system-generators",
    b"usr/local/lib/systemd/system-generators",
    b"usr/lib/systemd/system-generators",
    b"lib/systemd/system-generators",
];

/// The files that make units, by their names below the unit directories: `a.service`,
/// `a.service.d/b.conf`.
#[derive(Debug, Default)]
pub(super) struct UnitNames<'a> {
    files: BTreeMap<(Scope, &'a [u8]), &'a RelPath>,
    init_scripts: Vec<&'a [u8]>,
    /// The units that another one starts, by links in its directory.
    enabled: BTreeSet<(Scope, Vec<u8>)>,
    /// What the generators of packages other than systemd hold.
    generators: Vec<Vec<u8>>,
}

impl<'a> UnitNames<'a> {
    /// Collects the units of a tree; dangling links do not count.
    pub(super) fn of(tree: &'a Tree) -> Self {
        let mut files = BTreeMap::new();
        for (scope, dir) in DIRS {
            for (path, inode) in tree.below(dir) {
                let rest = &path.as_bytes()[dir.len() + 1..];
                if inode.is_dir() || files.contains_key(&(scope, rest)) {
                    continue;
                }
                if let Node::Symlink { target } = &inode.node {
                    let end = lookup::walk(tree, lookup::parent(path.as_bytes()), target);
                    let exists = matches!(end, Lookup::Found(..)) || **target == *b"/dev/null";
                    if !exists {
                        continue;
                    }
                }
                files.insert((scope, rest), path);
            }
        }
        let init_scripts = tree.names(b"etc/init.d").collect();
        let enabled = files.keys().filter_map(|(scope, rest): &(Scope, &[u8])| {
            let dir = lookup::parent(rest);
            let starts = dir.ends_with(b".wants") || dir.ends_with(b".requires");
            let name = lookup::name(rest);
            starts.then(|| (*scope, template(name).unwrap_or(name.to_vec())))
        });
        Self {
            enabled: enabled.collect(),
            files,
            init_scripts,
            generators: Vec::new(),
        }
    }

    /// Reads the generators, so that what they write counts as there. systemd's own write units of
    /// known names.
    pub(super) fn with_generators(
        mut self,
        tree: &Tree,
        view: &dyn ImageView,
    ) -> Result<Self, ViewError> {
        for (path, inode) in GENERATORS.iter().flat_map(|dir| tree.subtree(dir)) {
            if inode.object().is_some() && !path.name().starts_with(b"systemd-") {
                self.generators.push(view.read(path.as_bytes())?);
            }
        }
        Ok(self)
    }

    /// Says whether a generator names a unit. Compilers take texts apart, but not in the middle of
    /// a name as short as these.
    fn is_generated(&self, name: &[u8]) -> bool {
        let Some(dot) = name.iter().position(|byte| b".@".contains(byte)) else {
            return false;
        };
        let start = &name[..=dot];
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        let names = |text: &Vec<u8>| {
            let places = text.windows(start.len()).enumerate();
            let mut found = places.filter(|(_, part)| *part == start);
            found.any(|(at, _)| at == 0 || !is_of_name(&text[at - 1]))
        };
        dot > 0 && self.generators.iter().any(names)
    }

    /// Iterates over the files that systemd takes: scope, name of the unit, whether it is a
    /// drop-in, path.
    pub(super) fn files(&self) -> impl Iterator<Item = (Scope, &'a [u8], bool, &'a RelPath)> {
        self.files.iter().filter_map(|((scope, rest), path)| {
            let mut parts = rest.split(|byte| *byte == b'/');
            let (first, second, more) = (parts.next()?, parts.next(), parts.next());
            match (second, more) {
                (None, _) => Some((*scope, first, false, *path)),
                (Some(name), None) if name.ends_with(b".conf") => {
                    Some((*scope, first.strip_suffix(b".d")?, true, *path))
                }
                _ => None,
            }
        })
    }

    /// Says whether a unit's name starts with `prefix`, and ends with `suffix`.
    pub(super) fn has_any(&self, scope: Scope, prefix: &[u8], suffix: &[u8]) -> bool {
        let from = (scope, prefix);
        self.files
            .range(from..)
            .take_while(|((of, name), _)| *of == scope && name.starts_with(prefix))
            .any(|((_, name), _)| name.ends_with(suffix) && !name.contains(&b'/'))
    }

    /// Says whether there is a unit of this name: a file, a template, a script that systemd makes a
    /// service of, or one that a generator writes.
    pub(super) fn has(&self, scope: Scope, name: &[u8]) -> bool {
        if self.files.contains_key(&(scope, name)) {
            return true;
        }
        let script = || name.strip_suffix(b".service");
        template(name).is_some_and(|name| self.files.contains_key(&(scope, name.as_slice())))
            || scope == Scope::System
                && (script().is_some_and(|name| self.init_scripts.binary_search(&name).is_ok())
                    || self.is_generated(name))
    }

    /// Says whether another unit starts this one, or an instance of it.
    pub(super) fn is_enabled(&self, scope: Scope, name: &[u8]) -> bool {
        self.enabled.contains(&(scope, name.to_vec()))
    }

    /// Says whether `path` is a link of `*.wants` or `*.requires` whose unit exists, if not where
    /// the link says: the link's name counts.
    pub(super) fn is_served_elsewhere(&self, path: &[u8]) -> bool {
        let dir = lookup::parent(path);
        if !dir.ends_with(b".wants") && !dir.ends_with(b".requires") {
            return false;
        }
        let above = lookup::parent(dir);
        DIRS.iter()
            .find(|(_, dir)| *dir == above)
            .is_some_and(|(scope, _)| self.has(*scope, lookup::name(path)))
    }
}

/// Returns the template that an instance is made from.
fn template(name: &[u8]) -> Option<Vec<u8>> {
    let at = name.iter().position(|byte| *byte == b'@')?;
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Some([name.get(..=at)?, name.get(dot..)?].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::Image;

    #[test]
    fn the_directory_of_the_administrator_goes_first() {
        let image = Image::new()
            .file("usr/lib/systemd/system/a.service", b"")
            .file("etc/systemd/system/a.service", b"")
            .file("usr/lib/systemd/system/b.service", b"")
            .link("etc/systemd/system/b.service", "/dev/null")
            .link(
                "etc/systemd/system/alias.service",
                "/usr/lib/systemd/system/gone.service",
            )
            .file("usr/lib/systemd/system/c.service.d/x.conf", b"")
            .file("usr/lib/systemd/system/c.service.d/README", b"")
            .file("usr/lib/systemd/system/c.target.wants/deep/x.conf", b"");
        let units = UnitNames::of(&image.tree);
        let files: Vec<String> = units
            .files()
            .map(|(_, _, _, path)| path.to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/etc/systemd/system/a.service",
                "/etc/systemd/system/b.service",
                "/usr/lib/systemd/system/c.service.d/x.conf",
            ]
        );
        assert!(!units.has(Scope::System, b"alias.service"));
    }

    #[test]
    fn a_unit_may_come_from_a_template_or_an_init_script() {
        let image = Image::new()
            .file("usr/lib/systemd/system/getty@.service", b"")
            .exec("etc/init.d/munin", b"");
        let units = UnitNames::of(&image.tree);
        let check = |name: &str, expect| {
            assert_eq!(units.has(Scope::System, name.as_bytes()), expect, "{name}");
        };
        check("getty@.service", true);
        check("getty@tty1.service", true);
        check("getty@a@b.service", true);
        check("getty@tty1.socket", false);
        check("munin.service", true);
        check("munin.socket", false);
        check("@", false);
        check(".@", false);
        assert!(!units.has(Scope::User, b"munin.service"));
    }

    /// nfs-common's generator writes a target that its services require.
    #[test]
    fn a_unit_that_a_generator_names_is_there() {
        let dir = "usr/lib/systemd/system-generators";
        let image = Image::new()
            .exec(
                &format!("{dir}/rpc-pipefs-generator"),
                b"\x7fELF\0/rpc_pipefs.targ\0et",
            )
            .exec(&format!("{dir}/systemd-own"), b"\x7fELF\0other.target");
        let units = UnitNames::of(&image.tree);
        assert!(!units.has(Scope::System, b"rpc_pipefs.target"));
        let units = units.with_generators(&image.tree, &image.view).unwrap();
        assert!(units.has(Scope::System, b"rpc_pipefs.target"));
        assert!(!units.has(Scope::User, b"rpc_pipefs.target"));
        for gone in [
            "rpc.target",
            "pipefs.target",
            "other.target",
            "rpc_pipefs",
            ".target",
        ] {
            assert!(!units.has(Scope::System, gone.as_bytes()), "{gone}");
        }
    }
}
