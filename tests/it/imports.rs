//! What the check of imports says of a root, against what the interpreters say inside it.

use std::path::PathBuf;
use std::time::Instant;

use layerset::check::imports;

use crate::paths::{DirView, tree_of};

/// Prints what is found in the root that `LAYERSET_TEST_ROOT` names, this machine's own else, and how long it took.
#[test]
#[ignore = "it prints a report, and depends on the machine"]
fn report_the_imports_of_a_root() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let (tree, view) = (tree_of(&root), DirView(root));
    let start = Instant::now();
    let problems = imports::problems(&tree, &view).unwrap();
    eprintln!("{} entries, {:?}", tree.len(), start.elapsed());
    for problem in &problems {
        eprintln!("{}: {}", problem.id, problem.reason);
    }
}
