//! Runs the checks of paths over whole Debian systems.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerset::check::{Problem, Weight, paths};
use layerset::id::ObjectId;
use layerset::path::RelPath;
use layerset::tree::view::{FileFacts, ImageView, ViewError, ViewNode};
use layerset::tree::{Inode, Node, Tree};

/// A directory of this machine as an image.
struct DirView(PathBuf);

impl DirView {
    fn at(&self, path: &[u8]) -> PathBuf {
        self.0.join(std::ffi::OsStr::from_bytes(path))
    }
}

impl ImageView for DirView {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        let at = self.at(path);
        let kind = fs::symlink_metadata(&at).ok()?.file_type();
        Some(if kind.is_dir() {
            ViewNode::Dir
        } else if kind.is_file() {
            ViewNode::File
        } else if kind.is_symlink() {
            ViewNode::Symlink(fs::read_link(&at).ok()?.into_os_string().into_vec())
        } else {
            ViewNode::Other
        })
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.at(dir)).into_iter().flatten();
        let mut names: Vec<Vec<u8>> = entries
            .map(|entry| entry.unwrap().file_name().into_vec())
            .collect();
        names.sort();
        names
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        fs::read(self.at(path)).map_err(|source| ViewError::Read {
            path: String::from_utf8_lossy(path).into_owned(),
            source: source.into(),
        })
    }

    /// Reads the first lines only, which is all that a script is known by.
    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        let mut head = Vec::new();
        // An ordinary user may start what it cannot read.
        if let Ok(file) = fs::File::open(self.at(path)) {
            file.take(4096).read_to_end(&mut head).unwrap();
        }
        Ok(FileFacts::of(head.as_slice()))
    }
}

/// What an image has; the rest of a machine is its own.
const SYSTEM: [&[u8]; 11] = [
    b"", b"bin", b"boot", b"etc", b"lib", b"lib32", b"lib64", b"opt", b"sbin", b"usr", b"var",
];

/// Reads what the checks look at: kinds, modes and targets. Other filesystems are left out.
fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let device = fs::metadata(root).unwrap().dev();
    let mut todo = vec![RelPath::root()];
    while let Some(path) = todo.pop() {
        let at = root.join(path.as_path());
        // What is removed meanwhile is not there.
        let Ok(metadata) = fs::symlink_metadata(&at) else {
            continue;
        };
        let kind = metadata.file_type();
        let mode = (metadata.mode() & 0o7777) as u16;
        let inode = if kind.is_dir() {
            let top = path.as_bytes().split(|byte| *byte == b'/').next().unwrap();
            if metadata.dev() == device && SYSTEM.contains(&top) {
                for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
                    todo.push(path.join(entry.file_name().as_bytes()).unwrap());
                }
            }
            Inode::directory(mode)
        } else if kind.is_symlink() {
            let target = fs::read_link(&at).unwrap();
            let target = target.as_os_str().as_bytes().into();
            Inode::new(Node::Symlink { target }, mode)
        } else if kind.is_file() {
            Inode::file(ObjectId::of(path.as_bytes()), metadata.size(), mode)
        } else {
            Inode::new(Node::Fifo, mode)
        };
        tree.insert(path, inode);
    }
    tree
}

/// The kernel is the judge: it follows the links, and says whether an interpreter can be executed.
#[test]
fn what_is_said_of_this_machine_is_what_its_kernel_says() {
    let root = Path::new("/");
    let (tree, view) = (tree_of(root), DirView(root.into()));
    let is_program = |path: &Path| {
        let metadata = fs::metadata(path);
        metadata
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let ids = |problems: Vec<Problem>| -> BTreeSet<String> {
        problems
            .into_iter()
            .map(|problem| problem.id.to_string())
            .collect()
    };
    let (links, scripts) = (
        ids(paths::links(&tree)),
        ids(paths::scripts(&tree, &view).unwrap()),
    );
    let (mut dangling, mut dead) = (0, 0);
    for (path, inode) in tree.iter() {
        let at = root.join(path.as_path());
        if matches!(inode.node, Node::Symlink { .. }) {
            let said = links.contains(&format!("link:{path}"));
            // What is not in the tree is on the machine: other filesystems, and what was left out above.
            let there = fs::metadata(&at).is_ok();
            let in_tree = || {
                fs::canonicalize(&at)
                    .is_ok_and(|end| tree.get(&end.as_os_str().as_bytes()[1..]).is_some())
            };
            assert!(!(said && there && in_tree()), "{path} does not dangle");
            let runs = [
                "/dev",
                "/proc",
                "/run",
                "/sys",
                "/tmp",
                "/var",
                "/etc/machine-id",
            ];
            let target = fs::read_link(&at).unwrap_or_default();
            let end = at.parent().unwrap().join(target);
            let is_left_alone = runs
                .iter()
                .any(|dir| at.starts_with(dir) || end.starts_with(dir));
            // Links like '../../proc/x' are told apart by the part that climbs.
            let climbs = end.components().any(|part| part.as_os_str() == "..");
            assert!(
                said || there || is_left_alone || climbs,
                "{path} dangles, and nothing is said"
            );
            dangling += usize::from(said);
        } else if inode.object().is_some() && inode.mode & 0o111 != 0 {
            let Ok(FileFacts::Script(script)) = view.facts(path.as_bytes()) else {
                continue;
            };
            let interpreter = PathBuf::from(std::ffi::OsString::from_vec(script.interpreter));
            let said = scripts.contains(&format!("script:{path}"));
            if !is_program(&interpreter) && !interpreter.starts_with("/tmp") {
                assert!(
                    said,
                    "{path} asks for '{}', and nothing is said",
                    interpreter.display()
                );
            } else if interpreter.file_name().is_some_and(|name| name != "env") {
                let known = tree.get(&interpreter.as_os_str().as_bytes()[1..]).is_some();
                assert!(!(said && known), "{path} has its interpreter");
            }
            dead += usize::from(said);
        }
    }
    eprintln!(
        "{} entries, {dangling} links dangle, {dead} scripts have no interpreter",
        tree.len()
    );
}

/// Prints what is found in the root that `LAYERSET_TEST_ROOT` names, this machine's own else, and how long it took.
#[test]
#[ignore = "it prints a report, and depends on the machine"]
fn report_the_problems_of_a_root() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let (tree, view) = (tree_of(&root), DirView(root));
    let timed = |name: &str, check: &dyn Fn() -> Vec<Problem>| {
        let start = Instant::now();
        let problems = check();
        eprintln!("{name}: {} problems, {:?}", problems.len(), start.elapsed());
    };
    eprintln!("{} entries", tree.len());
    timed("links", &|| paths::links(&tree));
    timed("scripts", &|| paths::scripts(&tree, &view).unwrap());
    timed("units", &|| paths::units(&tree, &view).unwrap());
    timed("python", &|| paths::python(&tree, &view).unwrap());
    timed("abi", &|| paths::abi(&tree));
    for problem in paths::problems(&tree, &view).unwrap() {
        let mark = match problem.weight {
            Weight::Grave => "GRAVE",
            Weight::Minor => "minor",
        };
        eprintln!("{mark} {}: {}", problem.id, problem.reason);
    }
}
