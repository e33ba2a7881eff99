//! Files that programs of the image make from the rest of it: which, from what, and by which
//! command.
//!
//! This says what is to be run; it runs nothing. The caller takes the outputs of all [`jobs`] out
//! of the tree, computes the [`Job::key`] of each on what is left, and runs those whose results it
//! does not have. Results are functions of what the key covers: the table's line, the program's own
//! bytes, and path, kind, mode and content of what it reads, links followed. Not covered are the
//! libraries and the shell under a program: where they matter (a module that cannot be loaded), the
//! image is broken, and a check says so.
//!
//! | file | how |
//! |---|---|
//! | `/etc/ssl/certs`: bundle, links | `update-ca-certificates` |
//! | `gschemas.compiled` | `glib-compile-schemas` |
//! | `giomodule.cache` of GIO and GTK 4 | `gio-querymodules` |
//! | `loaders.cache`, `immodules.cache` | `gdk-pixbuf-query-loaders`, `gtk-query-immodules` |
//! | `icon-theme.cache` | `gtk-update-icon-cache` |
//! | `/usr/share/mime` | `update-mime-database` |
//! | `mimeinfo.cache` | `update-desktop-database` |
//! | `fonts.dir`, `fonts.scale`, `fonts.alias` of X | `update-fonts-dir` and its sisters |
//! | `/usr/share/info/dir` | `install-info` |
//! | `modules.dep` and its sisters | `depmod` |
//! | `/var/cache/dictionaries-common` | `update-default-wordlist` and its sisters |
//! | `hwdb.bin` | `systemd-hwdb` |
//! | `ld.so.cache`, links of alternatives, Java's `cacerts` | our own code: the modules beside this one |
//! | font caches, manual index, `ldconfig`'s `aux-cache`, the AppStream cache: `/var/cache` | dropped; only speed |
//! | the journal's catalogue, `/var/lib/systemd/catalog` | dropped; a machine makes it at boot |
//! | `/etc/mailcap`, XML and SGML catalogues, `/etc/shells` | merged by record: not only packages write there |
//! | `locale-archive` | content: scripts may add locales that `locale.gen` does not name |
//! | `.pyc` files | content: each package has its own |

mod pattern;
mod table;

use std::collections::BTreeSet;

use self::pattern::Pattern;
use self::table::{Generator, TABLE, TABLE_VERSION};
use crate::path::RelPath;
use crate::time::Timestamp;
use crate::tree::{Inode, Node, Tree};

/// Identifies what a job makes: a digest of what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobKey(blake3::Hash);

impl JobKey {
    /// Returns 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.to_hex().to_string()
    }
}

/// One run of one generator.
#[derive(Debug, Clone)]
pub struct Job {
    generator: &'static Generator,
    instance: Vec<u8>,
    program: RelPath,
}

/// Returns the jobs whose output in a tree is derived, in the order in which they run.
///
/// Without the program, or without what its line of the table needs, there is no job: its files
/// are content like any other. A job with the program and without [`Job::has_work`] makes
/// nothing, not even an empty cache.
pub fn jobs(tree: &Tree) -> Vec<Job> {
    TABLE.iter().flat_map(|line| line.jobs(tree)).collect()
}

impl Generator {
    fn jobs(&'static self, tree: &Tree) -> Vec<Job> {
        let each = Pattern::new(self.each, b"");
        let mut instances = BTreeSet::new();
        for (path, inode) in each.find(tree) {
            // An instance that holds a blank or a control byte is no name that any package has, and
            // scripts split words.
            let instance = each.instance_in(path.as_bytes()).unwrap_or_default();
            let is_place = !matches!(inode.node, Node::Symlink { .. }) || instance.is_empty();
            if is_place && instance.iter().all(u8::is_ascii_graphic) {
                instances.insert(instance);
            }
        }
        let jobs = instances.into_iter().filter_map(|instance| {
            let program = self.program(&instance, tree)?;
            self.is_for(&instance, tree).then_some(Job {
                generator: self,
                instance,
                program,
            })
        });
        jobs.take(if self.once { 1 } else { usize::MAX }).collect()
    }

    /// Finds the program. A file goes before a link to it: some write their own name into what they
    /// make.
    fn program(&self, instance: &[u8], tree: &Tree) -> Option<RelPath> {
        let found = Pattern::new(self.program, instance).find(tree);
        let is_program = |path: &RelPath| {
            let at = tree.resolve(path.as_bytes());
            at.is_some_and(|at| tree.get(at.as_bytes()).and_then(Inode::object).is_some())
        };
        let mut programs: Vec<_> = found
            .into_iter()
            .filter(|(path, _)| is_program(path))
            .collect();
        programs.sort_by_key(|(_, inode)| inode.object().is_none());
        programs.first().map(|(path, _)| (*path).clone())
    }

    /// Says whether a path of one of the patterns is there that the generator does not itself make.
    fn has_any(&self, patterns: &'static [&'static str], instance: &[u8], tree: &Tree) -> bool {
        patterns.iter().any(|text| {
            let found = Pattern::new(text, instance).find(tree);
            found
                .iter()
                .any(|(path, inode)| !inode.is_dir() && !self.makes(instance, path, inode))
        })
    }

    fn is_for(&self, instance: &[u8], tree: &Tree) -> bool {
        let is_there = |text: &&'static str| !Pattern::new(text, instance).find(tree).is_empty();
        self.code.iter().all(is_there)
            && (self.needs.is_empty() || self.has_any(self.needs, instance, tree))
    }
}

impl Job {
    /// Returns a name for messages, such as `icon-cache (hicolor)`.
    pub fn name(&self) -> String {
        if self.instance.is_empty() {
            return self.generator.name.to_owned();
        }
        format!(
            "{} ({})",
            self.generator.name,
            crate::path::escape(&self.instance)
        )
    }

    /// Says whether there is anything to read.
    pub fn has_work(&self, tree: &Tree) -> bool {
        let line = self.generator;
        let inputs = if line.works_on.is_empty() {
            line.reads
        } else {
            line.works_on
        };
        line.has_any(inputs, &self.instance, tree)
    }

    /// Returns program and arguments.
    pub fn command(&self) -> Vec<Vec<u8>> {
        [
            b"/bin/sh".as_slice(),
            b"-ec",
            self.generator.script.as_bytes(),
            b"sh",
            self.program.as_bytes(),
            &self.instance,
        ]
        .map(<[u8]>::to_vec)
        .into()
    }

    /// Says whether this job, and nothing else, makes what is at `path`.
    pub fn makes(&self, path: &RelPath, inode: &Inode) -> bool {
        self.generator.makes(&self.instance, path, inode)
    }

    /// Returns what a tree has of the job's outputs.
    pub fn outputs(&self, tree: &Tree) -> Vec<RelPath> {
        let found = self.generator.makes.iter().flat_map(|text| {
            let found = Pattern::new(text, &self.instance).find(tree);
            found
                .into_iter()
                .filter(|(path, inode)| self.makes(path, inode))
                .map(|(path, _)| path.clone())
        });
        found.collect::<BTreeSet<RelPath>>().into_iter().collect()
    }

    /// Returns the digest of what the job reads.
    pub fn key(&self, tree: &Tree) -> JobKey {
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        put(&TABLE_VERSION.to_le_bytes());
        put(self.generator.name.as_bytes());
        put(self.generator.script.as_bytes());
        put(&self.instance);
        for path in self.inputs(tree) {
            let Some(inode) = tree.get(path.as_bytes()) else {
                continue;
            };
            put(path.as_bytes());
            put(inode.node.kind().as_bytes());
            put(&inode.mode.to_le_bytes());
            match &inode.node {
                Node::File { object, .. } => put(object.as_bytes()),
                Node::Symlink { target } => put(target),
                _ => put(b""),
            }
        }
        JobKey(hasher.finalize())
    }

    /// Returns the newest time of what the job reads, and of the directories that its outputs are
    /// in.
    ///
    /// GTK takes no icon cache that is older than its directory, and GIO no module cache that is
    /// older than a module.
    pub fn mtime(&self, tree: &Tree, outputs: &[RelPath]) -> Timestamp {
        let dirs = outputs.iter().filter_map(RelPath::parent);
        let of = |path: &RelPath| tree.get(path.as_bytes()).map(|inode| inode.mtime);
        let dates = self.inputs(tree).into_iter().chain(dirs);
        dates.filter_map(|path| of(&path)).max().unwrap_or_default()
    }

    /// Returns all paths that the job reads, and those that links among them lead to.
    fn inputs(&self, tree: &Tree) -> BTreeSet<RelPath> {
        let line = self.generator;
        let mut inputs: BTreeSet<RelPath> = BTreeSet::new();
        let mut links: Vec<RelPath> = Vec::new();
        let mut add = |path: &RelPath, inode: &Inode, links: &mut Vec<RelPath>| {
            if line.makes(&self.instance, path, inode) || !inputs.insert(path.clone()) {
                return;
            }
            if matches!(inode.node, Node::Symlink { .. }) {
                links.push(path.clone());
            }
        };
        for text in line.reads.iter().chain(line.code) {
            for (path, inode) in Pattern::new(text, &self.instance).find(tree) {
                add(path, inode, &mut links);
            }
        }
        if let Some((path, inode)) = tree.get_key_value(self.program.as_bytes()) {
            add(path, inode, &mut links);
        }
        // Each directory is entered once, so links that lead in circles end.
        let mut entered = BTreeSet::new();
        while let Some(link) = links.pop() {
            let Some(at) = tree.resolve(link.as_bytes()) else {
                continue;
            };
            if let Some((path, inode)) = tree.get_key_value(at.as_bytes()) {
                add(path, inode, &mut links);
                // The root would be everything; a link to it is nobody's input.
                if inode.is_dir() && !at.is_root() && entered.insert(at.clone()) {
                    for (path, inode) in tree.below(at.as_bytes()) {
                        add(path, inode, &mut links);
                    }
                }
            }
        }
        inputs
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
